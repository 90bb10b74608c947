//! The one binary. What it can do is in [`cli`]; what it does is in the library.

mod cli;

use std::process::ExitCode;

/// Counts allocations while the traced pass of a request runs.
#[global_allocator]
static ALLOCATOR: profiler::heap::Counted = profiler::heap::Counted;

fn main() -> ExitCode {
    cli::main()
}
