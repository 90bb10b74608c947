//! The short convolution of a layer, with its state.

use models::{Mixer, ShortConvolution, Spec};
use traces::op;

use super::NAME;
use super::kernels::{Kernels, Linear, Memory};
use super::recurrent::Recurrent;
use super::source::Source;
use super::stream::{Place, Stream};
use crate::EngineError;

/// The parts of the first projection.
const INPUT_GATE: usize = 0;
const OUTPUT_GATE: usize = 1;
const INPUT: usize = 2;

/// The weights of a short convolution in one layer, and its state.
pub(super) struct ShortConvolutionPart<K: Kernels> {
    convolution: ShortConvolution,
    in_proj: Linear<K>,  // [3 * channels, hidden]
    kernel: K::Kernel,   // [kernel, channels]
    out_proj: Linear<K>, // [hidden, channels]
    /// The last inputs, `[kernel - 1, channels]`.
    state: Recurrent<K>,
}

/// Buffers of short convolutions, shared by all layers.
pub(super) struct ShortConvolutionBuffers<M: Memory> {
    parts: M::Rows,  // [rows, 3 * channels]
    inputs: M::Rows, // [rows, channels]
    window: M::Rows, // [kernel - 1 + rows, channels]
    output: M::Rows, // [rows, channels]
}

impl<K: Kernels> ShortConvolutionPart<K> {
    /// Takes the weights of layer `at` and reserves its state.
    pub(super) fn load(source: &Source<'_, K>, at: usize, convolution: ShortConvolution) -> Result<Self, EngineError> {
        let ShortConvolution { channels, kernel } = convolution;
        let hidden = source.spec()?.hidden;
        let name = |part: &str| format!("blk.{at}.shortconv.{part}");
        Ok(Self {
            convolution,
            in_proj: source.linear(&name("in_proj"), 3 * channels, hidden, false)?,
            kernel: source.kernel(&name("conv.weight"), channels, kernel)?,
            out_proj: source.linear(&name("out_proj"), hidden, channels, false)?,
            state: Recurrent::new(source.kernels, kernel.saturating_sub(1), channels)?,
        })
    }

    /// The output of the convolution of `s.h`, in `s.h`.
    pub(super) fn run(
        &mut self,
        kernels: &mut K,
        place: Place,
        s: &mut Stream<K>,
        b: &mut ShortConvolutionBuffers<K>,
    ) -> Result<(), EngineError> {
        let Place { at, rows, hidden, .. } = place;
        let channels = self.convolution.channels;
        {
            let _op = op!("conv_in_proj", at, [rows, hidden, 3 * channels]);
            kernels.linear(&mut s.h, &self.in_proj, &mut b.parts)?;
        }
        {
            let _op = op!("state_update", at, [rows, channels]);
            kernels.multiply_parts(&b.parts, [INPUT_GATE, INPUT], channels, &mut b.inputs)?;
            let state = self.state.before(kernels, place)?;
            kernels.extend(&b.inputs, state, &mut b.window)?;
        }
        {
            let _op = op!("convolution", at, [rows, channels]);
            kernels.convolve(&b.window, &self.kernel, &mut b.output)?;
            kernels.multiply_by_part(&mut b.output, &b.parts, OUTPUT_GATE)?;
        }
        let _op = op!("conv_out_proj", at, [rows, channels, hidden]);
        kernels.linear(&mut b.output, &self.out_proj, &mut s.h)
    }
}

impl<M: Memory> ShortConvolutionBuffers<M> {
    /// Buffers for the convolutions of all layers; `None` of a model without them.
    pub(super) fn new(memory: &M, spec: &Spec) -> Result<Option<Self>, EngineError> {
        let of_layers = || {
            spec.layers.iter().enumerate().filter_map(|(at, layer)| match &layer.mixer {
                Mixer::ShortConvolution(convolution) => Some((at, *convolution)),
                Mixer::Attention(_) | Mixer::LatentAttention(_) | Mixer::GatedDeltaNet(_) => None,
            })
        };
        let Some((first, convolution)) = of_layers().next() else { return Ok(None) };
        // Buffers are shared by all layers.
        if let Some((other, _)) = of_layers().find(|(_, other)| *other != convolution) {
            let what = format!("short convolutions of different widths (layer {other} differs from layer {first})");
            return Err(EngineError::unsupported(NAME, what, "use another engine, such as llama-cpp"));
        }
        let ShortConvolution { channels, kernel } = convolution;
        Ok(Some(Self {
            parts: memory.rows(3 * channels)?,
            inputs: memory.rows(channels)?,
            window: memory.window_rows(kernel.saturating_sub(1), channels)?,
            output: memory.rows(channels)?,
        }))
    }
}
