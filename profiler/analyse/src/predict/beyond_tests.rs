//! Estimates beyond what was measured: depth, types, sizes, and the choice of a case to check with.

use engine_api::{Advice, Copies, WeightUse};
use models::synth::Quant;
use models::{DType, Experts, FeedForward, Gated, Gating, Scores};

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

/// An engine that keeps a second copy of matrices in Q4_0.
fn copying() -> WeightUse {
    let copies = Copies { types: vec![DType::Q4_0], avoided_by: "copy=off".to_owned() };
    WeightUse { copies: Some(copies), experts_by_row: false }
}

/// Runs of the engine with copies: its peaks contain them.
fn with_copies(subjects: &[&Target]) -> RunFile {
    let mut runs = run_file(subjects);
    for (case, subject) in runs.cases.iter_mut().zip(subjects) {
        let copies = copying().copied_bytes(&subject.spec, &subject.types).get();
        for sample in &mut case.samples {
            let peak = sample.memory_peak_bytes.value().unwrap();
            sample.memory_peak_bytes = (peak + copies).into();
        }
    }
    runs
}

#[test]
fn copies_of_weights_follow_from_the_types_and_not_from_a_fit() {
    let runs = with_copies(&[&small(), &medium()]);
    let settings = Settings { weight_use: Some(copying()), ..settings(1) };
    let (parameters, q8) = (large().spec, subject("large-q8", large().spec, Quant::Q8_0));
    let memory = |subject: &Target| {
        let found = predict(subject, &settings, &[&runs], None).unwrap();
        (found.memory_bytes.value().unwrap().value(), found.memory_parts.value().unwrap(), width(&found.memory_bytes))
    };
    let (bytes, parts, wide) = memory(&large());
    let expected = copying().copied_bytes(&parameters, &large().types).as_f64();
    assert!((parts.copies - expected).abs() < 1e-6 * expected, "{} {expected}", parts.copies);
    assert!((parts.total() / bytes - 1.0).abs() < 1e-9, "{parts:?} {bytes}");
    // What the machine has besides: the program and 300 bytes per entry of the vocabulary.
    assert!((parts.other / (20e6 + 300.0 * 32_000.0) - 1.0).abs() < 0.3, "{parts:?}");
    assert!(wide < 1.15, "{wide}");
    // A type of which no copies are made: the same runs, and the file alone.
    let (_, parts, _) = memory(&q8);
    assert!(parts.copies == 0.0 && parts.file > expected, "{parts:?}");
    // A run that states that it made no copies needs no others' word.
    let mut without = run_file(&[&small(), &medium()]);
    without.plan.engines = vec!["candle".to_owned()];
    without.plan.settings = vec![("candle".to_owned(), "copy".to_owned(), "off".to_owned())];
    let found = predict(&large(), &settings, &[&without], None).unwrap();
    assert!((found.memory_parts.value().unwrap().other / parts.other - 1.0).abs() < 0.3);
}

#[test]
fn a_run_whose_memory_was_short_does_not_show_what_is_needed() {
    let settings = Settings { weight_use: Some(copying()), ..settings(1) };
    let mut runs = with_copies(&[&small(), &medium()]);
    let peak = runs.cases[1].samples[0].memory_peak_bytes.value().unwrap();
    // The larger model filled the machine, and half of its file was dropped.
    let file = runs.cases[1].memory.file_bytes.value().unwrap();
    runs.environment.memory.total_bytes = (peak - file / 2 + 1_000_000).into();
    runs.cases[1].memory.file_backed_bytes = (file / 2).into();
    runs.cases[1].samples[0].memory_peak_bytes = (peak - file / 2).into();
    let short = predict(&large(), &settings, &[&runs], None).unwrap().memory_parts.value().unwrap();
    assert!((20e6..35e6).contains(&short.other), "{short:?}");
}

