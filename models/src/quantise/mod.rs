//! The weights of a checkpoint in another type, as a GGUF file that every engine opens: same names, same metadata, and keys that say
//! what it was made from and how far it is from that ([`Provenance`]).
//!
//! Plain types only, each matrix by itself and without an importance matrix: what `llama-quantize` does for the same names, but that
//! Q8_0 stands where it takes Q6_K for the matrix that makes the logits. K-quants are read, not made.
//!
//! Everything streams: rows are read from the mapping, widened to f32, rounded, and written at their place.

mod metadata;
mod plan;
mod provenance;
mod target;
mod write;

use std::path::Path;

use crate::checkpoint::Checkpoint;
pub(crate) use crate::checkpoint::gguf::shown;
use crate::checkpoint::gguf::{self, Pairs};
use crate::error::{Error, Fault};
use crate::fetch::Progress;
use crate::units::Bytes;

use self::plan::Planned;

pub use provenance::{
    ERROR_KEY, GIVEN_ERROR_KEY, GIVEN_QUANTISATION_KEY, GIVEN_SHA256_KEY, Given, Provenance, SOURCE_QUANTISATION_KEY,
    SOURCE_SHA256_KEY,
};
pub use target::Target;

/// What is to be made of what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The weights.
    pub checkpoint: &'a Checkpoint,
    /// The SHA-256 of their files ([`crate::digest::sha256`]).
    pub sha256: &'a str,
    /// The type to be.
    pub target: Target,
    /// A GGUF file whose tokenizer the new one takes, for a checkpoint that is a folder.
    pub header: Option<&'a Path>,
}

/// What a finished file is.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// Its whole size.
    pub file_bytes: Bytes,
    /// Bits per parameter: the bytes of all tensors x 8 / parameters.
    pub bits_per_weight: f64,
    /// How many tensors it has.
    pub tensors: usize,
    /// How many matrices have another type than before.
    pub changed: usize,
    /// What it was made from.
    pub provenance: Provenance,
}

/// Writes the file to `path`, whole or not at all.
///
/// # Errors
/// [`Error::Quantise`] for weights that cannot be read or stored so, a folder without `header`, or a `path` that is the source;
/// [`Error::NoSpace`] before anything is written where the disk has no room; [`Error::Io`] where writing fails.
pub fn quantise(request: &Request<'_>, path: &Path, progress: &dyn Progress) -> Result<Quantised, Error> {
    let Request { checkpoint, sha256, target, header } = *request;
    refuse_source(checkpoint, path)?;
    let tensors = plan::plan(checkpoint, target)?;
    let pairs = metadata::metadata(checkpoint, target, header)?;
    let header = |error: f32| {
        let mut pairs: Pairs = pairs.clone();
        pairs.extend(Provenance::of(checkpoint, sha256, error)?.pairs());
        Ok(gguf::header(&pairs, tensors.iter().map(Planned::slot)))
    };
    let (error, file_bytes) = write::write(&tensors, header, checkpoint.path(), path, progress)?;
    let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    Ok(Quantised {
        file_bytes,
        bits_per_weight: Bytes(bytes).as_f64() * 8.0 / checkpoint.spec().parameters().as_f64(),
        tensors: tensors.len(),
        changed: tensors.iter().filter(|tensor| tensor.is_changed()).count(),
        provenance: Provenance::of(checkpoint, sha256, error)?,
    })
}

/// A file must not be made in the place of what it is made from.
fn refuse_source(checkpoint: &Checkpoint, path: &Path) -> Result<(), Error> {
    let Ok(target) = path.canonicalize() else { return Ok(()) };
    let is_source = |file: &std::path::PathBuf| file.canonicalize().is_ok_and(|file| file == target);
    if checkpoint.files().iter().any(is_source) {
        let (expected, found) = ("another file than the source", "the source");
        return Err(Error::Quantise(Fault::at(path, "output", expected, found, "choose another name (-o FILE)")));
    }
    Ok(())
}
