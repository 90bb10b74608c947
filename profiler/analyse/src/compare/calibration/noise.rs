//! The noise of a real machine, and more of the same kind.
//!
//! The recording is ten runs of candle and llama-cpp on one virtual machine with two processors (SmolLM2-135M Q4_1, 64 prompt
//! tokens, 32 decode steps, two threads), 25 interleaved rounds each, request by request in the order in which they ran. The
//! logarithm of each time, less the median of its run and engine, is taken as
//!
//! ```text
//! x_t = drift_t + burst_t + white_t
//! drift    AR(1): autocovariances c_1, c_2 of the requests outside of bursts give phi = c_2 / c_1 and variance c_1 / phi
//! burst    requests further than 3.5 robust standard deviations from the median, in runs: how often one begins, how long it lasts
//!          on average (geometric), how high it is (drawn from the recorded ones)
//! white    what remains of the variance c_0, with the recorded form: residuals drawn anew
//! ```

use std::collections::BTreeMap;

use rand::{Rng, RngCore};

use statistics::{mad, mean, median};

const RECORDED: &str = include_str!("recorded.csv");
/// Robust standard deviations.
const BURST: f64 = 3.5 * 1.4826;

/// Which time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    Prefill,
    Decode,
}

/// The fitted noise.
#[derive(Debug, Clone)]
pub(super) struct Noise {
    /// Correlation of the drift from request to request.
    pub(super) phi: f64,
    /// Its standard deviation.
    pub(super) drift: f64,
    /// Standard deviation of the rest.
    pub(super) white: f64,
    /// Residuals of variance 1.
    form: Vec<f64>,
    /// Chance that a burst begins at a request.
    pub(super) begins: f64,
    /// Chance that it goes on.
    pub(super) goes_on: f64,
    /// Heights of bursts.
    heights: Vec<f64>,
}

impl Noise {
    pub(super) fn fitted(time: Time) -> Self {
        let sessions = recorded(time);
        let all: Vec<f64> = sessions.concat();
        let (middle, usual) = (median(&all).unwrap(), mad(&all).unwrap());
        let is_burst = |x: f64| (x - middle).abs() > BURST * usual;
        let heights: Vec<f64> = all.iter().copied().filter(|x| is_burst(*x)).collect();
        let starts = sessions.iter().flat_map(|session| {
            (0..session.len()).filter(|&i| is_burst(session[i]) && (i == 0 || !is_burst(session[i - 1])))
        });
        let starts = starts.count() as f64;
        let calm: Vec<Vec<Option<f64>>> = sessions
            .iter()
            .map(|session| session.iter().map(|x| (!is_burst(*x)).then_some(x - middle)).collect())
            .collect();
        let covariance = |lag: usize| {
            let products = calm
                .iter()
                .flat_map(|session| (lag..session.len()).filter_map(move |i| Some(session[i]? * session[i - lag]?)));
            mean(&products.collect::<Vec<_>>()).unwrap()
        };
        let [c0, c1, c2] = [0, 1, 2].map(covariance);
        let phi = (c2 / c1).clamp(0.0, 0.99);
        let drift = (c1 / phi.max(0.1)).clamp(0.0, c0);
        let residuals: Vec<f64> = calm.iter().flatten().flatten().copied().collect();
        let scale = mean(&residuals.iter().map(|x| x * x).collect::<Vec<_>>()).unwrap().sqrt();
        Self {
            phi,
            drift: drift.sqrt(),
            white: (c0 - drift).sqrt(),
            form: residuals.iter().map(|x| x / scale).collect(),
            begins: starts / (all.len() - heights.len()).max(1) as f64,
            goes_on: 1.0 - starts / heights.len().max(1) as f64,
            heights,
        }
    }

    /// So many requests one after the other.
    pub(super) fn series(&self, requests: usize, random: &mut impl RngCore) -> Vec<f64> {
        let step = self.drift * (1.0 - self.phi * self.phi).sqrt();
        let mut drift = self.drift * normal(random);
        let mut burst = false;
        (0..requests)
            .map(|_| {
                drift = self.phi * drift + step * normal(random);
                burst = random.random::<f64>() < if burst { self.goes_on } else { self.begins };
                let height = if burst && !self.heights.is_empty() { drawn(&self.heights, random) } else { 0.0 };
                drift + height + self.white * drawn(&self.form, random)
            })
            .collect()
    }
}

fn drawn(values: &[f64], random: &mut impl RngCore) -> f64 {
    values[random.random_range(0..values.len())]
}

/// Box and Muller (1958).
fn normal(random: &mut impl RngCore) -> f64 {
    let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Logarithms of the times of each run in the order of its requests, less the median of the run and engine.
fn recorded(time: Time) -> Vec<Vec<f64>> {
    let mut rows: Vec<(usize, String, f64)> = Vec::new();
    for record in csv::Reader::from_reader(RECORDED.as_bytes()).records() {
        let record = record.unwrap();
        let column = match time {
            Time::Prefill => 4,
            Time::Decode => 5,
        };
        let seconds: f64 = record[column].parse().unwrap();
        rows.push((record[0].parse().unwrap(), record[1].to_owned(), seconds.ln()));
    }
    let mut groups: BTreeMap<(usize, String), Vec<f64>> = BTreeMap::new();
    for (session, engine, value) in &rows {
        groups.entry((*session, engine.clone())).or_default().push(*value);
    }
    let mut sessions: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (session, engine, value) in rows {
        let middle = median(&groups[&(session, engine)]).unwrap();
        sessions.entry(session).or_default().push(value - middle);
    }
    sessions.into_values().collect()
}

#[test]
fn the_recording_has_noise_of_every_kind() {
    for time in [Time::Prefill, Time::Decode] {
        let noise = Noise::fitted(time);
        assert!(noise.drift > 0.0 && noise.white > 0.0 && noise.phi > 0.0 && noise.begins > 0.0, "{noise:?}");
        assert!(noise.begins < 0.2 && noise.white < 0.3, "{noise:?}");
    }
}
