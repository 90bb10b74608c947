//! The operations between the matrix products: norm, rotation, gate, residual. Each makes one pass over its rows.

use models::{CLAMP_ALPHA, CLAMP_LIMIT, Rope, RopeLayout};

use super::pool::each_part;
use super::simd::Simd;
use super::vector;
use crate::candle::kernels::HeadPart;

/// RMS norm: `out = x / sqrt(mean(x^2) + epsilon) * weight`, per row. Source: arXiv:1910.07467, equation 4.
///
/// `x` and `out` are `[rows, hidden]`, `weight` is `[hidden]`.
pub(super) fn rms_norm<S: Simd>(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let hidden = weight.len();
    each_part::<S, _>(out, hidden, x.len() * 2, |row, out| {
        let x = &x[row * hidden..][..hidden];
        let scale = reciprocal_rms(x, epsilon);
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    });
}

/// RMS norm of each head, in place: `x` is `[rows, heads * head_dim]`, `weight` is `[head_dim]`.
pub(super) fn rms_norm_in_place<S: Simd>(x: &mut [f32], weight: &[f32], epsilon: f32) {
    let cost = x.len() * 2;
    each_part::<S, _>(x, weight.len(), cost, |_, head| {
        let scale = reciprocal_rms(head, epsilon);
        for (x, weight) in head.iter_mut().zip(weight) {
            *x = *x * scale * weight;
        }
    });
}

/// RMS norm of the first elements of each row `[rows, width]`, as many as `weight` has, in place.
pub(super) fn rms_norm_of_starts<S: Simd>(x: &mut [f32], width: usize, weight: &[f32], epsilon: f32) {
    let cost = x.len() * 2;
    each_part::<S, _>(x, width, cost, |_, row| {
        let start = &mut row[..weight.len()];
        let scale = reciprocal_rms(start, epsilon);
        for (x, weight) in start.iter_mut().zip(weight) {
            *x = *x * scale * weight;
        }
    });
}

/// `1 / sqrt(mean(x^2) + epsilon)`
#[inline(always)]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a width is small; rounded once")]
fn reciprocal_rms(x: &[f32], epsilon: f32) -> f32 {
    let mean = (vector::squares(x) / x.len() as f64) as f32;
    1.0 / (mean + epsilon).sqrt()
}

/// `x *= factor`
pub(super) fn scale<S: Simd>(x: &mut [f32], factor: f32) {
    const PART: usize = 4096;
    let cost = x.len();
    each_part::<S, _>(x, PART, cost, |_, x| x.iter_mut().for_each(|x| *x *= factor));
}

/// `x = cap tanh(x / cap)`
pub(super) fn cap<S: Simd>(x: &mut [f32], cap: f32) {
    const PART: usize = 2048;
    let cost = x.len() * 16;
    each_part::<S, _>(x, PART, cost, |_, x| x.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh()));
}

/// `x += y`, both `[rows, hidden]`.
pub(super) fn add<S: Simd>(x: &mut [f32], y: &[f32]) {
    const PART: usize = 4096;
    each_part::<S, _>(x, PART, y.len(), |part, x| {
        for (x, y) in x.iter_mut().zip(&y[part * PART..]) {
            *x += y;
        }
    });
}

/// `x += bias` per row; `x` is `[rows, bias]`.
pub(super) fn add_bias<S: Simd>(x: &mut [f32], bias: &[f32]) {
    let cost = x.len();
    each_part::<S, _>(x, bias.len(), cost, |_, row| {
        for (x, bias) in row.iter_mut().zip(bias) {
            *x += bias;
        }
    });
}

/// SwiGLU's gate: `gate = silu(gate) * up`, `silu(x) = x / (1 + e^-x)`; both `[rows, ffn]`. Source: arXiv:2002.05202, section 2.
pub(super) fn silu_mul<S: Simd>(gate: &mut [f32], up: &[f32]) {
    const PART: usize = 2048;
    each_part::<S, _>(gate, PART, up.len() * 8, |part, gate| {
        for (gate, up) in gate.iter_mut().zip(&up[part * PART..]) {
            *gate = *gate / (1.0 + vector::exp::<S>(-*gate)) * up;
        }
    });
}

/// `x = silu(x)`
pub(super) fn silu<S: Simd>(x: &mut [f32]) {
    const PART: usize = 2048;
    let cost = x.len() * 8;
    each_part::<S, _>(x, PART, cost, |_, x| x.iter_mut().for_each(|x| *x /= 1.0 + vector::exp::<S>(-*x)));
}

/// `x *= sigmoid(gate)`, both `[rows, width]`.
pub(super) fn sigmoid_mul<S: Simd>(x: &mut [f32], gate: &[f32]) {
    const PART: usize = 2048;
    each_part::<S, _>(x, PART, gate.len() * 8, |part, x| {
        for (x, gate) in x.iter_mut().zip(&gate[part * PART..]) {
            *x /= 1.0 + vector::exp::<S>(-*gate);
        }
    });
}

