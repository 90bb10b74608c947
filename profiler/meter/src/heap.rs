//! The counting allocator: the system's own, which counts while somebody asks it to.
//!
//! Off, an allocation costs one relaxed load more. On, it costs three or four atomic additions; who needs that is the traced pass,
//! whose probe effect is measured. It sees what goes through the process's allocator: memory that is mapped directly, such as
//! a checkpoint, is not in it, and neither is what the system's allocator adds to each block.
#![allow(unsafe_code, reason = "an allocator is unsafe by its interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use traces::virtual_counters::{self, VirtualCounters};

/// Blocks smaller than this are not counted; the highest value is off. One load answers both questions.
static LEAST: AtomicUsize = AtomicUsize::new(usize::MAX);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
/// Somebody counts: there is one set of counters.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The allocator of a program that wants its allocations counted:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: profiler::heap::Counted = profiler::heap::Counted;
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted;

// SAFETY: every call is passed on to the system's allocator unchanged, and its answer back; counting touches static atomics only,
// which allocate nothing and never fail.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the system's.
        let block = unsafe { System.alloc(layout) };
        grown(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the system's.
        let block = unsafe { System.alloc_zeroed(layout) };
        grown(block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        shrunk(layout.size());
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are the system's.
        let moved = unsafe { System.realloc(block, layout, size) };
        if !moved.is_null() {
            shrunk(layout.size());
            grown(moved, size);
        }
        moved
    }
}

#[inline]
fn grown(block: *mut u8, size: usize) {
    if size < LEAST.load(Ordering::Relaxed) || block.is_null() {
        return;
    }
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(size as u64, Ordering::Relaxed);
    let size = size.cast_signed() as i64;
    let held = HELD.fetch_add(size, Ordering::Relaxed) + size;
    // Most allocations are no new peak: a load is cheaper than a compare and exchange.
    if held > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(held, Ordering::Relaxed);
    }
}

#[inline]
fn shrunk(size: usize) {
    if size >= LEAST.load(Ordering::Relaxed) {
        HELD.fetch_sub(size.cast_signed() as i64, Ordering::Relaxed);
    }
}

/// What was counted from the beginning to one moment, all threads together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Allocations; one that was grown or shrunk counts anew.
    pub count: u64,
    /// Bytes allocated, summed.
    pub bytes: u64,
    /// Bytes allocated less bytes given back; below 0 where more was given back, of what was there before.
    pub held: i64,
    /// The highest that this has been since the reading before.
    pub peak: i64,
}

/// Counting, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Counting {
    /// Where time is virtual: the accounts of that machine as they stood at the beginning.
    accounts: Option<VirtualCounters>,
}

impl Counting {
    /// Begins to count the blocks of `least` bytes and more, from 0; where this thread's time is virtual, what that machine's
    /// accounts say, whatever the size.
    ///
    /// # Errors
    /// The reason, where somebody else counts, or where the program's allocator is another one.
    pub fn start(least: usize) -> Result<Self, &'static str> {
        if let Some(accounts) = virtual_counters::read() {
            return Ok(Self { accounts: Some(accounts) });
        }
        if TAKEN.swap(true, Ordering::Acquire) {
            return Err("allocations are being counted for something else at this moment");
        }
        let counting = Self { accounts: None };
        reset();
        LEAST.store(1, Ordering::Relaxed);
        drop(std::hint::black_box(Box::new(0_u8)));
        LEAST.store(usize::MAX, Ordering::Relaxed);
        if COUNT.load(Ordering::Relaxed) == 0 {
            return Err(
                "this program's allocator does not count: `profiler::heap::Counted` is not its global allocator",
            );
        }
        reset();
        LEAST.store(least.max(1), Ordering::Relaxed);
        Ok(counting)
    }

    /// What was counted until now.
    #[must_use]
    pub fn read(&self) -> Reading {
        if let Some(first) = self.accounts {
            let now = virtual_counters::read().unwrap_or(first);
            return Reading {
                count: now.allocations - first.allocations,
                bytes: now.allocated_bytes - first.allocated_bytes,
                ..Reading::default()
            };
        }
        let held = HELD.load(Ordering::Relaxed);
        Reading {
            count: COUNT.load(Ordering::Relaxed),
            bytes: BYTES.load(Ordering::Relaxed),
            held,
            peak: PEAK.swap(held, Ordering::Relaxed).max(held),
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if self.accounts.is_some() {
            return;
        }
        LEAST.store(usize::MAX, Ordering::Relaxed);
        TAKEN.store(false, Ordering::Release);
    }
}

fn reset() {
    COUNT.store(0, Ordering::Relaxed);
    BYTES.store(0, Ordering::Relaxed);
    HELD.store(0, Ordering::Relaxed);
    PEAK.store(0, Ordering::Relaxed);
}
