//! Opens a file or an address with the program that the desktop has for it.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// What opens things.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Why nothing was opened. The text's advice stands behind its last semicolon.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target} could not be opened: {problem}; open it in a browser yourself")]
pub(super) struct OpenError {
    target: String,
    problem: String,
}

/// Opens it and returns; what happens in the browser is not known here.
///
/// # Errors
/// When there is no such program, or it found nothing that could show it.
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
    fn the_error_names_the_file_the_program_and_what_to_do() {
        let error = open_with("no-such-opener", OsStr::new("runs/a/report.html")).unwrap_err().to_string();
        assert_eq!(
            error,
            "runs/a/report.html could not be opened: `no-such-opener` is not installed; open it in a browser yourself"
        );
        let error = open_with("false", OsStr::new("x")).unwrap_err().to_string();
        assert!(error.contains("`false` ended with exit status: 1"), "{error}");
        assert!(open_with("true", OsStr::new("x")).is_ok());
    }
}
