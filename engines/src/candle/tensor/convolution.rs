//! Causal convolutions of each channel by itself, and their state: the last inputs.

use candle_core::{Result, Tensor};

/// The rows of `state` and those of `x` after them, and their last rows, which are the next state.
pub(super) fn extended(x: &Tensor, state: &Tensor) -> Result<(Tensor, Tensor)> {
    let extended = Tensor::cat(&[state, x], 0)?;
    let last = extended.narrow(0, x.dim(0)?, state.dim(0)?)?.contiguous()?;
    Ok((extended, last))
}

/// `out[t] = sum over k of kernel[k] window[t + k]`, element by element: `[rows, channels]` of `[kernel - 1 + rows, channels]`.
pub(super) fn convolved(window: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let (taps, rows) = (kernel.dim(0)?, window.dim(0)? + 1 - kernel.dim(0)?);
    let product = |tap: usize| window.narrow(0, tap, rows)?.broadcast_mul(&kernel.narrow(0, tap, 1)?);
    (1..taps).try_fold(product(0)?, |sum, tap| sum + product(tap)?)
}

/// The product of parts `a` and `b` of each row, which are `width` wide.
pub(super) fn product_of_parts(x: &Tensor, [a, b]: [usize; 2], width: usize) -> Result<Tensor> {
    x.narrow(1, a * width, width)? * x.narrow(1, b * width, width)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_convolution_reads_the_state_before_its_rows() {
        let tensor =
            |rows: &[[f32; 2]]| Tensor::from_slice(rows.as_flattened(), (rows.len(), 2), &Device::Cpu).unwrap();
        let (window, state) = extended(&tensor(&[[3.0, 30.0]]), &tensor(&[[1.0, 10.0], [2.0, 20.0]])).unwrap();
        assert_eq!(state.to_vec2::<f32>().unwrap(), [[2.0, 20.0], [3.0, 30.0]]);
        let out = convolved(&window, &tensor(&[[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])).unwrap();
        assert_eq!(out.to_vec2::<f32>().unwrap(), [[6.0, 20.0]]);
    }
}
