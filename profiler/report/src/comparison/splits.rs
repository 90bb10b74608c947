//! Where a difference lies: waterfalls with their numbers.

use crate::chart::{Chart, Figure, Step, Steps};
use crate::content::{Section, Table};
use crate::figures::{or_absent, percent};
use analyse::compare::{Comparison, Contrast, Sameness, Split};
use record::figures::milliseconds;

/// A part smaller than this share of the baseline's whole is not drawn by itself.
const SMALL: f64 = 0.005;

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::new("Where the difference lies");
    for contrast in &found.contrasts {
        for split in &contrast.splits {
            section.draw(waterfall(contrast, split));
        }
    }
    if !section.blocks.is_empty() {
        section.say("Times are those of the clean pass. Within prefill and decode they are dealt out to groups of ops by their shares of the traced pass, whose marks slow each engine down differently: compare shares, and take milliseconds of small parts with care. Parts add up to their whole on either side.");
    }
    section
}

fn heading(contrast: &Contrast, split: &Split) -> String {
    let label = match contrast.work.label {
        Sameness::Equal => String::new(),
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
        "of the whole difference",
    ];
    let mut table = Table::new(format!("In ms: {}.", heading(contrast, split)), &columns);
    let row = |name: &str, baseline: f64, other: f64, share: Option<f64>| {
        // Below a nanosecond there is nothing to tell.
        let change = if (other - baseline).abs() < 1e-9 { 0.0 } else { other - baseline };
        let difference = format!("{}{}", if change > 0.0 { "+" } else { "" }, milliseconds(change));
        vec![name.to_owned(), milliseconds(baseline), milliseconds(other), difference, or_absent(share.map(percent))]
    };
    table.rows.extend(split.parts.iter().map(|part| row(&part.name, part.baseline_s, part.other_s, part.share)));
    table.rows.push(row("whole", split.baseline_s, split.other_s, None));
    table
}

/// From the baseline's whole over its parts to the other's.
fn waterfall(contrast: &Contrast, split: &Split) -> Chart {
    let whole = |name: &str, time: f64| Step {
        label: format!("{name}: {} per {}", split.whole, split.per),
        text: format!("{} ms", milliseconds(time)),
        from: 0.0,
        to: time * 1e3,
        whole: true,
    };
    let mut rows = vec![whole(&contrast.baseline.name, split.baseline_s)];
    let mut at = split.baseline_s;
    let mut rest = 0.0;
    let mut step = |label: &str, difference: f64, rows: &mut Vec<Step>| {
        let sign = if difference >= 0.0 { "+" } else { "" };
        rows.push(Step {
            label: label.to_owned(),
            text: format!("{sign}{} ms", milliseconds(difference)),
            from: at * 1e3,
            to: (at + difference) * 1e3,
            whole: false,
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
        step("all smaller ones", rest, &mut rows);
    }
    rows.push(whole(&contrast.other.name, split.other_s));
    let told: Vec<String> = rows.iter().map(|row| format!("{} {}", row.label, row.text)).collect();
    Chart {
        title: format!("From one to the other: {}", heading(contrast, split)),
        summary: format!("{}.", told.join(", ")),
        figure: Figure::Steps(Steps { axis: "ms".to_owned(), rows }),
        numbers: Some(table(contrast, split)),
    }
}
