//! JSON files of a folder: reading them within limits, and the shape of a config.json.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::scheme::Scheme;
use crate::arch::{self, Fields};
use crate::error::{Error, Fault};
use crate::spec::Spec;

/// Bytes of the largest config.json or tokenizer_config.json that is read. Real ones stay under 1 MB.
pub(crate) const SMALL: u64 = 16 << 20;

impl Spec {
    /// The shape that a config.json describes; no weights are needed (synthetic ones are made from it).
    pub fn from_config(path: &Path) -> Result<Self, Error> {
        let json = read(path, SMALL)?;
        arch::from_config(&Fields::new(path, &json))
    }
}

/// Reads a file of JSON of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Value, Error> {
    let text = read_text(path, limit)?;
    serde_json::from_str(&text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let found = error.to_string();
        // serde_json repeats the place at the end of its text.
        let found = found.split(" at line ").next().unwrap_or_default();
        Error::Config(Fault::at(path, place, "JSON", found, "correct the file, or fetch it again"))
    })
}

/// Reads a file of text of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, Error> {
    let io = |source| Error::io("read", path, source);
    let mut text = String::new();
    File::open(path).map_err(io)?.take(limit + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > limit {
        let (expected, found) = (format!("at most {limit} bytes"), "more".to_owned());
        return Err(Error::Config(Fault::at(
            path,
            "size",
            expected,
            found,
            "this is not the file that it should be: fetch it again",
        )));
    }
    Ok(text)
}

/// How the weights of a folder are quantised: `None` where they are not, MLX's scheme where it is that. Refuses what is not read:
/// GPTQ, AWQ and the like.
pub(crate) fn quantisation(path: &Path, config: &Value) -> Result<Option<Scheme>, Error> {
    let refused = |found: String, advice: &str| {
        Err(Error::UnsupportedQuantisation { file: path.to_path_buf(), found, advice: advice.to_owned() })
    };
    // MLX's tools write the same under the other name too.
    if let Some(scheme) = config.get("quantization").filter(|scheme| scheme.is_object()) {
        return Scheme::read(scheme).map(Some).or_else(|found| {
            refused(
                format!("quantised by MLX in a way that is not read: {found}"),
                "take the model in MLX's affine mode (2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128), or a GGUF file",
            )
        });
    }
    if let Some(scheme) = config.get("quantization_config").filter(|scheme| scheme.is_object()) {
        let method = scheme.get("quant_method").and_then(Value::as_str).unwrap_or("an unnamed method");
        let found = format!("quantised by {}", super::gguf::shown(method));
        return refused(found, "take the GGUF file or the unquantised safetensors of this model");
    }
    Ok(None)
}
