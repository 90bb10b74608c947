//! [`Raw`]: a record as it lies in a ring, 64 bytes, one cache line.

use super::event::{Args, Category, Event, Kind, Value, text_value};
use super::guard::NO_LAYER;
use super::names::{self, NameId, Table};
use crate::Nanos;

/// Values that a record can hold.
pub(super) const ARGS: usize = 3;

/// `words` of an op are its layer and shape; of everything else the keys of `values`, each with the value's type in the
/// upper two bits, 0 where there is none.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Raw {
    start: u64,
    duration: u64,
    words: [u32; 1 + ARGS],
    values: [u64; ARGS],
    name: u32,
    track: u16,
    kind: Kind,
    category: Category,
}

const _: () = assert!(size_of::<Raw>() == 64);

const TYPE_SHIFT: u32 = 30;
const KEY_MASK: u32 = (1 << TYPE_SHIFT) - 1;

impl Raw {
    /// Fills unused slots. Not all zeros, so that a ring's pages are really written, and thereby mapped, when it is made.
    pub(super) const EMPTY: Self = Self::new(Kind::Instant, Category::Tool, NameId::NONE, Nanos::MAX);

    #[inline]
    pub(super) const fn new(kind: Kind, category: Category, name: NameId, start: Nanos) -> Self {
        let (words, values) = ([0; 1 + ARGS], [0; ARGS]);
        Self { start: start.0, duration: 0, words, values, name: name.0, track: 0, kind, category }
    }

    #[inline]
    pub(super) fn op(name: NameId, layer: u32, shape: [u32; ARGS], start: Nanos, duration: Nanos) -> Self {
        let mut raw = Self::new(Kind::Op, Category::Op, name, start);
        raw.duration = duration.0;
        raw.words = [layer, shape[0], shape[1], shape[2]];
        raw
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

    /// Slots beyond the last are ignored, and so are all slots of an op.
    #[inline]
    pub(super) fn set_arg(&mut self, slot: usize, key: NameId, value: Value) {
        if slot >= ARGS || matches!(self.kind, Kind::Op) {
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

    /// Start, duration, and whether it is a moment without one.
    pub(super) fn order(&self) -> (u64, u64, bool) {
        (self.start, self.duration, matches!(self.kind, Kind::Counter | Kind::Instant))
    }

    /// The event that this record stands for.
    pub(super) fn event(&self, tid: u32, table: &Table) -> Event {
        let mut event = Event {
            kind: self.kind,
            category: self.category,
            name: table.text(NameId(self.name)),
            tid,
            start: Nanos(self.start),
            duration: Nanos(self.duration),
            layer: None,
            shape: [0; ARGS],
            args: Args::default(),
        };
        if self.kind == Kind::Op {
            let [layer, shape @ ..] = self.words;
            event.layer = (layer != NO_LAYER).then_some(layer);
            event.shape = shape;
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
                _ => text_value(table, bits),
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
        let raw = Raw::op(names::intern("lm_head"), NO_LAYER, [0; 3], Nanos(1), Nanos(2));
        assert_eq!(raw.event(1, &names::lock()).layer, None);
    }
}
