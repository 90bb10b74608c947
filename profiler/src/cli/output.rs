//! stdout and stderr: the only place that writes to them.

use std::io::{self, IsTerminal, Write};

use report::TextOptions;

/// Width where stdout is no terminal: wide enough for every table, narrow enough for a page.
const PLAIN_WIDTH: usize = 100;

/// Writes to stdout, at once and whole.
///
/// # Errors
/// When stdout cannot be written; a reader that went away is an error too, which ends the program quietly.
pub(super) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes to stderr. Whoever closed it does not want to know.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// How stdout shows a report.
pub(super) fn text_options() -> TextOptions {
    let terminal = io::stdout().is_terminal();
    let width = if terminal { columns().unwrap_or(PLAIN_WIDTH) } else { PLAIN_WIDTH };
    TextOptions { width: width.clamp(40, 160), colour: terminal && colours() }
}

/// Whether colours are wanted: `NO_COLOR` (no-color.org) unset and a terminal that knows them.
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
