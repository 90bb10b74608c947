//! The passes of the run: the one place of a report that defines them. Tables name the pass that their times come from.

use super::RunView;
use crate::content::{Block, Section};
use record::{Case, Pass};

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::short("Passes");
    let was_made = |pass: &Pass| view.file.cases.iter().any(|case| !samples(case, *pass).is_empty());
    let made: Vec<Pass> = Pass::ALL.into_iter().filter(was_made).collect();
    if !made.is_empty() {
        section.add_sentence("A request belongs to one pass. Every table about requests names its pass.");
        let facts = made.iter().map(|pass| (format!("{} pass", pass.name()), pass.meaning().to_owned()));
        section.blocks.push(Block::Properties(facts.collect()));
    }
    section
}

fn samples(case: &Case, pass: Pass) -> &[record::Sample] {
    match pass {
        Pass::Clean => &case.samples,
        Pass::Stepped => &case.stepped,
        Pass::Traced => &case.traced,
        Pass::Counted => &case.counted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{RunFile, Sample};

    #[test]
    fn only_the_passes_of_the_run_are_defined() {
        let sample = || vec![Sample::absent("not measured")];
        let case = Case { samples: sample(), traced: sample(), ..Case::default() };
        let mut file = RunFile { cases: vec![case], ..RunFile::default() };
        let text = format!("{:?}", section(&RunView { file: &file }).blocks);
        assert!(text.contains("clean pass") && text.contains("traced pass"), "{text}");
        assert!(!text.contains("stepped pass") && !text.contains("counted pass"), "{text}");
        file.cases.clear();
        assert!(section(&RunView { file: &file }).blocks.is_empty());
    }
}
