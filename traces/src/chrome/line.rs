//! [`Line`]: formats one record as a line of text, by hand and into a reused buffer.
//!
//! A trace has up to millions of records; building a JSON value for each would take several times as long. A test reads the
//! lines back with serde.

use std::io::Write;

use crate::Nanos;
use crate::record::{Category, Event, Kind, Value};

/// The text of a record; `finish` returns it with its newline.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: Vec<u8>,
    /// The time at which `ts` is 0.
    epoch: Nanos,
}

impl Line {
    /// For a file in which `ts` counts from `epoch`.
    pub(super) fn since(epoch: Nanos) -> Self {
        Self { text: Vec::new(), epoch }
    }

    pub(super) fn epoch(&self) -> Nanos {
        self.epoch
    }

    /// Begins a record; all but the first of a file begin with a comma.
    pub(super) fn begin(&mut self, first: bool, phase: char) -> &mut Self {
        self.text.clear();
        if !first {
            self.text.push(b',');
        }
        self.raw("{\"ph\":\"").raw(phase.encode_utf8(&mut [0; 4])).raw("\"")
    }

    /// The complete text.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.raw("}\n");
        &self.text
    }

    /// Formats an event of a process, with or without its shape.
    pub(super) fn event(&mut self, first: bool, pid: u32, event: &Event, shape: bool) -> &[u8] {
        match event.kind {
            Kind::Op | Kind::Span => {
                self.begin(first, 'X').ids(pid, event.tid);
                self.start(event.start).time("dur", event.duration);
            }
            Kind::Counter => {
                self.begin(first, 'C').ids(pid, event.tid).start(event.start);
            }
            Kind::Instant | Kind::Histogram => {
                self.begin(first, 'i').text_field("s", "t").ids(pid, event.tid).start(event.start);
            }
        }
        self.text_field("name", event.name);
        if !(event.category == Category::Op && matches!(event.kind, Kind::Op | Kind::Span)) {
            self.text_field("cat", event.category.name());
        }
        self.event_args(event, shape).finish()
    }

    /// Formats the `B` record of a span whose end is not known yet.
    pub(super) fn begin_span(&mut self, first: bool, pid: u32, event: &Event) -> &[u8] {
        self.begin(first, 'B').ids(pid, event.tid).start(event.start);
        self.text_field("name", event.name).text_field("cat", event.category.name());
        self.event_args(event, false).finish()
    }

    /// Formats the `E` record of a span.
    pub(super) fn end_span(&mut self, first: bool, pid: u32, event: &Event) -> &[u8] {
        self.begin(first, 'E').ids(pid, event.tid).start(event.end());
        self.text_field("name", event.name).finish()
    }

    fn event_args(&mut self, event: &Event, shape: bool) -> &mut Self {
        let sizes = if shape { event.sizes() } else { &[] };
        if event.layer.is_none() && sizes.is_empty() && event.args.is_empty() {
            return self;
        }
        self.open_args();
        if let Some(layer) = event.layer {
            self.arg("layer", Value::from(layer));
        }
        if !sizes.is_empty() {
            self.key("shape").raw("[");
            for (place, &size) in sizes.iter().enumerate() {
                self.raw(if place == 0 { "" } else { "," }).unsigned(u64::from(size));
            }
            self.raw("]");
        }
        for (key, value) in event.args.iter() {
            self.arg(key, value);
        }
        self.close_args()
    }

    pub(super) fn ids(&mut self, pid: u32, tid: u32) -> &mut Self {
        self.key("pid").unsigned(u64::from(pid)).key("tid").unsigned(u64::from(tid))
    }

    pub(super) fn text_field(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key).quoted(text)
    }

    pub(super) fn open_args(&mut self) -> &mut Self {
        self.key("args").raw("{")
    }

    pub(super) fn close_args(&mut self) -> &mut Self {
        self.raw("}")
    }

    /// Adds a value. JSON has no infinities and no NaN, so such a number is omitted.
    pub(super) fn arg(&mut self, key: &str, value: Value) -> &mut Self {
        match value {
            Value::Unsigned(number) => self.key(key).unsigned(number),
            Value::Signed(number) => {
                self.key(key).raw(if number < 0 { "-" } else { "" }).unsigned(number.unsigned_abs())
            }
            Value::Float(number) if number.is_finite() => self.key(key).float(number),
            Value::Float(_) => self,
            Value::Text(text) => self.key(key).quoted(text),
        }
    }

    /// Adds `ts`, which counts from the epoch of the file. An earlier time becomes 0.
    pub(super) fn start(&mut self, at: Nanos) -> &mut Self {
        self.time("ts", at.saturating_sub(self.epoch))
    }

    /// Adds microseconds with three decimals, which is exact for whole nanoseconds. (An `f64` of microseconds loses the last
    /// nanoseconds after 104 days of uptime.)
    pub(super) fn time(&mut self, key: &str, time: Nanos) -> &mut Self {
        self.key(key).unsigned(time.0 / 1_000);
        let rest = (time.0 % 1_000) as u32;
        let digit = |place: u32| b'0' + (rest / place % 10) as u8;
        self.text.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
        self
    }

    /// Adds a key, with a comma before it if necessary.
    fn key(&mut self, key: &str) -> &mut Self {
        if self.text.last() != Some(&b'{') {
            self.text.push(b',');
        }
        self.quoted(key).raw(":")
    }

    fn raw(&mut self, text: &str) -> &mut Self {
        self.text.extend_from_slice(text.as_bytes());
        self
    }

    fn unsigned(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0_u8; 20];
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            used += 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.text.extend_from_slice(&digits[digits.len() - used..]);
        self
    }

    fn float(&mut self, number: f64) -> &mut Self {
        // Writing to a vector cannot fail, and every finite number has a text.
        let _ = serde_json::to_writer(&mut self.text, &number);
        self
    }

    /// Adds a JSON string. Quotes, backslashes and control characters are escaped, and so are DEL and the line separators that
    /// the parsers of some viewers treat as line ends.
    fn quoted(&mut self, text: &str) -> &mut Self {
        self.text.push(b'"');
        let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
        if text.bytes().all(plain) {
            self.text.extend_from_slice(text.as_bytes());
        } else {
            for character in text.chars() {
                self.escaped(character);
            }
        }
        self.text.push(b'"');
        self
    }

    fn escaped(&mut self, character: char) {
        match character {
            '"' | '\\' => self.text.extend_from_slice(&[b'\\', character as u8]),
            '\n' => self.text.extend_from_slice(b"\\n"),
            '\t' => self.text.extend_from_slice(b"\\t"),
            '\0'..='\x1f' | '\x7f' | '\u{2028}' | '\u{2029}' => {
                // Writing to a vector cannot fail.
                let _ = write!(self.text, "\\u{:04x}", u32::from(character));
            }
            _ => self.text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Args, Bins};

    fn event(kind: Kind, name: &'static str) -> Event {
        Event {
            kind,
            category: Category::Phase,
            name,
            tid: 12,
            start: Nanos(1_234_567_890_123),
            duration: Nanos(1_007),
            layer: None,
            shape: [0; 3],
            args: Args::default(),
            bins: Bins::default(),
        }
    }

    fn text(event: &Event, first: bool) -> String {
        String::from_utf8(Line::default().event(first, 7, event, true).to_vec()).unwrap()
    }

    #[test]
    fn a_span_is_one_exact_line() {
        assert_eq!(
            text(&event(Kind::Span, "decode"), false),
            ",{\"ph\":\"X\",\"pid\":7,\"tid\":12,\"ts\":1234567890.123,\"dur\":1.007,\"name\":\"decode\",\"cat\":\"phase\"}\n"
        );
    }

    #[test]
    fn an_op_has_layer_and_shape() {
        let category = Category::Op;
        let op = Event { layer: Some(3), shape: [1, 576, 0], category, ..event(Kind::Op, "q_proj") };
        let line = text(&op, true);
        assert!(line.ends_with(",\"name\":\"q_proj\",\"args\":{\"layer\":3,\"shape\":[1,576]}}\n"), "{line}");
    }

    #[test]
    fn times_count_from_the_epoch() {
        let mut line = Line::since(Nanos(1_234_567_000_000));
        let line = String::from_utf8(line.event(true, 7, &event(Kind::Span, "decode"), true).to_vec()).unwrap();
        assert!(line.contains("\"ts\":890.123,\"dur\":1.007"), "{line}");
    }

    #[test]
    fn serde_reads_every_kind_of_value_and_name() {
        let args = Args::new(&[
            ("a \"b\"", Value::Signed(i64::MIN)),
            ("nan", Value::Float(f64::NAN)),
            ("text", Value::Text("line\nline\u{2028}\u{7f}\\")),
        ]);
        for kind in [Kind::Span, Kind::Counter, Kind::Instant] {
            let name = "tab\t\"quote\" \\ back\u{1} é 漢 😀";
            let line = text(&Event { args, ..event(kind, name) }, true);
            assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["name"], name);
            assert_eq!(value["args"]["a \"b\""], i64::MIN);
            assert_eq!(value["args"]["text"], "line\nline\u{2028}\u{7f}\\");
            assert!(value["args"].get("nan").is_none());
        }
    }

    #[test]
    fn whole_numbers_and_floats_round_trip() {
        let mut line = Line::default();
        line.begin(true, 'C').open_args();
        line.arg("max", Value::Unsigned(u64::MAX)).arg("zero", Value::Unsigned(0)).arg("tenth", Value::Float(0.1));
        line.close_args();
        let text = String::from_utf8(line.finish().to_vec()).unwrap();
        assert_eq!(text, "{\"ph\":\"C\",\"args\":{\"max\":18446744073709551615,\"zero\":0,\"tenth\":0.1}}\n");
    }
}
