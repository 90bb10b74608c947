//! What this machine can do at most, measured with the threads that engines compute on.
//!
//! ```text
//! main process                           prober: a worker process with the thread count of the question
//!   ceilings()  known in the cache? ──no──► prober::Prober::answer ► kernels/*   everything, once per machine
//!   drift()     run/probes.rs ────────────► the same                  a short probe, between the rounds of a run
//! ```
//! The probers are processes of their own, so that no engine's memory figures hold a probe's buffer. What cannot be
//! measured is `None` with a reason. Nothing here judges an engine: see [`analyse::attribution`].

mod cache;
mod digest;
mod file;
mod kernels;
mod measure;
mod memory;
mod prober;
mod question;
mod repeat;
mod simulated;
mod team;
mod working_set;

pub use measure::{Means, ceilings, known};
pub(crate) use measure::{put, start};
pub(crate) use prober::Prober;
pub use question::{MachineWide, Probe, Probed, Short};
pub use simulated::simulated;
pub use team::thread_counts;
pub use working_set::buffer_bytes;
