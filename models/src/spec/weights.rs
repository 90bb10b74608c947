//! The weights of a model of a given shape: the one list from which checking, counting, costs and synthetic files follow.

use super::{
    Attention, Experts, FeedForward, GatedDeltaNet, LatentAttention, Mixer, NormPlacement, ShortConvolution, Spec,
};
use crate::op_kind::OpKind;

/// A weight of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Its GGUF name.
    pub(crate) name: String,
    /// Row-major: `[rows (out), columns (in)]` or `[elements]`; of all experts together `[experts, rows, columns]` or
    /// `[experts, elements]`.
    pub(crate) shape: Vec<usize>,
    /// The op that reads it.
    pub(crate) op: OpKind,
    /// What it is.
    pub(crate) kind: WeightKind,
    /// Its layer; `None` before the first and after the last one.
    pub(crate) layer: Option<usize>,
}

/// What a weight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightKind {
    /// A matrix that activations are multiplied with, or a table of rows.
    Matrix,
    /// The matrix of a router. It is small and decides which experts run: files keep it in F32.
    Router,
    /// The kernels of a convolution, a row for each channel. They are small: files keep them in F32.
    Convolution,
    /// The decays of heads: negative numbers, or their logarithms.
    Decay,
    /// The factors of a norm.
    Norm,
    /// Factors that are not those of a norm.
    Factor,
    /// A vector that is added, or one for each expert; the sinks of heads; the vector of the gate of a shared expert.
    Bias,
}

impl Weight {
    /// The number of elements.
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }
}

/// The name of the table of embeddings.
pub(crate) const EMBEDDING: &str = "token_embd.weight";
/// The name of the table of embeddings of which each layer has a part.
pub(crate) const PER_LAYER_EMBEDDING: &str = "per_layer_token_embd.weight";
/// The name of the projection of the embedding to the inputs of layers.
pub(crate) const PER_LAYER_PROJECTION: &str = "per_layer_model_proj.weight";
/// The name of the output projection, where it is not the table of embeddings.
pub(crate) const OUTPUT: &str = "output.weight";

/// The name of the part of one expert, in checkpoints that store each expert as tensors of its own (safetensors folders):
/// `blk.0.ffn_up_exps.weight` of expert 7 is `blk.0.ffn_up_exps.7.weight`.
pub(crate) fn expert_part(name: &str, expert: usize) -> String {
    match name.rsplit_once('.') {
        Some((stem, kind)) => format!("{stem}.{expert}.{kind}"),
        None => format!("{name}.{expert}"),
    }
}

/// All weights in the order of the computation.
pub(crate) fn weights(spec: &Spec) -> Vec<Weight> {
    let mut list = List::default();
    list.add(EMBEDDING, None, OpKind::Embed, WeightKind::Matrix, &[spec.vocab, spec.hidden]);
    if let Some(width) = spec.per_layer_width {
        let all = spec.per_layer_inputs();
        list.add(PER_LAYER_EMBEDDING, None, OpKind::PerLayerEmbed, WeightKind::Matrix, &[spec.vocab, all]);
        let projection = [all, spec.hidden];
        list.add(PER_LAYER_PROJECTION, None, OpKind::PerLayerModelProj, WeightKind::Matrix, &projection);
        list.add("per_layer_proj_norm.weight", None, OpKind::PerLayerInputs, WeightKind::Norm, &[width]);
    }
    for layer in 0..spec.layers.len() {
        of_layer(spec, layer, &mut list);
    }
    list.add("output_norm.weight", None, OpKind::OutputNorm, WeightKind::Norm, &[spec.hidden]);
    if !spec.tied_embeddings {
        list.add(OUTPUT, None, OpKind::LmHead, WeightKind::Matrix, &[spec.vocab, spec.hidden]);
    }
    list.0
}

