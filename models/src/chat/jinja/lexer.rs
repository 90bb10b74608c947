//! Text and tags of a template as tokens, with the rules of Jinja's lexer for whitespace: `trim_blocks` and `lstrip_blocks` are on, one
//! newline at the end of the template is dropped, and all newlines are `\n`.

use super::failure::{Failure, Kind, Result};
use super::text::is_space;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Text(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
}

/// Operators, the longer ones first.
const OPERATORS: [&str; 26] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// The tokens of a source with their lines, from 1.
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, Token)>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, at: 0, line: 1, line_starting: true, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    /// Whether the last match ended a line: a tag that follows may be the first thing of its line.
    line_starting: bool,
    tokens: Vec<(usize, Token)>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Result<()> {
        while self.at < self.source.len() {
            let rest = self.rest();
            let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() else {
                self.text(rest);
                self.advance(rest.len());
                break;
            };
            let (text, tag) = rest.split_at(start);
            let kind = tag.as_bytes()[1];
            let sign = tag[2..].chars().next().filter(|sign| matches!(sign, '-' | '+'));
            self.text_before(text, kind == b'{', sign);
            self.advance(start + 2 + usize::from(sign.is_some()));
            match kind {
                b'{' => {
                    self.push(Token::VariableBegin);
                    self.inside("}}", Token::VariableEnd)?;
                }
                b'#' => self.comment()?,
                _ => {
                    if !self.raw()? {
                        self.push(Token::BlockBegin);
                        self.inside("%}", Token::BlockEnd)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((self.line, token));
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Token::Text(text.to_owned()));
        }
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.source[self.at..self.at + bytes];
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
        self.at += bytes;
    }

    /// The text before a tag, without the whitespace that the tag removes.
    fn text_before(&mut self, text: &str, is_variable: bool, sign: Option<char>) {
        let kept = match sign {
            Some('-') => text.trim_end_matches(is_space),
            None if !is_variable => {
                let line = text.rfind('\n').map_or(0, |newline| newline + 1);
                let first_of_its_line = line > 0 || self.line_starting;
                if first_of_its_line && text[line..].chars().all(is_space) { &text[..line] } else { text }
            }
            _ => text,
        };
        self.text(kept);
    }

    /// The end of a tag: `-` removes the whitespace after it, a block without `+` one newline.
    fn end(&mut self, close: &str, trims_newline: bool) -> bool {
        let rest = self.rest();
        let (sign, after) = match rest.as_bytes().first() {
            Some(b'-') => (Some(b'-'), &rest[1..]),
            Some(b'+') if trims_newline => (Some(b'+'), &rest[1..]),
            _ => (None, rest),
        };
        let Some(after) = after.strip_prefix(close) else { return false };
        let end = match sign {
            Some(b'-') => after.trim_start_matches(is_space),
            None if trims_newline => after.strip_prefix('\n').unwrap_or(after),
            _ => after,
        };
        let bytes = rest.len() - end.len();
        self.line_starting = rest[..bytes].ends_with('\n');
        self.advance(bytes);
        true
    }

    /// A comment up to its end. At the end of the template an empty one needs none, as in Jinja.
    fn comment(&mut self) -> Result<()> {
        let line = self.line;
        if self.rest().is_empty() {
            return Ok(());
        }
        while !self.end("#}", true) {
            let Some(next) = self.rest().chars().next() else {
                return Err(Failure::syntax(line, "a comment has no end"));
            };
            self.advance(next.len_utf8());
        }
        Ok(())
    }

    /// `{% raw %}` up to `{% endraw %}`; whether there was one.
    fn raw(&mut self) -> Result<bool> {
        let line = self.line;
        let rest = self.rest();
        let Some(after) = keyword(rest, "raw") else { return Ok(false) };
        let after = match after.strip_prefix("-%}") {
            Some(after) => after.trim_start_matches(is_space),
            None => match after.strip_prefix("%}") {
                Some(after) => after,
                None => return Ok(false),
            },
        };
        let bytes = rest.len() - after.len();
        self.line_starting = rest[..bytes].ends_with('\n');
        self.advance(bytes);
        let body = self.rest();
        if body.is_empty() {
            return Ok(true);
        }
        for (start, _) in body.match_indices("{%") {
            let tag = &body[start + 2..];
            let sign = tag.chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let Some(close) = keyword(&tag[usize::from(sign.is_some())..], "endraw") else { continue };
            if !["%}", "-%}", "+%}"].iter().any(|end| close.starts_with(end)) {
                continue;
            }
            self.text_before(&body[..start], false, sign);
            self.advance(body.len() - close.len());
            self.end("%}", true);
            return Ok(true);
        }
        Err(Failure::syntax(line, "a raw block has no end"))
    }

    /// The tokens of a tag up to its end.
    fn inside(&mut self, close: &str, end: Token) -> Result<()> {
        let opened = self.line;
        let mut brackets: Vec<u8> = Vec::new();
        loop {
            if brackets.is_empty() && self.end(close, close == "%}") {
                // The line of the end of a tag is of no use; that of its start is.
                self.tokens.push((self.line, end));
                return Ok(());
            }
            let rest = self.rest();
            let Some(next) = rest.chars().next() else {
                return Err(Failure::syntax(opened, format!("a tag has no end: expected `{close}`")));
            };
            if is_space(next) {
                self.advance(next.len_utf8());
            } else if next.is_ascii_digit() {
                self.number()?;
            } else if next.is_alphanumeric() || next == '_' {
                let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                self.push(Token::Name(rest[..length].to_owned()));
                self.advance(length);
            } else if next == '"' || next == '\'' {
                self.string(next)?;
            } else {
                let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) else {
                    return Err(Failure::syntax(self.line, format!("unexpected character {next:?}")));
                };
                match operator.as_bytes()[0] {
                    open @ (b'(' | b'[' | b'{') => brackets.push(open),
                    shut @ (b')' | b']' | b'}') => {
                        let expected = brackets.pop().map(|open| match open {
                            b'(' => b')',
                            b'[' => b']',
                            _ => b'}',
                        });
                        if expected != Some(shut) {
                            return Err(Failure::syntax(self.line, format!("unexpected `{operator}`")));
                        }
                    }
                    _ => {}
                }
                self.push(Token::Op(operator));
                self.advance(operator.len());
            }
        }
    }

    fn number(&mut self) -> Result<()> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let radix = match bytes.get(1).map(u8::to_ascii_lowercase) {
            Some(b'x') => 16,
            Some(b'o') => 8,
            Some(b'b') => 2,
            _ => 10,
        };
        if bytes[0] == b'0' && radix != 10 {
            let length = 2 + digits(&rest[2..], radix);
            return self.integer(&rest[2..length], radix, length);
        }
        let whole = digits(rest, 10);
        let after_dot = rest[whole..].strip_prefix('.').map_or(0, |fraction| digits(fraction, 10));
        let mantissa = if after_dot > 0 { whole + 1 + after_dot } else { whole };
        let exponent = rest[mantissa..].strip_prefix(['e', 'E']).map_or(0, |exponent| {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            match digits(unsigned, 10) {
                0 => 0,
                digits => 1 + exponent.len() - unsigned.len() + digits,
            }
        });
        // `a.0.1` has the items 0 and 1, not the number 0.1.
        let item = self.source[..self.at].ends_with('.');
        if item || (after_dot == 0 && exponent == 0) {
            return self.integer(&rest[..whole], 10, whole);
        }
        let length = mantissa + exponent;
        let text = rest[..length].replace('_', "");
        let number = text.parse().map_err(|_| Failure::syntax(self.line, format!("{text} is no number")))?;
        self.push(Token::Float(number));
        self.advance(length);
        Ok(())
    }

    fn integer(&mut self, digits: &str, radix: u32, length: usize) -> Result<()> {
        let digits = digits.replace('_', "");
        let Ok(number) = i128::from_str_radix(&digits, radix) else {
            return Err(Failure::unsupported(format!("the integer {digits}")).at(self.line));
        };
        if radix == 10 && digits.len() > 1 && digits.starts_with('0') && number != 0 {
            return Err(Failure::syntax(self.line, format!("the number {digits} begins with 0")));
        }
        self.push(Token::Int(number));
        self.advance(length);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let line = self.line;
        let rest = self.rest();
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => {
                    let text = unescape(&rest[1..at]).map_err(|failure| failure.at(line))?;
                    self.push(Token::Str(text));
                    self.advance(at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(Failure::syntax(line, "a string has no end"))
    }
}

/// What follows a word, with whitespace on both sides.
fn keyword<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    Some(text.trim_start_matches(is_space).strip_prefix(word)?.trim_start_matches(is_space))
}

