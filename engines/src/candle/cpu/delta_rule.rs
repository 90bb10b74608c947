//! The gated delta rule, token by token; heads run in parallel.

use models::GatedDeltaNet;

use super::pool::each_part;
use super::simd::Simd;
use super::vector;

/// `x = exp(a softplus(x))`; `a` are the negative `A` of the heads, `x` is `[rows, heads]`.
pub(super) fn decay(x: &mut [f32], a: &[f32]) {
    for row in x.chunks_exact_mut(a.len()) {
        for (x, a) in row.iter_mut().zip(a) {
            // Beyond 20 the two functions are equal in f32, and the exponential grows without bound.
            let softplus = if *x > 20.0 { *x } else { x.exp().ln_1p() };
            *x = (a * softplus).exp();
        }
    }
}

/// Divides each head of queries and keys, the first part of each row of `qkv`, by its length: `x / sqrt(sum x^2 + epsilon)`.
pub(super) fn normalise<S: Simd>(qkv: &mut [f32], net: &GatedDeltaNet, epsilon: f32) {
    let cost = qkv.len() * 2;
    each_part::<S, _>(qkv, net.channels(), cost, |_, row| {
        for head in row[..2 * net.key_width()].chunks_exact_mut(net.head_dim) {
            #[allow(clippy::cast_possible_truncation, reason = "rounded once")]
            let scale = 1.0 / ((vector::squares(head) as f32) + epsilon).sqrt();
            head.iter_mut().for_each(|x| *x *= scale);
        }
    });
}

/// Runs all rows through the states `[value_heads, head_dim (values), head_dim (keys)]`. `qkv` is `[rows, channels]`, decays and rates are
/// `[rows, value_heads]`, `out` is `[rows, value_heads * head_dim]`; `scratch` is kept between calls.
///
/// ```text
/// S = d S;  S = S + beta (v - S k) k^T;  out = S q / sqrt(head_dim)
/// ```
///
/// Source: arXiv:2412.06464, equation 10.
pub(super) fn run<S: Simd>(
    net: &GatedDeltaNet,
    qkv: &[f32],
    (decays, rates): (&[f32], &[f32]),
    states: &mut [f32],
    scratch: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (heads, width, rows) = (net.value_heads, net.head_dim, decays.len() / net.value_heads);
    #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    let scale = 1.0 / (width as f32).sqrt();
    // Outputs by head, so that heads write apart from each other: [value_heads, rows, head_dim].
    scratch.resize(heads * rows * width, 0.0);
    let mut of_heads: Vec<_> =
        states.chunks_exact_mut(width * width).zip(scratch.chunks_exact_mut(rows * width)).collect();
    each_part::<S, _>(&mut of_heads, 1, rows * heads * width * width * 4, |head, of_head| {
        let (key, value) = (net.key_head(head) * width, 2 * net.key_width() + head * width);
        for (state, outputs) in of_head {
            for (row, outputs) in outputs.chunks_exact_mut(width).enumerate() {
                let row_of = &qkv[row * net.channels()..][..net.channels()];
                let (q, k) = (&row_of[key..][..width], &row_of[net.key_width() + key..][..width]);
                let (decay, rate) = (decays[row * heads + head], rates[row * heads + head]);
                let values = &row_of[value..][..width];
                for ((state, value), output) in state.chunks_exact_mut(width).zip(values).zip(outputs) {
                    state.iter_mut().for_each(|s| *s *= decay);
                    let update = rate * (value - vector::dot::<S>(state, k));
                    state.iter_mut().zip(k).for_each(|(s, k)| *s += update * k);
                    *output = scale * vector::dot::<S>(state, q);
                }
            }
        }
    });
    for (row, out) in out.chunks_exact_mut(heads * width).enumerate() {
        for (head, out) in out.chunks_exact_mut(width).enumerate() {
            out.copy_from_slice(&scratch[(head * rows + row) * width..][..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Scalar;
    use super::*;
    use models::DeltaLayout;

    /// One head of width 2: a value is written under a key and read back; a second value under the same key replaces it.
    #[test]
    fn a_value_is_stored_under_its_key_and_replaced() {
        let net = GatedDeltaNet { key_heads: 1, value_heads: 1, head_dim: 2, kernel: 4, layout: DeltaLayout::Grouped };
        // q, k, v of three tokens.
        let mut qkv = vec![3.0, 0.0, 3.0, 0.0, 5.0, 7.0, 0.0, 2.0, 0.0, 2.0, 1.0, -1.0, 4.0, 0.0, 4.0, 0.0, 2.0, 9.0];
        normalise::<Scalar>(&mut qkv, &net, 0.0);
        let run_in = |batch: usize| {
            let (mut states, mut all, mut scratch) = (vec![0.0; 4], Vec::new(), Vec::new());
            for qkv in qkv.chunks(batch * 6) {
                let rows = qkv.len() / 6;
                let mut out = vec![0.0; rows * 2];
                run::<Scalar>(&net, qkv, (&vec![1.0; rows], &vec![1.0; rows]), &mut states, &mut scratch, &mut out);
                all.extend(out.into_iter().map(|x| x * 2f32.sqrt()));
            }
            (all, states)
        };
        let (out, states) = run_in(3);
        for (found, expected) in out.iter().zip([5.0, 7.0, 1.0, -1.0, 2.0, 9.0]) {
            assert!((found - expected).abs() < 1e-5, "{out:?}");
        }
        assert_eq!(run_in(1), (out.clone(), states.clone()));
        assert_eq!(run_in(2), (out, states));
    }

    #[test]
    fn decays_are_those_of_the_formula() {
        let mut decays = [0.0, 30.0];
        decay(&mut decays, &[-1.0, -0.1]);
        assert!((decays[0] - 0.5).abs() < 1e-6 && (decays[1] - (-3f32).exp()).abs() < 1e-6, "{decays:?}");
    }
}
