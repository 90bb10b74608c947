//! The cost model against numbers computed by hand, and against sums computed in another way.

use models::cost::{
    self, OpCost, OpKind, WeightTypes, attended_pairs, batched_prefill_ops, decode_ops, prefill_ops, totals,
};
use models::registry::{self, MODELS};
use models::{
    Activation, Arch, Attention, Bytes, CacheTypes, Checkpoint, DType, DeltaLayout, Experts, Flops, GatedDeltaNet,
    Gating, LatentAttention, Layer, Mixer, NormPlacement, Rope, RopeLayout, ShortConvolution, Spec, Temperature,
};
use proptest::prelude::*;

/// hidden 8, ffn 16, 2 heads of 4 over 1 key-value head, 10 tokens, window 4, biases, tied.
fn tiny() -> Spec {
    Spec {
        arch: Arch::QWEN2,
        hidden: 8,
        vocab: 10,
        context_length: 64,
        norm_eps: 1e-5,
        norm_offset: 0.0,
        tied_embeddings: true,
        embedding_scale: None,
        per_layer_width: None,
        logit_cap: None,
        layers: vec![
            Layer::plain(
                Attention {
                    window: Some(4),
                    qkv_bias: true,
                    ..Attention::plain(
                        2,
                        1,
                        4,
                        Some(Rope { theta: 1e4, dim: 4, layout: RopeLayout::Halves, scaling: None })
                    )
                },
                16
            );
            1
        ],
    }
}

/// Three tokens at position 2: they attend to 3, 4 and 4 positions, in total to 5 rows of the cache.
#[test]
fn a_prefill_computed_by_hand() {
    let spec = tiny();
    let types = WeightTypes::uniform(&spec, DType::F16);
    // name, FLOP, bytes of weights, of the cache, of activations
    let expected = [
        ("embed", 0, 48, 0, 96),
        ("attn_norm", 105, 32, 0, 192),
        ("q_proj", 408, 160, 0, 192),
        ("k_proj", 204, 80, 0, 144),
        ("v_proj", 204, 80, 0, 144),
        ("rope", 108, 0, 0, 288),
        ("kv_write", 0, 0, 48, 96),
        ("attention", 462, 0, 80, 192),
        ("o_proj", 384, 128, 0, 192),
        ("attn_residual", 24, 0, 0, 288),
        ("ffn_norm", 105, 32, 0, 192),
        ("gate_proj", 768, 256, 0, 288),
        ("up_proj", 768, 256, 0, 288),
        ("silu_mul", 240, 0, 0, 576),
        ("down_proj", 768, 256, 0, 288),
        ("ffn_residual", 24, 0, 0, 288),
        ("output_norm", 35, 32, 0, 64),
        ("lm_head", 160, 160, 0, 72),
    ];
    let ops = prefill_ops(&spec, &types, DType::F16, 3, 2);
    let found: Vec<_> = ops
        .iter()
        .map(|op| (op.kind.name(), op.flops.get(), op.weight_bytes.get(), op.kv_bytes.get(), op.activation_bytes.get()))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(ops[7].shape, [3, 4, 2]);
    let sum = totals(&ops);
    assert_eq!(sum.flops.get(), expected.iter().map(|row| row.1).sum::<u64>());
    assert_eq!(cost::by_kind(&ops).len(), 18);
    assert_eq!(cost::by_layer(&ops)[0].flops, sum.flops - Flops(35 + 160));
    assert!(prefill_ops(&spec, &types, DType::F16, 0, 2).is_empty());
}

/// The same shape with norms on heads and after the parts, GELU, scaled embeddings and a factor of the queries.
#[test]
fn parts_that_some_architectures_have_computed_by_hand() {
    let mut spec = tiny();
    spec.embedding_scale = Some(2.0);
    let layer = &mut spec.layers[0];
    layer.norms = NormPlacement::BeforeAndAfter;
    layer.feed_forward.gated_mut().activation = Activation::GeluTanh;
    layer.mixer.attention_mut().unwrap().qk_norm = true;
    layer.mixer.attention_mut().unwrap().temperature = Some(Temperature { scale: 0.1, context: 16 });
    let types = WeightTypes::uniform(&spec, DType::F16);
    // name, FLOP, bytes of weights, of activations: what differs from the plain layer.
    let expected = [
        ("embed", 24, 48, 96),
        ("q_norm", 6 * 19, 16, 192),
        ("k_norm", 3 * 19, 16, 96),
        ("rope", 108 + 24, 0, 288),
        ("attn_post_norm", 105, 32, 192),
        ("gelu_mul", 480, 0, 576),
        ("ffn_post_norm", 105, 32, 192),
    ];
    let plain: Vec<OpKind> = prefill_ops(&tiny(), &types, DType::F16, 3, 2).iter().map(|op| op.kind).collect();
    let ops = prefill_ops(&spec, &types, DType::F16, 3, 2);
    let changed = |op: &&OpCost| !plain.contains(&op.kind) || matches!(op.kind, OpKind::Embed | OpKind::Rope);
    let found: Vec<_> = ops
        .iter()
        .filter(changed)
        .map(|op| (op.kind.name(), op.flops.get(), op.weight_bytes.get(), op.activation_bytes.get()))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(ops.len(), plain.len() + 4);
    spec.layers[0].mixer.attention_mut().unwrap().rope = None;
    assert_eq!(prefill_ops(&spec, &types, DType::F16, 3, 2).len(), plain.len() + 3);
}

