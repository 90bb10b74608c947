//! [`redact`]: the secrets in a text of any kind, found by their form.

use crate::name::{is_secret_name, is_weak, strengthens};
use crate::parts::Parts;
use crate::{MARK, known};

/// How values end in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// A message, a document or a list: a value ends at white space, at a comma or a bracket, or with its quotes.
    Message,
    /// A command of a shell: quotes and backslashes join words, `;`, `|` and `&` end them.
    Shell,
}

/// A text from outside with [`MARK`] in place of every secret that has a known form or a known value.
///
/// The forms are: user information and parameters of addresses (`http://user:password@host?api_key=...`); values of names of secrets
/// (`api_key=...`, `"token": "..."`, `--password ...`, `Authorization: Bearer ...`); and the beginnings of the keys of well-known
/// services (`sk-...`, `hf_...`). The values are those that this process was given.
#[must_use]
pub fn redact(text: &str) -> String {
    let formed = scan(text, Syntax::Message, &mut Vec::new());
    known::without_known_in_outside_text(&formed)
}

/// The text with [`MARK`] in place of secrets by their form; the secrets are added to `found`.
pub(crate) fn scan(text: &str, syntax: Syntax, found: &mut Vec<String>) -> String {
    let mut scanner =
        Scanner { text, at: 0, out: String::with_capacity(text.len()), found, syntax, quote: None, word: "" };
    while scanner.at < text.len() {
        scanner.step();
    }
    scanner.out
}

struct Scanner<'a, 'f> {
    text: &'a str,
    at: usize,
    out: String,
    found: &'f mut Vec<String>,
    syntax: Syntax,
    /// The quote that is open, in a shell.
    quote: Option<char>,
    /// The word before this place, if only spaces are between.
    word: &'a str,
}

impl<'a> Scanner<'a, '_> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Processes one address, one name or one character.
    fn step(&mut self) {
        let rest = self.rest();
        let at_word = !self.text[..self.at].ends_with(is_name_character);
        if at_word && let Some(length) = address(rest) {
            let shown = Parts::new(&rest[..length]).redacted(self.found);
            self.out.push_str(&shown);
            self.at += length;
            self.word = "";
            return;
        }
        let name = if at_word { name(rest) } else { "" };
        if !name.is_empty() {
            return self.name(name);
        }
        let Some(c) = rest.chars().next() else { return };
        if c != ' ' {
            self.word = "";
        }
        if self.syntax == Syntax::Shell && matches!(c, '"' | '\'') {
            self.quote = match self.quote {
                None => Some(c),
                Some(open) if open == c => None,
                open => open,
            };
        }
        self.copy(c.len_utf8());
    }

    fn copy(&mut self, length: usize) {
        self.out.push_str(&self.rest()[..length]);
        self.at += length;
    }

    /// Processes a name, and the value that follows it if it is the name of a secret.
    fn name(&mut self, name: &'a str) {
        if has_form_of_a_key(name) {
            self.replace(name.len(), name.to_owned());
            return;
        }
        let before = std::mem::replace(&mut self.word, name);
        let option = name.starts_with('-');
        self.copy(name.len());
        let rest = self.rest();
        let Some(separator) = Separator::new(rest, option, self.syntax) else {
            self.scheme(name);
            return;
        };
        let user = option && ["-u", "--user", "--proxy-user"].contains(&name);
        let is_sentence = separator.is_colon_of_a_sentence && is_weak(name) && !strengthens(before);
        let is_secret = is_secret_name(name) || is_weak(name) && strengthens(before);
        if !is_secret && !user || is_sentence {
            if !separator.is_space {
                self.scheme(name);
            }
            return;
        }
        let value = self.value(&rest[separator.length..], separator.quote);
        if user && value.content.contains(':') {
            self.copy(separator.length);
            let (prefix, password) = value.content.split_once(':').unwrap_or_default();
            self.found.push(password.to_owned());
            self.out.push_str(prefix);
            self.out.push(':');
            self.out.push_str(MARK);
            self.at += value.length;
        } else if !user && !value.is_variable && !is_placeholder(&value.content) {
            self.copy(separator.length);
            let content = value.content;
            match content.split_once(' ').filter(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty()) {
                Some((scheme, credential)) => {
                    self.out.push_str(scheme);
                    self.out.push(' ');
                    self.found.push(credential.to_owned());
                }
                None => self.found.push(content),
            }
            self.out.push_str(MARK);
            self.at += value.length;
            self.word = "";
        }
    }

    /// `Bearer VALUE` without a name before it.
    fn scheme(&mut self, word: &str) {
        let Some(value) = self.rest().strip_prefix(' ').filter(|_| is_scheme(word)) else { return };
        let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/=".contains(c))).unwrap_or(value.len());
        let value = value[..end].trim_end_matches('.');
        // `bearer token` and `basic authentication` are words.
        if value.len() >= 6 && !value.chars().all(|c| c.is_ascii_lowercase()) {
            self.copy(1);
            self.replace(value.len(), value.to_owned());
        }
    }

    fn replace(&mut self, length: usize, secret: String) {
        self.out.push_str(MARK);
        self.found.push(secret);
        self.at += length;
        self.word = "";
    }

    /// The value at the beginning of `rest`, in the quotes that the separator has opened.
    fn value(&self, rest: &str, quote: Option<&str>) -> Value {
        if let Some(quote) = quote {
            return quoted(rest, quote);
        }
        match self.syntax {
            Syntax::Message => {
                let end_of_word = |from: usize| {
                    let end = |c: char| c.is_whitespace() || c.is_control() || ",;&}])>\"'`<|\\".contains(c);
                    rest[from..].find(end).map_or(rest.len(), |end| from + end)
                };
                // `{port}` and `${NAME}` are whole values.
                let placeholder = rest.starts_with(['{', '$']).then(|| rest.find('}').map_or(0, |end| end + 1));
                let is_whole = |end: &usize| is_placeholder(&rest[..*end]);
                let mut end = end_of_word(placeholder.filter(is_whole).unwrap_or(0));
                if is_scheme(&rest[..end]) && rest[end..].starts_with(' ') {
                    end = end_of_word(end + 1);
                }
                Value { length: end, content: rest[..end].to_owned(), is_variable: false }
            }
            Syntax::Shell => shell_value(rest, self.quote),
        }
    }
}

