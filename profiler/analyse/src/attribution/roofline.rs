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
//! Streamed bytes are weights and KV cache: each pass reads them from one end to the other, so that a cache which is smaller
//! keeps none of them for the next pass. After Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009; a level of
//! memory for each kind of traffic after Ilic, Pratas and Sousa, "Cache-aware Roofline model", IEEE CAL 13(1), 2014.

use models::DType;
use models::cost::OpKind;

use super::limits::{BytesPerSecond, Cache, Limits};
use record::{OpRow, Reasons};

/// A roofline above this is no rounding: it needs an explanation.
const IMPOSSIBLE: f64 = 1.05;
/// The fields of a row that are computed here.
const FIELDS: [&str; 4] = ["intensity", "attainable_s", "roofline", "limit"];

/// Where the weights and the KV cache of a pass come from.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stream {
    rate: BytesPerSecond,
    /// `memory` or `cache`.
    name: &'static str,
}

/// Fills in what follows from the ceilings, for all ops of a case.
pub(super) fn place(rows: &mut [OpRow], limits: Option<&Limits>) {
    let streams: Vec<Option<Stream>> =
        rows.iter().map(|row| stream(limits?, streamed_per_pass(rows, &row.phase))).collect();
    for (row, stream) in rows.iter_mut().zip(streams) {
        for field in FIELDS {
            row.reasons.remove(field);
        }
        (row.intensity, row.attainable_s, row.roofline, row.limit) = (None, None, None, None);
        match Cost::of(row) {
            None => {
                let reason = row.reasons.get("flops").cloned().unwrap_or_else(|| "its cost is not known".to_owned());
                absent(&mut row.reasons, &FIELDS, &reason);
            }
            Some(cost) => attain(row, &cost, limits, stream),
        }
    }
}

/// What the cost model says about a row.
struct Cost {
    flops: f64,
    streamed: f64,
    activations: f64,
}

impl Cost {
    fn of(row: &OpRow) -> Option<Self> {
        let streamed = row.streamed_bytes?;
        Some(Self { flops: row.flops?, streamed, activations: (row.bytes? - streamed).max(0.0) })
    }
}

fn attain(row: &mut OpRow, cost: &Cost, limits: Option<&Limits>, stream: Option<Stream>) {
    let bytes = cost.streamed + cost.activations;
    if bytes > 0.0 {
        row.intensity = Some(cost.flops / bytes);
    } else {
        absent(&mut row.reasons, &["intensity"], "it moves no bytes");
    }
    let rest = &FIELDS[1..];
    let Some(limits) = limits else {
        return absent(&mut row.reasons, rest, "the machine's ceilings were not measured");
    };
    let Some((time, limit)) = attainable(row, cost, limits, stream) else {
        return absent(&mut row.reasons, rest, "a ceiling that it needs was not measured: see `inferometer machine`");
    };
    row.attainable_s = Some(time);
    row.limit = Some(limit.to_owned());
    if row.time_s <= 0.0 {
        return absent(&mut row.reasons, &["roofline"], "it took no time");
    }
    let roofline = time / row.time_s;
    row.roofline = Some(roofline);
    if roofline > IMPOSSIBLE {
        let why = match limit {
            "compute" => {
                "it computes in a way whose peak was not measured, or the peak was measured while something else ran"
            }
            _ => {
                "a part of its bytes came from a nearer cache than the model assumes, or the ceiling was measured while something else ran"
            }
        };
        row.reasons.insert("roofline".to_owned(), format!("above 1: faster than the ceilings allow; {why}"));
    }
}

