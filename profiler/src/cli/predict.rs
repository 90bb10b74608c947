//! `inferometer predict`: estimates a model, and compares an estimate with a run.

use std::path::{Path, PathBuf};

use ::engines::{KvTypes, LoadOptions, WeightUse};
use analyse::predict::{self, CheckedFigure, Figure, MemoryParts, Prediction, Runs, Settings, Shortage};
use clap::{Args, ValueEnum};
use measure::ceilings;
use measure::plan::{self, DEFAULT_ENGINE, DEFAULT_NEW_TOKENS};
use record::figures::significant;
use record::plan::RUNS;
use record::{Printable, Recorded};
use report::{Block, Content, Section, Table, text};

use super::advice::UsageError;
use super::failure::Code;
use super::kv_types::KvTypeFlags;
use super::output;

/// Default number of prompt tokens.
const PROMPT_TOKENS: usize = 128;

/// Estimate load, memory, prefill and decode of a model that was never run here, from earlier runs
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Registry name, config.json (shape only) or .gguf file
    #[arg(short, long, value_name = "MODEL", required_unless_present = "check")]
    model: Option<String>,
    /// Quantisation: f16, q4_0, q4_1, q8_0, q4_k_m, mxfp4 [default: that of the registered file; q4_0 for a config.json]
    #[arg(long, value_name = "Q")]
    quant: Option<String>,
    /// Engine, as `name` or `name:variant`
    #[arg(short, long, value_name = "ENGINE", default_value = DEFAULT_ENGINE)]
    engine: String,
    /// Threads [default: the physical cores]
    #[arg(short, long, value_name = "N", value_parser = super::run::at_least_one)]
    threads: Option<usize>,
    /// Tokens in the context before the prompt
    #[arg(long, value_name = "N", default_value_t = 0)]
    depth: usize,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = PROMPT_TOKENS, value_parser = super::run::at_least_one)]
    prompt_tokens: usize,
    /// Tokens of the response
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_NEW_TOKENS, value_parser = super::run::at_least_one)]
    new_tokens: usize,
    #[command(flatten)]
    kv: KvTypeFlags,
    /// Run folders to fit the estimate to [default: those of this machine and build below runs/]
    #[arg(long, value_name = "RUN_DIR", num_args = 1..)]
    from: Vec<PathBuf>,
    /// The output format
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// Also write the estimate as JSON, for a later `--check` against a measurement
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Compare an earlier estimate with this run
    #[arg(long, value_name = "RUN_DIR", requires = "prediction", conflicts_with_all = ["model", "quant", "from", "out"])]
    check: Option<PathBuf>,
    /// The file that `-o` wrote, for --check
    #[arg(value_name = "PREDICTION", requires = "check")]
    prediction: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For a terminal
    Text,
    /// JSON, as -o writes it
    Json,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    if let (Some(run), Some(prediction)) = (&arguments.check, &arguments.prediction) {
        return check(run, prediction);
    }
    let Some(model) = &arguments.model else {
        return Err(UsageError::new("predict needs a model", "give -m MODEL").into());
    };
    let subject = super::predict_model::find(model, arguments.quant.as_deref())?;
    let kv_type = arguments.kv.types();
    let weight_use = check_engine(&arguments.engine, kv_type)?;
    let environment = meter::environment::capture(&[]);
    let settings = Settings {
        engine: arguments.engine.clone(),
        threads: arguments.threads.unwrap_or_else(|| plan::physical_cores(environment.limits.cpus.value())),
        depth: arguments.depth,
        prompt_tokens: arguments.prompt_tokens,
        new_tokens: arguments.new_tokens,
        kv_type,
        batch: None,
        weight_use: weight_use.clone(),
        machine_memory: [environment.memory.total_bytes.value(), environment.limits.memory_bytes.value()]
            .into_iter()
            .flatten()
            .min(),
    };
    let tool = crate::tool::tool();
    let known = ceilings::known(&environment, &tool);
    let machine = known.as_ref().map(|known| known.machine.as_str());
    let runs = match arguments.from.as_slice() {
        [] => Runs::usable(record::open_all(Path::new(RUNS))?, machine, &tool),
        folders => {
            let open = |folder: &PathBuf| record::open(&record::place(Path::new(RUNS), folder)?);
            Runs::all(folders.iter().map(open).collect::<Result<_, _>>()?, machine, &tool)
        }
    };
    let used: Vec<&record::RunFile> = runs.used.iter().collect();
    let mut prediction = predict::predict(&subject, &settings, &used, known.as_ref())?;
    prediction.tool = tool.clone();
    prediction.made = measure::timestamp::rfc3339(traces::clock::unix_time()).into();
    prediction.skipped.splice(0..0, runs.skipped);
    let doubts = runs.doubts.iter().map(|doubt| format!("used because it was named with --from, in doubt: {doubt}"));
    prediction.remarks.extend(doubts);
    let json = Printable::json(&prediction)?;
    if let Some(path) = &arguments.out {
        let text = redaction::without_known(json.as_str());
        std::fs::write(path, text.as_bytes()).map_err(record::Error::file(path, "write"))?;
    }
    match arguments.format {
        Form::Json => output::print(&json)?,
        Form::Text => {
            let content = content(&prediction, &weight_use.unwrap_or_default());
            output::print(&Printable::styled(&text(&content, output::text_options())))?;
        }
    }
    Ok(Code::Done)
}

