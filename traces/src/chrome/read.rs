//! [`read`] and [`Trace`]: a trace file, record by record.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use text_input::Reader;

use super::other::Other;
use super::record::{Phase, Record, TimeAxis};
use super::scan::{Piece, Scanner};
use crate::record::Category;

pub use super::scan::Form;

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read trace file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The compressed data of the file end early or are damaged.
    #[error("cannot unpack trace file {}: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decompression found.
        #[source]
        source: io::Error,
    },
    /// The file has another format.
    #[error(
        "{} is not a Chrome trace: expected a JSON array of records, or an object with `traceEvents`, found {found}",
        path.display()
    )]
    NotATrace {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: Other,
    },
}

impl ReadError {
    /// What to do about it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } => None,
            Self::Damaged { .. } => {
                Some("the file is truncated or damaged: copy or write it again; `gzip -t` checks it")
            }
            Self::NotATrace { found, .. } => Some(found.advice()),
        }
    }

    /// For `map_err` on an operation on a file.
    fn of(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |error| match text_input::Error::from(error) {
            text_input::Error::Damaged(source) => Self::Damaged { path: path.clone(), source },
            text_input::Error::Io(source) => Self::Io { path: path.clone(), source },
            other => Self::Io { path: path.clone(), source: io::Error::other(other) },
        }
    }
}

/// A place in a file where a record is expected and none can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// The column on that line where the error is detected, from 1, in bytes from the start of the record.
    pub column: usize,
    /// The error.
    pub text: String,
}

/// The next item of a file.
#[derive(Debug)]
pub enum Item<'a> {
    /// A record; its fields may have flaws.
    Record(Record<'a>),
    /// Something that is not a record.
    Broken(Broken),
}

/// A trace file. Each [`visit`](Trace::visit) reads it again, in memory that does not grow with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    path: PathBuf,
    form: Form,
}

/// Opens a trace. A missing `]`, a truncated record and other damage are not errors here: visiting the trace reports them.
///
/// # Errors
/// When the file cannot be read or is not a trace.
pub fn read(path: impl AsRef<Path>) -> Result<Trace, ReadError> {
    let path = path.as_ref();
    let (_, form) = open(path)?;
    Ok(Trace { path: path.to_owned(), form })
}

fn open(path: &Path) -> Result<(Scanner<Reader<'static>>, Form), ReadError> {
    let text = || File::open(path).and_then(Reader::new);
    match text().and_then(Scanner::open).map_err(ReadError::of(path))? {
        Some(opened) => Ok(opened),
        None => {
            let mut head = Vec::new();
            text().and_then(|text| text.take(4096).read_to_end(&mut head)).map_err(ReadError::of(path))?;
            Err(ReadError::NotATrace { path: path.to_owned(), found: Other::of(&head) })
        }
    }
}

