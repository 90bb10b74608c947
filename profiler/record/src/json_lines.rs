//! [`JsonLines`]: a file with one JSON value per line that is only appended to. It is valid after every write.
//!
//! A process that is killed during a write leaves an incomplete last line; the next one removes it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Printable;
use crate::Error;

/// The file, open for more lines.
#[derive(Debug)]
pub(super) struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens the file, or creates an empty one. An incomplete last line is removed.
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let options = || OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = options().map_err(Error::file(&path, "open"))?;
        let end = whole_end(&mut file).map_err(Error::file(&path, "read"))?;
        file.set_len(end).map_err(Error::file(&path, "shorten"))?;
        Ok(Self { path, file })
    }

    /// Appends one line without the secrets that this process knows, in one write.
    pub(super) fn append(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let text = line(&self.path, value)?;
        self.file.write_all(text.as_bytes()).map_err(Error::file(&self.path, "append to"))
    }

    /// Waits until the lines are stored.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::file(&self.path, "store"))
    }
}

/// A value as a line of a file, without the secrets that this process knows.
pub(super) fn line(path: &Path, value: &impl Serialize) -> Result<String, Error> {
    let encoded = Printable::json_line(value);
    let text = encoded.map_err(|error| Error::file(path, "encode a line for")(error.into()))?;
    Ok(redaction::without_known(text.as_str()).to_string())
}

/// Calls `each` with every complete line that is a value of the type; returns the numbers of those that are not, from 1. The file may
/// still grow. Memory does not grow with it.
pub(super) fn read<T: DeserializeOwned>(path: &Path, mut each: impl FnMut(T)) -> Result<Vec<usize>, Error> {
    let mut damaged = Vec::new();
    read_lines(path, |number, bytes| match serde_json::from_slice(bytes) {
        Ok(value) => each(value),
        Err(_) => damaged.push(number),
    })?;
    Ok(damaged)
}

/// Calls `each` with the number of every complete line, from 1, and its bytes.
pub(super) fn read_lines(path: &Path, mut each: impl FnMut(usize, &[u8])) -> Result<(), Error> {
    let mut file = BufReader::new(File::open(path).map_err(Error::file(path, "open"))?);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        file.read_until(b'\n', &mut bytes).map_err(Error::file(path, "read"))?;
        let Some(whole) = bytes.strip_suffix(b"\n") else { break };
        each(number, whole);
    }
    Ok(())
}

/// A message about the damaged lines of the file with this name; `None` if there are none.
pub(super) fn about_damaged(name: &str, damaged: &[usize]) -> Option<String> {
    let (first, rest) = damaged.split_first()?;
    let others = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    Some(format!(
        "{name}: line {first}{others} cannot be read, and what it held is left out; a run that is resumed measures it again"
    ))
}

/// The end of the last complete line.
fn whole_end(file: &mut File) -> std::io::Result<u64> {
    const BLOCK: u64 = 1 << 16;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(path: &Path) -> (Vec<u32>, Vec<usize>) {
        let mut found = Vec::new();
        let damaged = read(path, |number| found.push(number)).unwrap();
        (found, damaged)
    }

    #[test]
    fn an_incomplete_last_line_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut file = JsonLines::open(path.clone()).unwrap();
        for number in [10, 20, 30] {
            file.append(&number).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(numbers(&path), (vec![10, 20], vec![]));
        JsonLines::open(path.clone()).unwrap().append(&40).unwrap();
        assert_eq!(numbers(&path), (vec![10, 20, 40], vec![]));
    }

    #[test]
    fn a_long_incomplete_line_is_removed_and_an_empty_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        for (before, after) in [("1\n", "1\n"), ("", "")] {
            std::fs::write(&path, format!("{before}{}", "2".repeat(200_000))).unwrap();
            drop(JsonLines::open(path.clone()).unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn damaged_lines_are_named_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, b"1\n\xff\n{\"a\": 1}\n4\n").unwrap();
        assert_eq!(numbers(&path), (vec![1, 4], vec![2, 3]));
        let text = about_damaged("a.jsonl", &[2, 3]).unwrap();
        assert!(text.starts_with("a.jsonl: line 2 and 1 more cannot be read"), "{text}");
        assert_eq!(about_damaged("a.jsonl", &[]), None);
    }
}