/// A value: its length in the text, and its content without quotes.
#[derive(Debug)]
struct Value {
    length: usize,
    content: String,
    /// Whether a shell puts the value of a variable in its place.
    is_variable: bool,
}

/// Up to the closing quote, which stays. A backslash before a quote escapes it, except where the quotes are escaped themselves.
fn quoted(rest: &str, quote: &str) -> Value {
    let mut end = 0;
    while end < rest.len() && !rest[end..].starts_with(quote) {
        let is_escape = quote.len() == 1 && rest[end..].starts_with('\\');
        end += rest[end..].chars().take(if is_escape { 2 } else { 1 }).map(char::len_utf8).sum::<usize>();
    }
    Value { length: end, content: rest[..end].to_owned(), is_variable: false }
}

/// One word of a shell; `open` is the quote that it stands in.
fn shell_value(rest: &str, open: Option<char>) -> Value {
    let mut content = String::new();
    let (mut quote, mut length, mut is_literal) = (None, rest.len(), false);
    let mut characters = rest.char_indices();
    while let Some((at, c)) = characters.next() {
        let is_end = Some(c) == open || c.is_whitespace() || ";|&<>()".contains(c);
        match quote {
            // The value of a header in the quotes of the header.
            None if c == ' ' && open.is_some() && is_scheme(&content) => content.push(c),
            None if is_end => {
                length = at;
                break;
            }
            None if matches!(c, '"' | '\'') => {
                is_literal |= c == '\'';
                quote = Some(c);
            }
            Some(open) if open == c => quote = None,
            None | Some('"') if c == '\\' => content.extend(characters.next().map(|(_, c)| c)),
            _ => content.push(c),
        }
    }
    let name = content.strip_prefix('$').filter(|_| !is_literal);
    let is_variable = name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    Value { length, content, is_variable }
}

/// What is between a name and its value.
#[derive(Debug)]
struct Separator {
    length: usize,
    /// The quote that opens the value.
    quote: Option<&'static str>,
    /// `name: value` without quotes.
    is_colon_of_a_sentence: bool,
    /// Only a space, as between an option and its value.
    is_space: bool,
}

