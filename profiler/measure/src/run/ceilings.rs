//! The ceilings of a run's machine: this one, or the simulated machine of the mock engine where time is virtual.

use record::environment::Environment;
use record::{Ceilings, Reason};

use super::Context;
use crate::ceilings::{self, ProbeResources};
use crate::plan::Plan;
use crate::pool::WorkerFolder;

/// The ceilings for the thread counts of the plan. Missing ones are measured now, before anything else.
pub(super) fn measured_or_simulated(
    plan: &Plan,
    worker_folder: &WorkerFolder,
    environment: &Environment,
    context: Context<'_>,
) -> Result<Ceilings, Reason> {
    let threads = &plan.file.threads;
    if plan.file.virtual_time {
        // Of several mock engines the first one, which is the baseline.
        let mock = plan.engines.iter().find(|choice| choice.identity.name == engines::mock::NAME);
        let mock = mock.ok_or("time is virtual, and no engine of the run has a simulated machine")?;
        return ceilings::simulated(&plan.options.engine.settings_of(mock), threads);
    }
    let report = |text: &str| context.progress.note(text);
    let resources =
        ProbeResources { binary: context.binary, worker_folder, interrupt: context.interrupt, report: &report };
    Ok(ceilings::ceilings(resources, environment, context.tool, threads, false))
}
