//! A whole run: blocks of one model, rounds of interleaved cases, every sample kept as it happens.

mod progress;

pub use progress::{Interrupt, Progress};
