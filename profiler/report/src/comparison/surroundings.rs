//! Other differences between two runs, and changes of the machine's ceilings.

use super::ratio_text::change;
use crate::content::Section;
use crate::figures::shown;
use crate::table::Table;
use analyse::compare::Comparison;

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::short("Other differences");
    let several =
        found.sides.iter().map(|side| &side.path).any(|path| Some(path) != found.sides.first().map(|side| &side.path));
    if !several {
        return section;
    }
    for contrast in &found.contrasts {
        let Some(shift) = contrast.shift.as_ref() else { continue };
        let shifts = [("memory bandwidth", &shift.memory_read), ("arithmetic", &shift.compute)];
        let shifts = shifts.map(|(name, value)| format!("{name} {}", shown(value, |value| change(*value))));
        section.add_sentence(format!(
            "{} against {}: the machine's ceilings, probed between the rounds of both runs, changed: {}. It is unknown whether this change is part of the difference; the intervals above are wide enough to cover both cases.",
            contrast.other.name,
            contrast.baseline.name,
            shifts.join(", ")
        ));
    }
    let mut table = Table::new(
        "Differences between the runs, the most likely causes first (weight 3: is known to change speed, 2: may change it, 1: rarely does).",
        &["<what", "<baseline", "<other", "weight", "<reason", "<side"],
    );
    table.rows.extend(found.run_differences.iter().map(|row| {
        vec![
            row.what.clone(),
            row.baseline.clone(),
            row.other.clone(),
            row.weight.to_string(),
            row.because.clone(),
            row.side.clone(),
        ]
    }));
    let mut noted: Vec<&str> = Vec::new();
    for side in found.sides.iter().filter(|side| !side.notes.is_empty()) {
        if !noted.contains(&side.path.as_str()) {
            noted.push(&side.path);
            section.add_sentence(format!("About the file {}: {}.", side.path, side.notes.join("; ")));
        }
    }
    let foreign = found.sides.iter().any(|side| side.foreign);
    if foreign {
        section.add_sentence(
            "A file of llama-bench has little information about machine and settings, so they are not compared.",
        );
    } else if table.rows.is_empty() {
        section.add_sentence("The recorded machine, settings and versions are otherwise equal.");
    }
    section.add_table(table.without_constant(&["side"]));
    section
}
