//! Events over a stepped request, phase by phase, for the trace.

use traces::Nanos;

use meter::{Meter, Reading, Tally};

/// The most events of a track.
const MOST: usize = 16;

/// One phase's events.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrackPoint {
    /// When it began.
    pub start: Nanos,
    /// Events a second, in the order of the track's counters; what was not counted is no number.
    rates: [f64; MOST],
}

/// All phases' events; nothing where no event is counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tracks {
    places: Vec<(usize, &'static meter::Counter)>,
    points: Vec<TrackPoint>,
}

impl Tracks {
    /// For a request of so many phases at most; memory is taken now.
    pub(super) fn new(meter: &Meter, phases: usize) -> Self {
        let events = meter.counted().into_iter().filter(|(_, counter)| counter.source.is_event());
        let places: Vec<_> = events.take(MOST).collect();
        let points = Vec::with_capacity(if places.is_empty() { 0 } else { phases });
        Self { places, points }
    }

    /// Adds what lies between two readings.
    pub(super) fn add(&mut self, (start, end): (Nanos, Nanos), before: &Reading, after: &Reading) {
        if self.places.is_empty() || self.points.len() == self.points.capacity() {
            return;
        }
        let mut tally = Tally::default();
        tally.add(before, after);
        let seconds = end.saturating_sub(start).as_secs_f64();
        let mut point = TrackPoint { start, rates: [f64::NAN; MOST] };
        for (rate, &(place, counter)) in point.rates.iter_mut().zip(&self.places) {
            if let Ok(counted) = tally.value(place, counter)
                && seconds > 0.0
            {
                *rate = counted.value / seconds;
            }
        }
        self.points.push(point);
    }

    /// Every value of the tracks: when, the name of the track, events a second.
    pub fn values(&self) -> impl Iterator<Item = (Nanos, &'static str, f64)> + '_ {
        self.points.iter().flat_map(|point| {
            let named = self.places.iter().zip(point.rates).filter(|(_, rate)| rate.is_finite());
            named.map(|((_, counter), rate)| (point.start, counter.name, rate))
        })
    }
}
