//! Estimates against a machine whose costs are planted, on run files made by hand.

use engine_api::{Advice, KvType, KvTypes, Phase};
use models::cost::{OpCost, OpKind, batched_prefill_ops, by_kind, decode_ops};
use models::registry;
use models::synth::Quant;
use models::{Attention, Layer, Rope, Spec};

use super::*;
use record::plan::{PlanFile, PlannedModel, PlannedPrompt};
use record::{
    Case, Ceilings, MemoryFile, OpRow, Reasons, Recorded, RecordedList, RunFile, SCHEMA_VERSION, Sample, Spread,
    Status, ThreadCeilings, Tool,
};

/// Prompt and new tokens of the runs.
const TOKENS: (usize, usize) = (128, 9);
/// What the traced pass is slower by.
const MARKS: f64 = 1.05;

pub(super) fn ceilings(threads: &[usize], memory: f64, compute: f64) -> Ceilings {
    let rate = |value: f64| Recorded::Present(Spread { median: value, low: value, high: value, n: 5 });
    let of = |&threads: &usize| ThreadCeilings {
        threads,
        memory_read: rate(memory * threads as f64),
        dot_i8: rate(compute * threads as f64),
        ..ThreadCeilings::absent("not measured")
    };
    Ceilings {
        machine: "a machine".to_owned(),
        threads: threads.iter().map(of).collect(),
        file_read_cold: rate(1e9),
        file_read_warm: rate(10e9),
        ..Ceilings::absent("not measured")
    }
}

/// What a machine's products of one row cost: bytes per second, and seconds per row of the matrix.
type Machine = (f64, f64);

const MACHINE: Machine = (20e9, 5e-8);

/// Operations per second of attention over a cache of these types.
fn attention_rate(kv: KvTypes) -> f64 {
    if kv == KvTypes::default() { 9e9 } else { 6e9 }
}

/// Seconds of a call.
fn cost(op: &OpCost, (bytes_per_s, per_row): Machine, kv: KvTypes) -> f64 {
    let [tokens, _, outputs] = op.shape.map(|size| size as f64);
    let moved = op.activation_bytes.as_f64();
    match op.kind {
        kind if kind.is_matmul() && op.shape[0] == 1 => {
            op.weight_bytes.as_f64() / bytes_per_s + per_row * outputs + 2e-6
        }
        kind if kind.is_matmul() => op.flops.as_f64() / 120e9 + 1e-9 * tokens * outputs + 3e-6,
        OpKind::Attention => op.flops.as_f64() / attention_rate(kv) + 5e-6,
        _ => moved / 10e9 + 2e-7,
    }
}

/// Peak memory beyond the known sizes, and seconds of a warm load.
fn footprints(vocab: f64, file: f64) -> (u64, f64) {
    ((20e6 + 300.0 * vocab) as u64, file / 12e9 + 1e-6 * vocab)
}

struct Planted {
    prefill: f64,
    decode: f64,
    ops: Vec<OpRow>,
}

/// What the machine measures of a model.
fn measured(subject: &Target, machine: Machine, kv: KvTypes) -> Planted {
    let mut found = Planted { prefill: 0.0, decode: 0.0, ops: Vec::new() };
    let prefill = batched_prefill_ops(&subject.spec, &subject.types, kv, TOKENS.0, 0, 512);
    let decode: Vec<OpCost> = (TOKENS.0..TOKENS.0 + TOKENS.1 - 1)
        .flat_map(|position| decode_ops(&subject.spec, &subject.types, kv, position))
        .collect();
    for (phase, ops) in [(Phase::Prefill, prefill), (Phase::Decode, decode)] {
        let whole: f64 = ops.iter().map(|op| cost(op, machine, kv) + 1e-7).sum();
        for (kind, _) in by_kind(&ops) {
            let own: Vec<&OpCost> = ops.iter().filter(|op| op.kind == kind).collect();
            let time_s: f64 = own.iter().map(|op| cost(op, machine, kv)).sum();
            found.ops.push(OpRow {
                phase: phase.into(),
                op: kind.name().to_owned(),
                count: own.len(),
                time_s: time_s * MARKS,
                share: time_s / whole,
                ..OpRow::absent("no cost")
            });
        }
        *(if phase == Phase::Prefill { &mut found.prefill } else { &mut found.decode }) = whole;
    }
    found
}

