//! How GGUF files store weights otherwise than descriptions list them: under another name, or several matrices in one, whose rows
//! follow one another.
//!
//! A checkpoint has the weights of the description, whatever its file stores; files are written as llama.cpp reads them.

use std::borrow::Cow;

use super::of;
use crate::spec::{Spec, Weight};
use crate::tensor::TensorInfo;

/// A tensor of GGUF files and the weights in it. Names are without layer and kind: `attn_q` is `blk.N.attn_q.weight` and `.bias`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The name in files.
    pub(super) file: &'static str,
    /// The names in descriptions; several are stored one after another.
    pub(super) parts: &'static [&'static str],
}

/// q, k and v in one matrix. llama.cpp reads it in files of all architectures, and some converters write it.
pub(super) const FUSED_QKV: Stored = Stored { file: "attn_qkv", parts: &["attn_q", "attn_k", "attn_v"] };

/// Gate and up of each expert in one tensor, expert by expert, as files and folders of some models have them.
pub(crate) const GATE_AND_UP: &str = "ffn_gate_up_exps";
const FUSED_EXPERTS: Stored = Stored { file: GATE_AND_UP, parts: &["ffn_gate_exps", "ffn_up_exps"] };

/// The names of the weights in the tensor of this name in a GGUF file: the name itself, unless it is stored otherwise.
pub(crate) fn described_names<'a>(spec: &Spec, name: &'a str) -> Vec<Cow<'a, str>> {
    let (start, part, kind) = split(name);
    let own = of(&spec.arch).map_or(&[][..], |architecture| architecture.stored);
    let layer = start.strip_prefix("blk.").and_then(|rest| rest.strip_suffix('.')?.parse::<usize>().ok());
    let layer = layer.and_then(|layer| spec.layers.get(layer));
    // Of a gated delta net it is the weight itself.
    let fused = Some(&FUSED_QKV).filter(|_| layer.is_none_or(|layer| layer.mixer.attention().is_some()));
    match own.iter().chain(fused).chain([&FUSED_EXPERTS]).find(|stored| stored.file == part) {
        None => vec![Cow::Borrowed(name)],
        Some(stored) => stored.parts.iter().map(|part| Cow::Owned(format!("{start}{part}{kind}"))).collect(),
    }
}

/// The tensor in which GGUF files of this shape store a weight.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its name.
    pub(crate) name: String,
    /// The names of the weights in it, in order; one, if it is only named otherwise.
    pub(crate) parts: Vec<String>,
}

/// Where GGUF files of this shape store the weight of this name, if not under its own.
pub(crate) fn place(spec: &Spec, name: &str) -> Option<Place> {
    let (start, part, kind) = split(name);
    let stored = of(&spec.arch)?.stored.iter().find(|stored| stored.parts.contains(&part))?;
    let parts = stored.parts.iter().map(|part| format!("{start}{part}{kind}")).collect();
    Some(Place { name: format!("{start}{}{kind}", stored.file), parts })
}

/// The weights of a description as GGUF files of its architecture store them.
pub(crate) fn as_stored(spec: &Spec, weights: Vec<Weight>) -> Vec<Weight> {
    let mut stored: Vec<Weight> = Vec::with_capacity(weights.len());
    for weight in weights {
        match place(spec, &weight.name) {
            None => stored.push(weight),
            Some(place) => match stored.iter_mut().rev().find(|other| other.name == place.name) {
                // A further part: its rows follow.
                Some(whole) if place.parts.first() != Some(&weight.name) => {
                    if let (Some(rows), Some(more)) = (whole.shape.first_mut(), weight.shape.first()) {
                        *rows += more;
                    }
                }
                _ => stored.push(Weight { name: place.name, ..weight }),
            },
        }
    }
    stored
}

