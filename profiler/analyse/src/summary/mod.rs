//! Summaries of the samples of a run: means with intervals, gaps between tokens, the cost of instruments, disturbed blocks.
//!
//! Each figure can be recomputed from the samples in `run.json`: nothing is rounded, and the seed of the bootstrap is in the plan.

mod intervals;
mod probe;
mod series;
mod spells;
mod summarise;

pub use intervals::{gaps, itl};
pub use probe::probe;
pub use series::series;
pub use spells::{Spells, spells};
pub use summarise::{ONCE, OfSample, Once, PHASES, summarise};