/// The least time in seconds, and the name of the ceiling that sets it; `None` where a ceiling that it needs is not known.
fn attainable(row: &OpRow, cost: &Cost, limits: &Limits, stream: Option<Stream>) -> Option<(f64, &'static str)> {
    let memory = limits.memory.map(|(rate, _)| Stream { rate, name: "memory" });
    let near = limits.holding(cost.activations / row.count.max(1) as f64);
    let near = near.map(|cache| Stream { rate: cache.read, name: "cache" }).or(memory);
    let read = |bytes: f64, from: Option<Stream>| match from {
        _ if bytes <= 0.0 => Some((0.0, "cache")),
        from => from.map(|from| (from.rate.time(bytes), from.name)),
    };
    let peak = if is_integer_product(row) { limits.i8.or(limits.f32) } else { limits.f32 };
    let compute = if cost.flops > 0.0 { (peak?.time(cost.flops), "compute") } else { (0.0, "compute") };
    let (streamed, activations) = (read(cost.streamed, stream)?, read(cost.activations, near)?);
    let times = if stream == near {
        [(streamed.0 + activations.0, streamed.1), compute, compute]
    } else {
        [streamed, activations, compute]
    };
    times.into_iter().max_by(|a, b| a.0.total_cmp(&b.0))
}

/// Where weights and cache come from, when a pass streams so many bytes.
fn stream(limits: &Limits, per_pass: Option<f64>) -> Option<Stream> {
    let last: Option<&Cache> = limits.caches.last();
    let fits = |cache: &&Cache| per_pass.is_some_and(|bytes| bytes <= cache.size as f64);
    match last.filter(fits) {
        Some(cache) => Some(Stream { rate: cache.read, name: "cache" }),
        None => limits.memory.map(|(rate, _)| Stream { rate, name: "memory" }),
    }
}

/// Bytes of weights and KV cache that one pass of a phase streams; a pass looks up its tokens once. `None` where that is not known.
fn streamed_per_pass(rows: &[OpRow], phase: &str) -> Option<f64> {
    let of_phase = || rows.iter().filter(|row| row.phase == phase);
    let passes = of_phase().find(|row| row.op == OpKind::Embed.name())?.count;
    let bytes = of_phase().map(|row| row.streamed_bytes).sum::<Option<f64>>()?;
    (passes > 0).then(|| bytes / passes as f64)
}

/// Whether it multiplies with quantised weights: engines quantise the activations and multiply integers.
fn is_integer_product(row: &OpRow) -> bool {
    let Some(dtypes) = &row.dtype else { return false };
    let is_matmul = OpKind::from_name(&row.op).is_some_and(OpKind::is_matmul);
    is_matmul && dtypes.split('+').all(|name| DType::from_name(name).is_some_and(DType::is_quantised))
}

