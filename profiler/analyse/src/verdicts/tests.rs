//! Facts with a known verdict, and properties of any facts.

use engine_api::Phase;
use proptest::prelude::*;

use super::weigh::{ranked, verdict};
use super::{CauseKind, Fact, Facts, RULES};
use record::{Confidence, Limit, Reason};

/// Decoding for one second on two of two processors, everything known, nothing remarkable.
fn quiet(phase: Phase) -> Facts {
    with(Facts::default(), |facts| {
        facts.phase = Some(phase);
        facts.time_s = 1.0;
        facts.latency_share = Some(0.6);
        facts.threads = 2;
        facts.machine.usable = Some(2);
        facts.machine.processors = Some(2);
        facts.prompt_tokens = Some(100.0);
        facts.work.time_s = Some(1.0);
        facts.work.attainable_s = Some(0.1);
        facts.work.memory_s = Some(0.05);
        facts.work.compute_s = Some(0.05);
        facts.work.cache_s = Some(0.0);
        facts.machine.bandwidth = Some(20e9);
        facts.machine.dispatch_s = Some(2e-6);
        facts.traced.small_ops = Some(10.0);
        facts.traced.small_ops_s = Some(0.001);
        facts.traced.idle_s = Some(0.01);
        facts.work.bits_per_weight = Some(8.5);
        facts.counted.time_s = Some(1.0);
        facts.counted.cpu_s = Some(2.0);
        facts.counted.minor_faults = Some(10.0);
        facts.counted.read_bytes = Some(0.0);
        facts.counted.involuntary_switches = Some(3.0);
        facts.machine.page_fault_s = Some(1e-6);
        facts.machine.cold_rate = Some(1e9);
        facts.machine.warm_rate = Some(10e9);
        facts.allocated.time_s = Some(1.0);
        facts.allocated.count = Some(100.0);
        facts.allocated.bytes = Some(1e6);
        facts.others = Some(0.0);
        facts.steal = Some(0.0);
        facts.on_processor = true;
        facts.machine.drift = Some(0.01);
        facts.traced.probe_effect = Some(1.0);
    })
}

/// The same facts with a change.
fn with(mut facts: Facts, change: impl FnOnce(&mut Facts)) -> Facts {
    change(&mut facts);
    facts
}

fn memory_bound() -> Facts {
    with(quiet(Phase::Decode), |facts| {
        facts.work.memory_s = Some(0.9);
        facts.work.attainable_s = Some(0.95);
    })
}

/// One entry per limit.
fn known() -> Vec<(Facts, Limit)> {
    let decode = || quiet(Phase::Decode);
    vec![
        (memory_bound(), Limit::MemoryBandwidth),
        (with(quiet(Phase::Prefill), |facts| facts.work.compute_s = Some(0.9)), Limit::Compute),
        (with(decode(), |facts| facts.traced.small_ops_s = Some(0.6)), Limit::Dispatch),
        (with(decode(), |facts| facts.traced.idle_s = Some(0.6)), Limit::Imbalance),
        (
            with(decode(), |facts| {
                facts.threads = 8;
                facts.counted.cpu_s = Some(2.0);
                facts.work.memory_s = Some(0.9);
            }),
            Limit::Oversubscription,
        ),
        (
            with(decode(), |facts| {
                facts.counted.minor_faults = Some(4e5);
                facts.work.memory_s = Some(0.5);
            }),
            Limit::PageFaults,
        ),
        (with(quiet(Phase::Load), |facts| facts.counted.read_bytes = Some(5e8)), Limit::ColdFile),
        (with(decode(), |facts| facts.allocated.count = Some(7e6)), Limit::Allocation),
        (quiet(Phase::Tokenize), Limit::Tokenizer),
        (quiet(Phase::Detokenize), Limit::Tokenizer),
        (quiet(Phase::Sample), Limit::Sampler),
        (
            with(decode(), |facts| {
                facts.others = Some(0.4);
                facts.counted.cpu_s = Some(1.2);
                facts.work.memory_s = Some(0.5);
            }),
            Limit::NoisyNeighbour,
        ),
        (with(decode(), |facts| facts.counted.cpu_s = Some(0.02)), Limit::QueueOrNetwork),
    ]
}

