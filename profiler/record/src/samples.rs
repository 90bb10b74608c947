//! `samples.jsonl`: one line per measured request, written at once.
//!
//! A process that is killed during a write leaves an incomplete last line; the next one removes it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Printable, Sample, Setting};
use crate::Error;

/// The file, open for more lines.
#[derive(Debug)]
pub(super) struct Samples {
    path: PathBuf,
    file: File,
}

impl Samples {
    /// A new file; refuses to overwrite one.
    pub(super) fn create(path: PathBuf) -> Result<Self, Error> {
        let file =
            OpenOptions::new().append(true).create_new(true).open(&path).map_err(Error::file(&path, "create"))?;
        Ok(Self { path, file })
    }

    /// An old file with its samples; an incomplete last line is removed.
    pub(super) fn resume(path: PathBuf) -> Result<(Self, Vec<Sample>), Error> {
        let options = || OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = options().map_err(Error::file(&path, "open"))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Error::file(&path, "read"))?;
        let whole = whole_lines(&text);
        let samples = parse(&path, whole)?;
        if whole.len() < text.len() {
            file.set_len(whole.len() as u64).map_err(Error::file(&path, "shorten"))?;
            file.seek(SeekFrom::End(0)).map_err(Error::file(&path, "seek in"))?;
        }
        Ok((Self { path, file }, samples))
    }

    /// Appends one line without the secrets that this process knows, in one write.
    pub(super) fn append(&mut self, sample: &Sample) -> Result<(), Error> {
        let encoded = Printable::json_line(sample);
        let line = encoded.map_err(|error| Error::file(&self.path, "encode a sample for")(error.into()))?;
        let line = redaction::without_known(line.as_str());
        self.file.write_all(line.as_bytes()).map_err(Error::file(&self.path, "append to"))
    }
}

/// The samples of a file that may still grow, without an incomplete last line.
pub(super) fn read(path: &Path) -> Result<Vec<Sample>, Error> {
    let text = text_input::read(path).map_err(Error::text(path))?;
    parse(path, whole_lines(&text))
}

fn whole_lines(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |end| end + 1)]
}

fn parse(path: &Path, text: &str) -> Result<Vec<Sample>, Error> {
    let parsed = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| Error::Content {
            path: path.to_path_buf(),
            problem: format!("line {}: expected a sample ({error})", number + 1),
            advice: format!("remove the line, or start a new run without {}", Setting::Resume),
        })
    };
    text.lines().enumerate().map(parsed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: usize) -> Sample {
        Sample { case: "c".to_owned(), round, ..Sample::absent("not measured") }
    }

    #[test]
    fn an_incomplete_line_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.jsonl");
        let mut file = Samples::create(path.clone()).unwrap();
        file.append(&sample(0)).unwrap();
        file.append(&sample(1)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(read(&path).unwrap(), [sample(0)]);

        let (mut file, found) = Samples::resume(path.clone()).unwrap();
        assert_eq!(found, [sample(0)]);
        file.append(&sample(2)).unwrap();
        assert_eq!(read(&path).unwrap(), [sample(0), sample(2)]);
    }

    #[test]
    fn an_invalid_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.jsonl");
        std::fs::write(&path, "{\"a\": 1}\n").unwrap();
        let text = read(&path).unwrap_err().to_string();
        assert!(text.contains("samples.jsonl") && text.contains("line 1"), "{text}");
    }

    #[test]
    fn an_old_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.jsonl");
        Samples::create(path.clone()).unwrap();
        assert!(Samples::create(path).is_err());
    }
}
