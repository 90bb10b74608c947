//! Recording what a process does, and reading such recordings.
//!
//! - [`clock`]: the only place that reads the time, real or virtual; [`Nanos`] is its unit.
//! - [`ledger`]: what else passes where time is virtual.
//! - [`op!`], [`span!`] and [`record`]: spans, counters and instants in bounded per-thread buffers, drained at phase edges.
//! - [`layer`]: takes in what other crates emit through `tracing`.
//! - [`chrome`]: writes and reads Chrome trace files; a file is valid at every moment, also after kill -9.
//! - [`check`], [`summary`] and [`diff`](mod@diff): what is wrong in such a file, where its time went, and what differs between two.
//!
//! # Why measurements do not go through `tracing-chrome`
//!
//! It serves where a tool traces its own slow work. For measurements it is the wrong instrument:
//!
//! - A span costs the measured thread 0.5 to 2 microseconds and a writer thread another 2 to 4, which on a machine with
//!   few cores is taken from the engine. The recorder here costs two clock reads and one store of 64
//!   bytes: 50 ns where a clock read takes 24 (`cargo bench -p traces` prints both).
//! - Its channel is unbounded: a writer that lags shows up as memory of the process whose memory is measured.
//! - Its thread ids start at 0 and its process id is always 1; Perfetto merges thread 0 with the thread whose id equals
//!   the process id, so spans of two threads end up on one track with wrong durations.
//! - It has no counters, no complete (`X`) records, and writes every argument as a string.
//! - A process that dies leaves a file that is cut inside a record, which two of three viewers refuse.

pub mod check;
pub mod chrome;
pub mod clock;
pub mod diff;
mod lanes;
pub mod layer;
pub mod ledger;
mod macros;
mod nanos;
mod nesting;
pub mod record;
pub mod summary;
mod walk;

pub use nanos::Nanos;
