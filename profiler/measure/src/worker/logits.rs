//! Log-probabilities from an engine's logits.

use record::TopLogprobs;

/// The `count` most likely tokens with their log-probabilities in nats, the lowest id first among equals:
///
/// ```text
/// ln p_i = z_i - m - ln(sum_j exp(z_j - m)),   m = max_j z_j
/// ```
///
/// In f64, because the sum is over a vocabulary. Subtracting the maximum avoids overflow: Blanchard, Higham and Higham,
/// "Accurately computing the log-sum-exp and softmax functions" (2021), doi:10.1093/imanum/draa038.
/// A token with a logit of minus infinity is left out. `None` if there are no logits, or one of them is not a number.
pub(super) fn top_logprobs(logits: &[f32], count: usize) -> Option<TopLogprobs> {
    if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        return None;
    }
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    if !most.is_finite() {
        return None;
    }
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
    let whole = most + sum.ln();
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (id, &logit) in (0_u32..).zip(logits) {
        // Ids ascend, so a token is inserted after earlier ones with the same logit.
        if logit.is_finite() && (best.len() < count || best.last().is_some_and(|(_, least)| logit > *least)) {
            best.insert(best.partition_point(|(_, known)| *known >= logit), (id, logit));
            best.truncate(count);
        }
    }
    #[allow(clippy::cast_possible_truncation, reason = "log-probabilities are kept as f32")]
    let logprobs = best.iter().map(|(_, logit)| (f64::from(*logit) - whole) as f32).collect();
    Some(TopLogprobs { ids: best.into_iter().map(|(id, _)| id).collect(), logprobs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_by_hand() {
        // p = 1/7, 2/7, 4/7: ln 4/7 = -0.559616, ln 2/7 = -1.252763, ln 1/7 = -1.945910.
        let logits = [0.0, std::f32::consts::LN_2, 2.0 * std::f32::consts::LN_2];
        let top = top_logprobs(&logits, 3).unwrap();
        assert_eq!(top.ids, [2, 1, 0]);
        for (found, expected) in top.logprobs.iter().zip([-0.559_616, -1.252_763, -1.945_910]) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
        // The same far above and below 0, where exp alone would be infinite or 0.
        for far in [1000.0, -1000.0] {
            let top = top_logprobs(&logits.map(|logit| logit + far), 1).unwrap();
            assert!((top.logprobs[0] + 0.559_616).abs() < 1e-4, "{top:?}");
        }
        let all: f64 = top_logprobs(&logits, 9).unwrap().logprobs.iter().map(|ln| f64::from(*ln).exp()).sum();
        assert!((all - 1.0).abs() < 1e-6, "{all}");
    }

    #[test]
    fn of_equal_logits_the_lowest_id_comes_first() {
        let top = |logits: &[f32], count| top_logprobs(logits, count).unwrap().ids;
        assert_eq!(top(&[1.0, 2.0, 2.0, 1.0, 2.0], 4), [1, 2, 4, 0]);
        assert_eq!(top(&[0.0; 6], 3), [0, 1, 2]);
        assert_eq!(top(&[0.0, 0.0, 5.0], 2), [2, 0]);
        assert_eq!(top(&[1.0, f32::NEG_INFINITY], 2), [0], "a logit of minus infinity is left out");
    }

    #[test]
    fn logits_that_are_not_numbers_have_no_probabilities() {
        assert_eq!(top_logprobs(&[1.0, f32::NAN], 1), None);
        assert_eq!(top_logprobs(&[1.0, f32::INFINITY], 1), None);
        assert_eq!(top_logprobs(&[f32::NEG_INFINITY], 1), None);
        assert_eq!(top_logprobs(&[], 1), None);
    }
}
