//! Synthetic files that are made once: found again by what is in them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::disk::{self, Lock};
use crate::error::Error;
use crate::fetch::{Progress, cache_home};

use super::Recipe;
use super::write::{Prepared, write_prepared};

/// Where synthetic files are kept: `$XDG_CACHE_HOME/inferometer/synthetic`, `~/.cache/inferometer/synthetic` without it.
#[must_use]
pub fn cache_folder() -> PathBuf {
    cache_home().join("synthetic")
}

/// The file of `recipe` in `folder`, made now unless it is there already.
///
/// The header of a synthetic file tells all that decides its bytes (shape, types, seed, tokenizer, version of the generator), so
/// a digest of the header names the file, and a file with this header and the right length is the right file: it got its name only
/// when it was complete. Several processes may ask at once; one writes, the others wait.
///
/// # Errors
/// Those of [`write()`](super::write()), and [`Error::Io`] where the folder cannot be used.
pub fn ensure(recipe: &Recipe<'_>, folder: &Path, progress: &dyn Progress) -> Result<PathBuf, Error> {
    let prepared = recipe.prepare()?;
    let path = folder.join(file_name(recipe, &prepared.header));
    if is_whole(&path, &prepared) {
        return Ok(path);
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let lock_path = disk::beside(&path, ".lock");
    let waiting = || progress.note(&format!("another process is writing {}; waiting for it", path.display()));
    let _lock = Lock::acquire(&lock_path, waiting).map_err(|e| Error::io("lock", &lock_path, e))?;
    if !is_whole(&path, &prepared) {
        write_prepared(&prepared, recipe.seed, &path, progress, disk::free_space)?;
    }
    Ok(path)
}

/// Readable, and told apart by all that matters: `llama-3.2-1b-q4_0-seed1-0123456789abcdef.gguf`.
fn file_name(recipe: &Recipe<'_>, header: &[u8]) -> String {
    let digest = Sha256::digest(header);
    let short: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = recipe.name.chars().map(plain).collect();
    format!("{}-{}-seed{}-{short}.gguf", name.trim_start_matches('.'), recipe.quant.name().to_lowercase(), recipe.seed)
}

/// Whether `path` is the complete file: its length and its whole header are the expected ones.
fn is_whole(path: &Path, prepared: &Prepared) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let length_fits = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == prepared.file_bytes());
    let mut header = vec![0; prepared.header.len()];
    length_fits && file.read_exact(&mut header).is_ok() && header == prepared.header
}
