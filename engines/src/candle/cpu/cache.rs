//! The KV cache of one layer: preallocated, in F16, F32 or Q8_0, a ring buffer if the model has a sliding window.

use std::ops::Range;

use half::f16;

use super::element::Element;
use super::simd::{LANES, Simd};

/// Elements of a head with a common scale in a cache of type Q8_0.
pub(super) const BLOCK: usize = 32;

/// How elements of a cache are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum CacheFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Blocks of [`BLOCK`] elements of a head at one position: 8 bits each and a scale.
    Q8_0,
}

/// Keys and values of one layer.
pub(crate) enum Cache {
    F16(Ring<Floats<f16>>),
    F32(Ring<Floats<f32>>),
    Q8_0(Ring<Blocks>),
}

/// Keys and values in one format; position `p` is in slot `p % capacity`.
///
/// Keys are stored position-major, values element-major: a score is a sum over the elements of a key, an output is a sum over
/// positions, so that both sums read contiguous memory.
pub(crate) struct Ring<C> {
    stored: C,
    kv_heads: usize,
    capacity: usize,
    head_dim: usize,
}

/// Keys and values of all heads, read in f32.
pub(crate) trait Stored: Sync {
    /// Stores the key of one head in a slot.
    fn write_key(&mut self, at: Place, key: &[f32]);
    /// Stores values of one head in successive slots: `values` is `[head_dim][run]`, of which the first `run` of each are used.
    fn write_values(&mut self, at: Place, run: usize, values: &[[f32; LANES]]);
    /// Keys `[slots, head_dim]` of one head; `scratch` (of that length) is used if they have to be converted.
    fn keys<'a, S: Simd>(&'a self, at: Place, slots: usize, scratch: &'a mut [f32]) -> &'a [f32];
    /// One element of one head's values in `slots` slots; `scratch` (of that length) is used if they have to be converted.
    fn values<'a, S: Simd>(&'a self, at: Place, element: usize, slots: usize, scratch: &'a mut [f32]) -> &'a [f32];
}

/// A slot of a head in a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    head: usize,
    slot: usize,
    capacity: usize,
    head_dim: usize,
}

impl Place {
    /// Index of the key's first element in `[kv_heads, capacity, head_dim]`.
    fn key(self) -> usize {
        (self.head * self.capacity + self.slot) * self.head_dim
    }

    /// Index of an element of the value in `[kv_heads, head_dim, capacity]`.
    fn value(self, element: usize) -> usize {
        (self.head * self.head_dim + element) * self.capacity + self.slot
    }

    /// Index of the scale of an element of the value in `[kv_heads, head_dim / BLOCK, capacity]`.
    fn value_scale(self, element: usize) -> usize {
        (self.head * (self.head_dim / BLOCK) + element / BLOCK) * self.capacity + self.slot
    }
}

impl Cache {
    /// An empty cache. The width of the heads is a multiple of [`BLOCK`] for blocks (the caller checked).
    pub(super) fn new(format: CacheFormat, kv_heads: usize, capacity: usize, head_dim: usize) -> Self {
        let length = kv_heads * capacity * head_dim;
        Self::with_lengths(format, [kv_heads, capacity, head_dim], [length, length])
    }

    /// An empty cache of latent attention: one key per position, and no values.
    pub(super) fn latent(format: CacheFormat, capacity: usize, width: usize) -> Self {
        Self::with_lengths(format, [1, capacity, width], [capacity * width, 0])
    }

    /// `lengths`: elements of keys and of values.
    fn with_lengths(format: CacheFormat, [kv_heads, capacity, head_dim]: [usize; 3], lengths: [usize; 2]) -> Self {
        match format {
            CacheFormat::F16 => Self::F16(Ring { stored: Floats::new(lengths), kv_heads, capacity, head_dim }),
            CacheFormat::F32 => Self::F32(Ring { stored: Floats::new(lengths), kv_heads, capacity, head_dim }),
            CacheFormat::Q8_0 => Self::Q8_0(Ring { stored: Blocks::new(lengths), kv_heads, capacity, head_dim }),
        }
    }

    /// Stores keys `[rows, kv_heads * head_dim]` alone, starting at `position`.
    pub(super) fn write_latent(&mut self, rows: &[f32], position: usize) {
        match self {
            Self::F16(ring) => ring.write_keys(rows, position),
            Self::F32(ring) => ring.write_keys(rows, position),
            Self::Q8_0(ring) => ring.write_keys(rows, position),
        }
    }

