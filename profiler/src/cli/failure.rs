//! How a failure is told, and which exit code follows.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use record::Error;
use record::ErrorKind;

/// How a verb that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// Everything that was asked for was done.
    Done,
    /// Some of it was not: a case failed, a trace has errors.
    SomeFailed,
    /// A metric is worse than its gate allows.
    GateFailed,
    /// Ctrl-C.
    Interrupted,
}

/// A mistake in what was asked for that only the command line can see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// Tells the failure on stderr, where there is one.
pub(super) fn exit_code(done: anyhow::Result<Code>) -> ExitCode {
    let failure = match done {
        Ok(Code::Done) => return ExitCode::SUCCESS,
        Ok(Code::SomeFailed) => return ExitCode::from(1),
        Ok(Code::GateFailed) => return ExitCode::from(3),
        Ok(Code::Interrupted) => return ExitCode::from(130),
        Err(failure) => failure,
    };
    // A reader that has seen enough, such as `head`, is no failure.
    if failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Not with its sources: every text of this program holds them already.
    super::output::complain(&told(&failure.to_string(), io::stderr().is_terminal() && super::output::colours()));
    ExitCode::from(code(&failure))
}

/// What the user gave is to blame (2), or the machine (1).
fn code(failure: &anyhow::Error) -> u8 {
    if let Some(error) = failure.downcast_ref::<Error>() {
        return if error.kind() == ErrorKind::Usage { 2 } else { 1 };
    }
    let input = failure.is::<Usage>()
        || failure.is::<::models::Error>()
        || failure.is::<::engines::registry::UnknownEngine>()
        || failure.is::<traces::chrome::ReadError>();
    if input { 2 } else { 1 }
}

/// `what is wrong; what to do` as two lines. The advice is what stands behind the last semicolon: so do all error texts
/// of this program.
fn told(text: &str, colour: bool) -> String {
    let (problem, advice) = text.rsplit_once("; ").map_or((text, None), |(problem, advice)| (problem, Some(advice)));
    let paint =
        |word: &str, code: &str| if colour { format!("\u{1b}[1;{code}m{word}\u{1b}[0m") } else { word.to_owned() };
    let mut out = format!("{} {problem}\n", paint("error:", "31"));
    if let Some(advice) = advice {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} {advice}", paint("help:", "36"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_has_its_own_line() {
        assert_eq!(told("no model is called `x`; try y", false), "error: no model is called `x`\nhelp: try y\n");
        assert_eq!(told("it broke", false), "error: it broke\n");
        assert_eq!(told("a: b; c; d", false), "error: a: b; c\nhelp: d\n");
    }

    #[test]
    fn bad_input_and_bad_luck_have_their_codes() {
        assert_eq!(code(&Error::Usage { problem: "x".to_owned(), advice: None }.into()), 2);
        assert_eq!(code(&Error::Worker { worker: "w".to_owned(), problem: "p".to_owned() }.into()), 1);
        assert_eq!(code(&Usage("x".to_owned()).into()), 2);
        assert_eq!(code(&anyhow::anyhow!("x")), 1);
    }
}
