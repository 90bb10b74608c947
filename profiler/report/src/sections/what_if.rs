//! What other settings and models would give, estimated from this run.

use super::View;
use crate::content::{Section, Table};
use crate::figures::ABSENT;
use record::Spread;
use record::figures::significant;

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("What if");
    let file = view.file;
    if file.what_if.is_empty() {
        return section;
    }
    let mut table = Table::new(
        "Estimates, each with its nominal 95 % interval.",
        &["<what", "engine", "threads", "load s", "memory MB", "prefill 1/s", "decode 1/s", "<note"],
    );
    // Numbers as they appear, one line each below the table.
    let mut notes: Vec<&str> = Vec::new();
    for row in &file.what_if {
        let rests_on = row.reasons.get("rests on").and_then(|text| text.split_once("; ")).map(|(_, notes)| notes);
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
            cell(row.load_s, 1.0),
            cell(row.memory_bytes, 1e-6),
            cell(row.prefill_tps, 1.0),
            cell(row.decode_tps, 1.0),
            own.join(", "),
        ]);
    }
    section.show(table.without_constant(&["engine", "threads"]));
    for (at, note) in notes.iter().enumerate() {
        section.say(format!("{}: {note}.", at + 1));
    }
    section.say("From the ceilings and the efficiencies of this run alone, with its prompt length; `inferometer predict` estimates from all runs. Nothing here was measured.");
    section
}

fn cell(spread: Option<Spread>, factor: f64) -> String {
    let number = |value: f64| significant(value * factor);
    spread.map_or_else(
        || ABSENT.to_owned(),
        |spread| format!("{}\n[{}, {}]", number(spread.median), number(spread.low), number(spread.high)),
    )
}
