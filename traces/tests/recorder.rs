//! The recorder: many threads, overflow, start and stop, virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use traces::clock::{self, VirtualClock};
use traces::record::{self, Batch, Category, Complete, Config, Kind, NO_LAYER, Track, Value};
use traces::{Nanos, op, span};

/// A process has one recorder, so its tests run one at a time.
fn lock() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The records of `work` on a new thread whose ring has this capacity.
fn recorded(capacity: usize, work: impl FnOnce() + Send) -> Batch {
    record::drain();
    record::start(Config { per_thread: capacity });
    on_thread("worker", work);
    record::stop();
    record::drain()
}

fn on_thread(name: &str, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| Builder::new().name(name.into()).spawn_scoped(scope, work).unwrap().join().unwrap());
}

#[test]
fn drains_get_all_records_of_all_threads_while_these_run() {
    const THREADS: usize = 6;
    const MARKS: usize = 20_000;
    let _lock = lock();
    record::drain();
    record::start(Config { per_thread: 4 * MARKS });
    let mut batches = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let work = move || {
                    for n in 0..MARKS {
                        let _outer = span!("outer", "n" = n);
                        let _inner = op!("inner", thread, [n]);
                    }
                };
                Builder::new().name(format!("worker {thread}")).spawn_scoped(scope, work).unwrap()
            })
            .collect();
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            batches.push(record::drain());
        }
    });
    record::stop();
    batches.push(record::drain());

    let events = || batches.iter().flat_map(|batch| &batch.events);
    assert_eq!(batches.iter().map(|batch| batch.dropped).sum::<u64>(), 0);
    assert_eq!(events().count(), 2 * THREADS * MARKS);
    for thread in 0..THREADS {
        let name = format!("worker {thread}");
        let tid = batches.iter().flat_map(|batch| &batch.threads).find(|known| known.name == name).unwrap().tid;
        let ops = || events().filter(|event| event.tid == tid && event.kind == Kind::Op);
        assert!(ops().all(|op| op.layer == Some(thread as u32) && op.name == "inner"));
        // A guard that records between two drains may appear in the later batch: in all they are complete and in order.
        let numbers: Vec<usize> = ops().map(|op| op.shape[0] as usize).collect();
        assert_eq!(numbers, (0..MARKS).collect::<Vec<_>>());
    }
    for batch in &batches {
        assert!(batch.events.is_sorted_by_key(|event| event.start), "a batch is in order of time");
    }
}

#[test]
fn a_full_ring_counts_dropped_records_and_loses_no_others() {
    let _lock = lock();
    let before = record::dropped();
    let batch = recorded(64, || {
        for n in 0..1000_usize {
            let _op = op!("many", NO_LAYER, [n]);
        }
        on_thread("calm", || (0..10).for_each(|_| drop(op!("few"))));
    });
    let of = |name| batch.events.iter().filter(move |event| event.name == name);
    // The oldest stay: a ring never overwrites records that are not drained.
    assert!(of("many").map(|op| op.shape[0]).eq(0..64));
    assert_eq!(of("few").count(), 10);
    assert_eq!((batch.dropped, record::dropped() - before), (936, 936));
    assert_eq!(record::drain(), Batch::default(), "dropped records are reported once");
}

#[test]
fn a_drain_empties_the_ring() {
    let _lock = lock();
    let batch = recorded(8, || {
        for _ in 0..10 {
            (0..8).for_each(|_| drop(op!("round")));
            assert_eq!(record::drain().events.len(), 8);
        }
    });
    assert_eq!(batch, Batch::default());
}

#[test]
fn marks_record_and_evaluate_nothing_while_off() {
    let _lock = lock();
    record::stop();
    record::drain();
    let evaluated = || -> usize { panic!("evaluated while off") };
    drop(op!("off", evaluated(), [evaluated()]));
    drop(span!("off", "value" = evaluated()));
    record::counter("off", "series", 1.0);
    record::instant("off", Category::Tool, &[]);
    record::emit(Complete::span("off", Category::Tool, Nanos(1), Nanos(1)));
    assert_eq!(record::drain(), Batch::default());
}

#[test]
fn an_op_can_have_any_name_and_state_its_work() {
    let _lock = lock();
    let cost = record::Cost { flops: Some(6), streamed_bytes: 5, activation_bytes: 4 };
    let batch = recorded(64, || {
        let name = record::TextName::of(&["ssm", "in"].join("_"));
        let mut op = record::OpGuard::begin_text(name, 3_u32, [1, 2]);
        op.state_cost(cost);
        drop(op);
        drop(record::OpGuard::begin_text(name, NO_LAYER, []));
    });
    let ops: Vec<_> = batch.of(Kind::Op).map(|op| (op.name, op.layer, op.cost())).collect();
    assert_eq!(ops, [("ssm_in", Some(3), Some(cost)), ("ssm_in", None, None)]);
}

