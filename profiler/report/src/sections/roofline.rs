//! Operations in a roofline chart with the measured ceilings.

use std::collections::BTreeMap;

use engine_api::Phase;

use super::RunView;
use crate::chart::{CeilingLine, Chart, Dot, Figure, Scatter};
use crate::content::{Block, Section};
use crate::figures::percent;
use analyse::attribution;
use record::figures::significant;
use record::{Case, PhaseOrOther, Recorded, Spread, Summary, ThreadCeilings};

/// Phases that run the model.
const PHASES: [Phase; 2] = [Phase::Decode, Phase::Prefill];

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Roofline");
    let charts = view.file.summaries.iter().filter_map(|summary| chart(view, summary)).take(super::MOST_CHARTS);
    section.blocks.extend(charts.map(|chart| Block::Chart(Box::new(chart))));
    if !section.blocks.is_empty() {
        section.add_sentence(
            "From the traced pass, by the cost model. Memory is the bandwidth as probed during this run.",
        );
        section.add_chart_note("Each point is one operation of a phase, summed over layers, calls and prompts. Lines are the ceilings of this machine for the same number of threads: slanted lines are bandwidths, flat lines are compute peaks. Something else than a ceiling binds an operation that is far below all lines.");
    }
    section
}

/// One operation, summed over cases.
#[derive(Default)]
struct OpTotal {
    time: f64,
    flops: f64,
    bytes: f64,
    /// Shortest time that the ceilings allow; `None` if it is unknown for one case.
    attainable: Option<f64>,
}

impl OpTotal {
    fn is_usable(&self) -> bool {
        self.time > 0.0 && self.flops > 0.0 && self.bytes > 0.0
    }
}

/// Operations by phase and name, summed over cases, for the charts of runs and of comparisons.
pub(crate) struct OpTotals<'a>(BTreeMap<(&'a PhaseOrOther, &'a str), OpTotal>);

impl<'a> OpTotals<'a> {
    /// Sums the operations with known costs.
    pub(crate) fn of(cases: impl Iterator<Item = &'a Case>) -> Self {
        let mut sums: BTreeMap<(&PhaseOrOther, &str), OpTotal> = BTreeMap::new();
        for row in cases.flat_map(|case| &case.ops) {
            let (Some(flops), Some(bytes)) = (row.flops.value(), row.bytes.value()) else { continue };
            let start = || OpTotal { attainable: Some(0.0), ..OpTotal::default() };
            let sum = sums.entry((&row.phase, &row.op)).or_insert_with(start);
            sum.time += row.time_s;
            sum.flops += flops;
            sum.bytes += bytes;
            sum.attainable = sum.attainable.zip(row.attainable_s.value()).map(|(a, b)| a + b);
        }
        Self(sums)
    }

    /// The points of a phase. Their weights are relative to the longest operation of all phases.
    pub(crate) fn dots(&self, phase: Phase) -> Vec<Dot> {
        let longest = self.0.values().map(|sum| sum.time).fold(0.0, f64::max);
        let of_phase = self.0.iter().filter(|((of, _), sum)| **of == phase && sum.is_usable());
        of_phase
            .map(|((_, op), sum)| Dot {
                label: (*op).to_owned(),
                x: sum.flops / sum.bytes,
                y: sum.flops / sum.time / 1e9,
                weight: sum.time / longest,
            })
            .collect()
    }
}

fn chart(view: &RunView<'_>, summary: &Summary) -> Option<Chart> {
    let ceilings = view.file.ceilings.as_ref()?.of(summary.threads)?;
    let ops = OpTotals::of(view.cases(summary));
    let group = |phase: Phase| (phase.name().to_owned(), ops.dots(phase));
    let groups: Vec<(String, Vec<Dot>)> = PHASES.into_iter().map(group).filter(|(_, dots)| !dots.is_empty()).collect();
    let count: usize = groups.iter().map(|(_, dots)| dots.len()).sum();
    if count == 0 {
        return None;
    }
    let subject = view.subject(summary);
    let heaviest = ops.0.iter().filter(|(_, sum)| sum.is_usable()).max_by(|a, b| a.1.time.total_cmp(&b.1.time));
    let longest = heaviest.map(|((phase, op), sum)| {
        let share = sum.attainable.map(|least| format!(", {} of the roofline", percent(least / sum.time)));
        format!(
            "; most time is spent in {op} in {phase}, at {} GFLOP/s and {} FLOP/byte{}",
            significant(sum.flops / sum.time / 1e9),
            significant(sum.flops / sum.bytes),
            share.unwrap_or_default()
        )
    });
    let of_case = view.cases(summary).next().and_then(|case| attribution::case_ceilings(view.file, case).ok());
    let lines = lines(
        &ceilings.clone().without_contradictions(),
        of_case.and_then(|ceilings| ceilings.memory).map(|(rate, _)| rate.0),
    );
    let known: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    Some(Chart {
        title: format!("Operations and ceilings of {}: {subject}", super::count(ceilings.threads, "thread")),
        summary: format!(
            "{subject}: {count} operations{}. Ceilings: {}.",
            longest.unwrap_or_default(),
            known.join(", ")
        ),
        figure: Figure::Scatter(Scatter {
            x: "FLOP per byte".to_owned(),
            y: "GFLOP/s".to_owned(),
            groups,
            ceilings: lines,
        }),
        numbers: None,
    })
}

/// Bandwidths as slanted lines and compute peaks as flat lines, in GFLOP/s. `memory` is the bandwidth that the run measured,
/// in bytes per second.
pub(crate) fn lines(ceilings: &ThreadCeilings, memory: Option<f64>) -> Vec<CeilingLine> {
    let line = |label: &str, level: Option<f64>, slanted: bool| {
        let level = level? / 1e9;
        let unit = if slanted { "GB/s" } else { "Gop/s" };
        Some(CeilingLine {
            label: label.to_owned(),
            text: format!("{label} {} {unit}", significant(level)),
            level,
            slanted,
        })
    };
    let caches = ceilings.caches.iter().map(|cache| line(&format!("L{}", cache.level), Some(cache.read.median), true));
    let middle = |spread: &Recorded<Spread>| spread.value().map(|spread| spread.median);
    let memory = line("memory", memory.or_else(|| middle(&ceilings.memory_read)), true);
    let peaks = [line("f32", middle(&ceilings.fma_f32), false), line("int8", middle(&ceilings.dot_i8), false)];
    std::iter::once(memory).chain(caches).chain(peaks).flatten().filter(|line| line.level > 0.0).collect()
}
