//! The inputs of the rules: one set of figures per case and phase.
//!
//! A figure that was not measured is `None`, and [`Facts::absent`] has the reason. Figures of the three passes have the time of the
//! phase in the same pass beside them, so that a share never mixes two passes.

use std::collections::BTreeMap;

use engine_api::Phase;
use record::Reason;

/// A figure of [`Facts`] that a rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// [`WorkFacts::memory_s`].
    MemoryTime,
    /// [`WorkFacts::compute_s`].
    ComputeTime,
    /// [`TracedFacts::small_ops_s`].
    SmallOpsTime,
    /// [`TracedFacts::idle_s`].
    IdleTime,
    /// [`MachineFacts::cold_rate`].
    ColdRate,
    /// [`MachineFacts::page_fault_s`].
    PageFaultTime,
    /// [`CountedFacts::cpu_s`].
    CpuTime,
    /// [`CountedFacts::minor_faults`].
    MinorFaults,
    /// [`CountedFacts::read_bytes`].
    ReadBytes,
    /// [`AllocatedFacts::count`].
    Allocations,
    /// [`Facts::others`].
    Others,
    /// [`Facts::steal`].
    Steal,
    /// [`MachineFacts::usable`].
    Usable,
}

impl Fact {
    /// Its name in sentences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemoryTime => "the attainable time of memory traffic",
            Self::ComputeTime => "the attainable time of arithmetic",
            Self::SmallOpsTime => "the time of small operations",
            Self::IdleTime => "the waiting time of the threads",
            Self::ColdRate => "the read rate of storage",
            Self::PageFaultTime => "the time of a page fault",
            Self::CpuTime => "the CPU time",
            Self::MinorFaults => "the number of page faults",
            Self::ReadBytes => "the number of bytes from storage",
            Self::Allocations => "the number of allocations",
            Self::Others => "the load of other programs",
            Self::Steal => "the steal time",
            Self::Usable => "the number of hardware threads",
        }
    }
}

/// The figures of one phase of one case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The phase; without one there is no verdict.
    pub phase: Option<Phase>,
    /// Median time over the clean requests, in seconds; of `load` the time of the load and the excess of the first prefill over the
    /// later ones, where it read from storage.
    pub time_s: f64,
    /// That time over the latency; `load` is not part of the latency.
    pub latency_share: Option<f64>,
    /// Requested threads of the engine.
    pub threads: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<f64>,
    /// The engine computes on a processor: its ceilings and its CPU time apply.
    pub on_processor: bool,
    /// The machine: its hardware threads and its ceilings.
    pub machine: MachineFacts,
    /// The work of the phase in the clean pass, against the ceilings.
    pub work: WorkFacts,
    /// What the traced pass shows of the phase.
    pub traced: TracedFacts,
    /// The counters of the phase, in the pass that has them.
    pub counted: CountedFacts,
    /// The allocations of the phase, in the pass that has them.
    pub allocated: AllocatedFacts,
    /// Of `load` alone.
    pub load: LoadFacts,
    /// Share of all processors that other programs used, median over the clean requests.
    pub others: Option<f64>,
    /// Share that the hypervisor took, the same.
    pub steal: Option<f64>,
    /// Clean requests that were disturbed although they count, and all that count; `None` for the load.
    pub disturbed: Option<(usize, usize)>,
    /// Time of the phase by the server's own report, in seconds.
    pub server_s: Option<f64>,
    /// The same case with no more threads than hardware threads: its threads, its time of this phase.
    pub with_fewer_threads: Option<(usize, f64)>,
    /// Why a figure is `None`.
    pub absent: BTreeMap<Fact, Reason>,
}

