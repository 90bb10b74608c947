//! What the reader of each format returns, before the tensors are checked against the shape.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use memmap2::Mmap;

use super::description::Description;
use super::rearranged::Arrangement;
use crate::arch;
use crate::container::gguf::Metadata;
use crate::error::NotModelled;
use crate::spec::{Spec, expert_part, weights};
use crate::tensor::TensorInfo;
use crate::units::Bytes;

/// The parts of a checkpoint.
pub(super) struct Parts {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) description: Description,
    pub(super) source: Source,
    pub(super) files: Vec<PathBuf>,
    pub(super) maps: Vec<Arc<Mmap>>,
    pub(super) tensors: Vec<PlacedTensor>,
    /// Why the description does not hold for an engine that computes with the tensors as they are stored.
    pub(super) otherwise_stored: Option<NotModelled>,
    /// Whether the model has parts beside the text that were not read.
    pub(super) has_other_parts: bool,
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
    let tensors = tensors.into_iter().flat_map(|tensor| of_each_expert(spec, tensor));
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
    tensors.flat_map(parts).collect()
}

/// Gate and up of each expert, if the tensor has both of all experts: `[experts, 2 width, hidden]`, of each expert first the gate. A tensor
/// of another shape stays as it is, for the check to report.
fn of_each_expert(spec: &Spec, (info, place): PlacedTensor) -> Vec<PlacedTensor> {
    let experts = || {
        let (start, kind) = info.name.split_once(arch::GATE_AND_UP)?;
        let layer: usize = start.strip_prefix("blk.")?.strip_suffix('.')?.parse().ok()?;
        let experts = spec.layers.get(layer)?.feed_forward.experts()?;
        let is_whole = kind == ".weight" && info.shape == [experts.count, 2 * experts.expert.width, spec.hidden];
        is_whole.then_some((start, experts))
    };
    let Some((start, experts)) = experts() else { return vec![(info, place)] };
    let bytes = place.range.len() / (2 * experts.count);
    let part = |at: usize| {
        let name = format!("{start}{}.weight", ["ffn_gate_exps", "ffn_up_exps"][at % 2]);
        let info = TensorInfo {
            name: expert_part(&name, at / 2),
            dtype: info.dtype,
            shape: info.shape[1..]
                .iter()
                .enumerate()
                .map(|(at, size)| if at == 0 { size / 2 } else { *size })
                .collect(),
            bytes: Bytes(bytes as u64),
        };
        let first = place.range.start + at * bytes;
        (info, Place { range: first..first + bytes, ..place.clone() })
    };
    (0..2 * experts.count).map(part).collect()
}
