//! Starting, stopping and waiting for worker processes.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::death::Death;
use super::state;
use meter::process::Kin;

/// What a killed process has started has so long to end, in milliseconds: the guard of a server ends it by force before.
const KIN_LIMIT_MS: i32 = 9000;
/// Between two looks whether it has.
const LOOK_MS: i32 = 10;

/// A child process by its number. It is waited for exactly once.
#[derive(Debug)]
pub(super) struct Process {
    pid: libc::pid_t,
    end: Option<Death>,
}

/// What is started.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) binary: &'a Path,
    pub(super) socket: &'a Path,
    pub(super) log: &'a Path,
    pub(super) environment: &'a [(String, String)],
}

impl Process {
    /// Starts `inferometer worker --socket SOCKET` in a process group of its own, so that Ctrl-C reaches only the main
    /// process; the kernel kills it when the main process ends, stopped or not.
    #[allow(unsafe_code, reason = "pre_exec runs between fork and exec")]
    pub(super) fn start(start: &Start<'_>) -> io::Result<Self> {
        let log = File::create(start.log)?;
        let mut command = Command::new(start.binary);
        command.arg("worker").arg("--socket").arg(start.socket);
        command.envs(start.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        #[cfg(target_os = "linux")]
        {
            let parent = std::process::id();
            // SAFETY: between fork and exec only async-signal-safe calls are allowed: prctl and getppid are.
            unsafe { command.pre_exec(move || die_with(parent)) };
        }
        let child = command.spawn()?;
        // The handle is not needed: it neither waits nor kills when dropped.
        let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self { pid, end: None })
    }

    pub(super) fn id(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Sends a signal, unless the process was waited for: its number may be another's by then.
    #[allow(unsafe_code, reason = "kill has no safe wrapper in std")]
    pub(super) fn signal(&self, signal: libc::c_int) {
        if self.end.is_none() {
            // SAFETY: kill touches no memory; the child was not waited for, so the number is still its own.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// Waits for its end, with a signal first to make sure that it comes, and for that of what it has started: a server would
    /// hold its port and its memory for a while.
    pub(super) fn kill(&mut self) -> Death {
        let kin = self.end.is_none().then(|| Kin::of(self.id()));
        self.signal(libc::SIGKILL);
        let death = self.wait();
        let mut waited = 0;
        while kin.as_ref().is_some_and(Kin::lives) && waited < KIN_LIMIT_MS {
            state::nap(LOOK_MS);
            waited += LOOK_MS;
        }
        death
    }

    /// Waits for its end and keeps how it went.
    #[allow(unsafe_code, reason = "wait4 has no safe wrapper in std")]
    pub(super) fn wait(&mut self) -> Death {
        if let Some(death) = &self.end {
            return death.clone();
        }
        let mut status = 0;
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        let death = loop {
            // SAFETY: both pointers are valid and live through the call.
            let pid = unsafe { libc::wait4(self.pid, &raw mut status, 0, usage.as_mut_ptr()) };
            if pid == self.pid {
                // SAFETY: all-zero bytes are a valid `rusage`, and the call has filled it.
                let usage = unsafe { usage.assume_init_ref() };
                break Death::of(status, usage.ru_maxrss);
            }
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break Death::default();
            }
        };
        self.end = Some(death.clone());
        death
    }

    /// How it ended, if it did; does not wait.
    #[allow(unsafe_code, reason = "wait4 has no safe wrapper in std")]
    pub(super) fn ended(&mut self) -> Option<Death> {
        if self.end.is_none() {
            let mut status = 0;
            let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
            // SAFETY: both pointers are valid and live through the call.
            let pid = unsafe { libc::wait4(self.pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
            if pid == self.pid {
                // SAFETY: all-zero bytes are a valid `rusage`, and the call has filled it.
                let usage = unsafe { usage.assume_init_ref() };
                self.end = Some(Death::of(status, usage.ru_maxrss));
            }
        }
        self.end.clone()
    }
}

/// Makes the kernel kill this process when the thread that started it ends.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "prctl has no safe wrapper in std")]
fn die_with(parent: u32) -> io::Result<()> {
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
