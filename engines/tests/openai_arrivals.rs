//! Streams whose fields say something else than what arrives, through real sockets.
#![cfg(feature = "openai")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod server;

use engines::{CacheBypass, EngineError, FinishReason, ServerReport};
use serde_json::{Value, json};

use server::watch::{Record, chat, connect};
use server::{Script, Step, head, send, unknown_server, whole};

/// An event with this choice.
fn event(choice: &Value) -> Step {
    send(&format!("data: {}\n\n", json!({"choices": [choice]})))
}

fn done() -> Step {
    send("data: [DONE]\n\n")
}

/// The text of an answer, why it ended, and the report.
fn answer(script: impl Fn() -> Script + Send + 'static) -> (String, FinishReason, ServerReport) {
    let server = unknown_server(script);
    let mut session = connect(&server.url(), &[]).expect("it connects");
    let mut record = Record::default();
    let usage = session.generate(&chat("hello", 8), &mut record).expect("a response");
    record.check();
    (record.text(), usage.finish, usage.reported.expect("a report"))
}

#[test]
fn a_finish_reason_with_every_piece_ends_nothing() {
    for (word, reopened) in [("stop", 2), ("", 0), ("null", 0), ("pondering", 0)] {
        let (text, finish, report) = answer(move || {
            let piece = |text: &str| event(&json!({"delta": {"content": text}, "finish_reason": word}));
            let end = event(&json!({"delta": {}, "finish_reason": "length"}));
            vec![head(), piece("one"), piece(" two"), piece(" three"), end, done()]
        });
        assert_eq!((text.as_str(), finish), ("one two three", FinishReason::Length), "{word}");
        assert_eq!(report.stream.reopened, reopened, "{word}");
        assert_eq!(report.stream.unknown_finish.as_deref(), (word == "pondering").then_some("pondering"));
    }
}

#[test]
fn pieces_are_found_under_every_name() {
    let part = |kind: &str, text: &str| json!([{"type": kind, kind: text}]);
    let deltas = [
        json!({"content": part("text", "a")}),
        json!({"content": [{"type": "thinking", "thinking": part("text", "b")}]}),
        json!({"reasoning": "c", "reasoning_content": "c"}),
        json!({"reasoning_details": part("text", "d")}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "e"}}]}),
        json!({"function_call": {"arguments": "f"}}),
        json!({"refusal": "g"}),
        json!({"audio": {"transcript": "h"}}),
    ];
    let (text, _, report) = answer(move || {
        let pieces = deltas.iter().map(|delta| event(&json!({"delta": delta})));
        let end = event(&json!({"delta": {}, "finish_reason": "tool_calls"}));
        std::iter::once(head()).chain(pieces).chain([end, done()]).collect()
    });
    assert_eq!((text.as_str(), report.chunks), ("abcdefgh", 8));
    assert!(report.stream.unread.is_empty() && report.stream.has_reasoning, "{report:?}");
}

#[test]
fn output_that_is_not_understood_is_named() {
    let (_, _, report) = answer(|| {
        let image = event(&json!({"delta": {"images": [{"image_url": {"url": "data:"}}]}}));
        vec![head(), event(&json!({"delta": {"content": "see: "}})), image, done()]
    });
    assert_eq!(report.stream.unread, ["delta.images"]);
}

#[test]
fn running_counts_and_values_that_are_no_counts_are_kept() {
    let counted = |tokens: Value| {
        let (_, _, report) = answer(move || {
            let piece = |text: &str, tokens: &Value| {
                let document =
                    json!({"choices": [{"delta": {"content": text}}], "usage": {"completion_tokens": tokens}});
                send(&format!("data: {document}\n\n"))
            };
            vec![head(), piece("one", &json!(3)), piece(" two", &tokens), done()]
        });
        report
    };
    let report = counted(json!(5));
    assert_eq!((report.stream.running, report.output_tokens), (vec![Some(3), Some(5)], Some(5)));
    for value in [json!(-5), json!("5"), json!(5.5), json!(1e12), json!(1_000_000_000_000_u64)] {
        let report = counted(value.clone());
        assert_eq!(report.stream.no_counts["completion_tokens"], value.to_string());
    }
    assert_eq!(counted(json!(5.0)).output_tokens, Some(5), "a whole number");
}