/// A run of these models on the machine.
pub(crate) fn run_file(subjects: &[&Target]) -> RunFile {
    run_of(subjects, MACHINE)
}

pub(super) fn run_of(subjects: &[&Target], machine: Machine) -> RunFile {
    run_with(subjects, machine, KvTypes::default())
}

fn run_with(subjects: &[&Target], machine: Machine, kv: KvTypes) -> RunFile {
    let mut plan = PlanFile { threads: vec![1], kv_type: kv.into(), ..PlanFile::default() };
    let mut cases = Vec::new();
    for subject in subjects {
        plan.models.push(PlannedModel {
            name: subject.name.clone(),
            quantisation: subject.quant.clone(),
            file_bytes: subject.file_bytes.get().into(),
            spec: subject.spec.clone().into(),
            types: subject.types.clone().into(),
            ..PlannedModel::absent("not recorded")
        });
        plan.prompts.push(PlannedPrompt {
            model: subject.name.clone(),
            id: "p".to_owned(),
            prompt_tokens: TOKENS.0,
            new_tokens: TOKENS.1,
            ..PlannedPrompt::default()
        });
        let found = measured(subject, machine, kv);
        let (vocab, file) = (subject.spec.vocab as f64, subject.file_bytes.as_f64());
        let (overhead, load_s) = footprints(vocab, file);
        let need = models::cost::estimate_memory(&subject.spec, subject.file_bytes, TOKENS.0 + TOKENS.1, kv, TOKENS.0);
        let sample = |fresh: bool| Sample {
            fresh,
            warmup: fresh,
            prefill_s: found.prefill.into(),
            decode_s: found.decode.into(),
            sample_s: (1e-9 * vocab * TOKENS.1 as f64).into(),
            detokenize_s: 0.0.into(),
            other_s: 0.0.into(),
            prompt_tokens: TOKENS.0.into(),
            output_tokens: TOKENS.1.into(),
            prefill_tps: (TOKENS.0 as f64 / found.prefill).into(),
            decode_tps: (1.0 / (found.decode / (TOKENS.1 - 1) as f64 + 1e-9 * vocab)).into(),
            memory_peak_bytes: (need.total().get() + overhead).into(),
            ..Sample::absent("not measured")
        };
        cases.push(Case {
            id: format!("candle/{}/p/t1/d0", subject.name),
            engine: "candle".to_owned(),
            model: subject.name.clone(),
            prompt: "p".to_owned(),
            threads: 1,
            status: Status::Ok,
            samples: vec![sample(true), sample(false), sample(false)],
            traced: vec![sample(false)],
            ops: RecordedList::new(found.ops.clone(), "unused"),
            memory: MemoryFile {
                file_bytes: subject.file_bytes.get().into(),
                load_s: load_s.into(),
                load_cached_share: 1.0.into(),
                ..MemoryFile::default()
            },
            ..Case::default()
        });
    }
    RunFile {
        schema_version: SCHEMA_VERSION,
        name: "planted".to_owned(),
        tool: Tool::default(),
        command_line: Vec::new(),
        started: String::new(),
        finished: Recorded::absent("invented"),
        interrupted: false,
        environment: record::environment::Environment::default(),
        plan,
        ceilings: ceilings(&[1], 20e9, 400e9).into(),
        ceiling_probes: RecordedList::default(),
        conditions: Vec::new(),
        examinations: Vec::new(),
        cases,
        precision: Vec::new(),
        summaries: Vec::new(),
        depth_laws: Vec::new(),
        probes: Vec::new(),
        messages: Vec::new(),
        throttle_events_after: Recorded::absent("invented"),
        warnings: Vec::new(),
        verdicts: Vec::new(),
        what_if: RecordedList::default(),
        notes: Reasons::new(),
    }
}

