//! Which experts the passes of a traced request used, from the histograms of the engine, and what these passes read, as far as the engine
//! states it. The main process adds what the cost model says (`run/op_costs.rs`).
//!
//! A pass begins with the op `embed`, whose shape has the tokens of the pass. Rows are of all passes of a phase that have the same number of
//! tokens.

use std::collections::BTreeMap;

use ::record::{ExpertPassRow, ExpertRow, PhaseOrOther, Reason, Recorded};
use engine_api::{EXPERTS_USED, Phase};
use models::cost::OpKind;
use traces::Nanos;
use traces::record::{Event, Kind};

use super::ops::phase_at;
use super::timing::PhaseSpan;

/// Why a row has no bytes of its own; the main process adds those of the cost model.
const NOT_STATED: &str = "the engine does not state it";

/// Passes of a phase (`None`: between phases) with so many tokens.
type PassKey = (Option<Phase>, usize);

/// Sums over the passes of a request. Events are added in batches, in the order of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExpertSums {
    passes: BTreeMap<PassKey, PassSum>,
    layers: BTreeMap<(PassKey, u32), LayerSum>,
    /// The passes that the present one belongs to.
    current: Option<PassKey>,
    /// Layer, time and last bin of the histogram that was added last: its parts follow each other.
    last: Option<(u32, Nanos, usize)>,
}

/// Sums over passes.
#[derive(Debug, Clone, Copy)]
struct PassSum {
    passes: usize,
    /// Bytes of weights and caches; unknown if an op does not state them.
    streamed: Option<u64>,
}

/// Sums of one layer over passes.
#[derive(Debug, Clone)]
struct LayerSum {
    passes: usize,
    distinct: usize,
    /// By expert.
    tokens: Vec<u64>,
    /// Bytes of experts; unknown if an op does not state them.
    bytes: Option<u64>,
}

impl Default for LayerSum {
    fn default() -> Self {
        Self { passes: 0, distinct: 0, tokens: Vec::new(), bytes: Some(0) }
    }
}

impl ExpertSums {
    /// Adds the events that were recorded during these phases.
    pub(crate) fn add(&mut self, events: &[Event], phases: &[PhaseSpan]) {
        for event in events {
            match event.kind {
                Kind::Op => self.add_op(event, phases),
                Kind::Histogram if event.name == EXPERTS_USED => self.add_bins(event),
                _ => {}
            }
        }
    }

    fn add_op(&mut self, op: &Event, phases: &[PhaseSpan]) {
        if op.name == OpKind::Embed.name() {
            let key = (phase_at(phases, op.start), op.shape[0] as usize);
            self.current = Some(key);
            self.passes.entry(key).or_insert(PassSum { passes: 0, streamed: Some(0) }).passes += 1;
        }
        let Some(key) = self.current else { return };
        let add = |sum: &mut Option<u64>, bytes: Option<u64>| *sum = sum.zip(bytes).map(|(sum, bytes)| sum + bytes);
        let streamed = op.cost().map(|cost| cost.streamed_bytes);
        if let Some(sum) = self.passes.get_mut(&key) {
            add(&mut sum.streamed, streamed);
        }
        let reads_experts = [OpKind::ExpertsGateUp, OpKind::ExpertsDown].iter().any(|kind| op.name == kind.name());
        if let Some(layer) = op.layer.filter(|_| reads_experts) {
            add(&mut self.layers.entry((key, layer)).or_default().bytes, streamed);
        }
    }

    fn add_bins(&mut self, part: &Event) {
        let (Some(key), Some(layer)) = (self.current, part.layer) else { return };
        let sum = self.layers.entry((key, layer)).or_default();
        let mut before = self.last.filter(|(of, start, _)| (*of, *start) == (layer, part.start)).map(|(.., bin)| bin);
        if before.is_none() {
            sum.passes += 1;
        }
        for (expert, tokens) in part.bins.iter() {
            let count = (part.shape[0] as usize).max(expert + 1);
            if sum.tokens.len() < count {
                sum.tokens.resize(count, 0);
            }
            sum.tokens[expert] += tokens;
            // A large count has several entries, which follow each other.
            sum.distinct += usize::from(before != Some(expert));
            before = Some(expert);
        }
        self.last = before.map(|bin| (layer, part.start, bin));
    }

    /// One row per phase, tokens of a pass and layer; none if the engine recorded no experts.
    pub(crate) fn layers(&self) -> Vec<ExpertRow> {
        let row = |(((phase, pass_tokens), layer), sum): (&(PassKey, u32), &LayerSum)| {
            let balance = statistics::balance(&sum.tokens)?;
            Some(ExpertRow {
                phase: phase.map_or(PhaseOrOther::Other, PhaseOrOther::Phase),
                pass_tokens: *pass_tokens,
                layer: *layer as usize,
                passes: sum.passes,
                distinct: mean(sum.distinct, sum.passes),
                tokens: sum.tokens.clone(),
                max_to_mean: balance.max_to_mean,
                entropy: balance.entropy,
                // An engine that states nothing has no such ops here, or their sum is unknown.
                bytes: per_pass(sum.bytes.filter(|bytes| *bytes > 0), sum.passes),
                ..ExpertRow::absent(NOT_STATED)
            })
        };
        self.layers.iter().filter_map(row).collect()
    }

