//! What the parts of a layer share in a pass: the residual stream, and the place of the rows.

use super::kernels::Memory;
use crate::EngineError;

/// The residual stream and what each part of a layer reads and writes.
pub(super) struct Stream<M: Memory> {
    pub(super) x: M::Rows,      // [rows, hidden]: the residual stream
    pub(super) h: M::Rows,      // [rows, hidden]: its norm; the output of token mixer and feed-forward part
    pub(super) normed: M::Rows, // [rows, hidden]: the norm of that output
}

/// A layer in a pass.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Its index.
    pub(super) at: usize,
    pub(super) rows: usize,
    /// Position of the first row in the context.
    pub(super) position: usize,
    pub(super) hidden: usize,
    pub(super) epsilon: f32,
}

impl<M: Memory> Stream<M> {
    pub(super) fn new(memory: &M, hidden: usize) -> Result<Self, EngineError> {
        Ok(Self { x: memory.rows(hidden)?, h: memory.rows(hidden)?, normed: memory.rows(hidden)? })
    }
}
