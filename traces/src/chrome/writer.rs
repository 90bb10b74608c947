//! [`Writer`]: writes batches, samples and the records of other trace files into a trace file.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::line::Line;
use super::line_file::LineFile;
use super::read::{Item, ReadError, read};
use super::record::{CLOCK_RECORD, EPOCH_NANOS, UNCATEGORISED, UNIX_MICROS};
use crate::record::{Batch, Category, Event, Kind, Thread, Value};
use crate::{Nanos, clock};

/// Why a trace could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} trace file {}: {source}", path.display())]
pub struct WriteError {
    /// `create`, `rename` or `write`.
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl WriteError {
    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::NotFound => "create its folder first",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "choose a writable folder",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space (the file is readable up to here)"
            }
            _ => "the file is readable up to here",
        }
    }
}

/// Why a file could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The other file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// This file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The two files have different epochs.
    #[error(
        "cannot append trace file {}: its times count from {found} ns of the machine's clock, expected {expected} ns",
        path.display()
    )]
    EpochsDiffer {
        /// The other file.
        path: PathBuf,
        /// The epoch of this file.
        expected: u64,
        /// The epoch of the other file.
        found: u64,
    },
}

impl AppendError {
    /// What to do about it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Read(error) => error.advice(),
            Self::Write(error) => Some(error.advice()),
            Self::EpochsDiffer { .. } => Some("write both files with the same epoch"),
        }
    }
}

/// A process that appears in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The operating system's id; not 0.
    pub pid: u32,
    /// Its name in viewers.
    pub name: String,
}

impl Process {
    /// The calling process, with this name.
    pub fn this(name: impl Into<String>) -> Self {
        Self { pid: std::process::id(), name: name.into() }
    }
}

/// The content of a finished file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Records, metadata included.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
    /// Records that the recorder dropped.
    pub dropped: u64,
}

/// The result of [`Writer::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Appended records.
    pub records: u64,
    /// Places without a record, such as a last line that was truncated when its process was killed; they are not appended.
    pub broken: u64,
    /// Whether the other file was finished.
    pub closed: bool,
}

/// Writes a trace file that is valid after every write, so that a killed process leaves a readable file.
///
/// Its memory does not grow with the file. If it is dropped without [`finish`](Writer::finish), the file has no `]`, which
/// readers accept, and an error of the last write is lost.
#[derive(Debug)]
pub struct Writer {
    file: LineFile,
    path: PathBuf,
    line: Line,
    process: Process,
    records: u64,
    dropped: u64,
    /// The number of named processes.
    processes: i64,
    /// Threads whose names are in the file.
    named_threads: HashSet<Thread>,
    /// The shape of the last op, by thread and name.
    shapes: HashMap<(u32, usize), [u32; 3]>,
}

