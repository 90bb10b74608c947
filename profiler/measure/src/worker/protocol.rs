//! What the main process and a worker say to each other: one JSON value a line, one answer per question.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine_api::{DeviceMemory, Identity, LoadOptions, Prompt, Request};
use models::chat::Message;
use serde::{Deserialize, Serialize};
use traces::Nanos;

use super::examine::{Examine, Examined};
use crate::ceilings::{Probe, Probed};
use crate::drive::{Answer, AskedAhead};
use meter::MemoryPoint;
use record::{
    AllocationRow, LayerRow, MemoryMoment, NodeRow, OpCounters, OpRow, Pass, PhaseRow, Reasons, Sample, ServerFile,
    WorkerRow,
};

/// What the main process asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Open an engine: the first question.
    Open(Open),
    /// Make a fresh session; the one before is dropped.
    Load(Load),
    /// Drop the session and give its memory back.
    Unload,
    /// Run one request.
    Measure(Box<Ask>),
    /// Tell what the engine holds likely in a text; nothing is measured.
    Examine(Examine),
    /// Measure a limit of the machine on the threads of this process; needs no engine.
    Probe(Probe),
    /// End.
    Quit,
}

/// Which engine a worker opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// `name` or `name:variant`, whatever it is called in the run.
    pub engine: String,
    /// Names of the counters to read.
    pub counters: Vec<String>,
    /// What the process is called in traces.
    pub title: String,
    /// Its number in traces where time is virtual: a real one would differ from run to run.
    pub number: u32,
}

/// How a session is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The checkpoint.
    pub path: PathBuf,
    /// Its files, whose share in the page cache is told.
    pub files: Vec<PathBuf>,
    /// Options of the engine.
    pub options: LoadOptions,
    /// The server's process, where the user named it.
    pub pid: Option<u32>,
    /// Drop the files from the page cache first.
    pub cold: bool,
    /// Marks that the recorder holds of each thread.
    pub marks_per_thread: usize,
    /// Token ids that end a generation.
    pub end_tokens: Vec<u32>,
    /// The sliding window that the checkpoint lacks and should have.
    pub window: Option<usize>,
    /// Where the trace of the loading goes.
    pub part: Option<PartFile>,
}

/// A trace file whose times count from the run's epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    /// The file.
    pub path: PathBuf,
    /// The reading of the machine's clock at which the run's traces begin.
    pub epoch: Nanos,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The case's id.
    pub case: String,
    /// Which instruments are on.
    pub pass: Pass,
    /// Its round.
    pub round: usize,
    /// Kept apart from the summaries.
    pub warmup: bool,
    /// The first request of a fresh session.
    pub fresh: bool,
    /// Which set of counters is read (stepped pass).
    #[serde(default)]
    pub counter_set: usize,
    /// What goes in.
    pub input: Input,
    /// What lies in the context before it.
    pub filler: Vec<u32>,
    /// At most so many tokens come out.
    pub new_tokens: usize,
    /// Go on past an end-of-generation token.
    pub ignore_eos: bool,
    /// Where its trace goes.
    pub trace: TraceTo,
}

/// The files that a request's trace goes to, each a whole trace file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceTo {
    /// The reading of the machine's clock at which the run's traces begin: all files of a run share one axis.
    pub epoch: Nanos,
    /// Requests, phases and memory; the main process appends it to the run's own.
    pub part: Option<PathBuf>,
    /// Whether that file holds the ops too.
    pub ops_in_part: bool,
    /// The same with ops: the case's own file.
    pub ops: Option<PathBuf>,
}

impl TraceTo {
    /// A moment on the axis of the run's trace, in microseconds; `None` where nothing is traced.
    pub(super) fn start_us(&self, at: Nanos) -> Option<f64> {
        let traced = self.part.is_some() || self.ops.is_some();
        traced.then(|| at.saturating_sub(self.epoch).as_micros_f64())
    }
}

/// What goes into the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Rendered text.
    Text {
        /// The text.
        text: String,
        /// Put the BOS token in front.
        add_bos: bool,
        /// What was rendered, for engines that apply the chat template themselves; empty where the text goes in as it is.
        messages: Vec<Message>,
    },
    /// Token ids.
    Tokens(Vec<u32>),
}

