//! Noise of the machine: how much the time of equal pieces of work varies.

use record::Reason;
use statistics::percentile;
use traces::{Nanos, clock};

/// Number of pieces of work.
const PIECES: usize = 400;
/// Rounds of one piece, each a chain of six dependent operations: about half a millisecond on a processor of 3 GHz.
const ROUNDS: u64 = 250_000;

/// Times of equal pieces of work on one thread, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Median.
    pub p50_s: f64,
    /// 99th percentile.
    pub p99_s: f64,
    /// Maximum.
    pub max_s: f64,
    /// Resolution of the clock.
    pub clock_step: Nanos,
    /// Cost of one reading of the clock.
    pub clock_read: Nanos,
}

impl Noise {
    /// p99 / p50: 1 on an idle machine at a fixed frequency.
    pub fn p99_ratio(&self) -> f64 {
        self.p99_s / self.p50_s
    }

    /// max / p50: the longest interruption.
    pub fn max_ratio(&self) -> f64 {
        self.max_s / self.p50_s
    }
}

/// Measures for a few tenths of a second.
///
/// # Errors
/// When the clock does not advance during a piece of work.
pub fn noise() -> Result<Noise, Reason> {
    let times: Vec<f64> = (0..PIECES).map(|piece| timed(piece as u64)).collect();
    let clock = clock::precision();
    let at = |rank: f64| {
        let time = percentile(&times, rank).filter(|&time| time > 0.0);
        time.ok_or_else(|| Reason::new("the clock did not advance during the measurement"))
    };
    Ok(Noise { p50_s: at(50.0)?, p99_s: at(99.0)?, max_s: at(100.0)?, clock_step: clock.step, clock_read: clock.read })
}

fn timed(seed: u64) -> f64 {
    let start = clock::now();
    // Xorshift (Marsaglia, 2003): it cannot be vectorised or shortened, and does not wait for memory.
    let mut x = seed + 1;
    for _ in 0..ROUNDS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    std::hint::black_box(x);
    clock::now().saturating_sub(start).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_order() {
        let found = noise().unwrap();
        assert!(found.p50_s > 0.0 && found.p99_ratio() >= 1.0 && found.max_ratio() >= found.p99_ratio(), "{found:?}");
    }
}
