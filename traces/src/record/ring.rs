//! A bounded ring with one producer and one consumer.
//!
//! ```text
//!            tail                       head
//!             v                          v
//!   | free |  written, not yet drained  | free ...      both only count up; the slot of a count is the count modulo the capacity
//! ```
//!
//! Only the producer moves `head`, only the consumer moves `tail`. Memory ordering:
//!
//! - The producer writes a slot, then stores `head` with release; the consumer loads `head` with acquire, then reads
//!   slots below it: it reads complete records.
//! - The consumer reads slots, then stores `tail` with release; the producer loads `tail` with acquire before it writes
//!   into a drained slot: it cannot overwrite a record that is still being read.
//! - The producer loads `tail` only when the value that it loaded last makes the ring full, so in the steady state a
//!   record touches no cache line that the consumer writes.
//! - Each side is the only writer of its own counter, so it needs no ordering to read it.

use std::cell::{Cell, UnsafeCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::raw::Raw;

/// Puts the counters of the two sides on different cache lines; 128 bytes, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct CachePadded<T>(T);

struct Shared {
    slots: Box<[UnsafeCell<Raw>]>,
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    dropped: AtomicU64,
}

#[allow(unsafe_code, reason = "the ring hands plain records from one thread to another without a lock")]
// SAFETY: a slot is accessed by the producer only while it is free and by the consumer only while it is written, as the
// counters define (module documentation); `Raw` is plain data, so the content of a slot may be sent.
unsafe impl Sync for Shared {}

/// The writing side. It belongs to one thread (it is not `Sync`).
pub(super) struct Producer {
    shared: Arc<Shared>,
    head: Cell<usize>,
    /// The consumer's counter when it was loaded last; never ahead of the counter.
    tail: Cell<usize>,
}

/// The reading side.
pub(super) struct Consumer {
    shared: Arc<Shared>,
    tail: usize,
    dropped: u64,
}

/// A ring for at least `capacity` records. All its memory is written once, so that no record causes a page fault.
pub(super) fn ring(capacity: usize) -> (Producer, Consumer) {
    let capacity = capacity.clamp(1, 1 << 30).next_power_of_two();
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(Raw::EMPTY)).collect(),
        head: CachePadded::default(),
        tail: CachePadded::default(),
        dropped: AtomicU64::new(0),
    });
    let producer = Producer { shared: Arc::clone(&shared), head: Cell::new(0), tail: Cell::new(0) };
    (producer, Consumer { shared, tail: 0, dropped: 0 })
}

impl Producer {
    /// Lets `write` fill the next slot, or counts a dropped record when the ring is full. The record is built in the slot,
    /// because the wide loads of a copy would have to wait for the small stores that built it elsewhere.
    #[inline]
    #[allow(unsafe_code, reason = "writes a slot that the consumer does not read")]
    pub(super) fn push(&self, write: impl FnOnce(&mut Raw)) {
        let head = self.head.get();
        let slots = &self.shared.slots;
        if head.wrapping_sub(self.tail.get()) >= slots.len() {
            self.tail.set(self.shared.tail.0.load(Ordering::Acquire));
            if head.wrapping_sub(self.tail.get()) >= slots.len() {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let Some(slot) = slots.get(head & (slots.len() - 1)) else { return };
        // SAFETY: `head - tail < capacity`, so the consumer has drained this slot (acquire above) and does not touch it
        // before `head` passes it (release below). There is one producer, on this thread, and `write` has no access to this
        // ring, so it cannot push again. Every slot holds a valid record from the start.
        write(unsafe { &mut *slot.get() });
        self.head.set(head.wrapping_add(1));
        self.shared.head.0.store(head.wrapping_add(1), Ordering::Release);
    }

    /// The share of the slots that are not drained yet.
    pub(super) fn fullness(&self) -> f64 {
        let used = self.head.get().wrapping_sub(self.shared.tail.0.load(Ordering::Relaxed));
        used as f64 / self.shared.slots.len() as f64
    }
}

impl Consumer {
    /// Takes all records that are in the ring now, the oldest first.
    #[allow(unsafe_code, reason = "reads slots that the producer does not write")]
    pub(super) fn drain(&mut self, mut take: impl FnMut(Raw)) {
        let slots = &self.shared.slots;
        let head = self.shared.head.0.load(Ordering::Acquire);
        while self.tail != head {
            if let Some(slot) = slots.get(self.tail & (slots.len() - 1)) {
                // SAFETY: `tail <= slot < head`: the producer has written it (acquire above) and does not write it again
                // before `tail` passes it (release below). There is one consumer, borrowed mutably.
                take(unsafe { slot.get().read() });
            }
            self.tail = self.tail.wrapping_add(1);
        }
        self.shared.tail.0.store(head, Ordering::Release);
    }

    /// Records dropped since the previous call.
    pub(super) fn newly_dropped(&mut self) -> u64 {
        let total = self.shared.dropped.load(Ordering::Relaxed);
        let new = total - self.dropped;
        self.dropped = total;
        new
    }

    /// Records dropped since the ring was created.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Category, Kind};
    use super::super::names::{self, NameId};
    use super::*;
    use crate::Nanos;

    fn numbered(number: u64) -> Raw {
        Raw::new(Kind::Instant, Category::Tool, NameId::NONE, Nanos(number))
    }

    fn numbers(consumer: &mut Consumer) -> Vec<u64> {
        let mut numbers = Vec::new();
        consumer.drain(|raw| numbers.push(raw.event(1, &names::lock()).start.0));
        numbers
    }

    #[test]
    fn a_full_ring_drops_the_newest_and_counts_them() {
        let (producer, mut consumer) = ring(3);
        (0..10).for_each(|n| producer.push(|slot| *slot = numbered(n)));
        assert!((producer.fullness() - 1.0).abs() < 1e-9);
        assert_eq!(numbers(&mut consumer), [0, 1, 2, 3]);
        assert!(producer.fullness() < 1e-9);
        assert_eq!((consumer.newly_dropped(), consumer.newly_dropped(), consumer.dropped()), (6, 0, 6));
        producer.push(|slot| *slot = numbered(10));
        assert_eq!(numbers(&mut consumer), [10]);
    }

    #[test]
    fn records_pass_between_threads_whole_and_in_order() {
        const RECORDS: u64 = 200_000;
        let (producer, mut consumer) = ring(64);
        let writer = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || {
                for n in 0..RECORDS {
                    producer.push(|slot| {
                        *slot = numbered(n);
                        slot.set_duration(Nanos(!n));
                    });
                }
            })
            .unwrap();
        let (mut last, mut taken) = (None, 0);
        let mut finished = false;
        loop {
            consumer.drain(|raw| {
                let event = raw.event(1, &names::lock());
                assert_eq!(event.duration.0, !event.start.0, "torn");
                assert!(last < Some(event.start.0), "out of order");
                last = Some(event.start.0);
                taken += 1;
            });
            if finished {
                break;
            }
            finished = writer.is_finished();
        }
        writer.join().unwrap();
        assert_eq!(taken + consumer.dropped(), RECORDS);
    }
}
