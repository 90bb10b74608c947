//! Where the latency goes, and what the instruments cost.

use super::View;
use crate::report::content::{Section, Table};
use crate::report::figures::{ABSENT, milliseconds, percent};
use crate::results::Probe;
use crate::statistics::{OfSample, PHASES, clean, mean, median};

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("Phases");
    for summary in &view.file.summaries {
        let mut table = Table::new(
            format!("{}: mean over all clean samples.", view.subject(summary)),
            &["<phase", "ms", "share of latency"],
        );
        let samples: Vec<_> = view.cases(summary).flat_map(clean).collect();
        let mean_of = |value: OfSample| mean(&samples.iter().filter_map(|sample| value(sample)).collect::<Vec<f64>>());
        let Some(latency) = mean_of(|sample| sample.latency_s).filter(|&latency| latency > 0.0) else { continue };
        let mut sum = 0.0;
        for (name, value) in PHASES {
            let row = match mean_of(*value) {
                Some(time) => {
                    sum += time;
                    vec![(*name).to_owned(), milliseconds(time), percent(time / latency)]
                }
                None => vec![(*name).to_owned(), ABSENT.to_owned(), "part of the next phase".to_owned()],
            };
            table.rows.push(row);
        }
        table.rows.push(vec!["sum".to_owned(), milliseconds(sum), percent(sum / latency)]);
        table.rows.push(vec!["latency".to_owned(), milliseconds(latency), percent(1.0)]);
        section.show(table);
    }
    if !section.blocks.is_empty() {
        section.say("Decode, sample and detokenize are summed over the output tokens. Other is the time from each phase's end to the next one's beginning, measured by its own edges and not computed as the rest.");
    }
    section
}

/// The instruments measured with themselves.
pub(super) fn probe(view: &View<'_>) -> Section {
    let mut section = Section::new("What the instruments cost");
    let middle =
        |value: fn(&Probe) -> Option<f64>| median(&view.file.probes.iter().filter_map(value).collect::<Vec<f64>>());
    let parts = [
        ("the stepped pass (counters at the phase edges)", middle(|probe| probe.stepped)),
        ("the traced pass (op marks)", middle(|probe| probe.traced)),
        ("the second half of the clean rounds against the first (drift alone)", middle(|probe| probe.clean)),
    ];
    let told: Vec<String> = parts
        .iter()
        .map(|(what, ratio)| {
            format!("{what} {}", ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.3}")))
        })
        .collect();
    if parts.iter().any(|(_, ratio)| ratio.is_some()) {
        section.say(format!(
            "Latency per output token, as a multiple of the clean pass, median over the cases: {}. A ratio of 1 is no effect; every published time comes from the clean pass.",
            told.join("; ")
        ));
    }
    section
}
