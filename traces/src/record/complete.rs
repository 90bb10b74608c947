//! [`Complete`]: a span that is recorded after it has ended, with its start and duration.

use super::event::{Category, Kind, MAX_ARGS, Value};
use super::names::Label;
use super::raw::{LayerIndex, Raw, shape_words};
use super::thread::Track;
use crate::Nanos;

/// A span with its times, for [`emit`](super::emit).
///
/// ```
/// use traces::Nanos;
/// use traces::record::{self, Category, Complete, Name, Track};
///
/// static DECODE: Name = Name::new("decode"); // interned once; the text "decode" would be looked up at each use
/// record::emit(Complete::span(&DECODE, Category::Phase, Nanos(10), Nanos(5)).arg("position", 64_u64));
/// record::emit(Complete::op("q_proj", 3_u32, [1, 576, 576], Nanos(11), Nanos(2)).on(Track::named("device queue")));
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "pass it to `record::emit`, which records it"]
pub struct Complete<'a> {
    name: Label<'a>,
    category: Category,
    start: Nanos,
    duration: Nanos,
    track: Option<Track>,
    op: Option<(u32, [u32; MAX_ARGS])>,
    args: [Option<(Label<'a>, Value)>; MAX_ARGS],
}

impl<'a> Complete<'a> {
    /// A phase, a request or another part of the work.
    pub fn span(name: impl Into<Label<'a>>, category: Category, start: Nanos, duration: Nanos) -> Self {
        Self { name: name.into(), category, start, duration, track: None, op: None, args: [None; MAX_ARGS] }
    }

    /// An operation of a model with times from another source, such as the clock of a device.
    pub fn op<const RANK: usize>(
        name: impl Into<Label<'a>>,
        layer: impl LayerIndex,
        shape: [usize; RANK],
        start: Nanos,
        duration: Nanos,
    ) -> Self {
        let op = Some((layer.layer(), shape_words(shape)));
        Self { op, ..Self::span(name, Category::Op, start, duration) }
    }

    /// One thread's share of an operation that several threads computed, with the name of the operation. Combine it with
    /// [`on`](Self::on) for a thread that exists only in virtual time.
    pub fn work(name: impl Into<Label<'a>>, start: Nanos, duration: Nanos) -> Self {
        Self::span(name, Category::Work, start, duration)
    }

    /// Puts it on a virtual track instead of the calling thread.
    pub fn on(self, track: Track) -> Self {
        Self { track: Some(track), ..self }
    }

    /// Attaches a value. Values after the third are dropped, and an op has none.
    pub fn arg(mut self, key: impl Into<Label<'a>>, value: impl Into<Value>) -> Self {
        if let Some(free) = self.args.iter_mut().find(|slot| slot.is_none()) {
            *free = Some((key.into(), value.into()));
        }
        self
    }

    pub(super) fn into_raw(self) -> Raw {
        let mut raw = match self.op {
            Some((layer, shape)) => Raw::op(self.name.id(), layer, shape, self.start, self.duration),
            None => Raw::new(Kind::Span, self.category, self.name.id(), self.start),
        };
        raw.set_duration(self.duration);
        if let Some(track) = self.track {
            raw.set_track(track.0);
        }
        for (slot, (key, value)) in self.args.into_iter().flatten().enumerate() {
            raw.set_arg(slot, key.id(), value);
        }
        raw
    }
}
