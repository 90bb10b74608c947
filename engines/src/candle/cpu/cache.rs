//! The KV cache of one layer: preallocated, F16 or F32, a ring where a sliding window bounds it.

use half::f16;

use super::element::Element;
use crate::KvType;

/// Keys and values of one layer.
pub(crate) enum Cache {
    F16(Ring<f16>),
    F32(Ring<f32>),
}

/// Keys and values in one element type; position `p` stands in slot `p % capacity`.
pub(crate) struct Ring<E> {
    /// `[kv_heads, capacity, head_dim]`: one head's keys lie together, so that a decode step streams them.
    keys: Vec<E>,
    /// `[kv_heads, capacity, head_dim]`
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

    /// Stores rows `[rows, kv_heads * head_dim]` from `position` on.
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
        for (source, stored) in [(keys, &mut self.keys), (values, &mut self.values)] {
            for (row, heads) in source.chunks_exact(width).enumerate() {
                let slot = (position + row) % capacity;
                for (head, vector) in heads.chunks_exact(head_dim).enumerate() {
                    E::narrow(vector, &mut stored[(head * capacity + slot) * head_dim..][..head_dim]);
                }
            }
        }
    }

    pub(super) fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Keys and values `[run, head_dim]` of one head from `position` on: as many positions before `end` as lie together.
    pub(super) fn run(&self, head: usize, position: usize, end: usize) -> (&[E], &[E]) {
        let slot = position % self.capacity;
        let run = (end - position).min(self.capacity - slot);
        let start = (head * self.capacity + slot) * self.head_dim;
        let length = run * self.head_dim;
        (&self.keys[start..][..length], &self.values[start..][..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_positions_and_runs_end_at_its_seam() {
        // 2 heads of width 1; position p holds p (head 0) and 100 + p (head 1).
        let mut ring = Ring::<f32>::new(2, 4, 1);
        for position in 0..6 {
            let row = [position as f32, 100.0 + position as f32];
            ring.write(&row, &row.map(|x| -x), position);
        }
        assert_eq!(ring.run(0, 2, 6), (&[2.0, 3.0][..], &[-2.0, -3.0][..]));
        assert_eq!(ring.run(1, 4, 6), (&[104.0, 105.0][..], &[-104.0, -105.0][..]));
    }

    #[test]
    fn rows_written_together_or_one_by_one_are_the_same() {
        let rows: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let (mut together, mut apart) = (Ring::<f16>::new(2, 5, 2), Ring::<f16>::new(2, 5, 2));
        together.write(&rows, &rows, 3);
        for (row, four) in rows.chunks(4).enumerate() {
            apart.write(four, four, 3 + row);
        }
        assert_eq!(together.keys, apart.keys);
    }
}
