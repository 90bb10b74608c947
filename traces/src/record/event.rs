//! What [`drain`](super::drain) hands over: a [`Batch`] of [`Event`]s.

use std::fmt;

use super::names::NameId;
use super::track::FIRST_TID;
use super::{names, raw::ARGS};
use crate::Nanos;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// One operation of a model.
    Op,
    /// Another part of the work, with a duration.
    Span,
    /// Values at a moment.
    Counter,
    /// Something that happened at a moment.
    Instant,
}

/// What part of the work an event belongs to; the `cat` of a trace file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Category {
    /// One request, from its text to the end of the answer.
    Request,
    /// A phase of a request.
    Phase,
    /// An operation of the model.
    Op,
    /// What one thread does of an operation that several share.
    Work,
    /// Values over time.
    Counter,
    /// What other crates emit through `tracing`.
    Foreign,
    /// The tool's own work.
    Tool,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 7] =
        [Self::Request, Self::Phase, Self::Op, Self::Work, Self::Counter, Self::Foreign, Self::Tool];

    /// The word in trace files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Phase => "phase",
            Self::Op => "op",
            Self::Work => "work",
            Self::Counter => "counter",
            Self::Foreign => "foreign",
            Self::Tool => "tool",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A value beside an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Unsigned(u64),
    /// A whole number that may be negative.
    Signed(i64),
    /// A number.
    Float(f64),
    /// A text that lives as long as the process: only what is bounded in number belongs here.
    Text(&'static str),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident as $to:ty),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value as $to)
            }
        })*
    };
}

value_from! {
    u64 => Unsigned as u64,
    u32 => Unsigned as u64,
    u16 => Unsigned as u64,
    usize => Unsigned as u64,
    bool => Unsigned as u64,
    i64 => Signed as i64,
    i32 => Signed as i64,
    f64 => Float as f64,
    f32 => Float as f64,
}

impl From<Nanos> for Value {
    fn from(time: Nanos) -> Self {
        Self::Unsigned(time.as_nanos())
    }
}

/// Up to three named values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Args([Option<(&'static str, Value)>; ARGS]);

impl Args {
    /// These values; those beyond the third are cut off.
    pub fn new(args: &[(&'static str, Value)]) -> Self {
        let mut all = Self::default();
        for (slot, &(key, value)) in args.iter().enumerate() {
            all.set(slot, key, value);
        }
        all
    }

    pub(super) fn set(&mut self, slot: usize, key: &'static str, value: Value) {
        if let Some(place) = self.0.get_mut(slot) {
            *place = Some((key, value));
        }
    }

    /// The values in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Value)> + '_ {
        self.0.iter().flatten().copied()
    }

    /// The value of a name.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// One thing that was recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// What it is.
    pub kind: Kind,
    /// What it belongs to.
    pub category: Category,
    /// Its name; a counter's is its track's.
    pub name: &'static str,
    /// The operating system's number of the thread, or a virtual track's.
    pub tid: u32,
    /// When it began, or happened.
    pub start: Nanos,
    /// How long it took; zero for counters and instants.
    pub duration: Nanos,
    /// The layer, of an op inside one.
    pub layer: Option<u32>,
    /// The sizes of an op; 0 beyond its rank. Sizes over `u32::MAX` are given as that.
    pub shape: [u32; 3],
    /// Values beside it; of a counter, its series.
    pub args: Args,
}

impl Event {
    /// When it ended.
    pub fn end(&self) -> Nanos {
        self.start + self.duration
    }

    /// The sizes of an op, without those beyond its rank.
    pub fn sizes(&self) -> &[u32] {
        let rank = self.shape.iter().rposition(|&size| size != 0).map_or(0, |last| last + 1);
        self.shape.get(..rank).unwrap_or_default()
    }
}

/// A thread, or a virtual track, that events refer to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Thread {
    /// The operating system's number; for a virtual track one above all of them.
    pub tid: u32,
    /// Its name.
    pub name: String,
}

impl Thread {
    /// Whether this is the number of a virtual track.
    pub fn is_track(tid: u32) -> bool {
        tid > FIRST_TID
    }
}

/// What was recorded between two drains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// In order of their start; of two that start together the longer one, then the one recorded later (the enclosing
    /// one) is first.
    pub events: Vec<Event>,
    /// The threads and tracks of these events.
    pub threads: Vec<Thread>,
    /// Records that were lost to full rings meanwhile.
    pub dropped: u64,
}

impl Batch {
    /// The events of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }
}

/// Text values are stored by number.
pub(super) fn text_value(table: &names::Table, id: u64) -> Value {
    Value::Text(table.text(NameId(id as u32)))
}
