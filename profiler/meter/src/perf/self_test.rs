//! Tests whether inherited events count a thread that starts later: some kernels and sandboxes open every event and count none.

use super::events::TASK_CLOCK;
use super::system::{PerfSystem, Target};
use record::Reason;

/// The smallest share of the thread's CPU time that must be counted: the task clock starts slightly late.
const COUNTED: f64 = 0.8;

/// Compares the CPU time of a new thread (`spin` starts it and returns the time in ns) with what the kernel's task clock counted
/// by inheritance.
pub(crate) fn self_test(system: &mut dyn PerfSystem, spin: impl FnOnce() -> Result<u64, Reason>) -> Result<(), Reason> {
    let clock =
        system.open(&TASK_CLOCK, Target::Caller, None).map_err(|_| unusable("the task clock cannot be opened"))?;
    let mut words = [0; 4];
    let mut value = |system: &mut dyn PerfSystem| match system.read(clock, &mut words) {
        Ok(4) => Ok(words[3]),
        _ => Err(unusable("the task clock cannot be read")),
    };
    let result = (|| {
        system.switch(clock, true).map_err(|_| unusable("the task clock cannot be enabled"))?;
        let before = value(system)?;
        let used = spin()?;
        let counted = value(system)?.saturating_sub(before);
        #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a test stay far below 2^53")]
        let share = if used == 0 { 1.0 } else { counted as f64 / used as f64 };
        if share < COUNTED {
            return Err(unusable(&format!(
                "the task clock counted {:.0} % of the {used} ns that a thread used",
                share * 100.0
            )));
        }
        Ok(())
    })();
    system.close(clock);
    result
}

fn unusable(what: &str) -> Reason {
    reason!(
        "the counters failed their self-test ({what}), because of a sandbox or an old kernel: run outside the sandbox, or on kernel 4.13 or later"
    )
}
