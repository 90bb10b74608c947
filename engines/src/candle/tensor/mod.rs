//! The decoder's kernels as candle's tensor operations: for GPUs, and on the CPU for comparison.
//!
//! Weights are uploaded in their file format; activations are f32. Rows of the embedding table are looked up on the host, in the
//! mapped file, so that the device holds the table only if the output projection needs it.

mod attention;
mod convolution;
mod delta_rule;
mod weight;

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use models::{
    Activation, Attention, CLAMP_ALPHA, CLAMP_LIMIT, GatedDeltaNet, LatentAttention, Rope, RopeLayout, Temperature,
    TensorView,
};

use self::attention::{Cache, Mask, Shape};
use self::weight::Weight;
use super::kernels::{Delta, HeadPart, Kernels, Linear, Memory, PairInput};
use super::routing::{Group, Routing};
use super::{NAME, failed};
use crate::{Device, EngineError, KvType, LoadOptions};

/// The types of a KV cache.
pub(super) const KV_TYPES: [(KvType, DType); 2] = [(KvType::F16, DType::F16), (KvType::F32, DType::F32)];

/// Refuses a device that this build cannot open.
pub(super) fn check_device(device: &Device) -> Result<(), EngineError> {
    let advice = match device {
        Device::Cpu => return Ok(()),
        Device::Cuda(_) if cfg!(feature = "cuda") => return Ok(()),
        Device::Metal(_) if cfg!(target_os = "macos") => return Ok(()),
        Device::Cuda(_) => "build with the cargo feature `cuda`",
        Device::Metal(_) => "use cpu or cuda:N: Metal is on macOS only",
        Device::Server | Device::Virtual | Device::Other(_) => "use cpu, cuda:N or metal:N",
    };
    Err(EngineError::unsupported(NAME, format!("the device `{device}`"), advice))
}

/// Opens a device.
pub(super) fn open_device(device: &Device) -> Result<candle_core::Device, EngineError> {
    check_device(device)?;
    match device {
        Device::Cuda(index) => candle_core::Device::new_cuda(*index),
        Device::Metal(index) => candle_core::Device::new_metal(*index),
        _ => Ok(candle_core::Device::Cpu),
    }
    .map_err(|error| failed("device", format!("{device}: {error}")))
}

/// Converts an error of a tensor operation and adds its place.
fn at(place: &'static str) -> impl Fn(candle_core::Error) -> EngineError {
    move |error| failed(place, error.to_string())
}

/// Activations `[rows, width]`; `None` before the first write.
pub(super) struct Rows(Option<Tensor>);

impl Rows {
    fn get(&self) -> Result<&Tensor, EngineError> {
        self.0.as_ref().ok_or(EngineError::OutOfOrder { step: "a read of activations", needs: "prefill" })
    }
}

/// Kernels on one device.
pub(super) struct OnDevice {
    device: candle_core::Device,
    /// Maximum number of rows in a pass.
    batch: usize,
    /// Capacity of the context in tokens.
    context: usize,
    /// Element type of the KV cache.
    kv_type: DType,
    /// By sliding window.
    masks: BTreeMap<Option<usize>, Mask>,
}

/// A rotary embedding.
pub(crate) struct Rotation {
    /// Radians per position, `[dim / 2]`.
    frequencies: Tensor,
    layout: RopeLayout,
    part: HeadPart,
    /// Multiplier of cosines and sines.
    magnitude: f32,
}

impl OnDevice {
    /// Kernels for at most `batch` rows per pass, with a KV cache of this type.
    pub(super) fn new(options: &LoadOptions, batch: usize, device: candle_core::Device, kv_type: DType) -> Self {
        Self { device, batch, context: options.context, kv_type, masks: BTreeMap::new() }
    }

