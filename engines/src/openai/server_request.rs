//! The request to a server: path and body, with the options that each server has.

use serde_json::{Map, Value, json};

use super::NAME;
use super::nonce::{self, NoncePlace};
use super::refused_fields::RefusedFields;
use super::settings::{Bench, Cache, Settings, merge};
use super::software::Software;
use super::sse::Framing;
use crate::{CacheBypass, EngineError, Prompt, Request};

/// One request as it is sent.
#[derive(Debug)]
pub(super) struct ServerRequest {
    pub(super) path: &'static str,
    pub(super) body: Value,
    pub(super) framing: Framing,
    /// The text in front of the prompt that bypasses the prefix cache.
    pub(super) nonce: Option<String>,
    /// How it bypasses the prefix cache.
    pub(super) bypass: CacheBypass,
}

/// The field of a request that bypasses a server's prefix cache, and whether its value does.
type Switch = (&'static str, fn(Option<&Value>) -> bool);

/// The switch of a server. That of vLLM is a salt, which makes the cached blocks of a request its own.
fn switch(software: Software) -> Option<Switch> {
    match software {
        Software::LlamaServer => Some(("cache_prompt", |value| value == Some(&json!(false)))),
        Software::Vllm => Some(("cache_salt", |value| value.is_some_and(|value| !value.is_null()))),
        _ => None,
    }
}

/// How a server's prefix cache is bypassed. A switch that the server refuses is none.
pub(super) fn cache_bypass(software: Software, settings: &Settings, refused: &RefusedFields) -> CacheBypass {
    let has_switch = switch(software).is_some_and(|(field, _)| !refused.contains(field))
        || software == Software::Exo && settings.bench == Bench::On;
    match settings.cache {
        Cache::Keep => CacheBypass::None,
        Cache::Auto if has_switch => CacheBypass::Switch,
        Cache::Auto | Cache::Nonce => CacheBypass::Nonce,
    }
}

impl ServerRequest {
    /// # Errors
    /// When the server accepts no such prompt.
    pub(super) fn new(
        software: Software,
        model: &str,
        settings: &Settings,
        refused: &RefusedFields,
        request: &Request,
        place: NoncePlace,
    ) -> Result<Self, EngineError> {
        if request.max_new_tokens == 0 {
            return Err(unsupported(software, "a request for no new tokens", "request at least one"));
        }
        // Token ids take no digits.
        let bypass = match (cache_bypass(software, settings, refused), &request.prompt) {
            (CacheBypass::Nonce, Prompt::Tokens(_)) if software == Software::Vllm => CacheBypass::Switch,
            (CacheBypass::Nonce, Prompt::Tokens(_)) => CacheBypass::None,
            (bypass, _) => bypass,
        };
        let nonce = (bypass == CacheBypass::Nonce).then(nonce::line);
        let (path, mut body) = prompt(software, settings, request, nonce.as_deref().unwrap_or_default(), place)?;
        let framing = if software == Software::Ollama { Framing::Lines } else { Framing::Events };
        body.insert("model".to_owned(), json!(model));
        body.insert("stream".to_owned(), json!(true));
        limits(software, request, &mut body);
        match software {
            Software::LlamaServer => {
                body.insert("cache_prompt".to_owned(), json!(bypass != CacheBypass::Switch));
                body.insert("return_progress".to_owned(), json!(true));
            }
            Software::Vllm if bypass == CacheBypass::Switch => {
                body.insert("cache_salt".to_owned(), json!(nonce::line().trim_end()));
            }
            Software::Exo if path.starts_with("/bench") && bypass == CacheBypass::None => {
                body.insert("use_prefix_cache".to_owned(), json!(true));
            }
            _ => {}
        }
        refused.leave_out(&mut body);
        merge(&mut body, &settings.body);
        let bypass =
            if switch(software).is_some_and(|(field, on)| bypass == CacheBypass::Switch && !on(body.get(field))) {
                // The settings remove the switch, or turn it off.
                CacheBypass::None
            } else {
                bypass
            };
        Ok(Self { path, body: Value::Object(body), framing, nonce, bypass })
    }
}

/// The path, and the fields of the prompt.
fn prompt(
    software: Software,
    settings: &Settings,
    request: &Request,
    nonce: &str,
    place: NoncePlace,
) -> Result<(&'static str, Map<String, Value>), EngineError> {
    let object = |fields: Value| match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    match &request.prompt {
        Prompt::Text { messages, .. } if !messages.is_empty() => {
            let bench = settings.bench == Bench::On || settings.bench == Bench::Auto && request.ignore_eos;
            let path = match software {
                Software::Exo if bench => "/bench/chat/completions",
                Software::Ollama => "/api/chat",
                _ => "/v1/chat/completions",
            };
            let message = |message: &models::chat::Message| json!({"role": message.role, "content": message.content});
            let messages: Vec<Value> = nonce::before(nonce, place, messages).iter().map(message).collect();
            Ok((path, object(json!({"messages": messages}))))
        }
        Prompt::Text { text, .. } => {
            let text = format!("{nonce}{text}");
            match software {
                Software::LlamaServer => Ok(("/completion", object(json!({"prompt": text, "return_tokens": true})))),
                Software::Ollama => Ok(("/api/generate", object(json!({"prompt": text, "raw": true})))),
                Software::Exo | Software::Tinygrad => Err(unsupported(
                    software,
                    "a prompt without its chat template",
                    "use the chat template, or another server: llama-server, mlx_lm.server, ollama or vllm",
                )),
                _ => Ok(("/v1/completions", object(json!({"prompt": text})))),
            }
        }
        Prompt::Tokens(ids) if ids.is_empty() => Err(EngineError::EmptyPrompt),
        Prompt::Tokens(ids) => match software {
            Software::LlamaServer => Ok(("/completion", object(json!({"prompt": ids, "return_tokens": true})))),
            Software::Vllm | Software::Sglang => Ok(("/v1/completions", object(json!({"prompt": ids})))),
            _ => Err(unsupported(
                software,
                "a prompt of token ids",
                "give text, or use another server: llama-server or vllm",
            )),
        },
    }
}

/// Temperature 0, the length, and the figures that the server is to report.
fn limits(software: Software, request: &Request, body: &mut Map<String, Value>) {
    let length = request.max_new_tokens;
    if software == Software::Ollama {
        body.insert("options".to_owned(), json!({"temperature": 0, "num_predict": length}));
        return;
    }
    body.insert("temperature".to_owned(), json!(0));
    body.insert("max_tokens".to_owned(), json!(length));
    if software == Software::LlamaServer {
        body.insert("n_predict".to_owned(), json!(length));
    }
    if matches!(software, Software::LlamaServer | Software::Sglang | Software::TensorRtLlm | Software::Vllm) {
        body.insert("ignore_eos".to_owned(), json!(request.ignore_eos));
    }
    // A running count of tokens with every piece, from servers that are known to accept the question.
    let stream_options = match software {
        Software::Vllm => json!({"include_usage": true, "continuous_usage_stats": true}),
        _ => json!({"include_usage": true}),
    };
    body.insert("stream_options".to_owned(), stream_options);
    if software == Software::LlamaServer {
        body.insert("timings_per_token".to_owned(), json!(true));
    }
}

fn unsupported(software: Software, what: &str, advice: &str) -> EngineError {
    EngineError::unsupported(NAME, format!("{what} with {}", software.name()), advice)
}

#[cfg(test)]
mod tests {
    use models::chat::Message;

    use super::*;
    use crate::Advice;

    fn text(messages: &[(&str, &str)]) -> Prompt {
        let messages = messages.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        Prompt::Text { text: "rendered".to_owned(), add_bos: false, messages }
    }

    fn call(
        software: Software,
        settings: &Settings,
        prompt: Prompt,
        ignore_eos: bool,
    ) -> Result<ServerRequest, EngineError> {
        let request = Request { prompt, max_new_tokens: 8, ignore_eos };
        ServerRequest::new(software, "m", settings, &RefusedFields::default(), &request, NoncePlace::System)
    }

    #[test]
    fn a_chat_has_the_path_and_the_options_of_each_server() {
        let body = |software| {
            let call = call(software, &Settings::default(), text(&[("user", "hi")]), true).expect("a chat");
            let shown = call.body.to_string().replace(call.nonce.as_deref().unwrap_or("-").trim_end(), "NONCE");
            let salt = call.body["cache_salt"].as_str().unwrap_or("-");
            let shown = if salt == "-" { shown } else { shown.replace(salt, "SALT") };
            format!("{} {shown}", call.path)
        };
        insta::assert_snapshot!(body(Software::LlamaServer), @r#"/v1/chat/completions {"messages":[{"role":"user","content":"hi"}],"model":"m","stream":true,"temperature":0,"max_tokens":8,"n_predict":8,"ignore_eos":true,"stream_options":{"include_usage":true},"timings_per_token":true,"cache_prompt":false,"return_progress":true}"#);
        insta::assert_snapshot!(body(Software::Exo), @r#"/bench/chat/completions {"messages":[{"role":"system","content":"NONCE"},{"role":"user","content":"hi"}],"model":"m","stream":true,"temperature":0,"max_tokens":8,"stream_options":{"include_usage":true}}"#);
        insta::assert_snapshot!(body(Software::MlxLm), @r#"/v1/chat/completions {"messages":[{"role":"system","content":"NONCE"},{"role":"user","content":"hi"}],"model":"m","stream":true,"temperature":0,"max_tokens":8,"stream_options":{"include_usage":true}}"#);
        insta::assert_snapshot!(body(Software::Vllm), @r#"/v1/chat/completions {"messages":[{"role":"user","content":"hi"}],"model":"m","stream":true,"temperature":0,"max_tokens":8,"ignore_eos":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"cache_salt":"SALT"}"#);
        insta::assert_snapshot!(body(Software::Ollama), @r#"/api/chat {"messages":[{"role":"system","content":"NONCE"},{"role":"user","content":"hi"}],"model":"m","stream":true,"options":{"temperature":0,"num_predict":8}}"#);
    }

    #[test]
    fn plain_text_and_ids_have_the_paths_that_accept_them() {
        let settings = Settings::default();
        let path = |software, prompt| call(software, &settings, prompt, false).map(|call| call.path);
        let ids = || Prompt::Tokens(vec![1, 2]);
        assert_eq!(path(Software::LlamaServer, text(&[])).ok(), Some("/completion"));
        assert_eq!(path(Software::LlamaServer, ids()).ok(), Some("/completion"));
        assert_eq!(path(Software::Vllm, ids()).ok(), Some("/v1/completions"));
        assert_eq!(path(Software::Unknown, text(&[])).ok(), Some("/v1/completions"));
        assert_eq!(path(Software::Ollama, text(&[])).ok(), Some("/api/generate"));
        insta::assert_snapshot!(path(Software::Tinygrad, text(&[])).unwrap_err().with_advice(), @"engine openai does not support a prompt without its chat template with tinygrad; use the chat template, or another server: llama-server, mlx_lm.server, ollama or vllm");
        insta::assert_snapshot!(path(Software::Exo, ids()).unwrap_err().with_advice(), @"engine openai does not support a prompt of token ids with exo; give text, or use another server: llama-server or vllm");
        assert!(matches!(path(Software::Vllm, Prompt::Tokens(Vec::new())), Err(EngineError::EmptyPrompt)));
    }

    #[test]
    fn settings_change_what_is_sent() {
        let keep = Settings { cache: Cache::Keep, ..Settings::default() };
        let kept = call(Software::LlamaServer, &keep, text(&[("user", "hi")]), false).expect("a chat");
        assert_eq!((&kept.body["cache_prompt"], kept.nonce), (&json!(true), None));
        let nonce = Settings { cache: Cache::Nonce, ..Settings::default() };
        assert!(call(Software::LlamaServer, &nonce, text(&[("user", "hi")]), false).expect("a chat").nonce.is_some());
        let ids = call(Software::Vllm, &nonce, Prompt::Tokens(vec![1]), false).expect("ids");
        assert_eq!((ids.bypass, ids.nonce, ids.body["cache_salt"].is_string()), (CacheBypass::Switch, None, true));
        let body = serde_json::from_str(r#"{"seed": 7, "temperature": 0.1}"#).expect("an object");
        let with = Settings { body, ..Settings::default() };
        let with = call(Software::Unknown, &with, text(&[("user", "hi")]), false).expect("a chat").body;
        assert_eq!((&with["seed"], &with["temperature"]), (&json!(7), &json!(0.1)));
        assert_eq!(
            cache_bypass(
                Software::Exo,
                &Settings { bench: Bench::On, ..Settings::default() },
                &RefusedFields::default()
            ),
            CacheBypass::Switch
        );
    }
}
