//! [`Rules`]: the rules about how records relate to each other, checked in one pass over the file and at its end.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Problem, Report, Severity, fields};
use crate::Nanos;
use crate::chrome::{Broken, Id, Phase, Record};
use crate::nesting::{CategoryIds, NestedSpan, nest};
use crate::spans::{PairingError, SpansByThread, StringTable, ThreadSpans};

/// Perfetto keeps 512 levels, 0 to 511, and shows deeper spans without an end.
const MAX_DEPTH: usize = 511;

#[derive(Default)]
pub(super) struct Rules {
    spans: SpansByThread,
    report: Report,
    /// The largest number of decimals of a time in this file: its resolution.
    decimals: u8,
    /// The last time of each counter, by process and name.
    counters: HashMap<(Id, String), i64>,
    named_processes: HashSet<Id>,
    named_threads: HashSet<(Id, Id)>,
    /// The first line of each process, and of each thread that has spans.
    processes: BTreeMap<Id, u64>,
    threads: BTreeMap<(Id, Id), u64>,
    others: BTreeMap<char, u64>,
    dropped: u64,
}

impl Rules {
    pub(super) fn broken(&mut self, broken: &Broken) {
        let place = format!("column {}", broken.column);
        self.put(Severity::Error, Some(broken.line), place, broken.text.clone());
    }

    pub(super) fn record(&mut self, record: &Record<'_>) {
        self.count(record);
        for (severity, field, text) in fields::findings(record) {
            self.put(severity, Some(record.line), format!("{}, `{field}`", place(record)), text);
        }
        self.ids(record);
        for time in [record.start, record.duration].into_iter().flatten() {
            self.decimals = self.decimals.max(time.decimals);
        }
        match record.phase {
            Phase::Counter => self.counter_order(record),
            Phase::Metadata => self.name(record),
            Phase::Instant => self.dropped += record.dropped(),
            Phase::Other(letter) => *self.others.entry(letter).or_default() += 1,
            _ => {}
        }
        if let Err(error) = self.spans.add(record) {
            let text = pairing_text(error, &self.spans.strings);
            self.put(Severity::Error, Some(record.line), place(record), text);
        }
    }

    /// Checks the rules that need the whole trace.
    pub(super) fn finish(mut self, closed: bool) -> Report {
        let mut spans = std::mem::take(&mut self.spans);
        // In a file with whole microseconds both start and duration are truncated: neighbours may seem to overlap by one.
        let tolerance = match self.decimals {
            0 => 1_000,
            1 => 100,
            2 => 10,
            3 => 0,
            _ => 1,
        };
        let categories = CategoryIds::new(&mut spans.strings);
        for thread in &mut spans.threads {
            self.nesting(thread, &spans.strings, categories, tolerance);
            self.open_spans(thread, &spans.strings, closed);
        }
        self.report.counts.processes = self.processes.len() as u64;
        self.report.counts.spans = spans.threads.iter().map(|thread| thread.spans.len() as u64).sum();
        self.report.counts.threads = spans.threads.iter().filter(|thread| !thread.spans.is_empty()).count() as u64;
        self.names();
        self.whole_file(closed);
        self.report.problems.sort_by_key(|problem| problem.line.unwrap_or(u64::MAX));
        self.report
    }

    fn put(&mut self, severity: Severity, line: Option<u64>, place: String, text: String) {
        self.report.problems.push(Problem { severity, line, place, text });
    }

    fn count(&mut self, record: &Record<'_>) {
        let counts = &mut self.report.counts;
        counts.records += 1;
        match record.phase {
            // Spans are counted at the end, when their pairs are known.
            Phase::Complete | Phase::Begin | Phase::End => {}
            Phase::Counter => counts.counters += 1,
            Phase::Instant => counts.instants += 1,
            Phase::Metadata => counts.metadata += 1,
            Phase::Other(_) | Phase::Unknown => counts.others += 1,
        }
    }

    /// Ids are not 0. Reported once per process and thread, at its first record. Traces of GPUs have processes that are device numbers,
    /// so a process 0 is only a warning.
    fn ids(&mut self, record: &Record<'_>) {
        let Some(pid) = &record.pid else { return };
        let is_0 = |id: &Id| *id == Id::Number(0);
        if record.phase != Phase::Metadata && first(&mut self.processes, pid, record.line) && is_0(pid) {
            let text = "is 0: viewers show it as the idle process";
            self.put(Severity::Warning, Some(record.line), format!("{}, `pid`", place(record)), text.to_owned());
        }
        let Some(tid) = &record.tid else { return };
        let spans = matches!(record.phase, Phase::Complete | Phase::Begin | Phase::End);
        if spans && first(&mut self.threads, &(pid.clone(), tid.clone()), record.line) && is_0(tid) {
            let text = "is 0: Perfetto merges such a thread with the process's main thread, and their spans overlap";
            self.put(Severity::Error, Some(record.line), format!("{}, `tid`", place(record)), text.to_owned());
        }
    }

    fn counter_order(&mut self, record: &Record<'_>) {
        let (Some(pid), Some(time)) = (&record.pid, record.start) else { return };
        let key = (pid.clone(), record.name.clone().into_owned());
        if let Some(before) = self.counters.insert(key, time.nanos)
            && time.nanos < before
        {
            let back = as_nanos(before - time.nanos);
            let text = format!("goes back in time: {back} before the previous sample in the file");
            self.put(Severity::Warning, Some(record.line), place(record), text);
        }
    }

