//! [`Lanes`]: the spans of a trace, per thread.
//!
//! Shared by the checker, the summary and the comparison. A file gives spans in any order; what encloses what follows from
//! their times ([`nesting`](super::nesting)).

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::chrome::{Phase, Record};

/// The number of a text, from 1, so that none takes no room.
pub(crate) type Text = NonZeroU32;

/// Numbers for texts that repeat.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, Text>,
}

impl Texts {
    pub(crate) fn number(&mut self, text: &str) -> Text {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        self.texts.push(text.into());
        // Not 0 after a push; more than 2^32 texts do not fit into memory.
        let number = Text::new(self.texts.len() as u32).unwrap_or(Text::MAX);
        self.numbers.insert(text.into(), number);
        number
    }

    pub(crate) fn text(&self, number: Text) -> &str {
        self.texts.get(number.get() as usize - 1).map(AsRef::as_ref).unwrap_or_default()
    }
}

/// A span; small, since a trace has up to millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) duration: i64,
    pub(crate) line: u64,
    pub(crate) name: Text,
    pub(crate) category: Text,
    /// The pass of the request, where the span says one itself.
    pub(crate) pass: Option<Text>,
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
    pub(crate) name: Text,
    pub(crate) category: Text,
    pub(crate) pass: Option<Text>,
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
    OtherName(Text, u64),
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
        let pass = record.pass().map(|pass| self.texts.number(&pass));
        let lane = self.lane(pid, tid);
        let line = record.line;
        match record.phase {
            Phase::Complete => {
                let Some(duration) = record.duration else { return Ok(()) };
                lane.complete(Span { start, duration: duration.nanos, line, name, category, pass })
            }
            Phase::Begin => {
                lane.open.push(Open { start, line, name, category, pass });
                lane.edge(start)
            }
            _ => lane.close(start, (!record.name.is_empty()).then_some(name)),
        }
    }

    /// The lane of the record that was taken in last.
    pub(crate) fn current(&mut self) -> Option<(usize, &mut Lane)> {
        let place = self.last;
        self.lanes.get_mut(place).map(|lane| (place, lane))
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

    fn close(&mut self, end: i64, name: Option<Text>) -> Result<(), Misfit> {
        let Some(open) = self.open.pop() else { return Err(Misfit::NothingOpen) };
        let Open { start, line, name: opened, category, pass } = open;
        self.complete(Span { start, duration: end.saturating_sub(start), line, name: opened, category, pass })?;
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