    /// Stores rows `[rows, kv_heads * head_dim]`, starting at `position`.
    pub(super) fn write(&mut self, keys: &[f32], values: &[f32], position: usize) {
        match self {
            Self::F16(ring) => ring.write(keys, values, position),
            Self::F32(ring) => ring.write(keys, values, position),
            Self::Q8_0(ring) => ring.write(keys, values, position),
        }
    }
}

impl<C: Stored> Ring<C> {
    fn write(&mut self, keys: &[f32], values: &[f32], position: usize) {
        let Self { kv_heads, capacity, head_dim, .. } = *self;
        let width = kv_heads * head_dim;
        self.write_keys(keys, position);
        // Sixteen positions fill a cache line, so that each line is written once.
        let rows = values.len() / width;
        let mut transposed = vec![[0.0; LANES]; head_dim];
        let mut row = 0;
        while row < rows {
            let slot = (position + row) % capacity;
            let run = LANES.min(rows - row).min(capacity - slot);
            for head in 0..kv_heads {
                for (element, lanes) in transposed.iter_mut().enumerate() {
                    for (at, lane) in lanes[..run].iter_mut().enumerate() {
                        *lane = values[(row + at) * width + head * head_dim + element];
                    }
                }
                let at = self.place(head, slot);
                self.stored.write_values(at, run, &transposed);
            }
            row += run;
        }
    }

    fn write_keys(&mut self, keys: &[f32], position: usize) {
        let Self { kv_heads, capacity, head_dim, .. } = *self;
        for (row, heads) in keys.chunks_exact(kv_heads * head_dim).enumerate() {
            let slot = (position + row) % capacity;
            for (head, key) in heads.chunks_exact(head_dim).enumerate() {
                let at = self.place(head, slot);
                self.stored.write_key(at, key);
            }
        }
    }

    fn place(&self, head: usize, slot: usize) -> Place {
        Place { head, slot, capacity: self.capacity, head_dim: self.head_dim }
    }

    pub(super) fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Number of slots in use after `positions` have been written: `0..used`.
    pub(super) fn used(&self, positions: usize) -> usize {
        positions.min(self.capacity)
    }

    /// Keys `[slots, head_dim]` of one head in f32; `scratch` (of at least that length) is used if they have to be converted.
    #[inline(always)]
    pub(super) fn keys<'a, S: Simd>(&'a self, head: usize, slots: Range<usize>, scratch: &'a mut [f32]) -> &'a [f32] {
        let length = slots.len() * self.head_dim;
        self.stored.keys::<S>(self.place(head, slots.start), slots.len(), &mut scratch[..length])
    }

    /// One element of one head's values in the first slots, `[slots]` in f32; `scratch` (of at least that length) is used if they have to
    /// be converted.
    #[inline(always)]
    pub(super) fn values<'a, S: Simd>(
        &'a self,
        head: usize,
        element: usize,
        slots: usize,
        scratch: &'a mut [f32],
    ) -> &'a [f32] {
        self.stored.values::<S>(self.place(head, 0), element, slots, &mut scratch[..slots])
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

/// Floats.
pub(crate) struct Floats<E> {
    /// `[kv_heads, capacity, head_dim]`: the keys of a head are contiguous, so that a decode step streams them.
    keys: Vec<E>,
    /// `[kv_heads, head_dim, capacity]`
    values: Vec<E>,
}

impl<E: Element> Floats<E> {
    fn new([keys, values]: [usize; 2]) -> Self {
        Self { keys: E::zeroed(keys), values: E::zeroed(values) }
    }
}

impl<E: Element> Stored for Floats<E> {
    fn write_key(&mut self, at: Place, key: &[f32]) {
        E::narrow(key, &mut self.keys[at.key()..][..key.len()]);
    }

    fn write_values(&mut self, at: Place, run: usize, values: &[[f32; LANES]]) {
        for (element, lanes) in values.iter().enumerate() {
            E::narrow(&lanes[..run], &mut self.values[at.value(element)..][..run]);
        }
    }

    #[inline(always)]
    fn keys<'a, S: Simd>(&'a self, at: Place, slots: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        E::widen::<S>(&self.keys[at.key()..][..slots * at.head_dim], scratch)
    }

    #[inline(always)]
    fn values<'a, S: Simd>(&'a self, at: Place, element: usize, slots: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        E::widen::<S>(&self.values[at.value(element)..][..slots], scratch)
    }
}

