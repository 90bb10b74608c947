//! Adds the cost model's figures to the ops of a traced request, or says why there are none.

use std::collections::BTreeMap;

use engine_api::Phase;
use models::cost::{self, ExpertBytes, OpCost, OpKind, WeightTypes};
use models::{Bytes, CacheTypes, NotModelled};
use record::{Case, ExpertRow, OpRow, PhaseOrOther, Reason, Recorded, RecordedList};

use crate::plan::{ModelledShape, Shape};

/// The work of a traced request.
#[derive(Debug, Clone, Copy)]
pub(super) struct TracedWork<'a> {
    pub(super) shape: &'a ModelledShape,
    /// Element types of the KV cache.
    pub(super) kv: CacheTypes,
    /// Prompt tokens per pass.
    pub(super) batch: usize,
    /// Whether the engine drops all tokens but the last after the attention of the last block.
    pub(super) prunes: bool,
    /// Tokens in the context before the prompt.
    pub(super) depth: usize,
    /// Tokens of the prompt.
    pub(super) prompt_tokens: usize,
    /// Tokens of the answer; each but the last was decoded.
    pub(super) output_tokens: usize,
}

/// Completes the ops of a model that is not modelled: operations and bytes are those that the engine stated with the marks; where it stated
/// none, the reason says so.
pub(super) fn complete_stated(case: &mut Case, shape: &Shape, not_modelled: &NotModelled) {
    let absent = || Recorded::absent(format!("{not_modelled}, and the engine does not state it"));
    for row in &mut case.ops {
        let types = shape.types_of_ops.of_op(&row.op);
        row.dtype =
            types.ok_or_else(|| Reason::new("no weights of the file are known to be those of the operation")).into();
        for figure in [&mut row.flops, &mut row.bytes, &mut row.streamed_bytes] {
            if figure.is_absent() {
                *figure = absent();
            }
        }
    }
    for figure in case.layers.iter_mut().flat_map(|row| [&mut row.flops, &mut row.bytes]) {
        if figure.is_absent() {
            *figure = absent();
        }
    }
}

