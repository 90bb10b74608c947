//! Counts the system calls of the instruments, per thread, for tests.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static CALLS: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts one call.
pub(super) fn count(what: &'static str) {
    CALLS.with_borrow_mut(|calls| *calls.entry(what).or_default() += 1);
}

/// The calls of this thread since the last time.
pub fn take() -> BTreeMap<&'static str, usize> {
    CALLS.take()
}
