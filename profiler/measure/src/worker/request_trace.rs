//! Writes the trace of a request after the request: its edges, the marks of the recorder, and the memory readings. A traced request with
//! more marks than the recorder holds is written in parts, between its phases, so that memory does not grow with the request.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ::record::Pass;
use meter::MemoryPoint;
use traces::Nanos;
use traces::chrome::{Process, WriteError, Writer};
use traces::record::{Args, Batch, Bins, Category, Event, Kind, Thread, Value};

use super::passes::{EventRates, PhaseSpan, REQUEST_THREAD, Timing};
use crate::protocol::{RequestSpec, TracePart, TraceTargets};

/// A request's trace while it is written.
pub(super) struct RequestTrace<'a> {
    targets: &'a TraceTargets,
    process: Process,
    virtual_time: bool,
    spec: &'a RequestSpec,
    /// The files with ops, once the first part is written; the request is open in them.
    whole: Vec<Writer>,
    /// The request as it was begun in them.
    begun: Option<Event>,
    error: Option<WriteError>,
}

impl<'a> RequestTrace<'a> {
    pub(super) fn new(targets: &'a TraceTargets, process: Process, virtual_time: bool, spec: &'a RequestSpec) -> Self {
        Self { targets, process, virtual_time, spec, whole: Vec::new(), begun: None, error: None }
    }

    /// Writes what was recorded during these phases; the request continues.
    pub(super) fn write_part(&mut self, mut batch: Batch, phases: &[PhaseSpan]) {
        let (Some(first), None) = (phases.first(), &self.error) else { return };
        let tid = self.request_thread(&mut batch);
        let begun = *self.begun.get_or_insert_with(|| request(self.spec, tid, first.start, first.start));
        let is_first = self.whole.is_empty();
        let merged = merged(spans(self.spec, phases, begun.tid), batch, begun.tid);
        let mut write = || -> Result<(), WriteError> {
            if is_first {
                for path in whole(self.targets) {
                    self.whole.push(Writer::since(self.targets.epoch, path, self.process.clone())?);
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
        self.error = write().err();
    }

    /// Writes the rest: `batch` is what the recorder held at the end, `phases` are those that are not written yet.
    pub(super) fn finish(
        mut self,
        mut batch: Batch,
        phases: &[PhaseSpan],
        timing: &Timing,
        points: &[MemoryPoint],
        rates: &EventRates,
    ) -> Result<(), WriteError> {
        let points = &Curves { points, rates };
        if let Some(error) = self.error {
            return Err(error);
        }
        let tid = self.begun.map_or_else(|| self.request_thread(&mut batch), |begun| begun.tid);
        let whole_request = request(self.spec, tid, timing.start(), timing.end());
        if let Some(path) = &self.targets.part
            && !self.targets.ops_in_part
        {
            let mut events = vec![whole_request];
            events.extend(spans(self.spec, &timing.spans, tid));
            let outline = Batch { events, threads: vec![thread(tid)], dropped: 0 };
            write(path, self.targets.epoch, &self.process, &outline, points)?;
        }
        if self.begun.is_some() {
            self.request_thread(&mut batch);
            let rest = merged(spans(self.spec, phases, tid), batch, tid);
            let files = std::mem::take(&mut self.whole);
            let write = |mut writer: Writer| -> Result<(), WriteError> {
                writer.write(&rest)?;
                writer.end(&whole_request)?;
                write_curves(&mut writer, points)?;
                writer.finish().map(|_| ())
            };
            return files.into_iter().try_for_each(write);
        }
        let mut outline = vec![whole_request];
        outline.extend(spans(self.spec, &timing.spans, tid));
        let all = merged(outline, batch, tid);
        whole(self.targets).try_for_each(|path| write(path, self.targets.epoch, &self.process, &all, points))
    }

    /// The thread that ran the request: the one that marked its ops. Where time is virtual, a process has one thread and its tracks.
    fn request_thread(&self, batch: &mut Batch) -> u32 {
        let own = self.process.pid;
        if !self.virtual_time {
            return batch.of(Kind::Op).next().map_or(own, |event| event.tid);
        }
        batch.events.iter_mut().filter(|event| !Thread::is_track(event.tid)).for_each(|event| event.tid = own);
        batch.threads.retain(|thread| Thread::is_track(thread.tid));
        own
    }
}

/// The files that also hold the ops.
fn whole(targets: &TraceTargets) -> impl Iterator<Item = &Path> {
    targets.ops.as_deref().into_iter().chain(targets.part.as_deref().filter(|_| targets.ops_in_part))
}

/// Phases and the marks recorded in them, in order. Of two events that start together the longer one encloses the other; requests and
/// phases come first.
fn merged(mut outline: Vec<Event>, mut batch: Batch, tid: u32) -> Batch {
    batch.threads.retain(|thread| thread.tid != tid);
    batch.threads.insert(0, thread(tid));
    outline.append(&mut batch.events);
    outline.sort_by_key(|event| (event.start, std::cmp::Reverse(event.duration)));
    Batch { events: outline, ..batch }
}

/// Writes the trace of loading.
pub(super) fn write_load(
    part: &TracePart,
    process: &Process,
    (start, end): (Nanos, Nanos),
    points: &[MemoryPoint],
) -> Result<(), WriteError> {
    let event = span(Category::Phase, engine_api::Phase::Load.name(), process.pid, start, end, Args::default());
    let batch = Batch { events: vec![event], threads: vec![thread(process.pid)], dropped: 0 };
    write(&part.path, part.epoch, process, &batch, &Curves { points, rates: &EventRates::default() })
}

/// The request, from the begin of its first phase to the end of its last one.
fn request(spec: &RequestSpec, tid: u32, start: Nanos, end: Nanos) -> Event {
    let round = if spec.warmup { ("warm_up", Value::from(spec.round)) } else { ("round", Value::from(spec.round)) };
    let args = Args::new(&[
        ("case", Value::Text(interned(&redaction::without_known(&spec.case)))),
        ("pass", Value::Text(pass(spec))),
        round,
    ]);
    span(Category::Request, "request", tid, start, end, args)
}

/// Its phases. Each has its pass as an argument, so that sums do not need the enclosing request.
fn spans(spec: &RequestSpec, phases: &[PhaseSpan], tid: u32) -> Vec<Event> {
    let args = Args::new(&[("pass", Value::Text(pass(spec)))]);
    phases.iter().map(|at| span(Category::Phase, at.phase.name(), tid, at.start, at.end, args)).collect()
}

fn pass(spec: &RequestSpec) -> &'static str {
    match spec.pass {
        Pass::Clean => "clean",
        Pass::Stepped => "stepped",
        Pass::Traced => "traced",
        Pass::Counted => "counted",
    }
}

fn thread(tid: u32) -> Thread {
    Thread { tid, name: REQUEST_THREAD.to_owned() }
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
        bins: Bins::default(),
    }
}

fn write(path: &Path, epoch: Nanos, process: &Process, batch: &Batch, curves: &Curves<'_>) -> Result<(), WriteError> {
    let mut writer = Writer::since(epoch, path, process.clone())?;
    writer.write(batch)?;
    write_curves(&mut writer, curves)?;
    writer.finish().map(|_| ())
}

/// The curves over a request: memory, and event rates.
struct Curves<'c> {
    points: &'c [MemoryPoint],
    rates: &'c EventRates,
}

