//! Both sides under the ceilings of one machine.

use std::collections::BTreeMap;

use crate::attribution;
use crate::compare::{Comparison, Match, Sides, matches};
use crate::report::chart::{Chart, Dot, Figure, Scatter};
use crate::report::content::Section;
use crate::report::figures::significant;
use crate::report::sections::roofline_lines;
use crate::results::Case;

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
    let groups: Vec<(String, Vec<Dot>)> = groups.map(|(name, cases)| (name.to_owned(), dots(cases, phase))).into();
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

fn dots(cases: &[&Case], phase: &str) -> Vec<Dot> {
    let mut sums: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    for row in cases.iter().flat_map(|case| &case.ops).filter(|row| row.phase == phase) {
        let (Some(flops), Some(bytes)) = (row.flops, row.bytes) else { continue };
        let sum = sums.entry(&row.op).or_default();
        for (sum, value) in sum.iter_mut().zip([row.time_s, flops, bytes]) {
            *sum += value;
        }
    }
    let longest = sums.values().map(|[time, ..]| *time).fold(0.0, f64::max);
    let usable = sums.iter().filter(|(_, sum)| sum.iter().all(|value| *value > 0.0));
    usable
        .map(|(op, [time, flops, bytes])| Dot {
            label: (*op).to_owned(),
            x: flops / bytes,
            y: flops / time / 1e9,
            weight: time / longest,
        })
        .collect()
}
