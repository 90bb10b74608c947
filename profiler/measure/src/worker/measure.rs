//! One request in the worker, in one of the three passes.
//!
//! ```text
//!  reset, fill to the depth, make the stopwatch | memory, CPU time, load | REQUEST | the same again | figures
//!                                                 read outside of           timed    the timed region
//! ```

use engine_api::{Session, Usage};
use traces::clock;
use traces::record::Batch;

use super::beacon::Beacon;
use super::family::{self, Family};
use super::moments::moments;
use super::part::RequestTrace;
use super::protocol::{Ask, Input, Measured, MemoryEdge};
use super::serve::{Bench, note};
use crate::drive::{self, Answer, AskedAhead, OpSums, PhaseCounts, PhaseSpan, Stopwatch, Timing, Tracks, WorkSums};
use ::record::{Pass, Sample};
use meter::environment::{Strain, Strained};
use meter::process::ProcessReading;
use meter::root::Root;
use meter::{self, MachineLoad, Memory, Tally, Timeline, VIRTUAL};

/// What stands before the request and is compared after it.
struct Before {
    memory: Result<MemoryEdge, String>,
    peak: Result<(), String>,
    cpu_s: f64,
    load: Result<MachineLoad, String>,
    read_bytes: Result<u64, String>,
    strain: Option<Strained>,
    /// The server's processes, where another process computes.
    server: Option<Result<ProcessReading, String>>,
}

/// What the marks of a traced request gave.
#[derive(Default)]
struct Recorded {
    ops: OpSums,
    work: WorkSums,
    dropped: u64,
    /// What is not written yet.
    last: Batch,
    last_phases: Vec<PhaseSpan>,
}

impl Recorded {
    fn add(&mut self, batch: &Batch, phases: &[PhaseSpan]) {
        self.ops.add(&batch.events, phases);
        self.work.add(batch, phases);
        self.dropped += batch.dropped;
    }
}

/// Runs one request.
pub(super) fn measure(bench: &mut Bench, ask: &Ask, beacon: &Beacon) -> Result<Measured, String> {
    let engine = bench.name();
    let mut session = bench.session.take().ok_or("no session is loaded: expected `load` before `measure`")?;
    let result = run(bench, session.as_mut(), ask, beacon, &engine);
    // It stays usable after a failure: the next request resets it.
    bench.session = Some(session);
    result
}

