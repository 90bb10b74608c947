//! [`OpenEngine`]: an engine with its session and the instruments of its process.

use std::path::Path;

use engine_api::{Advice as _, Caps, Engine, Phase, ServerInfo, Session};
use engines::registry;
use meter::environment::PressureReader;
use meter::{Counter, Meter, Root, Tally, VIRTUAL, page_cache};
use models::{Checkpoint, Tokenizer};
use record::{CounterTotals, Reason, ServerFile};
use traces::chrome::Process;
use traces::clock::{self, VirtualClock, VirtualClockGuard};

use super::open_session::OpenSession;
use super::passes::totals;
use super::request_trace;
use super::server_processes::{self, ServerProcesses};
use crate::protocol::{Load, Loaded, MemoryReading, Open, Opened, SharedStatus};

/// An engine, its session and the instruments.
pub(super) struct OpenEngine {
    engine: Box<dyn Engine>,
    /// This process, as traces name it.
    pub(super) process: Process,
    pub(super) session: Option<OpenSession>,
    pub(super) meter: Meter,
    wanted: Vec<&'static Counter>,
    pub(super) end_tokens: Vec<u32>,
    pub(super) marks_per_thread: usize,
    /// The canonical paths of the model's files.
    pub(super) files: Vec<String>,
    /// The server's processes, if another process computes; or why they cannot be measured.
    pub(super) server: Option<Result<ServerProcesses, Reason>>,
    /// What is known of the server.
    pub(super) info: Option<ServerInfo>,
    /// The tokenizer of the model that a server has, if its files are on this machine.
    pub(super) tokenizer_of_server: Option<Tokenizer>,
    /// Reads what delays requests besides the engine; `None` where time is virtual.
    pub(super) pressure: Option<PressureReader>,
    /// Held while time is virtual.
    pub(super) virtual_clock: Option<VirtualClockGuard>,
}

impl OpenEngine {
    pub(super) fn open(options: &Open) -> Result<(Self, Opened), Reason> {
        let counter = |name: &String| {
            meter::counter_by_name(name)
                .ok_or_else(|| Reason::new(format!("the worker has no counter that is called `{name}`")))
        };
        let counters: Vec<_> = options.counters.iter().map(counter).collect::<Result<_, _>>()?;
        // Before the engine: it may start threads.
        let mut meter = Meter::open(&counters);
        let selection = registry::find(&options.engine).map_err(|error| Reason::new(error.with_advice()))?;
        let engine = selection.open().map_err(|error| Reason::new(error.with_advice()))?;
        let virtual_clock = engine.caps().virtual_time.then(VirtualClock::install);
        if virtual_clock.is_some() {
            meter = Meter::virtual_machine(&counters);
        }
        let opened = Opened {
            pid: std::process::id(),
            identity: engine.identity(),
            counters: meter.counters().iter().map(|counter| counter.name.to_owned()).collect(),
            absent: meter.absent().iter().map(|(name, reason)| ((*name).to_owned(), reason.clone())).collect(),
        };
        let pid = if virtual_clock.is_some() { options.number } else { std::process::id() };
        let engine = Self {
            engine,
            process: Process { pid, name: redaction::without_known(&options.title).into_owned() },
            session: None,
            meter,
            wanted: counters,
            end_tokens: Vec::new(),
            marks_per_thread: 0,
            files: Vec::new(),
            server: None,
            info: None,
            tokenizer_of_server: None,
            pressure: virtual_clock.is_none().then(|| PressureReader::open(Root::system())),
            virtual_clock,
        };
        Ok((engine, opened))
    }

    pub(super) fn caps(&self) -> Caps {
        self.engine.caps()
    }

    pub(super) fn name(&self) -> String {
        self.engine.identity().label()
    }

    pub(super) const fn is_virtual(&self) -> bool {
        self.virtual_clock.is_some()
    }

    /// Current memory of the process that computes.
    pub(super) fn memory(&mut self) -> Result<MemoryReading, Reason> {
        if let Some(server) = &self.server {
            return Ok(server_processes::memory(&server.as_ref().map_err(Reason::clone)?.read()?));
        }
        let memory = self.meter.memory()?;
        Ok(MemoryReading { resident: memory.resident, anonymous: memory.anonymous, file: memory.file })
    }