#[test]
fn more_memory_than_the_machine_has_is_said() {
    let runs = with_copies(&[&small(), &medium()]);
    let on = |machine: Option<u64>| {
        let settings = Settings { weight_use: Some(copying()), machine_memory: machine, ..settings(1) };
        predict(&large(), &settings, &[&runs], None).unwrap()
    };
    let needed = on(None).memory_bytes.value().unwrap().value() as u64;
    assert_eq!(on(None).shortage(), None);
    assert_eq!(on(Some(2 * needed)).shortage(), None);
    let found = on(Some(needed * 7 / 10));
    let shortage = found.shortage().unwrap();
    assert!(shortage.certain && shortage.fits_without_copies(), "{shortage:?}");
    assert!(found.remarks[0].starts_with("memory: ") && found.remarks[0].contains("exceeds"), "{:?}", found.remarks);
    assert!(!on(Some(needed / 10)).shortage().unwrap().fits_without_copies());
    let close = on(Some(needed - needed / 100)).shortage().unwrap();
    assert!(!close.certain && close.to_string().contains("may exceed"), "{close}");
}

/// A model with 32 experts of which a token uses 4: 128 tokens give each 16 rows.
fn mixture() -> Target {
    let mut mixture = spec(6, 1024, 4096, 16, 16_000);
    let FeedForward::Dense(gated) = mixture.layers[0].feed_forward.clone() else { panic!("a dense model") };
    let experts = Experts {
        count: 32,
        used: 4,
        expert: Gated { width: 1536, ..gated },
        gating: Gating::new(Scores::Softmax, true),
        biased: false,
        shared: None,
        dense_width: None,
    };
    for layer in &mut mixture.layers {
        layer.feed_forward = FeedForward::Experts(experts.clone());
    }
    subject("mixture", mixture, Quant::Q4_0)
}

#[test]
fn experts_take_the_time_of_their_rows() {
    let runs = run_file(&[&small(), &medium(), &large()]);
    let prefill = |experts_by_row| {
        let weight_use = Some(WeightUse { copies: None, experts_by_row });
        let found = predict(&mixture(), &Settings { weight_use, ..settings(1) }, &[&runs], None).unwrap();
        (found.prefill.value().unwrap().seconds(), found.remarks)
    };
    // By hand, from the costs of the machine: gate, up and down of 6 layers, in Q4_0.
    let (bytes, pairs, distinct) = (1024.0 * 1536.0 * 18.0 / 32.0, 128.0 * 4.0, 32.0 * (1.0 - 0.875_f64.powi(128)));
    let one = |outputs: f64| bytes / 20e9 + 5e-8 * outputs;
    let many = |outputs: f64| 128.0 * (2.0 * 1024.0 * 1536.0 / 120e9 + 1e-9 * outputs);
    let of_expert = |outputs: f64, rows: f64| one(outputs) + (rows - 1.0) * (many(outputs) - one(outputs)) / 127.0;
    let layer = |of: &dyn Fn(f64) -> f64| 6.0 * (2.0 * of(1536.0) + of(1024.0));
    let by_expert = layer(&|outputs| distinct * of_expert(outputs, pairs / distinct));
    let by_row = layer(&|outputs| pairs * one(outputs));
    let ((grouped, notes), (alone, _)) = (prefill(false), prefill(true));
    // The other ops of both are the same.
    assert!(
        ((alone - grouped) / (by_row - by_expert) - 1.0).abs() < 0.05,
        "{alone} - {grouped}, {by_row} - {by_expert}"
    );
    assert!(grouped > by_expert && grouped < 1.35 * by_expert, "{grouped} {by_expert}");
    assert!(notes.iter().any(|note| note.contains("experts with 16 rows")), "{notes:?}");
}

#[test]
fn a_short_prompt_takes_the_time_of_its_rows() {
    let runs = run_file(&[&small(), &medium()]);
    let seconds = |prompt_tokens| {
        let settings = Settings { prompt_tokens, ..settings(1) };
        predict(&large(), &settings, &[&runs], None).unwrap().prefill.value().unwrap().seconds()
    };
    let (few, some, many) = (seconds(4), seconds(16), seconds(128));
    // Reading the weights is the same for all; a prompt of a single token takes that long.
    let read = large().file_bytes.as_f64() / 20e9;
    assert!(few > 0.8 * read && few < some && some < many, "{read} {few} {some} {many}");
    assert!((some - few) / (many - few) < 0.15, "{few} {some} {many}");
}
