//! Where the latency goes, and what the instruments cost.

use super::View;
use crate::chart::{Chart, Figure, Stack};
use crate::content::{Block, Section, Table};
use crate::figures::{ABSENT, percent};
use analyse::summary::{OfSample, PHASES};
use record::figures::{milliseconds, significant};
use record::{Case, Probe};
use statistics::{mean, median};

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("Phases");
    let by_prompt = view.file.summaries.iter().filter_map(|summary| {
        let rows = view.cases(summary).map(|case| (case.prompt.clone(), vec![case])).collect();
        bars(&format!("prompt by prompt: {}", view.subject(summary)), rows)
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
            format!("{}: mean over all clean samples.", view.subject(summary)),
            &["<phase", "ms", "share of latency"],
        );
        let samples: Vec<_> = view.cases(summary).flat_map(Case::clean_samples).collect();
        let mean_of = |value: OfSample| mean(&samples.iter().filter_map(|sample| value(sample)).collect::<Vec<f64>>());
        let Some(latency) = mean_of(|sample| sample.latency_s).filter(|&latency| latency > 0.0) else { continue };
        let mut sum = 0.0;
        for (name, value) in PHASES {
            let row = match mean_of(*value) {
                Some(time) => {
                    sum += time;
                    vec![(*name).to_owned(), milliseconds(time), percent(time / latency)]
                }
                None => {
                    let field = format!("{name}_s");
                    let why = samples.iter().find_map(|sample| sample.reasons.get(&field)).map(String::as_str);
                    vec![(*name).to_owned(), ABSENT.to_owned(), why.unwrap_or("not measured").to_owned()]
                }
            };
            table.rows.push(row);
        }
        table.rows.push(vec!["sum".to_owned(), milliseconds(sum), percent(sum / latency)]);
        table.rows.push(vec!["latency".to_owned(), milliseconds(latency), percent(1.0)]);
        tables.push(Block::Table(table));
    }
    if !tables.is_empty() {
        section.blocks.push(Block::Details { summary: "Numbers".to_owned(), blocks: tables });
    }
    if !section.blocks.is_empty() {
        section.say("Decode, sample and detokenize are summed over the output tokens. Other is the time from each phase's end to the next one's beginning, measured by its own edges and not computed as the rest.");
    }
    section
}

/// A bar for each name, made of the phases of its cases: means over the cases of the means over their samples.
fn bars(title: &str, rows: Vec<(String, Vec<&Case>)>) -> Option<Chart> {
    let row = |(name, cases): (String, Vec<&Case>)| {
        let of_case =
            |case: &&Case, value: OfSample| mean(&case.clean_samples().filter_map(value).collect::<Vec<f64>>());
        let mean_of =
            |value: OfSample| mean(&cases.iter().filter_map(|case| of_case(case, value)).collect::<Vec<f64>>());
        let latency = mean_of(|sample| sample.latency_s).filter(|&latency| latency > 0.0)?;
        let parts = PHASES.iter().map(|(_, value)| mean_of(*value).unwrap_or(0.0)).collect();
        Some((name, format!("{} s", significant(latency)), parts))
    };
    let rows: Vec<(String, String, Vec<f64>)> = rows.into_iter().filter_map(row).collect();
    let longest =
        rows.iter().map(|(.., parts)| parts.iter().sum::<f64>()).enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (name, latency, parts) = rows.get(longest.0)?;
    let (largest, time) = PHASES.iter().zip(parts).max_by(|a, b| a.1.total_cmp(b.1))?;
    let share = percent(time / longest.1);
    let told = format!(
        "Latency, {title}: the longest is that of {name} with {latency}, of which {} takes {share}.",
        largest.0
    );
    // A phase that is part of another one everywhere has no colour to explain.
    let shown: Vec<usize> = (0..PHASES.len())
        .filter(|&place| rows.iter().any(|(.., parts)| parts.get(place).is_some_and(|&part| part > 0.0)))
        .collect();
    let only = |parts: &[f64]| shown.iter().filter_map(|&place| parts.get(place).copied()).collect::<Vec<f64>>();
    let stack = Stack {
        axis: "seconds".to_owned(),
        parts: shown.iter().filter_map(|&place| PHASES.get(place)).map(|(name, _)| (*name).to_owned()).collect(),
        rows: rows.iter().map(|(label, whole, parts)| (label.clone(), whole.clone(), only(parts))).collect(),
    };
    Some(Chart {
        title: format!("Where the latency goes, {title}"),
        summary: told,
        figure: Figure::Stack(stack),
        numbers: None,
    })
}

/// The instruments measured with themselves.
pub(super) fn probe(view: &View<'_>) -> Section {
    let mut section = Section::new("What the instruments cost");
    let middle =
        |value: fn(&Probe) -> Option<f64>| median(&view.file.probes.iter().filter_map(value).collect::<Vec<f64>>());
    let parts = [
        ("the stepped pass (counters at the phase edges)", middle(|probe| probe.stepped)),
        ("the traced pass (op marks)", middle(|probe| probe.traced)),
        ("the counted pass (counters at the edges of ops)", middle(|probe| probe.counted)),
        ("the second half of the clean rounds against the first (drift alone)", middle(|probe| probe.clean)),
    ];
    let told: Vec<String> = parts
        .iter()
        // Few runs have one.
        .filter(|(what, ratio)| ratio.is_some() || !what.starts_with("the counted"))
        .map(|(what, ratio)| {
            format!("{what} {}", ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.3}")))
        })
        .collect();
    let timers: Vec<f64> = view.file.cases.iter().filter_map(|case| case.memory_timer_share).collect();
    if let Some(share) = median(&timers) {
        section.say(format!(
            "The thread that reads memory over a stepped or traced request used {} % of one core by the system's own account, median over the cases.",
            significant(share * 100.0)
        ));
    }
    if parts.iter().any(|(_, ratio)| ratio.is_some()) {
        section.say(format!(
            "Latency per output token, as a multiple of the clean pass, median over the cases: {}. A ratio of 1 is no effect; every published time comes from the clean pass.",
            told.join("; ")
        ));
    }
    section
}
