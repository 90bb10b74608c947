//! Maps the nodes of ggml's graph to the ops of the decoder.
//!
//! Matrix products and norms are identified by the weight that they read, other nodes by their name in llama.cpp. Views, and norms
//! before the multiplication with their weight, belong to the op that follows.

use llama_cpp_sys_2 as sys;
use models::cost::OpKind;
use models::{FeedForward, Mixer, NormPlacement, Spec};
use traces::record::OpGuard;

/// A node of the graph.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    /// ggml's operation.
    pub(super) op: sys::ggml_op,
    /// llama.cpp's name, such as `Qcur-3`.
    pub(super) name: &'a str,
    /// Names of its first two inputs.
    pub(super) inputs: [&'a str; 2],
    /// Columns and rows of its result.
    pub(super) shape: [usize; 2],
}

/// An op and its layer; `None` for an op outside the layers, and where the name of the node has no layer.
pub(super) type ClassifiedOp = (OpKind, Option<usize>);

/// What the description of a model says about its nodes, and their names do not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// q, k and v have biases.
    qkv_bias: bool,
    /// The output projection has a bias.
    output_bias: bool,
    /// Router and experts have biases.
    expert_biases: bool,
    /// Outputs of gate and up together, in dense feed-forward parts: a matrix `ffn_up` with so many holds both. `None` if widths differ.
    gate_and_up: Option<usize>,
    /// Some layers have a gated delta net. A matrix `attn_qkv` is then its own.
    delta_net: bool,
    /// There is a norm after attention. Without it, a norm of that name is the one before the feed-forward part (gpt-oss).
    norm_after_attention: bool,
}

impl Described {
    pub(super) fn new(spec: &Spec) -> Self {
        Self {
            qkv_bias: spec.attentions().any(|attention| attention.qkv_bias),
            output_bias: spec.attentions().any(|attention| attention.output_bias),
            expert_biases: spec
                .layers
                .iter()
                .any(|layer| layer.feed_forward.experts().is_some_and(|experts| experts.biased)),
            gate_and_up: gate_and_up(spec),
            delta_net: spec.layers.iter().any(|layer| matches!(layer.mixer, Mixer::GatedDeltaNet(_))),
            norm_after_attention: spec.layers.iter().any(|layer| layer.norms == NormPlacement::BeforeAndAfter),
        }
    }
}

/// Outputs of gate and up together, if all dense parts have the same width: a matrix of a wider part is not mistaken for both.
fn gate_and_up(spec: &Spec) -> Option<usize> {
    let mut widths = spec.layers.iter().filter_map(|layer| match &layer.feed_forward {
        FeedForward::Dense(gated) => Some(gated.width),
        FeedForward::Experts(_) => None,
    });
    let first = widths.next()?;
    widths.all(|width| width == first).then_some(2 * first)
}

