//! The rings of all threads: a thread pushes into its own ring, a drain takes from all of them.
//!
//! A thread finds its ring through a thread-local. The lock is taken only when a thread records for the first time, when
//! it ends, and by a drain. When a thread ends, its records move to a plain list and its ring is freed.

use std::cell::{Cell, OnceCell};
use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::Batch;
use super::names;
use super::raw::Raw;
use super::ring::{Consumer, Producer, ring};
use super::thread::{Thread, Track};

/// The largest number of records of ended threads that are kept until the next drain; 64 bytes each.
const MAX_ENDED_RECORDS: usize = 1 << 20;

static CAPACITY: AtomicUsize = AtomicUsize::new(1 << 16);
static REGISTRY: Mutex<Registry> = Mutex::new(Registry::new());
/// Records that were dropped because their thread is ending and its thread-locals are already destroyed.
static WITHOUT_RING: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LOCAL: LocalRing = const { LocalRing { producer: OnceCell::new(), number: Cell::new(0) } };
}

/// The calling thread's ring.
struct LocalRing {
    producer: OnceCell<Producer>,
    number: Cell<u64>,
}

impl LocalRing {
    #[cold]
    fn create(&self) -> &Producer {
        self.producer.get_or_init(|| {
            let (producer, consumer) = ring(CAPACITY.load(Ordering::Relaxed));
            self.number.set(lock().add(Thread::current(), consumer));
            producer
        })
    }
}

impl Drop for LocalRing {
    fn drop(&mut self) {
        if self.producer.get().is_some() {
            lock().remove(self.number.get());
        }
    }
}

/// Lets `write` fill the next slot of the calling thread's ring. `write` must not record anything.
#[inline]
pub(super) fn push(write: impl FnOnce(&mut Raw)) {
    let pushed = LOCAL.try_with(|local| match local.producer.get() {
        Some(producer) => producer.push(write),
        None => local.create().push(write),
    });
    if pushed.is_err() {
        WITHOUT_RING.fetch_add(1, Ordering::Relaxed);
    }
}

/// Creates the calling thread's ring if it has none.
pub(super) fn prepare() {
    // A thread whose thread-locals are destroyed is ending and needs no ring.
    let _ = LOCAL.try_with(|local| {
        local.create();
    });
}

/// The share of the calling thread's ring that is in use.
pub(super) fn fullness() -> f64 {
    LOCAL.try_with(|local| local.producer.get().map_or(0.0, Producer::fullness)).unwrap_or_default()
}

/// Sets the capacity of rings that are created from now on.
pub(super) fn set_capacity(records: usize) {
    CAPACITY.store(records, Ordering::Relaxed);
}

/// Takes all records from all rings. Writers do not wait: only the collection runs under the lock, which they do not take.
pub(super) fn drain() -> Batch {
    let Drained { records, threads, dropped } = lock().take();
    let table = names::lock();
    let events = in_order(&records).map(|ThreadRecord { raw, tid }| raw.event(*tid, &table)).collect();
    Batch { events, threads, dropped }
}

pub(super) fn dropped() -> u64 {
    let registry = lock();
    let in_rings: u64 = registry.rings.iter().map(|ring| ring.consumer.dropped()).sum();
    registry.dropped_by_ended + in_rings + dropped_without_ring()
}

fn dropped_without_ring() -> u64 {
    WITHOUT_RING.load(Ordering::Relaxed)
}

fn lock() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A record and the id of its thread or track.
#[derive(Clone, Copy)]
struct ThreadRecord {
    raw: Raw,
    tid: u32,
}

/// A thread and the reading side of its ring.
struct ThreadRing {
    number: u64,
    thread: Thread,
    consumer: Consumer,
}

impl ThreadRing {
    /// Moves the records of the thread to `records`, up to `limit` records there; returns how many were dropped.
    fn collect(&mut self, records: &mut Vec<ThreadRecord>, limit: usize, threads: &mut Vec<Thread>) -> u64 {
        let (first, mut dropped) = (records.len(), 0);
        self.consumer.drain(|raw| {
            if records.len() >= limit {
                dropped += 1;
                return;
            }
            let track = (raw.track() != 0).then(|| Track(raw.track()));
            records.push(ThreadRecord { raw, tid: track.map_or(self.thread.tid, Track::tid) });
            if let Some(track) = track
                && threads.iter().all(|known| known.tid != track.tid())
            {
                threads.push(track.thread());
            }
        });
        // The system reuses the id of an ended thread, possibly for a thread with another name.
        if records.len() > first && !threads.contains(&self.thread) {
            threads.push(self.thread.clone());
        }
        dropped
    }
}

/// The result of a drain.
struct Drained {
    records: Vec<ThreadRecord>,
    threads: Vec<Thread>,
    dropped: u64,
}

struct Registry {
    rings: Vec<ThreadRing>,
    next_number: u64,
    /// Records of ended threads since the last drain, and these threads.
    ended: Vec<ThreadRecord>,
    ended_threads: Vec<Thread>,
    /// Records dropped by ended threads: all of them, and those that no drain has reported.
    dropped_by_ended: u64,
    unreported: u64,
    /// Records dropped without a ring that a drain has reported.
    reported_without_ring: u64,
}

impl Registry {
    const fn new() -> Self {
        Self {
            rings: Vec::new(),
            next_number: 1,
            ended: Vec::new(),
            ended_threads: Vec::new(),
            dropped_by_ended: 0,
            unreported: 0,
            reported_without_ring: 0,
        }
    }

    fn add(&mut self, thread: Thread, consumer: Consumer) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.rings.push(ThreadRing { number, thread, consumer });
        number
    }

    fn remove(&mut self, number: u64) {
        let Some(index) = self.rings.iter().position(|ring| ring.number == number) else { return };
        let mut ring = self.rings.swap_remove(index);
        let dropped = ring.collect(&mut self.ended, MAX_ENDED_RECORDS, &mut self.ended_threads);
        self.dropped_by_ended += ring.consumer.dropped() + dropped;
        self.unreported += ring.consumer.newly_dropped() + dropped;
    }

    fn take(&mut self) -> Drained {
        let mut records = std::mem::take(&mut self.ended);
        let mut threads = std::mem::take(&mut self.ended_threads);
        let without_ring = dropped_without_ring();
        let mut dropped = std::mem::take(&mut self.unreported) + (without_ring - self.reported_without_ring);
        self.reported_without_ring = without_ring;
        for ring in &mut self.rings {
            ring.collect(&mut records, usize::MAX, &mut threads);
            dropped += ring.consumer.newly_dropped();
        }
        Drained { records, threads, dropped }
    }
}

/// By start. Of spans with the same start the longer one comes first; of equal spans the one recorded later, which encloses
/// the other, since guards drop from the inside out. Samples with the same time keep their order.
fn in_order(records: &[ThreadRecord]) -> impl Iterator<Item = &ThreadRecord> {
    let mut keys: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(index, record)| {
            let (start, duration, has_no_duration) = record.raw.order();
            let rank = if has_no_duration { index as i64 } else { -(index as i64) };
            (start, Reverse(duration), rank, index)
        })
        .collect();
    keys.sort_unstable();
    keys.into_iter().filter_map(|(.., index)| records.get(index))
}
