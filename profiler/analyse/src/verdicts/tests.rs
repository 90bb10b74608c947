//! Facts with a known verdict, and properties of any facts.

use engine_api::Phase;
use proptest::prelude::*;

use super::weigh::{ranked, verdict};
use super::{CauseKind, Fact, Facts, RULES};
use record::{Confidence, Limit, Reason};

/// Decoding for one second on two of two processors, everything known, nothing remarkable.
fn quiet(phase: Phase) -> Facts {
    Facts {
        phase: Some(phase),
        time_s: 1.0,
        latency_share: Some(0.6),
        threads: 2,
        usable: Some(2),
        processors: Some(2),
        prompt_tokens: Some(100.0),
        work_s: Some(1.0),
        attainable_s: Some(0.1),
        memory_s: Some(0.05),
        compute_s: Some(0.05),
        cache_s: Some(0.0),
        bandwidth: Some(20e9),
        dispatch_s: Some(2e-6),
        small_ops: Some(10.0),
        small_ops_s: Some(0.001),
        idle_s: Some(0.01),
        bits_per_weight: Some(8.5),
        counted_s: Some(1.0),
        cpu_s: Some(2.0),
        minor_faults: Some(10.0),
        read_bytes: Some(0.0),
        involuntary_switches: Some(3.0),
        page_fault_s: Some(1e-6),
        cold_rate: Some(1e9),
        warm_rate: Some(10e9),
        allocating_s: Some(1.0),
        allocations: Some(100.0),
        allocated_bytes: Some(1e6),
        others: Some(0.0),
        steal: Some(0.0),
        on_processor: true,
        drift: Some(0.01),
        probe_effect: Some(1.0),
        ..Facts::default()
    }
}

fn memory_bound() -> Facts {
    Facts { memory_s: Some(0.9), attainable_s: Some(0.95), ..quiet(Phase::Decode) }
}

/// One entry per limit.
fn known() -> Vec<(Facts, Limit)> {
    let decode = || quiet(Phase::Decode);
    vec![
        (memory_bound(), Limit::MemoryBandwidth),
        (Facts { compute_s: Some(0.9), ..quiet(Phase::Prefill) }, Limit::Compute),
        (Facts { small_ops_s: Some(0.6), ..decode() }, Limit::Dispatch),
        (Facts { idle_s: Some(0.6), ..decode() }, Limit::Imbalance),
        (Facts { threads: 8, cpu_s: Some(2.0), memory_s: Some(0.9), ..decode() }, Limit::Oversubscription),
        (Facts { minor_faults: Some(4e5), memory_s: Some(0.5), ..decode() }, Limit::PageFaults),
        (Facts { read_bytes: Some(5e8), ..quiet(Phase::Load) }, Limit::ColdFile),
        (Facts { allocations: Some(7e6), ..decode() }, Limit::Allocation),
        (quiet(Phase::Tokenize), Limit::Tokenizer),
        (quiet(Phase::Detokenize), Limit::Tokenizer),
        (quiet(Phase::Sample), Limit::Sampler),
        (Facts { others: Some(0.4), cpu_s: Some(1.2), memory_s: Some(0.5), ..decode() }, Limit::NoisyNeighbour),
        (Facts { cpu_s: Some(0.02), ..decode() }, Limit::QueueOrNetwork),
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
    let facts = Facts { others: Some(0.2), ..memory_bound() };
    assert_eq!(verdict(&facts).unwrap().limit, Limit::NoisyNeighbour);
    let below = Facts { others: Some(0.05), ..memory_bound() };
    assert_eq!(verdict(&below).unwrap().limit, Limit::MemoryBandwidth);
    // Others may use processors that the phase does not need.
    let spare = Facts { others: Some(0.5), processors: Some(8), ..memory_bound() };
    assert_eq!(verdict(&spare).unwrap().limit, Limit::MemoryBandwidth);
}

#[test]
fn what_lowers_the_confidence() {
    let confidence = |facts: Facts| verdict(&facts).unwrap().confidence;
    assert_eq!(confidence(memory_bound()), Confidence::High);
    assert_eq!(confidence(Facts { drift: Some(0.12), ..memory_bound() }), Confidence::Medium, "drift over 10 %");
    assert_eq!(confidence(Facts { drift: Some(0.09), ..memory_bound() }), Confidence::High);
    assert_eq!(confidence(Facts { compute_s: Some(0.8), ..memory_bound() }), Confidence::Medium, "another is near");
    assert_eq!(confidence(Facts { whole_model: true, ..memory_bound() }), Confidence::Medium, "no ops");
    assert_eq!(
        confidence(Facts { drift: Some(0.3), probe_effect: Some(1.3), ..memory_bound() }),
        Confidence::Low,
        "two doubts"
    );
    let weak = Facts { memory_s: Some(0.2), ..memory_bound() };
    let found = verdict(&weak).unwrap();
    assert_eq!((found.limit, found.confidence), (Limit::MemoryBandwidth, Confidence::Low));
    assert!(found.sentence.starts_with("No limit explains decode"), "{}", found.sentence);
}

#[test]
fn the_phase_that_waited_for_a_cold_file_is_named() {
    let cold = Facts { file_bytes: Some(1e8), read_bytes: Some(1e8), load_s: Some(0.2), ..quiet(Phase::Load) };
    let by_load = Facts { load_read_bytes: Some(1e8), ..cold.clone() };
    assert!(verdict(&by_load).unwrap().sentence.contains("the load waited for it"));
    let later = Facts { load_read_bytes: Some(1e6), first_prefill_excess_s: Some(0.09), ..cold };
    assert!(verdict(&later).unwrap().sentence.contains("the first prefill waited for it (90.00 ms longer"));
}

#[test]
fn an_absent_fact_that_the_rule_needs_is_a_doubt() {
    let absent = [(Fact::IdleTime, Reason::new("no thread recorded its tasks")), (Fact::MemoryTime, Reason::new("x"))];
    let found = verdict(&Facts { absent: absent.into(), ..memory_bound() }).unwrap();
    assert_eq!(found.doubts, ["the attainable time of memory traffic is unknown: x"]);
    assert_eq!(found.confidence, Confidence::Medium);
}

#[test]
fn nothing_known_is_no_verdict() {
    let nothing = Facts { phase: Some(Phase::Decode), time_s: 1.0, threads: 2, ..Facts::default() };
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
    let load = Facts {
        time_s: 0.0726,
        counted_s: Some(0.0726),
        work_s: Some(0.0726),
        memory_s: Some(0.0044),
        attainable_s: Some(0.0044),
        user_s: Some(0.061),
        compute_s: Some(0.0566),
        minor_faults: Some(9096.0),
        page_fault_s: Some(1.6e-6),
        latency_share: None,
        ..quiet(Phase::Load)
    };
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
        Facts {
            phase: Some(Phase::ALL[phase]), time_s: a[0].unwrap_or(0.5), threads, usable, processors: usable, on_processor,
            work_s: a[1], attainable_s: a[2], memory_s: a[3], compute_s: a[4], small_ops_s: a[5], idle_s: a[6],
            counted_s: a[7], cpu_s: a[8], minor_faults: a[9], read_bytes: a[10], involuntary_switches: a[11],
            page_fault_s: b[0], cold_rate: b[1], warm_rate: b[2], allocating_s: b[3], allocations: b[4],
            others: b[5], steal: b[6], file_bytes: b[7], bandwidth: b[8], drift: b[9], probe_effect: b[10],
            bits_per_weight: b[11], latency_share: Some(0.5), small_ops: Some(3.0),
            ..Facts::default()
        }
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
