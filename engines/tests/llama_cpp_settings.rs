//! Settings of llama.cpp act: each is seen in the memory, the threads or the operations of this process, beside those that have no effect
//! that a process can see on this machine (`numa` on one node, `poll` with OpenMP's threads: both are refused there). One test in a process
//! of its own, because it reads the memory and the threads of its process.
#![cfg(all(feature = "llama-cpp", target_os = "linux"))]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use engines::{Advice, Engine, EngineError, LoadOptions, Session};
use models::cost::WeightTypes;
use models::fetch::Quiet;
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{Checkpoint, FeedForward, Spec};
use redaction::Sensitive;
use traces::record;

/// The number of Linux's policies of batch jobs and of threads in the order of their arrival.
const SCHED_BATCH: i32 = 3;
const SCHED_FIFO: i32 = 1;

#[test]
fn settings_reach_llama_cpp_and_act() {
    let engine = engines::registry::find("llama-cpp").expect("it is in the registry").open().expect("it is built");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = engine.as_ref();
    let wide = wide(folder.path());
    copies_of_weights(engine, &wide);
    mapped_and_locked_files(engine, &wide);
    tables_that_are_read_row_by_row(engine, folder.path());
    tokens_per_call(engine, &wide);
    threads(engine, &wide);
}

/// `repack` copies what the engine says that it copies.
fn copies_of_weights(engine: &dyn Engine, checkpoint: &Checkpoint) {
    // What a process allocates once is allocated before.
    drop(run(engine, checkpoint, 1, &[]));
    let growth = |settings: &[(&str, &str)]| {
        let before = kilobytes("RssAnon");
        let session = run(engine, checkpoint, 1, settings);
        let grown = kilobytes("RssAnon").saturating_sub(before) * 1024;
        drop(session);
        grown as f64
    };
    let types = WeightTypes::of(checkpoint).expect("its types are known");
    let spec = checkpoint.spec().expect("it is described");
    let copies = engine.identity().weight_use.copied_bytes(spec, &types).as_f64();
    let (packed, plain) = (growth(&[("repack", "on")]), growth(&[("repack", "off")]));
    if copies > 0.0 {
        assert!(copies > 5e7, "{copies}");
        assert!(((packed - plain) / copies - 1.0).abs() < 0.1, "{packed} - {plain} are not {copies}");
    } else {
        assert!((packed - plain).abs() < 5e6, "{packed} {plain}");
    }
}

/// `load_mode`: bytes of the file that are mapped, beside the mapping that the checkpoint has, and bytes that are locked in memory.
fn mapped_and_locked_files(engine: &dyn Engine, checkpoint: &Checkpoint) {
    let own = mapped(checkpoint.path());
    let weights: u64 = checkpoint.tensors().iter().map(|tensor| tensor.bytes.get()).sum();
    let mode = |mode| [("load_mode", mode), ("repack", "off")];
    let mapped_with = |settings: &[(&str, &str)]| {
        let session = run(engine, checkpoint, 1, settings);
        let mapped = mapped(checkpoint.path()) - own;
        drop(session);
        mapped
    };
    assert!(mapped_with(&mode("mmap")) >= weights && mapped_with(&mode("auto")) >= weights);
    assert_eq!((mapped_with(&mode("none")), mapped_with(&mode("dio"))), (0, 0));
    assert_eq!(kilobytes("VmLck"), 0);
    for (name, is_mapped) in [("mlock", false), ("mmap+mlock", true)] {
        match load(engine, checkpoint, 1, &mode(name)) {
            Ok(session) => {
                let locked = kilobytes("VmLck") * 1024;
                assert!(locked as f64 > 0.9 * weights as f64, "{name}: {locked} of {weights} bytes are locked");
                assert_eq!(mapped(checkpoint.path()) > own, is_mapped, "{name}");
                drop(session);
            }
            // Where the limit of locked memory is lower, the setting is refused instead of being without effect.
            Err(error) => assert!(error.with_advice().contains("RLIMIT_MEMLOCK"), "{error}"),
        }
    }
}

/// `lazy_mode`: the table of inputs of all layers stays in the mapped file, when all else is read into memory.
fn tables_that_are_read_row_by_row(engine: &dyn Engine, folder: &Path) {
    let checkpoint = written(folder, &common::tiny::spec("gemma4"));
    let own = mapped(checkpoint.path());
    let table = checkpoint.tensor("per_layer_token_embd.weight").expect("it has one").info().bytes.get();
    for (mode, is_lazy) in [("on", true), ("off", false), ("auto", false)] {
        let session = run(engine, &checkpoint, 1, &[("load_mode", "none"), ("lazy_mode", mode)]);
        let mapped = mapped(checkpoint.path()) - own;
        drop(session);
        assert!(if is_lazy { mapped >= table } else { mapped == 0 }, "{mode}: {mapped} of {table} bytes");
    }
}

/// `n_batch`: a prompt of 20 tokens in so many calls, each of which looks up its tokens once. A pass has 4 tokens.
fn tokens_per_call(engine: &dyn Engine, checkpoint: &Checkpoint) {
    let calls = |n_batch: &str| {
        let options = LoadOptions { batch: Some(4), ..options(1, &[("n_batch", n_batch)]) };
        let mut session = engine.load(checkpoint, &options).expect("it loads");
        record::start(record::Config::default());
        let _ = record::drain();
        let tokens: Vec<u32> = (0..20).collect();
        session.steps().expect("it has steps").prefill(&tokens).expect("it runs");
        record::stop();
        let drained = record::drain();
        // Of a call, the last pass alone has outputs.
        drained.of(record::Kind::Op).filter(|op| op.name == "lm_head").count()
    };
    assert_eq!((calls("20"), calls("10"), calls("4")), (1, 2, 5));
}

