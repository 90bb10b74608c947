//! The order of a round.

use rand::seq::SliceRandom;

use crate::prepare::random;
use crate::results::Pass;

/// Cases `0..seats.len()` in a shuffled order, the same for the same seed and round. `seats[c]` is the worker of case `c`; where
/// only one worker can be alive the cases of one stay together.
pub(super) fn order(seats: &[usize], together: bool, seed: u64, round: usize) -> Vec<usize> {
    let mut random = random(seed, &format!("round {round}"));
    let mut cases: Vec<usize> = (0..seats.len()).collect();
    cases.shuffle(&mut random);
    if !together {
        let mut ranks: Vec<usize> = (0..=seats.iter().copied().max().unwrap_or(0)).collect();
        ranks.shuffle(&mut random);
        cases.sort_by_key(|&case| seats.get(case).and_then(|&seat| ranks.get(seat)));
    }
    cases
}

/// The passes of a round, turned from round to round so that none is always the first.
pub(super) fn passes(wanted: &[Pass], round: usize, place: usize) -> Vec<Pass> {
    let mut passes = wanted.to_vec();
    if !passes.is_empty() {
        let turn = (round + place) % passes.len();
        passes.rotate_left(turn);
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_shuffled_by_seed() {
        let seats = [0; 12];
        let first = order(&seats, true, 1, 0);
        assert_eq!(first, order(&seats, true, 1, 0));
        assert_ne!(first, order(&seats, true, 1, 1));
        assert_ne!(first, order(&seats, true, 2, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn workers_in_turn_change_once_each() {
        let seats = [0, 1, 2, 0, 1, 2, 0, 1, 2];
        let order = order(&seats, false, 5, 3);
        let changes = order.windows(2).filter(|pair| seats[pair[0]] != seats[pair[1]]).count();
        assert_eq!(changes, 2);
    }

    #[test]
    fn every_pass_comes_first_once() {
        let wanted = [Pass::Clean, Pass::Stepped, Pass::Traced];
        let firsts: Vec<_> = (0..3).map(|round| passes(&wanted, round, 0)[0]).collect();
        assert_eq!(firsts, wanted);
        assert!(passes(&[], 3, 1).is_empty());
    }
}
