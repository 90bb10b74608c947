//! The one binary. What it can do is in [`cli`]; what it does is in the library.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