    /// Rotates the heads of `x` `[rows, width]`.
    fn rotated(&self, x: &Tensor, rotation: &Rotation, position: usize) -> candle_core::Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let &Rotation { ref frequencies, layout, part: HeadPart { width: head_dim, first, .. }, magnitude } = rotation;
        let dim = 2 * frequencies.elem_count();
        #[allow(clippy::cast_possible_truncation, reason = "positions are below 2^24")]
        let positions =
            Tensor::arange(position as u32, (position + rows) as u32, &self.device)?.to_dtype(DType::F32)?;
        let angles = positions.reshape((rows, 1))?.broadcast_mul(&frequencies.reshape((1, dim / 2))?)?;
        let factor = f64::from(magnitude);
        let (cos, sin) = ((angles.cos()? * factor)?, (angles.sin()? * factor)?);
        // [1, heads, rows, head_dim]
        let x = x.reshape((1, rows, width / head_dim, head_dim))?.transpose(1, 2)?;
        let rotated_part = x.narrow(3, first, dim)?.contiguous()?;
        let rotated = match layout {
            RopeLayout::Halves => candle_nn::rotary_emb::rope(&rotated_part, &cos, &sin)?,
            RopeLayout::Interleaved => candle_nn::rotary_emb::rope_i(&rotated_part, &cos, &sin)?,
        };
        let end = first + dim;
        let unchanged = |first: usize, count: usize| match count {
            0 => Ok(None),
            count => x.narrow(3, first, count)?.contiguous().map(Some),
        };
        let parts = [unchanged(0, first)?, Some(rotated), unchanged(end, head_dim - end)?];
        let all = Tensor::cat(&parts.iter().flatten().collect::<Vec<_>>(), 3)?;
        all.transpose(1, 2)?.contiguous()?.reshape((rows, width))
    }

    /// As [`Kernels::expert_linear`].
    fn products_of_experts(
        &self,
        x: &Tensor,
        input: PairInput,
        experts: &[Linear<Self>],
        routing: &Routing,
    ) -> candle_core::Result<Tensor> {
        let tokens = match input {
            PairInput::Tokens => Some(Tensor::new(routing.tokens(), &self.device)?),
            PairInput::Pairs => None,
        };
        let product = |Group { expert, pairs }: &Group| {
            let rows = match &tokens {
                Some(tokens) => x.index_select(&tokens.narrow(0, pairs.start, pairs.len())?, 0)?,
                None => x.narrow(0, pairs.start, pairs.len())?.contiguous()?,
            };
            let Linear { weight, bias } = &experts[*expert];
            let product = weight.apply(&rows)?;
            match bias {
                Some(bias) => product.broadcast_add(bias),
                None => Ok(product),
            }
        };
        Tensor::cat(&routing.groups().iter().map(product).collect::<Result<Vec<_>, _>>()?, 0)
    }

    /// As [`Kernels::sum_experts`]: the outputs in the order of tokens and ranks, times their weights, summed over the ranks.
    fn sum_of_experts(&self, x: &Tensor, routing: &Routing) -> candle_core::Result<Tensor> {
        let (used, width) = (routing.used(), x.dim(1)?);
        let ranked = x.index_select(&Tensor::new(routing.pairs(), &self.device)?, 0)?.reshape(((), used, width))?;
        let weights = Tensor::new(routing.weights(), &self.device)?.reshape(((), used, 1))?;
        ranked.broadcast_mul(&weights)?.sum(1)
    }

    /// As [`Kernels::norm_heads`].
    fn heads_normed(&self, x: &Tensor, weight: &Tensor, epsilon: f32) -> candle_core::Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let head_dim = weight.elem_count();
        let heads = x.reshape((rows * (width / head_dim), head_dim))?;
        candle_nn::ops::rms_norm(&heads, weight, epsilon)?.reshape((rows, width))
    }
}

impl Memory for OnDevice {
    type Weight = Weight;
    type Vector = Tensor;
    type Rows = Rows;
    type Cache = Cache;
    type Rotation = Rotation;
    type Kernel = Tensor;
    type State = Tensor;

    fn weight(&self, view: &TensorView<'_>) -> Result<Weight, EngineError> {
        Weight::new(view, &self.device)
    }

    fn table(&self, view: &TensorView<'_>) -> Result<Weight, EngineError> {
        Weight::table(view)
    }

