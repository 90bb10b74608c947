//! Attributes the ops of the traced pass to phases, by the time at which they began, and sums them per phase and name and per phase and
//! decoder block. The main process adds what the cost model says about them (`run/op_costs.rs`).

use std::collections::BTreeMap;

use ::record::{LayerRow, OpRow, PhaseOrOther, Reason};
use traces::Nanos;
use traces::record::{Cost, Event, Kind};

use super::timing::{PhaseSpan, Timing};

/// Phase (`None`: between phases), name and layer (`None`: outside of the layers).
type OpKey = (Option<engine_api::Phase>, &'static str, Option<u32>);

/// Sums of the ops of a request. They are added in batches, because a long request has more ops than are in memory at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpSums(BTreeMap<OpKey, OpSum>);

/// A sum of ops.
#[derive(Debug, Clone, Copy, Default)]
struct OpSum {
    count: usize,
    time: Nanos,
    /// The work that the engine stated.
    stated: Stated,
}

impl OpSum {
    fn add(&mut self, other: Self) {
        // A sum of none has the work of what is added.
        self.stated = if self.count == 0 { other.stated } else { self.stated.plus(other.stated) };
        self.count += other.count;
        self.time = self.time.saturating_add(other.time);
    }
}

/// Operations, streamed bytes and all bytes of ops; unknown where one of them has no such figure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Stated {
    flops: Option<f64>,
    streamed: Option<f64>,
    bytes: Option<f64>,
}

impl Stated {
    #[allow(clippy::cast_precision_loss, reason = "figures of one op are far below 2^53")]
    fn of(cost: Option<Cost>) -> Self {
        Self {
            flops: cost.and_then(|cost| cost.flops).map(|flops| flops as f64),
            streamed: cost.map(|cost| cost.streamed_bytes as f64),
            bytes: cost.map(|cost| cost.streamed_bytes as f64 + cost.activation_bytes as f64),
        }
    }

    fn plus(self, other: Self) -> Self {
        let both = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        Self {
            flops: both(self.flops, other.flops),
            streamed: both(self.streamed, other.streamed),
            bytes: both(self.bytes, other.bytes),
        }
    }
}

impl OpSums {
    /// Adds the ops that were recorded during these phases.
    pub(crate) fn add(&mut self, events: &[Event], phases: &[PhaseSpan]) {
        for op in events.iter().filter(|event| event.kind == Kind::Op) {
            let sum = self.0.entry((phase_at(phases, op.start), op.name, op.layer)).or_default();
            sum.add(OpSum { count: 1, time: op.duration, stated: Stated::of(op.cost()) });
        }
    }

    /// The sum of each kind of op.
    fn iter(&self) -> impl Iterator<Item = (OpKey, OpSum)> + '_ {
        self.0.iter().map(|(&key, &sum)| (key, sum))
    }
}

/// The ops of a request, summed in two ways.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct AttributedOps {
    /// Per phase and op, in the order of phases; within a phase the longest first.
    pub(crate) ops: Vec<OpRow>,
    /// Per phase and decoder block, in the order of both; ops outside of the blocks come last.
    pub(crate) layers: Vec<LayerRow>,
}

/// Why a row has no work of its own; the main process adds the cost model's.
const NOT_STATED: &str = "the engine does not state it";

