//! Comparisons: two sides or more, whether they did the same work, how they differ and whether that can be told.
//!
//! ```text
//! side (what was named) -> pairing (cases that belong together) -> work (same work?)
//!                                                               -> figures (ratios with intervals), shift (the machine's own change)
//!                                                               -> normalised, split (where the difference lies)
//!                       -> surroundings (what else differs)     -> gate
//! ```
//! Everything is computed from run folders: what is compared here was measured before. Reports of it are made by [`report`].

mod answers;
#[cfg(test)]
mod calibration;
mod figures;
mod file;
mod foreign;
mod gate;
mod normalised;
mod pairing;
mod probabilities;
mod shift;
mod side;
mod split;
mod surroundings;
mod work;

pub use answers::NEAR_TIE;
pub use figures::{finding, names as metrics};
pub use file::{
    Agreement, COMPARISON_VERSION, Check, Comparison, Contrast, Distance, FigureRow, Finding, GateRow, LonelyRow,
    NormalisedRow, Outcome, PairRow, Part, PromptRatio, Sameness, Shift, SideRow, Split, Subject, Surrounding, Work,
};
pub use gate::{Gate, outcome};
pub use pairing::{Group, Lonely, Match, matches};
pub use side::{Side, Sides, Source};

use record::Tool;

/// The least difference that matters in practice, where nobody says otherwise.
pub const THRESHOLD: f64 = 0.02;

/// Compares every other side with the first one.
pub fn compare(sides: &Sides, threshold: f64, gates: &[Gate]) -> Comparison {
    let (pairs, lonely) = matches(sides);
    let contrasts: Vec<Contrast> = pairs.iter().map(|pair| contrast(pair, threshold)).collect();
    Comparison {
        schema_version: COMPARISON_VERSION,
        tool: Tool::default(),
        threshold,
        sides: sides.sides.iter().map(|side| row(side, sides)).collect(),
        gates: gate::hold(&contrasts, gates),
        contrasts,
        lonely: lonely.into_iter().map(|Lonely { subject, reason }| LonelyRow { subject, reason }).collect(),
        surroundings: surroundings::surroundings(sides),
    }
}

fn row(side: &Side, sides: &Sides) -> SideRow {
    let Some(source) = sides.sources.get(side.source) else { return SideRow::default() };
    SideRow {
        label: side.label.clone(),
        run: source.file.name.clone(),
        path: source.path.display().to_string(),
        started: source.file.started.clone(),
        tool: told(&source.file.tool),
        foreign: source.foreign,
        engine: side.engine.clone(),
        model: side.model.clone(),
    }
}

fn told(tool: &Tool) -> String {
    let revision = tool.revision.as_ref().map_or_else(String::new, |revision| format!(" ({revision})"));
    format!("{} {}{revision}", tool.name, tool.version)
}

/// Everything about one pair of groups.
pub fn contrast(pair: &Match<'_>, threshold: f64) -> Contrast {
    let shift = shift::shift(pair);
    let mut contrast = Contrast {
        baseline: subject(&pair.baseline, pair),
        other: subject(&pair.other, pair),
        interleaved: pair.interleaved,
        work: work::work(pair),
        figures: figures::rows(pair, shift.as_ref(), threshold),
        normalised: normalised::rows(pair),
        shift,
        splits: split::splits(pair),
        ..Contrast::default()
    };
    if contrast.shift.is_none() {
        contrast.reasons.insert("shift".to_owned(), "the sides were interleaved: one machine at one time".to_owned());
    }
    contrast
}

fn subject(group: &Group<'_>, pair: &Match<'_>) -> Subject {
    Subject {
        side: group.label.to_owned(),
        engine: group.engine().to_owned(),
        model: group.model().to_owned(),
        threads: group.threads(),
        depth: group.depth(),
        name: name(group, pair),
        text: group.subject(),
    }
}

/// What tells the two apart: the engine, the model, the threads, the depth, else the side.
fn name(group: &Group<'_>, pair: &Match<'_>) -> String {
    let (b, o) = (&pair.baseline, &pair.other);
    let mut parts = Vec::new();
    if b.engine() != o.engine() {
        parts.push(group.engine().to_owned());
    }
    if b.model() != o.model() {
        parts.push(group.model().to_owned());
    }
    if b.threads() != o.threads() {
        parts.push(format!("{} threads", group.threads()));
    }
    if b.depth() != o.depth() {
        parts.push(format!("depth {}", group.depth()));
    }
    let name = if parts.is_empty() { group.engine().to_owned() } else { parts.join(", ") };
    if b.source.path == o.source.path { name } else { format!("{name} ({})", group.label) }
}