    fn ones(&self, length: usize) -> Result<Tensor, EngineError> {
        Tensor::ones(length, DType::F32, &self.device).map_err(at("load"))
    }

    fn vector(&self, view: &TensorView<'_>, change: &dyn Fn(f32) -> f32) -> Result<Tensor, EngineError> {
        weight::vector(view, change, &self.device)
    }

    fn kernel(&self, view: &TensorView<'_>) -> Result<Tensor, EngineError> {
        weight::kernel(view, &self.device)
    }

    fn rows(&self, _width: usize) -> Result<Rows, EngineError> {
        Ok(Rows(None))
    }

    fn pair_rows(&self, _used: usize, _width: usize) -> Result<Rows, EngineError> {
        Ok(Rows(None))
    }

    fn window_rows(&self, _before: usize, _width: usize) -> Result<Rows, EngineError> {
        Ok(Rows(None))
    }

    fn state(&self, rows: usize, width: usize) -> Result<Tensor, EngineError> {
        Tensor::zeros((rows, width), DType::F32, &self.device).map_err(at("load"))
    }

    fn cache(&self, attention: &Attention) -> Result<Cache, EngineError> {
        let capacity = attention.cache_capacity(self.context, self.batch);
        Cache::new(self.kv_type, attention.kv_heads, capacity, attention.head_dim, &self.device).map_err(at("load"))
    }

    fn latent_cache(&self, attention: &LatentAttention) -> Result<Cache, EngineError> {
        Cache::latent(self.kv_type, self.context, attention.cache_width(), &self.device).map_err(at("load"))
    }

    fn rotation(&self, rope: &Rope, part: HeadPart) -> Result<Rotation, EngineError> {
        let frequencies = Tensor::new(rope.inverse_frequencies(self.context), &self.device).map_err(at("load"))?;
        Ok(Rotation { frequencies, layout: rope.layout, part, magnitude: rope.magnitude() })
    }

    /// Metal's own figure (`MTLDevice.currentAllocatedSize`): all memory of this process on the device, including buffers that candle
    /// keeps for reuse. Metal tracks no peak.
    #[cfg(target_os = "macos")]
    fn device_memory(&self) -> Option<crate::DeviceMemory> {
        let metal = self.device.as_metal_device().ok()?;
        let active = u64::try_from(metal.metal_device().current_allocated_size()).ok()?;
        Some(crate::DeviceMemory { active, peak: None, cache: None })
    }

    fn read<'a>(&self, rows: &'a Rows) -> Result<Cow<'a, [f32]>, EngineError> {
        let host = rows.get()?.flatten_all().and_then(|rows| rows.to_vec1());
        Ok(Cow::Owned(host.map_err(at("logits"))?))
    }
}

impl Kernels for OnDevice {
    fn embed(&mut self, table: &Weight, ids: &[u32], out: &mut Rows) -> Result<(), EngineError> {
        *out = Rows(Some(table.lookup(ids, &self.device)?));
        Ok(())
    }

    fn norm(&mut self, x: &Rows, weight: &Tensor, epsilon: f32, out: &mut Rows) -> Result<(), EngineError> {
        *out = Rows(Some(candle_nn::ops::rms_norm(x.get()?, weight, epsilon).map_err(at("norm"))?));
        Ok(())
    }

    fn norm_heads(&mut self, x: &mut Rows, weight: &Tensor, epsilon: f32) -> Result<(), EngineError> {
        *x = Rows(Some(self.heads_normed(x.get()?, weight, epsilon).map_err(at("norm"))?));
        Ok(())
    }

    fn norm_start(&mut self, x: &mut Rows, weight: &Tensor, epsilon: f32) -> Result<(), EngineError> {
        *x = Rows(Some(start_normed(x.get()?, weight, epsilon).map_err(at("norm"))?));
        Ok(())
    }

    fn scale(&mut self, x: &mut Rows, factor: f32) -> Result<(), EngineError> {
        *x = Rows(Some((x.get()? * f64::from(factor)).map_err(at("scale"))?));
        Ok(())
    }