/// How the engine keeps and multiplies weights; an error where it does not exist, is a server, or refuses these types of the cache. An engine
/// that is not in this build is not asked.
fn check_engine(engine: &str, kv_type: KvTypes) -> anyhow::Result<Option<WeightUse>> {
    let entry = ::engines::registry::find(engine)?;
    let Ok(opened) = entry.open() else { return Ok(None) };
    if opened.caps().remote {
        return Err(UsageError::new(
            format!("an estimate of {engine}: the time of a server is not that of the operations of an engine in this program"),
            "measure it (inferometer run -e openai), or estimate an engine of this program (-e candle)",
        )
        .into());
    }
    if kv_type != KvTypes::default() {
        opened.check(&LoadOptions { kv_type, ..LoadOptions::default() })?;
    }
    Ok(Some(opened.identity().weight_use))
}

/// What to do where the memory exceeds that of the machine.
fn advice(shortage: &Shortage, engine: &str, weight_use: &WeightUse) -> String {
    let smaller = "choose a smaller quantisation (--quant), a smaller model, or a smaller KV cache (--kv-type)";
    let name = engine.split(':').next().unwrap_or(engine);
    match &weight_use.copies {
        Some(copies) if shortage.fits_without_copies() => {
            format!(
                "It fits without the copies of weights: run with --set {name}.{} (slower); or {smaller}.",
                copies.avoided_by
            )
        }
        _ => sentence(smaller),
    }
}

/// `17.3 GB file + 16.8 GB copies of weights + ...`; parts below 1 MB are left out.
fn sum_of(parts: &MemoryParts) -> String {
    let MemoryParts { file, copies, cache, activations, other } = *parts;
    let named = [
        (file, "file"),
        (copies, "copies of weights"),
        (cache, "cache"),
        (activations, "activations"),
        (other, "program, tokenizer, other"),
    ];
    let part = |(bytes, name): &(f64, &str)| format!("{} MB {name}", significant(bytes / 1e6));
    named.iter().filter(|(bytes, _)| *bytes >= 1e6).map(part).collect::<Vec<_>>().join(" + ")
}

/// Unit, factor from the field's unit, and label.
fn shown(field: &str) -> (&'static str, f64, &'static str) {
    match field {
        "load_warm_s" => ("s", 1.0, "load, warm page cache"),
        "load_cold_s" => ("s", 1.0, "load, from storage"),
        "memory_bytes" => ("MB", 1e-6, "peak memory"),
        "prefill_tps" => ("tokens/s", 1.0, "prefill"),
        _ => ("tokens/s", 1.0, "decode"),
    }
}

