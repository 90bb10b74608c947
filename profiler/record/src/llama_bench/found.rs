//! [`Record`] and [`Found`]: what a text has, in any form.

use serde_json::{Map, Value};

/// The fields of one test, by llama-bench's names, and the line on which the record begins, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) line: usize,
    pub(super) fields: Map<String, Value>,
}

/// What was found in a text.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The records of one form.
    pub(super) records: Vec<Record>,
    /// The lines of records that have no end.
    pub(super) truncated: Vec<usize>,
    /// Lines that belong to no record: their number, and the last one.
    pub(super) others: usize,
    pub(super) last_other: String,
    /// The records of another form, which are not read.
    pub(super) repeated: Option<(&'static str, usize)>,
}

impl Found {
    /// What has to be said about the text.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.truncated.is_empty() {
            let lines: Vec<String> = self.truncated.iter().map(ToString::to_string).collect();
            notes.push(format!("a truncated record is left out (line {})", lines.join(", ")));
        }
        if let Some((name, count)) = self.repeated {
            notes.push(format!("it has {count} records in the form {name}, too, which are not read"));
        } else if self.others > 0 {
            let lines = if self.others == 1 {
                "1 line is no record".to_owned()
            } else {
                format!("{} lines are no records", self.others)
            };
            notes.push(format!("{lines}, the last is `{}`", text_input::excerpt(&self.last_other)));
        }
        notes
    }

    /// A line that belongs to no record.
    pub(super) fn other(&mut self, line: &str) {
        if !line.trim().is_empty() {
            self.others += 1;
            line.clone_into(&mut self.last_other);
        }
    }
}

/// Whether fields are those of a test with a result.
pub(super) fn is_record(fields: &Map<String, Value>) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    has(&["n_prompt", "n_gen"]) && has(&["avg_ts", "samples_ts", "avg_ns", "samples_ns"])
}
