//! The decoder's kernels on the CPU: weights in the mapped file, activations in reused buffers, all threads of candle's pool.

mod activation_row;
mod activations;
mod attention;
mod cache;
mod convolution;
mod delta_rule;
mod element;
mod elementwise;
mod experts;
mod formats;
mod latent;
mod matmul;
mod panel;
mod pool;
mod product;
mod row_products;
mod rows;
mod simd;
mod tiles;
mod vector;
mod weight;

use std::borrow::Cow;

use models::{Activation, Attention, GatedDeltaNet, LatentAttention, Rope, Temperature, TensorView};

use self::attention::Shape;
use self::cache::{Cache, CacheFormat};
use self::convolution::State;
use self::elementwise::Rotation;
use self::rows::Rows;
use self::simd::{Scalar, with_floats, with_simd};
use super::failed;
use super::kernels::{Delta, HeadPart, Kernels, Linear, Memory, PairInput};
use super::routing::Routing;
use crate::{EngineError, KvType, LoadOptions};

pub(super) use self::pool::threads;
pub(super) use self::simd::Level;
pub(super) use self::weight::Weight;

/// The types of a KV cache.
pub(super) const KV_TYPES: [(KvType, CacheFormat); 3] =
    [(KvType::F16, CacheFormat::F16), (KvType::F32, CacheFormat::F32), (KvType::Q8_0, CacheFormat::Q8_0)];

/// Kernels and their state between calls.
pub(super) struct Cpu {
    /// Maximum number of rows in a pass.
    batch: usize,
    /// Capacity of the context in tokens.
    context: usize,
    format: CacheFormat,
    level: Level,
    /// Scores of a decode step's attention, and outputs of a delta rule.
    scores: Vec<f32>,
}

impl Cpu {
    /// Kernels for at most `batch` rows per pass, with a KV cache of this format and instructions of this processor.
    pub(super) fn new(options: &LoadOptions, batch: usize, format: CacheFormat, level: Level) -> Self {
        Self { batch, context: options.context, format, level, scores: Vec::new() }
    }

    /// Refuses rows of a cache that blocks do not divide.
    fn check_blocks(&self, width: usize) -> Result<(), EngineError> {
        if self.format == CacheFormat::Q8_0 && !width.is_multiple_of(cache::BLOCK) {
            let what = format!("a KV cache of type q8_0 with heads of width {width}");
            let advice = format!("take f16 or f32: the width is no multiple of {}, the size of a block", cache::BLOCK);
            return Err(EngineError::unsupported(super::NAME, what, advice));
        }
        Ok(())
    }
}

impl Memory for Cpu {
    type Weight = Weight;
    type Vector = Vec<f32>;
    type Rows = Rows;
    type Cache = Cache;
    type Rotation = Rotation;
    type Kernel = Vec<f32>;
    type State = State;

    fn weight(&self, view: &TensorView<'_>) -> Result<Weight, EngineError> {
        Weight::new(view)
    }

    fn ones(&self, length: usize) -> Result<Vec<f32>, EngineError> {
        Ok(vec![1.0; length])
    }

    fn vector(&self, view: &TensorView<'_>, change: &dyn Fn(f32) -> f32) -> Result<Vec<f32>, EngineError> {
        let weight = Weight::new(view)?;
        let mut vector = vec![0.0; weight.columns];
        weight.row(0, &mut vector);
        vector.iter_mut().for_each(|element| *element = change(*element));
        Ok(vector)
    }

    fn kernel(&self, view: &TensorView<'_>) -> Result<Vec<f32>, EngineError> {
        let weight = Weight::new(view)?;
        let (channels, taps) = weight.shape();
        let (mut kernel, mut of_channel) = (vec![0.0; taps * channels], vec![0.0; taps]);
        for channel in 0..channels {
            weight.row(channel, &mut of_channel);
            for (tap, weight) in of_channel.iter().enumerate() {
                kernel[tap * channels + channel] = *weight;
            }
        }
        Ok(kernel)
    }