/// The op that ends with a node, and its layer; `None` if the node belongs to the op after it. A projection with a bias ends with the
/// addition of its bias. `before` is the op that ended last.
pub(super) fn classify(node: &Node<'_>, described: Described, before: Option<ClassifiedOp>) -> Option<ClassifiedOp> {
    if let Some(kind) = of_experts(node, described) {
        let of_weight = node.inputs.iter().find_map(|input| place(input).0);
        return Some((kind, of_weight.or_else(|| layer_of_name(node.name))));
    }
    let kind = match node.op {
        sys::GGML_OP_GET_ROWS if node.inputs[0] == "token_embd.weight" => OpKind::Embed,
        sys::GGML_OP_SCALE if node.name.starts_with("inp_per_layer_selected") => OpKind::PerLayerEmbed,
        // The projection, its norm, and the sum with the row of the table, rearranged by layer.
        sys::GGML_OP_CONT if node.name.starts_with("inp_per_layer") => OpKind::PerLayerInputs,
        sys::GGML_OP_MUL if node.inputs[1].starts_with("inp_per_layer") => {
            return Some((OpKind::PerLayerMul, before.and_then(|(_, layer)| layer)));
        }
        sys::GGML_OP_UNARY if matches!(before, Some((OpKind::PerLayerGate, _))) => return None,
        // A norm without a weight.
        sys::GGML_OP_RMS_NORM if node.name.starts_with("Vcur_normed") => OpKind::VNorm,
        sys::GGML_OP_SCALE if node.name.starts_with("result_output") => OpKind::LogitCap,
        sys::GGML_OP_MUL_MAT => return product(node, described),
        sys::GGML_OP_MUL if node.inputs[1].contains(".conv.conv-") => {
            return Some((OpKind::Convolution, layer_of_name(node.inputs[1])));
        }
        sys::GGML_OP_MUL if node.name.starts_with("attn_gated") => OpKind::OutputGate,
        sys::GGML_OP_MUL => return norm(node, described),
        sys::GGML_OP_ADD => return addition(node, before),
        sys::GGML_OP_ROPE => OpKind::Rope,
        // The state of a convolution, and that of the heads of a delta net, which is written after its rule.
        sys::GGML_OP_CPY if node.name.starts_with("cache_r") => OpKind::StateUpdate,
        sys::GGML_OP_CPY if node.name.starts_with("conv_state_update") => {
            return Some((OpKind::StateUpdate, layer_of_name(node.inputs[0])));
        }
        sys::GGML_OP_CPY if node.name.starts_with("cache_s") => OpKind::DeltaRule,
        // Queries and keys, divided by their length.
        sys::GGML_OP_SCALE if node.name.starts_with("q_conv") || node.name.starts_with("k_conv") => OpKind::DeltaRule,
        sys::GGML_OP_UNARY if node.name.starts_with("conv_output_silu") => OpKind::Convolution,
        sys::GGML_OP_UNARY if node.name.starts_with("beta_sigmoid") => OpKind::BetaProj,
        sys::GGML_OP_SET_ROWS | sys::GGML_OP_CPY if node.name.starts_with("cache_") => OpKind::KvWrite,
        sys::GGML_OP_FLASH_ATTN_EXT | sys::GGML_OP_SOFT_MAX => OpKind::Attention,
        sys::GGML_OP_CONT if node.name.starts_with("kqv_out") => match before {
            // Of latent attention: the values are computed from the output of attention before it is rearranged.
            Some((OpKind::VBProj, _)) => OpKind::VBProj,
            _ => OpKind::Attention,
        },
        sys::GGML_OP_GLU | sys::GGML_OP_UNARY if node.name.contains("gelu") || node.name.contains("geglu") => {
            OpKind::GeluMul
        }
        sys::GGML_OP_GLU if node.name.contains("swiglu_oai") => OpKind::ClampedSwiglu,
        // The activation of a shared expert belongs to its last product.
        sys::GGML_OP_GLU | sys::GGML_OP_UNARY if matches!(before, Some((OpKind::SharedExpert, _))) => return None,
        sys::GGML_OP_GLU | sys::GGML_OP_UNARY if node.name.starts_with("ffn_") => OpKind::SiluMul,
        sys::GGML_OP_SCALE if node.name.starts_with("inp_scaled") => OpKind::Embed,
        _ => return None,
    };
    Some((kind, layer_of_name(node.name)))
}

/// The ops of a mixture of experts, by llama.cpp's names in `build_moe_ffn`. The products of gate and up are one op each of one kind:
/// which of them comes first differs between architectures and versions. The choice has several nodes; the sum is a multiplication with
/// the weights and an addition.
fn of_experts(node: &Node<'_>, Described { expert_biases, .. }: Described) -> Option<OpKind> {
    const GATE: &str = "ffn_gate_exps";
    const UP: &str = "ffn_up_exps";
    const GATE_AND_UP: &str = "ffn_gate_up_exps";
    let ((_, part), (_, added)) = (place(node.inputs[0]), place(node.inputs[1]));
    let has_name = |names: &[&str]| names.iter().any(|name| node.name.starts_with(name));
    Some(match node.op {
        sys::GGML_OP_MUL_MAT if part == "ffn_gate_inp" && !expert_biases => OpKind::Router,
        sys::GGML_OP_ADD if added == "ffn_gate_inp" => OpKind::Router,
        sys::GGML_OP_MUL_MAT if matches!(part, "ffn_gate_shexp" | "ffn_up_shexp" | "ffn_down_shexp") => {
            OpKind::SharedExpert
        }
        sys::GGML_OP_MUL_MAT_ID if matches!(part, GATE | UP | GATE_AND_UP) && !expert_biases => OpKind::ExpertsGateUp,
        sys::GGML_OP_MUL_MAT_ID if part == "ffn_down_exps" && !expert_biases => OpKind::ExpertsDown,
        sys::GGML_OP_ADD_ID if matches!(added, GATE | UP | GATE_AND_UP) => OpKind::ExpertsGateUp,
        sys::GGML_OP_ADD_ID if added == "ffn_down_exps" => OpKind::ExpertsDown,
        sys::GGML_OP_MUL if has_name(&["ffn_moe_weighted"]) => OpKind::ExpertsSum,
        sys::GGML_OP_ADD if has_name(&["ffn_moe_out"]) => OpKind::ExpertsSum,
        sys::GGML_OP_SOFT_MAX
        | sys::GGML_OP_UNARY
        | sys::GGML_OP_ADD
        | sys::GGML_OP_ARGSORT
        | sys::GGML_OP_TOP_K
        | sys::GGML_OP_GET_ROWS
        | sys::GGML_OP_SUM_ROWS
        | sys::GGML_OP_CLAMP
        | sys::GGML_OP_DIV
        | sys::GGML_OP_SCALE
            if has_name(&["ffn_moe_logits", "ffn_moe_probs", "ffn_moe_argsort", "ffn_moe_topk", "ffn_moe_weights"]) =>
        {
            OpKind::ExpertChoice
        }
        _ => return None,
    })
}

