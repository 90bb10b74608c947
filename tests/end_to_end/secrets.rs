//! Secrets: each place in which a user can put one gets a value of its own, and every byte that the binary prints or writes is searched
//! for all of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::server::{Script, Server, end_events, head, route, text_event, whole};
use crate::support::{Done, TestFolder, prompts};

/// Every planted value. They share no part with each other or with any word of the program.
const PLANTED: [(&str, &str); 22] = [
    ("password of --url", "zq1urlpw"),
    ("parameter of --url", "zq2urlkey"),
    ("signature in --url", "zq3urlsig"),
    ("OPENAI_API_KEY", "zq4envkey"),
    ("a named key variable", "zq5named"),
    ("HF_TOKEN", "zq6hftok"),
    ("password of HF_ENDPOINT", "zq7hubpw"),
    ("password of a proxy", "zq8proxy"),
    ("LLAMA_ARG_API_KEY", "zq9llama"),
    ("field of openai.body", "zq10body"),
    ("header in openai.body", "zq11head"),
    ("secret setting", "zq12set"),
    ("option in --spawn", "zq13spawn"),
    ("option with = in --spawn", "zq14spawneq"),
    ("header in --spawn", "zq15spawnhead"),
    ("variable in --spawn", "zq16spawnenv"),
    ("address in --spawn", "zq17spawnurl"),
    ("option that does not exist", "zq18option"),
    ("setting without an engine", "zq19nodot"),
    ("address as a model", "zq20model"),
    ("commands in a variable", "zq21servers"),
    ("a document in --spawn", "zq22spawnjson"),
];

fn planted(place: &str) -> &'static str {
    PLANTED.iter().find(|(known, _)| *known == place).unwrap_or_else(|| panic!("nothing is planted in {place}")).1
}

/// Base64 of `alice:` and the password of the address, as the header `Authorization` has it.
const BASIC: &str = "YWxpY2U6enExdXJscHc=";

/// The command with a secret in every variable that the program or its engines read.
fn command(folder: &TestFolder, arguments: &[&str]) -> Command {
    let mut command = folder.command("");
    command
        .args(arguments)
        .env("OPENAI_API_KEY", planted("OPENAI_API_KEY"))
        .env("MY_OWN_KEY", planted("a named key variable"));
    command.env("HF_TOKEN", planted("HF_TOKEN")).env("LLAMA_ARG_API_KEY", planted("LLAMA_ARG_API_KEY"));
    command.env("HF_ENDPOINT", format!("http://bob:{}@127.0.0.1:1", planted("password of HF_ENDPOINT")));
    command.env("HTTPS_PROXY", format!("http://bob:{}@127.0.0.1:1", planted("password of a proxy")));
    command.env("INFEROMETER_SERVERS", format!("srv --api-key {} --port {{port}}", planted("commands in a variable")));
    command
}

fn run(folder: &TestFolder, arguments: &[&str]) -> Done {
    let done = Done::from(command(folder, arguments).output().unwrap());
    assert_clean(&arguments.join(" "), "stdout", done.out.as_bytes());
    assert_clean(&arguments.join(" "), "stderr", done.err.as_bytes());
    assert_folder_is_clean(folder.path("").as_path());
    done
}

#[track_caller]
fn assert_clean(what: &str, place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (origin, secret) in PLANTED.iter().chain(&[("header of --url", BASIC)]) {
        assert!(!text.contains(secret), "{what}: {place} contains the {origin}:\n{text}");
    }
}

