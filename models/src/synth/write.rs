//! Making the file: pieces of tensors in parallel, each written at its place, a few megabytes in memory whatever the model's size.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::disk::{self, PartFile};
use crate::error::{Error, Fault};
use crate::fetch::{Progress, Work};
use crate::units::Bytes;

use super::Recipe;
use super::blocks::{self, CHUNK_ELEMS};
use super::plan::{Plan, PlannedTensor};
use super::random::Random;

/// Chunks per piece: a piece is what one thread makes and writes at once, half a megabyte to four.
const CHUNKS_PER_PIECE: usize = 16;

/// What a finished file is.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its tensors.
    pub plan: Plan,
    /// Its whole size.
    pub file_bytes: Bytes,
}

/// Writes the file of `recipe` to `path`, whole or not at all: until the end it is called `NAME.part`, and it is removed when
/// anything fails.
///
/// # Errors
/// [`Error::NoSpace`] before anything is written where the disk has no room, [`Error::Synth`] for an impossible recipe,
/// [`Error::Io`] where writing fails.
pub fn write(recipe: &Recipe<'_>, path: &Path, progress: &dyn Progress) -> Result<Written, Error> {
    let prepared = recipe.prepare()?;
    write_prepared(&prepared, recipe.seed, path, progress, disk::free_space)
}

/// A recipe whose header is made and whose sizes are known.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) header: Vec<u8>,
}

impl Prepared {
    pub(super) fn file_bytes(&self) -> u64 {
        self.header.len() as u64 + self.plan.data_bytes.get()
    }
}

pub(super) fn write_prepared(
    prepared: &Prepared,
    seed: u64,
    path: &Path,
    progress: &dyn Progress,
    free_space: impl Fn(&Path) -> io::Result<u64>,
) -> Result<Written, Error> {
    let needed = prepared.file_bytes();
    let free = free_space(path).map_err(|e| Error::io("find the free space of", path, e))?;
    if free < needed {
        return Err(Error::NoSpace { path: path.to_path_buf(), needed: Bytes(needed), free: Bytes(free) });
    }
    let part = PartFile::create(path).map_err(|e| create_error(path, e))?;
    let work = Work::start(progress, &format!("writing synthetic weights to {}", path.display()), Some(Bytes(needed)));
    fill(prepared, seed, part.file(), &work).map_err(|e| Error::io("write", path, e))?;
    part.finish().map_err(|e| Error::io("finish", path, e))?;
    Ok(Written { plan: prepared.plan.clone(), file_bytes: Bytes(needed) })
}

fn create_error(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::ResourceBusy {
        let place = disk::beside(path, ".part").display().to_string();
        let found = "another process that writes it".to_owned();
        return Error::Synth(Fault::at(
            path,
            place,
            "a file of our own",
            found,
            "wait for that process, or choose another name",
        ));
    }
    Error::io("create", path, error)
}

/// Writes header, tensors and the last padding.
fn fill(prepared: &Prepared, seed: u64, file: &File, work: &Work<'_>) -> io::Result<()> {
    file.write_all_at(&prepared.header, 0)?;
    work.advanced(prepared.header.len() as u64);
    // Padding stays a hole of zeros.
    file.set_len(prepared.file_bytes())?;
    let start = prepared.header.len() as u64;
    pieces(&prepared.plan).par_iter().try_for_each_init(Vec::new, |buffer, piece| {
        piece.make(seed, buffer);
        file.write_all_at(buffer, start + piece.offset())?;
        work.advanced(buffer.len() as u64);
        Ok(())
    })
}

/// A run of chunks of one tensor.
#[derive(Debug)]
struct Piece<'a> {
    tensor: &'a PlannedTensor,
    first_chunk: usize,
    elems: usize,
}

fn pieces(plan: &Plan) -> Vec<Piece<'_>> {
    let piece_elems = CHUNK_ELEMS * CHUNKS_PER_PIECE;
    let of_tensor = |tensor| {
        let elems = PlannedTensor::elems(tensor);
        (0..elems.div_ceil(piece_elems)).map(move |index| Piece {
            tensor,
            first_chunk: index * CHUNKS_PER_PIECE,
            elems: piece_elems.min(elems - index * piece_elems),
        })
    };
    plan.tensors.iter().flat_map(of_tensor).collect()
}

impl Piece<'_> {
    /// Where the piece starts in the tensor data.
    fn offset(&self) -> u64 {
        self.tensor.offset + self.tensor.dtype.row_bytes(self.first_chunk * CHUNK_ELEMS).get()
    }

    /// Puts the bytes of the piece into `buffer`, chunk by chunk, each from its own random stream.
    fn make(&self, seed: u64, buffer: &mut Vec<u8>) {
        let PlannedTensor { name, dtype, fill, .. } = self.tensor;
        let bytes = |elems: usize| dtype.row_bytes(elems).get() as usize;
        buffer.resize(bytes(self.elems), 0);
        for (index, chunk) in buffer.chunks_mut(bytes(CHUNK_ELEMS)).enumerate() {
            let number = self.first_chunk + index;
            blocks::fill(chunk, *dtype, fill, number * CHUNK_ELEMS, &mut Random::stream(seed, name, number as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Quant;
    use super::super::tests::{recipe, tiny};
    use super::*;
    use crate::fetch::Quiet;

    /// Panics in the middle of the work, as a crash would.
    struct Crash;

    impl Progress for Crash {
        fn started(&self, _: &str, _: Option<Bytes>) {}
        fn advanced(&self, _: Bytes) {
            panic!("interrupted");
        }
        fn finished(&self) {}
        fn note(&self, _: &str) {}
    }

    #[test]
    fn no_space_is_said_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        let spec = tiny();
        let prepared = recipe(&spec, Quant::Q4_0).prepare().unwrap();
        let error = write_prepared(&prepared, 1, &path, &Quiet, |_| Ok(1_000)).unwrap_err();
        assert!(matches!(error, Error::NoSpace { free: Bytes(1_000), .. }), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_interrupted_write_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        let spec = tiny();
        let crashed = std::panic::catch_unwind(|| write(&recipe(&spec, Quant::Q4_0), &path, &Crash));
        assert!(crashed.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_piece_does_not_depend_on_its_neighbours() {
        let spec = tiny();
        let planned = super::super::plan(&spec, Quant::Q4_0).unwrap();
        let tensor = &planned.tensors[0];
        let (mut whole, mut last) = (Vec::new(), Vec::new());
        let elems = tensor.elems();
        assert!(elems > 2 * CHUNK_ELEMS, "the test needs a tensor of several chunks");
        Piece { tensor, first_chunk: 0, elems }.make(9, &mut whole);
        Piece { tensor, first_chunk: 2, elems: elems - 2 * CHUNK_ELEMS }.make(9, &mut last);
        assert!(whole.ends_with(&last));
    }
}
