//! The machine that the mock pretends to be: a roofline with a little noise.

use models::DType;
use models::cost::{OpCost, OpKind, WeightTypes, ops_of_prefill};
use models::{Checkpoint, Spec};
use traces::record::NO_LAYER;
use traces::{Nanos, clock, op};

use super::settings::Settings;
use crate::KvType;

/// Time of its operations, from the cost model and two limits.
pub(super) struct Machine {
    spec: Spec,
    types: WeightTypes,
    kv: DType,
    bandwidth: f64,
    flops: f64,
    jitter: f64,
    noise: u64,
}

impl Machine {
    pub(super) fn new(checkpoint: &Checkpoint, kv: KvType, settings: &Settings) -> Self {
        Self {
            spec: checkpoint.spec().clone(),
            types: WeightTypes::of(checkpoint),
            kv: if kv == KvType::F16 { DType::F16 } else { DType::F32 },
            bandwidth: settings.bandwidth,
            flops: settings.flops,
            jitter: settings.jitter,
            noise: mix(settings.seed),
        }
    }

    /// Lets the time of a forward pass go by, op by op, each op marked.
    pub(super) fn pass(&mut self, tokens: usize, position: usize) {
        for cost in ops_of_prefill(&self.spec, &self.types, self.kv, tokens, position) {
            let _op = mark(&cost);
            self.spend(cost.flops.as_f64(), cost.bytes().as_f64());
        }
    }

    /// Lets the time of reading so many bytes go by.
    pub(super) fn read(&mut self, bytes: f64) {
        self.spend(0.0, bytes);
    }

    /// Advances the clock by `max(flops / FLOP/s, bytes / B/s)`, in seconds, give or take the jitter: the roofline model,
    /// Williams et al., doi:10.1145/1498765.1498785.
    fn spend(&mut self, flops: f64, bytes: f64) {
        self.noise = mix(self.noise);
        #[allow(clippy::cast_precision_loss, reason = "noise needs no 53rd bit")]
        let noise = (self.noise >> 11) as f64 / (1u64 << 52) as f64 - 1.0; // in -1 .. 1
        let seconds = (flops / self.flops).max(bytes / self.bandwidth) * (1.0 + self.jitter * noise);
        clock::advance(Nanos::from_secs_f64(seconds));
    }
}

/// One step of `SplitMix64` (Steele et al., doi:10.1145/2714064.2660195): well mixed bits from any input.
pub(super) fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Marks an op by the name of its kind; a mark's name is a literal, so each kind has its own.
fn mark(cost: &OpCost) -> traces::record::OpGuard {
    macro_rules! by_kind {
        ($($kind:ident $name:literal),* $(,)?) => {{
            let layer = cost.layer.and_then(|layer| u32::try_from(layer).ok()).unwrap_or(NO_LAYER);
            let [a, b, c] = cost.shape;
            match cost.kind {
                $(OpKind::$kind => op!($name, layer, [a, b, c]),)*
            }
        }};
    }
    by_kind! {
        Embed "embed",
        AttnNorm "attn_norm",
        QProj "q_proj",
        KProj "k_proj",
        VProj "v_proj",
        Rope "rope",
        KvWrite "kv_write",
        Attention "attention",
        OProj "o_proj",
        AttnResidual "attn_residual",
        FfnNorm "ffn_norm",
        GateProj "gate_proj",
        UpProj "up_proj",
        SiluMul "silu_mul",
        DownProj "down_proj",
        FfnResidual "ffn_residual",
        OutputNorm "output_norm",
        LmHead "lm_head",
    }
}
