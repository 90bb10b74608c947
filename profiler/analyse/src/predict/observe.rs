//! Observations of an engine in a run: times of ops, of the rest of a request, of loading, and memory.
//!
//! Times of ops are from the traced pass and scaled to the clean pass, so that the cost of the marks is not included.

use std::collections::BTreeMap;

use engine_api::{KvTypes, Phase, WeightUse};
use models::Spec;
use models::cost::{self, OpKind, WeightTypes};

use crate::attribution::has_processor_ceilings;

use super::call::{Call, mean};
use super::ceiling_basis::CeilingBasis;
use super::memory::{MemoryNeed, overhead, weight_use};
use record::plan::{PlannedModel, PlannedPrompt};
use record::{Case, OpRow, Reason, RunFile, Sample, Status};
use statistics::median;

/// The default of prompt tokens per pass: that of the engines.
pub(super) const BATCH: usize = 512;
/// The share of a phase that known ops have to explain, or else the phase is not used.
const EXPLAINED: f64 = 0.8;

/// The share of an op's time that memory's bandwidth decides:
///
/// ```text
/// u^2,   u = min(1, streamed bytes / bandwidth / time)
/// ```
///
/// It describes how the time depends on the bandwidth. Without any overlap of reading and computing it would be `u`, with complete
/// overlap a step from 0 to 1 at `u = 1`; processors that prefetch are in between.
pub(super) fn memory_share(streamed: f64, bandwidth: f64, seconds: f64) -> f64 {
    (streamed / bandwidth / seconds).clamp(0.0, 1.0).powi(2)
}

/// The phases that consist of ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ForwardPass {
    Prefill,
    Decode,
}

impl ForwardPass {
    pub(super) const ALL: [Self; 2] = [Self::Prefill, Self::Decode];

    pub(super) const fn phase(self) -> Phase {
        match self {
            Self::Prefill => Phase::Prefill,
            Self::Decode => Phase::Decode,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        self.phase().name()
    }
}

/// The mean call of an op in a phase of a case.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    pub(super) call: Call,
    /// Seconds per call, clean pass.
    pub(super) seconds: f64,
    /// Share of its phase.
    pub(super) share: f64,
    /// The share of it that memory's bandwidth decides.
    pub(super) memory: f64,
}

/// A case with ops.
#[derive(Debug, Clone)]
pub(super) struct CaseObservations {
    pub(super) model: String,
    /// Bytes of weights and cache that an output token reads and writes.
    pub(super) bytes_per_token: f64,
    pub(super) threads: usize,
    pub(super) basis: CeilingBasis,
    pub(super) ops: Vec<Observation>,
    /// Seconds between two ops, per phase: unattributed time / calls.
    pub(super) gaps: Vec<(ForwardPass, f64)>,
    /// Relative spread of the clean times, per phase: one standard deviation.
    pub(super) spreads: Vec<(ForwardPass, f64)>,
}

/// The parts of an output token that are no forward pass, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenOverhead {
    /// Choosing it, per entry of the vocabulary.
    pub(super) sample_per_entry: f64,
    /// Its text, and the loop around it.
    pub(super) rest: f64,
}

/// Memory and loading of a case.
#[derive(Debug, Clone)]
pub(super) struct Footprint {
    pub(super) model: String,
    pub(super) file_bytes: f64,
    pub(super) vocab: f64,
    /// Peak resident memory less file, cache in use, activations, logits and copies of weights.
    pub(super) overhead: Option<f64>,
    /// Seconds to load from a warm page cache.
    pub(super) warm_load: Option<f64>,
}

/// The observations of one engine in a run.
#[derive(Debug, Clone, Default)]
pub(super) struct RunObservations {
    pub(super) cases: Vec<CaseObservations>,
    pub(super) tokens: Vec<TokenOverhead>,
    pub(super) footprints: Vec<Footprint>,
    /// Models with ops, as `name (quantisation)`.
    pub(super) models: Vec<String>,
    /// The cases that were not used, with the reason.
    pub(super) skipped: Vec<String>,
}

