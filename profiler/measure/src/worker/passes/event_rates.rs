//! [`EventRates`]: event rates over a stepped request, phase by phase, for the trace.

use meter::{Meter, Reading, Tally};
use traces::Nanos;

/// The most events.
const MOST: usize = 16;

/// The rates of one phase.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct EventRatePoint {
    /// When it began.
    start: Nanos,
    /// Events per second, in the order of the counters; NaN if an event was not counted.
    rates: [f64; MOST],
}

/// The rates of all phases; empty if no event is counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct EventRates {
    /// The counters, each with its index in a reading.
    counters: Vec<(usize, &'static meter::Counter)>,
    points: Vec<EventRatePoint>,
}

impl EventRates {
    /// For a request of at most so many phases; memory is allocated now.
    pub(super) fn new(meter: &Meter, phases: usize) -> Self {
        let events = meter.counted().into_iter().filter(|(_, counter)| counter.source.is_event());
        let counters: Vec<_> = events.take(MOST).collect();
        let points = Vec::with_capacity(if counters.is_empty() { 0 } else { phases });
        Self { counters, points }
    }

    /// Adds the events between two readings.
    pub(super) fn add(&mut self, (start, end): (Nanos, Nanos), before: &Reading, after: &Reading) {
        if self.counters.is_empty() || self.points.len() == self.points.capacity() {
            return;
        }
        let mut tally = Tally::default();
        tally.add(before, after);
        let seconds = end.saturating_sub(start).as_secs_f64();
        let mut point = EventRatePoint { start, rates: [f64::NAN; MOST] };
        for (rate, &(index, counter)) in point.rates.iter_mut().zip(&self.counters) {
            if let Ok(counted) = tally.value(index, counter)
                && seconds > 0.0
            {
                *rate = counted.value / seconds;
            }
        }
        self.points.push(point);
    }

    /// Every value: the time, the name of the event, events per second.
    pub(crate) fn values(&self) -> impl Iterator<Item = (Nanos, &'static str, f64)> + '_ {
        self.points.iter().flat_map(|point| {
            let named = self.counters.iter().zip(point.rates).filter(|(_, rate)| rate.is_finite());
            named.map(|((_, counter), rate)| (point.start, counter.name, rate))
        })
    }
}
