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
        // Of several mocks the first one's: the baseline's.
        let mock = plan.engines.iter().find(|choice| choice.identity.name == engines::mock::NAME);
        let settings = mock.map(|choice| plan.options.settings_of(choice)).unwrap_or_default();
        return ceilings::simulated(&settings, threads);
    }
    let tell = |text: &str| progress.note(text);
    let means = ceilings::Means { binary, home, interrupt, tell: &tell };
    Ok(ceilings::ceilings(means, environment, tool, threads, false))
}
