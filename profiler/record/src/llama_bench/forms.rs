//! Finds the records of llama-bench in a text, whatever the form, and whatever else is in the text: lines of a log before, between and
//! after them, several runs in one file, a record that a crash has truncated.

use super::found::Found;
use super::{json, table};

/// A form: its name, and what finds its records.
type Form = (&'static str, fn(&str) -> Found);

/// The richest first: `-oe md` writes the same tests as a table beside `-o json`.
const FORMS: &[Form] = &[("json", json::find), ("csv", table::csv), ("sql", table::sql), ("md", table::markdown)];

/// The records of the richest form that the text has.
pub(super) fn find(text: &str) -> Found {
    let mut chosen = Found::default();
    for (name, find) in FORMS {
        let found = find(text);
        if chosen.records.is_empty() {
            if !found.records.is_empty() || chosen.truncated.is_empty() {
                chosen = found;
            }
        } else if !found.records.is_empty() {
            chosen.repeated = Some((name, found.records.len()));
        }
    }
    chosen
}
