//! The ceilings of the machine that a run measures on: the real one's, or the mock's where time is virtual.

use super::Context;
use crate::ceilings;
use crate::plan::Plan;
use crate::worker::Home;
use record::Ceilings;
use record::environment::Environment;

/// For the thread counts of the plan; what is missing is measured now, before anything else.
pub(super) fn limits(
    plan: &Plan,
    home: &Home,
    environment: &Environment,
    context: Context<'_>,
) -> Result<Ceilings, String> {
    let threads = &plan.file.threads;
    if plan.file.virtual_time {
        // Of several mocks the first one's: the baseline's.
        let mock = plan.engines.iter().find(|choice| choice.identity.name == engines::mock::NAME);
        let settings = mock.map(|choice| plan.options.settings_of(choice)).unwrap_or_default();
        return ceilings::simulated(&settings, threads);
    }
    let tell = |text: &str| context.progress.note(text);
    let means = ceilings::Means { binary: context.binary, home, interrupt: context.interrupt, tell: &tell };
    Ok(ceilings::ceilings(means, environment, context.tool, threads, false))
}