pub(super) fn spec(layers: usize, hidden: usize, ffn: usize, heads: usize, vocab: usize) -> Spec {
    let mut spec = registry::find("llama-3.2-1b").unwrap().spec();
    let rope = spec.layers[0].mixer.attention_mut().unwrap().rope.take().map(|rope| Rope { dim: 64, ..rope });
    spec.layers = vec![Layer::plain(Attention::plain(heads, heads / 4, 64, rope), ffn); layers];
    (spec.hidden, spec.vocab) = (hidden, vocab);
    spec
}

pub(super) fn subject(name: &str, spec: Spec, quant: Quant) -> Target {
    Target::synthetic(name, name, spec, quant, None).unwrap()
}

pub(super) fn settings(threads: usize) -> Settings {
    Settings {
        engine: "candle".to_owned(),
        threads,
        depth: 0,
        prompt_tokens: TOKENS.0,
        new_tokens: TOKENS.1,
        kv_type: KvTypes::default(),
        batch: None,
        weight_use: None,
        machine_memory: None,
    }
}

pub(crate) fn small() -> Target {
    subject("small", spec(4, 512, 1536, 8, 8_000), Quant::Q4_0)
}

pub(super) fn medium() -> Target {
    subject("medium", spec(6, 1024, 4096, 16, 16_000), Quant::Q4_0)
}

pub(super) fn large() -> Target {
    subject("large", spec(12, 2048, 8192, 32, 32_000), Quant::Q4_0)
}

pub(super) fn width(figure: &Recorded<Figure>) -> f64 {
    let figure = figure.value().unwrap();
    figure.interval().unwrap().1 / figure.value()
}

#[test]
fn a_larger_model_is_as_fast_as_the_machine_makes_it() {
    let runs = run_file(&[&small(), &medium()]);
    let found = predict(&large(), &settings(1), &[&runs], None).unwrap();
    assert_eq!((found.remarks.as_slice(), found.skipped.as_slice()), (&[][..], &[][..]));
    assert_eq!(found.rests_on, ["planted: small (Q4_0), medium (Q4_0)"]);
    let truth = run_file(&[&large()]);
    for row in check(&found, &truth).unwrap().rows {
        assert!(row.error().abs() < 0.01, "{row:?}");
        assert_ne!(row.inside(), Some(false), "{row:?}");
    }
    assert_eq!(check(&found, &truth).unwrap().rows.len(), 4, "all but the cold load");
    assert!(found.load_cold_s.value().unwrap().value() > found.load_warm_s.value().unwrap().value());
}

/// Two models of one vocabulary, whose loads and memories differ much: without one of them the other says nothing of it.
#[test]
fn an_interval_that_is_too_wide_is_a_lower_bound_with_its_reason() {
    let mut runs = run_file(&[&small(), &medium()]);
    for (case, load_s) in runs.cases.iter_mut().zip([9.0, 0.01]) {
        case.memory.load_s = load_s.into();
    }
    for sample in &mut runs.cases[1].samples {
        sample.memory_peak_bytes = 900_000_000_000.into();
    }
    let found = predict(&large(), &settings(1), &[&runs], None).unwrap();
    let figures = [&found.load_warm_s, &found.memory_bytes];
    assert!(figures.iter().all(|figure| matches!(figure, Recorded::Present(Figure::Bound(_)))), "{figures:?}");
    let remark = |start: &str| found.remarks.iter().find(|remark| remark.starts_with(start)).unwrap();
    for (start, what) in [("load: ", "loads from a warm page cache"), ("memory: ", "memory besides weights and cache")]
    {
        let remark = remark(start);
        assert!(remark.contains(&format!("explain the {what} of the measured 2 cases only within")), "{remark}");
        assert!(remark.contains("a lower bound") && remark.contains("measure candle with"), "{remark}");
    }
    let reason = found.load_cold_s.reason().unwrap().as_str();
    assert!(reason.starts_with("it includes a warm load, and vocabulary and file"), "{reason}");
    assert!(found.decode_tps.value().unwrap().interval().is_some(), "rates follow from operations");
}

