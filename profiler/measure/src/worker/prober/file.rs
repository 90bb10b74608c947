//! The rates at which a file is read: from storage with an empty page cache, and from the page cache.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use meter::page_cache;
use record::Reason;
use traces::clock;

use super::kernels::read;
use super::repeat::{REPETITIONS, rates};

/// Size of the file that is read.
const BYTES: usize = 128 << 20;
/// Bytes of one call of `read`.
const CHUNK: usize = 1 << 20;
/// Length of the pattern that repeats in the file: longer than the window of compressing file systems.
const PATTERN: usize = 8 << 20;

type Rates = Result<Vec<f64>, Reason>;

/// Bytes per second, cold and warm, of a file that is written into `folder` and removed afterwards.
pub(super) fn read(folder: &Path) -> (Rates, Rates) {
    read_of(folder, BYTES)
}

fn read_of(folder: &Path, bytes: usize) -> (Rates, Rates) {
    match Written::new(&folder.join("read.tmp"), bytes) {
        Ok(written) => (cold(&written), warm(&written)),
        Err(reason) => (Err(reason.clone()), Err(reason)),
    }
}

/// `size / time` of reading the file with `read` in pieces of 1 MiB, after its pages were dropped from the page cache. A repetition is
/// valid only if the kernel reports that no page is left.
fn cold(file: &Written) -> Rates {
    let once = || {
        page_cache::drop_files(&[&file.path])?;
        let share = page_cache::share(&[&file.path])?;
        if share > 0.0 {
            return Err(Reason::new(format!(
                "{:.0} % of the file are still in the page cache after a request to drop them: the file system keeps them",
                share * 100.0
            )));
        }
        let mut opened = File::open(&file.path).map_err(|error| file.failed("opened", &error))?;
        let mut piece = vec![0; CHUNK.min(file.bytes)];
        let (mut length, mut sum) = (0, 0_u64);
        let start = clock::now();
        loop {
            match opened.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => {
                    length += read;
                    // One byte is enough to keep the read; a sum over all bytes would be timed too.
                    sum = sum.wrapping_add(u64::from(piece.first().copied().unwrap_or(0)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(file.failed("read", &error)),
            }
        }
        let took = clock::now().saturating_sub(start);
        black_box(sum);
        if length != file.bytes {
            return Err(file.failed("read", &format!("{length} of {} bytes were read", file.bytes)));
        }
        Ok(took.as_secs_f64())
    };
    let seconds: Rates = (0..REPETITIONS).map(|_| once()).collect();
    Ok(rates(file.bytes as u64, &seconds?))
}

/// `size / time` of mapping the file and summing its words on one thread, including the page faults of the fresh mapping, as in the
/// first pass over mapped weights.
fn warm(file: &Written) -> Rates {
    let once = || {
        let opened = File::open(&file.path).map_err(|error| file.failed("opened", &error))?;
        let start = clock::now();
        let sum = mapped_sum(&opened).map_err(|error| file.failed("mapped", &error))?;
        let took = clock::now().saturating_sub(start);
        if sum != file.sum {
            return Err(file.failed("read", &"its content changed"));
        }
        Ok(took.as_secs_f64())
    };
    // The first pass fills the page cache.
    once()?;
    let share = page_cache::share(&[&file.path])?;
    if share < 1.0 {
        return Err(Reason::new(format!(
            "only {:.0} % of the file are in the page cache: memory is short",
            share * 100.0
        )));
    }
    let seconds: Rates = (0..REPETITIONS).map(|_| once()).collect();
    Ok(rates(file.bytes as u64, &seconds?))
}

#[allow(unsafe_code, reason = "a mapped file")]
fn mapped_sum(file: &File) -> std::io::Result<u64> {
    // SAFETY: this measurement has written the file into its own folder, and no other code shortens it while it is mapped. If another
    // process changed the bytes, the sum would be wrong.
    let map = unsafe { Mmap::map(file) }?;
    Ok(read::sum::<1>(&map))
}

/// A file that is removed when dropped.
struct Written {
    path: PathBuf,
    bytes: usize,
    sum: u64,
}

impl Written {
    /// Writes the file and waits until it is stored.
    fn new(path: &Path, bytes: usize) -> Result<Self, Reason> {
        let mut file = Self { path: path.to_path_buf(), bytes, sum: 0 };
        let mut pattern = vec![0; PATTERN.min(bytes)];
        fill_mixed(&mut pattern);
        let once = read::sum::<1>(&pattern);
        let write = || -> std::io::Result<u64> {
            let mut opened = File::create(path)?;
            let (mut left, mut sum) = (bytes, 0_u64);
            while left > 0 {
                let piece = &pattern[..left.min(pattern.len())];
                opened.write_all(piece)?;
                sum = sum.wrapping_add(if piece.len() == pattern.len() { once } else { read::sum::<1>(piece) });
                left -= piece.len();
            }
            opened.sync_all()?;
            Ok(sum)
        };
        file.sum = write().map_err(|error| file.failed("written", &error))?;
        Ok(file)
    }

    fn failed(&self, what: &str, why: &dyn std::fmt::Display) -> Reason {
        Reason::new(format!("{}: cannot be {what}: {why}", self.path.display()))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // A file that cannot be removed is overwritten by the next measurement.
        let _ = fs::remove_file(&self.path);
    }
}

/// Words that cannot be compressed: `SplitMix64` (Steele et al., doi:10.1145/2714064.2660195) of their index.
fn fill_mixed(bytes: &mut [u8]) {
    let mut state = 0_u64;
    let (words, _) = bytes.as_chunks_mut();
    for word in words {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *word = (z ^ (z >> 31)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (cold, warm) = read_of(folder.path(), 1 << 20);
        assert!(warm.unwrap().iter().all(|rate| *rate > 0.0));
        match cold {
            Ok(rates) => assert!(rates.len() == REPETITIONS && rates.iter().all(|rate| *rate > 0.0)),
            Err(reason) => assert!(reason.as_str().contains("page cache"), "{reason}"),
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_a_reason() {
        let (cold, warm) = read_of(Path::new("/nowhere/at/all"), 1 << 20);
        assert_eq!(cold, warm);
        assert!(cold.unwrap_err().as_str().contains("/nowhere/at/all/read.tmp: cannot be written"));
    }
}
