//! Estimators and experimental design: means, medians, percentiles, bootstrap intervals, paired ratios, slopes, and the order of a
//! round. Pure functions of numbers, each with its formula and its source. Random numbers come from a seed.

mod balance;
mod bootstrap;
mod combined;
mod no_interval;
mod order;
mod paired;
pub mod rounds;
mod slope;
mod split_mix;

pub use balance::{Balance, balance};
pub use bootstrap::{Interval, RESAMPLES, interval};
pub use combined::{Quotient, combined};
pub use no_interval::NoInterval;
pub use order::{mad, mean, median, percentile};
pub use paired::{Ratio, more_rounds, ratio, ratio_apart};
pub use slope::{Slope, line_slope, mean_interval, slope};