/// The record of a machine that had too little memory says so beside the errors.
#[test]
fn a_check_against_a_run_in_full_memory_says_so() {
    let runs = run_file(&[&small(), &medium()]);
    let found = predict(&large(), &settings(1), &[&runs], None).unwrap();
    let mut truth = run_file(&[&large()]);
    let notes = |truth: &RunFile| check(&found, truth).unwrap().notes.join("\n");
    assert!(!notes(&truth).contains("memory of the machine was full"));
    let at = |refaults: u64| {
        let mut conditions = record::Conditions::absent("not read");
        conditions.group.refaults = refaults.into();
        record::ConditionsAt { moment: record::Moment::Before, model: "large".to_owned(), conditions }
    };
    truth.conditions = vec![at(100), at(1_000_100)];
    truth.environment.memory.page_bytes = 4096.into();
    for sample in &mut truth.cases[0].samples {
        (sample.latency_s, sample.memory_stall_s) = (2.0.into(), 0.5.into());
    }
    let text = notes(&truth);
    assert!(
        text.contains(
            "the memory of the machine was full during planted: 4.10 GB of files were evicted and read again"
        ),
        "{text}"
    );
    assert!(text.contains("tasks waited for memory for 1000 ms during 2 samples"), "{text}");
}

#[test]
fn ceilings_that_moved_move_the_estimate() {
    let runs = run_of(&[&small(), &medium()], (20e9, 0.0));
    let found = predict(&large(), &settings(1), &[&runs], None).unwrap();
    // The memory became slower by a half between the estimate and the measurement; arithmetic did not.
    let mut truth = run_of(&[&large()], (10e9, 0.0));
    truth.ceilings = ceilings(&[1], 10e9, 400e9).into();
    let rows = check(&found, &truth).unwrap().rows;
    let of = |field: &str| rows.iter().find(|row| row.field == field).unwrap();
    assert!(of("decode_tps").predicted.value() > 1.7 * of("decode_tps").measured, "{rows:?}");
    assert!(of("decode_tps").error().abs() < 0.06, "{rows:?}");
    assert!(of("prefill_tps").error().abs() < 0.03, "{rows:?}");
}

#[test]
fn a_type_that_was_never_measured_says_so() {
    let runs = run_file(&[&small(), &medium()]);
    let own = predict(&large(), &settings(1), &[&runs], None).unwrap();
    let f16 = subject("large", large().spec, Quant::F16);
    let other = predict(&f16, &settings(1), &[&runs], None).unwrap();
    assert!(other.remarks.iter().any(|note| note.contains("in F16 were never measured")), "{:?}", other.remarks);
    let width = |found: &Prediction| width(&found.decode_tps);
    assert!(width(&other) > width(&own) + 0.2);
    // Four times the bytes cannot come faster than the memory allows.
    let floor = f16.file_bytes.as_f64() / 20e9;
    assert!(other.decode.value().unwrap().seconds() > floor * 0.95);
}