impl Ask {
    /// As the engine takes it.
    pub fn request(&self) -> Request {
        let prompt = match &self.input {
            Input::Text { text, add_bos, messages } => {
                Prompt::Text { text: text.clone(), add_bos: *add_bos, messages: messages.clone() }
            }
            Input::Tokens(ids) => Prompt::Tokens(ids.clone()),
        };
        Request { prompt, max_new_tokens: self.new_tokens, ignore_eos: self.ignore_eos }
    }
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The engine is open.
    Opened(Opened),
    /// The session is there.
    Loaded(Box<Loaded>),
    /// The session is gone.
    Unloaded,
    /// The request ran.
    Measured(Box<Measured>),
    /// The text was walked through.
    Examined(Examined),
    /// The limit was measured.
    Probed(Box<Probed>),
    /// It did not work; the worker goes on.
    Failed(Failure),
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
    /// Why others are not.
    pub absent: BTreeMap<String, String>,
}

/// Memory at one moment, in bytes; with the page cache's view of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEdge {
    /// Resident.
    pub resident: u64,
    /// Anonymous.
    pub anonymous: u64,
    /// Backed by files, and shared.
    pub file: u64,
}

/// How loading went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// From opening the checkpoint to a session that can answer.
    pub started: Nanos,
    /// When it was over.
    pub ended: Nanos,
    /// Share of the model's files in the page cache before.
    pub cached_share: Option<f64>,
    /// Bytes read from storage meanwhile.
    pub read_bytes: Option<u64>,
    /// Counters meanwhile.
    pub counters: BTreeMap<String, Option<f64>>,
    /// Memory before.
    pub before: Option<MemoryEdge>,
    /// Memory after.
    pub after: Option<MemoryEdge>,
    /// KV cache reserved.
    pub kv_reserved: u64,
    /// Sets of counters, each of which takes a stepped request of its own.
    #[serde(default)]
    pub counter_sets: usize,
    /// Whether any event is counted.
    #[serde(default)]
    pub counts_events: bool,
    /// The server that computes, where it is another process.
    #[serde(default)]
    pub server: Option<ServerFile>,
    /// Why a figure is absent.
    pub reasons: Reasons,
    /// Why the trace could not be written.
    pub trace_error: Option<String>,
}

impl MemoryEdge {
    /// The same as a point of the timeline.
    pub(super) fn point(self, at: Nanos) -> MemoryPoint {
        MemoryPoint { at, resident: self.resident, anonymous: self.anonymous, file: self.file }
    }
}

/// Everything that one request gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its figures.
    pub sample: Sample,
    /// Its answer.
    pub answer: Answer,
    /// Time between the call and the first begin, and between the last end and the return, in seconds: outside of what
    /// the engine calls its phases.
    pub outside_s: f64,
    /// Memory before and after.
    pub memory: Option<(MemoryEdge, MemoryEdge)>,
    /// Bytes read from storage meanwhile.
    pub read_bytes: Option<u64>,
    /// KV cache in use at the end.
    pub kv_used: u64,
    /// KV cache reserved.
    pub kv_reserved: u64,
    /// What the engine's own allocator holds on its device after the request.
    #[serde(default)]
    pub device: Option<DeviceMemory>,
    /// What was asked of the server beside it (the first request of a fresh session).
    #[serde(default)]
    pub ahead: Option<AskedAhead>,
    /// Phases with their counters (stepped pass).
    pub phases: Vec<PhaseRow>,
    /// Counters over the request (stepped pass).
    pub counters: BTreeMap<String, Option<f64>>,
    /// Why a counter is absent, or how far it is extrapolated.
    pub counter_reasons: Reasons,
    /// Counters per op (counted pass).
    #[serde(default)]
    pub op_counters: Vec<OpCounters>,
    /// Ops summed (traced pass).
    pub ops: Vec<OpRow>,
    /// The same per decoder block.
    pub layers: Vec<LayerRow>,
    /// Threads of the engine, per phase (traced pass).
    pub workers: Vec<WorkerRow>,
    /// Allocations per phase (traced pass).
    pub allocations: Vec<AllocationRow>,
    /// Heap that it allocated and still held at its end, less what it gave back of what was there before (traced pass).
    pub held: Option<i64>,
    /// Why the two are absent.
    pub uncounted: Option<String>,
    /// Resident memory in huge pages after it (the first request of a fresh session), or why that is not known.
    pub huge_pages: Option<Result<u64, String>>,
    /// Memory nodes after it (the first request of a fresh session), or why they are not told.
    #[serde(default)]
    pub nodes: Option<Result<Vec<NodeRow>, String>>,
    /// CPU time of the thread that reads memory over the time that it ran for (stepped and traced pass).
    #[serde(default)]
    pub timer_share: Option<f64>,
    /// Memory over the request (stepped and traced pass).
    #[serde(default)]
    pub memory_timeline: Vec<MemoryMoment>,
    /// Op marks that were lost.
    pub dropped: u64,
    /// Why the trace could not be written.
    pub trace_error: Option<String>,
}