/// Blocks of 8-bit elements with a scale, as ggml's `Q8_0`: 34 bytes for 32 elements. Elements and scales are apart, so that the
/// values of one element of a head are contiguous.
pub(crate) struct Blocks {
    /// `[kv_heads, capacity, head_dim]`
    keys: Vec<i8>,
    /// `[kv_heads, capacity, head_dim / BLOCK]`
    key_scales: Vec<f16>,
    /// `[kv_heads, head_dim, capacity]`
    values: Vec<i8>,
    /// `[kv_heads, head_dim / BLOCK, capacity]`
    value_scales: Vec<f16>,
}

impl Blocks {
    fn new([keys, values]: [usize; 2]) -> Self {
        let scales = |length: usize| f16::zeroed(length / BLOCK);
        let (key_scales, value_scales) = (scales(keys), scales(values));
        Self { keys: vec![0; keys], key_scales, values: vec![0; values], value_scales }
    }
}

/// The scale of a block whose largest magnitude is `largest`, and its reciprocal (0 for a block of zeros). Source: ggml,
/// `quantize_row_q8_0_ref`.
fn scale(largest: f32) -> (f16, f32) {
    let scale = largest / 127.0;
    (f16::from_f32(scale), if scale == 0.0 { 0.0 } else { 1.0 / scale })
}

/// An element as a multiple of the scale.
#[allow(clippy::cast_possible_truncation, reason = "at most 127 in magnitude; a cast saturates for others")]
fn multiple(element: f32, reciprocal: f32) -> i8 {
    (element * reciprocal).round() as i8
}

impl Stored for Blocks {
    fn write_key(&mut self, at: Place, key: &[f32]) {
        let (start, scales) = (at.key(), at.key() / BLOCK);
        for (block, elements) in key.chunks_exact(BLOCK).enumerate() {
            let largest = elements.iter().fold(0f32, |most, element| most.max(element.abs()));
            let (scale, reciprocal) = scale(largest);
            self.key_scales[scales + block] = scale;
            let stored = &mut self.keys[start + block * BLOCK..][..BLOCK];
            for (stored, element) in stored.iter_mut().zip(elements) {
                *stored = multiple(*element, reciprocal);
            }
        }
    }

    fn write_values(&mut self, at: Place, run: usize, values: &[[f32; LANES]]) {
        for (block, elements) in values.chunks_exact(BLOCK).enumerate() {
            let mut largest = [0f32; LANES];
            for lanes in elements {
                for (most, element) in largest.iter_mut().zip(lanes) {
                    *most = most.max(element.abs());
                }
            }
            let scales = largest.map(scale);
            let stored = &mut self.value_scales[at.value_scale(block * BLOCK)..][..run];
            for (stored, (scale, _)) in stored.iter_mut().zip(scales) {
                *stored = scale;
            }
            for (element, lanes) in elements.iter().enumerate() {
                let stored = &mut self.values[at.value(block * BLOCK + element)..][..run];
                for ((stored, value), (_, reciprocal)) in stored.iter_mut().zip(lanes).zip(scales) {
                    *stored = multiple(*value, reciprocal);
                }
            }
        }
    }

    #[inline(always)]
    fn keys<'a, S: Simd>(&'a self, at: Place, slots: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let blocks = self.keys[at.key()..][..slots * at.head_dim].as_chunks::<BLOCK>().0;
        let outs = scratch.as_chunks_mut::<BLOCK>().0;
        let scales = &self.key_scales[at.key() / BLOCK..];
        S::call(&|outs: &mut [[f32; BLOCK]]| widen_blocks(blocks, scales, outs), outs);
        scratch
    }

    #[inline(always)]
    fn values<'a, S: Simd>(&'a self, at: Place, element: usize, slots: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let scales = &self.value_scales[at.value_scale(element)..][..slots];
        let elements = &self.values[at.value(element)..][..slots];
        let work = |scratch: &mut [f32]| {
            S::widen(scales, scratch);
            for (out, element) in scratch.iter_mut().zip(elements) {
                *out *= f32::from(*element);
            }
        };
        S::call(&work, &mut *scratch);
        scratch
    }
}