/// Threads: how many, on which processors, under which policy.
fn threads(engine: &dyn Engine, checkpoint: &Checkpoint) {
    let run = |threads, settings: &[(&str, &str)]| run(engine, checkpoint, threads, settings);
    let allowed = tasks().swap_remove(0).allowed;

    // One thread computes in the calling one; a prompt has as many as are set for it.
    let before = tasks().len();
    let session = run(1, &[]);
    assert_eq!(tasks().len(), before, "one thread starts no other");
    drop(session);
    let session = run(1, &[("threads_batch", "3")]);
    assert!(tasks().len() >= before + 2, "{before} threads before, {} after a prompt on three", tasks().len());
    drop(session);

    // Each of two threads on the processors of the mask, or on one of them.
    let some = &allowed[..allowed.len().min(2)];
    let on = |processors: &[usize]| tasks().iter().filter(|task| task.allowed == processors).count();
    let session = run(2, &[("cpu_mask", &mask_of(&some[..1]))]);
    assert!(on(&some[..1]) >= 2, "{:?}", tasks());
    drop(session);
    let session = run(2, &[("cpu_mask", &mask_of(some))]);
    assert!(on(some) >= 2, "{:?}", tasks());
    drop(session);
    let session = run(2, &[("cpu_mask", &mask_of(some)), ("cpu_strict", "on")]);
    let single: BTreeSet<Vec<usize>> =
        tasks().into_iter().map(|task| task.allowed).filter(|allowed| allowed.len() == 1).collect();
    assert!(some.iter().all(|processor| single.contains(&vec![*processor])), "{single:?}");
    drop(session);

    let under = |policy, priority| {
        tasks().iter().filter(|task| task.policy == policy && task.real_time_priority == priority).count()
    };
    assert_eq!((under(SCHED_BATCH, 0), under(SCHED_FIFO, 40)), (0, 0));
    for (prio, policy, priority) in [("-1", SCHED_BATCH, 0), ("1", SCHED_FIFO, 40)] {
        match load(engine, checkpoint, 2, &[("prio", prio)]) {
            Ok(session) => {
                assert!(under(policy, priority) >= 2, "{prio}: {:?}", tasks());
                drop(session);
            }
            // Real-time priorities need a right.
            Err(error) => assert!(prio == "1" && error.with_advice().contains("RLIMIT_RTPRIO"), "{error}"),
        }
    }
}

/// A model with wide feed-forward parts in Q4_0: its copies are far larger than what a process allocates besides.
fn wide(folder: &Path) -> Checkpoint {
    let mut spec = common::tiny::spec("llama");
    spec.layers.truncate(2);
    for layer in &mut spec.layers {
        layer.feed_forward = FeedForward::dense(65_536);
    }
    written(folder, &spec)
}

fn written(folder: &Path, spec: &Spec) -> Checkpoint {
    let path = folder.join(format!("{}.gguf", spec.arch.name()));
    let recipe = Recipe { name: "model", spec, quant: Quant::Q4_0, seed: 3, tokenizer: TokenizerSource::default() };
    synth::write(&recipe, &path, &Quiet).expect("a small file can be written");
    Checkpoint::open(&path).expect("it opens")
}

fn options(threads: usize, settings: &[(&str, &str)]) -> LoadOptions {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), Sensitive::setting(key, value))).collect();
    LoadOptions { context: 64, threads, settings, ..LoadOptions::default() }
}

/// A session after a prompt, so that its threads have run.
fn load(
    engine: &dyn Engine,
    checkpoint: &Checkpoint,
    threads: usize,
    settings: &[(&str, &str)],
) -> Result<Box<dyn Session>, EngineError> {
    let mut session = engine.load(checkpoint, &options(threads, settings))?;
    session.steps().expect("it has steps").prefill(&[11, 12, 13, 14, 15, 16, 17, 18])?;
    Ok(session)
}

fn run(engine: &dyn Engine, checkpoint: &Checkpoint, threads: usize, settings: &[(&str, &str)]) -> Box<dyn Session> {
    load(engine, checkpoint, threads, settings).expect("it loads and runs")
}

/// A figure of this process in kB.
fn kilobytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("Linux reports it");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// Bytes of the address space of this process that are mapped from a file.
fn mapped(file: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("a hexadecimal number");
    let of_line = |line: &str| {
        let (first, end) = line.split_whitespace().next()?.split_once('-')?;
        line.ends_with(file.to_str()?).then(|| number(end) - number(first))
    };
    maps.lines().filter_map(of_line).sum()
}

/// A thread of this process: the processors that it may run on, and how it is scheduled.
#[derive(Debug)]
struct Task {
    allowed: Vec<usize>,
    real_time_priority: i32,
    policy: i32,
}

fn tasks() -> Vec<Task> {
    let entries = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    entries.filter_map(|entry| task(&entry.ok()?.path())).collect()
}

/// `None` for a thread that has just ended.
fn task(folder: &Path) -> Option<Task> {
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<usize>().expect("a number")..=last.parse().expect("a number")
    });
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // Fields are counted from the state, the third, which follows the name in brackets. Source: proc_pid_stat(5).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some(Task { allowed: ranges.flatten().collect(), real_time_priority: field(40)?, policy: field(41)? })
}

fn mask_of(processors: &[usize]) -> String {
    format!("{:#x}", processors.iter().fold(0u128, |mask, processor| mask | 1 << processor))
}
