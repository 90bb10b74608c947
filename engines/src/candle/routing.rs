//! Which tokens use which experts: from the scores of a router to pairs of a token and an expert, ordered by expert, so that the
//! products of each expert run on all of its tokens at once.

use std::ops::Range;

use models::{Bytes, Experts, Gating, Scores};
use traces::record::Cost;

/// The choice for the tokens of one pass in one layer. The buffers are reused.
#[derive(Debug, Default)]
pub(super) struct Routing {
    /// Experts that a token uses.
    used: usize,
    /// The experts that at least one token uses, in ascending order, with their pairs.
    groups: Vec<Group>,
    /// `[pairs]`: the token of each pair, ascending within a group.
    tokens: Vec<u32>,
    /// `[tokens, used]`: the pair of each token and rank; rank 0 has the best score.
    pairs: Vec<u32>,
    /// `[tokens, used]`: the weight of each token and rank.
    weights: Vec<f32>,
    /// `[tokens, used]`: the expert of each token and rank.
    chosen: Vec<u32>,
    /// Scores of one token with their experts.
    ranked: Vec<(f32, u32)>,
    /// `[experts]`: the number of tokens of each, then the next pair of each.
    counts: Vec<u32>,
}

/// The pairs of one expert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) expert: usize,
    pub(super) pairs: Range<usize>,
}

impl Routing {
    /// Chooses experts by the scores `[tokens, experts]`.
    pub(super) fn choose(&mut self, scores: &[f32], experts: &Experts) {
        let &Experts { count, used, gating, .. } = experts;
        self.used = used;
        self.chosen.clear();
        self.weights.clear();
        for scores in scores.chunks_exact(count) {
            self.choose_for_token(scores, used, gating);
        }
        self.order_by_expert(count);
    }

