//! [`summarise`]: where the time of a trace went, per name and phase, and per pass where requests say theirs.
//!
//! What is nested on one thread is attributed; times of different threads are added up, so that totals can exceed the wall
//! time. It says what was recorded, not why; attribution to layers and costs is the profiler's.

use std::collections::HashMap;

use serde::Serialize;

use crate::Nanos;
use crate::chrome::{ReadError, Trace};
use crate::lanes::Text;
use crate::nesting::{Kinds, Placed};
use crate::walk::each_span;

/// All spans of one name, in one category, inside one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The name.
    pub name: String,
    /// The category; empty where the file has none.
    pub category: String,
    /// The nearest phase around them on their thread; `None` outside all phases.
    pub phase: Option<String>,
    /// The pass of the request around them, where that says one.
    pub pass: Option<String>,
    /// How many.
    pub count: u64,
    /// The sum of their durations.
    pub total: Nanos,
    /// The sum of their durations less those of the spans directly inside them; a thread's part of shared work takes
    /// nothing from the op that it is a part of.
    pub own: Nanos,
    /// The shortest.
    pub min: Nanos,
    /// The longest.
    pub max: Nanos,
}

impl Row {
    /// Total over count.
    pub fn mean(&self) -> Nanos {
        self.total / self.count
    }
}

/// Where the time of a trace went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// By pass, within one most own time first.
    pub rows: Vec<Row>,
    /// From the first span's start to the last one's end.
    pub wall: Nanos,
    /// Threads and tracks with spans.
    pub threads: u64,
    /// Spans.
    pub spans: u64,
    /// Records that the recorder dropped, as the trace says: above zero, counts and totals are too small.
    pub dropped: u64,
    /// Spans that began and did not end, ends that nothing began, and negative durations: not counted.
    pub unpaired: u64,
    /// Places that hold no record.
    pub broken: u64,
}

/// Sums a trace up.
///
/// # Errors
/// When the file can no longer be read.
pub fn summarise(trace: &Trace) -> Result<Summary, ReadError> {
    let (found, walked) = each_span(trace, Found::add)?;
    let text = |number: Text| walked.texts.text(number).to_owned();
    let mut rows: Vec<Row> = found
        .sums
        .into_iter()
        .map(|(key, sums)| Row {
            name: text(key.name),
            category: text(key.category),
            phase: key.phase.map(text),
            pass: key.pass.map(text),
            count: sums.count,
            total: sums.total,
            own: sums.own,
            min: sums.min,
            max: sums.max,
        })
        .collect();
    let place = |row: &Row| (row.name.clone(), row.category.clone(), row.phase.clone());
    rows.sort_by(|a, b| a.pass.cmp(&b.pass).then(b.own.cmp(&a.own)).then_with(|| place(a).cmp(&place(b))));
    let wall = found.ends.map_or(0, |(first, last)| last.saturating_sub(first).max(0));
    Ok(Summary {
        rows,
        wall: Nanos(wall as u64),
        threads: walked.threads,
        spans: found.spans,
        dropped: walked.dropped,
        unpaired: walked.unpaired,
        broken: walked.broken,
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    name: Text,
    category: Text,
    phase: Option<Text>,
    pass: Option<Text>,
}

#[derive(Default)]
struct Found {
    sums: HashMap<Key, Sums>,
    spans: u64,
    ends: Option<(i64, i64)>,
}

impl Found {
    fn add(&mut self, placed: &Placed, _: Kinds) {
        let Placed { span, own, within, pass, .. } = *placed;
        self.spans += 1;
        let (first, last) = self.ends.unwrap_or((span.start, span.end()));
        self.ends = Some((first.min(span.start), last.max(span.end())));
        let key = Key { name: span.name, category: span.category, phase: within.phase, pass };
        self.sums.entry(key).or_default().add(span.duration, own);
    }
}

struct Sums {
    count: u64,
    total: Nanos,
    own: Nanos,
    min: Nanos,
    max: Nanos,
}

impl Default for Sums {
    fn default() -> Self {
        Self { count: 0, total: Nanos::ZERO, own: Nanos::ZERO, min: Nanos::MAX, max: Nanos::ZERO }
    }
}

impl Sums {
    /// Durations are not negative; own time can be where spans overlap, and is then none.
    fn add(&mut self, duration: i64, own: i64) {
        let duration = Nanos(duration.max(0) as u64);
        self.count += 1;
        self.total += duration;
        self.own += Nanos(own.max(0) as u64);
        self.min = self.min.min(duration);
        self.max = self.max.max(duration);
    }
}
