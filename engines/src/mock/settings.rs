//! The mock's settings: its machine, and the faults to inject.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use redaction::Sensitive;
use traces::Nanos;

use super::NAME;
use crate::{EngineError, Phase};

/// The settings of this engine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// The simulated machine.
    pub(super) hardware: Hardware,
    /// Seed of tokens and jitter.
    pub(super) seed: u64,
    /// Time between the end of a phase and the start of the next.
    pub(super) gap: Nanos,
    /// The output token, counted from 1, that ends the generation.
    pub(super) eog_after: Option<usize>,
    /// Seconds of the tokenizer per byte of text; `None` = the time to read memory.
    pub(super) tokenize_s: Option<f64>,
    /// Seconds of the sampler per token; `None` = the time to read the logits.
    pub(super) sample_s: Option<f64>,
    /// The phase whose first run reads the file from storage.
    pub(super) cold: Option<Phase>,
    /// Page faults in each run of a phase.
    pub(super) page_faults: Vec<(Phase, u64)>,
    /// Allocations in each run of a phase.
    pub(super) allocations: Vec<(Phase, u64)>,
    /// Microseconds of waiting in each run of a phase.
    pub(super) waits_us: Vec<(Phase, u64)>,
    /// Additional load of other programs during some requests.
    pub(super) extra_load: Option<ExtraLoad>,
    /// Faults to inject.
    pub(super) faults: Vec<Fault>,
}

/// Additional load of other programs during the requests `first` to `last` of a session, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ExtraLoad {
    pub(super) first: usize,
    pub(super) last: usize,
    /// Share of the processors.
    pub(super) share: f64,
}

/// The simulated hardware.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hardware {
    /// Memory bandwidth in bytes per second.
    pub(super) bandwidth: f64,
    /// Floating-point operations per second.
    pub(super) flops: f64,
    /// Storage bandwidth in bytes per second.
    pub(super) storage: f64,
    /// Maximum relative variation of times.
    pub(super) jitter: f64,
    /// Processors; `None` = one for each thread.
    pub(super) cores: Option<usize>,
    /// Fixed seconds per op in addition to its work.
    pub(super) dispatch_s: f64,
    /// Mean share of an op's time in which a thread waits for the others.
    pub(super) imbalance: f64,
    /// Seconds per page fault.
    pub(super) fault_s: f64,
    /// Seconds per allocation.
    pub(super) allocation_s: f64,
    /// Share of the processors that other programs use.
    pub(super) others: f64,
    /// Share of the processors that the hypervisor takes away.
    pub(super) steal: f64,
    /// Number of hardware events that can be counted at once; 0 = no hardware counters.
    pub(super) registers: usize,
}

/// A fault in the `nth` run (counted from 1) of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) phase: Phase,
    pub(super) nth: usize,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// The phase ends with an error.
    Fail,
    /// The process aborts.
    Abort,
    /// The phase never ends.
    Hang,
    /// The phase allocates this many bytes until the session is reset.
    Allocate(usize),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hardware: Hardware::default(),
            seed: 1,
            gap: Nanos::ZERO,
            eog_after: None,
            tokenize_s: None,
            sample_s: None,
            cold: None,
            page_faults: Vec::new(),
            allocations: Vec::new(),
            waits_us: Vec::new(),
            extra_load: None,
            faults: Vec::new(),
        }
    }
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            bandwidth: 20e9,
            flops: 200e9,
            storage: 1e9,
            jitter: 0.01,
            cores: None,
            dispatch_s: 0.0,
            imbalance: 0.0,
            fault_s: 0.5e-6,
            allocation_s: 0.1e-6,
            others: 0.0,
            steal: 0.0,
            registers: 0,
        }
    }
}

/// Every key, with the form of its value.
const KEYS: [(&str, &str); 26] = [
    ("abort", "PHASE[:N]"),
    ("allocate_mb", "PHASE:MB"),
    ("allocation_us", "a number"),
    ("allocations", "PHASE:COUNT"),
    ("bandwidth_gbs", "a number"),
    ("cold", "load or prefill"),
    ("cores", "a count"),
    ("dispatch_us", "a number"),
    ("eog_after", "a count of tokens"),
    ("fail", "PHASE[:N]"),
    ("fault_us", "a number"),
    ("gap_us", "microseconds"),
    ("gflops", "a number"),
    ("hang", "PHASE[:N]"),
    ("imbalance_percent", "a number below 100"),
    ("jitter_percent", "a number"),
    ("others_percent", "a number below 100"),
    ("page_faults", "PHASE:COUNT"),
    ("registers", "a count"),
    ("sample_us", "a number"),
    ("seed", "a whole number"),
    ("spell", "FIRST-LAST:PERCENT of requests"),
    ("steal_percent", "a number below 100"),
    ("storage_gbs", "a number"),
    ("tokenize_us", "a number for each byte"),
    ("wait_us", "PHASE:COUNT"),
];

