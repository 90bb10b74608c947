//! Measures one request in one of the passes.
//!
//! ```text
//!  reset, fill the context, make the stopwatch | memory, CPU time, load | REQUEST | the same again | figures
//!                                                read outside of          timed     the timed region
//! ```

use engine_api::{Advice as _, EngineError, PhaseSplit, Request, ServerInfo, ServerLoad, Session, Usage};
use meter::{MemorySampler, Root, Tally, VIRTUAL};
use record::{OpCounters, Pass, Reason, Reasons, Recorded, Sample, Setting};
use traces::record::Batch;
use traces::{Nanos, clock};

use super::memory_timeline;
use super::open_engine::OpenEngine;
use super::open_session::OpenSession;
use super::passes::{
    self, EventRates, ExpertSums, OpSums, PhaseCounts, PhaseSpan, Stopwatch, ThreadWork, Timing, run_counted,
    run_stepped, run_traced,
};
use super::preprocessing;
use super::readings::Before;
use super::request_trace::RequestTrace;
use crate::plan::PromptInput;
use crate::protocol::{
    Allocations, FirstRequest, Measured, MemoryTimeline, PassFigures, RequestSpec, SharedStatus, SteppedFigures,
    TracedFigures,
};
use crate::timestamp::rfc3339;

/// How often a request is sent again at most because its server asks for it.
const MOST_REPEATS: usize = 8;

/// Why a request has no figures.
enum Failure {
    /// It failed.
    Final(Reason),
    /// Its server asks for the same request after this time.
    Repeat { reason: Reason, wait: Nanos },
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Final(reason)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let reason = Reason::new(error.with_advice());
        match error {
            EngineError::Repeat { wait, .. } => Self::Repeat { reason, wait: Nanos::from_secs_f64(wait.as_secs_f64()) },
            _ => Self::Final(reason),
        }
    }
}

/// Runs one request. If its server asks for it, the request is measured anew from its beginning; `notify` receives the server's reason.
pub(super) fn measure(
    engine: &mut OpenEngine,
    spec: &RequestSpec,
    status: &SharedStatus,
    notify: &mut dyn FnMut(&str),
) -> Result<Measured, Reason> {
    let mut session = engine.session.take().ok_or("no session is loaded: expected `load` before `measure`")?;
    let mut repeats = 0;
    let result = loop {
        match run(engine, &mut session, spec, status) {
            Ok(measured) => break Ok(measured),
            Err(Failure::Repeat { reason, wait }) if repeats < MOST_REPEATS && !status.stop_requested() => {
                repeats += 1;
                notify(reason.as_str());
                pause(wait, status);
            }
            Err(Failure::Final(reason) | Failure::Repeat { reason, .. }) => break Err(reason),
        }
    };
    // The session is usable after a failure: the next request resets it.
    engine.session = Some(session);
    result
}

/// Waits, but not longer than until the run is interrupted.
fn pause(time: Nanos, status: &SharedStatus) {
    const SLICE: Nanos = Nanos::from_millis(100);
    let mut left = time;
    while left > Nanos::ZERO && !status.stop_requested() {
        clock::sleep(left.min(SLICE));
        left = left.saturating_sub(SLICE);
    }
}

/// What a pass gives besides the times.
enum PassOutput {
    Clean,
    Stepped { counts: PhaseCounts, rates: EventRates },
    Traced { marks: Box<Marks>, allocations: Result<Allocations, Reason> },
    Counted(Vec<OpCounters>),
}

/// The marks of a traced request.
#[derive(Default)]
struct Marks {
    ops: OpSums,
    experts: ExpertSums,
    threads: ThreadWork,
    dropped: u64,
    /// The last batch, which is not written yet.
    last: Batch,
    last_phases: Vec<PhaseSpan>,
}

impl Marks {
    fn add(&mut self, batch: &Batch, phases: &[PhaseSpan]) {
        self.ops.add(&batch.events, phases);
        self.experts.add(&batch.events, phases);
        self.threads.add(batch, phases);
        self.dropped += batch.dropped;
    }
}

