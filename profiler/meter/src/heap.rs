//! A counting allocator: the system's allocator with counters that can be switched on.
//!
//! Off, an allocation costs one more relaxed load. On, it costs three or four atomic additions; the traced pass uses it, and its
//! probe effect is measured. The counters cover what goes through the process's allocator: neither memory that is mapped
//! directly, such as a checkpoint, nor what the system's allocator adds to each block.
#![allow(unsafe_code, reason = "an allocator is unsafe by its interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use record::Reason;
use traces::virtual_counters::{self, VirtualCounters};

/// Smaller blocks are not counted; the highest value switches counting off, so that one load decides both.
static LEAST: AtomicUsize = AtomicUsize::new(usize::MAX);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
/// Whether an [`AllocationCounter`] exists: there is one set of counters.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The allocator of a program whose allocations are counted:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: meter::heap::CountingAllocator = meter::heap::CountingAllocator;
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

// SAFETY: every call goes to the system's allocator unchanged, and so does its result; counting touches static atomics only,
// which never allocate and never fail.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of the system's allocator.
        let block = unsafe { System.alloc(layout) };
        grown(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of the system's allocator.
        let block = unsafe { System.alloc_zeroed(layout) };
        grown(block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        shrunk(layout.size());
        // SAFETY: the caller keeps the contract of the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of the system's allocator.
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
    // Most allocations are not a new peak: a load is cheaper than a compare and exchange.
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

/// Totals since counting began, all threads together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocationTotals {
    /// Allocations; a reallocation counts as a new one.
    pub count: u64,
    /// Bytes allocated, summed.
    pub bytes: u64,
    /// Bytes allocated minus bytes freed; negative where older blocks were freed.
    pub held: i64,
    /// The highest value of `held` since the previous reading.
    pub peak: i64,
}

/// AllocationCounter, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct AllocationCounter {
    /// With virtual time: the counters of the virtual machine at the beginning.
    virtual_start: Option<VirtualCounters>,
}

impl AllocationCounter {
    /// Starts to count blocks of at least `least` bytes, from 0. With virtual time it reads the counters of the virtual machine,
    /// which ignore `least`.
    ///
    /// # Errors
    /// When another counter exists, or when the program uses another allocator.
    pub fn start(least: usize) -> Result<Self, Reason> {
        if let Some(virtual_start) = virtual_counters::read() {
            return Ok(Self { virtual_start: Some(virtual_start) });
        }
        if TAKEN.swap(true, Ordering::Acquire) {
            return Err(Reason::new("allocations are being counted for something else at this moment"));
        }
        let counter = Self { virtual_start: None };
        reset();
        LEAST.store(1, Ordering::Relaxed);
        drop(std::hint::black_box(Box::new(0_u8)));
        LEAST.store(usize::MAX, Ordering::Relaxed);
        if COUNT.load(Ordering::Relaxed) == 0 {
            return Err(Reason::new(
                "allocations are not counted: `meter::heap::CountingAllocator` is not the global allocator of this program",
            ));
        }
        reset();
        LEAST.store(least.max(1), Ordering::Relaxed);
        Ok(counter)
    }

    /// The totals now.
    #[must_use]
    pub fn read(&self) -> AllocationTotals {
        if let Some(first) = self.virtual_start {
            let now = virtual_counters::read().unwrap_or(first);
            return AllocationTotals {
                count: now.allocations - first.allocations,
                bytes: now.allocated_bytes - first.allocated_bytes,
                ..AllocationTotals::default()
            };
        }
        let held = HELD.load(Ordering::Relaxed);
        AllocationTotals {
            count: COUNT.load(Ordering::Relaxed),
            bytes: BYTES.load(Ordering::Relaxed),
            held,
            peak: PEAK.swap(held, Ordering::Relaxed).max(held),
        }
    }
}

impl Drop for AllocationCounter {
    fn drop(&mut self) {
        if self.virtual_start.is_some() {
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
