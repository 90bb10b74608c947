//! `inferometer models list|show|fetch|synth|quantize`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::models::fetch::{Fetcher, Origin, Quiet, Reference, Settings};
use ::models::quantise::{self, Provenance, Quantised, Request, Target};
use ::models::registry::{self, Entry, MODELS, Source};
use ::models::synth::{self, Quant, Recipe, TokenizerSource};
use ::models::{
    Attention, Bytes, Checkpoint, DType, Description, Experts, FeedForward, NotModelled, Outline, Spec,
    TokenizerFamily, digest,
};
use anyhow::Context;
use clap::{Args, Subcommand};
use measure::plan::DEFAULT_SEED;
use record::Printable;
use redaction::redact;
use report::{Align, Block, Column, Content, Section, Table, text};

use super::advice::UsageError;
use super::failure::Code;
use super::output;
use super::progress::Live;

/// Models: list, show, fetch, make synthetic weights, quantise
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the registered models
    List,
    /// Show a model's shape, sizes, sources and licence
    Show(Show),
    /// Fetch a model from the cache, the hub or a mirror, and check it
    Fetch(Fetch),
    /// Write a GGUF file of a model's exact shape with random weights
    Synth(Synth),
    /// Write a model's weights in another type, as a GGUF file that records its source
    Quantize(Quantize),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Registry name, path, address of the hub, owner/repo, owner/repo:file or owner/repo:QUANT; files must be on this disk
    model: String,
}

#[derive(Debug, Args)]
pub(super) struct Fetch {
    /// Registry name, path, address of the hub, owner/repo, owner/repo:file or owner/repo:QUANT
    model: String,
}

#[derive(Debug, Args)]
pub(super) struct Synth {
    /// Registry name, or a config.json
    model: String,
    /// f16, q4_0, q4_1, q8_0, q4_k_m or mxfp4
    #[arg(long, value_name = "Q")]
    quant: String,
    /// A GGUF file with the tokenizer for the new file
    #[arg(long, value_name = "GGUF")]
    header: Option<PathBuf>,
    /// Seed of the weights
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEED)]
    seed: u64,
    /// The new file [default: one in the cache, which `run --synthetic` finds]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Quantize {
    /// A .gguf file, safetensors folder, registry name, owner/repo or owner/repo:file
    file: String,
    /// f32, f16, bf16, q4_0, q4_1, q5_0, q5_1 or q8_0
    #[arg(long, value_name = "Q")]
    quant: String,
    /// A GGUF file with the tokenizer for the new file, for a folder
    #[arg(long, value_name = "GGUF")]
    header: Option<PathBuf>,
    /// The new file [default: NAME-Q.gguf in the current folder]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(verb: &Verb) -> anyhow::Result<Code> {
    match verb {
        Verb::List => list()?,
        Verb::Show(arguments) => show(&arguments.model)?,
        Verb::Fetch(arguments) => fetch(&arguments.model)?,
        Verb::Synth(arguments) => synth(arguments)?,
        Verb::Quantize(arguments) => quantize(arguments)?,
    }
    Ok(Code::Done)
}

fn list() -> anyhow::Result<()> {
    let mut columns = ["name", "what it is", "parameters", "default file", "quantisations", "licence"]
        .map(|name| Column { name: name.to_owned(), align: Align::Left });
    // A name is copied into other commands.
    columns[0].align = Align::Name;
    let row = |entry: &Entry| {
        let size = entry.gguf.bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
        let quants: Vec<&str> = entry.quants.iter().map(|(name, _)| *name).collect();
        vec![
            entry.name.to_owned(),
            entry.title.to_owned(),
            entry.parameters.to_string(),
            size,
            quants.join(" "),
            entry.license.to_owned(),
        ]
    };
    let table = Table { caption: String::new(), columns: columns.into(), rows: MODELS.iter().map(row).collect() };
    let advice = "Other models of these architectures work too: -m PATH.gguf, a safetensors folder, owner/repo, owner/repo:file or owner/repo:QUANT. Without a download: `inferometer run -m NAME --synthetic --quant q4_0`.";
    let section = Section {
        heading: "Models".to_owned(),
        short: true,
        blocks: vec![Block::Table(table), Block::Sentence(advice.to_owned())],
    };
    let content = Content {
        title: format!("{} registered models; {} is the default", MODELS.len(), registry::DEFAULT),
        sections: vec![section],
    };
    output::print(&Printable::styled(&text(&content, output::text_options())))?;
    Ok(())
}

