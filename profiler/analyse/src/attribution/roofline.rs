//! Ops on the roofline: the least time that the ceilings allow, and which of them is the nearest one.
//!
//! ```text
//! t_memory   = streamed bytes / R            R = the memory's bandwidth, or that of the last cache where a whole pass fits into it
//! t_cache    = activation bytes / C          C = bandwidth of the smallest cache that holds the activations of one call,
//!                                            of the memory where none does
//! t_compute  = operations / P                P = 8-bit dot products for products with quantised weights, f32 for everything else
//! attainable = max(t_memory, t_cache, t_compute)        t_memory + t_cache for the first two where one level serves both
//! roofline   = attainable / measured time
//! ```
//! Streamed bytes are weights and KV cache: each pass reads them from the beginning to the end, so a smaller cache contains none of
//! them for the next pass. After Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009; a level of
//! memory for each kind of traffic after Ilic, Pratas and Sousa, "Cache-aware Roofline model", IEEE CAL 13(1), 2014.

use models::DType;
use models::cost::OpKind;

use super::ceilings::{BytesPerSecond, CacheLevel, CaseCeilings};
use record::{Action, Attainable, OpFindings, OpRow, PhaseOrOther, Reason, Roof, Roofline};

/// A ratio above this is not rounding and needs an explanation.
const IMPOSSIBLE: f64 = 1.05;

/// Where the weights and the KV cache of a pass come from.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stream {
    rate: BytesPerSecond,
    /// [`Roof::Memory`] or [`Roof::Cache`].
    roof: Roof,
}

/// The ops of a case on the roofline, one entry for each row.
pub(super) fn of(rows: &[OpRow], ceilings: &Result<CaseCeilings, Reason>) -> Vec<OpFindings> {
    let of_row = |row: &OpRow| match Cost::of(row) {
        None => {
            let reason = row.flops.stated_reason().map_or("its cost is not known", Reason::as_str);
            OpFindings::absent(&Reason::new(reason))
        }
        Some(cost) => {
            let attainable = ceilings.as_ref().map_err(Reason::clone).and_then(|ceilings| {
                let stream = stream(ceilings, streamed_per_pass(rows, &row.phase));
                attainable(row, &cost, ceilings, stream).ok_or_else(not_measured)
            });
            let roofline = attainable.clone().and_then(|attainable| roofline(row, attainable));
            OpFindings { intensity: cost.intensity(), attainable, roofline }
        }
    };
    rows.iter().map(of_row).collect()
}

/// The reason of an op without an attainable time.
fn not_measured() -> Reason {
    Reason::new(format!("a ceiling that it needs was not measured: see {}", Action::MeasureMachine))
}

/// What the cost model says about a row.
struct Cost {
    flops: f64,
    streamed: f64,
    activations: f64,
}

impl Cost {
    fn of(row: &OpRow) -> Option<Self> {
        let streamed = row.streamed_bytes.value()?;
        let activations = (row.bytes.value()? - streamed).max(0.0);
        Some(Self { flops: row.flops.value()?, streamed, activations })
    }

    /// `flops / bytes`.
    fn intensity(&self) -> Result<f64, Reason> {
        let bytes = self.streamed + self.activations;
        if bytes > 0.0 { Ok(self.flops / bytes) } else { Err(Reason::new("it moves no bytes")) }
    }
}

/// `attainable / measured`, with an explanation where it is above 1.
fn roofline(row: &OpRow, attainable: Attainable) -> Result<Roofline, Reason> {
    if row.time_s <= 0.0 {
        return Err(Reason::new("it took no time"));
    }
    let ratio = attainable.seconds / row.time_s;
    let cause = match attainable.roof {
        Roof::Compute => {
            "it computes in a way whose peak was not measured, or the peak was measured while other programs ran"
        }
        Roof::Memory | Roof::Cache => {
            "a part of its bytes came from a nearer cache than the model assumes, or the ceiling was measured while other programs ran"
        }
    };
    let note = (ratio > IMPOSSIBLE)
        .then(|| Reason::new(format!("it is above 100 %, faster than the ceilings allow; {cause}")));
    Ok(Roofline { ratio, note })
}

