//! The estimate: sums over the ops of a model of their fitted costs.

use std::collections::{BTreeMap, BTreeSet};

use engine_api::{KvTypes, WeightUse};
use models::cost::WeightTypes;
use models::{Bytes, Spec};

use super::call::{Call, Key};
use super::ceiling_basis::CeilingBasis;
use super::extrapolation::PositionRange;
use super::fit::Fit;
use super::fitted_models::{FittedModels, load_features, overhead_features};
use super::memory::{MemoryNeed, weight_use};
use super::observe::{BATCH, ForwardPass, PassShape, RunObservations, observe};
use super::prediction::{Extrapolation, Figure, MemoryParts, PREDICTION_VERSION, Prediction, TimeParts};
use record::{Action, Ceilings, Error, Reason, Recorded, RunFile, Spread};

/// Standard errors to either side of a nominal 95 % interval.
const SIDES: f64 = 1.96;
/// Relative error of the part of the memory that follows from sizes: pages, headers.
const SIZES: f64 = 0.005;
/// Least relative half-width of the interval of the memory, an assumption: allocators and libraries keep memory of unknown size.
const MEMORY: f64 = 0.05;
/// Files with a smaller ratio of sizes do not show the cost of loading a byte.
const LIKE_FILES: f64 = 1.5;
/// The largest relative half-width of an interval of a load, and of the memory: the ends of a wider one differ by more than nine times,
/// and that of a memory begins at 0. Such an interval is no information.
const WIDEST_LOAD: f64 = 2.0;
const WIDEST_MEMORY: f64 = 1.0;
/// Decodes that are evaluated: time grows linearly with the position, so a few give the mean.
const POSITIONS: usize = 9;

/// The model of an estimate.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in a run.
    pub name: String,
    /// The reference that the user gave.
    pub reference: String,
    /// Quantisation.
    pub quant: String,
    /// Its shape.
    pub spec: Spec,
    /// The types of its weights.
    pub types: WeightTypes,
    /// Size of its file.
    pub file_bytes: Bytes,
}

/// The settings of an estimate.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Engine label.
    pub engine: String,
    /// Threads.
    pub threads: usize,
    /// Tokens in the context before the prompt.
    pub depth: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// New tokens.
    pub new_tokens: usize,
    /// Element types of the KV cache.
    pub kv_type: KvTypes,
    /// Prompt tokens per pass; `None` = the engines' default.
    pub batch: Option<usize>,
    /// How the engine keeps and multiplies weights; `None`: as the newest run states.
    pub weight_use: Option<WeightUse>,
    /// Memory of the machine, or the limit of the processes in it, in bytes.
    pub machine_memory: Option<u64>,
}

/// Estimates a model from runs (newest first). Without runs of the engine the estimate follows from the ceilings alone, and every
/// figure is a bound.
///
/// # Errors
/// When the tokens exceed the model's context, or the machine's ceilings for the thread count are unknown.
pub fn predict(
    subject: &Target,
    settings: &Settings,
    runs: &[&RunFile],
    ceilings: Option<&Ceilings>,
) -> Result<Prediction, Error> {
    settings.fit(subject)?;
    let basis = runs
        .iter()
        .find_map(|run| CeilingBasis::of(run, settings.threads, None))
        .or_else(|| ceilings.and_then(|known| CeilingBasis::of_ceilings(known, settings.threads)))
        .ok_or_else(|| no_basis(settings.threads, runs))?;
    // What a run probed itself may be low because of other programs: a bound rests on the highest known ceilings.
    let known = runs.iter().filter_map(|run| run.ceilings.as_ref()).chain(ceilings);
    let highest =
        known.filter_map(|known| CeilingBasis::of_ceilings(known, settings.threads)).fold(basis, CeilingBasis::highest);
    let rates = runs.iter().find_map(|run| run.ceilings.as_ref()).or(ceilings);
    let mut prediction = empty(subject, settings, basis);
    let mut seen = Vec::new();
    let stated = settings.weight_use.clone().unwrap_or_default();
    let weight_use = match runs.first() {
        Some(newest) if settings.weight_use.is_none() => weight_use(newest, &settings.engine, &stated),
        _ => stated,
    };
    for run in runs {
        let found = observe(run, &settings.engine, &weight_use);
        prediction.skipped.extend(found.skipped.iter().map(|reason| format!("{}: {reason}", run.name)));
        if found.models.is_empty() {
            prediction.skipped.push(format!("{}: no operation of {} was traced", run.name, settings.engine));
        } else {
            prediction.rests_on.push(format!("{}: {}", run.name, found.models.join(", ")));
        }
        seen.push(found);
    }
    prediction.skipped.sort();
    prediction.skipped.dedup();
    if seen.iter().all(|seen| seen.cases.is_empty()) {
        prediction.basis = highest;
        Estimator { subject, settings, basis: highest, weight_use }.bounds(&mut prediction, rates);
    } else {
        Estimator { subject, settings, basis, weight_use }.estimates(&mut prediction, &seen, rates);
    }
    Ok(prediction)
}

