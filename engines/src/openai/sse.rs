//! Server-sent events, to the extent that servers use them: a parser for bytes that arrive in portions of any size.
//!
//! Comments are kept, because servers report progress and figures there. A line ends with LF or CR LF.

/// The format of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// `text/event-stream`.
    Events,
    /// One JSON document per line, as in ollama's native interface.
    Lines,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The data of an event, its lines joined by LF.
    Data(String),
    /// A line that begins with a colon, without the colon and the space after it.
    Comment(String),
    /// The value of a field `error`, which some servers use instead of data, or the data of an event of that name.
    Error(String),
    /// A line that is not part of the format, such as an error page.
    Unknown(String),
}

/// Maximum length of a line in bytes.
const LONGEST_LINE: usize = 16 << 20;

/// Parses bytes into events.
#[derive(Debug)]
pub(super) struct Parser {
    framing: Framing,
    /// Bytes of an incomplete line.
    line: Vec<u8>,
    /// Lines of an incomplete event.
    data: Option<String>,
    /// Whether the incomplete event has the name `error`.
    is_error: bool,
}

/// A line is too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Parser {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, line: Vec::new(), data: None, is_error: false }
    }

    /// Parses the bytes that arrived and appends the events that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line = &bytes[..end];
            bytes = &bytes[end + 1..];
            if self.line.is_empty() {
                self.parse_line(line, events);
            } else {
                self.line.extend_from_slice(line);
                let whole = std::mem::take(&mut self.line);
                self.parse_line(&whole, events);
            }
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > LONGEST_LINE { Err(TooLong) } else { Ok(()) }
    }

    /// Appends an incomplete event at the end of the stream: servers omit the last empty line.
    pub(super) fn finish(&mut self, events: &mut Vec<Event>) {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.parse_line(&rest, events);
        }
        self.end_event(events);
    }

    /// Appends the event whose lines have arrived, if there is one.
    fn end_event(&mut self, events: &mut Vec<Event>) {
        let is_error = std::mem::take(&mut self.is_error);
        events.extend(self.data.take().map(|data| if is_error { Event::Error(data) } else { Event::Data(data) }));
    }

    fn parse_line(&mut self, line: &[u8], events: &mut Vec<Event>) {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if self.framing == Framing::Lines {
            events.extend((!line.trim().is_empty()).then(|| Event::Data(line.into_owned())));
            return;
        }
        if line.is_empty() {
            self.end_event(events);
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => events.push(Event::Comment(value.to_owned())),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "error" => events.push(Event::Error(value.to_owned())),
            "event" => self.is_error = value.trim().eq_ignore_ascii_case("error"),
            "id" | "retry" => {}
            _ => events.push(Event::Unknown(line.into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse<'a>(framing: Framing, portions: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let (mut parser, mut events) = (Parser::new(framing), Vec::new());
        for portion in portions {
            parser.push(portion, &mut events).expect("the lines are short");
        }
        parser.finish(&mut events);
        events
    }

    fn at_once(text: &str) -> Vec<Event> {
        parse(Framing::Events, [text.as_bytes()])
    }

    fn data(text: &str) -> Event {
        Event::Data(text.to_owned())
    }

    fn comment(text: &str) -> Event {
        Event::Comment(text.to_owned())
    }

    #[test]
    fn every_form_that_servers_send_is_parsed() {
        assert_eq!(at_once("data: a\n\ndata: b\r\n\r\n"), [data("a"), data("b")]);
        assert_eq!(
            at_once(":\n\n: keep-alive\n\n:keepalive 1/2\n"),
            [comment(""), comment("keep-alive"), comment("keepalive 1/2")]
        );
        assert_eq!(at_once("event: x\nid: 1\nretry: 5\ndata: a\ndata:b\ndata\n\n"), [data("a\nb\n")]);
        assert_eq!(at_once("data: no end"), [data("no end")]);
        assert_eq!(at_once("error: {}\n\n"), [Event::Error("{}".to_owned())]);
        assert_eq!(
            at_once("event: error\ndata: {}\n\ndata: a\n\nevent: message\ndata: b\n\n"),
            [Event::Error("{}".to_owned()), data("a"), data("b")]
        );
        assert_eq!(at_once("<html>\n\n\n"), [Event::Unknown("<html>".to_owned())]);
        assert_eq!(at_once("data: a\n: between\ndata: b\n\n"), [comment("between"), data("a\nb")]);
        assert_eq!(
            parse(Framing::Lines, ["{\"a\": 1}\r\n\n{\"b\"".as_bytes(), b": 2}"]),
            [data("{\"a\": 1}"), data("{\"b\": 2}")]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error() {
        let mut parser = Parser::new(Framing::Events);
        let half = vec![b'x'; LONGEST_LINE / 2 + 1];
        assert_eq!(parser.push(&half, &mut Vec::new()), Ok(()));
        assert_eq!(parser.push(&half, &mut Vec::new()), Err(TooLong));
    }

    fn line() -> impl Strategy<Value = String> {
        let value = r#"[ :{}"a-zé🚀\\]{0,12}"#;
        prop_oneof![
            value.prop_map(|value| format!("data: {value}")),
            value.prop_map(|value| format!("data:{value}")),
            value.prop_map(|value| format!(":{value}")),
            "[a-z<]{0,6}",
            Just(String::new()),
        ]
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in prop::collection::vec((line(), prop_oneof![Just("\n"), Just("\r\n")]), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            framing in prop_oneof![Just(Framing::Events), Just(Framing::Lines)],
        ) {
            let text: String = lines.iter().flat_map(|(line, end)| [line.as_str(), end]).collect();
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut begin = 0;
            let portions = cuts.iter().map(|cut| &bytes[std::mem::replace(&mut begin, *cut)..*cut]);
            prop_assert_eq!(parse(framing, portions), parse(framing, [bytes]));
            prop_assert_eq!(parse(framing, bytes.chunks(1)), parse(framing, [bytes]));
        }
    }
}
