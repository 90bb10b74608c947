//! Where the time of a phase went, against what the machine could do: every op on the roofline, every phase as the sum of its
//! parts, every byte of resident memory under a name.
//!
//! All of it follows from the run file: from what the traced pass measured, what the cost model counted, and the measured
//! ceilings. Nothing is measured here, and doing it twice changes nothing.

mod derived;
mod energy;
mod limits;
mod memory;
mod roofline;
mod sums;

pub use limits::{BytesPerSecond, Cache, FlopsPerSecond, Limits, MemorySource, Seconds, limits};

use record::RunFile;

/// Places every op of every case on the roofline of its thread count, sums its phases and reconciles its memory.
pub fn place(file: &mut RunFile) {
    let line = file.environment.processor.cache_line_bytes;
    let limits: Vec<Option<Limits>> = file.cases.iter().map(|case| limits(file, case)).collect();
    for (case, limits) in file.cases.iter_mut().zip(&limits) {
        roofline::place(&mut case.ops, limits.as_ref());
        case.sums = sums::of(case);
        memory::reconcile(case);
        case.energy = energy::of(case);
        derived::place(case, line);
    }
    memory::find_leaks(&mut file.cases);
}

#[cfg(test)]
mod tests {
    use record::{CacheCeiling, Case, Ceilings, OpRow, RunFile, Spread, ThreadCeilings};

    pub(super) fn spread(median: f64) -> Spread {
        Spread { median, low: median, high: median, n: 1 }
    }

    /// 10 GB/s from memory, three levels of cache, 100 GFLOP/s in f32 and 400 in integers, for 2 threads; half of it for 1.
    pub(super) fn ceilings() -> Ceilings {
        let cache = |level, size_bytes, read| CacheCeiling { level, size_bytes, read: spread(read) };
        let of = |threads: usize| {
            let part = threads as f64 / 2.0;
            ThreadCeilings {
                threads,
                memory_read: Some(spread(10e9 * part)),
                caches: vec![
                    cache(1, 32 << 10, 200e9 * part),
                    cache(2, 1 << 20, 100e9 * part),
                    cache(3, 32 << 20, 40e9 * part),
                ],
                fma_f32: Some(spread(100e9 * part)),
                dot_i8: Some(spread(400e9 * part)),
                dispatch_s: Some(spread(1e-6)),
                ..ThreadCeilings::default()
            }
        };
        Ceilings { threads: vec![of(1), of(2)], page_fault_s: Some(spread(0.5e-6)), ..Ceilings::default() }
    }

    /// A run of one case on this machine.
    pub(super) fn file(case: Case) -> RunFile {
        RunFile { ceilings: Some(ceilings()), cases: vec![case], ..RunFile::default() }
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
            phase: phase.to_owned(),
            op: op.to_owned(),
            count,
            time_s,
            flops: Some(flops),
            bytes: Some(streamed + activations),
            streamed_bytes: Some(streamed),
            ..OpRow::default()
        }
    }
}