/// Two layers with inputs of 4 elements, of which the second attends to the cache of the first: it has no keys and values, and reads as
/// many rows as the first.
#[test]
fn a_shared_cache_and_inputs_of_layers_computed_by_hand() {
    let mut spec = tiny();
    let attention = spec.layers[0].mixer.attention_mut().unwrap();
    (attention.v_norm, attention.qkv_bias) = (true, false);
    let mut second = spec.layers[0].clone();
    second.mixer.attention_mut().unwrap().cache_of = Some(0);
    second.output_scale = true;
    spec.layers.push(second);
    (spec.per_layer_width, spec.logit_cap) = (Some(4), Some(30.0));
    let types = WeightTypes::uniform(&spec, DType::F16);
    let ops = prefill_ops(&spec, &types, DType::F16, 3, 2);
    // name, FLOP, bytes of weights, of the cache, of activations
    let of = |op: &OpCost| {
        (op.kind.name(), op.flops.get(), op.weight_bytes.get(), op.kv_bytes.get(), op.activation_bytes.get())
    };
    let around: Vec<_> = ops.iter().filter(|op| op.layer.is_none()).map(of).collect();
    assert_eq!(
        around,
        [
            ("embed", 0, 48, 0, 96),
            // Three rows of 8 elements, whatever the vocabulary is.
            ("per_layer_embed", 24, 48, 0, 96),
            ("per_layer_model_proj", 384, 128, 0, 192),
            ("per_layer_inputs", 186, 16, 0, 288),
            ("output_norm", 35, 32, 0, 64),
            ("lm_head", 160, 160, 0, 72),
            ("logit_cap", 30, 0, 0, 80),
        ]
    );
    let feed_forward = |kind: OpKind| {
        matches!(kind, OpKind::FfnNorm | OpKind::GateProj | OpKind::UpProj | OpKind::SiluMul | OpKind::DownProj)
    };
    let second: Vec<_> = ops.iter().filter(|op| op.layer == Some(1) && !feed_forward(op.kind)).map(of).collect();
    assert_eq!(
        second,
        [
            ("attn_norm", 105, 32, 0, 192),
            ("q_proj", 384, 128, 0, 192),
            ("rope", 72, 0, 0, 192),
            ("attention", 462, 0, 80, 192),
            ("o_proj", 384, 128, 0, 192),
            ("attn_residual", 24, 0, 0, 288),
            ("ffn_residual", 24, 0, 0, 288),
            ("per_layer_gate", 192, 64, 0, 144),
            ("per_layer_mul", 120, 0, 0, 144),
            ("per_layer_proj", 192, 64, 0, 144),
            ("per_layer_norm", 105, 32, 0, 192),
            ("per_layer_residual", 24, 0, 0, 288),
            ("layer_scale", 24, 4, 0, 192),
        ]
    );
    let norm = ops.iter().find(|op| op.kind.name() == "v_norm").map(of);
    assert_eq!(norm, Some(("v_norm", 45, 0, 0, 96)));
    // Values that are keys have no projection; their norm remains.
    spec.layers[0].mixer.attention_mut().unwrap().values_are_keys = true;
    let without = prefill_ops(&spec, &types, DType::F16, 3, 2);
    assert!(without.iter().all(|op| op.kind != OpKind::VProj) && without.len() == ops.len() - 1);
    let text = serde_json::to_string(&types).unwrap();
    assert_eq!(serde_json::from_str::<WeightTypes>(&text).unwrap(), types);
}

