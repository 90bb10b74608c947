//! How errors are reported on stderr, and the exit code that follows.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use record::{Error, ErrorKind, Printable, printable};

use super::advice::{UsageError, advice, is_full_disk};

/// How a command without an error ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// Everything was done.
    Done,
    /// A part failed: a case failed, a trace has errors.
    SomeFailed,
    /// A metric is worse than its gate allows.
    GateFailed,
    /// Ctrl-C.
    Interrupted,
}

/// Reports the error on stderr, if there is one.
pub(super) fn exit_code(done: anyhow::Result<Code>) -> ExitCode {
    let failure = match done {
        Ok(Code::Done) => return ExitCode::SUCCESS,
        Ok(Code::SomeFailed) => return ExitCode::from(1),
        Ok(Code::GateFailed) => return ExitCode::from(3),
        Ok(Code::Interrupted) => return ExitCode::from(130),
        Err(failure) => failure,
    };
    // A reader that stopped early, such as `head`, is not an error.
    if failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Without its sources: the texts of this program's errors contain them.
    let colour = io::stderr().is_terminal() && super::output::colours();
    super::output::complain(&message(&failure.to_string(), advice(&failure).as_deref(), colour));
    ExitCode::from(code(&failure))
}

/// Reports what clap says about the command line: help and version on stdout, errors on stderr. Control characters in the words of the
/// user are shown and not written.
pub(super) fn of_command_line(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if error.kind() == clap::error::ErrorKind::InvalidUtf8
        && let Some(error) = super::habits::not_text(words)
    {
        return exit_code(Err(error.into()));
    }
    let text = error.render();
    let has_controls = words.iter().any(|word| word.to_string_lossy().chars().any(char::is_control));
    let paint = |is_terminal: bool| match is_terminal && super::output::colours() && !has_controls {
        true => Printable::styled(&text.ansi().to_string()),
        false => Printable::new(&text.to_string()),
    };
    if error.use_stderr() {
        super::output::complain(&redaction::redact(paint(io::stderr().is_terminal()).as_str()));
        return ExitCode::from(2);
    }
    // A reader that stopped early is not an error.
    let _ = super::output::print(&paint(io::stdout().is_terminal()));
    ExitCode::SUCCESS
}

/// Bad usage or input (2), or a failure of the machine (1).
fn code(failure: &anyhow::Error) -> u8 {
    let is_usage = match (failure.downcast_ref::<Error>(), failure.downcast_ref::<::models::Error>()) {
        (Some(Error::Model(error)), _) | (_, Some(error)) => !is_full_disk(error),
        (Some(error), None) => error.kind() == ErrorKind::Usage,
        (None, None) => {
            failure.is::<UsageError>()
                || failure.is::<prompts::Error>()
                || failure.is::<::engines::registry::UnknownEngine>()
                || failure.is::<traces::chrome::ReadError>()
        }
    };
    if is_usage { 2 } else { 1 }
}

/// The problem and the advice as two lines.
fn message(problem: &str, advice: Option<&str>, colour: bool) -> String {
    let paint =
        |word: &str, code: &str| if colour { format!("\u{1b}[1;{code}m{word}\u{1b}[0m") } else { word.to_owned() };
    let mut out = format!("{} {}\n", paint("error:", "31"), printable(problem));
    if let Some(advice) = advice {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} {}", paint("help:", "36"), printable(advice));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ::models::Bytes;

    use super::*;

    #[test]
    fn the_advice_has_its_own_line() {
        let text = message("no model is called `x`; really", Some("try y"), false);
        assert_eq!(text, "error: no model is called `x`; really\nhelp: try y\n");
        assert_eq!(message("it broke", None, false), "error: it broke\n");
        assert_eq!(message("\u{1b}[31m", Some("\u{7}"), true).matches('\u{1b}').count(), 4, "only its own colours");
    }

    #[test]
    fn bad_input_and_failures_of_the_machine_have_different_codes() {
        assert_eq!(code(&Error::usage("x", "y").into()), 2);
        assert_eq!(code(&Error::Worker { worker: "w".to_owned(), problem: "p".to_owned() }.into()), 1);
        assert_eq!(code(&UsageError::new("x", "y").into()), 2);
        assert_eq!(code(&anyhow::anyhow!("x")), 1);
    }

    #[test]
    fn a_full_disk_is_not_bad_usage() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(code(&Error::file(Path::new("runs/x"), "write")(full()).into()), 1);
        assert_eq!(code(&::models::Error::io("write", Path::new("x.gguf"), full()).into()), 1);
        let no_space = ::models::Error::NoSpace { path: "x".into(), needed: Bytes(2), free: Bytes(1) };
        assert_eq!(code(&Error::from(no_space).into()), 1);
        let missing = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(code(&::models::Error::io("open", Path::new("x.gguf"), missing).into()), 2);
    }
}