impl TracedWork<'_> {
    /// Adds operations, bytes and types to each row of ops and of layers. An op that the cost model does not contain, or with another
    /// number of calls than in the model, has a reason instead.
    pub(super) fn add_costs(&self, case: &mut Case) {
        let ModelledShape { spec, types } = self.shape;
        let experts: Vec<_> = (spec.layers.iter().enumerate())
            .map(|(at, layer)| Some(cost::expert_bytes(spec.hidden, layer.feed_forward.experts()?, types, at)))
            .collect();
        self.add_costs_of_experts(case, &experts);
        let seen = case.experts.as_deref().unwrap_or_default();
        // Projections that the engine computed in one product.
        let ran: Vec<OpKind> = case.ops.iter().filter_map(|row| OpKind::from_name(&row.op)).collect();
        let of = |ops| Costs::of(cost::joined_ops(ops, |kind| ran.contains(&kind)), &experts);
        let (prefill, decode) = (of(self.prefill()), of(self.decode()));
        let of_phase = |phase: &PhaseOrOther| match phase {
            PhaseOrOther::Phase(Phase::Prefill) => Ok(&prefill),
            PhaseOrOther::Phase(Phase::Decode) => Ok(&decode),
            phase => {
                Err(Reason::new(format!("the cost model covers prefill and decode, and this operation ran in {phase}")))
            }
        };
        let mut incomplete: BTreeMap<PhaseOrOther, Reason> = BTreeMap::new();
        for row in &mut case.ops {
            let found: Result<&CostSum, Reason> = of_phase(&row.phase).and_then(|costs| match costs.by_op.get(row.op.as_str()) {
                None => Err(format!("the cost model does not contain the operation {}", row.op).into()),
                Some(sum) if is_marked(row, sum.calls) || sum.may_be_split(row.count) => Ok(sum),
                Some(sum) => Err(format!(
                    "the trace has {} calls, the cost model expects {}: marks were lost, or the engine uses other batches",
                    row.count, sum.calls
                )
                .into()),
            });
            if let Err(reason) = &found {
                let named = || Reason::new(format!("{}: {reason}", row.op));
                incomplete.entry(row.phase.clone()).or_insert_with(named);
            }
            let found = found.map(|sum| (sum, seen_experts(row, sum, seen, &experts)));
            row.flops = found.clone().map(|(sum, _)| sum.flops).into();
            row.bytes = found.clone().map(|(sum, streamed)| streamed + sum.activations).into();
            row.streamed_bytes = found.map(|(_, streamed)| streamed).into();
            row.dtype = OpKind::from_name(&row.op)
                .and_then(|kind| dtypes(&self.shape.types, kind, self.shape.spec.layers.len()))
                .ok_or_else(|| Reason::new("it reads no weights of the cost model"))
                .into();
        }
        for row in &mut case.layers {
            let costs = match incomplete.get(&row.phase) {
                Some(reason) => Err(reason.clone()),
                None => of_phase(&row.phase),
            };
            let sum = costs.and_then(|costs| {
                costs.by_layer.get(&row.layer).ok_or_else(|| Reason::new("the cost model does not contain the block"))
            });
            row.flops = sum.clone().map(|sum| sum.flops).into();
            let of_row = |of: &&ExpertRow| of.phase == row.phase && Some(of.layer) == row.layer;
            let read = |of: &ExpertRow| Some(of.bytes.value()? * of.passes as f64);
            // Those of the cost model are an estimate for passes of several tokens.
            let experts = seen.iter().filter(of_row).map(read).sum::<Option<f64>>().filter(|bytes| *bytes > 0.0);
            let streamed = |sum: &CostSum| sum.streamed + experts.map_or(0.0, |seen| seen - sum.expert_streamed);
            row.bytes = sum.map(|sum| streamed(sum) + sum.activations).into();
        }
    }

    /// Adds the bytes of experts, and of all weights and caches of a pass, to the rows of experts.
    fn add_costs_of_experts(&self, case: &mut Case, experts: &[Option<ExpertBytes>]) {
        if experts.iter().all(Option::is_none) {
            return;
        }
        let without = || RecordedList::absent("the engine does not state which experts it used");
        let rows = case.experts.get_or_insert_with(without);
        for row in &mut *rows {
            let of_one = experts.get(row.layer).copied().flatten();
            let without = "the cost model has no experts in this layer";
            row.bytes = Recorded::of(of_one.map(|of_one| row.distinct * of_one.total().as_f64()), without);
        }
        let (prefill, decode) = (others_per_pass(self.prefill()), others_per_pass(self.decode()));
        for pass in &mut case.expert_passes {
            let of_pass = |row: &&ExpertRow| row.phase == pass.phase && row.pass_tokens == pass.pass_tokens;
            // Some layers run less often: in the last one some engines compute the last token only.
            let per_pass = |row: &ExpertRow| Some(row.bytes.value()? * row.passes as f64 / pass.passes as f64);
            let bytes = rows.iter().filter(of_pass).map(per_pass).sum::<Option<f64>>();
            pass.expert_bytes = Recorded::of(bytes, "the cost model has no experts in some of its layers");
            let others = match &pass.phase {
                PhaseOrOther::Phase(Phase::Prefill) => prefill.get(&pass.pass_tokens),
                PhaseOrOther::Phase(Phase::Decode) => decode.get(&pass.pass_tokens),
                _ => None,
            };
            let streamed = bytes.zip(others).map(|(experts, others)| experts + others);
            pass.streamed_bytes = Recorded::of(streamed, "the cost model has no pass of so many tokens in this phase");
        }
    }

    fn prefill(&self) -> Vec<OpCost> {
        let ModelledShape { spec, types } = self.shape;
        let ops_of = if self.prunes { cost::pruned_prefill_ops } else { cost::batched_prefill_ops };
        ops_of(spec, types, self.kv, self.prompt_tokens, self.depth, self.batch)
    }

    fn decode(&self) -> Vec<OpCost> {
        let ModelledShape { spec, types } = self.shape;
        let first = self.depth + self.prompt_tokens;
        let positions = first..first + self.output_tokens.saturating_sub(1);
        positions.flat_map(|position| cost::decode_ops(spec, types, self.kv, position)).collect()
    }
}

