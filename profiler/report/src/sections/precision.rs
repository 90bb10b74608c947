//! The smallest detectable difference, for runs with a requested precision.

use super::RunView;
use crate::content::Section;
use record::PrecisionReached;

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::short("Precision");
    let Some(wanted) = view.file.plan.precision else { return section };
    for found in &view.file.precision {
        section.add_sentence(format!("{}{}.", place(view, found), found.text(wanted)));
    }
    if !section.blocks.is_empty() {
        section.add_sentence(
            "Detectable means with 90 % power. Smaller differences may exist but cannot be separated from noise. For a single engine, the difference is to a known figure.",
        );
    }
    section
}

/// What distinguishes this precision from the others of the run.
fn place(view: &RunView<'_>, found: &PrecisionReached) -> String {
    let plan = &view.file.plan;
    let mut parts = Vec::new();
    if plan.models.len() > 1 {
        parts.push(view.model(&found.model));
    }
    if plan.threads.len() > 1 {
        parts.push(format!("{} thread{}", found.threads, if found.threads == 1 { "" } else { "s" }));
    }
    if plan.depths.len() > 1 {
        parts.push(format!("depth {}", found.depth));
    }
    if parts.is_empty() { String::new() } else { format!("{}: ", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::RunFile;
    use record::plan::PlanFile;

    #[test]
    fn each_pair_has_a_sentence() {
        let found = PrecisionReached {
            model: "m".to_owned(),
            engine: "b".to_owned(),
            baseline: Some("a".to_owned()),
            metric: "decode_tps".to_owned(),
            threads: 2,
            detectable: 0.018.into(),
            reached: true,
            ..PrecisionReached::absent("not computed")
        };
        let plan = PlanFile { precision: Some(0.02), threads: vec![1, 2], ..PlanFile::default() };
        let mut file = RunFile { plan, precision: vec![found], ..RunFile::default() };
        let text = format!("{:?}", section(&RunView { file: &file }).blocks);
        assert!(
            text.contains(
                "2 threads: decode_tps of b against a: differences of 1.8 % or more are detectable; 2 % was requested."
            ),
            "{text}"
        );
        file.plan.precision = None;
        assert!(section(&RunView { file: &file }).blocks.is_empty());
    }
}
