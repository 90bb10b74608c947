//! [`diff`]: the ops whose times differ between two recordings by more than their calls vary, per phase.
//!
//! Per phase and op, from the spans of category `op`, in the passes that have such spans:
//!
//! ```text
//!   unit       one occurrence of the phase: a request for prefill, a token for decode
//!   per unit   sum of the op's durations / occurrences of the phase                       [ns]
//!   ratio      per unit in B / per unit in A
//!   quartiles  of the durations of its calls, between order statistics (type 7 of Hyndman and Fan, 1996)
//! ```
//!
//! An op has *changed* when its time per unit differs by more than 5 % of itself and by more than 1 % of its phase, and the
//! median call of B is outside of A's interquartile range or the reverse. (A few slow calls change a sum, but not a median.)
//! Instead of the medians, a number of calls per unit that differs by more than 5 % is enough. An op that only one recording
//! has is changed when it takes more than 1 % of the phase. The diff gives neither a reason nor a confidence: that needs
//! several runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::chrome::{ReadError, Trace};
use crate::nesting::{CategoryIds, NestedSpan, visit_spans};
use crate::spans::{StringId, StringTable};

/// A changed op differs by more than this share of itself.
const MIN_SHARE_OF_OP: f64 = 0.05;
/// A changed op differs by more than this share of its phase.
const MIN_SHARE_OF_PHASE: f64 = 0.01;

/// The calls of one op in one phase of one recording; times in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Calls {
    /// The number of calls.
    pub count: u64,
    /// The sum of their durations.
    pub total_ns: f64,
    /// The sum divided by the occurrences of the phase.
    pub per_unit_ns: f64,
    /// The share of the phase.
    pub share: f64,
    /// The lower quartile of the durations.
    pub q1_ns: f64,
    /// The median of the durations.
    pub median_ns: f64,
    /// The upper quartile of the durations.
    pub q3_ns: f64,
}

/// An op in one phase of both recordings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpDiff {
    /// Its name.
    pub op: String,
    /// In the first recording.
    pub a: Option<Calls>,
    /// In the second recording.
    pub b: Option<Calls>,
    /// Per unit, second minus first; an absent op takes no time.
    pub delta_ns: f64,
    /// Per unit, second divided by first.
    pub ratio: Option<f64>,
    /// Whether it differs by more than its calls vary.
    pub changed: bool,
}

/// A phase in one recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Occurrences {
    /// The number of occurrences.
    pub count: u64,
    /// The mean duration, in nanoseconds.
    pub mean_ns: f64,
}

/// A phase of both recordings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseDiff {
    /// Its name.
    pub phase: String,
    /// In the first recording.
    pub a: Occurrences,
    /// In the second recording.
    pub b: Occurrences,
    /// The largest change first.
    pub ops: Vec<OpDiff>,
}

/// The comparison of two recordings.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Phases with ops, in the order of a request.
    pub phases: Vec<PhaseDiff>,
    /// Records that each recording dropped; if it is above 0, the sums are too small.
    pub dropped: [u64; 2],
    /// The cases of each recording's requests (`ENGINE/MODEL/PROMPT/tTHREADS/dDEPTH`), sorted; none in traces of other programs.
    pub cases: [Vec<String>; 2],
}

impl Diff {
    /// In what the work of the recordings differs; empty where it is the same, or where a recording does not name its cases. Differences
    /// of operations are then also differences of the work.
    #[must_use]
    pub fn work_differs_in(&self) -> Vec<WorkDifference> {
        let [a, b] = &self.cases;
        if a == b || a.is_empty() || b.is_empty() {
            return Vec::new();
        }
        let all =
            |cases: &[String]| -> Option<Vec<[String; PARTS.len()]>> { cases.iter().map(|case| parts(case)).collect() };
        let Some((all_a, all_b)) = all(a).zip(all(b)) else {
            return vec![WorkDifference { what: "cases", a: a.clone(), b: b.clone() }];
        };
        let values = |all: &[[String; PARTS.len()]], place: usize| -> Vec<String> {
            let distinct: BTreeSet<&String> = all.iter().map(|parts| &parts[place]).collect();
            distinct.into_iter().cloned().collect()
        };
        let of = |(place, what): (usize, &'static str)| WorkDifference {
            what,
            a: values(&all_a, place),
            b: values(&all_b, place),
        };
        let found: Vec<WorkDifference> =
            PARTS.into_iter().enumerate().map(of).filter(|found| found.a != found.b).collect();
        // Each property has the same values, in other combinations.
        if found.is_empty() { vec![WorkDifference { what: "cases", a: a.clone(), b: b.clone() }] } else { found }
    }
}

/// What the cases of two recordings have otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkDifference {
    /// `engine`, `model`, `prompt`, `threads`, `depth`, or `cases` where their names have another form.
    pub what: &'static str,
    /// Its values in the first recording.
    pub a: Vec<String>,
    /// In the second.
    pub b: Vec<String>,
}