impl Writer {
    /// Creates the file, or truncates it, and writes the name of the process and the time. Times count from the origin of the
    /// machine's clock.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn create(path: impl AsRef<Path>, process: Process) -> Result<Self, WriteError> {
        Self::since(Nanos::ZERO, path, process)
    }

    /// Like [`create`](Self::create), with times that count from `epoch`, a reading of [`clock::now`], which makes them
    /// shorter. Files to be appended to each other need the same epoch.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn since(epoch: Nanos, path: impl AsRef<Path>, process: Process) -> Result<Self, WriteError> {
        let path = path.as_ref().to_owned();
        let file =
            LineFile::create(&path).map_err(|source| WriteError { operation: "create", path: path.clone(), source })?;
        let mut writer = Self {
            file,
            path,
            line: Line::since(epoch),
            process,
            records: 0,
            dropped: 0,
            processes: 0,
            named_threads: HashSet::new(),
            shapes: HashMap::new(),
        };
        let started = writer.file.line(b"[\n");
        writer.check(started)?;
        let process = writer.process.clone();
        writer.process(&process)?;
        writer.clock()?;
        writer.flush()?;
        Ok(writer)
    }

    /// Gives the file another name in the same file system; a file of that name is replaced. Writing continues.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn rename(&mut self, path: impl AsRef<Path>) -> Result<(), WriteError> {
        let path = path.as_ref().to_owned();
        std::fs::rename(&self.path, &path).map_err(|source| WriteError {
            operation: "rename",
            path: self.path.clone(),
            source,
        })?;
        self.path = path;
        Ok(())
    }

    /// Writes the events of the writer's own process except histograms, and the names of new threads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        for thread in &batch.threads {
            self.thread(self.process.pid, thread)?;
        }
        for event in batch.events.iter().filter(|event| event.kind != Kind::Histogram) {
            self.event(event)?;
        }
        if batch.dropped > 0 {
            self.dropped += batch.dropped;
            let at = batch.events.last().map_or_else(clock::now, |event| event.start);
            self.instant("dropped", at, &[("records", Value::from(batch.dropped))])?;
        }
        self.flush()
    }

    fn event(&mut self, event: &Event) -> Result<(), WriteError> {
        let shape = self.is_new_shape(event);
        let line = self.line.event(self.records == 0, self.process.pid, event, shape);
        let result = self.file.line(line);
        self.count(result)
    }

    /// Writes the begin of a span whose end is not known yet, so that the spans inside it can be written. Ignores its duration.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&mut self, span: &Event) -> Result<(), WriteError> {
        let result = self.file.line(self.line.begin_span(self.records == 0, self.process.pid, span));
        self.count(result)
    }

    /// Writes the end of a span that [`begin`](Self::begin) began.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end(&mut self, span: &Event) -> Result<(), WriteError> {
        let result = self.file.line(self.line.end_span(self.records == 0, self.process.pid, span));
        self.count(result)
    }

    /// Writes the values of a counter track at one time. Pass all series of a track in one call: some viewers take the series
    /// from the first sample.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn counter(&mut self, name: &str, series: &[(&str, f64)], at: Nanos) -> Result<(), WriteError> {
        let pid = self.process.pid;
        self.line.begin(self.records == 0, 'C').ids(pid, pid).start(at);
        self.line.text_field("name", name).text_field("cat", "counter").open_args();
        for &(series, value) in series {
            self.line.arg(series, Value::Float(value));
        }
        self.line.close_args();
        self.put()?;
        self.flush()
    }

    /// Writes a property of the whole trace as an instant: a case, a machine, a setting.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn metadata(&mut self, name: &str, args: &[(&str, Value)]) -> Result<(), WriteError> {
        self.instant(name, clock::now(), args)?;
        self.flush()
    }

    /// Writes the name of a process whose records will be appended. Viewers show processes in the order of these calls.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn process(&mut self, process: &Process) -> Result<(), WriteError> {
        let pid = process.pid;
        self.metadata_record("process_name", pid, pid, |line| line.text_field("name", &process.name))?;
        let index = self.processes;
        self.processes += 1;
        self.metadata_record("process_sort_index", pid, pid, |line| line.arg("sort_index", Value::Signed(index)))
    }

    /// Appends all records of another trace file with the same epoch, unchanged: all processes of a machine share the clock,
    /// and process and thread ids are the operating system's.
    ///
    /// # Errors
    /// When the other file cannot be read, is not a trace or has another epoch, or this file cannot be written.
    pub fn append(&mut self, path: impl AsRef<Path>) -> Result<Appended, AppendError> {
        let mut appended = Appended::default();
        let mut line = Vec::new();
        let trace = read(path)?;
        let (expected, found) = (self.epoch(), trace.axis()?.unwrap_or_default().epoch);
        if expected != found {
            let path = trace.path().to_owned();
            return Err(AppendError::EpochsDiffer { path, expected: expected.as_nanos(), found: found.as_nanos() });
        }
        let closed = trace.try_visit::<AppendError>(|item, text| {
            if let Item::Broken(_) = item {
                appended.broken += 1;
                return Ok(());
            }
            line.clear();
            line.push(b',');
            // JSON has line ends only between tokens; here a record must be one line.
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

    /// Writes everything that is buffered.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let result = self.file.flush();
        self.check(result)
    }

    /// Closes the array of records.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<Written, WriteError> {
        let result = self.file.line(b"]\n");
        self.check(result)?;
        self.flush()?;
        Ok(Written { records: self.records, bytes: self.file.written(), dropped: self.dropped })
    }

    /// Whether an op's shape differs from that of the last op with its name on its thread. Only then it is written: the shapes
    /// of an op hardly ever change, and they would be a sixth of the file.
    fn is_new_shape(&mut self, event: &Event) -> bool {
        // Names are interned: equal ones have the same address, which hashes faster than the text. If two addresses differ,
        // the shape is only written once more.
        let key = (event.tid, event.name.as_ptr().addr());
        event.kind == Kind::Op && self.shapes.insert(key, event.shape) != Some(event.shape)
    }

    /// Writes the name and the sort index of a thread that is not yet in the file. The main thread, whose id is that of the
    /// process, comes first.
    fn thread(&mut self, pid: u32, thread: &Thread) -> Result<(), WriteError> {
        if !self.named_threads.insert(thread.clone()) {
            return Ok(());
        }
        let place = if thread.tid == pid { 0 } else { self.named_threads.len() as i64 };
        self.metadata_record("thread_name", pid, thread.tid, |line| line.text_field("name", &thread.name))?;
        self.metadata_record("thread_sort_index", pid, thread.tid, |line| line.arg("sort_index", Value::Signed(place)))
    }

    /// The time at which `ts` is 0.
    pub fn epoch(&self) -> Nanos {
        self.line.epoch()
    }

    /// Writes the `clock` record: the epoch, the wall time, and the category of spans without one.
    fn clock(&mut self) -> Result<(), WriteError> {
        let (at, unix) = (clock::now(), clock::unix_time());
        let micros = u64::try_from(unix.as_micros()).unwrap_or(u64::MAX);
        let args = [
            (UNIX_MICROS, Value::Unsigned(micros)),
            (EPOCH_NANOS, Value::from(self.epoch())),
            (UNCATEGORISED, Value::Text(Category::Op.name())),
        ];
        self.instant(CLOCK_RECORD, at, &args)
    }

    /// Writes an instant of the process.
    fn instant(&mut self, name: &str, at: Nanos, args: &[(&str, Value)]) -> Result<(), WriteError> {
        let pid = self.process.pid;
        self.line.begin(self.records == 0, 'i').text_field("s", "p").ids(pid, pid).start(at);
        self.line.text_field("name", name).text_field("cat", "tool").open_args();
        for &(key, value) in args {
            self.line.arg(key, value);
        }
        self.line.close_args();
        self.put()
    }

    fn metadata_record(
        &mut self,
        name: &str,
        pid: u32,
        tid: u32,
        args: impl FnOnce(&mut Line) -> &mut Line,
    ) -> Result<(), WriteError> {
        let line = self.line.begin(self.records == 0, 'M').ids(pid, tid).text_field("name", name).open_args();
        args(line).close_args();
        self.put()
    }

    fn put(&mut self) -> Result<(), WriteError> {
        let result = self.file.line(self.line.finish());
        self.count(result)
    }

    fn count(&mut self, result: io::Result<()>) -> Result<(), WriteError> {
        self.records += 1;
        self.check(result)
    }

    fn check(&self, result: io::Result<()>) -> Result<(), WriteError> {
        result.map_err(|source| WriteError { operation: "write", path: self.path.clone(), source })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A drop cannot report an error; `finish` and `flush` do.
        let _ = self.file.flush();
    }
}