fn of_layer(spec: &Spec, at: usize, list: &mut List) {
    let (layer, hidden) = (&spec.layers[at], spec.hidden);
    let mut add = |name: &str, op, kind, shape: &[usize]| list.add(name, Some(at), op, kind, shape);
    add("attn_norm.weight", OpKind::AttnNorm, WeightKind::Norm, &[hidden]);
    match &layer.mixer {
        Mixer::Attention(attention) => of_attention(attention, hidden, &mut add),
        Mixer::LatentAttention(attention) => of_latent_attention(attention, hidden, &mut add),
        Mixer::ShortConvolution(convolution) => of_short_convolution(convolution, hidden, &mut add),
        Mixer::GatedDeltaNet(net) => of_gated_delta_net(net, hidden, &mut add),
    }
    if layer.norms == NormPlacement::BeforeAndAfter {
        add("post_attention_norm.weight", OpKind::AttnPostNorm, WeightKind::Norm, &[hidden]);
    }
    add("ffn_norm.weight", OpKind::FfnNorm, WeightKind::Norm, &[hidden]);
    match &layer.feed_forward {
        FeedForward::Dense(gated) => of_dense(gated.width, hidden, &mut add),
        FeedForward::Experts(experts) => of_experts(experts, hidden, &mut add),
    }
    if layer.norms == NormPlacement::BeforeAndAfter {
        add("post_ffw_norm.weight", OpKind::FfnPostNorm, WeightKind::Norm, &[hidden]);
    }
    if let Some(width) = spec.per_layer_width {
        add("inp_gate.weight", OpKind::PerLayerGate, WeightKind::Matrix, &[width, hidden]);
        add("proj.weight", OpKind::PerLayerProj, WeightKind::Matrix, &[hidden, width]);
        add("post_norm.weight", OpKind::PerLayerNorm, WeightKind::Norm, &[hidden]);
    }
    if layer.output_scale {
        add("layer_output_scale.weight", OpKind::LayerScale, WeightKind::Factor, &[1]);
    }
}

fn of_attention(attention: &Attention, hidden: usize, add: &mut impl FnMut(&str, OpKind, WeightKind, &[usize])) {
    let (q, kv) = (attention.q_width(), attention.kv_width());
    let projections = [
        ("attn_q", OpKind::QProj, attention.q_outputs(), true),
        ("attn_k", OpKind::KProj, kv, attention.has_own_cache()),
        ("attn_v", OpKind::VProj, kv, attention.projects_values()),
    ];
    let projections = || projections.into_iter().filter(|(.., is_there)| *is_there);
    for (projection, op, outputs, _) in projections() {
        add(&format!("{projection}.weight"), op, WeightKind::Matrix, &[outputs, hidden]);
    }
    for (projection, op, outputs, _) in projections().filter(|_| attention.qkv_bias) {
        add(&format!("{projection}.bias"), op, WeightKind::Bias, &[outputs]);
    }
    if attention.qk_norm {
        add("attn_q_norm.weight", OpKind::QNorm, WeightKind::Norm, &[attention.head_dim]);
        if attention.has_own_cache() {
            add("attn_k_norm.weight", OpKind::KNorm, WeightKind::Norm, &[attention.head_dim]);
        }
    }
    if attention.sinks {
        add("attn_sinks.weight", OpKind::Attention, WeightKind::Bias, &[attention.heads]);
    }
    add("attn_output.weight", OpKind::OProj, WeightKind::Matrix, &[hidden, q]);
    if attention.output_bias {
        add("attn_output.bias", OpKind::OProj, WeightKind::Bias, &[hidden]);
    }
}

fn of_latent_attention(
    attention: &LatentAttention,
    hidden: usize,
    add: &mut impl FnMut(&str, OpKind, WeightKind, &[usize]),
) {
    let &LatentAttention { heads, query_rank, rank, key_dim, value_dim, .. } = attention;
    let q = attention.q_width();
    match query_rank {
        None => add("attn_q.weight", OpKind::QProj, WeightKind::Matrix, &[q, hidden]),
        Some(low) => {
            add("attn_q_a.weight", OpKind::QAProj, WeightKind::Matrix, &[low, hidden]);
            add("attn_q_a_norm.weight", OpKind::QANorm, WeightKind::Norm, &[low]);
            add("attn_q_b.weight", OpKind::QBProj, WeightKind::Matrix, &[q, low]);
        }
    }
    add("attn_kv_a_mqa.weight", OpKind::KvAProj, WeightKind::Matrix, &[attention.cache_width(), hidden]);
    add("attn_kv_a_norm.weight", OpKind::KvANorm, WeightKind::Norm, &[rank]);
    add("attn_k_b.weight", OpKind::KBProj, WeightKind::Matrix, &[heads, rank, key_dim]);
    add("attn_v_b.weight", OpKind::VBProj, WeightKind::Matrix, &[heads, value_dim, rank]);
    add("attn_output.weight", OpKind::OProj, WeightKind::Matrix, &[hidden, attention.v_width()]);
}

fn of_short_convolution(
    &ShortConvolution { channels, kernel }: &ShortConvolution,
    hidden: usize,
    add: &mut impl FnMut(&str, OpKind, WeightKind, &[usize]),
) {
    add("shortconv.in_proj.weight", OpKind::ConvInProj, WeightKind::Matrix, &[3 * channels, hidden]);
    add("shortconv.conv.weight", OpKind::Convolution, WeightKind::Convolution, &[channels, kernel]);
    add("shortconv.out_proj.weight", OpKind::ConvOutProj, WeightKind::Matrix, &[hidden, channels]);
}