/// The parts of a case's name.
const PARTS: [&str; 5] = ["engine", "model", "prompt", "threads", "depth"];

/// The parts of a case's name; `None` where it has another form. A slash belongs to the model.
fn parts(case: &str) -> Option<[String; PARTS.len()]> {
    let (engine, rest) = case.split_once('/')?;
    let mut last = rest.rsplitn(4, '/');
    let (depth, threads, prompt, model) = (last.next()?, last.next()?, last.next()?, last.next()?);
    let number =
        |text: &str, letter: char| text.strip_prefix(letter).filter(|rest| rest.parse::<u64>().is_ok()).is_some();
    (number(threads, 't') && number(depth, 'd'))
        .then(|| [engine, model, prompt, &threads[1..], &depth[1..]].map(str::to_owned))
}

/// Compares the ops of two recordings, each of one or more files.
///
/// # Errors
/// When a file can no longer be read.
pub fn diff(a: &[Trace], b: &[Trace]) -> Result<Diff, ReadError> {
    let (a, b) = (Recording::read(a)?, Recording::read(b)?);
    let mut names: Vec<&str> = a.phases.keys().chain(b.phases.keys()).map(String::as_str).collect();
    names.sort_by_key(|name| (rank(name), *name));
    names.dedup();
    let none = PhaseCalls::default();
    let of = |recording: &'_ Recording, name: &str| recording.phases.get(name).cloned();
    let phases = names.into_iter().map(|name| {
        let (a, b) = (of(&a, name).unwrap_or(none.clone()), of(&b, name).unwrap_or(none.clone()));
        compare(name, &a, &b)
    });
    let phases = phases.filter(|phase| !phase.ops.is_empty()).collect();
    Ok(Diff {
        phases,
        dropped: [a.dropped, b.dropped],
        cases: [a.cases, b.cases].map(|cases| cases.into_iter().collect()),
    })
}

/// The order of the phases of a request; other phases come after them.
fn rank(phase: &str) -> usize {
    const ORDER: [&str; 6] = ["load", "tokenize", "prefill", "decode", "sample", "detokenize"];
    ORDER.iter().position(|known| *known == phase).unwrap_or(ORDER.len())
}

