//! A request's trace, written by the worker after the request: from the kept edges, what the recorder held, and the points of
//! memory. Nothing of it is recorded while a clean request runs. A traced request with more marks than the recorder holds is
//! written in parts, between its phases, in memory that does not grow with it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use traces::Nanos;
use traces::chrome::{Process, WriteError, Writer};
use traces::record::{Args, Batch, Category, Event, Kind, Thread, Value};

use super::protocol::{Ask, PartFile, TraceTo};
use crate::drive::{PhaseSpan, REQUESTS, Timing, Tracks};
use ::record::Pass;
use meter::MemoryPoint;

/// A request's trace while it is written.
pub(super) struct RequestTrace<'a> {
    to: &'a TraceTo,
    process: Process,
    virtual_time: bool,
    ask: &'a Ask,
    /// Files with ops, once something stands in them; the request is open there.
    whole: Vec<Writer>,
    /// The request as it was begun there.
    begun: Option<Event>,
    problem: Option<String>,
}

impl<'a> RequestTrace<'a> {
    pub(super) fn new(to: &'a TraceTo, process: Process, virtual_time: bool, ask: &'a Ask) -> Self {
        Self { to, process, virtual_time, ask, whole: Vec::new(), begun: None, problem: None }
    }

    /// Writes what was recorded while these phases passed, of a request that goes on.
    pub(super) fn part(&mut self, mut batch: Batch, phases: &[PhaseSpan]) {
        let (Some(first), None) = (phases.first(), &self.problem) else { return };
        let tid = self.own(&mut batch);
        let begun = *self.begun.get_or_insert_with(|| request(self.ask, tid, first.start, first.start));
        let is_first = self.whole.is_empty();
        let merged = merged(spans(self.ask, phases, begun.tid), batch, begun.tid);
        let mut write = || -> Result<(), WriteError> {
            if is_first {
                for path in whole(self.to) {
                    self.whole.push(Writer::since(self.to.epoch, path, self.process.clone())?);
                }
            }
            for writer in &mut self.whole {
                if is_first {
                    writer.begin(&begun)?;
                }
                writer.write(&merged)?;
            }
            Ok(())
        };
        self.problem = write().err().map(|error| error.to_string());
    }

    /// Writes the rest: `batch` is what the recorder held at the end, `phases` those that were not written yet.
    pub(super) fn finish(
        mut self,
        mut batch: Batch,
        phases: &[PhaseSpan],
        timing: &Timing,
        points: &[MemoryPoint],
        tracks: &Tracks,
    ) -> Result<(), String> {
        let points = &Curves { points, tracks };
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let tid = self.begun.map_or_else(|| self.own(&mut batch), |begun| begun.tid);
        let whole_request = request(self.ask, tid, timing.start(), timing.end());
        if let Some(path) = &self.to.part
            && !self.to.ops_in_part
        {
            let mut events = vec![whole_request];
            events.extend(spans(self.ask, &timing.spans, tid));
            let outline = Batch { events, threads: vec![thread(tid)], dropped: 0 };
            write(path, self.to.epoch, &self.process, &outline, points)?;
        }
        if self.begun.is_some() {
            self.own(&mut batch);
            let rest = merged(spans(self.ask, phases, tid), batch, tid);
            let files = std::mem::take(&mut self.whole);
            let write = |mut writer: Writer| -> Result<(), WriteError> {
                writer.write(&rest)?;
                writer.end(&whole_request)?;
                curves(&mut writer, points)?;
                writer.finish().map(|_| ())
            };
            return files.into_iter().try_for_each(write).map_err(|error| error.to_string());
        }
        let mut outline = vec![whole_request];
        outline.extend(spans(self.ask, &timing.spans, tid));
        let all = merged(outline, batch, tid);
        whole(self.to).try_for_each(|path| write(path, self.to.epoch, &self.process, &all, points))
    }

    /// The thread that ran the request: the one that marked its ops. Where time is virtual a process has one thread of its
    /// own, and tracks.
    fn own(&self, batch: &mut Batch) -> u32 {
        let own = self.process.pid;
        if !self.virtual_time {
            return batch.of(Kind::Op).next().map_or(own, |event| event.tid);
        }
        batch.events.iter_mut().filter(|event| !Thread::is_track(event.tid)).for_each(|event| event.tid = own);
        batch.threads.retain(|thread| Thread::is_track(thread.tid));
        own
    }
}

/// The files that hold the ops too.
fn whole(to: &TraceTo) -> impl Iterator<Item = &Path> {
    to.ops.as_deref().into_iter().chain(to.part.as_deref().filter(|_| to.ops_in_part))
}

/// Phases and what was recorded in them, in order: of two that start together the longer one encloses; requests and phases
/// come first.
fn merged(mut outline: Vec<Event>, mut batch: Batch, tid: u32) -> Batch {
    batch.threads.retain(|thread| thread.tid != tid);
    batch.threads.insert(0, thread(tid));
    outline.append(&mut batch.events);
    outline.sort_by_key(|event| (event.start, std::cmp::Reverse(event.duration)));
    Batch { events: outline, ..batch }
}

/// The trace of making a session.
pub(super) fn loading(
    to: &PartFile,
    process: &Process,
    (start, end): (Nanos, Nanos),
    points: &[MemoryPoint],
) -> Result<(), String> {
    let event = span(Category::Phase, "load", process.pid, start, end, Args::default());
    let batch = Batch { events: vec![event], threads: vec![thread(process.pid)], dropped: 0 };
    write(&to.path, to.epoch, process, &batch, &Curves { points, tracks: &Tracks::default() })
}

