//! Experts in safetensors folders that store the matrices of all experts in one tensor. Of gpt-oss gate and up alternate in its columns, stored
//! as floats with inputs as rows, or as MXFP4 in two tensors. Of Qwen 3.5 the rows of gate are before those of up.

use std::ops::Range;
use std::path::Path;

use super::parts::{Place, PlacedTensor};
use super::rearranged::{Arrangement, Stored};
use crate::dtype::DType;
use crate::error::{Cause, Error, Mismatch, printable};
use crate::spec::Spec;
use crate::tensor::TensorInfo;
use crate::units::Bytes;

/// The architecture whose experts have inputs as rows, and gate and up alternating.
const GPT_OSS: &str = "gpt-oss";

/// A tensor of a folder with its own name.
pub(super) struct Raw {
    pub(super) name: String,
    /// `None`: bytes (U8).
    pub(super) dtype: Option<DType>,
    pub(super) shape: Vec<usize>,
    pub(super) map: usize,
    pub(super) range: Range<usize>,
}

/// What the name of such a tensor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    layer: usize,
    is_down: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Weight,
    Bias,
    Blocks,
    Scales,
}

/// Reads `model.layers.3.mlp.experts.gate_up_proj_blocks`; `None` for every other name.
pub(super) fn name_of(name: &str) -> Option<Name> {
    let (layer, rest) = name.strip_prefix("model.").unwrap_or(name).strip_prefix("layers.")?.split_once('.')?;
    let number: usize = layer.parse().ok().filter(|number: &usize| number.to_string() == layer)?;
    let rest = rest.strip_prefix("mlp.experts.")?;
    let (is_down, kind) = match (rest.strip_prefix("gate_up_proj"), rest.strip_prefix("down_proj")) {
        (Some(kind), _) => (false, kind),
        (_, Some(kind)) => (true, kind),
        _ => return None,
    };
    let kind = match kind {
        "" => Kind::Weight,
        "_bias" => Kind::Bias,
        "_blocks" => Kind::Blocks,
        "_scales" => Kind::Scales,
        _ => return None,
    };
    Some(Name { layer: number, is_down, kind })
}

/// The tensors of the description in those of the folder.
pub(super) fn described(folder: &Path, spec: &Spec, all: &[(Name, Raw)]) -> Result<Vec<PlacedTensor>, Error> {
    let mut tensors = Vec::new();
    for (name, raw) in all {
        let scales = match name.kind {
            Kind::Scales => continue,
            Kind::Blocks => {
                let wanted = Name { kind: Kind::Scales, ..*name };
                let found = all.iter().find(|(other, _)| *other == wanted);
                let missing = || mismatch(folder, raw, "scales beside these blocks", "none".to_owned());
                Some(&found.ok_or_else(missing)?.1)
            }
            Kind::Weight | Kind::Bias => None,
        };
        of_one(folder, spec, *name, raw, scales, &mut tensors)?;
    }
    Ok(tensors)
}

fn of_one(
    folder: &Path,
    spec: &Spec,
    name: Name,
    raw: &Raw,
    scales: Option<&Raw>,
    tensors: &mut Vec<PlacedTensor>,
) -> Result<(), Error> {
    let experts = spec.layers.get(name.layer).and_then(|layer| layer.feed_forward.experts());
    let Some(experts) = experts else {
        return Err(mismatch(folder, raw, "no experts in this layer", "this name".to_owned()));
    };
    let (count, hidden, width) = (experts.count, spec.hidden, experts.expert.width);
    let (outputs, inputs, step) = if name.is_down { (hidden, width, 1) } else { (width, hidden, 2) };
    let is_blocks = name.kind == Kind::Blocks;
    let by_rows = spec.arch.name() != GPT_OSS;
    if by_rows && name.kind != Kind::Weight {
        return Err(mismatch(folder, raw, "floats without a bias", "this name".to_owned()));
    }
    let expected = match name.kind {
        Kind::Bias => vec![count, step * outputs],
        Kind::Weight if by_rows => vec![count, step * outputs, inputs],
        Kind::Weight => vec![count, inputs, step * outputs],
        Kind::Blocks | Kind::Scales => vec![count, step * outputs, inputs / 32, 16],
    };
    if raw.shape != expected || raw.dtype.is_none() != is_blocks || (is_blocks && !inputs.is_multiple_of(32)) {
        let dtype = raw.dtype.map_or("U8", DType::name);
        let expected = format!("{expected:?} of {}", if is_blocks { "U8" } else { "F32, F16 or BF16" });
        return Err(mismatch(folder, raw, &expected, format!("{:?} of {dtype}", raw.shape)));
    }
    if let Some(scales) = scales
        && (scales.shape != expected[..3] || scales.dtype.is_some())
    {
        let expected = format!("{:?} of U8", &expected[..3]);
        return Err(mismatch(folder, scales, &expected, format!("{:?}", scales.shape)));
    }
    let dtype = raw.dtype.unwrap_or(DType::MXFP4);
    let (kind, inputs) = if name.kind == Kind::Bias { ("bias", 1) } else { ("weight", inputs) };
    let stored = || match scales {
        Some(scales) => Stored::Mxfp4 { scales: (scales.map, scales.range.clone()) },
        None if by_rows => Stored::RowsOfHeads { dtype, rows: step * outputs, transposed: false },
        None => Stored::Transposed { element: dtype.block_bytes() },
    };
    let parts: &[&str] = if name.is_down { &["ffn_down_exps"] } else { &["ffn_gate_exps", "ffn_up_exps"] };
    for (first, part) in parts.iter().enumerate() {
        let shape = if kind == "bias" { vec![count, outputs] } else { vec![count, outputs, inputs] };
        let info = TensorInfo {
            name: format!("blk.{}.{part}.{kind}", name.layer),
            dtype,
            bytes: Bytes(dtype.row_bytes(inputs).get() * (count * outputs) as u64),
            shape,
        };
        // The rows of a part follow one another, or its outputs alternate with those of the other one.
        let (first, step) = if by_rows { (first * outputs, 1) } else { (first, step) };
        let arrangement = Arrangement { experts: count, outputs, inputs, first, step, stored: stored() };
        let place = Place { map: raw.map, range: raw.range.clone(), arrangement: Some(arrangement) };
        tensors.push((info, place));
    }
    Ok(())
}

fn mismatch(folder: &Path, raw: &Raw, expected: &str, found: String) -> Error {
    let place = format!("tensor `{}`", printable(&raw.name));
    Error::Safetensors(Mismatch::at(folder, place, expected.to_owned(), found, Cause::OfDifferentModels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_experts_in_one_tensor() {
        let name = |name| name_of(name).map(|name| (name.layer, name.is_down, name.kind));
        assert_eq!(name("model.layers.3.mlp.experts.gate_up_proj"), Some((3, false, Kind::Weight)));
        assert_eq!(name("layers.0.mlp.experts.down_proj_bias"), Some((0, true, Kind::Bias)));
        assert_eq!(name("model.layers.12.mlp.experts.down_proj_blocks"), Some((12, true, Kind::Blocks)));
        assert_eq!(name("model.layers.12.mlp.experts.gate_up_proj_scales"), Some((12, false, Kind::Scales)));
        for other in [
            "model.layers.03.mlp.experts.down_proj",
            "model.layers.3.mlp.experts.7.down_proj.weight",
            "model.layers.3.mlp.experts.down_proj.weight",
            "model.layers.3.mlp.down_proj",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
