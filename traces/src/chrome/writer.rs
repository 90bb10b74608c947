//! [`Writer`]: batches and samples into a trace file.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::file::LineFile;
use super::line::Line;
use crate::record::{Batch, Category, Event, Kind, Thread, Value};
use crate::{Nanos, clock};

/// Why a trace could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} trace file {}: {source}; {advice}", path.display(), advice = advice(source))]
pub struct WriteError {
    /// What was tried.
    pub(super) verb: &'static str,
    /// The file.
    pub(super) path: PathBuf,
    /// What the system said.
    #[source]
    pub(super) source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create its folder first",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "choose a folder that can be written",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space; what was written so far is readable"
        }
        _ => "what was written so far is readable",
    }
}

/// A process that appears in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The operating system's number; not 0.
    pub pid: u32,
    /// What viewers call it.
    pub name: String,
}

impl Process {
    /// The calling process, by a name of its own.
    pub fn this(name: impl Into<String>) -> Self {
        Self { pid: std::process::id(), name: name.into() }
    }
}

/// What a finished file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Records, metadata included.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
    /// Records that the recorder had dropped.
    pub dropped: u64,
}

/// Writes a trace file that is valid after every write: a process killed at any moment leaves all that was written.
///
/// Memory use does not grow with the file. Dropped without [`finish`](Writer::finish) the file lacks its `]`, which
/// readers accept, and an error of the last write is lost.
#[derive(Debug)]
pub struct Writer {
    pub(super) file: LineFile,
    pub(super) path: PathBuf,
    line: Line,
    process: Process,
    pub(super) records: u64,
    dropped: u64,
    processes: i64,
    /// Threads whose names are in the file.
    named: HashSet<Thread>,
    /// The shape of the last op, by thread and name; bounded by the number of both.
    shapes: HashMap<(u32, usize), [u32; 3]>,
}

impl Writer {
    /// Makes the file, or empties it, and writes who the process is and what time it was. Times count from the origin of
    /// the machine's clock.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn create(path: impl AsRef<Path>, process: Process) -> Result<Self, WriteError> {
        Self::since(Nanos::ZERO, path, process)
    }

    /// The same with times that count from `epoch`, a reading of [`clock::now`]: they are shorter. Files that are
    /// appended to each other have one epoch.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn since(epoch: Nanos, path: impl AsRef<Path>, process: Process) -> Result<Self, WriteError> {
        let path = path.as_ref().to_owned();
        let file =
            LineFile::create(&path).map_err(|source| WriteError { verb: "create", path: path.clone(), source })?;
        let mut writer = Self {
            file,
            path,
            line: Line::since(epoch),
            process,
            records: 0,
            dropped: 0,
            processes: 0,
            named: HashSet::new(),
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

    /// The events of the writer's own process, and the names of threads that are new.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        for thread in &batch.threads {
            self.thread(self.process.pid, thread)?;
        }
        for event in &batch.events {
            self.event(event)?;
        }
        if batch.dropped > 0 {
            self.dropped += batch.dropped;
            let at = batch.events.last().map_or_else(clock::now, |event| event.start);
            self.moment("dropped", at, &[("records", Value::from(batch.dropped))])?;
        }
        self.flush()
    }

    fn event(&mut self, event: &Event) -> Result<(), WriteError> {
        let shape = self.is_new_shape(event);
        let line = self.line.event(self.records == 0, self.process.pid, event, shape);
        let result = self.file.line(line);
        self.count(result)
    }

    /// The beginning of a span whose end is not known yet: what lies inside it is written behind it. Its duration is not
    /// looked at.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&mut self, span: &Event) -> Result<(), WriteError> {
        let result = self.file.line(self.line.opening(self.records == 0, self.process.pid, span));
        self.count(result)
    }

    /// The end of a span that [`begin`](Self::begin) began.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end(&mut self, span: &Event) -> Result<(), WriteError> {
        let result = self.file.line(self.line.closing(self.records == 0, self.process.pid, span));
        self.count(result)
    }

    /// Values of one track at a moment. Those that belong together go in one call: some viewers take a track's series
    /// from its first sample.
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

    /// Something about the whole trace, as an instant named `name`: a case, a machine, a setting.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn metadata(&mut self, name: &str, args: &[(&str, Value)]) -> Result<(), WriteError> {
        self.moment(name, clock::now(), args)?;
        self.flush()
    }

    /// The name of a process, for records of it that are appended. They stand in the order in which they are named.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn process(&mut self, process: &Process) -> Result<(), WriteError> {
        let pid = process.pid;
        self.metadata_record("process_name", pid, pid, |line| line.text_field("name", &process.name))?;
        let place = self.processes;
        self.processes += 1;
        self.metadata_record("process_sort_index", pid, pid, |line| line.arg("sort_index", Value::Signed(place)))
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let result = self.file.flush();
        self.check(result)
    }

    /// Closes the array.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<Written, WriteError> {
        let result = self.file.line(b"]\n");
        self.check(result)?;
        self.flush()?;
        Ok(Written { records: self.records, bytes: self.file.written(), dropped: self.dropped })
    }

    /// Whether an op's shape is another than that of the last op of its name on its thread. Only then it is written: for a
    /// model the shapes of an op hardly ever change, and they would be a sixth of the file.
    fn is_new_shape(&mut self, event: &Event) -> bool {
        // Names are interned: equal ones lie at one address, which is hashed faster than the text. Should one not, its
        // shape is written once more.
        let key = (event.tid, event.name.as_ptr().addr());
        event.kind == Kind::Op && self.shapes.insert(key, event.shape) != Some(event.shape)
    }

    /// A thread's name and place, if not yet in the file. The main thread, whose number is the process's, comes first.
    fn thread(&mut self, pid: u32, thread: &Thread) -> Result<(), WriteError> {
        if !self.named.insert(thread.clone()) {
            return Ok(());
        }
        let place = if thread.tid == pid { 0 } else { self.named.len() as i64 };
        self.metadata_record("thread_name", pid, thread.tid, |line| line.text_field("name", &thread.name))?;
        self.metadata_record("thread_sort_index", pid, thread.tid, |line| line.arg("sort_index", Value::Signed(place)))
    }

    /// What `ts` counts from.
    pub fn epoch(&self) -> Nanos {
        self.line.epoch()
    }

    /// Ties the trace's times to wall time and to the machine's clock, and says what spans without a category are.
    fn clock(&mut self) -> Result<(), WriteError> {
        let (at, unix) = (clock::now(), clock::unix_time());
        let micros = u64::try_from(unix.as_micros()).unwrap_or(u64::MAX);
        let args = [
            (super::axis::UNIX, Value::Unsigned(micros)),
            (super::axis::EPOCH, Value::from(self.epoch())),
            (super::axis::PLAIN, Value::Text(Category::Op.name())),
        ];
        self.moment(super::axis::CLOCK, at, &args)
    }

    fn moment(&mut self, name: &str, at: Nanos, args: &[(&str, Value)]) -> Result<(), WriteError> {
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

    pub(super) fn check(&self, result: io::Result<()>) -> Result<(), WriteError> {
        result.map_err(|source| WriteError { verb: "write", path: self.path.clone(), source })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A drop has nobody to tell; `finish` and `flush` do.
        let _ = self.file.flush();
    }
}
