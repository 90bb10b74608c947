//! [`WorkerHandle`]: starts a worker process, sends it commands, stops it while another one measures, and reports how it ended.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use engine_api::Phase;
use record::{Error, Setting};
use traces::Nanos;

use super::exit_report::{self, ExitReport};
use super::process::{ChildProcess, StartCommand};
use super::process_state;
use super::worker_folder::WorkerFolder;
use crate::interrupt::Interrupt;
use crate::protocol::{Channel, FromWorker, Received, SharedStatus, ToWorker, readable};

/// How often a wait checks the interrupt, in milliseconds.
const TICK_MS: i32 = 50;
/// Time for a new worker to connect.
const START_LIMIT: Nanos = Nanos::from_secs(20);
/// Time for an interrupted worker to finish its token, and for a worker to end.
const END_LIMIT: Nanos = Nanos::from_secs(3);

/// How a worker is started.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// Engine, model and threads, for messages.
    pub name: String,
    /// The binary whose hidden subcommand is the worker.
    pub binary: PathBuf,
    /// Variables in addition to this process's environment.
    pub environment: Vec<(String, String)>,
}

/// A worker process.
#[derive(Debug)]
pub struct WorkerHandle {
    name: String,
    process: ChildProcess,
    channel: Channel,
    status: SharedStatus,
    log: PathBuf,
    paused: bool,
    /// The longest wait for the reply to a request so far.
    longest: Nanos,
}

/// Why a command has no reply. The worker cannot be used any more.
#[derive(Debug)]
pub enum LostWorker {
    /// The process ended.
    Exited(ExitReport),
    /// It took longer than the limit and was killed.
    TimedOut(ExitReport),
    /// The run was interrupted; a worker that did not finish its token in time was killed.
    Interrupted,
    /// It sent bytes that are not a reply, and was killed.
    InvalidReply(String),
}

impl WorkerHandle {
    /// Starts a worker and waits until it connects.
    ///
    /// # Errors
    /// When the process cannot be started or does not connect.
    pub fn start(options: &StartOptions, worker_folder: &WorkerFolder) -> Result<Self, Error> {
        let path = worker_folder.next_path();
        let socket = path.with_extension("sock");
        let log = path.with_extension("log");
        let fail = |problem: String| Error::Worker { worker: options.name.clone(), problem };
        let status = SharedStatus::create(&SharedStatus::path_of(&socket))?;
        let listener = UnixListener::bind(&socket).map_err(Error::file(&socket, "listen on"))?;
        let start =
            StartCommand { binary: &options.binary, socket: &socket, log: &log, environment: &options.environment };
        let mut process = ChildProcess::start(&start)
            .map_err(|error| fail(format!("{} cannot be started: {error}", options.binary.display())))?;
        let mut waited = Nanos::ZERO;
        loop {
            if readable(&listener, TICK_MS).map_err(|error| fail(format!("the socket failed: {error}")))? {
                break;
            }
            if let Some(mut exit) = process.exited() {
                exit.log_tail = exit_report::tail(&log);
                return Err(fail(exit.to_string()));
            }
            waited = waited.saturating_add(tick());
            if waited >= START_LIMIT {
                process.kill();
                return Err(fail(format!(
                    "did not connect within {START_LIMIT}; the end of its log: {}",
                    exit_report::tail(&log)
                )));
            }
        }
        let (stream, _) = listener.accept().map_err(|error| fail(format!("the socket failed: {error}")))?;
        Ok(Self {
            name: options.name.clone(),
            process,
            channel: Channel::new(stream),
            status,
            log,
            paused: false,
            longest: Nanos::ZERO,
        })
    }

    /// Engine, model and threads.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a command and waits for the reply, at most `limit`. The time is the number of waits, because a virtual clock would not
    /// advance. `notify` receives the messages that the worker sends meanwhile.
    ///
    /// # Errors
    /// Why there is no reply.
    pub fn ask(
        &mut self,
        command: &ToWorker,
        limit: Option<Nanos>,
        interrupt: &Interrupt,
        notify: &dyn Fn(&str),
    ) -> Result<FromWorker, LostWorker> {
        self.resume();
        if self.channel.send(command).is_err() {
            return Err(LostWorker::Exited(self.wait_for_exit()));
        }
        let (mut waited, mut since_interrupt) = (Nanos::ZERO, Nanos::ZERO);
        let mut next_report = first_report(self.longest);
        loop {
            match self.channel.receive_within(TICK_MS) {
                Ok(Received::Message(FromWorker::Notice(text))) => {
                    notify(&text);
                    // The worker itself says what it waits for.
                    next_report = waited.saturating_add(next_report);
                    continue;
                }
                Ok(Received::Message(reply)) => {
                    if matches!(command, ToWorker::Measure(_)) {
                        self.longest = self.longest.max(waited);
                    }
                    return if interrupt.is_set() { Err(LostWorker::Interrupted) } else { Ok(reply) };
                }
                Ok(Received::Timeout) => {}
                Ok(Received::Closed) => return Err(LostWorker::Exited(self.wait_for_exit())),
                Err(error) => {
                    self.process.kill();
                    return Err(LostWorker::InvalidReply(format!("sent an invalid reply: {error}")));
                }
            }
            waited = waited.saturating_add(tick());
            if waited >= next_report
                && let Some(wait) = Wait::of(command)
            {
                notify(&wait.text(waited, self.status.phase(), limit));
                next_report = waited.saturating_add(waited);
            }
            if interrupt.is_set() {
                self.status.request_stop();
                since_interrupt = since_interrupt.saturating_add(tick());
                if since_interrupt >= END_LIMIT {
                    self.process.kill();
                    return Err(LostWorker::Interrupted);
                }
            }
            if limit.is_some_and(|limit| waited >= limit) {
                let phase = self.status.phase();
                let mut exit = self.process.kill();
                exit.phase = phase;
                exit.log_tail = exit_report::tail(&self.log);
                return Err(LostWorker::TimedOut(exit));
            }
        }
    }

