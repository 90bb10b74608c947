//! CSV: one row per metric, prompt and pair. Rows without a prompt are of all prompts, rows without a round of all rounds of a prompt.

use analyse::compare::{Comparison, Contrast, FigureRow};
use record::{Printable, Recorded};

const COLUMNS: [&str; 18] = [
    "baseline",
    "other",
    "model",
    "threads",
    "depth",
    "interleaved",
    "work",
    "metric",
    "unit",
    "prompt",
    "round",
    "baseline_mean",
    "other_mean",
    "ratio",
    "low",
    "high",
    "outlier",
    "estimated",
];

pub(super) fn csv(found: &Comparison) -> Printable {
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut written = out.write_record(COLUMNS);
    for contrast in &found.contrasts {
        for row in &contrast.figures {
            for record in records(contrast, row) {
                written = written.and_then(|()| out.write_record(&record));
            }
        }
    }
    // Writing to a vector cannot fail.
    let _ = written;
    Printable::new(&String::from_utf8_lossy(&out.into_inner().unwrap_or_default()))
}

fn records(contrast: &Contrast, row: &FigureRow) -> Vec<Vec<String>> {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let estimated: Vec<String> = row.estimated.iter().map(|(side, reason)| format!("{side}: {reason}")).collect();
    let record = |prompt: &str, round: String, means: [Option<f64>; 2], ratio: [Option<f64>; 3], outlier: &str| {
        let mut cells = vec![
            contrast.baseline.name.clone(),
            contrast.other.name.clone(),
            contrast.other.model.clone(),
            contrast.other.threads.to_string(),
            contrast.other.depth.to_string(),
            contrast.interleaved.to_string(),
            contrast.work.label.text().to_owned(),
            row.metric.clone(),
            row.unit.clone(),
            prompt.to_owned(),
            round,
        ];
        cells.extend(means.into_iter().chain(ratio).map(number));
        cells.extend([outlier.to_owned(), estimated.join("; ")]);
        cells
    };
    let means = [&row.baseline, &row.other].map(Recorded::value);
    let ratio = [&row.ratio, &row.low, &row.high].map(Recorded::value);
    let mut found = vec![record("", String::new(), means, ratio, "")];
    for prompt in &row.prompts {
        let ratio = [Some(prompt.ratio), prompt.low.value(), prompt.high.value()];
        found.push(record(&prompt.prompt, String::new(), [None; 2], ratio, ""));
        found.extend(prompt.pairs.iter().map(|pair| {
            let outlier = if pair.outlier { "true" } else { "false" };
            record(&prompt.prompt, pair.round.to_string(), [None; 2], [Some(pair.ratio), None, None], outlier)
        }));
    }
    found
}
