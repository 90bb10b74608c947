//! How evenly things are spread over classes, such as tokens over experts.

/// How evenly things are spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// The largest count / the mean count: 1 = even.
    pub max_to_mean: f64,
    /// The same for an even random choice of as many things: see [`balance`].
    pub by_chance: f64,
    /// Entropy of the shares, from 0 (all in one class) to 1 (even).
    pub entropy: f64,
}

/// The balance of the counts `n_1 ... n_E` of `E` classes, with `N` things in all and a mean of `m = N / E`; `None` without things.
///
/// ```text
/// max_to_mean  max n_i / m = 1 + MaxVio
/// entropy      - sum p_i ln p_i / ln E,  p_i = n_i / N,  empty classes left out;  1 for one class
/// by_chance    E[max] / m,  E[max] = sum over k >= 0 of (1 - F(k)^E),  F the distribution function of a Poisson variable with mean m
/// ```
///
/// `max_to_mean` grows with fewer things even if every class is as likely: `by_chance` shows by how much. It takes the counts as
/// independent Poisson variables. Where a token chooses several experts, no count exceeds the number of tokens, so it is a little too
/// large. Sources: MaxVio of Wang et al., arXiv:2408.15664, section 4.1; Shannon's entropy, relative to its largest value; the
/// distribution of the largest of independent variables.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn balance(counts: &[u64]) -> Option<Balance> {
    let all = counts.iter().sum::<u64>() as f64;
    let most = *counts.iter().max()? as f64;
    if all <= 0.0 {
        return None;
    }
    let classes = counts.len() as f64;
    let mean = all / classes;
    let shares = counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / all);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    Some(Balance {
        max_to_mean: most / mean,
        by_chance: expected_maximum(mean, classes) / mean,
        entropy: if counts.len() > 1 { entropy / classes.ln() } else { 1.0 },
    })
}

/// The expected maximum of so many independent Poisson variables.
fn expected_maximum(mean: f64, variables: f64) -> f64 {
    // Beyond it the distribution function is 1 in double precision.
    let end = mean + 12.0 * mean.sqrt() + 60.0;
    let (mut log, mut below, mut sum, mut k) = (-mean, 0.0_f64, 0.0, 0.0);
    while k <= end {
        below += log.exp();
        sum += 1.0 - below.min(1.0).powf(variables);
        k += 1.0;
        log += mean.ln() - k.ln();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn even_uneven_and_empty() {
        let even = balance(&[5, 5, 5, 5]).unwrap();
        assert!(close(even.max_to_mean, 1.0) && close(even.entropy, 1.0));
        let one = balance(&[0, 8, 0, 0]).unwrap();
        assert!(close(one.max_to_mean, 4.0) && close(one.entropy, 0.0));
        // Shares 1/2, 1/4, 1/4: 1.5 bits of 2.
        let mixed = balance(&[4, 2, 2, 0]).unwrap();
        assert!(close(mixed.max_to_mean, 2.0) && close(mixed.entropy, 0.75));
        assert!(close(balance(&[3]).unwrap().entropy, 1.0));
        assert_eq!((balance(&[]), balance(&[0, 0])), (None, None));
    }

    /// With one variable the maximum is the variable; of two, E[max] = m + E|a - b| / 2, and E|a - b| of two Poisson variables of mean 1
    /// is 2 e^-2 (I0(2) + I1(2)) = 1.047555...
    #[test]
    fn the_largest_count_by_chance() {
        for mean in [0.25, 1.0, 40.0, 3000.0] {
            assert!((expected_maximum(mean, 1.0) / mean - 1.0).abs() < 1e-9, "{mean}");
        }
        let [i0, i1] = [2.279_585_302_336_067, 1.590_636_854_637_329];
        let expected = 1.0 + (-2.0_f64).exp() * (i0 + i1);
        assert!((expected_maximum(1.0, 2.0) - expected).abs() < 1e-9, "{}", expected_maximum(1.0, 2.0));
        let few = balance(&[1; 128]).unwrap().by_chance;
        let many = balance(&[1000; 128]).unwrap().by_chance;
        assert!(few > 4.0 && many < 1.1 && many > 1.0, "{few} {many}");
    }
}