fn run(
    engine: &mut OpenEngine,
    open: &mut OpenSession,
    spec: &RequestSpec,
    status: &SharedStatus,
) -> Result<Measured, Failure> {
    open.fill(&spec.filler, &engine.name())?;
    let session = open.session.as_mut();
    engine.meter.select(spec.counter_set)?;
    let request = spec.request();
    // A server may send more pieces of text than tokens.
    let most = if session.server().is_some() { request.most_pieces() } else { spec.new_tokens };
    let mut watch = Stopwatch::new(most, status);
    let mut trace = RequestTrace::new(&spec.trace, engine.process.clone(), engine.is_virtual(), spec);
    let load_before = server_load(session);
    let sampler = memory_sampler(engine, spec.pass);
    let before = Before::read(engine);
    let started = rfc3339(clock::unix_time());

    let called = clock::now();
    let output = run_pass(engine, session, spec, &request, status, &mut watch, &mut trace);
    let returned = clock::now();

    let samples = sampler.map(MemorySampler::finish).unwrap_or_default();
    let (usage, output) = output?;
    let timing = Timing::read(&watch).map_err(|error| Reason::new(error.to_string()))?;
    let difference = before.finish(engine);
    // They take milliseconds, since the kernel walks all pages: once per session is enough.
    let pages = spec.fresh.then(|| pages(engine));
    let timer_share = samples.cpu_share();
    let mut points = samples.points;
    if let Ok((earlier, later)) = difference.memory {
        points.insert(0, earlier.point(called));
        points.push(later.point(returned));
        points.sort_by_key(|point| point.at);
    }
    let load = load_after(session, load_before);
    let mut answer = passes::answer(&watch, usage);
    let mut notes = Reasons::new();
    match (&load, &mut answer.reported) {
        (Ok(Some((before, after))), Some(reported)) => reported.add_load(before, after),
        (Err(reason), _) => drop(notes.insert("server.other_requests".to_owned(), reason.to_string())),
        _ => {}
    }
    let server = learned(engine, session, load.ok().flatten().map(|(_, after)| after));
    let from_tokens = matches!(spec.input, PromptInput::Tokens(_));
    let mut times = passes::time_figures(&timing, &answer, phase_split(engine, spec.pass), from_tokens);
    let progress = watch.prefill_began();
    let counters = difference.server_counters;
    let tokenizer = engine.tokenizer_of_server.as_ref();
    let of_request = passes::server_figures(&mut times, &timing, &answer, &request, tokenizer, progress, counters);
    notes.append(&mut times.notes);
    let trace_us = spec.trace.start_us(timing.start());
    let pressure = difference.pressure;
    let sample = Sample {
        case: spec.case.clone(),
        pass: spec.pass,
        round: spec.round,
        warmup: spec.warmup,
        disturbed: None,
        repeated: false,
        counter_set: spec.counter_set,
        fresh: spec.fresh,
        started,
        trace_us: trace_us
            .ok_or_else(|| Reason::new(format!("the run writes no trace ({} off)", Setting::Trace)))
            .into(),
        latency_s: times.latency_s,
        ttft_s: times.ttft_s,
        tokenize_s: times.tokenize_s,
        prefill_s: times.prefill_s,
        decode_s: times.decode_s,
        sample_s: times.sample_s,
        detokenize_s: times.detokenize_s,
        other_s: times.other_s,
        prompt_tokens: times.prompt_tokens,
        output_tokens: times.output_tokens,
        tps: times.tps,
        prefill_tps: times.prefill_tps,
        decode_tps: times.decode_tps,
        memory_delta_bytes: difference.memory_delta_bytes,
        memory_peak_delta_bytes: difference.memory_peak_delta_bytes,
        memory_peak_bytes: difference.memory_peak_bytes,
        cpu_s: difference.cpu_s,
        load_others: difference.load_others,
        steal: difference.steal,
        throttled_s: pressure.throttled_s,
        memory_stall_s: pressure.memory_stall_s,
        io_stall_s: pressure.io_stall_s,
        frequency_hz: pressure.frequency_hz,
        token_times_s: times.token_times_s,
        server: of_request,
        output_sha256: answer.sha256().into(),
        estimated: times.estimated,
        notes,
    };
    let kv = session.kv_bytes();
    let first = pages.map(|(huge_pages, nodes)| FirstRequest {
        preprocessing: session.server().map(|server| preprocessing::measure(server, &request.prompt)),
        huge_pages,
        nodes,
    });
    let outside = timing.start().saturating_sub(called).saturating_add(returned.saturating_sub(timing.end()));
    let timeline = || MemoryTimeline { points: memory_timeline::reduced(&points, timing.start()), timer_share };
    let read_bytes = difference.read_bytes;
    let (mut last, mut last_phases, mut rates) = (Batch::default(), Vec::new(), EventRates::default());
    let figures = match output {
        PassOutput::Clean => PassFigures::Clean,
        PassOutput::Counted(rows) => PassFigures::Counted(rows),
        PassOutput::Stepped { counts, rates: measured } => {
            rates = measured;
            PassFigures::Stepped(stepped_figures(engine, &timing, &counts, read_bytes.clone(), timeline()))
        }
        PassOutput::Traced { marks, allocations } => {
            (last, last_phases) = (marks.last, marks.last_phases);
            let attributed = passes::attribute(&marks.ops, &timing);
            PassFigures::Traced(TracedFigures {
                ops: attributed.ops,
                layers: attributed.layers,
                threads: marks.threads.rows(),
                experts: marks.experts.layers(),
                expert_passes: marks.experts.passes(),
                allocations,
                dropped: marks.dropped,
                timeline: timeline(),
            })
        }
    };
    let trace_error = trace.finish(last, &last_phases, &timing, &points, &rates).err().map(|error| error.to_string());
    Ok(Measured {
        // The profiler itself runs the steps of a stepped request.
        outside_s: if spec.pass == Pass::Stepped { 0.0 } else { outside.as_secs_f64() },
        memory: difference.memory,
        read_bytes,
        kv_used: kv.map(|kv| kv.used),
        kv_reserved: kv.map(|kv| kv.reserved),
        device: session.device_memory(),
        server,
        first,
        figures,
        answer,
        trace_error,
        sample,
    })
}

