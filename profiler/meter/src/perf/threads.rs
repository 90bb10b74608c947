//! Threads that exist when events are opened: inheritance does not reach them, so each is attached by itself.

use super::group::Group;
use super::system::{PerfSystem, Whose};
use record::Reason;

/// Attempts until threads stay the same while they are attached.
const ATTEMPTS: usize = 8;

/// What [`super::sets::open`] gives: sets, events of the kernel, and what was refused.
type Opened<T> = (Vec<Group>, Group, T);

/// Opens for every thread of this process. A thread that begins meanwhile would be missed, or counted twice as the heir of one
/// that is attached: then all is closed and opened again.
pub(super) fn while_stable<T>(
    system: &mut dyn PerfSystem,
    mut open: impl FnMut(&mut dyn PerfSystem, &[Whose]) -> Opened<T>,
) -> Result<Opened<T>, Reason> {
    let mut before = threads(system);
    for _ in 0..ATTEMPTS {
        let mut opened = open(system, &before);
        let after = threads(system);
        if after == before {
            return Ok(opened);
        }
        opened.0.iter_mut().chain([&mut opened.1]).for_each(|group| group.close(system));
        before = after;
    }
    Err(Reason::new(
        "threads came and went while the counters were opened: open them before the process starts threads",
    ))
}

/// The threads of this process; where there is one, or they are not told, the calling one.
fn threads(system: &dyn PerfSystem) -> Vec<Whose> {
    let mut ids: Vec<i32> = system
        .list("/proc/self/task")
        .map(|names| names.iter().filter_map(|name| name.parse().ok()).collect())
        .unwrap_or_default();
    ids.sort_unstable();
    match ids.as_slice() {
        [] | [_] => vec![Whose::Caller],
        several => several.iter().map(|&id| Whose::Thread(id)).collect(),
    }
}
