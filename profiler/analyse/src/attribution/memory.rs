//! Resident memory as the sum of its parts, its growth per token, and what repeated requests leave behind.
//!
//! ```text
//! unaccounted = resident after the first request - resident before loading
//!               - weights that are resident (file-backed + anonymous) - code - KV cache that is resident - tokenizer
//!               - held by a request
//! ```
//! Reserved pages that nobody has touched are not resident, so the cache counts with what is used of it, unless an engine touches
//! all of it while loading: then the first request makes less resident than half of what it uses.

use record::{Case, MemoryFile, Reasons, Sample};
use statistics::mean_interval;

/// Requests that a leak is looked for in, at least.
const REQUESTS: usize = 4;

/// Fills in what follows from a case's own figures.
pub(super) fn reconcile(case: &mut Case) {
    let fresh = case.samples.iter().find(|sample| sample.fresh);
    let memory = &mut case.memory;
    let absent = |memory: &MemoryFile, from: &[&str]| {
        let reason = from.iter().find_map(|field| memory.reasons.get(*field));
        reason.cloned().unwrap_or_else(|| "a part of it was not measured".to_owned())
    };
    memory.kv_resident_bytes = kv_resident(memory);
    let reason = absent(memory, &["kv_used_bytes", "after_first_bytes", "after_load_bytes"]);
    tell(&mut memory.reasons, "kv_resident_bytes", memory.kv_resident_bytes.is_none().then_some(reason));
    memory.unaccounted_bytes = unaccounted(memory);
    let reason = absent(memory, &["after_first_bytes", "before_load_bytes", "weights_file_backed_bytes"]);
    tell(&mut memory.reasons, "unaccounted_bytes", memory.unaccounted_bytes.is_none().then_some(reason));
    memory.growth_bytes_per_token = fresh.and_then(|fresh| growth(memory, fresh));
    let reason = absent(memory, &["first_delta_bytes"]);
    tell(&mut memory.reasons, "growth_bytes_per_token", memory.growth_bytes_per_token.is_none().then_some(reason));
}

fn kv_resident(memory: &MemoryFile) -> Option<u64> {
    let (used, reserved) = (memory.kv_used_bytes?, memory.kv_reserved_bytes?);
    let grown = i128::from(memory.after_first_bytes?) - i128::from(memory.after_load_bytes?);
    Some(if 2 * grown >= i128::from(used) { used } else { reserved.max(used) })
}

/// Without the figure of the code, of a tokenizer or of what a request holds these are part of it.
fn unaccounted(memory: &MemoryFile) -> Option<i64> {
    let known = i128::from(memory.before_load_bytes?)
        + i128::from(memory.weights_file_backed_bytes?)
        + i128::from(memory.weights_anonymous_bytes?)
        + i128::from(memory.kv_resident_bytes?)
        + i128::from(memory.code_bytes.unwrap_or(0))
        + i128::from(memory.tokenizer_bytes.unwrap_or(0))
        + i128::from(memory.held_bytes.unwrap_or(0));
    i64::try_from(i128::from(memory.after_first_bytes?) - known).ok()
}

/// `(resident after the first request - before it) / (prompt tokens + output tokens)`, in bytes.
fn growth(memory: &MemoryFile, fresh: &Sample) -> Option<f64> {
    let tokens = fresh.prompt_tokens? + fresh.output_tokens?;
    (tokens > 0).then_some(memory.first_delta_bytes? as f64 / tokens as f64)
}

/// Growth of a worker's resident memory per request: the mean of what each clean request added, over all cases of an engine, model
/// and thread count, since one process serves them. The level itself says nothing: between clean requests the instruments of the
/// other passes take memory and give it back. The first clean request of a case in each session is left out: buffers grow in it.
pub(super) fn find_leaks(cases: &mut [Case]) {
    let groups: Vec<(String, String, usize)> =
        cases.iter().map(|case| (case.engine.clone(), case.model.clone(), case.threads)).collect();
    for group in &groups {
        let own = |case: &Case| (&case.engine, &case.model, case.threads) == (&group.0, &group.1, group.2);
        let growths = growths(cases.iter().filter(|case| own(case)));
        let leak = if growths.len() >= REQUESTS { mean_interval(&growths) } else { None };
        let reason =
            format!("{} clean requests of settled sessions count, {REQUESTS} are needed: raise -r", growths.len());
        for case in cases.iter_mut().filter(|case| own(case)) {
            case.memory.leak_bytes_per_request = leak;
            tell(&mut case.memory.reasons, "leak_bytes_per_request", leak.is_none().then(|| reason.clone()));
        }
    }
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
            // A session begins: each case settles anew.
            seen.clear();
        } else if seen.contains(&sample.case.as_str()) && sample.counts() {
            settled.extend(sample.memory_delta_bytes.map(|delta| delta as f64));
        } else {
            seen.push(&sample.case);
        }
    }
    settled
}

