//! Resident memory as the sum of its parts, its growth per token, and its growth over repeated requests.
//!
//! ```text
//! unaccounted = resident after the first request - resident before loading
//!               - weights that are resident (file-backed + anonymous) - copies of weights - code - KV cache that is resident
//!               - recurrent states - tokenizer - held by a request
//! ```
//! Reserved pages that were never touched are not resident, so the used part of the cache counts, unless an engine touches all of it
//! while loading: then the first request makes less memory resident than half of what it uses.

use std::collections::BTreeMap;

use record::{Case, MemoryFile, MemoryFindings, Reason, Recorded, Sample, Setting, Slope};
use statistics::mean_interval;

/// The least number of requests that show a leak.
const REQUESTS: usize = 4;

/// The memory of a case, reconciled. `leak` is that of its worker ([`leaks`]).
pub(super) fn reconcile(case: &Case, leak: Result<Slope, Reason>) -> MemoryFindings {
    let memory = &case.memory;
    let absent = |parts: &[Option<&Reason>]| {
        let reason = parts.iter().copied().flatten().next().cloned();
        reason.unwrap_or_else(|| Reason::new("a part of it was not measured"))
    };
    let fresh = case.samples.iter().find(|sample| sample.fresh);
    let kv_resident = kv_resident(memory);
    let unaccounted = kv_resident.and_then(|kv_resident| unaccounted(memory, kv_resident));
    let (after_first, after_load) = (memory.after_first_bytes.stated_reason(), memory.after_load_bytes.stated_reason());
    MemoryFindings {
        kv_resident_bytes: kv_resident
            .ok_or_else(|| absent(&[memory.kv_used_bytes.stated_reason(), after_first, after_load])),
        unaccounted_bytes: unaccounted.ok_or_else(|| {
            let parts = [&memory.before_load_bytes, &memory.weights_file_backed_bytes].map(Recorded::stated_reason);
            absent(&[after_first, parts[0], parts[1]])
        }),
        growth_bytes_per_token: match fresh.and_then(|fresh| growth(memory, fresh)) {
            None => Err(absent(&[memory.first_delta_bytes.stated_reason()])),
            Some(growth) if growth < 0.0 => Err(Reason::new(SHRUNK)),
            Some(growth) => Ok(growth),
        },
        leak_bytes_per_request: leak,
    }
}

fn kv_resident(memory: &MemoryFile) -> Option<u64> {
    let (used, reserved) = (memory.kv_used_bytes.value()?, memory.kv_reserved_bytes.value()?);
    let grown = i128::from(memory.after_first_bytes.value()?) - i128::from(memory.after_load_bytes.value()?);
    Some(if 2 * grown >= i128::from(used) { used } else { reserved.max(used) })
}

/// Code, tokenizer, copies, states and what a request holds are part of it where they are not known.
fn unaccounted(memory: &MemoryFile, kv_resident: u64) -> Option<i64> {
    let known = i128::from(memory.before_load_bytes.value()?)
        + i128::from(memory.weights_file_backed_bytes.value()?)
        + i128::from(memory.weights_anonymous_bytes.value()?)
        + i128::from(kv_resident)
        + i128::from(memory.copied_bytes.unwrap_or(0))
        + i128::from(memory.state_bytes.unwrap_or(0))
        + i128::from(memory.code_bytes.value().unwrap_or(0))
        + i128::from(memory.tokenizer_bytes.value().unwrap_or(0))
        + i128::from(memory.held_bytes.value().unwrap_or(0));
    i64::try_from(i128::from(memory.after_first_bytes.value()?) - known).ok()
}

/// Why there is no growth per token where memory fell.
const SHRUNK: &str =
    "resident memory fell in it: the system took pages back, such as those of the model's file where memory is short";

/// `(resident after the first request - before it) / (prompt tokens + output tokens)`, in bytes.
fn growth(memory: &MemoryFile, fresh: &Sample) -> Option<f64> {
    let tokens = fresh.prompt_tokens.value()? + fresh.output_tokens.value()?;
    (tokens > 0).then_some(memory.first_delta_bytes.value()? as f64 / tokens as f64)
}

