//! What a check finds.

use std::fmt;

use serde::Serialize;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The trace says something false, or a viewer loses or refuses something.
    Error,
    /// Viewers cope, but something is missing or was lost before it came here.
    Warning,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The line of the record, from 1; `None` where it concerns the whole file.
    pub line: Option<u64>,
    /// Where: the record, its thread and its field.
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

/// How many of what a trace holds.
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
    /// Names and places.
    pub metadata: u64,
    /// Records of phases that are not looked at further.
    pub others: u64,
    /// Processes with spans or counters.
    pub processes: u64,
    /// Threads and tracks with spans.
    pub threads: u64,
    /// The most spans that lie in one another.
    pub depth: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every problem, in order of lines; those of the whole file come last.
    pub problems: Vec<Problem>,
    /// What the trace holds.
    pub counts: Counts,
    /// What is in the file and was not judged.
    pub unchecked: Vec<String>,
}

impl Report {
    /// How many problems are errors.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// How many are warnings.
    pub fn warnings(&self) -> usize {
        self.problems.len() - self.errors()
    }
}
