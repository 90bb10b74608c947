//! The machine that the mock pretends to be: a roofline with a little noise, and with whatever else its settings give it.
//!
//! It advances the clock and enters into the ledger what a real machine's accounts would show. What limits it is known
//! by construction: a profiler that names another limit is wrong.

use models::DType;
use models::cost::{OpCost, OpKind, WeightTypes, ops_of_prefill};
use models::{Checkpoint, Spec};
use traces::ledger::{self, Ledger};
use traces::record::{self, Complete, NO_LAYER, Track};
use traces::{Nanos, clock, op};

use super::settings::{Hardware, Settings};
use crate::{KvType, LoadOptions};

/// Time for which a thread runs before another one that waits is due.
const SLICE_S: f64 = 0.004;
/// Cycles per second of a processor.
const CYCLES_PER_S: f64 = 3e9;
/// Floating-point operations of an instruction.
const FLOPS_PER_INSTRUCTION: f64 = 16.0;
/// Bytes that a miss of the last cache brings.
const LINE_BYTES: f64 = 64.0;
/// Accesses of the last cache for each that misses it.
const REFERENCES_PER_MISS: u64 = 4;
/// What an allocation takes of memory.
const ALLOCATION_BYTES: u64 = 64;

/// Time of its operations, from the cost model and two limits.
pub(super) struct Machine {
    spec: Spec,
    types: WeightTypes,
    kv: DType,
    hardware: Hardware,
    threads: f64,
    cores: f64,
    noise: u64,
    /// Share of the processors that other programs have for a while, beyond what they always have.
    spell: f64,
    /// Part of a context switch that is still due.
    switches: f64,
    /// Its threads but the first, as lines of a trace.
    tracks: Vec<Track>,
}

impl Machine {
    #[allow(clippy::cast_precision_loss, reason = "counts of threads are small")]
    pub(super) fn new(checkpoint: &Checkpoint, options: &LoadOptions, settings: &Settings) -> Self {
        let threads = options.threads.max(1);
        ledger::set_registers(settings.hardware.registers);
        Self {
            spec: checkpoint.spec().clone(),
            types: WeightTypes::of(checkpoint),
            kv: if options.kv_type == KvType::F16 { DType::F16 } else { DType::F32 },
            hardware: settings.hardware,
            threads: threads as f64,
            cores: settings.hardware.cores.unwrap_or(threads) as f64,
            noise: mix(settings.seed),
            spell: 0.0,
            switches: 0.0,
            tracks: (1..threads).map(|thread| Track::named(&format!("mock {thread}"))).collect(),
        }
    }

    /// Lets the time of a forward pass go by, op by op, each op marked.
    pub(super) fn pass(&mut self, tokens: usize, position: usize) {
        for cost in ops_of_prefill(&self.spec, &self.types, self.kv, tokens, position) {
            let _op = mark(&cost);
            let start = clock::now();
            self.op(cost.flops.as_f64(), cost.bytes().as_f64());
            self.mark_work(cost.kind.name(), start);
        }
    }

    /// Lets the time of an op go by, which all threads share:
    ///
    /// ```text
    /// balanced = max(flops / FLOP/s, bytes / B/s) + dispatch          (seconds, give or take the jitter)
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
        let involuntary_switches = self.due(switches);
        let cache_misses = whole(bytes / LINE_BYTES);
        let happened = Ledger {
            involuntary_switches,
            instructions: whole(flops / FLOPS_PER_INSTRUCTION),
            cache_references: cache_misses * REFERENCES_PER_MISS,
            cache_misses,
            ..Ledger::EMPTY
        };
        self.spend(time, balanced * self.threads, happened);
    }

    /// Marks what each thread did of an op, where they are not alike: the first one all of its time, the others less, so that the
    /// mean of what they wait is the imbalance: `others idle = imbalance x threads / (threads - 1)`, at most all of it.
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

    /// Gives other programs so much more of the processors, from now on.
    pub(super) const fn set_spell(&mut self, others: f64) {
        self.spell = others;
    }

    /// Lets one thread work for so many seconds.
    pub(super) fn work(&mut self, seconds: f64) {
        let seconds = seconds * self.jitter();
        self.spend(seconds, seconds, Ledger::EMPTY);
    }

    /// Lets the time of reading so many bytes of memory go by.
    pub(super) fn read(&mut self, bytes: f64) {
        self.work(bytes / self.hardware.bandwidth);
    }

    /// Lets the time of reading so many bytes from storage go by; nothing is computed meanwhile.
    #[allow(clippy::cast_precision_loss, reason = "a file is far below 2^52 bytes")]
    pub(super) fn read_file(&mut self, bytes: u64) {
        let happened = Ledger { read_bytes: bytes, major_faults: 1, voluntary_switches: 1, ..Ledger::EMPTY };
        self.spend(bytes as f64 / self.hardware.storage, 0.0, happened);
    }

    /// Lets so many page faults happen.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(super) fn fault(&mut self, count: u64) {
        let seconds = count as f64 * self.hardware.fault_s;
        self.spend(seconds, seconds, Ledger { minor_faults: count, ..Ledger::EMPTY });
    }

    /// Lets so many allocations happen.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(super) fn allocate(&mut self, count: u64) {
        let seconds = count as f64 * self.hardware.allocation_s;
        let happened =
            Ledger { allocations: count, allocated_bytes: count.saturating_mul(ALLOCATION_BYTES), ..Ledger::EMPTY };
        self.spend(seconds, seconds, happened);
    }

    /// Waits for something far away.
    pub(super) fn wait(&mut self, seconds: f64) {
        self.spend(seconds, 0.0, Ledger { voluntary_switches: 1, ..Ledger::EMPTY });
    }

    /// Lets `seconds` go by in which this process computes for `cpu` seconds, all threads together. What others have of
    /// the processors makes it longer: `seconds / (1 - others - steal)`.
    fn spend(&mut self, seconds: f64, cpu: f64, happened: Ledger) {
        let Hardware { others, steal, .. } = self.hardware;
        let others = others + self.spell;
        let left = if cpu > 0.0 { (1.0 - others - steal).max(0.01) } else { 1.0 };
        let time = seconds / left;
        let capacity = time * self.cores;
        ledger::enter(Ledger {
            capacity: Nanos::from_secs_f64(capacity),
            cpu: Nanos::from_secs_f64(cpu),
            others: Nanos::from_secs_f64(capacity * others),
            stolen: Nanos::from_secs_f64(capacity * steal),
            cycles: whole(cpu * CYCLES_PER_S),
            ..happened
        });
        clock::advance(Nanos::from_secs_f64(time));
    }

    /// 1, give or take the jitter.
    fn jitter(&mut self) -> f64 {
        self.noise = mix(self.noise);
        #[allow(clippy::cast_precision_loss, reason = "noise needs no 53rd bit")]
        let noise = (self.noise >> 11) as f64 / (1u64 << 52) as f64 - 1.0; // in -1 .. 1
        1.0 + self.hardware.jitter * noise
    }

    /// Whole context switches, the parts of earlier ones counted.
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "it is positive and small")]
    fn due(&mut self, more: f64) -> u64 {
        self.switches += more;
        let whole = self.switches.floor();
        self.switches -= whole;
        whole as u64
    }
}

/// A count of events.
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "it is not negative, and far below 2^63")]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// One step of `SplitMix64` (Steele et al., doi:10.1145/2714064.2660195): well mixed bits from any input.
pub(super) fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Marks an op by the name of its kind; a mark's name is a literal, so each kind has its own.
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
