//! The cost of an op, and sums of costs.

use crate::op_kind::OpKind;
use crate::units::{Bytes, Flops};

/// The cost of one op in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpCost {
    /// Which op.
    pub kind: OpKind,
    /// The decoder block; `None` for the ops before the first and after the last one.
    pub layer: Option<usize>,
    /// Arithmetic.
    pub flops: Flops,
    /// Weights read, as stored.
    pub weight_bytes: Bytes,
    /// KV cache read and written.
    pub kv_bytes: Bytes,
    /// Recurrent state read and written.
    pub state_bytes: Bytes,
    /// Activations read and written, in f32.
    pub activation_bytes: Bytes,
    /// A matmul: `[tokens, inputs, outputs]`. Attention: `[tokens, positions seen by the last, heads]`. Others: `[tokens, width, 0]`.
    pub shape: [usize; 3],
}

impl OpCost {
    /// All bytes moved.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.streamed_bytes() + self.activation_bytes
    }

    /// Those of weights, KV cache and recurrent state.
    #[must_use]
    pub fn streamed_bytes(&self) -> Bytes {
        self.weight_bytes + self.kv_bytes + self.state_bytes
    }
}

/// Sums over ops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Arithmetic.
    pub flops: Flops,
    /// Weights read.
    pub weight_bytes: Bytes,
    /// KV cache read and written.
    pub kv_bytes: Bytes,
    /// Recurrent state read and written.
    pub state_bytes: Bytes,
    /// Activations read and written.
    pub activation_bytes: Bytes,
}

impl Totals {
    /// All bytes moved.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.streamed_bytes() + self.activation_bytes
    }

    /// Those of weights, KV cache and recurrent state.
    #[must_use]
    pub fn streamed_bytes(&self) -> Bytes {
        self.weight_bytes + self.kv_bytes + self.state_bytes
    }

    /// Arithmetic intensity in FLOP per byte: `flops / bytes` (Williams et al., the roofline model, CACM 52(4), 2009). `None` if
    /// no byte is moved.
    #[must_use]
    pub fn intensity(&self) -> Option<f64> {
        let bytes = self.bytes().as_f64();
        (bytes > 0.0).then(|| self.flops.as_f64() / bytes)
    }

    fn add(&mut self, op: &OpCost) {
        self.flops += op.flops;
        self.weight_bytes += op.weight_bytes;
        self.kv_bytes += op.kv_bytes;
        self.state_bytes += op.state_bytes;
        self.activation_bytes += op.activation_bytes;
    }
}

/// The sum over all ops.
#[must_use]
pub fn totals(ops: &[OpCost]) -> Totals {
    let mut sum = Totals::default();
    for op in ops {
        sum.add(op);
    }
    sum
}

/// The sum per kind of op that occurs, in the order of the computation.
#[must_use]
pub fn by_kind(ops: &[OpCost]) -> Vec<(OpKind, Totals)> {
    let mut sums = [None; OpKind::ALL.len()];
    for op in ops {
        sums[op.kind as usize].get_or_insert_with(Totals::default).add(op);
    }
    OpKind::ALL.into_iter().zip(sums).filter_map(|(kind, sum)| Some((kind, sum?))).collect()
}

/// The sum per decoder block, without ops outside the blocks.
#[must_use]
pub fn by_layer(ops: &[OpCost]) -> Vec<Totals> {
    let layers = ops.iter().filter_map(|op| op.layer).max().map_or(0, |last| last + 1);
    let mut sums = vec![Totals::default(); layers];
    for op in ops {
        if let Some(sum) = op.layer.and_then(|layer| sums.get_mut(layer)) {
            sum.add(op);
        }
    }
    sums
}
