//! The main process's side of a worker.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use traces::Nanos;

use super::beacon::Beacon;
use super::channel::{Channel, Heard, readable};
use super::death::{self, Death};
use super::process::{Process, Start};
use super::protocol::{FromWorker, ToWorker};
use super::state;
use crate::run::Interrupt;
use record::Error;

/// How often a wait looks at the interrupt, in milliseconds.
const TICK_MS: i32 = 50;
/// A worker that was just started has so long to call back.
const START_LIMIT: Nanos = Nanos::from_secs(20);
/// An interrupted worker has so long to end its token.
const GRACE: Nanos = Nanos::from_secs(3);

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct Order {
    /// Engine, model and threads, for messages.
    pub name: String,
    /// The binary whose hidden subcommand is the worker.
    pub binary: PathBuf,
    /// Variables on top of this process's environment.
    pub environment: Vec<(String, String)>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    name: String,
    process: Process,
    channel: Channel,
    beacon: Beacon,
    log: PathBuf,
    paused: bool,
}

/// Why a question has no answer.
#[derive(Debug)]
pub enum Fallen {
    /// The worker died.
    Died(Death),
    /// It took longer than allowed and was killed.
    Timeout(Death),
    /// The run was interrupted; the worker was killed if it did not end in time.
    Interrupted,
    /// It said something else than expected.
    Confused(String),
}

impl Worker {
    /// Starts a worker and waits until it calls back.
    ///
    /// # Errors
    /// When the process cannot be started or does not call back.
    pub fn start(order: &Order, home: &Home) -> Result<Self, Error> {
        let place = home.place();
        let socket = place.with_extension("sock");
        let log = place.with_extension("log");
        let fail = |problem: String| Error::Worker { worker: order.name.clone(), problem };
        let beacon = Beacon::create(&Beacon::beside(&socket))?;
        let listener = UnixListener::bind(&socket).map_err(Error::file(&socket, "listen on"))?;
        let start = Start { binary: &order.binary, socket: &socket, log: &log, environment: &order.environment };
        let mut process = Process::start(&start)
            .map_err(|error| fail(format!("{} cannot be started: {error}", order.binary.display())))?;
        let mut waited = Nanos::ZERO;
        loop {
            if readable(&listener, TICK_MS).map_err(|error| fail(format!("the socket failed: {error}")))? {
                break;
            }
            if let Some(mut death) = process.ended() {
                death.words = death::tail(&log);
                return Err(fail(death.text()));
            }
            waited = waited.saturating_add(tick());
            if waited >= START_LIMIT {
                process.kill();
                return Err(fail(format!(
                    "did not call back within {START_LIMIT}; its last words: {}",
                    death::tail(&log)
                )));
            }
        }
        let (stream, _) = listener.accept().map_err(|error| fail(format!("the socket failed: {error}")))?;
        Ok(Self { name: order.name.clone(), process, channel: Channel::new(stream), beacon, log, paused: false })
    }

    /// Engine, model and threads.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks and waits for the answer, at most `limit`. Time is counted in waits, not read: a virtual clock would stand still.
    ///
    /// # Errors
    /// Why there is no answer; unless it was merely confused the worker is dead then.
    pub fn ask(
        &mut self,
        question: &ToWorker,
        limit: Option<Nanos>,
        interrupt: &Interrupt,
    ) -> Result<FromWorker, Fallen> {
        self.resume();
        if self.channel.send(question).is_err() {
            return Err(Fallen::Died(self.bury()));
        }
        let (mut waited, mut since_interrupt) = (Nanos::ZERO, Nanos::ZERO);
        loop {
            match self.channel.listen(TICK_MS) {
                Ok(Heard::Message(answer)) => {
                    return if interrupt.is_set() { Err(Fallen::Interrupted) } else { Ok(answer) };
                }
                Ok(Heard::Silence) => {}
                Ok(Heard::Closed) => return Err(Fallen::Died(self.bury())),
                Err(error) => {
                    let text = format!("said something that is no answer: {error}");
                    self.process.kill();
                    return Err(Fallen::Confused(text));
                }
            }
            waited = waited.saturating_add(tick());
            if interrupt.is_set() {
                self.beacon.stop();
                since_interrupt = since_interrupt.saturating_add(tick());
                if since_interrupt >= GRACE {
                    self.process.kill();
                    return Err(Fallen::Interrupted);
                }
            }
            if limit.is_some_and(|limit| waited >= limit) {
                let phase = self.beacon.phase();
                let mut death = self.process.kill();
                death.phase = phase;
                death.words = death::tail(&self.log);
                return Err(Fallen::Timeout(death));
            }
        }
    }