fn tell(reasons: &mut Reasons, field: &str, reason: Option<String>) {
    match reason {
        Some(reason) => reasons.insert(field.to_owned(), reason),
        None => reasons.remove(field),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 MB before, 100 MB of weights mapped, 20 MB of tokenizer, a cache of 8 MB of which 2 MB are used.
    fn memory() -> MemoryFile {
        MemoryFile {
            before_load_bytes: Some(10_000_000),
            after_load_bytes: Some(133_000_000),
            weights_file_backed_bytes: Some(100_000_000),
            weights_anonymous_bytes: Some(0),
            code_bytes: Some(1_000_000),
            kv_used_bytes: Some(2_000_000),
            kv_reserved_bytes: Some(8_000_000),
            tokenizer_bytes: Some(20_000_000),
            held_bytes: Some(0),
            after_first_bytes: Some(136_000_000),
            first_delta_bytes: Some(3_000_000),
            ..MemoryFile::default()
        }
    }

    fn reconciled(memory: MemoryFile) -> MemoryFile {
        let fresh = Sample { fresh: true, prompt_tokens: Some(40), output_tokens: Some(60), ..Sample::default() };
        let mut case = Case { memory, samples: vec![fresh], ..Case::default() };
        reconcile(&mut case);
        let once = case.clone();
        reconcile(&mut case);
        assert_eq!(once, case, "doing it twice changes nothing");
        case.memory
    }

    #[test]
    fn the_parts_make_the_whole() {
        let memory = reconciled(memory());
        assert_eq!((memory.kv_resident_bytes, memory.unaccounted_bytes), (Some(2_000_000), Some(3_000_000)));
        assert!((memory.growth_bytes_per_token.unwrap() - 30_000.0).abs() < 1e-9);
        assert!(memory.reasons.is_empty(), "{:?}", memory.reasons);
    }

    #[test]
    fn a_cache_that_was_touched_while_loading_counts_whole() {
        let memory = reconciled(MemoryFile { after_first_bytes: Some(133_500_000), ..memory() });
        assert_eq!((memory.kv_resident_bytes, memory.unaccounted_bytes), (Some(8_000_000), Some(-5_500_000)));
    }

    #[test]
    fn what_lacks_a_part_says_which() {
        let mut lacking = MemoryFile { after_first_bytes: None, first_delta_bytes: None, ..memory() };
        lacking.reasons.insert("after_first_bytes".to_owned(), "virtual".to_owned());
        let found = reconciled(lacking);
        assert_eq!(
            (found.kv_resident_bytes, found.unaccounted_bytes, found.growth_bytes_per_token),
            (None, None, None)
        );
        assert_eq!(
            (found.reasons["unaccounted_bytes"].as_str(), found.reasons["kv_resident_bytes"].as_str()),
            ("virtual", "virtual")
        );
        let found = reconciled(MemoryFile { tokenizer_bytes: None, ..memory() });
        assert_eq!(found.unaccounted_bytes, Some(23_000_000), "what is not known is not accounted for");
    }

    /// A clean request at second `at` that adds so many bytes.
    fn request(case: &str, at: usize, delta: i64) -> Sample {
        Sample {
            case: case.to_owned(),
            started: format!("2026-01-01T00:00:{at:02}.000Z"),
            memory_delta_bytes: Some(delta),
            ..Sample::default()
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
        let mut cases = worker(&[100_000, 100_000, 4096, 8192, 4096, 8192, 4096, 8192]);
        find_leaks(&mut cases);
        for case in &cases {
            let found = case.memory.leak_bytes_per_request.unwrap();
            assert!((found.value - 6144.0).abs() < 1e-6 && found.low > 0.0 && found.n == 6, "{found:?}");
            assert!(case.memory.reasons.is_empty());
        }
        let mut cases = worker(&[100_000, 100_000, 0, 0, 0, 20_480, 0, 0]);
        find_leaks(&mut cases);
        let found = cases[1].memory.leak_bytes_per_request.unwrap();
        assert!(found.low <= 0.0 && found.high > 0.0, "what grows once is no leak: {found:?}");
    }

    #[test]
    fn what_instruments_take_and_give_back_is_no_leak() {
        let mut cases = worker(&[0; 8]);
        // Beside each clean request a traced one that leaves freed heap behind.
        let traced = |at| Sample { pass: record::Pass::Traced, ..request("a", at, 25_000_000) };
        cases[0].traced = (1..8).map(traced).collect();
        find_leaks(&mut cases);
        let found = cases[0].memory.leak_bytes_per_request.unwrap();
        assert!(found.low.abs() < 1e-9 && found.high.abs() < 1e-9 && found.n == 6, "{found:?}");
    }

    #[test]
    fn another_worker_and_another_session_are_counted_apart() {
        let mut cases = worker(&[100_000, 100_000, 4096, 4096, 100_000, 100_000, 4096]);
        cases.push(Case { id: "c".to_owned(), threads: 1, ..Case::default() });
        // A new session: each case settles anew, and three requests are left.
        cases[1].samples.push(Sample { warmup: true, ..request("b", 4, 5) });
        find_leaks(&mut cases);
        for (case, left) in cases.iter().zip(["3 clean", "3 clean", "0 clean"]) {
            assert_eq!(case.memory.leak_bytes_per_request, None);
            assert!(case.memory.reasons["leak_bytes_per_request"].starts_with(left), "{:?}", case.memory.reasons);
        }
    }
}
