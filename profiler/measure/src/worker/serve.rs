//! The worker's side: waits for questions, answers them, ends when the main process is gone.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use engine_api::{Engine, Session};
use engines::registry;
use models::Checkpoint;
use traces::chrome::Process;
use traces::clock::{self, VirtualClock, VirtualClockGuard};

use super::beacon::Beacon;
use super::channel::Channel;
use super::family::{self, Family};
use super::protocol::{Failure, FromWorker, Load, Loaded, MemoryEdge, Open, Opened, ToWorker};
use super::{examine, measure, part};
use crate::ceilings::Prober;
use crate::drive;
use meter::environment::Strain;
use meter::root::Root;
use meter::{self, Counter, Meter, Tally, VIRTUAL, page_cache};
use record::Error;
use record::ServerFile;

/// Serves questions from this socket until told to quit or until the other end is gone. Call it before this process has a
/// second thread: perf counters follow only threads that begin later.
///
/// # Errors
/// When the socket or the beacon cannot be opened, or the conversation breaks.
pub fn serve(socket: &Path) -> Result<(), Error> {
    let beacon = Beacon::open(&Beacon::beside(socket))?;
    let stream = UnixStream::connect(socket).map_err(Error::file(socket, "connect to"))?;
    let mut channel = Channel::new(stream);
    let mut bench: Option<Bench> = None;
    let mut prober = Prober::default();
    while let Some(question) = channel.receive::<ToWorker>().map_err(Error::file(socket, "read from"))? {
        let answer = match (&mut bench, question) {
            (_, ToWorker::Quit) => break,
            (open, ToWorker::Open(order)) => Bench::open(&order).map(|(made, told)| {
                *open = Some(made);
                FromWorker::Opened(told)
            }),
            (Some(bench), ToWorker::Load(load)) => {
                bench.load(&load, &beacon).map(|loaded| FromWorker::Loaded(Box::new(loaded)))
            }
            (Some(bench), ToWorker::Unload) => {
                bench.unload();
                Ok(FromWorker::Unloaded)
            }
            (Some(bench), ToWorker::Measure(ask)) => {
                measure::measure(bench, &ask, &beacon).map(|measured| FromWorker::Measured(Box::new(measured)))
            }
            (Some(bench), ToWorker::Examine(text)) => examine::examine(bench, &text, &beacon).map(FromWorker::Examined),
            (_, ToWorker::Probe(probe)) => Ok(FromWorker::Probed(Box::new(prober.answer(&probe)))),
            (None, _) => Err("no engine is open: expected `open` as the first question".to_owned()),
        };
        beacon.clear_phase();
        let answer = answer.unwrap_or_else(|text| FromWorker::Failed(Failure { text }));
        channel.send(&answer).map_err(Error::file(socket, "write to"))?;
    }
    Ok(())
}

/// An open engine, its session and the instruments.
pub(super) struct Bench {
    engine: Box<dyn Engine>,
    /// What this process is called in traces.
    pub(super) process: Process,
    pub(super) session: Option<Box<dyn Session>>,
    pub(super) meter: Meter,
    wanted: Vec<&'static Counter>,
    pub(super) absent: BTreeMap<String, String>,
    pub(super) end_tokens: Vec<u32>,
    pub(super) marks_per_thread: usize,
    /// The model's files as the system names them.
    pub(super) files: Vec<String>,
    /// The server's processes, where another process computes; or why they cannot be measured.
    pub(super) family: Option<Result<Family, String>>,
    /// What the system counted of them over the last request.
    pub(super) counted: BTreeMap<String, f64>,
    /// What else may hold a request up; `None` where time is virtual.
    pub(super) strain: Option<Strain>,
    /// Held while time is virtual.
    pub(super) virtual_clock: Option<VirtualClockGuard>,
}

impl Bench {
    fn open(order: &Open) -> Result<(Self, Opened), String> {
        let counters: Vec<_> = order.counters.iter().filter_map(|name| meter::named(name)).collect();
        // Before the engine: it may start threads.
        let mut meter = Meter::open(&counters);
        let selection = registry::find(&order.engine).map_err(|error| error.to_string())?;
        let engine = selection.open().map_err(|error| error.to_string())?;
        let virtual_clock = engine.caps().virtual_time.then(VirtualClock::install);
        if virtual_clock.is_some() {
            meter = Meter::virtual_machine(&counters);
        }
        let absent = meter.absent().clone();
        let told = Opened {
            pid: std::process::id(),
            identity: engine.identity(),
            counters: meter.counters().iter().map(|counter| counter.name.to_owned()).collect(),
            absent: absent.clone(),
        };
        let virtual_time = virtual_clock.is_some();
        let process =
            Process { pid: if virtual_time { order.number } else { std::process::id() }, name: order.title.clone() };
        let bench = Self {
            engine,
            process,
            session: None,
            meter,
            wanted: counters,
            absent,
            end_tokens: Vec::new(),
            marks_per_thread: 0,
            files: Vec::new(),
            family: None,
            counted: BTreeMap::new(),
            strain: virtual_clock.is_none().then(|| Strain::open(Root::system())),
            virtual_clock,
        };
        Ok((bench, told))
    }

    pub(super) fn caps(&self) -> engine_api::Caps {
        self.engine.caps()
    }

    pub(super) fn name(&self) -> String {
        self.engine.identity().label()
    }

