//! A tensor of a checkpoint: its description, and a view of its bytes in a mapped file, or in a copy of its own.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use crate::dtype::DType;
use crate::units::Bytes;

/// The description of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its GGUF name in both formats, such as `blk.0.attn_q.weight`. Scales and biases of a matrix that MLX quantised are separate
    /// tensors: `blk.0.attn_q.scales` and `.biases`, `[rows, groups]`.
    pub name: String,
    /// How its elements are stored.
    pub dtype: DType,
    /// Row-major: `[rows (out), cols (in)]` of a matrix, `[elements]` of a vector, `[experts, rows, cols]` of the matrices of all
    /// experts.
    pub shape: Vec<usize>,
    /// Its size on disk, without scales and biases in separate tensors.
    pub bytes: Bytes,
}

impl TensorInfo {
    /// The number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }
}

/// A tensor's bytes in the mapping. They may begin at any address that the file's alignment allows.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    info: Cow<'a, TensorInfo>,
    map: Cow<'a, Arc<Mmap>>,
    range: Range<usize>,
}

impl<'a> TensorView<'a> {
    /// The tensor `info` at `range` of `map`; the caller has checked that the range lies inside.
    pub(crate) const fn new(info: &'a TensorInfo, map: &'a Arc<Mmap>, range: Range<usize>) -> Self {
        Self { info: Cow::Borrowed(info), map: Cow::Borrowed(map), range }
    }

    /// The tensor `info` in memory of its own.
    pub(crate) fn of_own(info: &'a TensorInfo, map: Mmap) -> Self {
        let range = 0..map.len();
        Self { info: Cow::Borrowed(info), map: Cow::Owned(Arc::new(map)), range }
    }

    /// The description of the tensor.
    #[must_use]
    pub fn info(&self) -> &TensorInfo {
        &self.info
    }

    /// Part `index` of its first dimension: one expert of `[experts, rows, columns]` is `[rows, columns]`. `None` if there is no such
    /// part, or the parts are not complete blocks.
    pub(crate) fn part(&self, index: usize) -> Option<Self> {
        let (count, shape) = self.info.shape.split_first()?;
        let bytes = self.range.len().checked_div(*count).filter(|bytes| bytes * count == self.range.len())?;
        let columns = shape.last().copied().unwrap_or(1);
        if index >= *count || !columns.is_multiple_of(self.info.dtype.block_elems()) {
            return None;
        }
        let start = self.range.start + index * bytes;
        let info = TensorInfo { shape: shape.to_vec(), bytes: Bytes(bytes as u64), ..TensorInfo::clone(&self.info) };
        Some(Self { info: Cow::Owned(info), map: self.map.clone(), range: start..start + bytes })
    }

    /// Its bytes, `info().bytes` of them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }

    /// The mapping that contains the bytes at [`Self::range`]; the clone keeps it alive.
    #[must_use]
    pub fn owner(&self) -> Arc<Mmap> {
        Arc::clone(&self.map)
    }

    /// Where this tensor's bytes are in [`Self::owner`].
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}
