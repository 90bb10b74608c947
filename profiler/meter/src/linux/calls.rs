//! Counts what the instruments ask the system for, on each thread of a test.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static CALLS: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// One more of this kind.
pub(super) fn count(what: &'static str) {
    CALLS.with_borrow_mut(|calls| *calls.entry(what).or_default() += 1);
}

/// What was asked for since the last time.
pub fn take() -> BTreeMap<&'static str, usize> {
    CALLS.take()
}
