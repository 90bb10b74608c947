//! `--dry-run`: the plan as text. Nothing is fetched, written or started.

use std::fmt::Write as _;

use models::fetch::{Quiet, Reference, Settings};
use models::{Bytes, Error as ModelError, cost, registry};
use record::environment::Environment;
use record::{Error, Store, short_percent};
use traces::Nanos;

use super::{defaults, engines, locate, model, prompt, served};
use crate::plan::{EngineChoice, Options, check};

/// The plan: engines, models with their place or source, prompts, cases, memory.
///
/// # Errors
/// The errors of a run before it measures anything.
pub fn dry_run(options: &Options, environment: &Environment) -> Result<String, Error> {
    check(options)?;
    if let Some(dir) = &options.output.out {
        Store::check_new(dir)?;
    }
    if let Some(dir) = &options.output.resume {
        Store::check_resumed(dir)?;
    }
    let mut options = defaults(options, environment);
    let choices = engines::open(&mut options)?;
    let set = prompt::prompt_set(&options.workload.prompts)?;
    let mut text = String::new();
    let labels: Vec<_> = choices
        .iter()
        .map(|engine| {
            let named = if engine.label == engine.engine { String::new() } else { format!("{} = ", engine.label) };
            format!("{named}{} {} on {}", engine.engine, engine.identity.version, engine.identity.device)
        })
        .collect();
    line(&mut text, "engines", &labels.join(", "));
    for (name, value) in [("server", &options.server.url), ("command", &options.server.spawn)] {
        if let Some(value) = value {
            line(&mut text, name, &value.to_string());
        }
    }
    let only_servers = choices.iter().all(|engine| engine.caps.remote);
    if options.subject.models.is_empty() {
        line(&mut text, "model", "that of the server");
    }
    for reference in &options.subject.models {
        if only_servers && served::is_served(&options, reference) {
            line(&mut text, "model", &format!("{reference}: the server's model, which this program does not read"));
        } else {
            add_model(&mut text, &options, &set, &choices, reference)?;
        }
    }
    let threads: Vec<_> = options.engine.threads.iter().map(ToString::to_string).collect();
    let depths: Vec<_> = options.workload.depths.iter().map(ToString::to_string).collect();
    line(&mut text, "threads", &threads.join(", "));
    line(&mut text, "depth", &depths.join(", "));
    line(
        &mut text,
        "prompts",
        &format!(
            "set {}: {}",
            set.name,
            set.prompts.iter().map(|prompt| prompt.id.as_str()).collect::<Vec<_>>().join(", ")
        ),
    );
    let cases = choices.len()
        * options.subject.models.len().max(1)
        * options.engine.threads.len()
        * options.workload.depths.len()
        * set.prompts.len();
    line(
        &mut text,
        "cases",
        &format!("{cases} (engines x models x prompts x threads x depths), each {}", rounds(&options)),
    );
    line(&mut text, "dry run", "nothing was fetched, written or measured");
    Ok(text)
}

/// How often each case is measured, as far as it is known in advance.
fn rounds(options: &Options) -> String {
    let runs = options.design.runs;
    match (options.design.precision, options.design.budget.map(|budget| Nanos::as_secs_f64(budget).to_string())) {
        (Some(share), budget) => {
            let most = budget.map(|budget| format!(", for at most {budget} s in all")).unwrap_or_default();
            let share = short_percent(share);
            format!("at least {runs} times after warm-up, until differences of {share} are found{most}")
        }
        (None, Some(budget)) => format!("at most {runs} times after warm-up, for at most {budget} s in all"),
        (None, None) => format!("{runs} times after warm-up"),
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{name:<9} {value}");
}

fn add_model(
    text: &mut String,
    options: &Options,
    set: &prompts::Set,
    choices: &[EngineChoice],
    reference: &str,
) -> Result<(), Error> {
    let parsed = Reference::parse(reference)?;
    if options.subject.synthetic {
        let (name, spec, _) = locate::synthetic_shape(&options.subject, &parsed)?;
        let bytes = Bytes(locate::synthetic_bytes(&options.subject, &parsed)?);
        line(
            text,
            "model",
            &format!(
                "{name}: synthetic weights, {} parameters, {bytes}, written to {} if they are missing",
                spec.parameters(),
                models::synth::cache_folder().display()
            ),
        );
        estimate(text, options, &spec, bytes);
        return Ok(());
    }
    let settings = Settings { offline: true, ..Settings::from_env() };
    match locate::locate_with(&options.subject, reference, settings, &Quiet) {
        Ok(located) => {
            let model = model::prepare(options, set, choices, located)?;
            if let Some(weights) = &model.weights {
                line(
                    text,
                    "model",
                    &format!(
                        "{}: {} ({}), {}, {}, {} parameters",
                        model.name,
                        weights.path.display(),
                        model.origin,
                        Bytes(weights.file_bytes),
                        weights.shape.quantisation,
                        weights.shape.outline.parameters
                    ),
                );
            }
            let template = match &model.template {
                Ok(template) => format!("chat template {} of {}", template.name, template.place),
                Err(reason) => reason.to_string(),
            };
            line(text, "", &template);
            for substitution in &model.substitutions {
                line(text, "", &format!("no {}; used instead: {}", substitution.what, substitution.used));
            }
            for prompt in &model.prompts {
                line(
                    text,
                    "",
                    &format!(
                        "{}: {} prompt tokens, up to {} new tokens",
                        prompt.id,
                        prompt.ids.len(),
                        prompt.new_tokens
                    ),
                );
            }
            if let Some(weights) = &model.weights {
                let need = match &weights.predicted_bytes {
                    Ok(bytes) => format!("one worker needs about {}", Bytes(*bytes)),
                    Err(reason) => format!("the memory of a worker is not known: {reason}"),
                };
                line(text, "", &format!("context {} tokens; {need}", model.context));
                let shape = weights.shape.modelled.as_ref().ok();
                for choice in choices {
                    let copies = shape.map(|shape| choice.identity.weight_use.copied_bytes(&shape.spec, &shape.types));
                    if let Some(copies) = copies.filter(|copies| copies.get() > 0) {
                        line(text, "", &format!("{} needs {copies} more for copies of weights", choice.label));
                    }
                }
            }
            Ok(())
        }
        Err(Error::Model(ModelError::Unavailable { what, .. })) => {
            let entry = if let Reference::Name(name) = &parsed { registry::find(name).ok() } else { None };
            let size = entry.and_then(|entry| entry.gguf.bytes);
            let size_text = size.map_or_else(|| "of unknown size".to_owned(), |size| size.to_string());
            line(text, "model", &format!("{reference}: not on this disk; {what} ({size_text}) would be fetched"));
            if let (Some(entry), Some(size)) = (entry, size) {
                estimate(text, options, &entry.spec(), size);
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Without the model the tokens of prompts cannot be counted: its memory is estimated for the smallest context.
fn estimate(text: &mut String, options: &Options, spec: &models::Spec, weights: Bytes) {
    /// A context for short prompts.
    const CONTEXT: usize = 512;
    let context =
        options.engine.context.unwrap_or(CONTEXT + options.workload.depths.iter().copied().max().unwrap_or(0));
    let need = cost::estimate_memory(
        spec,
        weights,
        context,
        options.engine.kv_type.cache_types(),
        options.engine.batch.unwrap_or(CONTEXT).min(context),
    );
    line(text, "", &format!("one worker needs about {} with a context of {context} tokens", need.total()));
}