/// The length of a run of digits; single underscores may stand between them.
fn digits(text: &str, radix: u32) -> usize {
    let mut length = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if c.is_digit(radix) {
            length = at + 1;
        } else if c != '_' || at == 0 || !characters.peek().is_some_and(|(_, next)| next.is_digit(radix)) {
            break;
        }
    }
    length
}

/// The value of a string literal: Python's escapes. An unknown escape stays as it is.
fn unescape(text: &str) -> Result<String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        let Some(escape) = rest.next() else { break };
        match escape {
            '\n' => {}
            '\\' | '\'' | '"' => result.push(escape),
            'a' => result.push('\u{7}'),
            'b' => result.push('\u{8}'),
            'f' => result.push('\u{c}'),
            'n' => result.push('\n'),
            'r' => result.push('\r'),
            't' => result.push('\t'),
            'v' => result.push('\u{b}'),
            '0'..='7' => {
                let mut code = escape.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = rest.clone().next().and_then(|next| next.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    rest.next();
                }
                result.push(character(code)?);
            }
            'x' | 'u' | 'U' => {
                let width = match escape {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits: String = rest.by_ref().take(width).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.chars().count() == width);
                let code = code.ok_or_else(|| {
                    Failure::new(Kind::Syntax, format!("the escape \\{escape}{digits} is incomplete"))
                })?;
                result.push(character(code)?);
            }
            'N' => return Err(Failure::unsupported("the escape \\N{NAME} in a string")),
            // Jinja turns other characters into ASCII escapes first, so that the backslash before one escapes that backslash.
            other if !other.is_ascii() => {
                let code = u32::from(other);
                result.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
            other => result.extend(['\\', other]),
        }
    }
    Ok(result)
}