    fn cap(&mut self, x: &mut Rows, cap: f32) -> Result<(), EngineError> {
        let cap = f64::from(cap);
        let capped = (x.get()? / cap).and_then(|x| x.tanh()).and_then(|x| x * cap);
        *x = Rows(Some(capped.map_err(at("logit_cap"))?));
        Ok(())
    }

    fn scale_by_position(
        &mut self,
        x: &mut Rows,
        temperature: Temperature,
        position: usize,
    ) -> Result<(), EngineError> {
        let rows = x.get()?;
        let count = rows.dim(0).map_err(at("scale"))?;
        let factors: Vec<f32> = (position..position + count).map(|position| temperature.factor(position)).collect();
        let factors = Tensor::from_vec(factors, (count, 1), &self.device);
        *x = Rows(Some(factors.and_then(|factors| rows.broadcast_mul(&factors)).map_err(at("scale"))?));
        Ok(())
    }

    fn linear(&mut self, x: &mut Rows, linear: &Linear<Self>, out: &mut Rows) -> Result<(), EngineError> {
        let product = linear.weight.apply(x.get()?);
        let product = match &linear.bias {
            Some(bias) => product.and_then(|product| product.broadcast_add(bias)),
            None => product,
        };
        *out = Rows(Some(product.map_err(at("linear"))?));
        Ok(())
    }

    fn rope(&mut self, x: &mut Rows, rotation: &mut Rotation, position: usize) -> Result<(), EngineError> {
        *x = Rows(Some(self.rotated(x.get()?, rotation, position).map_err(at("rope"))?));
        Ok(())
    }

    fn store(&mut self, cache: &mut Cache, keys: &Rows, values: &Rows, position: usize) -> Result<(), EngineError> {
        cache.store(keys.get()?, values.get()?, position).map_err(at("kv_write"))
    }

    fn attend(
        &mut self,
        q: &Rows,
        cache: &Cache,
        attention: &Attention,
        sinks: Option<&Tensor>,
        position: usize,
        out: &mut Rows,
    ) -> Result<(), EngineError> {
        let (q, window) = (q.get()?, attention.window);
        let mask = self.masks.entry(window).or_default();
        let output = mask
            .for_rows(q, position, window, cache.capacity, &self.device)
            .and_then(|mask| attention::attend(q, cache, position, mask, sinks, Shape::of(attention)));
        *out = Rows(Some(output.map_err(at("attention"))?));
        Ok(())
    }

    fn split_heads(&mut self, x: &Rows, part: HeadPart, out: &mut Rows) -> Result<(), EngineError> {
        *out = Rows(Some(heads_of(x.get()?, part).map_err(at("heads"))?));
        Ok(())
    }

    fn join_heads(&mut self, parts: &[&Rows], heads: usize, out: &mut Rows) -> Result<(), EngineError> {
        let parts = parts.iter().map(|part| part.get()).collect::<Result<Vec<_>, _>>()?;
        *out = Rows(Some(joined_heads(&parts, heads).map_err(at("heads"))?));
        Ok(())
    }

    fn store_latent(&mut self, cache: &mut Cache, rows: &Rows, position: usize) -> Result<(), EngineError> {
        cache.store_keys(rows.get()?, position).map_err(at("kv_write"))
    }

    fn attend_latent(
        &mut self,
        q: &Rows,
        cache: &Cache,
        attention: &LatentAttention,
        position: usize,
        out: &mut Rows,
    ) -> Result<(), EngineError> {
        let q = q.get()?;
        let mask = self.masks.entry(None).or_default();
        let output = mask
            .for_rows(q, position, None, cache.capacity, &self.device)
            .and_then(|mask| attention::attend(q, cache, position, mask, None, Shape::of_latent(attention)));
        *out = Rows(Some(output.map_err(at("attention"))?));
        Ok(())
    }

    fn add(&mut self, x: &mut Rows, y: &Rows) -> Result<(), EngineError> {
        *x = Rows(Some((x.get()? + y.get()?).map_err(at("residual"))?));
        Ok(())
    }

