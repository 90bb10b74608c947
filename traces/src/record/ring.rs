//! A bounded ring with one producer and one consumer.
//!
//! ```text
//!            tail                     head
//!             v                        v
//!   | free |  written, not yet taken  | free ...        both count up for ever; a slot is its count modulo the capacity
//! ```
//!
//! Only the producer moves `head`, only the consumer moves `tail`. Memory ordering:
//!
//! - The producer writes a slot, then stores `head` with release; the consumer loads `head` with acquire, then reads
//!   slots below it: it sees them whole.
//! - The consumer reads slots, then stores `tail` with release; the producer loads `tail` with acquire before it writes
//!   into a slot that was taken: it cannot overwrite what is still being read.
//! - The producer looks at `tail` only when its last known value says that the ring is full, so in the steady state a
//!   record touches no cache line that the consumer writes.
//! - Each side reads its own counter relaxed: nobody else writes it.

use std::cell::{Cell, UnsafeCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::raw::Raw;

/// Keeps what the two sides write on cache lines of their own; 128, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    slots: Box<[UnsafeCell<Raw>]>,
    head: Apart<AtomicUsize>,
    tail: Apart<AtomicUsize>,
    dropped: AtomicU64,
}

#[allow(unsafe_code, reason = "the ring hands plain records from one thread to another without a lock")]
// SAFETY: a slot is accessed by the producer only while it is free and by the consumer only while it is written, as the
// counters say (module documentation); `Raw` is plain data, so what is in a slot may be sent.
unsafe impl Sync for Shared {}

/// The writing side: one thread's own (it is not `Sync`).
pub(super) struct Producer {
    shared: Arc<Shared>,
    head: Cell<usize>,
    /// The consumer's counter as it was last seen; never ahead of it.
    tail: Cell<usize>,
}

/// The reading side.
pub(super) struct Consumer {
    shared: Arc<Shared>,
    tail: usize,
    dropped: u64,
}

/// A ring for at least so many records, its memory written once, so that no record pays for a page fault.
pub(super) fn ring(capacity: usize) -> (Producer, Consumer) {
    let capacity = capacity.clamp(1, 1 << 30).next_power_of_two();
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(Raw::EMPTY)).collect(),
        head: Apart::default(),
        tail: Apart::default(),
        dropped: AtomicU64::new(0),
    });
    let producer = Producer { shared: Arc::clone(&shared), head: Cell::new(0), tail: Cell::new(0) };
    (producer, Consumer { shared, tail: 0, dropped: 0 })
}

impl Producer {
    /// Has a record written in its place, or counts it as dropped where the ring is full. In place, since a record that is
    /// put together elsewhere and copied waits for its own small stores before the wide loads of the copy.
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
        // SAFETY: `head - tail < capacity`, so the consumer has taken what was in this slot (acquire above) and does not
        // touch it before `head` passes it (release below). There is one producer, on this thread, and `write` cannot come
        // back here: it is given no way to this ring. Every slot holds a valid record from the beginning.
        write(unsafe { &mut *slot.get() });
        self.head.set(head.wrapping_add(1));
        self.shared.head.0.store(head.wrapping_add(1), Ordering::Release);
    }
}

impl Producer {
    /// Share of the slots that hold what is not taken yet.
    pub(super) fn fullness(&self) -> f64 {
        let used = self.head.get().wrapping_sub(self.shared.tail.0.load(Ordering::Relaxed));
        used as f64 / self.shared.slots.len() as f64
    }
}

impl Consumer {
    /// Takes all records that are in the ring now, oldest first.
    #[allow(unsafe_code, reason = "reads slots that the producer does not write")]
    pub(super) fn drain(&mut self, mut take: impl FnMut(Raw)) {
        let slots = &self.shared.slots;
        let head = self.shared.head.0.load(Ordering::Acquire);
        while self.tail != head {
            if let Some(slot) = slots.get(self.tail & (slots.len() - 1)) {
                // SAFETY: `tail <= this < head`: the producer has written it (acquire above) and does not write it again
                // before `tail` passes it (release below). There is one consumer, borrowed mutably.
                take(unsafe { slot.get().read() });
            }
            self.tail = self.tail.wrapping_add(1);
        }
        self.shared.tail.0.store(head, Ordering::Release);
    }

    /// Records dropped since the last time this was asked.
    pub(super) fn newly_dropped(&mut self) -> u64 {
        let total = self.shared.dropped.load(Ordering::Relaxed);
        let new = total - self.dropped;
        self.dropped = total;
        new
    }

    /// Records dropped since the ring was made.
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