    /// One row per phase and tokens of a pass; none if the engine recorded no experts.
    pub(crate) fn passes(&self) -> Vec<ExpertPassRow> {
        let row = |(key, sum): (&PassKey, &PassSum)| {
            let layers = || self.layers.iter().filter(|((of, _), layer)| of == key && layer.passes > 0);
            let passes: usize = layers().map(|(_, layer)| layer.passes).sum();
            let distinct: usize = layers().map(|(_, layer)| layer.distinct).sum();
            let bytes: Option<u64> = layers().map(|(_, layer)| layer.bytes).sum();
            (passes > 0).then(|| ExpertPassRow {
                phase: key.0.map_or(PhaseOrOther::Other, PhaseOrOther::Phase),
                pass_tokens: key.1,
                passes: sum.passes,
                distinct: mean(distinct, passes),
                expert_bytes: per_pass(bytes.filter(|bytes| *bytes > 0), sum.passes),
                streamed_bytes: per_pass(sum.streamed, sum.passes),
                ..ExpertPassRow::absent(NOT_STATED)
            })
        };
        self.passes.iter().filter_map(row).collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn mean(sum: usize, count: usize) -> f64 {
    sum as f64 / count as f64
}

#[allow(clippy::cast_precision_loss, reason = "bytes of one request are far below 2^53")]
fn per_pass(bytes: Option<u64>, passes: usize) -> Recorded<f64> {
    bytes.map(|bytes| bytes as f64 / passes as f64).ok_or_else(|| Reason::new(NOT_STATED)).into()
}

#[cfg(test)]
mod tests {
    use engine_api::record_experts;
    use traces::record::{self, Cost, Name, OpGuard, TextName};

    use super::*;

    /// Marks the ops and the experts of a pass in one layer.
    fn pass(tokens: usize, layer: usize, experts: &[(usize, usize)], stated: Option<u64>) {
        static EMBED: Name = Name::new("embed");
        let state = |mut op: OpGuard, bytes: u64| {
            if stated.is_some() {
                op.state_cost(Cost { flops: None, streamed_bytes: bytes, activation_bytes: 1 });
            }
        };
        state(OpGuard::begin(&EMBED, record::NO_LAYER, [tokens, 64]), 5);
        record_experts(layer, 20, experts.iter().copied());
        state(OpGuard::begin_text(TextName::of("experts_gate_up"), layer, [tokens]), 2 * stated.unwrap_or(0));
        state(OpGuard::begin_text(TextName::of("experts_down"), layer, [tokens]), stated.unwrap_or(0));
    }

    fn sums(work: impl FnOnce()) -> ExpertSums {
        let mut sums = ExpertSums::default();
        record::start(record::Config::default());
        record::drain();
        work();
        record::stop();
        let own = record::drain().events;
        // Other tests of this process may record at the same time.
        let thread = own.iter().find(|event| event.kind == Kind::Histogram).map(|event| event.tid);
        let events: Vec<Event> = own.into_iter().filter(|event| Some(event.tid) == thread).collect();
        let whole = PhaseSpan { phase: Phase::Decode, start: Nanos::ZERO, end: Nanos::MAX };
        sums.add(&events, &[whole]);
        sums
    }

    /// One test, since the recorder belongs to the process.
    #[test]
    fn rows_are_of_passes_with_the_same_number_of_tokens() {
        let many: Vec<(usize, usize)> = (0..18).map(|expert| (expert, 2)).collect();
        let stated = sums(|| {
            pass(1, 0, &[(3, 1), (7, 1)], Some(10));
            pass(18, 0, &many, Some(100));
            pass(1, 0, &[(3, 1), (9, 1)], Some(20));
        });
        let rows = stated.layers();
        assert_eq!(rows.len(), 2);
        let (one, many) = (&rows[0], &rows[1]);
        assert_eq!((one.pass_tokens, one.layer, one.passes, one.tokens.len()), (1, 0, 2, 20));
        assert_eq!((one.tokens[3], one.tokens[7], one.tokens[9], one.tokens.iter().sum::<u64>()), (2, 1, 1, 4));
        assert_eq!((one.distinct, one.bytes.value()), (2.0, Some((30.0 + 60.0) / 2.0)));
        assert!((one.max_to_mean - 10.0).abs() < 1e-9);
        assert_eq!((many.pass_tokens, many.distinct, many.bytes.value()), (18, 18.0, Some(300.0)), "three records");
        assert!(one.phase == Phase::Decode);
        let passes = stated.passes();
        assert_eq!((passes[0].passes, passes[0].distinct, passes[0].streamed_bytes.value()), (2, 2.0, Some(50.0)));
        assert_eq!(passes[1].expert_bytes.value(), Some(300.0));
        let unstated = sums(|| pass(4, 2, &[(0, 4)], None));
        assert_eq!(unstated.layers()[0].bytes.reason().unwrap(), &NOT_STATED);
        assert_eq!(unstated.passes()[0].streamed_bytes.reason().unwrap(), &NOT_STATED);
        assert!(sums(|| {}).layers().is_empty() && sums(|| {}).passes().is_empty());
    }
}
