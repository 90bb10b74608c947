//! Do inherited events really count a thread that begins later? Some kernels and sandboxes open everything and count nothing.

use super::events::TASK_CLOCK;
use super::system::{PerfSystem, Target};
use record::Reason;

/// Of the time that the thread used, so much must be counted: the clock starts a little late.
const COUNTED: f64 = 0.8;

/// Lets a thread of its own use processor time (`spin` returns how much, in ns) and compares it with what the kernel's task
/// clock counted meanwhile on this thread's heirs.
pub(crate) fn self_test(system: &mut dyn PerfSystem, spin: impl FnOnce() -> Result<u64, Reason>) -> Result<(), Reason> {
    let clock =
        system.open(&TASK_CLOCK, Target::Caller, None).map_err(|_| unusable("its task clock cannot be opened"))?;
    let mut words = [0; 4];
    let mut value = |system: &mut dyn PerfSystem| match system.read(clock, &mut words) {
        Ok(4) => Ok(words[3]),
        _ => Err(unusable("its task clock cannot be read")),
    };
    let result = (|| {
        system.switch(clock, true).map_err(|_| unusable("its task clock cannot be switched on"))?;
        let before = value(system)?;
        let used = spin()?;
        let counted = value(system)?.saturating_sub(before);
        #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a test stay far below 2^53")]
        let share = if used == 0 { 1.0 } else { counted as f64 / used as f64 };
        if share < COUNTED {
            return Err(unusable(&format!(
                "a thread used {used} ns, of which its task clock counted {:.0} %",
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
        "the counters failed their test ({what}): a sandbox or an old kernel does that; run outside of it, or on kernel 4.13 or later"
    )
}