    /// Stops the process until it is asked again, and waits until it stands still.
    pub fn pause(&mut self) {
        if !self.paused {
            self.process.signal(libc::SIGSTOP);
            state::wait_until_stopped(self.pid());
            self.paused = true;
        }
    }

    fn resume(&mut self) {
        if self.paused {
            self.process.signal(libc::SIGCONT);
            self.paused = false;
        }
    }

    /// CPU time of the process so far in the kernel's clock ticks; `None` where the platform does not tell.
    pub fn cpu_ticks(&self) -> Option<u64> {
        state::cpu_ticks(self.pid())
    }

    /// Ends the process in good order.
    pub fn quit(mut self) {
        self.resume();
        if self.channel.send(&ToWorker::Quit).is_ok() {
            let mut waited = Nanos::ZERO;
            while waited < GRACE {
                match self.channel.listen::<FromWorker>(TICK_MS) {
                    Ok(Heard::Silence) => waited = waited.saturating_add(tick()),
                    Ok(Heard::Message(_)) => {}
                    Ok(Heard::Closed) | Err(_) => break,
                }
            }
        }
        // Dropping it waits.
    }

    /// Waits for a process that has closed its socket, and says how it ended.
    fn bury(&mut self) -> Death {
        let phase = self.beacon.phase();
        // A process that closed its socket without dying would be waited for in vain.
        let mut waited = Nanos::ZERO;
        let mut death = loop {
            if let Some(death) = self.process.ended() {
                break death;
            }
            if waited >= GRACE {
                break self.process.kill();
            }
            state::nap(TICK_MS);
            waited = waited.saturating_add(tick());
        };
        death.phase = phase;
        death.words = death::tail(&self.log);
        death
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.process.ended().is_none() {
            self.process.kill();
        }
    }
}

const fn tick() -> Nanos {
    Nanos::from_millis(TICK_MS as u64)
}

/// A private folder for sockets, beacons and logs; removed when dropped.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    count: std::cell::Cell<usize>,
}

/// A Unix socket's path has at most 104 bytes (108 on Linux); the file's name takes 16 of them.
const LONGEST_HOME: usize = 85;

impl Home {
    /// Makes the folder; nobody else may look into it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create() -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        let mut base = std::env::temp_dir();
        if base.as_os_str().len() > LONGEST_HOME - 40 {
            base = PathBuf::from("/tmp");
        }
        let pid = std::process::id();
        for number in 0..1000 {
            let dir = base.join(format!("inferometer-{pid}-{number}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Self { dir, count: std::cell::Cell::new(0) }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::file(&dir, "create")(error)),
            }
        }
        Err(Error::Content {
            path: base,
            problem: "holds a thousand folders of this process".to_owned(),
            advice: "remove inferometer-* there".to_owned(),
        })
    }

    /// A file name that no other worker has.
    fn place(&self) -> PathBuf {
        let number = self.count.get();
        self.count.set(number + 1);
        self.dir.join(format!("w{number}"))
    }

    /// How many workers were started here.
    pub fn started(&self) -> u32 {
        u32::try_from(self.count.get()).unwrap_or(u32::MAX)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Nothing depends on it: what stays lies in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