impl Separator {
    /// `=`, `:` or `=>` with spaces and quotes; after an option also a space alone.
    fn new(rest: &str, option: bool, syntax: Syntax) -> Option<Self> {
        const QUOTES: [&str; 5] = ["\\\"", "\\'", "\"", "'", "`"];
        let spaces = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
        let closing = QUOTES.into_iter().find(|quote| rest.starts_with(quote)).map_or(0, str::len);
        let before = closing + spaces(&rest[closing..]);
        let sign = ["=>", "=", ":"].into_iter().find(|sign| rest[before..].starts_with(sign));
        let (sign, is_space) = match sign {
            // `http://` was an address; `a::b` is a path.
            Some(":") if rest[before..].starts_with("::") => return None,
            Some(sign) => (sign.len(), false),
            None if option && closing == 0 && before > 0 && !rest[before..].starts_with(['-', '\n']) => (0, true),
            None => return None,
        };
        let after = before + sign + if is_space { 0 } else { spaces(&rest[before + sign..]) };
        // A word of a shell may begin with a quote and go on after it.
        let is_word = syntax == Syntax::Shell && closing == 0 && !rest[before..].starts_with(':');
        let quote = QUOTES.into_iter().find(|quote| rest[after..].starts_with(quote)).filter(|_| !is_word);
        let has_value = rest[after + quote.map_or(0, str::len)..].chars().next().is_some_and(|c| !c.is_control());
        has_value.then(|| Self {
            length: after + quote.map_or(0, str::len),
            quote,
            is_colon_of_a_sentence: rest[before..].starts_with(": ") && quote.is_none() && closing == 0,
            is_space,
        })
    }
}

const fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.'
}

/// The name at the beginning of a text: `api_key`, `--api-key`, `openai.token`.
fn name(rest: &str) -> &str {
    let end = rest.find(|c: char| !is_name_character(c)).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['-', '.'])
}

/// The length of the address at the beginning of a text; `None` if there is none.
fn address(rest: &str) -> Option<usize> {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let scheme = rest.find(|c: char| !is_scheme(c))?;
    if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) || !rest[scheme..].starts_with("://") {
        return None;
    }
    let start = scheme + 3;
    let end = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>|\\".contains(c);
    Some(rest[start..].find(end).map_or(rest.len(), |end| start + end))
}

