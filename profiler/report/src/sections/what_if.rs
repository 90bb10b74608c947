//! Estimates for other settings and models from this run.

use super::RunView;
use crate::content::Section;
use crate::figures::ABSENT;
use crate::table::Table;
use record::figures::significant;
use record::{Action, RESTS_ON, Recorded, Spread};

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("What if");
    let file = view.file;
    if file.what_if.is_empty() {
        return section;
    }
    let mut table = Table::new(
        "Estimates, not measurements, with their 95 % intervals. Notes are below.",
        &["<what", "engine", "threads", "load s", "memory MB", "prefill tokens/s", "decode tokens/s", "<notes"],
    );
    // Notes in order of their first use, listed below the table.
    let mut notes: Vec<&str> = Vec::new();
    for row in &file.what_if {
        let rests_on = row.notes.get(RESTS_ON).and_then(|text| text.split_once("; ")).map(|(_, notes)| notes);
        let own: Vec<String> = rests_on
            .map(|text| text.split("; ").collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .map(|note| {
                let known = notes.iter().position(|other| *other == note);
                let at = known.unwrap_or_else(|| {
                    notes.push(note);
                    notes.len() - 1
                });
                (at + 1).to_string()
            })
            .collect();
        table.rows.push(vec![
            row.what.clone(),
            row.engine.clone(),
            row.threads.to_string(),
            cell(&row.load_s, 1.0),
            cell(&row.memory_bytes, 1e-6),
            cell(&row.prefill_tps, 1.0),
            cell(&row.decode_tps, 1.0),
            own.join(", "),
        ]);
    }
    section.add_table(table.without_constant(&["engine", "threads"]));
    for (at, note) in notes.iter().enumerate() {
        section.add_sentence(format!("Note {}: {note}.", at + 1));
    }
    section.add_sentence(format!(
        "Estimated from the ceilings and efficiencies of this run alone, for its prompt length; {} uses all runs.",
        Action::Predict
    ));
    section
}

fn cell(spread: &Recorded<Spread>, factor: f64) -> String {
    let number = |value: f64| significant(value * factor);
    spread.value().map_or_else(
        || ABSENT.to_owned(),
        |spread| format!("{}\n[{}, {}]", number(spread.median), number(spread.low), number(spread.high)),
    )
}
