//! The guards of [`op!`](crate::op) and [`span!`](crate::span). A guard records when it is dropped.

use std::cell::Cell;
use std::marker::PhantomData;

use super::event::{Category, Cost, Kind, MAX_ARGS, Value};
use super::hook::{self, OpEdge};
use super::names::{self, Name, NameId};
use super::raw::{LayerIndex, NO_LAYER, Raw, shape_words};
use super::registry;
use crate::{Nanos, clock};

thread_local! {
    /// The innermost open op of this thread.
    static CURRENT_OP: Cell<NameId> = const { Cell::new(NameId::NONE) };
}

/// Records an op from its creation to its drop; created by [`op!`](crate::op).
#[derive(Debug)]
#[must_use = "the op ends when this guard is dropped: bind it to a name, not to `_`"]
pub struct OpGuard {
    start: Nanos,
    /// `NameId::NONE` while the recorder is off.
    name: NameId,
    /// The op that encloses it.
    outer: NameId,
    layer: u32,
    shape: [u32; MAX_ARGS],
    cost: Option<Cost>,
    /// Not `Send`: the record belongs into the ring of the thread that created the guard.
    this_thread: PhantomData<*const ()>,
}

impl OpGuard {
    /// A guard that records nothing.
    #[inline]
    pub const fn off() -> Self {
        let (start, name, layer, shape) = (Nanos::ZERO, NameId::NONE, NO_LAYER, [0; MAX_ARGS]);
        Self { start, name, outer: NameId::NONE, layer, shape, cost: None, this_thread: PhantomData }
    }

    /// Begins at the current time.
    #[inline]
    pub fn begin<const RANK: usize>(name: &'static Name, layer: impl LayerIndex, shape: [usize; RANK]) -> Self {
        Self::start(name.text(), name.id(), layer.layer(), shape_words(shape))
    }

    /// The same with a name that is not a literal. Records nothing while the recorder is off.
    pub fn begin_text<const RANK: usize>(name: TextName, layer: impl LayerIndex, shape: [usize; RANK]) -> Self {
        if !super::is_on() {
            return Self::off();
        }
        Self::start(name.text, name.id, layer.layer(), shape_words(shape))
    }

    #[inline]
    fn start(text: &'static str, name: NameId, layer: u32, shape: [u32; MAX_ARGS]) -> Self {
        hook::call(OpEdge::Begins(text));
        let outer = CURRENT_OP.replace(name);
        // The clock is read last, so that the lines above are not part of the op's time.
        Self { start: clock::now(), name, outer, layer, shape, cost: None, this_thread: PhantomData }
    }

    /// States the work of the op, which is recorded with it.
    pub fn state_cost(&mut self, cost: Cost) {
        self.cost = Some(cost);
    }
}

impl Drop for OpGuard {
    #[inline]
    fn drop(&mut self) {
        if self.name != NameId::NONE {
            let duration = clock::now().saturating_sub(self.start);
            registry::push(|slot| {
                *slot = Raw::op(self.name, self.layer, self.shape, self.start, duration);
                if let Some(cost) = self.cost {
                    slot.set_cost(cost);
                }
            });
            CURRENT_OP.set(self.outer);
            hook::call(OpEdge::Ended);
        }
    }
}

/// The name of an op that is not a literal. It is looked up before the op begins, so that the look-up is not part of the op's time.
#[derive(Debug, Clone, Copy)]
pub struct TextName {
    text: &'static str,
    id: NameId,
}

impl TextName {
    /// Looks a text up, with a lock and a hash. The number of different texts is bounded.
    pub fn of(text: &str) -> Self {
        let (text, id) = names::intern_text(text);
        Self { text, id }
    }
}

/// Records a span from its creation to its drop; created by [`span!`](crate::span).
#[derive(Debug)]
#[must_use = "the span ends when this guard is dropped: bind it to a name, not to `_`"]
pub struct SpanGuard {
    /// The record without its duration; `None` while the recorder is off.
    raw: Option<Raw>,
    this_thread: PhantomData<*const ()>,
}

impl SpanGuard {
    /// A guard that records nothing.
    #[inline]
    pub const fn off() -> Self {
        Self { raw: None, this_thread: PhantomData }
    }

    /// Begins at the current time.
    #[inline]
    pub fn begin<const COUNT: usize>(
        name: &'static Name,
        category: Category,
        args: [(&'static Name, Value); COUNT],
    ) -> Self {
        const { assert!(COUNT <= MAX_ARGS, "a span has at most three values") };
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

/// An op that several threads compute. Each of them marks its share of the work by [`begin`](Work::begin).
#[derive(Debug, Clone, Copy)]
pub struct Work(NameId);

impl Work {
    /// The innermost open op of the calling thread; `None` while the recorder is off, at the cost of one relaxed load.
    #[inline]
    pub fn of_current_op() -> Option<Self> {
        super::is_on().then(|| Self(CURRENT_OP.get()))
    }

    /// Begins the calling thread's share. It has the name of the op and is recorded when the guard drops.
    #[inline]
    pub fn begin(self) -> SpanGuard {
        static NO_OP: Name = Name::new("work");
        let name = if self.0 == NameId::NONE { NO_OP.id() } else { self.0 };
        let raw = Raw::new(Kind::Span, Category::Work, name, clock::now());
        SpanGuard { raw: Some(raw), this_thread: PhantomData }
    }
}
