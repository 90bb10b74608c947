//! From options to a plan: models found and opened, prompts rendered and counted, cases laid out.
//!
//! All of this happens in the main process before any worker starts; nothing is measured here. The main process keeps no
//! mapping of a checkpoint: it would hold the file in the page cache.

mod engines;
mod identity;
mod locate;
mod model;
mod passage;
mod prompt;
mod served;
mod tokens;

use models::fetch;

pub(crate) use self::engines::open as open_engines;
pub(crate) use locate::locate_with;
pub use locate::{Place, locate};
pub use locate::{synthetic_bytes, synthetic_shape};
pub(crate) use model::prepare as prepare_model;
pub use model::{PreparedModel, Shape, Weights};
pub use passage::PASSAGE;
pub use prompt::{PreparedPrompt, prompt_set};
pub(crate) use served::is_served;
pub use tokens::{Filler, Ordinary};

use crate::ceilings;
use crate::plan::{self, Block, CasePlan, EngineChoice, Options, Plan, Seat};
use record::Error;
use record::environment::Environment;
use record::plan::{PlanFile, PlannedCase, PlannedModel, PlannedPrompt, PromptChoice};

/// Stepped and traced requests per case, each, at most: two, each paired with a clean one of its round.
const INSTRUMENTED_RUNS: usize = 2;
/// Share of the available memory that workers of a block may need together.
const MEMORY_SHARE: f64 = 0.9;

/// Makes the plan; fetches or writes what is missing.
///
/// # Errors
/// When an option, an engine, a model or a prompt is not what it should be.
pub fn prepare(options: &Options, environment: &Environment, progress: &dyn fetch::Progress) -> Result<Plan, Error> {
    plan::check(options)?;
    let mut options = defaults(options, environment);
    let engines = engines::open(&mut options)?;
    let set = prompt_set(&options.prompts)?;
    let ignore_eos = options.ignore_eos || options.synthetic || set.has_exact_lengths();
    let mut blocks = Vec::new();
    for model in served::models(&options, &set, &engines, progress)? {
        blocks.push(block(&options, &engines, model, environment));
    }
    unique_names(&blocks)?;
    for block in &mut blocks {
        block.cases = cases(&options, &engines, block);
    }
    let file = plan_file(&options, ignore_eos, &set.name, &engines, &blocks);
    Ok(Plan { options, file, engines, blocks })
}

/// Options with their defaults filled in.
pub fn defaults(options: &Options, environment: &Environment) -> Options {
    let mut options = options.clone();
    if options.engines.is_empty() {
        options.engines = vec![plan::DEFAULT_ENGINE.to_owned()];
    }
    if options.models.is_empty() && !engines::all_ask_servers(&options.engines) {
        options.models = vec![plan::DEFAULT_MODEL.to_owned()];
    }
    if options.threads.is_empty() {
        options.threads = vec![plan::physical_cores(environment.limits.cpus)];
    }
    if options.precision.is_some() {
        options.budget = options.budget.or(Some(plan::DEFAULT_BUDGET));
    }
    if options.depths.is_empty() {
        options.depths = vec![0];
    }
    if matches!(options.prompts, PromptChoice::Tokens(_)) || options.synthetic {
        options.ignore_eos = true;
    }
    options
}

fn block(options: &Options, engines: &[EngineChoice], model: PreparedModel, environment: &Environment) -> Block {
    let seats: Vec<Seat> = (0..engines.len())
        .flat_map(|engine| options.threads.iter().map(move |&threads| Seat { engine, threads }))
        .collect();
    let workers = seats.iter().filter(|seat| !is_elsewhere(engines, seat, options)).count();
    let available = environment.memory.available_bytes;
    let limit = [available, environment.limits.memory_bytes].into_iter().flatten().min();
    // The machine's limits are probed beside the workers.
    let limit = limit.map(|limit| limit.saturating_sub(ceilings::buffer_bytes(&environment.processor.caches)));
    let need = model.weights.as_ref().map(|weights| weights.predicted_bytes);
    let together = workers <= 1 || need.zip(limit).is_none_or(|(need, limit)| fits(need, workers, limit));
    Block { model, seats, cases: Vec::new(), together }
}

/// Whether a seat only asks a server that runs already.
fn is_elsewhere(engines: &[EngineChoice], seat: &Seat, options: &Options) -> bool {
    engines.get(seat.engine).is_some_and(|choice| choice.caps.remote) && options.spawn.is_none()
}

#[allow(clippy::cast_precision_loss, reason = "byte counts stay far below 2^53")]
fn fits(each: u64, workers: usize, limit: u64) -> bool {
    each as f64 * workers as f64 <= limit as f64 * MEMORY_SHARE
}

