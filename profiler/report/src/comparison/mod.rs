//! The report of a comparison: what was compared, what can be said, what it rests on.

mod csv;
mod differences;
mod figures;
mod gates;
mod headline;
mod roofline;
mod splits;
mod surroundings;
mod words;
mod work;

use super::content::{Content, Section};
use super::{Look, markdown, page, text};
use analyse::compare::{Comparison, Sides};

/// A form that a comparison can have.
#[derive(Debug, Clone, Copy)]
pub struct ComparisonFormat {
    /// Name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// Makes it; `look` matters to the terminal's form only.
    pub render: fn(&Comparison, &Sides, Look) -> Vec<u8>,
}

/// Every form, sorted by name.
pub const COMPARISON_FORMATS: &[ComparisonFormat] = &[
    ComparisonFormat {
        name: "csv",
        summary: "one row per metric, prompt and pair",
        render: |found, _, _| csv::csv(found),
    },
    ComparisonFormat {
        name: "html",
        summary: "one page with charts that needs nothing else",
        render: |found, sides, _| page(&content(found, sides)).into_bytes(),
    },
    ComparisonFormat {
        name: "json",
        summary: "everything, for programs",
        render: |found, _, _| {
            let mut bytes = serde_json::to_vec_pretty(found).unwrap_or_default();
            bytes.push(b'\n');
            bytes
        },
    },
    ComparisonFormat {
        name: "md",
        summary: "what matters as Markdown, for a comment on a pull request",
        render: |found, sides, _| markdown(&content(found, sides).short()).into_bytes(),
    },
    ComparisonFormat {
        name: "text",
        summary: "for a terminal",
        render: |found, sides, look| text(&content(found, sides), look).into_bytes(),
    },
];

/// What the comparison says, in words and tables.
pub fn content(found: &Comparison, sides: &Sides) -> Content {
    let sections = [
        gates::section(found),
        headline::section(found),
        work::section(found),
        figures::section(found).sortable(),
        splits::section(found),
        differences::section(found),
        roofline::section(found, sides),
        figures::normalised(found),
        surroundings::section(found),
        work::checks(found).folded(),
        figures::prompts(found).folded(),
        reading(found),
    ];
    let names: Vec<&str> = found.sides.iter().map(|side| side.label.as_str()).collect();
    Content {
        title: format!("inferometer compare: {}", names.join(" | ")),
        sections: sections.into_iter().filter(|section| !section.blocks.is_empty()).collect(),
    }
}

fn reading(found: &Comparison) -> Section {
    let mut section = Section::new("How to read the numbers");
    section.say(format!(
        "A ratio is other / baseline, a geometric mean over pairs (the same prompt in the same round) or, where the runs were made one after the other, over the prompts' means; behind it stands its 95 % interval. A difference is said to be one where the interval leaves out 1, and to matter where it lies beyond {} % altogether.",
        found.threshold * 100.0
    ));
    section.say("The prompts are those of the set: an interval does not speak for other prompts, for another machine, nor, between runs, for another day. Outliers are marked and counted like all others. Formulas and limits are in METHODOLOGY.md.");
    section
}
