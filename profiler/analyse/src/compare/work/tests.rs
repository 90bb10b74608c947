//! Labels of pairs of which at least one side is a server.

use std::path::PathBuf;

use super::super::{Comparability, ComparedRun, Contrast, Side, Sides, compare};
use super::Work;
use record::plan::{PlanFile, PlannedModel};
use record::{
    Case, CaseOutput, Preprocessing, PromptIdsOf, Recorded, RecordedList, RunFile, Sample, ServerFile, ServerSample,
    Status,
};

/// One side: what a case of it has.
#[derive(Clone)]
struct OneCase {
    engine: &'static str,
    prompt_tokens: Option<usize>,
    output_tokens: usize,
    ids: Vec<u32>,
    ids_of: Option<PromptIdsOf>,
    text: &'static str,
    server: Option<ServerFile>,
    nonce: bool,
}

fn in_process() -> OneCase {
    OneCase {
        engine: "candle",
        prompt_tokens: Some(3),
        output_tokens: 4,
        ids: vec![1, 2, 3],
        ids_of: None,
        text: "Hello there",
        server: None,
        nonce: false,
    }
}

fn through_server() -> OneCase {
    let details = [("context_length", "2048")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let server = ServerFile {
        software: "llama-server".to_owned().into(),
        model: "m.gguf".to_owned(),
        url: "http://127.0.0.1:1".to_owned(),
        pid: 1.into(),
        details,
        ..ServerFile::absent("not reported")
    };
    OneCase { engine: "openai", ids: Vec::new(), server: Some(server), ..in_process() }
}

fn with_details(details: &[(&str, &str)]) -> OneCase {
    let mut side = through_server();
    let found = details.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    side.server.as_mut().unwrap().details.extend(found);
    side
}

/// The planned model: a file of 4 bits per weight with a name that -m gives.
fn model() -> PlannedModel {
    PlannedModel {
        name: "m".to_owned(),
        reference: "m.gguf".to_owned(),
        sha256: "abc".to_owned().into(),
        quantisation: "Q4_1".to_owned(),
        architecture: "llama".to_owned(),
        parameters: 1000.into(),
        bits_per_weight: 5.0.into(),
        context: 64,
        ..PlannedModel::absent("not recorded")
    }
}

/// A model that only a server has.
fn served_model(name: &str, reference: &str) -> PlannedModel {
    PlannedModel { name: name.to_owned(), reference: reference.to_owned(), ..PlannedModel::absent("not recorded") }
}

fn run(sides: &[(&OneCase, &str)], models: Vec<PlannedModel>) -> RunFile {
    let case = |(side, model): &(&OneCase, &str)| Case {
        id: format!("{}/p", side.engine),
        engine: side.engine.to_owned(),
        model: (*model).to_owned(),
        prompt: "p".to_owned(),
        threads: 1,
        status: Status::Ok,
        samples: vec![Sample {
            latency_s: 1.0.into(),
            prompt_tokens: side.prompt_tokens.map_or_else(|| Recorded::absent("not counted"), Recorded::Present),
            output_tokens: side.output_tokens.into(),
            server: side
                .server
                .as_ref()
                .map(|_| ServerSample { nonce: side.nonce, ..ServerSample::absent("not reported") }),
            ..Sample::absent("not measured")
        }],
        output: Some(CaseOutput {
            text: side.text.to_owned(),
            prompt_ids: RecordedList::new(side.ids.clone(), "unused"),
            prompt_ids_of: side.ids_of,
            token_ids: if side.server.is_some() { Vec::new() } else { vec![5, 6, 7, 8] },
            ..CaseOutput::absent("unused")
        }),
        server: side.server.clone(),
        ..Case::default()
    };
    let engines = sides.iter().map(|(side, _)| side.engine.to_owned()).collect();
    RunFile {
        plan: PlanFile { engines, models, ..PlanFile::default() },
        cases: sides.iter().map(case).collect(),
        ..RunFile::default()
    }
}

/// Both sides in one run of one model.
fn in_one_run(b: &OneCase, o: &OneCase) -> Work {
    let mut other = o.clone();
    if b.engine == o.engine {
        other.engine = "again";
    }
    let file = run(&[(b, "m"), (&other, "m")], vec![model()]);
    let side = |engine: &str| Side { label: engine.to_owned(), run: 0, engine: Some(engine.to_owned()), model: None };
    only(compare(
        &Sides {
            sides: vec![side(b.engine), side(other.engine)],
            runs: vec![ComparedRun { path: PathBuf::from("r"), file, foreign: false, notes: Vec::new() }],
        },
        0.02,
        &[],
    ))
}

/// Each side in a run of its own, with its model.
fn in_two_runs(b: (&OneCase, PlannedModel), o: (&OneCase, PlannedModel)) -> Work {
    let one = |(side, model): (&OneCase, PlannedModel), path: &str| {
        let name = model.name.clone();
        ComparedRun {
            path: PathBuf::from(path),
            file: run(&[(side, name.as_str())], vec![model]),
            foreign: false,
            notes: Vec::new(),
        }
    };
    let side = |index: usize| Side { label: format!("run {index}"), run: index, engine: None, model: None };
    let sides = Sides { sides: vec![side(0), side(1)], runs: vec![one(b, "a"), one(o, "b")] };
    only(compare(&sides, 0.02, &[]))
}

fn only(comparison: super::super::Comparison) -> Work {
    let mut contrasts: Vec<Contrast> = comparison.contrasts;
    assert_eq!(contrasts.len(), 1, "{:?}", comparison.unmatched);
    contrasts.remove(0).work
}

/// The label, and why it is not better.
fn said(work: &Work) -> String {
    let because: Vec<&str> =
        work.checks.iter().map(|check| check.because.as_str()).filter(|text| !text.is_empty()).collect();
    format!("{}: {}", work.label.text(), because.join("; "))
}

#[test]
fn a_servers_work_is_equal_at_most_on_the_users_word() {
    let named = OneCase {
        ids: vec![1, 2, 3],
        ids_of: Some(PromptIdsOf::Tokenizer),
        ..with_details(&[("model_ftype", "Q4_1")])
    };
    let found = in_one_run(&in_process(), &named);
    assert_eq!(
        said(&found),
        "equal, as you state: the weights are the same as you state: `models` names this file for the server; llama-server does not \
         report their hash; unknown are cache type of llama-server"
    );
    let prompts = found.checks.iter().find(|check| check.what == "prompt tokens").unwrap();
    assert_eq!(prompts.other, "1 prompt, 3 tokens, ids by the server's tokenizer");
    let counted = in_one_run(&in_process(), &through_server());
    assert_eq!(counted.label, Comparability::EqualOnWord);
    assert!(said(&counted).contains("as many prompt tokens by the server's count, and which ones is unknown, in p"));
    assert!(said(&counted).contains("does not report their hash and precision"), "{}", said(&counted));
}

#[test]
fn other_numbers_of_prompt_tokens_are_other_work() {
    let longer = OneCase { prompt_tokens: Some(16), ..through_server() };
    let found = in_one_run(&in_process(), &longer);
    assert_eq!(found.label, Comparability::NotComparable);
    assert!(said(&found).contains("other numbers of prompt tokens: 3 and 16 in p"), "{}", said(&found));
    let uncounted = OneCase { prompt_tokens: None, ..through_server() };
    let found = in_one_run(&in_process(), &uncounted);
    assert!(said(&found).starts_with("not comparable: the token ids and their number of p are unknown on a side"));
}

#[test]
fn ids_that_an_earlier_version_stored_for_a_server_are_not_its_own() {
    let stored = OneCase { ids: vec![1, 2, 3], prompt_tokens: Some(16), ..through_server() };
    assert_eq!(in_one_run(&in_process(), &stored).label, Comparability::NotComparable);
    let mut confirmed = OneCase { prompt_tokens: Some(3), ..stored };
    assert!(said(&in_one_run(&in_process(), &confirmed)).contains("as many prompt tokens"));
    let before = Preprocessing { same_text: true.into(), same_ids: true.into(), ..Preprocessing::absent("not asked") };
    confirmed.server.as_mut().unwrap().before_model = Some(before);
    assert!(!said(&in_one_run(&in_process(), &confirmed)).contains("as many prompt tokens"));
}

#[test]
fn what_a_server_says_of_its_weights_is_held_against_the_file() {
    let label = |details: &[(&str, &str)]| {
        let found = in_one_run(&in_process(), &with_details(details));
        let weights = found.checks.iter().find(|check| check.what == "weights").unwrap().because.clone();
        (found.label, weights)
    };
    let (found, why) = label(&[("dtype", "torch.bfloat16")]);
    assert_eq!((found, why.as_str()), (Comparability::NotComparable, "q4_1 and bf16 weights"));
    let (found, why) = label(&[("n_params", "1000"), ("size", "2000")]);
    assert_eq!(found, Comparability::NotComparable, "{why}");
    assert!(why.starts_with("5.00 and 16.00 bits per weight"), "{why}");
    let (found, why) = label(&[("n_params", "9000")]);
    assert_eq!(
        (found, why.as_str()),
        (Comparability::NotComparable, "1000 and 9000 parameters: these are other models")
    );
    assert_eq!(label(&[("n_params", "1000"), ("size", "625"), ("model_ftype", "Q4_1")]).0, Comparability::EqualOnWord);
}

#[test]
fn other_answers_of_a_server_are_other_work() {
    let other = OneCase { text: "Hello you", ..through_server() };
    let found = in_one_run(&in_process(), &other);
    assert_eq!(found.label, Comparability::NotComparable);
    assert!(
        said(&found).contains("the answers diverge") && said(&found).contains("p after 6 characters"),
        "{}",
        said(&found)
    );
    let digits = OneCase { text: "Hello you", nonce: true, ..through_server() };
    let found = in_one_run(&digits, &OneCase { text: "Hello 7", ..digits.clone() });
    assert_eq!(found.label, Comparability::EqualOnWord);
    assert!(said(&found).contains("the answers to p are not compared"), "{}", said(&found));
}

#[test]
fn two_servers_are_compared_by_the_names_of_their_models() {
    let server = through_server();
    let said_of = |b: PlannedModel, o: PlannedModel, other: &OneCase| said(&in_two_runs((&server, b), (other, o)));
    let none = || served_model("served", "");
    assert!(said_of(none(), none(), &server).contains("by the name that both servers give them"));
    let mut another = server.clone();
    another.server.as_mut().unwrap().model = "other.gguf".to_owned();
    let found = said_of(none(), none(), &another);
    assert!(found.starts_with("not comparable") && found.contains("name the model with `models`"), "{found}");
    let found = said_of(served_model("m", "owner/m"), served_model("m", "owner/m"), &another);
    assert!(found.starts_with("equal, as you state") && found.contains("`models` names m"), "{found}");
    let found = said_of(model(), PlannedModel { sha256: "other".to_owned().into(), ..model() }, &server);
    assert!(found.contains("`models` names files with other hashes"), "{found}");
    // One server measured twice in the same rounds is the same work, whatever its weights are.
    let twice = in_one_run(&server, &server);
    let weights = twice.checks.iter().find(|check| check.what == "weights").unwrap();
    assert_eq!(weights.allows, Comparability::Equal);
}

#[test]
fn the_machine_of_a_server_elsewhere_is_unknown() {
    let mut remote = through_server();
    remote.server.as_mut().unwrap().pid = Recorded::absent("elsewhere");
    let found = in_one_run(&in_process(), &remote);
    assert!(said(&found).contains("unknown are cache type, machine of llama-server"), "{}", said(&found));
    assert!(found.checks.iter().all(|check| check.what != "processor"));
}
