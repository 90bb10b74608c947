//! Ops under the measured ceilings.

use std::collections::BTreeMap;

use super::View;
use crate::chart::{Ceiling, Chart, Dot, Figure, Scatter};
use crate::content::{Block, Section};
use crate::figures::percent;
use analyse::attribution;
use record::figures::significant;
use record::{Case, Spread, Summary, ThreadCeilings};

/// Phases that run the model.
const PHASES: &[&str] = &["decode", "prefill"];

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("Roofline");
    let charts = view.file.summaries.iter().filter_map(|summary| chart(view, summary)).take(super::MOST_CHARTS);
    section.blocks.extend(charts.map(|chart| Block::Chart(Box::new(chart))));
    if !section.blocks.is_empty() {
        section.say("A point is an op of a phase, summed over layers, calls and prompts: its operations per byte, by the cost model, and the operations per second that it reached in the traced pass. Lines are the ceilings that were measured on this machine with as many threads, that of the memory as probed between the requests of this run: a slanted one is a bandwidth, a flat one a peak of arithmetic. Where an op's point lies far below every line, something else binds it.");
    }
    section
}

/// An op summed over cases.
#[derive(Default)]
struct Sum {
    time: f64,
    flops: f64,
    bytes: f64,
    /// Time that the ceilings allow; `None` as soon as one case does not know it.
    attainable: Option<f64>,
}

impl Sum {
    fn is_usable(&self) -> bool {
        self.time > 0.0 && self.flops > 0.0 && self.bytes > 0.0
    }
}

/// Ops of a phase, summed over cases: what both the report of a run and a comparison draw.
pub(crate) struct Ops<'a>(BTreeMap<(&'a str, &'a str), Sum>);

impl<'a> Ops<'a> {
    /// Sums the ops whose costs are known.
    pub(crate) fn of(cases: impl Iterator<Item = &'a Case>) -> Self {
        let mut sums: BTreeMap<(&str, &str), Sum> = BTreeMap::new();
        for row in cases.flat_map(|case| &case.ops) {
            let (Some(flops), Some(bytes)) = (row.flops, row.bytes) else { continue };
            let start = || Sum { attainable: Some(0.0), ..Sum::default() };
            let sum = sums.entry((&row.phase, &row.op)).or_insert_with(start);
            sum.time += row.time_s;
            sum.flops += flops;
            sum.bytes += bytes;
            sum.attainable = sum.attainable.zip(row.attainable_s).map(|(a, b)| a + b);
        }
        Self(sums)
    }

    /// The points of a phase; their weights are shares of the longest op of all phases.
    pub(crate) fn dots(&self, phase: &str) -> Vec<Dot> {
        let longest = self.0.values().map(|sum| sum.time).fold(0.0, f64::max);
        let of_phase = self.0.iter().filter(|((of, _), sum)| *of == phase && sum.is_usable());
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

fn chart(view: &View<'_>, summary: &Summary) -> Option<Chart> {
    let ceilings = view.file.ceilings.as_ref()?.of(summary.threads)?;
    let ops = Ops::of(view.cases(summary));
    let group = |phase: &&str| ((*phase).to_owned(), ops.dots(phase));
    let groups: Vec<(String, Vec<Dot>)> = PHASES.iter().map(group).filter(|(_, dots)| !dots.is_empty()).collect();
    let count: usize = groups.iter().map(|(_, dots)| dots.len()).sum();
    if count == 0 {
        return None;
    }
    let subject = view.subject(summary);
    let heaviest = ops.0.iter().filter(|(_, sum)| sum.is_usable()).max_by(|a, b| a.1.time.total_cmp(&b.1.time));
    let told = heaviest.map(|((phase, op), sum)| {
        let share = sum.attainable.map(|least| format!(", {} of what the ceilings allow", percent(least / sum.time)));
        format!(
            "; most time goes to {op} in {phase}: {} GFLOP/s at {} FLOP/byte{}",
            significant(sum.flops / sum.time / 1e9),
            significant(sum.flops / sum.bytes),
            share.unwrap_or_default()
        )
    });
    let limits = view.cases(summary).next().and_then(|case| attribution::limits(view.file, case));
    let lines = lines(ceilings, limits.and_then(|limits| limits.memory).map(|(rate, _)| rate.0));
    let known: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    Some(Chart {
        title: format!("Ops under the ceilings of {}: {subject}", super::count(ceilings.threads, "thread")),
        summary: format!("{subject}: {count} ops{}. Ceilings: {}.", told.unwrap_or_default(), known.join(", ")),
        figure: Figure::Scatter(Scatter {
            x: "FLOP per byte".to_owned(),
            y: "GFLOP/s".to_owned(),
            groups,
            ceilings: lines,
        }),
        numbers: None,
    })
}

/// Bandwidths as slanted lines, peaks as flat ones, in GFLOP/s; `memory` is the bandwidth that the ops were placed under, in
/// bytes per second.
pub(crate) fn lines(ceilings: &ThreadCeilings, memory: Option<f64>) -> Vec<Ceiling> {
    let line = |label: &str, level: Option<f64>, slanted: bool| {
        let level = level? / 1e9;
        let unit = if slanted { "GB/s" } else { "Gop/s" };
        Some(Ceiling {
            label: label.to_owned(),
            text: format!("{label} {} {unit}", significant(level)),
            level,
            slanted,
        })
    };
    let caches = ceilings.caches.iter().map(|cache| line(&format!("L{}", cache.level), Some(cache.read.median), true));
    let middle = |spread: &Option<Spread>| spread.map(|spread| spread.median);
    let memory = line("memory", memory.or_else(|| middle(&ceilings.memory_read)), true);
    let peaks = [line("f32", middle(&ceilings.fma_f32), false), line("int8", middle(&ceilings.dot_i8), false)];
    std::iter::once(memory).chain(caches).chain(peaks).flatten().filter(|line| line.level > 0.0).collect()
}
