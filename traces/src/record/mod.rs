//! The recorder: spans, counters and instants in bounded per-thread buffers.
//!
//! A process has one recorder; it is off until [`start`]. The hot path (a mark, a counter sample) is one relaxed load, the
//! clock, and a store of 64 bytes into the calling thread's own preallocated ring. It does not allocate or lock, and its only
//! system call is the clock's, which does not enter the kernel. A full ring drops the record and counts it. The first record
//! of a thread creates its ring (an allocation and a lock): call [`prepare_thread`] before the timed region.
//!
//! [`drain`] collects from all threads, ended ones included, without stopping any of them. It allocates, sorts and locks, so
//! call it between phases.
//!
//! The recorder writes no files ([`chrome`](crate::chrome) does), and it neither filters nor aggregates.

mod complete;
mod event;
mod guard;
mod hook;
mod names;
mod raw;
mod registry;
mod ring;
mod thread;

use std::sync::atomic::{AtomicBool, Ordering};

pub use complete::Complete;
pub use event::{Args, BINS_PER_EVENT, Batch, Bins, Category, Cost, Event, Kind, Value};
pub use guard::{OpGuard, SpanGuard, TextName, Work};
pub use hook::{OpEdge, OpHook, disable_op_hook, set_op_hook};
pub use names::{Label, Name};
pub use raw::{LayerIndex, NO_LAYER};
pub use thread::{Thread, Track};

use crate::clock;
use event::MAX_ARGS;
use raw::Raw;

/// The flag orders nothing: a thread that sees a change late starts or stops recording a little later.
static ON: AtomicBool = AtomicBool::new(false);

/// The settings of the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The number of records that a thread can hold between two drains, rounded up to a power of two; 64 bytes each.
    pub per_thread: usize,
}

impl Default for Config {
    /// 65,536 records, 4 MiB per thread: a few hundred decoded tokens of a model with thirty layers.
    fn default() -> Self {
        Self { per_thread: 1 << 16 }
    }
}

/// Turns recording on. The capacity applies to threads that have not recorded before. Records that are not drained yet stay.
pub fn start(config: Config) {
    registry::set_capacity(config.per_thread);
    ON.store(true, Ordering::Relaxed);
}

/// Turns recording off. Spans that are already open are still recorded when they end.
pub fn stop() {
    ON.store(false, Ordering::Relaxed);
}

/// Whether recording is on; one relaxed load.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Creates the calling thread's ring now, so that its first record does not have to.
pub fn prepare_thread() {
    registry::prepare();
}

/// Records a value at the current time, in the series `series` of the counter track `name`.
pub fn counter<'a>(name: impl Into<Label<'a>>, series: impl Into<Label<'a>>, value: f64) {
    if is_on() {
        counter_at(name.into(), &[(series.into(), value)]);
    }
}

/// Records up to three values of one counter track at the current time; further values are dropped. Pass all series of a
/// track in one call: some viewers take the series from the first sample.
pub fn counters(name: &str, series: &[(&str, f64)]) {
    if is_on() {
        let mut labels = [(Label::from(""), 0.0); MAX_ARGS];
        let used = labels.len().min(series.len());
        for (label, &(text, value)) in labels.iter_mut().zip(series) {
            *label = (text.into(), value);
        }
        counter_at(name.into(), labels.get(..used).unwrap_or_default());
    }
}

fn counter_at(name: Label<'_>, series: &[(Label<'_>, f64)]) {
    let mut raw = Raw::new(Kind::Counter, Category::Counter, name.id(), clock::now());
    for (slot, &(label, value)) in series.iter().enumerate() {
        raw.set_arg(slot, label.id(), Value::Float(value));
    }
    registry::push(|slot| *slot = raw);
}

/// Records an instant at the current time, with up to three values; further values are dropped.
pub fn instant(name: &str, category: Category, args: &[(&str, Value)]) {
    if is_on() {
        let mut raw = Raw::new(Kind::Instant, category, Label::from(name).id(), clock::now());
        for (slot, &(key, value)) in args.iter().enumerate() {
            raw.set_arg(slot, Label::from(key).id(), value);
        }
        registry::push(|slot| *slot = raw);
    }
}

/// Records a histogram of `bins` bins at the current time: pairs of a bin and its count, in the order of the bins. Empty bins are left
/// out, and a bin above 65,534 counts as 65,535. [`BINS_PER_EVENT`] bins take a record.
pub fn histogram(
    name: &'static Name,
    layer: impl LayerIndex,
    bins: usize,
    counts: impl IntoIterator<Item = (usize, usize)>,
) {
    if !is_on() {
        return;
    }
    let (start, count) = (clock::now(), u32::try_from(bins).unwrap_or(u32::MAX));
    let (name, layer) = (name.id(), layer.layer());
    let mut part = [0; BINS_PER_EVENT];
    let mut used = 0;
    let push = |part: [u32; BINS_PER_EVENT]| {
        registry::push(|slot| *slot = Raw::histogram(name, layer, count, part, start));
    };
    for (bin, mut left) in counts {
        // A count of more than 16 bits takes several entries.
        while left > 0 {
            let entry = u16::try_from(left).unwrap_or(u16::MAX);
            left -= usize::from(entry);
            part[used] = Bins::pack(bin, entry);
            used += 1;
            if used == BINS_PER_EVENT {
                push(part);
                (part, used) = ([0; BINS_PER_EVENT], 0);
            }
        }
    }
    if used > 0 {
        push(part);
    }
}

/// Records a span with a known start and duration.
pub fn emit(span: Complete<'_>) {
    if is_on() {
        let raw = span.into_raw();
        registry::push(|slot| *slot = raw);
    }
}

/// How full the calling thread's ring is, from 0 to 1. At 1 further records are dropped.
pub fn fullness() -> f64 {
    registry::fullness()
}

/// Takes all records so far, of all threads, in order of time.
pub fn drain() -> Batch {
    registry::drain()
}

/// The number of records dropped since the process started.
pub fn dropped() -> u64 {
    registry::dropped()
}