/// Whether an op was marked in each of so many calls, as a whole or each of its products.
fn is_marked(row: &OpRow, calls: usize) -> bool {
    let products = OpKind::from_name(&row.op).map_or(1, OpKind::products);
    [calls, calls * products].contains(&row.count)
}

/// Bytes of weights and cache that a pass streams besides those of experts, by the tokens of the pass; the mean of passes with the same
/// number of tokens.
fn others_per_pass(ops: Vec<OpCost>) -> BTreeMap<usize, f64> {
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    let mut tokens = 0;
    for op in ops {
        if op.kind == OpKind::Embed {
            tokens = op.shape[0];
            sums.entry(tokens).or_default().1 += 1.0;
        }
        if !matches!(op.kind, OpKind::ExpertsGateUp | OpKind::ExpertsDown) {
            sums.entry(tokens).or_default().0 += (op.weight_bytes + op.kv_bytes).as_f64();
        }
    }
    sums.into_iter().map(|(tokens, (bytes, passes))| (tokens, bytes / passes)).collect()
}

/// The bytes that an op streamed: those of the cost model, except for the experts of a pass of several tokens, which the model can only
/// estimate. Where the engine recorded which experts it used, or stated which bytes it read, those count, and the mean number of distinct
/// experts of a call follows; else a note says that the bytes are an estimate.
fn seen_experts(row: &mut OpRow, sum: &CostSum, seen: &[ExpertRow], experts: &[Option<ExpertBytes>]) -> f64 {
    const STREAMED: &str = "streamed_bytes";
    if sum.expert_bytes <= 0.0 {
        return sum.streamed;
    }
    let kind = OpKind::from_name(&row.op);
    let of_row = |of: &ExpertRow| {
        let of_one = experts.get(of.layer).copied().flatten()?.of_op(kind?)?;
        Some((of.distinct * of.passes as f64, of_one.as_f64()))
    };
    let used = seen.iter().filter(|of| of.phase == row.phase);
    let used: Vec<(f64, f64)> = used.filter_map(of_row).collect();
    let calls: usize = seen.iter().filter(|of| of.phase == row.phase).map(|of| of.passes).sum();
    if is_marked(row, calls) {
        row.distinct_experts = Some(used.iter().map(|(distinct, _)| distinct).sum::<f64>() / calls as f64);
        return used.iter().map(|(distinct, of_one)| distinct * of_one).sum();
    }
    // A row that was completed before has the bytes of the model, and the note.
    match row.streamed_bytes.value().filter(|_| !row.notes.contains_key(STREAMED)) {
        Some(stated) => {
            row.distinct_experts = Some(stated / sum.expert_bytes);
            stated
        }
        None => {
            let note = "estimated for an even choice: the engine does not state which experts it used";
            row.notes.insert(STREAMED.to_owned(), note.to_owned());
            sum.streamed
        }
    }
}

/// The names of the types of an op's weights, in the order of the layers.
fn dtypes(types: &WeightTypes, kind: OpKind, layers: usize) -> Option<String> {
    let layers: Vec<Option<usize>> = if is_in_block(kind) { (0..layers).map(Some).collect() } else { vec![None] };
    let mut names: Vec<String> = Vec::new();
    for name in
        layers.into_iter().filter_map(|layer| types.read_by(kind, layer)).map(|dtype| dtype.name().to_lowercase())
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join("+"))
}

fn is_in_block(kind: OpKind) -> bool {
    !matches!(kind, OpKind::Embed | OpKind::OutputNorm | OpKind::LmHead)
}