impl Settings {
    /// Tokens in all.
    pub(super) const fn tokens(&self) -> usize {
        self.depth + self.prompt_tokens + self.new_tokens
    }

    /// An error where the tokens exceed the context of the model.
    fn fit(&self, subject: &Target) -> Result<(), Error> {
        let (tokens, context) = (self.tokens(), subject.spec.context_length);
        if tokens <= context {
            return Ok(());
        }
        let Self { depth, prompt_tokens, new_tokens, .. } = self;
        let reference = &subject.reference;
        Err(Error::usage(
            format!(
                "{reference}: a depth of {depth}, {prompt_tokens} prompt tokens and {new_tokens} new tokens need {tokens} tokens, the model has a context of {context}"
            ),
            "choose a smaller depth, a shorter prompt or fewer new tokens",
        ))
    }
}

fn no_basis(threads: usize, runs: &[&RunFile]) -> Error {
    let known: BTreeSet<usize> = runs
        .iter()
        .filter_map(|run| run.ceilings.as_ref())
        .flat_map(|known| known.threads.iter().map(|of| of.threads))
        .collect();
    let known = match known.is_empty() {
        true => "none".to_owned(),
        false => known.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    };
    Error::usage(
        format!("the machine's ceilings for thread count {threads} are unknown (known: {known})"),
        format!("measure them with {}, or with a run of this thread count", Action::MeasureMachine),
    )
}

fn empty(subject: &Target, settings: &Settings, basis: CeilingBasis) -> Prediction {
    Prediction {
        prediction_version: PREDICTION_VERSION,
        made: Recorded::absent("it was not written to a file"),
        model: subject.name.clone(),
        reference: subject.reference.clone(),
        quant: subject.quant.clone(),
        engine: settings.engine.clone(),
        threads: settings.threads,
        depth: settings.depth,
        prompt_tokens: settings.prompt_tokens,
        new_tokens: settings.new_tokens,
        kv_type: settings.kv_type.into(),
        file_bytes: subject.file_bytes.get(),
        basis,
        ..Prediction::absent("it was not estimated yet")
    }
}

/// One estimate.
struct Estimator<'a> {
    subject: &'a Target,
    settings: &'a Settings,
    basis: CeilingBasis,
    weight_use: WeightUse,
}

/// A phase, summed.
struct Sum {
    parts: TimeParts,
    /// Relative, one standard error.
    error: f64,
}

/// Tokens per second; `far` is the error that the extrapolation adds.
fn rate(sum: &Result<Sum, Reason>, tokens: f64, far: f64) -> Recorded<Figure> {
    let rate = |sum: &Sum| Figure::within(tokens / sum.parts.seconds(), SIDES * sum.error.hypot(far));
    sum.as_ref().map(rate).map_err(Reason::clone).into()
}

/// Why the fit of a figure to vocabularies and files gives no useful interval.
fn misfit(cost: &Fit, what: &str) -> String {
    let cases = if cost.points == 1 { "case".to_owned() } else { format!("{} cases", cost.points) };
    let error = if cost.error > 10.0 { "more than 1000".to_owned() } else { format!("{:.0}", cost.error * 100.0) };
    format!("vocabulary and file explain the {what} of the measured {cases} only within {error} %")
}

