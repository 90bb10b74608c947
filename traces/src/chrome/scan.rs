//! [`Scanner`]: splits a trace file into its records, one after the other, in bounded memory.
//!
//! It knows just enough JSON to find where a record ends (braces, brackets, strings), whatever the layout: one record per
//! line, all on one line, or indented. What is inside a record is for [`record`](super::record). It survives damage: a
//! record that does not end is given up at its first line, and reading goes on at the next line that begins one.

use std::io::{self, Read};

/// A longer record is taken for damage.
const LONGEST: usize = 16 << 20;
const CHUNK: usize = 256 << 10;

/// What stands next in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole record, braces included, and the line on which it begins.
    Record { line: u64, text: &'a [u8] },
    /// Something that is no record: the line on which it begins, its length on that line, and what is wrong.
    Broken { line: u64, length: usize, text: &'static str },
    /// The end; whether the array was closed with `]`.
    End { closed: bool },
}

/// How the records are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `[ record, record, ...`; the `]` may be missing.
    Array,
    /// `{ "traceEvents": [ record, ... ], ... }`.
    Object,
}

pub(super) struct Scanner<R> {
    source: R,
    buffer: Vec<u8>,
    /// Everything in front of it is done.
    at: usize,
    line: u64,
    exhausted: bool,
    closed: bool,
}

/// How far a record reaches.
enum Extent {
    Whole(usize),
    /// A line end inside a string: JSON has none there, so the record was cut.
    NewlineInText(usize),
    /// The next line begins a record.
    Torn(usize),
    TooLong,
    Cut,
}

impl<R: Read> Scanner<R> {
    /// Finds the first record's place; `None` where there is no array of records.
    pub(super) fn open(source: R) -> io::Result<Option<(Self, Form)>> {
        let (buffer, line) = (Vec::with_capacity(2 * CHUNK), 1);
        let mut scanner = Self { source, buffer, at: 0, line, exhausted: false, closed: false };
        scanner.refill()?;
        if scanner.buffer.starts_with(b"\xef\xbb\xbf") {
            scanner.at = 3; // a byte order mark
        }
        match scanner.skip_to_token()? {
            Some(b'[') => {
                scanner.at += 1;
                Ok(Some((scanner, Form::Array)))
            }
            Some(b'{') => {
                scanner.at += 1;
                Ok(scanner.find_events()?.then_some((scanner, Form::Object)))
            }
            _ => Ok(None),
        }
    }