impl Trace {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The JSON form of the file.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Calls `take` for each item of the file; returns whether the array of records is closed.
    ///
    /// # Errors
    /// When the file can no longer be read.
    pub fn visit(&self, mut take: impl FnMut(Item<'_>)) -> Result<bool, ReadError> {
        self.try_visit::<ReadError>(|item, _| {
            take(item);
            Ok(())
        })
    }

    /// The time axis, if the file begins with a `clock` record.
    ///
    /// # Errors
    /// When the file can no longer be read.
    pub fn axis(&self) -> Result<Option<TimeAxis>, ReadError> {
        /// Why the search ended.
        enum End {
            Found(Option<TimeAxis>),
            Failed(ReadError),
        }
        impl From<ReadError> for End {
            fn from(error: ReadError) -> Self {
                Self::Failed(error)
            }
        }
        let end = self.try_visit::<End>(|item, _| match item {
            Item::Record(record) if record.phase == Phase::Metadata => Ok(()),
            Item::Record(record) => Err(End::Found(TimeAxis::of(&record))),
            Item::Broken(_) => Ok(()),
        });
        match end {
            Ok(_) => Ok(None),
            Err(End::Found(axis)) => Ok(axis),
            Err(End::Failed(error)) => Err(error),
        }
    }

    /// Like [`visit`](Trace::visit), but passes the text of each record as well and stops when `take` fails.
    pub(super) fn try_visit<E: From<ReadError>>(
        &self,
        mut take: impl FnMut(Item<'_>, &[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let (mut scanner, _) = open(&self.path)?;
        let io = ReadError::of(&self.path);
        let mut uncategorised_are_ops = false;
        let mut mended = Vec::new();
        loop {
            let length = match scanner.next().map_err(&io)? {
                Piece::End { closed } => return Ok(closed),
                Piece::Broken { line, length, text } => {
                    take(Item::Broken(Broken { line, column: length + 1, text: text.to_owned() }), &[])?;
                    continue;
                }
                Piece::Record { line, text } => match Record::parse_or_mend(line, text, &mut mended) {
                    Ok(mut record) => {
                        if let Some(axis) = TimeAxis::of(&record) {
                            uncategorised_are_ops = axis.uncategorised_are_ops;
                        }
                        if uncategorised_are_ops && record.phase == Phase::Complete && record.category.is_empty() {
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
            scanner.retry_after_first_line(length);
        }
    }
}

fn broken(line: u64, error: &serde_json::Error) -> Broken {
    // serde appends its own line, which counts from the start of the record; it is replaced by the line in the file.
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let offset = (error.line() as u64).saturating_sub(1);
    Broken { line: line + offset, column: error.column(), text: format!("invalid record: {text}") }
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
    fn records_after_a_damaged_one_are_read() {
        let text = "[\n{\"name\":\"a\"}\n,{\"name\":\"cut\",\"pid\":7\n,{\"name\":\"b\"}\n,{\"name\":\"c\",}\n,{\"name\":\"d\"}\n";
        assert_eq!(
            items(text),
            [
                "2 a",
                "! 3 22 the record has no end: it was truncated",
                "4 b",
                "! 5 13 invalid record: trailing comma",
                "6 d"
            ]
        );
    }

    #[test]
    fn what_writers_get_wrong_is_mended_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        std::fs::write(
            &path,
            b"[{\"name\":\"a\",\"ph\":\"C\",\"ts\":1,\"pid\":1,\"args\":{\"x\":nan,\"y\":-Infinity,\"z\":2}},\n{\"name\":\"b\x01\tc\"},\n{\"name\":\"d\xff\"}]",
        )
        .unwrap();
        let mut all = Vec::new();
        let closed = read(&path)
            .unwrap()
            .visit(|item| match item {
                Item::Record(record) => {
                    let args = record.args.map_or("", |args| args.get()).to_owned();
                    all.push((record.name.into_owned(), args, record.flaws[0].text.clone()));
                }
                Item::Broken(broken) => panic!("{broken:?}"),
            })
            .unwrap();
        assert!(closed);
        let found: Vec<_> =
            all.iter().map(|(name, args, flaw)| (name.as_str(), args.as_str(), flaw.as_str())).collect();
        assert_eq!(
            found,
            [
                ("a", "{\"x\":null,\"y\":null,\"z\":2}", "is not JSON: it has a number that is not finite"),
                ("b\u{1}\tc", "", "is not JSON: it has a control character in a string"),
                ("d\u{fffd}", "", "is not JSON: it has bytes that are not UTF-8"),
            ]
        );
    }

    #[test]
    fn a_compressed_trace_and_one_in_utf16_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let text = "{\"traceEvents\":[{\"name\":\"a\"},{\"name\":\"b\"}]}";
        let names = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut names = Vec::new();
            read(&path)?.visit(|item| match item {
                Item::Record(record) => names.push(record.name.into_owned()),
                Item::Broken(broken) => panic!("{broken:?}"),
            })?;
            Ok::<_, ReadError>(names.join(" "))
        };
        // `gzip -n` of the text.
        let gzip = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/two_records.json.gz")).unwrap();
        let utf16: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for bytes in [text.as_bytes(), &gzip, &utf16] {
            assert_eq!(names(bytes).unwrap(), "a b");
        }
        let error = names(&gzip[..gzip.len() - 12]).unwrap_err();
        assert!(error.to_string().starts_with("cannot unpack trace file "), "{error}");
        assert!(error.advice().is_some_and(|advice| advice.contains("truncated")), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_what_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with("cannot read trace file ") && error.contains("model.gguf"), "{error}");
        std::fs::write(&path, b"GGUF\x03\x00\x00\x00").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.ends_with("found a model (GGUF)"), "{error}");
        std::fs::write(&path, b"once upon \x00").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("found \"once upon \\x00\""), "{error}");
        std::fs::write(&path, b"").unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().ends_with("found an empty file"), "{error}");
        assert!(error.advice().is_some_and(|advice| advice.starts_with("give a trace.json")));
    }
}