/// A pass of 3 tokens at position 2 over a convolution of 4 tokens in 8 channels: products of 2 x 8 x 24 and 2 x 8 x 8 operations a
/// token, and a state of 3 x 8 elements that is read and written once, whatever the position is.
#[test]
fn a_short_convolution_computed_by_hand() {
    let mut spec = tiny();
    spec.layers[0].mixer = Mixer::ShortConvolution(ShortConvolution { channels: 8, kernel: 4 });
    let types = WeightTypes::uniform(&spec, DType::F16);
    // name, FLOP, bytes of weights, of states, of activations, shape.
    let expected = [
        ("conv_in_proj", 3 * 384, 24 * 8 * 2, 0, 3 * 4 * (8 + 24), [3, 8, 24]),
        ("state_update", 24, 0, 2 * 96, 3 * 4 * 24, [3, 8, 0]),
        ("convolution", 3 * 8 * 8, 8 * 4 * 4, 0, 3 * 4 * 24, [3, 8, 0]),
        ("conv_out_proj", 3 * 128, 8 * 8 * 2, 0, 3 * 4 * 16, [3, 8, 8]),
    ];
    let ops = prefill_ops(&spec, &types, DType::F16, 3, 2);
    let of_mixer: Vec<_> = ops
        .iter()
        .filter(|op| op.layer == Some(0) && op.kind.is_of_other_mixer())
        .map(|op| {
            let bytes = [op.weight_bytes, op.state_bytes, op.activation_bytes].map(Bytes::get);
            (op.kind.name(), op.flops.get(), bytes[0], bytes[1], bytes[2], op.shape)
        })
        .collect();
    assert_eq!(of_mixer, expected);
    assert!(ops.iter().all(|op| op.layer != Some(0) || !op.kind.is_of_attention()));
    assert_eq!(totals(&prefill_ops(&spec, &types, DType::F16, 3, 1000)).state_bytes, Bytes(192));
    assert_eq!(types.read_by(OpKind::Convolution, Some(0)), Some(DType::F32));
    assert_eq!(
        (types.read_by(OpKind::QProj, Some(0)), types.read_by(OpKind::ConvInProj, Some(0))),
        (None, Some(DType::F16))
    );
    let estimate = cost::estimate_memory(&spec, Bytes(0), 100, DType::F16, 3);
    assert_eq!((estimate.state, estimate.kv), (Bytes(96), spec.kv_bytes(DType::F16, 100, 3)));
}

