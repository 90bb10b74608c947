//! Servers measured from outside: scripted servers in this process, through real sockets.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::server::{
    Script, Server, Step, end_events, head, route, send, text_event, unknown_server, whole, with_headers,
};
#[cfg(target_os = "linux")]
use crate::support::signal;
use crate::support::{Done, TestFolder};

const WORDS: [&str; 8] = ["one", " two", " three", " four", " five", " six", " seven", " eight"];

/// Eight tokens, each in a separate event, with pauses.
fn answer(tokens: usize) -> Script {
    let mut script = vec![head()];
    for word in WORDS {
        script.extend([Step::Wait(Duration::from_millis(5)), text_event(word)]);
    }
    script.push(end_events("length", 40, tokens));
    script
}

/// The same, sent together by a proxy.
fn held_back() -> Script {
    let bytes = |step: Step| match step {
        Step::Send(bytes) => bytes,
        _ => Vec::new(),
    };
    let all = WORDS.iter().map(|word| text_event(word)).chain([end_events("length", 40, 8)]);
    vec![head(), Step::Wait(Duration::from_millis(20)), Step::Send(all.flat_map(bytes).collect())]
}

fn run(folder: &TestFolder, server: &Server, more: &str) -> Done {
    folder.run(&format!("run -e openai --url {} -n 8 -r 2 --warmup 1 --out r {more}", server.url()))
}

fn counted(case: &Value) -> Vec<&Value> {
    case["samples"].as_array().unwrap().iter().filter(|sample| sample["warmup"] == false).collect()
}

#[test]
fn a_server_is_measured_with_its_processes() {
    let (folder, server) = (TestFolder::new(), unknown_server(|| answer(8)));
    let done = run(&folder, &server, "");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    let file = folder.run_file("r");
    assert_eq!(file["plan"]["models"][0]["origin"], "server");
    for case in file["cases"].as_array().unwrap() {
        let server = &case["server"];
        assert_eq!((&server["software"], &server["model"]), (&Value::from("unknown"), &Value::from("some-model")));
        assert_eq!(server["pid"], Value::from(std::process::id()), "the server lives in this process");
        assert_eq!(server["started_here"], false);
        assert!(case["memory"]["load_s"].is_null());
        assert!(case["memory"]["reasons"]["load_s"].as_str().unwrap().contains("running before"));
        assert_eq!(case["output"]["text"], "one two three four five six seven eight");
        assert!(case["reasons"]["top_logprobs"].as_str().unwrap().contains("no steps"));
        assert_eq!(counted(case).len(), 2);
        for sample in counted(case) {
            assert_eq!((&sample["output_tokens"], &sample["server"]["chunks"]), (&Value::from(8), &Value::from(8)));
            // Reads that a busy machine delays are no token times.
            let times = [&sample["token_times_s"], &sample["server"]["piece_times_s"]];
            let times = times.iter().filter_map(|times| times.as_array()).map(Vec::len).sum::<usize>();
            assert_eq!((times, sample["decode_tps"].is_null()), (8, sample["reasons"]["decode_tps"].is_string()));
            assert!(sample["memory_peak_bytes"].as_u64().unwrap() > 0 && sample["cpu_s"].is_number());
            assert!(sample["tokenize_s"].is_null() && sample["reasons"]["tokenize_s"].is_string());
            let parts: Vec<f64> =
                ["prefill_s", "decode_s", "other_s"].iter().filter_map(|part| sample[part].as_f64()).collect();
            let is_whole = (parts.iter().sum::<f64>() - sample["latency_s"].as_f64().unwrap()).abs() < 1e-9;
            assert!(is_whole || parts.len() < 3, "{sample}");
            assert!(sample["server"]["counters"]["minor_faults"].is_number());
        }
    }
    let passage = &file["examinations"][0]["reasons"]["positions"];
    assert_eq!(passage, "only the server has the model's tokenizer");
    let table = fs::read_to_string(folder.path("r/results.csv")).unwrap();
    assert!(table.lines().next().unwrap().contains("server.cached_tokens"));
    let report = fs::read_to_string(folder.path("r/report.md")).unwrap();
    assert!(report.contains("Servers") && report.contains("some-model"), "{report}");
}

