//! Estimates for what was not run.

use crate::results::RunFile;

/// Fills in the what-if table of a run.
pub fn what_if(_file: &mut RunFile) {}