/// Attention of each type of the cache has a cost of its own, and the cache has the bytes of its type.
#[test]
fn the_types_of_the_cache_decide_memory_and_attention() {
    let q8_0 = KvTypes::from(KvType::Q8_0);
    let with = |kv_type: KvTypes| Settings { kv_type, ..settings(1) };
    let f16_runs = run_file(&[&small(), &medium()]);
    let both = [&f16_runs, &run_with(&[&small(), &medium()], MACHINE, q8_0)];
    for (kv, truth) in [(KvTypes::default(), run_file(&[&large()])), (q8_0, run_with(&[&large()], MACHINE, q8_0))] {
        let found = predict(&large(), &with(kv), &both, None).unwrap();
        assert_eq!((found.remarks.as_slice(), &found.kv_type), (&[][..], &kv.into()));
        let checked = check(&found, &truth).unwrap();
        assert!(checked.rows.iter().all(|row| row.error().abs() < 0.01), "{:?}", checked.rows);
        assert!(checked.notes.iter().all(|note| !note.contains("KV cache")), "{:?}", checked.notes);
    }
    let f16 = predict(&large(), &settings(1), &[&f16_runs], None).unwrap();
    let other = predict(&large(), &with(q8_0), &[&f16_runs], None).unwrap();
    let expected = "attention on one token with a KV cache of q8_0 was never measured: it is estimated with the operations per second of a cache of f16";
    assert!(other.remarks.iter().any(|note| note.starts_with(expected)), "{:?}", other.remarks);
    // A token has 34 bytes instead of 64 for each 32 keys or values.
    let cache = large().spec.kv_bytes_per_token(models::DType::F16).as_f64() * (TOKENS.0 + TOKENS.1) as f64;
    let memory = |found: &Prediction| found.memory_bytes.value().unwrap().value();
    assert!((memory(&f16) - memory(&other) - cache * 30.0 / 64.0).abs() < 1.0);
    // Where attention takes much of the time, the interval shows that it was not measured.
    let at_depth = |kv: KvTypes| {
        let settings = Settings { depth: 4096, ..with(kv) };
        width(&predict(&large(), &settings, &[&f16_runs], None).unwrap().decode_tps)
    };
    assert!(at_depth(q8_0) > at_depth(KvTypes::default()), "{} {}", at_depth(q8_0), at_depth(KvTypes::default()));
    // No type is faster than its operations, or than its bytes allow.
    let seconds =
        |kv: KvTypes| predict(&large(), &with(kv), &[&f16_runs], None).unwrap().decode.value().unwrap().seconds();
    assert!(seconds(KvType::F32.into()) > seconds(KvTypes::default()));
    assert!(seconds(q8_0) <= seconds(KvTypes::default()));
    let truth = run_with(&[&large()], MACHINE, q8_0);
    let notes = check(&f16, &truth).unwrap().notes;
    assert!(notes.iter().any(|note| note == "not the same KV cache: predicted f16, measured q8_0"), "{notes:?}");
}

#[test]
fn another_thread_count_is_scaled_and_reported() {
    let mut runs = run_file(&[&small(), &medium()]);
    runs.ceilings = ceilings(&[1, 2], 20e9, 400e9).into();
    let one = predict(&large(), &settings(1), &[&runs], None).unwrap();
    let two = predict(&large(), &settings(2), &[&runs], None).unwrap();
    let ratio = two.decode_tps.value().unwrap().value() / one.decode_tps.value().unwrap().value();
    assert!((1.8..=2.0).contains(&ratio), "{ratio}");
    assert!(two.remarks.iter().any(|note| note.starts_with("the number of threads 2 was never measured")));
    let error = predict(&large(), &settings(4), &[&runs], None).unwrap_err().with_advice();
    insta::assert_snapshot!(error, @"the machine's ceilings for thread count 4 are unknown (known: 1, 2); measure them with the measurement of the machine, or with a run of this thread count");
}

#[test]
fn without_runs_there_are_only_bounds() {
    let known = ceilings(&[1], 20e9, 400e9);
    let found = predict(&large(), &settings(1), &[], Some(&known)).unwrap();
    let figures = [&found.load_warm_s, &found.load_cold_s, &found.memory_bytes, &found.prefill_tps, &found.decode_tps];
    assert!(figures.iter().all(|figure| matches!(figure, Recorded::Present(Figure::Bound(_)))));
    let truth = check(&found, &run_file(&[&large()])).unwrap().rows;
    let of = |field: &str| truth.iter().find(|row| row.field == field).unwrap();
    assert!(of("decode_tps").error() > 0.0 && of("prefill_tps").error() > 0.0, "no engine is faster");
    assert!(of("memory_bytes").error() < 0.0 && of("load_warm_s").predicted.value() > 0.0);
    let error = predict(&large(), &settings(1), &[], None).unwrap_err().with_advice();
    insta::assert_snapshot!(error, @"the machine's ceilings for thread count 1 are unknown (known: none); measure them with the measurement of the machine, or with a run of this thread count");
}

