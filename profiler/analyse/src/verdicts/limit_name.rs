//! The name of a limit in reports.

use record::Limit;

/// The name of a limit in reports.
pub fn name(limit: Limit) -> &'static str {
    match limit {
        Limit::MemoryBandwidth => "memory bandwidth",
        Limit::Compute => "compute",
        Limit::Dispatch => "dispatch of small operations",
        Limit::Imbalance => "thread imbalance",
        Limit::Oversubscription => "oversubscription",
        Limit::PageFaults => "page faults",
        Limit::ColdFile => "cold file",
        Limit::Allocation => "allocation",
        Limit::Tokenizer => "the tokenizer",
        Limit::Sampler => "the sampler",
        Limit::NoisyNeighbour => "other programs on the machine",
        Limit::QueueOrNetwork => "queue or network",
    }
}

/// Whether a limit is a measured ceiling of the machine.
pub(super) fn is_ceiling(limit: Limit) -> bool {
    matches!(limit, Limit::MemoryBandwidth | Limit::Compute)
}
