//! Both sides in one roofline chart.

use engine_api::Phase;

use crate::chart::{Chart, Dot, Figure, Scatter};
use crate::content::Section;
use crate::sections::{OpTotals, roofline_lines};
use analyse::attribution;
use analyse::compare::{Comparison, GroupPair, Sides, pair_groups};
use record::figures::significant;

/// The phases that run the model.
const PHASES: [Phase; 2] = [Phase::Decode, Phase::Prefill];

pub(super) fn section(found: &Comparison, sides: &Sides) -> Section {
    let mut section = Section::new("Both on one roofline");
    let (pairs, _) = pair_groups(sides);
    for (pair, contrast) in pairs.iter().zip(&found.contrasts) {
        for phase in PHASES {
            if let Some(chart) = chart(pair, phase, &contrast.baseline.name, &contrast.other.name) {
                section.add_chart(chart);
            }
        }
    }
    if !section.blocks.is_empty() {
        section.add_chart_note("Each point is one operation of a phase, summed over layers, calls and prompts. The ceilings are those of the baseline's run. They apply to the other side only if the machine did not change.");
    }
    section
}

fn chart(pair: &GroupPair<'_>, phase: Phase, baseline: &str, other: &str) -> Option<Chart> {
    let file = pair.baseline.file();
    let ceilings = file.ceilings.as_ref()?.of(pair.baseline.threads())?;
    let groups = [(baseline, &pair.baseline.cases), (other, &pair.other.cases)];
    let groups: Vec<(String, Vec<Dot>)> =
        groups.map(|(name, cases)| (name.to_owned(), OpTotals::of(cases.iter().copied()).dots(phase))).into();
    if groups.iter().any(|(_, dots)| dots.is_empty()) {
        return None;
    }
    let of_case = pair.baseline.cases.first().and_then(|case| attribution::case_ceilings(file, case).ok());
    let lines = roofline_lines(
        &ceilings.clone().without_contradictions(),
        of_case.and_then(|ceilings| ceilings.memory).map(|(rate, _)| rate.0),
    );
    let heaviest = |dots: &[Dot]| {
        let dot = dots.iter().max_by(|a, b| a.weight.total_cmp(&b.weight))?;
        Some(format!("{} at {} GFLOP/s", dot.label, significant(dot.y)))
    };
    let descriptions: Vec<String> = groups
        .iter()
        .filter_map(|(name, dots)| Some(format!("on {name} most time is spent in {}", heaviest(dots)?)))
        .collect();
    let phase = phase.name();
    Some(Chart {
        title: format!("Operations of {phase}: {baseline} and {other}"),
        summary: format!("{phase}, traced pass: {}.", descriptions.join("; ")),
        figure: Figure::Scatter(Scatter {
            x: "FLOP per byte".to_owned(),
            y: "GFLOP/s".to_owned(),
            groups,
            ceilings: lines,
        }),
        numbers: None,
    })
}
