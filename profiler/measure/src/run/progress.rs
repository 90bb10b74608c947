//! [`Progress`]: what a run reports while it is under way.

use std::path::Path;

use crate::plan::Plan;
use record::{RunFile, Sample};

/// Receives the progress of a run. No method is called while a request is timed.
pub trait Progress {
    /// Receives the progress of downloads and of writing weights.
    fn fetching(&self) -> &dyn models::fetch::Progress;
    /// The plan is made; results go to `dir`.
    fn started(&self, plan: &Plan, dir: &Path);
    /// A request of this case is about to run; `done` of `total` requests are complete.
    fn request(&self, case: &str, done: usize, total: usize);
    /// A request was measured.
    fn sample(&self, sample: &Sample);
    /// A message for the user.
    fn note(&self, text: &str);
    /// The run has ended and the run file is complete.
    fn finished(&self, file: &RunFile);
}
