//! What a server does not have to answer: it never ends a run and never makes it wait for long.
#![cfg(feature = "openai")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod server;

use std::time::Duration;

use engines::{Advice, CacheBypass, EngineError, Session, Usage};
use serde_json::{Value, json};

use server::watch::{Record, chat, connect, connect_notified, options, shown};
use server::{Script, Server, Step, end_events, head, route, send, text_event, whole, with_headers};

const NAMED: (&str, &str) = ("model", "acme/tiny");
/// Short for a test, but long enough for a busy machine.
const SHORT: (&str, &str) = ("connect_s", "0.5");
const LIST: &str = r#"{"object":"list","data":[{"id":"acme/tiny","object":"model"}]}"#;

fn list() -> Script {
    whole(200, "application/json", LIST)
}

fn answer() -> Script {
    vec![head(), text_event("all"), text_event(" well"), end_events("stop", 5, 3)]
}

fn ask(session: &mut dyn Session) -> Result<Usage, EngineError> {
    session.generate(&chat("hello", 8), &mut Record::default())
}

/// A server with a list of models, that answers every other query in this way.
fn with_other_paths(other: fn() -> Script) -> Server {
    Server::start(vec![
        route("GET /v1/models", list),
        route("GET *", other),
        route("POST /v1/chat/completions", answer),
    ])
}

