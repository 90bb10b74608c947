//! The hot path of the recorder does not allocate, counted by the allocator of this test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use traces::record::{self, Config, Name};
use traces::{op, span};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[allow(unsafe_code, reason = "an allocator is unsafe by its interface")]
// SAFETY: all calls go to the system's allocator; the counter is a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn marks(count: usize) {
    static MEMORY: Name = Name::new("memory MB");
    static RSS: Name = Name::new("rss");
    for n in 0..count {
        let _phase = span!("decode", "position" = n);
        let _op = op!("q_proj", n, [1, n, n]);
        record::counter(&MEMORY, &RSS, 1.5);
    }
}

#[test]
fn a_mark_does_not_allocate() {
    record::start(Config { per_thread: 1 << 12 });
    marks(1); // creates the ring and interns the names
    let before = ALLOCATIONS.get();
    marks(2000); // overflows the ring too
    assert_eq!(ALLOCATIONS.get() - before, 0);
    record::stop();
    let batch = record::drain();
    assert_eq!((batch.events.len(), batch.dropped), (1 << 12, 3 * 2001 - (1 << 12)));
    assert!(ALLOCATIONS.get() > before, "the drain allocates, so the counter works");
}
