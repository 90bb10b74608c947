//! How far the answers of two sides agree, and whether they diverge at a near-tie.

use super::comparison::Agreement;
use super::pairing::GroupPair;
use record::{CaseOutput, TopLogprobs};

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
    let mut row = Agreement {
        prompt: prompt.to_owned(),
        of: baseline.token_ids.len().min(other.token_ids.len()),
        ..Agreement::default()
    };
    if baseline.token_ids.is_empty() || other.token_ids.is_empty() {
        return without(row, &["same", "gap", "near_tie"], "a side does not report its tokens");
    }
    row.same = baseline.token_ids.iter().zip(&other.token_ids).take_while(|(a, b)| a == b).count();
    if row.same == row.of {
        return without(row, &["gap", "near_tie"], "the answers do not diverge");
    }
    let chosen = |output: &CaseOutput| output.token_ids.get(row.same).copied();
    let listed = |output: &CaseOutput| output.top_logprobs.get(row.same).cloned();
    let gap = chosen(baseline).zip(chosen(other)).and_then(|(ours, theirs)| {
        Some(preference(&listed(baseline)?, ours, theirs)? + preference(&listed(other)?, theirs, ours)?)
    });
    match gap {
        Some(gap) => {
            row.gap = Some(gap);
            row.near_tie = Some(gap <= NEAR_TIE);
        }
        None => {
            let reason = "a side does not list the probabilities of both tokens at this position";
            return without(row, &["gap", "near_tie"], reason);
        }
    }
    row
}

/// The row without these fields, and why.
fn without(mut row: Agreement, fields: &[&str], reason: &str) -> Agreement {
    row.reasons.extend(fields.iter().map(|field| ((*field).to_owned(), reason.to_owned())));
    row
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
            top_logprobs: vec![empty.clone(), empty, listed],
            ..CaseOutput::default()
        }
    }

    #[test]
    fn answers_diverge_at_a_near_tie_or_not() {
        let baseline = output(&[1, 2, 3], &[(3, -0.5), (4, -0.7)]);
        let near = agreement("p", &baseline, &output(&[1, 2, 4], &[(4, -0.5), (3, -0.6)]));
        assert_eq!((near.same, near.of, near.near_tie), (2, 3, Some(true)));
        assert!((near.gap.unwrap() - 0.3).abs() < 1e-6);
        let far = agreement("p", &baseline, &output(&[1, 2, 4], &[(4, -0.1), (3, -3.0)]));
        assert_eq!(far.near_tie, Some(false));
        let unknown = agreement("p", &baseline, &output(&[1, 2, 9], &[(9, -0.1), (3, -3.0)]));
        assert_eq!((unknown.gap, unknown.near_tie), (None, None), "the baseline does not list 9");
        assert!(unknown.reasons.contains_key("gap"));
    }

    #[test]
    fn equal_answers_do_not_diverge() {
        let baseline = output(&[1, 2, 3], &[]);
        let row = agreement("p", &baseline, &output(&[1, 2, 3, 4], &[]));
        assert_eq!((row.same, row.of, row.near_tie), (3, 3, None));
        assert!(agreement("p", &baseline, &CaseOutput::default()).reasons["same"].contains("does not report"));
    }
}
