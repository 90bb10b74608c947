//! [`summarise`]: where the time of a trace went, per name and phase.
//!
//! What is nested on one thread is attributed; times of different threads are added up, so that totals can exceed the wall
//! time. It says what was recorded, not why; attribution to layers and costs is the profiler's.

use std::collections::HashMap;

use serde::Serialize;

use crate::Nanos;
use crate::chrome::{Item, ReadError, Trace};
use crate::nesting::{Lanes, walk};
use crate::record::Category;

/// All spans of one name, in one category, inside one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The name.
    pub name: String,
    /// The category; empty where the file has none.
    pub category: String,
    /// The nearest phase around them on their thread; `None` outside all phases.
    pub phase: Option<String>,
    /// How many.
    pub count: u64,
    /// The sum of their durations.
    pub total: Nanos,
    /// The sum of their durations less those of the spans directly inside them.
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
    /// Most own time first.
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
    let (mut lanes, mut summary) = (Lanes::default(), Summary::default());
    trace.visit(|item| match item {
        Item::Record(record) => {
            summary.unpaired += u64::from(lanes.add(&record).is_err());
            summary.dropped += record.dropped();
        }
        Item::Broken(_) => summary.broken += 1,
    })?;
    let phase = lanes.texts.number(Category::Phase.name());
    let mut sums: HashMap<(u32, u32, Option<u32>), Sums> = HashMap::new();
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    for lane in &mut lanes.lanes {
        summary.threads += u64::from(!lane.spans.is_empty());
        summary.spans += lane.spans.len() as u64;
        summary.unpaired += lane.open.len() as u64;
        walk(&mut lane.spans, Some(phase), |placed| {
            first = first.min(placed.span.start);
            last = last.max(placed.span.end());
            let key = (placed.span.name, placed.span.category, placed.within);
            sums.entry(key).or_default().add(placed.span.duration, placed.own);
        });
    }
    summary.wall = Nanos(last.saturating_sub(first).max(0) as u64);
    summary.rows = sums
        .into_iter()
        .map(|((name, category, phase), sums)| Row {
            name: lanes.texts.text(name).to_owned(),
            category: lanes.texts.text(category).to_owned(),
            phase: phase.map(|phase| lanes.texts.text(phase).to_owned()),
            count: sums.count,
            total: sums.total,
            own: sums.own,
            min: sums.min,
            max: sums.max,
        })
        .collect();
    summary.rows.sort_by(|a, b| b.own.cmp(&a.own).then_with(|| (&a.name, &a.phase).cmp(&(&b.name, &b.phase))));
    Ok(summary)
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