/// GEGLU's gate: `gate = gelu(gate) * up` by the approximation with tanh; both `[rows, ffn]`. Source: arXiv:1606.08415, section 2.
///
/// `(1 + tanh(u)) / 2 = 1 / (1 + e^(-2 u))`, so that one exponential is sufficient.
pub(super) fn gelu_mul<S: Simd>(gate: &mut [f32], up: &[f32]) {
    const PART: usize = 2048;
    // sqrt(2 / pi), twice.
    const TWICE: f32 = 2.0 * 0.797_884_6;
    each_part::<S, _>(gate, PART, up.len() * 12, |part, gate| {
        for (gate, up) in gate.iter_mut().zip(&up[part * PART..]) {
            let x = *gate;
            let inner = TWICE * x * (1.0 + 0.044_715 * x * x);
            *gate = x / (1.0 + vector::exp::<S>(-inner)) * up;
        }
    });
}

/// The gate of gpt-oss: `gate = g sigmoid(alpha g) (u + 1)` with gates bounded from above and `up` on both sides; both `[rows, ffn]`.
/// Source: [`models::Activation::ClampedSwiglu`].
pub(super) fn clamped_swiglu<S: Simd>(gate: &mut [f32], up: &[f32]) {
    const PART: usize = 2048;
    each_part::<S, _>(gate, PART, up.len() * 8, |part, gate| {
        for (gate, up) in gate.iter_mut().zip(&up[part * PART..]) {
            // A comparison instead of `min`, so that a number that is none stays none.
            let g = if *gate > CLAMP_LIMIT { CLAMP_LIMIT } else { *gate };
            *gate = g / (1.0 + vector::exp::<S>(-CLAMP_ALPHA * g)) * (up.clamp(-CLAMP_LIMIT, CLAMP_LIMIT) + 1.0);
        }
    });
}

/// Cosines and sines of the positions of one forward pass, shared by all layers and heads with one rotary embedding.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// `theta^(-2 / dim)`: the ratio of the frequencies of successive pairs of elements.
    step: f32,
    /// Divisor of each pair's angle by RoPE scaling, `[dim / 2]`.
    divisors: Vec<f32>,
    layout: RopeLayout,
    /// Width of a head, and the first element that is rotated.
    head_dim: usize,
    first: usize,
    /// Multiplier of cosines and sines.
    magnitude: f32,
    /// The positions of the tables: the first one and the number of rows.
    span: (usize, usize),
    /// `[rows, dim / 2]`
    cos: Vec<f32>,
    /// `[rows, dim / 2]`
    sin: Vec<f32>,
}

