//! Which parts make up a difference: waterfall charts with their numbers.

use crate::chart::{Chart, Figure, Waterfall, WaterfallStep};
use crate::content::Section;
use crate::figures::{or_absent, percent};
use crate::table::Table;
use analyse::compare::{Comparability, Comparison, Contrast, Split};
use record::figures::milliseconds;

/// Parts that change by less than this share of the baseline's total are drawn as one.
const SMALL: f64 = 0.005;

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::new("Parts of the difference");
    for contrast in &found.contrasts {
        for split in &contrast.splits {
            section.add_chart(waterfall(contrast, split));
        }
    }
    if !section.blocks.is_empty() {
        section.add_sentence("Totals are times of the clean pass (nothing recorded). Within prefill and decode they are divided among groups of operations by the shares of the traced pass (every operation recorded). Recording slows engines down differently, so milliseconds of small parts are approximate. The parts of each side add up to its total. Of the baseline: the difference / the baseline's total. Where parts change in both directions and cancel each other, they have no share of the difference.");
    }
    section
}

fn heading(contrast: &Contrast, split: &Split) -> String {
    let label = match contrast.work.label {
        Comparability::Equal => String::new(),
        label => format!("; same work: {}", label.text()),
    };
    format!("{} per {}, {} against {}{label}", split.whole, split.per, contrast.other.name, contrast.baseline.name)
}

fn table(contrast: &Contrast, split: &Split) -> Table {
    let columns = [
        "<part",
        contrast.baseline.name.as_str(),
        contrast.other.name.as_str(),
        "difference ms",
        "of the baseline",
        "share of difference",
    ];
    let mut table = Table::new(format!("In ms: {}.", heading(contrast, split)), &columns);
    let signed = |text: String, value: f64| format!("{}{text}", if value > 0.0 { "+" } else { "" });
    let row = |name: &str, baseline: f64, other: f64, share: Option<f64>| {
        // Less than a nanosecond is rounding.
        let change = if (other - baseline).abs() < 1e-9 { 0.0 } else { other - baseline };
        let of_baseline = (split.baseline_s > 0.0).then(|| signed(percent(change / split.baseline_s), change));
        vec![
            name.to_owned(),
            milliseconds(baseline),
            milliseconds(other),
            signed(milliseconds(change), change),
            or_absent(of_baseline),
            or_absent(share.map(percent)),
        ]
    };
    table
        .rows
        .extend(split.parts.iter().map(|part| row(&part.name, part.baseline_s, part.other_s, part.share.value())));
    table.rows.push(row("total", split.baseline_s, split.other_s, None));
    table
}

/// From the total of the baseline over the changes of its parts to the total of the other side.
fn waterfall(contrast: &Contrast, split: &Split) -> Chart {
    let total = |name: &str, time: f64| WaterfallStep {
        label: format!("{name}: {} per {}", split.whole, split.per),
        text: format!("{} ms", milliseconds(time)),
        from: 0.0,
        to: time * 1e3,
        is_total: true,
    };
    let mut rows = vec![total(&contrast.baseline.name, split.baseline_s)];
    let mut at = split.baseline_s;
    let mut rest = 0.0;
    let mut step = |label: &str, difference: f64, rows: &mut Vec<WaterfallStep>| {
        let sign = if difference >= 0.0 { "+" } else { "" };
        rows.push(WaterfallStep {
            label: label.to_owned(),
            text: format!("{sign}{} ms", milliseconds(difference)),
            from: at * 1e3,
            to: (at + difference) * 1e3,
            is_total: false,
        });
        at += difference;
    };
    for part in &split.parts {
        let difference = part.other_s - part.baseline_s;
        if difference.abs() < SMALL * split.baseline_s {
            rest += difference;
        } else {
            step(&part.name, difference, &mut rows);
        }
    }
    if rest != 0.0 {
        step("all smaller changes", rest, &mut rows);
    }
    rows.push(total(&contrast.other.name, split.other_s));
    let descriptions: Vec<String> = rows.iter().map(|row| format!("{} {}", row.label, row.text)).collect();
    Chart {
        title: format!("Parts of the difference: {}", heading(contrast, split)),
        summary: format!("{}.", descriptions.join(", ")),
        figure: Figure::Waterfall(Waterfall { axis: "ms".to_owned(), rows }),
        numbers: Some(table(contrast, split)),
    }
}
