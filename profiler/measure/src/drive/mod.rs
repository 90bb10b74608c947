//! Walks one request in the worker: the clean pass, the stepped pass, the traced pass.
//!
//! Every pass leaves edges (a phase began, a phase ended, when); [`Timing`] turns them into durations. Nothing here reads
//! a counter inside the clean pass's timed region, allocates there, locks or does input or output: [`Stopwatch`] reads
//! the clock and stores into memory that was touched before.

mod ahead;
mod allocations;
mod edges;
mod energy;
mod moment;
mod op_counters;
mod ops;
mod outcome;
mod rows;
mod server;
mod stepped;
mod timing;
mod traced;
mod tracks;
mod workers;

pub use ahead::AskedAhead;
pub use allocations::Allocations;
pub use edges::{Edge, Stopwatch};
pub use energy::add_energy;
pub use moment::rfc3339;
pub use op_counters::count_ops;
pub use ops::{Attributed, OpKey, OpSums, attribute};
pub use outcome::{Answer, sha256_of_ids, sha256_of_text, time_figures};
pub use rows::{Totals, phase_rows, totals};
pub use server::server_figures;
pub use stepped::{PhaseCounts, Walked, walk};
pub use timing::{EdgeError, PhaseSpan, Timing};
pub use traced::{Take, Traced, trace};
pub use tracks::{TrackPoint, Tracks};
pub use workers::{REQUESTS, WorkSums};
