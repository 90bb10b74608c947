//! Making the file: rows of tensors in parallel, each run written at its place, a few megabytes in memory whatever the model's size.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::disk::{self, PartFile};
use crate::error::{Error, Fault};
use crate::fetch::{Progress, Work};
use crate::narrow;
use crate::units::Bytes;
use crate::widen;

use super::plan::{From, Planned, sides};

/// Elements that one thread has in memory at once, unless a row has more.
const PIECE_ELEMS: usize = 1 << 18;

/// Rows of one tensor.
struct Piece<'a> {
    tensor: &'a Planned<'a>,
    first: usize,
    rows: usize,
    cols: usize,
}

/// What the weights lost: sums of squares in f64, per piece and then over the pieces in their order, so that the number of threads
/// changes nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Squares {
    /// Of the differences.
    lost: f64,
    /// Of the weights.
    all: f64,
}

/// Room that a thread uses again and again.
#[derive(Default)]
struct Buffers {
    wide: Vec<f32>,
    back: Vec<f32>,
    bytes: Vec<u8>,
}

/// Writes the tensors to `path` behind the header that `header` makes of the error, whole or not at all: until the end the file is
/// called `NAME.part`, and it is removed when anything fails. The header's length must not depend on the error. Gives back the
/// error and the size of the file.
pub(super) fn write(
    tensors: &[Planned<'_>],
    header: impl Fn(f32) -> Result<Vec<u8>, Error>,
    source: &Path,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(f32, Bytes), Error> {
    let start = header(0.0)?.len() as u64;
    let data = tensors.last().map_or(0, |last| last.offset + last.bytes);
    let needed = (start + data).next_multiple_of(crate::checkpoint::gguf::ALIGNMENT);
    let free = disk::free_space(path).map_err(|e| Error::io("find the free space of", path, e))?;
    if free < needed {
        return Err(Error::NoSpace { path: path.to_path_buf(), needed: Bytes(needed), free: Bytes(free) });
    }
    let part = PartFile::create(path).map_err(|e| create_error(path, e))?;
    let cannot_write = |e| Error::io("write", path, e);
    // Padding stays a hole of zeros.
    part.file().set_len(needed).map_err(cannot_write)?;
    let work = Work::start(progress, &format!("writing {}", path.display()), Some(Bytes(needed)));
    let make = |buffers: &mut Buffers, piece: &Piece<'_>| {
        let squares = piece.make(buffers).map_err(|mut fault| {
            fault.file = source.to_path_buf();
            Error::Quantise(fault)
        })?;
        piece.write(buffers, part.file(), start).map_err(cannot_write)?;
        work.advanced(piece.bytes());
        Ok(squares)
    };
    let pieces: Vec<Piece<'_>> = tensors.iter().flat_map(pieces).collect();
    let squares: Result<Vec<Squares>, Error> = pieces.par_iter().map_init(Buffers::default, make).collect();
    let error = error(&squares?);
    part.file().write_all_at(&header(error)?, 0).map_err(cannot_write)?;
    work.advanced(start);
    part.finish().map_err(|e| Error::io("finish", path, e))?;
    Ok((error, Bytes(needed)))
}

/// `sqrt(sum (w - w')^2 / sum w^2)`; 0 where nothing changed, or all is 0 and stays 0.
#[allow(clippy::cast_possible_truncation, reason = "the key is an F32")]
fn error(squares: &[Squares]) -> f32 {
    let (lost, all) = squares.iter().fold((0.0, 0.0), |(lost, all), piece| (lost + piece.lost, all + piece.all));
    if lost > 0.0 { (lost / all).sqrt() as f32 } else { 0.0 }
}

fn create_error(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::ResourceBusy {
        let place = disk::beside(path, ".part").display().to_string();
        let (expected, found) = ("a file of our own", "another process that writes it");
        let advice = "wait for that process, or choose another name";
        return Error::Quantise(Fault::at(path, place, expected, found, advice));
    }
    Error::io("create", path, error)
}

fn pieces<'a>(tensor: &'a Planned<'a>) -> impl Iterator<Item = Piece<'a>> {
    let (rows, cols) = sides(&tensor.shape);
    let most = (PIECE_ELEMS / cols.max(1)).max(1);
    (0..rows.div_ceil(most)).map(move |index| {
        let first = index * most;
        Piece { tensor, first, rows: most.min(rows - first), cols }
    })
}

impl Piece<'_> {
    /// Bytes of a row as it is stored.
    fn row_bytes(&self) -> u64 {
        self.tensor.dtype.row_bytes(self.cols).get()
    }

    fn bytes(&self) -> u64 {
        self.row_bytes() * self.rows as u64
    }

    /// Puts the bytes of the rows into `buffers`, unless they are the source's own.
    fn make(&self, buffers: &mut Buffers) -> Result<Squares, Box<Fault>> {
        let Planned { dtype, from, .. } = self.tensor;
        buffers.bytes.clear();
        if matches!(from, From::Same(_)) {
            return Ok(Squares::default());
        }
        buffers.wide.resize(self.rows * self.cols, 0.0);
        for (row, out) in buffers.wide.chunks_exact_mut(self.cols).enumerate() {
            self.tensor.widen_row(self.first + row, out)?;
        }
        if let Some(at) = no_number(&buffers.wide) {
            let found = buffers.wide[at].to_string();
            return Err(self.fault(at, "a finite number", &found, "the weights are damaged: fetch them again"));
        }
        if !narrow::narrow(*dtype, &buffers.wide, &mut buffers.bytes) {
            return Err(self.fault(0, "a type that is made here", dtype.name(), "choose another --quant"));
        }
        if !self.tensor.is_changed() {
            return Ok(Squares::default());
        }
        buffers.back.resize(buffers.wide.len(), 0.0);
        widen::widen_into(*dtype, &buffers.bytes, &mut buffers.back);
        if let Some(at) = no_number(&buffers.back) {
            let (expected, found) = (format!("numbers that {dtype} holds"), buffers.wide[at].to_string());
            return Err(self.fault(at, &expected, &found, "choose bf16 or f32, which hold numbers as large"));
        }
        Ok(buffers.wide.iter().zip(&buffers.back).fold(Squares::default(), |sums, (was, is)| {
            let (was, is) = (f64::from(*was), f64::from(*is));
            Squares { lost: sums.lost + (was - is).powi(2), all: sums.all + was.powi(2) }
        }))
    }

    fn fault(&self, at: usize, expected: &str, found: &str, advice: &str) -> Box<Fault> {
        let (row, column) = (self.first + at / self.cols, at % self.cols);
        let place = format!("tensor `{}`, row {row}, column {column}", self.tensor.name);
        Fault::at("source", place, expected, found, advice)
    }

    /// Writes the rows to their place behind the header of `start` bytes.
    fn write(&self, buffers: &Buffers, file: &File, start: u64) -> io::Result<()> {
        let first = self.row_bytes() * self.first as u64;
        let bytes = match &self.tensor.from {
            From::Same(view) => &view.bytes()[first as usize..(first + self.bytes()) as usize],
            _ => &buffers.bytes,
        };
        file.write_all_at(bytes, start + self.tensor.offset + first)
    }
}

/// Where the first value stands that is infinite or no number at all.
fn no_number(values: &[f32]) -> Option<usize> {
    values.iter().position(|value| !value.is_finite())
}