/// Two models of one name would share their cases' ids.
fn unique_names(blocks: &[Block]) -> Result<(), Error> {
    for (index, block) in blocks.iter().enumerate() {
        let name = &block.model.name;
        if let Some(same) = blocks.iter().take(index).find(|other| other.model.name == *name) {
            let place = |block: &Block| {
                block
                    .model
                    .weights
                    .as_ref()
                    .map_or_else(|| "a server's".to_owned(), |own| own.path.display().to_string())
            };
            let (one, other) = (place(same), place(block));
            return Err(Error::usage(
                format!("two models are called `{name}` ({one} and {other}): their results would have the same names"),
                "rename one of the files",
            ));
        }
    }
    Ok(())
}

fn cases(options: &Options, engines: &[EngineChoice], block: &Block) -> Vec<CasePlan> {
    let mut cases = Vec::new();
    for (seat, Seat { engine, threads }) in block.seats.iter().enumerate() {
        let label = engines.get(*engine).map_or("", |choice| choice.label.as_str());
        for &depth in &options.depths {
            for (prompt, prepared) in block.model.prompts.iter().enumerate() {
                let id = plan::case_id(label, &block.model.name, &prepared.id, *threads, depth);
                let filler =
                    block.model.fillers.iter().find(|filler| filler.depth() == depth).cloned().unwrap_or_default();
                cases.push(CasePlan { id, seat, prompt, filler });
            }
        }
    }
    cases
}

fn plan_file(options: &Options, ignore_eos: bool, set: &str, engines: &[EngineChoice], blocks: &[Block]) -> PlanFile {
    let planned = |block: &Block| {
        let model = &block.model;
        let mut planned = PlannedModel {
            name: model.name.clone(),
            reference: model.reference.clone(),
            origin: model.origin.clone(),
            context: model.context,
            together: block.together,
            ..PlannedModel::default()
        };
        identity::describe(&mut planned, model.weights.as_ref());
        let Some(weights) = &model.weights else { return planned };
        PlannedModel {
            path: weights.path.display().to_string(),
            file_bytes: Some(weights.file_bytes),
            format: weights.shape.format.clone(),
            quantisation: weights.shape.quantisation.clone(),
            architecture: weights.shape.spec.arch.name().to_owned(),
            parameters: Some(weights.shape.spec.parameters().get()),
            synthetic: weights.synthetic,
            predicted_bytes: Some(weights.predicted_bytes),
            spec: Some(weights.shape.spec.clone()),
            types: Some(weights.shape.types.clone()),
            ..planned
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
        block.cases.iter().filter_map(|case| {
            let seat = block.seats.get(case.seat)?;
            Some(PlannedCase {
                id: case.id.clone(),
                engine: engines.get(seat.engine)?.label.clone(),
                model: block.model.name.clone(),
                prompt: block.prompt(case)?.id.clone(),
                threads: seat.threads,
                depth: case.filler.depth(),
            })
        })
    });
    PlanFile {
        engines: engines.iter().map(|engine| engine.label.clone()).collect(),
        engine_of: engines
            .iter()
            .filter(|engine| engine.label != engine.engine)
            .map(|engine| (engine.label.clone(), engine.engine.clone()))
            .collect(),
        models: blocks.iter().map(planned).collect(),
        prompt_set: set.to_owned(),
        prompts: prompts.collect(),
        threads: options.threads.clone(),
        depths: options.depths.clone(),
        runs: options.runs,
        precision: options.precision,
        budget_s: options.budget.map(traces::Nanos::as_secs_f64),
        instrumented_runs: options.runs.min(INSTRUMENTED_RUNS),
        warmup: options.warmup,
        seed: options.seed,
        temperature: 0.0,
        raw: options.raw,
        ignore_eos,
        cold: options.cold,
        kv_type: options.kv_type.into(),
        flash_attention: options.flash_attention,
        batch: options.batch,
        device: options.device.clone(),
        settings: options.settings.clone(),
        trace: options.trace,
        counters: counters(options).iter().map(|counter| counter.name.to_owned()).collect(),
        timeout_s: options.timeout.map(traces::Nanos::as_secs_f64),
        virtual_time: engines.iter().all(|engine| engine.caps.virtual_time),
        cases: cases.collect(),
    }
}

/// The kernel's accounting always, and the events that were asked for, else the default ones. The top-down levels take their
/// slots along: without them they are shares of nothing.
pub fn counters(options: &Options) -> Vec<&'static meter::Counter> {
    use meter::{COUNTERS, Source, default_counters, find, named};
    if options.counters.is_empty() {
        return default_counters();
    }
    let mut counters: Vec<_> = COUNTERS.iter().filter(|counter| matches!(counter.source, Source::Usage(_))).collect();
    let events = options.counters.iter().filter_map(|name| named(name));
    let mut take = |counter| {
        if !counters.contains(&counter) {
            counters.push(counter);
        }
    };
    for event in events {
        if event.name.starts_with("topdown_") {
            find("topdown_slots").into_iter().for_each(&mut take);
        }
        take(event);
    }
    counters
}
