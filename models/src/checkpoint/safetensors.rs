//! The weights of a folder: one file, or shards named by an index. Names are translated to those of GGUF; headers are checked by
//! the `safetensors` crate, the index here.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use super::scheme::Scheme;
use super::{TensorInfo, config, gguf, mapping, sniff};
use crate::dtype::DType;
use crate::error::{Error, Fault};
use crate::spec::Spec;
use crate::units::Bytes;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Bytes of the largest index that is read. A model of 1,000 tensors has one of 100 kB.
const INDEX_BYTES: u64 = 32 << 20;
const FETCH_AGAIN: &str = "fetch the folder again";

/// A tensor, which file it is in, and its bytes there.
type Placed = (TensorInfo, usize, Range<usize>);

/// The files that hold the weights of `folder`.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join(INDEX);
    if !index.is_file() {
        let found = format!("the folder has neither {SINGLE} nor {INDEX}");
        let advice = "fetch the weights in safetensors form, or give a .gguf file".to_owned();
        return Err(Error::NotAModel { path: folder.to_path_buf(), found, advice });
    }
    let json = config::read(&index, INDEX_BYTES)?;
    let fault = |place: &str, expected: &str, found: String| {
        Error::Safetensors(Fault::at(&index, place, expected, found, FETCH_AGAIN))
    };
    let map = json.get("weight_map").and_then(serde_json::Value::as_object);
    let map =
        map.ok_or_else(|| fault("field `weight_map`", "an object of tensor and file names", "none".to_owned()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let place = format!("weight_map, tensor `{}`", gguf::shown(tensor));
        let name = file.as_str().filter(|name| is_plain(name));
        let name = name.ok_or_else(|| {
            fault(&place, "the plain name of a .safetensors file in this folder", gguf::shown(&file.to_string()))
        })?;
        names.insert(name);
    }
    if names.is_empty() {
        return Err(fault("field `weight_map`", "at least one tensor", "none".to_owned()));
    }
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    match files.iter().find(|file| !file.is_file()) {
        None => Ok(files),
        Some(missing) => {
            let expected = format!("all {} files of the index", files.len());
            Err(Error::Safetensors(Fault::at(
                missing,
                "shard",
                expected,
                "no such file",
                "fetch the missing file into the folder",
            )))
        }
    }
}

/// Whether `name` is a file name and no path: it comes from the index, which anybody may have written.
fn is_plain(name: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= 255 && name.bytes().all(safe) && !name.starts_with('.') && name.ends_with(".safetensors")
}

/// Maps all files and translates their tables of tensors.
pub(crate) fn read(
    folder: &Path,
    files: &[PathBuf],
    spec: &Spec,
    scheme: Option<&Scheme>,
) -> Result<(Vec<Arc<Mmap>>, Vec<Placed>), Error> {
    let mut maps = Vec::new();
    let mut tensors = Vec::new();
    let mut seen: HashMap<String, PathBuf> = HashMap::new();
    for (at, file) in files.iter().enumerate() {
        let map = mapping::map(file)?;
        for (info, range) in table(file, &map, spec, scheme)? {
            if let Some(first) = seen.insert(info.name.clone(), file.clone()) {
                let (expected, found) =
                    ("each tensor once in the folder", format!("it again, after {}", first.display()));
                return Err(Error::Safetensors(Fault::at(
                    file,
                    format!("tensor `{}`", info.name),
                    expected,
                    found,
                    FETCH_AGAIN,
                )));
            }
            tensors.push((info, at, range));
        }
        maps.push(map);
    }
    if tensors.is_empty() {
        return Err(Error::Safetensors(Fault::at(folder, "weights", "tensors", "none", FETCH_AGAIN)));
    }
    Ok((maps, tensors))
}