/// A kind of answer and its script.
type Way = (&'static str, fn() -> Script);

#[test]
fn other_paths_may_answer_in_any_way() {
    let ways: [Way; 6] = [
        ("503", || whole(503, "text/html", "<html>no backend for this path</html>")),
        ("429", || whole(429, "text/plain", "slow down")),
        ("nothing", || vec![Step::Hang]),
        ("zero bytes", Vec::new),
        ("a page", || whole(200, "text/html", "<!doctype html><title>App</title>")),
        ("a redirect", || with_headers(302, "text/html", "Location: /login", "")),
    ];
    for (way, other) in ways {
        let server = with_other_paths(other);
        let mut session = connect(&server.url(), &[SHORT]).unwrap_or_else(|error| panic!("{way}: {error}"));
        let info = session.server().expect("a server").info();
        assert_eq!((info.software_name(), info.model.as_str()), ("unknown", "acme/tiny"), "{way}");
        let reason = info.software.unwrap_err();
        assert!(reason.as_str().contains("none of its answers"), "{way}: {reason}");
        ask(session.as_mut()).unwrap_or_else(|error| panic!("{way}: {error}"));
    }
}

#[test]
fn with_the_model_named_no_list_is_needed() {
    let ways: [Way; 6] = [
        ("404", || whole(404, "application/json", r#"{"detail":"Not Found"}"#)),
        ("401", || whole(401, "application/json", r#"{"error":{"message":"key lacks scope models.read"}}"#)),
        ("405", || whole(405, "text/html", "<h1>405</h1>")),
        ("500", || whole(500, "text/plain", "oops")),
        ("nothing", || vec![Step::Hang]),
        ("a page", || whole(200, "text/html", "<html>welcome</html>")),
    ];
    for (way, models) in ways {
        let server = Server::start(vec![route("GET /v1/models", models), route("POST /v1/chat/completions", answer)]);
        let mut session = connect(&server.url(), &[NAMED, SHORT]).unwrap_or_else(|error| panic!("{way}: {error}"));
        let info = session.server().expect("a server").info();
        assert!(info.models.is_err(), "{way}");
        ask(session.as_mut()).unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(server.bodies("POST /v1/chat/completions")[0]["model"], "acme/tiny");
        assert!(connect(&server.url(), &[SHORT]).is_err(), "{way}: without a name the list is needed");
    }
}

/// As recorded from mlx_lm.server where the hub cache does not exist: an empty body with the head of a JSON document.
#[test]
fn mlx_lm_server_without_a_hub_cache_needs_no_list() {
    let old = |body: &'static str| {
        move || vec![send(&format!("HTTP/1.0 200 OK\r\nContent-type: application/json\r\n\r\n{body}"))]
    };
    let server = Server::start(vec![
        route("GET /v1/models", old("")),
        route("GET /health", old(r#"{"status": "ok"}"#)),
        route("POST /v1/chat/completions", answer),
    ]);
    let mut session = connect(&server.url(), &[SHORT]).expect("it has a default model");
    let info = session.server().expect("a server").info();
    assert_eq!((info.software_name(), info.model.as_str()), ("mlx_lm.server", "default_model"));
    let reason = info.models.expect_err("it has no list");
    assert!(reason.as_str().contains("expected a list of models"), "{reason}");
    ask(session.as_mut()).expect("an answer");
}

#[test]
fn lists_of_models_in_other_forms() {
    for list in [r#"[{"id":"acme/tiny"}]"#, r#"{"models":[{"name":"acme/tiny"}]}"#, r#"["acme/tiny"]"#] {
        let server = Server::start(vec![route("GET /v1/models", move || whole(200, "application/json", list))]);
        let session = connect(&server.url(), &[]).unwrap_or_else(|error| panic!("{list}: {error}"));
        assert_eq!(session.server().expect("a server").info().model, "acme/tiny", "{list}");
    }
}

#[test]
fn a_path_and_a_query_stand_as_they_are_given() {
    let server = Server::start(vec![
        route("GET /api/paas/v4/models", list),
        route("POST /api/paas/v4/chat/completions", answer),
        route("GET /openai/deployments/gpt/models?api-version=1", list),
        route("POST /openai/deployments/gpt/chat/completions?api-version=1", answer),
        route("GET /proxy/v1/models", list),
        route("POST /proxy/v1/chat/completions", answer),
        route("POST /bare/chat/completions", answer),
    ]);
    for (path, settings) in [
        ("/api/paas/v4", &[][..]),
        ("/api/paas/v4/chat/completions", &[]),
        ("/openai/deployments/gpt?api-version=1", &[]),
        ("/openai/deployments/gpt/chat/completions?api-version=1", &[]),
        ("/proxy/v1/", &[]),
        // The list of models is found below /v1, so the other endpoints are too.
        ("/proxy", &[]),
        ("/bare", &[NAMED]),
    ] {
        let mut session =
            connect(&format!("{}{path}", server.url()), settings).unwrap_or_else(|error| panic!("{path}: {error}"));
        ask(session.as_mut()).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn redirects_name_the_address_to_give() {
    let moved = |status: u16, location: &'static str| {
        move || with_headers(status, "text/html", &format!("Location: {location}"), "<h1>Moved</h1>")
    };
    let server = Server::start(vec![
        route("GET /v1/models", moved(307, "/real/v1/models")),
        route("GET /real/v1/models", list),
        route("POST /real/v1/chat/completions", answer),
    ]);
    let error = connect(&server.url(), &[]).err().expect("a redirect");
    insta::assert_snapshot!(shown(&error, &server.url()), @"engine openai failed in GET URL/v1/models: HTTP 307: it redirects to URL/real/v1/models; give the address URL/real");
    ask(connect(&format!("{}/real", server.url()), &[]).expect("it is the address").as_mut()).expect("an answer");
    let tls = Server::start(vec![route("GET /v1/models", moved(301, "https://127.0.0.1/v1/models"))]);
    let error = connect(&tls.url(), &[]).err().expect("a redirect").with_advice();
    assert!(
        error.ends_with("it redirects to https://127.0.0.1/v1/models; give the address https://127.0.0.1"),
        "{error}"
    );
    let post =
        Server::start(vec![route("GET /v1/models", list), route("POST /v1/chat/completions", moved(308, "/login"))]);
    let error = ask(connect(&post.url(), &[]).expect("it connects").as_mut()).expect_err("a redirect");
    insta::assert_snapshot!(shown(&error, &post.url()), @"engine openai failed in POST URL/v1/chat/completions: HTTP 308: it redirects to URL/login; give the address of the server itself");
}

/// The command to repeat a request, and how the next one ends.
fn repeated(server: &Server, settings: &[(&str, &str)]) -> (String, Duration, Usage, Box<dyn Session>) {
    let mut session = connect(&server.url(), settings).expect("it connects");
    let mut record = Record::default();
    let error = session.generate(&chat("hello", 8), &mut record).expect_err("the first request is refused");
    assert!(record.edges.len() % 2 == 0, "phases are closed");
    let EngineError::Repeat { wait, .. } = error else { panic!("{error}") };
    let usage = ask(session.as_mut()).expect("the next request succeeds");
    (shown(&error, &server.url()), wait, usage, session)
}

/// A server that gives this response first and correct ones then.
fn refusing(first: impl Fn() -> Script + Send + 'static) -> Server {
    let mut is_first = true;
    let chat = move || if std::mem::take(&mut is_first) { first() } else { answer() };
    Server::start(vec![
        route("GET /v1/models", list),
        route("POST /v1/chat/completions", chat),
        route("POST /v1/chat/completions/", answer),
    ])
}

#[test]
fn a_server_may_ask_to_wait() {
    let busy = r#"{"error":{"message":"Rate limit reached"}}"#;
    let server = refusing(move || with_headers(429, "application/json", "Retry-After: 2", busy));
    let (error, wait, ..) = repeated(&server, &[]);
    insta::assert_snapshot!(error, @"engine openai has to repeat POST URL/v1/chat/completions: HTTP 429: Rate limit reached; it asks to wait 2 s");
    assert_eq!(wait, Duration::from_secs(2));
    let dates = "Date: Mon, 30 Nov 2026 10:00:00 GMT\r\nRetry-After: Mon, 30 Nov 2026 10:00:07 GMT";
    let server = refusing(move || with_headers(503, "text/plain", dates, "loading"));
    assert_eq!(repeated(&server, &[]).1, Duration::from_secs(7));
    // A time beyond the limit, or none, is an error.
    for headers in ["Retry-After: 86400", "X-None: 1"] {
        let server = refusing(move || with_headers(429, "application/json", headers, busy));
        let error = ask(connect(&server.url(), &[]).expect("it connects").as_mut()).expect_err("it is too long");
        assert!(matches!(error, EngineError::Failed { .. }), "{error}");
    }
}

#[test]
fn a_redirect_to_the_same_path_with_a_slash_is_followed_by_the_next_request() {
    let server = refusing(|| with_headers(308, "text/plain", "Location: /v1/chat/completions/", ""));
    repeated(&server, &[]);
    assert_eq!(server.bodies("POST /v1/chat/completions/").len(), 1);
}

#[test]
fn a_field_that_the_server_refuses_is_left_out() {
    let refused = r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#;
    let server = refusing(move || whole(422, "application/json", refused));
    let (error, wait, _, session) = repeated(&server, &[]);
    insta::assert_snapshot!(error, @"engine openai has to repeat POST URL/v1/chat/completions: HTTP 422: Extra inputs are not permitted (body.stream_options); it is sent without `stream_options` from now on");
    assert_eq!(wait, Duration::ZERO);
    let bodies = server.bodies("POST /v1/chat/completions");
    assert!(bodies[0].get("stream_options").is_some() && bodies[1].get("stream_options").is_none());
    assert_eq!(session.server().expect("a server").info().details["left_out"], "stream_options");

    let newer = r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."}}"#;
    let server = refusing(move || whole(400, "application/json", newer));
    repeated(&server, &[]);
    let body = server.bodies("POST /v1/chat/completions").remove(1);
    assert_eq!((body.get("max_tokens"), &body["max_completion_tokens"]), (None, &json!(8)));
}

#[test]
fn a_server_that_refuses_its_switch_for_the_cache_gets_digits() {
    let props = r#"{"default_generation_settings":{"n_ctx":4096},"total_slots":1,"build_info":"b1"}"#;
    let mut is_first = true;
    let chat = move || match std::mem::take(&mut is_first) {
        true => whole(400, "application/json", r#"{"error":"unknown field cache_prompt"}"#),
        false => answer(),
    };
    let server = Server::start(vec![
        route("GET /v1/models", list),
        route("GET /props", move || whole(200, "application/json", props)),
        route("POST /v1/chat/completions", chat),
    ]);
    let (.., session) = repeated(&server, &[]);
    assert_eq!(session.server().expect("a server").info().cache, CacheBypass::Nonce);
    let bodies = server.bodies("POST /v1/chat/completions");
    let first_message = |body: &Value| body["messages"][0]["role"].as_str().map(str::to_owned);
    assert_eq!(bodies.iter().map(first_message).collect::<Vec<_>>(), [Some("user".into()), Some("system".into())]);
    assert!(
        bodies[1]["messages"][0]["content"].as_str().is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()))
    );
}

#[test]
fn null_in_the_body_removes_a_field() {
    let server = refusing(answer);
    let body = r#"{"stream_options": null, "temperature": null, "seed": 1, "extra": {"a": null, "b": 2}}"#;
    ask(connect(&server.url(), &[("body", body)]).expect("it connects").as_mut()).expect("an answer");
    let sent = server.bodies("POST /v1/chat/completions").remove(0);
    assert_eq!((sent.get("stream_options"), sent.get("temperature")), (None, None));
    assert_eq!((&sent["seed"], &sent["extra"]), (&json!(1), &json!({"b": 2})));
}

#[test]
fn a_stream_is_read_under_another_type() {
    for kind in ["application/json; charset=utf-8", "text/html", "text/plain", "application/octet-stream"] {
        let server = refusing(move || {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
            let rest = answer().into_iter().skip(1);
            [send(&head)].into_iter().chain(rest).collect()
        });
        let usage = ask(connect(&server.url(), &[]).expect("it connects").as_mut());
        assert_eq!(usage.unwrap_or_else(|error| panic!("{kind}: {error}")).output_tokens, 3, "{kind}");
    }
}

#[test]
fn what_is_waited_for_is_said() {
    let mut left = 60;
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    let props = move || {
        left -= 1;
        match left {
            0.. => whole(503, "application/json", loading),
            _ => whole(200, "application/json", r#"{"default_generation_settings":{}}"#),
        }
    };
    let server = Server::start(vec![route("GET /v1/models", list), route("GET /props", props)]);
    let mut notices = Vec::new();
    let mut notify = |text: &str| notices.push(text.replace(&server.url(), "URL"));
    connect_notified(&options(&server.url(), &[]), &mut notify).expect("it becomes ready");
    insta::assert_snapshot!(notices.first().expect("it took a while"), @"waiting for the server to load the model (2 s; GET URL/props: HTTP 503: Loading model)");
}