    /// Memory now of what computes, or why it is not told.
    pub(super) fn memory(&mut self) -> Result<MemoryEdge, String> {
        if let Some(family) = &self.family {
            return Ok(family::edge(&family.as_ref().map_err(String::clone)?.read()?));
        }
        let memory = self.meter.memory()?;
        Ok(MemoryEdge { resident: memory.resident, anonymous: memory.anonymous, file: memory.file })
    }

    fn load(&mut self, load: &Load, beacon: &Beacon) -> Result<Loaded, String> {
        self.unload();
        let mut loaded = Loaded::default();
        let virtual_time = self.virtual_clock.is_some();
        let real = |result: Result<f64, String>| if virtual_time { Err(VIRTUAL.to_owned()) } else { result };
        if load.cold && !virtual_time {
            page_cache::drop_files(&load.files)?;
        }
        loaded.cached_share = note(&mut loaded.reasons, "load_cached_share", real(page_cache::share(&load.files)));
        loaded.before = note(&mut loaded.reasons, "before_load_bytes", self.memory());
        self.meter.select(0)?;
        let read_before = self.meter.read_bytes();
        let counted_before = self.meter.read();
        beacon.set_phase(engine_api::Phase::Load);
        loaded.started = clock::now();
        let session = self.session(load)?;
        loaded.ended = clock::now();
        beacon.clear_phase();
        let mut counted = Tally::default();
        counted.add(&counted_before, &self.meter.read());
        loaded.counters = drive::totals(&counted, &self.meter.counted()).values;
        if let Some(remote) = session.server().map(engine_api::Server::remote) {
            let server = self.attach(remote, load);
            // Before this run looked at it there was no server to look at, or somebody else's.
            loaded.before = None;
            loaded.reasons.insert("before_load_bytes".to_owned(), family::BEFORE.to_owned());
            loaded.counters.clear();
            loaded.cached_share = None;
            loaded
                .reasons
                .insert("load_cached_share".to_owned(), "which file the server loads is not known".to_owned());
            loaded.server = Some(server);
        }
        let read = read_before.and_then(|before| Ok(self.meter.read_bytes()?.saturating_sub(before)));
        let read = if self.family.is_some() { Err(family::BEFORE.to_owned()) } else { read };
        loaded.read_bytes = note(&mut loaded.reasons, "load_read_bytes", read);
        loaded.after = note(&mut loaded.reasons, "after_load_bytes", self.memory());
        loaded.kv_reserved = session.kv_bytes().reserved;
        if let Some(to) = &load.part {
            let edges = [(loaded.started, loaded.before), (loaded.ended, loaded.after)];
            let points = edges.into_iter().filter_map(|(at, edge)| Some(edge?.point(at)));
            loaded.trace_error =
                part::loading(to, &self.process, (loaded.started, loaded.ended), &points.collect::<Vec<_>>()).err();
        }
        if virtual_time {
            // What the machine has is the session's to say.
            self.meter = Meter::virtual_machine(&self.wanted);
            self.absent.clone_from(self.meter.absent());
        }
        loaded.counter_sets = self.meter.sets();
        loaded.counts_events = self.meter.has_events();
        self.session = Some(session);
        self.end_tokens.clone_from(&load.end_tokens);
        self.marks_per_thread = load.marks_per_thread;
        // Links lead elsewhere, and the system shows where a mapping really comes from.
        let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string();
        self.files = load.files.iter().map(real).collect();
        Ok(loaded)
    }

    /// A session of the checkpoint, or with the server that has it.
    fn session(&self, load: &Load) -> Result<Box<dyn Session>, String> {
        let session = if self.engine.caps().remote {
            self.engine.connect(&load.options)
        } else {
            let checkpoint = Checkpoint::open(&load.path).map_err(|error| error.to_string())?;
            let checkpoint = if load.window.is_some() { checkpoint.with_window(load.window) } else { checkpoint };
            self.engine.load(&checkpoint, &load.options)
        };
        session.map_err(|error| error.to_string())
    }

    /// From now on the server's processes are measured in place of this one.
    fn attach(&mut self, remote: engine_api::Remote, load: &Load) -> ServerFile {
        let family = Family::of(&remote, load.pid);
        let mut reasons = record::Reasons::new();
        let pid = note(&mut reasons, "pid", family.as_ref().map(Family::pid).map_err(String::clone));
        self.family = Some(family);
        ServerFile {
            software: remote.software,
            version: remote.version,
            model: remote.model,
            url: remote.url,
            started_here: remote.pid.is_some(),
            pid,
            cache: remote.cache,
            details: remote.details,
            before_model: None,
            findings: Vec::new(),
            reasons,
        }
    }

    /// Drops the session and gives free memory back to the system, so that the next session starts from where the first did.
    fn unload(&mut self) {
        self.family = None;
        if self.session.take().is_some() {
            trim();
        }
    }
}

/// A value, or `None` with its reason under this name.
pub(super) fn note<T>(reasons: &mut record::Reasons, name: &str, result: Result<T, String>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(reason) => {
            reasons.insert(name.to_owned(), reason);
            None
        }
    }
}

/// Gives free heap memory back to the system; only glibc offers it.
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "malloc_trim has no safe wrapper")]
    // SAFETY: malloc_trim locks the allocator itself and touches only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
