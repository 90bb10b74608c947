//! [`summarise`]: the time of a trace by name and phase, and by pass if requests have one.
//!
//! Nested spans of one thread are attributed to the enclosing phase. Times of different threads are added, so that totals can
//! exceed the wall time. The summary reports recorded times; the profiler attributes them to layers and costs.

use std::collections::HashMap;

use serde::Serialize;

use crate::Nanos;
use crate::chrome::{ReadError, Trace};
use crate::nesting::{CategoryIds, NestedSpan, visit_spans};
use crate::spans::StringId;

/// All spans with one name and one category inside one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The name.
    pub name: String,
    /// The category; empty if the file has none.
    pub category: String,
    /// The nearest enclosing phase on their thread; `None` outside all phases.
    pub phase: Option<String>,
    /// The pass of the enclosing request, if it has one.
    pub pass: Option<String>,
    /// The number of spans.
    pub count: u64,
    /// The sum of their durations.
    pub total: Nanos,
    /// The sum of their durations minus those of the spans directly inside them. A thread's share of an op is not subtracted
    /// from the op.
    pub own: Nanos,
    /// The shortest duration.
    pub min: Nanos,
    /// The longest duration.
    pub max: Nanos,
}

impl Row {
    /// The mean duration.
    pub fn mean(&self) -> Nanos {
        self.total / self.count
    }
}

/// The time of a trace by name and phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// By pass; within one pass the most own time first.
    pub rows: Vec<Row>,
    /// From the first start to the last end of a span.
    pub wall: Nanos,
    /// Threads and tracks with spans.
    pub threads: u64,
    /// Spans.
    pub spans: u64,
    /// Records that the recorder dropped; if it is above zero, counts and totals are too small.
    pub dropped: u64,
    /// Spans without an end, ends without a begin, and negative durations; they are not counted.
    pub unpaired: u64,
    /// Places without a record.
    pub broken: u64,
}

/// Summarises a trace.
///
/// # Errors
/// When the file can no longer be read.
pub fn summarise(trace: &Trace) -> Result<Summary, ReadError> {
    let (sums, totals) = visit_spans(trace, Sums::add)?;
    let text = |id: StringId| totals.strings.get(id).to_owned();
    let mut rows: Vec<Row> = sums
        .by_key
        .into_iter()
        .map(|(key, sum)| Row {
            name: text(key.name),
            category: text(key.category),
            phase: key.phase.map(text),
            pass: key.pass.map(text),
            count: sum.count,
            total: sum.total,
            own: sum.own,
            min: sum.min,
            max: sum.max,
        })
        .collect();
    let place = |row: &Row| (row.name.clone(), row.category.clone(), row.phase.clone());
    rows.sort_by(|a, b| a.pass.cmp(&b.pass).then(b.own.cmp(&a.own)).then_with(|| place(a).cmp(&place(b))));
    let wall = sums.ends.map_or(0, |(first, last)| last.saturating_sub(first).max(0));
    Ok(Summary {
        rows,
        wall: Nanos(wall as u64),
        threads: totals.threads,
        spans: sums.spans,
        dropped: totals.dropped,
        unpaired: totals.unpaired,
        broken: totals.broken,
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    name: StringId,
    category: StringId,
    phase: Option<StringId>,
    pass: Option<StringId>,
}

#[derive(Default)]
struct Sums {
    by_key: HashMap<Key, Sum>,
    spans: u64,
    /// The first start and the last end.
    ends: Option<(i64, i64)>,
}

impl Sums {
    fn add(&mut self, nested: &NestedSpan, _: CategoryIds) {
        let NestedSpan { span, own, enclosing, pass, .. } = *nested;
        self.spans += 1;
        let (first, last) = self.ends.unwrap_or((span.start, span.end()));
        self.ends = Some((first.min(span.start), last.max(span.end())));
        let key = Key { name: span.name, category: span.category, phase: enclosing.phase, pass };
        self.by_key.entry(key).or_default().add(span.duration, own);
    }
}

struct Sum {
    count: u64,
    total: Nanos,
    own: Nanos,
    min: Nanos,
    max: Nanos,
}

impl Default for Sum {
    fn default() -> Self {
        Self { count: 0, total: Nanos::ZERO, own: Nanos::ZERO, min: Nanos::MAX, max: Nanos::ZERO }
    }
}

impl Sum {
    /// Durations are not negative. Own time can be negative when spans overlap, and then counts as 0.
    fn add(&mut self, duration: i64, own: i64) {
        let duration = Nanos(duration.max(0) as u64);
        self.count += 1;
        self.total += duration;
        self.own += Nanos(own.max(0) as u64);
        self.min = self.min.min(duration);
        self.max = self.max.max(duration);
    }
}