fn content(prediction: &Prediction, weight_use: &WeightUse) -> Content {
    let Prediction { model, quant, engine, threads, depth, prompt_tokens, new_tokens, kv_type, basis, .. } = prediction;
    let mut table = Table {
        caption: String::new(),
        columns: columns(&["<", "estimate", "95 % interval", "<unit", "<limit"]),
        rows: Vec::new(),
    };
    let limit = |parts: &Recorded<predict::TimeParts>| {
        parts.as_ref().map_or_else(String::new, |parts| parts.limit_name().to_owned())
    };
    let figures = [
        ("load_warm_s", &prediction.load_warm_s, String::new()),
        ("load_cold_s", &prediction.load_cold_s, String::new()),
        ("memory_bytes", &prediction.memory_bytes, String::new()),
        ("prefill_tps", &prediction.prefill_tps, limit(&prediction.prefill)),
        ("decode_tps", &prediction.decode_tps, limit(&prediction.decode)),
    ];
    let mut absent = Vec::new();
    for (field, figure, limit) in figures {
        let (unit, factor, name) = shown(field);
        match figure {
            Recorded::Present(figure) => table.rows.push(row(name, unit, factor, field, *figure, limit)),
            Recorded::Absent(reason) => absent.push(format!("{name}: {reason}.")),
        }
    }
    let mut facts = vec![
        ("KV cache".to_owned(), kv_type.to_string()),
        ("memory".to_owned(), prediction.memory_parts.as_ref().map_or_else(|| "not estimated".to_owned(), sum_of)),
        (
            "memory bandwidth".to_owned(),
            format!("{} GB/s ± {:.1} %", significant(basis.memory / 1e9), basis.memory_spread * 196.0),
        ),
        (
            "operations".to_owned(),
            basis.compute.map_or_else(
                || "not measured".to_owned(),
                |rate| format!("{} GOP/s ± {:.1} %", significant(rate / 1e9), basis.compute_spread * 196.0),
            ),
        ),
    ];
    facts.extend(prediction.extrapolation.value().filter(|far| far.error > 0.005).map(|far| {
        let known = if far.one_model { "the one model measured" } else { "the nearest model measured" };
        let (ratio, wider) = (significant(far.ratio), 196.0 * far.error);
        (
            "size".to_owned(),
            format!("{ratio}x the bytes per token of {known}; this adds ± {wider:.0} % to intervals (in quadrature)"),
        )
    }));
    facts.extend(prediction.rests_on.iter().map(|run| ("run".to_owned(), run.clone())));
    let sentences = |lines: &[String]| lines.iter().map(|line| Block::Sentence(sentence(line))).collect::<Vec<_>>();
    // Unchanged, because each line begins with the name of a run.
    let skipped = prediction.skipped.iter().map(|line| Block::Sentence(format!("{line}."))).collect();
    let shortage = prediction.shortage().map(|shortage| advice(&shortage, engine, weight_use));
    let depth = if *depth > 0 { format!(" after {depth} tokens") } else { String::new() };
    let sections = [
        Section {
            heading: "Estimate".to_owned(),
            short: true,
            blocks: [Block::Table(table)]
                .into_iter()
                .chain(absent.into_iter().chain(shortage).map(Block::Sentence))
                .collect(),
        },
        Section { heading: "Basis".to_owned(), short: true, blocks: vec![Block::Properties(facts)] },
        Section { heading: "Notes".to_owned(), short: true, blocks: sentences(&prediction.remarks) },
        Section { heading: "Not used".to_owned(), short: true, blocks: skipped },
    ];
    Content {
        title: format!(
            "{model} ({quant}) on {engine}, {threads} thread{}: {prompt_tokens} prompt tokens{depth}, {new_tokens} new tokens",
            if *threads == 1 { "" } else { "s" }
        ),
        sections: sections.into_iter().filter(|section| !section.blocks.is_empty()).collect(),
    }
}