fn run(
    bench: &mut Bench,
    session: &mut dyn Session,
    ask: &Ask,
    beacon: &Beacon,
    engine: &str,
) -> Result<Measured, String> {
    let virtual_time = bench.virtual_clock.is_some();
    fill(session, &ask.filler, engine)?;
    bench.meter.select(ask.counter_set)?;
    let request = ask.request();
    let mut watch = Stopwatch::new(ask.new_tokens, beacon);
    // The server computes elsewhere: watching its memory takes nothing from it, and without that only a single process has a peak.
    let timeline = match &bench.family {
        Some(family) => family.as_ref().ok().and_then(|family| family.watch().ok()),
        None if matches!(ask.pass, Pass::Clean | Pass::Counted) || virtual_time => None,
        None => Timeline::start().ok(),
    };
    let before = bench.before();
    let started = drive::rfc3339(clock::unix_time());

    let called = clock::now();
    let mut recorded = Recorded::default();
    let mut trace = RequestTrace::new(&ask.trace, bench.process.clone(), virtual_time, ask);
    let mut counts = PhaseCounts::new();
    let mut tracks = Tracks::default();
    let mut op_counters = Vec::new();
    let mut allocations = None;
    let usage: Usage = match ask.pass {
        Pass::Clean => session.generate(&request, &mut watch).map_err(|error| error.to_string())?,
        Pass::Stepped => {
            let walked = drive::walk(session, ask, &bench.end_tokens, &mut bench.meter, beacon, &mut watch)
                .map_err(|error| error.to_string())?;
            let walked = walked.ok_or_else(|| format!("engine {engine} lends no steps: it has no stepped pass"))?;
            (counts, tracks) = (walked.counts, walked.tracks);
            walked.usage
        }
        Pass::Counted => {
            let (meter, marks) = (&mut bench.meter, bench.marks_per_thread);
            let counted = drive::count_ops(session, &request, marks, meter, &mut watch);
            let (usage, rows) = counted.map_err(|error| error.to_string())?;
            op_counters = rows;
            usage
        }
        Pass::Traced => {
            let mut take = |batch: Batch, phases: &[PhaseSpan], more| {
                recorded.add(&batch, phases);
                if more {
                    trace.part(batch, phases);
                } else {
                    recorded.last = batch;
                    recorded.last_phases = phases.to_vec();
                }
            };
            let traced = drive::trace(session, &request, bench.marks_per_thread, None, &mut watch, &mut take)
                .map_err(|error| error.to_string())?;
            allocations = Some(traced.allocations);
            traced.usage
        }
    };
    let returned = clock::now();

    let timing = Timing::read(&watch).map_err(|error| error.to_string())?;
    let mut sample = Sample {
        case: ask.case.clone(),
        pass: ask.pass,
        round: ask.round,
        warmup: ask.warmup,
        fresh: ask.fresh,
        counter_set: ask.counter_set,
        started,
        ..Sample::default()
    };
    let watched = timeline.map(Timeline::finish).unwrap_or_default();
    let (memory, read_bytes) = bench.after(before, &mut sample);
    // Milliseconds, since the kernel looks at every page: once a session is enough.
    let elsewhere = bench.family.is_some().then(|| "not looked at in a server's processes".to_owned());
    let absent = if virtual_time { Some(VIRTUAL.to_owned()) } else { elsewhere };
    let huge_pages = ask.fresh.then(|| absent.clone().map_or_else(meter::huge_pages, Err));
    let nodes = ask.fresh.then(|| absent.map_or_else(|| meter::placement(&Root::system(), &bench.files), Err));
    let (allocations, uncounted) = match allocations.transpose() {
        Ok(allocations) => (allocations, None),
        Err(reason) => (None, Some(reason)),
    };
    let timer_share = watched.share();
    let mut points = watched.points;
    if let Some((earlier, later)) = memory {
        points.insert(0, earlier.point(called));
        points.push(later.point(returned));
        points.sort_by_key(|point| point.at);
    }
    let answer = Answer::of(&watch, usage);
    drive::time_figures(&mut sample, &timing, &answer, split(bench, ask.pass), matches!(ask.input, Input::Tokens(_)));
    drive::server_figures(&mut sample, &timing, &answer, watch.prefill_began());
    if let Some(server) = &mut sample.server {
        server.counters = std::mem::take(&mut bench.counted);
    }
    sample.trace_us = ask.trace.start_us(timing.start());
    if sample.trace_us.is_none() {
        sample.reasons.insert("trace_us".to_owned(), "the run writes no trace (--trace off)".to_owned());
    }
    let kv = session.kv_bytes();
    let attributed = drive::attribute(&recorded.ops, &timing);
    let mut measured = Measured {
        outside_s: if ask.pass == Pass::Stepped {
            0.0
        } else {
            timing.start().saturating_sub(called).saturating_add(returned.saturating_sub(timing.end())).as_secs_f64()
        },
        memory,
        read_bytes: read_bytes.as_ref().ok().copied(),
        kv_used: kv.used,
        kv_reserved: kv.reserved,
        device: session.device_memory(),
        ahead: session.server().filter(|_| ask.fresh).map(|server| AskedAhead::ask(server, &request.prompt)),
        phases: Vec::new(),
        counters: std::collections::BTreeMap::new(),
        counter_reasons: record::Reasons::new(),
        op_counters,
        ops: attributed.ops,
        layers: attributed.layers,
        workers: recorded.work.rows(),
        held: allocations.as_ref().map(|allocations| allocations.held),
        allocations: allocations.map(|allocations| allocations.rows).unwrap_or_default(),
        uncounted,
        huge_pages,
        nodes,
        timer_share,
        dropped: recorded.dropped,
        memory_timeline: if matches!(ask.pass, Pass::Clean | Pass::Counted) {
            Vec::new()
        } else {
            moments(&points, timing.start())
        },
        answer,
        trace_error: trace.finish(recorded.last, &recorded.last_phases, &timing, &points, &tracks).err(),
        sample,
    };
    if ask.pass == Pass::Stepped {
        bench.count(&mut measured, &timing, &counts, read_bytes);
        let (spans, whole) = bench.meter.energy().take();
        let counters: Vec<_> = bench.meter.energy().counters().collect();
        let to = (&mut measured.phases, &mut measured.counters, &mut measured.counter_reasons);
        drive::add_energy(to, &counters, &spans, whole.as_ref());
    }
    Ok(measured)
}