/// The tensors of one file, in the order of their bytes.
fn table(
    file: &Path,
    bytes: &[u8],
    spec: &Spec,
    scheme: Option<&Scheme>,
) -> Result<Vec<(TensorInfo, Range<usize>)>, Error> {
    let foreign = match sniff::sniff(bytes) {
        sniff::Kind::Safetensors | sniff::Kind::Unknown => None,
        sniff::Kind::Gguf => Some(("a GGUF file", "give that file alone, not the folder")),
        sniff::Kind::Foreign(found, advice) => Some((found, advice)),
    };
    if let Some((found, advice)) = foreign {
        let (found, advice) = (format!("it is {found}"), advice.to_owned());
        return Err(Error::NotAModel { path: file.to_path_buf(), found, advice });
    }
    let header = SafeTensors::read_metadata(bytes);
    let (header_bytes, metadata) = header.map_err(|error| {
        Error::Safetensors(Fault::at(
            file,
            "header",
            "a table of tensors that covers the file",
            error.to_string(),
            "the file is incomplete or damaged: fetch it again",
        ))
    })?;
    let data_start = 8 + header_bytes;
    let mut tensors = Vec::new();
    // In the order of their bytes, so that of several faults the same one is told each time.
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let fault = |expected: &str, found: String, advice: &str| {
            Error::Safetensors(Fault::at(file, format!("tensor `{}`", gguf::shown(&name)), expected, found, advice))
        };
        if is_surplus(&name, spec) {
            continue;
        }
        let Some(canonical) = canonical(&name) else {
            return Err(fault(
                "a tensor of a plain decoder",
                "this name".to_owned(),
                "this variant is not supported: take a plain model of the architecture",
            ));
        };
        let mut shape = info.shape.clone();
        let dtype = match (info.dtype, scheme) {
            (Dtype::F32, _) => DType::F32,
            (Dtype::F16, _) => DType::F16,
            (Dtype::BF16, _) => DType::BF16,
            (Dtype::U32, Some(scheme)) => {
                let dtype = scheme.of(name.strip_suffix(".weight").unwrap_or(&name));
                // Words of 32 bits in the file, elements from here on.
                if let (Some((bits, _)), [_, columns]) = (dtype.mlx_form(), shape.as_mut_slice()) {
                    *columns = columns.saturating_mul(32) / bits;
                }
                dtype
            }
            (other, _) => {
                return Err(fault(
                    "F32, F16 or BF16",
                    format!("{other:?}"),
                    "take the unquantised weights of this model, or a GGUF file",
                ));
            }
        };
        let (start, end) = info.data_offsets;
        let info = TensorInfo { name: canonical, dtype, shape, bytes: Bytes((end - start) as u64) };
        tensors.push((info, data_start + start..data_start + end));
    }
    Ok(tensors)
}

/// Tensors that some folders carry and nothing needs: a table of frequencies, and a copy of the embeddings where they are tied.
fn is_surplus(name: &str, spec: &Spec) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || (spec.tied_embeddings && name.starts_with("lm_head."))
}

/// The name in the manner of GGUF for a name in the manner of transformers.
fn canonical(name: &str) -> Option<String> {
    Some(match name {
        "model.norm.weight" => "output_norm.weight".to_owned(),
        _ if let Some(kind @ ("weight" | "scales" | "biases")) = name.strip_prefix("model.embed_tokens.") => {
            format!("token_embd.{kind}")
        }
        _ if let Some(kind @ ("weight" | "scales" | "biases")) = name.strip_prefix("lm_head.") => {
            format!("output.{kind}")
        }
        _ => {
            let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
            // One name per layer: `07` would be another tensor under the same name.
            let number: usize = layer.parse().ok()?;
            let (module, kind) = part.rsplit_once('.')?;
            let module = match module {
                "input_layernorm" => "attn_norm",
                "self_attn.q_proj" => "attn_q",
                "self_attn.k_proj" => "attn_k",
                "self_attn.v_proj" => "attn_v",
                "self_attn.o_proj" => "attn_output",
                "post_attention_layernorm" => "ffn_norm",
                "mlp.gate_proj" => "ffn_gate",
                "mlp.up_proj" => "ffn_up",
                "mlp.down_proj" => "ffn_down",
                _ => return None,
            };
            if number.to_string() != layer || !matches!(kind, "weight" | "bias" | "scales" | "biases") {
                return None;
            }
            format!("blk.{number}.{module}.{kind}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated() {
        assert_eq!(canonical("model.layers.12.self_attn.o_proj.weight").as_deref(), Some("blk.12.attn_output.weight"));
        assert_eq!(canonical("model.layers.0.self_attn.q_proj.bias").as_deref(), Some("blk.0.attn_q.bias"));
        for odd in [
            "model.layers.07.mlp.up_proj.weight",
            "model.layers.x.mlp.up_proj.weight",
            "model.layers.0.mlp.up_proj.zeros",
            "lm_head.bias",
            "model.layers.0",
            "score.weight",
        ] {
            assert_eq!(canonical(odd), None, "{odd}");
        }
    }

    #[test]
    fn paths_are_no_file_names() {
        assert!(is_plain("model-00001-of-00004.safetensors"));
        for bad in [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/b.safetensors",
            "a\\b.safetensors",
            ".safetensors",
            "..safetensors",
            "x.bin",
            "",
            "x\0.safetensors",
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }
}
