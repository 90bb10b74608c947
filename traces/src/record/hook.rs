//! The op hook: a function that is called when an op begins and when it ends, for instance to read counters. While it is off it
//! costs each mark one more relaxed load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The begin or the end of an op on the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpEdge {
    /// An op of this name begins. The hook's own time is not part of the op.
    Begins(&'static str),
    /// The innermost open op of this thread has ended. The hook's own time is not part of the op.
    Ended,
}

/// A function to call at both edges of each op.
pub type OpHook = fn(OpEdge);

static ENABLED: AtomicBool = AtomicBool::new(false);
static HOOK: OnceLock<OpHook> = OnceLock::new();

/// Calls `hook` at both edges of every op that is marked while the recorder is on, until [`disable_op_hook`]. A process has one
/// hook: the first one that is given.
pub fn set_op_hook(hook: OpHook) {
    HOOK.get_or_init(|| hook);
    ENABLED.store(true, Ordering::Release);
}

/// Stops the calls.
pub fn disable_op_hook() {
    ENABLED.store(false, Ordering::Release);
}

#[inline]
pub(super) fn call(edge: OpEdge) {
    if ENABLED.load(Ordering::Relaxed)
        && let Some(hook) = HOOK.get()
    {
        hook(edge);
    }
}
