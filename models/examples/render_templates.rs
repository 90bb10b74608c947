//! Renders chat templates: JSON lines in, JSON lines out. `.ci/templates` compares the output with that of jinja2.
//!
//! In: `{"template", "messages": [{"role", "content"}], "add_generation_prompt", "tokens": {"bos_token": "<s>"}, "date": [y, m, d]}`.
//! Out: `{"ok": text}` or `{"err": message}`.

use std::io::{BufRead, Write};

use models::chat::{ChatTemplate, Date, Message, RenderOptions, SpecialToken};
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
struct Request {
    template: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    tokens: serde_json::Map<String, Value>,
    date: (u16, u8, u8),
}

fn render(line: &str) -> Result<String, Box<dyn std::error::Error>> {
    let Request { template, messages, add_generation_prompt, tokens, date: (year, month, day) } =
        serde_json::from_str(line)?;
    let token = |(name, text): (&String, &Value)| Some(SpecialToken::new(name, text.as_str()?));
    let tokens: Vec<_> = tokens.iter().filter_map(token).collect();
    let date = Date::new(year, month, day).ok_or("no such date")?;
    Ok(ChatTemplate::new(&template, &tokens)?.render(&messages, RenderOptions { add_generation_prompt, date })?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match render(&line?) {
            Ok(text) => json!({ "ok": text }),
            Err(error) => json!({ "err": error.to_string() }),
        };
        writeln!(output, "{answer}")?;
    }
    Ok(())
}