/// The request, from its first phase's beginning to its last one's end.
fn request(ask: &Ask, tid: u32, start: Nanos, end: Nanos) -> Event {
    let round = if ask.warmup { ("warm_up", Value::from(ask.round)) } else { ("round", Value::from(ask.round)) };
    let args = Args::new(&[("case", Value::Text(kept(&ask.case))), ("pass", Value::Text(pass(ask))), round]);
    span(Category::Request, "request", tid, start, end, args)
}

/// Its phases; each says its pass, so that sums need not look for the request around it.
fn spans(ask: &Ask, phases: &[PhaseSpan], tid: u32) -> Vec<Event> {
    let args = Args::new(&[("pass", Value::Text(pass(ask)))]);
    phases.iter().map(|at| span(Category::Phase, at.phase.name(), tid, at.start, at.end, args)).collect()
}

fn pass(ask: &Ask) -> &'static str {
    match ask.pass {
        Pass::Clean => "clean",
        Pass::Stepped => "stepped",
        Pass::Traced => "traced",
        Pass::Counted => "counted",
    }
}

fn thread(tid: u32) -> Thread {
    Thread { tid, name: REQUESTS.to_owned() }
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

fn write(path: &Path, epoch: Nanos, process: &Process, batch: &Batch, curves_of: &Curves<'_>) -> Result<(), String> {
    let write = || -> Result<(), WriteError> {
        let mut writer = Writer::since(epoch, path, process.clone())?;
        writer.write(batch)?;
        curves(&mut writer, curves_of)?;
        writer.finish().map(|_| ())
    };
    write().map_err(|error| error.to_string())
}

/// What changes over a request: memory, and events a second.
struct Curves<'c> {
    points: &'c [MemoryPoint],
    tracks: &'c Tracks,
}

fn curves(writer: &mut Writer, curves: &Curves<'_>) -> Result<(), WriteError> {
    memory(writer, curves.points)?;
    curves
        .tracks
        .values()
        .try_for_each(|(at, name, rate)| writer.counter(&format!("{name} per s"), &[(name, rate)], at))
}

#[allow(clippy::cast_precision_loss, reason = "byte counts stay far below 2^53")]
fn memory(writer: &mut Writer, points: &[MemoryPoint]) -> Result<(), WriteError> {
    points.iter().try_for_each(|point| {
        let series = [("rss", point.resident as f64), ("anon", point.anonymous as f64), ("file", point.file as f64)];
        writer.counter("memory bytes", &series, point.at)
    })
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

#[cfg(test)]
mod tests {
    use engine_api::Phase;
    use traces::{check, chrome, summary};

    use super::super::protocol::Input;
    use super::*;

    fn phase(phase: Phase, start: u64, end: u64) -> PhaseSpan {
        PhaseSpan { phase, start: Nanos(start), end: Nanos(end) }
    }

    /// Ops of ten nanoseconds from a moment on, the first with its phase.
    fn ops(start: u64, count: u64) -> Batch {
        let op = |n| Event {
            kind: Kind::Op,
            ..span(Category::Op, "q_proj", 5, Nanos(start + 10 * n), Nanos(start + 10 * n + 10), Args::default())
        };
        Batch { events: (0..count).map(op).collect(), threads: vec![thread(5)], dropped: 0 }
    }

    #[test]
    fn a_request_in_parts_says_the_same_as_in_one() {
        let folder = tempfile::tempdir().unwrap();
        let phases = [phase(Phase::Prefill, 100, 200), phase(Phase::Decode, 210, 260), phase(Phase::Decode, 270, 300)];
        let timing = Timing { spans: phases.to_vec(), latency: Nanos(200), other: Nanos(20), tokens: Vec::new() };
        let points = [MemoryPoint { at: Nanos(150), resident: 1, anonymous: 1, file: 0 }];
        let write = |name: &str, in_parts: bool| {
            let ask = Ask {
                case: "c".to_owned(),
                pass: Pass::Traced,
                round: 0,
                warmup: false,
                fresh: false,
                counter_set: 0,
                input: Input::Tokens(vec![1]),
                filler: Vec::new(),
                new_tokens: 3,
                ignore_eos: true,
                trace: TraceTo { epoch: Nanos(50), ops: Some(folder.path().join(name)), ..TraceTo::default() },
            };
            let process = Process { pid: 5, name: "worker".to_owned() };
            let mut trace = RequestTrace::new(&ask.trace, process, false, &ask);
            if in_parts {
                trace.part(ops(100, 10), &phases[..1]);
                trace.part(ops(210, 5), &phases[1..2]);
                trace.finish(ops(270, 3), &phases[2..], &timing, &points, &Tracks::default()).unwrap();
            } else {
                let mut batch = ops(100, 10);
                batch.events.extend(ops(210, 5).events);
                batch.events.extend(ops(270, 3).events);
                trace.finish(batch, &phases, &timing, &points, &Tracks::default()).unwrap();
            }
            let path = folder.path().join(name);
            assert_eq!(check::check(&path).unwrap().problems, []);
            summary::summarise(&chrome::read(path).unwrap()).unwrap()
        };
        let whole = write("whole.json", false);
        assert_eq!(write("parts.json", true), whole);
        assert_eq!((whole.spans, whole.wall), (22, Nanos(200)));
        let request = whole.rows.iter().find(|row| row.name == "request").unwrap();
        assert_eq!((request.own, request.pass.as_deref()), (Nanos(20), Some("traced")));
    }
}
