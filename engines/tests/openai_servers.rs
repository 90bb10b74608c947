//! Recorded responses of real servers, replayed through real sockets with their pauses.
#![cfg(feature = "openai")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod server;

use engines::{
    CacheBypass, CacheHit, EngineError, FinishReason, PreprocessingOutput, PreprocessingStep, Prompt, Request, Usage,
};
use serde_json::{Value, json};
use traces::Nanos;

use server::Server;
use server::replay::server as replay;
use server::watch::{Record, chat, connect, shown};

const EXO: [&str; 4] = ["exo/node_id.txt", "exo/models.txt", "exo/state_ready.txt", "exo/chat_exact.txt"];
const EXO_MODEL: (&str, &str) = ("model", "mlx-community/SmolLM2-135M-Instruct-4bit");
const LLAMA: [&str; 2] = ["mlx_lm/models.txt", "llama-server/props.txt"];
const MLX: [&str; 2] = ["mlx_lm/models.txt", "mlx_lm/health.txt"];
const TINYGRAD: [&str; 2] = ["tinygrad/models.txt", "tinygrad/page.txt"];

/// One request to a server with recorded responses.
fn ask(recordings: &[&str], request: &Request) -> (Server, Record, Result<Usage, EngineError>) {
    let server = replay(recordings);
    let mut session = connect(&server.url(), &[]).unwrap_or_else(|error| panic!("{recordings:?}: {error}"));
    let mut record = Record::default();
    let usage = session.generate(request, &mut record);
    (server, record, usage)
}

fn answer(recordings: &[&str], request: &Request) -> (Record, Usage) {
    let (_server, record, usage) = ask(recordings, request);
    let usage = usage.unwrap_or_else(|error| panic!("{recordings:?}: {error}"));
    record.check();
    (record, usage)
}

fn with<'a>(server: &[&'a str], chat: &'a str) -> Vec<&'a str> {
    [server, &[chat]].concat()
}

/// A server that answers these queries, and 404 to all others.
fn answering(answers: &[(&'static str, &'static str)]) -> Server {
    let route = |(path, body): &(&'static str, &'static str)| {
        let body = *body;
        server::route(&format!("GET {path}"), move || server::whole(200, "application/json", body))
    };
    Server::start(answers.iter().map(route).collect())
}

/// The software, its version, the model, how its cache is bypassed, and the names of the details.
fn identity(server: &Server) -> String {
    let session = connect(&server.url(), &[]).unwrap_or_else(|error| panic!("{error}"));
    let remote = session.server().expect("a server").info();
    assert_eq!((remote.url.clone(), remote.address.map(|a| format!("http://{a}"))), (server.url(), Some(server.url())));
    let details: Vec<&str> = remote.details.keys().map(String::as_str).collect();
    let version = remote.version.as_deref().unwrap_or("?");
    let shown =
        [format!("{} {version}: {}, {:?}", remote.software_name(), remote.model, remote.cache), details.join(" ")];
    shown.join(", ").trim_end_matches(", ").to_owned()
}

const MODELS: &str = r#"{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"someone"}]}"#;

