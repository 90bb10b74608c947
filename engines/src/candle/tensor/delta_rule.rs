//! The gated delta rule, token by token; all heads together.

use candle_core::{D, Result, Tensor};
use models::GatedDeltaNet;

/// `exp(A softplus(x))`; `a` are the negative `A` of the heads.
pub(super) fn decays(x: &Tensor, a: &Tensor) -> Result<Tensor> {
    // softplus(x) = max(x, 0) + ln(1 + exp(-|x|)), which does not overflow.
    let softplus = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    softplus.broadcast_mul(a)?.exp()
}

/// The heads of a part of the rows, `[rows, heads, head_dim]`.
fn heads(qkv: &Tensor, start: usize, heads: usize, width: usize) -> Result<Tensor> {
    qkv.narrow(1, start, heads * width)?.contiguous()?.reshape((qkv.dim(0)?, heads, width))
}

/// `x / sqrt(sum x^2 + epsilon)` of each head.
fn normalised(heads: &Tensor, epsilon: f32) -> Result<Tensor> {
    let length = (heads.sqr()?.sum_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?;
    heads.broadcast_div(&length)
}

/// Runs all rows of `qkv` `[rows, channels]` through the states `[value_heads * head_dim, head_dim]`; decays and rates are
/// `[rows, value_heads]`. The outputs `[rows, value_heads * head_dim]` and the states after them.
///
/// Source: arXiv:2412.06464, equation 10.
pub(super) fn run(
    net: &GatedDeltaNet,
    qkv: &Tensor,
    (decays, rates): (&Tensor, &Tensor),
    epsilon: f32,
    states: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let (rows, width, value_heads) = (qkv.dim(0)?, net.head_dim, net.value_heads);
    let of_values = |part: Tensor| {
        let index: Vec<u32> = (0..value_heads).map(|head| net.key_head(head) as u32).collect();
        normalised(&part, epsilon)?.index_select(&Tensor::new(index, qkv.device())?, 1)
    };
    #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^52")]
    let scale = 1.0 / (width as f64).sqrt();
    let q = (of_values(heads(qkv, 0, net.key_heads, width)?)? * scale)?;
    let k = of_values(heads(qkv, net.key_width(), net.key_heads, width)?)?;
    let v = heads(qkv, 2 * net.key_width(), value_heads, width)?;
    let mut states = states.reshape((value_heads, width, width))?;
    let mut outputs = Vec::with_capacity(rows);
    for row in 0..rows {
        let column = |x: &Tensor| x.get(row)?.reshape((value_heads, width, 1));
        let factor = |x: &Tensor| x.get(row)?.reshape((value_heads, 1, 1));
        let (q, k, v) = (column(&q)?, column(&k)?, column(&v)?);
        states = states.broadcast_mul(&factor(decays)?)?;
        let update = (v - states.matmul(&k)?)?.broadcast_mul(&factor(rates)?)?;
        states = (states + update.matmul(&k.transpose(1, 2)?.contiguous()?)?)?;
        outputs.push(states.matmul(&q)?.reshape((1, value_heads * width))?);
    }
    Ok((Tensor::cat(&outputs, 0)?, states.reshape((value_heads * width, width))?))
}