/// Searches the names and contents of all files: run folders, caches, traces.
fn assert_folder_is_clean(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_clean("a name", &path.display().to_string(), path.display().to_string().as_bytes());
        if path.is_dir() {
            assert_folder_is_clean(&path);
        } else if path.is_file() {
            assert_clean("a file", &path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

/// Repeats what it was sent wherever a server has room for a text: names, versions, its answer.
fn echoing_server() -> Server {
    let key = planted("OPENAI_API_KEY");
    let models = move || {
        let entry = format!(r#"{{"id":"some-model","object":"model","note":"{key}"}}"#);
        whole(200, "application/json", &format!(r#"{{"object":"list","data":[{entry}]}}"#))
    };
    let chat = move || -> Script {
        vec![
            head(),
            text_event("one"),
            text_event(&format!(" {key} Basic {BASIC}")),
            text_event(" three"),
            end_events("stop", 20, 3),
        ]
    };
    Server::start(vec![route("GET /v1/models", models), route("POST /v1/chat/completions", chat)])
}

/// Refuses every request, and repeats the header in its reason.
fn refusing_server() -> Server {
    let key = planted("OPENAI_API_KEY");
    let models = || whole(200, "application/json", r#"{"object":"list","data":[{"id":"some-model"}]}"#);
    let refuse = move || {
        let reason =
            format!("Incorrect API key provided: {key}, header Basic {BASIC}, key {}", planted("field of openai.body"));
        whole(401, "application/json", &format!(r#"{{"error":{{"message":"{reason}"}}}}"#))
    };
    Server::start(vec![route("GET /v1/models", models), route("POST /v1/chat/completions", refuse)])
}

/// The address of a server with user information.
fn with_user(server: &Server) -> String {
    server.url().replace("http://", &format!("http://alice:{}@", planted("password of --url")))
}

fn body() -> String {
    let (field, header) = (planted("field of openai.body"), planted("header in openai.body"));
    format!(r#"openai.body={{"api_key":"{field}","extra_headers":{{"Authorization":"Bearer {header}"}}}}"#)
}

/// Shows a run in every form.
fn show(folder: &TestFolder, dir: &str) {
    for format in ["text", "md", "html", "csv", "json"] {
        run(folder, &["report", dir, "--format", format]).ends_with(0);
    }
    for format in ["text", "md", "json"] {
        run(folder, &["compare", dir, dir, "--format", format]);
    }
    run(folder, &["runs", "list", dir]).ends_with(0);
    run(folder, &["runs", "show", dir]).ends_with(0);
}

#[test]
fn a_run_of_a_server_shows_no_secret() {
    let (folder, server) = (TestFolder::new(), echoing_server());
    fs::write(folder.path("two.toml"), prompts(2)).unwrap();
    let (url, body) = (with_user(&server), body());
    let arguments =
        ["run", "-e", "openai", "--url", &url, "--set", &body, "--prompts", "two.toml", "-n", "8", "-r", "1"];
    let with = |more: &[&'static str]| -> Vec<&str> { arguments.iter().copied().chain(more.iter().copied()).collect() };
    run(&folder, &with(&["--warmup", "0", "--out", "r", "--self-trace", "self.json"])).ends_with(0);
    show(&folder, "r");
    run(&folder, &with(&["--dry-run"])).ends_with(0);

    // What was sent has all of them: the file must not be clean because nothing was sent.
    let file = folder.run_file("r");
    assert!(server.received().iter().all(|request| {
        request.head.iter().any(|line| line.eq_ignore_ascii_case(&format!("authorization: Basic {BASIC}")))
    }));
    let sent = server.bodies("POST /v1/chat/completions");
    assert!(!sent.is_empty() && sent.iter().all(|body| body["api_key"] == planted("field of openai.body")));
    let shown = &file["command_line"][5];
    assert_eq!(*shown, server.url().replace("http://", "http://***@"));
    assert_eq!(file["plan"]["settings"][0][2], r#"{"api_key":"***","extra_headers":{"Authorization":"***"}}"#);
    assert_eq!(file["cases"][0]["output"]["text"], "one *** *** three");
    let variables = &file["environment"]["variables"];
    assert_eq!(variables["kept"]["HF_ENDPOINT"], "http://***@127.0.0.1:1");
    assert_eq!(variables["kept"]["INFEROMETER_SERVERS"], "srv --api-key *** --port {port}");
    assert_eq!(variables["hidden"], serde_json::json!(["HF_TOKEN", "LLAMA_ARG_API_KEY"]));
}

#[test]
fn a_server_that_repeats_a_key_in_its_error_shows_no_secret() {
    let (folder, server) = (TestFolder::new(), refusing_server());
    let (url, body) = (with_user(&server), body());
    for (dir, url, more) in [
        ("one", url.as_str(), "openai.connect_s=5"),
        ("two", server.url().as_str(), "openai.connect_s=5"),
        ("three", server.url().as_str(), "openai.key_env=MY_OWN_KEY"),
    ] {
        let settings = ["--set", &body, "--set", more, "--prompts", "smoke", "--out", dir];
        run(&folder, &[&["run", "-e", "openai", "--url", url][..], &settings].concat()).ends_with(1);
        let error = folder.run_file(dir)["cases"][0]["error"].as_str().unwrap().to_owned();
        assert!(error.contains("Incorrect API key provided: ***"), "{error}");
        show(&folder, dir);
    }
}

#[test]
fn a_server_that_is_started_shows_no_secret() {
    let folder = TestFolder::new();
    let words = [
        format!("VLLM_API_KEY={}", planted("variable in --spawn")),
        "sh -c 'echo the key is $VLLM_API_KEY; echo \"$@\"; exit 3' srv".to_owned(),
        format!("--api-key {}", planted("option in --spawn")),
        format!("--hf-token={}", planted("option with = in --spawn")),
        format!("-H 'Authorization: Bearer {}'", planted("header in --spawn")),
        format!("-m https://bob:{}@hub/m.gguf", planted("address in --spawn")),
        format!("--config '{{\"api_key\": \"{}\"}}'", planted("a document in --spawn")),
        "--port {port}".to_owned(),
    ];
    let command = words.join(" ");
    let arguments = ["run", "-e", "openai", "--spawn", &command, "--prompts", "smoke", "--set", "openai.ready_s=20"];
    let with = |more: &[&'static str]| -> Vec<&str> { arguments.iter().copied().chain(more.iter().copied()).collect() };
    run(&folder, &with(&["--out", "r"])).ends_with(1);
    let error = folder.run_file("r")["cases"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("the key is ***") && error.contains("--api-key ***"), "{error}");
    show(&folder, "r");
    let done = run(&folder, &with(&["--dry-run"])).ends_with(0);
    assert!(done.out.contains("VLLM_API_KEY=*** sh -c") && done.out.contains("--port {port}"), "{}", done.out);
    // The address of its server is not known.
    let without_port = command.replace("--port {port}", "");
    run(&folder, &["run", "-e", "openai", "--spawn", &without_port]).ends_with(2);
}

#[test]
fn errors_show_no_secret() {
    let folder = TestFolder::new();
    let parameters =
        format!("?api_key={}&X-Amz-Signature={}", planted("parameter of --url"), planted("signature in --url"));
    let url = format!("http://alice:{}@127.0.0.1:1/v1{parameters}", planted("password of --url"));
    let ftp = url.replace("http:", "ftp:");
    let model = format!("https://bob:{}@hub/owner/repo", planted("address as a model"));
    let unknown = format!("--api-key={}", planted("option that does not exist"));
    let no_dot = format!("api_key={}", planted("setting without an engine"));
    let secret = format!("openai.token={}", planted("secret setting"));
    let other = format!("mock.token={}", planted("secret setting"));
    let elsewhere = format!("candle.token={}", planted("secret setting"));
    let broken = body().trim_end_matches('}').to_owned();
    for arguments in [
        &["run", "-e", "openai", "--url", &url, "--prompts", "smoke", "--out", "r", "--set", "openai.connect_s=1"][..],
        &["run", "-e", "openai", "--url", &url, "--dry-run"],
        &["run", "-e", "openai", "--url", &ftp],
        &["run", "-e", "openai", "--url", &url, "--set", "openai.key_env=MY_OWN_KEY"],
        &["run", "-e", "candle", "-m", "tiny.gguf", "--url", &url],
        &["run", "-e", "openai", "--url", "http://127.0.0.1:1", "--set", &broken],
        &["run", "-e", "openai", "--url", "http://127.0.0.1:1", "--set", &secret],
        &["run", "-e", "mock", "-m", "tiny.gguf", "--set", &other],
        &["run", "-e", "mock", "-m", "tiny.gguf", "--set", &elsewhere],
        &["run", "--set", &no_dot],
        &["run", &unknown],
        &["run", "--api-key", planted("option that does not exist")],
        &["run", "-m", &model, "-e", "mock"],
        &["run", "-m", &model, "-e", "mock", "--dry-run"],
        &["run", "-m", &model, "-e", "openai", "--url", "http://127.0.0.1:1", "--out", "served"],
        &["models", "show", &model],
        &["models", "fetch", &model, "--self-trace", "fetch.json"],
        &["models", "fetch", "owner/repo:model.gguf", "--self-trace", "hub.json"],
        &["predict", "-m", &model],
        &["report", &url],
        &["compare", &url, &model],
        &["trace", "check", &url],
    ] {
        let done = run(&folder, arguments);
        assert_ne!(done.code, None, "{arguments:?}");
    }
    // With connections: the address of the hub is in the error, its user information is not.
    let mut fetch = command(&folder, &["models", "fetch", "owner/repo:model.gguf"]);
    let done = Done::from(fetch.env_remove("HF_HUB_OFFLINE").env_remove("HTTPS_PROXY").output().unwrap());
    assert!(done.err.contains("127.0.0.1:1"), "{}", done.err);
    assert_clean("models fetch", "stderr", done.err.as_bytes());
    assert_folder_is_clean(&folder.path(""));
}

#[test]
fn lists_and_runs_in_process_show_no_secret() {
    let folder = TestFolder::new();
    for arguments in [
        &["engines", "list"][..],
        &["models", "list"],
        &["models", "show", "tiny.gguf", "--self-trace", "show.json"],
        &["run", "-e", "mock", "-m", "tiny.gguf", "--prompts", "smoke", "-r", "1", "--out", "m"],
        &[
            "run",
            "-e",
            "mock",
            "-m",
            "tiny.gguf",
            "--prompts",
            "smoke",
            "-r",
            "1",
            "--out",
            "a",
            "--set",
            "mock.abort=decode",
        ],
    ] {
        run(&folder, arguments);
    }
    show(&folder, "m");
}

/// The prompt is not a secret: it is measured, sent and stored as it is.
#[test]
fn a_prompt_stays_as_it_is() {
    let (folder, server) = (TestFolder::new(), echoing_server());
    let prompt = "What is --api-key abc-123 in http://u:p@host?";
    let url = with_user(&server);
    run(&folder, &["run", "-e", "openai", "--url", &url, "--prompt", prompt, "-n", "8", "-r", "1", "--out", "r"])
        .ends_with(0);
    assert!(folder.run_file("r")["command_line"].as_array().unwrap().contains(&prompt.into()));
    let sent = server.bodies("POST /v1/chat/completions");
    let last = |body: &Value| body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    assert!(!sent.is_empty() && sent.iter().all(|body| last(body).as_str().unwrap().ends_with(prompt)));
}

/// Files of versions that stored addresses and settings as they were given.
#[test]
fn a_file_of_an_earlier_version_shows_no_secret() {
    let folder = TestFolder::new();
    run(&folder, &["run", "-e", "mock", "-m", "tiny.gguf", "--prompts", "smoke", "-r", "1", "--out", "m"]).ends_with(0);
    let mut file = folder.run_file("m");
    let url = format!("http://alice:{}@h:1", planted("password of --url"));
    file["command_line"] =
        serde_json::json!(["inferometer", "run", "--url", url, "--api-key", planted("secret setting")]);
    file["plan"]["settings"] =
        serde_json::json!([["openai", "body", format!("{{\"api_key\": \"{}\"}}", planted("field of openai.body"))]]);
    file["plan"]["models"][0]["reference"] = url.clone().into();
    file["cases"][0]["error"] = format!("GET {url}/v1/models: refused").into();
    file["notes"] = serde_json::json!([format!("{url} is busy")]);
    let old = tempfile::tempdir().unwrap();
    fs::write(old.path().join("run.json"), serde_json::to_vec(&file).unwrap()).unwrap();
    show(&folder, old.path().to_str().unwrap());
}
