//! What a file that is made will hold: every tensor with its type and place, and what it is made from.

use crate::arch;
use crate::checkpoint::gguf::{ALIGNMENT, Slot};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::dtype::DType;
use crate::error::{Error, Fault};
use crate::synth;
use crate::units::Bytes;
use crate::widen::{self, Groups};

use super::Target;
use super::metadata::needs_permutation;

/// One tensor to be made.
pub(super) struct Planned<'a> {
    pub(super) name: String,
    pub(super) dtype: DType,
    /// Row-major.
    pub(super) shape: Vec<usize>,
    /// Where it starts, counted from the start of all data.
    pub(super) offset: u64,
    /// Its size without padding.
    pub(super) bytes: u64,
    pub(super) from: From<'a>,
}

/// What a tensor is made from.
pub(super) enum From<'a> {
    /// The same bytes: its type stays.
    Same(TensorView<'a>),
    /// The numbers of a tensor, its rows in the order that `heads` says.
    Rows { view: TensorView<'a>, heads: Option<Heads> },
    /// The numbers of a matrix in MLX's form.
    Groups { view: TensorView<'a>, scales: TensorView<'a>, biases: TensorView<'a>, heads: Option<Heads> },
    /// These values.
    Exact(Vec<f32>),
}

/// Rows of q or k whose pairs for the rotation stand half a head apart, and are to stand side by side.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    /// Rows of one head.
    width: usize,
    /// Rows of it that are rotated, the first ones.
    rotated: usize,
}

impl Heads {
    /// The row of the source that becomes row `row`: `2i` and `2i + 1` of a head were `i` and `i + rotated / 2`.
    pub(super) const fn source(self, row: usize) -> usize {
        let (head, within) = (row / self.width, row % self.width);
        if within >= self.rotated {
            return row;
        }
        head * self.width + within / 2 + within % 2 * (self.rotated / 2)
    }
}

/// All tensors in the order of the file: that of a GGUF source, else that of the computation.
pub(super) fn plan(checkpoint: &Checkpoint, target: Target) -> Result<Vec<Planned<'_>>, Error> {
    let mut list = List { checkpoint, target, tensors: Vec::new(), offset: 0 };
    if checkpoint.metadata().is_some() {
        for info in checkpoint.tensors() {
            list.tensor(&info.name)?;
        }
        return Ok(list.tensors);
    }
    for expected in arch::expected(checkpoint.spec()) {
        list.tensor(&expected.name)?;
        if expected.name == "token_embd.weight"
            && let Some(factors) = synth::rope_factors(checkpoint.spec())
        {
            list.push("rope_freqs.weight", DType::F32, &[factors.len()], From::Exact(factors));
        }
    }
    Ok(list.tensors)
}

/// The tensors so far, and where the next one starts.
struct List<'a> {
    checkpoint: &'a Checkpoint,
    target: Target,
    tensors: Vec<Planned<'a>>,
    offset: u64,
}

impl<'a> List<'a> {
    fn tensor(&mut self, name: &str) -> Result<(), Error> {
        let (checkpoint, view) = (self.checkpoint, self.checkpoint.tensor(name)?);
        let info = view.info();
        let dtype = self.target.dtype(checkpoint.spec(), name, &info.shape);
        let heads = self.heads(name);
        let from = if info.dtype.mlx_form().is_some() {
            let beside = |kind: &str| checkpoint.tensor(&name.replace("weight", kind));
            From::Groups { scales: beside("scales")?, biases: beside("biases")?, view, heads }
        } else if info.dtype == dtype && heads.is_none() {
            From::Same(view)
        } else {
            From::Rows { view, heads }
        };
        self.push(name, dtype, &info.shape, from);
        Ok(())
    }

    /// How the rows of a weight or bias of q or k are to be ordered, where the source has another order than GGUF.
    fn heads(&self, name: &str) -> Option<Heads> {
        let is_rotated = name.contains(".attn_q.") || name.contains(".attn_k.");
        let spec = self.checkpoint.spec();
        (is_rotated && needs_permutation(self.checkpoint))
            .then_some(Heads { width: spec.head_dim, rotated: spec.rope.dim })
    }

