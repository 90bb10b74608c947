//! Starting, stopping and waiting for worker processes.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use meter::process::Descendants;

use super::exit_report::ExitReport;
use super::process_state;

/// Time for the descendants of a killed process to end, in milliseconds. The guard of a server kills the server earlier.
const DESCENDANTS_LIMIT_MS: i32 = 9000;
/// Time between two checks.
const CHECK_MS: i32 = 10;

/// A child process. It is waited for exactly once.
#[derive(Debug)]
pub(super) struct ChildProcess {
    pid: libc::pid_t,
    exit: Option<ExitReport>,
}

/// What to start.
#[derive(Debug)]
pub(super) struct StartCommand<'a> {
    pub(super) binary: &'a Path,
    pub(super) socket: &'a Path,
    pub(super) log: &'a Path,
    pub(super) environment: &'a [(String, String)],
}

impl ChildProcess {
    /// Starts `inferometer worker SOCKET` in a process group of its own, so that Ctrl-C reaches only the main
    /// process. The kernel kills it when the main process ends, even if it is stopped.
    #[allow(unsafe_code, reason = "pre_exec runs between fork and exec")]
    pub(super) fn start(start: &StartCommand<'_>) -> io::Result<Self> {
        let log = File::create(start.log)?;
        let mut command = Command::new(start.binary);
        command.arg("worker").arg(start.socket);
        command.envs(start.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        #[cfg(target_os = "linux")]
        {
            let parent = std::process::id();
            // SAFETY: between fork and exec only async-signal-safe calls are allowed: prctl and getppid are.
            unsafe { command.pre_exec(move || end_with(parent)) };
        }
        let child = command.spawn()?;
        // Dropping the handle neither waits for the process nor kills it.
        let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self { pid, exit: None })
    }

    pub(super) fn id(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Sends a signal, unless the process was waited for: its id may then belong to another process.
    #[allow(unsafe_code, reason = "kill has no safe wrapper in std")]
    pub(super) fn signal(&self, signal: libc::c_int) {
        if self.exit.is_none() {
            // SAFETY: kill touches no memory; the child was not waited for, so the id still belongs to it.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// Kills the process, and waits until it and its descendants have ended: a server that it started may hold its port and its
    /// memory for a while.
    pub(super) fn kill(&mut self) -> ExitReport {
        let descendants = self.exit.is_none().then(|| Descendants::of(self.id()));
        self.signal(libc::SIGKILL);
        let exit = self.wait();
        let mut waited = 0;
        while descendants.as_ref().is_some_and(Descendants::any_alive) && waited < DESCENDANTS_LIMIT_MS {
            process_state::sleep(CHECK_MS);
            waited += CHECK_MS;
        }
        exit
    }

    /// Waits for the end of the process.
    #[allow(unsafe_code, reason = "wait4 has no safe wrapper in std")]
    pub(super) fn wait(&mut self) -> ExitReport {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        let mut status = 0;
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        let exit = loop {
            // SAFETY: both pointers are valid and live through the call.
            let pid = unsafe { libc::wait4(self.pid, &raw mut status, 0, usage.as_mut_ptr()) };
            if pid == self.pid {
                // SAFETY: all-zero bytes are a valid `rusage`, and the call has filled it.
                let usage = unsafe { usage.assume_init_ref() };
                break ExitReport::of(status, usage.ru_maxrss);
            }
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break ExitReport::default();
            }
        };
        self.exit = Some(exit.clone());
        exit
    }

    /// How it ended, if it has ended; does not wait.
    #[allow(unsafe_code, reason = "wait4 has no safe wrapper in std")]
    pub(super) fn exited(&mut self) -> Option<ExitReport> {
        if self.exit.is_none() {
            let mut status = 0;
            let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
            // SAFETY: both pointers are valid and live through the call.
            let pid = unsafe { libc::wait4(self.pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
            if pid == self.pid {
                // SAFETY: all-zero bytes are a valid `rusage`, and the call has filled it.
                let usage = unsafe { usage.assume_init_ref() };
                self.exit = Some(ExitReport::of(status, usage.ru_maxrss));
            }
        }
        self.exit.clone()
    }
}

/// Makes the kernel kill this process when its parent thread ends.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "prctl has no safe wrapper in std")]
fn end_with(parent: u32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    let code = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: getppid touches no memory.
    let now = unsafe { libc::getppid() };
    // The parent may have ended before the call above.
    if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}