#[test]
fn a_stream_that_is_held_back_has_no_rate_of_tokens() {
    let (folder, server) = (TestFolder::new(), unknown_server(held_back));
    let done = run(&folder, &server, "--prompts smoke");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(done.out.contains("arrived in 1 reads") && done.out.contains("is absent"), "{}", done.out);
    let file = folder.run_file("r");
    for sample in counted(&file["cases"][0]) {
        for field in ["decode_tps", "decode_s", "prefill_tps", "prefill_s"] {
            let reason = sample["reasons"][field].as_str().unwrap_or_default();
            assert!(
                sample[field].is_null() && reason.contains("8 pieces of text arrived in 1 reads"),
                "{field}: {sample}"
            );
        }
        assert_eq!(sample["token_times_s"], Value::Array(Vec::new()));
        assert_eq!(sample["server"]["piece_times_s"].as_array().unwrap().len(), 8);
        assert!(sample["latency_s"].is_number() && sample["ttft_s"].is_number() && sample["tps"].is_number());
    }
    assert!(file["summaries"][0]["reasons"]["itl_s"].is_string() && file["summaries"][0]["itl_s"]["p50"].is_null());
}

#[test]
fn figures_without_counts_are_marked_as_estimates() {
    let silent = || {
        let mut script = answer(8);
        script.pop();
        script.push(send("data: [DONE]\n\n"));
        script
    };
    let (folder, server) = (TestFolder::new(), unknown_server(silent));
    let done = run(&folder, &server, "--prompts smoke");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(done.out.contains("is an estimate: the server does not count its tokens"), "{}", done.out);
    let file = folder.run_file("r");
    for sample in counted(&file["cases"][0]) {
        assert!(sample["estimated"]["tps"].as_str().unwrap().contains("pieces of text stand in"), "{sample}");
        assert!(sample["prompt_tokens"].is_null() && sample["prefill_tps"].is_null(), "{sample}");
    }
    let table = fs::read_to_string(folder.path("r/results.csv")).unwrap();
    assert!(table.lines().next().unwrap().ends_with("estimated,reasons"), "{table}");
    assert!(file["summaries"][0]["estimated"]["tps"].is_string());
}

#[test]
fn counts_that_cannot_be_true_void_the_rates() {
    let (folder, server) = (TestFolder::new(), unknown_server(|| answer(900)));
    let done = run(&folder, &server, "--prompts smoke");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    for sample in counted(&folder.run_file("r")["cases"][0]) {
        for field in ["tps", "decode_tps", "prefill_tps", "output_tokens"] {
            let reason = sample["reasons"][field].as_str().unwrap_or_default();
            assert!(sample[field].is_null() && reason.starts_with("void: the server counts 900"), "{field}: {sample}");
        }
        assert_eq!(sample["server"]["output_tokens"], 900);
    }
}

#[test]
fn impossible_figures_are_reported_first() {
    let (folder, server) = (TestFolder::new(), unknown_server(|| answer(3)));
    let done = run(&folder, &server, "");
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("Impossible") && done.out.contains("8 pieces of text"), "{}", done.out);
    let file = folder.run_file("r");
    let findings = file["cases"][0]["server"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["rule"] == "pieces_are_tokens" && finding["impossible"] == true));
}

