//! From options to a plan: models found and opened, prompts rendered and counted, cases laid out.
//!
//! All of this happens in the main process before any worker starts; nothing is measured here. The main process keeps no
//! mapping of a checkpoint, because a mapping would hold the file in the page cache.

mod dry_run;
mod engines;
mod identity;
mod locate;
mod model;
mod passage;
mod prepare_error;
mod prompt;
mod served;
mod tokens;
mod vocabulary;

use models::fetch;
use record::Error;
use record::environment::Environment;
use record::plan::{PlanFile, PlannedCase, PlannedModel, PlannedPrompt, PromptChoice};

pub use dry_run::dry_run;
pub use locate::{synthetic_bytes, synthetic_shape};
pub use passage::PASSAGE;
pub use prepare_error::{ContextNeed, PrepareError};

use crate::plan::{self, CasePlan, EngineChoice, ModelBlock, Options, Plan, PreparedModel, Weights, WorkerSlot};
use crate::working_set::buffer_bytes;

/// The most stepped and the most traced requests per case; each is paired with a clean request of its round.
const INSTRUMENTED_RUNS: usize = 2;
/// Share of the available memory that the workers of a block may need together.
const MEMORY_SHARE: f64 = 0.9;

/// Makes the plan; fetches or writes missing models.
///
/// # Errors
/// When an option, an engine, a model or a prompt is invalid.
pub fn prepare(options: &Options, environment: &Environment, progress: &dyn fetch::Progress) -> Result<Plan, Error> {
    plan::check(options)?;
    let mut options = defaults(options, environment);
    let engines = engines::open(&mut options)?;
    let set = prompt::prompt_set(&options.workload.prompts)?;
    let ignore_eos = options.workload.ignore_eos || options.subject.synthetic || set.has_exact_lengths();
    let mut blocks = Vec::new();
    for model in served::models(&options, &set, &engines, progress)? {
        blocks.push(block(&options, &engines, model, environment));
    }
    unique_names(&blocks)?;
    for block in &mut blocks {
        block.cases = cases(&engines, block);
    }
    let file = plan_file(&options, ignore_eos, &set.name, &engines, &blocks)?;
    Ok(Plan { options, file, engines, blocks })
}

/// Options with their defaults filled in.
fn defaults(options: &Options, environment: &Environment) -> Options {
    let mut options = options.clone();
    if options.subject.engines.is_empty() {
        options.subject.engines = vec![plan::DEFAULT_ENGINE.to_owned()];
    }
    if options.subject.models.is_empty() && !engines::all_use_servers(&options.subject.engines) {
        options.subject.models = vec![plan::DEFAULT_MODEL.to_owned()];
    }
    if options.engine.threads.is_empty() {
        options.engine.threads = vec![plan::physical_cores(environment.limits.cpus.value())];
    }
    if options.design.precision.is_some() {
        options.design.budget = options.design.budget.or(Some(plan::DEFAULT_BUDGET));
    }
    if options.workload.depths.is_empty() {
        options.workload.depths = vec![0];
    }
    if matches!(options.workload.prompts, PromptChoice::Tokens(_)) || options.subject.synthetic {
        options.workload.ignore_eos = true;
    }
    options
}

fn block(options: &Options, engines: &[EngineChoice], model: PreparedModel, environment: &Environment) -> ModelBlock {
    let slots: Vec<WorkerSlot> = (0..engines.len())
        .flat_map(|engine| options.engine.threads.iter().map(move |&threads| WorkerSlot { engine, threads }))
        .collect();
    let own: Vec<&WorkerSlot> = slots.iter().filter(|slot| !uses_running_server(engines, slot, options)).collect();
    let available = environment.memory.available_bytes.value();
    let limit = [available, environment.limits.memory_bytes.value()].into_iter().flatten().min();
    // The prober of the machine's ceilings needs its buffer in addition.
    let limit = limit.map(|limit| limit.saturating_sub(buffer_bytes(&environment.processor.caches)));
    let of_worker = |weights: &Weights, slot: &WorkerSlot| {
        let copies =
            weights.shape.modelled.as_ref().map_or(0, |shape| {
                engines[slot.engine].identity.weight_use.copied_bytes(&shape.spec, &shape.types).get()
            });
        weights.least_bytes() + copies
    };
    let need = model.weights.as_ref().map(|weights| own.iter().map(|slot| of_worker(weights, slot)).sum());
    let together = own.len() <= 1 || need.zip(limit).is_none_or(|(need, limit)| fits(need, limit));
    ModelBlock { model, slots, cases: Vec::new(), together }
}

/// Whether the engine of a slot uses a server that is already running.
fn uses_running_server(engines: &[EngineChoice], slot: &WorkerSlot, options: &Options) -> bool {
    engines[slot.engine].caps.remote && options.server.spawn.is_none()
}

#[allow(clippy::cast_precision_loss, reason = "byte counts stay far below 2^53")]
fn fits(need: u64, limit: u64) -> bool {
    need as f64 <= limit as f64 * MEMORY_SHARE
}

