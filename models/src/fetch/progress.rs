//! How long work tells of itself. The library prints nothing: whoever calls decides what becomes of this.

use crate::units::Bytes;

/// Receives the progress of a download, a check or a write. Called from several threads.
pub trait Progress: Sync {
    /// A piece of work begins: what it is, and how much it will be where that is known.
    fn started(&self, what: &str, total: Option<Bytes>);
    /// So much more is done.
    fn advanced(&self, by: Bytes);
    /// The piece of work that began last has ended, well or not.
    fn finished(&self);
    /// Something that a person should know: why the hub was left for the mirror, whom we wait for.
    fn note(&self, text: &str);
}

/// Progress that goes nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn started(&self, _what: &str, _total: Option<Bytes>) {}
    fn advanced(&self, _by: Bytes) {}
    fn finished(&self) {}
    fn note(&self, _text: &str) {}
}

/// Tells `progress` that the work has ended when it is dropped, on every path out of it.
#[must_use = "dropping it ends the piece of work"]
pub(crate) struct Work<'a> {
    progress: &'a dyn Progress,
}

impl<'a> Work<'a> {
    /// Begins a piece of work.
    pub(crate) fn start(progress: &'a dyn Progress, what: &str, total: Option<Bytes>) -> Self {
        progress.started(what, total);
        Self { progress }
    }

    /// So much more is done.
    pub(crate) fn advanced(&self, by: u64) {
        self.progress.advanced(Bytes(by));
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.progress.finished();
    }
}
