//! The tensor table of a GGUF header, and where each tensor lies in the file.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use super::cursor::{CONVERT_AGAIN, Cursor, FETCH_AGAIN, shown, signed};
use super::limits;
use crate::dtype::DType;
use crate::error::Fault;

/// One tensor: what it is and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How its elements are stored.
    pub dtype: DType,
    /// Row-major shape: the file's dimensions in reverse.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// A tensor whose place is not known yet: offsets count from the end of the header, which comes after the table.
pub(crate) struct Unplaced {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: u64,
    offset: u64,
    /// Byte of the header where its offset stands.
    at: usize,
}

/// Reads `count` entries; `count` has been checked against the size of the file.
pub(crate) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Unplaced>, Box<Fault>> {
    let mut tensors = Vec::new();
    let mut seen = HashSet::new();
    for index in 0..count {
        let start = cursor.at();
        let name = cursor.text(&format!("name of tensor {} of {count}", index + 1), limits::TENSOR_NAME)?;
        let what = format!("tensor `{}`", shown(name));
        if !seen.insert(name) {
            return Err(cursor.fault(start, &what, "each tensor once", "it again", CONVERT_AGAIN));
        }
        let (shape, elements) = dimensions(cursor, &what)?;
        let type_at = cursor.at();
        let id = cursor.u32(&what)?;
        let Some(dtype) = DType::from_ggml_id(id) else {
            let found =
                DType::ggml_name(id).map_or_else(|| format!("number {id}"), |name| format!("{name} (number {id})"));
            return Err(cursor.fault(
                type_at,
                &what,
                "a type among F32, F16, BF16, Q4_0 to Q8_1, Q2_K to Q8_K",
                found,
                "take the model in another quantisation",
            ));
        };
        let block = dtype.block_elems() as u64;
        let row = shape.last().map_or(0, |cols| *cols as u64);
        if row % block != 0 {
            return Err(cursor.fault(
                type_at,
                &what,
                format!("rows of a multiple of {block} elements ({dtype})"),
                format!("rows of {row}"),
                CONVERT_AGAIN,
            ));
        }
        let Some(bytes) = (elements / block).checked_mul(dtype.block_bytes() as u64) else {
            return Err(cursor.fault(
                type_at,
                &what,
                "a size that a file can have",
                format!("{elements} elements of {dtype}"),
                CONVERT_AGAIN,
            ));
        };
        let at = cursor.at();
        let offset = cursor.u64(&what)?;
        tensors.push(Unplaced { name: name.to_owned(), dtype, shape, bytes, offset, at });
    }
    Ok(tensors)
}

/// The row-major shape and its product.
fn dimensions(cursor: &mut Cursor<'_>, what: &str) -> Result<(Vec<usize>, u64), Box<Fault>> {
    let at = cursor.at();
    let count = cursor.u32(what)?;
    if !(1..=limits::DIMS).contains(&count) {
        return Err(cursor.fault(
            at,
            what,
            format!("1 to {} dimensions", limits::DIMS),
            count.to_string(),
            FETCH_AGAIN,
        ));
    }
    let mut shape = Vec::with_capacity(count as usize);
    let mut elements = 1u64;
    for _ in 0..count {
        let at = cursor.at();
        let dimension = cursor.u64(what)?;
        let size = usize::try_from(dimension).ok().filter(|size| (1..=i64::MAX as u64).contains(&(*size as u64)));
        let Some(size) = size else {
            return Err(cursor.fault(at, what, "a dimension of at least 1", signed(dimension), FETCH_AGAIN));
        };
        // ggml counts elements in an i64.
        let product = elements.checked_mul(dimension).filter(|product| *product <= i64::MAX as u64);
        let Some(product) = product else {
            return Err(cursor.fault(
                at,
                what,
                "fewer than 2^63 elements in all",
                format!("{elements} x {dimension}"),
                FETCH_AGAIN,
            ));
        };
        elements = product;
        shape.push(size);
    }
    shape.reverse();
    Ok((shape, elements))
}

/// Places each tensor behind the header: aligned, inside the file, no two in the same bytes.
pub(crate) fn place(
    file: &Path,
    tensors: Vec<Unplaced>,
    data_start: u64,
    alignment: u32,
    file_bytes: u64,
) -> Result<Vec<Entry>, Box<Fault>> {
    let mut entries = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let fault = |expected: String, found: String, advice: &str| {
            Fault::at(file, format!("byte {}, tensor `{}`", tensor.at, shown(&tensor.name)), expected, found, advice)
        };
        if tensor.offset % u64::from(alignment) != 0 {
            return Err(fault(
                format!("an offset that is a multiple of {alignment}"),
                signed(tensor.offset),
                CONVERT_AGAIN,
            ));
        }
        let start = data_start.checked_add(tensor.offset);
        let end = start.and_then(|start| start.checked_add(tensor.bytes));
        let range = start.zip(end).filter(|(_, end)| *end <= file_bytes);
        // Within the mapped file, so both fit usize.
        let range = range.and_then(|(start, end)| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?));
        let Some(range) = range else {
            let place = format!("{} bytes at {data_start} + {}", tensor.bytes, signed(tensor.offset));
            return Err(fault(format!("data inside the file of {file_bytes} bytes"), place, FETCH_AGAIN));
        };
        entries.push(Entry { name: tensor.name, dtype: tensor.dtype, shape: tensor.shape, range });
    }
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|entry| entry.range.start);
    for pair in order.windows(2) {
        if let [first, second] = pair
            && second.range.start < first.range.end
        {
            return Err(Fault::at(
                file,
                format!("tensor `{}`", shown(&second.name)),
                format!("data behind `{}`, which ends at byte {}", shown(&first.name), first.range.end),
                format!("data from byte {}", second.range.start),
                CONVERT_AGAIN,
            ));
        }
    }
    Ok(entries)
}