fn character(code: u32) -> Result<char> {
    char::from_u32(code).ok_or_else(|| Failure::unsupported(format!("the escape of half a character (U+{code:04X})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        let text = |(_, token)| if let Token::Text(text) = token { Some(text) } else { None };
        tokens(source).unwrap().into_iter().filter_map(text).collect()
    }

    #[test]
    fn whitespace_around_tags_is_removed_as_by_jinja() {
        assert_eq!(texts("a\n   {% if x %}\n  b\n{% endif %}\n"), ["a\n", "  b\n"]);
        assert_eq!(texts("a {%- x -%} \n b"), ["a", "b"]);
        assert_eq!(texts(" {%+ x +%}\nb"), [" ", "\nb"]);
        assert_eq!(texts("  {{ x }}\n\n"), ["  ", "\n"]);
        assert_eq!(texts("a\r\nb\rc\r\n"), ["a\nb\nc"]);
        assert_eq!(texts("a\n {# c #}\nb"), ["a\n", "b"]);
        assert_eq!(texts("{% raw %}\n{{ x }} {% endraw %}\ny"), ["\n{{ x }} ", "y"]);
    }

    #[test]
    fn strings_have_the_escapes_of_python() {
        for (source, value) in [
            (r"\n\t\\\'\x41\u00e9\U0001F600\101\d", "\n\t\\'A\u{e9}\u{1f600}A\\d"),
            ("\\\u{e9}", r"\xe9"),
            ("a\\\nb", "ab"),
        ] {
            assert_eq!(unescape(source).unwrap(), value);
        }
        assert!(unescape(r"\x4").is_err() && unescape(r"\ud800").is_err());
    }

    #[test]
    fn numbers_and_items_are_distinguished() {
        let inside = |source: &str| {
            tokens(&format!("{{{{ {source} }}}}")).unwrap().into_iter().map(|(_, token)| token).collect::<Vec<_>>()
        };
        assert_eq!(inside("1.5e3")[1], Token::Float(1500.0));
        assert_eq!(inside("1_000")[1], Token::Int(1000));
        assert_eq!(inside("0xff")[1], Token::Int(255));
        assert_eq!(inside("a.0.1").len(), 7);
        assert_eq!(inside("{'a': {}}").len(), 8);
        assert!(tokens("{{ (] }}").is_err() && tokens("{{ ! }}").is_err() && tokens("{{ 'a }}").is_err());
    }
}
