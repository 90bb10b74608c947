//! The simulated machine of the mock: a roofline model with jitter and with the disturbances that its settings describe.
//!
//! It advances the clock and the virtual counters as the clock and the counters of a real machine would advance. Its limit is known by
//! construction: a profiler that reports another limit is wrong.

use models::CacheTypes;
use models::cost::{OpCost, OpKind, WeightTypes, prefill_ops};
use models::{Checkpoint, Spec};
use traces::record::{self, Complete, NO_LAYER, Track};
use traces::virtual_counters::{self, VirtualCounters};
use traces::{Nanos, clock, op};

use super::settings::{Hardware, Settings};
use crate::{EngineError, LoadOptions};

/// Time slice of the scheduler in seconds.
const SLICE_S: f64 = 0.004;
/// Clock frequency of a processor in cycles per second.
const CYCLES_PER_S: f64 = 3e9;
/// Floating-point operations per instruction.
const FLOPS_PER_INSTRUCTION: f64 = 16.0;
/// Bytes that a miss of the last-level cache loads.
const LINE_BYTES: f64 = 64.0;
/// Accesses of the last-level cache per miss.
const REFERENCES_PER_MISS: u64 = 4;
/// Bytes per allocation.
const ALLOCATION_BYTES: u64 = 64;

/// Simulates the time of operations from the cost model and the limits of the hardware.
pub(super) struct Machine {
    spec: Spec,
    types: WeightTypes,
    kv: CacheTypes,
    hardware: Hardware,
    threads: f64,
    cores: f64,
    noise: u64,
    /// Temporary share of the processors that other programs use, in addition to `hardware.others`.
    extra_load: f64,
    /// Fraction of a context switch that is carried over.
    switches: f64,
    /// Trace tracks of all threads but the first.
    tracks: Vec<Track>,
}

impl Machine {
    #[allow(clippy::cast_precision_loss, reason = "counts of threads are small")]
    pub(super) fn new(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        settings: &Settings,
    ) -> Result<Self, EngineError> {
        let threads = options.threads.max(1);
        virtual_counters::set_hardware_counters(settings.hardware.registers);
        Ok(Self {
            spec: checkpoint.spec()?.clone(),
            types: WeightTypes::of(checkpoint)?,
            kv: options.kv_type.cache_types(),
            hardware: settings.hardware,
            threads: threads as f64,
            cores: settings.hardware.cores.unwrap_or(threads) as f64,
            noise: mix(settings.seed),
            extra_load: 0.0,
            switches: 0.0,
            tracks: (1..threads).map(|thread| Track::named(&format!("mock {thread}"))).collect(),
        })
    }

    /// Simulates a forward pass, op by op, and marks each op.
    pub(super) fn pass(&mut self, tokens: usize, position: usize) {
        for cost in prefill_ops(&self.spec, &self.types, self.kv, tokens, position) {
            let _op = mark(&cost);
            let start = clock::now();
            self.op(cost.flops.as_f64(), cost.bytes().as_f64());
            self.mark_work(cost.kind.name(), start);
        }
    }

    /// Simulates an op that all threads share:
    ///
    /// ```text
    /// balanced = max(flops / FLOP/s, bytes / B/s) + dispatch          (seconds, with jitter)
    /// time     = balanced / (1 - imbalance) x max(1, threads / cores)
    /// ```
    ///
    /// The roofline model: Williams et al., doi:10.1145/1498765.1498785.
    fn op(&mut self, flops: f64, bytes: f64) {
        let roofline = (flops / self.hardware.flops).max(bytes / self.hardware.bandwidth);
        let balanced = (roofline + self.hardware.dispatch_s) * self.jitter();
        let imbalance = if self.threads > 1.0 { self.hardware.imbalance } else { 0.0 };
        let time = balanced / (1.0 - imbalance) * (self.threads / self.cores).max(1.0);
        let switches = if self.threads > self.cores { time * self.cores / SLICE_S } else { 0.0 };
        let involuntary_switches = self.whole_switches(switches);
        let cache_misses = whole(bytes / LINE_BYTES);
        let happened = VirtualCounters {
            involuntary_switches,
            instructions: whole(flops / FLOPS_PER_INSTRUCTION),
            cache_references: cache_misses * REFERENCES_PER_MISS,
            cache_misses,
            ..VirtualCounters::ZERO
        };
        self.spend(time, balanced * self.threads, happened);
    }

