//! Summaries of the samples of a run: means with intervals, gaps between tokens, the cost of instruments, disturbed prompt rounds.
//!
//! Each figure can be recomputed from the samples in `run.json`: nothing is rounded, and the seed of the bootstrap is in the plan.

mod disturbances;
mod intervals;
mod means;
mod probe_effect;
mod series;
mod summarise;
mod with_summaries;

pub use disturbances::{Disturbances, disturbances};
pub use intervals::{gaps, itl};
pub use means::{mean_of, quotients};
pub use probe_effect::probe_effect;
pub use series::{series, supported_trend};
pub(crate) use summarise::no_interval;
pub use summarise::{CASE_FIGURES, CaseFigure, NO_SAMPLE, PHASE_TIMES, PhaseTime, first_peak_bytes, summarise};
pub use with_summaries::with_summaries;