fn is_scheme(word: &str) -> bool {
    ["bearer", "basic", "digest", "token"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// Whether a value stands for a secret without being one: nothing, a switch, `{port}`, `${NAME}`.
fn is_placeholder(value: &str) -> bool {
    // A help text: `ENGINE.KEY=VALUE`, `<ENGINE.KEY=VALUE>`.
    if value.trim_end_matches(['>', '\'']) == "VALUE" {
        return true;
    }
    let name = value.strip_prefix('$').unwrap_or(value).strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        || ["", MARK, "null", "none", "None", "true", "false", "True", "False"].contains(&value)
}

/// Whether a word has the form of the keys of a well-known service: a known beginning, then at least 16 letters and digits of both
/// kinds.
fn has_form_of_a_key(word: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "AIza",
        "AKIA",
        "ASIA",
        "eyJ",
        "ghp_",
        "gho_",
        "ghs_",
        "ghu_",
        "github_pat_",
        "glpat-",
        "gsk_",
        "hf_",
        "nvapi-",
        "sk-",
        "sk_",
        "xai-",
        "xoxb-",
        "xoxp-",
    ];
    BEGINNINGS.iter().filter_map(|beginning| word.strip_prefix(beginning)).any(|rest| {
        let has = |kind: fn(&char) -> bool| rest.chars().any(|c| kind(&c));
        rest.len() >= 16 && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> String {
        scan(text, Syntax::Message, &mut Vec::new())
    }

    fn shell(text: &str) -> (String, Vec<String>) {
        let mut found = Vec::new();
        (scan(text, Syntax::Shell, &mut found), found)
    }

    #[test]
    fn secrets_of_messages_are_replaced() {
        for (text, shown) in [
            ("GET http://u:p@h:1/x?api_key=k&n=1: refused", "GET http://***@h:1/x?api_key=***&n=1: refused"),
            ("a://u:p@q@h, b://x@y/z@w", "a://***@h, b://***@y/z@w"),
            (r#"{"api_key": "a,b\"c", "n": 1}"#, r#"{"api_key": "***", "n": 1}"#),
            (r#"{\"token\":\"abc\",\"n\":1}"#, r#"{\"token\":\"***\",\"n\":1}"#),
            ("{'password': 'x y'}", "{'password': '***'}"),
            ("Authorization: Bearer abc.def-1, then", "Authorization: Bearer ***, then"),
            (r#""authorization": "Bearer abc.def-1""#, r#""authorization": "Bearer ***""#),
            ("invalid API key: abc-1", "invalid API key: ***"),
            ("invalid api_key abc", "invalid api_key abc"),
            ("password=x; user=y", "password=***; user=y"),
            ("it was called with --api-key abc --port 1", "it was called with --api-key *** --port 1"),
            ("got Bearer abcdef123 here", "got Bearer *** here"),
            ("Incorrect API key provided: sk-proj-0123456789abcdefXYZ.", "Incorrect API key provided: ***."),
            ("X-Api-Key: abc", "X-Api-Key: ***"),
            ("secret => 'x'", "secret => '***'"),
        ] {
            assert_eq!(message(text), shown);
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in [
            "unexpected token: }",
            "unknown key: foo",
            "max_tokens: 5, eos_token=2, \"tokens\": 7",
            "bearer token required",
            "the token was refused",
            "token=${HF_TOKEN} key={port}",
            "{\"api_key\": null, \"token\": true}",
            "std::token::x",
            "key_env=MY_VARIABLE --api-key-file /run/k",
            "http://h:1/v1?api-version=2",
            "a key.",
            "token",
            "--token",
            "é=ü: ñ",
        ] {
            assert_eq!(message(text), text);
        }
    }

    #[test]
    fn secrets_of_commands_are_replaced_and_found() {
        for (text, shown, secret) in [
            ("srv --api-key k-1 --port {port}", "srv --api-key *** --port {port}", "k-1"),
            ("srv --api-key=k-2;x", "srv --api-key=***;x", "k-2"),
            ("srv --api-key 'k 3' -t 1", "srv --api-key *** -t 1", "k 3"),
            ("srv --api-key \"k-4\"x -t 1", "srv --api-key *** -t 1", "k-4x"),
            ("HF_TOKEN=k-5 srv", "HF_TOKEN=*** srv", "k-5"),
            ("HF_TOKEN=a\\ b srv", "HF_TOKEN=*** srv", "a b"),
            ("curl -H 'Authorization: Bearer k-6' x", "curl -H 'Authorization: Bearer ***' x", "k-6"),
            ("sh -c \"srv --api-key k-7\"; y", "sh -c \"srv --api-key ***\"; y", "k-7"),
            ("sh -c 'API_KEY=k-8 srv'", "sh -c 'API_KEY=*** srv'", "k-8"),
            ("docker run -e HF_TOKEN=k-9 i", "docker run -e HF_TOKEN=*** i", "k-9"),
            ("docker run --env=HF_TOKEN=k-10 i", "docker run --env=HF_TOKEN=*** i", "k-10"),
            ("curl -u bob:k-11 http://h", "curl -u bob:*** http://h", "k-11"),
            ("srv --m http://bob:k-12@h/m.gguf", "srv --m http://***@h/m.gguf", "k-12"),
            ("srv --json '{\"api_key\": \"k-13\"}'", "srv --json '{\"api_key\": \"***\"}'", "k-13"),
        ] {
            let (found, secrets) = shell(text);
            assert_eq!(found, shown);
            assert!(secrets.iter().any(|found| found == secret), "{secrets:?}");
        }
    }

    #[test]
    fn variables_of_a_shell_stay() {
        for text in ["API_KEY=$KEY srv", "srv --api-key \"$KEY\"", "sh -c 'srv --api-key ${KEY}'"] {
            assert_eq!(shell(text), (text.to_owned(), Vec::new()));
        }
        assert_eq!(shell("srv --api-key '$ecret'").0, "srv --api-key ***");
    }

    proptest! {
        #[test]
        fn any_text_can_be_scanned(text in any::<String>(), joined in "(api_key|--token|http://|[ :=\"'\\\\@?&é]){0,12}") {
            for syntax in [Syntax::Message, Syntax::Shell] {
                scan(&text, syntax, &mut Vec::new());
                scan(&joined, syntax, &mut Vec::new());
            }
        }

        #[test]
        fn a_text_is_redacted_once(text in "(api_key|--token|http://|x|[ :=\"'\\\\@?&]){0,12}") {
            let once = message(&text);
            prop_assert_eq!(message(&once), once);
        }
    }
}
