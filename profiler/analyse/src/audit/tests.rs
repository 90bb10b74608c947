//! A request that satisfies every rule, and for each rule a change that violates it alone.

use engine_api::{CacheBypass, CacheHit};

use super::*;
use crate::attribution::case_ceilings;
use record::plan::{PlanFile, PlannedModel, PlannedPrompt};
use record::{CacheCeiling, CacheCeilings, Ceilings, Preprocessing, Recorded, ServerFile, Spread, ThreadCeilings};

/// 100 MB of weights at 50 tokens/s (5 GB/s of 10), 20 tokens in 0.5 s after a prompt of 40 tokens in 0.1 s.
fn run(change: impl FnOnce(&mut Case)) -> RunFile {
    let server = ServerSample {
        prompt_tokens: 40.into(),
        cached_tokens: 0.into(),
        cache: CacheHit::Cold.into(),
        output_tokens: 20.into(),
        prefill_s: 0.1.into(),
        decode_s: 0.38.into(),
        prefill_tps: 400.0.into(),
        decode_tps: 50.0.into(),
        chunks: 20,
        ..ServerSample::absent("not reported")
    };
    let sample = Sample {
        latency_s: 0.5.into(),
        ttft_s: 0.11.into(),
        decode_tps: 49.0.into(),
        server: Some(server),
        ..Sample::absent("not measured")
    };
    let server = ServerFile { pid: 7.into(), cache: CacheBypass::Switch, ..ServerFile::absent("not reported") };
    let mut case = Case {
        model: "m".to_owned(),
        prompt: "p".to_owned(),
        threads: 1,
        server: Some(server),
        samples: vec![sample.clone(), Sample { warmup: true, ..sample.clone() }, sample],
        ..Case::default()
    };
    change(&mut case);
    let spread = |median| Spread { median, low: median, high: median, n: 1 };
    let cache = CacheCeiling { level: 3, size_bytes: 32 << 20, read: spread(40e9) };
    let ceilings = ThreadCeilings {
        threads: 1,
        memory_read: spread(10e9).into(),
        caches: CacheCeilings::measured(vec![cache], "not measured"),
        ..ThreadCeilings::absent("not measured")
    };
    RunFile {
        ceilings: Ceilings { threads: vec![ceilings], ..Ceilings::absent("not measured") }.into(),
        cases: vec![case],
        plan: PlanFile {
            models: vec![PlannedModel {
                has_experts: Some(false),
                name: "m".to_owned(),
                file_bytes: 100_000_000.into(),
                ..PlannedModel::absent("not recorded")
            }],
            prompts: vec![PlannedPrompt {
                model: "m".to_owned(),
                id: "p".to_owned(),
                prompt_tokens: 40,
                ..PlannedPrompt::default()
            }],
            ..PlanFile::default()
        },
        ..RunFile::default()
    }
}

fn audited(file: &RunFile) -> Vec<AuditFinding> {
    let case = &file.cases[0];
    audit(file, case, &case_ceilings(file, case)).unwrap()
}

fn findings(change: impl FnOnce(&mut Case)) -> Vec<AuditFinding> {
    audited(&run(change))
}

/// Changes what the server says of the last request.
fn said(change: impl Fn(&mut ServerSample)) -> Vec<AuditFinding> {
    findings(|case| change(case.samples[2].server.as_mut().unwrap()))
}

fn none<T>() -> Recorded<T> {
    Recorded::absent("not reported")
}

fn only(found: &[AuditFinding], rule: &str) -> String {
    assert_eq!(found.iter().map(|finding| finding.rule.as_str()).collect::<Vec<_>>(), [rule], "{found:?}");
    found[0].text.clone()
}

#[test]
fn a_consistent_request_has_no_findings() {
    assert_eq!(findings(|_| {}), []);
}