/// All observations of an engine in a run. `otherwise` is how the engine keeps weights where the run does not state it.
pub(super) fn observe(file: &RunFile, engine: &str, otherwise: &WeightUse) -> RunObservations {
    let mut seen = RunObservations::default();
    let device = file.identity(engine).map(|identity| &identity.device);
    if let Some(device) = device.filter(|device| !has_processor_ceilings(device)) {
        seen.skipped.push(format!("{engine} computes on {device}, whose ceilings are not measured"));
        return seen;
    }
    let weight_use = weight_use(file, engine, otherwise);
    for case in file.cases.iter().filter(|case| case.engine == engine && case.status == Status::Ok) {
        let model = file.plan.models.iter().find(|model| model.name == case.model);
        let Some(subject) = model.and_then(Target::of) else {
            seen.skipped.push(format!("{}: the run file does not contain the shape of the model", case.id));
            continue;
        };
        let prompt = file.plan.prompts.iter().find(|prompt| prompt.model == case.model && prompt.id == case.prompt);
        let SampleObservations { footprint, token } = SampleObservations::of(file, case, &subject, prompt, &weight_use);
        seen.footprints.extend(footprint);
        seen.tokens.extend(token);
        match ops(file, case, &subject) {
            Ok(found) => {
                seen.cases.push(found);
                let name = format!("{} ({})", subject.model.name, subject.model.quantisation);
                if !seen.models.contains(&name) {
                    seen.models.push(name);
                }
            }
            Err(reason) => seen.skipped.push(format!("{}: {reason}", case.id)),
        }
    }
    seen
}

/// A model of a run with its shape.
struct Target<'a> {
    model: &'a PlannedModel,
    spec: &'a Spec,
    types: &'a WeightTypes,
}

impl<'a> Target<'a> {
    fn of(model: &'a PlannedModel) -> Option<Self> {
        Some(Self { model, spec: model.spec.as_ref()?, types: model.types.as_ref()? })
    }
}

/// The observations in the samples of a case.
struct SampleObservations {
    footprint: Option<Footprint>,
    token: Option<TokenOverhead>,
}

impl SampleObservations {
    fn of(
        file: &RunFile,
        case: &Case,
        subject: &Target<'_>,
        prompt: Option<&PlannedPrompt>,
        weight_use: &WeightUse,
    ) -> Self {
        let spec = subject.spec;
        let token = |sample: &Sample| {
            let tokens = sample.output_tokens.value().filter(|&tokens| tokens > 0)? as f64;
            let rest = sample.detokenize_s.value().unwrap_or(0.0) + sample.other_s.value().unwrap_or(0.0);
            Some((sample.sample_s.value().unwrap_or(0.0) / tokens / spec.vocab as f64, rest / tokens))
        };
        let tokens: Vec<_> = case.clean_samples().filter_map(token).collect();
        let of = |part: fn(&(f64, f64)) -> f64| median(&tokens.iter().map(part).collect::<Vec<_>>());
        let token = of(|token| token.0)
            .zip(of(|token| token.1))
            .map(|(sample_per_entry, rest)| TokenOverhead { sample_per_entry, rest });
        let prompt_tokens = prompt.map_or(0, |prompt| prompt.prompt_tokens);
        let first = case.samples.iter().find(|sample| sample.fresh);
        let used = first
            .and_then(|sample| Some(sample.prompt_tokens.value()? + sample.output_tokens.value()?))
            .unwrap_or(prompt_tokens);
        let need = file.plan.kv_type.known().ok().map(|kv| MemoryNeed {
            spec,
            kv,
            positions: case.depth + used,
            batch: file.plan.batch.unwrap_or(BATCH).min(prompt_tokens.max(case.depth).max(1)),
        });
        let copies = weight_use.copied_bytes(spec, subject.types).as_f64();
        let footprint = case.memory.file_bytes.value().map(|file_bytes| Footprint {
            model: case.model.clone(),
            file_bytes: file_bytes as f64,
            vocab: spec.vocab as f64,
            overhead: first
                .and_then(|sample| sample.memory_peak_bytes.value())
                .zip(need.as_ref())
                .and_then(|(peak, need)| overhead(file, case, (peak, need.bytes(), copies))),
            warm_load: case
                .memory
                .load_s
                .value()
                .filter(|_| case.memory.load_cached_share.value().is_some_and(|share| share >= 1.0)),
        });
        Self { footprint, token }
    }
}

