//! The tensor table of a GGUF header, and the position of each tensor in the file.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use super::reader::{Reader, limits, signed};
use crate::dtype::DType;
use crate::error::{Cause, Mismatch, printable};

/// One tensor: its description and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How its elements are stored.
    pub dtype: DType,
    /// Row-major shape: the file's dimensions in reverse. A single number has none; a dimension may be 0.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// A tensor whose position is not known yet: offsets count from the end of the header, which follows the table.
pub(super) struct UnplacedTensor {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: u64,
    offset: u64,
    /// The byte of the header that contains its offset.
    at: usize,
}

/// Reads `count` entries; `count` has been checked against the size of the file.
pub(super) fn read(reader: &mut Reader<'_>, count: u64) -> Result<Vec<UnplacedTensor>, Box<Mismatch>> {
    let mut tensors = Vec::new();
    let mut seen = HashSet::new();
    for index in 0..count {
        let start = reader.at();
        let nth = format!("name of tensor {} of {count}", index + 1);
        let bytes = reader.sized(&nth)?;
        let name = reader.text(bytes, &nth, limits::TENSOR_NAME)?;
        let what = format!("tensor `{}`", printable(name));
        if !seen.insert(name) {
            return Err(reader.mismatch(start, &what, "each tensor once", "it again", Cause::WrittenWrongly));
        }
        let (shape, elements) = dimensions(reader, &what)?;
        let type_at = reader.at();
        let id = reader.u32(&what)?;
        let Some(dtype) = DType::from_ggml_id(id) else {
            let (found, cause) = match DType::ggml_name(id) {
                Some(name) => (format!("{name} (number {id})"), Cause::OtherQuantisation),
                None => (format!("number {id}"), Cause::Unexpected),
            };
            return Err(reader.mismatch(
                type_at,
                &what,
                format!("a type among {}", DType::ALL.map(|dtype| dtype.to_string()).join(", ")),
                found,
                cause,
            ));
        };
        let block = dtype.block_elems() as u64;
        let row = shape.last().map_or(1, |cols| *cols as u64);
        if row % block != 0 {
            return Err(reader.mismatch(
                type_at,
                &what,
                format!("rows of a multiple of {block} elements ({dtype})"),
                format!("rows of {row}"),
                Cause::WrittenWrongly,
            ));
        }
        let Some(bytes) = (elements / block).checked_mul(dtype.block_bytes() as u64) else {
            return Err(reader.mismatch(
                type_at,
                &what,
                "a size that a file can have",
                format!("{elements} elements of {dtype}"),
                Cause::WrittenWrongly,
            ));
        };
        let at = reader.at();
        let offset = reader.u64(&what)?;
        tensors.push(UnplacedTensor { name: name.to_owned(), dtype, shape, bytes, offset, at });
    }
    Ok(tensors)
}

/// The row-major shape and its product.
fn dimensions(reader: &mut Reader<'_>, what: &str) -> Result<(Vec<usize>, u64), Box<Mismatch>> {
    let at = reader.at();
    let count = reader.u32(what)?;
    if count > limits::DIMENSIONS {
        let expected = format!("at most {} dimensions", limits::DIMENSIONS);
        return Err(reader.mismatch(at, what, expected, count.to_string(), Cause::Unexpected));
    }
    let mut shape = Vec::with_capacity(count as usize);
    let mut elements = 1u64;
    for _ in 0..count {
        let at = reader.at();
        let dimension = reader.u64(what)?;
        let size = usize::try_from(dimension).ok().filter(|size| *size as u64 <= i64::MAX as u64);
        let Some(size) = size else {
            let expected = "a dimension below 2^63";
            return Err(reader.mismatch(at, what, expected, signed(dimension), Cause::WrittenWrongly));
        };
        // ggml counts elements in an i64.
        let product = elements.checked_mul(dimension).filter(|product| *product <= i64::MAX as u64);
        let Some(product) = product else {
            return Err(reader.mismatch(
                at,
                what,
                "fewer than 2^63 elements in all",
                format!("{elements} x {dimension}"),
                Cause::WrittenWrongly,
            ));
        };
        elements = product;
        shape.push(size);
    }
    shape.reverse();
    Ok((shape, elements))
}

/// Computes the position of each tensor after the header, and checks that all are aligned, inside the file and disjoint.
pub(super) fn place(
    file: &Path,
    tensors: Vec<UnplacedTensor>,
    data_start: u64,
    alignment: u32,
    file_bytes: u64,
) -> Result<Vec<TensorEntry>, Box<Mismatch>> {
    let mut entries = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let mismatch = |expected: String, found: String, cause: Cause| {
            Mismatch::at(
                file,
                format!("byte {}, tensor `{}`", tensor.at, printable(&tensor.name)),
                expected,
                found,
                cause,
            )
        };
        if tensor.offset % u64::from(alignment) != 0 {
            return Err(mismatch(
                format!("an offset that is a multiple of {alignment}"),
                signed(tensor.offset),
                Cause::WrittenWrongly,
            ));
        }
        let start = data_start.checked_add(tensor.offset);
        let end = start.and_then(|start| start.checked_add(tensor.bytes));
        let range = start.zip(end).filter(|(_, end)| *end <= file_bytes);
        // Inside the mapped file, so both fit usize.
        let range = range.and_then(|(start, end)| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?));
        let Some(range) = range else {
            let place = format!("{} bytes at {data_start} + {}", tensor.bytes, signed(tensor.offset));
            return Err(mismatch(format!("data inside the file of {file_bytes} bytes"), place, Cause::Damaged));
        };
        entries.push(TensorEntry { name: tensor.name, dtype: tensor.dtype, shape: tensor.shape, range });
    }
    let mut order: Vec<&TensorEntry> = entries.iter().filter(|entry| !entry.range.is_empty()).collect();
    order.sort_by_key(|entry| entry.range.start);
    for pair in order.windows(2) {
        if let [first, second] = pair
            && second.range.start < first.range.end
        {
            return Err(Mismatch::at(
                file,
                format!("tensor `{}`", printable(&second.name)),
                format!("data after `{}`, which ends at byte {}", printable(&first.name), first.range.end),
                format!("data from byte {}", second.range.start),
                Cause::WrittenWrongly,
            ));
        }
    }
    Ok(entries)
}
