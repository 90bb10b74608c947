//! Both sides under the ceilings of one machine.

use crate::chart::{Chart, Dot, Figure, Scatter};
use crate::content::Section;
use crate::sections::{RooflineOps, roofline_lines};
use analyse::attribution;
use analyse::compare::{Comparison, Match, Sides, matches};
use record::figures::significant;

/// The phases that run the model.
const PHASES: [&str; 2] = ["decode", "prefill"];

pub(super) fn section(found: &Comparison, sides: &Sides) -> Section {
    let mut section = Section::new("Both on one roofline");
    let (pairs, _) = matches(sides);
    for (pair, contrast) in pairs.iter().zip(&found.contrasts) {
        for phase in PHASES {
            if let Some(chart) = chart(pair, phase, &contrast.baseline.name, &contrast.other.name) {
                section.draw(chart);
            }
        }
    }
    if !section.blocks.is_empty() {
        section.say("A point is an op of a phase, summed over layers, calls and prompts, as in the report of a run. The ceilings are those of the baseline's run: of another run's points they say nothing if the machine has changed.");
    }
    section
}

fn chart(pair: &Match<'_>, phase: &str, baseline: &str, other: &str) -> Option<Chart> {
    let file = pair.baseline.file();
    let ceilings = file.ceilings.as_ref()?.of(pair.baseline.threads())?;
    let groups = [(baseline, &pair.baseline.cases), (other, &pair.other.cases)];
    let groups: Vec<(String, Vec<Dot>)> =
        groups.map(|(name, cases)| (name.to_owned(), RooflineOps::of(cases.iter().copied()).dots(phase))).into();
    if groups.iter().any(|(_, dots)| dots.is_empty()) {
        return None;
    }
    let limits = pair.baseline.cases.first().and_then(|case| attribution::limits(file, case));
    let lines = roofline_lines(ceilings, limits.and_then(|limits| limits.memory).map(|(rate, _)| rate.0));
    let heaviest = |dots: &[Dot]| {
        let dot = dots.iter().max_by(|a, b| a.weight.total_cmp(&b.weight))?;
        Some(format!("the op {} at {} GFLOP/s", dot.label, significant(dot.y)))
    };
    let told: Vec<String> = groups
        .iter()
        .filter_map(|(name, dots)| Some(format!("most time on {name} goes to {}", heaviest(dots)?)))
        .collect();
    Some(Chart {
        title: format!("Ops of {phase}: {baseline} and {other}"),
        summary: format!("{phase}: {}.", told.join("; ")),
        figure: Figure::Scatter(Scatter {
            x: "FLOP per byte".to_owned(),
            y: "GFLOP/s".to_owned(),
            groups,
            ceilings: lines,
        }),
        numbers: None,
    })
}
