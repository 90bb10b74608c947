//! The steps that a server runs before the model, each measured by a separate query: chat template and tokenizer, if the server
//! has an endpoint for them, and a round trip. The caller times them.

use serde_json::{Map, Value, json};

use super::error::{Problem, RequestError, quote};
use super::http::Http;
use super::settings::{Settings, merge};
use super::software::Software;
use crate::{PreprocessingOutput, PreprocessingStep, Prompt};

/// A query for one step.
#[derive(Debug, PartialEq)]
pub(super) struct Query {
    path: &'static str,
    /// The body of a POST request; `None` = a GET request.
    body: Option<Value>,
    expected: Expected,
}

/// The expected content of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Any response.
    Anything,
    /// A text under these keys, each below the one before.
    Text(&'static str),
    /// Token ids under this key.
    Tokens(&'static str),
}

impl Query {
    /// The query for a step; `None` if the server has no endpoint for it, or the prompt does not need the step.
    pub(super) fn new(
        software: Software,
        model: &str,
        settings: &Settings,
        part: PreprocessingStep,
        prompt: &Prompt,
    ) -> Option<Self> {
        let post = |path, body, expected| Some(Self { path, body: Some(body), expected });
        let message = |message: &models::chat::Message| json!({"role": message.role, "content": message.content});
        match (part, prompt) {
            (PreprocessingStep::RoundTrip, _) => {
                Some(Self { path: cheapest_path(software), body: None, expected: Expected::Anything })
            }
            (PreprocessingStep::Template, Prompt::Text { messages, .. }) if !messages.is_empty() => {
                let mut body = Map::new();
                body.insert("messages".to_owned(), messages.iter().map(message).collect());
                let (path, expected) = match software {
                    Software::LlamaServer => ("/apply-template", Expected::Text("prompt")),
                    Software::Ollama => {
                        // A version that does not know the last field answers with one token.
                        let more =
                            [("model", json!(model)), ("stream", json!(false)), ("options", json!({"num_predict": 1}))];
                        body.extend(more.map(|(name, value)| (name.to_owned(), value)));
                        body.insert("_debug_render_only".to_owned(), json!(true));
                        ("/api/chat", Expected::Text("_debug_info/rendered_template"))
                    }
                    _ => return None,
                };
                merge(&mut body, &settings.body);
                post(path, Value::Object(body), expected)
            }
            (PreprocessingStep::Tokenize, Prompt::Text { text, messages, .. }) => match software {
                // As for a request: the server adds the BOS token itself if the model has one.
                Software::LlamaServer => post(
                    "/tokenize",
                    json!({"content": text, "add_special": true, "parse_special": true}),
                    Expected::Tokens("tokens"),
                ),
                Software::LlamaCppPython => {
                    post("/extras/tokenize", json!({"input": text}), Expected::Tokens("tokens"))
                }
                // The output of a template contains its special tokens.
                Software::Vllm => post(
                    "/tokenize",
                    json!({"model": model, "prompt": text, "add_special_tokens": messages.is_empty()}),
                    Expected::Tokens("tokens"),
                ),
                // The others have none, or one of another form.
                _ => None,
            },
            (PreprocessingStep::TokenizeChat, Prompt::Text { messages, .. })
                if !messages.is_empty() && software == Software::Vllm =>
            {
                let mut body = Map::new();
                body.insert("model".to_owned(), json!(model));
                body.insert("messages".to_owned(), messages.iter().map(message).collect());
                merge(&mut body, &settings.body);
                post("/tokenize", Value::Object(body), Expected::Tokens("tokens"))
            }
            (PreprocessingStep::Template | PreprocessingStep::TokenizeChat, Prompt::Text { .. })
            | (
                PreprocessingStep::Template | PreprocessingStep::Tokenize | PreprocessingStep::TokenizeChat,
                Prompt::Tokens(_),
            ) => None,
        }
    }

    /// Sends the query and returns the expected content.
    pub(super) fn send(&self, http: &Http) -> Result<PreprocessingOutput, RequestError> {
        let (method, response) = match &self.body {
            Some(body) => ("POST", http.post(self.path, body)?),
            None => ("GET", http.get(self.path)?),
        };
        let failed = |problem| RequestError::new(&http.place(method, self.path), problem);
        if !response.is_success() {
            return Err(failed(response.problem()));
        }
        let unexpected = |what: &str, key: &str| {
            failed(Problem::Unexpected(format!("expected {what} under `{key}`, found `{}`", quote(&response.text))))
        };
        // A body that is not JSON has no key, and is reported by the same error.
        let document = response.json().unwrap_or(Value::Null);
        match self.expected {
            Expected::Anything => Ok(PreprocessingOutput::None),
            Expected::Text(key) => document
                .pointer(&format!("/{key}"))
                .and_then(Value::as_str)
                .map(|text| PreprocessingOutput::Text(text.to_owned()))
                .ok_or_else(|| unexpected("a text", key)),
            Expected::Tokens(key) => {
                let ids = document[key].as_array().and_then(|ids| ids.iter().map(token_id).collect());
                ids.map(PreprocessingOutput::Tokens).ok_or_else(|| unexpected("token ids", key))
            }
        }
    }
}

/// A path that each server answers without work. For a list of models, mlx_lm.server would read the whole hub cache.
const fn cheapest_path(software: Software) -> &'static str {
    match software {
        Software::LlamaServer
        | Software::MistralRs
        | Software::MlxLm
        | Software::Tgi
        | Software::Transformers
        | Software::Vllm => "/health",
        Software::Ollama | Software::KoboldCpp => "/api/version",
        Software::LocalAi | Software::TensorRtLlm => "/version",
        Software::Exo => "/node_id",
        // The health of SGLang is a generation.
        Software::Sglang | Software::LmStudio | Software::Tinygrad | Software::LlamaCppPython | Software::Unknown => {
            "/v1/models"
        }
    }
}

