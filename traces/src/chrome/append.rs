//! Appending the records of one trace file to another that is being written: a run has one file, its workers write parts.

use std::path::{Path, PathBuf};

use super::read::{Item, ReadError, read};
use super::writer::{WriteError, Writer};

/// What was taken over from another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Records taken over, as they stand.
    pub records: u64,
    /// Places that held no record, such as a last line that was cut when its process was killed; not taken over.
    pub broken: u64,
    /// Whether the file was finished.
    pub closed: bool,
}

/// Why a file could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The other file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// This one.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The times of the two cannot stand on one axis.
    #[error(
        "cannot append trace file {}: its times count from {found} ns of the machine's clock, expected {expected} ns; \
         write both with the same epoch", path.display()
    )]
    Axis {
        /// The other file.
        path: PathBuf,
        /// This one's epoch.
        expected: u64,
        /// The other one's.
        found: u64,
    },
}

impl Writer {
    /// Takes over all records of another trace file of the same epoch, unchanged: all processes of a machine share the
    /// clock, and process and thread ids are real.
    ///
    /// # Errors
    /// When the other file cannot be read, is no trace or has another epoch, or this one cannot be written.
    pub fn append(&mut self, path: impl AsRef<Path>) -> Result<Appended, AppendError> {
        let mut appended = Appended::default();
        let mut line = Vec::new();
        let trace = read(path)?;
        let (expected, found) = (self.epoch(), trace.axis()?.unwrap_or_default().epoch);
        if expected != found {
            let path = trace.path().to_owned();
            return Err(AppendError::Axis { path, expected: expected.as_nanos(), found: found.as_nanos() });
        }
        let closed = trace.try_visit::<AppendError>(|item, text| {
            if let Item::Broken(_) = item {
                appended.broken += 1;
                return Ok(());
            }
            line.clear();
            line.push(b',');
            // Between the tokens of JSON, and only there, a line end may stand; a record here is one line.
            line.extend(text.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
            line.push(b'\n');
            let result = self.file.line(&line);
            self.check(result)?;
            self.records += 1;
            appended.records += 1;
            Ok(())
        })?;
        self.flush()?;
        Ok(Appended { closed, ..appended })
    }
}