#[test]
fn each_rule_has_a_request_that_violates_it() {
    let text = |change: fn(&mut ServerSample), rule| only(&said(change), rule);
    insta::assert_snapshot!(text(|s| (s.prefill_s, s.prefill_tps) = (0.12.into(), none()), "prefill_before_first_token"), @"the server reports 0.120 s for the prompt, but its first text arrived after 0.110 s");
    insta::assert_snapshot!(text(|s| s.decode_s = 0.45.into(), "work_within_latency"), @"the server reports 0.550 s of work, but the whole request took 0.500 s");
    insta::assert_snapshot!(text(|s| s.chunks = 22, "pieces_are_tokens"), @"22 pieces of text arrived, but the server counts 20 tokens: its count is wrong");
    insta::assert_snapshot!(text(|s| s.prefill_tps = 4000.0.into(), "prefill_rate_fits_its_time"), @"the server reports 4000.0 prompt tokens/s, but 40 tokens in 0.100 s are 400.0: it counts cached tokens, or the time of another request");
    insta::assert_snapshot!(text(|s| s.decode_tps = 80.0.into(), "decode_rate_fits_arrivals"), @"the server reports 80.0 tokens/s, but they arrived at 49.0 tokens/s: its time is incomplete, or it delays tokens");
    insta::assert_snapshot!(text(|s| s.chunks = 10, "one_token_an_event"), @"20 tokens arrived in 10 pieces of text: the gaps are those of pieces, not of tokens");
    insta::assert_snapshot!(text(|s| (s.prompt_tokens, s.prefill_tps) = (44.into(), none()), "same_prompt"), @"the server counts 44 prompt tokens, the tokenizer of the model file counts 40: the template or the model differs");
    insta::assert_snapshot!(text(|s| (s.cached_tokens, s.cache, s.prefill_tps) = (39.into(), CacheHit::Exact.into(), none()), "empty_prefix_cache"), @"39 of 40 prompt tokens are from the server's prefix cache: TTFT and prefill are not those of the whole prompt");
    insta::assert_snapshot!(text(|s| s.first_token_s = Some(0.2), "first_token_before_ours"), @"the server reports its first token after 0.200 s, but its first text arrived after 0.110 s");
    insta::assert_snapshot!(text(|s| s.other_requests = Some(1), "no_other_client"), @"the server worked on 1 request of other clients meanwhile: times are not those of this request alone");
    insta::assert_snapshot!(text(|s| (s.prefill_s, s.prefill_tps) = (none(), 200.0.into()), "prefill_before_first_token"), @"the server reports 0.200 s for the prompt, but its first text arrived after 0.110 s");
    let found = findings(|case| {
        case.server.as_mut().unwrap().cache = CacheBypass::None;
        case.samples[2].server.as_mut().unwrap().cache = none();
    });
    insta::assert_snapshot!(only(&found, "known_prefix_cache"), @"the server's prefix cache is not bypassed, and the server does not report its use: TTFT and prefill may include cached tokens");
    assert_eq!((found[0].requests, found[0].of), (1, 2), "warm-up requests do not count");
}

/// Of 17 GB a token reads 1.8 GB.
#[test]
fn a_model_with_experts_is_faster_than_its_file_allows() {
    let file = |rate: f64| {
        let mut file = run(|case| {
            case.samples[2].decode_tps = rate.into();
            case.samples[2].server.as_mut().unwrap().decode_tps = rate.into();
        });
        let spec = models::registry::find("qwen-3-30b-a3b").unwrap().spec();
        let model = &mut file.plan.models[0];
        model.types = models::cost::WeightTypes::uniform(&spec, models::DType::Q4_0).into();
        (model.spec, model.file_bytes) = (spec.into(), 17_200_000_000.into());
        file.cases[0].samples[0] = file.cases[0].samples[2].clone();
        file
    };
    assert!(audited(&file(5.0)).iter().all(|found| found.rule != "below_memory_bandwidth"));
    let mut untyped = file(5.0);
    untyped.plan.models[0].types = Recorded::absent("not known");
    let found = audited(&untyped);
    assert!(found.iter().all(|found| found.rule != "below_memory_bandwidth"), "what a token reads is not known");
    let found = audited(&file(9.0));
    let found = found.iter().find(|found| found.rule == "below_memory_bandwidth").unwrap();
    assert!(
        found.text.starts_with("9.0 tokens/s that each read their experts of a file of 17200.0 MB"),
        "{}",
        found.text
    );
}

