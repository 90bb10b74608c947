//! Quantising a checkpoint: its weights in another type, as a GGUF file with the same names and metadata, and with keys for the source
//! and the error of the weights ([`Provenance`]).
//!
//! Only plain types are supported, without an importance matrix, with the result of `llama-quantize` for the same type, except that the
//! matrix that computes the logits is Q8_0 instead of Q6_K. K-quants can be read, but not written.
//!
//! Weights are streamed: rows are read from the mapping, dequantised to f32, quantised, and written to their position.

mod metadata;
mod plan;
mod provenance;
mod target;
mod write;

use std::path::Path;

use crate::checkpoint::{Checkpoint, Description};
use crate::container::gguf::{self, KeyValues};
use crate::error::{Error, Mismatch};
use crate::progress::Progress;
use crate::spec::{Spec, weights};
use crate::units::Bytes;

use self::plan::PlannedTensor;

pub use provenance::{
    ERROR_KEY, GIVEN_ERROR_KEY, GIVEN_QUANTISATION_KEY, GIVEN_SHA256_KEY, Given, Provenance, SOURCE_QUANTISATION_KEY,
    SOURCE_SHA256_KEY,
};
pub use target::Target;

/// A checkpoint to quantise, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The source.
    pub checkpoint: &'a Checkpoint,
    /// The SHA-256 of its files ([`crate::digest::sha256`]).
    pub sha256: &'a str,
    /// The new type.
    pub target: Target,
    /// A GGUF file from which the tokenizer is copied, for a checkpoint that is a folder.
    pub header: Option<&'a Path>,
}

/// The description of a finished file.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// Its size.
    pub file_bytes: Bytes,
    /// Bits per parameter: the bytes of all tensors x 8 / parameters.
    pub bits_per_weight: f64,
    /// The number of tensors.
    pub tensors: usize,
    /// The number of matrices whose type changed.
    pub changed: usize,
    /// Its source and error.
    pub provenance: Provenance,
}

/// Writes the file to `path` atomically.
///
/// # Errors
/// [`Error::Quantise`] for weights that cannot be read or represented, a folder without `header`, or a `path` that is the source;
/// [`Error::NoSpace`] before anything is written; [`Error::Io`] if writing fails.
pub fn quantise(request: &Request<'_>, path: &Path, progress: &dyn Progress) -> Result<Quantised, Error> {
    let Request { checkpoint, sha256, target, header } = *request;
    refuse_source(checkpoint, path)?;
    let tensors = plan::plan(checkpoint, target)?;
    let keys = metadata::metadata(checkpoint, target, header)?;
    let header = |error: f32| {
        let mut keys: KeyValues = keys.clone();
        keys.extend(Provenance::new(checkpoint, sha256, error)?.keys());
        Ok(gguf::header(&keys, tensors.iter().map(PlannedTensor::header_entry)))
    };
    let check = |written: &Path| check_description(checkpoint, written);
    let (error, file_bytes) = write::write(&tensors, header, check, checkpoint.path(), path, progress)?;
    let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    Ok(Quantised {
        file_bytes,
        bits_per_weight: Bytes(bytes).as_f64() * 8.0 / checkpoint.outline().parameters.as_f64(),
        tensors: tensors.len(),
        changed: tensors.iter().filter(|tensor| tensor.is_changed()).count(),
        provenance: Provenance::new(checkpoint, sha256, error)?,
    })
}

/// Refuses a file that does not describe the weights of the source: config.json can state layers for which GGUF has no key, such as a
/// layer without experts among others of `qwen3moe`.
fn check_description(source: &Checkpoint, written: &Path) -> Result<(), Error> {
    let shapes = |spec: &Spec| weights(spec).into_iter().map(|weight| (weight.name, weight.shape)).collect::<Vec<_>>();
    let found = match Checkpoint::open(written)?.description() {
        Description::Described(spec) if shapes(spec) == shapes(source.spec()?) => return Ok(()),
        Description::Described(_) => "other weights in the keys of its file".to_owned(),
        Description::Opaque(reason) => reason.missing.clone(),
    };
    let expected = "layers that the keys of a GGUF file of this architecture can state";
    let advice = "use the model as it is";
    Err(Error::Quantise(Mismatch::at(source.path(), "description", expected, found, advice)))
}

/// Refuses to overwrite the source.
fn refuse_source(checkpoint: &Checkpoint, path: &Path) -> Result<(), Error> {
    let Ok(target) = path.canonicalize() else { return Ok(()) };
    let is_source = |file: &std::path::PathBuf| file.canonicalize().is_ok_and(|file| file == target);
    if checkpoint.files().iter().any(is_source) {
        let (expected, found) = ("another file than the source", "the source");
        return Err(Error::Quantise(Mismatch::at(path, "output", expected, found, "choose another output file")));
    }
    Ok(())
}
