//! Which server answers: told by what it says, never by its port or by a status.

use std::collections::BTreeMap;

use serde_json::Value;

use super::failure::{Failure, Problem};
use super::http::{Answer, Http};

/// Servers whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Software {
    /// llama.cpp's own server.
    LlamaServer,
    /// ollama.
    Ollama,
    /// exo, one node of a cluster.
    Exo,
    /// tinygrad's `tinygrad.llm`.
    Tinygrad,
    /// `mlx_lm.server`.
    MlxLm,
    /// vLLM.
    Vllm,
    /// The server of the Python package llama-cpp-python.
    LlamaCppPython,
    /// Something else that speaks the same protocol.
    Unknown,
}

impl Software {
    /// As its users call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::LlamaServer => "llama-server",
            Self::Ollama => "ollama",
            Self::Exo => "exo",
            Self::Tinygrad => "tinygrad",
            Self::MlxLm => "mlx_lm.server",
            Self::Vllm => "vllm",
            Self::LlamaCppPython => "llama-cpp-python",
            Self::Unknown => "unknown",
        }
    }
}

/// What a server says of itself.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) software: Software,
    pub(super) version: Option<String>,
    /// Names of the models that it lists.
    pub(super) models: Vec<String>,
    pub(super) details: BTreeMap<String, String>,
}

/// Asks until it is clear who answers; an error where nobody does, or where it cannot serve yet.
pub(super) fn identify(http: &Http) -> Result<Found, Failure> {
    let listed = ask(http, "/v1/models")?;
    let list = listed.json();
    let entries = list.as_ref().and_then(|list| list["data"].as_array()).map_or(&[][..], Vec::as_slice);
    let models = entries.iter().filter_map(|entry| Some(entry["id"].as_str()?.to_owned())).collect();
    let mut found = Found { software: Software::Unknown, version: None, models, details: BTreeMap::new() };
    let owned_by = |owner: &str| entries.iter().any(|entry| entry["owned_by"] == owner);

    if let Some(props) = object(ask(http, "/props")?, "default_generation_settings") {
        found.software = Software::LlamaServer;
        found.version = text(&props["build_info"]);
        found.detail("model_path", &props["model_path"]);
        found.detail("slots", &props["total_slots"]);
        found.detail("context_length", &props["default_generation_settings"]["n_ctx"]);
        let meta = entries.first().map(|entry| &entry["meta"]);
        for key in ["n_params", "size", "n_ctx_train", "n_vocab"] {
            found.detail(key, meta.map_or(&Value::Null, |meta| &meta[key]));
        }
    } else if let Some(version) = object(ask(http, "/api/version")?, "version") {
        found.software = Software::Ollama;
        found.version = text(&version["version"]);
    } else if let Some(Value::String(node)) = ask(http, "/node_id")?.json() {
        found.software = Software::Exo;
        found.details.insert("node_id".to_owned(), node);
    } else if owned_by("vllm") {
        found.software = Software::Vllm;
        found.version = object(ask(http, "/version")?, "version").and_then(|version| text(&version["version"]));
        found.detail("context_length", &entries[0]["max_model_len"]);
        found.detail("model_path", &entries[0]["root"]);
    } else {
        found.look_closer(http, entries)?;
    }
    if list.is_none() && found.software == Software::Unknown {
        let problem = match listed.is_success() {
            true => Problem::Broken(
                "expected a list of models, found something else: this is no OpenAI-compatible server".to_owned(),
            ),
            false => Problem::Status { status: listed.status, message: listed.message() },
        };
        return Err(Failure::new(&http.place("GET", "/v1/models"), problem));
    }
    Ok(found)
}

/// A question whose answer 503 means that the model is not loaded yet; llama-server lists it all the same by then.
fn ask(http: &Http, path: &str) -> Result<Answer, Failure> {
    let answer = http.get(path)?;
    if answer.status != 503 {
        return Ok(answer);
    }
    let problem = Problem::Status { status: answer.status, message: answer.message() };
    Err(Failure::new(&http.place("GET", path), problem))
}

impl Found {
    /// Servers that have no question of their own.
    fn look_closer(&mut self, http: &Http, entries: &[Value]) -> Result<(), Failure> {
        let health = ask(http, "/health")?;
        let is_bare = entries.iter().all(|entry| entry.get("owned_by").is_none());
        if is_bare && health.text.contains("<title>tinygrad") {
            self.software = Software::Tinygrad;
        } else if is_bare && health.json().is_some_and(|health| health["status"] == "ok") {
            self.software = Software::MlxLm;
        } else if let Some(api) = object(ask(http, "/openapi.json")?, "info")
            && api["info"]["title"].as_str().is_some_and(|title| title.contains("llama.cpp Python"))
        {
            self.software = Software::LlamaCppPython;
            self.version = text(&api["info"]["version"]);
        }
        Ok(())
    }

    fn detail(&mut self, key: &str, value: &Value) {
        let value = match value {
            Value::Null => return,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.details.insert(key.to_owned(), value);
    }
}

/// The answer, where it is an object with this key.
fn object(answer: Answer, key: &str) -> Option<Value> {
    let Answer { status, text } = answer;
    Answer { status, text }.json().filter(|document| document.get(key).is_some())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