/// The tensors of a GGUF file with the names and shapes of the description, each with the range of its rows in the file's tensor (the
/// elements of a vector). A tensor whose rows are not those of its parts stays as it is, for the check to report.
pub(crate) fn as_described(
    spec: &Spec,
    weights: &[Weight],
    info: TensorInfo,
) -> Vec<(TensorInfo, std::ops::Range<usize>)> {
    let rows = info.shape.first().copied().unwrap_or(0);
    let names: Vec<String> = described_names(spec, &info.name).into_iter().map(Cow::into_owned).collect();
    if let [name] = names.as_slice() {
        return vec![(TensorInfo { name: name.clone(), ..info }, 0..rows)];
    }
    let rows_of = |name: &String| weights.iter().find(|weight| weight.name == *name)?.shape.first().copied();
    let parts: Option<Vec<usize>> = names.iter().map(rows_of).collect();
    let Some(parts) = parts.filter(|parts| rows > 0 && parts.iter().sum::<usize>() == rows) else {
        return vec![(info, 0..rows)];
    };
    let bytes = info.bytes.get() / rows as u64;
    let mut start = 0;
    let part = |(name, rows): (String, usize)| {
        let range = start..start + rows;
        start = range.end;
        let mut shape = info.shape.clone();
        shape[0] = rows;
        (TensorInfo { name, dtype: info.dtype, shape, bytes: crate::units::Bytes(bytes * rows as u64) }, range)
    };
    names.into_iter().zip(parts).map(part).collect()
}

/// `blk.3.attn_q.weight` as `blk.3.`, `attn_q` and `.weight`.
fn split(name: &str) -> (&str, &str, &str) {
    let kind = name.rfind('.').unwrap_or(name.len());
    let (stem, kind) = name.split_at(kind);
    let part = stem.rfind('.').map_or(0, |dot| dot + 1);
    let (start, part) = stem.split_at(part);
    (start, part, kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::spec::weights;
    use crate::units::Bytes;

    #[test]
    fn names_of_files_and_of_descriptions() {
        let spec = crate::registry::find("gpt-oss-20b").unwrap().spec();
        assert_eq!(described_names(&spec, "blk.3.post_attention_norm.weight"), ["blk.3.ffn_norm.weight"]);
        assert_eq!(described_names(&spec, "blk.3.attn_q.bias"), ["blk.3.attn_q.bias"]);
        assert_eq!(
            described_names(&spec, "blk.0.attn_qkv.bias"),
            ["blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"]
        );
        assert_eq!(described_names(&spec, "output.weight"), ["output.weight"]);
        let place = place(&spec, "blk.3.ffn_norm.weight").unwrap();
        assert_eq!(
            (place.name.as_str(), place.parts.as_slice()),
            ("blk.3.post_attention_norm.weight", &["blk.3.ffn_norm.weight".to_owned()][..])
        );
        let stored = as_stored(&spec, weights(&spec));
        assert!(stored.iter().any(|weight| weight.name == "blk.23.post_attention_norm.weight"));
        assert!(!stored.iter().any(|weight| weight.name.ends_with(".ffn_norm.weight")));
    }

    /// Rows 0 to 575 are q, then 192 of k and 192 of v. Other numbers of rows are left for the check.
    #[test]
    fn a_joined_matrix_is_divided_by_rows() {
        let spec = crate::registry::find("smollm2-135m").unwrap().spec();
        let weights = weights(&spec);
        let joined = |rows: usize| TensorInfo {
            name: "blk.0.attn_qkv.weight".to_owned(),
            dtype: DType::F16,
            shape: vec![rows, 576],
            bytes: Bytes(2 * 576 * rows as u64),
        };
        let parts: Vec<_> = as_described(&spec, &weights, joined(960))
            .into_iter()
            .map(|(info, rows)| (info.name, info.shape[0], info.bytes.get(), rows))
            .collect();
        let name = |part: &str| format!("blk.0.{part}.weight");
        assert_eq!(
            parts,
            [
                (name("attn_q"), 576, 1152 * 576, 0..576),
                (name("attn_k"), 192, 1152 * 192, 576..768),
                (name("attn_v"), 192, 1152 * 192, 768..960)
            ]
        );
        assert_eq!(as_described(&spec, &weights, joined(961)), [(joined(961), 0..961)]);
    }
}