fn absent(reasons: &mut Reasons, fields: &[&str], reason: &str) {
    for field in fields {
        reasons.insert((*field).to_owned(), reason.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{file, row};
    use super::*;
    use crate::attribution::limits;
    use record::Case;

    fn placed(rows: Vec<OpRow>) -> Vec<OpRow> {
        let file = file(Case { threads: 2, ops: rows, ..Case::default() });
        let mut rows = file.cases[0].ops.clone();
        place(&mut rows, limits(&file, &file.cases[0]).as_ref());
        rows
    }

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() <= 1e-9 * expected)
    }

    /// 10 GB/s, caches of 32 KiB at 200 GB/s, 1 MiB at 100 and 32 MiB at 40, 100 GFLOP/s in f32, 400 in integers.
    #[test]
    fn each_ceiling_in_turn_is_the_nearest() {
        let rows = placed(vec![
            // A pass of a model that no cache holds: 100 MB.
            OpRow { dtype: Some("q4_0".to_owned()), ..row("decode", "lm_head", 1, 0.02, [1e6, 100e6, 1e3]) },
            row("decode", "embed", 1, 1e-6, [0.0, 300.0, 2e3]),
            // Activations of 64 KB a call: the second level.
            row("decode", "silu_mul", 10, 1e-4, [1e3, 0.0, 640e3]),
            OpRow { dtype: Some("q4_0".to_owned()), ..row("decode", "up_proj", 1, 0.1, [4e9, 1e6, 1e3]) },
            OpRow { dtype: Some("f16".to_owned()), ..row("decode", "down_proj", 1, 0.1, [4e9, 1e6, 1e3]) },
            row("decode", "attention", 1, 0.1, [4e9, 1e6, 1e3]),
        ]);
        let told: Vec<_> = rows.iter().map(|row| (row.op.as_str(), row.limit.as_deref().unwrap())).collect();
        assert_eq!(
            told,
            [
                ("lm_head", "memory"),
                ("embed", "memory"),
                ("silu_mul", "cache"),
                ("up_proj", "compute"),
                ("down_proj", "compute"),
                ("attention", "compute")
            ]
        );
        assert!(close(rows[0].attainable_s, 0.01) && close(rows[0].roofline, 0.5));
        assert!(close(rows[0].intensity, 1e6 / 100_001_000.0));
        assert!(close(rows[2].attainable_s, 6.4e-6), "not 3.2e-6, the first level, nor 64e-6, the memory");
        assert!(close(rows[3].attainable_s, 0.01), "integers");
        assert!(close(rows[4].attainable_s, 0.04) && close(rows[5].attainable_s, 0.04), "f32");
    }

    #[test]
    fn a_model_that_the_last_cache_holds_streams_from_there() {
        let rows = placed(vec![
            row("decode", "embed", 4, 1e-3, [0.0, 1e3, 1e3]),
            // 20 MB a pass, four passes.
            row("decode", "q_proj", 8, 4e-3, [1e6, 80e6, 1e3]),
        ]);
        assert_eq!(rows[1].limit.as_deref(), Some("cache"));
        assert!(close(rows[1].attainable_s, 2e-3));
    }

    #[test]
    fn weights_and_activations_from_one_level_take_turns() {
        // 10 MB of weights beside 400 MB of activations a call, which no cache holds.
        let rows = placed(vec![
            row("prefill", "embed", 1, 1e-3, [0.0, 90e6, 1e3]),
            row("prefill", "q_proj", 1, 0.1, [1e6, 10e6, 400e6]),
        ]);
        assert!(close(rows[1].attainable_s, 0.041), "{:?}", rows[1].attainable_s);
        assert_eq!(rows[1].limit.as_deref(), Some("memory"));
    }

    #[test]
    fn what_is_not_known_says_why() {
        let mut unknown = row("other", "q_proj", 1, 1.0, [0.0; 3]);
        (unknown.flops, unknown.bytes, unknown.streamed_bytes) = (None, None, None);
        unknown.reasons.insert("flops".to_owned(), "no model".to_owned());
        let mut rows = vec![unknown, row("decode", "q_proj", 1, 1.0, [1.0, 1.0, 1.0])];
        place(&mut rows, None);
        assert!(FIELDS.iter().all(|field| rows[0].reasons[*field] == "no model"));
        assert!(rows[1].reasons["attainable_s"].contains("ceilings were not measured"));
        assert!(rows[1].intensity.is_some() && !rows[1].reasons.contains_key("intensity"));
        let again = rows.clone();
        place(&mut rows, None);
        assert_eq!(again, rows, "doing it twice changes nothing");
    }

    #[test]
    fn faster_than_possible_is_kept_and_explained() {
        let rows = placed(vec![row("decode", "q_proj", 1, 1e-3, [0.0, 100e6, 1e3])]);
        assert!(close(rows[0].roofline, 10.0));
        assert!(rows[0].reasons["roofline"].contains("faster than the ceilings"));
    }

    proptest! {
        /// More work never takes less time, and no op is bound to beat a single ceiling.
        #[test]
        fn more_work_takes_no_less_time(flops in 0.0..1e12f64, streamed in 0.0..1e9f64, activations in 0.0..1e9f64, factor in 1.0..10.0f64) {
            let of = |factor: f64| {
                let work = [flops * factor, streamed * factor, activations * factor];
                placed(vec![row("decode", "attention", 1, 1.0, work)])[0].attainable_s.unwrap()
            };
            prop_assert!(of(factor) >= of(1.0) * (1.0 - 1e-12));
            prop_assert!(of(1.0) >= flops / 100e9 * (1.0 - 1e-12));
            prop_assert!(of(1.0) >= (streamed + activations) / 200e9 / 2.0 * (1.0 - 1e-12));
        }
    }
}