/// The least time, and the ceiling that sets it; `None` where a ceiling that it needs is not known.
fn attainable(row: &OpRow, cost: &Cost, ceilings: &CaseCeilings, stream: Option<Stream>) -> Option<Attainable> {
    let memory = ceilings.memory.map(|(rate, _)| Stream { rate, roof: Roof::Memory });
    let near = ceilings.holding(cost.activations / row.count.max(1) as f64);
    let near = near.map(|cache| Stream { rate: cache.read, roof: Roof::Cache }).or(memory);
    let read = |bytes: f64, from: Option<Stream>| match from {
        _ if bytes <= 0.0 => Some(Attainable { seconds: 0.0, roof: Roof::Cache }),
        from => from.map(|from| Attainable { seconds: from.rate.time(bytes), roof: from.roof }),
    };
    let peak = if is_integer_product(row) { ceilings.i8.or(ceilings.f32) } else { ceilings.f32 };
    let compute_s = if cost.flops > 0.0 { peak?.time(cost.flops) } else { 0.0 };
    let compute = Attainable { seconds: compute_s, roof: Roof::Compute };
    let (streamed, activations) = (read(cost.streamed, stream)?, read(cost.activations, near)?);
    let times = if stream == near {
        [Attainable { seconds: streamed.seconds + activations.seconds, ..streamed }, compute, compute]
    } else {
        [streamed, activations, compute]
    };
    times.into_iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds))
}

/// Where weights and cache come from when a pass streams so many bytes.
fn stream(ceilings: &CaseCeilings, per_pass: Option<f64>) -> Option<Stream> {
    let last: Option<&CacheLevel> = ceilings.caches.last();
    let fits = |cache: &&CacheLevel| per_pass.is_some_and(|bytes| bytes <= cache.size as f64);
    match last.filter(fits) {
        Some(cache) => Some(Stream { rate: cache.read, roof: Roof::Cache }),
        None => ceilings.memory.map(|(rate, _)| Stream { rate, roof: Roof::Memory }),
    }
}

/// Bytes of weights and KV cache that one pass of a phase streams; a pass looks up its tokens once. `None` where that is not known.
fn streamed_per_pass(rows: &[OpRow], phase: &PhaseOrOther) -> Option<f64> {
    let of_phase = || rows.iter().filter(|row| row.phase == *phase);
    let passes = of_phase().find(|row| row.op == OpKind::Embed.name())?.count;
    let bytes = of_phase().map(|row| row.streamed_bytes.value()).sum::<Option<f64>>()?;
    (passes > 0).then(|| bytes / passes as f64)
}

