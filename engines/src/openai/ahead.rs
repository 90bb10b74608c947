//! What a server does before its model begins, asked for alone: its chat template and its tokens, where it has a question for
//! that, and a question that costs it nothing. How long that takes is for the caller to say.

use serde_json::{Value, json};

use super::failure::{Failure, Problem, quote};
use super::http::Http;
use super::settings::Settings;
use super::software::Software;
use crate::{Ahead, Given, Prompt};

/// One small question.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    path: &'static str,
    /// What is sent; `None` = it is only asked for.
    body: Option<Value>,
    wanted: Wanted,
}

/// What is taken of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// That there is one.
    Nothing,
    /// The text under this key.
    Text(&'static str),
    /// The token ids under this key.
    Tokens(&'static str),
}

impl Question {
    /// The question of this server for this part; `None` where it has none, or the prompt does not need it.
    pub(super) fn new(
        software: Software,
        model: &str,
        settings: &Settings,
        part: Ahead,
        prompt: &Prompt,
    ) -> Option<Self> {
        let ask = |path, body, wanted| Some(Self { path, body: Some(body), wanted });
        match (part, prompt) {
            (Ahead::RoundTrip, _) => Some(Self { path: idle(software), body: None, wanted: Wanted::Nothing }),
            (Ahead::Template, Prompt::Text { messages, .. }) if !messages.is_empty() => {
                if software != Software::LlamaServer {
                    return None;
                }
                let message =
                    |message: &models::chat::Message| json!({"role": message.role, "content": message.content});
                let mut body = settings.body.clone();
                body.entry("messages").or_insert_with(|| messages.iter().map(message).collect());
                ask("/apply-template", Value::Object(body), Wanted::Text("prompt"))
            }
            (Ahead::Tokenize, Prompt::Text { text, messages, .. }) => match software {
                // As it does for a request: it puts the BOS in front itself where the model wants one.
                Software::LlamaServer => ask(
                    "/tokenize",
                    json!({"content": text, "add_special": true, "parse_special": true}),
                    Wanted::Tokens("tokens"),
                ),
                Software::LlamaCppPython => ask("/extras/tokenize", json!({"input": text}), Wanted::Tokens("tokens")),
                // A template brings its special tokens along.
                Software::Vllm => ask(
                    "/tokenize",
                    json!({"model": model, "prompt": text, "add_special_tokens": messages.is_empty()}),
                    Wanted::Tokens("tokens"),
                ),
                _ => None,
            },
            _ => None,
        }
    }

    /// Asks, and takes what is wanted.
    pub(super) fn ask(&self, http: &Http) -> Result<Given, Failure> {
        let (method, answer) = match &self.body {
            Some(body) => ("POST", http.post(self.path, body)?),
            None => ("GET", http.get(self.path)?),
        };
        let failed = |problem| Failure::new(&http.place(method, self.path), problem);
        if !answer.is_success() {
            return Err(failed(Problem::Status { status: answer.status, message: answer.message() }));
        }
        let document = answer.json().unwrap_or(Value::Null);
        let given = match self.wanted {
            Wanted::Nothing => Some(Given::Nothing),
            Wanted::Text(key) => document[key].as_str().map(|text| Given::Text(text.to_owned())),
            Wanted::Tokens(key) => {
                document[key].as_array().and_then(|ids| ids.iter().map(id).collect()).map(Given::Tokens)
            }
        };
        given.ok_or_else(|| {
            let (what, key) = match self.wanted {
                Wanted::Tokens(key) => ("token ids", key),
                Wanted::Text(key) => ("a text", key),
                Wanted::Nothing => ("an answer", ""),
            };
            failed(Problem::Broken(format!("expected {what} under `{key}`, found `{}`", quote(&answer.text))))
        })
    }
}

/// What each server answers without looking anything up: mlx_lm.server reads the hub's whole cache for a list of models.
const fn idle(software: Software) -> &'static str {
    match software {
        Software::LlamaServer | Software::MlxLm | Software::Vllm => "/health",
        Software::Ollama => "/api/version",
        Software::Exo => "/node_id",
        Software::Tinygrad | Software::LlamaCppPython | Software::Unknown => "/v1/models",
    }
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use models::chat::Message;

    use super::*;

    const ALL: [Software; 8] = [
        Software::LlamaServer,
        Software::Ollama,
        Software::Exo,
        Software::Tinygrad,
        Software::MlxLm,
        Software::Vllm,
        Software::LlamaCppPython,
        Software::Unknown,
    ];

    fn text(messages: &[(&str, &str)]) -> Prompt {
        let messages = messages.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        Prompt::Text { text: "rendered".to_owned(), add_bos: false, messages }
    }

    fn shown(software: Software, part: Ahead, prompt: &Prompt) -> String {
        let Some(question) = Question::new(software, "m", &Settings::default(), part, prompt) else {
            return "-".to_owned();
        };
        format!("{} {}", question.path, question.body.unwrap_or_default())
    }

    #[test]
    fn each_server_is_asked_what_it_offers() {
        let chat = text(&[("user", "hi")]);
        let line = |software: Software| {
            let parts = [Ahead::RoundTrip, Ahead::Template, Ahead::Tokenize];
            format!("{}: {}", software.name(), parts.map(|part| shown(software, part, &chat)).join(", "))
        };
        insta::assert_snapshot!(ALL.map(line).join("\n"), @r#"
        llama-server: /health null, /apply-template {"messages":[{"role":"user","content":"hi"}]}, /tokenize {"content":"rendered","add_special":true,"parse_special":true}
        ollama: /api/version null, -, -
        exo: /node_id null, -, -
        tinygrad: /v1/models null, -, -
        mlx_lm.server: /health null, -, -
        vllm: /health null, -, /tokenize {"model":"m","prompt":"rendered","add_special_tokens":false}
        llama-cpp-python: /v1/models null, -, /extras/tokenize {"input":"rendered"}
        unknown: /v1/models null, -, -
        "#);
    }

    #[test]
    fn only_text_is_rendered_and_tokenized() {
        let raw = text(&[]);
        assert_eq!(shown(Software::LlamaServer, Ahead::Template, &raw), "-", "it goes in as it is");
        assert!(shown(Software::Vllm, Ahead::Tokenize, &raw).contains(r#""add_special_tokens":true"#));
        let ids = Prompt::Tokens(vec![1]);
        for part in [Ahead::Template, Ahead::Tokenize] {
            assert_eq!(shown(Software::LlamaServer, part, &ids), "-");
        }
    }
}
