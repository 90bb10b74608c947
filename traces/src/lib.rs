//! Recording the activity of a process, and reading such recordings.
//!
//! - [`clock`]: the only place that reads the time, real or virtual; [`Nanos`] is its unit.
//! - [`virtual_counters`]: the counters of a machine whose time is virtual.
//! - [`op!`], [`span!`] and [`record`]: spans, counters and instants in bounded per-thread buffers, drained between phases.
//! - [`layer`]: records the spans and events that other crates emit through `tracing`.
//! - [`chrome`]: writes and reads Chrome trace files; a file is valid at any time, also after kill -9.
//! - [`check`], [`summary`] and [`diff`](mod@diff): the problems of a file, its times by operation, and the difference between two.
//!
//! # Why measurements do not go through `tracing-chrome`
//!
//! It suits a tool that traces its own slow work. For measurements it is the wrong instrument:
//!
//! - A span costs the measured thread 0.5 to 2 microseconds and a writer thread another 2 to 4, which competes with the engine
//!   on a machine with few cores. A span of this recorder costs two clock reads and one store of 64 bytes: 50 ns if a clock
//!   read takes 24 ns (`cargo bench -p traces` prints both).
//! - Its channel is unbounded: when the writer lags, the channel grows in the memory of the measured process.
//! - Its thread ids start at 0 and its process id is always 1; Perfetto merges thread 0 with the thread whose id equals
//!   the process id, so the spans of two threads are on one track with wrong durations.
//! - It has no counters, no complete (`X`) records, and writes every argument as a string.
//! - A process that dies leaves a file that ends inside a record, which two of three viewers reject.

pub mod check;
pub mod chrome;
pub mod clock;
pub mod diff;
pub mod layer;
mod macros;
mod nanos;
mod nesting;
pub mod record;
mod spans;
pub mod summary;
pub mod virtual_counters;

pub use nanos::Nanos;
