//! The order of a round: a randomised complete block design.
//!
//! A block of this design is one prompt at one depth in one round (not a block of the plan, which is all cases of a model). Every
//! worker answers it once, one right after the other, so that what is compared ran at about the same time and slow drift cancels in
//! the ratios. The order of the blocks and the order of the workers in each are drawn from the seed.
//!
//! Pure: nothing is measured here.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngCore, SeedableRng};

/// The factors of a case in the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DesignCell {
    /// Its worker: one engine with one thread count.
    pub slot: usize,
    /// Its prompt.
    pub prompt: usize,
    /// Tokens in the context before the prompt.
    pub depth: usize,
}

/// The blocks of a round in the order in which they run; each lists its cases (indices into `cases`) in the order in which their
/// clean requests run, one right after the other. Every case is in exactly one block. The same seed and round give the same
/// order.
///
/// Where only one worker can be alive (`together` is false), each case is a list of its own and the cases of one worker stay
/// together: a worker that is loaded anew for each request would measure its own warm-up.
pub fn order(cases: &[DesignCell], together: bool, seed: u64, round: usize) -> Vec<Vec<usize>> {
    shuffled(cases, blocks(cases), together, &mut random(seed, &format!("round {round}")))
}

/// The order of the blocks of a round that are measured once more, for the `attempt`th time.
pub fn again(
    cases: &[DesignCell],
    due: Vec<Vec<usize>>,
    together: bool,
    seed: u64,
    round: usize,
    attempt: usize,
) -> Vec<Vec<usize>> {
    shuffled(cases, due, together, &mut random(seed, &format!("round {round} again {attempt}")))
}

/// The blocks of a round in the order of the plan.
pub fn blocks(cases: &[DesignCell]) -> Vec<Vec<usize>> {
    let mut blocks: Vec<((usize, usize), Vec<usize>)> = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let asked = (case.prompt, case.depth);
        match blocks.iter_mut().find(|(of, _)| *of == asked) {
            Some((_, block)) => block.push(index),
            None => blocks.push((asked, vec![index])),
        }
    }
    blocks.into_iter().map(|(_, block)| block).collect()
}

fn shuffled(
    cases: &[DesignCell],
    mut blocks: Vec<Vec<usize>>,
    together: bool,
    random: &mut impl RngCore,
) -> Vec<Vec<usize>> {
    blocks.shuffle(random);
    blocks.iter_mut().for_each(|block| block.shuffle(random));
    if together {
        return blocks;
    }
    let mut ranks: Vec<usize> = (0..=cases.iter().map(|case| case.slot).max().unwrap_or(0)).collect();
    ranks.shuffle(random);
    let mut single: Vec<usize> = blocks.concat();
    single.sort_by_key(|&index| cases.get(index).and_then(|case| ranks.get(case.slot)));
    single.into_iter().map(|index| vec![index]).collect()
}

/// The passes of a block, turned from round to round and from block to block so that none is always the first. All workers of a
/// block do one pass before the next one begins: the clean requests stay next to each other.
pub fn passes<T: Clone>(wanted: &[T], round: usize, place: usize) -> Vec<T> {
    let mut passes = wanted.to_vec();
    if !passes.is_empty() {
        let turn = (round + place) % passes.len();
        passes.rotate_left(turn);
    }
    passes
}

/// FNV-1a, 64 bits: a seed must not depend on the standard library's hasher.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A random number generator of its own for one purpose.
pub fn random(seed: u64, purpose: &str) -> impl RngCore + use<> {
    StdRng::seed_from_u64(seed ^ hash(purpose))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three workers, four prompts, two depths.
    fn cases() -> Vec<DesignCell> {
        let of_slot = |slot| {
            (0..2).flat_map(move |depth| (0..4).map(move |prompt| DesignCell { slot, prompt, depth: depth * 64 }))
        };
        (0..3).flat_map(of_slot).collect()
    }

    #[test]
    fn rounds_are_shuffled_by_seed() {
        let cases = cases();
        let first = order(&cases, true, 1, 0);
        assert_eq!(first, order(&cases, true, 1, 0));
        assert_ne!(first, order(&cases, true, 1, 1));
        assert_ne!(first, order(&cases, true, 2, 0));
        for together in [true, false] {
            let mut all = order(&cases, together, 1, 0).concat();
            all.sort_unstable();
            assert_eq!(all, (0..cases.len()).collect::<Vec<_>>(), "every case once");
        }
    }

    #[test]
    fn what_is_compared_runs_side_by_side() {
        let cases = cases();
        for round in 0..20 {
            let flat = order(&cases, true, 3, round).concat();
            for (one, a) in flat.iter().enumerate() {
                for (other, b) in flat.iter().enumerate() {
                    let (a, b) = (cases[*a], cases[*b]);
                    if (a.prompt, a.depth) == (b.prompt, b.depth) {
                        assert!(one.abs_diff(other) < 3, "{flat:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_worker_is_favoured() {
        let cases = cases();
        let mut firsts = [0; 3];
        for round in 0..300 {
            for block in order(&cases, true, 9, round) {
                firsts[cases[block[0]].slot] += 1;
            }
        }
        // 2,400 blocks: 800 each, give or take four standard deviations of 23.
        assert!(firsts.iter().all(|&count| (708..=892).contains(&count)), "{firsts:?}");
    }

    #[test]
    fn workers_in_turn_change_once_each() {
        let cases = cases();
        let order = order(&cases, false, 5, 3);
        assert!(order.iter().all(|block| block.len() == 1));
        let slots: Vec<usize> = order.iter().map(|block| cases[block[0]].slot).collect();
        assert_eq!(slots.windows(2).filter(|pair| pair[0] != pair[1]).count(), 2);
    }

    #[test]
    fn blocks_that_are_due_again_come_in_a_new_order() {
        let cases = cases();
        let all = blocks(&cases);
        assert_eq!((all.len(), all[0].len()), (8, 3));
        let due = all[..5].to_vec();
        let first = again(&cases, due.clone(), true, 1, 0, 1);
        assert_ne!(first, again(&cases, due.clone(), true, 1, 0, 2));
        let (mut found, mut expected) = (first.concat(), due.concat());
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_pass_comes_first_once() {
        let wanted = ["clean", "stepped", "traced"];
        let firsts: Vec<_> = (0..3).map(|round| passes(&wanted, round, 0)[0]).collect();
        assert_eq!(firsts, wanted);
        assert!(passes::<u8>(&[], 3, 1).is_empty());
    }
}
