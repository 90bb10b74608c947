//! What one expert of a layer weighs, and what a pass reads of all experts.

use super::weight_types::WeightTypes;
use crate::op_kind::OpKind;
use crate::spec::Experts;
use crate::units::Bytes;

/// Bytes of the weights of one expert, as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpertBytes {
    /// Gate and up, read by the op `experts_gate_up`.
    pub gate_up: Bytes,
    /// Down, read by the op `experts_down`.
    pub down: Bytes,
}

impl ExpertBytes {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.gate_up + self.down
    }

    /// Those that an op reads of each expert; `None` for an op that reads none.
    #[must_use]
    pub fn of_op(&self, kind: OpKind) -> Option<Bytes> {
        match kind {
            OpKind::ExpertsGateUp => Some(self.gate_up),
            OpKind::ExpertsDown => Some(self.down),
            _ => None,
        }
    }
}

/// The bytes of one of the experts of a layer, whose inputs have the width `hidden`.
///
/// ```text
/// gate_up   F (row(H) in the type of gate + row(H) in the type of up)  (+ row(F) of each bias)
/// down      H row(F)  (+ row(H) of a bias)
/// ```
///
/// Unit: bytes; each weight in its own type. Source: the definition.
#[must_use]
pub fn expert_bytes(hidden: usize, experts: &Experts, types: &WeightTypes, layer: usize) -> ExpertBytes {
    let width = experts.expert.width;
    let [gate, up, down] = types.gate_up_down(layer);
    let biases = types.of_expert_biases(layer);
    let bias = |at: usize, elements: usize| if experts.biased { biases[at].row_bytes(elements) } else { Bytes(0) };
    ExpertBytes {
        gate_up: (gate.row_bytes(hidden) + up.row_bytes(hidden)) * width as u64 + bias(0, width) + bias(1, width),
        down: down.row_bytes(width) * hidden as u64 + bias(2, hidden),
    }
}