fn show(model: &str) -> anyhow::Result<()> {
    let content = match Reference::parse(model)? {
        Reference::Name(name) => of_entry(registry::find(&name)?),
        reference => {
            let offline = Settings { offline: true, ..Settings::from_env() };
            let located = Fetcher::new(offline, &Quiet).locate(&reference)?;
            of_checkpoint(&Checkpoint::open(&located.path)?)?
        }
    };
    output::print(&Printable::styled(&text(&content, output::text_options())))?;
    Ok(())
}

fn of_entry(entry: &Entry) -> Content {
    let mut facts = vec![
        ("summary", entry.summary.to_owned()),
        ("licence", entry.license.to_owned()),
        ("parameters", entry.parameters.to_string()),
    ];
    if !entry.aliases.is_empty() {
        facts.push(("also called", entry.aliases.join(", ")));
    }
    facts.extend(shape(&entry.spec()));
    facts.push(("GGUF", source(&entry.gguf)));
    facts.push(("quantisations", entry.quants.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")));
    facts.push(("safetensors", source(&entry.safetensors)));
    if let Some(mirror) = entry.mirror {
        facts.push(("mirror", format!("Python {mirror}")));
    }
    facts.extend(entry.note.map(|note| ("note", note.to_owned())));
    page(&format!("{}: {}", entry.name, entry.title), facts)
}

fn of_checkpoint(checkpoint: &Checkpoint) -> anyhow::Result<Content> {
    let files: Vec<String> = checkpoint.files().iter().map(|file| file.display().to_string()).collect();
    let mut facts = vec![
        ("files", files.join(", ")),
        ("size", checkpoint.file_bytes().to_string()),
        ("quantisation", checkpoint.quantisation()),
        ("tensors", checkpoint.tensors().len().to_string()),
        ("parameters", checkpoint.outline().parameters.to_string()),
        ("bits per weight", format!("{:.3}", checkpoint.bits_per_weight())),
    ];
    facts.extend(checkpoint.provenance()?.as_ref().map(origin).unwrap_or_default());
    facts.extend(match checkpoint.description() {
        Description::Described(spec) => shape(spec),
        Description::Opaque(reason) => outline(&checkpoint.outline(), reason),
    });
    facts.push(("chat template", template(checkpoint)));
    Ok(page(checkpoint.name(), facts))
}

/// The chat template that prompts are rendered with, or why there is none.
fn template(checkpoint: &Checkpoint) -> String {
    match checkpoint.chat_template() {
        Ok(None) => "none".to_owned(),
        Ok(Some(template)) => {
            let others = match template.others.as_slice() {
                [] => String::new(),
                others => format!("; not used: {}", others.join(", ")),
            };
            format!("{} of {}, sha256 {}{others}", template.name, template.place, template.sha256())
        }
        Err(error) => format!("not usable: {error}"),
    }
}

/// The source of quantised weights.
fn origin(provenance: &Provenance) -> Vec<(&'static str, String)> {
    let of = |quantisation: &str, sha256: &str| format!("{quantisation}, sha256 {sha256}");
    let mut facts = vec![("source", of(&provenance.source_quantisation, &provenance.source_sha256))];
    let against = match &provenance.given {
        None => "the source".to_owned(),
        Some(given) => {
            facts.push(("made from", of(&given.quantisation, &given.sha256)));
            facts.push(("its own error", percent(given.error)));
            format!("the {} file it was made from", given.quantisation)
        }
    };
    facts.push(("quantisation error", format!("{} against {against}", percent(provenance.error))));
    facts
}

/// A relative error.
fn percent(error: f32) -> String {
    format!("{:.4} %", error * 100.0)
}

/// `1536`, or `8 of 128 experts of 768`.
fn feed_forward_text(part: &FeedForward) -> String {
    match part {
        FeedForward::Dense(gated) => gated.width.to_string(),
        FeedForward::Experts(Experts { count, used, expert, shared, .. }) => {
            let shared = shared.map_or_else(String::new, |shared| format!(" and a shared one of {}", shared.width));
            format!("{used} of {count} experts of {}{shared}", expert.width)
        }
    }
}

fn shape(spec: &Spec) -> Vec<(&'static str, String)> {
    let mut kinds = spec.layers.clone();
    kinds.dedup();
    // Widths differ between layers of few models: then all are listed.
    let different = |value: fn(&Attention) -> usize| {
        let mut values: Vec<usize> = spec.attentions().map(value).collect();
        values.sort_unstable();
        values.dedup();
        values.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")
    };
    let mut feed_forward: Vec<String> = kinds.iter().map(|layer| feed_forward_text(&layer.feed_forward)).collect();
    feed_forward.sort_unstable();
    feed_forward.dedup();
    let with_attention = spec.attentions().count();
    let windowed = spec.attentions().filter(|attention| attention.window.is_some()).count();
    let window = match (spec.smallest_window(), with_attention) {
        (None, _) => "none".to_owned(),
        (Some(window), layers) if windowed == layers => format!("{window} tokens"),
        (Some(window), layers) => format!("{window} tokens in {windowed} of {layers} layers"),
    };
    let layers = spec.layers.len();
    let of_layers = match layers - with_attention {
        0 => String::new(),
        _ => format!(", in {with_attention} of {layers} layers"),
    };
    let mut lines = vec![
        ("architecture", spec.arch.name().to_owned()),
        (
            "shape",
            format!(
                "{} layers, hidden {}, feed-forward {}, vocabulary {}",
                spec.layers.len(),
                spec.hidden,
                feed_forward.join(" or "),
                spec.vocab
            ),
        ),
        (
            "context",
            format!(
                "{} tokens, KV cache {} per token in F16",
                spec.context_length,
                spec.kv_bytes_per_token(DType::F16)
            ),
        ),
    ];
    let mut at = 2;
    if with_attention > 0 {
        let attention = format!(
            "{} heads of {}, {} of keys and values, sliding window {window}{of_layers}",
            different(|attention| attention.heads),
            different(|attention| attention.head_dim),
            different(|attention| attention.kv_heads)
        );
        lines.insert(at, ("attention", attention));
        at += 1;
    }
    if let Some(attention) = spec.layers.iter().find_map(|layer| layer.mixer.latent_attention()) {
        let text = format!(
            "{} heads with keys of {} and values of {}, a row of {} + {} per token",
            attention.heads,
            attention.query_dim(),
            attention.value_dim,
            attention.rank,
            attention.rope.dim
        );
        lines.insert(at, ("latent attention", text));
    }
    let mut counts = BTreeMap::<&str, usize>::new();
    for layer in spec.layers.iter().filter(|layer| layer.mixer.state_bytes() > Bytes(0)) {
        *counts.entry(layer.mixer.name()).or_default() += 1;
    }
    if !counts.is_empty() {
        let counts: Vec<String> =
            counts.into_iter().map(|(name, count)| format!("{name} in {count} of {layers} layers")).collect();
        lines.push(("other mixers", format!("{}, states of {} in F32", counts.join(", "), spec.state_bytes())));
    }
    lines
}

/// What is known of a model that is not described.
fn outline(outline: &Outline, reason: &NotModelled) -> Vec<(&'static str, String)> {
    let or_unknown = |value: Option<usize>, what: &str| match value {
        Some(value) => format!("{value} {what}"),
        None => format!("an unknown number of {what}"),
    };
    let (layers, rows) = (or_unknown(outline.layers, "layers"), or_unknown(outline.vocab, "tokens in the vocabulary"));
    vec![
        ("architecture", outline.architecture.clone()),
        ("shape", format!("{layers}, {rows}; not modelled: {}", reason.missing)),
        ("context", or_unknown(outline.context_length, "tokens")),
        ("engine", "llama-cpp, which reads the file itself".to_owned()),
    ]
}

fn source(source: &Source) -> String {
    let size = source.bytes.map(|bytes: Bytes| format!(", {bytes}")).unwrap_or_default();
    let gated = if source.gated { ", licence must be accepted on the hub" } else { "" };
    format!("{}:{} at {}{size}{gated}", source.repo, source.file, &source.revision[..source.revision.len().min(12)])
}

fn page(title: &str, facts: Vec<(&str, String)>) -> Content {
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Content {
        title: title.to_owned(),
        sections: vec![Section { heading: "Model".to_owned(), short: true, blocks: vec![Block::Properties(facts)] }],
    }
}

fn fetch(model: &str) -> anyhow::Result<()> {
    let _span = tracing::info_span!("fetch", model = redact(model)).entered();
    let live = Live::new();
    let located = Fetcher::new(Settings::from_env(), &live).locate(&Reference::parse(model)?);
    live.clear();
    let located = located?;
    let origin = match located.origin {
        Origin::Local => "is on this disk",
        Origin::Cache => "was in the cache",
        Origin::Hub => "came from the hub",
        Origin::Mirror => "came from the mirror",
    };
    output::complain(&format!("{model} {origin}\n"));
    output::print(&Printable::new(&format!("{}\n", located.path.display())))?;
    Ok(())
}

fn synth(arguments: &Synth) -> anyhow::Result<()> {
    let _span = tracing::info_span!("synth", model = redact(&arguments.model)).entered();
    let quant: Quant = arguments.quant.parse()?;
    let (name, spec, family) = match Reference::parse(&arguments.model)? {
        Reference::Name(name) => {
            registry::find(&name).map(|entry| (entry.name.to_owned(), entry.spec(), entry.tokenizer))?
        }
        Reference::Path(path) => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, Spec::from_config(&path)?, TokenizerFamily::default())
        }
        Reference::Hub(_) => {
            return Err(UsageError::new(
                "models synth needs a registry name or a config.json",
                "`inferometer models list` lists the names",
            )
            .into());
        }
    };
    let tokenizer = TokenizerSource::copy_or_generated(arguments.header.as_deref(), family);
    let recipe = Recipe { name: &name, spec: &spec, quant, seed: arguments.seed, tokenizer };
    let live = Live::new();
    let written = match &arguments.out {
        Some(path) => synth::write(&recipe, path, &live).map(|_| path.clone()),
        None => synth::write_cached(&recipe, &synth::cache_folder(), &live),
    };
    live.clear();
    let path = written?;
    let size = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    output::complain(&format!("{name} in {}, random weights, {}\n", quant.name(), Bytes(size)));
    output::print(&Printable::new(&format!("{}\n", path.display())))?;
    Ok(())
}