/// Costs of a phase, summed in two ways.
struct Costs {
    by_op: BTreeMap<&'static str, CostSum>,
    by_layer: BTreeMap<Option<usize>, CostSum>,
}

/// A sum of costs: calls, operations, bytes.
#[derive(Debug, Clone, Copy, Default)]
struct CostSum {
    calls: usize,
    flops: f64,
    /// Weights, KV cache and recurrent states.
    streamed: f64,
    activations: f64,
    /// Weights alone, without the sinks of attention.
    weights: f64,
    /// Of the ops that read experts: bytes of one expert, summed over the calls.
    expert_bytes: f64,
    /// Bytes of experts, which are an estimate for passes of several tokens.
    expert_streamed: f64,
}

impl CostSum {
    fn add(&mut self, op: &OpCost, expert_bytes: f64) {
        self.expert_bytes += expert_bytes;
        self.expert_streamed += if expert_bytes > 0.0 { op.weight_bytes.as_f64() } else { 0.0 };
        self.calls += 1;
        self.flops += op.flops.as_f64();
        self.streamed += op.streamed_bytes().as_f64();
        self.activations += op.activation_bytes.as_f64();
        // Sinks do not keep attention from being marked in parts.
        self.weights += if op.kind == OpKind::Attention { 0.0 } else { op.weight_bytes.as_f64() };
    }

    /// An op without weights has the same cost if it is marked in several parts, as some engines do for queries and keys.
    fn may_be_split(&self, count: usize) -> bool {
        self.weights <= 0.0 && self.calls > 0 && count.is_multiple_of(self.calls)
    }
}

impl Costs {
    /// `experts` are the bytes of one expert of each layer.
    fn of(ops: Vec<OpCost>, experts: &[Option<ExpertBytes>]) -> Self {
        let mut costs = Self { by_op: BTreeMap::new(), by_layer: BTreeMap::new() };
        for op in ops {
            let of_one = op.layer.and_then(|layer| *experts.get(layer)?).and_then(|bytes| bytes.of_op(op.kind));
            let of_one = of_one.map_or(0.0, Bytes::as_f64);
            costs.by_op.entry(op.kind.name()).or_default().add(&op, of_one);
            costs.by_layer.entry(op.layer).or_default().add(&op, of_one);
        }
        costs
    }
}

#[cfg(test)]
mod tests {
    use models::registry;

    use models::DType;

    use super::*;
    use record::{ExpertPassRow, LayerRow};

    fn shape() -> ModelledShape {
        let spec = registry::find("smollm2-135m").unwrap().spec();
        // llama.cpp's mixtures give some layers another type.
        let types = WeightTypes::by_name(&spec, |name| match name {
            "blk.0.ffn_down.weight" => DType::Q6_K,
            name if name.contains("norm") => DType::F32,
            _ => DType::Q4_0,
        });
        ModelledShape { spec, types }
    }

    fn row(phase: &str, op: &str, count: usize) -> OpRow {
        OpRow { phase: PhaseOrOther::from_name(phase), op: op.to_owned(), count, ..OpRow::absent("no cost") }
    }