/// The machine: its hardware threads and its ceilings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MachineFacts {
    /// Hardware threads that the process may use.
    pub usable: Option<usize>,
    /// Hardware threads of the machine, of which `others` and `steal` are shares.
    pub processors: Option<usize>,
    /// Memory read bandwidth, in bytes per second.
    pub bandwidth: Option<f64>,
    /// The thread count with the highest measured bandwidth, and that bandwidth.
    pub bandwidth_most: Option<(usize, f64)>,
    /// The same with huge pages.
    pub bandwidth_huge: Option<f64>,
    /// The thread count with the highest measured operations per second, and their ratio to those of this case.
    pub compute_most: Option<(usize, f64)>,
    /// Seconds to pass a task to all threads and to wait for them.
    pub dispatch_s: Option<f64>,
    /// Seconds of the first touch of a page.
    pub page_fault_s: Option<f64>,
    /// Bytes per second from storage.
    pub cold_rate: Option<f64>,
    /// Bytes per second from the page cache.
    pub warm_rate: Option<f64>,
    /// The relative range of the run's own probes of bandwidth, or the change from the first to the last if that is larger.
    pub drift: Option<f64>,
}

/// The work of the phase in the clean pass, against the ceilings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkFacts {
    /// The time of the phase that is compared with the ceilings: that of the clean pass.
    pub time_s: Option<f64>,
    /// Least time that the ceilings allow, in seconds.
    pub attainable_s: Option<f64>,
    /// The part of it that is set by memory or a cache.
    pub memory_s: Option<f64>,
    /// The part of it that is set by arithmetic.
    pub compute_s: Option<f64>,
    /// The part of `memory_s` that is set by a cache.
    pub cache_s: Option<f64>,
    /// The attainable time is that of the model as a whole: its ops were not traced or have no cost.
    pub whole_model: bool,
    /// Bits per weight, and the name of the type.
    pub bits_per_weight: Option<f64>,
}

/// What the traced pass shows of the phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TracedFacts {
    /// The time of the phase in the traced pass, which the times of ops and threads are parts of.
    pub time_s: Option<f64>,
    /// The number of ops that are so small that dispatch matters.
    pub small_ops: Option<f64>,
    /// Their time beyond the attainable time, in seconds.
    pub small_ops_s: Option<f64>,
    /// Time that a thread waits for the others in shared work, mean over the threads, in seconds.
    pub idle_s: Option<f64>,
    /// Traced pass over clean pass.
    pub probe_effect: Option<f64>,
}

/// The counters of the phase, in the pass that has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CountedFacts {
    /// Time of the phase in the pass that has the counters, in seconds.
    pub time_s: Option<f64>,
    /// CPU time in it, all threads, in seconds.
    pub cpu_s: Option<f64>,
    /// Page faults served from memory.
    pub minor_faults: Option<f64>,
    /// Bytes from storage.
    pub read_bytes: Option<f64>,
    /// Involuntary context switches.
    pub involuntary_switches: Option<f64>,
}

/// The allocations of the phase, in the pass that has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AllocatedFacts {
    /// Time of the phase in the pass that has the allocations, in seconds.
    pub time_s: Option<f64>,
    /// Allocations.
    pub count: Option<f64>,
    /// Bytes allocated.
    pub bytes: Option<f64>,
}

/// Of `load` alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadFacts {
    /// size of the model's files.
    pub file_bytes: Option<f64>,
    /// share of them that the page cache had before.
    pub cached_share: Option<f64>,
    /// the load itself, in seconds.
    pub time_s: Option<f64>,
    /// bytes that the load itself read from storage.
    pub read_bytes: Option<f64>,
    /// the excess of the first prefill over the later ones, in seconds.
    pub first_prefill_excess_s: Option<f64>,
    /// CPU time in user mode while loading, in seconds.
    pub user_s: Option<f64>,
}

impl Facts {
    /// Part / whole, from 0 to 1; `None` where one is unknown or the whole is nothing.
    pub(super) fn share(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
        let share = part? / whole.filter(|&whole| whole > 0.0)?;
        share.is_finite().then(|| share.clamp(0.0, 1.0))
    }

    /// The name of the phase in files.
    pub(super) fn name(&self) -> &'static str {
        self.phase.map_or("other", Phase::name)
    }

    /// Whether this is the load.
    pub(super) fn is_load(&self) -> bool {
        self.phase == Some(Phase::Load)
    }

    /// The time that times of ops and of threads are parts of.
    pub(super) fn in_traced_pass(&self) -> Option<f64> {
        self.traced.time_s.or(self.work.time_s)
    }

    /// Whether this is one of the forward passes.
    pub(super) fn is_forward(&self) -> bool {
        matches!(self.phase, Some(Phase::Prefill | Phase::Decode))
    }
}
