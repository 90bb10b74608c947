//! The rates that matrix products achieved, for work without a fitted cost.

use std::collections::BTreeMap;

use models::DType;

use super::call::{Call, Class, Regime};

/// Operations and bytes per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) flops: f64,
    pub(super) bytes: f64,
}

/// Weighted sums of seconds per operation and per byte.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    weight: f64,
    per_flop: f64,
    per_byte: f64,
}

/// Rates that products achieved, overheads included.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    regimes: BTreeMap<Regime, Tally>,
    /// Of products of one row, per weight type.
    types: BTreeMap<DType, Tally>,
}

impl Rates {
    /// Adds a call that took so many seconds; anything but a product is left out.
    pub(super) fn add(&mut self, call: &Call, seconds: f64, weight: f64) {
        let Class::Product(dtype) = call.key.class else { return };
        self.regimes.entry(call.key.regime).or_default().add(call, seconds, weight);
        if call.key.regime == Regime::One {
            self.types.entry(dtype).or_default().add(call, seconds, weight);
        }
    }

    /// Of all products of a regime.
    pub(super) fn of_products(&self, regime: Regime) -> Option<Rate> {
        self.regimes.get(&regime)?.rate()
    }

    /// Of the products of one row with weights of a type.
    pub(super) fn of_type(&self, dtype: DType) -> Option<Rate> {
        self.types.get(&dtype)?.rate()
    }
}

impl Tally {
    fn add(&mut self, call: &Call, seconds: f64, weight: f64) {
        if call.flops > 0.0 && call.streamed > 0.0 {
            self.weight += weight;
            self.per_flop += weight * seconds / call.flops;
            self.per_byte += weight * seconds / call.streamed;
        }
    }

    /// The harmonic mean, weighted with the share of the phase:
    ///
    /// ```text
    /// sum w / sum (w t / amount)
    /// ```
    ///
    /// Unit: amount per second. Harmonic, since times add up, not rates.
    fn rate(&self) -> Option<Rate> {
        (self.per_flop > 0.0 && self.per_byte > 0.0)
            .then(|| Rate { flops: self.weight / self.per_flop, bytes: self.weight / self.per_byte })
    }
}
