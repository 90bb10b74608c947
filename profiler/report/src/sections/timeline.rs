//! Memory over a request as a chart of layers.

use super::RunView;
use crate::chart::{Chart, Figure, Layers};
use crate::content::Block;
use crate::figures::megabytes;
use record::figures::significant;
use record::{Case, MemoryPoint, Pass, Summary};

/// One chart per summary, of the case whose memory grew most.
pub(super) fn charts(view: &RunView<'_>) -> Vec<Block> {
    let chart = |summary: &Summary| {
        let known = view.cases(summary).filter(|case| case.memory_timeline.len() > 1);
        let case = known.reduce(|best, next| if growth(next) > growth(best) { next } else { best })?;
        Some(Block::Chart(Box::new(chart(view, summary, case)?)))
    };
    view.file.summaries.iter().filter_map(chart).take(super::MOST_CHARTS).collect()
}

fn resident(moment: &MemoryPoint) -> f64 {
    (moment.anonymous_bytes + moment.file_backed_bytes) as f64
}

fn growth(case: &Case) -> f64 {
    let all = || case.memory_timeline.iter().map(resident);
    all().fold(0.0, f64::max) - all().fold(f64::INFINITY, f64::min)
}

fn chart(view: &RunView<'_>, summary: &Summary, case: &Case) -> Option<Chart> {
    let readings = &case.memory_timeline;
    let (first, last) = (readings.first()?, readings.last()?);
    let peak = readings.iter().max_by(|a, b| resident(a).total_cmp(&resident(b)))?;
    let layer = |name: &str, bytes: fn(&MemoryPoint) -> u64| {
        (name.to_owned(), readings.iter().map(|moment| bytes(moment) as f64 / 1e6).collect())
    };
    let (samples, pass) =
        if case.stepped.is_empty() { (&case.traced, Pass::Traced) } else { (&case.stepped, Pass::Stepped) };
    let sample = samples.iter().find(|sample| sample.ttft_s.is_present());
    let event = |at: Option<f64>, name: &str| at.map(|at| (at.max(0.0), name.to_owned()));
    let subject = view.subject(summary);
    Some(Chart {
        title: format!("Memory over a request, {}: {subject}", case.prompt),
        summary: format!(
            "{subject}, {}: resident memory over a warm request of the {} pass: {} MB at the start, at most {} MB at {} s, {} MB at the end, of which {} MB are backed by files.",
            case.prompt,
            pass.name(),
            megabytes(resident(first)),
            megabytes(resident(peak)),
            significant(peak.at_s.max(0.0)),
            megabytes(resident(last)),
            megabytes(last.file_backed_bytes as f64),
        ),
        figure: Figure::Layers(Layers {
            x: "seconds since the start of the request".to_owned(),
            y: "resident MB".to_owned(),
            // A reading just before the request is drawn at its start.
            times: readings.iter().map(|moment| moment.at_s.max(0.0)).collect(),
            layers: vec![
                layer("backed by files (weights)", |moment| moment.file_backed_bytes),
                layer("anonymous (KV cache, buffers)", |moment| moment.anonymous_bytes),
            ],
            events: event(sample.and_then(|sample| sample.ttft_s.value()), "first token").into_iter().collect(),
        }),
        numbers: None,
    })
}