fn ops(file: &RunFile, case: &Case, subject: &Target<'_>) -> Result<CaseObservations, Reason> {
    if case.ops.is_empty() {
        return Err(Reason::new("no operation was traced"));
    }
    let basis = CeilingBasis::of(file, case.threads, Some(&case.model))
        .ok_or_else(|| Reason::new("the run has no ceilings for its thread count"))?;
    let traced = case.traced.iter().find(|sample| sample.prompt_tokens.is_present());
    let (prompt, outputs) = traced
        .and_then(|sample| Some((sample.prompt_tokens.value()?, sample.output_tokens.value()?)))
        .ok_or_else(|| Reason::new("the token counts of the traced request are unknown"))?;
    let batch = file.plan.batch.unwrap_or(BATCH);
    let kv = file.plan.kv_type.known().map_err(|error| Reason::new(error.to_string()))?;
    let shape = PassShape { spec: subject.spec, types: subject.types, kv, batch };
    let mut seen = CaseObservations {
        model: case.model.clone(),
        bytes_per_token: shape.decode(case.depth + prompt, 1).values().flatten().map(|call| call.streamed).sum(),
        threads: case.threads,
        basis,
        ops: vec![],
        gaps: vec![],
        spreads: vec![],
    };
    for pass in ForwardPass::ALL {
        let calls = match pass {
            ForwardPass::Prefill => shape.prefill(prompt, case.depth),
            ForwardPass::Decode => shape.decode(case.depth + prompt, outputs.saturating_sub(1)),
        };
        phase(&mut seen, case, pass, &calls);
    }
    if seen.ops.is_empty() { Err(Reason::new("its ops are not those of the cost model")) } else { Ok(seen) }
}

/// Adds the observations of a phase, where its ops are those of the cost model.
fn phase(seen: &mut CaseObservations, case: &Case, pass: ForwardPass, calls: &BTreeMap<OpKind, Vec<Call>>) {
    let rows: Vec<(&OpRow, OpKind)> = case
        .ops
        .iter()
        .filter(|row| row.phase == pass.phase() && row.time_s > 0.0 && row.share > 0.0)
        .filter_map(|row| Some((row, OpKind::from_name(&row.op)?)))
        .collect();
    let Some((first, _)) = rows.first() else { return };
    // A share is of the phase, so each row gives the time of the phase.
    let whole = first.time_s / first.share;
    let known: f64 = rows.iter().map(|(row, _)| row.time_s).sum();
    let of_phase = |sample: &Sample| match pass {
        ForwardPass::Prefill => sample.prefill_s.value(),
        ForwardPass::Decode => sample.decode_s.value(),
    };
    let times: Vec<f64> = case.clean_samples().filter_map(of_phase).collect();
    let Some(clean_s) = median(&times).filter(|_| known > EXPLAINED * whole) else { return };
    let scale = clean_s / whole;
    for (row, kind) in &rows {
        let Some(call) = calls.get(kind).and_then(|calls| mean(calls)) else { continue };
        let seconds = row.time_s / row.count as f64 * scale;
        let memory = memory_share(call.streamed, seen.basis.memory, seconds);
        seen.ops.push(Observation { call, seconds, share: row.share, memory });
    }
    let count: usize = rows.iter().map(|(row, _)| row.count).sum();
    seen.gaps.push((pass, (whole - known).max(0.0) * scale / count as f64));
    let distances: Vec<f64> = times.iter().map(|time| (time / clean_s - 1.0).abs()).collect();
    // 1.4826 x the median absolute deviation is the standard deviation of a normal distribution.
    seen.spreads.push((pass, 1.4826 * median(&distances).unwrap_or(0.0)));
}

/// The inputs of the calls of a phase.
pub(super) struct PassShape<'a> {
    pub(super) spec: &'a Spec,
    pub(super) types: &'a WeightTypes,
    pub(super) kv: KvTypes,
    pub(super) batch: usize,
}

impl PassShape<'_> {
    /// The calls of a prefill of `tokens` after `depth`, by kind.
    pub(super) fn prefill(&self, tokens: usize, depth: usize) -> BTreeMap<OpKind, Vec<Call>> {
        self.by_kind(&cost::batched_prefill_ops(self.spec, self.types, self.kv, tokens, depth, self.batch))
    }

    /// The calls of the decodes at `first`, `first + 1`, ..., by kind.
    pub(super) fn decode(&self, first: usize, tokens: usize) -> BTreeMap<OpKind, Vec<Call>> {
        let mut all: BTreeMap<OpKind, Vec<Call>> = BTreeMap::new();
        for position in first..first + tokens {
            let calls = self.by_kind(&cost::decode_ops(self.spec, self.types, self.kv, position));
            for (kind, calls) in calls {
                all.entry(kind).or_default().extend(calls);
            }
        }
        all
    }

    fn by_kind(&self, ops: &[cost::OpCost]) -> BTreeMap<OpKind, Vec<Call>> {
        let mut calls: BTreeMap<OpKind, Vec<Call>> = BTreeMap::new();
        for op in ops {
            let layer = op.layer.and_then(|layer| self.spec.layers.get(layer));
            let experts = layer.and_then(|layer| layer.feed_forward.experts());
            calls.entry(op.kind).or_default().push(Call::of(op, self.types, self.kv, experts));
        }
        calls
    }
}
