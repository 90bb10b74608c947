//! The mock's settings: its machine, and what is to go wrong.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use traces::Nanos;

use super::NAME;
use crate::{EngineError, Phase};

/// What `--set mock.KEY=VALUE` can say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// Bytes per second that memory delivers.
    pub(super) bandwidth: f64,
    /// Floating-point operations per second.
    pub(super) flops: f64,
    /// Times vary by this share of themselves at most.
    pub(super) jitter: f64,
    /// Seed of the tokens and of the jitter.
    pub(super) seed: u64,
    /// Time that passes between the end of a phase and the beginning of the next.
    pub(super) gap: Nanos,
    /// The output token, counted from 1, that ends the generation.
    pub(super) eog_after: Option<usize>,
    /// What goes wrong, and when.
    pub(super) faults: Vec<Fault>,
}

/// Something that goes wrong in the `nth` run (counted from 1) of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) phase: Phase,
    pub(super) nth: usize,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// The phase ends with an error.
    Fail,
    /// The process aborts.
    Abort,
    /// The phase never ends.
    Hang,
    /// The phase allocates so many bytes, which stay until the session is reset.
    Allocate(usize),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bandwidth: 20e9,
            flops: 200e9,
            jitter: 0.01,
            seed: 1,
            gap: Nanos::ZERO,
            eog_after: None,
            faults: Vec::new(),
        }
    }
}

/// Every key, with its form.
const KEYS: [(&str, &str); 10] = [
    ("abort", "PHASE[:N]"),
    ("allocate_mb", "PHASE:MB"),
    ("bandwidth_gbs", "a number"),
    ("eog_after", "a count of tokens"),
    ("fail", "PHASE[:N]"),
    ("gap_us", "microseconds"),
    ("gflops", "a number"),
    ("hang", "PHASE[:N]"),
    ("jitter_percent", "a number"),
    ("seed", "a whole number"),
];

impl Settings {
    /// Reads the settings; keys that do not exist and values that cannot be are refused by name.
    pub(super) fn new(given: &BTreeMap<String, String>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in given {
            settings.set(key, value).ok_or_else(|| refused(key, value))?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "bandwidth_gbs" => self.bandwidth = positive(value)? * 1e9,
            "gflops" => self.flops = positive(value)? * 1e9,
            "jitter_percent" => self.jitter = number::<f64>(value).filter(|x| (0.0..=100.0).contains(x))? / 100.0,
            "seed" => self.seed = number(value)?,
            "gap_us" => self.gap = Nanos::from_micros(number(value)?),
            "eog_after" => self.eog_after = Some(number(value).filter(|nth| *nth > 0)?),
            "fail" => self.faults.push(fault(Kind::Fail, value)?),
            "abort" => self.faults.push(fault(Kind::Abort, value)?),
            "hang" => self.faults.push(fault(Kind::Hang, value)?),
            "allocate_mb" => {
                let (phase, megabytes) = value.split_once(':')?;
                let bytes = number::<usize>(megabytes)?.checked_mul(1_000_000)?;
                self.faults.push(fault(Kind::Allocate(bytes), phase)?);
            }
            _ => return None,
        }
        Some(())
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn positive(text: &str) -> Option<f64> {
    number(text).filter(|x: &f64| x.is_finite() && *x > 0.0)
}

/// `PHASE` or `PHASE:N`.
fn fault(kind: Kind, text: &str) -> Option<Fault> {
    let (phase, nth) = text.split_once(':').unwrap_or((text, "1"));
    let phase = Phase::ALL.into_iter().find(|known| known.name() == phase)?;
    Some(Fault { kind, phase, nth: number(nth).filter(|nth| *nth > 0)? })
}

fn refused(key: &str, value: &dyn Display) -> EngineError {
    let keys = || KEYS.iter().map(|(key, form)| format!("{key}={form}")).collect::<Vec<_>>().join(", ");
    let (what, instead) = match KEYS.iter().find(|(known, _)| *known == key) {
        Some((key, form)) => {
            (format!("the value `{value}` of `{key}`"), format!("give {form}; a PHASE is one of {}", phases()))
        }
        None => (format!("the setting `{key}`"), format!("its settings are {}", keys())),
    };
    EngineError::Unsupported { engine: NAME, what, instead }
}

fn phases() -> String {
    Phase::ALL.map(Phase::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, EngineError> {
        Settings::new(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn every_key_is_understood() {
        let example = |form: &str| match form {
            "PHASE[:N]" => "decode:5",
            "PHASE:MB" => "prefill:3",
            _ => "7",
        };
        for (key, form) in KEYS {
            let read = read(&[(key, example(form))]).unwrap_or_else(|error| panic!("{key}: {error}"));
            assert_ne!(read, Settings::default(), "{key} changes nothing");
        }
    }

    #[test]
    fn faults_name_a_phase_and_a_turn() {
        let faults = read(&[("fail", "decode:5"), ("abort", "prefill")]).unwrap().faults;
        assert_eq!(
            faults,
            [
                Fault { kind: Kind::Abort, phase: Phase::Prefill, nth: 1 },
                Fault { kind: Kind::Fail, phase: Phase::Decode, nth: 5 },
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        insta::assert_snapshot!(read(&[("gap", "1")]).unwrap_err(), @"engine mock does not support the setting `gap`; its settings are abort=PHASE[:N], allocate_mb=PHASE:MB, bandwidth_gbs=a number, eog_after=a count of tokens, fail=PHASE[:N], gap_us=microseconds, gflops=a number, hang=PHASE[:N], jitter_percent=a number, seed=a whole number");
        insta::assert_snapshot!(read(&[("fail", "warp")]).unwrap_err(), @"engine mock does not support the value `warp` of `fail`; give PHASE[:N]; a PHASE is one of load, tokenize, prefill, decode, sample, detokenize");
        assert!(
            read(&[("gflops", "-1")]).is_err()
                && read(&[("seed", "x")]).is_err()
                && read(&[("jitter_percent", "101")]).is_err()
        );
    }
}
