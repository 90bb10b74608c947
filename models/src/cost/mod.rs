//! The cost of a forward pass in arithmetic and memory traffic: per op, per layer, per phase and per position. It is computed from
//! the shape and the types of the weights; nothing is measured.
//!
//! Conventions, in METHODOLOGY.md too:
//!
//! - a multiply-add counts as two operations; `exp`, `sin`, `cos`, a division and a square root count as one each;
//! - **weight bytes** are read once per pass over the weights (a batch of tokens shares them), as they are stored; of a mixture of
//!   experts those of the experts that a pass uses: exact for one token, for several an estimate;
//! - **KV bytes** are cache rows written and read, each position once per pass for all queries that share it (as in tiled or
//!   one-token attention; attention without tiles reads more);
//! - **state bytes** are recurrent states read and written, each once per pass; they do not depend on the position;
//! - **activation bytes** are the inputs read and the outputs written, in f32, 4 bytes each, without any caching: an upper
//!   bound of the traffic that fused ops save. Attention scores are assumed to stay on chip.

mod experts;
mod matrices;
mod memory;
mod op;
mod pass;
mod weight_ops;
mod weight_types;

pub use crate::op_kind::OpKind;
pub use experts::{ExpertBytes, expert_bytes};
pub use matrices::matrix_bytes;
pub use memory::{MemoryEstimate, estimate_memory};
pub use op::{OpCost, Totals, by_kind, by_layer, totals};
pub use pass::{attended_pairs, batched_prefill_ops, decode_ops, joined_ops, prefill_ops, pruned_prefill_ops};
pub use weight_ops::{OpTypes, op_of_weight};
pub use weight_types::WeightTypes;
