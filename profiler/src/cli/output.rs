//! The only module that writes to stdout and stderr.

use std::io::{self, IsTerminal, Write};

use record::Printable;
use redaction::without_known;
use report::TextOptions;

/// Width if stdout is not a terminal.
const PLAIN_WIDTH: usize = 100;

/// Writes to stdout, without the secrets that this process knows, and flushes it.
///
/// # Errors
/// When stdout cannot be written, except because its reader has closed it.
pub(super) fn print(text: &Printable) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(without_known(text.as_str()).as_bytes()).and_then(|()| out.flush());
    // A reader that stopped early, such as `head`, is not an error: the exit code is that of the command, such as the verdict of a gate.
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// Writes to stderr, without the secrets that this process knows and in a form that a terminal does not execute; colours stay. Errors are
/// ignored: there is no other place to report them.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(without_known(Printable::styled(text).as_str()).as_bytes());
}

/// Width and colours of stdout.
pub(super) fn text_options() -> TextOptions {
    let terminal = io::stdout().is_terminal();
    let width = if terminal { columns().unwrap_or(PLAIN_WIDTH) } else { PLAIN_WIDTH };
    TextOptions { width: width.clamp(40, 160), colour: terminal && colours() }
}

/// Whether colours are enabled: `NO_COLOR` (no-color.org) is unset and the terminal supports them.
pub(super) fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Width of the terminal behind stdout.
#[allow(unsafe_code, reason = "the terminal's size has no safe wrapper in std")]
fn columns() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is a valid winsize that lives until the call returns, and TIOCGWINSZ writes nothing else.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