#[test]
fn a_failing_request_affects_one_case() {
    let mut first = true;
    let script = move || {
        let fails = std::mem::take(&mut first);
        if fails { whole(500, "text/plain", "out of memory") } else { answer(8) }
    };
    let (folder, server) = (TestFolder::new(), unknown_server(script));
    let done = run(&folder, &server, "");
    assert_eq!(done.code, Some(1), "{}", done.err);
    let file = folder.run_file("r");
    let cases = file["cases"].as_array().unwrap();
    // The seed decides which case is the first one.
    let (failed, others): (Vec<&Value>, Vec<&Value>) = cases.iter().partition(|case| case["status"] == "failed");
    assert_eq!(failed.len(), 1, "{file}");
    let error = failed[0]["error"].as_str().unwrap();
    assert!(error.contains("500") && error.contains("out of memory") && error.contains(&server.url()), "{error}");
    assert!(!others.is_empty() && others.iter().all(|case| case["status"] == "ok"), "{file}");
}

#[test]
fn the_same_model_in_process_and_through_a_server() {
    let (folder, server) = (TestFolder::new(), unknown_server(|| answer(8)));
    let done = run(&folder, &server, "-e candle -m tiny.gguf");
    assert_eq!(done.code, Some(0), "{}", done.err);
    let report = fs::read_to_string(folder.path("r/report.md")).unwrap();
    assert!(report.contains("In process and through a server"), "{report}");
    // This server counts 40 tokens in each prompt, so that no times can be subtracted.
    assert!(report.contains("left out, because the numbers of prompt tokens differ"), "{report}");
    for case in folder.run_file("r")["cases"].as_array().unwrap().iter().filter(|case| case["engine"] == "openai") {
        let before = &case["server"]["before_model"];
        assert!(before["round_trip_s"].as_f64().unwrap() > 0.0, "{before}");
        assert_eq!(before["times_s"]["round_trip_s"].as_array().unwrap().len(), 9);
        for field in ["template_s", "tokenize_s", "same_ids"] {
            assert!(before[field].is_null() && before["reasons"][field].is_string(), "{field}: {before}");
        }
    }
}

/// Stalls in the middle of its answer, and ends slowly.
#[cfg(target_os = "linux")]
const SLOW_SERVER: &str = r#"
import http.server, json, os, signal, sys, time
def end(*_):
    time.sleep(0.7)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def head(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
    def do_GET(self):
        self.head("application/json")
        self.wfile.write(json.dumps({"data": [{"id": "small"}]}).encode())
    def do_POST(self):
        self.head("text/event-stream")
        self.wfile.write(b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n')
        open(sys.argv[2], "w").write(f"{os.getpid()}\n")
        time.sleep(1000)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// The worker waits for the next piece and does not notice the interruption. The server must end nevertheless.
#[test]
#[ignore = "needs python3"]
#[cfg(target_os = "linux")]
fn an_interrupted_run_leaves_no_server_behind() {
    use std::process::Stdio;

    let folder = TestFolder::new();
    fs::write(folder.path("server.py"), SLOW_SERVER).unwrap();
    let mut command = folder.command("run -e openai --prompts smoke -n 8 -r 2 --out r --spawn");
    command.arg("exec python3 server.py {port} pid").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    folder.wait_for_lines("pid", 1);
    let pid = fs::read_to_string(folder.path("pid")).unwrap().trim().to_owned();
    signal(child.id(), "-INT");
    let done = Done::from(child.wait_with_output().unwrap());
    // A process that has ended and was not waited for is a zombie.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    assert_eq!(done.code, Some(130), "{}", done.err);
    assert_eq!(folder.run_file("r")["interrupted"], true);
}

#[test]
fn servers_need_an_address_and_other_engines_refuse_one() {
    let folder = TestFolder::new();
    let done = folder.run("run -e openai");
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("--url") && done.err.contains("--spawn"), "{}", done.err);
    let done = folder.run("run -e candle -m tiny.gguf --url http://127.0.0.1:1");
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("--url") && done.err.contains("-e openai"), "{}", done.err);
    let done = folder.run("run -e openai --url http://127.0.0.1:1 --prompt-tokens 8");
    assert_eq!(done.code, Some(2), "there is no tokenizer");
    assert!(done.err.contains("tokenizer"), "{}", done.err);
    let done = folder.run("run -e openai --url http://127.0.0.1:1 --prompts smoke --out r");
    assert_eq!(done.code, Some(1), "{}", done.err);
    let error = folder.run_file("r")["cases"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("127.0.0.1:1") && error.contains("loading failed"), "{error}");
}