    /// The next piece. After the end comes nothing but the end.
    pub(super) fn next(&mut self) -> io::Result<Piece<'_>> {
        if self.closed {
            return Ok(Piece::End { closed: true });
        }
        match self.skip_to_token()? {
            None => Ok(Piece::End { closed: false }),
            Some(b']') => {
                self.closed = true;
                Ok(Piece::End { closed: true })
            }
            Some(b'{') => self.record(),
            Some(_) => self.give_up("expected a record, which begins with `{`"),
        }
    }

    /// Takes back the last record but for its first line, after its text turned out to be no JSON: the records behind a
    /// damaged one may be whole. `length` is that of the record's text.
    pub(super) fn retry_behind_first_line(&mut self, length: usize) {
        let start = self.at - length;
        let Some(record) = self.buffer.get(start..self.at) else { return };
        let Some(first) = record.iter().position(|&byte| byte == b'\n') else { return };
        self.line -= newlines(&record[first..]);
        self.at = start + first;
    }

    fn record(&mut self) -> io::Result<Piece<'_>> {
        match self.extent()? {
            Extent::Whole(length) => {
                let (line, start) = (self.line, self.at);
                self.advance(length);
                Ok(Piece::Record { line, text: &self.buffer[start..start + length] })
            }
            Extent::NewlineInText(length) => self.give_up_at(length, "the line ends inside a text: the record was cut"),
            Extent::Torn(length) => self.give_up_at(length, "the next record begins before this one ends: it was cut"),
            Extent::TooLong => self.give_up("the record does not end within 16 MiB"),
            Extent::Cut => self.give_up("this record does not end: it was cut"),
        }
    }

    /// Where the record that begins here ends.
    fn extent(&mut self) -> io::Result<Extent> {
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        let mut done = 0;
        loop {
            for (place, &byte) in self.buffer[self.at..].iter().enumerate().skip(done) {
                if in_text {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_text = false,
                        b'\n' => return Ok(Extent::NewlineInText(place)),
                        _ => {}
                    }
                    continue;
                }
                match byte {
                    b'"' => in_text = true,
                    b'\n' if self.begins_record(place + 1) => return Ok(Extent::Torn(place)),
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 {
                            return Ok(Extent::Whole(place + 1));
                        }
                    }
                    _ => {}
                }
            }
            done = self.buffer.len() - self.at;
            if done > LONGEST {
                return Ok(Extent::TooLong);
            }
            if !self.refill()? {
                return Ok(Extent::Cut);
            }
        }
    }

    /// Whether what stands at a line's beginning, so far behind the current place, begins a record as our writer and most
    /// others begin it. Finding that at once keeps a file of many damaged records from being searched to its end for each.
    fn begins_record(&self, behind: usize) -> bool {
        let line = self.buffer.get(self.at + behind..).unwrap_or_default();
        line.strip_prefix(b",").unwrap_or(line).starts_with(b"{\"ph\":")
    }

    /// Leaves the current line, and all that do not begin a record.
    fn give_up(&mut self, text: &'static str) -> io::Result<Piece<'_>> {
        let mut searched = 0;
        let length = loop {
            let rest = &self.buffer[self.at..];
            if let Some(place) = rest.iter().skip(searched).position(|&byte| byte == b'\n') {
                break searched + place;
            }
            searched = rest.len();
            // A line without end is as good as read when it is longer than any record.
            if searched > LONGEST || !self.refill()? {
                break searched;
            }
        };
        self.give_up_at(length, text)
    }

    fn give_up_at(&mut self, length: usize, text: &'static str) -> io::Result<Piece<'_>> {
        let line = self.line;
        self.advance(length);
        while let Some(token) = self.skip_to_token()? {
            if matches!(token, b'{' | b']') {
                break;
            }
            let rest = &self.buffer[self.at..];
            let next = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            self.advance(next);
        }
        Ok(Piece::Broken { line, length, text })
    }

    /// Passes white space and commas; the byte that stands there.
    fn skip_to_token(&mut self) -> io::Result<Option<u8>> {
        loop {
            let rest = &self.buffer[self.at..];
            let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | 0)).count();
            let token = rest.get(blank).copied();
            self.advance(blank);
            if token.is_some() || !self.refill()? {
                return Ok(token);
            }
        }
    }

    /// In an object, passes all fields up to the array of records.
    fn find_events(&mut self) -> io::Result<bool> {
        loop {
            if self.skip_to_token()? != Some(b'"') {
                return Ok(false);
            }
            let Some(key) = self.text()? else { return Ok(false) };
            if self.skip_to_token()? != Some(b':') {
                return Ok(false);
            }
            self.advance(1);
            match self.skip_to_token()? {
                Some(b'[') if key == "traceEvents" => {
                    self.advance(1);
                    return Ok(true);
                }
                Some(b'[' | b'{') => match self.extent()? {
                    Extent::Whole(length) => self.advance(length),
                    _ => return Ok(false),
                },
                Some(b'"') => {
                    if self.text()?.is_none() {
                        return Ok(false);
                    }
                }
                Some(_) => self.pass_scalar()?,
                None => return Ok(false),
            }
        }
    }

    /// Passes the text that begins here.
    fn text(&mut self) -> io::Result<Option<String>> {
        let mut escaped = false;
        let mut place = 1;
        loop {
            while let Some(&byte) = self.buffer.get(self.at + place) {
                place += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => {
                        let inner = &self.buffer[self.at + 1..self.at + place - 1];
                        let text = String::from_utf8_lossy(inner).into_owned();
                        self.advance(place);
                        return Ok(Some(text));
                    }
                    _ => {}
                }
            }
            if place > LONGEST || !self.refill()? {
                return Ok(None);
            }
        }
    }

    /// Passes a number, `true`, `false` or `null`.
    fn pass_scalar(&mut self) -> io::Result<()> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b'\n')) {
                self.advance(end);
                return Ok(());
            }
            let all = rest.len();
            self.advance(all);
            if !self.refill()? {
                return Ok(());
            }
        }
    }

    fn advance(&mut self, count: usize) {
        self.line += newlines(&self.buffer[self.at..self.at + count]);
        self.at += count;
    }

    /// Reads on; what is done is thrown away. `false` at the file's end.
    fn refill(&mut self) -> io::Result<bool> {
        if self.exhausted {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        let read = self.source.by_ref().take(CHUNK as u64).read_to_end(&mut self.buffer)?;
        self.exhausted = read == 0;
        Ok(self.buffer.len() > before)
    }
}