    #[test]
    fn rows_get_the_costs_of_their_phase() {
        let shape = shape();
        let spec = &shape.spec;
        let (layers, attention) = (spec.layers.len(), spec.attentions().next().unwrap());
        let layer = |phase: &str, layer| LayerRow {
            phase: PhaseOrOther::from_name(phase),
            layer,
            ..LayerRow::absent("no cost")
        };
        let mut case = Case {
            ops: [
                row("prefill", "q_proj", 2 * layers),
                row("prefill", "down_proj", 2 * layers),
                row("prefill", "lm_head", 1),
                row("decode", "q_proj", 4 * layers),
                row("decode", "attention", 4 * layers),
            ]
            .into(),
            layers: [layer("prefill", Some(0)), layer("decode", Some(1)), layer("decode", None)].into(),
            ..Case::default()
        };
        let work = TracedWork {
            shape: &shape,
            kv: DType::F16.into(),
            batch: 8,
            prunes: false,
            depth: 3,
            prompt_tokens: 10,
            output_tokens: 5,
        };
        work.add_costs(&mut case);
        // q_proj: 2 x tokens x hidden x hidden x layers; its weights are read once in each of the two batches.
        let per_token = 2.0 * (spec.hidden * attention.q_width() * layers) as f64;
        let ops = &case.ops;
        assert!((ops[0].flops.value().unwrap() / (10.0 * per_token) - 1.0).abs() < 1e-9);
        assert!((ops[3].flops.value().unwrap() / (4.0 * per_token) - 1.0).abs() < 1e-9);
        let weights = per_token / 2.0 * 18.0 / 32.0;
        assert!((ops[0].streamed_bytes.value().unwrap() / (2.0 * weights) - 1.0).abs() < 1e-9);
        assert!((ops[3].streamed_bytes.value().unwrap() / (4.0 * weights) - 1.0).abs() < 1e-9);
        assert!(ops[0].bytes.value().unwrap() > ops[0].streamed_bytes.value().unwrap());
        // Attention reads the cache up to and with its own position: 14 + 15 + 16 + 17 rows, the depth included.
        let row = (2 * attention.kv_width() * 2 * layers) as f64;
        assert!((ops[4].streamed_bytes.value().unwrap() / (62.0 * row) - 1.0).abs() < 1e-9);
        let dtypes: Vec<_> = ops.iter().map(|row| row.dtype.as_ref().map(String::as_str)).collect();
        assert_eq!(dtypes, [Some("q4_0"), Some("q6_k+q4_0"), Some("q4_0"), Some("q4_0"), None]);
        assert!(ops.iter().all(|row| row.flops.is_present() && row.bytes.is_present()));
        assert!(case.layers.iter().all(|row| row.flops.value().unwrap() > 0.0 && row.bytes.value().unwrap() > 0.0));
    }

    /// One token uses exactly K experts; of a batch the bytes that the engine stated count, else the estimate with its reason.
    #[test]
    fn the_experts_that_ran_decide_over_the_estimate() {
        let spec = registry::find("qwen-3-30b-a3b").unwrap().spec();
        let types = WeightTypes::uniform(&spec, DType::Q4_0);
        let experts = spec.layers[0].feed_forward.experts().unwrap();
        let (layers, one) = (spec.layers.len(), cost::expert_bytes(spec.hidden, experts, &types, 0));
        let shape = ModelledShape { spec, types };
        let stated = |experts: usize| Recorded::Present(one.gate_up.as_f64() * (experts * layers) as f64);
        let mut case = Case {
            ops: [
                OpRow { streamed_bytes: stated(20), ..row("prefill", "experts_gate_up", layers) },
                row("prefill", "experts_down", layers),
                OpRow { streamed_bytes: stated(8 * 4), ..row("decode", "experts_gate_up", 4 * layers) },
            ]
            .into(),
            ..Case::default()
        };
        let work = TracedWork {
            shape: &shape,
            kv: DType::F16.into(),
            batch: 512,
            prunes: false,
            depth: 0,
            prompt_tokens: 10,
            output_tokens: 5,
        };
        // Twice, as after the next round: nothing changes.
        work.add_costs(&mut case);
        work.add_costs(&mut case);
        let [prefill, estimated, decode] = &*case.ops else { panic!("{:?}", case.ops) };
        assert!(
            (prefill.distinct_experts.unwrap() - 20.0).abs() < 1e-9
                && prefill.streamed_bytes.value() == stated(20).value()
        );
        assert!((decode.distinct_experts.unwrap() - 8.0).abs() < 1e-9);
        assert_eq!(estimated.distinct_experts, None);
        assert!(estimated.notes["streamed_bytes"].contains("estimated for an even choice"));
        let expected = one.down.as_f64() * layers as f64 * 128.0 * (1.0 - (1.0 - 8.0 / 128.0f64).powi(10));
        assert!((estimated.streamed_bytes.value().unwrap() / expected - 1.0).abs() < 1e-6);
        assert!(prefill.bytes.value() > prefill.streamed_bytes.value());
    }

