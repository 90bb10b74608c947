//! What a run tells while it goes on, and how it is told to end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::plan::Plan;
use record::{RunFile, Sample};

/// Hears of a run's progress. Nothing is called while a request is being timed.
pub trait Progress {
    /// Hears of downloads and of weights being written.
    fn fetching(&self) -> &dyn models::fetch::Progress;
    /// The plan is made; results go to `dir`.
    fn started(&self, plan: &Plan, dir: &Path);
    /// A request of this case is about to run: `done` of `total` requests are over.
    fn request(&self, case: &str, done: usize, total: usize);
    /// A request was measured.
    fn sample(&self, sample: &Sample);
    /// Something that the user should know now.
    fn note(&self, text: &str);
    /// Everything is over; the run file is complete.
    fn finished(&self, file: &RunFile);
}

/// Set by Ctrl-C: the run ends after the token that is being made, and keeps its results.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Ends the run.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run is to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
