//! Interned names: records refer to texts by number.
//!
//! A literal in a mark is a [`Name`], a static at the call site that is interned once. Other texts are interned at each
//! use, under a lock. Interned texts are never freed, so their number and length are bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The largest number of different texts that are not literals.
const MAX_DYNAMIC_TEXTS: usize = 1 << 16;
/// The largest length of such a text in bytes; longer ones are truncated at a character.
const MAX_TEXT_BYTES: usize = 240;
/// Replaces new texts once the table is full.
const OVERFLOW: &str = "(further names)";

/// The number of a text; 0 is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameId(pub(super) u32);

impl NameId {
    pub(super) const NONE: Self = Self(0);
}

/// A literal that marks use as a name; a `static` at the call site.
#[derive(Debug)]
pub struct Name {
    text: &'static str,
    id: AtomicU32,
}

impl Name {
    /// A name that is interned at its first use.
    pub const fn new(text: &'static str) -> Self {
        Self { text, id: AtomicU32::new(0) }
    }

    /// The text.
    #[inline]
    pub(super) const fn text(&self) -> &'static str {
        self.text
    }

    /// Acquire pairs with the release below: the text is in the table before any thread records its number, and therefore
    /// before the record is drained.
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

/// A name at run time: a [`Name`], or a text that is looked up at each use (a lock and a hash).
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

/// The number of any text.
pub(super) fn intern(text: &str) -> NameId {
    lock().intern_dynamic(text)
}

/// Any text as a name: the interned text and its number.
pub(super) fn intern_text(text: &str) -> (&'static str, NameId) {
    let mut table = lock();
    let id = table.intern_dynamic(text);
    (table.text(id), id)
}

/// The locked table; a drain resolves a whole batch under one lock.
pub(super) fn lock() -> MutexGuard<'static, Table> {
    static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All interned texts; number `n` is at index `n - 1`.
#[derive(Debug, Default)]
pub(super) struct Table {
    texts: Vec<&'static str>,
    ids: HashMap<&'static str, u32>,
    dynamic: usize,
}

impl Table {
    /// The text of a number; empty for [`NameId::NONE`].
    pub(super) fn text(&self, id: NameId) -> &'static str {
        let index = (id.0 as usize).wrapping_sub(1);
        self.texts.get(index).copied().unwrap_or_default()
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
        let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
        if let Some(&id) = self.ids.get(text) {
            return NameId(id);
        }
        if self.dynamic >= MAX_DYNAMIC_TEXTS {
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
        let long = "é".repeat(MAX_TEXT_BYTES);
        let id = table.intern_dynamic(&long);
        assert_eq!(table.text(id).len(), MAX_TEXT_BYTES);
        for n in 0..MAX_DYNAMIC_TEXTS + 10 {
            table.intern_dynamic(&n.to_string());
        }
        let last = table.intern_dynamic("one more");
        assert_eq!(table.text(last), OVERFLOW);
        assert_eq!(table.texts.len(), MAX_DYNAMIC_TEXTS + 1);
        assert_ne!(table.intern_static("a literal is still interned"), last);
    }
}
