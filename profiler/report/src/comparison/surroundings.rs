//! What else differs between two runs, and what the machine's own limits did.

use super::words::change;
use crate::content::{Section, Table};
use analyse::compare::Comparison;

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::short("What else differs");
    let several =
        found.sides.iter().map(|side| &side.path).any(|path| Some(path) != found.sides.first().map(|side| &side.path));
    if !several {
        return section;
    }
    for contrast in &found.contrasts {
        let Some(shift) = &contrast.shift else { continue };
        let told = [("memory bandwidth", "memory_read", shift.memory_read), ("arithmetic", "compute", shift.compute)];
        let told = told.map(|(name, field, value)| match value {
            Some(value) => format!("{name} {}", change(value)),
            None => format!("{name} not known ({})", shift.reasons.get(field).map_or("", String::as_str)),
        });
        section.say(format!(
            "{} against {}: the machine's own limits, as probed between the rounds of both runs: {}. The intervals above are wide enough for both answers to whether that belongs to the difference.",
            contrast.other.name,
            contrast.baseline.name,
            told.join(", ")
        ));
    }
    let mut table = Table::new(
        "Differences between the runs, the likeliest causes first (3: known to change speed, 2: may, 1: rarely).",
        &["<what", "<baseline", "<other", "weight", "<because", "<side"],
    );
    table.rows.extend(found.surroundings.iter().map(|row| {
        vec![
            row.what.clone(),
            row.baseline.clone(),
            row.other.clone(),
            row.weight.to_string(),
            row.because.clone(),
            row.side.clone(),
        ]
    }));
    let foreign = found.sides.iter().any(|side| side.foreign);
    if foreign {
        section.say("A file of llama-bench tells little of its machine and settings: they are not compared.");
    } else if table.rows.is_empty() {
        section.say("Nothing else that is recorded of machine, settings and versions differs.");
    }
    section.show(table.without_constant(&["side"]));
    section
}
