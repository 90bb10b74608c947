//! The weights of a folder: one safetensors file, or shards listed in an index. Tensor names are translated to those of GGUF. The
//! `safetensors` crate checks the headers, this module the index.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::fused_experts::{self, Raw};
use super::joined_latent;
use super::listing::{entries, files_with, names as names_of};
use super::parts::{self, Place, PlacedTensor};
use super::quantisation::MlxScheme;
use super::resolve::{dangling, other_weights};
use crate::arch::may_have_media;
use crate::container::{self, FileFormat, OtherFormat, json};
use crate::dtype::DType;
use crate::error::{Cause, Error, Mismatch, printable};
use crate::spec::{NormPlacement, Spec, expert_part};
use crate::tensor::TensorInfo;
use crate::units::Bytes;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The size limit of an index in bytes. That of a model of 1,000 tensors has 100 kB.
const INDEX_LIMIT: u64 = 32 << 20;

/// The files that contain the weights of `folder`: `model.safetensors`, those of the index, or all safetensors files.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    if single.is_symlink() {
        return Err(dangling(&single));
    }
    let index = folder.join(INDEX);
    let there = weights(folder);
    if !index.is_file() {
        return if there.is_empty() { Err(no_weights(folder)) } else { Ok(there) };
    }
    let json = json::read(&index, INDEX_LIMIT)?;
    let mismatch = |place: &str, expected: &str, found: String| {
        let advice = "take the index that belongs to the weights";
        Error::Safetensors(Mismatch::at(&index, place, expected, found, advice))
    };
    let map = json.get("weight_map").and_then(serde_json::Value::as_object);
    let map =
        map.ok_or_else(|| mismatch("field `weight_map`", "an object of tensor and file names", "none".to_owned()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let place = format!("weight_map, tensor `{}`", printable(tensor));
        let name = file.as_str().filter(|name| is_plain(name));
        let name = name.ok_or_else(|| {
            mismatch(&place, "the plain name of a .safetensors file in this folder", printable(&file.to_string()))
        })?;
        names.insert(name);
    }
    if names.is_empty() {
        return Err(mismatch("field `weight_map`", "at least one tensor", "none".to_owned()));
    }
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    if let Some(link) = files.iter().find(|file| file.is_symlink() && !file.is_file()) {
        return Err(dangling(link));
    }
    let missing: Vec<PathBuf> = files.iter().filter(|file| !file.is_file()).cloned().collect();
    if missing.is_empty() {
        return Ok(files);
    }
    let others: Vec<PathBuf> = there.iter().filter(|file| !files.contains(file)).cloned().collect();
    let listed = |files: &[PathBuf]| if files.is_empty() { "none".to_owned() } else { names_of(files) };
    let advice = if others.is_empty() {
        "fetch the missing files into the folder"
    } else {
        "the index is of another sharding: take the index of the files that are there, or remove it, and all .safetensors files of the folder are read"
    };
    let expected = format!("the files of the index ({})", files.len());
    let found = format!("no {}; the folder has {}", listed(&missing), listed(&there));
    Err(Error::Safetensors(Mismatch::at(&index, "weight_map", expected, found, advice)))
}

/// The safetensors files of a folder that may be its weights: no adapters, and no copy of the weights in Mistral's own layout.
fn weights(folder: &Path) -> Vec<PathBuf> {
    let is_other = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["adapter_model", "consolidated", "optimizer"].iter().any(|start| name.starts_with(start))
    };
    let mut files = files_with(folder, "safetensors");
    files.retain(|path| !is_other(path));
    files
}

/// The error of a folder with config.json and without weights that can be read.
fn no_weights(folder: &Path) -> Error {
    let (found, advice) = match other_weights(folder) {
        Some((form, files)) => {
            (format!("the folder has {} ({}) and no safetensors", form.name, names_of(&files)), form.advice)
        }
        None => (
            format!("the folder has neither {SINGLE} nor {INDEX}; it has {}", names_of(&entries(folder))),
            "fetch the weights in safetensors form, or give a .gguf file",
        ),
    };
    Error::NotAModel { path: folder.to_path_buf(), found, advice: advice.to_owned() }
}

/// Whether `name` is a plain file name without a path. It comes from the index, which is not trusted.
fn is_plain(name: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= 255 && name.bytes().all(safe) && !name.starts_with('.') && name.ends_with(".safetensors")
}