fn of_dense(width: usize, hidden: usize, add: &mut impl FnMut(&str, OpKind, WeightKind, &[usize])) {
    add("ffn_gate.weight", OpKind::GateProj, WeightKind::Matrix, &[width, hidden]);
    add("ffn_up.weight", OpKind::UpProj, WeightKind::Matrix, &[width, hidden]);
    add("ffn_down.weight", OpKind::DownProj, WeightKind::Matrix, &[hidden, width]);
}

fn of_experts(experts: &Experts, hidden: usize, add: &mut impl FnMut(&str, OpKind, WeightKind, &[usize])) {
    let &Experts { count, biased, shared, dense_width, .. } = experts;
    let width = experts.expert.width;
    if let Some(width) = dense_width {
        of_dense(width, hidden, add);
        add("post_ffw_norm_1.weight", OpKind::DenseNorm, WeightKind::Norm, &[hidden]);
        add("ffn_gate_inp.scale", OpKind::RouterNorm, WeightKind::Factor, &[hidden]);
        add("pre_ffw_norm_2.weight", OpKind::ExpertsNorm, WeightKind::Norm, &[hidden]);
        add("post_ffw_norm_2.weight", OpKind::ExpertsPostNorm, WeightKind::Norm, &[hidden]);
    }
    let matrices = [
        ("ffn_gate_inp", OpKind::Router, WeightKind::Router, vec![count, hidden]),
        ("ffn_gate_exps", OpKind::ExpertsGateUp, WeightKind::Matrix, vec![count, width, hidden]),
        ("ffn_up_exps", OpKind::ExpertsGateUp, WeightKind::Matrix, vec![count, width, hidden]),
        ("ffn_down_exps", OpKind::ExpertsDown, WeightKind::Matrix, vec![count, hidden, width]),
    ];
    for (name, op, kind, shape) in matrices {
        add(&format!("{name}.weight"), op, kind, &shape);
        if biased {
            add(&format!("{name}.bias"), op, WeightKind::Bias, &shape[..shape.len() - 1]);
        }
    }
    if experts.gating.expert_factors {
        add("ffn_down_exps.scale", OpKind::ExpertChoice, WeightKind::Factor, &[count]);
    }
    if experts.gating.choice_bias {
        add("exp_probs_b.bias", OpKind::ExpertChoice, WeightKind::Bias, &[count]);
    }
    let Some(shared) = shared else { return };
    let op = OpKind::SharedExpert;
    if shared.gated {
        add("ffn_gate_inp_shexp.weight", op, WeightKind::Bias, &[hidden]);
    }
    add("ffn_gate_shexp.weight", op, WeightKind::Matrix, &[shared.width, hidden]);
    add("ffn_up_shexp.weight", op, WeightKind::Matrix, &[shared.width, hidden]);
    add("ffn_down_shexp.weight", op, WeightKind::Matrix, &[hidden, shared.width]);
}

fn of_gated_delta_net(net: &GatedDeltaNet, hidden: usize, add: &mut impl FnMut(&str, OpKind, WeightKind, &[usize])) {
    let (channels, values, heads) = (net.channels(), net.value_width(), net.value_heads);
    add("attn_qkv.weight", OpKind::DeltaQkvProj, WeightKind::Matrix, &[channels, hidden]);
    add("attn_gate.weight", OpKind::DeltaGateProj, WeightKind::Matrix, &[values, hidden]);
    add("ssm_beta.weight", OpKind::BetaProj, WeightKind::Matrix, &[heads, hidden]);
    add("ssm_alpha.weight", OpKind::DecayProj, WeightKind::Matrix, &[heads, hidden]);
    add("ssm_dt.bias", OpKind::DecayProj, WeightKind::Bias, &[heads]);
    add("ssm_a", OpKind::DecayProj, WeightKind::Decay, &[heads]);
    add("ssm_conv1d.weight", OpKind::Convolution, WeightKind::Convolution, &[channels, net.kernel]);
    add("ssm_norm.weight", OpKind::DeltaNorm, WeightKind::Norm, &[net.head_dim]);
    add("ssm_out.weight", OpKind::DeltaOutProj, WeightKind::Matrix, &[hidden, values]);
}

#[derive(Default)]
struct List(Vec<Weight>);

impl List {
    fn add(&mut self, name: &str, layer: Option<usize>, op: OpKind, kind: WeightKind, shape: &[usize]) {
        let name = layer.map_or_else(|| name.to_owned(), |layer| format!("blk.{layer}.{name}"));
        self.0.push(Weight { name, shape: shape.to_vec(), op, kind, layer });
    }
}
