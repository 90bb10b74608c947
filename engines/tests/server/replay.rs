//! Replays the recorded responses of real servers, with their pauses.

use std::path::PathBuf;
use std::time::Duration;

use super::{Routes, Script, Server, Step, route};

/// Duration of a recorded second: a pause of two minutes takes a third of a second.
pub(crate) const SECOND: Duration = Duration::from_millis(3);

/// A recorded response.
#[derive(Debug, Clone)]
struct Recording {
    what: String,
    head: Vec<String>,
    /// Lines, with the time of their arrival in seconds.
    body: Vec<(f64, String)>,
    /// When the head arrived.
    at: f64,
}

/// A server with recorded responses. The recordings of a path are used in order, the last one repeatedly.
pub(crate) fn server(names: &[&str]) -> Server {
    let mut turns: Vec<(String, Vec<Recording>)> = Vec::new();
    for name in names {
        let recording = read(name);
        match turns.iter_mut().find(|(what, _)| *what == recording.what) {
            Some((_, all)) => all.push(recording),
            None => turns.push((recording.what.clone(), vec![recording])),
        }
    }
    let routes: Routes = turns.into_iter().map(|(what, all)| in_turn(&what, all)).collect();
    Server::start(routes)
}

fn in_turn(what: &str, all: Vec<Recording>) -> (String, Box<dyn FnMut() -> Script + Send>) {
    let mut nth = 0;
    route(what, move || {
        let recording = &all[nth.min(all.len() - 1)];
        nth += 1;
        script(recording)
    })
}

fn read(name: &str) -> Recording {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/servers"));
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let what = lines.next().expect("a request line").to_owned();
    let timed = |line: &str| {
        let (seconds, text) = line.split_once(' ').unwrap_or((line, ""));
        (seconds.parse::<f64>().unwrap_or_else(|_| panic!("{name}: no time in `{line}`")), text.to_owned())
    };
    let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).map(timed).collect();
    let body = lines.map(timed).collect();
    Recording { what, at: head[0].0, head: head.into_iter().map(|(_, line)| line).collect(), body }
}

/// Lines that arrived together are sent in one write, and in one chunk if the server sent chunks.
fn script(recording: &Recording) -> Script {
    let is = |header: &str| recording.head.iter().any(|line| line.eq_ignore_ascii_case(header));
    let is_chunked = is("Transfer-Encoding: chunked");
    let is_stream =
        recording.head.iter().any(|line| line.to_lowercase().starts_with("content-type: text/event-stream"));
    let mut groups: Vec<(f64, String)> = Vec::new();
    for (nth, (at, line)) in recording.body.iter().enumerate() {
        let end = if is_stream || nth + 1 < recording.body.len() { "\n" } else { "" };
        match groups.last_mut() {
            Some((last, text)) if last.total_cmp(at).is_eq() => text.extend([line, end]),
            _ => groups.push((*at, format!("{line}{end}"))),
        }
    }
    let length: usize = groups.iter().map(|(_, text)| text.len()).sum();
    let mut head = String::new();
    for line in &recording.head {
        match line.to_lowercase().starts_with("content-length:") {
            true => head.push_str(&format!("Content-Length: {length}\r\n")),
            false => head.extend([line, "\r\n"]),
        }
    }
    let mut clock = 0.0;
    let mut wait = move |at: f64| {
        let gap = (at - clock).max(0.0);
        clock = at;
        Step::Wait(SECOND.mul_f64(gap))
    };
    let mut script = vec![wait(recording.at), Step::Send(format!("{head}\r\n").into_bytes())];
    for (at, text) in groups {
        let bytes = if is_chunked { format!("{:x}\r\n{text}\r\n", text.len()) } else { text };
        script.extend([wait(at), Step::Send(bytes.into_bytes())]);
    }
    if is_chunked {
        script.push(Step::Send(b"0\r\n\r\n".to_vec()));
    }
    script
}