/// The name of a tensor of the text part in a folder of a model that has other parts too, as folders of text models have it; `None` for a
/// tensor of another part: it is not read. Folders of text models have other names only.
fn text_name(name: &str, has_text_part: bool) -> Option<&str> {
    const OTHERS: [&str; 6] =
        ["visual.", "vision_tower.", "vision_model.", "multi_modal_projector.", "audio_tower.", "mtp."];
    if !has_text_part {
        return Some(name);
    }
    let inner = name.strip_prefix("model.").unwrap_or(name);
    if OTHERS.iter().any(|other| inner.starts_with(other)) {
        return None;
    }
    // `model.language_model.layers`, and before version 5 of transformers `language_model.model.layers`.
    Some(inner.strip_prefix("language_model.").unwrap_or(name))
}

/// Maps all files and reads their tables of tensors. `has_text_part`: the folder is of a model with other parts beside the text.
pub(super) fn read(
    folder: &Path,
    files: &[PathBuf],
    spec: &Spec,
    scheme: Option<&MlxScheme>,
    has_text_part: bool,
) -> Result<(Vec<Arc<Mmap>>, Vec<PlacedTensor>), Error> {
    let mut maps = Vec::new();
    let mut tensors = Vec::new();
    let (mut experts, mut latent) = (Vec::new(), Vec::new());
    let mut seen: HashMap<String, PathBuf> = HashMap::new();
    for (at, file) in files.iter().enumerate() {
        let map = container::map(file)?;
        let Table { plain, fused, joined } = table(file, &map, spec, scheme, has_text_part)?;
        let raw = fused.iter().map(|(_, raw)| raw).chain(joined.iter().map(|(_, raw)| raw));
        let names = plain.iter().map(|(info, _)| &info.name).chain(raw.map(|raw| &raw.name));
        for name in names {
            if let Some(first) = seen.insert(name.clone(), file.clone()) {
                let (expected, found) =
                    ("each tensor once in the folder", format!("it again, after {}", first.display()));
                return Err(Error::Safetensors(Mismatch::at(
                    file,
                    format!("tensor `{}`", printable(name)),
                    expected,
                    found,
                    "remove the file that does not belong to the model",
                )));
            }
        }
        let placed = plain.into_iter().map(|(info, range)| (info, Place::plain(at, range)));
        tensors.extend(parts::as_described(spec, placed.collect()));
        experts.extend(fused.into_iter().map(|(name, raw)| (name, Raw { map: at, ..raw })));
        latent.extend(joined.into_iter().map(|(layer, raw)| (layer, Raw { map: at, ..raw })));
        maps.push(map);
    }
    tensors.extend(fused_experts::described(folder, spec, &experts)?);
    tensors.extend(joined_latent::described(folder, spec, &latent)?);
    if tensors.is_empty() {
        return Err(Error::Safetensors(Mismatch::at(folder, "weights", "tensors", "none", Cause::WrittenWrongly)));
    }
    Ok((maps, tensors))
}

/// The tensors of one file.
#[derive(Default)]
struct Table {
    /// Those that are stored as in the description, or in one with others.
    plain: Vec<(TensorInfo, Range<usize>)>,
    /// Experts in one tensor.
    fused: Vec<(fused_experts::Name, Raw)>,
    /// Keys and values of latent attention in one tensor, with the layer.
    joined: Vec<(usize, Raw)>,
}

