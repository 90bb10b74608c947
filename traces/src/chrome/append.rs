//! Appending the records of one trace file to another that is being written: a run has one file, its workers write parts.

use std::path::Path;

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
}

impl Writer {
    /// Takes over all records of another trace file, unchanged: times need no shift, since all processes of a machine
    /// share the clock's origin, and process and thread ids are real.
    ///
    /// # Errors
    /// When the other file cannot be read or is no trace, or this one cannot be written.
    pub fn append(&mut self, path: impl AsRef<Path>) -> Result<Appended, AppendError> {
        let mut appended = Appended::default();
        let mut line = Vec::new();
        let closed = read(path)?.try_visit::<AppendError>(|item, text| {
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