    /// Of a batch, the recorded experts decide, layer by layer; a pass reads them beside the other weights and the cache.
    #[test]
    fn recorded_experts_have_the_bytes_of_their_layer() {
        let spec = registry::find("qwen-3-30b-a3b").unwrap().spec();
        // The experts of the first layer have another type.
        let types = WeightTypes::by_name(&spec, |name| match name {
            "blk.0.ffn_down_exps.weight" => DType::Q8_0,
            _ => DType::Q4_0,
        });
        let layers = spec.layers.len();
        let experts = spec.layers[0].feed_forward.experts().unwrap();
        let of_one = |layer| cost::expert_bytes(spec.hidden, experts, &types, layer);
        let (first, other) = (of_one(0), of_one(1));
        assert!(first.down > other.down && first.gate_up == other.gate_up);
        let distinct = |layer: usize| 20.0 + layer as f64;
        let row_of = |layer| ExpertRow {
            phase: Phase::Prefill.into(),
            pass_tokens: 10,
            layer,
            passes: 1,
            distinct: distinct(layer),
            ..ExpertRow::absent("not stated")
        };
        let pass = ExpertPassRow {
            phase: Phase::Prefill.into(),
            pass_tokens: 10,
            passes: 1,
            ..ExpertPassRow::absent("not stated")
        };
        let layer_row = LayerRow { phase: Phase::Prefill.into(), layer: Some(0), ..LayerRow::absent("no cost") };
        let mut case = Case {
            ops: [row("prefill", "experts_gate_up", layers), row("prefill", "experts_down", layers)].into(),
            layers: [layer_row].into(),
            experts: Some(RecordedList::new((0..layers).map(row_of).collect(), "unused")),
            expert_passes: vec![pass],
            ..Case::default()
        };
        let shape = ModelledShape { spec: spec.clone(), types: types.clone() };
        let work = TracedWork {
            shape: &shape,
            kv: DType::F16.into(),
            batch: 512,
            prunes: false,
            depth: 0,
            prompt_tokens: 10,
            output_tokens: 5,
        };
        work.add_costs(&mut case);
        work.add_costs(&mut case);
        // llama.cpp's products of gate and up are marked one by one.
        let mut in_products = case.clone();
        in_products.ops[0].count = 2 * layers;
        work.add_costs(&mut in_products);
        assert_eq!(in_products.ops[0].streamed_bytes, case.ops[0].streamed_bytes);
        in_products.ops[0].count = 3 * layers;
        work.add_costs(&mut in_products);
        assert!(in_products.ops[0].streamed_bytes.reason().unwrap().as_str().contains("marks were lost"));
        let all: f64 = (0..layers).map(distinct).sum();
        let (gate_up, down) =
            (all * other.gate_up.as_f64(), all * other.down.as_f64() + 20.0 * (first.down - other.down).as_f64());
        let close = |found: Option<f64>, expected: f64| (found.unwrap() / expected - 1.0).abs() < 1e-6;
        assert!(close(case.ops[0].streamed_bytes.value(), gate_up) && close(case.ops[1].streamed_bytes.value(), down));
        assert!(close(case.ops[0].distinct_experts, all / layers as f64));
        let rows = case.experts.as_deref().unwrap();
        assert!(close(rows[0].bytes.value(), 20.0 * first.total().as_f64()));
        assert!(close(rows[1].bytes.value(), 21.0 * other.total().as_f64()));
        let others = cost::prefill_ops(&spec, &types, DType::F16, 10, 0);
        let others = others.iter().filter(|op| !matches!(op.kind, OpKind::ExpertsGateUp | OpKind::ExpertsDown));
        let others: f64 = others.map(|op| (op.weight_bytes + op.kv_bytes).as_f64()).sum();
        assert!(close(case.expert_passes[0].expert_bytes.value(), gate_up + down));
        assert!(close(case.expert_passes[0].streamed_bytes.value(), others + gate_up + down));
        // The estimate for an even choice is larger than 20 experts.
        let estimated = experts.expected_distinct(10);
        let mut without = case.clone();
        without.experts = None;
        work.add_costs(&mut without);
        assert!(without.experts.unwrap().reason().unwrap().as_str().contains("does not state which experts"));
        let difference = without.layers[0].bytes.value().unwrap() - case.layers[0].bytes.value().unwrap();
        assert!(close(Some(difference), (estimated - 20.0) * first.total().as_f64()), "{difference}");
    }