/// How often the load is read again after a request until the server has counted it, and the time between.
const MOST_READINGS: usize = 10;
const READING_PAUSE: Nanos = Nanos::from_millis(20);

/// How busy the server is, if it says so.
fn server_load(session: &dyn Session) -> Result<Option<ServerLoad>, Reason> {
    let Some(server) = session.server() else { return Ok(None) };
    server.load().map_err(|error| Reason::new(error.with_advice()))
}

/// The load before and after a request.
fn load_after(
    session: &dyn Session,
    before: Result<Option<ServerLoad>, Reason>,
) -> Result<Option<(ServerLoad, ServerLoad)>, Reason> {
    let Some(before) = before? else { return Ok(None) };
    for reading in 1.. {
        let Some(after) = server_load(session)? else { return Ok(None) };
        if after.has_settled_since(&before) || reading == MOST_READINGS {
            return Ok(Some((before, after)));
        }
        clock::sleep(READING_PAUSE);
    }
    Ok(None)
}

/// What is known of the server, if that is more than before.
fn learned(engine: &mut OpenEngine, session: &dyn Session, load: Option<ServerLoad>) -> Option<ServerInfo> {
    let mut info = session.server()?.info();
    // Facts about a loaded model are kept when a later reading lacks them.
    for (name, text) in engine.info.iter().flat_map(|earlier| &earlier.details) {
        info.details.entry(name.clone()).or_insert_with(|| text.clone());
    }
    info.details.extend(load.map(|load| load.details).unwrap_or_default());
    let is_new = engine.info.as_ref() != Some(&info);
    engine.info = Some(info.clone());
    is_new.then_some(info)
}