/// What did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceilings::Short;
    use record::TopLogprobs;

    #[test]
    fn questions_and_answers_survive_the_wire() {
        let ask = Ask {
            case: "mock/tiny/p/t1/d0".to_owned(),
            pass: Pass::Traced,
            round: 3,
            warmup: false,
            fresh: true,
            counter_set: 1,
            input: Input::Text { text: "line\nbreak \u{1F600}".to_owned(), add_bos: true, messages: Vec::new() },
            filler: vec![5, 6],
            new_tokens: 8,
            ignore_eos: true,
            trace: TraceTo { part: Some("/t".into()), ..TraceTo::default() },
        };
        let questions = [
            ToWorker::Open(Open {
                engine: "mock:slow".to_owned(),
                counters: vec!["cycles".to_owned()],
                title: "mock:slow".to_owned(),
                number: 2,
            }),
            ToWorker::Load(Load {
                path: "/m.gguf".into(),
                files: vec!["/m.gguf".into()],
                options: LoadOptions::default(),
                pid: Some(7),
                cold: true,
                marks_per_thread: 9,
                end_tokens: vec![2],
                window: Some(4096),
                part: Some(PartFile { path: "/p".into(), epoch: Nanos(7) }),
            }),
            ToWorker::Unload,
            ToWorker::Measure(Box::new(ask)),
            ToWorker::Probe(Probe::Short { threads: 2, bytes: 1 << 28 }),
            ToWorker::Examine(Examine { filler: vec![1], prompt: vec![2], text: vec![3], top: 4 }),
            ToWorker::Quit,
        ];
        for question in questions {
            let line = serde_json::to_string(&question).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<ToWorker>(&line).unwrap(), question);
        }
        let measured = Measured {
            sample: Sample { case: "c".to_owned(), latency_s: Some(0.1), ..Sample::default() },
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
            memory: Some((MemoryEdge::default(), MemoryEdge { resident: 5, anonymous: 2, file: 3 })),
            read_bytes: Some(7),
            kv_used: 1,
            kv_reserved: 2,
            device: Some(DeviceMemory { active: 3, peak: Some(4), cache: None }),
            ahead: Some(AskedAhead::default()),
            phases: vec![PhaseRow::default()],
            counters: [("cycles".to_owned(), None)].into(),
            counter_reasons: Reasons::new(),
            op_counters: vec![OpCounters::default()],
            ops: vec![OpRow::default()],
            layers: vec![LayerRow::default()],
            workers: vec![WorkerRow::default()],
            allocations: vec![AllocationRow::default()],
            held: Some(-5),
            uncounted: Some("why".to_owned()),
            huge_pages: Some(Err("why".to_owned())),
            nodes: Some(Ok(vec![NodeRow { node: 1, model_bytes: 2, anonymous_bytes: 3, threads: 4 }])),
            timer_share: Some(0.001),
            memory_timeline: vec![MemoryMoment { at_s: -0.1, anonymous_bytes: 1, file_backed_bytes: 2 }],
            dropped: 0,
            trace_error: None,
        };
        let answers = [
            FromWorker::Measured(Box::new(measured)),
            FromWorker::Unloaded,
            FromWorker::Examined(Examined { positions: vec![TopLogprobs { ids: vec![3], logprobs: vec![-0.1] }] }),
            FromWorker::Probed(Box::new(Probed::Short(Short { memory_read: Some(1e10), ..Short::default() }))),
            FromWorker::Failed(Failure { text: "no".to_owned() }),
            FromWorker::Loaded(Box::new(Loaded { cached_share: Some(0.5), ..Loaded::default() })),
        ];
        for answer in answers {
            let line = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<FromWorker>(&line).unwrap(), answer);
        }
    }
}
