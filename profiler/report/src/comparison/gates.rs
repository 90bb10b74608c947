//! The outcome of each gate.

use super::ratio_text::plain;
use crate::content::Section;
use crate::table::Table;
use analyse::compare::{Comparison, Outcome};

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::short("Gates");
    let mut table = Table::new("", &["<gate", "<of", "<outcome", "<change"]);
    table.rows.extend(found.gates.iter().map(|row| {
        let outcome = match row.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::NotJudged => "not judged",
        };
        vec![
            format!("{}={}", row.metric, plain(row.allowed)),
            row.subject.clone(),
            outcome.to_owned(),
            row.text.clone(),
        ]
    }));
    section.add_table(table);
    section
}
