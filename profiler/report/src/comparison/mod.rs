//! The report of a comparison: what was compared, the conclusions, and their evidence.

mod csv;
mod differences;
mod figures;
mod gates;
mod headline;
mod ratio_text;
mod roofline;
mod splits;
mod surroundings;
mod work;

use super::content::{Content, Section};
use super::{TextOptions, markdown, page, text};
use analyse::compare::{Comparison, Sides};
use record::{Document, Printable};

/// A format of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct ComparisonFormat {
    /// Name on the command line.
    pub name: &'static str,
    /// What it contains.
    pub summary: &'static str,
    /// Renders the comparison. Only the format for terminals uses the options.
    pub render: fn(&Comparison, &Sides, TextOptions) -> Printable,
}

/// Every format, sorted by name.
pub const COMPARISON_FORMATS: &[ComparisonFormat] = &[
    ComparisonFormat {
        name: "csv",
        summary: "one row per metric, prompt and pair",
        render: |found, _, _| csv::csv(found),
    },
    ComparisonFormat {
        name: "html",
        summary: "one page with charts, without other files",
        render: |found, sides, _| Printable::new(&page(&content(found, sides))),
    },
    ComparisonFormat {
        name: "json",
        summary: "everything, for programs",
        // Only maps with other keys than strings could fail, and a comparison has none.
        render: |found, _, _| Printable::json(found).unwrap_or_default(),
    },
    ComparisonFormat {
        name: "md",
        summary: "the main findings as Markdown, for a comment on a pull request",
        render: |found, sides, _| Printable::new(&markdown(&content(found, sides).short())),
    },
    ComparisonFormat {
        name: "text",
        summary: "for a terminal",
        render: |found, sides, options| Printable::styled(&text(&content(found, sides), options)),
    },
];

/// The comparison as sentences, tables and charts.
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
        work::checks(found).collapsed(),
        figures::prompts(found).collapsed(),
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
    section.add_sentence(format!(
        "A ratio is other / baseline: the geometric mean over pairs (the same prompt in the same round) or, for runs made one after the other, over the means of the prompts. Brackets contain its 95 % interval. A difference is detectable when the interval excludes 1. It is better or worse when the whole interval is beyond {} %.",
        found.threshold * 100.0
    ));
    section.add_sentence(format!(
        "Intervals hold for the prompts of this set on this machine, not for other prompts, machines or (between runs) other days. Outliers are marked and included. {} links to the formulas.",
        Document::Methodology
    ));
    section
}
