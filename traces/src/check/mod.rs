//! [`check`]: all problems of a trace, each with its line and place.
//!
//! It reads files of this project and of other tools: arrays and objects, complete spans and `B`/`E` pairs. It checks types, ids,
//! times, durations, pairing, nesting per thread, depth, counters and names. [`Report::unchecked`] lists what it does not
//! check. All problems are reported; the caller chooses how many to print.

mod fields;
mod rules;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::chrome::{Item, ReadError, Trace, read};
use rules::Rules;

/// Opens and checks a trace file.
///
/// # Errors
/// When the file cannot be read or is not a trace.
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

/// The severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The trace is wrong, or a viewer drops or rejects something.
    Error,
    /// Viewers show the trace, but something is missing or was dropped.
    Warning,
}

/// A problem of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Its severity.
    pub severity: Severity,
    /// The line of the record, from 1; `None` for a problem of the whole file.
    pub line: Option<u64>,
    /// The record, its thread and its field.
    pub place: String,
    /// What was expected and what was found.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Error => "error: ",
            Severity::Warning => "warning: ",
        })?;
        if let Some(line) = self.line {
            write!(f, "line {line}, ")?;
        }
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// The number of records of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records in all.
    pub records: u64,
    /// Spans with a start and an end.
    pub spans: u64,
    /// Counter samples.
    pub counters: u64,
    /// Instants.
    pub instants: u64,
    /// Names and sort indices.
    pub metadata: u64,
    /// Records with phases that are not checked further.
    pub others: u64,
    /// Processes with spans or counters.
    pub processes: u64,
    /// Threads and tracks with spans.
    pub threads: u64,
    /// The deepest nesting of spans.
    pub depth: u64,
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All problems, in order of lines; those of the whole file come last.
    pub problems: Vec<Problem>,
    /// The number of records.
    pub counts: Counts,
    /// Content of the file that was not checked.
    pub unchecked: Vec<String>,
}

impl Report {
    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// The number of warnings.
    pub fn warnings(&self) -> usize {
        self.problems.len() - self.errors()
    }
}
