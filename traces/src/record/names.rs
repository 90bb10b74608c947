//! Names: texts that records refer to by number.
//!
//! A literal in a mark is a [`Name`], a static at the call site that is interned once. Other texts are interned at each
//! use, under a lock; they are held for ever, so their number and length are bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Texts that are no literals: at most so many different ones.
const DYNAMIC_TEXTS: usize = 1 << 16;
/// Their longest length in bytes; what is longer is cut at a character.
const TEXT_BYTES: usize = 240;
/// Stands for a text that came when the table was full.
const OVERFLOW: &str = "(further names)";

/// The number of a text; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameId(pub(super) u32);

impl NameId {
    pub(super) const NONE: Self = Self(0);
}

/// A literal that marks refer to; a `static` at the call site.
#[derive(Debug)]
pub struct Name {
    text: &'static str,
    id: AtomicU32,
}

impl Name {
    /// Names nothing yet: the first use interns it.
    pub const fn new(text: &'static str) -> Self {
        Self { text, id: AtomicU32::new(0) }
    }

    /// The text.
    #[inline]
    pub(super) const fn text(&self) -> &'static str {
        self.text
    }

    /// Acquire pairs with the release below: who records this number happens after the text was put into the table, and
    /// so does who takes the record from that thread's ring.
    #[inline]
    pub(super) fn id(&self) -> NameId {
        match self.id.load(Ordering::Acquire) {
            0 => self.intern(),
            id => NameId(id),
        }
    }

    #[cold]
    fn intern(&self) -> NameId {
        let id = lock().intern_static(self.text);
        self.id.store(id.0, Ordering::Release);
        id
    }
}

/// A name at run time: a [`Name`], or a text that is looked up (a lock and a hash per use).
#[derive(Debug, Clone, Copy)]
pub struct Label<'a>(Source<'a>);

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Static(&'static Name),
    Text(&'a str),
}

impl Label<'_> {
    pub(super) fn id(self) -> NameId {
        match self.0 {
            Source::Static(name) => name.id(),
            Source::Text(text) => intern(text),
        }
    }
}

impl From<&'static Name> for Label<'_> {
    fn from(name: &'static Name) -> Self {
        Self(Source::Static(name))
    }
}

impl<'a> From<&'a str> for Label<'a> {
    fn from(text: &'a str) -> Self {
        Self(Source::Text(text))
    }
}

/// The number of a text that may be no literal.
pub(super) fn intern(text: &str) -> NameId {
    lock().intern_dynamic(text)
}

/// The table, locked: the drainer resolves a whole batch at once.
pub(super) fn lock() -> MutexGuard<'static, Table> {
    static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All texts ever used; number `n` is at `n - 1`.
#[derive(Debug, Default)]
pub(super) struct Table {
    texts: Vec<&'static str>,
    ids: HashMap<&'static str, u32>,
    dynamic: usize,
}

impl Table {
    /// The text of a number; empty for none.
    pub(super) fn text(&self, id: NameId) -> &'static str {
        let place = (id.0 as usize).wrapping_sub(1);
        self.texts.get(place).copied().unwrap_or_default()
    }

    fn intern_static(&mut self, text: &'static str) -> NameId {
        if let Some(&id) = self.ids.get(text) {
            return NameId(id);
        }
        self.texts.push(text);
        // More than 2^30 texts do not fit into memory.
        let id = self.texts.len() as u32;
        self.ids.insert(text, id);
        NameId(id)
    }

    fn intern_dynamic(&mut self, text: &str) -> NameId {
        let text = &text[..text.floor_char_boundary(TEXT_BYTES)];
        if let Some(&id) = self.ids.get(text) {
            return NameId(id);
        }
        if self.dynamic >= DYNAMIC_TEXTS {
            return self.intern_static(OVERFLOW);
        }
        self.dynamic += 1;
        self.intern_static(Box::leak(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_number() {
        static A: Name = Name::new("shared");
        static B: Name = Name::new("shared");
        assert_eq!(A.id(), B.id());
        assert_eq!(A.id(), intern("shared"));
        assert_eq!(lock().text(A.id()), "shared");
        assert_eq!(lock().text(NameId::NONE), "");
    }

    #[test]
    fn dynamic_texts_are_bounded_in_length_and_number() {
        let mut table = Table::default();
        let long = "é".repeat(TEXT_BYTES);
        let id = table.intern_dynamic(&long);
        assert_eq!(table.text(id).len(), TEXT_BYTES);
        for n in 0..DYNAMIC_TEXTS + 10 {
            table.intern_dynamic(&n.to_string());
        }
        let last = table.intern_dynamic("one more");
        assert_eq!(table.text(last), OVERFLOW);
        assert_eq!(table.texts.len(), DYNAMIC_TEXTS + 1);
        assert_ne!(table.intern_static("a literal still has its place"), last);
    }
}
