//! Estimates beyond what was measured: depth, types, sizes, and the choice of a case to check with.

use engine_api::Advice;
use models::synth::Quant;

use super::tests::{large, medium, run_file, settings, small, spec, subject, width};
use super::*;
use record::{Limit, RunFile};

/// Two cases of almost the same length whose attention took the same time: the cost of a position cannot be fitted.
fn one_length() -> RunFile {
    let mut file = run_file(&[&small()]);
    let mut other = file.cases[0].clone();
    other.id = "candle/small/q/t1/d0".to_owned();
    for sample in other.samples.iter_mut().chain(&mut other.traced) {
        sample.prompt_tokens = 131.into();
    }
    file.cases.push(other);
    file
}

#[test]
fn a_longer_context_than_measured_has_a_cost() {
    let runs = one_length();
    let at = |depth| predict(&small(), &Settings { depth, ..settings(1) }, &[&runs], None).unwrap();
    let found = [0, 128, 1500, 4096].map(at);
    for pair in found.windows(2) {
        let (near, far) = (&pair[0], &pair[1]);
        assert!(far.decode_tps.value().unwrap().value() < near.decode_tps.value().unwrap().value(), "{near:?} {far:?}");
        assert!(far.prefill_tps.value().unwrap().value() < near.prefill_tps.value().unwrap().value());
        assert!(far.memory_bytes.value().unwrap().value() > near.memory_bytes.value().unwrap().value());
    }
    let matching = |found: &Prediction| found.remarks.iter().filter(|note| note.contains("was never measured")).count();
    assert_eq!((matching(&found[0]), matching(&found[2])), (0, 2), "{:?}", found[2].remarks);
    assert!(width(&found[2].decode_tps) > width(&found[0].decode_tps) + 0.1);
    // Not below what the memory allows; four queries share each row of the cache, so that operations decide.
    let more = found[2].decode.value().unwrap().seconds() - found[0].decode.value().unwrap().seconds();
    let bytes = 1500.0 * small().spec.kv_bytes_per_token(engine_api::KvTypes::default()).as_f64();
    assert!((1.0..8.0).contains(&(more * 20e9 / bytes)), "{}", more * 20e9 / bytes);
}

#[test]
fn a_depth_that_was_measured_follows_the_fitted_cost() {
    let mut runs = run_file(&[&small()]);
    let mut deep = runs.cases[0].clone();
    deep.depth = 1500;
    for row in deep.ops.iter_mut().filter(|row| row.op == "attention") {
        row.time_s *= 8.0;
    }
    runs.cases.push(deep);
    let found = predict(&small(), &Settings { depth: 800, ..settings(1) }, &[&runs], None).unwrap();
    assert!(!found.remarks.iter().any(|note| note.contains("positions")), "{:?}", found.remarks);
}

#[test]
fn a_depth_beyond_the_context_is_an_error() {
    let deep = Settings { depth: 200_000, ..settings(1) };
    let error = predict(&small(), &deep, &[&run_file(&[&small()])], None).unwrap_err().with_advice();
    insta::assert_snapshot!(error, @"small: a depth of 200000, 128 prompt tokens and 9 new tokens need 200137 tokens, the model has a context of 131072; choose a smaller depth, a shorter prompt or fewer new tokens");
    let mut short = small();
    short.spec.context_length = 2048;
    let rows = what_if(&run_file(&[&short])).unwrap();
    let row = rows.iter().find(|row| row.what == "small after 4096 tokens").unwrap();
    assert!(row.decode_tps.is_absent() && row.reasons()["decode_tps"].contains("context of 2048"));
}

