//! Records as JSON: a list, one object per line, or objects anywhere in a text. A record is an object that contains no other object.

use serde_json::{Map, Value};

use super::found::{Found, Record, is_record};

/// Words that only a record of llama-bench has, for one that has no end.
const SIGNS: &[&str] = &["\"n_prompt\"", "\"model_filename\"", "\"build_commit\""];

/// The records of a text.
pub(super) fn find(text: &str) -> Found {
    let text = text_input::with_null_for_not_a_number(text);
    let mut found = Found::default();
    // The byte and the line at which the innermost object begins.
    let mut start: Option<(usize, usize)> = None;
    let (mut in_string, mut escaped, mut line) = (false, false, 1);
    // The text between objects, which belongs to no record.
    let mut between = String::new();
    for (at, character) in text.char_indices() {
        if character == '\n' {
            line += 1;
        }
        if in_string {
            match character {
                // A string ends on its line: the record is truncated.
                '\n' => {
                    truncated(&text, start.take(), at, &mut found);
                    in_string = false;
                }
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match (character, start) {
            ('{', before) => {
                truncated(&text, before, at, &mut found);
                start = Some((at, line));
            }
            ('}', Some((begin, first_line))) => {
                start = None;
                match serde_json::from_str::<Map<String, Value>>(&text[begin..=at]) {
                    Ok(fields) if is_record(&fields) => found.records.push(Record { line: first_line, fields }),
                    _ => {}
                }
            }
            ('"', Some(_)) => in_string = true,
            (_, None) => between.push(character),
            _ => {}
        }
    }
    truncated(&text, start, text.len(), &mut found);
    if !found.records.is_empty() {
        let is_bracket = |line: &str| line.chars().all(|c| c.is_whitespace() || "[],}".contains(c));
        between.lines().filter(|line| !is_bracket(line)).for_each(|line| found.other(line));
    }
    found
}

/// Notes an object that was begun at `start` and has no end before `end`, if it is a record.
fn truncated(text: &str, start: Option<(usize, usize)>, end: usize, found: &mut Found) {
    if let Some((begin, line)) = start
        && SIGNS.iter().any(|sign| text[begin..end].contains(sign))
    {
        found.truncated.push(line);
    }
}
