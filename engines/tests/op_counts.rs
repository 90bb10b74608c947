//! Engines mark the same number of ops per batch as the cost model has. A separate test binary, since the recorder belongs to the
//! process.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod common;

use std::collections::BTreeMap;

use engines::registry::ENGINES;
use engines::{Advice, LoadOptions, OpTimes};
use models::cost::{self, OpKind, WeightTypes};
use models::fetch::Quiet;
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{Checkpoint, DType};
use traces::record;

#[test]
fn a_prefill_in_batches_has_the_ops_of_the_cost_model() {
    let batch = 8;
    for arch in common::tiny::ARCHITECTURES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tiny.gguf");
        let spec = common::tiny::spec(arch);
        let recipe =
            Recipe { name: "tiny", spec: &spec, quant: Quant::Q4_1, seed: 7, tokenizer: TokenizerSource::default() };
        synth::write(&recipe, &path, &Quiet).expect("a small file can be written");
        let checkpoint = Checkpoint::open(&path).expect("it opens");
        compare_counts(&checkpoint, 20, batch);
        if arch == "llama" {
            extra_work_is_a_separate_op(&checkpoint, batch);
        }
    }
}

fn compare_counts(checkpoint: &Checkpoint, tokens: u32, batch: usize) {
    for entry in ENGINES {
        let Ok(engine) = engines::registry::find(entry.name).expect("it is in the registry").open() else { continue };
        let caps = engine.caps();
        if caps.remote || caps.virtual_time || caps.op_times == OpTimes::None {
            continue;
        }
        let options = LoadOptions { context: 64, batch: Some(batch), ..LoadOptions::default() };
        let mut session = common::load(engine.as_ref(), checkpoint, &options);
        let steps = session.steps().expect("ops are marked in steps");
        record::start(record::Config::default());
        let _ = record::drain();
        steps.prefill(&(0..tokens).collect::<Vec<u32>>()).expect("it runs");
        record::stop();
        let found = counts(record::drain().of(record::Kind::Op).map(|op| op.name));
        let arch = checkpoint.spec().unwrap().arch.name();
        let prunes = engine.prunes_last_block() && !engine.whole_last_blocks().contains(&arch);
        let of_cost = if prunes { cost::pruned_prefill_ops } else { cost::batched_prefill_ops };
        let types = WeightTypes::of(checkpoint).unwrap();
        let ops = of_cost(checkpoint.spec().unwrap(), &types, DType::F16, tokens as usize, 0, batch);
        let ops = cost::joined_ops(ops, |kind| found.contains_key(kind.name()));
        println!("{}: {found:?}", entry.name);
        for (name, expected) in counts(ops.iter().map(|op| op.kind.name())) {
            let kind = OpKind::from_name(name).expect("the cost model names its kinds");
            // Each product with the experts of a part may be marked on its own.
            let has_parts = kind.products() > 1;
            let has_weights = types.read_by(kind, Some(0)).is_some();
            let found = found.get(name).copied().unwrap_or(0);
            // llama.cpp applies the last norm of these to all tokens of every pass.
            let is_whole_norm = name == "output_norm" && (arch.starts_with("qwen35") || arch == "gemma4");
            let expected =
                if entry.name == "llama-cpp" && is_whole_norm { (tokens as usize).div_ceil(batch) } else { expected };
            // llama.cpp rotates queries and keys one by one; layers that attend to the cache of another have no keys.
            let rotated =
                checkpoint.spec().unwrap().attentions().map(|attention| 1 + usize::from(attention.has_own_cache()));
            if entry.name == "llama-cpp" && name == "rope" {
                let layers = checkpoint.spec().unwrap().attentions().count();
                let passes = expected.checked_div(layers).unwrap_or(0);
                if checkpoint.spec().unwrap().attentions().any(|attention| !attention.has_own_cache()) {
                    assert_eq!(found, passes * rotated.sum::<usize>(), "{arch}: rope");
                    continue;
                }
            }
            // An op without weights may be marked in several equal parts.
            let fits =
                if has_weights && !has_parts { found == expected } else { found > 0 && found.is_multiple_of(expected) };
            assert!(fits, "{}, {arch}: {found} of {name}, the cost model has {expected}", entry.name);
        }
    }
}

/// Part of the test above, since the recorder belongs to the process.
fn extra_work_is_a_separate_op(checkpoint: &Checkpoint, batch: usize) {
    for label in ["candle", "candle:tensor"] {
        let Ok(engine) = engines::registry::find(label).expect("it is in the registry").open() else { continue };
        let walk = |layers: usize| {
            let settings =
                [("extra_mlp".to_owned(), redaction::Sensitive::setting("extra_mlp", &layers.to_string()))].into();
            let options = LoadOptions { context: 64, batch: Some(batch), settings, ..LoadOptions::default() };
            let mut session = common::load(engine.as_ref(), checkpoint, &options);
            let steps = session.steps().expect("ops are marked in steps");
            record::start(record::Config::default());
            let _ = record::drain();
            steps.prefill(&(0..20).collect::<Vec<u32>>()).expect("it runs");
            steps.decode(7).expect("it runs");
            record::stop();
            (counts(record::drain().of(record::Kind::Op).map(|op| op.name)), steps.logits().expect("it ran"))
        };
        let ((plain, logits), (mut more, same)) = (walk(0), walk(2));
        assert_eq!(logits, same, "{label}: the output is unchanged");
        let batches = 20_usize.div_ceil(batch) + 1;
        assert_eq!(more.remove("extra_mlp"), Some(2 * batches), "{label}");
        assert_eq!(plain, more, "{label}: the number of other ops is unchanged");
        let too_many = (checkpoint.spec().unwrap().layers.len() + 1).to_string();
        let settings = [("extra_mlp".to_owned(), redaction::Sensitive::setting("extra_mlp", &too_many))].into();
        let error = engine.load(checkpoint, &LoadOptions { settings, ..LoadOptions::default() }).err();
        assert!(
            error.is_some_and(|error| error.with_advice().contains("the number of layers of the model")),
            "{label}"
        );
    }
}

fn counts<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}
