//! A server for tests: scripted responses through a real socket.
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

/// Longer than any test waits: a server that waits this long waits for a client that does not read.
const LONG_WAIT: Duration = Duration::from_secs(20);

/// One step of a script.
pub(crate) enum Step {
    /// Sends bytes, in one write.
    Send(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Waits until the test has received what was sent; otherwise the rest is never sent.
    Until(Receiver<()>),
    /// Sends nothing more and keeps the connection open until the client closes it.
    Hang,
}

/// A response: steps, then the connection is closed.
pub(crate) type Script = Vec<Step>;

/// A request that was received.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    /// `METHOD /path`.
    pub(crate) what: String,
    /// Header lines, in lower case.
    pub(crate) head: Vec<String>,
    pub(crate) body: Value,
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    stop: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

/// A script for each `METHOD /path`; `GET *` matches any other path.
pub(crate) type Routes = Vec<(String, Box<dyn FnMut() -> Script + Send>)>;

impl Server {
    /// Listens on a free port.
    pub(crate) fn start(routes: Routes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let routes: HashMap<_, _> = routes.into_iter().collect();
        let shared = (Arc::clone(&received), Arc::clone(&stop), Arc::new(Mutex::new(routes)));
        let listen = move || {
            let (received, stop, routes) = shared;
            for connection in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let (received, routes) = (Arc::clone(&received), Arc::clone(&routes));
                let serve = move || serve(&connection, &received, &routes);
                std::thread::Builder::new().name("connection".to_owned()).spawn(serve).expect("a thread");
            }
        };
        let listener = std::thread::Builder::new().name("listener".to_owned()).spawn(listen).expect("a thread");
        Self { address, received, stop, listener: Some(listener) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<ReceivedRequest> {
        self.received.lock().expect("no thread panicked").clone()
    }

    /// Bodies of the requests to a path.
    pub(crate) fn bodies(&self, what: &str) -> Vec<Value> {
        self.received().into_iter().filter(|received| received.what == what).map(|received| received.body).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Only a connection wakes the listener.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

type Shared = Mutex<HashMap<String, Box<dyn FnMut() -> Script + Send>>>;

fn serve(connection: &TcpStream, received: &Mutex<Vec<ReceivedRequest>>, routes: &Shared) {
    let Some(request) = read(connection) else { return };
    let script = {
        let mut routes = routes.lock().expect("no thread panicked");
        match routes.contains_key(&request.what) {
            true => routes.get_mut(&request.what).map(|script| script()),
            false => routes.get_mut("GET *").filter(|_| request.what.starts_with("GET ")).map(|script| script()),
        }
    };
    received.lock().expect("no thread panicked").push(request);
    let script = script.unwrap_or_else(|| whole(404, "application/json", r#"{"error":{"message":"File Not Found"}}"#));
    run(connection, script);
    // A client that is still sending gets an end of the stream, not a reset.
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
                if seen.recv_timeout(LONG_WAIT) == Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
            Step::Hang => {
                let _ = connection.set_read_timeout(Some(LONG_WAIT));
                let _ = connection.read(&mut [0; 1]);
                return;
            }
        }
    }
}

fn read(connection: &TcpStream) -> Option<ReceivedRequest> {
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
    Some(ReceivedRequest { what, head, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// A response with a whole document.
pub(crate) fn whole(status: u16, kind: &str, body: &str) -> Script {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}");
    vec![Step::Send(text.into_bytes())]
}

/// The same with further header lines.
pub(crate) fn with_headers(status: u16, kind: &str, headers: &str, body: &str) -> Script {
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{headers}\r\n\r\n{body}");
    vec![Step::Send(text.into_bytes())]
}

/// The head of a stream that ends with the connection.
pub(crate) fn head() -> Step {
    send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
}

pub(crate) fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// A chat event with a text.
pub(crate) fn text_event(text: &str) -> Step {
    let text = serde_json::to_string(text).expect("a text");
    send(&format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\"finish_reason\":null}}]}}\n\n"
    ))
}

/// The end of a chat: finish reason, token counts, last event.
pub(crate) fn end_events(reason: &str, prompt: usize, output: usize) -> Step {
    send(&format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\ndata: \
         {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{output}}}}}\n\ndata: [DONE]\n\n"
    ))
}

/// A route to a script that is made for each request.
pub(crate) fn route(
    what: &str,
    script: impl FnMut() -> Script + Send + 'static,
) -> (String, Box<dyn FnMut() -> Script + Send>) {
    (what.to_owned(), Box::new(script))
}

/// An unknown server, which lists one model and answers chats.
pub(crate) fn unknown_server(chat: impl FnMut() -> Script + Send + 'static) -> Server {
    let models =
        || whole(200, "application/json", r#"{"object":"list","data":[{"id":"some-model","object":"model"}]}"#);
    Server::start(vec![route("GET /v1/models", models), route("POST /v1/chat/completions", chat)])
}
