//! What the reader of each format returns, before the tensors are checked against the shape.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use memmap2::Mmap;

use super::description::Description;
use super::rearranged::Arrangement;
use crate::arch;
use crate::container::gguf::Metadata;
use crate::spec::{Spec, weights};
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

/// A tensor and where it is.
pub(super) type PlacedTensor = (TensorInfo, Place);

/// Where the bytes of a tensor are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The index of the mapping.
    pub(super) map: usize,
    /// The stored bytes in it.
    pub(super) range: Range<usize>,
    /// How the stored bytes become those of the tensor; `None`: they are.
    pub(super) arrangement: Option<Arrangement>,
}

impl Place {
    /// The bytes of a tensor as they are stored.
    pub(super) const fn plain(map: usize, range: Range<usize>) -> Self {
        Self { map, range, arrangement: None }
    }
}

/// The source of everything except the tensors.
#[derive(Debug)]
pub(super) enum Source {
    /// The metadata of a GGUF file.
    Gguf(Metadata),
    /// A folder with config.json, tokenizer.json and other files.
    Folder(PathBuf),
}

/// The tensors with the names and shapes of the description.
pub(super) fn as_described(spec: &Spec, tensors: Vec<PlacedTensor>) -> Vec<PlacedTensor> {
    let weights = weights(spec);
    let parts = |(info, Place { map, range, arrangement }): PlacedTensor| {
        let rows = info.shape.first().copied().unwrap_or(0).max(1);
        let bytes = range.len() / rows;
        let of_parts = arch::as_described(spec, &weights, info);
        let is_whole = of_parts.len() == 1;
        of_parts.into_iter().map(move |(info, rows)| {
            let range = match is_whole {
                true => range.clone(),
                false => range.start + rows.start * bytes..range.start + rows.end * bytes,
            };
            (info, Place { map, range, arrangement: arrangement.clone() })
        })
    };
    tensors.into_iter().flat_map(parts).collect()
}
