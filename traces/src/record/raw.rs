//! [`Raw`]: a record in a ring, 64 bytes, one cache line.

use super::event::{Args, BINS_PER_EVENT, Bins, Category, Cost, Event, Kind, MAX_ARGS, Value};
use super::names::{self, NameId, Table};
use crate::Nanos;

/// The layer of an op outside of all layers.
pub const NO_LAYER: u32 = u32::MAX;

/// A number that can be a layer: `u32`, `usize`, or a literal.
pub trait LayerIndex {
    /// The layer, from 0; [`NO_LAYER`] for no layer and for numbers that cannot be one.
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

/// The type of literals without a suffix.
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

/// The shape as it is recorded. A shape with more than three sizes does not compile.
#[inline]
pub(super) fn shape_words<const RANK: usize>(shape: [usize; RANK]) -> [u32; MAX_ARGS] {
    const { assert!(RANK <= MAX_ARGS, "a shape has at most three sizes") };
    let mut words = [0; MAX_ARGS];
    for (word, size) in words.iter_mut().zip(shape) {
        *word = u32::try_from(size).unwrap_or(u32::MAX);
    }
    words
}

/// A number of a cost that is not known.
const UNKNOWN: u64 = u64::MAX;

/// A recorded event. The `words` of an op are its layer and shape, and its `values` are its cost. The `words` of a histogram are its layer,
/// the number of its bins and two packed bins, and each of its `values` is two more. The `words` of other kinds are the keys of `values`,
/// each with the type of its value in the upper two bits; 0 is an unused slot.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Raw {
    start: u64,
    duration: u64,
    words: [u32; 1 + MAX_ARGS],
    values: [u64; MAX_ARGS],
    name: u32,
    track: u16,
    kind: Kind,
    category: Category,
}

const _: () = assert!(size_of::<Raw>() == 64);

const TYPE_SHIFT: u32 = 30;
const KEY_MASK: u32 = (1 << TYPE_SHIFT) - 1;

impl Raw {
    /// The content of unused slots. It is not all zeros, so that a new ring writes, and thereby maps, all its pages.
    pub(super) const EMPTY: Self = Self::new(Kind::Instant, Category::Tool, NameId::NONE, Nanos::MAX);

    #[inline]
    pub(super) const fn new(kind: Kind, category: Category, name: NameId, start: Nanos) -> Self {
        let (words, values) = ([0; 1 + MAX_ARGS], [0; MAX_ARGS]);
        Self { start: start.0, duration: 0, words, values, name: name.0, track: 0, kind, category }
    }

    #[inline]
    pub(super) fn op(name: NameId, layer: u32, shape: [u32; MAX_ARGS], start: Nanos, duration: Nanos) -> Self {
        let mut raw = Self::new(Kind::Op, Category::Op, name, start);
        raw.duration = duration.0;
        raw.words = [layer, shape[0], shape[1], shape[2]];
        raw.values = [UNKNOWN; MAX_ARGS];
        raw
    }

    /// A histogram, or a part of one.
    pub(super) fn histogram(name: NameId, layer: u32, count: u32, packed: [u32; BINS_PER_EVENT], start: Nanos) -> Self {
        let mut raw = Self::new(Kind::Histogram, Category::Op, name, start);
        let [a, b, c, d, e, f, g, h] = packed;
        let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        raw.words = [layer, count, a, b];
        raw.values = [pair(c, d), pair(e, f), pair(g, h)];
        raw
    }

    /// The packed bins of a histogram.
    #[allow(clippy::cast_possible_truncation, reason = "halves of a word")]
    const fn packed_bins(&self) -> [u32; BINS_PER_EVENT] {
        let ([_, _, a, b], [cd, ef, gh]) = (self.words, self.values);
        [a, b, cd as u32, (cd >> 32) as u32, ef as u32, (ef >> 32) as u32, gh as u32, (gh >> 32) as u32]
    }

    /// States the work of an op.
    #[inline]
    pub(super) fn set_cost(&mut self, cost: Cost) {
        self.values = [cost.streamed_bytes, cost.activation_bytes, cost.flops.unwrap_or(UNKNOWN)];
    }

    /// The work of an op, if it was stated.
    fn cost(&self) -> Option<Cost> {
        let known = |number: u64| (number != UNKNOWN).then_some(number);
        let [streamed, activations, flops] = self.values;
        Some(Cost { flops: known(flops), streamed_bytes: known(streamed)?, activation_bytes: known(activations)? })
    }

    #[inline]
    pub(super) fn start(&self) -> Nanos {
        Nanos(self.start)
    }

