//! The ops of a decoder, the cost of one, and sums of costs.

use std::fmt;

use crate::units::{Bytes, Flops};

/// One operation of the decoder. Engines mark their ops with these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names describe the ops")]
pub enum OpKind {
    Embed,
    AttnNorm,
    QProj,
    KProj,
    VProj,
    Rope,
    KvWrite,
    Attention,
    OProj,
    AttnResidual,
    FfnNorm,
    GateProj,
    UpProj,
    SiluMul,
    DownProj,
    FfnResidual,
    OutputNorm,
    LmHead,
}

/// Every op with its name, in the order of the computation.
const NAMES: [(OpKind, &str); 18] = [
    (OpKind::Embed, "embed"),
    (OpKind::AttnNorm, "attn_norm"),
    (OpKind::QProj, "q_proj"),
    (OpKind::KProj, "k_proj"),
    (OpKind::VProj, "v_proj"),
    (OpKind::Rope, "rope"),
    (OpKind::KvWrite, "kv_write"),
    (OpKind::Attention, "attention"),
    (OpKind::OProj, "o_proj"),
    (OpKind::AttnResidual, "attn_residual"),
    (OpKind::FfnNorm, "ffn_norm"),
    (OpKind::GateProj, "gate_proj"),
    (OpKind::UpProj, "up_proj"),
    (OpKind::SiluMul, "silu_mul"),
    (OpKind::DownProj, "down_proj"),
    (OpKind::FfnResidual, "ffn_residual"),
    (OpKind::OutputNorm, "output_norm"),
    (OpKind::LmHead, "lm_head"),
];

impl OpKind {
    /// Every op, in the order of the computation.
    pub const ALL: [Self; 18] = {
        let mut all = [Self::Embed; 18];
        let mut at = 0;
        while at < all.len() {
            all[at] = NAMES[at].0;
            at += 1;
        }
        all
    };

    /// The name, as in traces and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        // The table is in the order of the enum, which a test checks.
        NAMES[self as usize].1
    }

    /// The op of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Whether it multiplies activations with a weight matrix.
    #[must_use]
    pub const fn is_matmul(self) -> bool {
        matches!(
            self,
            Self::QProj
                | Self::KProj
                | Self::VProj
                | Self::OProj
                | Self::GateProj
                | Self::UpProj
                | Self::DownProj
                | Self::LmHead
        )
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

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
    /// Activations read and written, in f32.
    pub activation_bytes: Bytes,
    /// A matmul: `[tokens, inputs, outputs]`. Attention: `[tokens, positions seen by the last, heads]`. Others: `[tokens, width, 0]`.
    pub shape: [usize; 3],
}

impl OpCost {
    /// All bytes moved.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.weight_bytes + self.kv_bytes + self.activation_bytes
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
    /// Activations read and written.
    pub activation_bytes: Bytes,
}

impl Totals {
    /// All bytes moved.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.weight_bytes + self.kv_bytes + self.activation_bytes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_enum() {
        for (at, (kind, name)) in NAMES.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            assert_eq!((kind.name(), OpKind::from_name(name)), (name, Some(kind)));
        }
        assert_eq!(OpKind::from_name("sample"), None);
    }
}
