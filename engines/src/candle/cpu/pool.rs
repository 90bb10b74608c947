//! Parallel work on candle's barrier pool, so that this decoder and candle's own kernels share one set of threads.
//!
//! Every function here returns when all of its work is done. The assignment of parts to threads is not deterministic, but no result
//! depends on it.
//!
//! While marks are recorded, each thread marks its part of each parallel call. The parallel work of candle's own kernels cannot be
//! marked.
#![allow(unsafe_code, reason = "threads write parts of one buffer that do not overlap")]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::utils::barrier_pool;
use traces::record::{self, Work};

/// Number of compute threads in this process: the pool's workers and the calling thread.
pub(crate) fn threads() -> usize {
    barrier_pool().n_workers() + 1
}

/// Calls `work` with ranges that together cover `0..items`, each item once.
pub(super) fn each(items: usize, work: impl Fn(Range<usize>) + Sync) {
    match Work::of_current_op() {
        None => barrier_pool().execute_chunked(items, work),
        Some(mark) => each_marked(items, mark, work),
    }
}

/// Like `execute_chunked`, with one mark around all work of a thread.
fn each_marked(items: usize, mark: Work, work: impl Fn(Range<usize>) + Sync) {
    /// As in candle.
    const CHUNKS_PER_THREAD: usize = 8;
    let chunk = items.div_ceil(threads() * CHUNKS_PER_THREAD).max(1);
    let cursor = AtomicUsize::new(0);
    let next = || {
        // Relaxed: the pool's barrier orders the writes of the parts.
        let start = cursor.fetch_add(chunk, Ordering::Relaxed);
        (start < items).then(|| start..items.min(start + chunk))
    };
    if items == 0 {
        return;
    }
    barrier_pool().execute(|_| {
        let mut range = next();
        let _mark = range.is_some().then(|| mark.begin());
        while let Some(part) = range {
            work(part);
            range = next();
        }
    });
}

/// Allocates every thread's buffer of marks before the measurement.
pub(super) fn prepare_recording() {
    barrier_pool().execute(|_| record::prepare_thread());
}

/// Number of operations from which on work is shared: waking the other threads takes longer than less.
const WORTH_SHARING: usize = 16 * 1024;

/// Divides `out` into parts of `size` elements (the last may be shorter) and calls `work(index, part)` for each.
///
/// `cost` is the approximate number of operations in total; small work stays on the calling thread.
pub(super) fn each_part<T: Send>(out: &mut [T], size: usize, cost: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let size = size.max(1);
    if cost < WORTH_SHARING {
        out.chunks_mut(size).enumerate().for_each(|(index, part)| work(index, part));
        return;
    }
    let length = out.len();
    let parts = Parts::new(out);
    each(length.div_ceil(size), |range| {
        for index in range {
            let span = index * size..((index + 1) * size).min(length);
            // SAFETY: the spans of different indices do not overlap, and `each` passes each index once.
            let part = unsafe { parts.part(span) };
            work(index, part);
        }
    });
}

/// Divides `out` into ranges, as long as the pool makes them, and calls `work(range, part)` for each. `cost` is as for [`each_part`].
pub(super) fn each_range<T: Send>(out: &mut [T], cost: usize, work: impl Fn(Range<usize>, &mut [T]) + Sync) {
    if cost < WORTH_SHARING {
        work(0..out.len(), out);
        return;
    }
    let length = out.len();
    let parts = Parts::new(out);
    each(length, |range| {
        // SAFETY: `each` passes each index once, so that its ranges do not overlap.
        let part = unsafe { parts.part(range.clone()) };
        work(range, part);
    });
}

/// A buffer whose disjoint parts several threads write at the same time.
pub(super) struct Parts<'a, T> {
    start: *mut T,
    length: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` whose user guarantees, with each call of `part`, that no two parts overlap.
unsafe impl<T: Send> Send for Parts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// Borrows the buffer while its parts are written.
    pub(super) fn new(buffer: &'a mut [T]) -> Self {
        Self { start: buffer.as_mut_ptr(), length: buffer.len(), lifetime: PhantomData }
    }

    /// The elements of `span`.
    ///
    /// # Safety
    /// No element is in two parts that live at the same time.
    #[allow(clippy::mut_from_ref, reason = "the caller guarantees that parts do not overlap")]
    pub(super) unsafe fn part(&self, span: Range<usize>) -> &'a mut [T] {
        let length = span.len();
        // SAFETY: the elements are initialised and, as the caller guarantees, not borrowed elsewhere.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(span), length) }
    }

    /// A pointer to the start of `span`, for strided writes; `span` is checked to be inside the buffer.
    pub(super) fn pointer(&self, span: Range<usize>) -> *mut T {
        assert!(span.start <= span.end && span.end <= self.length, "a part ends after its buffer");
        self.start.wrapping_add(span.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_visited_once_whether_shared_or_not() {
        for cost in [0, usize::MAX] {
            let mut out = vec![0u32; 1003];
            each_part(&mut out, 10, cost, |index, part| {
                part.iter_mut().for_each(|element| *element += 1 + index as u32);
            });
            assert!(out.iter().enumerate().all(|(at, element)| *element == 1 + at as u32 / 10), "cost {cost}");
            each_range(&mut out, cost, |range, part| range.zip(part).for_each(|(at, element)| *element += at as u32));
            assert!(out.iter().enumerate().all(|(at, element)| *element == (1 + at / 10 + at) as u32), "cost {cost}");
        }
    }

    #[test]
    fn each_thread_marks_its_part_of_shared_work() {
        record::start(record::Config { per_thread: 64 });
        prepare_recording();
        let done = AtomicUsize::new(0);
        {
            let _op = traces::op!("shared op of a test");
            each(1000, |range| {
                done.fetch_add(range.len(), Ordering::Relaxed);
            });
            each(0, |_| panic!("called without items"));
        }
        record::stop();
        assert_eq!(done.into_inner(), 1000);
        let batch = record::drain();
        let of_test = |event: &&record::Event| event.name == "shared op of a test";
        let op = batch.of(record::Kind::Op).find(of_test).unwrap();
        let marks: Vec<_> = batch.of(record::Kind::Span).filter(of_test).collect();
        assert!((1..=threads()).contains(&marks.len()), "{} marks", marks.len());
        for mark in marks {
            assert_eq!(mark.category, record::Category::Work);
            assert!(op.start <= mark.start && mark.end() <= op.end(), "outside of the op");
        }
    }

    #[test]
    fn no_items_are_no_calls() {
        each(0, |_| panic!("called without items"));
        each_part(&mut [0f32; 0], 4, usize::MAX, |_, _| panic!("called without parts"));
    }
}