    fn push(&mut self, name: &str, dtype: DType, shape: &[usize], from: From<'a>) {
        let (rows, cols) = sides(shape);
        let bytes = (dtype.row_bytes(cols) * rows as u64).get();
        self.tensors.push(Planned {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            offset: self.offset,
            bytes,
            from,
        });
        self.offset += bytes.next_multiple_of(ALIGNMENT);
    }
}

/// Rows and columns; a vector is one row, and all dimensions but the last make rows.
pub(super) fn sides(shape: &[usize]) -> (usize, usize) {
    match shape.split_last() {
        Some((cols, rows)) => (rows.iter().product(), *cols),
        None => (0, 0),
    }
}

impl Planned<'_> {
    /// Its line in the header.
    pub(super) fn slot(&self) -> Slot<'_> {
        Slot { name: &self.name, dtype: self.dtype, shape: &self.shape, offset: self.offset }
    }

    /// Whether it is a matrix of another type than its source. (A vector becomes F32, which holds the same numbers.)
    pub(super) fn is_changed(&self) -> bool {
        let source = match &self.from {
            From::Same(_) | From::Exact(_) => self.dtype,
            From::Rows { view, .. } | From::Groups { view, .. } => view.info().dtype,
        };
        self.shape.len() > 1 && source != self.dtype
    }

    /// Writes row `row` of the source's numbers, `[cols]`, in the order of this tensor.
    pub(super) fn widen_row(&self, row: usize, out: &mut [f32]) -> Result<(), Box<Fault>> {
        let cols = out.len();
        match &self.from {
            From::Exact(values) => out.copy_from_slice(values),
            From::Same(view) => read(view, row, out)?,
            // A bias is one row whose elements are the rows of its matrix.
            From::Rows { view, heads: Some(heads) } if self.shape.len() == 1 => {
                let mut plain = vec![0.0; cols];
                read(view, row, &mut plain)?;
                for (at, out) in out.iter_mut().enumerate() {
                    *out = plain[heads.source(at)];
                }
            }
            From::Rows { view, heads } => read(view, source(*heads, row), out)?,
            From::Groups { view, scales, biases, heads } => {
                let row = source(*heads, row);
                let Some(form) = view.info().dtype.mlx_form() else { return Err(unreadable(view)) };
                let groups = cols / form.1;
                let quants = part(view, row, cols * form.0 / 8)?;
                let (scale_bytes, bias_bytes) = (part(scales, row, groups * 2)?, part(biases, row, groups * 2)?);
                widen::widen_groups(
                    &Groups {
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

fn source(heads: Option<Heads>, row: usize) -> usize {
    heads.map_or(row, |heads| heads.source(row))
}

/// One row of a tensor whose rows lie one after another.
fn read(view: &TensorView<'_>, row: usize, out: &mut [f32]) -> Result<(), Box<Fault>> {
    let dtype = view.info().dtype;
    let bytes = part(view, row, dtype.row_bytes(out.len()).get() as usize)?;
    if widen::widen_into(dtype, bytes, out) { Ok(()) } else { Err(unreadable(view)) }
}

/// Row `row` of rows of `bytes` bytes.
fn part<'a>(view: &TensorView<'a>, row: usize, bytes: usize) -> Result<&'a [u8], Box<Fault>> {
    view.bytes().get(row * bytes..(row + 1) * bytes).ok_or_else(|| unreadable(view))
}

fn unreadable(view: &TensorView<'_>) -> Box<Fault> {
    let info = view.info();
    Fault::at(
        "source",
        format!("tensor `{}`", info.name),
        "a type of weights, whole",
        format!("{} of {} bytes", info.dtype, Bytes(view.bytes().len() as u64).get()),
        "take the model in another quantisation",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_come_side_by_side() {
        let heads = Heads { width: 6, rotated: 4 };
        let sources: Vec<usize> = (0..12).map(|row| heads.source(row)).collect();
        assert_eq!(sources, [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
    }
}
