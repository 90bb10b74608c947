//! The inputs that the layers of a model have of their own: rows of a second table of embeddings, and a projection of the embedding.
//! See [`models::Spec::per_layer_width`].

use models::Activation;
use traces::op;
use traces::record::NO_LAYER;

use super::kernels::{HeadPart, Kernels, Linear};
use super::source::Source;
use super::stream::{Place, Stream};
use crate::EngineError;

/// What the inputs of all layers are computed from, and the inputs of a pass.
pub(super) struct LayerInputs<K: Kernels> {
    /// Width of the input of a layer.
    width: usize,
    table: K::Weight,      // [vocab, layers * width]
    projection: Linear<K>, // [layers * width, hidden]
    norm: K::Vector,       // [width]
    embedded: K::Rows,     // [rows, layers * width]
    inputs: K::Rows,       // [rows, layers * width]
    part: K::Rows,         // [rows, width]: the input of one layer
    gate: K::Rows,         // [rows, width]
}

/// The weights of one layer for its input.
pub(super) struct LayerInputPart<K: Kernels> {
    gate: Linear<K>,       // [width, hidden]
    projection: Linear<K>, // [hidden, width]
    norm: K::Vector,       // [hidden]
}

impl<K: Kernels> LayerInputs<K> {
    /// `None` of a model whose layers have no input of their own.
    pub(super) fn load(source: &Source<'_, K>) -> Result<Option<Self>, EngineError> {
        let spec = source.spec()?;
        let Some(width) = spec.per_layer_width else { return Ok(None) };
        let (all, rows) = (spec.per_layer_inputs(), |width| source.kernels.rows(width));
        Ok(Some(Self {
            width,
            table: source.table("per_layer_token_embd.weight", spec.vocab, all)?,
            projection: source.linear("per_layer_model_proj", all, spec.hidden, false)?,
            norm: source.norm("per_layer_proj_norm.weight", width)?,
            embedded: rows(all)?,
            inputs: rows(all)?,
            part: rows(width)?,
            gate: rows(width)?,
        }))
    }

    /// Computes the inputs of all layers from the scaled embeddings `x`.
    #[allow(clippy::cast_precision_loss, reason = "a width is far below 2^24")]
    pub(super) fn compute(
        &mut self,
        kernels: &mut K,
        tokens: &[u32],
        layers: usize,
        Place { rows, hidden, epsilon, .. }: Place,
        x: &mut K::Rows,
    ) -> Result<(), EngineError> {
        let all = layers * self.width;
        {
            let _op = op!("per_layer_embed", NO_LAYER, [rows, all]);
            kernels.embed(&self.table, tokens, &mut self.embedded)?;
            kernels.scale(&mut self.embedded, (self.width as f32).sqrt())?;
        }
        {
            let _op = op!("per_layer_model_proj", NO_LAYER, [rows, hidden, all]);
            kernels.linear(x, &self.projection, &mut self.inputs)?;
        }
        let _op = op!("per_layer_inputs", NO_LAYER, [rows, all]);
        kernels.scale(&mut self.inputs, 1.0 / (hidden as f32).sqrt())?;
        kernels.norm_heads(&mut self.inputs, &self.norm, epsilon)?;
        kernels.add(&mut self.inputs, &self.embedded)?;
        kernels.scale(&mut self.inputs, std::f32::consts::FRAC_1_SQRT_2)
    }
}

impl<K: Kernels> LayerInputPart<K> {
    /// Takes the weights of layer `at`; `None` of a model whose layers have no input of their own.
    pub(super) fn load(source: &Source<'_, K>, at: usize) -> Result<Option<Self>, EngineError> {
        let spec = source.spec()?;
        let Some(width) = spec.per_layer_width else { return Ok(None) };
        let name = |part: &str| format!("blk.{at}.{part}");
        Ok(Some(Self {
            gate: source.linear(&name("inp_gate"), width, spec.hidden, false)?,
            projection: source.linear(&name("proj"), spec.hidden, width, false)?,
            norm: source.norm(&name("post_norm.weight"), spec.hidden)?,
        }))
    }

    /// Adds the input of the layer, gated by the residual stream, to it.
    pub(super) fn run(
        &self,
        kernels: &mut K,
        Place { at, rows, hidden, epsilon, .. }: Place,
        layers: usize,
        s: &mut Stream<K>,
        LayerInputs { width, inputs, part, gate, .. }: &mut LayerInputs<K>,
    ) -> Result<(), EngineError> {
        let width = *width;
        {
            let _op = op!("per_layer_gate", at, [rows, hidden, width]);
            kernels.linear(&mut s.x, &self.gate, gate)?;
        }
        {
            let _op = op!("per_layer_mul", at, [rows, width]);
            kernels.split_heads(inputs, HeadPart { width: layers * width, first: at * width, taken: width }, part)?;
            kernels.activate(Activation::GeluTanh, gate, part)?;
        }
        {
            let _op = op!("per_layer_proj", at, [rows, width, hidden]);
            kernels.linear(gate, &self.projection, &mut s.h)?;
        }
        {
            let _op = op!("per_layer_norm", at, [rows, hidden]);
            kernels.norm(&s.h, &self.norm, epsilon, &mut s.normed)?;
        }
        let _op = op!("per_layer_residual", at, [rows, hidden]);
        kernels.add(&mut s.x, &s.normed)
    }
}
