//! How much of a run was disturbed: blocks of a round's design, each one prompt at one depth in one round on all workers.

use std::collections::BTreeMap;

use record::{Case, Sample};

/// Blocks of a run, or of several models' cases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spells {
    /// All of them.
    pub blocks: usize,
    /// With a clean request that something else held up, in any of its tries.
    pub disturbed: usize,
    /// Of those, measured again.
    pub again: usize,
    /// Of those, disturbed in the try that counts too.
    pub kept: usize,
    /// What was found first, in words.
    pub example: Option<String>,
}

/// What the clean requests of a block say together.
#[derive(Default)]
struct Block {
    disturbed: bool,
    again: bool,
    kept: bool,
}

/// Counts them over the clean requests, warm-up left out.
pub fn spells(cases: &[Case]) -> Spells {
    let mut blocks: BTreeMap<(&str, &str, usize, usize), Block> = BTreeMap::new();
    let mut earliest: Option<&Sample> = None;
    for case in cases {
        for sample in case.samples.iter().filter(|sample| !sample.warmup) {
            let block = blocks.entry((&case.model, &case.prompt, case.depth, sample.round)).or_default();
            block.again |= sample.repeated;
            if sample.disturbed.is_some() {
                block.disturbed = true;
                block.kept |= sample.counts();
                earliest = Some(earliest.filter(|other| other.started <= sample.started).unwrap_or(sample));
            }
        }
    }
    let count = |which: fn(&Block) -> bool| blocks.values().filter(|block| which(block)).count();
    Spells {
        blocks: blocks.len(),
        disturbed: count(|block| block.disturbed),
        again: count(|block| block.disturbed && block.again),
        kept: count(|block| block.kept),
        example: earliest.and_then(|sample| sample.disturbed.clone()),
    }
}

impl Spells {
    /// `2 of 15 blocks were disturbed (...): 2 were measured again, 0 are kept though disturbed`.
    pub fn text(&self) -> String {
        let Self { blocks, disturbed, again, kept, example } = self;
        let what = example.as_deref().map(|example| format!(" ({example})")).unwrap_or_default();
        let were = if *disturbed == 1 { "was" } else { "were" };
        format!(
            "{disturbed} of {blocks} blocks (a prompt in a round, on all engines) {were} disturbed{what}: {again} measured again, {kept} kept though disturbed"
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
            ..Sample::default()
        }
    }

    #[test]
    fn a_block_is_disturbed_as_a_whole() {
        let a = case("a", vec![sample(0, false, true), sample(0, false, false), sample(1, false, false)]);
        let b = case("b", vec![sample(0, true, true), sample(0, false, false), sample(1, true, false)]);
        let warm = Sample { warmup: true, ..sample(7, true, false) };
        let found = spells(&[a, b, case("c", vec![warm, sample(2, false, false)])]);
        assert_eq!((found.blocks, found.disturbed, found.again, found.kept), (3, 2, 1, 1));
        insta::assert_snapshot!(found.text(), @"2 of 3 blocks (a prompt in a round, on all engines) were disturbed (others in round 0): 1 measured again, 1 kept though disturbed");
        assert_eq!(spells(&[]), Spells::default());
    }
}