impl Rotation {
    pub(super) fn new(rope: &Rope, part: HeadPart, context: usize) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
        let step = rope.theta.powf(-2.0 / rope.dim as f32);
        #[allow(clippy::cast_possible_truncation, reason = "rounded once")]
        let divisors = rope.divisors(context).into_iter().map(|divisor| divisor as f32).collect();
        Self {
            step,
            divisors,
            layout: rope.layout,
            head_dim: part.width,
            first: part.first,
            magnitude: rope.magnitude(),
            span: (0, 0),
            cos: Vec::new(),
            sin: Vec::new(),
        }
    }

    /// Rotates each head of each row by its row's position: `(a, b) -> (a cos - b sin, a sin + b cos)`.
    /// Source: arXiv:2104.09864, equation 34.
    ///
    /// `x` is `[rows, heads * head_dim]`; row 0 is at `position`.
    pub(super) fn rotate<S: Simd>(&mut self, x: &mut [f32], width: usize, position: usize) {
        let rows = x.len() / width;
        self.fill(position, rows);
        let half = self.divisors.len();
        let cost = x.len() * 2;
        let rotate = |a: f32, b: f32, cos: f32, sin: f32| (S::fused(a, cos, -(b * sin)), S::fused(a, sin, b * cos));
        each_part::<S, _>(x, width, cost, |row, heads| {
            let (cos, sin) = (&self.cos[row * half..][..half], &self.sin[row * half..][..half]);
            for head in heads.chunks_exact_mut(self.head_dim) {
                let head = &mut head[self.first..];
                match self.layout {
                    RopeLayout::Halves => {
                        let (first, second) = head[..2 * half].split_at_mut(half);
                        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                            (*a, *b) = rotate(*a, *b, *cos, *sin);
                        }
                    }
                    RopeLayout::Interleaved => {
                        for ((pair, cos), sin) in head[..2 * half].chunks_exact_mut(2).zip(cos).zip(sin) {
                            (pair[0], pair[1]) = rotate(pair[0], pair[1], *cos, *sin);
                        }
                    }
                }
            }
        });
    }

    /// Computes the tables unless they are for these positions already, as in all layers but the first.
    ///
    /// Each angle is the previous one times `step`, in f32, as in llama.cpp (`ggml_rope_cache_init`): position times frequency
    /// would differ in the last bits, and so would every key.
    fn fill(&mut self, position: usize, rows: usize) {
        if self.span == (position, rows) {
            return;
        }
        self.span = (position, rows);
        self.cos.clear();
        self.sin.clear();
        for row in 0..rows {
            #[allow(clippy::cast_precision_loss, reason = "positions are below 2^24")]
            let mut angle = (position + row) as f32;
            for divisor in &self.divisors {
                let (sin, cos) = (angle / divisor).sin_cos();
                self.cos.push(cos * self.magnitude);
                self.sin.push(sin * self.magnitude);
                angle *= self.step;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::super::simd::Scalar;
    use super::*;

    fn rotation(theta: f32, dim: usize, head_dim: usize, layout: RopeLayout) -> Rotation {
        Rotation::new(&Rope { theta, dim, layout, scaling: None }, HeadPart::whole(head_dim), 64)
    }

    #[test]
    fn a_normed_row_has_unit_mean_square() {
        let x: Vec<f32> = (0..96).map(|i| i as f32 - 20.0).collect();
        let mut out = vec![0.0; 96];
        rms_norm::<Scalar>(&x, &[1.0; 48], 0.0, &mut out);
        for row in out.chunks(48) {
            assert!((row.iter().map(|x| x * x).sum::<f32>() / 48.0 - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn both_layouts_rotate_the_same_pairs_stored_in_different_places() {
        let halves: Vec<f32> = (0..12).map(|i| i as f32 * 0.3 + 1.0).collect();
        // Per head of 6: element i of the first half and i of the second become neighbours.
        let interleave = |x: &[f32]| {
            x.chunks(6)
                .flat_map(|head| (0..3).flat_map(|i| [head[i], head[3 + i]]).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let (mut a, mut b) = (halves.clone(), interleave(&halves));
        rotation(1000.0, 6, 6, RopeLayout::Halves).rotate::<Scalar>(&mut a, 12, 7);
        rotation(1000.0, 6, 6, RopeLayout::Interleaved).rotate::<Scalar>(&mut b, 12, 7);
        assert_eq!(interleave(&a), b);
        assert!((a[0] - (halves[0] * 7f32.cos() - halves[3] * 7f32.sin())).abs() < 1e-5);
    }

    #[test]
    fn elements_after_the_rotated_part_are_unchanged() {
        let mut x = vec![1.0; 8];
        rotation(10.0, 2, 4, RopeLayout::Halves).rotate::<Scalar>(&mut x, 8, 3);
        assert_eq!((x[2], x[3], x[6], x[7]), (1.0, 1.0, 1.0, 1.0));
        assert!(x[0] != 1.0 && x[0] == x[4]);
    }

    #[test]
    fn a_part_of_a_head_is_rotated_as_if_it_were_the_head() {
        let part: Vec<f32> = (0..8).map(|i| i as f32 * 0.3 + 1.0).collect();
        // Heads of six elements, whose last four are rotated.
        let mut heads: Vec<f32> = part.chunks(4).flat_map(|part| [&[5.0, 6.0], part].concat()).collect();
        let mut alone = part;
        rotation(100.0, 4, 4, RopeLayout::Interleaved).rotate::<Scalar>(&mut alone, 8, 3);
        let rope = Rope { theta: 100.0, dim: 4, layout: RopeLayout::Interleaved, scaling: None };
        Rotation::new(&rope, HeadPart { width: 6, first: 2, taken: 4 }, 64).rotate::<Scalar>(&mut heads, 12, 3);
        assert_eq!((&heads[2..6], &heads[8..], heads[0], heads[7]), (&alone[..4], &alone[4..], 5.0, 6.0));
    }

    #[test]
    fn only_the_start_of_a_row_is_normed() {
        let mut x = [3.0, 4.0, 9.0, 6.0, 8.0, 7.0];
        rms_norm_of_starts::<Scalar>(&mut x, 3, &[1.0, 2.0], 0.0);
        let root = 12.5f32.sqrt();
        let expected = [3.0 / root, 8.0 / root, 9.0, 3.0 / root, 8.0 / root, 7.0];
        assert!(x.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{x:?}");
    }

    #[test]
    fn gate_and_residual() {
        let (mut gate, up) = (vec![0.0, 1.0, -2.0], vec![3.0, 3.0, 3.0]);
        silu_mul::<Scalar>(&mut gate, &up);
        for (gate, x) in gate.iter().zip([0.0f32, 1.0, -2.0]) {
            assert!((gate - 3.0 * x / (1.0 + (-x).exp())).abs() < 1e-5);
        }
        let mut clamped = [1.0, 9.0, -30.0];
        clamped_swiglu::<Scalar>(&mut clamped, &[0.5, -8.0, 100.0]);
        let swish = |x: f32| x / (1.0 + (-1.702 * x).exp());
        for (found, expected) in clamped.iter().zip([1.5 * swish(1.0), -6.0 * swish(7.0), 8.0 * swish(-30.0)]) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        add::<Scalar>(&mut gate, &up);
        add_bias::<Scalar>(&mut gate, &[1.0]);
        assert!((gate[0] - 4.0).abs() < 1e-6);
    }
}