/// Runs the request in its pass.
fn run_pass<'s>(
    engine: &mut OpenEngine,
    session: &mut dyn Session,
    spec: &RequestSpec,
    request: &Request,
    status: &'s SharedStatus,
    watch: &mut Stopwatch<'s>,
    trace: &mut RequestTrace<'_>,
) -> Result<(Usage, PassOutput), Failure> {
    let marks_per_thread = engine.marks_per_thread;
    match spec.pass {
        Pass::Clean => Ok((session.generate(request, watch)?, PassOutput::Clean)),
        Pass::Stepped => {
            let steps = session.steps().ok_or_else(|| {
                Failure::Final(Reason::new(format!("engine {} has no steps, so it has no stepped pass", engine.name())))
            })?;
            let stepped = run_stepped(steps, spec, &engine.end_tokens, &mut engine.meter, status, watch);
            let stepped = stepped?;
            Ok((stepped.usage, PassOutput::Stepped { counts: stepped.counts, rates: stepped.rates }))
        }
        Pass::Counted => {
            let counted = run_counted(session, request, marks_per_thread, &mut engine.meter, watch);
            let (usage, rows) = counted?;
            Ok((usage, PassOutput::Counted(rows)))
        }
        Pass::Traced => {
            let mut marks = Box::<Marks>::default();
            let mut sink = |batch: Batch, phases: &[PhaseSpan], more| {
                marks.add(&batch, phases);
                if more {
                    trace.write_part(batch, phases);
                } else {
                    marks.last = batch;
                    marks.last_phases = phases.to_vec();
                }
            };
            let traced = run_traced(session, request, marks_per_thread, None, watch, &mut sink)?;
            Ok((traced.usage, PassOutput::Traced { marks, allocations: traced.allocations }))
        }
    }
}

/// Samples memory during the request, where that does not disturb it. A sampler that cannot start leaves the two readings before and
/// after the request.
fn memory_sampler(engine: &OpenEngine, pass: Pass) -> Option<MemorySampler> {
    match &engine.server {
        // The server computes in another process. Only a sampler measures the peak of several processes.
        Some(server) => server.as_ref().ok().and_then(|server| server.sample_memory().ok()),
        None if matches!(pass, Pass::Clean | Pass::Counted) || engine.is_virtual() => None,
        None => MemorySampler::start().ok(),
    }
}

type Pages = (Result<u64, Reason>, Result<Vec<record::MemoryNodeRow>, Reason>);

/// Resident memory in huge pages, and the memory nodes of this process.
fn pages(engine: &OpenEngine) -> Pages {
    let absent = if engine.is_virtual() {
        Reason::new(VIRTUAL)
    } else if engine.server.is_some() {
        Reason::new("not measured for the processes of a server")
    } else {
        return (meter::huge_pages(), meter::numa_placement(&Root::system(), &engine.files));
    };
    (Err(absent.clone()), Err(absent))
}

/// The phases that the pass tells apart. The profiler runs the stepped pass itself, so all of them there.
fn phase_split(engine: &OpenEngine, pass: Pass) -> PhaseSplit {
    if pass == Pass::Stepped {
        PhaseSplit { tokenize: true, sample: true, detokenize: true }
    } else {
        engine.caps().phases
    }
}

/// The counters of a stepped request: per phase, and over the request.
#[allow(clippy::cast_precision_loss, reason = "byte counts are far below 2^53")]
fn stepped_figures(
    engine: &mut OpenEngine,
    timing: &Timing,
    counts: &PhaseCounts,
    read_bytes: Result<u64, Reason>,
    timeline: MemoryTimeline,
) -> SteppedFigures {
    let counted = engine.meter.counted();
    let mut whole = Tally::default();
    counts.values().for_each(|tally| whole.merge(tally));
    let processors = std::thread::available_parallelism().ok().filter(|_| !engine.is_virtual());
    let mut figures = SteppedFigures {
        phases: passes::phase_rows(timing, counts, &counted, processors.map(std::num::NonZero::get)),
        counters: passes::totals(&whole, &counted),
        timeline,
    };
    let counters = &mut figures.counters.values;
    let absent = engine.meter.absent().iter();
    counters.extend(absent.map(|(name, reason)| ((*name).to_owned(), Recorded::Absent(reason.clone()))));
    counters.insert("read_bytes".to_owned(), read_bytes.map(|bytes| bytes as f64).into());
    passes::add_energy(&mut figures, engine.meter.energy());
    figures
}
