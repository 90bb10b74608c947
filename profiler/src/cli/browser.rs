//! Opens a file or an address with the default program of the desktop.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// The program that opens files.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Why a file could not be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target} could not be opened: {problem}")]
pub(super) struct OpenError {
    target: String,
    problem: String,
}

impl OpenError {
    /// What to do about it.
    pub(super) const ADVICE: &str = "open it in a browser yourself";
}

/// Opens a file or an address and returns without waiting for the browser.
///
/// # Errors
/// When the program does not exist, or finds no browser.
pub(super) fn open(target: &OsStr) -> Result<(), OpenError> {
    open_with(OPENER, target)
}

fn open_with(opener: &str, target: &OsStr) -> Result<(), OpenError> {
    let fail = |problem: String| OpenError { target: target.to_string_lossy().into_owned(), problem };
    let silent =
        |command: &mut Command| command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match silent(Command::new(opener).arg(target)) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(fail(format!("`{opener}` ended with {status}: it found no desktop or no browser"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(fail(format!("`{opener}` is not installed"))),
        Err(error) => Err(fail(format!("`{opener}` did not start: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_file_and_the_program() {
        let error = open_with("no-such-opener", OsStr::new("runs/a/report.html")).unwrap_err().to_string();
        assert_eq!(error, "runs/a/report.html could not be opened: `no-such-opener` is not installed");
        let error = open_with("false", OsStr::new("x")).unwrap_err().to_string();
        assert!(error.contains("`false` ended with exit status: 1"), "{error}");
        assert!(open_with("true", OsStr::new("x")).is_ok());
    }
}