#[test]
fn bounds_rest_on_the_highest_ceilings_and_not_on_a_disturbed_run() {
    let mut disturbed = run_file(&[&small()]);
    disturbed.ceiling_probes = RecordedList::new(
        vec![record::CeilingProbe {
            threads: 1,
            memory_read: 2e9.into(),
            compute: 3e9.into(),
            ..record::CeilingProbe::absent("not measured")
        }],
        "none",
    );
    let known = ceilings(&[1], 20e9, 400e9);
    let other = Settings { engine: "another".to_owned(), ..settings(1) };
    let found = predict(&large(), &other, &[&disturbed], Some(&known)).unwrap();
    assert!((found.basis.memory - 20e9).abs() < 1.0);
    assert!(matches!(found.decode_tps, Recorded::Present(Figure::Bound(_))));
    let alone = predict(&large(), &other, &[], Some(&known)).unwrap();
    assert_eq!(found.decode_tps, alone.decode_tps);
}

#[test]
fn a_run_of_other_models_is_refused_by_name() {
    let runs = run_file(&[&small(), &medium()]);
    let found = predict(&large(), &settings(1), &[&runs], None).unwrap();
    let error = check(&found, &runs).unwrap_err().with_advice();
    insta::assert_snapshot!(error, @"planted: has no measured case of candle with large, which was predicted; its cases are candle/small/p/t1/d0, candle/medium/p/t1/d0; measure that model with that engine, or predict those of the run");
}

#[test]
fn the_table_of_a_run_rests_on_it_alone() {
    let mut file = run_file(&[&small()]);
    file.ceilings = ceilings(&[1, 2], 20e9, 400e9).into();
    let rows = what_if(&file).unwrap();
    let changes: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(
        changes,
        [
            "small after 4096 tokens",
            "small on 2 threads",
            "small in Q8_0 instead of Q4_0",
            "small in F16 instead of Q4_0",
            "deepseek-r1 in Q4_0",
            "llama-3.1-8b in Q4_0",
            "llama-3.2-1b in Q4_0",
            "mistral-7b in Q4_0",
            "qwen-1.5-7b in Q4_0"
        ]
    );
    let own = &rows[0];
    let measured = file.cases[0].samples[1].decode_tps.value().unwrap();
    assert!(own.decode_tps.value().unwrap().median < measured, "a longer context is slower");
    assert!(rows.iter().all(|row| row.decode_tps.is_present() && row.memory_bytes.is_present()));
    file.ceilings = Recorded::absent("not measured");
    assert_eq!(what_if(&file).unwrap_err(), "the run has no ceilings to estimate from");
}

#[test]
fn what_is_written_is_read_back() {
    let path = std::path::Path::new("p.json");
    let found = predict(&large(), &settings(1), &[&run_file(&[&small(), &medium()])], None).unwrap();
    assert_eq!(parse(path, &serde_json::to_vec(&found).unwrap()).unwrap(), found);
    let message = |text: &str| parse(path, text.as_bytes()).unwrap_err().with_advice();
    insta::assert_snapshot!(message("{}"), @"p.json: has no prediction_version, so it is not a prediction of inferometer; write one with a prediction that is written to a file");
    insta::assert_snapshot!(message("{\"prediction_version\": 9}"), @"p.json: has prediction version 9, this program reads up to 1; read it with the version of inferometer that wrote it, or a newer one");
}
