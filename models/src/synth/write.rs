//! Writing synthetic files: parts of tensors are generated in parallel and written to their positions, with a few megabytes of memory
//! for any model size. Files in the cache are written once and found again by their content.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};

use crate::error::{Error, Mismatch};
use crate::filesystem::{self, Lock, PartFile, cache_home};
use crate::progress::{Progress, Task};
use crate::units::Bytes;

use super::plan::{Plan, PlannedTensor};
use super::random::Random;
use super::random_blocks::{self, CHUNK_ELEMS};
use super::recipe::{Prepared, Recipe};

/// Chunks per part: a thread generates and writes one part at a time, half a megabyte to four megabytes.
const CHUNKS_PER_PART: usize = 16;

/// The description of a finished file.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its tensors.
    pub plan: Plan,
    /// Its size.
    pub file_bytes: Bytes,
}

/// Writes the file of `recipe` to `path` atomically: until it is complete it is called `NAME.part`, which is removed on errors.
///
/// # Errors
/// [`Error::NoSpace`] before anything is written, [`Error::Synth`] for an impossible recipe, [`Error::Io`] if writing fails.
pub fn write(recipe: &Recipe<'_>, path: &Path, progress: &dyn Progress) -> Result<Written, Error> {
    let prepared = recipe.prepare()?;
    write_prepared(&prepared, recipe.seed, path, progress, filesystem::free_space)
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
    let task = Task::start(progress, &format!("writing synthetic weights to {}", path.display()), Some(Bytes(needed)));
    fill(prepared, seed, part.file(), &task).map_err(|e| Error::io("write", path, e))?;
    part.finish().map_err(|e| Error::io("finish", path, e))?;
    Ok(Written { plan: prepared.plan.clone(), file_bytes: Bytes(needed) })
}

fn create_error(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::ResourceBusy {
        let place = filesystem::with_suffix(path, ".part").display().to_string();
        let found = "another process that writes it".to_owned();
        return Error::Synth(Mismatch::at(
            path,
            place,
            "a file that no other process writes",
            found,
            "wait for that process, or choose another name",
        ));
    }
    Error::io("create", path, error)
}

/// Writes header and tensors, and sets the size of the file.
fn fill(prepared: &Prepared, seed: u64, file: &File, task: &Task<'_>) -> io::Result<()> {
    file.write_all_at(&prepared.header, 0)?;
    task.advanced(prepared.header.len() as u64);
    // The padding at the end is not written: it reads as zeros.
    file.set_len(prepared.file_bytes())?;
    let start = prepared.header.len() as u64;
    parts(&prepared.plan).par_iter().try_for_each_init(Vec::new, |buffer, part| {
        part.generate(seed, buffer);
        file.write_all_at(buffer, start + part.offset())?;
        task.advanced(buffer.len() as u64);
        Ok(())
    })
}

/// Consecutive chunks of one tensor.
#[derive(Debug)]
struct TensorPart<'a> {
    tensor: &'a PlannedTensor,
    first_chunk: usize,
    elems: usize,
}

fn parts(plan: &Plan) -> Vec<TensorPart<'_>> {
    let part_elems = CHUNK_ELEMS * CHUNKS_PER_PART;
    let of_tensor = |tensor| {
        let elems = PlannedTensor::elems(tensor);
        (0..elems.div_ceil(part_elems)).map(move |index| TensorPart {
            tensor,
            first_chunk: index * CHUNKS_PER_PART,
            elems: part_elems.min(elems - index * part_elems),
        })
    };
    plan.tensors.iter().flat_map(of_tensor).collect()
}

