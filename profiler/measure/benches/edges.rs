//! The cost of the instruments: an edge of the clean pass, a reading of the stepped pass, the readings around a request.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::print_stdout, reason = "instruments that a machine lacks are reported, not timed")]
#![allow(clippy::unwrap_used, reason = "a benchmark that panics has failed")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use engines::{Observer, Phase, Piece};
use measure::protocol::SharedStatus;
use measure::worker::passes::Stopwatch;
use meter::{Meter, counter_by_name, default_counters};

/// Tokens of one request.
const TOKENS: usize = 128;

fn edges(bench: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let status = SharedStatus::create(&folder.path().join("status")).unwrap();
    // 128 tokens x 6 edges and one piece, as the clean pass has them.
    bench.bench_function("clean pass: all edges and pieces of 128 tokens", |bench| {
        bench.iter_batched_ref(
            || Stopwatch::new(TOKENS, &status),
            |watch| {
                for index in 0..TOKENS {
                    for phase in [Phase::Decode, Phase::Sample, Phase::Detokenize] {
                        watch.begin(phase);
                        watch.end(phase);
                    }
                    let _ = black_box(watch.piece(Piece { index, token: Some(7), text: " word" }));
                }
            },
            BatchSize::SmallInput,
        );
    });
}

fn readings(bench: &mut Criterion) {
    let mut meter = Meter::open(&default_counters());
    bench.bench_function("stepped pass: one reading of the counters", |bench| bench.iter(|| black_box(meter.read())));
    let software =
        Meter::open(&["task-clock", "cpu-clock"].map(counter_by_name).into_iter().flatten().collect::<Vec<_>>());
    let hardware = Meter::open(
        &["cycles", "instructions", "cache_references", "cache_misses"]
            .map(counter_by_name)
            .into_iter()
            .flatten()
            .collect::<Vec<_>>(),
    );
    for (name, mut events) in [("of the processor", hardware), ("of the kernel", software)] {
        if events.has_events() {
            bench.bench_function(&format!("one group of events {name}"), |bench| {
                bench.iter(|| black_box(events.read_events()));
            });
        } else {
            println!("one group of events {name}: not here: {:?}", events.absent().values().next());
        }
    }
    let mut all = default_counters();
    all.extend(counter_by_name("task-clock"));
    let mut inner = Meter::open(&all);
    bench.bench_function("an inner edge: events, getrusage, statm", |bench| bench.iter(|| black_box(inner.read())));
    bench.bench_function("around a request: memory", |bench| bench.iter(|| black_box(meter.memory())));
    bench.bench_function("around a request: reset of the peak", |bench| bench.iter(|| black_box(meter.reset_peak())));
    bench.bench_function("around a request: load of the machine", |bench| {
        bench.iter(|| black_box(meter::machine_load()));
    });
}

criterion_group!(benches, edges, readings);
criterion_main!(benches);
