//! [`Scanner`]: splits a trace file into its records, one after the other, in bounded memory.
//!
//! It parses only as much JSON as it needs to find the end of a record (braces, brackets, strings), in any layout: one record
//! per line, all on one line, or indented. [`record`](super::record) parses the content of a record. Damage is skipped: a
//! record without an end is skipped with its first line, and scanning continues at the next line that begins a record.

use std::io::{self, Read};

/// The largest size of a record in bytes; a longer one counts as damage.
const MAX_RECORD_BYTES: usize = 16 << 20;
const CHUNK_BYTES: usize = 256 << 10;

/// The next piece of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A complete record with its braces, and the line on which it begins.
    Record { line: u64, text: &'a [u8] },
    /// Something that is not a record: the line on which it begins, its length on that line, and the error.
    Broken { line: u64, length: usize, text: &'static str },
    /// The end of the file, and whether the array is closed with `]`.
    End { closed: bool },
}

/// The JSON form of a trace file.
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
    /// The current position; everything before it is scanned.
    at: usize,
    line: u64,
    exhausted: bool,
    closed: bool,
}

/// The end of a record.
enum Extent {
    Whole(usize),
    /// A line end inside a string, which JSON does not allow: the record was truncated.
    NewlineInText(usize),
    /// The next line begins another record.
    NextRecord(usize),
    TooLong,
    EndOfFile,
}

impl<R: Read> Scanner<R> {
    /// Finds the first record; `None` if the file has no array of records.
    pub(super) fn open(source: R) -> io::Result<Option<(Self, Form)>> {
        let (buffer, line) = (Vec::with_capacity(2 * CHUNK_BYTES), 1);
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

    /// The next piece. After the end it returns the end again.
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
            Some(_) => self.skip_line("expected a record, which begins with `{`"),
        }
    }

    /// Goes back to the end of the first line of the last record, whose text is not valid JSON: the lines after it may be
    /// complete records. `length` is the length of the record's text.
    pub(super) fn retry_after_first_line(&mut self, length: usize) {
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
            Extent::NewlineInText(length) => {
                self.skip_line_at(length, "the line ends inside a string: the record was truncated")
            }
            Extent::NextRecord(length) => {
                self.skip_line_at(length, "the next record begins before this one ends: it was truncated")
            }
            Extent::TooLong => self.skip_line("the record does not end within 16 MiB"),
            Extent::EndOfFile => self.skip_line("the record has no end: it was truncated"),
        }
    }

    /// Finds the end of the record that begins at the current position.
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
                    b'\n' if self.begins_record(place + 1) => return Ok(Extent::NextRecord(place)),
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
            if done > MAX_RECORD_BYTES {
                return Ok(Extent::TooLong);
            }
            if !self.refill()? {
                return Ok(Extent::EndOfFile);
            }
        }
    }

    /// Whether the line at this offset from the current position begins a record, in the way this crate's writer and most
    /// others do. Without this check each damaged record would be searched to the end of the file.
    fn begins_record(&self, offset: usize) -> bool {
        let line = self.buffer.get(self.at + offset..).unwrap_or_default();
        line.strip_prefix(b",").unwrap_or(line).starts_with(b"{\"ph\":")
    }

    /// Skips the current line, and the lines after it that do not begin a record.
    fn skip_line(&mut self, text: &'static str) -> io::Result<Piece<'_>> {
        let mut searched = 0;
        let length = loop {
            let rest = &self.buffer[self.at..];
            if let Some(place) = rest.iter().skip(searched).position(|&byte| byte == b'\n') {
                break searched + place;
            }
            searched = rest.len();
            // A line that is longer than any record is not searched further.
            if searched > MAX_RECORD_BYTES || !self.refill()? {
                break searched;
            }
        };
        self.skip_line_at(length, text)
    }

    fn skip_line_at(&mut self, length: usize, text: &'static str) -> io::Result<Piece<'_>> {
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

    /// Skips white space and commas; returns the byte after them.
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

    /// In an object, skips all fields before the array of records.
    fn find_events(&mut self) -> io::Result<bool> {
        loop {
            if self.skip_to_token()? != Some(b'"') {
                return Ok(false);
            }
            let Some(key) = self.string()? else { return Ok(false) };
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
                    if self.string()?.is_none() {
                        return Ok(false);
                    }
                }
                Some(_) => self.skip_scalar()?,
                None => return Ok(false),
            }
        }
    }

    /// Skips the string that begins here and returns it.
    fn string(&mut self) -> io::Result<Option<String>> {
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
            if place > MAX_RECORD_BYTES || !self.refill()? {
                return Ok(None);
            }
        }
    }

    /// Skips a number, `true`, `false` or `null`.
    fn skip_scalar(&mut self) -> io::Result<()> {
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

    /// Drops the scanned bytes and reads more; `false` at the end of the file.
    fn refill(&mut self) -> io::Result<bool> {
        if self.exhausted {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        let read = self.source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut self.buffer)?;
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

    /// The pieces of a file: records as text, damage as `!line`; and whether the array is closed.
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
    fn a_file_without_an_array_of_records_is_rejected() {
        for file in ["", "  ", "GGUF", "{}", "{\"a\":1}", "{\"traceEvents\":3}", "\"[\"", "{\"a\":\"", "{\"a\":{"] {
            assert_eq!(pieces(file), None, "{file}");
        }
    }

    #[test]
    fn damage_loses_only_its_own_line() {
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
