//! Small traces for tests.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::path::{Path, PathBuf};

use traces::Nanos;
use traces::chrome::{Process, Writer};
use traces::record::{Args, Batch, Category, Event, Kind, Thread};

/// The process of the traces that tests make.
pub const PID: u32 = 71;

/// Its name.
pub fn process() -> Process {
    Process { pid: PID, name: "inferometer".into() }
}

/// A span of a thread, in nanoseconds.
pub fn span(tid: u32, name: &'static str, category: Category, start: u64, duration: u64) -> Event {
    let kind = if category == Category::Op { Kind::Op } else { Kind::Span };
    let (start, duration) = (Nanos(start), Nanos(duration));
    Event { kind, category, name, tid, start, duration, layer: None, shape: [0; 3], args: Args::default() }
}

/// Events with the threads that they need.
pub fn batch(events: Vec<Event>) -> Batch {
    let mut tids: Vec<u32> = events.iter().map(|event| event.tid).collect();
    tids.sort_unstable();
    tids.dedup();
    let threads = tids.into_iter().map(|tid| Thread { tid, name: format!("thread {tid}") }).collect();
    Batch { events, threads, dropped: 0 }
}

/// A finished file of these batches.
pub fn written(folder: &Path, batches: &[Batch]) -> PathBuf {
    let path = folder.join("trace.json");
    let mut writer = Writer::create(&path, process()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    path
}
