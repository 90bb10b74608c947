//! Progress reports of long work. The library prints nothing: the caller decides how to show them.

use crate::units::Bytes;

/// Receives the progress of a download, a check or a write. Called from several threads.
pub trait Progress: Sync {
    /// A task starts: what it is, and its size where that is known.
    fn started(&self, what: &str, total: Option<Bytes>);
    /// This many more bytes are done.
    fn advanced(&self, by: Bytes);
    /// The task that started last has ended, successfully or not.
    fn finished(&self);
    /// A message for the user, such as why the mirror is used, or which process holds a lock.
    fn note(&self, text: &str);
}

/// Ignores all progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn started(&self, _what: &str, _total: Option<Bytes>) {}
    fn advanced(&self, _by: Bytes) {}
    fn finished(&self) {}
    fn note(&self, _text: &str) {}
}

/// A running task. Dropping it reports its end, on every path.
#[must_use = "dropping it ends the task"]
pub(crate) struct Task<'a> {
    progress: &'a dyn Progress,
}

impl<'a> Task<'a> {
    /// Starts a task.
    pub(crate) fn start(progress: &'a dyn Progress, what: &str, total: Option<Bytes>) -> Self {
        progress.started(what, total);
        Self { progress }
    }

    /// Reports this many more bytes.
    pub(crate) fn advanced(&self, by: u64) {
        self.progress.advanced(Bytes(by));
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.progress.finished();
    }
}