fn token_id(value: &Value) -> Option<u32> {
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

    fn shown(software: Software, part: PreprocessingStep, prompt: &Prompt) -> String {
        let Some(query) = Query::new(software, "m", &Settings::default(), part, prompt) else {
            return "-".to_owned();
        };
        format!("{} {}", query.path, query.body.unwrap_or_default())
    }

    #[test]
    fn each_server_gets_the_queries_that_it_has_endpoints_for() {
        let chat = text(&[("user", "hi")]);
        let line = |software: Software| {
            let parts = [PreprocessingStep::RoundTrip, PreprocessingStep::Template, PreprocessingStep::Tokenize];
            format!("{}: {}", software.name(), parts.map(|part| shown(software, part, &chat)).join(", "))
        };
        insta::assert_snapshot!(ALL.map(line).join("\n"), @r#"
        llama-server: /health null, /apply-template {"messages":[{"role":"user","content":"hi"}]}, /tokenize {"content":"rendered","add_special":true,"parse_special":true}
        ollama: /api/version null, /api/chat {"messages":[{"role":"user","content":"hi"}],"model":"m","stream":false,"options":{"num_predict":1},"_debug_render_only":true}, -
        exo: /node_id null, -, -
        tinygrad: /v1/models null, -, -
        mlx_lm.server: /health null, -, -
        vllm: /health null, -, /tokenize {"model":"m","prompt":"rendered","add_special_tokens":false}
        llama-cpp-python: /v1/models null, -, /extras/tokenize {"input":"rendered"}
        unknown: /v1/models null, -, -
        "#);
    }

    #[test]
    fn a_chat_is_tokenized_by_the_server_that_takes_messages() {
        let chat = text(&[("user", "hi")]);
        let of = |software: Software, prompt: &Prompt| shown(software, PreprocessingStep::TokenizeChat, prompt);
        assert_eq!(of(Software::Vllm, &chat), r#"/tokenize {"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
        assert_eq!(
            (of(Software::LlamaServer, &chat), of(Software::Vllm, &text(&[]))),
            ("-".to_owned(), "-".to_owned())
        );
    }

    #[test]
    fn only_text_is_rendered_and_tokenized() {
        let raw = text(&[]);
        assert_eq!(
            shown(Software::LlamaServer, PreprocessingStep::Template, &raw),
            "-",
            "plain text needs no template"
        );
        assert!(shown(Software::Vllm, PreprocessingStep::Tokenize, &raw).contains(r#""add_special_tokens":true"#));
        let ids = Prompt::Tokens(vec![1]);
        for part in [PreprocessingStep::Template, PreprocessingStep::Tokenize, PreprocessingStep::TokenizeChat] {
            assert_eq!(shown(Software::LlamaServer, part, &ids), "-");
        }
    }
}
