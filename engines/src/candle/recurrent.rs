//! The recurrent state of a layer: what a token mixer keeps of all tokens before, whatever their number is.

use super::failed;
use super::kernels::{Kernels, Memory};
use super::stream::Place;
use crate::EngineError;

/// A state, and the number of tokens that it has read.
///
/// A cache of positions can be used again from any position on, since positions after the context are never read. A state cannot: it
/// holds the tokens that it has read, no more and no fewer.
pub(super) struct Recurrent<M: Memory> {
    state: M::State,
    tokens: usize,
}

impl<K: Kernels> Recurrent<K> {
    /// A state `[rows, width]`.
    pub(super) fn new(memory: &K, rows: usize, width: usize) -> Result<Self, EngineError> {
        Ok(Self { state: memory.state(rows, width)?, tokens: 0 })
    }

    /// The state before the rows of a pass, which the caller makes the state after them. At position 0 it is cleared.
    ///
    /// # Errors
    /// If it has read other tokens than those before the pass, as after a pass that failed.
    pub(super) fn before(&mut self, kernels: &mut K, place: Place) -> Result<&mut K::State, EngineError> {
        let Place { at, rows, position, .. } = place;
        if position == 0 {
            kernels.clear(&mut self.state)?;
        } else if self.tokens != position {
            let reason = format!(
                "the state of layer {at} has read {} tokens, and the context has {position}: reset the session",
                self.tokens
            );
            return Err(failed("state_update", reason));
        }
        self.tokens = position + rows;
        Ok(&mut self.state)
    }
}
