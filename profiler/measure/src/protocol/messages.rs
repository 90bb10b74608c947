//! The messages: one JSON value per line, one reply per message.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine_api::{DeviceMemory, Identity, LoadOptions, Request, ServerInfo};
use record::{CounterTotals, MemoryNodeRow, Pass, PassFigures, Reason, Sample, ServerFile, TopLogprobs};
use serde::{Deserialize, Serialize};
use traces::Nanos;

use super::answer::Answer;
use super::preprocessing::PreprocessingTimes;
use super::probe::{ProberCommand, ProberReply};
use crate::plan::PromptInput;

/// A message of the main process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Open an engine. It comes first.
    Open(Open),
    /// Make a fresh session; the previous one is dropped.
    Load(Box<Load>),
    /// Drop the session and give its memory back.
    Unload,
    /// Run one request and measure it.
    Measure(Box<RequestSpec>),
    /// Compute the most likely tokens at each position of a text; nothing is measured.
    Examine(Examine),
    /// Measure a limit of the machine with the threads of this process; no engine is needed.
    Probe(ProberCommand),
    /// End.
    Quit,
}

/// Which engine a worker opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// `name` or `name:variant`, whatever its label in the run.
    pub engine: String,
    /// Names of the counters to read.
    pub counters: Vec<String>,
    /// Name of the process in traces.
    pub title: String,
    /// Number of the process in traces where time is virtual: a real process id would differ from run to run.
    pub number: u32,
}

/// How a session is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The checkpoint; `None` if a server has the model.
    pub path: Option<PathBuf>,
    /// Its files, whose share in the page cache is measured.
    pub files: Vec<PathBuf>,
    /// Options of the engine.
    pub options: LoadOptions,
    /// The server's process, if the user named it.
    pub pid: Option<u32>,
    /// Drop the files from the page cache first.
    pub cold: bool,
    /// Marks that the recorder holds for each thread.
    pub marks_per_thread: usize,
    /// Token ids that end a generation.
    pub end_tokens: Vec<u32>,
    /// The sliding window of the model, if its checkpoint lacks it.
    pub window: Option<usize>,
    /// Where the trace of loading is written.
    pub part: Option<TracePart>,
}

/// A trace file whose times count from the run's epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePart {
    /// The file.
    pub path: PathBuf,
    /// The clock reading at which the run's traces begin.
    pub epoch: Nanos,
}

/// One request, and how it is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestSpec {
    /// The case's id.
    pub case: String,
    /// Which instruments are on.
    pub pass: Pass,
    /// Its round.
    pub round: usize,
    /// A warm-up request: summaries leave it out.
    pub warmup: bool,
    /// The first request of a fresh session.
    pub fresh: bool,
    /// Which set of counters is read (stepped and counted pass).
    #[serde(default)]
    pub counter_set: usize,
    /// The prompt.
    pub input: PromptInput,
    /// Tokens in the context before the prompt.
    pub filler: Vec<u32>,
    /// The most tokens of the answer.
    pub new_tokens: usize,
    /// Continue after an end-of-generation token.
    pub ignore_eos: bool,
    /// Where its trace is written.
    pub trace: TraceTargets,
}

impl RequestSpec {
    /// The request in the form that engines take.
    pub fn request(&self) -> Request {
        Request { prompt: self.input.prompt(), max_new_tokens: self.new_tokens, ignore_eos: self.ignore_eos }
    }
}

/// The files that a request's trace is written to, each a complete trace file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceTargets {
    /// The clock reading at which the run's traces begin: all files of a run share one time axis.
    pub epoch: Nanos,
    /// Requests, phases and memory; the main process appends this file to the run's own trace.
    pub part: Option<PathBuf>,
    /// Whether that file also holds the ops.
    pub ops_in_part: bool,
    /// The same with ops: the case's own file.
    pub ops: Option<PathBuf>,
}

impl TraceTargets {
    /// A clock reading on the time axis of the run's trace, in microseconds; `None` if nothing is traced.
    pub(crate) fn start_us(&self, at: Nanos) -> Option<f64> {
        let traced = self.part.is_some() || self.ops.is_some();
        traced.then(|| at.saturating_sub(self.epoch).as_micros_f64())
    }
}

/// A text at whose positions the engine's most likely tokens are computed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examine {
    /// Tokens in the context before the prompt, run separately as in a measured request.
    pub filler: Vec<u32>,
    /// Tokens that are run at once; at least one.
    pub prompt: Vec<u32>,
    /// The tokens after the prompt, run one at a time, whatever the engine would have sampled.
    pub text: Vec<u32>,
    /// How many of the most likely tokens are returned for each position.
    pub top: usize,
}

