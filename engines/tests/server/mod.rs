//! A server for tests: what it answers to which question is written down beforehand, and it goes out through a real socket.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod replay;
pub(crate) mod watch;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// Longer than any test waits: a server that is held back so long was held back by a client that did not read.
const PATIENCE: Duration = Duration::from_secs(20);

/// One thing that the server does.
pub(crate) enum Step {
    /// Sends bytes, in one write.
    Send(Vec<u8>),
    /// Lets time pass.
    Wait(Duration),
    /// Waits until the test has seen what was sent; otherwise the rest is never sent.
    Until(Receiver<()>),
    /// Sends nothing more and keeps the connection, until the client goes.
    Hang,
}

/// An answer: steps, then the connection is closed.
pub(crate) type Script = Vec<Step>;

/// A question that was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `METHOD /path`.
    pub(crate) what: String,
    /// Header lines, in small letters.
    pub(crate) head: Vec<String>,
    pub(crate) body: Value,
}

/// A server while it lives.
pub(crate) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

/// Scripts for each `METHOD /path`, the last one for all further requests; `GET *` stands for any path that is not named.
pub(crate) type Routes = Vec<(String, Box<dyn FnMut() -> Script + Send>)>;

impl Server {
    /// Listens on a free port.
    pub(crate) fn start(routes: Routes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let routes: HashMap<_, _> = routes.into_iter().collect();
        let shared = (Arc::clone(&asked), Arc::clone(&stop), Arc::new(Mutex::new(routes)));
        let listen = move || {
            let (asked, stop, routes) = shared;
            for connection in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let (asked, routes) = (Arc::clone(&asked), Arc::clone(&routes));
                let serve = move || serve(&connection, &asked, &routes);
                std::thread::Builder::new().name("connection".to_owned()).spawn(serve).expect("a thread");
            }
        };
        let listener = std::thread::Builder::new().name("listener".to_owned()).spawn(listen).expect("a thread");
        Self { address, asked, stop, listener: Some(listener) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panicked").clone()
    }

    /// Bodies that were sent to a path.
    pub(crate) fn bodies(&self, what: &str) -> Vec<Value> {
        self.asked().into_iter().filter(|asked| asked.what == what).map(|asked| asked.body).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The listener wakes up for a connection only.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

type Shared = Mutex<HashMap<String, Box<dyn FnMut() -> Script + Send>>>;

fn serve(connection: &TcpStream, asked: &Mutex<Vec<Asked>>, routes: &Shared) {
    let Some(question) = read(connection) else { return };
    let script = {
        let mut routes = routes.lock().expect("no thread panicked");
        match routes.contains_key(&question.what) {
            true => routes.get_mut(&question.what).map(|script| script()),
            false => routes.get_mut("GET *").filter(|_| question.what.starts_with("GET ")).map(|script| script()),
        }
    };
    asked.lock().expect("no thread panicked").push(question);
    let script = script.unwrap_or_else(|| whole(404, "application/json", r#"{"error":{"message":"File Not Found"}}"#));
    run(connection, script);
    // A client that still sends gets an end, not a reset.
    let _ = connection.shutdown(Shutdown::Write);
}

fn run(mut connection: &TcpStream, script: Script) {
    for step in script {
        match step {
            Step::Send(bytes) => {
                if connection.write_all(&bytes).is_err() {
                    return;
                }
            }
            Step::Wait(time) => std::thread::sleep(time),
            Step::Until(seen) => {
                if seen.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
            Step::Hang => {
                let _ = connection.set_read_timeout(Some(PATIENCE));
                let _ = connection.read(&mut [0; 1]);
                return;
            }
        }
    }
}

fn read(connection: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let what = line.trim().rsplit_once(' ')?.0.to_owned();
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { what, head, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// A whole document.
pub(crate) fn whole(status: u16, kind: &str, body: &str) -> Script {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}");
    vec![Step::Send(text.into_bytes())]
}

/// The head of a stream that ends when the connection does.
pub(crate) fn head() -> Step {
    send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
}

pub(crate) fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// A chat event with a text.
pub(crate) fn says(text: &str) -> Step {
    let text = serde_json::to_string(text).expect("a text");
    send(&format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\"finish_reason\":null}}]}}\n\n"
    ))
}

/// The end of a chat: a reason, what was used, the last event.
pub(crate) fn ends(reason: &str, prompt: usize, output: usize) -> Step {
    send(&format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\ndata: \
         {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{output}}}}}\n\ndata: [DONE]\n\n"
    ))
}

/// A route to a script that is made anew for each request.
pub(crate) fn route(
    what: &str,
    script: impl FnMut() -> Script + Send + 'static,
) -> (String, Box<dyn FnMut() -> Script + Send>) {
    (what.to_owned(), Box::new(script))
}

/// A server that nobody knows: it lists one model and answers chats.
pub(crate) fn nameless(chat: impl FnMut() -> Script + Send + 'static) -> Server {
    let models =
        || whole(200, "application/json", r#"{"object":"list","data":[{"id":"some-model","object":"model"}]}"#);
    Server::start(vec![route("GET /v1/models", models), route("POST /v1/chat/completions", chat)])
}
