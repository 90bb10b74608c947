//! How a worker died, in words.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use engine_api::Phase;
use models::Bytes;

/// The end of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Death {
    /// Exit code, where it ended by itself.
    pub code: Option<i32>,
    /// Signal, where one ended it.
    pub signal: Option<i32>,
    /// Highest resident memory of its life.
    pub peak: Option<u64>,
    /// The phase that it was in.
    pub phase: Option<Phase>,
    /// Its last words: the end of its log.
    pub words: String,
}

impl Death {
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

    /// One sentence: how, where, with how much memory; then its last words.
    pub fn text(&self) -> String {
        let how = match (self.signal, self.code) {
            (Some(libc::SIGKILL), _) => {
                "was killed (signal 9, SIGKILL): by the system for lack of memory, or by hand".to_owned()
            }
            (Some(signal), _) => format!("died of signal {signal}{}", signal_name(signal)),
            (None, Some(code)) => format!("ended with exit code {code}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let place = self.phase.map_or("between two requests".to_owned(), |phase| format!("in phase {}", phase.name()));
        let peak = self.peak.map_or(String::new(), |peak| format!("; peak memory {}", Bytes(peak)));
        let words = if self.words.is_empty() { String::new() } else { format!("; its last words: {}", self.words) };
        format!("{how} {place}{peak}{words}")
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL: an instruction that this processor lacks",
        libc::SIGINT => "SIGINT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        _ => return String::new(),
    };
    format!(" ({name})")
}

/// So much of a log is told.
const TAIL: u64 = 2000;
const TAIL_LINES: usize = 6;

/// The last lines of a log, joined by ` | `.
pub(super) fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines.get(from..).unwrap_or_default().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_name_signal_phase_and_memory() {
        let mut death = Death::of(libc::SIGABRT, 300_000);
        death.phase = Some(Phase::Decode);
        death.words = "out of luck".to_owned();
        assert_eq!(
            death.text(),
            "died of signal 6 (SIGABRT) in phase decode; peak memory 307 MB; its last words: out of luck"
        );
        assert!(Death::of(libc::SIGKILL, 0).text().contains("lack of memory"));
        assert!(Death::of(3 << 8, 0).text().starts_with("ended with exit code 3 between two requests"));
    }

    #[test]
    fn only_the_last_lines_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let lines: Vec<_> = (0..500).map(|n| format!("line {n}")).collect();
        std::fs::write(&log, lines.join("\n")).unwrap();
        assert_eq!(tail(&log), "line 494 | line 495 | line 496 | line 497 | line 498 | line 499");
        assert_eq!(tail(&folder.path().join("none")), "");
    }
}
