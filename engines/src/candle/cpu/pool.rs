//! Parallel work on the compute threads of this process.
//!
//! Every function here returns when all of its work is done. The assignment of parts to threads is not deterministic, but no result
//! depends on it. While marks are recorded, each thread marks its part of each parallel call.
#![allow(unsafe_code, reason = "threads write parts of one buffer that do not overlap")]

use std::marker::PhantomData;
use std::ops::Range;

use traces::record::{self, Work};

use super::simd::Simd;
use crate::worker_pool::{Pieces, pool};

/// Number of compute threads in this process: the pool's workers and the calling thread.
pub(crate) fn threads() -> usize {
    pool().threads()
}

/// Calls `work` with ranges that together cover `0..items`, each item once, with the instructions of `S` enabled.
pub(super) fn each<S: Simd>(items: usize, work: impl Fn(Range<usize>) + Sync) {
    each_if_worth::<S>(items, usize::MAX, work);
}

/// As [`each`], on the calling thread alone if the work is small. `cost` is the approximate number of operations.
pub(super) fn each_if_worth<S: Simd>(items: usize, cost: usize, work: impl Fn(Range<usize>) + Sync) {
    if items == 0 {
        return;
    }
    let mark = if cost < WORTH_SHARING { None } else { Work::of_current_op() };
    // The only call of `work`: a second one would keep the compiler from inlining it where the instructions are enabled.
    let all = |pieces: &Pieces| {
        let mut piece = pieces.take();
        let _mark = piece.is_some().then(|| mark.map(Work::begin));
        while let Some(range) = piece {
            work(range);
            piece = pieces.take();
        }
    };
    if cost < WORTH_SHARING {
        S::call(&all, &Pieces::whole(items));
    } else {
        pool().share(items, |pieces| S::call(&all, pieces));
    }
}

/// Allocates every thread's buffer of marks before the measurement.
pub(super) fn prepare_recording() {
    pool().on_each(|_| record::prepare_thread());
}

/// Number of operations from which on work is shared: waking the other threads takes longer than less.
const WORTH_SHARING: usize = 16 * 1024;

/// Divides `out` into parts of `size` elements (the last may be shorter) and calls `work(index, part)` for each.
///
/// `cost` is the approximate number of operations in total; small work stays on the calling thread.
pub(super) fn each_part<S: Simd, T: Send>(
    out: &mut [T],
    size: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let (size, length) = (size.max(1), out.len());
    let parts = Parts::new(out);
    each_if_worth::<S>(length.div_ceil(size), cost, |range| {
        for index in range {
            let span = index * size..((index + 1) * size).min(length);
            // SAFETY: the spans of different indices do not overlap, and each index is passed once.
            let part = unsafe { parts.part(span) };
            work(index, part);
        }
    });
}

/// Divides `out` into ranges, as long as the pool makes them, and calls `work(range, part)` for each. `cost` is as for [`each_part`].
pub(super) fn each_range<S: Simd, T: Send>(out: &mut [T], cost: usize, work: impl Fn(Range<usize>, &mut [T]) + Sync) {
    let length = out.len();
    let parts = Parts::new(out);
    each_if_worth::<S>(length, cost, |range| {
        // SAFETY: each index is passed once, so that ranges do not overlap.
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::simd::Scalar;
    use super::*;

    #[test]
    fn every_part_is_visited_once_whether_shared_or_not() {
        for cost in [0, usize::MAX] {
            let mut out = vec![0u32; 1003];
            each_part::<Scalar, _>(&mut out, 10, cost, |index, part| {
                part.iter_mut().for_each(|element| *element += 1 + index as u32);
            });
            assert!(out.iter().enumerate().all(|(at, element)| *element == 1 + at as u32 / 10), "cost {cost}");
            each_range::<Scalar, _>(&mut out, cost, |range, part| {
                range.zip(part).for_each(|(at, element)| *element += at as u32);
            });
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
            each::<Scalar>(1000, |range| {
                done.fetch_add(range.len(), Ordering::Relaxed);
            });
            each::<Scalar>(0, |_| panic!("called without items"));
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
        each::<Scalar>(0, |_| panic!("called without items"));
        each_part::<Scalar, _>(&mut [0f32; 0], 4, usize::MAX, |_, _| panic!("called without parts"));
    }
}