    fn activate(&mut self, activation: Activation, gate: &mut Rows, up: &Rows) -> Result<(), EngineError> {
        let (x, up) = (gate.get()?, up.get()?);
        let activated = match activation {
            Activation::Silu => x.silu().and_then(|x| x * up),
            Activation::GeluTanh => x.gelu().and_then(|x| x * up),
            Activation::ClampedSwiglu => clamped_swiglu(x, up),
        };
        *gate = Rows(Some(activated.map_err(at("activation"))?));
        Ok(())
    }

    fn expert_linear(
        &mut self,
        x: &mut Rows,
        input: PairInput,
        experts: &[Linear<Self>],
        routing: &Routing,
        out: &mut Rows,
    ) -> Result<(), EngineError> {
        *out = Rows(Some(self.products_of_experts(x.get()?, input, experts, routing).map_err(at("experts"))?));
        Ok(())
    }

    fn sum_experts(&mut self, x: &Rows, routing: &Routing, out: &mut Rows) -> Result<(), EngineError> {
        *out = Rows(Some(self.sum_of_experts(x.get()?, routing).map_err(at("experts"))?));
        Ok(())
    }

    fn scale_by_gate(&mut self, x: &mut Rows, h: &Rows, gate: &Tensor) -> Result<(), EngineError> {
        let (rows, h) = (x.get()?, h.get()?);
        let scaled = gate
            .reshape(((), 1))
            .and_then(|gate| candle_nn::ops::sigmoid(&h.matmul(&gate)?))
            .and_then(|factors| rows.broadcast_mul(&factors));
        *x = Rows(Some(scaled.map_err(at("shared expert"))?));
        Ok(())
    }

    fn clear(&mut self, state: &mut Tensor) -> Result<(), EngineError> {
        *state = state.zeros_like().map_err(at("state"))?;
        Ok(())
    }

    fn extend(&mut self, x: &Rows, state: &mut Tensor, window: &mut Rows) -> Result<(), EngineError> {
        let (extended, last) = convolution::extended(x.get()?, state).map_err(at("state"))?;
        (*window, *state) = (Rows(Some(extended)), last);
        Ok(())
    }

    fn convolve(&mut self, window: &Rows, kernel: &Tensor, out: &mut Rows) -> Result<(), EngineError> {
        *out = Rows(Some(convolution::convolved(window.get()?, kernel).map_err(at("convolution"))?));
        Ok(())
    }

    fn multiply_parts(&mut self, x: &Rows, parts: [usize; 2], width: usize, out: &mut Rows) -> Result<(), EngineError> {
        *out = Rows(Some(convolution::product_of_parts(x.get()?, parts, width).map_err(at("convolution"))?));
        Ok(())
    }

    fn multiply_by_part(&mut self, out: &mut Rows, x: &Rows, part: usize) -> Result<(), EngineError> {
        let rows = out.get()?;
        let width = rows.dim(1).map_err(at("convolution"))?;
        let product = x.get()?.narrow(1, part * width, width).and_then(|part| rows * part);
        *out = Rows(Some(product.map_err(at("convolution"))?));
        Ok(())
    }

    fn silu(&mut self, x: &mut Rows) -> Result<(), EngineError> {
        *x = Rows(Some(x.get()?.silu().map_err(at("activation"))?));
        Ok(())
    }

    fn sigmoid(&mut self, x: &mut Rows) -> Result<(), EngineError> {
        *x = Rows(Some(candle_nn::ops::sigmoid(x.get()?).map_err(at("activation"))?));
        Ok(())
    }

    fn decay(&mut self, x: &mut Rows, a: &Tensor) -> Result<(), EngineError> {
        *x = Rows(Some(delta_rule::decays(x.get()?, a).map_err(at("delta rule"))?));
        Ok(())
    }

