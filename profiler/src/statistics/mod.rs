//! The statistics behind every summary. Each can be recomputed from the samples in `run.json`: nothing is rounded, and
//! the one random part, the bootstrap, has its seed in the plan and a generator that is written down here.

mod bootstrap;
mod dice;
mod intervals;
mod logits;
mod order;
mod paired;
mod probe;
mod series;
mod slope;
mod spells;
mod summary;

pub use bootstrap::{Interval, RESAMPLES, interval};
pub use intervals::{gaps, itl};
pub use logits::top_logprobs;
pub use order::{mad, mean, median, percentile};
pub use paired::{Ratio, more_rounds, ratio, ratio_apart};
pub use probe::{pace, probe};
pub use series::series;
pub use slope::{mean_interval, slope};
pub use spells::{Spells, spells};
pub use summary::{ONCE, OfSample, Once, PHASES, clean, summarise};