#[test]
fn each_limit_is_found_where_it_is_known() {
    for (facts, expected) in known() {
        let found = verdict(&facts).unwrap();
        assert_eq!(found.limit, expected, "{found:#?}");
        let ranks = ranked(&facts);
        assert!(
            ranks.get(1).is_none_or(|second| second.rule.kind != ranks[0].rule.kind || second.share < ranks[0].share),
            "two rules of equal rank: {ranks:#?}"
        );
    }
    for rule in RULES {
        assert!(known().iter().any(|(_, limit)| *limit == rule.limit), "{:?} has no case", rule.limit);
    }
}

#[test]
fn sentences_carry_their_figures() {
    let texts: Vec<String> = known()
        .iter()
        .map(|(facts, _)| {
            let verdict = verdict(facts).unwrap();
            let gain = verdict.advice.iter().map(|advice| match advice.predicted_gain.value() {
                Some(gain) => format!("  {} [{gain:.2}]", advice.text),
                None => format!("  {}", advice.text),
            });
            format!("{:?}: {}\n{}", verdict.confidence, verdict.sentence, gain.collect::<Vec<_>>().join("\n"))
        })
        .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn a_disturbing_cause_wins_over_a_larger_steady_one() {
    let facts = with(memory_bound(), |facts| facts.others = Some(0.2));
    assert_eq!(verdict(&facts).unwrap().limit, Limit::NoisyNeighbour);
    let below = with(memory_bound(), |facts| facts.others = Some(0.05));
    assert_eq!(verdict(&below).unwrap().limit, Limit::MemoryBandwidth);
    // Others may use processors that the phase does not need.
    let spare = with(memory_bound(), |facts| {
        facts.others = Some(0.5);
        facts.machine.processors = Some(8);
    });
    assert_eq!(verdict(&spare).unwrap().limit, Limit::MemoryBandwidth);
}

#[test]
fn what_lowers_the_confidence() {
    let confidence = |facts: Facts| verdict(&facts).unwrap().confidence;
    assert_eq!(confidence(memory_bound()), Confidence::High);
    assert_eq!(
        confidence(with(memory_bound(), |facts| facts.machine.drift = Some(0.12))),
        Confidence::Medium,
        "drift over 10 %"
    );
    assert_eq!(confidence(with(memory_bound(), |facts| facts.machine.drift = Some(0.09))), Confidence::High);
    assert_eq!(
        confidence(with(memory_bound(), |facts| facts.work.compute_s = Some(0.8))),
        Confidence::Medium,
        "another is near"
    );
    assert_eq!(confidence(with(memory_bound(), |facts| facts.work.whole_model = true)), Confidence::Medium, "no ops");
    assert_eq!(
        confidence(with(memory_bound(), |facts| {
            facts.machine.drift = Some(0.3);
            facts.traced.probe_effect = Some(1.3);
        })),
        Confidence::Low,
        "two doubts"
    );
    let weak = with(memory_bound(), |facts| {
        (facts.work.memory_s, facts.work.attainable_s) = (Some(0.2), Some(0.25));
    });
    let found = verdict(&weak).unwrap();
    assert_eq!((found.limit, found.confidence), (Limit::MemoryBandwidth, Confidence::Low));
    assert!(found.unexplained && found.sentence.starts_with("No measured limit explains half"), "{}", found.sentence);
}

#[test]
fn the_phase_that_waited_for_a_cold_file_is_named() {
    let cold = with(quiet(Phase::Load), |facts| {
        facts.load.file_bytes = Some(1e8);
        facts.counted.read_bytes = Some(1e8);
        facts.load.time_s = Some(0.2);
    });
    let by_load = with(cold.clone(), |facts| facts.load.read_bytes = Some(1e8));
    assert!(verdict(&by_load).unwrap().sentence.contains("the load waited for it"));
    let later = with(cold, |facts| {
        facts.load.read_bytes = Some(1e6);
        facts.load.first_prefill_excess_s = Some(0.09);
    });
    assert!(verdict(&later).unwrap().sentence.contains("the first prefill waited for it (90.00 ms longer"));
}

#[test]
fn an_absent_fact_that_the_rule_needs_is_a_doubt() {
    let absent = [(Fact::IdleTime, Reason::new("no thread recorded its tasks")), (Fact::MemoryTime, Reason::new("x"))];
    let found = verdict(&with(memory_bound(), |facts| facts.absent = absent.into())).unwrap();
    assert_eq!(found.doubts, ["the attainable time of memory traffic is unknown: x"]);
    assert_eq!(found.confidence, Confidence::Medium);
}

#[test]
fn nothing_known_is_no_verdict() {
    let nothing = with(Facts::default(), |facts| {
        facts.phase = Some(Phase::Decode);
        facts.time_s = 1.0;
        facts.threads = 2;
    });
    assert_eq!(verdict(&nothing), None);
}

#[test]
fn the_rules_are_in_order_and_each_limit_has_one() {
    assert!(RULES.windows(2).all(|pair| pair[0].kind <= pair[1].kind), "disturbing causes are first");
    for (index, rule) in RULES.iter().enumerate() {
        for other in RULES[..index].iter().filter(|other| other.limit == rule.limit) {
            let both = rule.phases.iter().any(|phase| other.phases.contains(phase));
            assert!(!both, "{:?} has two rules for one phase", rule.limit);
        }
        assert!((0.0..1.0).contains(&rule.threshold) && !rule.phases.is_empty());
        assert!(rule.kind == CauseKind::Steady || rule.threshold > 0.0, "a disturbing cause needs a threshold");
    }
}

#[test]
fn a_warm_load_that_computes_is_bound_by_compute() {
    // 61 of 72.6 ms in user mode, 9,096 pages at 1.6 us, 4.4 ms for the bytes: a tokenizer that is built.
    let load = with(quiet(Phase::Load), |facts| {
        facts.time_s = 0.0726;
        facts.counted.time_s = Some(0.0726);
        facts.work.time_s = Some(0.0726);
        facts.work.memory_s = Some(0.0044);
        facts.work.attainable_s = Some(0.0044);
        facts.load.user_s = Some(0.061);
        facts.work.compute_s = Some(0.0566);
        facts.counted.minor_faults = Some(9096.0);
        facts.machine.page_fault_s = Some(1.6e-6);
        facts.latency_share = None;
    });
    let found = verdict(&load).unwrap();
    assert_eq!(found.limit, Limit::Compute, "{found:#?}");
    assert!(found.sentence.contains("56.60 ms of 72.60 ms (78 %)"), "{}", found.sentence);
}

fn figure() -> impl Strategy<Value = Option<f64>> {
    proptest::option::of(prop_oneof![Just(0.0), 1e-9..1e-3_f64, 1e-3..10.0_f64, 10.0..1e12_f64])
}

prop_compose! {
    fn anything()(
        phase in 0..Phase::ALL.len(),
        threads in 1..64_usize,
        usable in proptest::option::of(1..64_usize),
        on_processor in any::<bool>(),
        a in proptest::collection::vec(figure(), 12),
        b in proptest::collection::vec(figure(), 12),
    ) -> Facts {
        with(Facts::default(), |facts| { facts.phase = Some(Phase::ALL[phase]); facts.time_s = a[0].unwrap_or(0.5); facts.threads = threads; facts.machine.usable = usable; facts.machine.processors = usable; facts.on_processor = on_processor; facts.work.time_s = a[1]; facts.work.attainable_s = a[2]; facts.work.memory_s = a[3]; facts.work.compute_s = a[4]; facts.traced.small_ops_s = a[5]; facts.traced.idle_s = a[6]; facts.counted.time_s = a[7]; facts.counted.cpu_s = a[8]; facts.counted.minor_faults = a[9]; facts.counted.read_bytes = a[10]; facts.counted.involuntary_switches = a[11]; facts.machine.page_fault_s = b[0]; facts.machine.cold_rate = b[1]; facts.machine.warm_rate = b[2]; facts.allocated.time_s = b[3]; facts.allocated.count = b[4]; facts.others = b[5]; facts.steal = b[6]; facts.load.file_bytes = b[7]; facts.machine.bandwidth = b[8]; facts.machine.drift = b[9]; facts.traced.probe_effect = b[10]; facts.work.bits_per_weight = b[11]; facts.latency_share = Some(0.5); facts.traced.small_ops = Some(3.0); })
    }
}

proptest! {
    #[test]
    fn any_facts_give_one_verdict_or_nothing_applies(facts in anything()) {
        let ranks = ranked(&facts);
        match verdict(&facts) {
            None => prop_assert!(ranks.is_empty()),
            Some(verdict) => {
                prop_assert_eq!(verdict.limit, ranks[0].rule.limit);
                prop_assert!(verdict.share > 0.0 && verdict.share <= 1.0);
                prop_assert!(!verdict.advice.is_empty() && !verdict.sentence.contains("NaN"));
                for advice in &verdict.advice {
                    prop_assert!(advice.predicted_gain.value().is_none_or(|gain| gain >= 1.0 && gain.is_finite()));
                }
                // No other rule of its kind explains more.
                prop_assert!(ranks.iter().all(|other| other.rule.kind != ranks[0].rule.kind || other.share <= ranks[0].share));
            }
        }
    }
}

#[test]
fn a_limit_that_explains_less_than_half_is_only_the_nearest() {
    let weak = with(quiet(Phase::Decode), |facts| {
        facts.work.memory_s = Some(0.29);
        facts.work.attainable_s = Some(0.3);
    });
    let found = verdict(&weak).unwrap();
    assert!(found.unexplained && found.confidence == Confidence::Low);
    insta::assert_snapshot!(found.sentence, @"No measured limit explains half of the time of decode, so something else binds it. The nearest ceiling is memory bandwidth: at 20.00 GB/s its bytes take at least 290.0 ms of 1000 ms (29 %).");
    let together = with(quiet(Phase::Decode), |facts| {
        facts.work.memory_s = Some(0.45);
        facts.work.compute_s = Some(0.35);
        facts.work.attainable_s = Some(0.8);
    });
    let found = verdict(&together).unwrap();
    assert!(!found.unexplained && found.headroom.is_present(), "the ceilings together explain most of it");
}

#[test]
fn headroom_is_withheld_where_it_cannot_be_believed() {
    let reason = |facts: &Facts| verdict(facts).unwrap().headroom.reason().map(ToString::to_string);
    assert_eq!(reason(&memory_bound()), None);
    let disturbed = with(memory_bound(), |facts| facts.others = Some(0.4));
    assert_eq!(reason(&disturbed).unwrap(), "the times are disturbed by other programs on the machine");
    let requests = |count: usize| with(memory_bound(), |facts| facts.disturbed = Some((count, 4)));
    assert_eq!(reason(&requests(1)), None, "the median is that of the other requests");
    assert_eq!(reason(&requests(2)).unwrap(), "2 of 4 requests were disturbed");
    let unknown = with(quiet(Phase::Decode), |facts| facts.work.memory_s = Some(0.3));
    assert!(reason(&unknown).unwrap().starts_with("the limit is not known"));
    // Reading the file takes 1 % of a load that computes for 90 % of its time.
    let load = |memory_s: f64, compute_s: f64| {
        with(quiet(Phase::Load), |facts| {
            (facts.work.memory_s, facts.work.attainable_s) = (Some(memory_s), Some(memory_s));
            facts.work.compute_s = Some(compute_s);
        })
    };
    assert!(reason(&load(0.01, 0.9)).unwrap().contains("cover reading the file"));
    assert_eq!(reason(&load(0.8, 0.1)), None);
}