/// A server of the kind of llama-server whose second slot works for someone else, or not.
fn with_slots(is_busy: bool) -> Server {
    let slots =
        format!(r#"[{{"id":0,"id_task":-1,"is_processing":false}},{{"id":1,"id_task":7,"is_processing":{is_busy}}}]"#);
    Server::start(vec![
        route("GET /v1/models", || whole(200, "application/json", r#"{"data":[{"id":"small"}]}"#)),
        route("GET /props", || whole(200, "application/json", r#"{"default_generation_settings":{"n_ctx":512}}"#)),
        route("GET /slots", move || whole(200, "application/json", &slots)),
        route("POST /v1/chat/completions", || answer(8)),
    ])
}

#[test]
fn another_client_of_the_server_is_a_disturbance() {
    let (folder, server) = (TestFolder::new(), with_slots(true));
    let done = run(&folder, &server, "--prompts smoke");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(done.err.contains("disturbed: the server worked on 1 request of other clients"), "{}", done.err);
    let file = folder.run_file("r");
    for sample in counted(&file["cases"][0]) {
        assert_eq!(sample["server"]["other_requests"], 1);
        assert!(sample["disturbed"].as_str().unwrap().contains("other clients"));
    }
    let findings = file["cases"][0]["server"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["rule"] == "no_other_client"), "{findings:?}");
    assert!(fs::read_to_string(folder.path("r/report.md")).unwrap().contains("other requests"));

    let (folder, alone) = (TestFolder::new(), with_slots(false));
    let done = run(&folder, &alone, "--prompts smoke");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    for sample in counted(&folder.run_file("r")["cases"][0]) {
        assert_eq!(sample["server"]["other_requests"], 0);
        assert!(!sample["disturbed"].as_str().unwrap_or_default().contains("other clients"));
    }
}

/// What a server says only in its responses is in the record; why it does not say the rest is too.
#[test]
fn what_responses_say_of_the_server_is_recorded() {
    let script = || {
        let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":8,"avg_compl_tok_per_sec":9.5,"total_time_sec":0.5}}"#;
        let mut script = answer(8);
        script.insert(script.len() - 1, send(&format!("{usage}\n\n")));
        script
    };
    let (folder, server) = (TestFolder::new(), unknown_server(script));
    let done = run(&folder, &server, "--prompts smoke");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    let file = folder.run_file("r");
    let server = &file["cases"][0]["server"];
    assert_eq!((&server["software"], &server["reasons"]["software"]), (&Value::from("mistral.rs"), &Value::Null));
    assert!(server["reasons"]["other_requests"].as_str().unwrap().contains("does not say"), "{server}");
    assert_eq!(counted(&file["cases"][0])[0]["server"]["whole_s"], 0.5);
}

/// The waits of a server that is busy are no part of any time.
#[test]
fn a_server_that_asks_to_wait_is_measured_after_the_wait() {
    let mut requests = 0;
    let script = move || {
        requests += 1;
        let busy = || with_headers(429, "application/json", "Retry-After: 1", r#"{"error":"busy"}"#);
        if requests == 3 { busy() } else { answer(8) }
    };
    let (folder, server) = (TestFolder::new(), unknown_server(script));
    let done = run(&folder, &server, "--prompts smoke");
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(done.err.contains("HTTP 429: busy; it asks to wait 1 s"), "{}", done.err);
    for sample in counted(&folder.run_file("r")["cases"][0]) {
        assert!(sample["latency_s"].as_f64().unwrap() < 0.9, "the wait is no part of the latency: {sample}");
    }
}