    fn rows(&self, width: usize) -> Result<Rows, EngineError> {
        Ok(Rows::new(self.batch, width))
    }

    fn pair_rows(&self, used: usize, width: usize) -> Result<Rows, EngineError> {
        Ok(Rows::new(self.batch * used, width))
    }

    fn window_rows(&self, before: usize, width: usize) -> Result<Rows, EngineError> {
        Ok(Rows::new(before + self.batch, width))
    }

    fn state(&self, rows: usize, width: usize) -> Result<State, EngineError> {
        Ok(State(vec![0.0; rows * width]))
    }

    fn cache(&self, attention: &Attention) -> Result<Cache, EngineError> {
        let &Attention { kv_heads, head_dim, .. } = attention;
        self.check_blocks(head_dim)?;
        let capacity = attention.cache_capacity(self.context, self.batch);
        Ok(Cache::new(self.format, kv_heads, capacity, head_dim))
    }

    fn latent_cache(&self, attention: &LatentAttention) -> Result<Cache, EngineError> {
        let width = attention.cache_width();
        self.check_blocks(width)?;
        Ok(Cache::latent(self.format, self.context, width))
    }

    fn rotation(&self, rope: &Rope, part: HeadPart) -> Result<Rotation, EngineError> {
        Ok(Rotation::new(rope, part, self.context))
    }

    fn read<'a>(&self, rows: &'a Rows) -> Result<Cow<'a, [f32]>, EngineError> {
        Ok(Cow::Borrowed(rows.read()))
    }
}

