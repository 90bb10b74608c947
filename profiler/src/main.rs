//! The one binary. What it can do is in [`cli`]; what it does is in the crates beside this one.

mod cli;
mod tool;

use std::process::ExitCode;

/// Counts allocations while the traced pass of a request runs.
#[global_allocator]
static ALLOCATOR: meter::heap::Counted = meter::heap::Counted;

fn main() -> ExitCode {
    cli::main()
}
