//! The passes of a request: clean, stepped, traced, counted.
//!
//! In the clean pass the engine runs freely and a [`Stopwatch`] stores clock readings. In the stepped pass (`run_stepped`) the
//! profiler runs the engine's steps and reads the counters between them. In the traced pass ([`run_traced`]) the engine's marks are
//! recorded and its allocations counted. In the counted pass (`run_counted`) the counters are read at the edges of each op.
//!
//! Each pass records when phases began and ended; `Timing` computes durations from these edges. Within the timed region of the clean
//! pass nothing allocates, locks, reads a counter or performs input or output: a stopwatch reads the clock and stores into memory that
//! was touched before.

mod allocations;
mod arrivals;
mod counted;
mod energy;
mod event_rates;
mod experts;
mod figures;
mod ops;
mod phase_rows;
mod server_figures;
mod stepped;
mod stopwatch;
mod threads;
mod timing;
mod traced;

pub(super) use counted::run_counted;
pub(super) use energy::add_energy;
pub(super) use event_rates::EventRates;
pub(super) use experts::ExpertSums;
pub(super) use figures::{answer, time_figures};
pub(super) use ops::{OpSums, attribute};
pub(super) use phase_rows::{phase_rows, totals};
pub(super) use server_figures::server_figures;
pub(super) use stepped::{PhaseCounts, run_stepped};
pub use stopwatch::{Edge, Stopwatch};
pub(super) use threads::{REQUEST_THREAD, ThreadWork};
pub use timing::PhaseSpan;
pub(super) use timing::Timing;
pub use traced::{MarkSink, TracedRequest, run_traced};