    /// Stops the process until the next command, and waits until it has stopped.
    pub fn pause(&mut self) {
        if !self.paused {
            self.process.signal(libc::SIGSTOP);
            process_state::wait_until_stopped(self.pid());
            self.paused = true;
        }
    }

    fn resume(&mut self) {
        if self.paused {
            self.process.signal(libc::SIGCONT);
            self.paused = false;
        }
    }

    /// CPU time of the process so far, in the kernel's clock ticks; `None` if the system does not report it.
    pub fn cpu_ticks(&self) -> Option<u64> {
        process_state::cpu_ticks(self.pid())
    }

    /// Ends the process in good options.
    pub fn quit(mut self) {
        self.resume();
        if self.channel.send(&ToWorker::Quit).is_ok() {
            let mut waited = Nanos::ZERO;
            while waited < END_LIMIT {
                match self.channel.receive_within::<FromWorker>(TICK_MS) {
                    Ok(Received::Timeout) => waited = waited.saturating_add(tick()),
                    Ok(Received::Message(_)) => {}
                    Ok(Received::Closed) | Err(_) => break,
                }
            }
        }
        // Dropping the handle waits for the process, or kills it.
    }

    /// Waits for a process that has closed its socket, and reports how it ended.
    fn wait_for_exit(&mut self) -> ExitReport {
        let phase = self.status.phase();
        // A process that closed its socket may still be running.
        let mut waited = Nanos::ZERO;
        let mut exit = loop {
            if let Some(exit) = self.process.exited() {
                break exit;
            }
            if waited >= END_LIMIT {
                break self.process.kill();
            }
            process_state::sleep(TICK_MS);
            waited = waited.saturating_add(tick());
        };
        exit.phase = phase;
        exit.log_tail = exit_report::tail(&self.log);
        exit
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        if self.process.exited().is_none() {
            self.process.kill();
        }
    }
}

/// When a wait is reported for the first time: when it is twice as long as any before it, and at least this long.
fn first_report(longest: Nanos) -> Nanos {
    const LEAST: Nanos = Nanos::from_secs(10);
    LEAST.max(longest.saturating_add(longest))
}

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Load,
    Request,
}

impl Wait {
    /// `None` for commands that no request of a run waits for.
    const fn of(command: &ToWorker) -> Option<Self> {
        match command {
            ToWorker::Load(_) => Some(Self::Load),
            ToWorker::Measure(_) => Some(Self::Request),
            _ => None,
        }
    }

    fn text(self, waited: Nanos, phase: Option<Phase>, limit: Option<Nanos>) -> String {
        let seconds = waited.as_secs_f64();
        let end = match (self, limit) {
            (_, Some(limit)) => format!("; it ends after {} {} s", Setting::Timeout, limit.as_secs_f64()),
            (Self::Request, None) => format!("; {} would limit it", Setting::Timeout),
            (Self::Load, None) => String::new(),
        };
        let what = match (self, phase) {
            (Self::Load, _) => format!("loading takes {seconds:.0} s so far"),
            (Self::Request, Some(Phase::Tokenize | Phase::Prefill)) => {
                format!("a request takes {seconds:.0} s so far, and its first token is not known yet")
            }
            (Self::Request, Some(phase)) => format!("a request takes {seconds:.0} s so far (phase {})", phase.name()),
            (Self::Request, None) => format!("a request takes {seconds:.0} s so far"),
        };
        format!("{what}{end}")
    }
}

const fn tick() -> Nanos {
    Nanos::from_millis(TICK_MS as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_reported_when_it_is_unusual() {
        assert_eq!(first_report(Nanos::ZERO), Nanos::from_secs(10));
        assert_eq!(first_report(Nanos::from_secs(40)), Nanos::from_secs(80));
    }

    #[test]
    fn the_report_names_what_is_waited_for() {
        let text = |wait: Wait, phase, limit| wait.text(Nanos::from_secs(20), phase, limit);
        insta::assert_snapshot!(text(Wait::Load, None, None), @"loading takes 20 s so far");
        insta::assert_snapshot!(text(Wait::Request, Some(Phase::Prefill), None), @"a request takes 20 s so far, and its first token is not known yet; `timeout` would limit it");
        insta::assert_snapshot!(text(Wait::Request, Some(Phase::Decode), Some(Nanos::from_secs(60))), @"a request takes 20 s so far (phase decode); it ends after `timeout` 60 s");
        assert_eq!(Wait::of(&ToWorker::Quit), None);
    }
}
