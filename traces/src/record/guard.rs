//! The guards of [`op!`](crate::op) and [`span!`](crate::span): they record when they are dropped.

use std::cell::Cell;
use std::marker::PhantomData;

use super::event::{Category, Kind, Value};
use super::names::{Name, NameId};
use super::raw::{ARGS, Raw};
use super::registry;
use super::watch::{self, OpEdge};
use crate::{Nanos, clock};

/// The layer of an op that belongs to none.
pub const NO_LAYER: u32 = u32::MAX;

/// What names a layer: `u32`, `usize`, or a literal.
pub trait LayerIndex {
    /// The layer, from 0; [`NO_LAYER`] for none and for what cannot be one.
    fn layer(self) -> u32;
}

impl LayerIndex for u32 {
    #[inline]
    fn layer(self) -> u32 {
        self
    }
}

impl LayerIndex for usize {
    #[inline]
    fn layer(self) -> u32 {
        u32::try_from(self).unwrap_or(NO_LAYER)
    }
}

/// Bare literals are of this type.
impl LayerIndex for i32 {
    #[inline]
    fn layer(self) -> u32 {
        u32::try_from(self).unwrap_or(NO_LAYER)
    }
}

impl LayerIndex for Option<usize> {
    #[inline]
    fn layer(self) -> u32 {
        self.map_or(NO_LAYER, LayerIndex::layer)
    }
}

/// Three words of up to three sizes; more do not compile.
#[inline]
pub(super) fn shape_words<const RANK: usize>(shape: [usize; RANK]) -> [u32; ARGS] {
    const { assert!(RANK <= ARGS, "a shape has at most three sizes") };
    let mut words = [0; ARGS];
    for (word, size) in words.iter_mut().zip(shape) {
        *word = u32::try_from(size).unwrap_or(u32::MAX);
    }
    words
}

thread_local! {
    /// The op that this thread is in.
    static OP: Cell<NameId> = const { Cell::new(NameId::NONE) };
}

/// Records an op from its making to its drop; made by [`op!`](crate::op).
#[derive(Debug)]
#[must_use = "the op ends when this guard is dropped: bind it to a name, not to `_`"]
pub struct OpGuard {
    start: Nanos,
    /// None while the recorder is off.
    name: NameId,
    /// The op around it.
    outer: NameId,
    layer: u32,
    shape: [u32; ARGS],
    /// The record goes into the ring of the thread that made the guard.
    this_thread: PhantomData<*const ()>,
}

impl OpGuard {
    /// Records nothing.
    #[inline]
    pub const fn off() -> Self {
        let (start, name, layer, shape) = (Nanos::ZERO, NameId::NONE, NO_LAYER, [0; ARGS]);
        Self { start, name, outer: NameId::NONE, layer, shape, this_thread: PhantomData }
    }

    /// Begins now.
    #[inline]
    pub fn begin<const RANK: usize>(name: &'static Name, layer: impl LayerIndex, shape: [usize; RANK]) -> Self {
        let (text, name, layer, shape) = (name.text(), name.id(), layer.layer(), shape_words(shape));
        watch::tell(OpEdge::Begins(text));
        let outer = OP.replace(name);
        // Last, so that none of the above counts as the op's time.
        Self { start: clock::now(), name, outer, layer, shape, this_thread: PhantomData }
    }
}

impl Drop for OpGuard {
    #[inline]
    fn drop(&mut self) {
        if self.name != NameId::NONE {
            let duration = clock::now().saturating_sub(self.start);
            registry::push(|slot| *slot = Raw::op(self.name, self.layer, self.shape, self.start, duration));
            OP.set(self.outer);
            watch::tell(OpEdge::Ended);
        }
    }
}

/// Records a span from its making to its drop; made by [`span!`](crate::span).
#[derive(Debug)]
#[must_use = "the span ends when this guard is dropped: bind it to a name, not to `_`"]
pub struct SpanGuard {
    /// What will be recorded, except the duration; `None` while the recorder is off.
    raw: Option<Raw>,
    this_thread: PhantomData<*const ()>,
}

impl SpanGuard {
    /// Records nothing.
    #[inline]
    pub const fn off() -> Self {
        Self { raw: None, this_thread: PhantomData }
    }

    /// Begins now.
    #[inline]
    pub fn begin<const COUNT: usize>(
        name: &'static Name,
        category: Category,
        args: [(&'static Name, Value); COUNT],
    ) -> Self {
        const { assert!(COUNT <= ARGS, "a span has at most three values") };
        let mut raw = Raw::new(Kind::Span, category, name.id(), Nanos::ZERO);
        for (slot, (key, value)) in args.into_iter().enumerate() {
            raw.set_arg(slot, key.id(), value);
        }
        raw.set_start(clock::now());
        Self { raw: Some(raw), this_thread: PhantomData }
    }
}

impl Drop for SpanGuard {
    #[inline]
    fn drop(&mut self) {
        if let Some(raw) = &self.raw {
            let end = clock::now();
            registry::push(|slot| {
                *slot = *raw;
                slot.set_duration(end.saturating_sub(raw.start()));
            });
        }
    }
}

/// The op that a thread is about to share with others: each of them marks its part of the work by [`begin`](Work::begin).
#[derive(Debug, Clone, Copy)]
pub struct Work(NameId);

impl Work {
    /// The op that the calling thread is in; `None` while the recorder is off, which costs one relaxed load.
    #[inline]
    pub fn of_this_op() -> Option<Self> {
        super::is_on().then(|| Self(OP.get()))
    }

    /// Begins the calling thread's part, named as the op; it is recorded when the guard drops.
    #[inline]
    pub fn begin(self) -> SpanGuard {
        static NO_OP: Name = Name::new("work");
        let name = if self.0 == NameId::NONE { NO_OP.id() } else { self.0 };
        let raw = Raw::new(Kind::Span, Category::Work, name, clock::now());
        SpanGuard { raw: Some(raw), this_thread: PhantomData }
    }
}
