//! A server that is started here: it runs in a process group of its own, and with the session it ends, all of it and nothing
//! else. Signals to it are sent from this file alone.
//!
//! Should this process be killed, a small shell that waits for the end of a pipe ends the group. (`PR_SET_PDEATHSIG` would
//! reach the command's first process only, would follow a thread instead of the process, and exists on Linux alone.)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use traces::{Nanos, clock};

use super::NAME;
use super::failure::quote;
use crate::EngineError;

/// Waits for the end of its input, then ends the process group of its argument, by force where it is not gone after 5 s; and
/// ends itself when nothing of it is left.
const GUARD: &str = r#"read -r _
for number in TERM TERM KILL; do
  kill -s "$number" -- "-$1" 2>/dev/null || exit 0
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
    sleep 0.1 || sleep 1
    kill -s 0 -- "-$1" 2>/dev/null || exit 0
  done
done"#;
/// After each signal a server has so long to go. In the middle of a stream some go at the second request only.
const GRACE: [(libc::c_int, Duration); 3] = [
    (libc::SIGTERM, Duration::from_secs(5)),
    (libc::SIGTERM, Duration::from_secs(3)),
    (libc::SIGKILL, Duration::from_secs(5)),
];
/// Between two looks whether it is gone.
const LOOK: Duration = Duration::from_millis(20);
/// So much of the end of its output is read for an error.
const LAST_BYTES: u64 = 4096;
/// So many lines of it are told.
const LAST_LINES: usize = 4;

/// A server and what it wrote.
pub(super) struct Process {
    child: Child,
    guard: Option<Child>,
    output: File,
    log: Option<String>,
    has_ended: bool,
}

impl Process {
    /// Starts a command through the shell.
    pub(super) fn start(command: &str, log: Option<&Path>) -> Result<Self, EngineError> {
        let failed = |what: &str, error: &io::Error| EngineError::Failed {
            engine: NAME,
            place: format!("`{command}`"),
            reason: format!("{what}: {error}"),
        };
        let output = output(log).map_err(|error| failed("its log cannot be written", &error))?;
        let to_log = || output.try_clone().map(Stdio::from).map_err(|error| failed("its log cannot be shared", &error));
        let child = Command::new("sh")
            .args(["-c", command])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(to_log()?)
            .stderr(to_log()?)
            .spawn()
            .map_err(|error| failed("it cannot be started", &error))?;
        let log = log.map(|log| log.display().to_string());
        let mut process = Self { child, guard: None, output, log, has_ended: false };
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard", &process.pid().to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        process.guard = Some(guard.map_err(|error| failed("its guard cannot be started", &error))?);
        Ok(process)
    }

    /// The command's first process: the others are its children.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended and what it said last, if it has. Then what it left behind ends, too: later the group's number may be
    /// another's.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        if !self.has_ended {
            self.has_ended = true;
            signal(self.pid(), libc::SIGKILL);
        }
        Some(format!("{status}; {}", self.last_words()))
    }

    /// The last lines that it wrote.
    pub(super) fn last_words(&self) -> String {
        let length = self.output.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = vec![0; usize::try_from(length.min(LAST_BYTES)).unwrap_or(0)];
        let read = self.output.read_exact_at(&mut bytes, length.saturating_sub(LAST_BYTES));
        let text = if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ");
        let whole = self.log.as_ref().map_or_else(String::new, |log| format!(" (all of it: {log})"));
        if last.is_empty() { "it wrote nothing".to_owned() } else { format!("it wrote `{}`{whole}", quote(&last)) }
    }

    /// Whether nothing of it is left, within a limit.
    fn is_gone_within(&mut self, limit: Duration) -> bool {
        let mut waited = Duration::ZERO;
        loop {
            self.has_ended |= self.child.try_wait().is_ok_and(|status| status.is_some());
            if self.has_ended && !signal(self.pid(), 0) {
                return true;
            }
            if waited >= limit {
                return false;
            }
            clock::sleep(Nanos::from_secs_f64(LOOK.as_secs_f64()));
            waited += LOOK;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended {
            for (number, limit) in GRACE {
                signal(self.pid(), number);
                if self.is_gone_within(limit) {
                    break;
                }
            }
        }
        // It ends before its input does: otherwise it would signal a group that is gone.
        if let Some(guard) = &mut self.guard {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

/// Where a server's output goes: a file that is asked for, or one without a name, which is gone with the session.
fn output(log: Option<&Path>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).read(true);
    match log {
        Some(path) => options.create(true).open(path),
        None => {
            let name = format!("inferometer-{}-{}.log", std::process::id(), super::nonce::line().trim_end());
            let path = std::env::temp_dir().join(name);
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
    }
}

/// Sends a signal to a process group; whether there is one. Number 0 only looks.
#[allow(unsafe_code, reason = "the standard library sends no signal but SIGKILL, and none to a group")]
fn signal(group: u32, number: libc::c_int) -> bool {
    let Ok(group) = libc::pid_t::try_from(group) else { return false };
    // SAFETY: kill touches no memory of this process; the group was made for a child of this process, and its number stays
    // taken while a member of it is left.
    unsafe { libc::kill(-group, number) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(process: &mut Process) -> String {
        for _ in 0..1000 {
            if let Some(words) = process.ended() {
                return words;
            }
            clock::sleep(Nanos::from_millis(10));
        }
        panic!("it does not end");
    }

    #[test]
    fn last_words_are_kept() {
        let mut process = Process::start("echo one; echo two >&2; exit 3", None).expect("sh is there");
        insta::assert_snapshot!(wait_for(&mut process), @"exit status: 3; it wrote `one | two`");
        let mut silent = Process::start("exit 0", None).expect("sh is there");
        insta::assert_snapshot!(wait_for(&mut silent), @"exit status: 0; it wrote nothing");
    }

    #[test]
    fn a_log_that_is_asked_for_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("server.log");
        let mut process = Process::start("echo hello; exit 1", Some(&log)).expect("sh is there");
        assert!(wait_for(&mut process).contains(&log.display().to_string()));
        drop(process);
        assert_eq!(std::fs::read_to_string(&log).expect("it stays"), "hello\n");
    }

    /// Children, and a server that does not listen to the first request to end.
    #[test]
    fn all_of_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let pids = folder.path().join("pids");
        let command = format!("(trap '' TERM; echo $$ >> {0}; sleep 100) & echo $! >> {0}; sleep 100", pids.display());
        let process = Process::start(&command, None).expect("sh is there");
        let written = || std::fs::read_to_string(&pids).unwrap_or_default();
        while written().lines().count() < 2 {
            clock::sleep(Nanos::from_millis(10));
        }
        let group = process.pid();
        assert!(signal(group, 0));
        drop(process);
        assert!(!signal(group, 0), "nothing of the group is left");
    }
}