#[test]
fn more_bytes_are_never_as_fast_or_faster() {
    let shape = || spec(4, 512, 1536, 8, 8_000);
    let runs = run_file(&[&subject("small", shape(), Quant::Q4_1)]);
    let of = |quant| predict(&subject("small", shape(), quant), &settings(1), &[&runs], None).unwrap();
    let found = [Quant::Q4_0, Quant::Q4_1, Quant::Q8_0, Quant::F16].map(of);
    for pair in found.windows(2) {
        let (less, more) = (&pair[0], &pair[1]);
        assert!(
            less.decode_tps.value().unwrap().value() > more.decode_tps.value().unwrap().value(),
            "{less:?} {more:?}"
        );
        assert!(less.prefill_tps.value().unwrap().value() > more.prefill_tps.value().unwrap().value());
        assert!(less.load_warm_s.value().unwrap().value() < more.load_warm_s.value().unwrap().value());
        assert!(less.memory_bytes.value().unwrap().value() < more.memory_bytes.value().unwrap().value());
    }
    let matching = |found: &Prediction, text: &str| found.remarks.iter().any(|note| note.contains(text));
    assert!(matching(
        &found[3],
        "products on one token in F16 were never measured: they are estimated with the bytes per second of"
    ));
    assert!(matching(
        &found[0],
        "products on one token in Q4_0 were never measured: they are estimated with the operations per second of"
    ));
    assert!(width(&found[3].decode_tps) > width(&found[1].decode_tps), "{found:?}");
    assert!(found[3].extrapolation.value().unwrap().error > 0.1);
}

#[test]
fn the_limit_is_that_of_the_verdicts() {
    let found = predict(&large(), &settings(1), &[&run_file(&[&small(), &medium()])], None).unwrap();
    let (prefill, decode) = (found.prefill.value().unwrap(), found.decode.value().unwrap());
    assert_eq!((prefill.limit(), decode.limit()), (Some(Limit::Compute), Some(Limit::MemoryBandwidth)));
    assert_eq!((prefill.limit_name(), decode.limit_name()), ("compute", "memory bandwidth"));
    // By the least times, not by the time that kernels leave.
    let slow =
        TimeParts { memory_s: 0.1, compute_s: 0.9, least_memory_s: 0.3, least_compute_s: 0.1, ..TimeParts::default() };
    assert_eq!(slow.limit(), Some(Limit::MemoryBandwidth));
    assert_eq!(TimeParts::default().limit(), None, "a file of an earlier version");
}

#[test]
fn a_larger_model_has_wider_intervals_and_a_single_observed_model_the_widest() {
    let of = |runs: &RunFile, target: &Target| predict(target, &settings(1), &[runs], None).unwrap();
    let (one, two) = (run_file(&[&medium()]), run_file(&[&small(), &medium()]));
    let far = of(&one, &large()).extrapolation.value().unwrap();
    assert!(far.one_model && far.ratio > 3.0 && (far.error - 0.2 * far.ratio.ln()).abs() < 1e-12);
    assert!(width(&of(&one, &large()).decode_tps) > 1.0 + 1.96 * far.error);
    let known = of(&two, &large()).extrapolation.value().unwrap();
    assert!(!known.one_model && (known.error - 0.1 * known.ratio.ln()).abs() < 1e-12);
    assert!(of(&two, &medium()).extrapolation.value().unwrap().error < 0.01);
    for target in [small(), medium(), large()] {
        let memory = of(&two, &target).memory_bytes.value().unwrap();
        let (low, high) = memory.interval().unwrap();
        assert!(high >= 1.05 * memory.value() && low <= 0.95 * memory.value());
    }
}

#[test]
fn the_nearest_case_is_compared_and_named() {
    let found = predict(&large(), &settings(1), &[&run_file(&[&small(), &medium()])], None).unwrap();
    let mut truth = run_file(&[&large()]);
    truth.name = "truth".to_owned();
    let mut other = truth.cases[0].clone();
    (other.id, other.depth) = ("candle/large/p/t1/d512".to_owned(), 512);
    for sample in &mut other.samples {
        sample.decode_tps = 1.0.into();
    }
    truth.cases.insert(0, other);
    let checked = check(&found, &truth).unwrap();
    assert_eq!(checked.case, "candle/large/p/t1/d0");
    assert_eq!(
        checked.notes,
        ["compared with candle/large/p/t1/d0, which is the nearest to the prediction of 2 cases of large"]
    );
    assert!(checked.rows.iter().all(|row| row.field != "decode_tps" || row.measured > 1.0));
    truth.cases.truncate(1);
    truth.name = "planted".to_owned();
    let checked = check(&found, &truth).unwrap();
    assert_eq!(checked.case, "candle/large/p/t1/d512");
    assert_eq!(
        checked.notes[0],
        "not the same settings: depth predicted 0, measured 512; no case of the run is nearer"
    );
    assert!(checked.notes[1].starts_with("planted is one of the runs that the estimate is fitted to"));
}
