//! One case of a run: engine x model x prompt x threads x depth.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::named::named;
use super::recorded::{Field, with_reasons, without_reason};
use super::{
    AllocationRow, CaseNotes, ExpertPassRow, ExpertRow, LayerRow, MemoryPoint, PhaseOrOther, PhaseSum, Reason, Reasons,
    Recorded, RecordedList, RecordedMap, Roof, Sample, Series, ServerFile, Slope, TopLogprobs, Verdict, WorkerRow,
};

/// Why a case without a request has no rows.
const NOT_MEASURED: &str = "the case was not measured";

/// How a case ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All requested samples are there.
    Ok,
    /// It failed; `error` contains the reason.
    Failed,
    /// It took longer than `--timeout`.
    Timeout,
    /// It is incomplete: the run ended before all of its requests; `error` contains how many are missing.
    #[default]
    Skipped,
}

impl Status {
    /// The word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timed out",
            Self::Skipped => "incomplete",
        }
    }

    /// Whether something went wrong.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Timeout)
    }

    /// Whether the run ended before the case.
    #[must_use]
    pub const fn is_incomplete(self) -> bool {
        matches!(self, Self::Skipped)
    }
}

with_reasons! {
    /// One case with its measurements.
    ///
    /// An `Option` here is a part that the case does not have. The reasons of absent figures are in their rows.
    pub struct Case {
        /// Unique in the run, such as `candle/smollm2-135m/photosynthesis/t2/d0`.
        pub id: String,
        /// Engine label: `name`, `name:variant`, or the name that the user gave it (see [`super::RunFile::identity`]).
        pub engine: String,
        /// Model name as in the registry, or the file's name.
        pub model: String,
        /// Prompt id.
        pub prompt: String,
        /// Threads that compute.
        pub threads: usize,
        /// Tokens in the context before the prompt.
        pub depth: usize,
        /// How it ended.
        pub status: Status,
        /// Why it failed: the message, the last phase, the peak memory at the end of the process.
        pub error: Option<String>,
        /// The clean pass, warm-up requests included and marked.
        pub samples: Vec<Sample>,
        /// The stepped pass: one row per phase of the request of median latency, so that they add up to it; the last row is `other`.
        pub phases: RecordedList<PhaseRow>,
        /// The stepped pass's requests.
        pub stepped: Vec<Sample>,
        /// The traced pass: one row per op and phase of the request of median latency.
        pub ops: RecordedList<OpRow>,
        /// The round of that request: the one of `traced` that `ops`, `layers`, `workers`, `experts`, `sums` and `allocations` are of.
        #[serde(default)]
        pub ops_round: Option<usize>,
        /// The same per decoder block.
        #[serde(default)]
        pub layers: RecordedList<LayerRow>,
        /// The same per thread of the engine.
        #[serde(default)]
        pub workers: RecordedList<WorkerRow>,
        /// Of a model with experts: which of them that request used, one row per phase, tokens of a pass and layer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub experts: Option<RecordedList<ExpertRow>>,
        /// What its passes read: one row per phase and tokens of a pass; empty where `experts` has no rows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub expert_passes: Vec<ExpertPassRow>,
        /// Phases as sums of their ops.
        #[serde(default)]
        pub sums: RecordedList<PhaseSum>,
        /// Allocations per phase of that request.
        #[serde(default)]
        pub allocations: RecordedList<AllocationRow>,
        /// The traced pass's requests.
        pub traced: Vec<Sample>,
        /// Counters per op and phase, of the counted pass's request of median latency; empty unless events were named.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub op_counters: Vec<OpCounters>,
        /// The counted pass's requests.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub counted: Vec<Sample>,
        /// The server that computed, where it was another process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub server: Option<ServerFile>,
        /// The gaps between tokens over time.
        #[serde(default)]
        pub series: Option<Series>,
        /// Memory of the worker, reconciled.
        pub memory: MemoryFile,
        /// Memory over one request: of the stepped pass the one of median latency, else of the traced pass.
        #[serde(default)]
        pub memory_timeline: RecordedList<MemoryPoint>,
        /// CPU time of the thread that reads memory over the time that it ran for, in one request of the stepped or traced pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub memory_timer_share: Option<f64>,
        /// Counters of the stepped pass, summed over a request: name to value.
        pub counters: RecordedMap,
        /// Energy per token by the energy counters of the stepped request: one row per counter with a value.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub energy: Vec<EnergyRow>,
        /// Its notes. In a file, the reasons of absent counters and lists are beside them.
        #[serde(default, rename = "reasons", getter = "Self::notes_and_reasons")]
        pub notes: CaseNotes,
        /// Which limit binds each phase: one per phase.
        pub verdicts: Vec<Verdict>,
        /// The output of the case.
        pub output: Option<CaseOutput>,
        /// The op trace of this case, relative to the run folder.
        pub trace: Option<String>,
    }
}

