//! The lines that tinygrad writes to its standard error for each request, such as
//!
//! ```text
//! /v1/chat/completions  --  prep:   12 ms  --  in:    5 +   45  --  prefill: 123 tok/s  --  gen:  12 tok/s  --  out:   32  --  total:  1.23s
//! ```
//!
//! Rates are whole numbers.

use crate::LoggedRequest;

/// What is known of a log that grows.
#[derive(Debug, Default)]
pub(super) struct RequestLog {
    /// Bytes that were read, up to the end of a line.
    pub(super) position: u64,
    /// Lines of requests so far.
    pub(super) requests: u64,
    /// The last one.
    pub(super) last: Option<LoggedRequest>,
}

impl RequestLog {
    /// Reads further bytes of the log, from `position` on. An incomplete line is read again later.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return };
        self.position += end as u64 + 1;
        for line in String::from_utf8_lossy(&bytes[..end]).lines() {
            if let Some(request) = request(&without_colours(line)) {
                self.requests += 1;
                self.last = Some(request);
            }
        }
    }
}

/// A line of a request that is complete.
fn request(line: &str) -> Option<LoggedRequest> {
    let parts: Vec<(&str, &str)> = line.split("  --  ").filter_map(|part| part.trim().split_once(':')).collect();
    let part = |name: &str| parts.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim());
    let number = |name: &str| part(name)?.split_whitespace().next()?.trim_end_matches('s').parse::<f64>().ok();
    let (cached, new) = part("in")?.split_once('+')?;
    let (cached, new): (usize, usize) = (cached.trim().parse().ok()?, new.trim().parse().ok()?);
    Some(LoggedRequest {
        prompt_tokens: cached + new,
        cached_tokens: cached,
        output_tokens: part("out")?.parse().ok()?,
        prefill_tps: number("prefill").filter(|rate| *rate > 0.0),
        decode_tps: number("gen").filter(|rate| *rate > 0.0),
        whole_s: number("total")?,
    })
}

/// A line without the escape sequences of a terminal.
fn without_colours(line: &str) -> String {
    let mut rest = line;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "/v1/chat/completions  \u{1b}[90m--\u{1b}[0m  prep:   12 ms  \u{1b}[90m--\u{1b}[0m  in:\u{1b}[32m    5\u{1b}[0m +   45  \u{1b}[90m--\u{1b}[0m  prefill: 123 tok/s  \u{1b}[90m--\u{1b}[0m  gen:  12 tok/s  \u{1b}[90m--\u{1b}[0m  out:   32  \u{1b}[90m--\u{1b}[0m  total:  1.23s\n";

    #[test]
    fn requests_are_counted_as_the_log_grows() {
        let mut log = RequestLog::default();
        log.push(b"loading weights\n");
        assert_eq!((log.position, log.requests), (16, 0));
        let (one, two) = LINE.as_bytes().split_at(40);
        log.push(one);
        assert_eq!((log.position, log.requests), (16, 0), "the line is not complete");
        log.push(&[one, two].concat());
        assert_eq!((log.position, log.requests), (16 + LINE.len() as u64, 1));
        let last = log.last.clone().expect("a request");
        assert_eq!((last.prompt_tokens, last.cached_tokens, last.output_tokens), (50, 5, 32));
        assert_eq!((last.prefill_tps, last.decode_tps, last.whole_s), (Some(123.0), Some(12.0), 1.23));
        log.push(format!("{LINE}{}", LINE.replace("gen:  12", "gen:   0")).as_bytes());
        assert_eq!((log.requests, log.last.and_then(|last| last.decode_tps)), (3, None), "0 is not measured");
    }

    #[test]
    fn other_lines_are_no_requests() {
        for line in [
            "",
            "prep:   12 ms",
            "context length exceeded  in:  900  max:  512",
            "in: a + b  --  out: 1  --  total: 1s",
        ] {
            assert_eq!(request(line), None, "{line}");
        }
    }
}
