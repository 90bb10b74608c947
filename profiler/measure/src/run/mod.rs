//! A whole run: blocks of one model, rounds of interleaved cases, every sample kept as it happens.
//!
//! ```text
//! per block (one model):
//!   per case   load a fresh session, its first request (memory headline), warm up until steady
//!   per round  prompt by prompt in a shuffled order, each on all workers side by side: the clean requests and, in the first rounds,
//!              a stepped and a traced one beside them; what lay in a spell of noise once more at the end
//!   at the end what the engines hold likely in their answers and in one passage: not measured
//! ```
//! A failing case is a row that says why; the others go on. What was measured is on disk at every moment.

mod block;
mod counter_sets;
mod crew;
mod examine;
mod limits;
mod memory;
mod ops;
mod precision;
mod probes;
mod progress;
mod request;
mod resume;
mod round;
mod state;
mod trace;
mod watch;

use std::path::{Path, PathBuf};

use traces::clock::{self, VirtualClock};

use crate::drive;
use crate::plan::{self, Options, Plan};
use crate::prepare;
use crate::worker::Home;
use record::Error;
use record::environment::Environment;
use record::plan::{PlannedCase, RUNS};
use record::{Case, RunFile, SCHEMA_VERSION, Status, Store, Tool};

pub use progress::{Interrupt, Progress};

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    /// Its folder.
    pub dir: PathBuf,
    /// What `run.json` holds.
    pub file: RunFile,
}

/// What a run needs from the program around it.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The program whose worker subcommand is started; tests are not the program that they test.
    pub binary: &'a Path,
    /// What measures: stored in the record.
    pub tool: &'a Tool,
    /// Fills in what follows from the record, each time before `run.json` is written.
    pub analyse: &'a dyn Fn(&mut RunFile),
    /// Receives the run's progress.
    pub progress: &'a dyn Progress,
    /// Ends the run early.
    pub interrupt: &'a Interrupt,
}

/// Measures everything that `options` ask for.
///
/// # Errors
/// When something is wrong before the first request, or results cannot be written. A failing case is no error: its row says so.
pub fn execute(options: &Options, context: Context<'_>) -> Result<Outcome, Error> {
    let Context { tool, progress, .. } = context;
    let began = clock::unix_time();
    let mut environment = meter::environment::capture(&[]);
    let plan = prepare::prepare(options, &environment, progress.fetching())?;
    let identities: Vec<_> = plan.engines.iter().map(|engine| engine.identity.clone()).collect();
    // With a virtual clock nothing of this machine enters the results: two runs are equal, byte for byte.
    let virtual_clock = plan.file.virtual_time.then(VirtualClock::install);
    if virtual_clock.is_some() {
        environment = Environment::default();
    }
    environment.engines = identities;

    let dir = folder(&plan, began);
    let (store, earlier) = match &plan.options.resume {
        Some(dir) => {
            let (store, samples) = Store::resume(dir)?;
            (store, Some(resume::earlier(dir, &plan.file, samples)?))
        }
        None => (Store::create(&dir)?, None),
    };
    let home = Home::create()?;
    let limits = limits::limits(&plan, &home, &environment, context);
    let mut reasons = record::Reasons::new();
    let ceilings = limits.map_err(|reason| reasons.insert("ceilings".to_owned(), reason)).ok();
    if virtual_clock.is_some() {
        reasons.insert("ceiling_probes".to_owned(), "time is virtual: the machine does not drift".to_owned());
    }
    let file = RunFile {
        schema_version: SCHEMA_VERSION,
        name: dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        tool: tool.clone(),
        command_line: plan.options.command_line.clone(),
        started: earlier.as_ref().map_or_else(|| drive::rfc3339(clock::unix_time()), |earlier| earlier.started.clone()),
        finished: None,
        interrupted: false,
        environment,
        plan: plan.file.clone(),
        ceilings,
        ceiling_probes: earlier.as_ref().map(|earlier| earlier.ceiling_probes.clone()).unwrap_or_default(),
        conditions: Vec::new(),
        examinations: earlier.as_ref().map(|earlier| earlier.examinations.clone()).unwrap_or_default(),
        cases: plan.file.cases.iter().map(empty).collect(),
        summaries: Vec::new(),
        precision: Vec::new(),
        probes: Vec::new(),
        notes: Vec::new(),
        throttle_events_after: None,
        warnings: Vec::new(),
        verdicts: Vec::new(),
        what_if: Vec::new(),
        reasons,
    };
    let means = block::Means { plan: &plan, home: &home, context };
    let mut run = block::Run::new(means, store, file, earlier)?;
    progress.started(&plan, &dir);
    run.everything()?;
    let file = run.finish()?;
    progress.finished(&file);
    Ok(Outcome { dir, file })
}

fn folder(plan: &Plan, began: std::time::Duration) -> PathBuf {
    if let Some(dir) = plan.options.resume.as_ref().or(plan.options.out.as_ref()) {
        return dir.clone();
    }
    let models: Vec<_> = plan.file.models.iter().map(|model| model.name.as_str()).collect();
    let engines: Vec<_> = plan.file.engines.iter().map(String::as_str).collect();
    plan::new_folder(Path::new(RUNS), &plan::folder_name(began, &models, &engines))
}

/// A case before anything of it was measured.
fn empty(planned: &PlannedCase) -> Case {
    Case {
        id: planned.id.clone(),
        engine: planned.engine.clone(),
        model: planned.model.clone(),
        prompt: planned.prompt.clone(),
        threads: planned.threads,
        depth: planned.depth,
        status: Status::Skipped,
        error: Some("not measured yet".to_owned()),
        ..Case::default()
    }
}
