//! [`read`]: a trace file, record by record.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::axis::Axis;
use super::record::{Phase, Record};
use super::scan::{Piece, Scanner};
use crate::record::Category;

pub use super::scan::Form;

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses.
    #[error("cannot read trace file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something else.
    #[error(
        "{} is no Chrome trace: expected a JSON array of records, or an object with `traceEvents`, found {found}; \
         give a trace.json of a run folder, or one that a browser or another profiler wrote",
        path.display()
    )]
    NotATrace {
        /// The file.
        path: PathBuf,
        /// How it begins.
        found: String,
    },
}

/// A place in a file that holds no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// The column on that line where it is noticed, from 1, in bytes from the record's beginning.
    pub column: usize,
    /// What is wrong.
    pub text: String,
}

/// What a file holds next.
#[derive(Debug)]
pub enum Item<'a> {
    /// A record, maybe with flaws in its fields.
    Record(Record<'a>),
    /// Something that is none.
    Broken(Broken),
}

/// A trace file. It is read anew by each [`visit`](Trace::visit), in memory that does not grow with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    path: PathBuf,
    form: Form,
}

/// Opens a trace. A missing `]`, a record that was cut and other damage are no errors here: they are reported in passing.
///
/// # Errors
/// When the file cannot be read or holds no trace.
pub fn read(path: impl AsRef<Path>) -> Result<Trace, ReadError> {
    let path = path.as_ref();
    let (_, form) = open(path)?;
    Ok(Trace { path: path.to_owned(), form })
}

fn open(path: &Path) -> Result<(Scanner<File>, Form), ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    match Scanner::open(file).map_err(io)? {
        Some(opened) => Ok(opened),
        None => Err(ReadError::NotATrace { path: path.to_owned(), found: beginning(path).map_err(io)? }),
    }
}

/// The first bytes of a file, for a message.
fn beginning(path: &Path) -> io::Result<String> {
    let mut head = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, 24), &mut head)?;
    Ok(match head.as_slice() {
        [] => "an empty file".to_owned(),
        head => format!("\"{}\"", head.escape_ascii()),
    })
}

impl Trace {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How its records are packed.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Goes through the file from its beginning; says whether its array was closed.
    ///
    /// # Errors
    /// When the file can no longer be read.
    pub fn visit(&self, mut take: impl FnMut(Item<'_>)) -> Result<bool, ReadError> {
        self.try_visit::<ReadError>(|item, _| {
            take(item);
            Ok(())
        })
    }

    /// How its times are to be read, where its beginning says so.
    ///
    /// # Errors
    /// When the file can no longer be read.
    pub fn axis(&self) -> Result<Option<Axis>, ReadError> {
        /// Why the search ends.
        enum End {
            Found(Option<Axis>),
            Failed(ReadError),
        }
        impl From<ReadError> for End {
            fn from(error: ReadError) -> Self {
                Self::Failed(error)
            }
        }
        let end = self.try_visit::<End>(|item, _| match item {
            Item::Record(record) if record.phase == Phase::Metadata => Ok(()),
            Item::Record(record) => Err(End::Found(Axis::of(&record))),
            Item::Broken(_) => Ok(()),
        });
        match end {
            Ok(_) => Ok(None),
            Err(End::Found(axis)) => Ok(axis),
            Err(End::Failed(error)) => Err(error),
        }
    }

    /// As [`visit`](Trace::visit), with the record's text, until `take` fails.
    pub(super) fn try_visit<E: From<ReadError>>(
        &self,
        mut take: impl FnMut(Item<'_>, &[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let (mut scanner, _) = open(&self.path)?;
        let io = |source| ReadError::Io { path: self.path.clone(), source };
        let mut plain_ops = false;
        loop {
            let length = match scanner.next().map_err(io)? {
                Piece::End { closed } => return Ok(closed),
                Piece::Broken { line, length, text } => {
                    take(Item::Broken(Broken { line, column: length + 1, text: text.to_owned() }), &[])?;
                    continue;
                }
                Piece::Record { line, text } => match Record::parse(line, text) {
                    Ok(mut record) => {
                        if let Some(axis) = Axis::of(&record) {
                            plain_ops = axis.plain_ops;
                        }
                        if plain_ops && record.phase == Phase::Complete && record.category.is_empty() {
                            record.category = Cow::Borrowed(Category::Op.name());
                        }
                        take(Item::Record(record), text)?;
                        continue;
                    }
                    Err(error) => {
                        let broken = broken(line, &error);
                        take(Item::Broken(broken), &[])?;
                        text.len()
                    }
                },
            };
            scanner.retry_behind_first_line(length);
        }
    }
}

fn broken(line: u64, error: &serde_json::Error) -> Broken {
    // serde counts lines from the record's beginning and says the place at the end of its text; the place is ours.
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let further = (error.line() as u64).saturating_sub(1);
    Broken { line: line + further, column: error.column(), text: format!("no valid record: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        std::fs::write(&path, text).unwrap();
        let mut all = Vec::new();
        read(&path)
            .unwrap()
            .visit(|item| match item {
                Item::Record(record) => all.push(format!("{} {}", record.line, record.name)),
                Item::Broken(broken) => all.push(format!("! {} {} {}", broken.line, broken.column, broken.text)),
            })
            .unwrap();
        all
    }

    #[test]
    fn records_behind_a_damaged_one_are_read() {
        let text = "[\n{\"name\":\"a\"}\n,{\"name\":\"cut\",\"pid\":7\n,{\"name\":\"b\"}\n,{\"name\":\"c\",}\n,{\"name\":\"d\"}\n";
        assert_eq!(
            items(text),
            [
                "2 a",
                "! 3 22 this record does not end: it was cut",
                "4 b",
                "! 5 13 no valid record: trailing comma",
                "6 d"
            ]
        );
    }

    #[test]
    fn errors_name_file_expectation_and_finding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with("cannot read trace file ") && error.contains("model.gguf"), "{error}");
        std::fs::write(&path, b"GGUF\x03\x00\x00\x00").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("found \"GGUF\\x03\\x00\\x00\\x00\""), "{error}");
        std::fs::write(&path, b"").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("found an empty file"));
    }
}