/// A reply of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The engine is open.
    Opened(Box<Opened>),
    /// The session is ready.
    Loaded(Box<Loaded>),
    /// The session is dropped.
    Unloaded,
    /// The request was measured.
    Measured(Box<Measured>),
    /// The text was examined.
    Examined(Examined),
    /// The limit was measured.
    Probed(Box<ProberReply>),
    /// The command failed; the worker continues.
    Failed(Reason),
    /// A message for the user while a command runs: it is no reply.
    Notice(String),
}

/// An engine in a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// The worker's process id.
    pub pid: u32,
    /// The engine.
    pub identity: Identity,
    /// Counters that are read.
    pub counters: Vec<String>,
    /// Why other counters are not read.
    pub absent: BTreeMap<String, Reason>,
}

/// Memory of a process at one time, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReading {
    /// Resident.
    pub resident: u64,
    /// Anonymous.
    pub anonymous: u64,
    /// Backed by files, and shared.
    pub file: u64,
}

impl MemoryReading {
    /// The same as a point of a timeline.
    pub(crate) const fn point(self, at: Nanos) -> meter::MemoryPoint {
        meter::MemoryPoint { at, resident: self.resident, anonymous: self.anonymous, file: self.file }
    }
}

/// The figures of loading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// When opening the checkpoint began.
    pub started: Nanos,
    /// When the session could answer.
    pub ended: Nanos,
    /// Share of the model's files in the page cache before.
    pub cached_share: Result<f64, Reason>,
    /// Bytes read from storage while loading.
    pub read_bytes: Result<u64, Reason>,
    /// Counters while loading.
    pub counters: CounterTotals,
    /// Memory before.
    pub before: Result<MemoryReading, Reason>,
    /// Memory after.
    pub after: Result<MemoryReading, Reason>,
    /// Resident memory of a server after loading, with shared pages counted once; `None` where no server computes.
    pub server_resident: Option<Result<u64, Reason>>,
    /// Bytes of KV cache that are reserved; `None` if the engine does not know them yet.
    pub kv_reserved: Option<u64>,
    /// Sets of counters; each takes a stepped request of its own.
    #[serde(default)]
    pub counter_sets: usize,
    /// Whether any event is counted.
    #[serde(default)]
    pub counts_events: bool,
    /// The server that computes, if it is another process.
    #[serde(default)]
    pub server: Option<ServerFile>,
    /// Why the trace could not be written.
    pub trace_error: Option<String>,
}

/// The figures of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its figures in the form that the record stores.
    pub sample: Sample,
    /// Its answer.
    pub answer: Answer,
    /// Seconds between the call and the begin of the first phase, and between the end of the last phase and the return: time that
    /// the engine spends outside of its phases.
    pub outside_s: f64,
    /// Memory before and after.
    pub memory: Result<(MemoryReading, MemoryReading), Reason>,
    /// Bytes read from storage.
    pub read_bytes: Result<u64, Reason>,
    /// Bytes of KV cache in use at the end; `None` if the engine does not know them.
    pub kv_used: Option<u64>,
    /// Bytes of KV cache that are reserved; `None` if the engine does not know them.
    pub kv_reserved: Option<u64>,
    /// What the engine's own allocator holds on its device after the request.
    #[serde(default)]
    pub device: Option<DeviceMemory>,
    /// The server, where more is known of it than after the load or the request before.
    #[serde(default)]
    pub server: Option<ServerInfo>,
    /// Figures of the first request of a fresh session.
    #[serde(default)]
    pub first: Option<FirstRequest>,
    /// Figures that only this pass gives.
    pub figures: PassFigures,
    /// Why the trace could not be written.
    pub trace_error: Option<String>,
}

/// What is read once per session, after its first request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstRequest {
    /// The server's steps before the model, if another process computes.
    pub preprocessing: Option<PreprocessingTimes>,
    /// Resident memory in huge pages.
    pub huge_pages: Result<u64, Reason>,
    /// Where memory and threads are among the memory nodes.
    pub nodes: Result<Vec<MemoryNodeRow>, Reason>,
}

/// The most likely tokens before each token of the text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Examined {
    /// One per token of the text.
    pub positions: Vec<TopLogprobs>,
}

#[cfg(test)]
mod tests {
    use record::{
        AllocationRow, Allocations, ExpertPassRow, ExpertRow, LayerRow, MemoryTimeline, OpCounters, OpRow, PhaseRow,
        Recorded, SteppedFigures, TracedFigures, WorkerRow,
    };

    use super::super::probe::ShortProbe;
    use super::*;

