//! The source and the error of quantised weights, stored in the keys of the file.

use crate::checkpoint::Checkpoint;
use crate::container::gguf::{KeyValues, Metadata, Value};
use crate::digest;
use crate::error::{Error, printable};

/// SHA-256 of the original: the file (or list of files) that was not quantised by this tool.
pub const SOURCE_SHA256_KEY: &str = "inferometer.source.sha256";
/// The quantisation of the original.
pub const SOURCE_QUANTISATION_KEY: &str = "inferometer.source.quantisation";
/// Relative error of the weights against the file that was quantised.
pub const ERROR_KEY: &str = "inferometer.quantisation.error";
/// SHA-256 of the file that was quantised, if it is not the original.
pub const GIVEN_SHA256_KEY: &str = "inferometer.given.sha256";
/// The quantisation of that file.
pub const GIVEN_QUANTISATION_KEY: &str = "inferometer.given.quantisation";
/// The error in the keys of that file.
pub const GIVEN_ERROR_KEY: &str = "inferometer.given.error";

/// All keys of the provenance.
const KEYS: [&str; 6] =
    [SOURCE_SHA256_KEY, SOURCE_QUANTISATION_KEY, ERROR_KEY, GIVEN_SHA256_KEY, GIVEN_QUANTISATION_KEY, GIVEN_ERROR_KEY];

/// The source and the error of quantised weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// SHA-256 of the original.
    pub source_sha256: String,
    /// The quantisation of the original, such as `F16`.
    pub source_quantisation: String,
    /// `sqrt(sum (w - w')^2 / sum w^2)`, without unit: `w` are the weights of `given`, or of the original if that is `None`, `w'` those of
    /// this file, over the matrices whose type changed; 0 if none did.
    pub error: f32,
    /// The file that was quantised, if it is not the original.
    pub given: Option<Given>,
}

/// A file between the original and this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Its SHA-256.
    pub sha256: String,
    /// Its quantisation.
    pub quantisation: String,
    /// Its own error, against the file that it was quantised from.
    pub error: f32,
}

impl Provenance {
    /// The provenance of a file quantised from `checkpoint`, whose digest is `sha256`, with this error.
    pub(super) fn new(checkpoint: &Checkpoint, sha256: &str, error: f32) -> Result<Self, Error> {
        let (sha256, quantisation) = (sha256.to_owned(), checkpoint.quantisation());
        Ok(match checkpoint.provenance()? {
            None => Self { source_sha256: sha256, source_quantisation: quantisation, error, given: None },
            Some(before) => Self {
                source_sha256: before.source_sha256,
                source_quantisation: before.source_quantisation,
                error,
                given: Some(Given { sha256, quantisation, error: before.error }),
            },
        })
    }

    /// The keys of the file.
    pub(super) fn keys(&self) -> KeyValues {
        let text = |text: &str| Value::String(text.to_owned());
        let mut keys = vec![
            (SOURCE_SHA256_KEY.to_owned(), text(&self.source_sha256)),
            (SOURCE_QUANTISATION_KEY.to_owned(), text(&self.source_quantisation)),
            (ERROR_KEY.to_owned(), Value::F32(self.error)),
        ];
        if let Some(given) = &self.given {
            keys.extend([
                (GIVEN_SHA256_KEY.to_owned(), text(&given.sha256)),
                (GIVEN_QUANTISATION_KEY.to_owned(), text(&given.quantisation)),
                (GIVEN_ERROR_KEY.to_owned(), Value::F32(given.error)),
            ]);
        }
        keys
    }

    fn read(metadata: &Metadata) -> Result<Option<Self>, Error> {
        let Some(source_sha256) = sha256(metadata, SOURCE_SHA256_KEY)? else { return Ok(None) };
        let given = match sha256(metadata, GIVEN_SHA256_KEY)? {
            None => None,
            Some(sha256) => Some(Given {
                sha256,
                quantisation: quantisation(metadata, GIVEN_QUANTISATION_KEY)?,
                error: error(metadata, GIVEN_ERROR_KEY)?,
            }),
        };
        Ok(Some(Self {
            source_sha256,
            source_quantisation: quantisation(metadata, SOURCE_QUANTISATION_KEY)?,
            error: error(metadata, ERROR_KEY)?,
            given,
        }))
    }
}

fn sha256(metadata: &Metadata, key: &str) -> Result<Option<String>, Error> {
    match metadata.text(key)? {
        Some(text) if !digest::is_digest(text) => {
            Err(metadata.mismatch(key, "64 hexadecimal digits", format!("`{}`", printable(text))))
        }
        found => Ok(found.map(str::to_owned)),
    }
}

fn quantisation(metadata: &Metadata, key: &str) -> Result<String, Error> {
    metadata.required(key, metadata.text(key)?).map(printable)
}

fn error(metadata: &Metadata, key: &str) -> Result<f32, Error> {
    let error = metadata.required(key, metadata.number(key)?)?;
    if error >= 0.0 {
        Ok(error)
    } else {
        Err(metadata.mismatch(key, "a number that is not negative", error.to_string()))
    }
}

impl Checkpoint {
    /// The source of quantised weights; `None` if the file does not contain it.
    ///
    /// # Errors
    /// If its keys are damaged.
    pub fn provenance(&self) -> Result<Option<Provenance>, Error> {
        self.metadata().map_or(Ok(None), Provenance::read)
    }
}

/// Whether a key belongs to the provenance.
pub(super) fn is_key(key: &str) -> bool {
    KEYS.contains(&key)
}
