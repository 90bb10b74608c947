//! How far the answers of two sides agree, and whether they diverge at a near-tie.

use super::comparison::Agreement;
use super::pairing::GroupPair;
use record::{CaseOutput, Reasons, Recorded, TopLogprobs};

/// Two tokens are a near-tie if both sides together prefer their own token by no more than this, in nats. Rounding alone
/// (half-precision caches, other orders of sums) changes log-probabilities of a quantised model by tenths of that.
pub const NEAR_TIE: f64 = 1.0;

/// One row for each prompt with answers on both sides.
pub(super) fn answers(pair: &GroupPair<'_>) -> Vec<Agreement> {
    let rows = pair.prompts().filter_map(|(baseline, other)| {
        Some(agreement(&baseline.prompt, baseline.output.as_ref()?, other.output.as_ref()?))
    });
    rows.collect()
}

fn agreement(prompt: &str, baseline: &CaseOutput, other: &CaseOutput) -> Agreement {
    let of = baseline.token_ids.len().min(other.token_ids.len());
    let absent = |reason: &str| Agreement { prompt: prompt.to_owned(), of, ..Agreement::absent(reason) };
    if of == 0 {
        return absent("a side does not report its tokens");
    }
    let same = baseline.token_ids.iter().zip(&other.token_ids).take_while(|(a, b)| a == b).count();
    if same == of {
        return Agreement { same: same.into(), ..absent("the answers do not diverge") };
    }
    let chosen = |output: &CaseOutput| output.token_ids.get(same).copied();
    let listed = |output: &CaseOutput| output.top_logprobs.get(same).cloned();
    let gap = chosen(baseline).zip(chosen(other)).and_then(|(ours, theirs)| {
        Some(preference(&listed(baseline)?, ours, theirs)? + preference(&listed(other)?, theirs, ours)?)
    });
    let gap = Recorded::of(gap, "a side does not list the probabilities of both tokens at this position");
    Agreement {
        prompt: prompt.to_owned(),
        same: same.into(),
        of,
        near_tie: gap.clone().map(|gap| gap <= NEAR_TIE),
        gap,
        notes: Reasons::new(),
    }
}

/// How much more likely a token is than another on one side, in nats; `None` where one of them is not listed.
fn preference(listed: &TopLogprobs, own: u32, other: u32) -> Option<f64> {
    let of = |token: u32| {
        let place = listed.ids.iter().position(|id| *id == token)?;
        listed.logprobs.get(place).map(|value| f64::from(*value))
    };
    Some(of(own)? - of(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(ids: &[u32], at_two: &[(u32, f32)]) -> CaseOutput {
        let empty = TopLogprobs::default();
        let listed = TopLogprobs {
            ids: at_two.iter().map(|(id, _)| *id).collect(),
            logprobs: at_two.iter().map(|(_, value)| *value).collect(),
        };
        CaseOutput {
            token_ids: ids.to_vec(),
            top_logprobs: [empty.clone(), empty, listed].into(),
            ..CaseOutput::absent("unused")
        }
    }

    #[test]
    fn answers_diverge_at_a_near_tie_or_not() {
        let baseline = output(&[1, 2, 3], &[(3, -0.5), (4, -0.7)]);
        let near = agreement("p", &baseline, &output(&[1, 2, 4], &[(4, -0.5), (3, -0.6)]));
        assert_eq!((near.same.value(), near.of, near.near_tie.value()), (Some(2), 3, Some(true)));
        assert!((near.gap.value().unwrap() - 0.3).abs() < 1e-6);
        let far = agreement("p", &baseline, &output(&[1, 2, 4], &[(4, -0.1), (3, -3.0)]));
        assert_eq!(far.near_tie.value(), Some(false));
        let unknown = agreement("p", &baseline, &output(&[1, 2, 9], &[(9, -0.1), (3, -3.0)]));
        let reason = unknown.gap.reason().expect("the baseline does not list 9");
        assert_eq!(unknown.near_tie.reason(), Some(reason));
    }

    #[test]
    fn equal_answers_do_not_diverge() {
        let baseline = output(&[1, 2, 3], &[]);
        let row = agreement("p", &baseline, &output(&[1, 2, 3, 4], &[]));
        assert_eq!((row.same.value(), row.of, row.near_tie.value()), (Some(3), 3, None));
        assert!(agreement("p", &baseline, &CaseOutput::absent("unused")).reasons()["same"].contains("does not report"));
    }
}
