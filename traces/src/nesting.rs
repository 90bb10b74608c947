//! [`Lanes`]: the spans of a trace, per thread, and how they lie in one another.
//!
//! Shared by the checker and the summary. A file gives spans in any order; what encloses what follows from their times.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::chrome::{Phase, Record};

/// Numbers for texts that repeat.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Texts {
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    pub(crate) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map(AsRef::as_ref).unwrap_or_default()
    }
}

/// A span; small, since a trace has up to millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) duration: i64,
    pub(crate) line: u64,
    pub(crate) name: u32,
    pub(crate) category: u32,
}

impl Span {
    pub(crate) fn end(&self) -> i64 {
        self.start.saturating_add(self.duration)
    }
}

/// A `B` that has no `E` yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) start: i64,
    pub(crate) line: u64,
    pub(crate) name: u32,
    pub(crate) category: u32,
}

/// One thread's spans.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) pid: u64,
    pub(crate) tid: u64,
    pub(crate) spans: Vec<Span>,
    pub(crate) open: Vec<Open>,
    /// The last `B` or `E`: these must stand in order of time.
    last_edge: i64,
}

/// What can be wrong when a record joins its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// A duration below zero.
    Negative(i64),
    /// An `E` without a `B`.
    NothingOpen,
    /// An `E` that names another span than the one that is open (its name and line).
    OtherName(u32, u64),
    /// A `B` or `E` before the one in front of it, by so many nanoseconds.
    BackInTime(i64),
}

/// All threads of a trace.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) texts: Texts,
    pub(crate) lanes: Vec<Lane>,
    places: HashMap<(u64, u64), usize>,
    last: usize,
}

impl Lanes {
    /// Takes in a record: `X`, `B` and `E` with their ids and times; others, and what lacks these, do nothing.
    pub(crate) fn add(&mut self, record: &Record<'_>) -> Result<(), Misfit> {
        let (Some(pid), Some(tid), Some(start)) = (record.pid, record.tid, record.start) else { return Ok(()) };
        let start = start.nanos;
        if !matches!(record.phase, Phase::Complete | Phase::Begin | Phase::End) {
            return Ok(());
        }
        let (name, category) = (self.texts.number(&record.name), self.texts.number(&record.category));
        let lane = self.lane(pid, tid);
        let line = record.line;
        match record.phase {
            Phase::Complete => {
                let Some(duration) = record.duration else { return Ok(()) };
                lane.complete(Span { start, duration: duration.nanos, line, name, category })
            }
            Phase::Begin => {
                lane.open.push(Open { start, line, name, category });
                lane.edge(start)
            }
            _ => lane.close(start, (!record.name.is_empty()).then_some(name)),
        }
    }

    fn lane(&mut self, pid: u64, tid: u64) -> &mut Lane {
        // Records of one thread often follow each other.
        if self.lanes.get(self.last).is_none_or(|lane| (lane.pid, lane.tid) != (pid, tid)) {
            self.last = *self.places.entry((pid, tid)).or_insert_with(|| {
                self.lanes.push(Lane { pid, tid, last_edge: i64::MIN, ..Lane::default() });
                self.lanes.len() - 1
            });
        }
        &mut self.lanes[self.last]
    }
}

impl Lane {
    fn complete(&mut self, span: Span) -> Result<(), Misfit> {
        if span.duration < 0 {
            return Err(Misfit::Negative(span.duration));
        }
        self.spans.push(span);
        Ok(())
    }

    fn close(&mut self, end: i64, name: Option<u32>) -> Result<(), Misfit> {
        let Some(open) = self.open.pop() else { return Err(Misfit::NothingOpen) };
        let Open { start, line, name: opened, category } = open;
        self.complete(Span { start, duration: end.saturating_sub(start), line, name: opened, category })?;
        if let Some(name) = name
            && name != opened
        {
            return Err(Misfit::OtherName(opened, line));
        }
        self.edge(end)
    }

    fn edge(&mut self, time: i64) -> Result<(), Misfit> {
        let before = std::mem::replace(&mut self.last_edge, time);
        if time < before { Err(Misfit::BackInTime(before - time)) } else { Ok(()) }
    }
}

