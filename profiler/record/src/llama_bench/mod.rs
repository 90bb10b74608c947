//! The results of llama-bench in every form that it writes (`-o json`, `jsonl`, `csv`, `md`, `sql`), read as a run of one engine.
//!
//! A test of llama-bench is a prompt (`n_prompt` tokens, none decoded), a generation (`n_gen` tokens after `n_depth`), or both in one.
//! Here a prompt and a generation are parts of one request: the test of a prompt of P tokens after D, and the generation after D + P
//! tokens, become the case `ppP` at depth D, which is what `inferometer run --prompt-tokens P --depth D` measures. Where no generation
//! starts at the end of a prompt, the one that starts nearest to it is taken, and the case contains the difference as a note
//! ([`CaseNote::DecodedAfter`](crate::CaseNote::DecodedAfter)). A generation that belongs to no prompt is the case `tgN`, a test of both `ppP+tgN`.
//!
//! Tests of other settings (threads apart) are other engines of the run: `llama-bench:fa=1`. Every setting is in the plan.
//!
//! Fields as in llama.cpp's `tools/llama-bench/llama-bench.cpp`, from the first releases (`cuda`, `f16_kv`) to 0.5 (`load_mode`,
//! `lazy_mode`, `fit_target`); `samples_ns` and `samples_ts` have one value for each repetition.

mod cases;
mod forms;
mod found;
mod json;
mod settings;
mod table;
mod test;
mod variants;

use std::path::Path;

use engine_api::{Device, FlashAttention, Identity, RecordedKvTypes};

use super::plan::{PlanFile, PlannedModel};
use super::{Error, Reason, RunFile, SCHEMA_VERSION, Tool};
use settings::Settings;
use test::Test;

/// The engine's label in such a run.
pub(crate) const ENGINE: &str = "llama-bench";
/// The forms that are read, for messages.
pub(crate) const FORMS: &str = "llama-bench's json, jsonl, csv, md and sql";

/// A run, and what has to be said about the file.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The run.
    pub(crate) file: RunFile,
    /// Sentences without a full stop: what was left out, and what the file does not have.
    pub(crate) notes: Vec<String>,
}

/// Reads a text as a run; `None` where it has no record of llama-bench. `path` gives the run its name, and errors their place.
///
/// # Errors
/// When a record has an invalid field, or no figure can be taken from any.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Option<Bench>, Error> {
    let found = forms::find(text);
    if found.records.is_empty() && found.truncated.is_empty() {
        return Ok(None);
    }
    let wrong = |problem: String| {
        Error::Content {
        path: path.to_path_buf(),
        problem,
        advice: "write it with `llama-bench -o json`, such as `llama-bench -o json -p 512 -n 0` and `llama-bench -o json -p 0 -n 64 -d 512` in one call or in two files"
            .to_owned(),
    }
    };
    let mut tests = Vec::new();
    for record in &found.records {
        let test = Test::read(record).map_err(|field| {
            wrong(format!("has a record of llama-bench with an invalid field: line {}, {field}", record.line))
        })?;
        tests.push(test);
    }
    let mut tests = test::merged(tests);
    variants::distinguish(&mut tests);
    let cases = cases::cases(&tests);
    let mut notes = found.notes();
    if tests.iter().any(|test| test.only_means) {
        notes.push(
            "it has means of the repetitions and not the repetitions, so intervals are those of one value".to_owned(),
        );
    }
    for (test, why) in tests.iter().filter_map(|test| Some((test, test.contradiction.as_ref()?))) {
        notes.push(format!("{} of {}: {why}; its figures are marked as estimates", test.what(), test.model()));
    }
    let Some(first) = tests.first().filter(|_| !cases.is_empty()) else {
        let problem = match notes.as_slice() {
            [] => "has no test of a prompt or of a generation".to_owned(),
            notes => format!("has no complete test of llama-bench ({})", notes.join("; ")),
        };
        return Err(wrong(problem));
    };
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    // `bench.json.gz` has two extensions.
    let name = name.strip_suffix(".json").map(str::to_owned).unwrap_or(name);
    let mut file = RunFile {
        schema_version: SCHEMA_VERSION,
        name,
        tool: Tool { name: ENGINE.to_owned(), version: first.version(), ..Tool::default() },
        started: first.time.clone(),
        finished: first.time.clone().into(),
        plan: plan(&tests, &cases),
        ..RunFile::default()
    };
    file.cases = cases;
    let processors = tests.iter().map(|test| test.processor.clone());
    let processor = Some(one_or_all(processors)).filter(|model| !model.is_empty());
    file.environment.processor.model = processor.ok_or_else(Reason::unrecorded).into();
    for label in &file.plan.engines {
        let own: Vec<&Test> = tests.iter().filter(|test| test.label() == *label).collect();
        file.environment.engines.push(Identity {
            name: ENGINE.to_owned(),
            variant: own.first().map(|test| test.variant.clone()).filter(|variant| !variant.is_empty()),
            version: one_or_all(own.iter().map(|test| test.version())),
            device: device(own.iter().map(|test| &test.settings)),
            features: Vec::new(),
            weight_use: engine_api::WeightUse::default(),
        });
    }
    Ok(Some(Bench { file, notes }))
}

