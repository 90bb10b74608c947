//! What a forward pass costs in arithmetic and in memory traffic: per op, per layer, per phase and per position. Computed from
//! the shape and the types of the weights alone; nothing is measured here.
//!
//! Conventions, in METHODOLOGY.md too:
//!
//! - a multiply-add counts as two operations; `exp`, `sin`, `cos`, a division and a square root count as one each;
//! - **weight bytes** are read once per pass over the weights (a batch of tokens shares them), as they are stored;
//! - **KV bytes** are cache rows written and read, each position once per pass for all queries that share it (what a tiled or a
//!   one-token attention reads; an attention without tiles reads more);
//! - **activation bytes** are the inputs read and the outputs written, in f32, 4 bytes each, as if nothing stayed in a cache: an
//!   upper bound of the traffic that fusing ops would save. Attention scores are taken to stay on chip.

mod memory;
mod op;
mod pass;
mod types;

pub use memory::{MemoryEstimate, memory};
pub use op::{OpCost, OpKind, Totals, by_kind, by_layer, totals};
pub use pass::{attended, ops_of_batches, ops_of_decode, ops_of_prefill, ops_of_pruned_batches};
pub use types::WeightTypes;
