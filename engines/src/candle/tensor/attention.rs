//! Attention as two matrix products per layer. The query heads of a group are additional rows, so that nothing is repeated.

use candle_core::{DType, Device, Result, Tensor};
use models::{Attention, LatentAttention};

/// Keys and values of one layer; position `p` is in slot `p % capacity`.
pub(crate) struct Cache {
    keys: Tensor, // [kv_heads, capacity, head_dim]
    /// `[kv_heads, capacity, head_dim]`; `None` of latent attention, whose values are the start of the keys.
    values: Option<Tensor>,
    pub(super) capacity: usize,
}

impl Cache {
    pub(super) fn new(
        dtype: DType,
        kv_heads: usize,
        capacity: usize,
        head_dim: usize,
        device: &Device,
    ) -> Result<Self> {
        let empty = || Tensor::zeros((kv_heads, capacity, head_dim), dtype, device);
        Ok(Self { keys: empty()?, values: Some(empty()?), capacity })
    }

    /// The cache of latent attention: one row for all heads.
    pub(super) fn latent(dtype: DType, capacity: usize, width: usize, device: &Device) -> Result<Self> {
        Ok(Self { keys: Tensor::zeros((1, capacity, width), dtype, device)?, values: None, capacity })
    }

    /// Stores rows `[rows, kv_heads * head_dim]`, starting at `position`: in one part, or in two if they wrap around the ring.
    pub(super) fn store(&mut self, keys: &Tensor, values: &Tensor, position: usize) -> Result<()> {
        self.store_keys(keys, position)?;
        self.values.as_ref().map_or(Ok(()), |stored| self.write(values, stored, position))
    }

    /// The same for the keys alone.
    pub(super) fn store_keys(&mut self, keys: &Tensor, position: usize) -> Result<()> {
        self.write(keys, &self.keys, position)
    }

    fn write(&self, rows: &Tensor, stored: &Tensor, position: usize) -> Result<()> {
        let (kv_heads, _, head_dim) = stored.dims3()?;
        let count = rows.dim(0)?;
        let heads = rows.reshape((count, kv_heads, head_dim))?.transpose(0, 1)?.to_dtype(stored.dtype())?;
        let mut done = 0;
        while done < count {
            let slot = (position + done) % self.capacity;
            let piece = (count - done).min(self.capacity - slot);
            stored.slice_set(&heads.narrow(1, done, piece)?.contiguous()?, 1, slot)?;
            done += piece;
        }
        Ok(())
    }
}

/// The slots that are visible to each row, as terms for the scores: 0 or -inf. Layers with the same window share one.
#[derive(Default)]
pub(super) struct Mask {
    /// Position and number of rows of `tensor`; all layers of a pass share it.
    span: Option<(usize, usize)>,
    /// `[rows, slots]`; `None` if every slot is visible to every row.
    tensor: Option<Tensor>,
}

impl Mask {
    pub(super) fn for_rows(
        &mut self,
        q: &Tensor,
        position: usize,
        window: Option<usize>,
        capacity: usize,
        device: &Device,
    ) -> Result<Option<&Tensor>> {
        let rows = q.dim(0)?;
        if self.span != Some((position, rows)) {
            let visible = visible(rows, position, window, capacity);
            let slots = visible.len() / rows;
            self.tensor = if visible.contains(&false) {
                let numbers: Vec<f32> =
                    visible.iter().map(|is_visible| if *is_visible { 0.0 } else { f32::NEG_INFINITY }).collect();
                Some(Tensor::from_vec(numbers, (rows, slots), device)?)
            } else {
                None
            };
            self.span = Some((position, rows));
        }
        Ok(self.tensor.as_ref())
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

/// What attention computes.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    heads: usize,
    kv_heads: usize,
    /// Widths of a key and of a value.
    key: usize,
    value: usize,
    scale: f32,
}

impl Shape {
    pub(super) fn of(attention: &Attention) -> Self {
        let &Attention { heads, kv_heads, head_dim, .. } = attention;
        Self { heads, kv_heads, key: head_dim, value: head_dim, scale: attention.score_scale() }
    }

    pub(super) fn of_latent(attention: &LatentAttention) -> Self {
        let &LatentAttention { heads, rank, .. } = attention;
        Self { heads, kv_heads: 1, key: attention.cache_width(), value: rank, scale: attention.scale() }
    }
}

/// `softmax(scale q k^T + mask) v`; `q` is `[rows, heads * key]`, the result `[rows, heads * value]`. `sinks` are `[heads]`: one further score of each head.
pub(super) fn attend(
    q: &Tensor,
    cache: &Cache,
    position: usize,
    mask: Option<&Tensor>,
    sinks: Option<&Tensor>,
    shape: Shape,
) -> Result<Tensor> {
    let Shape { heads, kv_heads, key, value, scale } = shape;
    let rows = q.dim(0)?;
    let group = heads / kv_heads;
    let slots = (position + rows).min(cache.capacity);
    let stored = |side: &Tensor| side.narrow(1, 0, slots)?.to_dtype(DType::F32);
    // [kv_heads, group * rows, key]
    let q = q.reshape((rows, kv_heads, group, key))?.permute((1, 2, 0, 3))?.contiguous()?;
    let q = (q.reshape((kv_heads, group * rows, key))? * f64::from(scale))?;
    let scores = q.matmul(&stored(&cache.keys)?.t()?)?; // [kv_heads, group * rows, slots]
    let scores = match mask {
        Some(mask) => scores.reshape((kv_heads, group, rows, slots))?.broadcast_add(mask)?.reshape((
            kv_heads,
            group * rows,
            slots,
        ))?,
        None => scores,
    };
    let weights = match sinks {
        None => candle_nn::ops::softmax_last_dim(&scores)?,
        Some(sinks) => {
            let column = sinks.reshape((kv_heads, group, 1, 1))?.broadcast_as((kv_heads, group, rows, 1))?;
            let column = column.contiguous()?.reshape((kv_heads, group * rows, 1))?;
            candle_nn::ops::softmax_last_dim(&Tensor::cat(&[&scores, &column], 2)?)?
                .narrow(2, 0, slots)?
                .contiguous()?
        }
    };
    let values = match &cache.values {
        Some(values) => stored(values)?,
        None => stored(&cache.keys.narrow(2, 0, value)?)?,
    };
    let sums = weights.matmul(&values.contiguous()?)?; // [kv_heads, group * rows, value]
    sums.reshape((kv_heads, group, rows, value))?.permute((2, 0, 1, 3))?.contiguous()?.reshape((rows, heads * value))
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
}