fn newlines(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file gives: records as text, breaks as `!line`, and whether it was closed.
    fn pieces(file: &str) -> Option<(Vec<String>, bool)> {
        let (mut scanner, _) = Scanner::open(file.as_bytes()).unwrap()?;
        let mut all = Vec::new();
        loop {
            match scanner.next().unwrap() {
                Piece::Record { line, text } => all.push(format!("{line}{}", String::from_utf8_lossy(text))),
                Piece::Broken { line, .. } => all.push(format!("!{line}")),
                Piece::End { closed } => return Some((all, closed)),
            }
        }
    }

    #[test]
    fn every_layout_is_split() {
        for (file, records, closed) in [
            ("[\n{\"a\":1}\n,{\"b\":[{}]}\n]\n", vec!["2{\"a\":1}", "3{\"b\":[{}]}"], true),
            ("[{\"a\":1},{\"b\":2}", vec!["1{\"a\":1}", "1{\"b\":2}"], false),
            ("[{\"a\":\"}{\\\"\"},\n", vec!["1{\"a\":\"}{\\\"\"}"], false),
            ("[\n {\n  \"a\": 1\n },\n {}\n]", vec!["2{\n  \"a\": 1\n }", "5{}"], true),
            ("{\"x\":{\"traceEvents\":[]},\"y\":\"]\",\"z\":1,\n\"traceEvents\":[{}],\"w\":3}", vec!["2{}"], true),
            ("[]", vec![], true),
            ("[", vec![], false),
        ] {
            let expected = (records.into_iter().map(str::to_owned).collect(), closed);
            assert_eq!(pieces(file), Some(expected), "{file}");
        }
    }

    #[test]
    fn what_is_no_array_of_records_is_refused() {
        for file in ["", "  ", "GGUF", "{}", "{\"a\":1}", "{\"traceEvents\":3}", "\"[\"", "{\"a\":\"", "{\"a\":{"] {
            assert_eq!(pieces(file), None, "{file}");
        }
    }

    #[test]
    fn damage_costs_its_own_line_only() {
        let (all, closed) = pieces("[\n{\"a\":1}\n,{\"b\":\"cu\n,{\"c\":3}\njunk\nmore\n{\"d\":4}\n]").unwrap();
        assert_eq!(
            (all, closed),
            (["2{\"a\":1}", "!3", "4{\"c\":3}", "!5", "7{\"d\":4}"].map(str::to_owned).into(), true)
        );
        let (all, _) = pieces("[\n{\"a\":1\n,{\"ph\":\"X\",\"args\":{\"shape\":[1,5\n,{\"ph\":\"C\"}\n").unwrap();
        assert_eq!(all, ["!2", "!3", "4{\"ph\":\"C\"}"]);
        let (all, closed) = pieces("[\n{\"a\":1}\n,{\"b\":2").unwrap();
        assert_eq!((all, closed), (["2{\"a\":1}", "!3"].map(str::to_owned).into(), false));
    }
}
