//! Small traces for tests.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::path::{Path, PathBuf};

use traces::Nanos;
use traces::chrome::{Process, Writer};
use traces::record::{Args, Batch, Bins, Category, Event, Kind, Thread};

/// The process id of the traces in tests.
pub const PID: u32 = 71;

/// The process with this id.
pub fn process() -> Process {
    Process { pid: PID, name: "inferometer".into() }
}

/// A span of a thread; times in nanoseconds.
pub fn span(tid: u32, name: &'static str, category: Category, start: u64, duration: u64) -> Event {
    let kind = if category == Category::Op { Kind::Op } else { Kind::Span };
    let (start, duration) = (Nanos(start), Nanos(duration));
    Event {
        kind,
        category,
        name,
        tid,
        start,
        duration,
        layer: None,
        shape: [0; 3],
        args: Args::default(),
        bins: Bins::default(),
    }
}

/// A batch of these events and their threads.
pub fn batch(events: Vec<Event>) -> Batch {
    let mut tids: Vec<u32> = events.iter().map(|event| event.tid).collect();
    tids.sort_unstable();
    tids.dedup();
    let threads = tids.into_iter().map(|tid| Thread { tid, name: format!("thread {tid}") }).collect();
    Batch { events, threads, dropped: 0 }
}

/// Writes these batches to a finished file.
pub fn written(folder: &Path, batches: &[Batch]) -> PathBuf {
    let path = folder.join("trace.json");
    let mut writer = Writer::create(&path, process()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    path
}
