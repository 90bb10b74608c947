//! The tensors of a quantised file with their types, positions and sources.

use std::collections::HashMap;

use crate::arch;
use crate::blocks::{self, MlxGroups};
use crate::checkpoint::Checkpoint;
use crate::container::gguf::{ALIGNMENT, NewTensor};
use crate::dtype::DType;
use crate::error::{Error, Mismatch};
use crate::spec::{DeltaLayout, EMBEDDING, ExpertGroups, Layer, Mixer, Spec, Weight, WeightKind, weights};
use crate::tensor::TensorView;
use crate::units::Bytes;

use super::metadata::needs_permutation;
use super::target::Target;

/// One tensor to be written.
pub(super) struct PlannedTensor<'a> {
    pub(super) name: String,
    pub(super) dtype: DType,
    /// Row-major.
    pub(super) shape: Vec<usize>,
    /// The start of its data, counted from the start of all tensor data.
    pub(super) offset: u64,
    /// Its size without padding.
    pub(super) bytes: u64,
    pub(super) source: TensorSource<'a>,
}

/// The source of a tensor.
pub(super) enum TensorSource<'a> {
    /// A tensor whose bytes are copied.
    Copy(TensorView<'a>),
    /// A tensor to be converted, its rows reordered by `order`.
    Convert { view: TensorView<'a>, order: Option<RotaryOrder> },
    /// Matrices one after another: those of experts, or those that GGUF stores in one.
    Joined(Vec<TensorView<'a>>),
    /// A matrix that MLX quantised.
    Mlx { view: TensorView<'a>, scales: TensorView<'a>, biases: TensorView<'a>, order: Option<RotaryOrder> },
    /// These values.
    Values(Vec<f32>),
}

/// Reorders rows of q or k: the two rows of a rotary pair, half a head apart in the source, become adjacent.
#[derive(Clone, Copy)]
pub(super) struct RotaryOrder {
    /// The rows of one head.
    width: usize,
    /// The number of rotated rows at the start of a head.
    rotated: usize,
}

impl RotaryOrder {
    /// The row of the source that becomes row `row`: `2i` and `2i + 1` of a head are `i` and `i + rotated / 2` of the source.
    const fn source_row(self, row: usize) -> usize {
        let (head, within) = (row / self.width, row % self.width);
        if within >= self.rotated {
            return row;
        }
        head * self.width + within / 2 + within % 2 * (self.rotated / 2)
    }
}

/// All tensors in the order of a GGUF source, else in the order of the computation.
pub(super) fn plan(checkpoint: &Checkpoint, target: Target) -> Result<Vec<PlannedTensor<'_>>, Error> {
    let spec = checkpoint.spec()?;
    check_delta_nets(checkpoint, spec)?;
    check_groups(checkpoint, spec)?;
    let kinds = weights(spec).into_iter().map(|Weight { name, kind, .. }| (name, kind)).collect();
    let mut builder = PlanBuilder { checkpoint, spec, target, kinds, tensors: Vec::new(), offset: 0 };
    if checkpoint.metadata().is_some() {
        for info in checkpoint.tensors() {
            builder.add_stored(&info.name)?;
        }
        return Ok(builder.tensors);
    }
    for weight in weights(spec) {
        match weight.shape.len() {
            3.. => builder.add_experts(&weight.name)?,
            _ => builder.add_stored(&weight.name)?,
        }
        if weight.name == EMBEDDING {
            for (name, factors) in arch::rope_tensors(spec) {
                builder.push(name, DType::F32, &[factors.len()], TensorSource::Values(factors));
            }
        }
    }
    Ok(builder.tensors)
}

/// Refuses a folder whose value heads are in another order than in GGUF files: that is so where several of them read one key head.
fn check_delta_nets(checkpoint: &Checkpoint, spec: &Spec) -> Result<(), Error> {
    for (at, layer) in spec.layers.iter().enumerate() {
        if let Mixer::GatedDeltaNet(net) = &layer.mixer
            && net.layout == DeltaLayout::Grouped
            && net.value_heads != net.key_heads
        {
            let (key_heads, value_heads) = (net.key_heads, net.value_heads);
            return Err(Error::Quantise(Mismatch::at(
                checkpoint.path(),
                format!("gated delta net in layer {at}"),
                format!("{key_heads} value heads, as many as key heads"),
                format!("{value_heads}, whose order GGUF files change"),
                "convert the folder with llama.cpp's convert_hf_to_gguf.py, or take a GGUF file of the model",
            )));
        }
    }
    Ok(())
}

/// Refuses a folder whose groups of experts are ranked by their best score: GGUF has no key for it, and readers rank them otherwise.
fn check_groups(checkpoint: &Checkpoint, spec: &Spec) -> Result<(), Error> {
    let is_folder = checkpoint.metadata().is_none();
    let groups = |layer: &Layer| layer.feed_forward.experts()?.gating.groups;
    let found = spec.layers.iter().enumerate().find_map(|(at, layer)| Some((at, groups(layer)?)));
    match found.filter(|(_, groups)| is_folder && *groups != ExpertGroups::by_two(groups.count, groups.used)) {
        None => Ok(()),
        Some((at, groups)) => Err(Error::Quantise(Mismatch::at(
            checkpoint.path(),
            format!("groups of experts in layer {at}"),
            "none, or groups that are ranked by their two best scores, as programs for GGUF files rank them",
            format!("{} that are ranked by their best score (group_limited_greedy)", groups.count),
            "use the folder itself: a GGUF file of this model computes with other experts",
        ))),
    }
}

/// Collects the tensors and computes their positions.
struct PlanBuilder<'a> {
    checkpoint: &'a Checkpoint,
    spec: &'a Spec,
    target: Target,
    /// What the weights of the shape are, by their names.
    kinds: HashMap<String, WeightKind>,
    tensors: Vec<PlannedTensor<'a>>,
    offset: u64,
}

impl<'a> PlanBuilder<'a> {
    /// A weight of the description, as GGUF files of the architecture store it.
    fn add_stored(&mut self, name: &str) -> Result<(), Error> {
        let Some(place) = arch::place(self.spec, name) else { return self.add(name, name) };
        if place.parts.first().is_some_and(|first| first != name) {
            return Ok(()); // stored with the first
        }
        if place.parts.len() == 1 {
            return self.add(name, &place.name);
        }
        let views = place.parts.iter().map(|part| self.checkpoint.tensor(part)).collect::<Result<Vec<_>, _>>()?;
        let mut shape = views.first().map_or_else(Vec::new, |view| view.info().shape.clone());
        if let Some(rows) = shape.first_mut() {
            *rows = views.iter().filter_map(|view| view.info().shape.first()).sum();
        }
        let dtype = self.dtype(name, shape.last().copied().unwrap_or(1));
        self.push(&place.name, dtype, &shape, TensorSource::Joined(views));
        Ok(())
    }

    /// A weight of the description under a name of the file.
    fn add(&mut self, name: &str, stored_name: &str) -> Result<(), Error> {
        let (checkpoint, view) = (self.checkpoint, self.checkpoint.tensor(name)?);
        let (stored, shape) = (view.info().dtype, view.info().shape.clone());
        let dtype = self.dtype(name, shape.last().copied().unwrap_or(1));
        let order = self.order(name);
        let source = if stored.mlx_bits_and_group_size().is_some() {
            let companion = |kind: &str| checkpoint.tensor(&name.replace("weight", kind));
            TensorSource::Mlx { scales: companion("scales")?, biases: companion("biases")?, view, order }
        } else if let Some(values) = self.changed_vector(&view)? {
            TensorSource::Values(values)
        } else if stored == dtype && order.is_none() {
            TensorSource::Copy(view)
        } else {
            TensorSource::Convert { view, order }
        };
        self.push(stored_name, dtype, &shape, source);
        Ok(())
    }

    /// A matrix of all experts, from one tensor for all or from one for each.
    fn add_experts(&mut self, name: &str) -> Result<(), Error> {
        let views = self.checkpoint.experts(name)?;
        let one = views.first().map_or(&[][..], |view| &view.info().shape);
        let shape = [&[views.len()], one].concat();
        let dtype = self.dtype(name, one.last().copied().unwrap_or(1));
        self.push(name, dtype, &shape, TensorSource::Joined(views));
        Ok(())
    }

    fn dtype(&self, name: &str, cols: usize) -> DType {
        self.target.dtype(self.spec, name, self.kinds.get(name).copied(), cols)
    }

    /// The elements of a vector that GGUF stores otherwise than the source: norms, which it has without an offset, and the decays of a
    /// folder, which it has negative instead of their logarithms.
    fn changed_vector(&self, view: &TensorView<'_>) -> Result<Option<Vec<f32>>, Error> {
        let (info, offset) = (view.info(), self.spec.norm_offset);
        let [length] = info.shape[..] else { return Ok(None) };
        if self.kinds.get(&info.name) == Some(&WeightKind::Decay) && self.checkpoint.metadata().is_none() {
            let mut values = vec![0.0; length];
            dequantise(view, 0, &mut values).map_err(Error::Quantise)?;
            values.iter_mut().for_each(|logarithm| *logarithm = -logarithm.exp());
            return Ok(Some(values));
        }
        if offset == 0.0 || !info.name.ends_with("norm.weight") || info.name.ends_with(".ssm_norm.weight") {
            return Ok(None);
        }
        let mut values = vec![0.0; length];
        dequantise(view, 0, &mut values).map_err(Error::Quantise)?;
        values.iter_mut().for_each(|value| *value += offset);
        Ok(Some(values))
    }

    /// The reordering of a weight or bias of q or k, if the source has another order than GGUF.
    fn order(&self, name: &str) -> Option<RotaryOrder> {
        let is_rotated = name.contains(".attn_q.") || name.contains(".attn_k.");
        if !is_rotated || !needs_permutation(self.checkpoint, self.spec) {
            return None;
        }
        // All layers are permuted, as by llama.cpp's converter, also those without rotation.
        let attention = self.spec.attentions().next()?;
        Some(RotaryOrder { width: attention.head_dim, rotated: attention.rope.as_ref()?.dim })
    }

    fn push(&mut self, name: &str, dtype: DType, shape: &[usize], source: TensorSource<'a>) {
        let (rows, cols) = dimensions(shape);
        let bytes = (dtype.row_bytes(cols) * rows as u64).get();
        self.tensors.push(PlannedTensor {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            offset: self.offset,
            bytes,
            source,
        });
        self.offset += bytes.next_multiple_of(ALIGNMENT);
    }
}

/// Rows and columns: a vector is one row, and the rows of a tensor are the product of all dimensions but the last.
pub(super) fn dimensions(shape: &[usize]) -> (usize, usize) {
    match shape.split_last() {
        Some((cols, rows)) => (rows.iter().product(), *cols),
        None => (0, 0),
    }
}

impl PlannedTensor<'_> {
    /// Its entry in the header.
    pub(super) fn header_entry(&self) -> NewTensor<'_> {
        NewTensor { name: &self.name, dtype: self.dtype, shape: &self.shape, offset: self.offset }
    }

    /// Whether it is a matrix of another type than its source. (Vectors become F32 without loss.)
    pub(super) fn is_changed(&self) -> bool {
        let source = match &self.source {
            TensorSource::Copy(_) | TensorSource::Values(_) => self.dtype,
            TensorSource::Convert { view, .. } | TensorSource::Mlx { view, .. } => view.info().dtype,
            TensorSource::Joined(views) => views.first().map_or(self.dtype, |view| view.info().dtype),
        };
        self.shape.len() > 1 && source != self.dtype
    }

    /// Writes row `row` of this tensor, `[cols]`, dequantised from the source.
    pub(super) fn dequantise_row(&self, row: usize, out: &mut [f32]) -> Result<(), Box<Mismatch>> {
        let cols = out.len();
        match &self.source {
            TensorSource::Values(values) => out.copy_from_slice(values),
            TensorSource::Copy(view) => dequantise(view, row, out)?,
            TensorSource::Joined(views) => {
                let mut row = row;
                let view = views.iter().find(|view| {
                    let rows = view.info().elements() as usize / cols;
                    let is_here = row < rows;
                    row -= if is_here { 0 } else { rows };
                    is_here
                });
                dequantise(view.ok_or_else(|| no_such_row(&self.name, row))?, row, out)?;
            }
            // A bias is one row; its elements belong to the rows of its matrix.
            TensorSource::Convert { view, order: Some(order) } if self.shape.len() == 1 => {
                let mut values = vec![0.0; cols];
                dequantise(view, row, &mut values)?;
                for (at, out) in out.iter_mut().enumerate() {
                    *out = values[order.source_row(at)];
                }
            }
            TensorSource::Convert { view, order } => dequantise(view, source_row(*order, row), out)?,
            TensorSource::Mlx { view, scales, biases, order } => {
                let row = source_row(*order, row);
                let Some(form) = view.info().dtype.mlx_bits_and_group_size() else { return Err(unreadable(view)) };
                let groups = cols / form.1;
                let quants = row_bytes(view, row, cols * form.0 / 8)?;
                let (scale_bytes, bias_bytes) =
                    (row_bytes(scales, row, groups * 2)?, row_bytes(biases, row, groups * 2)?);
                blocks::dequantise_mlx(
                    &MlxGroups {
                        quants,
                        form,
                        scales: (scales.info().dtype, scale_bytes),
                        biases: (biases.info().dtype, bias_bytes),
                    },
                    out,
                );
            }
        }
        Ok(())
    }
}

