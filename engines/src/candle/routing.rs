//! Which tokens use which experts: from the scores of a router to pairs of a token and an expert, ordered by expert, so that the
//! products of each expert run on all of its tokens at once.

use std::cmp::Ordering;
use std::ops::Range;

use models::{Bytes, ExpertGroups, Experts, Gating, Scores};
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
    /// What the experts of one token are ranked by, with their experts.
    ranked: Vec<(f32, u32)>,
    /// Sums of the two best of each group of one token, with their groups.
    groups_ranked: Vec<(f32, u32)>,
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
    /// Chooses experts by the scores `[tokens, experts]`; `bias` is `[experts]`, where the model has one for the choice.
    pub(super) fn choose(&mut self, scores: &[f32], bias: Option<&[f32]>, experts: &Experts) {
        let &Experts { count, used, gating, .. } = experts;
        self.used = used;
        self.chosen.clear();
        self.weights.clear();
        for scores in scores.chunks_exact(count) {
            self.choose_for_token(scores, bias, used, gating);
        }
        self.order_by_expert(count);
    }

    /// Multiplies the weights by a factor of each expert.
    pub(super) fn scale_by_expert(&mut self, factors: &[f32]) {
        for (weight, expert) in self.weights.iter_mut().zip(&self.chosen) {
            *weight *= factors[*expert as usize];
        }
    }

    /// Every token uses every expert: of heads with weights of their own. Pairs are ordered by head, then by token.
    pub(super) fn choose_all(&mut self, count: usize, tokens: usize) {
        if (self.used, self.tokens.len()) == (count, count * tokens) {
            return;
        }
        self.used = count;
        self.groups.clear();
        self.groups.extend((0..count).map(|expert| Group { expert, pairs: expert * tokens..(expert + 1) * tokens }));
        self.tokens.clear();
        for _ in 0..count {
            self.tokens.extend((0u32..).take(tokens));
        }
    }

    fn choose_for_token(&mut self, scores: &[f32], bias: Option<&[f32]>, used: usize, gating: Gating) {
        self.rank(scores, bias, gating);
        if used < self.ranked.len() {
            self.ranked.select_nth_unstable_by(used - 1, best_first);
        }
        let chosen = &mut self.ranked[..used];
        chosen.sort_unstable_by(best_first);
        let first = self.weights.len();
        let chosen_scores = chosen.iter().map(|(_, expert)| scores[*expert as usize]);
        match gating.scores {
            Scores::Softmax => {
                let softmax = Softmax::over(scores.iter().copied());
                self.weights.extend(chosen_scores.map(|score| softmax.of(score)));
            }
            Scores::Sigmoid => self.weights.extend(chosen_scores.map(sigmoid)),
            Scores::SoftmaxOfChosen => {
                let softmax = Softmax::over(chosen_scores.clone());
                self.weights.extend(chosen_scores.map(|score| softmax.of(score)));
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

    /// Fills `ranked`: with the scores, which give the same order as the probabilities, because softmax and sigmoid are monotonic; with a
    /// bias or groups, with what these are added to or summed over.
    fn rank(&mut self, scores: &[f32], bias: Option<&[f32]>, gating: Gating) {
        self.ranked.clear();
        self.ranked.extend((0u32..).zip(scores).map(|(expert, score)| (*score, expert)));
        if bias.is_none() && gating.groups.is_none() {
            return;
        }
        match gating.scores {
            Scores::Softmax => {
                let softmax = Softmax::over(scores.iter().copied());
                self.ranked.iter_mut().for_each(|(score, _)| *score = softmax.of(*score));
            }
            Scores::Sigmoid => self.ranked.iter_mut().for_each(|(score, _)| *score = sigmoid(*score)),
            Scores::SoftmaxOfChosen => {}
        }
        for ((score, _), bias) in self.ranked.iter_mut().zip(bias.unwrap_or_default()) {
            *score += bias;
        }
        let Some(ExpertGroups { count, used, ranked_by }) = gating.groups else { return };
        let size = scores.len() / count;
        self.groups_ranked.clear();
        for (group, members) in (0u32..).zip(self.ranked.chunks_exact(size)) {
            let mut best = [f32::NEG_INFINITY; 2];
            for (score, _) in members {
                if *score > best[0] {
                    best = [*score, best[0]];
                } else if *score > best[1] {
                    best[1] = *score;
                }
            }
            // One or two of them.
            self.groups_ranked.push((best.iter().take(ranked_by).sum(), group));
        }
        self.groups_ranked.sort_unstable_by(best_first);
        for (_, group) in self.groups_ranked.iter().skip(used) {
            let first = *group as usize * size;
            self.ranked[first..first + size].iter_mut().for_each(|(score, _)| *score = f32::NEG_INFINITY);
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

/// Of equal scores the lower index is first; a score that is not a number is last.
fn best_first(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    let key = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
    key(b.0).total_cmp(&key(a.0)).then(a.1.cmp(&b.1))
}

fn sigmoid(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

/// Softmax over some scores.
struct Softmax {
    most: f32,
    sum: f32,
}

impl Softmax {
    fn over(scores: impl Iterator<Item = f32> + Clone) -> Self {
        let most = scores.clone().fold(f32::NEG_INFINITY, f32::max);
        Self { most, sum: scores.map(|score| (score - most).exp()).sum() }
    }

    fn of(&self, score: f32) -> f32 {
        (score - self.most).exp() / self.sum
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
            gating: Gating::new(scores, normalised),
            biased: false,
            shared: None,
            dense_width: None,
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
            routing.choose(&scores, None, &experts(4, 2, scores_of, normalised));
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
        routing.choose(&scores, None, &scaled);
        assert!(close(routing.weights(), &[10.0 / 7.0, 7.5 / 7.0]));
    }

    /// Sigmoids 0.5, 0.8, 0.75, 2/3: the bias moves expert 0 to the front, and its weight stays 0.5. Of two groups the second has the
    /// larger sum of two, 0.75 + 2/3; with the bias it is the first. The first has the best expert.
    #[test]
    fn a_bias_and_groups_change_the_choice_and_not_the_weights() {
        let scores = [1f32, 4.0, 3.0, 2.0].map(f32::ln);
        let chosen = |bias: Option<&[f32]>, groups: Option<ExpertGroups>| {
            let mut experts = experts(4, 2, Scores::Sigmoid, false);
            experts.gating.groups = groups;
            let mut routing = Routing::default();
            routing.choose(&scores, bias, &experts);
            (routing.chosen.clone(), routing.weights().to_vec())
        };
        let is = |found: (Vec<u32>, Vec<f32>), chosen: [u32; 2], weights: [f32; 2]| {
            assert_eq!(found.0, chosen);
            assert!(close(&found.1, &weights), "{:?}", found.1);
        };
        let (bias, groups) = ([1.0, 0.0, 0.0, 0.0], ExpertGroups::by_two(2, 1));
        is(chosen(None, None), [1, 2], [0.8, 0.75]);
        is(chosen(Some(&bias), None), [0, 1], [0.5, 0.8]);
        is(chosen(None, Some(groups)), [2, 3], [0.75, 2.0 / 3.0]);
        is(chosen(Some(&bias), Some(groups)), [0, 1], [0.5, 0.8]);
        is(chosen(None, Some(ExpertGroups::by_best(2, 1))), [1, 0], [0.8, 0.5]);
    }

    #[test]
    fn all_experts_of_all_tokens() {
        let mut routing = Routing::default();
        for tokens in [2, 1, 3] {
            routing.choose_all(2, tokens);
            let pairs: Vec<_> = routing.groups().iter().map(|group| group.pairs.clone()).collect();
            assert_eq!(pairs, [0..tokens, tokens..2 * tokens]);
            assert_eq!(routing.tokens().len(), 2 * tokens);
        }
        assert_eq!(routing.tokens(), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn pairs_are_ordered_by_expert_and_found_by_token() {
        let scores = [
            [0.0, 3.0, 2.0], // token 0: experts 1, 2
            [2.0, 0.0, 3.0], // token 1: experts 2, 0
            [1.0, 2.0, 0.0], // token 2: experts 1, 0
        ];
        let mut routing = Routing::default();
        routing.choose(scores.as_flattened(), None, &experts(3, 2, Scores::Softmax, true));
        let groups: Vec<_> = routing.groups().iter().map(|group| (group.expert, group.pairs.clone())).collect();
        assert_eq!(groups, [(0, 0..2), (1, 2..4), (2, 4..6)]);
        assert_eq!(routing.tokens(), [1, 2, 0, 2, 0, 1]);
        assert_eq!(routing.pairs(), [2, 4, 5, 0, 3, 1]);
        assert_eq!(routing.cost(Bytes(10), 6).streamed_bytes, 30);
        // The buffers are reused for fewer tokens and other experts.
        routing.choose(&[0.0, 0.0, 1.0, 5.0], None, &experts(4, 1, Scores::Softmax, true));
        assert_eq!((routing.groups(), routing.tokens()), (&[Group { expert: 3, pairs: 0..1 }][..], &[0][..]));
    }

    #[test]
    fn equal_scores_and_scores_that_are_no_numbers() {
        let mut routing = Routing::default();
        routing.choose(&[1.0; 4], None, &experts(4, 2, Scores::Softmax, true));
        assert_eq!(routing.chosen, [0, 1]);
        routing.choose(&[f32::NAN, 1.0, 0.5], None, &experts(3, 2, Scores::Softmax, true));
        assert_eq!(routing.chosen, [1, 2]);
        assert!(routing.weights().iter().all(|weight| weight.is_nan()), "the output must not look valid");
    }
}
