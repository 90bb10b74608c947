//! [`Event`] and [`Batch`]: the result of [`drain`](super::drain).

use std::fmt;

use super::thread::Thread;
use crate::Nanos;

/// Values that an event can hold, and sizes of an op's shape.
pub(super) const MAX_ARGS: usize = 3;
/// Bins that an event can hold: as many words as are left besides the layer and the number of bins.
pub const BINS_PER_EVENT: usize = 8;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// One operation of a model.
    Op,
    /// Another part of the work, with a duration.
    Span,
    /// The values of a counter at one time.
    Counter,
    /// Something without a duration.
    Instant,
    /// A histogram, or a part of one; trace files do not have it.
    Histogram,
}

/// The part of the work that an event belongs to; the `cat` of a trace file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Category {
    /// One request, from its text to the end of the answer.
    Request,
    /// A phase of a request.
    Phase,
    /// An operation of the model.
    Op,
    /// One thread's share of an operation that several threads compute.
    Work,
    /// Values over time.
    Counter,
    /// Spans and events of other crates, received through `tracing`.
    Foreign,
    /// The tool's own work.
    Tool,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 7] =
        [Self::Request, Self::Phase, Self::Op, Self::Work, Self::Counter, Self::Foreign, Self::Tool];

    /// Its name in trace files.
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

/// A value that is attached to an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Unsigned(u64),
    /// A whole number with a sign.
    Signed(i64),
    /// A number.
    Float(f64),
    /// A text that lives as long as the process; use it for a bounded number of different texts.
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
pub struct Args([Option<(&'static str, Value)>; MAX_ARGS]);

impl Args {
    /// From these values; values after the third are dropped.
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

    /// The values, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Value)> + '_ {
        self.0.iter().flatten().copied()
    }

    /// The value with this name.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// The work of an operation, as the engine that ran it states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; `None` where they are not known.
    pub flops: Option<u64>,
    /// Bytes of weights, caches and states that it reads and writes.
    pub streamed_bytes: u64,
    /// Bytes of activations that it reads and writes.
    pub activation_bytes: u64,
}

/// The names of the values of a [`Cost`].
const FLOPS: &str = "flops";
const STREAMED_BYTES: &str = "streamed_bytes";
const ACTIVATION_BYTES: &str = "activation_bytes";

impl Cost {
    /// The same as values of an event.
    pub(super) fn args(self) -> Args {
        let mut args = Args::default();
        args.set(0, STREAMED_BYTES, self.streamed_bytes.into());
        args.set(1, ACTIVATION_BYTES, self.activation_bytes.into());
        if let Some(flops) = self.flops {
            args.set(2, FLOPS, flops.into());
        }
        args
    }
}

/// Bins of a histogram that are not empty, each with its count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bins([u32; BINS_PER_EVENT]);

impl Bins {
    /// From packed bins: the lower half is the count, the upper half the bin.
    pub(super) const fn packed(words: [u32; BINS_PER_EVENT]) -> Self {
        Self(words)
    }

    /// Packs a bin. Both numbers are limited to 16 bits.
    pub(super) fn pack(bin: usize, count: u16) -> u32 {
        (u32::from(u16::try_from(bin).unwrap_or(u16::MAX)) << 16) | u32::from(count)
    }

    /// Pairs of a bin and its count, which is above 0.
    #[allow(clippy::cast_possible_truncation, reason = "the lower half of a word")]
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let pair = |word: &u32| ((word >> 16) as usize, u64::from(*word as u16));
        self.0.iter().map(pair).filter(|(_, count)| *count > 0)
    }
}

/// One recorded event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// Its kind.
    pub kind: Kind,
    /// The part of the work that it belongs to.
    pub category: Category,
    /// Its name; for a counter the name of the counter track.
    pub name: &'static str,
    /// The id of its thread or virtual track.
    pub tid: u32,
    /// Its start; for a counter or an instant its time.
    pub start: Nanos,
    /// Its duration; zero for counters and instants.
    pub duration: Nanos,
    /// The layer of an op or of a histogram; `None` for one outside of all layers, and for other kinds.
    pub layer: Option<u32>,
    /// The sizes of an op; 0 beyond its rank. Larger sizes are recorded as `u32::MAX`. Of a histogram the number of its bins, empty ones
    /// included.
    pub shape: [u32; 3],
    /// Its values; for a counter its series; for an op its [`Cost`], if it was stated.
    pub args: Args,
    /// Bins of a histogram. The parts of one have the same start.
    pub bins: Bins,
}

impl Event {
    /// Its end.
    pub fn end(&self) -> Nanos {
        self.start + self.duration
    }

    /// The work of an op, if the engine stated it.
    pub fn cost(&self) -> Option<Cost> {
        let bytes = |key| match self.args.get(key) {
            Some(Value::Unsigned(bytes)) => Some(bytes),
            _ => None,
        };
        Some(Cost {
            flops: bytes(FLOPS),
            streamed_bytes: bytes(STREAMED_BYTES)?,
            activation_bytes: bytes(ACTIVATION_BYTES)?,
        })
    }

    /// The sizes of an op up to its rank.
    pub fn sizes(&self) -> &[u32] {
        let rank = self.shape.iter().rposition(|&size| size != 0).map_or(0, |last| last + 1);
        self.shape.get(..rank).unwrap_or_default()
    }
}

/// The events recorded between two drains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// In order of their start. Of two with the same start the longer one comes first, then the one recorded later, which
    /// encloses the other.
    pub events: Vec<Event>,
    /// The threads and tracks of these events.
    pub threads: Vec<Thread>,
    /// Records that full rings dropped meanwhile.
    pub dropped: u64,
}

impl Batch {
    /// The events of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }
}