fn source_row(order: Option<RotaryOrder>, row: usize) -> usize {
    order.map_or(row, |order| order.source_row(row))
}

/// Dequantises one row of a tensor.
fn dequantise(view: &TensorView<'_>, row: usize, out: &mut [f32]) -> Result<(), Box<Mismatch>> {
    let dtype = view.info().dtype;
    let bytes = row_bytes(view, row, dtype.row_bytes(out.len()).get() as usize)?;
    if blocks::dequantise_into(dtype, bytes, out) { Ok(()) } else { Err(unreadable(view)) }
}

/// The bytes of row `row`, if each row has `bytes` bytes.
fn row_bytes<'a>(view: &'a TensorView<'_>, row: usize, bytes: usize) -> Result<&'a [u8], Box<Mismatch>> {
    view.bytes().get(row * bytes..(row + 1) * bytes).ok_or_else(|| unreadable(view))
}

fn no_such_row(name: &str, row: usize) -> Box<Mismatch> {
    let (expected, found) = ("a matrix for each expert", format!("none for row {row}"));
    Mismatch::at("source", format!("tensor `{name}`"), expected, found, "take the model from another source")
}

fn unreadable(view: &TensorView<'_>) -> Box<Mismatch> {
    let info = view.info();
    Mismatch::at(
        "source",
        format!("tensor `{}`", info.name),
        "a type for weights, complete",
        format!("{} of {} bytes", info.dtype, Bytes(view.bytes().len() as u64).get()),
        "take the model in another quantisation",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_rotary_pair_become_adjacent() {
        let order = RotaryOrder { width: 6, rotated: 4 };
        let sources: Vec<usize> = (0..12).map(|row| order.source_row(row)).collect();
        assert_eq!(sources, [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
    }
}
