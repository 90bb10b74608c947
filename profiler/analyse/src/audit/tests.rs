//! One request that keeps every rule, and for each rule a change that breaks it alone.

use engine_api::{CacheBypass, CacheHit};

use super::*;
use crate::attribution::case_ceilings;
use record::plan::{PlanFile, PlannedModel, PlannedPrompt};
use record::{CacheCeiling, Ceilings, Preprocessing, ServerFile, Spread, ThreadCeilings};

/// 100 MB of weights at 50 tokens/s (5 GB/s of 10), 20 tokens in 0.5 s after a prompt of 40 tokens in 0.1 s.
fn run(change: impl FnOnce(&mut Case)) -> RunFile {
    let server = ServerSample {
        prompt_tokens: Some(40),
        cached_tokens: Some(0),
        cache: Some(CacheHit::Cold),
        output_tokens: Some(20),
        prefill_s: Some(0.1),
        decode_s: Some(0.38),
        prefill_tps: Some(400.0),
        decode_tps: Some(50.0),
        chunks: 20,
        ..ServerSample::default()
    };
    let sample = Sample {
        latency_s: Some(0.5),
        ttft_s: Some(0.11),
        decode_tps: Some(49.0),
        server: Some(server),
        ..Sample::default()
    };
    let server = ServerFile { pid: Some(7), cache: CacheBypass::Switch, ..ServerFile::default() };
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
    let ceilings = ThreadCeilings {
        threads: 1,
        memory_read: Some(spread(10e9)),
        caches: vec![CacheCeiling { level: 3, size_bytes: 32 << 20, read: spread(40e9) }],
        ..ThreadCeilings::default()
    };
    RunFile {
        ceilings: Some(Ceilings { threads: vec![ceilings], ..Ceilings::default() }),
        cases: vec![case],
        plan: PlanFile {
            models: vec![PlannedModel {
                name: "m".to_owned(),
                file_bytes: Some(100_000_000),
                ..PlannedModel::default()
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

fn only(found: &[AuditFinding], rule: &str) -> String {
    assert_eq!(found.iter().map(|finding| finding.rule.as_str()).collect::<Vec<_>>(), [rule], "{found:?}");
    found[0].text.clone()
}

#[test]
fn a_request_that_fits_has_no_findings() {
    assert_eq!(findings(|_| {}), []);
}

#[test]
fn each_rule_is_broken_by_what_it_is_about() {
    let text = |change: fn(&mut ServerSample), rule| only(&said(change), rule);
    insta::assert_snapshot!(text(|s| (s.prefill_s, s.prefill_tps) = (Some(0.12), None), "prefill_before_first_token"), @"the server says that the prompt took 0.120 s, and its first word was here after 0.110 s");
    insta::assert_snapshot!(text(|s| s.decode_s = Some(0.45), "work_within_latency"), @"the server says that it worked for 0.550 s, and the whole request took 0.500 s");
    insta::assert_snapshot!(text(|s| s.chunks = 22, "pieces_are_tokens"), @"22 pieces of text came, and the server counts 20 tokens: its count is wrong");
    insta::assert_snapshot!(text(|s| s.prefill_tps = Some(4000.0), "prefill_rate_fits_its_time"), @"the server says 4000.0 prompt tokens/s, and 40 tokens in 0.100 s are 400.0: it counts cached tokens, or another request's time");
    insta::assert_snapshot!(text(|s| s.decode_tps = Some(80.0), "decode_rate_fits_arrivals"), @"the server says 80.0 tokens/s, and they arrived at 49.0 tokens/s: its clock leaves something out, or tokens are held back");
    insta::assert_snapshot!(text(|s| s.chunks = 10, "one_token_an_event"), @"20 tokens came in 10 pieces of text: the gaps are those of pieces, not of tokens");
    insta::assert_snapshot!(text(|s| (s.prompt_tokens, s.prefill_tps) = (Some(44), None), "same_prompt"), @"the server counts 44 prompt tokens, the tokenizer of the model file 40: another template or another model");
    insta::assert_snapshot!(text(|s| (s.cached_tokens, s.cache, s.prefill_tps) = (Some(39), Some(CacheHit::Exact), None), "empty_prefix_cache"), @"39 of 40 prompt tokens came from the server's prefix cache: TTFT and prefill are not those of the whole prompt");
    let found = findings(|case| {
        case.server.as_mut().unwrap().cache = CacheBypass::None;
        case.samples[2].server.as_mut().unwrap().cache = None;
    });
    insta::assert_snapshot!(only(&found, "known_prefix_cache"), @"nothing keeps the server's prefix cache out, and it does not tell what it did: TTFT and prefill may be those of a cache");
    assert_eq!((found[0].requests, found[0].of), (1, 2), "warm-up requests do not count");
}

#[test]
fn what_the_memory_cannot_deliver_is_impossible() {
    let found = findings(|case| {
        case.samples[2].decode_tps = Some(130.0);
        case.samples[2].server.as_mut().unwrap().decode_tps = Some(130.0);
    });
    insta::assert_snapshot!(only(&found, "below_memory_bandwidth"), @"130.0 tokens/s of a file of 100.0 MB would read 13.0 GB/s, and 1 threads read at most 10.0 GB/s here: it runs other weights, more threads, another device, or drafts tokens");
    assert!(found[0].impossible);
    let elsewhere = findings(|case| {
        case.server.as_mut().unwrap().pid = None;
        case.samples[2].decode_tps = Some(130.0);
        case.samples[2].server.as_mut().unwrap().decode_tps = Some(130.0);
    });
    assert_eq!(elsewhere, [], "the memory of another machine was not measured");
}

#[test]
fn a_nonce_makes_the_prompt_longer_and_that_is_no_finding() {
    let found = said(|server| {
        server.nonce = true;
        server.prompt_tokens = Some(53);
        server.prefill_tps = Some(530.0);
    });
    assert_eq!(found, []);
    let found = said(|server| {
        server.nonce = true;
        server.prompt_tokens = Some(30);
        server.prefill_tps = None;
    });
    assert!(only(&found, "same_prompt").contains("30"));
}

#[test]
fn another_file_is_noticed_by_its_name() {
    let named = |model: &str| {
        let mut file = run(|case| case.server.as_mut().unwrap().model = model.to_owned());
        file.plan.models[0].path = "/models/a.Q4_1.gguf".to_owned();
        audited(&file)
    };
    insta::assert_snapshot!(only(&named("/x/b.Q8_0.gguf"), "same_file"), @"the server has b.Q8_0.gguf, and this model is a.Q4_1.gguf: the two are held against each other on your word only");
    assert_eq!(named("/elsewhere/a.Q4_1.gguf"), []);
    assert_eq!(named("gpt-oss"), [], "a name that is no file says nothing");
}

#[test]
fn what_was_not_told_is_not_judged() {
    let found = findings(|case| {
        for sample in &mut case.samples {
            sample.server = Some(ServerSample { chunks: 20, ..ServerSample::default() });
        }
    });
    insta::assert_snapshot!(only(&found, "counted_tokens"), @"the server does not count its tokens: 20 pieces of text stand for them in every rate");
    assert!(findings(|case| case.samples.clear()).is_empty());
}

#[test]
fn other_tokens_of_the_same_prompt_are_told() {
    let asked = |same_ids| {
        findings(|case| {
            let before = Preprocessing {
                same_text: Some(false),
                same_ids,
                differs: Some("token 3 is 7 there and 9 here, of 40 and 40 tokens".to_owned()),
                ..Preprocessing::default()
            };
            case.server.as_mut().unwrap().before_model = Some(before);
        })
    };
    insta::assert_snapshot!(only(&asked(Some(false)), "same_tokens"), @"the server makes other tokens of the prompt than the model file: its template gives another text; token 3 is 7 there and 9 here, of 40 and 40 tokens");
    assert_eq!((asked(Some(true)), asked(None)), (Vec::new(), Vec::new()));
}