fn write_curves(writer: &mut Writer, curves: &Curves<'_>) -> Result<(), WriteError> {
    write_memory(writer, curves.points)?;
    curves.rates.values().try_for_each(|(at, name, rate)| writer.counter(&format!("{name} per s"), &[(name, rate)], at))
}

#[allow(clippy::cast_precision_loss, reason = "byte counts are far below 2^53")]
fn write_memory(writer: &mut Writer, points: &[MemoryPoint]) -> Result<(), WriteError> {
    points.iter().try_for_each(|point| {
        let series = [("rss", point.resident as f64), ("anon", point.anonymous as f64), ("file", point.file as f64)];
        writer.counter("memory bytes", &series, point.at)
    })
}

/// A copy of a text that lives as long as the process. It is used only for ids of cases, so the number of copies is bounded.
fn interned(text: &str) -> &'static str {
    static INTERNED: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut interned = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
    let interned = interned.get_or_insert_default();
    if let Some(known) = interned.get(text) {
        return known;
    }
    let leaked: &'static str = Box::leak(text.into());
    interned.insert(leaked);
    leaked
}

#[cfg(test)]
mod tests {
    use engine_api::Phase;
    use traces::{check, chrome, summary};

    use super::*;
    use crate::plan::PromptInput;

    fn phase(phase: Phase, start: u64, end: u64) -> PhaseSpan {
        PhaseSpan { phase, start: Nanos(start), end: Nanos(end) }
    }

    /// Ops of ten nanoseconds each, from a time on.
    fn ops(start: u64, count: u64) -> Batch {
        let op = |n| Event {
            kind: Kind::Op,
            ..span(Category::Op, "q_proj", 5, Nanos(start + 10 * n), Nanos(start + 10 * n + 10), Args::default())
        };
        Batch { events: (0..count).map(op).collect(), threads: vec![thread(5)], dropped: 0 }
    }

    #[test]
    fn a_request_in_parts_gives_the_same_sums_as_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let phases = [phase(Phase::Prefill, 100, 200), phase(Phase::Decode, 210, 260), phase(Phase::Decode, 270, 300)];
        let timing = Timing { spans: phases.to_vec(), latency: Nanos(200), other: Nanos(20), tokens: Vec::new() };
        let points = [MemoryPoint { at: Nanos(150), resident: 1, anonymous: 1, file: 0 }];
        let write = |name: &str, in_parts: bool| {
            let spec = RequestSpec {
                case: "c".to_owned(),
                pass: Pass::Traced,
                round: 0,
                warmup: false,
                fresh: false,
                counter_set: 0,
                input: PromptInput::Tokens(vec![1]),
                filler: Vec::new(),
                new_tokens: 3,
                ignore_eos: true,
                trace: TraceTargets {
                    epoch: Nanos(50),
                    ops: Some(folder.path().join(name)),
                    ..TraceTargets::default()
                },
            };
            let process = Process { pid: 5, name: "worker".to_owned() };
            let mut trace = RequestTrace::new(&spec.trace, process, false, &spec);
            if in_parts {
                trace.write_part(ops(100, 10), &phases[..1]);
                trace.write_part(ops(210, 5), &phases[1..2]);
                trace.finish(ops(270, 3), &phases[2..], &timing, &points, &EventRates::default()).unwrap();
            } else {
                let mut batch = ops(100, 10);
                batch.events.extend(ops(210, 5).events);
                batch.events.extend(ops(270, 3).events);
                trace.finish(batch, &phases, &timing, &points, &EventRates::default()).unwrap();
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
