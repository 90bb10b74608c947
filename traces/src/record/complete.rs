//! [`Complete`]: a span that is recorded after the fact, with a start and a duration that are known.

use super::event::{Category, Kind, Value};
use super::guard::{LayerIndex, shape_words};
use super::names::Label;
use super::raw::{ARGS, Raw};
use super::track::Track;
use crate::Nanos;

/// A span with its times, for [`emit`](super::emit).
///
/// ```
/// use traces::Nanos;
/// use traces::record::{self, Category, Complete, Name, Track};
///
/// static DECODE: Name = Name::new("decode"); // interned once; a plain "decode" is looked up at each use
/// record::emit(Complete::span(&DECODE, Category::Phase, Nanos(10), Nanos(5)).arg("position", 64_u64));
/// record::emit(Complete::op("q_proj", 3_u32, [1, 576, 576], Nanos(11), Nanos(2)).on(Track::named("device queue")));
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "it is recorded by `record::emit`"]
pub struct Complete<'a> {
    name: Label<'a>,
    category: Category,
    start: Nanos,
    duration: Nanos,
    track: Option<Track>,
    op: Option<(u32, [u32; ARGS])>,
    args: [Option<(Label<'a>, Value)>; ARGS],
}

impl<'a> Complete<'a> {
    /// A phase, a request or another part of the work.
    pub fn span(name: impl Into<Label<'a>>, category: Category, start: Nanos, duration: Nanos) -> Self {
        Self { name: name.into(), category, start, duration, track: None, op: None, args: [None; ARGS] }
    }

    /// An operation of a model whose times come from elsewhere, such as a device's own clock.
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

    /// What one thread did of an operation that several shared, named as the operation; with [`on`](Self::on) for a thread
    /// that exists in virtual time only.
    pub fn work(name: impl Into<Label<'a>>, start: Nanos, duration: Nanos) -> Self {
        Self::span(name, Category::Work, start, duration)
    }

    /// On a virtual track instead of the calling thread's.
    pub fn on(self, track: Track) -> Self {
        Self { track: Some(track), ..self }
    }

    /// With a value beside it: up to three; more are cut off. An op has none.
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