/// Growth of resident memory per request, for each case: the mean of what each clean request added, over all cases of an engine,
/// model and thread count, because one process serves them. The level itself is no measure: between clean requests the instruments
/// of the other passes take memory and return it. The first clean request of a case in each session is left out: buffers grow in it.
pub(super) fn leaks(cases: &[Case]) -> Vec<Result<Slope, Reason>> {
    let worker = |case: &Case| (case.engine.clone(), case.model.clone(), case.threads);
    let mut of_workers: BTreeMap<(String, String, usize), Result<Slope, Reason>> = BTreeMap::new();
    let leak = |case: &Case| {
        let of_worker = of_workers.entry(worker(case)).or_insert_with(|| {
            let growths = growths(cases.iter().filter(|other| worker(other) == worker(case)));
            let found = if growths.len() >= REQUESTS { mean_interval(&growths) } else { None };
            found.ok_or_else(|| {
                let n = growths.len();
                Reason::new(format!(
                    "{n} of the {REQUESTS} repeated requests that are needed were measured: use more runs, {}",
                    Setting::Runs
                ))
            })
        });
        of_worker.clone()
    };
    cases.iter().map(leak).collect()
}

/// Resident memory after less before, in bytes, of each clean request that counts, in the order of time.
fn growths<'a>(cases: impl Iterator<Item = &'a Case>) -> Vec<f64> {
    let mut requests: Vec<&Sample> = cases.flat_map(|case| &case.samples).collect();
    // One time zone and one width: text in the order of time.
    requests.sort_by(|a, b| a.started.cmp(&b.started));
    let mut seen: Vec<&str> = Vec::new();
    let mut settled = Vec::new();
    for sample in requests {
        if sample.warmup {
            // A session begins: each case has to settle again.
            seen.clear();
        } else if seen.contains(&sample.case.as_str()) && sample.counts() {
            settled.extend(sample.memory_delta_bytes.value().map(|delta| delta as f64));
        } else {
            seen.push(&sample.case);
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 MB before, 100 MB of weights mapped, 20 MB of tokenizer, a cache of 8 MB of which 2 MB are used.
    fn memory() -> MemoryFile {
        MemoryFile {
            before_load_bytes: 10_000_000.into(),
            after_load_bytes: 133_000_000.into(),
            weights_file_backed_bytes: 100_000_000.into(),
            weights_anonymous_bytes: 0.into(),
            code_bytes: 1_000_000.into(),
            kv_used_bytes: 2_000_000.into(),
            kv_reserved_bytes: 8_000_000.into(),
            tokenizer_bytes: 20_000_000.into(),
            held_bytes: 0.into(),
            after_first_bytes: 136_000_000.into(),
            first_delta_bytes: 3_000_000.into(),
            ..MemoryFile::absent("not measured")
        }
    }

    fn reconciled(memory: MemoryFile) -> MemoryFindings {
        let fresh = Sample {
            fresh: true,
            prompt_tokens: 40.into(),
            output_tokens: 60.into(),
            ..Sample::absent("not measured")
        };
        reconcile(&Case { memory, samples: vec![fresh], ..Case::default() }, Err(Reason::new("not looked for")))
    }

    #[test]
    fn the_parts_add_up_to_the_whole() {
        let found = reconciled(memory());
        assert_eq!((found.kv_resident_bytes, found.unaccounted_bytes), (Ok(2_000_000), Ok(3_000_000)));
        assert!((found.growth_bytes_per_token.unwrap() - 30_000.0).abs() < 1e-9);
    }

    #[test]
    fn a_cache_that_was_touched_while_loading_counts_whole() {
        let found = reconciled(MemoryFile { after_first_bytes: 133_500_000.into(), ..memory() });
        assert_eq!((found.kv_resident_bytes, found.unaccounted_bytes), (Ok(8_000_000), Ok(-5_500_000)));
    }

    #[test]
    fn the_reason_of_a_missing_part_is_that_of_the_figure() {
        let found = reconciled(MemoryFile {
            after_first_bytes: Recorded::absent("virtual"),
            first_delta_bytes: Recorded::absent("not fresh"),
            ..memory()
        });
        assert_eq!(found.kv_resident_bytes, Err(Reason::new("virtual")));
        assert_eq!(found.unaccounted_bytes, Err(Reason::new("virtual")));
        assert_eq!(found.growth_bytes_per_token, Err(Reason::new("not fresh")));
        let found = reconciled(MemoryFile { tokenizer_bytes: Recorded::absent("not measured"), ..memory() });
        assert_eq!(found.unaccounted_bytes, Ok(23_000_000), "an unknown tokenizer is part of it");
    }

    #[test]
    fn memory_that_the_system_takes_back_is_no_growth() {
        let found = reconciled(MemoryFile { first_delta_bytes: (-800_000_000).into(), ..memory() });
        assert_eq!(found.growth_bytes_per_token, Err(Reason::new(SHRUNK)));
    }

    /// A clean request at second `at` that adds so many bytes.
    fn request(case: &str, at: usize, delta: i64) -> Sample {
        Sample {
            case: case.to_owned(),
            started: format!("2026-01-01T00:00:{at:02}.000Z"),
            memory_delta_bytes: delta.into(),
            ..Sample::absent("not measured")
        }
    }

    /// Two prompts of one worker, in turn; each request adds what `deltas` say.
    fn worker(deltas: &[i64]) -> Vec<Case> {
        let mut cases = ["a", "b"].map(|id| Case { id: id.to_owned(), threads: 2, ..Case::default() });
        cases[0].samples.push(Sample { warmup: true, ..request("a", 0, 9_000_000) });
        for (at, &delta) in deltas.iter().enumerate() {
            let case = &mut cases[at % 2];
            let id = case.id.clone();
            case.samples.push(request(&id, at + 1, delta));
        }
        cases.into()
    }

    #[test]
    fn a_leak_is_what_clean_requests_add_on_average() {
        let cases = worker(&[100_000, 100_000, 4096, 8192, 4096, 8192, 4096, 8192]);
        for found in leaks(&cases) {
            let found = found.unwrap();
            assert!((found.value - 6144.0).abs() < 1e-6 && found.low > 0.0 && found.n == 6, "{found:?}");
        }
        let cases = worker(&[100_000, 100_000, 0, 0, 0, 20_480, 0, 0]);
        let found = leaks(&cases).remove(1).unwrap();
        assert!(found.low <= 0.0 && found.high > 0.0, "a single growth is no leak: {found:?}");
    }

    #[test]
    fn memory_that_instruments_take_and_return_is_no_leak() {
        let mut cases = worker(&[0; 8]);
        // Beside each clean request a traced one that adds freed heap.
        let traced = |at| Sample { pass: record::Pass::Traced, ..request("a", at, 25_000_000) };
        cases[0].traced = (1..8).map(traced).collect();
        let found = leaks(&cases).remove(0).unwrap();
        assert!(found.low.abs() < 1e-9 && found.high.abs() < 1e-9 && found.n == 6, "{found:?}");
    }

    #[test]
    fn workers_and_sessions_are_counted_apart() {
        let mut cases = worker(&[100_000, 100_000, 4096, 4096, 100_000, 100_000, 4096]);
        cases.push(Case { id: "c".to_owned(), threads: 1, ..Case::default() });
        // A new session: each case has to settle again, and three requests are left.
        cases[1].samples.push(Sample { warmup: true, ..request("b", 4, 5) });
        for (leak, left) in leaks(&cases).into_iter().zip(["3 of the 4", "3 of the 4", "0 of the 4"]) {
            let reason = leak.unwrap_err();
            assert!(reason.as_str().starts_with(left), "{reason}");
        }
    }
}
