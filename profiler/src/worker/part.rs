//! A request's trace, written by the worker after the request: from the kept edges, what the recorder held, and the points of
//! memory. Nothing of it is recorded while a clean request runs.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use traces::Nanos;
use traces::chrome::{Process, WriteError, Writer};
use traces::record::{Args, Batch, Category, Event, Kind, Thread, Value};

use super::protocol::{Ask, TraceTo};
use crate::drive::Timing;
use crate::meter::MemoryPoint;
use crate::results::Pass;

/// The name of the thread that runs requests.
const THREAD: &str = "requests";

/// Writes the files that `to` names. `batch` is what the recorder held; where time is virtual its threads become one.
pub(super) fn request(
    to: &TraceTo,
    process: &Process,
    virtual_time: bool,
    batch: &mut Batch,
    ask: &Ask,
    timing: &Timing,
    points: &[MemoryPoint],
) -> Result<(), String> {
    if to.part.is_none() && to.ops.is_none() {
        return Ok(());
    }
    if virtual_time {
        batch.events.iter_mut().for_each(|event| event.tid = process.pid);
        batch.threads.clear();
    }
    // The thread that marked the ops is the one that ran the request.
    let tid = batch.events.first().map_or(process.pid, |event| event.tid);
    let mut outline = outline(ask, timing, tid);
    if let Some(path) = &to.part
        && !to.ops_in_part
    {
        write(path, process, &outline, points)?;
    }
    batch.threads.retain(|thread| thread.tid != tid);
    outline.threads.append(&mut batch.threads);
    outline.events.append(&mut batch.events);
    outline.dropped = batch.dropped;
    // Of two that start together the longer one encloses; requests and phases came first.
    outline.events.sort_by_key(|event| (event.start, std::cmp::Reverse(event.duration)));
    let whole = to.ops.as_deref().into_iter().chain(to.part.as_deref().filter(|_| to.ops_in_part));
    for path in whole {
        write(path, process, &outline, points)?;
    }
    Ok(())
}

/// The trace of making a session.
pub(super) fn loading(
    path: &Path,
    process: &Process,
    (start, end): (Nanos, Nanos),
    points: &[MemoryPoint],
) -> Result<(), String> {
    let event = span(Category::Phase, "load", process.pid, start, end, Args::default());
    write(path, process, &Batch { events: vec![event], threads: vec![thread(process.pid)], dropped: 0 }, points)
}

/// The request and its phases.
fn outline(ask: &Ask, timing: &Timing, tid: u32) -> Batch {
    let pass = match ask.pass {
        Pass::Clean => "clean",
        Pass::Stepped => "stepped",
        Pass::Traced => "traced",
    };
    let round = if ask.warmup { ("warm_up", Value::from(ask.round)) } else { ("round", Value::from(ask.round)) };
    let args = Args::new(&[("case", Value::Text(kept(&ask.case))), ("pass", Value::Text(pass)), round]);
    let mut events = vec![span(Category::Request, "request", tid, timing.start(), timing.end(), args)];
    events.extend(
        timing
            .spans
            .iter()
            .map(|phase| span(Category::Phase, phase.phase.name(), tid, phase.start, phase.end, Args::default())),
    );
    Batch { events, threads: vec![thread(tid)], dropped: 0 }
}

fn thread(tid: u32) -> Thread {
    Thread { tid, name: THREAD.to_owned() }
}

fn span(category: Category, name: &'static str, tid: u32, start: Nanos, end: Nanos, args: Args) -> Event {
    Event {
        kind: Kind::Span,
        category,
        name,
        tid,
        start,
        duration: end.saturating_sub(start),
        layer: None,
        shape: [0; 3],
        args,
    }
}

#[allow(clippy::cast_precision_loss, reason = "byte counts stay far below 2^53")]
fn write(path: &Path, process: &Process, batch: &Batch, points: &[MemoryPoint]) -> Result<(), String> {
    let write = || -> Result<(), WriteError> {
        let mut writer = Writer::create(path, process.clone())?;
        writer.write(batch)?;
        for point in points {
            let series =
                [("rss", point.resident as f64), ("anon", point.anonymous as f64), ("file", point.file as f64)];
            writer.counter("memory bytes", &series, point.at)?;
        }
        writer.finish().map(|_| ())
    };
    write().map_err(|error| error.to_string())
}

/// A text that lives as long as the process. Only ids of cases come here, so their number is bounded.
fn kept(text: &str) -> &'static str {
    static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    if let Some(known) = kept.get(text) {
        return known;
    }
    let leaked: &'static str = Box::leak(text.into());
    kept.insert(leaked);
    leaked
}