/// The tensors of one file, in the order of their bytes.
fn table(
    file: &Path,
    bytes: &[u8],
    spec: &Spec,
    scheme: Option<&MlxScheme>,
    has_text_part: bool,
) -> Result<Table, Error> {
    let wrong_format = match container::identify(bytes) {
        FileFormat::Safetensors | FileFormat::Unknown => None,
        FileFormat::Gguf => Some(("a GGUF file".to_owned(), "give that file alone, not the folder")),
        FileFormat::Other(OtherFormat { name, advice }) => Some((name, advice)),
    };
    if let Some((name, advice)) = wrong_format {
        let (found, advice) = (format!("it is {name}"), advice.to_owned());
        return Err(Error::NotAModel { path: file.to_path_buf(), found, advice });
    }
    let header = SafeTensors::read_metadata(bytes);
    let (header_bytes, metadata) = header.map_err(|error| invalid_header(file, bytes, &error))?;
    let data_start = 8 + header_bytes;
    let mut tensors = Table::default();
    // In the order of their bytes, so that a file with several errors always gets the same one.
    for stored in metadata.offset_keys() {
        let Some(info) = metadata.info(&stored) else { continue };
        let Some(name) = text_name(&stored, has_text_part).map(str::to_owned) else { continue };
        let mismatch = |expected: &str, found: String, advice: &str| {
            Error::Safetensors(Mismatch::at(file, format!("tensor `{}`", printable(&name)), expected, found, advice))
        };
        let not_a_float = |name: &str, found: Dtype| {
            let advice = "take the unquantised weights of this model, or a GGUF file";
            let place = format!("tensor `{}`", printable(name));
            Error::Safetensors(Mismatch::at(file, place, "F32, F16 or BF16", format!("{found:?}"), advice))
        };
        if is_ignored(&name, spec) {
            continue;
        }
        let (start, end) = info.data_offsets;
        let range = data_start + start..data_start + end;
        if let Some(fused) = fused_experts::name_of(&name) {
            let dtype = match info.dtype {
                Dtype::U8 => None,
                other => Some(float_type(other).ok_or_else(|| not_a_float(&name, other))?),
            };
            let raw = Raw { name, dtype, shape: info.shape.clone(), map: 0, range };
            tensors.fused.push((fused, raw));
            continue;
        }
        if let Some(layer) = joined_latent::layer_of(&name)
            && let Some(dtype) = float_type(info.dtype)
        {
            let raw = Raw { name, dtype: Some(dtype), shape: info.shape.clone(), map: 0, range };
            tensors.joined.push((layer, raw));
            continue;
        }
        let Some(gguf_name) = gguf_name(&name, spec) else {
            return Err(mismatch("a tensor of a plain decoder", "this name".to_owned(), Cause::Unsupported.advice()));
        };
        let mut shape = info.shape.clone();
        let dtype = match (info.dtype, scheme) {
            (Dtype::U32, Some(scheme)) => {
                // Exceptions are under the names of the file.
                let dtype = scheme.dtype(stored.strip_suffix(".weight").unwrap_or(&stored));
                // The file counts words of 32 bits; the shape counts elements.
                if let (Some((bits, _)), [_, columns]) = (dtype.mlx_bits_and_group_size(), shape.as_mut_slice()) {
                    *columns = columns.saturating_mul(32) / bits;
                }
                dtype
            }
            (other, _) => float_type(other).ok_or_else(|| not_a_float(&name, other))?,
        };
        if gguf_name.ends_with(".ffn_gate_inp_shexp.weight") && shape.first() == Some(&1) {
            // A matrix of one row.
            shape.remove(0);
        }
        if is_kernel(&gguf_name) && shape.len() == 3 {
            // Of one channel each: `[channels, 1, taps]`, in folders of MLX `[channels, taps, 1]`.
            shape.retain(|size| *size != 1);
        }
        let info = TensorInfo { name: gguf_name, dtype, shape, bytes: Bytes((end - start) as u64) };
        tensors.plain.push((info, range));
    }
    Ok(tensors)
}

/// Whether a tensor of this GGUF name holds the kernels of a convolution.
fn is_kernel(gguf_name: &str) -> bool {
    [".shortconv.conv.weight", ".ssm_conv1d.weight"].iter().any(|end| gguf_name.ends_with(end))
}

/// The type of floats; `None` for every other.
const fn float_type(stored: Dtype) -> Option<DType> {
    match stored {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// The error of a header: whether bytes are missing, or the table is wrong in a file that is whole.
fn invalid_header(file: &Path, bytes: &[u8], error: &SafeTensorError) -> Error {
    let mismatch = |expected: String, found: String, cause: Cause| {
        Error::Safetensors(Mismatch::at(file, "header", expected, found, cause))
    };
    let cause = match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            if let Some((declared, there)) = data_bytes(bytes)
                && declared != there
            {
                let cause = if there < declared { Cause::Damaged } else { Cause::WrittenWrongly };
                return mismatch(format!("{declared} bytes of tensors"), format!("{there} bytes"), cause);
            }
            Cause::WrittenWrongly
        }
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => Cause::Damaged,
        SafeTensorError::HeaderTooLarge
        | SafeTensorError::InvalidHeader(_)
        | SafeTensorError::InvalidHeaderDeserialization(_) => Cause::Unexpected,
        _ => Cause::WrittenWrongly,
    };
    mismatch("a table of tensors that covers the file".to_owned(), error.to_string(), cause)
}

/// The bytes of all tensors according to the header, and those behind the header.
fn data_bytes(bytes: &[u8]) -> Option<(u64, u64)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let ends = header.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    Some((ends.max().unwrap_or(0), data.len() as u64))
}

/// Tensors of some folders that are not needed: tables of frequencies and masks, and a copy of tied embeddings.
fn is_ignored(name: &str, spec: &Spec) -> bool {
    name.ends_with("rotary_emb.inv_freq")
        || name.ends_with(".self_attn.masked_bias")
        || (spec.tied_embeddings && name.starts_with("lm_head."))
        || is_of_further_prediction(name, spec)
        || (may_have_media(spec) && is_of_media(name))
}

