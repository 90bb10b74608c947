//! [`ThreadSpans`]: the spans of a trace, by thread.
//!
//! The check, the summary and the diff use it. A file may have spans in any order; [`nesting`](super::nesting) derives from
//! their times which span encloses which.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::chrome::{Id, Phase, Record};

/// The number of a string, from 1, so that an `Option` takes no more memory.
pub(crate) type StringId = NonZeroU32;

/// Numbers for strings, which repeat.
#[derive(Debug, Default)]
pub(crate) struct StringTable {
    strings: Vec<Box<str>>,
    ids: HashMap<Box<str>, StringId>,
}

impl StringTable {
    pub(crate) fn id(&mut self, text: &str) -> StringId {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        self.strings.push(text.into());
        // Not 0 after a push; more than 2^32 strings do not fit into memory.
        let id = StringId::new(self.strings.len() as u32).unwrap_or(StringId::MAX);
        self.ids.insert(text.into(), id);
        id
    }

    pub(crate) fn get(&self, id: StringId) -> &str {
        self.strings.get(id.get() as usize - 1).map(AsRef::as_ref).unwrap_or_default()
    }
}

/// A span; small, since a trace has up to millions of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) duration: i64,
    pub(crate) line: u64,
    pub(crate) name: StringId,
    pub(crate) category: StringId,
    /// The pass of the request, if the span has that argument.
    pub(crate) pass: Option<StringId>,
}

impl Span {
    pub(crate) fn end(&self) -> i64 {
        self.start.saturating_add(self.duration)
    }
}

/// A `B` record without its `E` record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenSpan {
    pub(crate) start: i64,
    pub(crate) line: u64,
    pub(crate) name: StringId,
    pub(crate) category: StringId,
    pub(crate) pass: Option<StringId>,
}

/// The spans of one thread.
#[derive(Debug)]
pub(crate) struct ThreadSpans {
    pub(crate) pid: Id,
    pub(crate) tid: Id,
    pub(crate) spans: Vec<Span>,
    pub(crate) open: Vec<OpenSpan>,
    /// The time of the last `B` or `E` record; they must be in order of time.
    last_edge: i64,
}

/// Why a record does not fit the spans of its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairingError {
    /// The duration is negative.
    NegativeDuration(i64),
    /// An `E` record without a `B` record.
    NoOpenSpan,
    /// An `E` record with another name than the open span, whose name and line these are.
    NameDiffers(StringId, u64),
    /// A `B` or `E` record that is earlier than the previous one, by so many nanoseconds.
    OutOfOrder(i64),
}

/// The spans of all threads of a trace.
#[derive(Debug, Default)]
pub(crate) struct SpansByThread {
    pub(crate) strings: StringTable,
    pub(crate) threads: Vec<ThreadSpans>,
    indices: HashMap<(Id, Id), usize>,
    last: usize,
}

impl SpansByThread {
    /// Adds an `X`, `B` or `E` record. Other records, and records without ids or times, are ignored.
    pub(crate) fn add(&mut self, record: &Record<'_>) -> Result<(), PairingError> {
        let (Some(pid), Some(tid), Some(start)) = (&record.pid, &record.tid, record.start) else { return Ok(()) };
        let start = start.nanos;
        if !matches!(record.phase, Phase::Complete | Phase::Begin | Phase::End) {
            return Ok(());
        }
        let (name, category) = (self.strings.id(&record.name), self.strings.id(&record.category));
        let pass = record.pass().map(|pass| self.strings.id(&pass));
        let thread = self.thread(pid, tid);
        let line = record.line;
        match record.phase {
            Phase::Complete => {
                let Some(duration) = record.duration else { return Ok(()) };
                thread.complete(Span { start, duration: duration.nanos, line, name, category, pass })
            }
            Phase::Begin => {
                thread.open.push(OpenSpan { start, line, name, category, pass });
                thread.edge(start)
            }
            _ => thread.close(start, (!record.name.is_empty()).then_some(name)),
        }
    }

    /// The thread of the last added record, with its index.
    pub(crate) fn last_thread(&mut self) -> Option<(usize, &mut ThreadSpans)> {
        let index = self.last;
        self.threads.get_mut(index).map(|thread| (index, thread))
    }

    fn thread(&mut self, pid: &Id, tid: &Id) -> &mut ThreadSpans {
        // Records of one thread often follow each other.
        if self.threads.get(self.last).is_none_or(|thread| (&thread.pid, &thread.tid) != (pid, tid)) {
            self.last = *self.indices.entry((pid.clone(), tid.clone())).or_insert_with_key(|(pid, tid)| {
                self.threads.push(ThreadSpans::new(pid.clone(), tid.clone()));
                self.threads.len() - 1
            });
        }
        &mut self.threads[self.last]
    }
}

impl ThreadSpans {
    const fn new(pid: Id, tid: Id) -> Self {
        Self { pid, tid, spans: Vec::new(), open: Vec::new(), last_edge: i64::MIN }
    }

    fn complete(&mut self, span: Span) -> Result<(), PairingError> {
        if span.duration < 0 {
            return Err(PairingError::NegativeDuration(span.duration));
        }
        self.spans.push(span);
        Ok(())
    }

    fn close(&mut self, end: i64, name: Option<StringId>) -> Result<(), PairingError> {
        let Some(open) = self.open.pop() else { return Err(PairingError::NoOpenSpan) };
        let OpenSpan { start, line, name: opened, category, pass } = open;
        self.complete(Span { start, duration: end.saturating_sub(start), line, name: opened, category, pass })?;
        if let Some(name) = name
            && name != opened
        {
            return Err(PairingError::NameDiffers(opened, line));
        }
        self.edge(end)
    }

    fn edge(&mut self, time: i64) -> Result<(), PairingError> {
        let before = std::mem::replace(&mut self.last_edge, time);
        if time < before { Err(PairingError::OutOfOrder(before - time)) } else { Ok(()) }
    }
}