/// Documents in lines, without the field of an event.
#[test]
fn lines_of_documents_are_read() {
    let (text, finish, _) = answer(|| {
        let line = |choice: Value| send(&format!("{}\n", json!({"choices": [choice]})));
        let end = line(json!({"delta": {}, "finish_reason": "stop"}));
        vec![head(), line(json!({"delta": {"content": "one"}})), line(json!({"delta": {"content": " two"}})), end]
    });
    assert_eq!((text.as_str(), finish), ("one two", FinishReason::Stop));
}

/// A body in one stored block of gzip.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let length = u16::try_from(body.len()).expect("a short body");
    let mut bytes = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(body);
    bytes.extend((!crc).to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes
}

/// The request allows no compression. A proxy that compresses nevertheless is read, never garbled.
#[test]
fn a_stream_in_gzip_is_decoded() {
    let server = unknown_server(|| {
        let piece = |text: &str| format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]}));
        let body = gzip(format!("{}{}data: [DONE]\n\n", piece("one"), piece(" two")).as_bytes());
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n";
        vec![send(head), Step::Send(body)]
    });
    let mut session = connect(&server.url(), &[]).expect("it connects");
    let mut record = Record::default();
    session.generate(&chat("hello", 8), &mut record).expect("a response");
    assert_eq!(record.text(), "one two");
    let request = server.received().into_iter().find(|request| request.what.starts_with("POST")).expect("a request");
    assert!(request.head.iter().any(|line| line == "accept-encoding: identity"), "{:?}", request.head);
}

/// The chat templates of some models take no system message, which the digits are.
#[test]
fn a_template_without_system_messages_gets_the_digits_in_the_first_message() {
    let error = r#"{"error":{"message":"System role not supported"}}"#;
    let mut first = true;
    let server = unknown_server(move || {
        if std::mem::take(&mut first) {
            return whole(400, "application/json", error);
        }
        vec![head(), event(&json!({"delta": {"content": "one"}, "finish_reason": "stop"})), done()]
    });
    let mut session = connect(&server.url(), &[]).expect("it connects");
    let mut record = Record::default();
    let repeat = session.generate(&chat("hello", 8), &mut record).expect_err("it is to be repeated");
    assert!(matches!(repeat, EngineError::Repeat { .. }), "{repeat:?}");
    for _ in 0..2 {
        let usage = session.generate(&chat("hello", 8), &mut Record::default()).expect("a response");
        assert_eq!(usage.reported.expect("a report").bypass, CacheBypass::Nonce);
    }
    let roles: Vec<Value> = server
        .bodies("POST /v1/chat/completions")
        .iter()
        .map(|body| body["messages"].as_array().expect("messages").iter().map(|one| one["role"].clone()).collect())
        .collect();
    assert_eq!(roles, [json!(["system", "user"]), json!(["user"]), json!(["user"])]);
    let contents = server.bodies("POST /v1/chat/completions")[1]["messages"][0]["content"].clone();
    assert!(contents.as_str().is_some_and(|text| text.ends_with("\nhello") && text.len() == 18), "{contents}");
}

/// An error that stays without the system message was not about it.
#[test]
fn an_error_that_is_not_about_the_digits_is_final() {
    for (message, repeats) in [("out of memory", false), ("the chat template is broken", true)] {
        let error = format!(r#"{{"error":"{message}"}}"#);
        let server = unknown_server(move || whole(500, "application/json", &error));
        let mut session = connect(&server.url(), &[]).expect("it connects");
        let mut ask = || session.generate(&chat("hello", 8), &mut Record::default()).expect_err("an error");
        assert_eq!(matches!(ask(), EngineError::Repeat { .. }), repeats, "{message}");
        assert!(matches!(ask(), EngineError::Failed { .. }));
    }
}
