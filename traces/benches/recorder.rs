//! The cost of recording in nanoseconds: per mark on and off, per clock reading, per drained and written record.
//!
//! `cargo bench -p traces`. The goal is under 60 ns per recorded span; two clock readings are most of it.

#![allow(clippy::unwrap_used, reason = "a benchmark stops where it cannot go on")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use traces::chrome::{self, Process, Writer};
use traces::record::{self, Batch, Category, Complete, Config, Name};
use traces::{Nanos, check, clock, summary};

/// Marks between two drains; the rings can hold them.
const SERIES: u64 = 1 << 15;

fn marks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recorder");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.bench_function("clock, one reading", |bencher| bencher.iter(clock::now));

    record::stop();
    group
        .bench_function("op, off", |bencher| bencher.iter(|| traces::op!("q_proj", black_box(3_usize), [1, 576, 576])));
    group
        .bench_function("span, off", |bencher| bencher.iter(|| traces::span!("decode", "position" = black_box(3_u64))));

    record::start(Config::default());
    record::prepare_thread();
    group.bench_function("op, on", |bencher| {
        bencher.iter_custom(|count| timed(count, || drop(traces::op!("q_proj", black_box(3_usize), [1, 576, 576]))));
    });
    group.bench_function("span with one number, on", |bencher| {
        bencher.iter_custom(|count| timed(count, || drop(traces::span!("decode", "position" = black_box(3_u64)))));
    });
    group.bench_function("op, on, a second thread recording", |bencher| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let other = Builder::new().name("other".into()).spawn_scoped(scope, || {
                while !stop.load(Ordering::Relaxed) {
                    let _op = traces::op!("k_proj", 3_usize, [1, 576, 192]);
                }
            });
            bencher
                .iter_custom(|count| timed(count, || drop(traces::op!("q_proj", black_box(3_usize), [1, 576, 576]))));
            stop.store(true, Ordering::Relaxed);
            other.unwrap().join().unwrap();
        });
    });
    static EMITTED: Name = Name::new("emitted");
    group.bench_function("complete span, times given", |bencher| {
        bencher.iter_custom(|count| {
            timed(count, || record::emit(Complete::span(&EMITTED, Category::Phase, Nanos(1), black_box(Nanos(2)))))
        });
    });
    record::stop();
    record::drain();
    group.finish();
}

/// The time of `count` marks, without the drains between them.
fn timed(count: u64, mark: impl Fn()) -> Duration {
    let (mut left, mut time) = (count, Nanos::ZERO);
    while left > 0 {
        let series = left.min(SERIES);
        record::drain();
        let start = clock::now();
        (0..series).for_each(|_| mark());
        time += clock::now() - start;
        left -= series;
    }
    time.into()
}

fn filled() {
    for n in 0..SERIES {
        let _op = traces::op!("gate_proj", n as usize % 30, [1, 576, 1536]);
    }
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(SERIES)).sample_size(20);
    record::start(Config::default());
    group.bench_function("drain, per record", |bencher| {
        bencher.iter_custom(|count| {
            let mut time = Nanos::ZERO;
            for _ in 0..count {
                filled();
                let start = clock::now();
                black_box(record::drain());
                time += clock::now() - start;
            }
            time.into()
        });
    });
    filled();
    let batch: Batch = record::drain();
    record::stop();
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path().join("trace.json"), Process::this("bench")).unwrap();
    group.bench_function("write, per record", |bencher| bencher.iter(|| writer.write(&batch).unwrap()));
    group.finish();
}

/// Reading a file, per span: nanoseconds per span are milliseconds per million spans.
fn files(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("file");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let mut writer = Writer::create(&path, Process::this("bench")).unwrap();
    record::start(Config::default());
    let parts = 4;
    for _ in 0..parts {
        let _phase = traces::span!("decode");
        filled();
        writer.write(&record::drain()).unwrap();
    }
    record::stop();
    writer.finish().unwrap();
    group.throughput(Throughput::Elements(parts * SERIES)).sample_size(10);
    let trace = chrome::read(&path).unwrap();
    group.bench_function("check, per span", |bencher| bencher.iter(|| check::check_trace(&trace).unwrap()));
    group.bench_function("summary, per span", |bencher| bencher.iter(|| summary::summarise(&trace).unwrap()));
    group.finish();
}

/// The minimum of many short series: the cost of a mark without the disturbance of other processes.
#[allow(clippy::print_stdout, reason = "a benchmark's result")]
fn least(_: &mut Criterion) {
    const COUNT: u64 = 4096;
    let least = |mark: &dyn Fn()| {
        (0..300).map(|_| timed(COUNT, mark)).min().unwrap_or_default().as_nanos() as f64 / COUNT as f64
    };
    let clock = least(&|| {
        black_box(clock::now());
    });
    record::start(Config::default());
    record::prepare_thread();
    let op = least(&|| drop(traces::op!("q_proj", black_box(3_usize), [1, 576, 576])));
    let span = least(&|| drop(traces::span!("decode", "position" = black_box(3_u64))));
    record::stop();
    let off = least(&|| drop(traces::op!("q_proj", black_box(3_usize), [1, 576, 576])));
    println!(
        "\nleast of 300 series: clock {clock:.1} ns, op {op:.1} ns, span {span:.1} ns, op while off {off:.1} ns (goal: under 60 ns per span)\n"
    );
    record::drain();
}

criterion_group!(benches, least, marks, batches, files);
criterion_main!(benches);