    #[inline]
    pub(super) fn set_start(&mut self, start: Nanos) {
        self.start = start.0;
    }

    #[inline]
    pub(super) fn set_duration(&mut self, duration: Nanos) {
        self.duration = duration.0;
    }

    pub(super) fn set_track(&mut self, track: u16) {
        self.track = track;
    }

    /// Does nothing for a slot after the last one, and for an op or a histogram.
    #[inline]
    pub(super) fn set_arg(&mut self, slot: usize, key: NameId, value: Value) {
        if slot >= MAX_ARGS || matches!(self.kind, Kind::Op | Kind::Histogram) {
            return;
        }
        let (kind, bits) = match value {
            Value::Unsigned(number) => (0, number),
            Value::Signed(number) => (1, number as u64),
            Value::Float(number) => (2, number.to_bits()),
            Value::Text(text) => (3, u64::from(names::intern(text).0)),
        };
        self.words[slot] = key.0 | kind << TYPE_SHIFT;
        self.values[slot] = bits;
    }

    pub(super) fn track(&self) -> u16 {
        self.track
    }

    /// Start, duration, and whether its kind has no duration.
    pub(super) fn order(&self) -> (u64, u64, bool) {
        (self.start, self.duration, matches!(self.kind, Kind::Counter | Kind::Instant | Kind::Histogram))
    }

    /// The event of this record.
    pub(super) fn event(&self, tid: u32, table: &Table) -> Event {
        let mut event = Event {
            kind: self.kind,
            category: self.category,
            name: table.text(NameId(self.name)),
            tid,
            start: Nanos(self.start),
            duration: Nanos(self.duration),
            layer: None,
            shape: [0; MAX_ARGS],
            args: Args::default(),
            bins: Bins::default(),
        };
        if self.kind == Kind::Histogram {
            let [layer, count, ..] = self.words;
            event.layer = (layer != NO_LAYER).then_some(layer);
            event.shape[0] = count;
            event.bins = Bins::packed(self.packed_bins());
            return event;
        }
        if self.kind == Kind::Op {
            let [layer, shape @ ..] = self.words;
            event.layer = (layer != NO_LAYER).then_some(layer);
            event.shape = shape;
            event.args = self.cost().map(Cost::args).unwrap_or_default();
            return event;
        }
        for (slot, (&word, &bits)) in self.words.iter().zip(&self.values).enumerate() {
            let key = NameId(word & KEY_MASK);
            if key == NameId::NONE {
                continue;
            }
            let value = match word >> TYPE_SHIFT {
                0 => Value::Unsigned(bits),
                1 => Value::Signed(bits as i64),
                2 => Value::Float(f64::from_bits(bits)),
                _ => Value::Text(table.text(NameId(bits as u32))),
            };
            event.args.set(slot, table.text(key), value);
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_every_type_survive() {
        let mut raw = Raw::new(Kind::Span, Category::Phase, names::intern("prefill"), Nanos(5));
        raw.set_duration(Nanos(7));
        raw.set_arg(0, names::intern("signed"), Value::Signed(-3));
        raw.set_arg(1, names::intern("float"), Value::Float(0.5));
        raw.set_arg(2, names::intern("text"), Value::Text("q4_0"));
        raw.set_arg(3, names::intern("one too many"), Value::Unsigned(1));
        let event = raw.event(9, &names::lock());
        assert_eq!((event.name, event.tid, event.start, event.end()), ("prefill", 9, Nanos(5), Nanos(12)));
        let args: Vec<_> = event.args.iter().collect();
        assert_eq!(args, [("signed", Value::Signed(-3)), ("float", Value::Float(0.5)), ("text", Value::Text("q4_0"))]);
    }

    #[test]
    fn an_op_has_layer_and_shape() {
        let raw = Raw::op(names::intern("q_proj"), 3, [1, 576, 0], Nanos(1), Nanos(2));
        let event = raw.event(1, &names::lock());
        assert_eq!((event.layer, event.sizes()), (Some(3), &[1, 576][..]));
        assert_eq!(event.cost(), None);
        for cost in [
            Cost { flops: Some(7), streamed_bytes: 5, activation_bytes: 0 },
            Cost { flops: None, streamed_bytes: 0, activation_bytes: 3 },
        ] {
            let mut raw = raw;
            raw.set_cost(cost);
            assert_eq!(raw.event(1, &names::lock()).cost(), Some(cost));
        }
        let raw = Raw::op(names::intern("lm_head"), NO_LAYER, [0; 3], Nanos(1), Nanos(2));
        assert_eq!(raw.event(1, &names::lock()).layer, None);
    }
}
