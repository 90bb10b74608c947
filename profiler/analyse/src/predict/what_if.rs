//! The what-if table of a run: other quantisations, a longer context, other thread counts, the seed models, estimated from this run
//! alone. A pure function of the run file.

use engine_api::KvTypes;
use std::collections::BTreeSet;

use models::cost::WeightTypes;
use models::registry;
use models::synth::Quant;
use models::{Bytes, Spec};

use super::estimate::{Settings, Target, predict};
use super::prediction::{Figure, Prediction};
use record::plan::{PlanFile, PlannedModel};
use record::{Case, RESTS_ON, Reason, Recorded, RunFile, Spread, Status, WhatIf};

/// The quantisations in the table.
const QUANTS: [Quant; 3] = [Quant::Q4_0, Quant::Q8_0, Quant::F16];
/// The quantisation of the seed models in the table.
const SEED_QUANT: Quant = Quant::Q4_0;
/// The basis of every row.
const SOURCE: &str = "ops and ceilings of this run";
/// The longer context, in tokens before the prompt.
const DEPTH: usize = 4096;

/// The what-if table of a run.
///
/// # Errors
/// The reason, where there is nothing to estimate from.
pub fn what_if(file: &RunFile) -> Result<Vec<WhatIf>, Reason> {
    if file.ceilings.is_absent() && file.ceiling_probes.is_empty() {
        return Err(Reason::new("the run has no ceilings to estimate from"));
    }
    let traced = |case: &&Case| case.status == Status::Ok && !case.ops.is_empty();
    let base = file.cases.iter().find(traced);
    let base = base.ok_or_else(|| Reason::new("no operation was traced that could be estimated from"))?;
    let models: Vec<(&PlannedModel, &Spec)> = file
        .plan
        .models
        .iter()
        .filter(|model| file.cases.iter().filter(traced).any(|case| case.model == model.name))
        .filter_map(|model| Some((model, model.spec.as_ref()?)))
        .collect();
    if models.is_empty() {
        let not_modelled = file.plan.models.iter().find_map(|model| model.spec.stated_reason()).cloned();
        let without = || Reason::new("the run file does not contain the shapes of its models");
        return Err(not_modelled.unwrap_or_else(without));
    }
    let kv_type = file.plan.kv_type.known().map_err(|error| Reason::new(error.to_string()))?;
    let mut rows = Vec::new();
    for (model, spec) in &models {
        let settings = settings(&file.plan, base, &model.name, kv_type);
        let own = model.types.as_ref().cloned().and_then(|types| of_model(model, spec, types));
        rows.extend(own.iter().flat_map(|own| changes(file, own, &settings)));
        for quant in QUANTS.into_iter().filter(|quant| !model.quantisation.eq_ignore_ascii_case(quant.name())) {
            let what = format!("{} in {} instead of {}", plain(model), quant.name(), model.quantisation);
            rows.extend(of_quant(plain(model), spec, quant).and_then(|other| row(file, what, &other, &settings)));
        }
    }
    let settings = settings(&file.plan, base, &base.model, kv_type);
    for entry in registry::reference_models().iter().filter(|entry| entry.name != registry::DEFAULT) {
        let measured = |(model, spec): &(&PlannedModel, &Spec)| {
            model.quantisation.eq_ignore_ascii_case(SEED_QUANT.name()) && spec.parameters() == entry.spec().parameters()
        };
        if !models.iter().any(measured) {
            let what = format!("{} in {}", entry.name, SEED_QUANT.name());
            rows.extend(
                of_quant(entry.name, &entry.spec(), SEED_QUANT).and_then(|other| row(file, what, &other, &settings)),
            );
        }
    }
    Ok(rows)
}

/// The model as it was run, with one setting changed.
fn changes(file: &RunFile, own: &Target, settings: &Settings) -> Vec<WhatIf> {
    let mut rows = Vec::new();
    if settings.depth < DEPTH {
        let what = format!("{} after {DEPTH} tokens", own.name);
        let deep = Settings { depth: DEPTH, ..settings.clone() };
        let context = own.spec.context_length;
        if deep.tokens() <= context {
            rows.extend(row(file, what, own, &deep));
        } else {
            rows.push(too_long(what, own, &deep));
        }
    }
    let known: BTreeSet<usize> =
        file.ceilings.as_ref().into_iter().flat_map(|known| &known.threads).map(|of| of.threads).collect();
    for threads in known.into_iter().filter(|threads| !file.plan.threads.contains(threads)) {
        let noun = if threads == 1 { "thread" } else { "threads" };
        rows.extend(row(
            file,
            format!("{} on {threads} {noun}", own.name),
            own,
            &Settings { threads, ..settings.clone() },
        ));
    }
    rows
}

