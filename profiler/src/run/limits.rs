//! The ceilings of the machine that a run measures on: the real one's, or the mock's where time is virtual.

use std::path::Path;

use super::{Interrupt, Progress};
use crate::ceilings;
use crate::environment::Environment;
use crate::plan::Plan;
use crate::results::{Ceilings, Tool};
use crate::worker::Home;

/// For the thread counts of the plan; what is missing is measured now, before anything else.
pub(super) fn limits(
    plan: &Plan,
    binary: &Path,
    home: &Home,
    environment: &Environment,
    tool: &Tool,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Ceilings, String> {
    let threads = &plan.file.threads;
    if plan.file.virtual_time {
        let of_mock = plan.options.settings.iter().filter(|(engine, ..)| engine == engines::mock::NAME);
        let settings = of_mock.map(|(_, key, value)| (key.clone(), value.clone())).collect();
        return ceilings::simulated(&settings, threads);
    }
    let tell = |text: &str| progress.note(text);
    let means = ceilings::Means { binary, home, interrupt, tell: &tell };
    Ok(ceilings::ceilings(means, environment, tool, threads, false))
}