/// Sums ops. Ops between phases belong to `other`. The share of a row is relative to the time of its phase in this request.
pub(crate) fn attribute(ops: &OpSums, timing: &Timing) -> AttributedOps {
    let mut by_op: BTreeMap<(PhaseOrOther, &str), OpSum> = BTreeMap::new();
    let mut by_layer: BTreeMap<(PhaseOrOther, (bool, Option<usize>)), OpSum> = BTreeMap::new();
    for ((phase, name, layer), sum) in ops.iter() {
        let place = phase.map_or(PhaseOrOther::Other, PhaseOrOther::Phase);
        by_op.entry((place.clone(), name)).or_default().add(sum);
        let layer = layer.map(|layer| layer as usize);
        by_layer.entry((place, (layer.is_none(), layer))).or_default().add(sum);
    }
    let stated = |figure: Option<f64>| figure.ok_or_else(|| Reason::new(NOT_STATED)).into();
    let row = |((phase, op), OpSum { count, time, stated: work }): ((PhaseOrOther, &str), OpSum)| OpRow {
        share: share(&phase, time, timing),
        phase,
        op: op.to_owned(),
        count,
        time_s: time.as_secs_f64(),
        flops: stated(work.flops),
        bytes: stated(work.bytes),
        streamed_bytes: stated(work.streamed),
        ..OpRow::absent(NOT_STATED)
    };
    let layer =
        |((phase, (_, layer)), OpSum { time, stated: work, .. }): ((PhaseOrOther, (bool, Option<usize>)), OpSum)| {
            LayerRow {
                share: share(&phase, time, timing),
                phase,
                layer,
                time_s: time.as_secs_f64(),
                flops: stated(work.flops),
                bytes: stated(work.bytes),
                ..LayerRow::absent(NOT_STATED)
            }
        };
    let mut by_op: Vec<_> = by_op.into_iter().collect();
    by_op.sort_by(|((place, op), sum), ((other, name), longer)| {
        place.cmp(other).then(longer.time.cmp(&sum.time)).then(op.cmp(name))
    });
    AttributedOps { ops: by_op.into_iter().map(row).collect(), layers: by_layer.into_iter().map(layer).collect() }
}

/// A time over the time of its phase in this request.
fn share(place: &PhaseOrOther, time: Nanos, timing: &Timing) -> f64 {
    let whole = place.phase().map_or(timing.other, |phase| timing.phase(phase));
    if whole > Nanos::ZERO { time.as_secs_f64() / whole.as_secs_f64() } else { 0.0 }
}

/// The phase at a time. Spans are in order and do not overlap.
pub(super) fn phase_at(spans: &[PhaseSpan], at: Nanos) -> Option<engine_api::Phase> {
    let after = spans.partition_point(|span| span.start <= at);
    let span = spans.get(after.checked_sub(1)?)?;
    // A phase of no length (virtual time) still contains what began at that time.
    (at < span.end || at == span.start).then_some(span.phase)
}

#[cfg(test)]
mod tests {
    use engine_api::Phase;
    use traces::record::{Args, Bins, Category};

    use super::*;

    fn op(name: &'static str, start: u64, duration: u64) -> Event {
        Event {
            kind: Kind::Op,
            category: Category::Op,
            name,
            tid: 1,
            start: Nanos(start),
            duration: Nanos(duration),
            layer: Some(0),
            shape: [1, 2, 3],
            args: Args::default(),
            bins: Bins::default(),
        }
    }

    #[test]
    fn ops_belong_to_the_phase_in_which_they_begin() {
        let span = |phase, start, end| PhaseSpan { phase, start: Nanos(start), end: Nanos(end) };
        let timing = Timing {
            spans: vec![span(Phase::Prefill, 0, 100), span(Phase::Decode, 110, 150), span(Phase::Decode, 160, 200)],
            latency: Nanos(200),
            other: Nanos(20),
            tokens: vec![],
        };
        let ops = [
            op("q_proj", 5, 20),
            Event { layer: None, ..op("attention", 30, 60) },
            op("q_proj", 110, 10),
            Event { layer: Some(1), ..op("q_proj", 165, 10) },
            op("lost", 105, 4),
        ];
        let mut sums = OpSums::default();
        let (first, rest) = timing.spans.split_at(1);
        sums.add(&ops[..2], first);
        sums.add(&ops[2..], rest);
        let AttributedOps { ops: rows, layers } = attribute(&sums, &timing);
        let found: Vec<_> = rows.iter().map(|row| (row.phase.name(), row.op.as_str(), row.count)).collect();
        assert_eq!(
            found,
            [("prefill", "attention", 1), ("prefill", "q_proj", 1), ("decode", "q_proj", 2), ("other", "lost", 1)]
        );
        assert!((rows[0].share - 0.6).abs() < 1e-9 && (rows[2].share - 0.25).abs() < 1e-9);
        let found: Vec<_> =
            layers.iter().map(|row| (row.phase.name(), row.layer, (row.time_s * 1e9).round())).collect();
        assert_eq!(
            found,
            [
                ("prefill", Some(0), 20.0),
                ("prefill", None, 60.0),
                ("decode", Some(0), 10.0),
                ("decode", Some(1), 10.0),
                ("other", Some(0), 4.0)
            ]
        );
    }
}
