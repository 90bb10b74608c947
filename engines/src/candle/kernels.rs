//! The interface between decoder and device: memory, and the operations on activations.

use std::borrow::Cow;

use models::{Activation, Attention, GatedDeltaNet, LatentAttention, Rope, Temperature, TensorView};

use super::routing::Routing;
use crate::{DeviceMemory, EngineError};

/// Memory of a device.
pub(super) trait Memory {
    /// A matrix `[outputs, inputs]` in its file format.
    type Weight: Clone;
    /// A vector in f32: the weight of a norm, a bias, or sinks.
    type Vector;
    /// Activations `[rows, width]` in f32.
    type Rows;
    /// Keys and values of one layer.
    type Cache;
    /// A rotary embedding, shared by all layers that have it.
    type Rotation;
    /// The kernels of a convolution in f32, `[taps, channels]`.
    type Kernel;
    /// A recurrent state in f32.
    type State;

    /// Takes a matrix from the checkpoint.
    fn weight(&self, view: &TensorView<'_>) -> Result<Self::Weight, EngineError>;
    /// Takes a matrix whose rows are looked up, and which is never multiplied with.
    fn table(&self, view: &TensorView<'_>) -> Result<Self::Weight, EngineError> {
        self.weight(view)
    }
    /// A vector of ones.
    fn ones(&self, length: usize) -> Result<Self::Vector, EngineError>;
    /// Takes a vector from the checkpoint, its elements changed by `change`.
    fn vector(&self, view: &TensorView<'_>, change: &dyn Fn(f32) -> f32) -> Result<Self::Vector, EngineError>;
    /// Takes the kernels of a convolution from the checkpoint, where they are `[channels, taps]`.
    fn kernel(&self, view: &TensorView<'_>) -> Result<Self::Kernel, EngineError>;
    /// A buffer for activations of this width.
    fn rows(&self, width: usize) -> Result<Self::Rows, EngineError>;
    /// A buffer of this width for pairs of a token and one of the `used` experts that it uses.
    fn pair_rows(&self, used: usize, width: usize) -> Result<Self::Rows, EngineError>;
    /// A buffer of this width for the activations of a pass and `before` rows before them.
    fn window_rows(&self, before: usize, width: usize) -> Result<Self::Rows, EngineError>;
    /// A state of zeros, `[rows, width]`.
    fn state(&self, rows: usize, width: usize) -> Result<Self::State, EngineError>;
    /// The cache of one layer.
    fn cache(&self, attention: &Attention) -> Result<Self::Cache, EngineError>;
    /// The cache of one layer with latent attention: one row for all heads.
    fn latent_cache(&self, attention: &LatentAttention) -> Result<Self::Cache, EngineError>;
    /// A rotary embedding of this part of heads, of which it rotates the first `rope.dim` elements.
    fn rotation(&self, rope: &Rope, part: HeadPart) -> Result<Self::Rotation, EngineError>;
    /// Memory of its allocator; `None` if it has no statistics.
    fn device_memory(&self) -> Option<DeviceMemory> {
        None
    }
    /// Copies or borrows `[rows, width]` on the host.
    fn read<'a>(&self, rows: &'a Self::Rows) -> Result<Cow<'a, [f32]>, EngineError>;
}

/// The operations of a decoder. All run in order; `sync` waits for the last.
pub(super) trait Kernels: Memory {
    /// `out[r] = table[ids[r]]`
    fn embed(&mut self, table: &Self::Weight, ids: &[u32], out: &mut Self::Rows) -> Result<(), EngineError>;
    /// `out = x / sqrt(mean(x^2) + epsilon) * weight`, per row
    fn norm(
        &mut self,
        x: &Self::Rows,
        weight: &Self::Vector,
        epsilon: f32,
        out: &mut Self::Rows,
    ) -> Result<(), EngineError>;
    /// The same for each head of each row, in place; `weight` is `[head_dim]`.
    fn norm_heads(&mut self, x: &mut Self::Rows, weight: &Self::Vector, epsilon: f32) -> Result<(), EngineError>;
    /// The same for the first elements of each row, as many as the weight has, in place.
    fn norm_start(&mut self, x: &mut Self::Rows, weight: &Self::Vector, epsilon: f32) -> Result<(), EngineError>;
    /// `x *= factor`
    fn scale(&mut self, x: &mut Self::Rows, factor: f32) -> Result<(), EngineError>;
    /// `x = cap tanh(x / cap)`
    fn cap(&mut self, x: &mut Self::Rows, cap: f32) -> Result<(), EngineError>;
    /// Multiplies each row by the factor of its position.
    fn scale_by_position(
        &mut self,
        x: &mut Self::Rows,
        temperature: Temperature,
        position: usize,
    ) -> Result<(), EngineError>;
    /// `out = x weight^T (+ bias)`
    fn linear(&mut self, x: &mut Self::Rows, linear: &Linear<Self>, out: &mut Self::Rows) -> Result<(), EngineError>;
    /// Rotates each head of each row by its position.
    fn rope(&mut self, x: &mut Self::Rows, rotation: &mut Self::Rotation, position: usize) -> Result<(), EngineError>;
    /// Stores keys and values of the rows from `position` on.
    fn store(
        &mut self,
        cache: &mut Self::Cache,
        keys: &Self::Rows,
        values: &Self::Rows,
        position: usize,
    ) -> Result<(), EngineError>;
    /// `out = softmax(scale q k^T) v` per head over the positions that are visible to each row; `sinks` are further scores of each
    /// head, `[heads]`, that take part in the softmax and have no value.
    fn attend(
        &mut self,
        q: &Self::Rows,
        cache: &Self::Cache,
        attention: &Attention,
        sinks: Option<&Self::Vector>,
        position: usize,
        out: &mut Self::Rows,
    ) -> Result<(), EngineError>;
    /// A part of each head of `x` `[rows, heads * width]`, head by head: `[heads, rows, taken]`.
    fn split_heads(&mut self, x: &Self::Rows, part: HeadPart, out: &mut Self::Rows) -> Result<(), EngineError>;
    /// `[rows, heads * width]` of parts `[heads, rows, their width]`, which follow each other in each head.
    fn join_heads(&mut self, parts: &[&Self::Rows], heads: usize, out: &mut Self::Rows) -> Result<(), EngineError>;
    /// Stores the rows of latent attention from `position` on.
    fn store_latent(&mut self, cache: &mut Self::Cache, rows: &Self::Rows, position: usize) -> Result<(), EngineError>;
    /// `out = softmax(scale q c^T) c[..rank]` per head over the positions that are visible to each row; `c` are the rows of the cache, `q`
    /// is `[rows, heads * their width]`, `out` `[rows, heads * rank]`.
    fn attend_latent(
        &mut self,
        q: &Self::Rows,
        cache: &Self::Cache,
        attention: &LatentAttention,
        position: usize,
        out: &mut Self::Rows,
    ) -> Result<(), EngineError>;
    /// `x += y`
    fn add(&mut self, x: &mut Self::Rows, y: &Self::Rows) -> Result<(), EngineError>;
    /// `gate = activation(gate) * up`, or as the activation combines them
    fn activate(&mut self, activation: Activation, gate: &mut Self::Rows, up: &Self::Rows) -> Result<(), EngineError>;
    /// `out[p] = x[input of p] weight[expert of p]^T (+ bias)` for each pair `p` of a token and an expert.
    fn expert_linear(
        &mut self,
        x: &mut Self::Rows,
        input: PairInput,
        experts: &[Linear<Self>],
        routing: &Routing,
        out: &mut Self::Rows,
    ) -> Result<(), EngineError>;
    /// `out[t] = sum over the pairs p of token t of weight[p] x[p]`
    fn sum_experts(&mut self, x: &Self::Rows, routing: &Routing, out: &mut Self::Rows) -> Result<(), EngineError>;
    /// Multiplies each row of `x` by `sigmoid(h gate)`, `h` being the same row of another buffer and `gate` as wide as it.
    fn scale_by_gate(&mut self, x: &mut Self::Rows, h: &Self::Rows, gate: &Self::Vector) -> Result<(), EngineError>;
    /// Makes a state zeros.
    fn clear(&mut self, state: &mut Self::State) -> Result<(), EngineError>;
    /// `window` is the rows of the state and those of `x` after them; its last rows become the state.
    fn extend(&mut self, x: &Self::Rows, state: &mut Self::State, window: &mut Self::Rows) -> Result<(), EngineError>;
    /// `out[t][c] = sum over k of kernel[k][c] window[t + k][c]`
    fn convolve(&mut self, window: &Self::Rows, kernel: &Self::Kernel, out: &mut Self::Rows)
    -> Result<(), EngineError>;
    /// The product of two parts of each row of `x`, which consists of parts of this width.
    fn multiply_parts(
        &mut self,
        x: &Self::Rows,
        parts: [usize; 2],
        width: usize,
        out: &mut Self::Rows,
    ) -> Result<(), EngineError>;
    /// Multiplies each row of `out` by a part of the row of `x`, which consists of parts as wide as `out`.
    fn multiply_by_part(&mut self, out: &mut Self::Rows, x: &Self::Rows, part: usize) -> Result<(), EngineError>;
    /// `x = silu(x)`
    fn silu(&mut self, x: &mut Self::Rows) -> Result<(), EngineError>;
    /// `x = sigmoid(x)`
    fn sigmoid(&mut self, x: &mut Self::Rows) -> Result<(), EngineError>;
    /// `x = exp(a softplus(x))` per row; `a` is as wide as a row.
    fn decay(&mut self, x: &mut Self::Rows, a: &Self::Vector) -> Result<(), EngineError>;
    /// The outputs `[rows, value_heads * head_dim]` of the delta rule, which changes `state` `[value_heads * head_dim, head_dim]`.
    fn delta_rule(
        &mut self,
        net: &GatedDeltaNet,
        inputs: Delta<'_, Self>,
        state: &mut Self::State,
        out: &mut Self::Rows,
    ) -> Result<(), EngineError>;
    /// `first` and `second` are the halves of each part of the rows of `x` that is `2 width` wide.
    fn split_pairs(
        &mut self,
        x: &Self::Rows,
        width: usize,
        first: &mut Self::Rows,
        second: &mut Self::Rows,
    ) -> Result<(), EngineError>;
    /// `x *= sigmoid(gate)`
    fn multiply_by_sigmoid(&mut self, x: &mut Self::Rows, gate: &Self::Rows) -> Result<(), EngineError>;
    /// `out[0] = x[last]`
    fn last(&mut self, x: &Self::Rows, out: &mut Self::Rows) -> Result<(), EngineError>;
    /// Waits until the device is done.
    fn sync(&mut self) -> Result<(), EngineError>;
    /// Called before the first operation of a request whose marks are recorded.
    fn prepare_recording(&mut self) {}
}

/// What the delta rule reads.
pub(super) struct Delta<'a, M: Memory + ?Sized> {
    /// Queries, keys and values `[rows, channels]`, which it may normalise in place.
    pub(super) qkv: &'a mut M::Rows,
    /// `[rows, value_heads]`
    pub(super) decays: &'a M::Rows,
    /// `[rows, value_heads]`
    pub(super) rates: &'a M::Rows,
    /// Added to the squared length of a query or a key.
    pub(super) epsilon: f32,
}

/// Elements of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadPart {
    /// Width of the head.
    pub(super) width: usize,
    /// The first of them.
    pub(super) first: usize,
    /// Their number.
    pub(super) taken: usize,
}

impl HeadPart {
    /// All elements.
    pub(super) const fn whole(width: usize) -> Self {
        Self { width, first: 0, taken: width }
    }
}

/// What a pair of a token and an expert reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairInput {
    /// The row of its token.
    Tokens,
    /// Its own row.
    Pairs,
}

/// A weight with its optional bias.
pub(super) struct Linear<M: Memory + ?Sized> {
    /// `[outputs, inputs]`
    pub(super) weight: M::Weight,
    /// `[outputs]`
    pub(super) bias: Option<M::Vector>,
}
