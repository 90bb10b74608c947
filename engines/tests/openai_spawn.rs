//! Servers that are started here: a small one in Python, and commands that fail.
#![cfg(feature = "openai")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod server;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use engines::openai::OpenAi;
use engines::{Advice, Engine, EngineError, LoadOptions, Session};
use redaction::Sensitive;

use server::watch::{Record, chat};

/// Answers 503 at first, then chats; has a child process, and exits only at the second SIGTERM.
const SERVER: &str = r#"
import http.server, json, os, signal, subprocess, sys, time
child = subprocess.Popen(["sleep", "1000"])
open(sys.argv[2], "w").write(f"{os.getpid()} {child.pid}")
signals = []
signal.signal(signal.SIGTERM, lambda *_: signals.append(1) or (len(signals) > 1 and os._exit(0)))
queries = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())
    def do_GET(self):
        global queries
        queries += 1
        if self.path == "/v1/models" and queries > 2:
            self.answer(200, "application/json", json.dumps({"data": [{"id": "small"}]}))
        else:
            self.answer(503 if self.path == "/v1/models" else 404, "application/json", "{}")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"crash" in body:
            print("assertion failed: the tensor is empty", flush=True)
            os._exit(134)
        chunk = lambda delta, reason: "data: " + json.dumps({"choices": [{"delta": delta, "finish_reason": reason}]}) + "\n\n"
        self.answer(200, "text/event-stream", chunk({"content": "hi"}, None) + chunk({}, "stop") + "data: [DONE]\n\n")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

fn spawn(command: &str, url: Option<&str>) -> Result<Box<dyn Session>, EngineError> {
    let settings = [("ready_s".to_owned(), Sensitive::setting("ready_s", "60"))].into();
    let url = url.map(Sensitive::address);
    OpenAi.connect(
        &LoadOptions { spawn: Some(Sensitive::command(command)), url, settings, ..LoadOptions::default() },
        &mut |_| {},
    )
}

fn refused(command: &str, url: Option<&str>) -> String {
    spawn(command, url).err().expect("it is refused").with_advice()
}

fn require_python() {
    let has = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(has, "this test needs python3");
}

#[cfg(target_os = "linux")]
fn is_running(pid: &str) -> bool {
    // A zombie has exited.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[cfg(not(target_os = "linux"))]
fn is_running(pid: &str) -> bool {
    Command::new("ps").args(["-p", pid]).output().is_ok_and(|output| output.status.success())
}

fn command(folder: &Path) -> String {
    let script = folder.join("server.py");
    std::fs::write(&script, SERVER).expect("a file");
    format!("exec python3 {} {{port}} {}", script.display(), folder.join("pids").display())
}

#[test]
#[ignore = "needs python3"]
fn a_server_is_started_and_ends_with_all_its_children() {
    require_python();
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = spawn(&command(folder.path()), None).unwrap_or_else(|error| panic!("{error}"));
    let pids = std::fs::read_to_string(folder.path().join("pids")).expect("the server wrote them");
    let pids: Vec<&str> = pids.split(' ').collect();
    let remote = session.server().expect("a server").info();
    assert_eq!((remote.software_name(), remote.model.as_str()), ("unknown", "small"));
    assert_eq!(remote.pid.map(|pid| pid.to_string()).as_deref(), Some(pids[0]));
    let mut record = Record::default();
    session.generate(&chat("hello", 4), &mut record).expect("a response");
    assert_eq!(record.text(), "hi");
    assert!(pids.iter().all(|pid| is_running(pid)));
    drop(session);
    assert!(pids.iter().all(|pid| !is_running(pid)), "{pids:?} have ended");
}

#[test]
#[ignore = "needs python3"]
fn the_error_of_a_crashed_server_has_its_last_output() {
    require_python();
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = spawn(&command(folder.path()), None).unwrap_or_else(|error| panic!("{error}"));
    let url = session.server().expect("a server").info().url;
    let error_of = |session: &mut dyn Session| {
        let error = session.generate(&chat("crash", 4), &mut Record::default()).expect_err("it has crashed");
        error.with_advice().replace(&url, "URL")
    };
    let first = error_of(session.as_mut());
    assert!(first.contains("closed the connection"), "{first}");
    // The system may still accept a connection for the exiting process.
    let mut last = String::new();
    wait_until("connections are refused", || {
        last = error_of(session.as_mut());
        last.contains("connection refused")
    });
    insta::assert_snapshot!(last, @"engine openai failed in POST URL/v1/chat/completions: no server answers: connection refused, the server has exited: exit status: 134, it wrote `assertion failed: the tensor is empty`; start the server, or give its address");
    let pids = std::fs::read_to_string(folder.path().join("pids")).expect("the server wrote them");
    wait_until("its child has exited", || pids.split(' ').all(|pid| !is_running(pid)));
}

/// The test starts itself again as the process that is killed.
#[test]
#[ignore = "needs python3"]
fn a_server_ends_when_its_parent_is_killed() {
    require_python();
    const FOLDER: &str = "INFEROMETER_TEST_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let _session = spawn(&command(Path::new(&folder)), None).expect("it starts");
        std::fs::write(Path::new(&folder).join("ready"), "").expect("a file");
        loop {
            std::thread::park();
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let test = std::env::current_exe().expect("this file");
    let mut parent = Command::new(test)
        .args(["a_server_ends_when_its_parent_is_killed", "--exact", "--include-ignored"])
        .env(FOLDER, folder.path())
        .spawn()
        .expect("this file runs again");
    wait_until("it is ready", || folder.path().join("ready").exists());
    let pids = std::fs::read_to_string(folder.path().join("pids")).expect("the server wrote them");
    parent.kill().expect("it can be killed");
    parent.wait().expect("it has ended");
    wait_until("all its processes have exited", || pids.split(' ').all(|pid| !is_running(pid)));
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("timeout: {what}");
}

#[test]
fn the_error_of_a_server_that_exits_immediately_has_its_last_output() {
    let error = refused("echo loading; echo 'error: no such file: model.gguf' >&2; exit 7 # {port}", None);
    insta::assert_snapshot!(error, @"engine openai failed in the start of the server: it exited before it was ready: exit status: 7, it wrote `loading | error: no such file: model.gguf`");
    let error = refused("no-such-command-at-all --port {port}", None);
    assert!(error.contains("exit status: 127") && error.contains("no-such-command-at-all"), "{error}");
}

#[test]
fn a_command_needs_an_address() {
    insta::assert_snapshot!(refused("llama-server -m model.gguf", None), @"engine openai does not support the command `llama-server -m model.gguf`: the address of its server is not known; put {port} in the place of its port, or give its address");
}

#[test]
fn another_server_at_the_address_is_not_measured() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let error = refused("sleep 100", Some(&url)).replace(&url, "URL");
    insta::assert_snapshot!(error, @"engine openai failed in the start of the server: another server answers at URL already; stop it, measure it by its address alone, or put {port} into the command");
}
