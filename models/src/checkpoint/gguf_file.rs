//! The parts of a checkpoint in a GGUF file, or in several that `llama-gguf-split` wrote.

use std::path::Path;

use super::description::Description;
use super::parts::{self, Parts, Place, Source};
use super::{gguf_kind, joined_latent, split};
use crate::arch;
use crate::container::gguf::{File, Metadata};
use crate::error::{Error, Mismatch, NotModelled, printable};
use crate::tensor::TensorInfo;
use crate::units::Bytes;

/// Maps and reads the file at `path`, and the other parts of a split model.
pub(super) fn open(path: &Path) -> Result<Parts, Error> {
    let first = File::open(path)?;
    let others = split::open_others(path, &first)?;
    if others.is_empty() {
        gguf_kind::check(path, &first.header)?;
    }
    let metadata = first.header.metadata.clone();
    // A template that cannot be read is an error here: without it, prompts would be written in another form.
    metadata.text("tokenizer.chat_template")?;
    let files: Vec<_> = std::iter::once((path.to_path_buf(), first)).chain(others).collect();
    let mut tensors = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (map, (file, part)) in files.iter().enumerate() {
        for entry in &part.header.tensors {
            if !seen.insert(entry.name.as_str()) {
                let (place, found) = (format!("tensor `{}`", printable(&entry.name)), "it again in this part");
                let expected = "each tensor in one part";
                return Err(Error::Gguf(Mismatch::at(file, place, expected, found, split::ALL_PARTS)));
            }
            let bytes = Bytes(entry.range.len() as u64);
            let info = TensorInfo { name: entry.name.clone(), dtype: entry.dtype, shape: entry.shape.clone(), bytes };
            tensors.push((info, Place::plain(map, entry.range.clone())));
        }
    }
    let architecture = arch::required_name(&metadata)?;
    let spec = arch::from_gguf(&metadata, architecture, &|name| {
        let found = tensors.iter().find(|(info, _)| info.name == name);
        found.map(|(info, place)| (info, &files[place.map].1.map[place.range.clone()]))
    });
    let mut otherwise_stored = None;
    let description = match spec {
        Ok(spec) => {
            let (divided, is_divided) = joined_latent::divided_in_gguf(&spec, parts::as_described(&spec, tensors));
            tensors = divided;
            otherwise_stored = is_divided.then(|| NotModelled {
                file: path.to_path_buf(),
                architecture: printable(architecture),
                missing: "keys and values of latent attention in one matrix (attn_kv_b), with which llama.cpp keeps the keys and values of all heads instead of the latent: a newer conversion of the model has attn_k_b and attn_v_b".to_owned(),
            });
            Description::Described(spec)
        }
        Err(error) => Description::Opaque(NotModelled::of(&printable(architecture), path, error)?),
    };
    // A name is only shown: one that cannot be read is replaced by that of the file.
    let own_name = metadata.text("general.name").ok().flatten().filter(|name| !name.is_empty());
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = own_name.map_or_else(|| stem.into_owned(), printable);
    let (files, maps) = files.into_iter().map(|(file, part)| (file, part.map)).unzip();
    let (path, source) = (path.to_path_buf(), Source::Gguf(metadata));
    Ok(Parts { path, name, description, source, files, maps, tensors, otherwise_stored, has_other_parts: false })
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
        38 => "MXFP4",
        _ => return None,
    })
}
