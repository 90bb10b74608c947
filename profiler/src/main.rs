//! The binary. [`cli`] has its commands; the other crates do the work.

mod cli;
mod tool;

use std::process::ExitCode;

/// Counts allocations while the traced pass of a request runs.
#[global_allocator]
static ALLOCATOR: meter::heap::CountingAllocator = meter::heap::CountingAllocator;

fn main() -> ExitCode {
    cli::main()
}