    /// Marks each thread's part of an op if the threads are not balanced. The first thread is busy all the time, the others for
    /// less, so that the mean idle share is the imbalance: `idle share of others = imbalance x threads / (threads - 1)`, at most 1.
    fn mark_work(&self, op: &str, start: Nanos) {
        if self.hardware.imbalance <= 0.0 || self.threads <= 1.0 || !record::is_on() {
            return;
        }
        let time = clock::now().saturating_sub(start);
        record::emit(Complete::work(op, start, time));
        let busy = (1.0 - self.hardware.imbalance * self.threads / (self.threads - 1.0)).max(0.0);
        let busy = Nanos::from_secs_f64(time.as_secs_f64() * busy);
        for track in &self.tracks {
            record::emit(Complete::work(op, start, busy).on(*track));
        }
    }

    /// Sets the temporary share of the processors that other programs use.
    pub(super) const fn set_extra_load(&mut self, share: f64) {
        self.extra_load = share;
    }

    /// Simulates work on one thread.
    pub(super) fn work(&mut self, seconds: f64) {
        let seconds = seconds * self.jitter();
        self.spend(seconds, seconds, VirtualCounters::ZERO);
    }

    /// Simulates a read from memory.
    pub(super) fn read(&mut self, bytes: f64) {
        self.work(bytes / self.hardware.bandwidth);
    }

    /// Simulates a read from storage, during which nothing is computed.
    #[allow(clippy::cast_precision_loss, reason = "a file is far below 2^52 bytes")]
    pub(super) fn read_file(&mut self, bytes: u64) {
        let happened =
            VirtualCounters { read_bytes: bytes, major_faults: 1, voluntary_switches: 1, ..VirtualCounters::ZERO };
        self.spend(bytes as f64 / self.hardware.storage, 0.0, happened);
    }

    /// Simulates page faults.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(super) fn fault(&mut self, count: u64) {
        let seconds = count as f64 * self.hardware.fault_s;
        self.spend(seconds, seconds, VirtualCounters { minor_faults: count, ..VirtualCounters::ZERO });
    }

    /// Simulates allocations.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(super) fn allocate(&mut self, count: u64) {
        let seconds = count as f64 * self.hardware.allocation_s;
        let happened = VirtualCounters {
            allocations: count,
            allocated_bytes: count.saturating_mul(ALLOCATION_BYTES),
            ..VirtualCounters::ZERO
        };
        self.spend(seconds, seconds, happened);
    }

    /// Simulates a wait without computation.
    pub(super) fn wait(&mut self, seconds: f64) {
        self.spend(seconds, 0.0, VirtualCounters { voluntary_switches: 1, ..VirtualCounters::ZERO });
    }

    /// Advances the clock by `seconds`, in which this process computes for `cpu` seconds, all threads together. Load of other
    /// programs makes it longer: `seconds / (1 - others - steal)`.
    fn spend(&mut self, seconds: f64, cpu: f64, happened: VirtualCounters) {
        let Hardware { others, steal, .. } = self.hardware;
        let others = others + self.extra_load;
        let left = if cpu > 0.0 { (1.0 - others - steal).max(0.01) } else { 1.0 };
        let time = seconds / left;
        let capacity = time * self.cores;
        virtual_counters::add(VirtualCounters {
            capacity: Nanos::from_secs_f64(capacity),
            cpu: Nanos::from_secs_f64(cpu),
            other_processes_cpu: Nanos::from_secs_f64(capacity * others),
            stolen: Nanos::from_secs_f64(capacity * steal),
            cycles: whole(cpu * CYCLES_PER_S),
            ..happened
        });
        clock::advance(Nanos::from_secs_f64(time));
    }

    /// A factor within 1 ± jitter.
    fn jitter(&mut self) -> f64 {
        self.noise = mix(self.noise);
        #[allow(clippy::cast_precision_loss, reason = "noise does not need the 53rd bit")]
        let noise = (self.noise >> 11) as f64 / (1u64 << 52) as f64 - 1.0; // in -1 .. 1
        1.0 + self.hardware.jitter * noise
    }

    /// Whole context switches, including the fractions that were carried over.
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "it is positive and small")]
    fn whole_switches(&mut self, more: f64) -> u64 {
        self.switches += more;
        let whole = self.switches.floor();
        self.switches -= whole;
        whole as u64
    }
}