/// Two models with the same name would share the ids of their cases.
fn unique_names(blocks: &[ModelBlock]) -> Result<(), PrepareError> {
    for (index, block) in blocks.iter().enumerate() {
        let name = &block.model.name;
        if let Some(same) = blocks.iter().take(index).find(|other| other.model.name == *name) {
            let place = |block: &ModelBlock| {
                block
                    .model
                    .weights
                    .as_ref()
                    .map_or_else(|| "a server's".to_owned(), |own| own.path.display().to_string())
            };
            return Err(PrepareError::TwoModels { name: name.clone(), places: [place(same), place(block)] });
        }
    }
    Ok(())
}

fn cases(engines: &[EngineChoice], block: &ModelBlock) -> Vec<CasePlan> {
    let mut cases = Vec::new();
    for (slot, WorkerSlot { engine, threads }) in block.slots.iter().enumerate() {
        let label = &engines[*engine].label;
        for filler in &block.model.fillers {
            let depth = filler.depth();
            for (prompt, prepared) in block.model.prompts.iter().enumerate() {
                let id = plan::case_id(label, &block.model.name, &prepared.id, *threads, depth);
                cases.push(CasePlan { id, slot, prompt, filler: filler.clone() });
            }
        }
    }
    cases
}

fn plan_file(
    options: &Options,
    ignore_eos: bool,
    set: &str,
    engines: &[EngineChoice],
    blocks: &[ModelBlock],
) -> Result<PlanFile, Error> {
    let planned = |block: &ModelBlock| {
        let model = &block.model;
        PlannedModel {
            name: model.name.clone(),
            reference: redaction::redact(&model.reference),
            origin: model.origin.clone(),
            context: model.context,
            together: block.together,
            chat_template: model.template.clone().into(),
            substitutions: model.substitutions.clone(),
            ..identity::describe(model.weights.as_ref())
        }
    };
    let prompts = blocks.iter().flat_map(|block| {
        block.model.prompts.iter().map(|prompt| PlannedPrompt {
            model: block.model.name.clone(),
            id: prompt.id.clone(),
            tests: prompt.tests.clone(),
            prompt_tokens: prompt.ids.len(),
            new_tokens: prompt.new_tokens,
        })
    });
    let cases = blocks.iter().flat_map(|block| {
        block.cases.iter().map(|case| {
            let slot = block.slot(case);
            PlannedCase {
                id: case.id.clone(),
                engine: engines[slot.engine].label.clone(),
                model: block.model.name.clone(),
                prompt: block.prompt(case).id.clone(),
                threads: slot.threads,
                depth: case.filler.depth(),
            }
        })
    });
    let counters = counters(options)?.iter().map(|counter| counter.name.to_owned()).collect();
    Ok(PlanFile {
        engines: engines.iter().map(|engine| engine.label.clone()).collect(),
        engine_of: engines
            .iter()
            .filter(|engine| engine.label != engine.engine)
            .map(|engine| (engine.label.clone(), engine.engine.clone()))
            .collect(),
        models: blocks.iter().map(planned).collect(),
        prompt_set: set.to_owned(),
        prompts: prompts.collect(),
        threads: options.engine.threads.clone(),
        depths: options.workload.depths.clone(),
        runs: options.design.runs,
        precision: options.design.precision,
        budget_s: options.design.budget.map(traces::Nanos::as_secs_f64),
        instrumented_runs: options.design.runs.min(INSTRUMENTED_RUNS),
        warmup: options.design.warmup,
        seed: options.design.seed,
        temperature: 0.0,
        raw: options.workload.raw,
        ignore_eos,
        cold: options.design.cold,
        kv_type: options.engine.kv_type.into(),
        flash_attention: options.engine.flash_attention,
        batch: options.engine.batch,
        device: options.engine.device.clone(),
        settings: options
            .engine
            .settings
            .iter()
            .map(|(engine, key, value)| (engine.clone(), key.clone(), value.to_string()))
            .collect(),
        trace: options.instruments.trace,
        counters,
        timeout_s: options.design.timeout.map(traces::Nanos::as_secs_f64),
        virtual_time: engines.iter().all(|engine| engine.caps.virtual_time),
        cases: cases.collect(),
    })
}

/// The counters to read: the accounting of the kernel, and the events of the options, else the default ones. Top-down levels need
/// `topdown_slots`, since they are shares of it.
fn counters(options: &Options) -> Result<Vec<&'static meter::Counter>, Error> {
    use meter::{COUNTERS, Source, default_counters};
    if options.instruments.counters.is_empty() {
        return Ok(default_counters());
    }
    let mut counters: Vec<_> = COUNTERS.iter().filter(|counter| matches!(counter.source, Source::Usage(_))).collect();
    let mut add = |counter| {
        if !counters.contains(&counter) {
            counters.push(counter);
        }
    };
    for name in &options.instruments.counters {
        let event = plan::counter(name)?;
        if event.name.starts_with("topdown_") {
            add(plan::counter("topdown_slots")?);
        }
        add(event);
    }
    Ok(counters)
}