/// Two heads of width 4 that read one key head, a kernel of 3, 2 tokens: channels 2 x 4 + 8 = 16, states of 2 x 16 and of 2 x 4 x 4.
#[test]
fn a_gated_delta_net_computed_by_hand() {
    let mut spec = tiny();
    let layout = DeltaLayout::Alternating;
    let net = GatedDeltaNet { key_heads: 1, value_heads: 2, head_dim: 4, kernel: 3, layout };
    spec.layers[0].mixer = Mixer::GatedDeltaNet(net);
    let types = WeightTypes::uniform(&spec, DType::F16);
    // name, FLOP, bytes of weights, of states, of activations.
    let expected = [
        ("delta_qkv_proj", 2 * 2 * 8 * 16, 256, 0, 2 * 4 * 24),
        ("delta_gate_proj", 2 * 2 * 8 * 8, 128, 0, 2 * 4 * 16),
        ("beta_proj", 2 * 2 * (16 + 4), 32, 0, 2 * 4 * 10),
        ("decay_proj", 2 * 2 * (16 + 5), 32 + 16, 0, 2 * 4 * 10),
        ("state_update", 0, 0, 2 * 128, 2 * 4 * 32),
        ("convolution", 2 * 16 * 9, 16 * 3 * 4, 0, 2 * 4 * 32),
        ("delta_rule", 2 * (24 + 2 * (7 * 16 + 12)), 0, 2 * 128, 2 * 4 * (16 + 4 + 8)),
        ("delta_norm", 4 * 19 + 16 * 5, 16, 0, 2 * 4 * 24),
        ("delta_out_proj", 2 * 2 * 8 * 8, 128, 0, 2 * 4 * 16),
    ];
    let found: Vec<_> = prefill_ops(&spec, &types, DType::F16, 2, 7)
        .iter()
        .filter(|op| op.kind.is_of_other_mixer())
        .map(|op| {
            let bytes = [op.weight_bytes, op.state_bytes, op.activation_bytes].map(Bytes::get);
            (op.kind.name(), op.flops.get(), bytes[0], bytes[1], bytes[2])
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!((spec.state_bytes(), spec.kv_bytes_per_token(DType::F16)), (Bytes(256), Bytes(0)));
    // With an output gate the queries have twice the outputs.
    let mut gated = tiny();
    gated.layers[0].mixer.attention_mut().unwrap().output_gate = true;
    let ops = prefill_ops(&gated, &types, DType::F16, 2, 7);
    let of = |kind| ops.iter().find(|op| op.kind == kind).unwrap();
    assert_eq!((of(OpKind::QProj).shape, of(OpKind::OutputGate).flops.get()), ([2, 8, 16], 2 * 8 * 5));
}

/// A pass of 3 tokens at position 2 over latent attention with 2 heads: a latent of 6 and a rotated part of 4 elements are one row of
/// 10 in the cache, keys have 3 elements without position and values 5. The 3 + 4 + 5 positions that the tokens see are 12.
#[test]
fn latent_attention_computed_by_hand() {
    let rope = Rope { theta: 1e4, dim: 4, layout: RopeLayout::Interleaved, scaling: None };
    let latent = |query_rank| {
        let mut spec = tiny();
        spec.layers[0].mixer = Mixer::LatentAttention(LatentAttention {
            heads: 2,
            query_rank,
            rank: 6,
            key_dim: 3,
            value_dim: 5,
            rope: rope.clone(),
            score_scale: None,
        });
        spec
    };
    let rows = |spec: &Spec| {
        let types = WeightTypes::uniform(spec, DType::F16);
        let ops = prefill_ops(spec, &types, DType::F16, 3, 2);
        let is_of_mixer = |op: &&OpCost| op.kind.is_of_attention() || op.kind.is_of_other_mixer();
        ops.iter()
            .filter(is_of_mixer)
            .map(|op| {
                let bytes = [op.weight_bytes, op.kv_bytes, op.activation_bytes].map(Bytes::get);
                (op.kind.name(), op.flops.get(), bytes, op.shape)
            })
            .collect::<Vec<_>>()
    };
    // name, FLOP, bytes of weights, of the cache, of activations, shape.
    let after_queries = [
        ("kv_a_proj", 3 * 160, [160, 0, 12 * 18], [3, 8, 10]),
        ("kv_a_norm", 3 * 27, [24, 0, 12 * 12], [3, 6, 0]),
        ("rope", 3 * 3 * 12, [0, 0, 12 * 24], [3, 12, 0]),
        ("kv_write", 0, [0, 3 * 20, 12 * 10], [3, 10, 0]),
        ("k_b_proj", 3 * 2 * 36, [2 * 6 * 3 * 2, 0, 12 * 18], [3, 3, 12]),
        ("attention", 12 * 2 * (20 + 12 + 5), [0, 5 * 20, 12 * 2 * 16], [3, 5, 2]),
        ("v_b_proj", 3 * 2 * 60, [2 * 5 * 6 * 2, 0, 12 * 22], [3, 6, 10]),
        ("o_proj", 3 * 160, [160, 0, 12 * 18], [3, 10, 8]),
    ];
    let direct = [&[("q_proj", 3 * 224, [224, 0, 12 * 22], [3, 8, 14])][..], &after_queries].concat();
    assert_eq!(rows(&latent(None)), direct);
    let low = [
        ("q_a_proj", 3 * 128, [128, 0, 12 * 16], [3, 8, 8]),
        ("q_a_norm", 3 * 35, [32, 0, 12 * 16], [3, 8, 0]),
        ("q_b_proj", 3 * 224, [224, 0, 12 * 22], [3, 8, 14]),
    ];
    let spec = latent(Some(8));
    assert_eq!(rows(&spec), [&low[..], &after_queries].concat());
    // Keys and values are one row, in the type of keys.
    assert_eq!(spec.kv_bytes_per_token(CacheTypes { keys: DType::F16, values: DType::F32 }), Bytes(20));
    assert_eq!(spec.kv_bytes(DType::F16, 100, 3), Bytes(2000));
    let types = WeightTypes::uniform(&spec, DType::Q8_0);
    assert_eq!(
        [OpKind::KBProj, OpKind::OProj, OpKind::KProj, OpKind::KvANorm].map(|kind| types.read_by(kind, Some(0))),
        [Some(DType::Q8_0), Some(DType::Q8_0), None, Some(DType::F32)]
    );
    assert_eq!(serde_json::from_value::<Spec>(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
}

/// The elements of all norms.
fn norm_elements(spec: &Spec) -> u64 {
    let of_layer = |layer: &Layer| {
        let parts = if layer.norms == NormPlacement::BeforeAndAfter { 4 } else { 2 };
        // Of the inputs of a layer; and those of a dense part, of experts and of the factors before a router.
        let parts = parts + usize::from(spec.per_layer_width.is_some());
        let dense = layer.feed_forward.experts().and_then(|experts| experts.dense_width);
        let parts = parts + dense.map_or(0, |_| 4);
        let heads = layer.mixer.attention().filter(|attention| attention.qk_norm);
        let latent = layer.mixer.latent_attention();
        parts * spec.hidden
            + heads.map_or(0, |attention| if attention.has_own_cache() { 2 } else { 1 } * attention.head_dim)
            + usize::from(layer.output_scale)
            + latent.map_or(0, |latent| latent.rank + latent.query_rank.unwrap_or(0))
    };
    (spec.layers.iter().map(of_layer).sum::<usize>() + spec.hidden + spec.per_layer_width.unwrap_or(0)) as u64
}

/// The elements of the table of the inputs of layers, of which a token reads one row.
fn per_layer_table(spec: &Spec) -> u64 {
    (spec.vocab * spec.per_layer_inputs()) as u64
}

/// The elements of the experts that a token does not use.
fn unused_expert_elements(spec: &Spec) -> u64 {
    let experts = spec.layers.iter().filter_map(|layer| layer.feed_forward.experts());
    let of_one = |experts: &Experts| {
        let biases = if experts.biased { 2 * experts.expert.width + spec.hidden } else { 0 };
        3 * spec.hidden * experts.expert.width + biases
    };
    experts.map(|experts| ((experts.count - experts.used) * of_one(experts)) as u64).sum()
}

/// The elements of the kernels of convolutions, whose operations are no products of matrices.
fn kernel_elements(spec: &Spec) -> u64 {
    let of_layer = |layer: &Layer| match &layer.mixer {
        Mixer::Attention(_) | Mixer::LatentAttention(_) => 0,
        Mixer::ShortConvolution(convolution) => convolution.channels * convolution.kernel,
        // With its norm, its decays and its biases.
        Mixer::GatedDeltaNet(net) => net.channels() * net.kernel + net.head_dim + 2 * net.value_heads,
    };
    spec.layers.iter().map(of_layer).sum::<usize>() as u64
}

/// The elements of the biases and factors of the choice of experts, which no product adds.
fn choice_elements(spec: &Spec) -> u64 {
    let experts = spec.layers.iter().filter_map(|layer| layer.feed_forward.experts());
    let of_one = |gating: &Gating| u64::from(gating.choice_bias) + u64::from(gating.expert_factors);
    experts.map(|experts| experts.count as u64 * of_one(&experts.gating)).sum()
}

/// The elements of the biases that a token adds.
fn biases_of_token(hidden: usize, Layer { mixer, feed_forward, .. }: &Layer) -> usize {
    let if_has = |has: bool, elements: usize| if has { elements } else { 0 };
    let of_experts = feed_forward.experts().map_or(0, |experts| {
        if_has(experts.biased, experts.count + experts.used * (2 * experts.expert.width + hidden))
    });
    let of_attention = mixer.attention().map_or(0, |attention| {
        if_has(attention.qkv_bias, attention.q_width() + 2 * attention.kv_width())
            + if_has(attention.output_bias, hidden)
    });
    of_attention + of_experts
}

/// Operations of ops with products that are none: the rate and the decay of a head of a delta net take 9; of a shared expert of width `S`
/// the activation `5 S`, its gate, 3 and `H` products beyond those of its vector, and the sum with the others, `H`.
fn other_operations(spec: &Spec) -> u64 {
    let of_layer = |layer: &Layer| {
        let rates = match &layer.mixer {
            Mixer::GatedDeltaNet(net) => 9 * net.value_heads,
            Mixer::Attention(_) | Mixer::LatentAttention(_) | Mixer::ShortConvolution(_) => 0,
        };
        let shared = layer.feed_forward.experts().and_then(|experts| experts.shared);
        let gate = |gated: bool| if gated { spec.hidden + 3 } else { 0 };
        rates + shared.map_or(0, |shared| 5 * shared.width + spec.hidden + gate(shared.gated))
    };
    spec.layers.iter().map(of_layer).sum::<usize>() as u64
}

/// Matmuls of a decode are two operations per parameter that a token uses, without norms and an embedding table that is not the output
/// matrix.
#[test]
fn a_decode_takes_two_operations_per_parameter() {
    for entry in &MODELS {
        let spec = &entry.spec();
        let ops = decode_ops(spec, &WeightTypes::uniform(spec, DType::Q4_0), DType::F16, 100);
        let matmuls: u64 = ops.iter().filter(|op| op.kind.is_matmul()).map(|op| op.flops.get()).sum();
        let table = if spec.tied_embeddings { 0 } else { (spec.vocab * spec.hidden) as u64 } + per_layer_table(spec);
        let norms = norm_elements(spec) + kernel_elements(spec) + choice_elements(spec) + unused_expert_elements(spec);
        let biases: usize = spec.layers.iter().map(|layer| biases_of_token(spec.hidden, layer)).sum();
        let biases = biases as u64;
        let sinks: usize = spec.attentions().filter(|attention| attention.sinks).map(|attention| attention.heads).sum();
        let elements = entry.parameters.get() - table - norms - biases - sinks as u64;
        // A bias is one operation per parameter.
        let expected = 2 * elements + biases + other_operations(spec);
        assert_eq!(matmuls, expected, "{}", entry.name);
    }
}

/// A decode reads every weight that it uses once, and one row of an embedding table that is not the output matrix.
#[test]
fn a_decode_reads_every_weight_once() {
    for entry in &MODELS {
        let spec = &entry.spec();
        let ops = decode_ops(spec, &WeightTypes::uniform(spec, DType::F32), DType::F16, 0);
        let table = if spec.tied_embeddings { 0 } else { spec.vocab as u64 * spec.hidden as u64 };
        let table = table + per_layer_table(spec);
        let row = (spec.hidden + spec.per_layer_inputs()) as u64;
        let expected = 4 * (entry.parameters.get() - table - unused_expert_elements(spec)) + 4 * row;
        assert_eq!(totals(&ops).weight_bytes, Bytes(expected), "{}", entry.name);
    }
}

/// The same for a real file, with the sizes of its tensors on disk.
#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn a_decode_of_smollm2_reads_the_file_once() {
    let path = std::env::var_os("INFEROMETER_SMOLLM2").unwrap();
    let checkpoint = Checkpoint::open(std::path::Path::new(&path)).unwrap();
    let ops = decode_ops(checkpoint.spec().unwrap(), &WeightTypes::of(&checkpoint).unwrap(), DType::F16, 0);
    let all: Bytes = checkpoint.tensors().iter().map(|info| info.bytes).sum();
    let table = checkpoint.tensor("token_embd.weight").unwrap().info().dtype;
    assert_eq!(totals(&ops).weight_bytes, all + table.row_bytes(checkpoint.spec().unwrap().hidden));
}

/// In every layer, a decode reads all rows of the cache including its own, and writes one.
#[test]
fn a_decode_reads_the_cache_once() {
    for entry in &MODELS {
        let spec = &entry.spec();
        for position in [0, 1, 4095, 4096, 10_000] {
            let ops = decode_ops(spec, &WeightTypes::uniform(spec, DType::Q4_0), DType::F16, position);
            let of_layer = |layer: &Layer| match &layer.mixer {
                Mixer::Attention(attention) => {
                    let rows = (position + 1).min(attention.window.unwrap_or(usize::MAX)) as u64;
                    // A layer that attends to the cache of another writes nothing.
                    let written = u64::from(attention.has_own_cache());
                    DType::F16.row_bytes(attention.kv_width()) * (2 * (rows + written))
                }
                // One row for keys and values.
                Mixer::LatentAttention(attention) => {
                    DType::F16.row_bytes(attention.rank + attention.rope.dim) * (position as u64 + 2)
                }
                Mixer::ShortConvolution(_) | Mixer::GatedDeltaNet(_) => Bytes(0),
            };
            let expected: Bytes = spec.layers.iter().map(of_layer).sum();
            assert_eq!(totals(&ops).kv_bytes, expected, "{} at {position}", entry.name);
        }
    }
}

/// What a token of Qwen 3 30B A3B reads and computes, from the numbers of its config.json: hidden 2048, 48 layers, 32 heads of 128
/// over 4, 8 of 128 experts of width 768, vocabulary 151,936. Weights in Q8_0: 34 bytes for 32 elements; norms and routers in F32.
#[test]
fn a_token_of_a_mixture_of_experts_by_hand() {
    let spec = registry::find("qwen-3-30b-a3b").unwrap().spec();
    let types = WeightTypes::uniform(&spec, DType::Q8_0);
    let q8 = |elements: u64| elements * 34 / 32;
    let attention = 2048 * (4096 + 2 * 512) + 4096 * 2048;
    let expert = 3 * 2048 * 768;
    let layer = q8(attention + 8 * expert) + 4 * (128 * 2048 + 2 * 2048 + 2 * 128);
    let around = q8(2048 * 151_936) + q8(2048) + 4 * 2048;
    let decode = decode_ops(&spec, &types, DType::F16, 0);
    assert_eq!(totals(&decode).weight_bytes, Bytes(48 * layer + around));
    // All weights together: ten times as much.
    let all = q8(2048 * 151_936) * 2 + 48 * (layer + q8(120 * expert)) + 4 * 2048;
    assert!((all as f64 / totals(&decode).weight_bytes.as_f64() - 9.5).abs() < 0.5);
    // A prefill of 512 tokens uses nearly all experts: the share (1 - 8 / 128)^512 is left out.
    let prefill = prefill_ops(&spec, &types, DType::F16, 512, 0);
    let bytes: u64 = cost::by_kind(&prefill)
        .iter()
        .filter(|(kind, _)| matches!(kind, OpKind::ExpertsGateUp | OpKind::ExpertsDown))
        .map(|(_, sum)| sum.weight_bytes.get())
        .sum();
    assert_eq!(bytes, 48 * q8(128 * expert));
    let experts = spec.layers[0].feed_forward.experts().unwrap();
    let one = cost::expert_bytes(spec.hidden, experts, &types, 0);
    assert_eq!((one.gate_up, one.down), (Bytes(q8(2 * 2048 * 768)), Bytes(q8(2048 * 768))));
    // Products of a prefill token, without the output matrix: two operations per element.
    let products: u64 =
        prefill.iter().filter(|op| op.kind.is_matmul() && op.layer.is_some()).map(|op| op.flops.get()).sum();
    assert_eq!(products, 512 * 48 * 2 * (attention + 8 * expert + 128 * 2048));
}

/// What a token of gpt-oss 20B reads and computes, from the numbers of its config.json: hidden 2880, 24 layers, 64 heads of 64 over 8, 4
/// of 32 experts of width 2880, vocabulary 201,088, window 128 in every second layer; biases everywhere, 64 sinks. Experts in MXFP4, 17
/// bytes for 32 elements; other matrices in Q8_0, 34 for 32; norms, routers, biases and sinks in F32.
#[test]
fn a_token_of_gpt_oss_by_hand() {
    let spec = registry::find("gpt-oss-20b").unwrap().spec();
    let plan = models::synth::plan(&spec, models::synth::Quant::MXFP4).unwrap();
    let types = WeightTypes::of_stored(&spec, plan.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype)));
    let (q8, mxfp4) = (|elements: u64| elements * 34 / 32, |elements: u64| elements * 17 / 32);
    let attention = 2880 * (4096 + 2 * 512) + 4096 * 2880;
    let attention_vectors = 4096 + 2 * 512 + 2880 + 64;
    let (expert, expert_biases) = (3 * 2880 * 2880, 3 * 2880);
    let (router, router_bias) = (32 * 2880, 32);
    let layer = q8(attention)
        + 4 * mxfp4(expert)
        + 4 * (attention_vectors + 4 * expert_biases + router + router_bias + 2 * 2880);
    let around = q8(2880 * 201_088) + q8(2880) + 4 * 2880;
    let decode = decode_ops(&spec, &types, DType::F16, 1000);
    assert_eq!(totals(&decode).weight_bytes, Bytes(24 * layer + around));
    // One row of keys and values of 512 in F16 is written, 1001 are read, of which a window leaves 128.
    assert_eq!(totals(&decode).kv_bytes, Bytes(2 * 2 * 512 * (24 + 12 * 1001 + 12 * 128)));
    // The whole file: 11 to 12 GB.
    let file = 24 * (layer + 28 * (mxfp4(expert) + 4 * expert_biases)) + around + q8(2880 * 201_087);
    assert_eq!(plan.tensors.iter().map(|tensor| tensor.bytes.get()).sum::<u64>(), file);
    let experts = spec.layers[0].feed_forward.experts().unwrap();
    let one = cost::expert_bytes(spec.hidden, experts, &types, 0);
    assert_eq!(one.total(), Bytes(mxfp4(expert) + 4 * expert_biases));
    // A prefill token: two operations per element, one per bias; 128 tokens attend to 1 + 2 + ... + 128 positions in every layer.
    let prefill = prefill_ops(&spec, &types, DType::F16, 128, 0);
    let of = |wanted: &[OpKind]| {
        let ops = prefill.iter().filter(|op| wanted.contains(&op.kind));
        ops.map(|op| op.flops.get()).sum::<u64>()
    };
    let experts = of(&[OpKind::ExpertsGateUp, OpKind::ExpertsDown]);
    assert_eq!(experts, 128 * 24 * 4 * (2 * expert + expert_biases));
    assert_eq!(of(&[OpKind::Router]), 128 * 24 * (2 * router + router_bias));
    assert_eq!(of(&[OpKind::OProj]), 128 * 24 * (2 * 4096 * 2880 + 2880));
    assert_eq!(of(&[OpKind::ClampedSwiglu]), 128 * 24 * 4 * 2880 * 9);
    assert_eq!(of(&[OpKind::Attention]), 24 * 64 * (128 * 129 / 2 * (4 * 64 + 5) + 128 * 4));
}

#[test]
fn each_batch_reads_the_weights_and_the_last_one_the_head() {
    let spec = tiny();
    let types = WeightTypes::uniform(&spec, DType::F16);
    let ops = batched_prefill_ops(&spec, &types, DType::F16, 7, 2, 3);
    let of = |kind| ops.iter().filter(|op| op.kind == kind).collect::<Vec<_>>();
    let rows: Vec<_> = of(OpKind::QProj).iter().map(|op| (op.shape[0], op.weight_bytes)).collect();
    assert_eq!(rows, [(3, Bytes(160)), (3, Bytes(160)), (1, Bytes(160))], "three passes");
    assert_eq!((of(OpKind::LmHead).len(), of(OpKind::OutputNorm).len()), (1, 1));
    assert_eq!(of(OpKind::Embed).iter().map(|op| op.shape[0]).sum::<usize>(), 7);
    let pairs: u64 = of(OpKind::Attention).iter().map(|op| op.flops.get()).sum();
    assert_eq!(pairs, attended_pairs(7, 2, spec.smallest_window()) * 2 * (4 * 4 + 5));
    assert_eq!(batched_prefill_ops(&spec, &types, DType::F16, 3, 2, 8), prefill_ops(&spec, &types, DType::F16, 3, 2));
    assert!(batched_prefill_ops(&spec, &types, DType::F16, 0, 2, 8).is_empty());
}

#[test]
fn only_ops_with_weights_have_a_type() {
    let spec = tiny();
    let types = WeightTypes::uniform(&spec, DType::Q4_0);
    assert_eq!(types.read_by(OpKind::QProj, Some(0)), Some(DType::Q4_0));
    assert_eq!(types.read_by(OpKind::FfnNorm, Some(0)), Some(DType::F32));
    assert_eq!((types.read_by(OpKind::Attention, Some(0)), types.read_by(OpKind::SiluMul, Some(0))), (None, None));
}

#[test]
fn memory_by_hand() {
    // A token takes 2 x 1 layer x 4 elements x 2 B = 16 B; 4 + 3 - 1 rows for a batch of 3 in a window of 4.
    let estimate = cost::estimate_memory(&tiny(), Bytes(1000), 64, DType::F16, 3);
    assert_eq!(estimate.kv, Bytes(16 * 6));
    // max(2 x 8 + 2 x 8 + 2 x 4, 2 x 8 + 3 x 16) = 64 floats a token.
    assert_eq!(estimate.activations, Bytes(64 * 4 * 3));
    assert_eq!(estimate.logits, Bytes(40));
    assert_eq!(estimate.total(), Bytes(1000 + 96 + 768 + 40));
    let whole = tiny().with_window(None);
    assert_eq!(cost::estimate_memory(&whole, Bytes(0), 64, DType::Q8_0, 1).kv, Bytes(64 * 2 * 34));
}

proptest! {
    #[test]
    fn attended_is_the_sum_over_queries(tokens in 0usize..200, position in 0usize..200, window in prop::option::of(1usize..250)) {
        let sum: u64 = (position..position + tokens).map(|at| (at + 1).min(window.unwrap_or(usize::MAX)) as u64).sum();
        prop_assert_eq!(attended_pairs(tokens, position, window), sum);
    }

    /// Splitting a prefill into chunks changes neither its arithmetic (except for the output head, which runs once per chunk) nor what
    /// is written to the cache; weights and cache are read more often.
    #[test]
    fn chunks_have_the_same_arithmetic_and_more_traffic(first in 1usize..50, second in 1usize..50, position in 0usize..50) {
        let spec = tiny();
        let types = WeightTypes::uniform(&spec, DType::F16);
        let pass = |tokens, position| prefill_ops(&spec, &types, DType::F16, tokens, position);
        let sum = |ops: &[OpCost]| totals(&ops.iter().filter(|op| op.layer.is_some()).copied().collect::<Vec<_>>());
        let whole = pass(first + second, position);
        let chunks = [pass(first, position), pass(second, position + first)].concat();
        prop_assert_eq!(sum(&whole).flops, sum(&chunks).flops);
        let written = |ops: &[OpCost]| ops.iter().filter(|op| op.kind == OpKind::KvWrite).map(|op| op.kv_bytes).sum::<Bytes>();
        prop_assert_eq!(written(&whole), written(&chunks));
        prop_assert!(sum(&whole).weight_bytes < sum(&chunks).weight_bytes);
        prop_assert!(sum(&whole).kv_bytes <= sum(&chunks).kv_bytes);
    }
}
