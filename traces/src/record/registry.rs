//! Which thread has which ring: the calling thread's way to its own, and the drainer's way to all.
//!
//! A thread finds its ring through a thread-local; the lock is taken only when a thread records for the first time, when
//! it ends, and by the drainer. A thread that ends leaves its records behind in a plain list and its ring is freed.

use std::cell::{Cell, OnceCell};
use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::{Batch, Thread};
use super::raw::Raw;
use super::ring::{Consumer, Producer, ring};
use super::track::Track;
use super::{names, thread};

/// Records of ended threads that are kept until the next drain; 64 bytes each.
const LEFT_BEHIND: usize = 1 << 20;

static CAPACITY: AtomicUsize = AtomicUsize::new(1 << 16);
static REGISTRY: Mutex<Registry> = Mutex::new(Registry::new());
/// Records that no ring could take: those of a thread whose thread-locals are gone already.
static HOMELESS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LOCAL: Local = const { Local { producer: OnceCell::new(), number: Cell::new(0) } };
}

/// The calling thread's ring.
struct Local {
    producer: OnceCell<Producer>,
    number: Cell<u64>,
}

impl Local {
    #[cold]
    fn open(&self) -> &Producer {
        self.producer.get_or_init(|| {
            let (producer, consumer) = ring(CAPACITY.load(Ordering::Relaxed));
            self.number.set(lock().enter(thread::current(), consumer));
            producer
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.producer.get().is_some() {
            lock().leave(self.number.get());
        }
    }
}

/// Has a record written in its place in the calling thread's ring. `write` only fills it: it must not record.
#[inline]
pub(super) fn push(write: impl FnOnce(&mut Raw)) {
    let pushed = LOCAL.try_with(|local| match local.producer.get() {
        Some(producer) => producer.push(write),
        None => local.open().push(write),
    });
    if pushed.is_err() {
        HOMELESS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes the calling thread's ring if it has none.
pub(super) fn prepare() {
    // A thread without thread-locals is ending: it needs no ring.
    let _ = LOCAL.try_with(|local| {
        local.open();
    });
}

/// Share of the calling thread's ring that is in use.
pub(super) fn fullness() -> f64 {
    LOCAL.try_with(|local| local.producer.get().map_or(0.0, Producer::fullness)).unwrap_or_default()
}

/// The capacity of rings that are made from now on.
pub(super) fn set_capacity(records: usize) {
    CAPACITY.store(records, Ordering::Relaxed);
}

/// Takes everything from all rings. Writers go on meanwhile: only the collecting is done under the lock, and they do not
/// take it.
pub(super) fn drain() -> Batch {
    let Taken { records, threads, dropped } = lock().take();
    let table = names::lock();
    let events = in_order(&records).map(|Homed { raw, tid }| raw.event(*tid, &table)).collect();
    Batch { events, threads, dropped }
}

pub(super) fn dropped() -> u64 {
    let registry = lock();
    registry.dropped_before + registry.homes.iter().map(|home| home.consumer.dropped()).sum::<u64>() + homeless()
}

fn homeless() -> u64 {
    HOMELESS.load(Ordering::Relaxed)
}

fn lock() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A record and whose it is.
#[derive(Clone, Copy)]
struct Homed {
    raw: Raw,
    tid: u32,
}

/// A thread and its ring's reading side.
struct Home {
    number: u64,
    thread: Thread,
    consumer: Consumer,
}

impl Home {
    /// Moves what the thread recorded to the list, as far as it has room.
    fn collect(&mut self, records: &mut Vec<Homed>, room: usize, threads: &mut Vec<Thread>) -> u64 {
        let (first, mut refused) = (records.len(), 0);
        self.consumer.drain(|raw| {
            if records.len() >= room {
                refused += 1;
                return;
            }
            let track = (raw.track() != 0).then(|| Track(raw.track()));
            records.push(Homed { raw, tid: track.map_or(self.thread.tid, Track::tid) });
            if let Some(track) = track
                && threads.iter().all(|known| known.tid != track.tid())
            {
                threads.push(track.thread());
            }
        });
        // The system gives a number again when its thread has ended: then another name may go with it.
        if records.len() > first && !threads.contains(&self.thread) {
            threads.push(self.thread.clone());
        }
        refused
    }
}

/// What a drain takes.
struct Taken {
    records: Vec<Homed>,
    threads: Vec<Thread>,
    dropped: u64,
}

struct Registry {
    homes: Vec<Home>,
    next: u64,
    /// What ended threads recorded, and which threads that concerns.
    left: Vec<Homed>,
    left_threads: Vec<Thread>,
    /// Dropped by threads that have ended: all, and those not yet told to a drainer.
    dropped_before: u64,
    untold: u64,
    homeless_told: u64,
}

impl Registry {
    const fn new() -> Self {
        Self {
            homes: Vec::new(),
            next: 1,
            left: Vec::new(),
            left_threads: Vec::new(),
            dropped_before: 0,
            untold: 0,
            homeless_told: 0,
        }
    }

    fn enter(&mut self, thread: Thread, consumer: Consumer) -> u64 {
        let number = self.next;
        self.next += 1;
        self.homes.push(Home { number, thread, consumer });
        number
    }

    fn leave(&mut self, number: u64) {
        let Some(place) = self.homes.iter().position(|home| home.number == number) else { return };
        let mut home = self.homes.swap_remove(place);
        let refused = home.collect(&mut self.left, LEFT_BEHIND, &mut self.left_threads);
        self.dropped_before += home.consumer.dropped() + refused;
        self.untold += home.consumer.newly_dropped() + refused;
    }

    fn take(&mut self) -> Taken {
        let mut records = std::mem::take(&mut self.left);
        let mut threads = std::mem::take(&mut self.left_threads);
        let homeless = homeless();
        let mut dropped = std::mem::take(&mut self.untold) + (homeless - self.homeless_told);
        self.homeless_told = homeless;
        for home in &mut self.homes {
            home.collect(&mut records, usize::MAX, &mut threads);
            dropped += home.consumer.newly_dropped();
        }
        Taken { records, threads, dropped }
    }
}

/// By start; of spans that start together the longer first, and of equal ones the one recorded later, which encloses the
/// other since guards drop from the inside out. Samples of one moment stay in the order in which they were taken.
fn in_order(records: &[Homed]) -> impl Iterator<Item = &Homed> {
    let mut keys: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(place, homed)| {
            let (start, duration, moment) = homed.raw.order();
            let turn = if moment { place as i64 } else { -(place as i64) };
            (start, Reverse(duration), turn, place)
        })
        .collect();
    keys.sort_unstable();
    keys.into_iter().filter_map(|(.., place)| records.get(place))
}
