//! Latency by phase, and the overhead of the instruments.

use super::RunView;
use crate::chart::{Chart, Figure, StackedBars};
use crate::content::{Block, Section};
use crate::figures::{ABSENT, percent};
use crate::table::Table;
use analyse::summary::{PHASE_TIMES, PhaseTime};
use record::figures::{milliseconds, significant};
use record::{Case, Pass, ProbeEffect, Reason};
use statistics::{mean, median};

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Phases");
    let by_prompt = view.file.summaries.iter().filter_map(|summary| {
        let rows = view.cases(summary).map(|case| (case.prompt.clone(), vec![case])).collect();
        bars(&format!("by prompt: {}", view.subject(summary)), rows)
    });
    let by_prompt: Vec<Block> = by_prompt.take(super::MOST_CHARTS).map(|chart| Block::Chart(Box::new(chart))).collect();
    if view.file.summaries.len() > 1 {
        let rows = view.file.summaries.iter().map(|summary| (view.subject(summary), view.cases(summary).collect()));
        section.blocks.extend(bars("mean over the prompts", rows.collect()).map(|chart| Block::Chart(Box::new(chart))));
        section.blocks.push(Block::Details { summary: "Prompt by prompt".to_owned(), blocks: by_prompt });
    } else {
        section.blocks.extend(by_prompt);
    }
    let mut tables = Vec::new();
    for summary in &view.file.summaries {
        let mut table = Table::new(
            format!("{}: clean pass, mean over all samples.", view.subject(summary)),
            &["<phase", "ms", "share of latency"],
        );
        let samples: Vec<_> = view.cases(summary).flat_map(Case::clean_samples).collect();
        let mean_of =
            |time: PhaseTime| mean(&samples.iter().filter_map(|sample| time(sample).value()).collect::<Vec<f64>>());
        let Some(latency) = mean_of(|sample| &sample.latency_s).filter(|&latency| latency > 0.0) else {
            continue;
        };
        let mut sum = 0.0;
        let mut absent = Vec::new();
        for (phase, time) in PHASE_TIMES {
            let row = match mean_of(*time) {
                Some(mean) => {
                    sum += mean;
                    vec![phase.to_string(), milliseconds(mean), percent(mean / latency)]
                }
                None => {
                    let why = samples.iter().find_map(|sample| time(sample).reason());
                    let why = why.map_or("not measured", Reason::as_str);
                    absent.push(Block::Sentence(format!("No time of {phase}: {why}.")));
                    vec![phase.to_string(), ABSENT.to_owned(), ABSENT.to_owned()]
                }
            };
            table.rows.push(row);
        }
        table.rows.push(vec!["sum of the phases".to_owned(), milliseconds(sum), percent(sum / latency)]);
        table.rows.push(vec!["latency".to_owned(), milliseconds(latency), percent(1.0)]);
        tables.push(Block::Table(table));
        tables.extend(absent);
    }
    if !tables.is_empty() {
        section.blocks.push(Block::Details { summary: "Numbers".to_owned(), blocks: tables });
    }
    if !section.blocks.is_empty() {
        section.add_sentence("Decode, sample and detokenize are sums over the output tokens. Other is the measured time between the end of a phase and the start of the next one.");
    }
    section
}

/// A bar per name, consisting of the phases of its cases: means over the cases, each the mean over its samples.
fn bars(title: &str, rows: Vec<(String, Vec<&Case>)>) -> Option<Chart> {
    let row = |(name, cases): (String, Vec<&Case>)| {
        let of_case = |case: &&Case, time: PhaseTime| {
            mean(&case.clean_samples().filter_map(|sample| time(sample).value()).collect::<Vec<f64>>())
        };
        let mean_of =
            |time: PhaseTime| mean(&cases.iter().filter_map(|case| of_case(case, time)).collect::<Vec<f64>>());
        let latency = mean_of(|sample| &sample.latency_s).filter(|&latency| latency > 0.0)?;
        let parts = PHASE_TIMES.iter().map(|(_, time)| mean_of(*time).unwrap_or(0.0)).collect();
        Some((name, format!("{} s", significant(latency)), parts))
    };
    let rows: Vec<(String, String, Vec<f64>)> = rows.into_iter().filter_map(row).collect();
    let longest =
        rows.iter().map(|(.., parts)| parts.iter().sum::<f64>()).enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (name, latency, parts) = rows.get(longest.0)?;
    let (largest, time) = PHASE_TIMES.iter().zip(parts).max_by(|a, b| a.1.total_cmp(b.1))?;
    let share = percent(time / longest.1);
    let summary = format!("Latency, {title}: the longest is {latency} for {name}; {} takes {share} of it.", largest.0);
    // A phase without time in every row needs no legend entry.
    let shown: Vec<usize> = (0..PHASE_TIMES.len())
        .filter(|&place| rows.iter().any(|(.., parts)| parts.get(place).is_some_and(|&part| part > 0.0)))
        .collect();
    let only = |parts: &[f64]| shown.iter().filter_map(|&place| parts.get(place).copied()).collect::<Vec<f64>>();
    let stack = StackedBars {
        axis: "seconds".to_owned(),
        parts: shown.iter().filter_map(|&place| PHASE_TIMES.get(place)).map(|(phase, _)| phase.to_string()).collect(),
        rows: rows.iter().map(|(label, whole, parts)| (label.clone(), whole.clone(), only(parts))).collect(),
    };
    Some(Chart {
        title: format!("Latency by phase, {title}"),
        summary,
        figure: Figure::StackedBars(stack),
        numbers: None,
    })
}

/// The overhead of the instruments.
pub(super) fn probe(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Overhead of the instruments");
    let middle = |value: fn(&ProbeEffect) -> Option<f64>| {
        median(&view.file.probes.iter().filter_map(value).collect::<Vec<f64>>())
    };
    let parts = [
        (Pass::Stepped, middle(|probe| probe.stepped.value())),
        (Pass::Traced, middle(|probe| probe.traced.value())),
        (Pass::Counted, middle(|probe| probe.counted.as_ref()?.value())),
    ];
    let ratios: Vec<String> = parts
        .iter()
        // Few runs have a counted pass.
        .filter(|(pass, ratio)| ratio.is_some() || *pass != Pass::Counted)
        .map(|(pass, ratio)| {
            format!("{} pass {}", pass.name(), ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.3}")))
        })
        .collect();
    let timers: Vec<f64> = view.file.cases.iter().filter_map(|case| case.memory_timer_share).collect();
    if let Some(share) = median(&timers) {
        section.add_sentence(format!(
            "The thread that samples memory during stepped and traced requests used {} % of one core (median over the cases).",
            significant(share * 100.0)
        ));
    }
    if parts.iter().any(|(_, ratio)| ratio.is_some()) {
        section.add_sentence(format!(
            "Latency per output token / that of the clean pass (median over the cases): {}. 1 means no overhead.",
            ratios.join(", ")
        ));
    }
    if let Some(ratio) = middle(|probe| probe.clean.value()) {
        section.add_sentence(format!(
            "Change of the clean pass during the run, without instruments: in the second half of the rounds, a token took {ratio:.3} times as long as in the first half (median over the cases).",
        ));
    }
    section
}