    /// Makes a fresh session and measures how it is loaded. `notify` receives messages for the user.
    pub(super) fn load(
        &mut self,
        load: &Load,
        status: &SharedStatus,
        notify: &mut dyn FnMut(&str),
    ) -> Result<Loaded, Reason> {
        self.unload();
        let virtual_time = self.is_virtual();
        if load.cold && !virtual_time {
            page_cache::drop_files(&load.files)?;
        }
        let mut cached_share = if virtual_time { Err(Reason::new(VIRTUAL)) } else { page_cache::share(&load.files) };
        let mut before = self.memory();
        self.meter.select(0)?;
        let read_before = self.meter.read_bytes();
        let counters_before = self.meter.read();
        status.set_phase(Phase::Load);
        let started = clock::now();
        let session = self.make_session(load, notify)?;
        let ended = clock::now();
        status.clear_phase();
        let mut tally = Tally::default();
        tally.add(&counters_before, &self.meter.read());
        let mut counters = totals(&tally, &self.meter.counted());
        let server = session.server().map(|server| self.attach(server.info(), load));
        if let (Some(_), Some(path)) = (&server, &load.path) {
            // A model whose tokenizer is not supported is as one without files: the server's counts are used.
            self.tokenizer_of_server = open_checkpoint(path)?.tokenizer().ok();
        }
        if server.is_some() {
            // Nothing read the memory of the server's processes before the connection.
            before = Err(Reason::new(server_processes::BEFORE));
            counters = CounterTotals::default();
            cached_share = Err(Reason::new("the file that the server loads is not known"));
        }
        let read_bytes = if self.server.is_some() {
            Err(Reason::new(server_processes::BEFORE))
        } else {
            read_before.and_then(|before| Ok(self.meter.read_bytes()?.saturating_sub(before)))
        };
        let after = self.memory();
        let processes = self.server.as_ref();
        let server_resident =
            processes.map(|server| server.as_ref().map_err(Reason::clone).and_then(ServerProcesses::proportional));
        let kv_reserved = session.kv_bytes().map(|kv| kv.reserved);
        let mut trace_error = None;
        if let Some(part) = &load.part {
            let readings = [(started, &before), (ended, &after)];
            let points: Vec<_> =
                readings.into_iter().filter_map(|(at, memory)| Some(memory.as_ref().ok()?.point(at))).collect();
            let written = request_trace::write_load(part, &self.process, (started, ended), &points);
            trace_error = written.err().map(|error| error.to_string());
        }
        if virtual_time {
            // The session sets the counters of the virtual machine.
            self.meter = Meter::virtual_machine(&self.wanted);
        }
        self.session = Some(OpenSession::new(session));
        self.end_tokens.clone_from(&load.end_tokens);
        self.marks_per_thread = load.marks_per_thread;
        // The system reports the canonical path of a mapping.
        self.files = load
            .files
            .iter()
            .map(|path| {
                path.canonicalize().map_or_else(|_| path.display().to_string(), |path| path.display().to_string())
            })
            .collect();
        Ok(Loaded {
            started,
            ended,
            cached_share,
            read_bytes,
            counters,
            before,
            after,
            server_resident,
            kv_reserved,
            counter_sets: self.meter.sets(),
            counts_events: self.meter.has_events(),
            server,
            trace_error,
        })
    }

    /// A session of the checkpoint, or with the server that has the model.
    fn make_session(&self, load: &Load, notify: &mut dyn FnMut(&str)) -> Result<Box<dyn Session>, Reason> {
        let session = if self.engine.caps().remote {
            self.engine.connect(&load.options, notify)
        } else {
            let path =
                load.path.as_ref().ok_or("the model has no file: only an engine that uses a server can load it")?;
            let checkpoint = open_checkpoint(path)?;
            let checkpoint = if load.window.is_some() { checkpoint.with_window(load.window) } else { checkpoint };
            self.engine.load(&checkpoint, &load.options)
        };
        session.map_err(|error| Reason::new(error.with_advice()))
    }

    /// Measures the server's processes from now on, instead of this one.
    fn attach(&mut self, info: ServerInfo, load: &Load) -> ServerFile {
        let processes = ServerProcesses::find(&info, load.pid);
        self.info = Some(info.clone());
        let pid = processes.as_ref().map(ServerProcesses::pid).map_err(Reason::clone);
        self.server = Some(processes);
        ServerFile::new(info, pid)
    }

    /// Drops the session and returns free memory to the system, so that the next session starts with the same memory.
    pub(super) fn unload(&mut self) {
        (self.server, self.info, self.tokenizer_of_server) = (None, None, None);
        if self.session.take().is_some() {
            return_free_memory();
        }
    }
}

fn open_checkpoint(path: &Path) -> Result<Checkpoint, Reason> {
    Checkpoint::open(path).map_err(|error| Reason::new(format!("{error}; {}", error.advice())))
}

/// Returns free heap memory to the system, where the allocator can (glibc).
fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "malloc_trim has no safe wrapper")]
    // SAFETY: malloc_trim locks the allocator itself and changes only free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