without_reason!(Status);

/// A case that was not measured.
impl Default for Case {
    fn default() -> Self {
        Self::absent(NOT_MEASURED)
    }
}

impl Case {
    /// The samples that count: clean pass, without warm-up and without those that were measured again.
    pub fn clean_samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.counts())
    }

    /// The map `reasons` as it is written.
    fn notes_and_reasons(&self) -> CaseNotes {
        self.reasons().into()
    }
}

/// A memory node, and the part of a worker on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNodeRow {
    /// Its number.
    pub node: u32,
    /// Resident pages of the model's files.
    pub model_bytes: u64,
    /// Anonymous pages: heap, KV cache, weights that were copied.
    pub anonymous_bytes: u64,
    /// Threads whose last processor was one of this node.
    pub threads: usize,
}

with_reasons! {
    /// One energy account of the machine over the request of the stepped pass that `phases` are of.
    pub struct EnergyRow {
        /// The counter: `energy_package_j`, `energy_core_j`, `energy_dram_j`.
        pub counter: String,
        /// Joules of the whole request, of the whole machine.
        pub request_j: Recorded<f64>,
        /// The same over the request's time, in watts.
        pub mean_w: Recorded<f64>,
        /// Energy of prefill / tokens of the prompt.
        pub per_prompt_token_j: Recorded<f64>,
        /// Energy from the end of prefill to the end of the request / decode steps (output tokens - 1).
        pub per_output_token_j: Recorded<f64>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// A phase of the stepped pass, for one request.
    pub struct PhaseRow {
        /// The phase.
        pub phase: PhaseOrOther,
        /// How often it ran in the request.
        pub count: usize,
        /// Wall time in seconds; `null` where the engine merges it into the next phase.
        pub time_s: Recorded<f64>,
        /// Share of the latency, 0 to 1.
        pub share: Recorded<f64>,
        /// CPU time in seconds, all threads.
        pub cpu_s: Recorded<f64>,
        /// Counters over the phase: name to value.
        pub counters: RecordedMap,
        /// Counters that another request of the same case counted, with the time that the phase took there, in seconds.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub counted_s: BTreeMap<String, f64>,
        /// Figures that follow from the counters: name to value; a figure without its counters is left out.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub derived: BTreeMap<String, f64>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// An op of the traced pass, summed over layers and calls of one request.
    pub struct OpRow {
        /// Phase that it ran in.
        pub phase: PhaseOrOther,
        /// Op name, such as `q_proj`.
        pub op: String,
        /// Calls.
        pub count: usize,
        /// Wall time in seconds.
        pub time_s: f64,
        /// Share of its phase, 0 to 1.
        pub share: f64,
        /// Floating-point operations by the cost model.
        pub flops: Recorded<f64>,
        /// Bytes moved by the cost model: weights, KV cache and activations.
        pub bytes: Recorded<f64>,
        /// Of these, weights and KV cache, which are read from memory.
        pub streamed_bytes: Recorded<f64>,
        /// Of an op that reads experts: the mean number of distinct experts per call that the engine used; absent where it does not state
        /// which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub distinct_experts: Option<f64>,
        /// Types of the weights that it reads, such as `q4_0`; joined by `+` where layers differ; `null` for an op that reads none.
        pub dtype: Recorded<String>,
        /// `flops / bytes`.
        pub intensity: Recorded<f64>,
        /// The least time by the ceilings, in seconds: the larger of operations / peak and bytes / bandwidth.
        pub attainable_s: Recorded<f64>,
        /// `attainable_s / time_s`: 1 = at the roofline.
        pub roofline: Recorded<f64>,
        /// The ceiling that sets that time.
        pub limit: Recorded<Roof>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

with_reasons! {
    /// Counters of an op, summed over layers and calls of one request.
    pub struct OpCounters {
        /// Phase that it ran in.
        pub phase: PhaseOrOther,
        /// Op name, such as `q_proj`.
        pub op: String,
        /// Calls.
        pub count: usize,
        /// Name to value.
        pub counters: RecordedMap,
        /// Figures that follow from the counters; rates use the time of the op in the traced pass.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub derived: BTreeMap<String, f64>,
        /// How far a counter is extrapolated, by its name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

named! {
    /// How much of a model file was in the page cache before loading.
    pub enum LoadCache {
        /// Nothing.
        Cold = "cold",
        /// A part.
        Partial = "partial",
        /// All of it.
        Warm = "warm",
    }
}

with_reasons! {
    /// The memory of a case by its parts, in bytes.
    pub struct MemoryFile {
        /// Time to load, in seconds.
        pub load_s: Recorded<f64>,
        /// How much of the model file was in the page cache before loading.
        pub load_cache: Recorded<LoadCache>,
        /// Share of the model file that was in the page cache before loading, 0 to 1.
        pub load_cached_share: Recorded<f64>,
        /// Bytes that loading read from storage.
        pub load_read_bytes: Recorded<u64>,
        /// Bytes that the first request of a fresh session read from storage, because loading did not.
        pub first_read_bytes: Recorded<u64>,
        /// Counters over the load: name to value.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub load_counters: RecordedMap,
        /// Size of the model's files.
        pub file_bytes: Recorded<u64>,
        /// Resident before loading.
        pub before_load_bytes: Recorded<u64>,
        /// Resident after loading, before the first request. Of a server with several processes, pages that they share count in each.
        pub after_load_bytes: Recorded<u64>,
        /// Resident memory of a server's processes when it could answer, with pages that they share counted once (PSS): the memory that the
        /// server takes. Absent for engines in this program's processes, and where the system does not report it.
        #[serde(default, skip_serializing_if = "is_not_present")]
        pub server_resident_bytes: Option<Recorded<u64>>,
        /// Of `after_load_bytes`, backed by files.
        pub file_backed_bytes: Recorded<u64>,
        /// Of that, anonymous.
        pub anonymous_bytes: Recorded<u64>,
        /// Weights as stored in the file.
        pub weights_bytes: Recorded<u64>,
        /// KV cache in use at the end of the first request.
        pub kv_used_bytes: Recorded<u64>,
        /// KV cache reserved.
        pub kv_reserved_bytes: Recorded<u64>,
        /// Peak resident memory during the first request of a fresh session, less before it: the headline.
        pub first_peak_delta_bytes: Recorded<i64>,
        /// Resident memory after that request less before it: the headline.
        pub first_delta_bytes: Recorded<i64>,
        /// Resident after the first request.
        pub after_first_bytes: Recorded<u64>,
        /// Weights that are resident and backed by the model's files.
        pub weights_file_backed_bytes: Recorded<u64>,
        /// Weights that are resident as anonymous memory: copied or converted by the engine.
        pub weights_anonymous_bytes: Recorded<u64>,
        /// Copies of weights that the engine keeps beside those of the file, in a layout of its own: by the types of which it states to make
        /// some; absent where it makes none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub copied_bytes: Option<u64>,
        /// Recurrent states: of convolutions, delta rules; they do not grow with the context. By the shape of the model; absent where no
        /// layer has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub state_bytes: Option<u64>,
        /// Other memory backed by files that loading and the first request made resident: code, shared libraries.
        pub code_bytes: Recorded<u64>,
        /// KV cache that is resident after the first request: the used part, or all of it where an engine touches it while loading.
        pub kv_resident_bytes: Recorded<u64>,
        /// Heap that a traced request allocated and did not free, less older allocations that it freed.
        pub held_bytes: Recorded<i64>,
        /// `after_first_bytes` less the memory before loading, resident weights, copies of them, code, resident KV cache, states, tokenizer
        /// and `held_bytes`.
        pub unaccounted_bytes: Recorded<i64>,
        /// Predicted need by the cost model, with a full context.
        pub predicted_bytes: Recorded<u64>,
        /// Of what is resident after the first request, in huge pages.
        pub huge_pages_bytes: Recorded<u64>,
        /// Memory of the engine's own allocator on its device after the first request; absent where the engine does not report it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub device_active_bytes: Option<u64>,
        /// The peak of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub device_peak_bytes: Option<u64>,
        /// Of it, memory that is kept for reuse.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub device_cache_bytes: Option<u64>,
        /// On which memory nodes the model, anonymous memory and threads were after the first request; empty with its reason where
        /// the machine has one node.
        #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
        pub nodes: RecordedList<MemoryNodeRow>,
        /// Heap of the tokenizer, measured by loading it alone.
        pub tokenizer_bytes: Recorded<u64>,
        /// Growth of resident memory per token of the first request, in bytes.
        pub growth_bytes_per_token: Recorded<f64>,
        /// Growth of the KV cache per token by the cost model, in bytes.
        pub kv_bytes_per_token: Recorded<f64>,
        /// Growth of resident memory per repeated request, in bytes: above 0 it leaks.
        pub leak_bytes_per_request: Recorded<Slope>,
        /// Notes on values that are present, by field name.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

/// Only its reason is written where it is absent.
fn is_not_present(bytes: &Option<Recorded<u64>>) -> bool {
    bytes.as_ref().is_none_or(Recorded::is_absent)
}

/// Of a case that was not measured.
impl Default for MemoryFile {
    fn default() -> Self {
        Self::absent(NOT_MEASURED)
    }
}

/// What names the token ids of a prompt that a server computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptIdsOf {
    /// The request: the prompt was sent as ids.
    Request,
    /// The server's response to the request.
    Response,
    /// The server's tokenizer, on the text of the server's own chat template, in a separate query.
    Tokenizer,
}

/// The output of a case. The `reasons` of the case have those of its absent fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseOutput {
    /// The answer.
    pub text: String,
    /// Its token ids.
    pub token_ids: Vec<u32>,
    /// The prompt's token ids as the model saw them.
    pub prompt_ids: RecordedList<u32>,
    /// How a server's prompt ids are known; absent where an engine computed in this process. Files of earlier versions do not have
    /// it: their ids of a server's prompt are those of this program's tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_ids_of: Option<PromptIdsOf>,
    /// The prompt after the chat template; an empty text in a file where it is absent.
    #[serde(with = "text_or_empty")]
    pub rendered_prompt: Recorded<String>,
    /// `stop`, `length` or `interrupted`.
    pub finish_reason: String,
    /// SHA-256 over the token ids, little endian, or over the text where ids are unknown.
    pub sha256: String,
    /// The most likely tokens of the engine's steps before each of the token ids, given the prompt and all ids before it.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub top_logprobs: RecordedList<TopLogprobs>,
}

impl CaseOutput {
    /// An output without content, whose absent fields have this reason.
    pub fn absent(reason: impl Into<Reason>) -> Self {
        let reason = reason.into();
        Self {
            text: String::new(),
            token_ids: Vec::new(),
            prompt_ids: RecordedList::absent(reason.clone()),
            prompt_ids_of: None,
            rendered_prompt: Recorded::absent(reason.clone()),
            finish_reason: String::new(),
            sha256: String::new(),
            top_logprobs: RecordedList::absent(reason),
        }
    }
}

/// The reasons are in the map of the case.
impl Field for CaseOutput {
    fn absent(reason: &Reason) -> Self {
        Self::absent(reason.clone())
    }

    fn add_reasons(&self, _name: &str, reasons: &mut Reasons) {
        self.prompt_ids.add_reasons("prompt_ids", reasons);
        self.rendered_prompt.add_reasons("rendered_prompt", reasons);
        self.top_logprobs.add_reasons("top_logprobs", reasons);
    }

    fn take_reasons(&mut self, _name: &str, reasons: &mut Reasons) {
        self.prompt_ids.take_reasons("prompt_ids", reasons);
        self.rendered_prompt.take_reasons("rendered_prompt", reasons);
        self.top_logprobs.take_reasons("top_logprobs", reasons);
    }
}

/// A text that is empty in a file where it is absent.
mod text_or_empty {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Recorded;

    pub(super) fn serialize<S: Serializer>(text: &Recorded<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text.as_deref().unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Recorded<String>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text.is_empty() { Recorded::unrecorded() } else { Recorded::Present(text) })
    }
}

#[cfg(test)]
mod tests {
    use engine_api::Phase;

    use super::*;

    /// Writes what was read.
    fn again<T: Serialize + for<'de> Deserialize<'de>>(text: &str) -> String {
        serde_json::to_string(&serde_json::from_str::<T>(text).unwrap()).unwrap()
    }

    #[test]
    fn rows_are_written_as_they_were_read() {
        let energy = r#"{"counter":"energy_core_j","request_j":2.5,"mean_w":null,"per_prompt_token_j":null,"per_output_token_j":0.5,"reasons":{"mean_w":"no times"}}"#;
        assert_eq!(again::<EnergyRow>(energy), energy);
        let phase = r#"{"phase":"speculate","count":2,"time_s":0.5,"share":null,"cpu_s":null,"counters":{"cycles":null,"faults":3.0},"reasons":{"counters":"an older note","cpu_s":"why","cycles":"not allowed","faults":"extrapolated"}}"#;
        assert_eq!(again::<PhaseRow>(phase), phase);
        let op = r#"{"phase":"other","op":"q_proj","count":1,"time_s":0.1,"share":1.0,"flops":null,"bytes":4.0,"streamed_bytes":null,"dtype":"q4_0","intensity":null,"attainable_s":0.2,"roofline":2.0,"limit":"cache","reasons":{"flops":"no model","roofline":"above 1"}}"#;
        assert_eq!(again::<OpRow>(op), op);
        let counters = r#"{"phase":"decode","op":"q_proj","count":1,"counters":{"cycles":null},"reasons":{"cycles":"not allowed"}}"#;
        assert_eq!(again::<OpCounters>(counters), counters);
    }

    #[test]
    fn the_reasons_of_an_output_are_in_its_case() {
        let output = CaseOutput {
            prompt_ids: [1, 2].into(),
            rendered_prompt: Recorded::absent("the server does not report it"),
            ..CaseOutput::absent("the answer was not examined")
        };
        let case = Case { output: Some(output), ..Case::default() };
        let value = serde_json::to_value(&case).unwrap();
        assert_eq!((&value["output"]["rendered_prompt"], value["output"].get("top_logprobs")), (&"".into(), None));
        assert_eq!(value["reasons"]["rendered_prompt"], "the server does not report it");
        assert_eq!(value["reasons"]["top_logprobs"], "the answer was not examined");
        assert_eq!(value["reasons"].get("prompt_ids"), None);
        assert_eq!(serde_json::from_value::<Case>(value).unwrap(), case);
    }

    #[test]
    fn a_row_of_an_earlier_version_lacks_fields() {
        let row: OpRow = serde_json::from_str(
            r#"{"phase":"decode","op":"q_proj","count":1,"time_s":0.1,"share":1.0,"flops":7.0,"bytes":null}"#,
        )
        .unwrap();
        assert!(row.phase == Phase::Decode && row.flops.value() == Some(7.0));
        assert!(row.roofline.is_absent() && row.why_roofline().is_none() && row.bytes.stated_reason().is_none());
        assert!(row.reasons().is_empty(), "no reason is invented");
    }

    #[test]
    fn the_memory_of_a_case_has_a_reason_for_each_absent_figure() {
        let value = serde_json::to_value(MemoryFile::default()).unwrap();
        let (fields, reasons) = (value.as_object().unwrap(), value["reasons"].as_object().unwrap());
        let absent: Vec<_> = fields.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name).collect();
        assert!(absent.len() > 25 && absent.iter().all(|name| reasons.contains_key(*name)), "{value}");
        assert!(reasons.contains_key("nodes") && !fields.contains_key("nodes"));
        assert_eq!(serde_json::from_value::<MemoryFile>(value).unwrap(), MemoryFile::default());
    }

    #[test]
    fn memory_of_an_earlier_version_is_written_as_it_was_read() {
        let mut value = serde_json::to_value(MemoryFile::default()).unwrap();
        value["load_cache"] = "partial".into();
        value["nodes"] = serde_json::json!([{"node": 1, "model_bytes": 2, "anonymous_bytes": 3, "threads": 4}]);
        value["load_counters"] = serde_json::json!({"cpu_user_s": null});
        value["reasons"] = serde_json::json!({"load_s": "unknown", "cpu_user_s": "not allowed"});
        let memory: MemoryFile = serde_json::from_value(value.clone()).unwrap();
        assert_eq!((memory.load_cache.value(), memory.nodes.len()), (Some(LoadCache::Partial), 1));
        assert_eq!(memory.load_counters["cpu_user_s"].reason().unwrap(), &"not allowed");
        assert_eq!(serde_json::to_value(&memory).unwrap(), value);
    }
}
