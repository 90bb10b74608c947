//! Writing the quantised file: rows of tensors are converted in parallel and written to their positions, with a few megabytes of
//! memory for any model size.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::blocks;
use crate::container::gguf::ALIGNMENT;
use crate::error::{Error, Mismatch};
use crate::filesystem::{self, PartFile};
use crate::progress::{Progress, Task};
use crate::units::Bytes;

use super::plan::{PlannedTensor, TensorSource, dimensions};

/// The number of elements that a thread converts at once, unless a row has more.
const PART_ELEMS: usize = 1 << 18;

/// Consecutive rows of one tensor.
struct TensorPart<'a> {
    tensor: &'a PlannedTensor<'a>,
    first: usize,
    rows: usize,
    cols: usize,
}

/// Sums of squares in f64 for the error of the weights, per part and then over the parts in order, so that the result does not depend
/// on the number of threads.
#[derive(Clone, Copy, Debug, Default)]
struct SquareSums {
    /// Of the differences.
    differences: f64,
    /// Of the weights.
    weights: f64,
}

/// The buffers of a thread.
#[derive(Default)]
struct Buffers {
    /// The numbers of the source.
    numbers: Vec<f32>,
    /// The quantised numbers, dequantised again.
    quantised: Vec<f32>,
    /// The bytes to be written.
    bytes: Vec<u8>,
}