fn product(node: &Node<'_>, described: Described) -> Option<ClassifiedOp> {
    let weight = node.inputs[0];
    let (layer, part) = place(weight);
    let kind = match part {
        "attn_qkv" | "attn_q" | "attn_k" | "attn_v" if described.qkv_bias => return None,
        "attn_output" if described.output_bias => return None,
        "attn_qkv" if described.delta_net => OpKind::DeltaQkvProj,
        "attn_qkv" => OpKind::QkvProj,
        "attn_gate" if described.delta_net => OpKind::DeltaGateProj,
        "ssm_out" => OpKind::DeltaOutProj,
        "attn_q" => OpKind::QProj,
        "attn_k" => OpKind::KProj,
        "attn_v" => OpKind::VProj,
        "attn_q_a" => OpKind::QAProj,
        "attn_q_b" => OpKind::QBProj,
        "attn_kv_a_mqa" => OpKind::KvAProj,
        "attn_k_b" => OpKind::KBProj,
        "attn_v_b" => OpKind::VBProj,
        "attn_output" => OpKind::OProj,
        "shortconv.in_proj" => OpKind::ConvInProj,
        "shortconv.out_proj" => OpKind::ConvOutProj,
        "ffn_gate" => OpKind::GateProj,
        "ffn_up" if Some(node.shape[0]) == described.gate_and_up => OpKind::GateUpProj,
        "ffn_up" => OpKind::UpProj,
        "ffn_down" => OpKind::DownProj,
        "per_layer_model_proj" => OpKind::PerLayerModelProj,
        "inp_gate" => OpKind::PerLayerGate,
        "proj" => OpKind::PerLayerProj,
        "output" | "token_embd" => OpKind::LmHead,
        _ if weight.ends_with(".weight") => return None,
        // Before they are quantised, keys and values are rotated (a Hadamard matrix); queries and the output are rotated with them.
        _ if weight.starts_with("attn_inp_") => return Some((OpKind::Attention, layer_of_name(node.inputs[1]))),
        // Without a weight: scores and their products with the values, if attention is not fused.
        _ => return Some((OpKind::Attention, layer_of_name(node.name))),
    };
    Some((kind, layer))
}

fn norm(node: &Node<'_>, described: Described) -> Option<ClassifiedOp> {
    // No norm, and a weight without a kind: the product with the decays of heads.
    match in_layer(node.inputs[1]) {
        Some((layer, "ssm_a")) => return Some((OpKind::DecayProj, Some(layer))),
        Some((layer, "ffn_gate_inp.scale")) => return Some((OpKind::RouterNorm, Some(layer))),
        _ => {}
    }
    let (layer, part) = place(node.inputs[1]);
    let kind = match part {
        "post_ffw_norm_1" => OpKind::DenseNorm,
        "pre_ffw_norm_2" => OpKind::ExpertsNorm,
        "post_ffw_norm_2" => OpKind::ExpertsPostNorm,
        "attn_norm" => OpKind::AttnNorm,
        "ssm_norm" => OpKind::DeltaNorm,
        "attn_q_norm" => OpKind::QNorm,
        "attn_k_norm" => OpKind::KNorm,
        "attn_q_a_norm" => OpKind::QANorm,
        "attn_kv_a_norm" => OpKind::KvANorm,
        "post_attention_norm" if described.norm_after_attention => OpKind::AttnPostNorm,
        "post_attention_norm" => OpKind::FfnNorm,
        "post_ffw_norm" => OpKind::FfnPostNorm,
        "ffn_norm" => OpKind::FfnNorm,
        "post_norm" => OpKind::PerLayerNorm,
        "layer_output_scale" => OpKind::LayerScale,
        // LFM2 gives the last norm the name of a norm after the embedding.
        "output_norm" | "token_embd_norm" => OpKind::OutputNorm,
        _ => return None,
    };
    Some((kind, layer))
}