impl Settings {
    /// Parses the settings; unknown keys and invalid values are errors.
    pub(super) fn new(pairs: &BTreeMap<String, Sensitive>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        for (key, value) in pairs {
            settings.set(key, value.expose()).ok_or_else(|| refused(key, value))?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "bandwidth_gbs" => self.hardware.bandwidth = positive(value)? * 1e9,
            "gflops" => self.hardware.flops = positive(value)? * 1e9,
            "storage_gbs" => self.hardware.storage = positive(value)? * 1e9,
            "jitter_percent" => {
                self.hardware.jitter = number::<f64>(value).filter(|x| (0.0..=100.0).contains(x))? / 100.0;
            }
            "cores" => self.hardware.cores = Some(number(value).filter(|cores| *cores > 0)?),
            "dispatch_us" => self.hardware.dispatch_s = positive(value)? / 1e6,
            "imbalance_percent" => self.hardware.imbalance = share(value)?,
            "fault_us" => self.hardware.fault_s = positive(value)? / 1e6,
            "allocation_us" => self.hardware.allocation_s = positive(value)? / 1e6,
            "others_percent" => self.hardware.others = share(value)?,
            "steal_percent" => self.hardware.steal = share(value)?,
            "registers" => self.hardware.registers = number(value)?,
            "tokenize_us" => self.tokenize_s = Some(positive(value)? / 1e6),
            "sample_us" => self.sample_s = Some(positive(value)? / 1e6),
            "cold" => {
                self.cold =
                    Some(Phase::from_name(value).filter(|phase| matches!(phase, Phase::Load | Phase::Prefill))?);
            }
            "page_faults" => self.page_faults.push(amount(value)?),
            "allocations" => self.allocations.push(amount(value)?),
            "wait_us" => self.waits_us.push(amount(value)?),
            "spell" => self.extra_load = Some(extra_load(value)?),
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

/// A percentage below 100, as a share.
fn share(text: &str) -> Option<f64> {
    number::<f64>(text).filter(|percent| (0.0..100.0).contains(percent)).map(|percent| percent / 100.0)
}

/// `PHASE:COUNT`.
fn amount(text: &str) -> Option<(Phase, u64)> {
    let (name, count) = text.split_once(':')?;
    Some((Phase::from_name(name)?, number(count)?))
}

/// `FIRST-LAST:PERCENT`.
fn extra_load(text: &str) -> Option<ExtraLoad> {
    let (requests, percent) = text.split_once(':')?;
    let (first, last) = requests.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (0 < first && first <= last).then_some(ExtraLoad { first, last, share: share(percent)? })
}

/// `PHASE` or `PHASE:N`.
fn fault(kind: Kind, text: &str) -> Option<Fault> {
    let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
    Some(Fault { kind, phase: Phase::from_name(name)?, nth: number(nth).filter(|nth| *nth > 0)? })
}

fn refused(key: &str, value: &dyn Display) -> EngineError {
    let keys = || KEYS.iter().map(|(key, form)| format!("{key}={form}")).collect::<Vec<_>>().join(", ");
    let (what, advice) = match KEYS.iter().find(|(known, _)| *known == key) {
        Some((key, form)) => {
            let phases = || format!(", where PHASE is one of {}", Phase::ALL.map(Phase::name).join(", "));
            let phases = if form.contains("PHASE") { phases() } else { String::new() };
            (format!("the value `{value}` of `{key}`"), format!("give {form}{phases}"))
        }
        None => (format!("the setting `{key}`"), format!("its settings are {}", keys())),
    };
    EngineError::unsupported(NAME, what, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, EngineError> {
        Settings::new(&pairs.iter().map(|(key, value)| ((*key).to_owned(), Sensitive::setting(key, value))).collect())
    }

    #[test]
    fn every_key_is_understood() {
        let example = |form: &str| match form {
            "PHASE[:N]" => "decode:5",
            "PHASE:MB" | "PHASE:COUNT" => "prefill:3",
            "load or prefill" => "load",
            "FIRST-LAST:PERCENT of requests" => "3-4:50",
            _ => "7",
        };
        for (key, form) in KEYS {
            let read = read(&[(key, example(form))]).unwrap_or_else(|error| panic!("{key}: {error}"));
            assert_ne!(read, Settings::default(), "{key} changes nothing");
        }
    }

    #[test]
    fn faults_name_a_phase_and_a_run() {
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
    fn unknown_keys_and_invalid_values_are_refused_by_name() {
        insta::assert_snapshot!(read(&[("gap", "1")]).unwrap_err().with_advice(), @"engine mock does not support the setting `gap`; its settings are abort=PHASE[:N], allocate_mb=PHASE:MB, allocation_us=a number, allocations=PHASE:COUNT, bandwidth_gbs=a number, cold=load or prefill, cores=a count, dispatch_us=a number, eog_after=a count of tokens, fail=PHASE[:N], fault_us=a number, gap_us=microseconds, gflops=a number, hang=PHASE[:N], imbalance_percent=a number below 100, jitter_percent=a number, others_percent=a number below 100, page_faults=PHASE:COUNT, registers=a count, sample_us=a number, seed=a whole number, spell=FIRST-LAST:PERCENT of requests, steal_percent=a number below 100, storage_gbs=a number, tokenize_us=a number for each byte, wait_us=PHASE:COUNT");
        insta::assert_snapshot!(read(&[("fail", "warp")]).unwrap_err().with_advice(), @"engine mock does not support the value `warp` of `fail`; give PHASE[:N], where PHASE is one of load, tokenize, prefill, decode, sample, detokenize");
        assert!(
            read(&[("gflops", "-1")]).is_err()
                && read(&[("others_percent", "100")]).is_err()
                && read(&[("cold", "decode")]).is_err()
                && read(&[("spell", "3-2:50")]).is_err()
                && read(&[("seed", "x")]).is_err()
                && read(&[("jitter_percent", "101")]).is_err()
        );
    }
}
