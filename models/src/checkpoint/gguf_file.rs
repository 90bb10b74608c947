//! The parts of a checkpoint in one GGUF file.

use std::path::Path;

use super::parts::{Parts, Source};
use crate::arch;
use crate::container::gguf::{File, Metadata};
use crate::error::{Error, Mismatch, printable};
use crate::tensor::TensorInfo;
use crate::units::Bytes;

/// Maps and reads the file at `path`.
pub(super) fn open(path: &Path) -> Result<Parts, Error> {
    let File { header, map } = File::open(path)?;
    let metadata = header.metadata;
    if let Some(parts) = metadata.count("split.count")?
        && parts > 1
    {
        let found = format!("it is one of {parts} parts");
        let advice = "join them with `llama-gguf-split --merge FIRST_PART OUTPUT`".to_owned();
        return Err(Error::NotAModel { path: path.to_path_buf(), found, advice });
    }
    if header.tensors.is_empty() {
        let (expected, found) = ("the weights of a model", "no tensor (a vocabulary alone?)");
        return Err(Error::Gguf(Mismatch::at(
            path,
            "tensors",
            expected,
            found,
            "fetch a file that contains the whole model",
        )));
    }
    let tensors: Vec<_> = header
        .tensors
        .into_iter()
        .map(|entry| {
            let bytes = Bytes(entry.range.len() as u64);
            (TensorInfo { name: entry.name, dtype: entry.dtype, shape: entry.shape, bytes }, 0, entry.range)
        })
        .collect();
    let spec = arch::from_gguf(&metadata, &|name| {
        tensors.iter().find(|(info, ..)| info.name == name).map(|(info, _, range)| (info, &map[range.clone()]))
    })?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = metadata.text("general.name")?.map_or_else(|| stem.into_owned(), printable);
    Ok(Parts {
        path: path.to_path_buf(),
        name,
        spec,
        source: Source::Gguf(metadata),
        files: vec![path.to_path_buf()],
        maps: vec![map],
        tensors,
    })
}

/// The text of the token whose id is the value of `key`.
pub(super) fn token_text<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a str> {
    let id = metadata.count(key).ok()??;
    metadata.texts("tokenizer.ggml.tokens").ok()??.get(id)
}

/// The name of the quantisation according to `general.file_type`. Source: `enum llama_ftype` in llama.h.
pub(super) fn file_type(metadata: &Metadata) -> Option<&'static str> {
    Some(match metadata.count("general.file_type").ok()?? {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        21 => "Q2_K_S",
        32 => "BF16",
        _ => return None,
    })
}