impl TensorPart<'_> {
    /// The start of the part in the tensor data.
    fn offset(&self) -> u64 {
        self.tensor.offset + self.tensor.dtype.row_bytes(self.first_chunk * CHUNK_ELEMS).get()
    }

    /// Generates the bytes of the part in `buffer`, each chunk from its own random stream.
    fn generate(&self, seed: u64, buffer: &mut Vec<u8>) {
        let PlannedTensor { name, dtype, values, .. } = self.tensor;
        let bytes = |elems: usize| dtype.row_bytes(elems).get() as usize;
        buffer.resize(bytes(self.elems), 0);
        for (index, chunk) in buffer.chunks_mut(bytes(CHUNK_ELEMS)).enumerate() {
            let number = self.first_chunk + index;
            let mut random = Random::stream(seed, name, number as u64);
            random_blocks::fill(chunk, *dtype, values, number * CHUNK_ELEMS, &mut random);
        }
    }
}

/// The folder of cached synthetic files: `$XDG_CACHE_HOME/inferometer/synthetic`, else `~/.cache/inferometer/synthetic`.
#[must_use]
pub fn cache_folder() -> PathBuf {
    cache_home().join("synthetic")
}

/// The file of `recipe` in `folder`, which is written if it does not exist.
///
/// The header of a synthetic file contains everything that determines its bytes (shape, types, seed, tokenizer, version of the
/// generator). A digest of the header is therefore part of the file name, and a file with the same header and the right length is
/// valid: it gets its name only when it is complete. If several processes need the file at once, one writes it and the others wait.
///
/// # Errors
/// Those of [`write()`], and [`Error::Io`] if the folder cannot be used.
pub fn write_cached(recipe: &Recipe<'_>, folder: &Path, progress: &dyn Progress) -> Result<PathBuf, Error> {
    let prepared = recipe.prepare()?;
    let path = folder.join(file_name(recipe, &prepared.header));
    if is_complete(&path, &prepared) {
        return Ok(path);
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let lock_path = filesystem::with_suffix(&path, ".lock");
    let waiting = || progress.note(&format!("another process is writing {}; waiting for it", path.display()));
    let _lock = Lock::acquire(&lock_path, waiting).map_err(|e| Error::io("lock", &lock_path, e))?;
    if !is_complete(&path, &prepared) {
        write_prepared(&prepared, recipe.seed, &path, progress, filesystem::free_space)?;
    }
    Ok(path)
}

/// The file name with the parts of the recipe and the digest of the header: `llama-3.2-1b-q4_0-seed1-0123456789abcdef.gguf`.
fn file_name(recipe: &Recipe<'_>, header: &[u8]) -> String {
    let digest = Sha256::digest(header);
    let short: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = recipe.name.chars().map(plain).collect();
    format!("{}-{}-seed{}-{short}.gguf", name.trim_start_matches('.'), recipe.quant.name().to_lowercase(), recipe.seed)
}

/// Whether `path` is the complete file: it has the expected length and header.
fn is_complete(path: &Path, prepared: &Prepared) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let length_fits = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == prepared.file_bytes());
    let mut header = vec![0; prepared.header.len()];
    length_fits && file.read_exact(&mut header).is_ok() && header == prepared.header
}

#[cfg(test)]
mod tests {
    use super::super::file_type::Quant;
    use super::super::tests::{recipe, tiny};
    use super::*;
    use crate::progress::Quiet;

    /// Panics during the task, as a crash would.
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
    fn missing_space_is_reported_before_anything_is_written() {
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
    fn a_part_does_not_depend_on_its_neighbours() {
        let spec = tiny();
        let planned = super::super::plan(&spec, Quant::Q4_0).unwrap();
        let tensor = &planned.tensors[0];
        let (mut whole, mut last) = (Vec::new(), Vec::new());
        let elems = tensor.elems();
        assert!(elems > 2 * CHUNK_ELEMS, "the test needs a tensor of several chunks");
        TensorPart { tensor, first_chunk: 0, elems }.generate(9, &mut whole);
        TensorPart { tensor, first_chunk: 2, elems: elems - 2 * CHUNK_ELEMS }.generate(9, &mut last);
        assert!(whole.ends_with(&last));
    }
}