/// An empty context, then `filler` in it.
pub(super) fn fill(session: &mut dyn Session, filler: &[u32], engine: &str) -> Result<(), String> {
    session.reset().map_err(|error| error.to_string())?;
    if filler.is_empty() {
        return Ok(());
    }
    let depth = filler.len();
    let steps = session.steps().ok_or_else(|| {
        format!("engine {engine} lends no steps: its context cannot be filled to depth {depth} before the request")
    })?;
    steps.prefill(filler).and_then(|()| steps.sync()).map_err(|error| error.to_string())
}

/// The profiler walks the stepped pass itself: nothing is merged there.
fn split(bench: &Bench, pass: Pass) -> engine_api::PhaseSplit {
    if pass == Pass::Stepped {
        engine_api::PhaseSplit { tokenize: true, sample: true, detokenize: true }
    } else {
        bench.caps().phases
    }
}

impl Bench {
    fn before(&mut self) -> Before {
        let family = self.family.as_ref().and_then(|family| family.as_ref().ok());
        if let Some(family) = family {
            family.reset_peak();
        }
        Before {
            strain: self.strain.as_ref().map(Strain::now),
            read_bytes: self.meter.read_bytes(),
            load: MachineLoad::read(),
            memory: self.memory(),
            server: self.server(),
            // Last, so that the readings above are not part of the peak.
            peak: self.meter.reset_peak(),
            cpu_s: self.meter.cpu_seconds(),
        }
    }

    /// The server's processes now; `None` where this process computes.
    fn server(&self) -> Option<Result<ProcessReading, String>> {
        let family = self.family.as_ref()?;
        Some(family.as_ref().map_err(String::clone).and_then(Family::read))
    }

