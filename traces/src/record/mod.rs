//! The recorder: what a process did, in bounded per-thread buffers.
//!
//! One recorder per process, off until [`start`]. The hot path (a mark, a counter sample) is: one relaxed load; the
//! clock; 64 bytes stored into the calling thread's own preallocated ring. No allocation, no lock, no system call but
//! the clock's, which does not enter the kernel. A full ring drops the record and counts it. The first record of a
//! thread makes its ring (an allocation and a lock): [`prepare_thread`] takes that out of what is timed.
//!
//! [`drain`] collects from all threads, ended ones included, without stopping any of them. It belongs between phases: it
//! allocates, sorts and locks.
//!
//! What this does not do: write files (that is [`chrome`](crate::chrome)), filter, or aggregate.

mod complete;
mod event;
mod guard;
mod names;
mod raw;
mod registry;
mod ring;
mod thread;
mod track;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};

pub use complete::Complete;
pub use event::{Args, Batch, Category, Event, Kind, Thread, Value};
pub use guard::{LayerIndex, NO_LAYER, OpGuard, SpanGuard, Work};
pub use names::{Label, Name};
pub use track::Track;
pub use watch::{OpEdge, Watcher, stop_watching, watch_ops};

use crate::clock;
use raw::Raw;

/// Nothing is ordered by this flag: a thread that sees it late records a moment longer or begins a moment later.
static ON: AtomicBool = AtomicBool::new(false);

/// How the recorder is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Records that one thread can hold between two drains, rounded up to a power of two; 64 bytes each.
    pub per_thread: usize,
}

impl Default for Config {
    /// 65,536 records, 4 MiB per thread: a few hundred decoded tokens of a model with thirty layers.
    fn default() -> Self {
        Self { per_thread: 1 << 16 }
    }
}

/// Turns recording on. The capacity holds for threads that record for the first time; what was recorded before and not
/// drained yet is kept.
pub fn start(config: Config) {
    registry::set_capacity(config.per_thread);
    ON.store(true, Ordering::Relaxed);
}

/// Turns recording off. Spans that are open on other threads still record when they end.
pub fn stop() {
    ON.store(false, Ordering::Relaxed);
}

/// Whether marks record: one relaxed load.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Makes the calling thread's ring now, so that its first record does not.
pub fn prepare_thread() {
    registry::prepare();
}

/// Records a value at this moment: the track `name` has the line `series`.
pub fn counter<'a>(name: impl Into<Label<'a>>, series: impl Into<Label<'a>>, value: f64) {
    if is_on() {
        counter_at(name.into(), &[(series.into(), value)]);
    }
}

/// Records up to three values of one track at this moment; more are cut off. Values that belong together go in one call:
/// some viewers take a track's series from its first sample.
pub fn counters(name: &str, series: &[(&str, f64)]) {
    if is_on() {
        let mut labels = [(Label::from(""), 0.0); raw::ARGS];
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

/// Records that something happened at this moment, with up to three values; more are cut off.
pub fn instant(name: &str, category: Category, args: &[(&str, Value)]) {
    if is_on() {
        let mut raw = Raw::new(Kind::Instant, category, Label::from(name).id(), clock::now());
        for (slot, &(key, value)) in args.iter().enumerate() {
            raw.set_arg(slot, Label::from(key).id(), value);
        }
        registry::push(|slot| *slot = raw);
    }
}

/// Records a span whose start and duration are known already.
pub fn emit(span: Complete<'_>) {
    if is_on() {
        let raw = span.into_raw();
        registry::push(|slot| *slot = raw);
    }
}

/// How full the calling thread's ring is, 0 to 1: where it nears 1, records are about to be dropped.
pub fn fullness() -> f64 {
    registry::fullness()
}

/// Takes everything recorded so far, of all threads, in order of time.
pub fn drain() -> Batch {
    registry::drain()
}

/// Records lost to full rings since the process began.
pub fn dropped() -> u64 {
    registry::dropped()
}
