//! The names of the decoder's operations, shared by cost model, engines, traces and reports.

use std::fmt;

/// One operation of the decoder. Engines mark their ops with these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names describe the ops")]
pub enum OpKind {
    Embed,
    PerLayerEmbed,
    PerLayerModelProj,
    PerLayerInputs,
    AttnNorm,
    QkvProj,
    QProj,
    KProj,
    VProj,
    QNorm,
    KNorm,
    VNorm,
    QAProj,
    QANorm,
    QBProj,
    KvAProj,
    KvANorm,
    Rope,
    KvWrite,
    KBProj,
    Attention,
    OutputGate,
    VBProj,
    OProj,
    ConvInProj,
    DeltaQkvProj,
    DeltaGateProj,
    BetaProj,
    DecayProj,
    StateUpdate,
    Convolution,
    ConvOutProj,
    DeltaRule,
    DeltaNorm,
    DeltaOutProj,
    AttnPostNorm,
    AttnResidual,
    FfnNorm,
    RouterNorm,
    Router,
    ExpertChoice,
    ExpertsNorm,
    GateUpProj,
    GateProj,
    UpProj,
    ExpertsGateUp,
    SiluMul,
    GeluMul,
    ClampedSwiglu,
    DownProj,
    DenseNorm,
    ExpertsDown,
    ExpertsSum,
    ExpertsPostNorm,
    DenseSum,
    SharedExpert,
    FfnPostNorm,
    FfnResidual,
    PerLayerGate,
    PerLayerMul,
    PerLayerProj,
    PerLayerNorm,
    PerLayerResidual,
    LayerScale,
    OutputNorm,
    LmHead,
    LogitCap,
}

/// Every op with its name, in the order of the computation.
const NAMES: [(OpKind, &str); 67] = [
    (OpKind::Embed, "embed"),
    (OpKind::PerLayerEmbed, "per_layer_embed"),
    (OpKind::PerLayerModelProj, "per_layer_model_proj"),
    (OpKind::PerLayerInputs, "per_layer_inputs"),
    (OpKind::AttnNorm, "attn_norm"),
    (OpKind::QkvProj, "qkv_proj"),
    (OpKind::QProj, "q_proj"),
    (OpKind::KProj, "k_proj"),
    (OpKind::VProj, "v_proj"),
    (OpKind::QNorm, "q_norm"),
    (OpKind::KNorm, "k_norm"),
    (OpKind::VNorm, "v_norm"),
    (OpKind::QAProj, "q_a_proj"),
    (OpKind::QANorm, "q_a_norm"),
    (OpKind::QBProj, "q_b_proj"),
    (OpKind::KvAProj, "kv_a_proj"),
    (OpKind::KvANorm, "kv_a_norm"),
    (OpKind::Rope, "rope"),
    (OpKind::KvWrite, "kv_write"),
    (OpKind::KBProj, "k_b_proj"),
    (OpKind::Attention, "attention"),
    (OpKind::OutputGate, "output_gate"),
    (OpKind::VBProj, "v_b_proj"),
    (OpKind::OProj, "o_proj"),
    (OpKind::ConvInProj, "conv_in_proj"),
    (OpKind::DeltaQkvProj, "delta_qkv_proj"),
    (OpKind::DeltaGateProj, "delta_gate_proj"),
    (OpKind::BetaProj, "beta_proj"),
    (OpKind::DecayProj, "decay_proj"),
    (OpKind::StateUpdate, "state_update"),
    (OpKind::Convolution, "convolution"),
    (OpKind::ConvOutProj, "conv_out_proj"),
    (OpKind::DeltaRule, "delta_rule"),
    (OpKind::DeltaNorm, "delta_norm"),
    (OpKind::DeltaOutProj, "delta_out_proj"),
    (OpKind::AttnPostNorm, "attn_post_norm"),
    (OpKind::AttnResidual, "attn_residual"),
    (OpKind::FfnNorm, "ffn_norm"),
    (OpKind::RouterNorm, "router_norm"),
    (OpKind::Router, "router"),
    (OpKind::ExpertChoice, "expert_choice"),
    (OpKind::ExpertsNorm, "experts_norm"),
    (OpKind::GateUpProj, "gate_up_proj"),
    (OpKind::GateProj, "gate_proj"),
    (OpKind::UpProj, "up_proj"),
    (OpKind::ExpertsGateUp, "experts_gate_up"),
    (OpKind::SiluMul, "silu_mul"),
    (OpKind::GeluMul, "gelu_mul"),
    (OpKind::ClampedSwiglu, "clamped_swiglu"),
    (OpKind::DownProj, "down_proj"),
    (OpKind::DenseNorm, "dense_norm"),
    (OpKind::ExpertsDown, "experts_down"),
    (OpKind::ExpertsSum, "experts_sum"),
    (OpKind::ExpertsPostNorm, "experts_post_norm"),
    (OpKind::DenseSum, "dense_sum"),
    (OpKind::SharedExpert, "shared_expert"),
    (OpKind::FfnPostNorm, "ffn_post_norm"),
    (OpKind::FfnResidual, "ffn_residual"),
    (OpKind::PerLayerGate, "per_layer_gate"),
    (OpKind::PerLayerMul, "per_layer_mul"),
    (OpKind::PerLayerProj, "per_layer_proj"),
    (OpKind::PerLayerNorm, "per_layer_norm"),
    (OpKind::PerLayerResidual, "per_layer_residual"),
    (OpKind::LayerScale, "layer_scale"),
    (OpKind::OutputNorm, "output_norm"),
    (OpKind::LmHead, "lm_head"),
    (OpKind::LogitCap, "logit_cap"),
];