/// Elements times the scale of their block.
#[inline(always)]
fn widen_blocks(blocks: &[[i8; BLOCK]], scales: &[f16], outs: &mut [[f32; BLOCK]]) {
    for ((block, out), scale) in blocks.iter().zip(outs).zip(scales) {
        let scale = scale.to_f32();
        for (out, element) in out.iter_mut().zip(block) {
            *out = f32::from(*element) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Scalar;
    use super::*;

    fn floats<E: Element>(kv_heads: usize, capacity: usize, head_dim: usize) -> Ring<Floats<E>> {
        Ring { stored: Floats::new([kv_heads * capacity * head_dim; 2]), kv_heads, capacity, head_dim }
    }

    fn keys<C: Stored>(ring: &Ring<C>, head: usize, slots: Range<usize>) -> Vec<f32> {
        let mut scratch = vec![0.0; slots.len() * ring.head_dim];
        ring.keys::<Scalar>(head, slots, &mut scratch).to_vec()
    }

    fn values<C: Stored>(ring: &Ring<C>, head: usize, element: usize, slots: usize) -> Vec<f32> {
        ring.values::<Scalar>(head, element, slots, &mut vec![0.0; slots]).to_vec()
    }

    #[test]
    fn a_ring_keeps_the_last_positions_in_their_slots() {
        // 2 heads of width 1; position p holds p (head 0) and 100 + p (head 1).
        let mut ring = floats::<f32>(2, 4, 1);
        for position in 0..6 {
            let row = [position as f32, 100.0 + position as f32];
            ring.write(&row, &row.map(|x| -x), position);
        }
        assert_eq!(ring.slots(2..6), [0..2, 2..4]);
        assert_eq!((ring.slots(1..3), ring.slots(2..4)), ([1..3, 3..3], [0..0, 2..4]));
        assert_eq!((keys(&ring, 0, 2..4), keys(&ring, 1, 0..2)), (vec![2.0, 3.0], vec![104.0, 105.0]));
        assert_eq!(values(&ring, 1, 0, ring.used(6)), [-104.0, -105.0, -102.0, -103.0]);
        assert_eq!(ring.used(3), 3);
    }

    #[test]
    fn values_are_stored_element_major() {
        // 2 heads of width 2; element e of position p is 10 e + p.
        let mut ring = floats::<f32>(2, 3, 2);
        let rows: Vec<f32> = (0..3).flat_map(|p| (0..4).map(move |e| (10 * e + p) as f32)).collect();
        ring.write(&rows, &rows, 0);
        assert_eq!(values(&ring, 1, 0, 3), [20.0, 21.0, 22.0]);
        assert_eq!(keys(&ring, 1, 1..2), [21.0, 31.0]);
    }

    #[test]
    fn rows_written_together_or_one_by_one_are_the_same() {
        let rows: Vec<f32> = (0..160).map(|i| i as f32).collect();
        let (mut together, mut apart) = (floats::<f16>(2, 41, 2), floats::<f16>(2, 41, 2));
        together.write(&rows, &rows, 3);
        for (row, four) in rows.chunks(4).enumerate() {
            apart.write(four, four, 3 + row);
        }
        assert_eq!((&together.stored.keys, &together.stored.values), (&apart.stored.keys, &apart.stored.values));
    }

    /// Blocks are those that the files of weights have, along the width of a head at one position, also across the end of the ring.
    #[test]
    fn blocks_are_those_of_q8_0() {
        let (kv_heads, capacity, d) = (2, 21, 64);
        let width = kv_heads * d;
        let row =
            |p: usize| -> Vec<f32> { (0..width).map(|e| ((p * width + e) as f32 * 0.37).sin() * p as f32).collect() };
        let mut ring = Ring { stored: Blocks::new([kv_heads * capacity * d; 2]), kv_heads, capacity, head_dim: d };
        let rows: Vec<f32> = (10..31).flat_map(row).collect();
        let negated: Vec<f32> = rows.iter().map(|x| -x).collect();
        ring.write(&rows, &negated, 10);
        let stored = &ring.stored;
        let bytes = size_of_val(&*stored.keys) + size_of_val(&*stored.key_scales);
        assert_eq!(bytes, kv_heads * capacity * (d / BLOCK) * 34);
        assert_eq!(bytes, size_of_val(&*stored.values) + size_of_val(&*stored.value_scales));
        for position in [10, 11, 20, 21, 30] {
            let (slot, row) = (position % capacity, row(position));
            for head in 0..kv_heads {
                let of_head = &row[head * d..][..d];
                let mut blocks = Vec::new();
                assert!(models::blocks::quantise(models::DType::Q8_0, of_head, &mut blocks));
                let expected = models::blocks::dequantise(models::DType::Q8_0, &blocks).unwrap();
                assert_eq!(keys(&ring, head, slot..slot + 1), expected, "position {position}, head {head}");
                let found: Vec<f32> = (0..d).map(|e| -values(&ring, head, e, capacity)[slot]).collect();
                assert_eq!(found, expected, "position {position}, head {head}");
            }
        }
    }
}
