//! The decoder's kernels on the CPU: weights in the mapped file, activations in reused buffers, all threads of candle's pool.

mod attention;
mod cache;
#[cfg(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"))]
mod dots;
mod element;
mod elementwise;
mod lanes;
mod matmul;
mod pool;
mod product;
#[cfg(all(target_arch = "x86_64", target_feature = "avx2", target_feature = "fma"))]
mod q8;
mod rows;
mod vector;
mod weight;

use std::borrow::Cow;

use models::{Spec, TensorView};

use self::attention::Shape;
use self::cache::Cache;
use self::elementwise::Angles;
use self::rows::Rows;
use super::failed;
use super::kernels::{Kernels, Linear, Memory};
use crate::{EngineError, KvBytes, KvType, LoadOptions};

pub(super) use self::pool::threads;
pub(super) use self::weight::Weight;

/// Kernels and their state between calls.
pub(super) struct Cpu {
    /// Maximum number of rows in a pass.
    batch: usize,
    /// Capacity of each layer's cache in positions.
    capacity: usize,
    kv_type: KvType,
    shape: Shape,
    head_dim: usize,
    angles: Angles,
    /// Scores of a decode step's attention.
    scores: Vec<f32>,
}

impl Cpu {
    /// Kernels for this model, for at most `batch` rows per pass.
    pub(super) fn new(spec: &Spec, options: &LoadOptions, batch: usize) -> Self {
        // Positions before the window are never read again, so a ring for the window and one batch is sufficient.
        let capacity = spec.window.map_or(options.context, |window| options.context.min(window + batch - 1));
        Self {
            batch,
            capacity,
            kv_type: options.kv_type,
            shape: Shape { heads: spec.heads, kv_heads: spec.kv_heads, window: spec.window },
            head_dim: spec.head_dim,
            angles: Angles::new(spec),
            scores: Vec::new(),
        }
    }
}

impl Memory for Cpu {
    type Weight = Weight;
    type Vector = Vec<f32>;
    type Rows = Rows;
    type Cache = Cache;

    fn weight(&self, view: &TensorView<'_>) -> Result<Weight, EngineError> {
        Weight::new(view)
    }

    fn vector(&self, view: &TensorView<'_>) -> Result<Vec<f32>, EngineError> {
        let weight = Weight::new(view)?;
        let mut vector = vec![0.0; weight.columns];
        weight.row(0, &mut vector);
        Ok(vector)
    }

    fn rows(&self, width: usize) -> Result<Rows, EngineError> {
        Ok(Rows::new(self.batch, width))
    }

    fn cache(&self, spec: &Spec) -> Result<Cache, EngineError> {
        Ok(Cache::new(self.kv_type, spec.kv_heads, self.capacity, spec.head_dim))
    }

    fn kv_bytes(&self, spec: &Spec, tokens: usize) -> KvBytes {
        let per_token = 2 * spec.layers * spec.kv_width() * self.kv_type.bytes();
        KvBytes { used: (tokens.min(self.capacity) * per_token) as u64, reserved: (self.capacity * per_token) as u64 }
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
        pool::each_part(out.resize(ids.len()), width, cost, |row, out| table.row(ids[row] as usize, out));
        Ok(())
    }

    fn norm(&mut self, x: &Rows, weight: &Vec<f32>, epsilon: f32, out: &mut Rows) -> Result<(), EngineError> {
        elementwise::rms_norm(x.read(), weight, epsilon, out.resize(x.count()));
        Ok(())
    }

    fn linear(&mut self, x: &mut Rows, linear: &Linear<Self>, out: &mut Rows) -> Result<(), EngineError> {
        matmul::matmul(x, &linear.weight, out);
        if let Some(bias) = &linear.bias {
            elementwise::add_bias(out.write(), bias);
        }
        Ok(())
    }

    fn rope(&mut self, x: &mut Rows, position: usize) -> Result<(), EngineError> {
        let width = x.width();
        self.angles.rotate(x.write(), width, self.head_dim, position);
        Ok(())
    }

    fn store(&mut self, cache: &mut Cache, keys: &Rows, values: &Rows, position: usize) -> Result<(), EngineError> {
        cache.write(keys.read(), values.read(), position);
        Ok(())
    }

    fn attend(&mut self, q: &Rows, cache: &Cache, position: usize, out: &mut Rows) -> Result<(), EngineError> {
        attention::attend(q.read(), cache, position, self.shape, &mut self.scores, out.resize(q.count()));
        Ok(())
    }

    fn add(&mut self, x: &mut Rows, y: &Rows) -> Result<(), EngineError> {
        elementwise::add(x.write(), y.read());
        Ok(())
    }

    fn silu_mul(&mut self, gate: &mut Rows, up: &Rows) -> Result<(), EngineError> {
        elementwise::silu_mul(gate.write(), up.read());
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
