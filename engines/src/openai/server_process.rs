//! A server that is started here. It runs in its own process group, which ends with the session. Only this file sends signals.
//!
//! If this process is killed, a small shell that waits for the end of a pipe ends the group. (`PR_SET_PDEATHSIG` would reach only the
//! command's first process, is bound to a thread instead of the process, and exists on Linux only.)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redaction::Sensitive;
use traces::{Nanos, clock};

use super::NAME;
use super::error::quote;
use crate::EngineError;

/// A shell script that waits for the end of its input, then terminates the process group of its argument, with SIGKILL if it still
/// exists after 5 s, and exits when the group is gone.
const GUARD: &str = r#"read -r _
for number in TERM TERM KILL; do
  kill -s "$number" -- "-$1" 2>/dev/null || exit 0
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
    sleep 0.1 || sleep 1
    kill -s 0 -- "-$1" 2>/dev/null || exit 0
  done
done"#;
/// Signals to end a server, and the time to wait after each. During a stream some servers exit only at the second SIGTERM.
const GRACE: [(libc::c_int, Duration); 3] = [
    (libc::SIGTERM, Duration::from_secs(5)),
    (libc::SIGTERM, Duration::from_secs(3)),
    (libc::SIGKILL, Duration::from_secs(5)),
];
/// Time between two checks whether it is gone.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes at the end of its output that are read for an error.
const LAST_BYTES: u64 = 4096;
/// Lines at the end of its output that an error repeats.
const LAST_LINES: usize = 4;

/// A server process and its output.
pub(super) struct ServerProcess {
    child: Child,
    guard: Option<Child>,
    output: File,
    log: Option<String>,
    has_ended: bool,
}

impl ServerProcess {
    /// Starts a command through the shell.
    pub(super) fn start(command: &Sensitive, log: Option<&Path>) -> Result<Self, EngineError> {
        let failed = |what: &str, error: &io::Error| {
            EngineError::failed(NAME, format!("`{command}`"), format!("{what}: {error}"))
        };
        let output = output(log).map_err(|error| failed("its log cannot be written", &error))?;
        let to_log = || output.try_clone().map(Stdio::from).map_err(|error| failed("its log cannot be shared", &error));
        let child = Command::new("sh")
            .args(["-c", command.expose()])
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

    /// The command's first process; the others are its descendants.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status and the last output, if it has exited. Also kills the rest of the group, whose id may be reused later.
    pub(super) fn exit_report(&mut self) -> Option<String> {
        // An error of the system call is no exit.
        let status = self.child.try_wait().ok().flatten()?;
        if !self.has_ended {
            self.has_ended = true;
            signal(self.pid(), libc::SIGKILL);
        }
        Some(format!("{status}, {}", self.last_output()))
    }

    /// The last lines of its output.
    pub(super) fn last_output(&self) -> String {
        let text = match self.output_end() {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => return format!("its output cannot be read: {error}"),
        };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ");
        let whole = self.log.as_ref().map_or_else(String::new, |log| format!(" (log: {log})"));
        if last.is_empty() { "it wrote nothing".to_owned() } else { format!("it wrote `{}`{whole}", quote(&last)) }
    }

    /// The last bytes of its output.
    fn output_end(&self) -> io::Result<Vec<u8>> {
        let start = self.output.metadata()?.len().saturating_sub(LAST_BYTES);
        let mut bytes = self.output_since(start)?;
        // Half a word at the start may be half a secret, which nothing recognises.
        let is_space = u8::is_ascii_whitespace;
        let cut = if start > 0 { bytes.iter().position(is_space).unwrap_or(bytes.len()) } else { 0 };
        Ok(bytes.split_off(cut))
    }

    /// Its output from this position on.
    pub(super) fn output_since(&self, start: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let read = self.output.read_at(&mut chunk, start + bytes.len() as u64)?;
            if read == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&chunk[..read]);
        }
    }

    /// Waits until the whole group is gone; false if it still exists after the limit.
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
            clock::sleep(Nanos::from_secs_f64(CHECK_INTERVAL.as_secs_f64()));
            waited += CHECK_INTERVAL;
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if !self.has_ended {
            for (number, limit) in GRACE {
                signal(self.pid(), number);
                if self.is_gone_within(limit) {
                    break;
                }
            }
        }
        // Killed before its input ends: otherwise it would signal a group that is gone.
        if let Some(guard) = &mut self.guard {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

/// The file for a server's output: the requested one, or a deleted temporary file.
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

/// Sends a signal to a process group; false if there is none. Signal 0 only checks.
#[allow(unsafe_code, reason = "the standard library sends only SIGKILL, and not to a group")]
fn signal(group: u32, number: libc::c_int) -> bool {
    let Ok(group) = libc::pid_t::try_from(group) else { return false };
    // SAFETY: kill accesses no memory of this process. The group was made for a child of this process, and its id is not reused
    // while it has a member.
    unsafe { libc::kill(-group, number) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(process: &mut ServerProcess) -> String {
        for _ in 0..1000 {
            if let Some(report) = process.exit_report() {
                return report;
            }
            clock::sleep(Nanos::from_millis(10));
        }
        panic!("it does not exit");
    }

    #[test]
    fn exit_status_and_last_output_are_reported() {
        let mut process =
            ServerProcess::start(&Sensitive::command("echo one; echo two >&2; exit 3"), None).expect("sh is there");
        insta::assert_snapshot!(wait_for(&mut process), @"exit status: 3, it wrote `one | two`");
        let mut silent = ServerProcess::start(&Sensitive::command("exit 0"), None).expect("sh is there");
        insta::assert_snapshot!(wait_for(&mut silent), @"exit status: 0, it wrote nothing");
    }

    #[test]
    fn a_requested_log_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("server.log");
        let mut process =
            ServerProcess::start(&Sensitive::command("echo hello; exit 1"), Some(&log)).expect("sh is there");
        assert!(wait_for(&mut process).contains(&log.display().to_string()));
        drop(process);
        assert_eq!(std::fs::read_to_string(&log).expect("it stays"), "hello\n");
    }

    /// Also children, and a process that ignores SIGTERM.
    #[test]
    fn the_whole_group_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let pids = folder.path().join("pids");
        let command = format!("(trap '' TERM; echo $$ >> {0}; sleep 100) & echo $! >> {0}; sleep 100", pids.display());
        let process = ServerProcess::start(&Sensitive::command(&command), None).expect("sh is there");
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
