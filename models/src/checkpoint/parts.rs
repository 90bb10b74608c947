//! What the reader of each format returns, before the tensors are checked against the shape.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use memmap2::Mmap;

use super::description::Description;
use crate::container::gguf::Metadata;
use crate::tensor::TensorInfo;

/// The parts of a checkpoint.
pub(super) struct Parts {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) description: Description,
    pub(super) source: Source,
    pub(super) files: Vec<PathBuf>,
    pub(super) maps: Vec<Arc<Mmap>>,
    pub(super) tensors: Vec<PlacedTensor>,
}

/// A tensor, the index of its mapping, and its bytes there.
pub(super) type PlacedTensor = (TensorInfo, usize, Range<usize>);

/// The source of everything except the tensors.
#[derive(Debug)]
pub(super) enum Source {
    /// The metadata of a GGUF file.
    Gguf(Metadata),
    /// A folder with config.json, tokenizer.json and other files.
    Folder(PathBuf),
}