    #[test]
    fn messages_are_unchanged_by_json() {
        let spec = RequestSpec {
            case: "mock/tiny/p/t1/d0".to_owned(),
            pass: Pass::Traced,
            round: 3,
            warmup: false,
            fresh: true,
            counter_set: 1,
            input: PromptInput::Text { text: "line\nbreak \u{1F600}".to_owned(), add_bos: true, messages: Vec::new() },
            filler: vec![5, 6],
            new_tokens: 8,
            ignore_eos: true,
            trace: TraceTargets { part: Some("/t".into()), ..TraceTargets::default() },
        };
        let messages = [
            ToWorker::Open(Open {
                engine: "mock:slow".to_owned(),
                counters: vec!["cycles".to_owned()],
                title: "mock:slow".to_owned(),
                number: 2,
            }),
            ToWorker::Load(Box::new(Load {
                path: Some("/m.gguf".into()),
                files: vec!["/m.gguf".into()],
                options: LoadOptions::default(),
                pid: Some(7),
                cold: true,
                marks_per_thread: 9,
                end_tokens: vec![2],
                window: Some(4096),
                part: Some(TracePart { path: "/p".into(), epoch: Nanos(7) }),
            })),
            ToWorker::Unload,
            ToWorker::Measure(Box::new(spec)),
            ToWorker::Probe(ProberCommand::Short { threads: 2, bytes: 1 << 28 }),
            ToWorker::Examine(Examine { filler: vec![1], prompt: vec![2], text: vec![3], top: 4 }),
            ToWorker::Quit,
        ];
        for message in messages {
            let line = serde_json::to_string(&message).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<ToWorker>(&line).unwrap(), message);
        }
    }

    #[test]
    fn replies_are_unchanged_by_json() {
        let timeline = MemoryTimeline {
            points: vec![record::MemoryPoint { at_s: -0.1, anonymous_bytes: 1, file_backed_bytes: 2 }],
            timer_share: Some(0.001),
        };
        let measured = |figures: PassFigures| Measured {
            sample: Sample { case: "c".to_owned(), latency_s: 0.1.into(), ..Sample::absent("not measured") },
            answer: Answer {
                text: "a\n".to_owned(),
                token_ids: vec![1],
                prompt_ids: vec![],
                prompt_tokens: 3,
                output_tokens: 1,
                finish: engine_api::FinishReason::Stop,
                reported: None,
            },
            outside_s: 0.0,
            memory: Ok((MemoryReading::default(), MemoryReading { resident: 5, anonymous: 2, file: 3 })),
            read_bytes: Err(Reason::new("why")),
            kv_used: Some(1),
            kv_reserved: Some(2),
            device: Some(DeviceMemory { active: 3, peak: Some(4), cache: None }),
            server: Some(ServerInfo::unknown("not asked")),
            first: Some(FirstRequest {
                preprocessing: Some(PreprocessingTimes::default()),
                huge_pages: Err(Reason::new("why")),
                nodes: Ok(vec![MemoryNodeRow { node: 1, model_bytes: 2, anonymous_bytes: 3, threads: 4 }]),
            }),
            figures,
            trace_error: None,
        };
        let figures = [
            PassFigures::Clean,
            PassFigures::Stepped(SteppedFigures {
                phases: vec![PhaseRow::absent("not measured")],
                counters: CounterTotals {
                    values: [("cycles".to_owned(), Recorded::absent("why"))].into(),
                    notes: [("faults".to_owned(), "extrapolated".to_owned())].into(),
                },
                timeline: timeline.clone(),
            }),
            PassFigures::Traced(TracedFigures {
                ops: vec![OpRow::absent("no cost")],
                layers: vec![LayerRow::absent("no cost")],
                threads: vec![WorkerRow::default()],
                experts: vec![ExpertRow::absent("no cost")],
                expert_passes: vec![ExpertPassRow::absent("no cost")],
                allocations: Ok(Allocations { rows: vec![AllocationRow::default()], held: -5 }),
                dropped: 1,
                timeline,
            }),
            PassFigures::Counted(vec![OpCounters::absent("unused")]),
        ];
        let loaded = Loaded {
            started: Nanos(1),
            ended: Nanos(2),
            cached_share: Ok(0.5),
            read_bytes: Err(Reason::new("why")),
            counters: CounterTotals::default(),
            before: Ok(MemoryReading::default()),
            after: Err(Reason::new("it ended")),
            server_resident: Some(Ok(7)),
            kv_reserved: Some(3),
            counter_sets: 1,
            counts_events: false,
            server: None,
            trace_error: None,
        };
        let short = ShortProbe { memory_read: 1e10.into(), ..ShortProbe::absent("not probed") };
        let replies = [
            FromWorker::Unloaded,
            FromWorker::Examined(Examined { positions: vec![TopLogprobs { ids: vec![3], logprobs: vec![-0.1] }] }),
            FromWorker::Probed(Box::new(ProberReply::Short(short))),
            FromWorker::Failed(Reason::new("no")),
            FromWorker::Notice("waiting".to_owned()),
            FromWorker::Loaded(Box::new(loaded)),
        ];
        for reply in replies.into_iter().chain(figures.map(|figures| FromWorker::Measured(Box::new(measured(figures)))))
        {
            let line = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<FromWorker>(&line).unwrap(), reply);
        }
    }
}