/// Rounds a count of events.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "it is not negative, and far below 2^63")]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// One step of `SplitMix64` (Steele et al., doi:10.1145/2714064.2660195): a hash of its input.
pub(super) fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Marks an op by the name of its kind. The name of a mark is a literal, hence one arm per kind.
fn mark(cost: &OpCost) -> record::OpGuard {
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
        PerLayerEmbed "per_layer_embed",
        PerLayerModelProj "per_layer_model_proj",
        PerLayerInputs "per_layer_inputs",
        AttnNorm "attn_norm",
        QkvProj "qkv_proj",
        QProj "q_proj",
        KProj "k_proj",
        VProj "v_proj",
        QNorm "q_norm",
        KNorm "k_norm",
        VNorm "v_norm",
        QAProj "q_a_proj",
        QANorm "q_a_norm",
        QBProj "q_b_proj",
        KvAProj "kv_a_proj",
        KvANorm "kv_a_norm",
        Rope "rope",
        KvWrite "kv_write",
        KBProj "k_b_proj",
        Attention "attention",
        OutputGate "output_gate",
        VBProj "v_b_proj",
        OProj "o_proj",
        ConvInProj "conv_in_proj",
        DeltaQkvProj "delta_qkv_proj",
        DeltaGateProj "delta_gate_proj",
        BetaProj "beta_proj",
        DecayProj "decay_proj",
        StateUpdate "state_update",
        Convolution "convolution",
        ConvOutProj "conv_out_proj",
        DeltaRule "delta_rule",
        DeltaNorm "delta_norm",
        DeltaOutProj "delta_out_proj",
        AttnPostNorm "attn_post_norm",
        AttnResidual "attn_residual",
        FfnNorm "ffn_norm",
        RouterNorm "router_norm",
        Router "router",
        ExpertChoice "expert_choice",
        ExpertsNorm "experts_norm",
        GateUpProj "gate_up_proj",
        GateProj "gate_proj",
        UpProj "up_proj",
        ExpertsGateUp "experts_gate_up",
        SiluMul "silu_mul",
        GeluMul "gelu_mul",
        ClampedSwiglu "clamped_swiglu",
        DownProj "down_proj",
        DenseNorm "dense_norm",
        ExpertsDown "experts_down",
        ExpertsSum "experts_sum",
        ExpertsPostNorm "experts_post_norm",
        DenseSum "dense_sum",
        SharedExpert "shared_expert",
        FfnPostNorm "ffn_post_norm",
        FfnResidual "ffn_residual",
        PerLayerGate "per_layer_gate",
        PerLayerMul "per_layer_mul",
        PerLayerProj "per_layer_proj",
        PerLayerNorm "per_layer_norm",
        PerLayerResidual "per_layer_residual",
        LayerScale "layer_scale",
        OutputNorm "output_norm",
        LmHead "lm_head",
        LogitCap "logit_cap",
    }
}
