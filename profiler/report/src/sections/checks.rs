//! Warnings, failures, and whether outputs were equal.

use std::collections::BTreeSet;

use super::RunView;
use crate::content::{Block, Section};
use crate::figures::count;
use record::{Case, Sample, Status};

pub(super) fn warnings(view: &RunView<'_>) -> Section {
    let mut section = Section::short("Warnings");
    section.blocks.extend(view.file.warnings.iter().cloned().map(Block::Warning));
    section
}

/// One line for all cases with the same failure. An incomplete case has not failed: a warning states the interruption.
pub(super) fn failures(view: &RunView<'_>) -> Section {
    let mut section = Section::short("Failures");
    let mut alike: Vec<(Status, &str, Vec<&str>)> = Vec::new();
    for case in view.file.cases.iter().filter(|case| case.status.is_failure()) {
        let why = case.error.as_deref().unwrap_or("no reason was recorded");
        match alike.iter_mut().find(|(status, reason, _)| *status == case.status && *reason == why) {
            Some((.., cases)) => cases.push(&case.id),
            None => alike.push((case.status, why, vec![&case.id])),
        }
    }
    for (status, why, cases) in alike {
        // The format writes "failed" in front.
        let how = if status == Status::Failed { String::new() } else { format!(" ({})", status.word()) };
        section.blocks.push(Block::Failure(format!("{}{how}: {why}", cases.join(", "))));
    }
    section
}

pub(super) fn outputs(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Outputs");
    let hashes = |case: &Case| {
        // Prompts with different digits in front may have different answers.
        let same_prompt = |sample: &&Sample| sample.server.as_ref().is_none_or(|server| !server.nonce);
        let samples = case.clean_samples().chain(&case.stepped).chain(&case.traced).filter(same_prompt);
        samples.filter_map(|sample| sample.output_sha256.as_ref().cloned()).collect::<Vec<String>>()
    };
    let (mut samples, mut same, mut differing) = (0, 0, Vec::new());
    for case in &view.file.cases {
        let found = hashes(case);
        samples += found.len();
        match found.iter().collect::<BTreeSet<_>>().len() {
            0 => {}
            1 => same += 1,
            kinds => differing.push(format!("{} ({kinds} different outputs)", case.id)),
        }
    }
    if samples == 0 {
        return section;
    }
    if differing.is_empty() {
        section.add_sentence(format!(
            "In {} all samples of all passes had the same output ({} compared by SHA-256).",
            count(same, "case"),
            count(samples, "sample")
        ));
    } else {
        section.add_sentence(format!(
            "In {} all samples had the same output. In {} they differed, so their times are those of different work: {}.",
            count(same, "case"),
            count(differing.len(), "case"),
            differing.join(", ")
        ));
    }
    if view.file.plan.models.iter().any(|model| model.synthetic) {
        section.add_sentence(
            "Outputs of synthetic weights are meaningless, but equal outputs show that the same work was done.",
        );
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::RunFile;

    #[test]
    fn an_incomplete_case_is_no_failure() {
        let case = |id: &str, status| Case { id: id.to_owned(), status, ..Case::default() };
        let cases = vec![
            case("a", Status::Ok),
            case("b", Status::Failed),
            case("c", Status::Timeout),
            case("d", Status::Skipped),
        ];
        let file = RunFile { cases, ..RunFile::default() };
        let found = failures(&RunView { file: &file }).blocks;
        let failed = |text: &str| Block::Failure(format!("{text}: no reason was recorded"));
        assert_eq!(found, [failed("b"), failed("c (timed out)")]);
    }
}
