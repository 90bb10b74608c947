//! Where quantised weights are from: keys of the file that was made, which say what it was made from and how far it is from that.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::gguf::{Metadata, Pairs, Value};
use crate::digest;
use crate::error::Error;

/// SHA-256 of the first source: the file (or list of files) that nobody here had quantised before.
pub const SOURCE_SHA256_KEY: &str = "inferometer.source.sha256";
/// The quantisation of the first source.
pub const SOURCE_QUANTISATION_KEY: &str = "inferometer.source.quantisation";
/// Relative error of the weights against the file that this one was made from.
pub const ERROR_KEY: &str = "inferometer.quantisation.error";
/// SHA-256 of the file that this one was made from, where that is not the first source.
pub const GIVEN_SHA256_KEY: &str = "inferometer.given.sha256";
/// The quantisation of that file.
pub const GIVEN_QUANTISATION_KEY: &str = "inferometer.given.quantisation";
/// The error that that file says of itself.
pub const GIVEN_ERROR_KEY: &str = "inferometer.given.error";

/// All of them.
const KEYS: [&str; 6] =
    [SOURCE_SHA256_KEY, SOURCE_QUANTISATION_KEY, ERROR_KEY, GIVEN_SHA256_KEY, GIVEN_QUANTISATION_KEY, GIVEN_ERROR_KEY];

/// What quantised weights were made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// SHA-256 of the first source.
    pub source_sha256: String,
    /// The quantisation of the first source, such as `F16`.
    pub source_quantisation: String,
    /// `sqrt(sum (w - w')^2 / sum w^2)`, no unit: `w` the weights of `given`, or of the source where there is none between, `w'` those
    /// of this file, over the matrices whose type changed; 0 where none did.
    pub error: f32,
    /// The file that this one was made from, where that is not the first source.
    pub given: Option<Given>,
}

/// A file between the first source and this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Its SHA-256.
    pub sha256: String,
    /// Its quantisation.
    pub quantisation: String,
    /// The error that it says of itself, against what it was made from.
    pub error: f32,
}

impl Provenance {
    /// Of a file made from `checkpoint`, whose digest is `sha256`, with this error.
    pub(super) fn of(checkpoint: &Checkpoint, sha256: &str, error: f32) -> Result<Self, Error> {
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

    /// The keys of a file that say it.
    pub(super) fn pairs(&self) -> Pairs {
        let text = |text: &str| Value::String(text.to_owned());
        let mut pairs = vec![
            (SOURCE_SHA256_KEY.to_owned(), text(&self.source_sha256)),
            (SOURCE_QUANTISATION_KEY.to_owned(), text(&self.source_quantisation)),
            (ERROR_KEY.to_owned(), Value::F32(self.error)),
        ];
        if let Some(given) = &self.given {
            pairs.extend([
                (GIVEN_SHA256_KEY.to_owned(), text(&given.sha256)),
                (GIVEN_QUANTISATION_KEY.to_owned(), text(&given.quantisation)),
                (GIVEN_ERROR_KEY.to_owned(), Value::F32(given.error)),
            ]);
        }
        pairs
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
            Err(metadata.fault(key, "64 hexadecimal digits", format!("`{}`", super::shown(text))))
        }
        found => Ok(found.map(str::to_owned)),
    }
}

fn quantisation(metadata: &Metadata, key: &str) -> Result<String, Error> {
    metadata.required(key, metadata.text(key)?).map(super::shown)
}

fn error(metadata: &Metadata, key: &str) -> Result<f32, Error> {
    let error = metadata.required(key, metadata.number(key)?)?;
    if error >= 0.0 { Ok(error) } else { Err(metadata.fault(key, "a number that is not negative", error.to_string())) }
}

impl Checkpoint {
    /// What the weights were made from; `None` where the file does not say.
    ///
    /// # Errors
    /// When the keys that say it are damaged.
    pub fn provenance(&self) -> Result<Option<Provenance>, Error> {
        self.metadata().map_or(Ok(None), Provenance::read)
    }
}

/// Whether a key says where weights are from, which a file that is made says anew.
pub(super) fn is_key(key: &str) -> bool {
    KEYS.contains(&key)
}
