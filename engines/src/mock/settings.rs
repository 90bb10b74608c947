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
    /// The machine that it pretends to be.
    pub(super) hardware: Hardware,
    /// Seed of the tokens and of the jitter.
    pub(super) seed: u64,
    /// Time that passes between the end of a phase and the beginning of the next.
    pub(super) gap: Nanos,
    /// The output token, counted from 1, that ends the generation.
    pub(super) eog_after: Option<usize>,
    /// Seconds that the tokenizer takes for a byte of text; `None` = what reading memory takes.
    pub(super) tokenize_s: Option<f64>,
    /// Seconds that the sampler takes for a token; `None` = what reading the logits takes.
    pub(super) sample_s: Option<f64>,
    /// The phase whose first run reads the file from storage.
    pub(super) cold: Option<Phase>,
    /// Page faults in each run of a phase.
    pub(super) page_faults: Vec<(Phase, u64)>,
    /// Allocations in each run of a phase.
    pub(super) allocations: Vec<(Phase, u64)>,
    /// Microseconds of waiting for something far away in each run of a phase.
    pub(super) waits_us: Vec<(Phase, u64)>,
    /// For which requests other programs have more of the processors.
    pub(super) spell: Option<Spell>,
    /// What goes wrong, and when.
    pub(super) faults: Vec<Fault>,
}

/// Requests of a session, counted from 1, during which other programs have so much more of the processors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spell {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) others: f64,
}

/// The virtual machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hardware {
    /// Bytes per second that memory delivers.
    pub(super) bandwidth: f64,
    /// Floating-point operations per second.
    pub(super) flops: f64,
    /// Bytes per second from storage.
    pub(super) storage: f64,
    /// Times vary by this share of themselves at most.
    pub(super) jitter: f64,
    /// Processors; `None` = one for each thread.
    pub(super) cores: Option<usize>,
    /// Seconds that each op takes besides its work.
    pub(super) dispatch_s: f64,
    /// Share of an op's time in which a thread waits for the others, mean over the threads.
    pub(super) imbalance: f64,
    /// Seconds that a page fault takes.
    pub(super) fault_s: f64,
    /// Seconds that an allocation takes.
    pub(super) allocation_s: f64,
    /// Share of the processors that other programs have.
    pub(super) others: f64,
    /// Share of the processors that the hypervisor takes away.
    pub(super) steal: f64,
    /// Hardware events that it counts at once; 0 = it has no counters.
    pub(super) registers: usize,
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
            spell: None,
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

/// Every key, with its form.
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
            "bandwidth_gbs" => self.hardware.bandwidth = positive(value)? * 1e9,
            "gflops" => self.hardware.flops = positive(value)? * 1e9,
            "storage_gbs" => self.hardware.storage = positive(value)? * 1e9,
            "jitter_percent" => {
                self.hardware.jitter = number::<f64>(value).filter(|x| (0.0..=100.0).contains(x))? / 100.0;
            }
            "cores" => self.hardware.cores = Some(number(value).filter(|cores| *cores > 0)?),
            "dispatch_us" => self.hardware.dispatch_s = positive(value)? / 1e6,
            "imbalance_percent" => self.hardware.imbalance = part(value)?,
            "fault_us" => self.hardware.fault_s = positive(value)? / 1e6,
            "allocation_us" => self.hardware.allocation_s = positive(value)? / 1e6,
            "others_percent" => self.hardware.others = part(value)?,
            "steal_percent" => self.hardware.steal = part(value)?,
            "registers" => self.hardware.registers = number(value)?,
            "tokenize_us" => self.tokenize_s = Some(positive(value)? / 1e6),
            "sample_us" => self.sample_s = Some(positive(value)? / 1e6),
            "cold" => self.cold = Some(phase(value).filter(|phase| matches!(phase, Phase::Load | Phase::Prefill))?),
            "page_faults" => self.page_faults.push(amount(value)?),
            "allocations" => self.allocations.push(amount(value)?),
            "wait_us" => self.waits_us.push(amount(value)?),
            "spell" => self.spell = Some(spell(value)?),
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

/// Percent, below the whole.
fn part(text: &str) -> Option<f64> {
    number::<f64>(text).filter(|percent| (0.0..100.0).contains(percent)).map(|percent| percent / 100.0)
}

fn phase(text: &str) -> Option<Phase> {
    Phase::ALL.into_iter().find(|known| known.name() == text)
}

/// `PHASE:COUNT`.
fn amount(text: &str) -> Option<(Phase, u64)> {
    let (name, count) = text.split_once(':')?;
    Some((phase(name)?, number(count)?))
}

/// `FIRST-LAST:PERCENT`.
fn spell(text: &str) -> Option<Spell> {
    let (requests, percent) = text.split_once(':')?;
    let (first, last) = requests.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (0 < first && first <= last).then_some(Spell { first, last, others: part(percent)? })
}

/// `PHASE` or `PHASE:N`.
fn fault(kind: Kind, text: &str) -> Option<Fault> {
    let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
    Some(Fault { kind, phase: phase(name)?, nth: number(nth).filter(|nth| *nth > 0)? })
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
        insta::assert_snapshot!(read(&[("gap", "1")]).unwrap_err(), @"engine mock does not support the setting `gap`; its settings are abort=PHASE[:N], allocate_mb=PHASE:MB, allocation_us=a number, allocations=PHASE:COUNT, bandwidth_gbs=a number, cold=load or prefill, cores=a count, dispatch_us=a number, eog_after=a count of tokens, fail=PHASE[:N], fault_us=a number, gap_us=microseconds, gflops=a number, hang=PHASE[:N], imbalance_percent=a number below 100, jitter_percent=a number, others_percent=a number below 100, page_faults=PHASE:COUNT, registers=a count, sample_us=a number, seed=a whole number, spell=FIRST-LAST:PERCENT of requests, steal_percent=a number below 100, storage_gbs=a number, tokenize_us=a number for each byte, wait_us=PHASE:COUNT");
        insta::assert_snapshot!(read(&[("fail", "warp")]).unwrap_err(), @"engine mock does not support the value `warp` of `fail`; give PHASE[:N]; a PHASE is one of load, tokenize, prefill, decode, sample, detokenize");
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