#[test]
fn servers_are_identified_by_their_responses() {
    let vllm = r#"{"object":"list","data":[{"id":"m","object":"model","owned_by":"vllm","root":"org/m","max_model_len":4096}]}"#;
    let sglang = r#"{"object":"list","data":[{"id":"m","object":"model","owned_by":"sglang","max_model_len":2048}]}"#;
    let trtllm = r#"{"object":"list","data":[{"id":"m","object":"model","owned_by":"tensorrt_llm"}]}"#;
    let kobold =
        r#"{"object":"list","data":[{"id":"koboldcpp/m","object":"model","owned_by":"koboldcpp","root":"koboldcpp"}]}"#;
    let mistral = r#"{"object":"list","data":[{"id":"default","object":"model","owned_by":"local"},{"id":"org/m","object":"model","owned_by":"local","status":"loaded"}]}"#;
    let studio = r#"{"object":"list","data":[{"id":"a","state":"not-loaded","compatibility_type":"gguf"},{"id":"b","state":"loaded","compatibility_type":"mlx"}]}"#;
    let studio_list = r#"{"object":"list","data":[{"id":"a","object":"model"},{"id":"b","object":"model"}]}"#;
    let ollama = r#"{"object":"list","data":[{"id":"qwen3:0.6b","object":"model","created":1,"owned_by":"library"}]}"#;
    let fast = r#"{"openapi":"3.1.0","info":{"title":"FastAPI","version":"0.1.0"},"paths":{"/v1/models":{"get":{},"options":{}},"/v1/responses":{"post":{}}}}"#;
    let found: Vec<String> = [
        replay(&EXO),
        replay(&LLAMA),
        replay(&MLX),
        replay(&TINYGRAD),
        answering(&[("/v1/models", vllm), ("/version", r#"{"version":"0.11.0"}"#)]),
        answering(&[("/v1/models", sglang), ("/get_server_info", r#"{"version":"0.5.3","model_path":"m"}"#)]),
        answering(&[("/v1/models", trtllm), ("/version", r#"{"version":"1.1.0"}"#)]),
        // It imitates ollama and llama-server.
        answering(&[
            ("/v1/models", kobold),
            ("/api/extra/version", r#"{"result":"KoboldCpp","version":"1.98"}"#),
            ("/api/version", r#"{"version":"0.7.0"}"#),
            ("/api/tags", r#"{"models":[]}"#),
            ("/props", r#"{"default_generation_settings":{"n_ctx":8192}}"#),
        ]),
        answering(&[("/v1/models", mistral), ("/v1/system/info", r#"{"build":{"git_revision":"abc"}}"#)]),
        answering(&[("/v1/models", MODELS), ("/api-doc/openapi.json", r#"{"info":{"title":"Mistral.rs"}}"#)]),
        answering(&[("/v1/models", studio_list), ("/api/v0/models", studio)]),
        answering(&[
            ("/v1/models", MODELS),
            (
                "/info",
                r#"{"model_id":"org/m","max_total_tokens":2048,"router":"text-generation-router","version":"3.3.6"}"#,
            ),
        ]),
        answering(&[
            ("/v1/models", r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#),
            ("/system", r#"{"backends":["llama-cpp"],"loaded_models":[]}"#),
            ("/version", r#"{"version":"v3.7.0"}"#),
        ]),
        answering(&[
            ("/v1/models", MODELS),
            ("/openapi.json", r#"{"openapi":"3.1.0","info":{"title":"🦙 llama.cpp Python API","version":"0.3.36"}}"#),
        ]),
        answering(&[("/v1/models", MODELS), ("/health", r#"{"status":"ok"}"#), ("/openapi.json", fast)]),
        answering(&[
            ("/v1/models", ollama),
            ("/api/version", r#"{"version":"0.12.3"}"#),
            ("/api/tags", r#"{"models":[{"name":"qwen3:0.6b"}]}"#),
        ]),
    ]
    .iter()
    .map(identity)
    .collect();
    insta::assert_snapshot!(found.join("\n"), @"
    exo ?: mlx-community/SmolLM2-135M-Instruct-4bit, Nonce, context_length instance node_id nodes placed quantization
    llama-server b1-0c1e570: /path, Switch, context_length model_ftype model_path slots
    mlx_lm.server ?: /path, Nonce
    tinygrad ?: Smollm2 135M 8k Lc100K Mix1 Ep2, Nonce
    vllm 0.11.0: m, Switch, context_length model_path
    sglang 0.5.3: m, Nonce, context_length
    tensorrt-llm 1.1.0: m, Nonce
    koboldcpp 1.98: koboldcpp/m, Nonce
    mistral.rs ?: org/m, Nonce, build
    mistral.rs ?: m, Nonce
    lm-studio ?: b, Nonce
    text-generation-inference 3.3.6: m, Nonce, context_length model_path
    localai v3.7.0: m, Nonce
    llama-cpp-python 0.3.36: m, Nonce
    transformers serve ?: m, Nonce
    ollama 0.12.3: qwen3:0.6b, Nonce
    ");
}

/// Each of these shares an answer with a known server, which is not enough.
#[test]
fn servers_that_only_resemble_a_known_one_are_unknown() {
    for (what, answers) in [
        ("a health check", &[("/v1/models", MODELS), ("/health", r#"{"status":"ok"}"#)][..]),
        ("a version", &[("/v1/models", MODELS), ("/version", r#"{"version":"1.0"}"#)]),
        ("a version at the path of ollama", &[("/v1/models", MODELS), ("/api/version", r#"{"version":"0.6.5"}"#)]),
        ("an interface description", &[("/v1/models", MODELS), ("/openapi.json", r#"{"info":{"title":"FastAPI"}}"#)]),
        ("another server of Hugging Face", &[("/v1/models", MODELS), ("/info", r#"{"model_id":"m"}"#)]),
    ] {
        let found = identity(&answering(answers));
        assert_eq!(found, "unknown ?: m, Nonce", "{what}");
    }
    // A list without models matches nothing: the model has to be named, and the error says so.
    let empty = answering(&[("/v1/models", r#"{"object":"list","data":[]}"#), ("/health", r#"{"status":"ok"}"#)]);
    assert!(connect(&empty.url(), &[]).is_err());
    let named = connect(&empty.url(), &[("model", "org/m")]).expect("the model is named");
    assert_eq!(named.server().expect("a server").info().software_name(), "unknown");
}

#[test]
fn vllm_and_transformers_are_known_by_their_recorded_answers() {
    let known = |recordings: &[&str], settings: &[(&str, &str)]| {
        let server = replay(recordings);
        let mut session = connect(&server.url(), settings).unwrap_or_else(|error| panic!("{recordings:?}: {error}"));
        let mut record = Record::default();
        let usage = session.generate(&chat("Name three colours.", 12), &mut record).expect("an answer");
        let info = session.server().expect("a server").info();
        (info.software_name().to_owned(), info.version.ok(), usage.prompt_tokens, usage.output_tokens, record.text())
    };
    assert_eq!(
        known(&["vllm/models.txt", "vllm/version.txt", "vllm/chat.txt"], &[]),
        (
            "vllm".to_owned(),
            Some("0.32.0".to_owned()),
            34,
            12,
            "1. Red: The most obvious colour, but there are".to_owned()
        )
    );
    let transformers = ["models", "health", "openapi", "chat"].map(|name| format!("transformers/{name}.txt"));
    let transformers: Vec<&str> = transformers.iter().map(String::as_str).collect();
    assert_eq!(
        known(&transformers, &[("model", "/path")]),
        ("transformers serve".to_owned(), None, 34, 12, "1. Red: This is the most obvious colour, but".to_owned())
    );
}

/// The last query of vLLM for the ids of a chat, which its own template lengthens.
#[test]
fn vllm_names_the_tokens_of_a_chat_by_its_own_template() {
    let server = replay(&["vllm/models.txt", "vllm/version.txt", "vllm/tokenize_chat.txt"]);
    let session = connect(&server.url(), &[]).expect("a session");
    let prompt = chat("Name three colours.", 12).prompt;
    let found = session.server().expect("a server").preprocess(PreprocessingStep::TokenizeChat, &prompt);
    let Ok(Some(PreprocessingOutput::Tokens(ids))) = found else { panic!("{found:?}") };
    assert_eq!((ids.len(), ids[0], ids[33]), (34, 1, 198));
}

#[test]
fn llama_server_streams_progress_times_and_text() {
    let (record, usage) = answer(&with(&LLAMA, "llama-server/chat_progress.txt"), &chat("long", 3));
    assert_eq!((record.text().as_str(), record.pieces.len()), ("The original sentence", 3));
    assert_eq!(record.progress, [(0, 1530), (1530, 1530)]);
    assert_eq!((usage.prompt_tokens, usage.output_tokens, usage.finish), (1530, 3, FinishReason::Length));
    let report = usage.reported.expect("a report");
    assert_eq!(
        (report.prefill, report.decode),
        (Some(Nanos::from_nanos(16_694_729_000)), Some(Nanos::from_nanos(147_455_000)))
    );
    assert_eq!(
        (report.cache, report.cached_tokens, report.chunks, report.nonce),
        (Some(CacheHit::Cold), Some(0), 3, None)
    );
}

#[test]
fn llama_server_gets_the_switch_of_its_cache() {
    let (server, _, _) = ask(&with(&LLAMA, "llama-server/chat_cached.txt"), &chat("hello", 4));
    let bodies = server.bodies("POST /v1/chat/completions");
    assert_eq!(bodies.len(), 1);
    let part = |key: &str| bodies[0][key].clone();
    assert_eq!(
        (part("cache_prompt"), part("return_progress"), part("temperature")),
        (json!(false), json!(true), json!(0))
    );
    assert_eq!(part("messages"), json!([{"role": "user", "content": "hello"}]));
    assert_eq!(part("timings_per_token"), json!(true), "a running count of tokens");
}

/// The recorded request allowed the cache, and the server reports the hit.
#[test]
fn a_cached_prompt_is_reported() {
    let (_, usage) = answer(&with(&LLAMA, "llama-server/chat_cached.txt"), &chat("hello", 4));
    let report = usage.reported.expect("a report");
    assert_eq!((report.cache, report.cached_tokens, report.prompt_tokens), (Some(CacheHit::Exact), Some(36), Some(37)));
}

#[test]
fn the_native_endpoint_of_llama_server_reports_token_ids() {
    let raw = Prompt::Text { text: "raw".to_owned(), add_bos: false, messages: Vec::new() };
    let request = Request { prompt: raw, max_new_tokens: 8, ignore_eos: false };
    let (record, usage) = answer(&with(&LLAMA, "llama-server/completion.txt"), &request);
    assert_eq!(record.text(), "In the digital age, the world has");
    assert_eq!(record.tokens[..3], [Some(788), Some(260), Some(3182)]);
    assert_eq!((usage.prompt_tokens, usage.output_tokens, usage.finish), (37, 8, FinishReason::Length));
    let ids = Request { prompt: Prompt::Tokens(vec![1, 2, 3]), max_new_tokens: 32, ignore_eos: true };
    let (record, usage) = answer(&with(&LLAMA, "llama-server/completion_progress.txt"), &ids);
    assert_eq!(record.tokens, [Some(788), Some(260), Some(3182)], "the token 0 of a progress event is not output");
    assert_eq!(record.progress, [(0, 37), (37, 37)]);
    assert_eq!((usage.prompt_ids.len(), usage.prompt_tokens, usage.output_tokens), (3, 37, 32));
}

#[test]
fn pings_are_not_pieces() {
    let (record, usage) = answer(&with(&LLAMA, "llama-server/pings.txt"), &chat("long", 2));
    assert_eq!((record.text().as_str(), usage.prompt_tokens, usage.output_tokens), ("The original", 3018, 2));
}

#[test]
fn mlx_lm_reports_progress_in_comments_and_its_version_in_responses() {
    let server = replay(&with(&MLX, "mlx_lm/chat.txt"));
    let mut session = connect(&server.url(), &[]).expect("it connects");
    assert!(session.server().expect("a server").info().version.is_err());
    let mut record = Record::default();
    let usage = session.generate(&chat("hello", 32), &mut record).expect("a response");
    record.check();
    assert_eq!(session.server().expect("a server").info().version.as_deref(), Ok("0.32.2"));
    assert_eq!((record.pieces.len(), record.progress.as_slice()), (32, [(1, 1)].as_slice()));
    let report = usage.reported.expect("a report");
    assert_eq!((usage.prompt_tokens, usage.output_tokens, report.cached_tokens), (37, 32, Some(36)));
    assert_eq!((report.prefill, report.prefill_tps), (None, None), "it reports no times");
}

#[test]
fn a_stream_may_end_without_its_last_event() {
    let (record, usage) = answer(&with(&MLX, "mlx_lm/no_done.txt"), &chat("hello", 3));
    assert_eq!(
        (record.text().as_str(), usage.output_tokens, usage.finish),
        ("In the digital", 3, FinishReason::Length)
    );
    assert_eq!(usage.reported.expect("a report").output_tokens, None);
}

#[test]
fn the_first_chunk_of_tinygrad_is_not_a_token() {
    let (record, usage) = answer(&with(&TINYGRAD, "tinygrad/chat.txt"), &chat("hello", 4));
    assert_eq!(record.pieces, ["In", " the", " digital", " age"]);
    assert_eq!((usage.prompt_tokens, usage.output_tokens, usage.finish), (37, 4, FinishReason::Length));
    let report = usage.reported.expect("a report");
    assert_eq!((report.cache, report.cached_tokens), (None, None), "it does not report cache hits");
}

#[test]
fn a_pause_of_two_minutes_is_accepted() {
    let (record, usage) = answer(&with(&TINYGRAD, "tinygrad/long_silence.txt"), &chat("long", 4));
    assert_eq!((record.text().as_str(), usage.prompt_tokens), ("The lazy jug is", 534));
}

#[test]
fn each_request_has_another_nonce() {
    let server = replay(&with(&TINYGRAD, "tinygrad/chat.txt"));
    let mut session = connect(&server.url(), &[]).expect("it connects");
    assert_eq!(session.server().expect("a server").info().cache, CacheBypass::Nonce);
    let mut nonces = Vec::new();
    for _ in 0..3 {
        let usage = session.generate(&chat("hello", 4), &mut Record::default()).expect("a response");
        nonces.extend(usage.reported.and_then(|report| report.nonce));
    }
    let sent: Vec<Value> = server.bodies("POST /v1/chat/completions");
    // They are in a system message of their own: the chat template puts its own system text before a user's message.
    let contents: Vec<&str> = nonces.iter().map(|nonce| nonce.trim_end()).collect();
    assert!(
        sent.iter().all(|body| body["messages"][0]["role"] == "system" && body["messages"][1]["content"] == "hello")
    );
    let expected: Vec<&str> = sent.iter().filter_map(|body| body["messages"][0]["content"].as_str()).collect();
    assert_eq!(contents, expected);
    assert!(nonces[0] != nonces[1] && nonces[1] != nonces[2] && nonces.iter().all(|nonce| nonce.len() == 13));
}

#[test]
fn exo_reports_counts_in_comments() {
    let (record, usage) = answer(&EXO, &chat("sea", 8));
    assert_eq!((record.pieces.len(), record.progress.as_slice()), (8, [(0, 1), (1, 1)].as_slice()));
    let report = usage.reported.expect("a report");
    assert_eq!(
        (report.cache, report.prefill_tps),
        (Some(CacheHit::Exact), None),
        "its prompt rate is that of an earlier request"
    );
    assert!(report.decode_tps.is_some() && report.peak_memory_bytes.is_some());
    let part = |chat: &'static str| {
        let (_, usage) = answer(&[EXO[0], EXO[1], EXO[2], chat], &chat_of(4));
        let report = usage.reported.expect("a report");
        (
            report.cache,
            report.prompt_tokens,
            report.cached_tokens,
            report.prefill_tps.map(|tps| (tps * 100.0).round() / 100.0),
        )
    };
    assert_eq!(part("exo/chat_partial.txt"), (Some(CacheHit::Partial), Some(94), Some(24), Some(9.66)));
    assert_eq!(part("exo/chat_cold.txt"), (Some(CacheHit::Cold), Some(37), Some(0), Some(9.18)));
}

fn chat_of(tokens: usize) -> Request {
    chat("sea", tokens)
}

#[test]
fn exo_ignores_the_end_of_the_text_at_its_benchmark_endpoint() {
    let recordings = [EXO[0], EXO[1], EXO[2], "exo/bench.txt"];
    let request = Request { ignore_eos: true, ..chat("sea", 16) };
    let (server, record, usage) = ask(&recordings, &request);
    let usage = usage.expect("a response");
    record.check();
    assert_eq!((usage.prompt_tokens, usage.output_tokens), (37, 16));
    assert_eq!(server.bodies("POST /bench/chat/completions").len(), 1);
    let mut session = connect(&server.url(), &[("bench", "on")]).expect("it connects");
    assert_eq!(session.server().expect("a server").info().cache, CacheBypass::Switch);
    let usage = session.generate(&chat("sea", 16), &mut Record::default()).expect("a response");
    let report = usage.reported.expect("a report");
    assert_eq!((report.nonce, report.cache), (None, Some(CacheHit::Cold)));
}

/// From no instance to a ready one, by the state of its runner; the session deletes the instance that it placed.
#[test]
fn exo_places_an_instance_waits_for_its_runner_and_deletes_it() {
    let server = replay(&[
        "exo/node_id.txt",
        "exo/models.txt",
        "exo/previews.txt",
        "exo/post_instance.txt",
        "exo/state_empty.txt",
        "exo/state_empty.txt",
        "exo/state_placed.txt",
        "exo/state_loading.txt",
        "exo/state_warming.txt",
        "exo/state_ready.txt",
        "exo/delete_instance.txt",
        "exo/chat_exact.txt",
    ]);
    let mut session = connect(&server.url(), &[EXO_MODEL]).expect("it becomes ready");
    let placed = server.bodies("POST /instance");
    assert_eq!(placed.len(), 1);
    assert!(placed[0]["instance"]["MlxRingInstance"]["instanceId"].is_string(), "{placed:?}");
    assert_eq!(server.bodies("GET /state").len(), 6, "once for each state that is not ready, and once more");
    let remote = session.server().expect("a server").info();
    insta::assert_snapshot!(remote.details["instance"], @r#"{"id":"332d9ac0-ddd8-4709-942e-96cbbba9d121","kind":"MlxRingInstance","nodes":{"cee2d1cd8860ceb47c2c043862a3e1a":"e44f05a3-01ac-45aa-975c-47b6cee943dc"},"shards":[{"runner":"e44f05a3-01ac-45aa-975c-47b6cee943dc","sharding":"PipelineShardMetadata","rank":0,"start_layer":0,"end_layer":30}]}"#);
    let nodes: Value = serde_json::from_str(&remote.details["nodes"]).expect("it is JSON");
    assert_eq!(nodes["nodeBackends"]["cee2d1cd8860ceb47c2c043862a3e1a"], json!(["MlxCpu"]));
    assert_eq!((remote.details["context_length"].as_str(), remote.details["placed"].as_str()), ("8192", "by this run"));
    session.generate(&chat("sea", 8), &mut Record::default()).expect("a response");
    drop(session);
    let deleted: Vec<String> =
        server.received().into_iter().map(|request| request.what).filter(|what| what.starts_with("DELETE")).collect();
    assert_eq!(deleted, ["DELETE /instance/332d9ac0-ddd8-4709-942e-96cbbba9d121"]);
}

#[test]
fn existing_instances_of_exo_are_kept() {
    let server = replay(&EXO);
    drop(connect(&server.url(), &[]).expect("it connects"));
    assert!(server.received().iter().all(|request| request.what.starts_with("GET ")));
}

#[test]
fn exo_errors_say_why_a_model_cannot_be_placed_or_is_not_ready() {
    let base = ["exo/node_id.txt", "exo/models.txt", "exo/previews.txt", "exo/post_instance.txt"];
    let server = replay(&[base.as_slice(), &["exo/state_empty.txt"]].concat());
    let error = connect(&server.url(), &[EXO_MODEL, ("placement", "Tensor,2")]).err().expect("it is not possible");
    insta::assert_snapshot!(shown(&error, &server.url()), @"engine openai failed in GET URL/instance/previews?model_id=mlx-community%2FSmolLM2-135M-Instruct-4bit: `mlx-community/SmolLM2-135M-Instruct-4bit` has no placement that matches the settings: Pipeline MlxRing on 1 node(s) is possible, Pipeline MlxJaccl: No cycle where every node supports a backend in ['MlxMetal'] for mlx-community/SmolLM2-135M-Instruct-4bit, Tensor MlxRing: Requested Tensor sharding but this model does not support tensor parallelism: mlx-community/SmolLM2-135M-Instruct-4bit, Tensor MlxJaccl: Requested Tensor sharding but this model does not support tensor parallelism: mlx-community/SmolLM2-135M-Instruct-4bit");
    let server = replay(&[base.as_slice(), &["exo/state_empty.txt", "exo/state_warming.txt"]].concat());
    let error = connect(&server.url(), &[EXO_MODEL, ("ready_s", "0.3")]).err().expect("it is never ready");
    insta::assert_snapshot!(shown(&error, &server.url()), @"engine openai failed in the wait for the server: it is not ready after 0.3 s (engine openai failed in instance 332d9ac0-ddd8-4709-942e-96cbbba9d121 at URL: the state of its runners is RunnerWarmingUp); increase the setting openai.ready_s to wait longer");
}

#[test]
fn errors_contain_the_message_of_the_server() {
    let error = |recordings: &[&str]| {
        let (server, record, usage) = ask(recordings, &chat("hello", 4));
        assert_eq!(record.edges.len(), 2, "prefill begins and ends");
        shown(&usage.expect_err("an error"), &server.url())
    };
    let exo = |chat| error(&[EXO[0], EXO[1], EXO[2], chat]);
    insta::assert_snapshot!(exo("exo/chat_no_instance.txt"), @"engine openai failed in POST URL/v1/chat/completions: HTTP 404: No instance found for model mlx-community/SmolLM2-135M-Instruct-4bit");
    insta::assert_snapshot!(exo("exo/runner_fails.txt"), @"engine openai failed in POST URL/v1/chat/completions: the server reported an error in its stream: Artificial runner exception - for testing purposes only.");
    insta::assert_snapshot!(exo("exo/bad_body.txt"), @"engine openai failed in POST URL/v1/chat/completions: HTTP 422: Field required (body.model)");
    insta::assert_snapshot!(error(&with(&LLAMA, "llama-server/bad_json.txt")), @"engine openai failed in POST URL/v1/chat/completions: HTTP 500: [json.exception.parse_error.101] parse error at line 1, column 29: syntax error while parsing value - unexpected end of input; expected '[', '{', or a literal");
    insta::assert_snapshot!(error(&with(&LLAMA, "llama-server/too_long.txt")), @"engine openai failed in POST URL/v1/chat/completions: HTTP 400: request (9030 tokens) exceeds the available context size (4096 tokens), try increasing it");
    insta::assert_snapshot!(error(&with(&MLX, "mlx_lm/bad_json.txt")), @"engine openai failed in POST URL/v1/chat/completions: HTTP 400: Invalid JSON in request body: Expecting value: line 1 column 29 (char 28)");
    insta::assert_snapshot!(error(&with(&MLX, "mlx_lm/died.txt")), @"engine openai failed in POST URL/v1/chat/completions: HTTP 404: generation thread died");
    insta::assert_snapshot!(error(&with(&TINYGRAD, "tinygrad/too_long.txt")), @"engine openai failed in POST URL/v1/chat/completions: HTTP 400: prompt has 9030 tokens, but the model context is 4096");
}

/// llama-server opens its port before its model is loaded.
#[test]
fn connecting_waits_for_a_loading_model() {
    let mut left = 3;
    let models = move || {
        left -= 1;
        match left {
            0.. => server::whole(
                503,
                "application/json",
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            ),
            _ => server::whole(200, "application/json", r#"{"data":[{"id":"m"}]}"#),
        }
    };
    let server = Server::start(vec![server::route("GET /v1/models", models)]);
    assert_eq!(connect(&server.url(), &[]).expect("it loads").server().expect("a server").info().model, "m");
    let models = || server::whole(503, "application/json", r#"{"error":{"message":"Loading model"}}"#);
    let server = Server::start(vec![server::route("GET /v1/models", models)]);
    let error = connect(&server.url(), &[("ready_s", "0.2")]).err().expect("it never becomes ready");
    insta::assert_snapshot!(shown(&error, &server.url()), @"engine openai failed in the wait for the server: it is not ready after 0.2 s (engine openai failed in GET URL/v1/models: HTTP 503: Loading model); increase the setting openai.ready_s to wait longer");
}

/// llama-server lists its model before it is loaded; only other endpoints report that it is loading.
#[test]
fn a_server_that_lists_a_model_may_still_load_it() {
    let server = replay(&["mlx_lm/models.txt", "llama-server/loading.txt", "llama-server/props.txt"]);
    let remote = connect(&server.url(), &[]).expect("it loads").server().expect("a server").info();
    assert_eq!((remote.software_name(), server.bodies("GET /props").len()), ("llama-server", 2));
}

/// ollama's native interface: one JSON document per line, the last one with its times.
#[test]
fn ollama_reports_times_in_its_native_interface() {
    let chat_of_ollama = || {
        let line = |text: &str| {
            format!(
                "{{\"model\":\"m\",\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"done\":false}}\n"
            )
        };
        let last = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"length\",\"total_duration\":900,\"load_duration\":100,\"prompt_eval_count\":26,\"prompt_eval_duration\":300,\"eval_count\":2,\"eval_duration\":500}\n";
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n";
        vec![
            server::send(head),
            server::send(&line("one")),
            server::send(&line(" two")),
            server::send(last),
            server::Step::Hang,
        ]
    };
    let json = |body: &'static str| move || server::whole(200, "application/json", body);
    let server = Server::start(vec![
        server::route("GET /v1/models", json(r#"{"data":[{"id":"m","object":"model","owned_by":"library"}]}"#)),
        server::route("GET /api/version", json(r#"{"version":"0.12.3"}"#)),
        server::route("GET /api/tags", json(r#"{"models":[{"name":"m"}]}"#)),
        server::route("POST /api/chat", chat_of_ollama),
    ]);
    let mut session = connect(&server.url(), &[]).expect("it connects");
    let mut record = Record::default();
    let usage = session.generate(&chat("hello", 2), &mut record).expect("a response");
    record.check();
    assert_eq!((record.text().as_str(), usage.prompt_tokens, usage.output_tokens), ("one two", 26, 2));
    let report = usage.reported.expect("a report");
    let nanos = |nanos| Some(Nanos::from_nanos(nanos));
    assert_eq!((report.load, report.prefill, report.decode), (nanos(100), nanos(300), nanos(500)));
    assert_eq!(server.bodies("POST /api/chat")[0]["options"], json!({"temperature": 0, "num_predict": 2}));
}

/// llama-server with the endpoints of its template and its tokenizer.
fn llama_server(tokens: &'static str) -> Server {
    let json = |body: &'static str| move || server::whole(200, "application/json", body);
    Server::start(vec![
        server::route("GET /v1/models", json(r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#)),
        server::route("GET /props", json(r#"{"default_generation_settings":{"n_ctx":512},"build_info":"b1"}"#)),
        server::route("GET /health", json(r#"{"status":"ok"}"#)),
        server::route("POST /apply-template", json(r#"{"prompt":"<|user|>hello"}"#)),
        server::route("POST /tokenize", json(tokens)),
    ])
}

#[test]
fn template_and_tokens_have_their_own_queries() {
    let server = llama_server(r#"{"tokens":[1,523,28766]}"#);
    let session = connect(&server.url(), &[]).expect("it connects");
    let prompt = chat("hello", 4).prompt;
    let ask = |part| session.server().expect("a server").preprocess(part, &prompt).expect("a response");
    assert_eq!(ask(PreprocessingStep::RoundTrip), Some(PreprocessingOutput::None));
    assert_eq!(ask(PreprocessingStep::Template), Some(PreprocessingOutput::Text("<|user|>hello".to_owned())));
    assert_eq!(ask(PreprocessingStep::Tokenize), Some(PreprocessingOutput::Tokens(vec![1, 523, 28766])));
    assert_eq!(server.bodies("POST /apply-template"), [json!({"messages": [{"role": "user", "content": "hello"}]})]);
    let other = replay(&MLX);
    let session = connect(&other.url(), &[]).expect("it connects");
    let ask = |part| session.server().expect("a server").preprocess(part, &prompt).expect("no query");
    assert_eq!(
        (ask(PreprocessingStep::Template), ask(PreprocessingStep::Tokenize)),
        (None, None),
        "mlx_lm.server has no endpoint for them"
    );
}

#[test]
fn an_unexpected_response_to_a_query_is_an_error() {
    let server = llama_server(r#"{"tokens":["a"]}"#);
    let session = connect(&server.url(), &[]).expect("it connects");
    let ask = |part| session.server().expect("a server").preprocess(part, &chat("hello", 4).prompt);
    let error = ask(PreprocessingStep::Tokenize).expect_err("no ids").to_string().replace(&server.url(), "URL");
    insta::assert_snapshot!(error, @r#"engine openai failed in POST URL/tokenize: expected token ids under `tokens`, found `{"tokens":["a"]}`"#);
    let older = replay(&LLAMA);
    let session = connect(&older.url(), &[]).expect("it connects");
    let ask = |part| session.server().expect("a server").preprocess(part, &chat("hello", 4).prompt);
    let error =
        ask(PreprocessingStep::Template).expect_err("it has no such endpoint").to_string().replace(&older.url(), "URL");
    insta::assert_snapshot!(error, @"engine openai failed in POST URL/apply-template: HTTP 404: File Not Found");
}