/// Tensors of the parts for pictures and sound of a model that has more than its text part.
fn is_of_media(name: &str) -> bool {
    let name = name.strip_prefix("model.").unwrap_or(name);
    ["vision_tower.", "audio_tower.", "embed_vision.", "embed_audio."].iter().any(|start| name.starts_with(start))
}

/// Tensors of the layers after the last one, which predict further tokens: folders of models with latent attention have them.
fn is_of_further_prediction(name: &str, spec: &Spec) -> bool {
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let is_behind = layer.and_then(|(layer, _)| layer.parse().ok()).is_some_and(|at: usize| at >= spec.layers.len());
    is_behind && spec.layers.iter().any(|layer| layer.mixer.latent_attention().is_some())
}

/// The GGUF name of a tensor with this name in transformers. A model that was saved without its head has no `model.` in its names.
fn gguf_name(name: &str, spec: &Spec) -> Option<String> {
    // The text part of a model that has others too is `model.language_model`, in folders of MLX `language_model.model`.
    let name = name.strip_prefix("model.").unwrap_or(name);
    let name = match name.strip_prefix("language_model.").filter(|_| may_have_media(spec)) {
        Some(text) => text.strip_prefix("model.").unwrap_or(text),
        None => name,
    };
    Some(match name {
        "per_layer_projection_norm.weight" => "per_layer_proj_norm.weight".to_owned(),
        _ if let Some(kind @ ("weight" | "scales" | "biases")) = name.strip_prefix("embed_tokens_per_layer.") => {
            format!("per_layer_token_embd.{kind}")
        }
        _ if let Some(kind @ ("weight" | "scales" | "biases")) = name.strip_prefix("per_layer_model_projection.") => {
            format!("per_layer_model_proj.{kind}")
        }
        // The second is LFM2's name.
        "norm.weight" | "embedding_norm.weight" => "output_norm.weight".to_owned(),
        _ if let Some(kind @ ("weight" | "scales" | "biases")) = name.strip_prefix("embed_tokens.") => {
            format!("token_embd.{kind}")
        }
        _ if let Some(kind @ ("weight" | "scales" | "biases")) = name.strip_prefix("lm_head.") => {
            format!("output.{kind}")
        }
        _ => {
            let (layer, part) = name.strip_prefix("layers.")?.split_once('.')?;
            // Only the plain number: `07` would give two tensors one name.
            let number: usize = layer.parse().ok()?;
            if part == "layer_scalar" && number.to_string() == layer {
                return Some(format!("blk.{number}.layer_output_scale.weight"));
            }
            let (module, kind) = part.rsplit_once('.')?;
            if let Some(expert) = module.strip_prefix("mlp.experts.") {
                return expert_name(layer, number, expert, kind);
            }
            let norms = spec.layers.get(number).map_or(NormPlacement::Before, |layer| layer.norms);
            if (module, kind) == ("self_attn", "sinks") && number.to_string() == layer {
                return Some(format!("blk.{number}.attn_sinks.weight"));
            }
            // Experts and factors of Gemma 4.
            if number.to_string() == layer
                && let Some(name) = match (module, kind) {
                    ("experts", "gate_up_proj") => Some("ffn_gate_up_exps.weight"),
                    ("experts", "down_proj") => Some("ffn_down_exps.weight"),
                    ("router", "scale") => Some("ffn_gate_inp.scale"),
                    ("router", "per_expert_scale") => Some("ffn_down_exps.scale"),
                    _ => None,
                }
            {
                return Some(format!("blk.{number}.{name}"));
            }
            // Vectors of a gated delta net without a kind.
            if module == "linear_attn" && number.to_string() == layer {
                return match kind {
                    "A_log" => Some(format!("blk.{number}.ssm_a")),
                    "dt_bias" => Some(format!("blk.{number}.ssm_dt.bias")),
                    _ => None,
                };
            }
            if (module, kind) == ("mlp.gate", "e_score_correction_bias") && number.to_string() == layer {
                return Some(format!("blk.{number}.exp_probs_b.bias"));
            }
            let module = match module {
                // With norms after the parts, this name is that of the norm after attention.
                "post_attention_layernorm" if norms == NormPlacement::BeforeAndAfter => "post_attention_norm",
                "pre_feedforward_layernorm" if norms == NormPlacement::BeforeAndAfter => "ffn_norm",
                "post_feedforward_layernorm" if norms == NormPlacement::BeforeAndAfter => "post_ffw_norm",
                "router.proj" => "ffn_gate_inp",
                "post_feedforward_layernorm_1" => "post_ffw_norm_1",
                "post_feedforward_layernorm_2" => "post_ffw_norm_2",
                "pre_feedforward_layernorm_2" => "pre_ffw_norm_2",
                "per_layer_input_gate" => "inp_gate",
                "per_layer_projection" => "proj",
                "post_per_layer_input_norm" => "post_norm",
                "self_attn.q_norm" | "self_attn.q_layernorm" => "attn_q_norm",
                "self_attn.k_norm" | "self_attn.k_layernorm" => "attn_k_norm",
                "input_layernorm" | "operator_norm" => "attn_norm",
                "linear_attn.in_proj_qkv" => "attn_qkv",
                "linear_attn.in_proj_z" => "attn_gate",
                "linear_attn.in_proj_b" => "ssm_beta",
                "linear_attn.in_proj_a" => "ssm_alpha",
                "linear_attn.conv1d" => "ssm_conv1d",
                "linear_attn.norm" => "ssm_norm",
                "linear_attn.out_proj" => "ssm_out",
                "self_attn.q_a_proj" => "attn_q_a",
                "self_attn.q_a_layernorm" => "attn_q_a_norm",
                "self_attn.q_b_proj" => "attn_q_b",
                "self_attn.kv_a_proj_with_mqa" => "attn_kv_a_mqa",
                "self_attn.kv_a_layernorm" => "attn_kv_a_norm",
                "conv.in_proj" => "shortconv.in_proj",
                "conv.conv" => "shortconv.conv",
                "conv.out_proj" => "shortconv.out_proj",
                "self_attn.qkv_proj" => "attn_qkv",
                "self_attn.q_proj" => "attn_q",
                "self_attn.k_proj" => "attn_k",
                "self_attn.v_proj" => "attn_v",
                "self_attn.o_proj" | "self_attn.out_proj" => "attn_output",
                "post_attention_layernorm" | "ffn_norm" => "ffn_norm",
                "mlp.gate" | "mlp.router" => "ffn_gate_inp",
                "mlp.gate_proj" | "feed_forward.w1" => "ffn_gate",
                // Gate and up in one, as GGUF stores them under this name.
                "mlp.up_proj" | "mlp.gate_up_proj" | "feed_forward.w3" => "ffn_up",
                "mlp.down_proj" | "feed_forward.w2" => "ffn_down",
                "mlp.shared_experts.gate_proj" | "mlp.shared_expert.gate_proj" => "ffn_gate_shexp",
                "mlp.shared_experts.up_proj" | "mlp.shared_expert.up_proj" => "ffn_up_shexp",
                "mlp.shared_experts.down_proj" | "mlp.shared_expert.down_proj" => "ffn_down_shexp",
                "mlp.shared_expert_gate" => "ffn_gate_inp_shexp",
                _ => return None,
            };
            if number.to_string() != layer || !matches!(kind, "weight" | "bias" | "scales" | "biases") {
                return None;
            }
            format!("blk.{number}.{module}.{kind}")
        }
    })
}

