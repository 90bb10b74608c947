//! Attribution of time and memory: every op on the roofline, every phase as the sum of its parts, resident memory as the sum of its
//! parts, energy per token, and figures that follow from counters.
//!
//! The inputs are the ops of the traced pass with the costs of the cost model, and the measured ceilings.

mod ceilings;
mod counters;
mod energy;
mod memory;
mod roofline;
mod sums;

pub(crate) use ceilings::has_processor_ceilings;
pub use ceilings::{BandwidthSource, BytesPerSecond, CacheLevel, CaseCeilings, FlopsPerSecond, Seconds, case_ceilings};
pub use sums::not_running;

use std::collections::BTreeMap;

use record::{Case, EnergyRow, MemoryFindings, OpFindings, PhaseSum, Reason, RecordedList, RunFile, Slope};

/// The ceilings of a case, and its ops and phases under them.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// The ceilings that apply.
    pub ceilings: Result<CaseCeilings, Reason>,
    /// One entry for each row of [`Case::ops`].
    pub ops: Vec<OpFindings>,
    /// The phases as sums of their ops.
    pub sums: RecordedList<PhaseSum>,
}

/// Attributes the traced time of a case.
#[must_use]
pub fn attribute(file: &RunFile, case: &Case) -> Attribution {
    let ceilings = case_ceilings(file, case);
    let ops = roofline::of(&case.ops, &ceilings);
    let sums = sums::of(case, &ops);
    Attribution { ceilings, ops, sums }
}

/// The memory of each case, reconciled.
pub(crate) fn memory(cases: &[Case]) -> Vec<MemoryFindings> {
    let leaks: Vec<Result<Slope, Reason>> = memory::leaks(cases);
    cases.iter().zip(leaks).map(|(case, leak)| memory::reconcile(case, leak)).collect()
}

/// The energy per token of a case, one row for each energy counter.
pub(crate) fn energy(case: &Case) -> Vec<EnergyRow> {
    energy::of(case)
}

/// The figures that follow from the counters of each phase, then of each op. `line` is the size of a cache line in bytes.
pub(crate) fn counters(case: &Case, line: Option<u64>) -> [Vec<BTreeMap<String, f64>>; 2] {
    [counters::of_phases(case, line), counters::of_ops(case, line)]
}

#[cfg(test)]
mod tests {
    use record::{CacheCeiling, CacheCeilings, Case, Ceilings, OpRow, PhaseOrOther, RunFile, Spread, ThreadCeilings};

    pub(super) fn spread(median: f64) -> Spread {
        Spread { median, low: median, high: median, n: 1 }
    }

    /// 10 GB/s from memory, three levels of cache, 100 GFLOP/s in f32 and 400 in integers, for 2 threads; half of it for 1.
    pub(super) fn ceilings() -> Ceilings {
        let cache = |level, size_bytes, read| CacheCeiling { level, size_bytes, read: spread(read) };
        let of = |threads: usize| {
            let part = threads as f64 / 2.0;
            let caches = vec![
                cache(1, 32 << 10, 200e9 * part),
                cache(2, 1 << 20, 100e9 * part),
                cache(3, 32 << 20, 40e9 * part),
            ];
            ThreadCeilings {
                threads,
                memory_read: spread(10e9 * part).into(),
                caches: CacheCeilings::measured(caches, "not measured"),
                fma_f32: spread(100e9 * part).into(),
                dot_i8: spread(400e9 * part).into(),
                dispatch_s: spread(1e-6).into(),
                ..ThreadCeilings::absent("not measured")
            }
        };
        Ceilings {
            threads: vec![of(1), of(2)],
            page_fault_s: spread(0.5e-6).into(),
            ..Ceilings::absent("not measured")
        }
    }

    /// A run of one case on this machine.
    pub(super) fn file(case: Case) -> RunFile {
        RunFile { ceilings: ceilings().into(), cases: vec![case], ..RunFile::default() }
    }

    /// A row with operations, streamed bytes and activation bytes.
    pub(super) fn row(
        phase: &str,
        op: &str,
        count: usize,
        time_s: f64,
        [flops, streamed, activations]: [f64; 3],
    ) -> OpRow {
        OpRow {
            phase: PhaseOrOther::from_name(phase),
            op: op.to_owned(),
            count,
            time_s,
            flops: flops.into(),
            bytes: (streamed + activations).into(),
            streamed_bytes: streamed.into(),
            ..OpRow::absent("not computed")
        }
    }
}