fn columns(names: &[&str]) -> Vec<report::Column> {
    use report::{Align, Column};
    let column = |name: &&str| match name.strip_prefix('<') {
        Some(name) => Column { name: name.to_owned(), align: Align::Left },
        None => Column { name: (*name).to_owned(), align: Align::Right },
    };
    names.iter().map(column).collect()
}

fn row(name: &str, unit: &str, factor: f64, field: &str, figure: Figure, limit: String) -> Vec<String> {
    let number = |value: f64| significant(value * factor);
    let interval = match figure.interval() {
        Some((low, high)) => format!("{} to {}", number(low), number(high)),
        _ if field.ends_with("tps") => "at most".to_owned(),
        _ => "at least".to_owned(),
    };
    vec![name.to_owned(), number(figure.value()), interval, unit.to_owned(), limit]
}

/// A line with a capital letter and a full stop.
fn sentence(line: &str) -> String {
    let mut letters = line.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn check(run: &Path, path: &Path) -> anyhow::Result<Code> {
    let stored = text_input::read(path).map_err(record::Error::text(path))?;
    let prediction = predict::parse(path, stored.as_bytes())?;
    let file = analyse::complete(record::open(run)?);
    let mut table = Table {
        caption: String::new(),
        columns: columns(&["<", "predicted", "with probed ceilings", "measured", "error", "<in interval", "<unit"]),
        rows: Vec::new(),
    };
    let checked = predict::check(&prediction, &file)?;
    table.rows.extend(checked.rows.iter().map(compared));
    let note = "Error = predicted / measured - 1, after scaling the prediction to the ceilings that were probed during the measurement. Measured values are medians of the clean requests, memory of the first request of a fresh session, and load times of all cases of the model.";
    // A note that begins with the name of the run keeps its case.
    let notes = checked.notes.iter().map(|note| match note.starts_with(&file.name) {
        true => format!("{note}."),
        false => sentence(note),
    });
    let section = Section {
        heading: "Predicted and measured".to_owned(),
        short: true,
        blocks: [Block::Table(table)].into_iter().chain(notes.chain([note.to_owned()]).map(Block::Sentence)).collect(),
    };
    let content = Content {
        title: format!("{} against {}: {}", prediction.model, file.name, checked.case),
        sections: vec![section],
    };
    output::print(&Printable::styled(&text(&content, output::text_options())))?;
    Ok(Code::Done)
}

fn compared(found: &CheckedFigure) -> Vec<String> {
    let (unit, factor, name) = shown(found.field);
    let number = |value: f64| significant(value * factor);
    let inside = match found.inside() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "a bound",
    };
    vec![
        name.to_owned(),
        number(found.predicted.value()),
        found.scaled.map_or_else(|| "–".to_owned(), number),
        number(found.measured),
        format!("{:+.1} %", found.error() * 100.0),
        inside.to_owned(),
        unit.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use ::engines::KvType;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        predict: Arguments,
    }

    #[test]
    fn the_types_of_the_cache_are_those_of_the_engine() {
        let types = |line: &str| {
            let words = ["predict", "-m", "smollm2-135m"].into_iter().chain(line.split_whitespace());
            Line::try_parse_from(words).unwrap().predict.kv.types()
        };
        assert_eq!(types(""), KvTypes::default());
        assert_eq!(types("--kv-type q8_0"), KvType::Q8_0.into());
        assert_eq!(types("--kv-type-k q8_0"), KvTypes { keys: KvType::Q8_0, values: KvType::F16 });
        assert!(check_engine("candle", KvType::Q8_0.into()).is_ok());
        let error = check_engine("candle", KvType::Q4_0.into()).unwrap_err();
        assert_eq!(error.to_string(), "engine candle does not support a KV cache of type q4_0");
        assert!(check_engine("no-such-engine", KvTypes::default()).is_err());
        let server = check_engine("openai", KvTypes::default()).unwrap_err().to_string();
        assert!(server.starts_with("an estimate of openai: "), "{server}");
    }
}