    /// Fills in what was read around the request; returns memory before and after, and bytes read from storage.
    fn after(
        &mut self,
        before: Before,
        sample: &mut Sample,
    ) -> (Option<(MemoryEdge, MemoryEdge)>, Result<u64, String>) {
        let own_s = self.meter.cpu_seconds() - before.cpu_s;
        let server = before.server.map(|earlier| Ok((earlier?, self.server().unwrap_or_else(|| Err(String::new()))?)));
        let (memory, peak) = match &server {
            None => self.meter.memory().map(|memory| (edge(&memory), memory.peak)),
            Some(server) => server.clone().map(|(_, later)| (family::edge(&later), later.memory.peak)),
        }
        .map_or_else(|reason| (Err(reason), 0), |(edge, peak)| (Ok(edge), peak));
        self.counted =
            server.iter().flatten().map(|(earlier, later)| family::counted(earlier, later)).next().unwrap_or_default();
        let load = MachineLoad::read();
        let read = match &server {
            None => before.read_bytes.and_then(|earlier| Ok(self.meter.read_bytes()?.saturating_sub(earlier))),
            Some(server) => server.clone().and_then(|(earlier, later)| storage(&earlier, &later)),
        };
        match (&self.strain, before.strain) {
            (Some(strain), Some(earlier)) => strain.fill(earlier, sample),
            _ => Strain::fill_virtual(sample, VIRTUAL),
        }
        let reasons = &mut sample.reasons;
        let computed = match &server {
            None => Ok(own_s),
            Some(server) => server.clone().map(|(earlier, later)| cpu_seconds(&later) - cpu_seconds(&earlier)),
        };
        sample.cpu_s = note(reasons, "cpu_s", computed);
        // What this process and the server take is not other people's.
        let ours = if server.is_some() { own_s + sample.cpu_s.unwrap_or(0.0) } else { own_s };
        let shares = match (&server, sample.cpu_s) {
            (Some(_), None) => Err("the server's own part of the load is not known".to_owned()),
            _ => before.load.and_then(|earlier| load?.shares_since(&earlier, ours)),
        };
        if let Err(reason) = &shares {
            reasons.insert("steal".to_owned(), reason.clone());
        }
        (sample.load_others, sample.steal) = note(reasons, "load_others", shares).unzip();
        let both = before.memory.and_then(|earlier| Ok((earlier, memory?)));
        let Some((earlier, later)) = note(reasons, "memory_delta_bytes", both) else {
            let reason = reasons.get("memory_delta_bytes").cloned().unwrap_or_default();
            reasons.insert("memory_peak_delta_bytes".to_owned(), reason.clone());
            reasons.insert("memory_peak_bytes".to_owned(), reason);
            return (None, read);
        };
        sample.memory_delta_bytes = Some(difference(later.resident, earlier.resident));
        match before.peak {
            Ok(()) => {
                let peak = peak.max(later.resident);
                sample.memory_peak_bytes = Some(peak);
                sample.memory_peak_delta_bytes = Some(difference(peak, earlier.resident));
            }
            Err(reason) => {
                reasons.insert("memory_peak_delta_bytes".to_owned(), reason.clone());
                reasons.insert("memory_peak_bytes".to_owned(), reason);
            }
        }
        (Some((earlier, later)), read)
    }

    /// Fills in the stepped pass's counters: per phase, and over the request.
    #[allow(clippy::cast_precision_loss, reason = "byte counts stay far below 2^53")]
    fn count(&self, measured: &mut Measured, timing: &Timing, counts: &PhaseCounts, read_bytes: Result<u64, String>) {
        let counted = self.meter.counted();
        measured.phases = drive::phase_rows(timing, counts, &counted);
        let mut whole = Tally::default();
        counts.values().for_each(|tally| whole.merge(tally));
        let totals = drive::totals(&whole, &counted);
        measured.counters = totals.values;
        measured.counter_reasons = totals.reasons;
        for (name, reason) in &self.absent {
            measured.counters.insert(name.clone(), None);
            measured.counter_reasons.insert(name.clone(), reason.clone());
        }
        let read = note(&mut measured.counter_reasons, "read_bytes", read_bytes).map(|bytes| bytes as f64);
        measured.counters.insert("read_bytes".to_owned(), read);
    }
}

const fn edge(memory: &Memory) -> MemoryEdge {
    MemoryEdge { resident: memory.resident, anonymous: memory.anonymous, file: memory.file }
}

fn cpu_seconds(reading: &ProcessReading) -> f64 {
    reading.cpu_user_s + reading.cpu_system_s
}

/// Bytes that a server read from storage between two readings.
fn storage(earlier: &ProcessReading, later: &ProcessReading) -> Result<u64, String> {
    let reason = || later.reasons.get("read_bytes").cloned().unwrap_or_default();
    let bytes = earlier.read_bytes.zip(later.read_bytes).map(|(earlier, later)| later.saturating_sub(earlier));
    bytes.ok_or_else(reason)
}

fn difference(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or(i64::MAX)
}