/// Whether it multiplies with quantised weights: engines quantise the activations and multiply integers.
fn is_integer_product(row: &OpRow) -> bool {
    let Some(dtypes) = row.dtype.as_ref() else { return false };
    let is_matmul = OpKind::from_name(&row.op).is_some_and(OpKind::is_matmul);
    is_matmul && dtypes.split('+').all(|name| DType::from_name(name).is_some_and(DType::is_quantised))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{file, row};
    use super::*;
    use crate::attribution::case_ceilings;
    use record::{Case, Recorded, RecordedList};

    fn placed(rows: Vec<OpRow>) -> Vec<OpFindings> {
        let file = file(Case { threads: 2, ops: RecordedList::new(rows, "unused"), ..Case::default() });
        of(&file.cases[0].ops, &case_ceilings(&file, &file.cases[0]))
    }

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= 1e-9 * expected
    }

    fn seconds(op: &OpFindings) -> f64 {
        op.attainable_s().unwrap()
    }

    /// 10 GB/s, caches of 32 KiB at 200 GB/s, 1 MiB at 100 and 32 MiB at 40, 100 GFLOP/s in f32, 400 in integers.
    #[test]
    fn each_ceiling_in_turn_is_the_nearest() {
        let rows = placed(vec![
            // A pass of a model that no cache holds: 100 MB.
            OpRow { dtype: "q4_0".to_owned().into(), ..row("decode", "lm_head", 1, 0.02, [1e6, 100e6, 1e3]) },
            row("decode", "embed", 1, 1e-6, [0.0, 300.0, 2e3]),
            // Activations of 64 KB a call: the second level.
            row("decode", "silu_mul", 10, 1e-4, [1e3, 0.0, 640e3]),
            OpRow { dtype: "q4_0".to_owned().into(), ..row("decode", "up_proj", 1, 0.1, [4e9, 1e6, 1e3]) },
            OpRow { dtype: "f16".to_owned().into(), ..row("decode", "down_proj", 1, 0.1, [4e9, 1e6, 1e3]) },
            row("decode", "attention", 1, 0.1, [4e9, 1e6, 1e3]),
        ]);
        let roofs: Vec<Roof> = rows.iter().map(|op| op.roof().unwrap()).collect();
        assert_eq!(roofs, [Roof::Memory, Roof::Memory, Roof::Cache, Roof::Compute, Roof::Compute, Roof::Compute]);
        assert!(close(seconds(&rows[0]), 0.01) && close(rows[0].roofline.as_ref().unwrap().ratio, 0.5));
        assert!(close(*rows[0].intensity.as_ref().unwrap(), 1e6 / 100_001_000.0));
        assert!(close(seconds(&rows[2]), 6.4e-6), "not 3.2e-6, the first level, nor 64e-6, the memory");
        assert!(close(seconds(&rows[3]), 0.01), "integers");
        assert!(close(seconds(&rows[4]), 0.04) && close(seconds(&rows[5]), 0.04), "f32");
    }

    #[test]
    fn a_model_that_the_last_cache_holds_streams_from_there() {
        let rows = placed(vec![
            row("decode", "embed", 4, 1e-3, [0.0, 1e3, 1e3]),
            // 20 MB a pass, four passes.
            row("decode", "q_proj", 8, 4e-3, [1e6, 80e6, 1e3]),
        ]);
        assert_eq!(rows[1].roof(), Some(Roof::Cache));
        assert!(close(seconds(&rows[1]), 2e-3));
    }

    #[test]
    fn weights_and_activations_from_one_level_take_turns() {
        // 10 MB of weights and 400 MB of activations per call, which do not fit into a cache.
        let rows = placed(vec![
            row("prefill", "embed", 1, 1e-3, [0.0, 90e6, 1e3]),
            row("prefill", "q_proj", 1, 0.1, [1e6, 10e6, 400e6]),
        ]);
        assert!(close(seconds(&rows[1]), 0.041), "{rows:?}");
        assert_eq!(rows[1].roof(), Some(Roof::Memory));
    }

    #[test]
    fn an_absent_figure_has_its_reason() {
        let mut unknown = row("other", "q_proj", 1, 1.0, [0.0; 3]);
        let absent = || Recorded::absent("no model");
        (unknown.flops, unknown.bytes, unknown.streamed_bytes) = (absent(), absent(), absent());
        let rows = [unknown, row("decode", "q_proj", 1, 1.0, [1.0, 1.0, 1.0])];
        let found = of(&rows, &Err(Reason::new("no ceilings")));
        assert_eq!(found[0], OpFindings::absent(&Reason::new("no model")));
        assert_eq!(found[1].attainable, Err(Reason::new("no ceilings")));
        assert_eq!(found[1].roofline, Err(Reason::new("no ceilings")));
        assert!(found[1].intensity.is_ok(), "it needs no ceiling");
    }

    #[test]
    fn a_ratio_above_one_is_kept_and_explained() {
        let rows = placed(vec![row("decode", "q_proj", 1, 1e-3, [0.0, 100e6, 1e3])]);
        let roofline = rows[0].roofline.as_ref().unwrap();
        assert!(close(roofline.ratio, 10.0));
        assert!(roofline.note.as_ref().unwrap().as_str().contains("faster than the ceilings"));
    }

    proptest! {
        /// More work never takes less time, and no attainable time is below that of a single ceiling.
        #[test]
        fn more_work_takes_no_less_time(flops in 0.0..1e12f64, streamed in 0.0..1e9f64, activations in 0.0..1e9f64, factor in 1.0..10.0f64) {
            let of = |factor: f64| {
                let work = [flops * factor, streamed * factor, activations * factor];
                seconds(&placed(vec![row("decode", "attention", 1, 1.0, work)])[0])
            };
            prop_assert!(of(factor) >= of(1.0) * (1.0 - 1e-12));
            prop_assert!(of(1.0) >= flops / 100e9 * (1.0 - 1e-12));
            prop_assert!(of(1.0) >= (streamed + activations) / 200e9 / 2.0 * (1.0 - 1e-12));
        }
    }
}
