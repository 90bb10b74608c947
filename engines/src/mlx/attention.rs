//! Keys and values of the context, and attention over them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use mlx_rs::fast::{ScaledDotProductAttentionMask, scaled_dot_product_attention};
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::zeros_dtype;
use mlx_rs::{Array, Dtype};

use super::{at, int};
use crate::EngineError;

/// Keys and values of one layer; position `p` is in slot `p % capacity`.
pub(super) struct Cache {
    pub(super) keys: Array,   // [1, kv_heads, capacity, head_dim]
    pub(super) values: Array, // [1, kv_heads, capacity, head_dim]
    capacity: usize,
}

impl Cache {
    pub(super) fn new(dtype: Dtype, kv_heads: usize, capacity: usize, head_dim: usize) -> Result<Self, EngineError> {
        let shape = [1, int(kv_heads)?, int(capacity)?, int(head_dim)?];
        let empty = || {
            let array = zeros_dtype(&shape, dtype)?;
            array.eval()?;
            Ok(array)
        };
        let empty = || empty().map_err(at("kv cache"));
        Ok(Self { keys: empty()?, values: empty()?, capacity })
    }

    /// Capacity in positions.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Stores rows `[1, kv_heads, rows, head_dim]`, starting at `position`: in one part, or in two if they wrap around the ring.
    pub(super) fn store(&mut self, keys: &Array, values: &Array, position: usize) -> Result<(), EngineError> {
        let capacity = self.capacity;
        for (rows, stored) in [(keys, &mut self.keys), (values, &mut self.values)] {
            let rows = rows.as_dtype(stored.dtype()).map_err(at("kv_write"))?;
            let count = rows.dim(2);
            let mut done = 0;
            while done < count {
                let slot = int((position + done.unsigned_abs() as usize) % capacity)?;
                let piece = (count - done).min(int(capacity)? - slot);
                // The array is replaced by a modified one; MLX modifies it in place if there is no other reference.
                let part =
                    if piece == count { Ok(rows.clone()) } else { rows.try_index((.., .., done..done + piece, ..)) };
                part.and_then(|part| stored.try_index_mut((.., .., slot..slot + piece, ..), &part))
                    .map_err(at("kv_write"))?;
                done += piece;
            }
        }
        Ok(())
    }

    /// `softmax(q k^T scale) v` over the first `slots` slots: `[1, heads, rows, head_dim]`, in the type of `q`.
    pub(super) fn attend(&self, q: &Array, slots: usize, scale: f32, mask: &Mask) -> Result<Array, EngineError> {
        let attend = |slots: i32| {
            let live = |side: &Array| side.try_index((.., .., ..slots, ..))?.as_dtype(q.dtype());
            let (keys, values) = (live(&self.keys)?, live(&self.values)?);
            match mask {
                Mask::None => scaled_dot_product_attention(q, keys, values, scale, None, None),
                Mask::Causal => {
                    scaled_dot_product_attention(q, keys, values, scale, ScaledDotProductAttentionMask::Causal, None)
                }
                Mask::Slots(mask) => scaled_dot_product_attention(q, keys, values, scale, mask, None),
            }
        };
        attend(int(slots)?).map_err(at("attention"))
    }
}

/// The masks of one pass, one for each sliding window.
pub(super) struct Masks {
    rows: usize,
    position: usize,
    masks: BTreeMap<Option<usize>, Mask>,
}

impl Masks {
    /// For `rows` rows from `position` on.
    pub(super) const fn new(rows: usize, position: usize) -> Self {
        Self { rows, position, masks: BTreeMap::new() }
    }

    /// That of layers with this window, whose caches have this capacity.
    pub(super) fn of(&mut self, window: Option<usize>, capacity: usize) -> Result<&Mask, EngineError> {
        match self.masks.entry(window) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Mask::new(self.rows, self.position, window, capacity)?)),
        }
    }
}

/// The slots that are visible to the rows of a pass.
pub(super) enum Mask {
    /// All slots are visible to all rows.
    None,
    /// Slots are in the order of positions; each row attends to itself and to earlier rows.
    Causal,
    /// Row by row: `[rows, slots]`.
    Slots(Array),
}

impl Mask {
    /// For `rows` rows from `position` on.
    pub(super) fn new(
        rows: usize,
        position: usize,
        window: Option<usize>,
        capacity: usize,
    ) -> Result<Self, EngineError> {
        let end = position + rows;
        if window.is_none_or(|window| end <= window) && end <= capacity {
            return Ok(if rows == 1 { Self::None } else { Self::Causal });
        }
        let visible = visible(rows, position, window, capacity);
        if !visible.contains(&false) {
            return Ok(Self::None);
        }
        let shape = [int(rows)?, int(visible.len() / rows)?];
        Ok(Self::Slots(Array::from_slice(&visible, &shape)))
    }
}

/// `[rows, slots]`: whether slot `s` is visible to row `r`, which is at `position + r`.
fn visible(rows: usize, position: usize, window: Option<usize>, capacity: usize) -> Vec<bool> {
    let end = position + rows;
    let slots = end.min(capacity);
    let newest = |slot: usize| (end - 1 - slot) / capacity * capacity + slot;
    let is_visible = |row: usize, slot: usize| {
        let (at, stored) = (position + row, newest(slot));
        stored <= at && window.is_none_or(|window| at - stored < window)
    };
    (0..rows).flat_map(|row| (0..slots).map(move |slot| is_visible(row, slot))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_attends_to_itself_and_to_earlier_rows_in_the_window() {
        assert_eq!(visible(2, 1, None, 8), [true, true, false, true, true, true]);
        // Window 2 in a ring of 3, rows at 4 and 5: slots hold 3, 4, 5.
        assert_eq!(visible(2, 4, Some(2), 3), [true, true, false, false, true, true]);
        assert!(!visible(1, 9, None, 20).contains(&false));
    }

    #[test]
    fn a_mask_array_is_made_only_if_causal_order_is_not_enough() {
        let mask = |rows, position, window, capacity| Mask::new(rows, position, window, capacity).unwrap();
        assert!(matches!(mask(1, 9, None, 20), Mask::None));
        assert!(matches!(mask(4, 0, Some(8), 11), Mask::Causal));
        assert!(matches!(mask(4, 8, Some(8), 11), Mask::Slots(_)));
        assert!(matches!(mask(1, 30, Some(8), 8), Mask::None), "all slots of a ring of the window's size are visible");
    }
}
