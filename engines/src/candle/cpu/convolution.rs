//! Causal convolutions of each channel by itself, and their state: the last inputs.

use super::pool::each_part;
use super::simd::Simd;

/// The inputs of the last tokens, `[kernel - 1, channels]`.
pub(crate) struct State(pub(super) Vec<f32>);

/// `window` is `[kernel - 1 + rows, channels]`: the state and the inputs `x` `[rows, channels]` after it. The last rows become the state.
pub(super) fn extend(x: &[f32], state: &mut [f32], window: &mut [f32]) {
    let (before, new) = window.split_at_mut(state.len());
    before.copy_from_slice(state);
    new.copy_from_slice(x);
    state.copy_from_slice(&window[x.len()..]);
}

/// `out[t][c] = sum over k of kernel[k][c] window[t + k][c]`; `out` is `[rows, channels]`, `kernel` is `[taps, channels]`.
pub(super) fn convolve<S: Simd>(window: &[f32], kernel: &[f32], channels: usize, out: &mut [f32]) {
    let cost = out.len() * kernel.len() / channels.max(1);
    each_part::<S, _>(out, channels, cost, |row, out| {
        out.fill(0.0);
        let inputs = window[row * channels..].chunks_exact(channels);
        for (weights, inputs) in kernel.chunks_exact(channels).zip(inputs) {
            for ((out, weight), input) in out.iter_mut().zip(weights).zip(inputs) {
                *out += weight * input;
            }
        }
    });
}

/// Part `at` of a row that consists of parts of equal width.
#[inline(always)]
fn part(row: &[f32], at: usize, width: usize) -> &[f32] {
    &row[at * width..][..width]
}

/// `out = x[a] x[b]`, two parts of each row of `x`, which is `stride` wide; `out` is `[rows, width]`.
pub(super) fn multiply_parts<S: Simd>(x: &[f32], stride: usize, [a, b]: [usize; 2], width: usize, out: &mut [f32]) {
    let cost = out.len();
    each_part::<S, _>(out, width, cost, |row, out| {
        let x = &x[row * stride..][..stride];
        for ((out, a), b) in out.iter_mut().zip(part(x, a, width)).zip(part(x, b, width)) {
            *out = a * b;
        }
    });
}

/// `out *= x[at]`, one part of each row of `x`, which is `stride` wide; `out` is `[rows, width]`.
pub(super) fn multiply_by_part<S: Simd>(out: &mut [f32], x: &[f32], stride: usize, at: usize, width: usize) {
    let cost = out.len();
    each_part::<S, _>(out, width, cost, |row, out| {
        let x = part(&x[row * stride..][..stride], at, width);
        out.iter_mut().zip(x).for_each(|(out, x)| *out *= x);
    });
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::super::simd::Scalar;
    use super::*;

    /// Two channels, a kernel of three: channel 0 sums its last inputs, channel 1 takes the one before the last.
    #[test]
    fn rows_together_or_one_by_one_are_the_same() {
        let kernel = [1.0, 1.0, 1.0, 0.0, 1.0, 0.0];
        let x: Vec<f32> = (1..=5).flat_map(|t| [t as f32, 10.0 * t as f32]).collect();
        let run = |batch: usize| {
            let (mut state, mut all) = (vec![0.0; 4], Vec::new());
            for x in x.chunks(batch * 2) {
                let (mut window, mut out) = (vec![0.0; 4 + x.len()], vec![7.0; x.len()]);
                extend(x, &mut state, &mut window);
                convolve::<Scalar>(&window, &kernel, 2, &mut out);
                all.extend(out);
            }
            (all, state)
        };
        let (out, state) = run(5);
        assert_eq!(out, [1.0, 0.0, 3.0, 0.0, 6.0, 10.0, 9.0, 20.0, 12.0, 30.0]);
        assert_eq!(state, [4.0, 40.0, 5.0, 50.0]);
        for batch in 1..5 {
            assert_eq!(run(batch), (out.clone(), state.clone()), "{batch}");
        }
    }

    #[test]
    fn parts_of_rows() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [0.0; 2];
        multiply_parts::<Scalar>(&x, 6, [0, 2], 2, &mut out);
        assert_eq!(out, [5.0, 12.0]);
        multiply_by_part::<Scalar>(&mut out, &x, 6, 1, 2);
        assert_eq!(out, [15.0, 48.0]);
    }
}