fn addition(node: &Node<'_>, before: Option<ClassifiedOp>) -> Option<ClassifiedOp> {
    let (layer, part) = place(node.inputs[1]);
    let kind = match part {
        "attn_qkv" => OpKind::QkvProj,
        "attn_q" => OpKind::QProj,
        "attn_k" => OpKind::KProj,
        "attn_v" => OpKind::VProj,
        "attn_output" => OpKind::OProj,
        // Some models do not name it.
        _ if node.name.starts_with("node_")
            && let Some((OpKind::OProj | OpKind::ConvOutProj, layer)) = before =>
        {
            return Some((OpKind::AttnResidual, layer));
        }
        _ if node.name.starts_with("node_")
            && let Some((OpKind::PerLayerNorm, layer)) = before =>
        {
            return Some((OpKind::PerLayerResidual, layer));
        }
        _ if node.name.starts_with("ffn_moe_combined") => return Some((OpKind::DenseSum, layer_of_name(node.name))),
        // The residual before the input that a layer has of its own, or before the factor of its output.
        _ if node.name.starts_with("pe_in") => return Some((OpKind::FfnResidual, layer_of_name(node.name))),
        _ if node.name.starts_with("node_")
            && let Some((OpKind::FfnPostNorm, layer)) = before =>
        {
            return Some((OpKind::FfnResidual, layer));
        }
        // The sum of a shared expert with the others; the residual follows.
        _ if node.name.starts_with("ffn_out") && matches!(before, Some((OpKind::SharedExpert, _))) => return None,
        _ if ["ffn_inp", "sa_out", "attn_residual", "attn_out"].iter().any(|name| node.name.starts_with(name)) => {
            return Some((OpKind::AttnResidual, layer_of_name(node.name)));
        }
        _ if node.name.starts_with("l_out") || node.name.starts_with("ffn_out") => {
            return Some((OpKind::FfnResidual, layer_of_name(node.name)));
        }
        _ => return None,
    };
    Some((kind, layer))
}

/// `blk.3.attn_q.weight` is `attn_q.weight` of layer 3; `None` for a tensor outside the layers, and for `blk.` without a number.
fn in_layer(tensor: &str) -> Option<(usize, &str)> {
    let (layer, part) = tensor.strip_prefix("blk.")?.split_once('.')?;
    Some((number(layer)?, part))
}

/// `blk.3.attn_q.weight` is `attn_q` of layer 3; `output.weight` is `output` without a layer. What is no weight has the name `""`, and so
/// has a weight in `blk.` without the number of its layer: it is unknown what it is.
fn place(tensor: &str) -> (Option<usize>, &str) {
    let Some(name) = tensor.strip_suffix(".weight").or_else(|| tensor.strip_suffix(".bias")) else {
        return (None, "");
    };
    match (in_layer(name), name.starts_with("blk.")) {
        (Some((layer, part)), _) => (Some(layer), part),
        (None, true) => (None, ""),
        (None, false) => (None, name),
    }
}

/// `Qcur-3` and `cache_k_l3 (view)` belong to layer 3.
pub(super) fn layer_of_name(name: &str) -> Option<usize> {
    let after = |mark: &str| name.rsplit_once(mark).and_then(|(_, rest)| number(rest.split(' ').next()?));
    after("-").or_else(|| after("_l"))
}

