//! Faulty servers: each gives one clear error, and the session can be used again.
#![cfg(feature = "openai")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod server;

use std::sync::mpsc::{Sender, channel};

use engines::{Advice, Device, FinishReason, Flow, Observer, Phase, Piece};

use server::watch::{Record, chat, connect, options, shown};
use server::{Script, Step, end_events, head, route, send, text_event, unknown_server, whole};

/// Short for a test, but long enough for a busy machine.
const STALL: (&str, &str) = ("stall_s", "0.4");

/// The error of a first request that gets the script as its response. A second request gets a correct response.
fn fault(script: impl Fn() -> Script + Send + 'static) -> String {
    let mut first = true;
    let server = unknown_server(move || {
        if std::mem::take(&mut first) {
            script()
        } else {
            vec![head(), text_event("all"), text_event(" well"), end_events("stop", 5, 3)]
        }
    });
    let mut session = connect(&server.url(), &[STALL]).expect("it connects");
    let mut record = Record::default();
    let error = session.generate(&chat("hello", 8), &mut record).expect_err("the script is faulty");
    let edges = record.edges.len();
    assert!(edges > 0 && edges % 2 == 0, "phases are closed: {:?}", record.edges);
    session.reset().expect("it resets");
    let mut again = Record::default();
    let usage = session.generate(&chat("hello", 8), &mut again).expect("the next request succeeds");
    again.check();
    assert_eq!((again.text().as_str(), usage.output_tokens, usage.finish), ("all well", 3, FinishReason::Stop));
    shown(&error, &server.url())
}

#[test]
fn a_server_that_stalls_before_the_first_byte() {
    insta::assert_snapshot!(fault(|| vec![Step::Hang]), @"engine openai failed in POST URL/v1/chat/completions: nothing arrived for 0.4 s; increase the setting openai.stall_s to wait longer");
}

#[test]
fn a_server_that_stalls_in_the_middle() {
    insta::assert_snapshot!(fault(|| vec![head(), text_event("one"), text_event(" two"), Step::Hang]), @"engine openai failed in POST URL/v1/chat/completions: nothing arrived for 0.4 s (after 2 pieces of text); increase the setting openai.stall_s to wait longer");
}

#[test]
fn a_server_that_closes_early() {
    insta::assert_snapshot!(fault(|| vec![head(), text_event("one"), text_event(" two")]), @"engine openai failed in POST URL/v1/chat/completions: expected a stream that ends with a finish_reason or [DONE], found 2 pieces of text and no end");
}

#[test]
fn a_server_that_closes_in_the_middle_of_a_chunk() {
    let script = || {
        vec![send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n40\r\ndata: {\"ch",
        )]
    };
    insta::assert_snapshot!(fault(script), @"engine openai failed in POST URL/v1/chat/completions: the server closed the connection before its response was complete");
}

#[test]
fn a_server_that_answers_with_zero_bytes() {
    insta::assert_snapshot!(fault(Vec::new), @"engine openai failed in POST URL/v1/chat/completions: the server closed the connection before its response was complete");
}

#[test]
fn a_stream_without_events() {
    insta::assert_snapshot!(fault(|| vec![head()]), @"engine openai failed in POST URL/v1/chat/completions: expected a stream that ends with a finish_reason or [DONE], found nothing");
}

#[test]
fn a_stream_of_comments_alone() {
    insta::assert_snapshot!(fault(|| vec![head(), send(": keep-alive\n\n:\n\n")]), @"engine openai failed in POST URL/v1/chat/completions: expected a stream that ends with a finish_reason or [DONE], found nothing");
}

#[test]
fn junk_instead_of_a_stream() {
    insta::assert_snapshot!(fault(|| vec![head(), send("<html>oh no</html>\n")]), @"engine openai failed in POST URL/v1/chat/completions: expected a stream that ends with a finish_reason or [DONE], found `<html>oh no</html>`");
}