impl Kernels for Cpu {
    fn embed(&mut self, table: &Weight, ids: &[u32], out: &mut Rows) -> Result<(), EngineError> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= table.rows) {
            return Err(failed("embed", format!("token {id} is not in the vocabulary of {}", table.rows)));
        }
        let width = out.width();
        let cost = ids.len() * width;
        pool::each_part::<Scalar, _>(out.resize(ids.len()), width, cost, |row, out| table.row(ids[row] as usize, out));
        Ok(())
    }

    fn norm(&mut self, x: &Rows, weight: &Vec<f32>, epsilon: f32, out: &mut Rows) -> Result<(), EngineError> {
        with_floats!(self.level, S => elementwise::rms_norm::<S>(x.read(), weight, epsilon, out.resize(x.count())));
        Ok(())
    }

    fn norm_heads(&mut self, x: &mut Rows, weight: &Vec<f32>, epsilon: f32) -> Result<(), EngineError> {
        with_floats!(self.level, S => elementwise::rms_norm_in_place::<S>(x.write(), weight, epsilon));
        Ok(())
    }

    fn norm_start(&mut self, x: &mut Rows, weight: &Vec<f32>, epsilon: f32) -> Result<(), EngineError> {
        let width = x.width();
        with_floats!(self.level, S => elementwise::rms_norm_of_starts::<S>(x.write(), width, weight, epsilon));
        Ok(())
    }

    fn scale(&mut self, x: &mut Rows, factor: f32) -> Result<(), EngineError> {
        with_floats!(self.level, S => elementwise::scale::<S>(x.write(), factor));
        Ok(())
    }

    fn cap(&mut self, x: &mut Rows, cap: f32) -> Result<(), EngineError> {
        with_floats!(self.level, S => elementwise::cap::<S>(x.write(), cap));
        Ok(())
    }

    fn scale_by_position(
        &mut self,
        x: &mut Rows,
        temperature: Temperature,
        position: usize,
    ) -> Result<(), EngineError> {
        let width = x.width();
        for (row, x) in x.write().chunks_exact_mut(width).enumerate() {
            with_floats!(self.level, S => elementwise::scale::<S>(x, temperature.factor(position + row)));
        }
        Ok(())
    }

    fn linear(&mut self, x: &mut Rows, linear: &Linear<Self>, out: &mut Rows) -> Result<(), EngineError> {
        with_simd!(self.level, S => matmul::matmul::<S>(x, &linear.weight, out));
        if let Some(bias) = &linear.bias {
            with_floats!(self.level, S => elementwise::add_bias::<S>(out.write(), bias));
        }
        Ok(())
    }

    fn rope(&mut self, x: &mut Rows, rotation: &mut Rotation, position: usize) -> Result<(), EngineError> {
        let width = x.width();
        with_floats!(self.level, S => rotation.rotate::<S>(x.write(), width, position));
        Ok(())
    }

    fn store(&mut self, cache: &mut Cache, keys: &Rows, values: &Rows, position: usize) -> Result<(), EngineError> {
        cache.write(keys.read(), values.read(), position);
        Ok(())
    }

    fn attend(
        &mut self,
        q: &Rows,
        cache: &Cache,
        attention: &Attention,
        sinks: Option<&Vec<f32>>,
        position: usize,
        out: &mut Rows,
    ) -> Result<(), EngineError> {
        let shape = Shape::new(attention);
        let sinks = sinks.map(Vec::as_slice);
        with_floats!(self.level, S => attention::attend::<S>(q.read(), cache, position, shape, sinks, &mut self.scores, out.resize(q.count())));
        Ok(())
    }

    fn split_heads(&mut self, x: &Rows, part: HeadPart, out: &mut Rows) -> Result<(), EngineError> {
        let heads = x.width() / part.width;
        with_floats!(self.level, S => latent::split_heads::<S>(x.read(), heads, part, out.resize(heads * x.count())));
        Ok(())
    }

    fn join_heads(&mut self, parts: &[&Rows], heads: usize, out: &mut Rows) -> Result<(), EngineError> {
        let rows = parts.first().map_or(0, |part| part.count()) / heads;
        let parts: Vec<&[f32]> = parts.iter().map(|part| part.read()).collect();
        with_floats!(self.level, S => latent::join_heads::<S>(&parts, heads, rows, out.resize(rows)));
        Ok(())
    }

    fn store_latent(&mut self, cache: &mut Cache, rows: &Rows, position: usize) -> Result<(), EngineError> {
        cache.write_latent(rows.read(), position);
        Ok(())
    }

    fn attend_latent(
        &mut self,
        q: &Rows,
        cache: &Cache,
        attention: &LatentAttention,
        position: usize,
        out: &mut Rows,
    ) -> Result<(), EngineError> {
        let shape = latent::Shape::new(attention);
        with_floats!(self.level, S => latent::attend::<S>(q.read(), cache, position, shape, &mut self.scores, out.resize(q.count())));
        Ok(())
    }

    fn add(&mut self, x: &mut Rows, y: &Rows) -> Result<(), EngineError> {
        with_floats!(self.level, S => elementwise::add::<S>(x.write(), y.read()));
        Ok(())
    }

    fn activate(&mut self, activation: Activation, gate: &mut Rows, up: &Rows) -> Result<(), EngineError> {
        match activation {
            Activation::Silu => with_floats!(self.level, S => elementwise::silu_mul::<S>(gate.write(), up.read())),
            Activation::GeluTanh => with_floats!(self.level, S => elementwise::gelu_mul::<S>(gate.write(), up.read())),
            Activation::ClampedSwiglu => {
                with_floats!(self.level, S => elementwise::clamped_swiglu::<S>(gate.write(), up.read()));
            }
        }
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
        with_simd!(self.level, S => experts::products::<S>(x, input, experts, routing, out))
    }

    fn sum_experts(&mut self, x: &Rows, routing: &Routing, out: &mut Rows) -> Result<(), EngineError> {
        let tokens = routing.tokens().len() / routing.used();
        with_floats!(self.level, S => experts::sum::<S>(x.read(), routing, x.width(), out.resize(tokens)));
        Ok(())
    }

    fn scale_by_gate(&mut self, x: &mut Rows, h: &Rows, gate: &Vec<f32>) -> Result<(), EngineError> {
        let width = x.width();
        for (x, h) in x.write().chunks_exact_mut(width).zip(h.read().chunks_exact(gate.len())) {
            with_floats!(self.level, S => elementwise::scale::<S>(x, 1.0 / (1.0 + (-vector::dot::<S>(h, gate)).exp())));
        }
        Ok(())
    }

    fn clear(&mut self, State(state): &mut State) -> Result<(), EngineError> {
        state.fill(0.0);
        Ok(())
    }

    fn extend(&mut self, x: &Rows, State(state): &mut State, window: &mut Rows) -> Result<(), EngineError> {
        let before = state.len() / x.width();
        convolution::extend(x.read(), state, window.resize(before + x.count()));
        Ok(())
    }

    fn convolve(&mut self, window: &Rows, kernel: &Vec<f32>, out: &mut Rows) -> Result<(), EngineError> {
        let channels = window.width();
        let rows = window.count() + 1 - kernel.len() / channels;
        with_floats!(self.level, S => convolution::convolve::<S>(window.read(), kernel, channels, out.resize(rows)));
        Ok(())
    }

    fn multiply_parts(&mut self, x: &Rows, parts: [usize; 2], width: usize, out: &mut Rows) -> Result<(), EngineError> {
        with_floats!(self.level, S => convolution::multiply_parts::<S>(x.read(), x.width(), parts, width, out.resize(x.count())));
        Ok(())
    }

    fn multiply_by_part(&mut self, out: &mut Rows, x: &Rows, part: usize) -> Result<(), EngineError> {
        let width = out.width();
        with_floats!(self.level, S => convolution::multiply_by_part::<S>(out.write(), x.read(), x.width(), part, width));
        Ok(())
    }

    fn silu(&mut self, x: &mut Rows) -> Result<(), EngineError> {
        with_floats!(self.level, S => elementwise::silu::<S>(x.write()));
        Ok(())
    }

    fn sigmoid(&mut self, x: &mut Rows) -> Result<(), EngineError> {
        x.write().iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp()));
        Ok(())
    }

    fn decay(&mut self, x: &mut Rows, a: &Vec<f32>) -> Result<(), EngineError> {
        delta_rule::decay(x.write(), a);
        Ok(())
    }

    fn delta_rule(
        &mut self,
        net: &GatedDeltaNet,
        inputs: Delta<'_, Self>,
        State(states): &mut State,
        out: &mut Rows,
    ) -> Result<(), EngineError> {
        let Delta { qkv, decays, rates, epsilon } = inputs;
        with_floats!(self.level, S => delta_rule::normalise::<S>(qkv.write(), net, epsilon));
        let factors = (decays.read(), rates.read());
        with_floats!(self.level, S => delta_rule::run::<S>(net, qkv.read(), factors, states, &mut self.scores, out.resize(qkv.count())));
        Ok(())
    }

    fn split_pairs(&mut self, x: &Rows, width: usize, first: &mut Rows, second: &mut Rows) -> Result<(), EngineError> {
        let rows = x.count();
        let halves = first.resize(rows).chunks_exact_mut(width).zip(second.resize(rows).chunks_exact_mut(width));
        for (pair, (first, second)) in x.read().chunks_exact(2 * width).zip(halves) {
            first.copy_from_slice(&pair[..width]);
            second.copy_from_slice(&pair[width..]);
        }
        Ok(())
    }

    fn multiply_by_sigmoid(&mut self, x: &mut Rows, gate: &Rows) -> Result<(), EngineError> {
        with_floats!(self.level, S => elementwise::sigmoid_mul::<S>(x.write(), gate.read()));
        Ok(())
    }

    fn last(&mut self, x: &Rows, out: &mut Rows) -> Result<(), EngineError> {
        let width = x.width();
        let last = x.read().chunks_exact(width).next_back().ok_or(EngineError::EmptyPrompt)?;
        out.resize(1).copy_from_slice(last);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        Ok(()) // every operation is complete when its call returns
    }

    fn prepare_recording(&mut self) {
        pool::prepare_recording();
    }
}