impl Estimator<'_> {
    fn estimates(&self, prediction: &mut Prediction, seen: &[RunObservations], rates: Option<&Ceilings>) {
        let models = FittedModels::fit(seen, self.settings.threads, self.basis, self.weight_use.experts_by_row);
        let mut notes = BTreeSet::new();
        if let Some(known) = &models.other_threads {
            let known: Vec<String> = known.iter().map(usize::to_string).collect();
            let (asked, known) = (self.settings.threads, known.join(", "));
            notes.insert(format!(
                "the number of threads {asked} was never measured: times are those of {known}, scaled by the ceilings"
            ));
        }
        let far = self.extrapolation(&models);
        prediction.extrapolation = Recorded::of(far, "no measured model has a size per token");
        let far = far.map_or(0.0, |far| far.error);
        let prefill = self.sum(&models, ForwardPass::Prefill, &mut notes);
        prediction.prefill_tps = rate(&prefill, self.settings.prompt_tokens as f64, far);
        prediction.prefill = prefill.map(|sum| sum.parts).into();
        let decode = self.sum(&models, ForwardPass::Decode, &mut notes);
        prediction.decode_tps = rate(&decode, 1.0, far);
        prediction.decode = decode.map(|sum| sum.parts).into();
        prediction.remarks = notes.into_iter().collect();
        self.memory(prediction, &models, far);
        self.load(prediction, &models, far, rates);
    }

    /// How far the bytes per output token are from the measured ones.
    fn extrapolation(&self, models: &FittedModels) -> Option<Extrapolation> {
        let (calls, repeats) = self.calls(ForwardPass::Decode);
        models.far.of_bytes(calls.iter().map(|call| call.streamed).sum::<f64>() / repeats)
    }

    /// The time of a phase:
    ///
    /// ```text
    /// prefill            sum over the ops of all passes of (t(op) + gap)
    /// decode, per token  mean over the positions of sum over ops of (t(op) + gap)  +  sampling (per entry of the vocabulary) + text
    /// error              sqrt( sum over costs (share e)^2 + (memory share s_B)^2 + (compute share s_C)^2 + s_phase^2 )
    /// ```
    ///
    /// Unit: seconds; the error is relative. All calls of one cost have the same error, and the errors of costs are independent; `s` are the
    /// relative standard deviations of the ceilings and of the phase from request to request.
    fn sum(&self, models: &FittedModels, pass: ForwardPass, notes: &mut BTreeSet<String>) -> Result<Sum, Reason> {
        let (calls, repeats) = self.calls(pass);
        let mut by_cost: BTreeMap<Key, f64> = BTreeMap::new();
        let mut parts = TimeParts::default();
        let mut beyond: Option<(f64, PositionRange)> = None;
        for call in &calls {
            let timed = models.time(call, notes)?;
            let farther = |known: &PositionRange| {
                beyond.is_none_or(|(positions, _)| call.positions > positions).then_some(*known)
            };
            if let Some(known) = timed.beyond.as_ref().and_then(farther) {
                beyond = Some((call.positions, known));
            }
            parts.add_least(&self.basis, (call.streamed, call.flops), repeats);
            let seconds = timed.seconds / repeats;
            *by_cost.entry(timed.cost.0).or_default() += seconds * timed.cost.1;
            parts.memory_s += seconds * timed.memory;
            parts.compute_s += seconds * (1.0 - timed.memory);
        }
        notes.extend(beyond.map(|(positions, known)| known.note(pass.name(), positions)));
        let gap = models.gap(pass).ok_or_else(|| Reason::new(format!("no run traced a {}", pass.name())))?;
        parts.between_s = gap * calls.len() as f64 / repeats;
        parts.compute_s += parts.between_s;
        if pass == ForwardPass::Decode
            && let Some(token) = models.token
        {
            parts.compute_s += token.sample_per_entry * self.subject.spec.vocab as f64 + token.rest;
        }
        let whole = parts.seconds();
        let costs: f64 = by_cost.values().map(|error| (error / whole).powi(2)).sum();
        let ceilings = (parts.memory_s / whole * self.basis.memory_spread)
            .hypot(parts.compute_s / whole * self.basis.compute_spread);
        Ok(Sum { parts, error: costs.sqrt().hypot(ceilings).hypot(models.spread(pass)) })
    }

    /// The calls of a phase, and how many decodes they are.
    fn calls(&self, pass: ForwardPass) -> (Vec<Call>, f64) {
        let Settings { depth, prompt_tokens, new_tokens, .. } = *self.settings;
        let shape = PassShape {
            spec: &self.subject.spec,
            types: &self.subject.types,
            kv: self.settings.kv_type,
            batch: self.settings.batch.unwrap_or(BATCH),
        };
        let flat = |calls: BTreeMap<_, Vec<Call>>| calls.into_values().flatten().collect::<Vec<_>>();
        if pass == ForwardPass::Prefill {
            return (flat(shape.prefill(prompt_tokens, depth)), 1.0);
        }
        let decodes = new_tokens.saturating_sub(1).max(1);
        let looked_at = decodes.min(POSITIONS);
        // The middle of each of as many equal intervals.
        let position = |n: usize| depth + prompt_tokens + (2 * n + 1) * decodes / (2 * looked_at);
        let calls = (0..looked_at).flat_map(|n| flat(shape.decode(position(n), 1))).collect();
        (calls, looked_at as f64)
    }

    /// The parts of the memory that follow from the shape, and nothing besides them.
    fn parts(&self) -> MemoryParts {
        let Settings { depth, prompt_tokens, new_tokens, .. } = *self.settings;
        let need = MemoryNeed {
            spec: &self.subject.spec,
            kv: self.settings.kv_type,
            positions: depth + prompt_tokens + new_tokens,
            batch: self.settings.batch.unwrap_or(BATCH).min(prompt_tokens.max(depth).max(1)),
        };
        let parts = need.parts();
        MemoryParts {
            file: self.subject.file_bytes.as_f64(),
            copies: self.weight_use.copied_bytes(&self.subject.spec, &self.subject.types).as_f64(),
            cache: (parts.kv + parts.state).as_f64(),
            activations: (parts.activations + parts.logits).as_f64(),
            other: 0.0,
        }
    }

    /// The parts of the memory, and what is said of a machine that has less.
    fn set_parts(&self, prediction: &mut Prediction, parts: MemoryParts) {
        prediction.memory_parts = parts.into();
        prediction.machine_memory_bytes =
            Recorded::of(self.settings.machine_memory, "the memory of the machine is not known");
        if let Some(shortage) = prediction.shortage() {
            prediction.remarks.insert(0, format!("memory: {shortage}"));
        }
    }

    /// The features of a fit for this vocabulary and file size.
    fn features(&self, of: fn(f64, f64) -> [f64; 3]) -> [f64; 3] {
        of(self.subject.spec.vocab as f64, self.subject.file_bytes.as_f64())
    }

    /// `file + copies of weights + cache in use + activations + logits + overhead(vocabulary, file)`, in bytes; `far` is the error that
    /// the extrapolation adds to the overhead.
    fn memory(&self, prediction: &mut Prediction, models: &FittedModels, far: f64) {
        let parts = self.parts();
        let known = parts.total();
        let Some(cost) = &models.overhead else {
            prediction.memory_bytes = Figure::Bound(known).into();
            let reason = "no run shows the engine's memory besides weights and cache: a lower bound";
            prediction.remarks.push(format!("memory: {reason}"));
            self.set_parts(prediction, parts);
            return;
        };
        let overhead = cost.value(&self.features(overhead_features));
        let value = known + overhead;
        let half = (SIDES * (overhead * cost.error.hypot(far)).hypot(known * SIZES)).max(MEMORY * value);
        if half >= WIDEST_MEMORY * value {
            prediction.memory_bytes = Figure::Bound(known).into();
            prediction.remarks.push(format!(
                "memory: {} {}: a lower bound, without the engine's memory besides weights and cache",
                misfit(cost, "memory besides weights and cache"),
                self.measure_more()
            ));
            self.set_parts(prediction, parts);
            return;
        }
        prediction.memory_bytes = Figure::Estimate { value, low: (value - half).max(0.0), high: value + half }.into();
        self.set_parts(prediction, MemoryParts { other: overhead, ..parts });
    }

    /// `warm = cost(vocabulary, file)`, or `file / warm read rate` as a bound; `cold = warm + file / cold read rate`, in seconds.
    fn load(&self, prediction: &mut Prediction, models: &FittedModels, far: f64, rates: Option<&Ceilings>) {
        let warm = models.load.as_ref().map(|cost| {
            let seconds = cost.value(&self.features(load_features));
            // The second coefficient is that of the file.
            let known = cost.coefficients.get(1).is_some_and(|per_byte| *per_byte > 0.0);
            let more = if known { 0.0 } else { self.more_to_read(models.loaded, rates) };
            ((seconds + more).max(seconds / 2.0), SIDES * cost.error.hypot(far))
        });
        let without = match &models.load {
            None => "no run loaded from a warm page cache".to_owned(),
            Some(cost) => format!("{} {}", misfit(cost, "loads from a warm page cache"), self.measure_more()),
        };
        let warm = warm.filter(|(_, half)| *half <= WIDEST_LOAD);
        prediction.load_warm_s = match warm {
            Some((seconds, half)) => Figure::within(seconds, half).into(),
            None => {
                prediction.remarks.push(format!("load: {without}: a lower bound"));
                let read = rates.and_then(|rates| rates.file_read_warm.value());
                self.read_bound(read, format!("{without}, and the read rate of the page cache was not measured"))
            }
        };
        let cold = self.read_time(rates.and_then(|rates| rates.file_read_cold.value()));
        prediction.load_cold_s = match (warm, cold) {
            (Some((warm, half)), Some((read, spread))) => {
                let seconds = warm + read;
                Figure::within(seconds, (warm * half).hypot(read * SIDES * spread) / seconds).into()
            }
            (_, None) => Recorded::absent("the read rate of storage was not measured"),
            (None, _) => Recorded::absent(format!("it includes a warm load, and {without}")),
        };
    }

    /// What makes an interval narrower.
    fn measure_more(&self) -> String {
        format!("(measure {} with models of more sizes)", self.settings.engine)
    }

    /// Where the loaded files are too similar to fit the cost of a byte: the difference of this file at the read rate of the page cache.
    ///
    /// ```text
    /// (file - nearest loaded file) / warm read rate      the bandwidth of memory where that was not measured
    /// ```
    ///
    /// Unit: seconds, negative for a smaller file; 0 where the loaded files differ in size.
    fn more_to_read(&self, (least, most): (f64, f64), rates: Option<&Ceilings>) -> f64 {
        if most <= 0.0 || most >= least * LIKE_FILES {
            return 0.0;
        }
        let rate =
            rates.and_then(|rates| rates.file_read_warm.value()).map(|rate| rate.median).filter(|rate| *rate > 0.0);
        let file = self.subject.file_bytes.as_f64();
        (file - file.clamp(least, most)) / rate.unwrap_or(self.basis.memory)
    }

    /// Seconds to read the file at a rate, and the rate's relative spread.
    fn read_time(&self, rate: Option<Spread>) -> Option<(f64, f64)> {
        let rate = rate.filter(|rate| rate.median > 0.0)?;
        Some((self.subject.file_bytes.as_f64() / rate.median, (rate.high - rate.low).max(0.0) / 4.0 / rate.median))
    }

    /// The bound of a load: the seconds to read the file at a rate; `without` is the reason where there is no rate.
    fn read_bound(&self, rate: Option<Spread>, without: impl Into<Reason>) -> Recorded<Figure> {
        Recorded::of(self.read_time(rate).map(|(seconds, _)| Figure::Bound(seconds)), without)
    }

    /// The bounds: the roofline of each phase, `max(FLOP / peak, streamed bytes / bandwidth)`.
    fn bounds(&self, prediction: &mut Prediction, rates: Option<&Ceilings>) {
        let least = |pass: ForwardPass| {
            let (calls, repeats) = self.calls(pass);
            let bytes: f64 = calls.iter().map(|call| call.streamed).sum();
            let flops: f64 = calls.iter().map(|call| call.flops).sum();
            let (memory_s, compute_s) =
                (bytes / self.basis.memory / repeats, self.basis.compute.map_or(0.0, |peak| flops / peak / repeats));
            match memory_s >= compute_s {
                true => TimeParts { memory_s, least_memory_s: memory_s, ..TimeParts::default() },
                false => TimeParts { compute_s, least_compute_s: compute_s, ..TimeParts::default() },
            }
        };
        let (prefill, decode) = (least(ForwardPass::Prefill), least(ForwardPass::Decode));
        prediction.extrapolation = Recorded::absent("no model was measured");
        prediction.prefill_tps = Figure::Bound(self.settings.prompt_tokens as f64 / prefill.seconds()).into();
        prediction.decode_tps = Figure::Bound(1.0 / decode.seconds()).into();
        (prediction.prefill, prediction.decode) = (prefill.into(), decode.into());
        let parts = self.parts();
        prediction.memory_bytes = Figure::Bound(parts.total()).into();
        let read = |rate: fn(&Ceilings) -> Option<Spread>| {
            self.read_bound(rates.and_then(rate), "the read rate of files was not measured")
        };
        prediction.load_warm_s = read(|rates| rates.file_read_warm.value());
        prediction.load_cold_s = read(|rates| rates.file_read_cold.value());
        prediction.remarks.push(format!(
            "no run traced operations of {}: the figures are bounds by the ceilings alone; rates are upper bounds, memory and load are lower bounds",
            self.settings.engine
        ));
        self.set_parts(prediction, parts);
    }
}
