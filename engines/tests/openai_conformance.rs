//! Conformance of all servers: the tests of `conformance.rs` that apply to servers.
#![cfg(feature = "openai")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod server;

use engines::openai::OpenAi;
use engines::registry::find;
use engines::{Advice, Engine, EngineError, FinishReason, LoadOptions, OpTimes, Request};

use server::replay::server as replay;
use server::watch::{Record, chat, connect, options};

/// A server of each kind, with a request that its recording answers.
const SERVERS: [(&str, &[&str], usize); 4] = [
    ("exo", &["exo/node_id.txt", "exo/models.txt", "exo/state_ready.txt", "exo/chat_exact.txt"], 8),
    ("llama-server", &["mlx_lm/models.txt", "llama-server/props.txt", "llama-server/chat_progress.txt"], 3),
    ("mlx_lm.server", &["mlx_lm/models.txt", "mlx_lm/health.txt", "mlx_lm/chat.txt"], 32),
    ("tinygrad", &["tinygrad/models.txt", "tinygrad/page.txt", "tinygrad/chat.txt"], 4),
];

#[test]
fn capabilities_are_those_of_a_server() {
    let engine = find("openai").expect("it is in the registry").open().expect("it is in this build");
    let caps = engine.caps();
    assert!(caps.remote && !caps.steps && caps.op_times == OpTimes::None && !caps.virtual_time);
    for (name, recordings, _) in SERVERS {
        let server = replay(recordings);
        let mut session = engine.connect(&options(&server.url(), &[]), &mut |_| {}).expect("it connects");
        assert!(session.steps().is_none() && session.device_memory().is_none(), "{name}");
        assert_eq!(session.kv_bytes(), None, "{name}: not reported");
        assert_eq!(session.server().expect("a server").info().software_name(), name);
    }
}

#[test]
fn repeated_requests_give_the_same_output() {
    for (name, recordings, tokens) in SERVERS {
        let server = replay(recordings);
        let mut session = connect(&server.url(), &[]).expect("it connects");
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut record = Record::default();
            let usage = session.generate(&chat("hello", tokens), &mut record).expect("a response");
            record.check();
            assert_eq!((usage.output_tokens, usage.finish), (tokens, FinishReason::Length), "{name}");
            answers.push((record.text(), record.pieces, usage.output_tokens));
            session.reset().expect("it resets");
        }
        assert_eq!(answers[0], answers[1], "{name}");
    }
}

#[test]
fn an_observer_can_stop_it() {
    for (name, recordings, tokens) in SERVERS {
        let server = replay(recordings);
        let mut session = connect(&server.url(), &[]).expect("it connects");
        let mut record = Record { stop_after: Some(2), ..Record::default() };
        let usage = session.generate(&chat("hello", tokens), &mut record).expect("it ends well");
        record.check();
        assert_eq!((usage.output_tokens, usage.finish), (2, FinishReason::Interrupted), "{name}");
        let usage = session.generate(&chat("hello", tokens), &mut Record::default()).expect("it goes on");
        assert_eq!(usage.output_tokens, tokens, "{name}");
    }
}

#[test]
fn no_new_tokens_are_refused() {
    for (_, recordings, _) in SERVERS {
        let server = replay(recordings);
        let mut session = connect(&server.url(), &[]).expect("it connects");
        let error = session.generate(&Request { max_new_tokens: 0, ..chat("hello", 1) }, &mut Record::default());
        assert!(matches!(error, Err(EngineError::Unsupported { .. })), "{error:?}");
    }
}

#[test]
fn options_of_the_server_itself_and_unknown_settings_are_refused() {
    let check = |options: LoadOptions| OpenAi.check(&options).err().map(|error| error.with_advice());
    assert_eq!(check(options("http://localhost:1", &[("stall_s", "30")])), None);
    let error = check(options("http://localhost:1", &[("no_such_setting", "1")])).expect("it is refused");
    assert!(error.contains("no_such_setting"), "{error}");
    let error = check(LoadOptions { batch: Some(4), ..options("http://localhost:1", &[]) }).expect("it is refused");
    assert!(error.contains("a batch size") && error.contains("in the server's own command"), "{error}");
}
