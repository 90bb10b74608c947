//! [`ExitReport`]: how a worker process ended, in words.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use engine_api::Phase;
use models::Bytes;

/// The end of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitReport {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    /// Its peak resident memory.
    pub peak: Option<u64>,
    /// Its phase at the end.
    pub phase: Option<Phase>,
    /// The last lines of its log.
    pub log_tail: String,
}

impl ExitReport {
    /// From `wait4`: its status, and `ru_maxrss`, which Linux gives in KiB and macOS in bytes.
    pub(super) fn of(status: libc::c_int, max_resident: libc::c_long) -> Self {
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        Self {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            peak: u64::try_from(max_resident).ok().map(|peak| peak * unit),
            ..Self::default()
        }
    }
}

/// How it ended, its phase, its peak memory, and the last lines of its log.
impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.signal, self.code) {
            (Some(libc::SIGKILL), _) => {
                "was killed (signal 9, SIGKILL), by the system for lack of memory or by a user".to_owned()
            }
            (Some(signal), _) => format!("was ended by signal {signal}{}", signal_name(signal)),
            (None, Some(code)) => format!("ended with exit code {code}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let phase = self.phase.map_or("between two requests".to_owned(), |phase| format!("in phase {}", phase.name()));
        let peak = self.peak.map_or(String::new(), |peak| format!("; peak memory {}", Bytes(peak)));
        let log =
            if self.log_tail.is_empty() { String::new() } else { format!("; the end of its log: {}", self.log_tail) };
        write!(f, "{how} {phase}{peak}{log}")
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL: an instruction that this processor does not have",
        libc::SIGINT => "SIGINT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        _ => return String::new(),
    };
    format!(" ({name})")
}

/// Bytes of a log that are read from its end.
const TAIL: u64 = 2000;
const TAIL_LINES: usize = 6;

/// The last lines of a log, joined by ` | `.
pub(super) fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // Half a word at the start may be half a secret, which nothing recognises.
        let cut = if start > 0 { bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len()) } else { 0 };
        Ok(bytes.split_off(cut))
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(error) => return format!("{} cannot be read: {error}", log.display()),
    };
    let text = redaction::redact(&String::from_utf8_lossy(&bytes));
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_signal_phase_and_memory() {
        let mut exit = ExitReport::of(libc::SIGABRT, 300_000);
        exit.phase = Some(Phase::Decode);
        exit.log_tail = "out of memory".to_owned();
        assert_eq!(
            exit.to_string(),
            "was ended by signal 6 (SIGABRT) in phase decode; peak memory 307 MB; the end of its log: out of memory"
        );
        assert!(ExitReport::of(libc::SIGKILL, 0).to_string().contains("lack of memory"));
        assert!(ExitReport::of(3 << 8, 0).to_string().starts_with("ended with exit code 3 between two requests"));
    }

    #[test]
    fn only_the_last_lines_of_a_log_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let lines: Vec<_> = (0..500).map(|n| format!("line {n}")).collect();
        std::fs::write(&log, lines.join("\n")).unwrap();
        assert_eq!(tail(&log), "line 494 | line 495 | line 496 | line 497 | line 498 | line 499");
        assert!(tail(&folder.path().join("none")).contains("none cannot be read"));
    }
}