    fn name(&mut self, record: &Record<'_>) {
        match (record.name.as_ref(), &record.pid, &record.tid) {
            ("process_name", Some(pid), _) => {
                self.named_processes.insert(pid.clone());
            }
            ("thread_name", Some(pid), Some(tid)) => {
                self.named_threads.insert((pid.clone(), tid.clone()));
            }
            _ => {}
        }
    }

    fn nesting(&mut self, thread: &mut ThreadSpans, strings: &StringTable, categories: CategoryIds, tolerance: i64) {
        let ids = format!("pid {} tid {}", thread.pid, thread.tid);
        let mut deepest: Option<NestedSpan> = None;
        nest(&mut thread.spans, categories, |nested| {
            if deepest.is_none_or(|deepest| nested.depth > deepest.depth) {
                deepest = Some(nested);
            }
            if let Some(parent) = nested.parent
                && nested.overhang > tolerance
            {
                let text = format!(
                    "overlaps {:?} of line {}: it begins inside and ends {} after it",
                    strings.get(parent.name),
                    parent.line,
                    as_nanos(nested.overhang)
                );
                let place = format!("{ids} {:?}", strings.get(nested.span.name));
                self.put(Severity::Error, Some(nested.span.line), place, text);
            }
        });
        let Some(deepest) = deepest else { return };
        self.report.counts.depth = self.report.counts.depth.max(deepest.depth as u64 + 1);
        if deepest.depth > MAX_DEPTH {
            let place = format!("{ids} {:?}", strings.get(deepest.span.name));
            let text =
                format!("is inside {} others: Perfetto drops the ends of spans deeper than {MAX_DEPTH}", deepest.depth);
            self.put(Severity::Warning, Some(deepest.span.line), place, text);
        }
    }

    /// Spans without an end: expected in a truncated file, an error in a finished one.
    fn open_spans(&mut self, thread: &ThreadSpans, strings: &StringTable, closed: bool) {
        let severity = if closed { Severity::Error } else { Severity::Warning };
        for open in &thread.open {
            let place = format!("pid {} tid {} {:?}", thread.pid, thread.tid, strings.get(open.name));
            self.put(severity, Some(open.line), place, "begins and never ends".to_owned());
        }
    }

    /// A process and a thread have names, of a record or as their id.
    fn names(&mut self) {
        let is_name = |id: &Id| matches!(id, Id::Text(_));
        for (pid, line) in self.processes.clone() {
            if !is_name(&pid) && !self.named_processes.contains(&pid) {
                let text = "has no name: a `process_name` record is missing";
                self.put(Severity::Warning, Some(line), format!("pid {pid}"), text.to_owned());
            }
        }
        for (thread, line) in self.threads.clone() {
            let (pid, tid) = &thread;
            if !is_name(tid) && !self.named_threads.contains(&thread) {
                let text = "has no name: a `thread_name` record is missing";
                self.put(Severity::Warning, Some(line), format!("pid {pid} tid {tid}"), text.to_owned());
            }
        }
    }

    fn whole_file(&mut self, closed: bool) {
        let mut texts = Vec::new();
        if !closed {
            texts.push(
                "its array is not closed: the writer was killed or is still running (viewers accept this)".to_owned(),
            );
        }
        if self.dropped > 0 {
            let dropped = self.dropped;
            texts.push(format!("{dropped} records were dropped by a full buffer: counts and totals are too small"));
        }
        if self.report.counts.spans == 0 {
            texts.push("has no span".to_owned());
        }
        for text in texts {
            self.put(Severity::Warning, None, "the file".to_owned(), text);
        }
        for (letter, count) in &self.others {
            let what = match letter {
                'b' | 'e' | 'n' | 'S' | 'T' | 'F' | 'p' => "async",
                's' | 't' | 'f' => "flow",
                'P' => "sample",
                'N' | 'O' | 'D' => "object",
                'V' | 'v' => "memory dump",
                _ => "other",
            };
            self.report.unchecked.push(format!("{count} {what} records (`ph` {letter:?}): only their fields' types"));
        }
    }
}

/// Stores the first line of a key; returns whether this is it.
fn first<K: Ord + Clone>(lines: &mut BTreeMap<K, u64>, key: &K, line: u64) -> bool {
    let is_new = !lines.contains_key(key);
    if is_new {
        lines.insert(key.clone(), line);
    }
    is_new
}

/// The record: its thread and name, if it has them.
fn place(record: &Record<'_>) -> String {
    let mut place = Vec::new();
    place.extend(record.pid.as_ref().map(|pid| format!("pid {pid}")));
    place.extend(record.tid.as_ref().map(|tid| format!("tid {tid}")));
    if !record.name.is_empty() {
        place.push(format!("{:?}", record.name));
    }
    if place.is_empty() { "the record".to_owned() } else { place.join(" ") }
}

fn pairing_text(error: PairingError, strings: &StringTable) -> String {
    match error {
        PairingError::NegativeDuration(nanos) => format!("ends {} before it begins", as_nanos(-nanos)),
        PairingError::NoOpenSpan => "ends a span, but none is open on this thread".to_owned(),
        PairingError::NameDiffers(name, line) => {
            format!("ends {:?}, which began in line {line}: the names must be the same", strings.get(name))
        }
        PairingError::OutOfOrder(nanos) => {
            format!("is {} before the previous `B` or `E` record: they must be in order of time", as_nanos(nanos))
        }
    }
}

fn as_nanos(nanos: i64) -> Nanos {
    Nanos(nanos.unsigned_abs())
}
