//! Somebody who wants to know at once when an op begins and when it ends: to read counters there. Off, it costs a mark one relaxed
//! load more.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// An op begins or ends on the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpEdge {
    /// An op of this name begins; its time has not begun yet.
    Begins(&'static str),
    /// The last op that began on this thread has ended; its time is taken.
    Ended,
}

/// Who is told.
pub type Watcher = fn(OpEdge);

static WATCHED: AtomicBool = AtomicBool::new(false);
static WATCHER: OnceLock<Watcher> = OnceLock::new();

/// Tells `watcher` of every op that is marked while the recorder is on, until [`stop_watching`]. The first watcher of a process
/// stays the one.
pub fn watch_ops(watcher: Watcher) {
    WATCHER.get_or_init(|| watcher);
    WATCHED.store(true, Ordering::Release);
}

/// Tells nobody any more.
pub fn stop_watching() {
    WATCHED.store(false, Ordering::Release);
}

#[inline]
pub(super) fn tell(edge: OpEdge) {
    if WATCHED.load(Ordering::Relaxed)
        && let Some(watcher) = WATCHER.get()
    {
        watcher(edge);
    }
}