impl OpKind {
    /// Every op, in the order of the computation.
    pub const ALL: [Self; NAMES.len()] = {
        let mut all = [Self::Embed; NAMES.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = NAMES[at].0;
            at += 1;
        }
        all
    };

    /// The name, as in traces and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        // The table is in the order of the enum, which a test checks.
        NAMES[self as usize].1
    }

    /// The op of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// The op that reads the weight of this name in GGUF files, without layer and ending: `attn_q` is read by [`Self::QProj`]. A tied table
    /// of embeddings is read by [`Self::LmHead`] too.
    #[must_use]
    pub fn of_weight(part: &str) -> Option<Self> {
        Some(match part {
            "token_embd" => Self::Embed,
            "per_layer_token_embd" => Self::PerLayerEmbed,
            "per_layer_model_proj" => Self::PerLayerModelProj,
            "per_layer_proj_norm" => Self::PerLayerInputs,
            "attn_norm" => Self::AttnNorm,
            "attn_qkv" => Self::QkvProj,
            "attn_q" => Self::QProj,
            "attn_k" => Self::KProj,
            "attn_v" => Self::VProj,
            "attn_q_norm" => Self::QNorm,
            "attn_k_norm" => Self::KNorm,
            "attn_q_a" => Self::QAProj,
            "attn_q_a_norm" => Self::QANorm,
            "attn_q_b" => Self::QBProj,
            "attn_kv_a_mqa" => Self::KvAProj,
            "attn_kv_a_norm" => Self::KvANorm,
            "attn_k_b" => Self::KBProj,
            "attn_v_b" => Self::VBProj,
            "attn_output" => Self::OProj,
            "shortconv.in_proj" => Self::ConvInProj,
            "shortconv.conv" | "ssm_conv1d" => Self::Convolution,
            "shortconv.out_proj" => Self::ConvOutProj,
            "post_attention_norm" => Self::AttnPostNorm,
            "ffn_norm" => Self::FfnNorm,
            "ffn_gate_inp" => Self::Router,
            "exp_probs_b" => Self::ExpertChoice,
            "ffn_gate_exps" | "ffn_up_exps" | "ffn_gate_up_exps" => Self::ExpertsGateUp,
            "ffn_down_exps" => Self::ExpertsDown,
            "ffn_gate_shexp" | "ffn_up_shexp" | "ffn_down_shexp" => Self::SharedExpert,
            "ffn_gate" => Self::GateProj,
            "ffn_up" => Self::UpProj,
            "ffn_down" => Self::DownProj,
            "post_ffw_norm" => Self::FfnPostNorm,
            "post_ffw_norm_1" => Self::DenseNorm,
            "pre_ffw_norm_2" => Self::ExpertsNorm,
            "post_ffw_norm_2" => Self::ExpertsPostNorm,
            "inp_gate" => Self::PerLayerGate,
            "proj" => Self::PerLayerProj,
            "post_norm" => Self::PerLayerNorm,
            "layer_output_scale" => Self::LayerScale,
            "output_norm" => Self::OutputNorm,
            "output" => Self::LmHead,
            _ => return None,
        })
    }

    /// The products that it consists of, where these may be marked one by one: gate and up of experts; gate, up and down of a shared expert.
    #[must_use]
    pub const fn products(self) -> usize {
        match self {
            Self::ExpertsGateUp => 2,
            Self::SharedExpert => 3,
            _ => 1,
        }
    }

    /// Whether it multiplies activations with a weight matrix.
    #[must_use]
    pub const fn is_matmul(self) -> bool {
        matches!(
            self,
            Self::QkvProj
                | Self::QProj
                | Self::KProj
                | Self::VProj
                | Self::QAProj
                | Self::QBProj
                | Self::KvAProj
                | Self::KBProj
                | Self::VBProj
                | Self::OProj
                | Self::ConvInProj
                | Self::ConvOutProj
                | Self::DeltaQkvProj
                | Self::DeltaGateProj
                | Self::BetaProj
                | Self::DecayProj
                | Self::DeltaOutProj
                | Self::Router
                | Self::GateUpProj
                | Self::GateProj
                | Self::UpProj
                | Self::ExpertsGateUp
                | Self::DownProj
                | Self::ExpertsDown
                | Self::SharedExpert
                | Self::PerLayerModelProj
                | Self::PerLayerGate
                | Self::PerLayerProj
                | Self::LmHead
        )
    }

    /// Whether attention has it. Latent attention has some of them too, recurrent token mixers none.
    #[must_use]
    pub const fn is_of_attention(self) -> bool {
        matches!(
            self,
            Self::QkvProj
                | Self::QProj
                | Self::KProj
                | Self::VProj
                | Self::QNorm
                | Self::KNorm
                | Self::VNorm
                | Self::Rope
                | Self::KvWrite
                | Self::Attention
                | Self::OutputGate
                | Self::OProj
        )
    }

    /// Whether only token mixers other than plain attention have it.
    #[must_use]
    pub const fn is_of_other_mixer(self) -> bool {
        matches!(
            self,
            Self::QAProj
                | Self::QANorm
                | Self::QBProj
                | Self::KvAProj
                | Self::KvANorm
                | Self::KBProj
                | Self::VBProj
                | Self::ConvInProj
                | Self::DeltaQkvProj
                | Self::DeltaGateProj
                | Self::BetaProj
                | Self::DecayProj
                | Self::StateUpdate
                | Self::Convolution
                | Self::ConvOutProj
                | Self::DeltaRule
                | Self::DeltaNorm
                | Self::DeltaOutProj
        )
    }

    /// Whether only models have it whose layers have inputs of their own, or whose layers multiply their output.
    #[must_use]
    pub const fn is_of_layer_inputs(self) -> bool {
        matches!(
            self,
            Self::PerLayerEmbed
                | Self::PerLayerModelProj
                | Self::PerLayerInputs
                | Self::PerLayerGate
                | Self::PerLayerMul
                | Self::PerLayerProj
                | Self::PerLayerNorm
                | Self::PerLayerResidual
                | Self::LayerScale
        )
    }

    /// Whether it is an RMS norm with a weight.
    #[must_use]
    pub const fn is_norm(self) -> bool {
        matches!(
            self,
            Self::AttnNorm
                | Self::QNorm
                | Self::KNorm
                | Self::QANorm
                | Self::KvANorm
                | Self::AttnPostNorm
                | Self::DeltaNorm
                | Self::FfnNorm
                | Self::FfnPostNorm
                | Self::RouterNorm
                | Self::DenseNorm
                | Self::ExpertsNorm
                | Self::ExpertsPostNorm
                | Self::PerLayerNorm
                | Self::OutputNorm
        )
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_enum() {
        for (at, (kind, name)) in NAMES.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            assert_eq!((kind.name(), OpKind::from_name(name)), (name, Some(kind)));
        }
        assert_eq!(OpKind::from_name("sample"), None);
    }
}