/// Writes the tensors to `path` atomically: until it is complete the file is called `NAME.part`, which is removed on errors. `header`
/// encodes the header for a given error of the weights; its length must not depend on the error. `check` reads the complete file before it
/// gets its name. Returns the error and the size of the file.
pub(super) fn write(
    tensors: &[PlannedTensor<'_>],
    header: impl Fn(f32) -> Result<Vec<u8>, Error>,
    check: impl Fn(&Path) -> Result<(), Error>,
    source: &Path,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(f32, Bytes), Error> {
    let start = header(0.0)?.len() as u64;
    let data = tensors.last().map_or(0, |last| last.offset + last.bytes);
    let needed = (start + data).next_multiple_of(ALIGNMENT);
    let free = filesystem::free_space(path).map_err(|e| Error::io("find the free space of", path, e))?;
    if free < needed {
        return Err(Error::NoSpace { path: path.to_path_buf(), needed: Bytes(needed), free: Bytes(free) });
    }
    let output = PartFile::create(path).map_err(|e| create_error(path, e))?;
    let cannot_write = |e| Error::io("write", path, e);
    // Padding is not written: it reads as zeros.
    output.file().set_len(needed).map_err(cannot_write)?;
    let task = Task::start(progress, &format!("writing {}", path.display()), Some(Bytes(needed)));
    let convert = |buffers: &mut Buffers, part: &TensorPart<'_>| {
        let sums = part.convert(buffers).map_err(|mut mismatch| {
            mismatch.file = source.to_path_buf();
            Error::Quantise(mismatch)
        })?;
        part.write(buffers, output.file(), start).map_err(cannot_write)?;
        task.advanced(part.bytes());
        Ok(sums)
    };
    let parts: Vec<TensorPart<'_>> = tensors.iter().flat_map(parts).collect();
    let sums: Result<Vec<SquareSums>, Error> = parts.par_iter().map_init(Buffers::default, convert).collect();
    let error = error(&sums?);
    output.file().write_all_at(&header(error)?, 0).map_err(cannot_write)?;
    task.advanced(start);
    check(output.part())?;
    output.finish().map_err(|e| Error::io("finish", path, e))?;
    Ok((error, Bytes(needed)))
}

/// `sqrt(sum (w - w')^2 / sum w^2)`; 0 if nothing changed, or all weights are 0.
#[allow(clippy::cast_possible_truncation, reason = "the key is an F32")]
fn error(sums: &[SquareSums]) -> f32 {
    let (differences, weights) = sums
        .iter()
        .fold((0.0, 0.0), |(differences, weights), part| (differences + part.differences, weights + part.weights));
    if differences > 0.0 { (differences / weights).sqrt() as f32 } else { 0.0 }
}

fn create_error(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::ResourceBusy {
        let place = filesystem::with_suffix(path, ".part").display().to_string();
        let (expected, found) = ("a file that no other process writes", "another process that writes it");
        let advice = "wait for that process, or choose another name";
        return Error::Quantise(Mismatch::at(path, place, expected, found, advice));
    }
    Error::io("create", path, error)
}

fn parts<'a>(tensor: &'a PlannedTensor<'a>) -> impl Iterator<Item = TensorPart<'a>> {
    let (rows, cols) = dimensions(&tensor.shape);
    let most = (PART_ELEMS / cols.max(1)).max(1);
    (0..rows.div_ceil(most)).map(move |index| {
        let first = index * most;
        TensorPart { tensor, first, rows: most.min(rows - first), cols }
    })
}

impl TensorPart<'_> {
    /// Bytes of a row in the new type.
    fn row_bytes(&self) -> u64 {
        self.tensor.dtype.row_bytes(self.cols).get()
    }

    fn bytes(&self) -> u64 {
        self.row_bytes() * self.rows as u64
    }

    /// Converts the rows into `buffers`, unless the bytes of the source are copied.
    fn convert(&self, buffers: &mut Buffers) -> Result<SquareSums, Box<Mismatch>> {
        let PlannedTensor { dtype, source, .. } = self.tensor;
        buffers.bytes.clear();
        if matches!(source, TensorSource::Copy(_)) {
            return Ok(SquareSums::default());
        }
        buffers.numbers.resize(self.rows * self.cols, 0.0);
        for (row, out) in buffers.numbers.chunks_exact_mut(self.cols).enumerate() {
            self.tensor.dequantise_row(self.first + row, out)?;
        }
        if let Some(at) = find_not_finite(&buffers.numbers) {
            let found = buffers.numbers[at].to_string();
            return Err(self.mismatch(
                at,
                "a finite number",
                &found,
                "the weights are not usable: compare the SHA-256 of the file with that at its source",
            ));
        }
        if !blocks::quantise(*dtype, &buffers.numbers, &mut buffers.bytes) {
            return Err(self.mismatch(0, "a type that can be written", dtype.name(), "choose another type"));
        }
        if !self.tensor.is_changed() {
            return Ok(SquareSums::default());
        }
        buffers.quantised.resize(buffers.numbers.len(), 0.0);
        blocks::dequantise_into(*dtype, &buffers.bytes, &mut buffers.quantised);
        if let Some(at) = find_not_finite(&buffers.quantised) {
            let (expected, found) = (format!("a number in the range of {dtype}"), buffers.numbers[at].to_string());
            return Err(self.mismatch(at, &expected, &found, "choose bf16 or f32, which have a larger range"));
        }
        Ok(buffers.numbers.iter().zip(&buffers.quantised).fold(SquareSums::default(), |sums, (before, after)| {
            let (before, after) = (f64::from(*before), f64::from(*after));
            SquareSums {
                differences: sums.differences + (before - after).powi(2),
                weights: sums.weights + before.powi(2),
            }
        }))
    }

    fn mismatch(&self, at: usize, expected: &str, found: &str, advice: &str) -> Box<Mismatch> {
        let (row, column) = (self.first + at / self.cols, at % self.cols);
        let place = format!("tensor `{}`, row {row}, column {column}", self.tensor.name);
        Mismatch::at("source", place, expected, found, advice)
    }

    /// Writes the rows to their position after the header of `start` bytes.
    fn write(&self, buffers: &Buffers, file: &File, start: u64) -> io::Result<()> {
        let first = self.row_bytes() * self.first as u64;
        let bytes = match &self.tensor.source {
            TensorSource::Copy(view) => &view.bytes()[first as usize..(first + self.bytes()) as usize],
            _ => &buffers.bytes,
        };
        file.write_all_at(bytes, start + self.tensor.offset + first)
    }
}

/// The index of the first value that is infinite or NaN.
fn find_not_finite(values: &[f32]) -> Option<usize> {
    values.iter().position(|value| !value.is_finite())
}