    #[test]
    fn a_pruned_last_block_runs_once() {
        let shape = shape();
        let layers = shape.spec.layers.len();
        let mut work = TracedWork {
            shape: &shape,
            kv: DType::F16.into(),
            batch: 8,
            prunes: true,
            depth: 0,
            prompt_tokens: 20,
            output_tokens: 1,
        };
        let mut case = Case {
            ops: [row("prefill", "o_proj", 3 * layers), row("prefill", "down_proj", 3 * layers - 2)].into(),
            ..Case::default()
        };
        work.add_costs(&mut case);
        let pruned = case.ops[1].flops.value().unwrap();
        work.prunes = false;
        case.ops[1].count = 3 * layers;
        work.add_costs(&mut case);
        // Of the last block one row of 20 is left.
        let rows = |blocks: usize, last: usize| (20 * blocks + last) as f64;
        let expected = case.ops[1].flops.value().unwrap() * rows(layers - 1, 1) / rows(layers - 1, 20);
        assert!((pruned / expected - 1.0).abs() < 1e-9, "{pruned} {expected}");
        assert!(case.ops.iter().all(|row| row.flops.is_present() && row.streamed_bytes.is_present()));
    }

    #[test]
    fn ops_outside_of_the_cost_model_have_a_reason() {
        let shape = shape();
        let mut case = Case {
            ops: [row("decode", "warp", 4), row("other", "q_proj", 1), row("decode", "q_proj", 7)].into(),
            layers: [LayerRow { phase: Phase::Decode.into(), layer: Some(0), ..LayerRow::absent("no cost") }].into(),
            ..Case::default()
        };
        TracedWork {
            shape: &shape,
            kv: DType::F16.into(),
            batch: 512,
            prunes: false,
            depth: 0,
            prompt_tokens: 10,
            output_tokens: 5,
        }
        .add_costs(&mut case);
        for (row, words) in case.ops.iter().zip(["does not contain the operation warp", "ran in other", "has 7 calls"])
        {
            for figure in [&row.flops, &row.bytes, &row.streamed_bytes] {
                assert!(figure.reason().unwrap().as_str().contains(words), "{figure:?}");
            }
        }
        let reason = case.layers[0].flops.reason().unwrap().as_str();
        assert_eq!(
            reason, "warp: the cost model does not contain the operation warp",
            "an incomplete phase has no sum"
        );
    }

    #[test]
    fn layers_and_ops_have_the_same_sum() {
        let shape = shape();
        let work = TracedWork {
            shape: &shape,
            kv: DType::F16.into(),
            batch: 8,
            prunes: false,
            depth: 3,
            prompt_tokens: 20,
            output_tokens: 5,
        };
        for costs in [Costs::of(work.prefill(), &[]), Costs::of(work.decode(), &[])] {
            let sum =
                |sums: Vec<&CostSum>| sums.iter().map(|sum| sum.flops + sum.streamed + sum.activations).sum::<f64>();
            let (ops, layers) = (sum(costs.by_op.values().collect()), sum(costs.by_layer.values().collect()));
            assert!(ops > 0.0 && (ops - layers).abs() < 1e-6 * ops);
            assert_eq!(costs.by_layer.len(), shape.spec.layers.len() + 1);
        }
    }
}
