//! A few bytes of shared memory between a worker and the main process: the phase that the worker is in, which survives
//! its death, and the wish that it ends.

#![allow(unsafe_code, reason = "shared memory between two processes")]

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use engine_api::Phase;
use memmap2::{MmapMut, MmapOptions};

use record::Error;

const PHASE: usize = 0;
const STOP: usize = 1;
const BYTES: usize = 2;

/// Both processes map the same file. All accesses are relaxed: nothing else is ordered by them.
#[derive(Debug)]
pub struct Beacon {
    // Never read or written through; the address stays valid as long as it lives.
    map: MmapMut,
}

impl Beacon {
    /// Makes the file, for the main process.
    ///
    /// # Errors
    /// When it cannot be made or mapped.
    pub fn create(path: &Path) -> Result<Self, Error> {
        std::fs::write(path, [0; BYTES]).map_err(Error::file(path, "create"))?;
        Self::open(path)
    }

    /// Maps the file, for the worker.
    ///
    /// # Errors
    /// When it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(Error::file(path, "open"))?;
        if file.metadata().map_err(Error::file(path, "measure"))?.len() != BYTES as u64 {
            return Err(Error::Content {
                path: path.to_path_buf(),
                problem: format!("expected {BYTES} bytes of shared memory"),
                advice: "start workers through `inferometer run`".to_owned(),
            });
        }
        // SAFETY: both processes access the mapping only through the atomics below, and nobody shortens the file.
        let map = unsafe { MmapOptions::new().len(BYTES).map_mut(&file) }.map_err(Error::file(path, "map"))?;
        Ok(Self { map })
    }

    /// The file that belongs to a worker's socket.
    pub fn beside(socket: &Path) -> PathBuf {
        socket.with_extension("beacon")
    }

    /// Shared with nobody: for tests and for requests outside of a worker.
    ///
    /// # Panics
    /// When the system has no page left.
    #[cfg(test)]
    pub fn detached() -> Self {
        Self { map: MmapMut::map_anon(BYTES).unwrap() }
    }

    fn byte(&self, place: usize) -> &AtomicU8 {
        let start = self.map.as_ptr().cast_mut();
        // SAFETY: `place` is one of the constants above, within the mapping.
        let address = unsafe { start.add(place) };
        // SAFETY: the byte lies in a mapping that lives as long as `self`, is writable, and is only accessed atomically.
        unsafe { AtomicU8::from_ptr(address) }
    }

    /// A phase begins: one relaxed store.
    #[inline]
    pub fn set_phase(&self, phase: Phase) {
        self.byte(PHASE).store(phase as u8 + 1, Ordering::Relaxed);
    }

    /// No phase runs.
    pub fn clear_phase(&self) {
        self.byte(PHASE).store(0, Ordering::Relaxed);
    }

    /// The phase that began last; `None` between requests.
    pub fn phase(&self) -> Option<Phase> {
        let number = usize::from(self.byte(PHASE).load(Ordering::Relaxed));
        Phase::ALL.get(number.checked_sub(1)?).copied()
    }

    /// Asks the worker to end its request after the token that is being made.
    pub fn stop(&self) {
        self.byte(STOP).store(1, Ordering::Relaxed);
    }

    /// Whether it is to end: one relaxed load.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.byte(STOP).load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_share_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beacon");
        let (main, worker) = (Beacon::create(&path).unwrap(), Beacon::open(&path).unwrap());
        assert_eq!(main.phase(), None);
        for phase in Phase::ALL {
            worker.set_phase(phase);
            assert_eq!(main.phase(), Some(phase));
        }
        worker.clear_phase();
        assert_eq!(main.phase(), None);
        assert!(!worker.is_stopped());
        main.stop();
        assert!(worker.is_stopped());
    }

    #[test]
    fn a_foreign_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beacon");
        std::fs::write(&path, "hello").unwrap();
        assert!(Beacon::open(&path).unwrap_err().to_string().contains("2 bytes"));
    }
}
