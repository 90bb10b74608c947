//! A tensor of a checkpoint: its description, and a view of its bytes in a mapped file.

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
    /// Row-major: `[rows (out), cols (in)]` of a matrix, `[elements]` of a vector.
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
    info: &'a TensorInfo,
    map: &'a Arc<Mmap>,
    range: Range<usize>,
}

impl<'a> TensorView<'a> {
    /// The tensor `info` at `range` of `map`; the caller has checked that the range lies inside.
    pub(crate) const fn new(info: &'a TensorInfo, map: &'a Arc<Mmap>, range: Range<usize>) -> Self {
        Self { info, map, range }
    }

    /// The description of the tensor.
    #[must_use]
    pub const fn info(&self) -> &'a TensorInfo {
        self.info
    }

    /// Its bytes, `info().bytes` of them.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        &self.map[self.range.clone()]
    }

    /// The mapping that contains the bytes at [`Self::range`]; the clone keeps it alive.
    #[must_use]
    pub fn owner(&self) -> Arc<Mmap> {
        Arc::clone(self.map)
    }

    /// Where this tensor's bytes are in [`Self::owner`].
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}
