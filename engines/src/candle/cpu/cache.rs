//! The KV cache of one layer: preallocated, F16 or F32, a ring buffer if the model has a sliding window.

use std::ops::Range;

use half::f16;

use super::element::Element;
use super::lanes::LANES;
use crate::KvType;

/// Keys and values of one layer.
pub(crate) enum Cache {
    F16(Ring<f16>),
    F32(Ring<f32>),
}

/// Keys and values in one element type; position `p` is in slot `p % capacity`.
///
/// Keys are stored position-major, values element-major: a score is a sum over the elements of a key, an output is a sum over
/// positions, so that both sums read contiguous memory.
pub(crate) struct Ring<E> {
    /// `[kv_heads, capacity, head_dim]`: the keys of a head are contiguous, so that a decode step streams them.
    keys: Vec<E>,
    /// `[kv_heads, head_dim, capacity]`
    values: Vec<E>,
    capacity: usize,
    head_dim: usize,
}

impl Cache {
    pub(super) fn new(kind: KvType, kv_heads: usize, capacity: usize, head_dim: usize) -> Self {
        match kind {
            KvType::F16 => Self::F16(Ring::new(kv_heads, capacity, head_dim)),
            KvType::F32 => Self::F32(Ring::new(kv_heads, capacity, head_dim)),
        }
    }

    /// Stores rows `[rows, kv_heads * head_dim]`, starting at `position`.
    pub(super) fn write(&mut self, keys: &[f32], values: &[f32], position: usize) {
        match self {
            Self::F16(ring) => ring.write(keys, values, position),
            Self::F32(ring) => ring.write(keys, values, position),
        }
    }
}

impl<E: Element> Ring<E> {
    fn new(kv_heads: usize, capacity: usize, head_dim: usize) -> Self {
        let length = kv_heads * capacity * head_dim;
        Self { keys: E::zeroed(length), values: E::zeroed(length), capacity, head_dim }
    }

    fn write(&mut self, keys: &[f32], values: &[f32], position: usize) {
        let (capacity, head_dim) = (self.capacity, self.head_dim);
        let width = self.keys.len() / capacity;
        for (row, heads) in keys.chunks_exact(width).enumerate() {
            let slot = (position + row) % capacity;
            for (head, key) in heads.chunks_exact(head_dim).enumerate() {
                E::narrow(key, &mut self.keys[(head * capacity + slot) * head_dim..][..head_dim]);
            }
        }
        // Sixteen positions fill a cache line, so that each line is written once.
        let rows = values.len() / width;
        let mut row = 0;
        while row < rows {
            let slot = (position + row) % capacity;
            let run = LANES.min(rows - row).min(capacity - slot);
            for element in 0..width {
                let mut transposed = [0.0; LANES];
                for (at, transposed) in transposed[..run].iter_mut().enumerate() {
                    *transposed = values[(row + at) * width + element];
                }
                E::narrow(&transposed[..run], &mut self.values[element * capacity + slot..][..run]);
            }
            row += run;
        }
    }

    pub(super) fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Number of slots in use after `positions` have been written: `0..used`.
    pub(super) fn used(&self, positions: usize) -> usize {
        positions.min(self.capacity)
    }

    /// Keys `[slots, head_dim]` of one head.
    pub(super) fn keys(&self, head: usize, slots: Range<usize>) -> &[E] {
        let start = head * self.capacity * self.head_dim;
        &self.keys[start + slots.start * self.head_dim..start + slots.end * self.head_dim]
    }

    /// One element of one head's values in the first slots, `[slots]`.
    pub(super) fn values(&self, head: usize, element: usize, slots: usize) -> &[E] {
        &self.values[(head * self.head_dim + element) * self.capacity..][..slots]
    }

    /// The slots of these positions, in slot order: one range, or two if they wrap around the end of the ring.
    pub(super) fn slots(&self, positions: Range<usize>) -> [Range<usize>; 2] {
        debug_assert!(positions.len() <= self.capacity, "{positions:?} in {} slots", self.capacity);
        let first = positions.start % self.capacity;
        let end = first + positions.len();
        match end.checked_sub(self.capacity) {
            Some(behind) => [0..behind, first..self.capacity],
            None => [first..end, end..end],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_positions_in_their_slots() {
        // 2 heads of width 1; position p holds p (head 0) and 100 + p (head 1).
        let mut ring = Ring::<f32>::new(2, 4, 1);
        for position in 0..6 {
            let row = [position as f32, 100.0 + position as f32];
            ring.write(&row, &row.map(|x| -x), position);
        }
        assert_eq!(ring.slots(2..6), [0..2, 2..4]);
        assert_eq!((ring.slots(1..3), ring.slots(2..4)), ([1..3, 3..3], [0..0, 2..4]));
        assert_eq!((ring.keys(0, 2..4), ring.keys(1, 0..2)), (&[2.0, 3.0][..], &[104.0, 105.0][..]));
        assert_eq!(ring.values(1, 0, ring.used(6)), [-104.0, -105.0, -102.0, -103.0]);
        assert_eq!(ring.used(3), 3);
    }

    #[test]
    fn values_are_stored_element_major() {
        // 2 heads of width 2; element e of position p is 10 e + p.
        let mut ring = Ring::<f32>::new(2, 3, 2);
        let rows: Vec<f32> = (0..3).flat_map(|p| (0..4).map(move |e| (10 * e + p) as f32)).collect();
        ring.write(&rows, &rows, 0);
        assert_eq!(ring.values(1, 0, 3), [20.0, 21.0, 22.0]);
        assert_eq!(ring.keys(1, 1..2), [21.0, 31.0]);
    }

    #[test]
    fn rows_written_together_or_one_by_one_are_the_same() {
        let rows: Vec<f32> = (0..160).map(|i| i as f32).collect();
        let (mut together, mut apart) = (Ring::<f16>::new(2, 41, 2), Ring::<f16>::new(2, 41, 2));
        together.write(&rows, &rows, 3);
        for (row, four) in rows.chunks(4).enumerate() {
            apart.write(four, four, 3 + row);
        }
        assert_eq!((&together.keys, &together.values), (&apart.keys, &apart.values));
    }
}