#[test]
fn a_rate_above_the_memory_bandwidth_is_impossible() {
    let found = findings(|case| {
        case.samples[2].decode_tps = 130.0.into();
        case.samples[2].server.as_mut().unwrap().decode_tps = 130.0.into();
    });
    insta::assert_snapshot!(only(&found, "below_memory_bandwidth"), @"130.0 tokens/s with a file of 100.0 MB need 13.0 GB/s, but 1 threads read at most 10.0 GB/s on this machine: the server uses other weights, more threads, another device, or speculative decoding");
    assert!(found[0].impossible);
    let elsewhere = findings(|case| {
        case.server.as_mut().unwrap().pid = none();
        case.samples[2].decode_tps = 130.0.into();
        case.samples[2].server.as_mut().unwrap().decode_tps = 130.0.into();
    });
    assert_eq!(elsewhere, [], "the memory of another machine was not measured");
}

#[test]
fn a_prompt_with_a_nonce_is_another_prompt() {
    for tokens in [30, 53] {
        let found = said(|server| {
            server.nonce = true;
            server.prompt_tokens = tokens.into();
            server.prefill_tps = none();
        });
        assert_eq!(found, []);
    }
}

#[test]
fn text_after_a_finish_reason_is_reported() {
    let late = said(|server| server.reopened = 19);
    insta::assert_snapshot!(only(&late, "no_text_after_the_end"), @"19 of 20 pieces of text arrived after a finish_reason: the answer ends with the last of them");
    let unknown = said(|server| server.unknown_finish = Some("pondering".to_owned()));
    insta::assert_snapshot!(only(&unknown, "known_finish_reason"), @"the finish_reason `pondering` is unknown: the answer ends with the stream instead");
}

#[test]
fn another_file_is_recognised_by_its_name() {
    let named = |model: &str| {
        let mut file = run(|case| case.server.as_mut().unwrap().model = model.to_owned());
        file.plan.models[0].path = "/models/a.Q4_1.gguf".to_owned();
        audited(&file)
    };
    insta::assert_snapshot!(only(&named("/x/b.Q8_0.gguf"), "same_file"), @"the server uses b.Q8_0.gguf, but this model is a.Q4_1.gguf: nothing shows that they are the same");
    assert_eq!(named("/elsewhere/a.Q4_1.gguf"), []);
    assert_eq!(named("gpt-oss"), [], "a name that is no file says nothing");
}

#[test]
fn a_rule_without_its_figures_does_not_apply() {
    let found = findings(|case| {
        for sample in &mut case.samples {
            sample.server = Some(ServerSample { chunks: 20, ..ServerSample::absent("not reported") });
        }
    });
    insta::assert_snapshot!(only(&found, "counted_tokens"), @"the server does not count its tokens: all rates use its 20 pieces of text instead");
    assert!(findings(|case| case.samples.clear()).is_empty());
}

#[test]
fn other_tokens_of_the_same_prompt_are_reported() {
    let asked = |same_ids: Recorded<bool>| {
        findings(|case| {
            let before = Preprocessing {
                same_text: false.into(),
                same_ids,
                differs: Some("token 3 is 7 there and 9 here, of 40 and 40 tokens".to_owned()),
                ..Preprocessing::absent("not asked")
            };
            case.server.as_mut().unwrap().before_model = Some(before);
        })
    };
    insta::assert_snapshot!(only(&asked(false.into()), "same_tokens"), @"the server's tokens of the prompt differ from those of the model file: its template produces another text; token 3 is 7 there and 9 here, of 40 and 40 tokens");
    assert_eq!((asked(true.into()), asked(none())), (Vec::new(), Vec::new()));
}