    fn delta_rule(
        &mut self,
        net: &GatedDeltaNet,
        inputs: Delta<'_, Self>,
        state: &mut Tensor,
        out: &mut Rows,
    ) -> Result<(), EngineError> {
        let factors = (inputs.decays.get()?, inputs.rates.get()?);
        let outputs = delta_rule::run(net, inputs.qkv.get()?, factors, inputs.epsilon, state);
        let (outputs, next) = outputs.map_err(at("delta rule"))?;
        (*out, *state) = (Rows(Some(outputs)), next);
        Ok(())
    }

    fn split_pairs(&mut self, x: &Rows, width: usize, first: &mut Rows, second: &mut Rows) -> Result<(), EngineError> {
        let x = x.get()?;
        let half = |at: usize| {
            let (rows, columns) = x.dims2()?;
            let pairs = x.reshape((rows, columns / (2 * width), 2 * width))?;
            pairs.narrow(2, at * width, width)?.contiguous()?.reshape((rows, columns / 2))
        };
        *first = Rows(Some(half(0).map_err(at("q_proj"))?));
        *second = Rows(Some(half(1).map_err(at("q_proj"))?));
        Ok(())
    }

    fn multiply_by_sigmoid(&mut self, x: &mut Rows, gate: &Rows) -> Result<(), EngineError> {
        let rows = x.get()?;
        let product = candle_nn::ops::sigmoid(gate.get()?).and_then(|gate| rows * gate);
        *x = Rows(Some(product.map_err(at("output gate"))?));
        Ok(())
    }

    fn last(&mut self, x: &Rows, out: &mut Rows) -> Result<(), EngineError> {
        let x = x.get()?;
        let last = x.dim(0).and_then(|rows| x.narrow(0, rows - 1, 1)).and_then(|last| last.contiguous());
        *out = Rows(Some(last.map_err(at("last"))?));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.device.synchronize().map_err(at("sync"))
    }
}

/// As [`Kernels::norm_start`].
fn start_normed(x: &Tensor, weight: &Tensor, epsilon: f32) -> candle_core::Result<Tensor> {
    let (width, start) = (x.dim(1)?, weight.elem_count());
    let normed = candle_nn::ops::rms_norm(&x.narrow(1, 0, start)?.contiguous()?, weight, epsilon)?;
    Tensor::cat(&[&normed, &x.narrow(1, start, width - start)?.contiguous()?], 1)
}

/// As [`Kernels::split_heads`].
fn heads_of(x: &Tensor, HeadPart { width, first, taken }: HeadPart) -> candle_core::Result<Tensor> {
    let (rows, all) = x.dims2()?;
    let heads = all / width;
    let part = x.reshape((rows, heads, width))?.narrow(2, first, taken)?.transpose(0, 1)?;
    part.contiguous()?.reshape((heads * rows, taken))
}

/// As [`Kernels::join_heads`].
fn joined_heads(parts: &[&Tensor], heads: usize) -> candle_core::Result<Tensor> {
    let by_row = |part: &&Tensor| {
        let (all, width) = part.dims2()?;
        part.reshape((heads, all / heads, width))?.transpose(0, 1)?.contiguous()
    };
    let parts = parts.iter().map(by_row).collect::<candle_core::Result<Vec<_>>>()?;
    let joined = Tensor::cat(&parts, 2)?;
    let rows = joined.dim(0)?;
    joined.reshape((rows, ()))
}

/// See [`Activation::ClampedSwiglu`].
fn clamped_swiglu(gate: &Tensor, up: &Tensor) -> candle_core::Result<Tensor> {
    let gate = gate.minimum(CLAMP_LIMIT)?;
    let share = candle_nn::ops::sigmoid(&(&gate * f64::from(CLAMP_ALPHA))?)?;
    gate * share * (up.clamp(-CLAMP_LIMIT, CLAMP_LIMIT)? + 1.0)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_the_build_are_opened_and_others_are_refused() {
        assert!(open_device(&Device::Cpu).is_ok_and(|device| device.is_cpu()));
        for wrong in ["gpu", "cuda:x", "", "server", "virtual"] {
            assert!(matches!(check_device(&wrong.into()), Err(EngineError::Unsupported { .. })), "{wrong}");
        }
    }
}