/// A span in its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) span: Span,
    /// How many spans enclose it.
    pub(crate) depth: usize,
    /// The one that encloses it directly.
    pub(crate) parent: Option<Span>,
    /// By how many nanoseconds it ends after its parent; 0 where it lies inside.
    pub(crate) excess: i64,
    /// Its time less that of its direct children, in nanoseconds.
    pub(crate) own: i64,
    /// The name of the nearest span around it of the category that was asked for.
    pub(crate) within: Option<u32>,
}

struct Frame {
    placed: Placed,
    end: i64,
    inside: Option<u32>,
}

/// Goes through one thread's spans; each is handed over when it ends, children before parents.
///
/// ```text
///   request  |--------------------------------------------|     own = whole - prefill - decode
///   prefill   |-------------------|                             own = whole - q_proj - k_proj
///   q_proj     |------|
///   k_proj             |-------|
///   decode                          |----------------|          excess > 0 where it would end behind `request`
///            ----------------------------------------------> time
/// ```
///
/// In order of their starts, the longer first, every span finds those around it on a stack: whatever ended before it began
/// is taken off. One that begins inside another and ends behind it is counted inside as far as it is, and reported by
/// `excess`. Of spans with equal times that of category `within` is the outer one, then the one written first.
pub(crate) fn walk(spans: &mut [Span], within: Option<u32>, mut visit: impl FnMut(Placed)) {
    spans.sort_unstable_by_key(|span| (span.start, Reverse(span.duration), Some(span.category) != within, span.line));
    let mut stack: Vec<Frame> = Vec::new();
    for &span in spans.iter() {
        while let Some(frame) = stack.pop_if(|frame| frame.end <= span.start) {
            visit(frame.placed);
        }
        let depth = stack.len();
        let mut placed = Placed { span, depth, parent: None, excess: 0, own: span.duration, within: None };
        if let Some(parent) = stack.last_mut() {
            placed.parent = Some(parent.placed.span);
            placed.excess = span.end().saturating_sub(parent.end).max(0);
            placed.within = parent.inside;
            parent.placed.own -= span.duration - placed.excess.min(span.duration);
        }
        let inside = if Some(span.category) == within { Some(span.name) } else { placed.within };
        stack.push(Frame { placed, end: span.end(), inside });
    }
    while let Some(frame) = stack.pop() {
        visit(frame.placed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: u32, start: i64, duration: i64) -> Span {
        Span { start, duration, line: u64::from(name), name, category: u32::from(name == 1) }
    }

    /// (name, depth, own, excess, within) in order of names.
    fn placed(mut spans: Vec<Span>) -> Vec<(u32, usize, i64, i64, Option<u32>)> {
        let mut all = Vec::new();
        walk(&mut spans, Some(1), |p| all.push((p.span.name, p.depth, p.own, p.excess, p.within)));
        all.sort_unstable();
        all
    }

    #[test]
    fn own_time_is_what_children_leave() {
        let spans = vec![span(3, 10, 5), span(0, 0, 100), span(2, 15, 20), span(1, 5, 40), span(4, 50, 50)];
        assert_eq!(
            placed(spans),
            [
                (0, 0, 10, 0, None),
                (1, 1, 15, 0, None),
                (2, 2, 20, 0, Some(1)),
                (3, 2, 5, 0, Some(1)),
                (4, 1, 50, 0, None)
            ]
        );
    }

    #[test]
    fn an_overlap_is_measured_and_counted_once() {
        assert_eq!(placed(vec![span(2, 0, 10), span(3, 6, 10)]), [(2, 0, 6, 0, None), (3, 1, 10, 6, None)]);
    }

    #[test]
    fn neighbours_that_touch_are_neighbours() {
        let spans = vec![span(2, 0, 10), span(3, 10, 0), span(4, 10, 5)];
        assert_eq!(placed(spans), [(2, 0, 10, 0, None), (3, 1, 0, 0, None), (4, 0, 5, 0, None)]);
    }

    #[test]
    fn of_equal_spans_the_phase_is_the_outer_one() {
        assert_eq!(placed(vec![span(0, 0, 9), span(1, 0, 9)]), [(0, 1, 9, 0, Some(1)), (1, 0, 0, 0, None)]);
    }
}
