//! How far the probabilities of two sides differ on the same text.

use super::comparison::ProbabilityDistance;
use super::pairing::{Group, GroupPair};
use record::{Examination, Reason, TopLogprobs};
use statistics::mean;

/// The distance, or why there is none.
///
/// # Errors
/// The reason: a side was not examined, or the text has other tokens there.
pub(super) fn distance(pair: &GroupPair<'_>) -> Result<ProbabilityDistance, Reason> {
    let (baseline, other) = (examined(&pair.baseline)?, examined(&pair.other)?);
    if baseline.ids != other.ids {
        return Err(Reason::new("the text has different tokens on the two sides: the vocabularies differ"));
    }
    let positions: Vec<PositionDistance> =
        baseline.positions.iter().zip(&other.positions).filter_map(|(b, o)| distance_at(b, o)).collect();
    let of = |value: fn(&PositionDistance) -> f64| positions.iter().map(value).collect::<Vec<_>>();
    let most = |value: fn(&PositionDistance) -> f64| of(value).into_iter().fold(0.0, f64::max);
    let mean_of = |value: fn(&PositionDistance) -> f64| mean(&of(value)).unwrap_or_default();
    if positions.is_empty() {
        return Err(Reason::new("the examinations have no position in common"));
    }
    Ok(ProbabilityDistance {
        positions: positions.len(),
        same_top: mean_of(|position| f64::from(u8::from(position.same_top))),
        kl_mean: mean_of(|position| position.kl),
        kl_max: most(|position| position.kl),
        difference_mean: mean_of(|position| position.difference_mean),
        difference_max: most(|position| position.difference_max),
        covered: mean_of(|position| position.covered),
    })
}

fn examined<'a>(group: &Group<'a>) -> Result<&'a Examination, Reason> {
    let same = |found: &&Examination| {
        (found.engine.as_str(), found.model.as_str(), found.threads) == (group.engine(), group.model(), group.threads())
    };
    let found = group.file().examinations.iter().find(same);
    let found = found.ok_or_else(|| Reason::new(format!("{} was not examined", group.subject())))?;
    match found.positions.reason() {
        None => Ok(found),
        Some(reason) => Err(Reason::new(format!("{} was not examined: {reason}", group.subject()))),
    }
}

/// One position of the text.
struct PositionDistance {
    same_top: bool,
    kl: f64,
    difference_mean: f64,
    difference_max: f64,
    covered: f64,
}

/// Compares two lists of likely tokens.
///
/// ```text
/// KL >= sum over tokens t in both lists of p(t) ln(p(t) / q(t)) + (1 - P) ln((1 - P) / (1 - Q))
/// ```
/// with p the baseline's probabilities, q the other's, P and Q their sums over the tokens in common. Lumping tokens together never
/// makes the divergence larger (Cover and Thomas, "Elements of Information Theory", 2006, theorem 2.7.1), so it is at least this.
fn distance_at(baseline: &TopLogprobs, other: &TopLogprobs) -> Option<PositionDistance> {
    let common: Vec<(f64, f64)> = baseline
        .ids
        .iter()
        .zip(&baseline.logprobs)
        .filter_map(|(id, p)| {
            let at = other.ids.iter().position(|same| same == id)?;
            Some((f64::from(*p), f64::from(*other.logprobs.get(at)?)))
        })
        .collect();
    let differences: Vec<f64> = common.iter().map(|(p, q)| (p - q).abs()).collect();
    let (covered, of_other) = common.iter().fold((0.0, 0.0), |sum, (p, q)| (sum.0 + p.exp(), sum.1 + q.exp()));
    let rest = |sum: f64| (1.0 - sum).max(f64::EPSILON);
    let kl: f64 = common.iter().map(|(p, q)| p.exp() * (p - q)).sum();
    let kl = kl + rest(covered) * (rest(covered) / rest(of_other)).ln();
    Some(PositionDistance {
        same_top: baseline.ids.first()? == other.ids.first()?,
        kl: kl.max(0.0),
        difference_mean: mean(&differences)?,
        difference_max: differences.iter().copied().fold(0.0, f64::max),
        covered: covered.min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(listed: &[(u32, f64)]) -> TopLogprobs {
        TopLogprobs {
            ids: listed.iter().map(|(id, _)| *id).collect(),
            logprobs: listed.iter().map(|(_, p)| p.ln() as f32).collect(),
        }
    }

    #[test]
    fn a_divergence_by_hand() {
        // p = 1/2 1/4 1/4, q = 1/4 1/2 1/4 of which the last is not listed: KL = 1/2 ln 2 - 1/4 ln 2.
        let found = distance_at(&top(&[(7, 0.5), (8, 0.25)]), &top(&[(8, 0.5), (7, 0.25)])).unwrap();
        assert!((found.kl - 0.25 * 2.0f64.ln()).abs() < 1e-6, "{}", found.kl);
        assert!(!found.same_top && (found.covered - 0.75).abs() < 1e-6);
        assert!((found.difference_max - 2.0f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn equal_distributions_have_no_distance_and_disjoint_lists_have_none() {
        let same = top(&[(1, 0.6), (2, 0.3)]);
        let found = distance_at(&same, &same).unwrap();
        assert!(found.kl.abs() < 1e-9 && found.same_top);
        assert!(distance_at(&same, &top(&[(3, 0.5)])).is_none());
    }
}
