//! Measures what this machine can do at most, with the threads that engines compute on.
//!
//! Everything is measured once per machine and stored ([`ceilings()`]). A short probe runs between the rounds of a run (see
//! `run/ceiling_probes.rs`). Both are measured by probers: worker processes that open no engine, so that the buffer of a probe is
//! not part of any engine's memory. A ceiling that cannot be measured is `None` with a reason. Engines are compared with the ceilings in
//! the crate `analyse`, not here.

mod cache;
mod machine_digest;
mod measure;
mod prober;
mod simulated;
mod thread_counts;

pub use measure::{ProbeResources, ceilings, known};
pub(crate) use prober::{ProberProcess, WRONG_REPLY};
pub(crate) use simulated::simulated;
pub use thread_counts::thread_counts;
