//! Calibration of the intervals: thousands of simulated comparisons with the noise of a real machine, with the same order of requests
//! and the same statistics as real ones.
//!
//! An experiment compares two sides with five prompts and some rounds. The time of a request is the constant of its prompt times the
//! noise at that time, and the other side has a known slow-down. The seeds of the experiments count from 0, so that they are not
//! selected.

mod experiment;
mod noise;

use experiment::{Experiment, Verdict};
use noise::{Noise, Time};

/// Experiments of each kind.
const EXPERIMENTS: u64 = 2000;

/// Counts what became of experiments with the seeds 0, 1, 2, ...
fn tally(experiment: &Experiment<'_>) -> Vec<Verdict> {
    (0..EXPERIMENTS).map(|seed| experiment.run(seed)).collect()
}

/// Share of those that fulfil a condition.
fn share(verdicts: &[Verdict], of: impl Fn(&Verdict) -> bool) -> f64 {
    verdicts.iter().filter(|verdict| of(verdict)).count() as f64 / verdicts.len() as f64
}

/// Wilson's 95 % interval of a share ("Probable inference", Journal of the American Statistical Association 22, 1927).
fn wilson(share: f64, n: f64) -> (f64, f64) {
    let z = 1.959_964_f64;
    let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    (middle - half, middle + half)
}

#[test]
fn an_engine_against_itself_is_rarely_called_different() {
    for time in [Time::Decode, Time::Prefill] {
        let noise = Noise::fitted(time);
        for rounds in [5, 20] {
            let verdicts = tally(&Experiment { noise: &noise, rounds, slower: 1.0, interleaved: true, drift: 0.0 });
            let alarms = share(&verdicts, |verdict| verdict.is_difference);
            let (low, high) = wilson(alarms, verdicts.len() as f64);
            assert!(alarms <= 0.06 && high >= 0.05, "{time:?}, {rounds} rounds: {alarms} [{low}, {high}]");
        }
    }
}

/// Rounds that make a comparison precise enough for a slow-down, by the noise: more for a smaller one.
fn rounds_for(noise: &Noise, slower: f64) -> usize {
    let pilot = tally_precision(noise, 5);
    let wanted = slower.ln();
    // Half of the experiments would cover it; a fifth more rounds let most of them.
    (5.0 * (pilot.ln_1p() / wanted).powi(2) * 1.2).ceil() as usize
}

/// The median precision of a hundred experiments.
fn tally_precision(noise: &Noise, rounds: usize) -> f64 {
    let experiment = Experiment { noise, rounds, slower: 1.0, interleaved: true, drift: 0.0 };
    let found: Vec<f64> = (0..100).map(|seed| experiment.run(seed).detectable).collect();
    statistics::median(&found).unwrap()
}

#[test]
fn planted_slow_downs_are_found_and_covered() {
    let noise = Noise::fitted(Time::Decode);
    for percent in [2.0, 5.0, 10.0] {
        let slower = 1.0 + percent / 100.0;
        let rounds = rounds_for(&noise, slower);
        let verdicts = tally(&Experiment { noise: &noise, rounds, slower, interleaved: true, drift: 0.0 });
        // A rate that is slower by this factor differs by less: 1 - 1 / factor.
        let difference = 1.0 - 1.0 / slower;
        let precise: Vec<Verdict> =
            verdicts.iter().copied().filter(|verdict| verdict.detectable <= difference).collect();
        let found = share(&precise, |verdict| verdict.is_difference && verdict.ratio < 1.0);
        let covered = share(&verdicts, |verdict| verdict.covers(1.0 / slower));
        assert!(precise.len() > verdicts.len() / 4, "{percent} %: only {} are precise enough", precise.len());
        assert!(found >= 0.90, "{percent} %: found in {found}");
        assert!(covered >= 0.93, "{percent} %: covered in {covered}");
    }
}

#[test]
fn interleaving_cancels_a_load_that_grows() {
    // Over the whole run the machine becomes slower by half, for both sides.
    let noise = Noise::fitted(Time::Decode);
    let of = |interleaved| tally(&Experiment { noise: &noise, rounds: 10, slower: 1.0, interleaved, drift: 0.5 });
    let covered = |interleaved| share(&of(interleaved), |verdict| verdict.covers(1.0));
    let (paired, sequential) = (covered(true), covered(false));
    assert!(paired >= 0.93, "{paired}");
    assert!(sequential < 0.05, "{sequential}");
}