fn quantize(arguments: &Quantize) -> anyhow::Result<()> {
    let _span = tracing::info_span!("quantize", model = redact(&arguments.file)).entered();
    let target: Target = arguments.quant.parse()?;
    let live = Live::new();
    let made = quantized(arguments, target, &live);
    live.clear();
    let (path, made) = made?;
    output::complain(&format!("{}\n", description(target, &made)));
    output::print(&Printable::new(&format!("{}\n", path.display())))?;
    Ok(())
}

fn quantized(arguments: &Quantize, target: Target, live: &Live) -> anyhow::Result<(PathBuf, Quantised)> {
    let located = Fetcher::new(Settings::from_env(), live).locate(&Reference::parse(&arguments.file)?)?;
    let checkpoint = Checkpoint::open(&located.path)?;
    let sha256 = digest::sha256(checkpoint.files(), Some(&digest::cache_folder()), live)?;
    let path = arguments.out.clone().unwrap_or_else(|| default_output(&located.path, target));
    let header = arguments.header.as_deref();
    let request = Request { checkpoint: &checkpoint, sha256: &sha256, target, header };
    let made = quantise::quantise(&request, &path, live)?;
    Ok((path, made))
}

/// `NAME-q8_0.gguf` in the current folder, because the folder of the source may be a cache.
fn default_output(source: &Path, target: Target) -> PathBuf {
    let name = if source.is_dir() { source.file_name() } else { source.file_stem() };
    let name = name.map_or_else(|| "model".into(), |name| name.to_string_lossy());
    PathBuf::from(format!("{name}-{}.gguf", target.name().to_lowercase()))
}

/// Size, bits per weight, number of changed matrices and error, in one line.
fn description(target: Target, made: &Quantised) -> String {
    let Quantised { file_bytes, bits_per_weight, changed, provenance, .. } = made;
    let short = |sha256: &str| sha256[..sha256.len().min(12)].to_owned();
    let first = &provenance.source_quantisation;
    let against = match &provenance.given {
        None => format!("{first} (sha256 {})", short(&provenance.source_sha256)),
        Some(given) => format!(
            "{} (sha256 {}), which differs by {} from its source {first} (sha256 {})",
            given.quantisation,
            short(&given.sha256),
            percent(given.error),
            short(&provenance.source_sha256)
        ),
    };
    let matrices = if *changed == 1 { "matrix" } else { "matrices" };
    format!(
        "{target}: {file_bytes}, {bits_per_weight:.3} bits per weight; {changed} {matrices} changed, error {} against {against}",
        percent(provenance.error)
    )
}
