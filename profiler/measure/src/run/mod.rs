//! Measures a whole run: blocks of one model, rounds of interleaved cases. Every sample is stored as soon as it is measured.
//!
//! ```text
//! per block (one model):
//!   per case   load a fresh session, its first request (the memory figures), warm up until the time per token is steady
//!   per round  prompt by prompt in a shuffled order, each on all workers one after the other: the clean requests and, in the first
//!              rounds, a stepped and a traced one with them; disturbed requests are repeated at the end of the round
//!   at the end examine the engines: their most likely tokens in their answers and in one passage; not measured
//! ```
//! A case that fails has a row with the reason; the other cases continue. Results are on disk at every moment.

mod active_run;
mod block;
mod ceiling_probes;
mod ceilings;
mod counter_sets;
mod disturbance;
mod examination;
mod memory;
mod op_costs;
mod precision;
mod progress;
mod request;
mod resume;
mod round;
mod state;
mod trace;
mod warm_up;

use std::path::{Path, PathBuf};

use record::environment::Environment;
use record::plan::{PlannedCase, RUNS};
use record::{Case, Error, FolderLock, Reasons, Recorded, RecordedList, RunFile, SCHEMA_VERSION, Status, Store, Tool};
use traces::clock::{self, VirtualClock};

use crate::interrupt::Interrupt;
use crate::plan::{self, Options, Plan};
use crate::pool::WorkerFolder;
use crate::prepare;
use crate::timestamp::rfc3339;
use active_run::{ActiveRun, RunInputs};
use resume::EarlierRun;

pub use progress::Progress;

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its folder.
    pub dir: PathBuf,
    /// The content of `run.json`.
    pub file: RunFile,
}

/// What a run needs from the program around it.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The program whose worker subcommand is started; in tests it is not the program that runs.
    pub binary: &'a Path,
    /// The program and its build, for the record.
    pub tool: &'a Tool,
    /// Adds what follows from the record, each time before `run.json` is written.
    pub analyse: &'a dyn Fn(&RunFile) -> record::Findings,
    /// Receives the run's progress.
    pub progress: &'a dyn Progress,
    /// Ends the run early.
    pub interrupt: &'a Interrupt,
}

/// Why a run in virtual time does not have the figures of this machine.
const VIRTUAL: &str = "time is virtual: the results do not depend on this machine";
/// Why a run does not have yet what is known at its end.
const NOT_ENDED: &str = "the run has not ended";
/// Why a case has no complete results yet.
const NOT_MEASURED_YET: &str = "not measured yet";

/// Measures the run that `options` describe.
///
/// # Errors
/// When an option is invalid or a model is missing, or when results cannot be written. A case that fails is not an error: its row has
/// the reason.
pub fn execute(options: &Options, context: Context<'_>) -> Result<Outcome, Error> {
    let Context { tool, progress, .. } = context;
    let began = clock::unix_time();
    let mut environment = meter::environment::capture(&[]);
    let plan = prepare::prepare(options, &environment, progress.fetching())?;
    let identities: Vec<_> = plan.engines.iter().map(|engine| engine.identity.clone()).collect();
    // With a virtual clock the results do not depend on this machine: two runs are equal, byte for byte.
    let virtual_clock = plan.file.virtual_time.then(VirtualClock::install);
    if virtual_clock.is_some() {
        environment = Environment::absent(VIRTUAL);
    }
    environment.engines = identities;

    let dir = folder(&plan, began);
    let lock = FolderLock::acquire(&dir)?;
    let earlier = match &plan.options.output.resume {
        Some(dir) => Some(EarlierRun::of(resume::earlier(dir, &plan.file)?, &plan)),
        None => {
            Store::check_new(&dir)?;
            None
        }
    };
    let (before, earlier) = earlier.unzip();
    let worker_folder = WorkerFolder::create()?;
    let measured = ceilings::measured_or_simulated(&plan, &worker_folder, &environment, context);
    let is_virtual = virtual_clock.is_some();
    let without_probes = if is_virtual { "time is virtual: the machine does not drift" } else { "none was taken" };
    let of_before = before.clone().unwrap_or_else(|| RunFile {
        started: rfc3339(clock::unix_time()),
        cases: plan.file.cases.iter().map(empty_case).collect(),
        ..RunFile::default()
    });
    let without_throttling = if is_virtual { VIRTUAL } else { NOT_ENDED };
    let mut file = RunFile {
        schema_version: SCHEMA_VERSION,
        name: record::name_of(&dir),
        tool: tool.clone(),
        command_line: plan.options.output.command_line.clone(),
        started: of_before.started,
        finished: Recorded::absent(NOT_ENDED),
        interrupted: false,
        environment,
        plan: plan.file.clone(),
        ceilings: measured.into(),
        ceiling_probes: RecordedList::new(of_before.ceiling_probes.to_vec(), without_probes),
        conditions: of_before.conditions,
        examinations: of_before.examinations,
        cases: of_before.cases,
        summaries: Vec::new(),
        precision: of_before.precision,
        depth_laws: Vec::new(),
        probes: Vec::new(),
        messages: of_before.messages,
        throttle_events_after: Recorded::absent(without_throttling),
        warnings: Vec::new(),
        verdicts: Vec::new(),
        what_if: RecordedList::absent("not estimated yet"),
        notes: Reasons::new(),
    };
    let inputs = RunInputs { plan: &plan, worker_folder: &worker_folder, context };
    let store = match before {
        Some(before) => {
            let findings = (context.analyse)(&file);
            file.set_findings(findings);
            Store::resume(lock, &before, &file)?
        }
        None => Store::create(lock, &file)?,
    };
    let mut run = ActiveRun::new(inputs, store, file, earlier)?;
    progress.started(&plan, &dir);
    block::measure_all(&mut run)?;
    let file = run.finish()?;
    progress.finished(&file);
    Ok(Outcome { dir, file })
}

fn folder(plan: &Plan, began: std::time::Duration) -> PathBuf {
    if let Some(dir) = plan.options.output.resume.as_ref().or(plan.options.output.out.as_ref()) {
        return dir.clone();
    }
    let models: Vec<_> = plan.file.models.iter().map(|model| model.name.as_str()).collect();
    let engines: Vec<_> = plan.file.engines.iter().map(String::as_str).collect();
    plan::new_folder(Path::new(RUNS), &plan::folder_name(began, &models, &engines))
}

/// A case before it is measured.
fn empty_case(planned: &PlannedCase) -> Case {
    Case {
        id: planned.id.clone(),
        engine: planned.engine.clone(),
        model: planned.model.clone(),
        prompt: planned.prompt.clone(),
        threads: planned.threads,
        depth: planned.depth,
        status: Status::Skipped,
        error: Some(NOT_MEASURED_YET.to_owned()),
        ..Case::default()
    }
}
