//! How much of a run was disturbed. It is counted in blocks: one prompt at one depth in one round, on all workers.

use std::collections::BTreeMap;

use record::{Case, Sample};

/// Counts of blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disturbances {
    /// All of them.
    pub blocks: usize,
    /// Blocks with a clean request that was disturbed, in any attempt.
    pub disturbed: usize,
    /// Of those, measured again.
    pub repeated: usize,
    /// Of those, disturbed in the last attempt too, which counts.
    pub kept: usize,
    /// The description of the earliest one.
    pub example: Option<String>,
}

/// The clean requests of a block together.
#[derive(Default)]
struct Block {
    disturbed: bool,
    repeated: bool,
    kept: bool,
}

/// Counts the blocks of the clean requests, without warm-up.
pub fn disturbances(cases: &[Case]) -> Disturbances {
    let mut blocks: BTreeMap<(&str, &str, usize, usize), Block> = BTreeMap::new();
    let mut earliest: Option<&Sample> = None;
    for case in cases {
        for sample in case.samples.iter().filter(|sample| !sample.warmup) {
            let block = blocks.entry((&case.model, &case.prompt, case.depth, sample.round)).or_default();
            block.repeated |= sample.repeated;
            if sample.disturbed.is_some() {
                block.disturbed = true;
                block.kept |= sample.counts();
                earliest = Some(earliest.filter(|other| other.started <= sample.started).unwrap_or(sample));
            }
        }
    }
    let count = |which: fn(&Block) -> bool| blocks.values().filter(|block| which(block)).count();
    Disturbances {
        blocks: blocks.len(),
        disturbed: count(|block| block.disturbed),
        repeated: count(|block| block.disturbed && block.repeated),
        kept: count(|block| block.kept),
        example: earliest.and_then(|sample| sample.disturbed.clone()),
    }
}

impl Disturbances {
    /// One sentence without its end.
    pub fn text(&self) -> String {
        let Self { blocks, disturbed, repeated, kept, example } = self;
        let what = example.as_deref().map(|example| format!(" ({example})")).unwrap_or_default();
        let were = if *disturbed == 1 { "was" } else { "were" };
        format!(
            "{disturbed} of {blocks} blocks (a prompt in a round, on all engines) {were} disturbed{what}: {repeated} measured again, {kept} kept although disturbed"
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
    fn one_disturbed_request_disturbs_its_block() {
        let a = case("a", vec![sample(0, false, true), sample(0, false, false), sample(1, false, false)]);
        let b = case("b", vec![sample(0, true, true), sample(0, false, false), sample(1, true, false)]);
        let warm = Sample { warmup: true, ..sample(7, true, false) };
        let found = disturbances(&[a, b, case("c", vec![warm, sample(2, false, false)])]);
        assert_eq!((found.blocks, found.disturbed, found.repeated, found.kept), (3, 2, 1, 1));
        insta::assert_snapshot!(found.text(), @"2 of 3 blocks (a prompt in a round, on all engines) were disturbed (others in round 0): 1 measured again, 1 kept although disturbed");
        assert_eq!(disturbances(&[]), Disturbances::default());
    }
}
