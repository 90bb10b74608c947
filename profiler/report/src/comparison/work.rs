//! Whether both sides did the same work: agreement of answers and probabilities, and every check.

use crate::content::Section;
use crate::figures::{ABSENT, count, percent};
use crate::table::Table;
use analyse::compare::{Agreement, Comparison, Contrast, NEAR_TIE, ProbabilityDistance};
use record::Recorded;
use record::figures::significant;

/// Below this share of the probability, the tokens in common are too few for a conclusion.
const LITTLE: f64 = 0.3;

pub(super) fn section(found: &Comparison) -> Section {
    let mut section = Section::short("Same work");
    for contrast in &found.contrasts {
        section.add_table(failed(contrast));
        if let Some(sentence) = agreement(contrast) {
            section.add_sentence(sentence);
        }
        section.add_sentence(match &contrast.work.probabilities {
            Recorded::Present(distance) => probabilities(contrast, distance),
            Recorded::Absent(reason) => {
                format!("{}: the probabilities were not compared: {reason}.", names(contrast))
            }
        });
    }
    section
}

fn names(contrast: &Contrast) -> String {
    format!("{} against {}", contrast.other.name, contrast.baseline.name)
}

/// The checks that a pair does not pass.
fn failed(contrast: &Contrast) -> Table {
    let caption = format!("{}: {}, for these reasons.", names(contrast), contrast.work.label.text());
    let (baseline, other) = (format!("<{}", contrast.baseline.name), format!("<{}", contrast.other.name));
    let mut table = Table::new(caption, &["<what", "<allows", baseline.as_str(), other.as_str(), "<reason"]);
    let rows = contrast.work.checks.iter().filter(|check| !check.because.is_empty());
    table.rows.extend(rows.map(|check| {
        vec![
            check.what.clone(),
            check.allows.text().to_owned(),
            check.baseline.clone(),
            check.other.clone(),
            check.because.clone(),
        ]
    }));
    table
}

fn agreement(contrast: &Contrast) -> Option<String> {
    let known = |row| -> Option<(&Agreement, usize)> { Some((row, row.same.value()?)) };
    let answers: Vec<_> = contrast.work.answers.iter().filter(|row| row.of > 0).filter_map(known).collect();
    let (same, of) = answers.iter().fold((0, 0), |sum, (row, same)| (sum.0 + same, sum.1 + row.of));
    if of == 0 {
        return None;
    }
    let parted: Vec<String> = answers
        .iter()
        .filter(|(row, same)| *same < row.of)
        .map(|(row, same)| {
            let how = match (row.gap.value(), row.near_tie.value()) {
                (Some(gap), Some(true)) => format!("a near-tie, {gap:.2} nats"),
                (Some(gap), _) => format!("not a near-tie, {gap:.2} nats"),
                (None, _) => "unknown whether a near-tie".to_owned(),
            };
            format!("{} at token {} ({how})", row.prompt, same + 1)
        })
        .collect();
    Some(match parted.is_empty() {
        true => format!(
            "{}: the greedy answers are equal in all {of} tokens of {}.",
            names(contrast),
            count(answers.len(), "prompt")
        ),
        false => format!(
            "{}: {same} of {of} greedy tokens agree before the answers diverge: {}. At a near-tie, the two sides prefer their own token by at most {NEAR_TIE} nat in total.",
            names(contrast),
            parted.join(", ")
        ),
    })
}

fn probabilities(contrast: &Contrast, found: &ProbabilityDistance) -> String {
    let little = if found.covered < LITTLE { ", too little for a conclusion" } else { "" };
    format!(
        "{}: on a fixed text of {} positions the most likely token is the same at {}. The Kullback-Leibler divergence is at least {} nats on average and {} at most. Log-probabilities differ by {} on average and {} at most, over tokens with {} of the probability{little}.",
        names(contrast),
        found.positions,
        percent(found.same_top),
        significant(found.kl_mean),
        significant(found.kl_max),
        significant(found.difference_mean),
        significant(found.difference_max),
        percent(found.covered)
    )
}

pub(super) fn checks(found: &Comparison) -> Section {
    let mut section = Section::new("Checks of equal work");
    for contrast in &found.contrasts {
        let (baseline, other) = (format!("<{}", contrast.baseline.name), format!("<{}", contrast.other.name));
        let columns = ["<what", "<allows", baseline.as_str(), other.as_str(), "<reason"];
        let mut table = Table::new(names(contrast), &columns);
        table.rows.extend(contrast.work.checks.iter().map(|check| {
            let because = if check.because.is_empty() { ABSENT.to_owned() } else { check.because.clone() };
            vec![
                check.what.clone(),
                check.allows.text().to_owned(),
                check.baseline.clone(),
                check.other.clone(),
                because,
            ]
        }));
        section.add_table(table);
    }
    section
}