/// The run's own settings, with the middle of the model's prompts.
fn settings(plan: &PlanFile, base: &Case, model: &str, kv_type: KvTypes) -> Settings {
    let mut lengths: Vec<(usize, usize)> = plan
        .prompts
        .iter()
        .filter(|prompt| prompt.model == model)
        .map(|prompt| (prompt.prompt_tokens, prompt.new_tokens))
        .collect();
    lengths.sort_unstable();
    let (prompt_tokens, new_tokens) = lengths.get(lengths.len() / 2).copied().unwrap_or((1, 1));
    Settings {
        engine: base.engine.clone(),
        threads: base.threads,
        depth: base.depth,
        prompt_tokens: prompt_tokens.max(1),
        new_tokens: new_tokens.max(1),
        kv_type,
        batch: plan.batch,
        weight_use: None,
        machine_memory: None,
    }
}

/// A synthetic model's name without its type.
fn plain(model: &PlannedModel) -> &str {
    let suffix = format!("-{}", model.quantisation.to_lowercase());
    model.name.strip_suffix(&suffix).unwrap_or(&model.name)
}

fn of_model(model: &PlannedModel, spec: &Spec, types: WeightTypes) -> Option<Target> {
    Some(Target {
        name: model.name.clone(),
        reference: model.reference.clone(),
        quant: model.quantisation.clone(),
        spec: spec.clone(),
        types,
        file_bytes: Bytes(model.file_bytes.value()?),
    })
}

/// `None` for a shape that the type cannot store.
fn of_quant(name: &str, spec: &Spec, quant: Quant) -> Option<Target> {
    Target::synthetic(name, name, spec.clone(), quant, None).ok()
}

/// `None` where the ceilings of that thread count are not known.
fn row(file: &RunFile, what: String, subject: &Target, settings: &Settings) -> Option<WhatIf> {
    let found = predict(subject, settings, &[file], None).ok()?;
    let runs = found.rests_on.len();
    let estimate = |figure: &Recorded<Figure>| match figure {
        Recorded::Present(Figure::Estimate { value, low, high }) => {
            Recorded::Present(Spread { median: *value, low: *low, high: *high, n: runs })
        }
        // A bound is no estimate.
        Recorded::Present(Figure::Bound(_)) => Recorded::absent("no similar operation was measured in this run"),
        Recorded::Absent(reason) => Recorded::Absent(reason.clone()),
    };
    Some(WhatIf {
        load_s: estimate(&found.load_warm_s),
        memory_bytes: estimate(&found.memory_bytes),
        prefill_tps: estimate(&found.prefill_tps),
        decode_tps: estimate(&found.decode_tps),
        ..absent(what, subject, settings, Reason::unrecorded(), rests_on(&found))
    })
}

/// A row without figures: the tokens exceed the context of the model.
fn too_long(what: String, subject: &Target, settings: &Settings) -> WhatIf {
    let reason = format!("the model has a context of {} tokens", subject.spec.context_length);
    let rests_on = format!("{SOURCE}; {} tokens in all: {reason}", settings.tokens());
    absent(what, subject, settings, reason.into(), rests_on)
}

/// A row without figures.
fn absent(what: String, subject: &Target, settings: &Settings, reason: Reason, rests_on: String) -> WhatIf {
    WhatIf {
        what,
        model: subject.name.clone(),
        quant: subject.quant.clone(),
        engine: settings.engine.clone(),
        threads: settings.threads,
        depth: settings.depth,
        notes: [(RESTS_ON.to_owned(), rests_on)].into(),
        ..WhatIf::absent(reason)
    }
}

/// The basis of a row, with its notes. Notes on bounds are left out, as the bounds are.
fn rests_on(found: &Prediction) -> String {
    let notes = found.remarks.iter().filter(|note| !note.starts_with("memory: ") && !note.starts_with("load: "));
    [SOURCE].into_iter().chain(notes.map(String::as_str)).collect::<Vec<_>>().join("; ")
}