    fn choose_for_token(&mut self, scores: &[f32], used: usize, gating: Gating) {
        self.ranked.clear();
        self.ranked.extend((0u32..).zip(scores).map(|(expert, score)| (*score, expert)));
        // Softmax and sigmoid are monotonic, so that the scores give the same order as the probabilities. Of equal scores the lower
        // index is first; a score that is not a number is last.
        let best_first = |a: &(f32, u32), b: &(f32, u32)| {
            let key = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
            key(b.0).total_cmp(&key(a.0)).then(a.1.cmp(&b.1))
        };
        if used < self.ranked.len() {
            self.ranked.select_nth_unstable_by(used - 1, best_first);
        }
        let chosen = &mut self.ranked[..used];
        chosen.sort_unstable_by(best_first);
        let first = self.weights.len();
        match gating.scores {
            Scores::Softmax => {
                let most = chosen[0].0;
                let sum: f32 = scores.iter().map(|score| (score - most).exp()).sum();
                self.weights.extend(chosen.iter().map(|(score, _)| (score - most).exp() / sum));
            }
            Scores::Sigmoid => self.weights.extend(chosen.iter().map(|(score, _)| 1.0 / (1.0 + (-score).exp()))),
            Scores::SoftmaxOfChosen => {
                let most = chosen[0].0;
                let sum: f32 = chosen.iter().map(|(score, _)| (score - most).exp()).sum();
                self.weights.extend(chosen.iter().map(|(score, _)| (score - most).exp() / sum));
            }
        }
        self.chosen.extend(chosen.iter().map(|(_, expert)| *expert));
        let weights = &mut self.weights[first..];
        if gating.normalised {
            // The bound is that of llama.cpp: the smallest normal number of f16.
            let sum = weights.iter().sum::<f32>().max(6.103_515_6e-5);
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        if let Some(scale) = gating.scale {
            weights.iter_mut().for_each(|weight| *weight *= scale);
        }
    }

    /// A counting sort of the pairs by expert; tokens stay in order.
    fn order_by_expert(&mut self, count: usize) {
        self.counts.clear();
        self.counts.resize(count, 0);
        for expert in &self.chosen {
            self.counts[*expert as usize] += 1;
        }
        self.groups.clear();
        let mut start = 0;
        for (expert, count) in self.counts.iter_mut().enumerate() {
            let pairs = start..start + *count as usize;
            #[allow(clippy::cast_possible_truncation, reason = "pairs of one pass are far below 2^32")]
            let first = start as u32;
            *count = first;
            start = pairs.end;
            if !pairs.is_empty() {
                self.groups.push(Group { expert, pairs });
            }
        }
        self.tokens.clear();
        self.tokens.resize(self.chosen.len(), 0);
        self.pairs.clear();
        for (at, expert) in self.chosen.iter().enumerate() {
            let next = &mut self.counts[*expert as usize];
            self.pairs.push(*next);
            #[allow(clippy::cast_possible_truncation, reason = "tokens of one pass are far below 2^32")]
            let token = (at / self.used) as u32;
            self.tokens[*next as usize] = token;
            *next += 1;
        }
    }

    /// The experts that at least one token uses, ascending.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// `[pairs]`: the token of each pair.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// `[tokens, used]`: the pair of each token and rank, the best first.
    pub(super) fn pairs(&self) -> &[u32] {
        &self.pairs
    }

    /// `[tokens, used]`: the weight of each token and rank.
    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Records which experts the tokens use, while the recorder is on.
    pub(super) fn record(&self, layer: usize) {
        let tokens = self.groups.iter().map(|group| (group.expert, group.pairs.len()));
        engine_api::record_experts(layer, self.counts.len(), tokens);
    }

    /// What an op moves that reads weights of each of these experts, `of_one` bytes, and reads or writes so many activations.
    pub(super) fn cost(&self, of_one: Bytes, activations: usize) -> Cost {
        Cost {
            flops: None,
            streamed_bytes: of_one.get() * self.groups.len() as u64,
            activation_bytes: size_of::<f32>() as u64 * activations as u64,
        }
    }

    /// Experts that a token uses.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use models::{Activation, Gated};

    use super::*;

    fn experts(count: usize, used: usize, scores: Scores, normalised: bool) -> Experts {
        Experts {
            count,
            used,
            expert: Gated { width: 8, activation: Activation::Silu },
            gating: Gating { scores, normalised, scale: None },
            biased: false,
            shared: None,
        }
    }

    fn close(found: &[f32], expected: &[f32]) -> bool {
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    /// Scores ln 1, ln 4, ln 3, ln 2: probabilities 0.1, 0.4, 0.3, 0.2.
    #[test]
    fn weights_by_hand() {
        let scores = [1f32, 4.0, 3.0, 2.0].map(f32::ln);
        let weights = |scores_of: Scores, normalised: bool| {
            let mut routing = Routing::default();
            routing.choose(&scores, &experts(4, 2, scores_of, normalised));
            assert_eq!(routing.chosen, [1, 2]);
            routing.weights
        };
        assert!(close(&weights(Scores::Softmax, false), &[0.4, 0.3]));
        assert!(close(&weights(Scores::Softmax, true), &[4.0 / 7.0, 3.0 / 7.0]));
        assert!(close(&weights(Scores::SoftmaxOfChosen, false), &[4.0 / 7.0, 3.0 / 7.0]));
        assert!(close(&weights(Scores::Sigmoid, false), &[0.8, 0.75]));
        let mut scaled = experts(4, 2, Scores::Softmax, true);
        scaled.gating.scale = Some(2.5);
        let mut routing = Routing::default();
        routing.choose(&scores, &scaled);
        assert!(close(routing.weights(), &[10.0 / 7.0, 7.5 / 7.0]));
    }

    #[test]
    fn pairs_are_ordered_by_expert_and_found_by_token() {
        let scores = [
            [0.0, 3.0, 2.0], // token 0: experts 1, 2
            [2.0, 0.0, 3.0], // token 1: experts 2, 0
            [1.0, 2.0, 0.0], // token 2: experts 1, 0
        ];
        let mut routing = Routing::default();
        routing.choose(scores.as_flattened(), &experts(3, 2, Scores::Softmax, true));
        let groups: Vec<_> = routing.groups().iter().map(|group| (group.expert, group.pairs.clone())).collect();
        assert_eq!(groups, [(0, 0..2), (1, 2..4), (2, 4..6)]);
        assert_eq!(routing.tokens(), [1, 2, 0, 2, 0, 1]);
        assert_eq!(routing.pairs(), [2, 4, 5, 0, 3, 1]);
        assert_eq!(routing.cost(Bytes(10), 6).streamed_bytes, 30);
        // The buffers are reused for fewer tokens and other experts.
        routing.choose(&[0.0, 0.0, 1.0, 5.0], &experts(4, 1, Scores::Softmax, true));
        assert_eq!((routing.groups(), routing.tokens()), (&[Group { expert: 3, pairs: 0..1 }][..], &[0][..]));
    }

    #[test]
    fn equal_scores_and_scores_that_are_no_numbers() {
        let mut routing = Routing::default();
        routing.choose(&[1.0; 4], &experts(4, 2, Scores::Softmax, true));
        assert_eq!(routing.chosen, [0, 1]);
        routing.choose(&[f32::NAN, 1.0, 0.5], &experts(3, 2, Scores::Softmax, true));
        assert_eq!(routing.chosen, [1, 2]);
        assert!(routing.weights().iter().all(|weight| weight.is_nan()), "the output must not look valid");
    }
}