#[test]
fn a_histogram_takes_as_many_records_as_its_bins_need() {
    static EXPERTS: record::Name = record::Name::new("experts");
    let _lock = lock();
    let counts: Vec<(usize, usize)> = (0..20).map(|bin| (3 * bin, bin)).chain([(70, 70_000), (65_534, 2)]).collect();
    let batch = recorded(64, || record::histogram(&EXPERTS, 7_u32, 65_535, counts.clone()));
    // 19 bins that are not empty, two entries for a count of 17 bits, and one more.
    assert_eq!(batch.events.len(), 22_usize.div_ceil(record::BINS_PER_EVENT));
    assert!(batch.of(Kind::Histogram).all(|event| {
        (event.name, event.layer, event.shape) == ("experts", Some(7), [65_535, 0, 0])
            && event.start == batch.events[0].start
    }));
    let mut found = std::collections::BTreeMap::<usize, u64>::new();
    for (bin, count) in batch.events.iter().flat_map(|event| event.bins.iter()) {
        *found.entry(bin).or_default() += count;
    }
    let expected = counts.iter().filter(|(_, count)| *count > 0).map(|&(bin, count)| (bin, count as u64)).collect();
    assert_eq!(found, expected);
    record::stop();
    record::histogram(&EXPERTS, 7_u32, 8, std::iter::from_fn(|| -> Option<(usize, usize)> { panic!("it is off") }));
}

#[test]
fn a_span_that_is_open_at_the_stop_is_recorded() {
    let _lock = lock();
    let batch = recorded(8, || {
        let open = span!("open");
        record::stop();
        drop(op!("off"));
        drop(open);
    });
    assert_eq!(batch.events.iter().map(|event| event.name).collect::<Vec<_>>(), ["open"]);
}

#[test]
fn runs_on_a_virtual_clock_are_equal() {
    let _lock = lock();
    let run = || {
        recorded(64, || {
            let _clock = VirtualClock::install();
            let _request = span!(category: Request, "request", "case" = 3);
            for layer in 0..2_usize {
                let _phase = span!("decode", "position" = layer, "share" = 0.5);
                clock::advance(Nanos(5));
                let _op = op!("q_proj", layer, [1, 576, 576]);
                clock::sleep(Nanos(100));
            }
            record::counter("memory MB", "rss", 12.5);
            record::counters("load", &[("user", 1.0), ("system", 2.0)]);
            record::emit(Complete::op("matmul", 1_u32, [2, 3], Nanos(7), Nanos(9)).on(Track::named("device")));
        })
    };
    let (first, second) = (run(), run());
    let shown = |batch: &Batch| -> Vec<String> {
        let thread = |tid| batch.threads.iter().find(|thread| thread.tid == tid).unwrap().name.clone();
        let line = |event: &record::Event| {
            let args: Vec<_> = event.args.iter().collect();
            let (name, category, start, end) = (event.name, event.category, event.start.0, event.end().0);
            format!(
                "{} {category} {name} {start}..{end} {:?} {:?} {args:?}",
                thread(event.tid),
                event.layer,
                event.sizes()
            )
        };
        batch.events.iter().map(line).collect()
    };
    assert_eq!(shown(&first), shown(&second));
    assert_eq!(
        shown(&first),
        [
            "worker request request 0..210 None [] [(\"case\", Signed(3))]",
            "worker phase decode 0..105 None [] [(\"position\", Unsigned(0)), (\"share\", Float(0.5))]",
            "worker op q_proj 5..105 Some(0) [1, 576, 576] []",
            "device op matmul 7..16 Some(1) [2, 3] []",
            "worker phase decode 105..210 None [] [(\"position\", Unsigned(1)), (\"share\", Float(0.5))]",
            "worker op q_proj 110..210 Some(1) [1, 576, 576] []",
            "worker counter memory MB 210..210 None [] [(\"rss\", Float(12.5))]",
            "worker counter load 210..210 None [] [(\"user\", Float(1.0)), (\"system\", Float(2.0))]",
        ]
    );
}

#[test]
fn values_after_the_third_are_dropped() {
    let _lock = lock();
    let batch = recorded(8, || {
        record::counters("four", &[("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)]);
        record::instant("text", Category::Tool, &[("of", Value::Text("a model"))]);
    });
    assert_eq!(batch.events[0].args.iter().count(), 3);
    assert_eq!(batch.events[1].args.get("of"), Some(Value::Text("a model")));
}