fn compare(name: &str, a: &PhaseCalls, b: &PhaseCalls) -> PhaseDiff {
    let mut names: Vec<&String> = a.ops.keys().chain(b.ops.keys()).collect();
    names.sort();
    names.dedup();
    let (a_phase, b_phase) = (a.occurrences(), b.occurrences());
    let phase_ns = if a_phase.count > 0 { a_phase.mean_ns } else { b_phase.mean_ns };
    let mut ops: Vec<OpDiff> = names
        .into_iter()
        .map(|op| op_diff(op, a.calls(op), b.calls(op), [a_phase.count, b_phase.count], phase_ns))
        .collect();
    ops.sort_by(|x, y| y.delta_ns.abs().total_cmp(&x.delta_ns.abs()).then_with(|| x.op.cmp(&y.op)));
    PhaseDiff { phase: name.to_owned(), a: a_phase, b: b_phase, ops }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn op_diff(op: &str, a: Option<Calls>, b: Option<Calls>, units: [u64; 2], phase_ns: f64) -> OpDiff {
    let per_unit = |calls: Option<Calls>| calls.map_or(0.0, |calls| calls.per_unit_ns);
    let delta_ns = per_unit(b) - per_unit(a);
    let matters_in_phase = delta_ns.abs() > MIN_SHARE_OF_PHASE * phase_ns;
    let changed = match (a, b) {
        (Some(a), Some(b)) => {
            let rate = |calls: Calls, unit: u64| calls.count as f64 / unit.max(1) as f64;
            let (rate_a, rate_b) = (rate(a, units[0]), rate(b, units[1]));
            let outside = |median: f64, other: Calls| median < other.q1_ns || median > other.q3_ns;
            let median_differs = outside(b.median_ns, a) || outside(a.median_ns, b);
            let rate_differs = (rate_b - rate_a).abs() > MIN_SHARE_OF_OP * rate_a;
            let differs = delta_ns.abs() > MIN_SHARE_OF_OP * a.per_unit_ns;
            differs && matters_in_phase && (median_differs || rate_differs)
        }
        // If one recording does not have the phase at all, there is nothing to compare.
        _ => matters_in_phase && units.iter().all(|&count| count > 0),
    };
    let ratio = a.zip(b).filter(|(a, _)| a.per_unit_ns > 0.0).map(|(a, b)| b.per_unit_ns / a.per_unit_ns);
    OpDiff { op: op.to_owned(), a, b, delta_ns, ratio, changed }
}

/// A phase of one recording: the time of its occurrences, and the durations of its ops' calls.
#[derive(Debug, Clone, Default)]
struct PhaseCalls {
    count: u64,
    total_ns: f64,
    ops: BTreeMap<String, Vec<u32>>,
}

impl PhaseCalls {
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn occurrences(&self) -> Occurrences {
        Occurrences { count: self.count, mean_ns: self.total_ns / self.count.max(1) as f64 }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn calls(&self, op: &str) -> Option<Calls> {
        let durations = self.ops.get(op)?;
        let total_ns: f64 = durations.iter().map(|&duration| f64::from(duration)).sum();
        Some(Calls {
            count: durations.len() as u64,
            total_ns,
            per_unit_ns: total_ns / self.count.max(1) as f64,
            share: if self.total_ns > 0.0 { total_ns / self.total_ns } else { 0.0 },
            q1_ns: quantile(durations, 0.25),
            median_ns: quantile(durations, 0.5),
            q3_ns: quantile(durations, 0.75),
        })
    }
}

/// The quantile of sorted durations.
#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn quantile(sorted: &[u32], share: f64) -> f64 {
    let place = (sorted.len().saturating_sub(1)) as f64 * share;
    let at = |index: f64| sorted.get(index as usize).copied().map_or(0.0, f64::from);
    at(place.floor()) + (at(place.ceil()) - at(place.floor())) * place.fract()
}

/// The phases of one recording.
#[derive(Debug, Default)]
struct Recording {
    phases: HashMap<String, PhaseCalls>,
    dropped: u64,
    cases: BTreeSet<String>,
}

/// The durations in one file by pass, phase and name; four bytes per call.
#[derive(Default)]
struct Durations {
    phases: HashMap<(Option<StringId>, StringId), (u64, f64)>,
    ops: HashMap<(Option<StringId>, Option<StringId>, StringId), Vec<u32>>,
}

impl Recording {
    fn read(traces: &[Trace]) -> Result<Self, ReadError> {
        let mut all = Self::default();
        for trace in traces {
            let (durations, totals) = visit_spans(trace, Durations::add)?;
            all.dropped += totals.dropped;
            all.cases.extend(totals.cases.iter().cloned());
            all.add(durations, &totals.strings);
        }
        for calls in all.phases.values_mut() {
            calls.ops.values_mut().for_each(|durations| durations.sort_unstable());
        }
        Ok(all)
    }

    /// Adds a file: the phases of its passes that have ops.
    fn add(&mut self, found: Durations, strings: &StringTable) {
        let with_ops = |pass: Option<StringId>| found.ops.keys().any(|(known, ..)| *known == pass);
        for (&(pass, phase), &(count, total_ns)) in &found.phases {
            if with_ops(pass) {
                let calls = self.phases.entry(strings.get(phase).to_owned()).or_default();
                calls.count += count;
                calls.total_ns += total_ns;
            }
        }
        for ((_, phase, name), durations) in found.ops {
            let Some(phase) = phase else { continue };
            let calls = self.phases.entry(strings.get(phase).to_owned()).or_default();
            calls.ops.entry(strings.get(name).to_owned()).or_default().extend(durations);
        }
    }
}

impl Durations {
    fn add(&mut self, nested: &NestedSpan, categories: CategoryIds) {
        let NestedSpan { span, enclosing, pass, .. } = *nested;
        if span.category == categories.phase {
            let sum = self.phases.entry((pass, span.name)).or_default();
            *sum = (sum.0 + 1, sum.1 + span.duration as f64);
        } else if span.category == categories.op {
            let duration = u32::try_from(span.duration).unwrap_or(u32::MAX);
            self.ops.entry((pass, enclosing.phase, span.name)).or_default().push(duration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(a: &[&str], b: &[&str]) -> Vec<(&'static str, String, String)> {
        let cases = [a, b].map(|cases| cases.iter().map(|case| (*case).to_owned()).collect());
        let found = Diff { cases, ..Diff::default() }.work_differs_in();
        found.into_iter().map(|found| (found.what, found.a.join(" "), found.b.join(" "))).collect()
    }

    #[test]
    fn other_work_is_named_by_its_properties() {
        let owned = |what, a: &str, b: &str| (what, a.to_owned(), b.to_owned());
        assert_eq!(differs(&["candle/m/p/t2/d0"], &["candle/m/p/t2/d0"]), []);
        assert_eq!(
            differs(&["candle/m/p/t2/d0"], &["llama-cpp/m/p/t4/d0"]),
            [owned("engine", "candle", "llama-cpp"), owned("threads", "2", "4")]
        );
        assert_eq!(
            differs(&["e/o/r/p/t1/d0", "e/o/r/q/t1/d0"], &["e/m/p/t1/d512"]),
            [owned("model", "o/r", "m"), owned("prompt", "p q", "p"), owned("depth", "0", "512")]
        );
        // The same values in other pairs.
        assert_eq!(differs(&["a/m/p/t1/d0", "b/m/q/t1/d0"], &["a/m/q/t1/d0", "b/m/p/t1/d0"])[0].0, "cases");
        assert_eq!(differs(&["mine"], &["yours"]), [owned("cases", "mine", "yours")]);
        assert_eq!(differs(&[], &["e/m/p/t1/d0"]), [], "a trace of another program");
    }
}