/// The number of a layer in the name of a tensor or a node.
fn number(digits: &str) -> Option<usize> {
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Marks an op until the guard is dropped.
pub(super) fn mark(kind: OpKind, layer: Option<usize>, [columns, rows]: [usize; 2]) -> OpGuard {
    use traces::op;
    macro_rules! named {
        ($($kind:ident => $name:literal),* $(,)?) => {
            match kind { $(OpKind::$kind => op!($name, layer, [rows, columns]),)* }
        };
    }
    named!(
        QAProj => "q_a_proj", QANorm => "q_a_norm", QBProj => "q_b_proj", KvAProj => "kv_a_proj", KvANorm => "kv_a_norm",
        KBProj => "k_b_proj", VBProj => "v_b_proj",
        RouterNorm => "router_norm", ExpertsNorm => "experts_norm", DenseNorm => "dense_norm", ExpertsPostNorm => "experts_post_norm",
        DenseSum => "dense_sum", Embed => "embed", PerLayerEmbed => "per_layer_embed", PerLayerModelProj => "per_layer_model_proj",
        PerLayerInputs => "per_layer_inputs", VNorm => "v_norm", PerLayerGate => "per_layer_gate", PerLayerMul => "per_layer_mul",
        PerLayerProj => "per_layer_proj", PerLayerNorm => "per_layer_norm", PerLayerResidual => "per_layer_residual",
        LayerScale => "layer_scale", LogitCap => "logit_cap", AttnNorm => "attn_norm", QkvProj => "qkv_proj", QProj => "q_proj", KProj => "k_proj", VProj => "v_proj",
        QNorm => "q_norm", KNorm => "k_norm", Rope => "rope", KvWrite => "kv_write", Attention => "attention", OProj => "o_proj",
        OutputGate => "output_gate", DeltaQkvProj => "delta_qkv_proj", DeltaGateProj => "delta_gate_proj", BetaProj => "beta_proj",
        DecayProj => "decay_proj", DeltaRule => "delta_rule", DeltaNorm => "delta_norm", DeltaOutProj => "delta_out_proj",
        ConvInProj => "conv_in_proj", StateUpdate => "state_update", Convolution => "convolution", ConvOutProj => "conv_out_proj",
        AttnPostNorm => "attn_post_norm", AttnResidual => "attn_residual", FfnNorm => "ffn_norm", Router => "router",
        ExpertChoice => "expert_choice", ExpertsGateUp => "experts_gate_up", ExpertsDown => "experts_down", ExpertsSum => "experts_sum",
        SharedExpert => "shared_expert", GateUpProj => "gate_up_proj", GateProj => "gate_proj", UpProj => "up_proj",
        SiluMul => "silu_mul", GeluMul => "gelu_mul", ClampedSwiglu => "clamped_swiglu", DownProj => "down_proj", FfnPostNorm => "ffn_post_norm", FfnResidual => "ffn_residual", OutputNorm => "output_norm",
        LmHead => "lm_head",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(op: sys::ggml_op, name: &str, inputs: [&str; 2], qkv_bias: bool) -> Option<ClassifiedOp> {
        described(op, name, inputs, Described { qkv_bias, norm_after_attention: true, ..Described::default() })
    }

    fn described(op: sys::ggml_op, name: &str, inputs: [&str; 2], described: Described) -> Option<ClassifiedOp> {
        classify(&Node { op, name, inputs, shape: [1, 1] }, described, None)
    }

    #[test]
    fn products_are_identified_by_their_weight() {
        let product = |weight: &str| op(sys::GGML_OP_MUL_MAT, "node_7", [weight, "x"], false);
        assert_eq!(product("blk.12.attn_q.weight"), Some((OpKind::QProj, Some(12))));
        assert_eq!(product("blk.0.ffn_down.weight"), Some((OpKind::DownProj, Some(0))));
        assert_eq!(product("token_embd.weight"), Some((OpKind::LmHead, None)));
        assert_eq!(product("blk.0.ffn_gate_inp_shexp.weight"), None);
        let rotated = op(sys::GGML_OP_MUL_MAT, "node_9", ["attn_inp_k_rot", "Qcur-5 (reshaped)"], false);
        assert_eq!(rotated, Some((OpKind::Attention, Some(5))));
        let scores = op(sys::GGML_OP_MUL_MAT, "kq-4", ["k-4 (view)", "q-4"], false);
        assert_eq!(scores, Some((OpKind::Attention, Some(4))));
    }

    #[test]
    fn a_layer_without_a_number_is_no_layer() {
        let product = |weight: &str| op(sys::GGML_OP_MUL_MAT, "node_7", [weight, "x"], false);
        for weight in ["blk.x.attn_q.weight", "blk.attn_q.weight", "blk.+3.attn_q.weight", "blk.-1.attn_q.weight"] {
            assert_eq!(product(weight), None, "{weight}");
        }
        let scaled = |weight: &str| op(sys::GGML_OP_MUL, "node_7", ["x", weight], false);
        assert_eq!(scaled("blk.3.ssm_a"), Some((OpKind::DecayProj, Some(3))));
        assert_eq!(scaled("blk.x.ssm_a"), None);
        assert_eq!(scaled("blk.3.ffn_gate_inp.scale"), Some((OpKind::RouterNorm, Some(3))));
        assert_eq!(scaled("blk.x.ffn_gate_inp.scale"), None);
        let layers = ["Qcur-3", "cache_k_l3 (view)", "Qcur-x", "node"].map(layer_of_name);
        assert_eq!(layers, [Some(3), Some(3), None, None]);
    }

    #[test]
    fn latent_attention_and_shared_experts_are_identified() {
        let kind = |code, name: &str, inputs: [&str; 2], before| {
            let node = Node { op: code, name, inputs, shape: [1, 1] };
            classify(&node, Described::default(), before).map(|(kind, _)| kind)
        };
        let product = |weight: &str| kind(sys::GGML_OP_MUL_MAT, "q-2", [weight, "x"], None);
        assert_eq!(product("blk.2.attn_q_a.weight"), Some(OpKind::QAProj));
        assert_eq!(product("blk.2.attn_kv_a_mqa.weight"), Some(OpKind::KvAProj));
        assert_eq!(product("blk.2.attn_v_b.weight"), Some(OpKind::VBProj));
        let norm = kind(sys::GGML_OP_MUL, "kv_cmpr-2", ["norm-2", "blk.2.attn_kv_a_norm.weight"], None);
        assert_eq!(norm, Some(OpKind::KvANorm));
        let rearranged = |before| kind(sys::GGML_OP_CONT, "kqv_out-2", ["", ""], before);
        assert_eq!(rearranged(Some((OpKind::VBProj, Some(2)))), Some(OpKind::VBProj));
        assert_eq!(rearranged(Some((OpKind::Attention, Some(2)))), Some(OpKind::Attention));
        // The activation and the sum of a shared expert belong to what follows.
        let after_shared = |code, name: &str| kind(code, name, ["a", "b"], Some((OpKind::SharedExpert, Some(2))));
        assert_eq!(after_shared(sys::GGML_OP_GLU, "ffn_swiglu-2"), None);
        assert_eq!(after_shared(sys::GGML_OP_ADD, "ffn_out-2"), None);
        assert_eq!(after_shared(sys::GGML_OP_ADD, "l_out-2"), Some(OpKind::FfnResidual));
    }

    #[test]
    fn experts_are_identified_by_weight_and_name() {
        let kind = |code, name: &str, input: &str| op(code, name, [input, "x"], false);
        assert_eq!(
            kind(sys::GGML_OP_MUL_MAT, "ffn_moe_logits-3", "blk.3.ffn_gate_inp.weight"),
            Some((OpKind::Router, Some(3)))
        );
        for (code, name) in [
            (sys::GGML_OP_SOFT_MAX, "ffn_moe_probs-3"),
            (sys::GGML_OP_ARGSORT, "ffn_moe_argsort-3"),
            (sys::GGML_OP_GET_ROWS, "ffn_moe_weights-3"),
            (sys::GGML_OP_DIV, "ffn_moe_weights_norm-3"),
        ] {
            assert_eq!(kind(code, name, "ffn_moe_logits-3"), Some((OpKind::ExpertChoice, Some(3))), "{name}");
        }
        assert_eq!(kind(sys::GGML_OP_VIEW, "ffn_moe_topk-3", "ffn_moe_argsort-3"), None);
        // Whichever comes last: none of them is counted with the activation.
        for (name, weight) in [
            ("ffn_moe_gate-3", "blk.3.ffn_gate_exps.weight"),
            ("ffn_moe_up-3", "blk.3.ffn_up_exps.weight"),
            ("ffn_moe_gate_up-3", "blk.3.ffn_gate_up_exps.weight"),
        ] {
            assert_eq!(kind(sys::GGML_OP_MUL_MAT_ID, name, weight), Some((OpKind::ExpertsGateUp, Some(3))), "{name}");
        }
        for weight in ["blk.3.ffn_gate_shexp.weight", "blk.3.ffn_up_shexp.weight", "blk.3.ffn_down_shexp.weight"] {
            assert_eq!(kind(sys::GGML_OP_MUL_MAT, "node_3", weight), Some((OpKind::SharedExpert, Some(3))), "{weight}");
        }
        assert_eq!(kind(sys::GGML_OP_GLU, "ffn_moe_swiglu-3", "ffn_moe_gate-3"), Some((OpKind::SiluMul, Some(3))));
        let down = kind(sys::GGML_OP_MUL_MAT_ID, "ffn_moe_down-3", "blk.3.ffn_down_exps.weight");
        assert_eq!(down, Some((OpKind::ExpertsDown, Some(3))));
        assert_eq!(kind(sys::GGML_OP_MUL, "ffn_moe_weighted-3", "ffn_moe_down-3"), Some((OpKind::ExpertsSum, Some(3))));
        assert_eq!(kind(sys::GGML_OP_ADD, "ffn_moe_out-3", "node_9"), Some((OpKind::ExpertsSum, Some(3))));
        assert_eq!(kind(sys::GGML_OP_ADD, "l_out-3", "ffn_moe_out-3"), Some((OpKind::FfnResidual, Some(3))));
    }

    #[test]
    fn a_bias_ends_its_projection() {
        let inputs = ["blk.2.attn_k.weight", "x"];
        assert_eq!(op(sys::GGML_OP_MUL_MAT, "Kcur-2", inputs, true), None);
        let added = op(sys::GGML_OP_ADD, "Kcur-2", ["Kcur-2", "blk.2.attn_k.bias"], true);
        assert_eq!(added, Some((OpKind::KProj, Some(2))));
    }

    /// gpt-oss.
    #[test]
    fn biases_end_router_experts_and_output_and_names_follow_the_description() {
        let spec = models::registry::find("gpt-oss-20b").unwrap().spec();
        let of =
            |code, name: &'static str, inputs: [&'static str; 2]| described(code, name, inputs, Described::new(&spec));
        let product = |weight: &'static str| of(sys::GGML_OP_MUL_MAT, "x-3", [weight, "x"]);
        assert_eq!(product("blk.3.ffn_gate_inp.weight"), None);
        assert_eq!(product("blk.3.attn_output.weight"), None);
        assert_eq!(of(sys::GGML_OP_MUL_MAT_ID, "ffn_moe_gate-3", ["blk.3.ffn_gate_exps.weight", "x"]), None);
        let added = |code, name: &'static str, bias: &'static str| of(code, name, ["x", bias]);
        for (code, name, bias, expected) in [
            (sys::GGML_OP_ADD, "ffn_moe_logits_biased-3", "blk.3.ffn_gate_inp.bias", Some(OpKind::Router)),
            (sys::GGML_OP_ADD, "attn_out-3", "blk.3.attn_output.bias", Some(OpKind::OProj)),
            (sys::GGML_OP_ADD_ID, "ffn_moe_up_biased-3", "blk.3.ffn_up_exps.bias", Some(OpKind::ExpertsGateUp)),
            (sys::GGML_OP_ADD_ID, "ffn_moe_gate_biased-3", "blk.3.ffn_gate_exps.bias", Some(OpKind::ExpertsGateUp)),
            (sys::GGML_OP_ADD_ID, "ffn_moe_down_biased-3", "blk.3.ffn_down_exps.bias", Some(OpKind::ExpertsDown)),
            (sys::GGML_OP_GLU, "ffn_moe_swiglu_oai-3", "ffn_moe_up_biased-3", Some(OpKind::ClampedSwiglu)),
            (sys::GGML_OP_SOFT_MAX, "ffn_moe_weights_softmax-3", "", Some(OpKind::ExpertChoice)),
            (sys::GGML_OP_MUL, "attn_post_norm-3", "blk.3.post_attention_norm.weight", Some(OpKind::FfnNorm)),
        ] {
            assert_eq!(added(code, name, bias), expected.map(|kind| (kind, Some(3))), "{name}");
        }
    }

    /// Gemma 4.
    #[test]
    fn inputs_of_layers_are_identified() {
        let kind = |code, name: &str, inputs: [&str; 2], before| {
            let node = Node { op: code, name, inputs, shape: [1, 1] };
            classify(&node, Described { norm_after_attention: true, ..Described::default() }, before)
        };
        let after = |kind| Some((kind, Some(3)));
        for (code, name, inputs, before, expected) in [
            (
                sys::GGML_OP_MUL_MAT,
                "node_9",
                ["per_layer_model_proj.weight", "inp_scaled"],
                None,
                Some((OpKind::PerLayerModelProj, None)),
            ),
            (sys::GGML_OP_SCALE, "inp_per_layer_selected", ["", ""], None, Some((OpKind::PerLayerEmbed, None))),
            (
                sys::GGML_OP_CONT,
                "inp_per_layer (permuted) (cont)",
                ["", ""],
                None,
                Some((OpKind::PerLayerInputs, None)),
            ),
            (sys::GGML_OP_RMS_NORM, "Vcur_normed-3", ["", ""], None, after(OpKind::VNorm)),
            (sys::GGML_OP_ADD, "attn_out-3", ["attn_post_norm-3", "l_out-2"], None, after(OpKind::AttnResidual)),
            (sys::GGML_OP_ADD, "pe_in-3", ["ffn_post_norm-3", "attn_out-3"], None, after(OpKind::FfnResidual)),
            (sys::GGML_OP_MUL_MAT, "node_9", ["blk.3.inp_gate.weight", "pe_in-3"], None, after(OpKind::PerLayerGate)),
            (sys::GGML_OP_UNARY, "node_9", ["node_8", ""], after(OpKind::PerLayerGate), None),
            (
                sys::GGML_OP_MUL,
                "node_9",
                ["node_8", "inp_per_layer (permuted) (cont) (view)"],
                after(OpKind::PerLayerGate),
                after(OpKind::PerLayerMul),
            ),
            (sys::GGML_OP_MUL_MAT, "node_9", ["blk.3.proj.weight", "node_8"], None, after(OpKind::PerLayerProj)),
            (
                sys::GGML_OP_MUL,
                "per_layer_embd_out-3",
                ["norm-3", "blk.3.post_norm.weight"],
                None,
                after(OpKind::PerLayerNorm),
            ),
            (
                sys::GGML_OP_ADD,
                "node_9",
                ["pe_in-3", "per_layer_embd_out-3"],
                after(OpKind::PerLayerNorm),
                after(OpKind::PerLayerResidual),
            ),
            (
                sys::GGML_OP_MUL,
                "l_out-3",
                ["node_9", "blk.3.layer_output_scale.weight"],
                None,
                after(OpKind::LayerScale),
            ),
            (sys::GGML_OP_SCALE, "result_output", ["node_9", ""], None, Some((OpKind::LogitCap, None))),
        ] {
            assert_eq!(kind(code, name, inputs, before), expected, "{name}");
        }
    }

    /// Phi-3.
    #[test]
    fn joined_matrices_and_a_residual_without_a_name() {
        let described = Described { gate_and_up: Some(512), ..Described::default() };
        let product = |weight: &str, columns| {
            let node = Node { op: sys::GGML_OP_MUL_MAT, name: "node_7", inputs: [weight, "x"], shape: [columns, 1] };
            classify(&node, described, None)
        };
        assert_eq!(product("blk.2.attn_qkv.weight", 96), Some((OpKind::QkvProj, Some(2))));
        assert_eq!(product("blk.2.ffn_up.weight", 512), Some((OpKind::GateUpProj, Some(2))));
        assert_eq!(product("blk.2.ffn_up.weight", 256), Some((OpKind::UpProj, Some(2))));
        let sum = Node { op: sys::GGML_OP_ADD, name: "node_9", inputs: ["node_8", "l_out-1"], shape: [1, 1] };
        assert_eq!(classify(&sum, described, Some((OpKind::OProj, Some(2)))), Some((OpKind::AttnResidual, Some(2))));
        assert_eq!(classify(&sum, described, Some((OpKind::DownProj, Some(2)))), None);
    }

    #[test]
    fn other_nodes_are_identified_by_their_name() {
        assert_eq!(op(sys::GGML_OP_RMS_NORM, "norm-1", ["l_out-0", ""], false), None);
        assert_eq!(
            op(sys::GGML_OP_MUL, "ffn_norm-1", ["norm-1", "blk.1.ffn_norm.weight"], false),
            Some((OpKind::FfnNorm, Some(1)))
        );
        assert_eq!(op(sys::GGML_OP_ADD, "ffn_inp-1", ["a", "b"], false), Some((OpKind::AttnResidual, Some(1))));
        assert_eq!(op(sys::GGML_OP_ADD, "l_out-1", ["a", "b"], false), Some((OpKind::FfnResidual, Some(1))));
        assert_eq!(op(sys::GGML_OP_ROPE, "Qcur-1", ["", ""], false), Some((OpKind::Rope, Some(1))));
        assert_eq!(op(sys::GGML_OP_SET_ROWS, "cache_k_l9 (view)", ["", ""], false), Some((OpKind::KvWrite, Some(9))));
        assert_eq!(op(sys::GGML_OP_GLU, "ffn_swiglu-5", ["", ""], false), Some((OpKind::SiluMul, Some(5))));
        assert_eq!(op(sys::GGML_OP_GLU, "ffn_geglu-5", ["", ""], false), Some((OpKind::GeluMul, Some(5))));
        assert_eq!(
            op(sys::GGML_OP_MUL, "Qcur_normed-2", ["norm-2", "blk.2.attn_q_norm.weight"], false),
            Some((OpKind::QNorm, Some(2)))
        );
        assert_eq!(
            op(sys::GGML_OP_ADD, "sa_out-2", ["attn_post_norm-2", "l_out-1"], false),
            Some((OpKind::AttnResidual, Some(2)))
        );
        assert_eq!(op(sys::GGML_OP_VIEW, "Qcur-1 (view)", ["Qcur-1", ""], false), None);
        assert_eq!(
            op(sys::GGML_OP_GET_ROWS, "embd", ["token_embd.weight", "inp"], false).map(|op| op.0),
            Some(OpKind::Embed)
        );
        assert_eq!(op(sys::GGML_OP_GET_ROWS, "node_1", ["l_out-3", "inp_out_ids"], false), None);
    }
}