#[test]
fn junk_in_an_event() {
    insta::assert_snapshot!(fault(|| vec![head(), text_event("one"), send("data: {\"choices\": [\n\n")]), @r#"engine openai failed in POST URL/v1/chat/completions: expected JSON in an event, found `{"choices": [` (EOF while parsing a list at line 1 column 13) (after 1 piece of text)"#);
}

#[test]
fn bytes_that_are_not_http() {
    insta::assert_snapshot!(fault(|| vec![send("\u{1}\u{2}\u{3} what?\r\n\r\n")]), @"engine openai failed in POST URL/v1/chat/completions: expected HTTP, found something else (http parse fail: invalid HTTP version)");
}

#[test]
fn empty_chunks_alone() {
    let empty = "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n".repeat(3);
    insta::assert_snapshot!(fault(move || vec![head(), send(&empty), end_events("stop", 5, 3)]), @"engine openai failed in POST URL/v1/chat/completions: expected pieces of text, found a finish reason and a token count of 3, but no text");
}

#[test]
fn an_error_in_the_stream() {
    let error = "data: {\"error\":{\"message\":\"CUDA out of memory\",\"code\":500}}\n\ndata: [DONE]\n\n";
    insta::assert_snapshot!(fault(move || vec![head(), text_event("one"), send(error)]), @"engine openai failed in POST URL/v1/chat/completions: the server reported an error in its stream: CUDA out of memory (after 1 piece of text)");
    insta::assert_snapshot!(fault(|| vec![head(), send("error: {\"message\":\"slot failed\"}\n\n")]), @"engine openai failed in POST URL/v1/chat/completions: the server reported an error in its stream: slot failed");
}

#[test]
fn an_error_in_the_stream_in_other_forms() {
    let fault_of = |error: &'static str| fault(move || vec![head(), text_event("one"), send(error)]);
    let named = "event: error\ndata: {\"message\":\"worker died\",\"code\":500}\n\ndata: [DONE]\n\n";
    insta::assert_snapshot!(fault_of(named), @"engine openai failed in POST URL/v1/chat/completions: the server reported an error in its stream: worker died (after 1 piece of text)");
    for error in [
        "event: error\ndata: worker died\n\n",
        "data: {\"detail\":\"worker died\"}\n\ndata: [DONE]\n\n",
        "data: {\"errors\":[{\"message\":\"worker died\"}]}\n\n",
        "data: {\"type\":\"error\",\"error\":{\"message\":\"worker died\"}}\n\n",
        "data: {\"choices\":[{\"error\":{\"message\":\"worker died\"},\"finish_reason\":\"error\"}]}\n\n",
        "{\"error\":{\"message\":\"worker died\"}}\n",
        "{\n  \"message\": \"worker died\"\n}\n",
    ] {
        let shown = fault_of(error);
        assert!(shown.ends_with("in its stream: worker died (after 1 piece of text)"), "{error}: {shown}");
    }
}

#[test]
fn a_compressed_stream_that_is_not_decoded() {
    let script = || {
        vec![send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\nConnection: close\r\n\r\nxyz",
        )]
    };
    insta::assert_snapshot!(fault(script), @"engine openai failed in POST URL/v1/chat/completions: the response is compressed (br), but the request allows no compression; turn compression off in the server, or in the proxy in front of it");
}

