//! [`check`]: everything that is wrong in a trace, each problem with its line and place.
//!
//! It reads files of this project and of others: arrays and objects, complete spans and `B`/`E` pairs. It looks at types,
//! ids, times, durations, pairing, nesting per thread, depth, counters and names; what it cannot judge it names
//! ([`Report::unchecked`]). All problems are reported; how many are printed is the caller's choice.

mod report;
mod rules;
mod shape;

use std::path::Path;

pub use report::{Counts, Problem, Report, Severity};

use crate::chrome::{Item, ReadError, Trace, read};
use rules::Rules;

/// Opens and checks a trace file.
///
/// # Errors
/// When the file cannot be read or holds no trace: then there is nothing to check.
pub fn check(path: impl AsRef<Path>) -> Result<Report, ReadError> {
    check_trace(&read(path)?)
}

/// Checks a trace.
///
/// # Errors
/// When the file can no longer be read.
pub fn check_trace(trace: &Trace) -> Result<Report, ReadError> {
    let mut rules = Rules::default();
    let closed = trace.visit(|item| match item {
        Item::Record(record) => rules.record(&record),
        Item::Broken(broken) => rules.broken(&broken),
    })?;
    Ok(rules.finish(closed))
}
