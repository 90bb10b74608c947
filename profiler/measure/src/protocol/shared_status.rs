//! [`SharedStatus`]: a few bytes of memory that a worker shares with the main process. They hold the worker's current phase, which
//! remains readable after the worker was killed, and the request to stop.

#![allow(unsafe_code, reason = "shared memory between two processes")]

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use engine_api::Phase;
use memmap2::{MmapMut, MmapOptions};
use record::{Action, Error};

const PHASE: usize = 0;
const STOP: usize = 1;
const BYTES: usize = 2;

/// A file that both processes map. All accesses are relaxed: they order nothing else.
#[derive(Debug)]
pub struct SharedStatus {
    // Only its address is used; the address is valid as long as the mapping lives.
    map: MmapMut,
}

impl SharedStatus {
    /// Creates the file, in the main process.
    ///
    /// # Errors
    /// When it cannot be created or mapped.
    pub fn create(path: &Path) -> Result<Self, Error> {
        std::fs::write(path, [0; BYTES]).map_err(Error::file(path, "create"))?;
        Self::open(path)
    }

    /// Maps the file, in the worker.
    ///
    /// # Errors
    /// When it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(Error::file(path, "open"))?;
        if file.metadata().map_err(Error::file(path, "measure"))?.len() != BYTES as u64 {
            return Err(Error::Content {
                path: path.to_path_buf(),
                problem: format!("expected {BYTES} bytes of shared memory"),
                advice: format!("start workers through {}", Action::Run),
            });
        }
        // SAFETY: both processes access the mapping only through the atomics below, and neither shortens the file.
        let map = unsafe { MmapOptions::new().len(BYTES).map_mut(&file) }.map_err(Error::file(path, "map"))?;
        Ok(Self { map })
    }

    /// The path of the file that belongs to a worker's socket.
    pub fn path_of(socket: &Path) -> PathBuf {
        socket.with_extension("status")
    }

    /// Memory of this process alone, for tests.
    ///
    /// # Panics
    /// When the system has no free page.
    #[cfg(test)]
    pub fn unshared() -> Self {
        Self { map: MmapMut::map_anon(BYTES).unwrap() }
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        let start = self.map.as_ptr().cast_mut();
        // SAFETY: `offset` is one of the constants above, within the mapping.
        let address = unsafe { start.add(offset) };
        // SAFETY: the byte lies in a mapping that lives as long as `self`, is writable, and is only accessed atomically.
        unsafe { AtomicU8::from_ptr(address) }
    }

    /// A phase begins. One relaxed store.
    #[inline]
    pub fn set_phase(&self, phase: Phase) {
        self.byte(PHASE).store(phase as u8 + 1, Ordering::Relaxed);
    }

    /// No phase is running.
    pub fn clear_phase(&self) {
        self.byte(PHASE).store(0, Ordering::Relaxed);
    }

    /// The phase that began last; `None` between requests.
    pub fn phase(&self) -> Option<Phase> {
        let number = usize::from(self.byte(PHASE).load(Ordering::Relaxed));
        Phase::ALL.get(number.checked_sub(1)?).copied()
    }

    /// Asks the worker to end its request after the current token.
    pub fn request_stop(&self) {
        self.byte(STOP).store(1, Ordering::Relaxed);
    }

    /// Whether the request should end. One relaxed load.
    #[inline]
    pub fn stop_requested(&self) -> bool {
        self.byte(STOP).load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_share_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status");
        let (main, worker) = (SharedStatus::create(&path).unwrap(), SharedStatus::open(&path).unwrap());
        assert_eq!(main.phase(), None);
        for phase in Phase::ALL {
            worker.set_phase(phase);
            assert_eq!(main.phase(), Some(phase));
        }
        worker.clear_phase();
        assert_eq!(main.phase(), None);
        assert!(!worker.stop_requested());
        main.request_stop();
        assert!(worker.stop_requested());
    }

    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status");
        std::fs::write(&path, "hello").unwrap();
        assert!(SharedStatus::open(&path).unwrap_err().to_string().contains("2 bytes"));
    }
}
