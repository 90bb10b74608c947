//! How much of a run was disturbed. It is counted in prompt rounds: one prompt at one depth in one round, on all workers.

use std::collections::BTreeMap;

use record::{Case, Sample};

/// Counts of prompt rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disturbances {
    /// All of them.
    pub prompt_rounds: usize,
    /// Prompt rounds with a clean request that was disturbed, in any attempt.
    pub disturbed: usize,
    /// Of those, measured again.
    pub repeated: usize,
    /// Of those, disturbed in the last attempt too, which counts.
    pub kept: usize,
    /// The description of the earliest one.
    pub example: Option<String>,
}

/// The clean requests of a prompt round together.
#[derive(Default)]
struct PromptRound {
    disturbed: bool,
    repeated: bool,
    kept: bool,
}

/// Counts the prompt rounds of the clean requests, without warm-up.
pub fn disturbances(cases: &[Case]) -> Disturbances {
    let mut rounds: BTreeMap<(&str, &str, usize, usize), PromptRound> = BTreeMap::new();
    let mut earliest: Option<&Sample> = None;
    for case in cases {
        for sample in case.samples.iter().filter(|sample| !sample.warmup) {
            let round = rounds.entry((&case.model, &case.prompt, case.depth, sample.round)).or_default();
            round.repeated |= sample.repeated;
            if sample.disturbed.is_some() {
                round.disturbed = true;
                round.kept |= sample.counts();
                earliest = Some(earliest.filter(|other| other.started <= sample.started).unwrap_or(sample));
            }
        }
    }
    let count = |which: fn(&PromptRound) -> bool| rounds.values().filter(|round| which(round)).count();
    Disturbances {
        prompt_rounds: rounds.len(),
        disturbed: count(|round| round.disturbed),
        repeated: count(|round| round.disturbed && round.repeated),
        kept: count(|round| round.kept),
        example: earliest.and_then(|sample| sample.disturbed.clone()),
    }
}

impl Disturbances {
    /// One sentence without its end.
    pub fn text(&self) -> String {
        let Self { prompt_rounds, disturbed, repeated, kept, example } = self;
        let what = example.as_deref().map(|example| format!(", first because {example}")).unwrap_or_default();
        let were = if *disturbed == 1 { "was" } else { "were" };
        format!(
            "{disturbed} of {prompt_rounds} prompt rounds (one prompt in one round, on all engines) {were} disturbed{what}: {repeated} measured again, {kept} still disturbed in the attempt that counts"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(engine: &str, samples: Vec<Sample>) -> Case {
        Case { engine: engine.to_owned(), model: "m".to_owned(), prompt: "p".to_owned(), samples, ..Case::default() }
    }

    fn sample(round: usize, disturbed: bool, repeated: bool) -> Sample {
        Sample {
            round,
            repeated,
            disturbed: disturbed.then(|| format!("others in round {round}")),
            started: format!("{round}"),
            ..Sample::absent("not measured")
        }
    }

    #[test]
    fn one_disturbed_request_disturbs_its_prompt_round() {
        let a = case("a", vec![sample(0, false, true), sample(0, false, false), sample(1, false, false)]);
        let b = case("b", vec![sample(0, true, true), sample(0, false, false), sample(1, true, false)]);
        let warm = Sample { warmup: true, ..sample(7, true, false) };
        let found = disturbances(&[a, b, case("c", vec![warm, sample(2, false, false)])]);
        assert_eq!((found.prompt_rounds, found.disturbed, found.repeated, found.kept), (3, 2, 1, 1));
        insta::assert_snapshot!(found.text(), @"2 of 3 prompt rounds (one prompt in one round, on all engines) were disturbed, first because others in round 0: 1 measured again, 1 still disturbed in the attempt that counts");
        assert_eq!(disturbances(&[]), Disturbances::default());
    }
}