/// The name of a tensor of one expert: `7.up_proj` of layer 3 is `blk.3.ffn_up_exps.7`.
fn expert_name(layer: &str, number: usize, expert: &str, kind: &str) -> Option<String> {
    let (expert, projection) = expert.split_once('.')?;
    let index: usize = expert.parse().ok()?;
    let module = match projection {
        "gate_proj" => "ffn_gate_exps",
        "up_proj" => "ffn_up_exps",
        "down_proj" => "ffn_down_exps",
        _ => return None,
    };
    let is_plain = number.to_string() == layer && index.to_string() == expert && kind == "weight";
    is_plain.then(|| expert_part(&format!("blk.{number}.{module}.{kind}"), index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformers_names_become_gguf_names() {
        let spec = crate::registry::find("smollm2-135m").unwrap().spec();
        let gguf_name = |name| gguf_name(name, &spec);
        assert_eq!(gguf_name("model.layers.12.self_attn.o_proj.weight").as_deref(), Some("blk.12.attn_output.weight"));
        assert_eq!(gguf_name("model.layers.0.self_attn.q_proj.bias").as_deref(), Some("blk.0.attn_q.bias"));
        assert_eq!(gguf_name("embed_tokens.weight").as_deref(), Some("token_embd.weight"));
        for odd in [
            "model.model.norm.weight",
            "model.layers.07.mlp.up_proj.weight",
            "model.layers.x.mlp.up_proj.weight",
            "model.layers.0.mlp.up_proj.zeros",
            "lm_head.bias",
            "model.layers.0",
            "score.weight",
        ] {
            assert_eq!(gguf_name(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_plain_file_names_are_accepted() {
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
