//! Everything that the rules look at: one plain set of figures per case and phase.
//!
//! A figure that was not measured is `None`, and [`Facts::absent`] says why under the field's name. Figures of the three
//! passes stand beside the time of the phase in the same pass, so that a share never mixes two passes.

use engine_api::Phase;

use record::Reasons;

/// What is known of one phase of one case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The phase; `None` is no phase and has no verdict.
    pub phase: Option<Phase>,
    /// Median time over the clean requests, in seconds; of `load` the time of the load and what the first prefill took longer
    /// than the later ones where it read from storage.
    pub time_s: f64,
    /// Of that, over the latency; `load` is no part of the latency.
    pub latency_share: Option<f64>,
    /// Threads that the engine was told to use.
    pub threads: usize,
    /// Hardware threads that the process may use.
    pub usable: Option<usize>,
    /// Hardware threads of the machine, of which `others` and `steal` are shares.
    pub processors: Option<usize>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<f64>,

    /// The time of the phase that the ceilings are held against: that of the clean pass.
    pub work_s: Option<f64>,
    /// The time of the phase in the traced pass, which the times of ops and threads are parts of.
    pub traced_s: Option<f64>,
    /// CPU time in user mode while loading, in seconds.
    pub user_s: Option<f64>,
    /// Least time that the ceilings allow, in seconds.
    pub attainable_s: Option<f64>,
    /// The part of it that memory or a cache sets.
    pub memory_s: Option<f64>,
    /// The part of it that arithmetic sets.
    pub compute_s: Option<f64>,
    /// The part of `memory_s` that a cache sets.
    pub cache_s: Option<f64>,
    /// The attainable time is that of the model as a whole: its ops were not traced or have no cost.
    pub whole_model: bool,
    /// Memory read bandwidth, in bytes per second.
    pub bandwidth: Option<f64>,
    /// The same with as many threads as the machine has a use for: the most that was measured.
    pub bandwidth_most: Option<(usize, f64)>,
    /// The same with huge pages.
    pub bandwidth_huge: Option<f64>,
    /// Operations per second with as many threads as help, over that of this case.
    pub compute_most: Option<(usize, f64)>,
    /// Seconds to hand work to all threads and to have it back.
    pub dispatch_s: Option<f64>,
    /// Ops that are so small that handing them over counts.
    pub small_ops: Option<f64>,
    /// What they take beyond their attainable time, in seconds.
    pub small_ops_s: Option<f64>,
    /// Time that a thread waits for the others in shared work, mean over the threads, in seconds.
    pub idle_s: Option<f64>,
    /// Bits per weight, and the name of the type.
    pub bits_per_weight: Option<f64>,

    /// Time of the phase in the pass that has the counters, in seconds.
    pub counted_s: Option<f64>,
    /// CPU time in it, all threads, in seconds.
    pub cpu_s: Option<f64>,
    /// Page faults served from memory.
    pub minor_faults: Option<f64>,
    /// Bytes from storage.
    pub read_bytes: Option<f64>,
    /// Context switches because another thread was due.
    pub involuntary_switches: Option<f64>,
    /// Seconds that the first touch of a page takes.
    pub page_fault_s: Option<f64>,
    /// Bytes per second from storage.
    pub cold_rate: Option<f64>,
    /// Bytes per second from the page cache.
    pub warm_rate: Option<f64>,

    /// Time of the phase in the pass that has the allocations, in seconds.
    pub allocating_s: Option<f64>,
    /// Allocations.
    pub allocations: Option<f64>,
    /// Bytes allocated.
    pub allocated_bytes: Option<f64>,

    /// Share of all processors that other programs had, median over the clean requests.
    pub others: Option<f64>,
    /// Share that the hypervisor took, the same.
    pub steal: Option<f64>,
    /// The engine computes on a processor: its ceilings and its CPU time apply.
    pub on_processor: bool,
    /// Time of the phase by the server's own report, in seconds.
    pub server_s: Option<f64>,

    /// Of `load`: size of the model's files.
    pub file_bytes: Option<f64>,
    /// Of `load`: share of them that the page cache had before.
    pub cached_share: Option<f64>,
    /// Of `load`: the load itself, in seconds.
    pub load_s: Option<f64>,
    /// Of `load`: bytes that the load itself read from storage.
    pub load_read_bytes: Option<f64>,
    /// Of `load`: what the first prefill took longer than the later ones, in seconds.
    pub first_prefill_excess_s: Option<f64>,

    /// The other case that differs only in a thread count that the machine has: threads, its time of this phase.
    pub with_fewer_threads: Option<(usize, f64)>,
    /// How far the run's own probes of bandwidth lie apart, over their median, or the last from the first.
    pub drift: Option<f64>,
    /// Traced pass over clean pass.
    pub probe_effect: Option<f64>,
    /// Why a figure is `None`.
    pub absent: Reasons,
}

impl Facts {
    /// Part / whole, from 0 to 1; `None` where one is unknown or the whole is nothing.
    pub(super) fn share(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
        let share = part? / whole.filter(|&whole| whole > 0.0)?;
        share.is_finite().then(|| share.clamp(0.0, 1.0))
    }

    /// What the phase is called in files.
    pub(super) fn name(&self) -> &'static str {
        self.phase.map_or("other", Phase::name)
    }

    /// The time that times of ops and of threads are parts of.
    pub(super) fn in_traced_pass(&self) -> Option<f64> {
        self.traced_s.or(self.work_s)
    }

    /// Whether this is one of the forward passes.
    pub(super) fn is_forward(&self) -> bool {
        matches!(self.phase, Some(Phase::Prefill | Phase::Decode))
    }
}