fn plan(tests: &[Test], cases: &[super::Case]) -> PlanFile {
    let mut models: Vec<PlannedModel> = Vec::new();
    for test in tests {
        if models.iter().all(|model| model.name != test.model()) {
            models.push(PlannedModel {
                name: test.model(),
                reference: test.model_path.clone(),
                path: test.model_path.clone(),
                origin: ENGINE.to_owned(),
                file_bytes: test.model_bytes.ok_or_else(Reason::unrecorded).into(),
                parameters: test.parameters.ok_or_else(Reason::unrecorded).into(),
                format: "gguf".to_owned(),
                quantisation: test.model_type.clone(),
                ..PlannedModel::absent(Reason::unrecorded())
            });
        }
    }
    let mut plan = PlanFile {
        models,
        prompt_set: "random tokens".to_owned(),
        runs: tests.iter().map(|test| test.times_ns.len()).max().unwrap_or(0),
        ignore_eos: true,
        kv_type: RecordedKvTypes::from(one_or_all(tests.iter().map(|test| test.settings.kv_type())).as_str()),
        device: device(tests.iter().map(|test| &test.settings)),
        flash_attention: flash_attention(tests),
        batch: one(tests.iter().map(|test| test.settings.get("n_ubatch"))).and_then(|batch| batch.parse().ok()),
        ..PlanFile::default()
    };
    for test in tests {
        for (name, value) in test.settings.all() {
            let setting = (test.label(), name.to_owned(), value.to_owned());
            if !plan.settings.contains(&setting) {
                plan.settings.push(setting);
            }
        }
    }
    for case in cases {
        let add = |list: &mut Vec<usize>, number: usize| {
            if !list.contains(&number) {
                list.push(number);
            }
        };
        add(&mut plan.threads, case.threads);
        add(&mut plan.depths, case.depth);
        if !plan.engines.contains(&case.engine) {
            plan.engines.push(case.engine.clone());
        }
    }
    plan
}

fn device<'t>(settings: impl Iterator<Item = &'t Settings>) -> Device {
    Device::from(one_or_all(settings.map(Settings::device)).as_str())
}

/// That of all tests; `auto` where they differ or do not have it.
fn flash_attention(tests: &[Test]) -> FlashAttention {
    match one(tests.iter().map(|test| test.settings.get("flash_attn"))).as_deref() {
        Some("1" | "on" | "true") => FlashAttention::On,
        Some("0" | "off" | "false") => FlashAttention::Off,
        _ => FlashAttention::Auto,
    }
}

/// The value that all have; `None` where they differ or one has none.
fn one<'t>(mut values: impl Iterator<Item = Option<&'t str>>) -> Option<String> {
    let first = values.next()??;
    values.all(|value| value == Some(first)).then(|| first.to_owned())
}

/// The value where all are alike, else each of them once. Empty ones do not count.
fn one_or_all(values: impl Iterator<Item = String>) -> String {
    let distinct: std::collections::BTreeSet<String> = values.filter(|value| !value.is_empty()).collect();
    distinct.into_iter().collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