#[test]
fn http_errors() {
    let object = r#"{"error":{"message":"Rate limit reached","type":"requests"}}"#;
    insta::assert_snapshot!(fault(|| whole(429, "application/json", object)), @"engine openai failed in POST URL/v1/chat/completions: HTTP 429: Rate limit reached");
    insta::assert_snapshot!(fault(|| whole(500, "text/plain", "Internal Server Error")), @"engine openai failed in POST URL/v1/chat/completions: HTTP 500: Internal Server Error");
    insta::assert_snapshot!(fault(|| whole(503, "application/json", "")), @"engine openai failed in POST URL/v1/chat/completions: HTTP 503 without a message");
    insta::assert_snapshot!(fault(|| whole(404, "application/json", r#"{"error": "generation thread died"}"#)), @"engine openai failed in POST URL/v1/chat/completions: HTTP 404: generation thread died");
    insta::assert_snapshot!(fault(|| whole(422, "application/json", r#"{"detail":[{"msg":"Field required"}]}"#)), @"engine openai failed in POST URL/v1/chat/completions: HTTP 422: Field required");
    insta::assert_snapshot!(fault(|| whole(500, "text/html", &"long ".repeat(500))), @"engine openai failed in POST URL/v1/chat/completions: HTTP 500: long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long long  ...");
}

#[test]
fn a_server_that_does_not_stream() {
    let answer = r#"{"object":"chat.completion","choices":[{"message":{"content":"all at once"}}]}"#;
    insta::assert_snapshot!(fault(|| whole(200, "application/json", answer)), @r#"engine openai failed in POST URL/v1/chat/completions: expected a stream of events, found application/json: {"object":"chat.completion","choices":[{"message":{"content":"all at once"}}]}"#);
}

/// A token count that differs from the number of pieces is reported as it is.
#[test]
fn wrong_counts_are_not_corrected() {
    let server = unknown_server(|| vec![head(), text_event("one"), text_event(" two"), end_events("length", 7, 900)]);
    let mut session = connect(&server.url(), &[]).expect("it connects");
    let usage = session.generate(&chat("hello", 8), &mut Record::default()).expect("a response");
    let reported = usage.reported.expect("a report");
    assert_eq!((usage.output_tokens, reported.output_tokens, reported.chunks), (900, Some(900), 2));
    assert_eq!((usage.prompt_tokens, reported.prompt_tokens), (7, Some(7)));
}

#[test]
fn counts_that_are_not_reported_stay_absent() {
    let server = unknown_server(|| vec![head(), text_event("one"), text_event(" two"), send("data: [DONE]\n\n")]);
    let mut session = connect(&server.url(), &[]).expect("it connects");
    let usage = session.generate(&chat("hello", 8), &mut Record::default()).expect("a response");
    let reported = usage.reported.expect("a report");
    assert_eq!((reported.output_tokens, reported.prompt_tokens, reported.chunks), (None, None, 2));
    assert_eq!((usage.output_tokens, usage.finish), (2, FinishReason::Stop), "pieces are counted");
}

#[test]
fn no_server_at_the_address() {
    let server = unknown_server(Vec::new);
    let url = server.url();
    drop(server);
    let error = connect(&url, &[]).err().expect("no server");
    insta::assert_snapshot!(shown(&error, &url), @"engine openai failed in GET URL/v1/models: no server answers: connection refused; start the server, or give its address");
}

#[test]
fn a_server_that_never_answers() {
    let server = server::Server::start(vec![route("GET /v1/models", || vec![Step::Hang])]);
    let error = connect(&server.url(), &[("connect_s", "0.3")]).err().expect("a timeout");
    insta::assert_snapshot!(shown(&error, &server.url()), @"engine openai failed in GET URL/v1/models: nothing arrived for 0.3 s; increase the setting openai.connect_s to wait longer");
}

#[test]
fn a_server_that_is_not_a_model_server() {
    let page = || whole(200, "text/html", "<html>welcome</html>");
    let server = server::Server::start(vec![route("GET *", page)]);
    let error = connect(&server.url(), &[]).err().expect("it is not a model server");
    insta::assert_snapshot!(shown(&error, &server.url()), @"engine openai failed in GET URL/v1/models: expected a list of models, found something else: this is not an OpenAI-compatible server");
}

#[test]
fn no_model_and_several_models_without_a_choice() {
    let list = |names: &[&str]| {
        let entries: Vec<String> = names.iter().map(|name| format!(r#"{{"id":"{name}"}}"#)).collect();
        format!(r#"{{"object":"list","data":[{}]}}"#, entries.join(","))
    };
    for (names, expected) in [(vec![], "found none"), (vec!["a", "b"], "a choice among 2 models: a, b")] {
        let list = list(&names);
        let models = move || whole(200, "application/json", &list);
        let server = server::Server::start(vec![route("GET /v1/models", models)]);
        let error = connect(&server.url(), &[]).err().expect("no choice").with_advice();
        assert!(error.contains(expected) && error.contains("the setting openai.model"), "{error}");
    }
}

#[test]
fn a_run_without_an_address_is_refused() {
    let error = server::watch::connect_with(&engines::LoadOptions::default()).err().expect("no address");
    insta::assert_snapshot!(error.with_advice(), @"engine openai does not support a run without a server; give the address of a running server, such as http://localhost:8080, or a command that starts one, such as `llama-server -m FILE --port {port}`");
    let mut with = options("http://localhost:1", &[]);
    with.device = Device::Cuda(0);
    insta::assert_snapshot!(server::watch::connect_with(&with).err().expect("a device").with_advice(), @"engine openai does not support a device; leave it out, and set it in the server's own command");
}

/// Notifies the server of each piece that arrived.
struct Notifier(Vec<Sender<()>>);

impl Observer for Notifier {
    fn begin(&mut self, _phase: Phase) {}
    fn end(&mut self, _phase: Phase) {}
    fn cancel(&mut self, _phase: Phase) {}
    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        if let Some(seen) = self.0.get(piece.index) {
            seen.send(()).expect("the server waits");
        }
        Flow::Continue
    }
}

/// The server sends a piece only after the observer has received the one before: a client that buffers would never end.
#[test]
fn pieces_are_passed_on_as_they_arrive() {
    let chunk = |text: &str| send(&format!("{:x}\r\n{text}\r\n", text.len()));
    for is_chunked in [false, true] {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| channel()).unzip();
        let mut receivers = Some(receivers);
        let server = unknown_server(move || {
            let mut script = match is_chunked {
                true => vec![send(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
                )],
                false => vec![send("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")],
            };
            let framed = |text: &str| if is_chunked { chunk(text) } else { send(text) };
            for seen in receivers.take().expect("one request") {
                script.push(framed("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"));
                script.push(Step::Until(seen));
            }
            script.push(framed("data: [DONE]\n\n"));
            if is_chunked {
                script.push(send("0\r\n\r\n"));
            }
            script
        });
        let mut session = connect(&server.url(), &[]).expect("it connects");
        let usage = session.generate(&chat("hello", 8), &mut Notifier(senders)).expect("pieces are not buffered");
        assert_eq!(usage.output_tokens, 3, "chunked: {is_chunked}");
    }
}

/// Most model servers read a TLS handshake as HTTP, and respond with an HTTP error.
#[test]
fn an_https_address_of_a_server_without_tls() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("it has an address"));
    let serve = move || {
        for connection in listener.incoming().take(1) {
            let mut connection = connection.expect("a connection");
            assert!(connection.read(&mut [0; 4096]).expect("a greeting") > 0);
            connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it is read");
        }
    };
    let server = std::thread::Builder::new().name("plain".to_owned()).spawn(serve).expect("a thread");
    let error = connect(&url, &[]).err().expect("it is refused");
    server.join().expect("it did not panic");
    insta::assert_snapshot!(shown(&error, &url), @"engine openai failed in GET URL/v1/models: the server does not use TLS; give its address with http:// in place of https://");
}
