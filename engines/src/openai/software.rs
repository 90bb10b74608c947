//! The identification of the server software, by the content of its responses, never by its port or a status.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{Problem, RequestError};
use super::http::{Http, HttpResponse};

/// Servers with special support.
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
    /// Any other server with the same protocol.
    Unknown,
}

impl Software {
    /// Its common name.
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

/// What a server reports about itself.
#[derive(Debug)]
pub(super) struct ServerIdentity {
    pub(super) software: Software,
    pub(super) version: Option<String>,
    /// Names of the models that it lists.
    pub(super) models: Vec<String>,
    pub(super) details: BTreeMap<String, String>,
}

/// Queries the server until its software is known; an error if no server answers, or if it is not ready yet.
pub(super) fn identify(http: &Http) -> Result<ServerIdentity, RequestError> {
    let listed = query(http, "/v1/models")?;
    let list = listed.json();
    let entries = list.as_ref().and_then(|list| list["data"].as_array()).map_or(&[][..], Vec::as_slice);
    let models = entries.iter().filter_map(|entry| Some(entry["id"].as_str()?.to_owned())).collect();
    let mut found = ServerIdentity { software: Software::Unknown, version: None, models, details: BTreeMap::new() };
    let owned_by = |owner: &str| entries.iter().any(|entry| entry["owned_by"] == owner);

    if let Some(props) = object(&query(http, "/props")?, "default_generation_settings") {
        found.software = Software::LlamaServer;
        found.version = text(&props["build_info"]);
        found.detail("model_path", &props["model_path"]);
        found.detail("slots", &props["total_slots"]);
        found.detail("context_length", &props["default_generation_settings"]["n_ctx"]);
        let meta = entries.first().map(|entry| &entry["meta"]);
        for key in ["n_params", "size", "n_ctx_train", "n_vocab"] {
            found.detail(key, meta.map_or(&Value::Null, |meta| &meta[key]));
        }
    } else if let Some(version) = object(&query(http, "/api/version")?, "version") {
        found.software = Software::Ollama;
        found.version = text(&version["version"]);
    } else if let Some(Value::String(node)) = query(http, "/node_id")?.json() {
        found.software = Software::Exo;
        found.details.insert("node_id".to_owned(), node);
    } else if owned_by("vllm") {
        found.software = Software::Vllm;
        found.version = object(&query(http, "/version")?, "version").and_then(|version| text(&version["version"]));
        found.detail("context_length", &entries[0]["max_model_len"]);
        found.detail("model_path", &entries[0]["root"]);
    } else {
        found.identify_by_content(http, entries)?;
    }
    if list.is_none() && found.software == Software::Unknown {
        let problem = match listed.is_success() {
            true => Problem::Unexpected(
                "expected a list of models, found something else: this is not an OpenAI-compatible server".to_owned(),
            ),
            false => Problem::Status { status: listed.status, message: listed.message() },
        };
        return Err(RequestError::new(&http.place("GET", "/v1/models"), problem));
    }
    Ok(found)
}

/// Sends a query. Status 503 means that the model is not loaded yet, even if llama-server lists it already.
fn query(http: &Http, path: &str) -> Result<HttpResponse, RequestError> {
    let response = http.get(path)?;
    if response.status != 503 {
        return Ok(response);
    }
    let problem = Problem::Status { status: response.status, message: response.message() };
    Err(RequestError::new(&http.place("GET", path), problem))
}

impl ServerIdentity {
    /// Identifies servers without an endpoint of their own.
    fn identify_by_content(&mut self, http: &Http, entries: &[Value]) -> Result<(), RequestError> {
        let health = query(http, "/health")?;
        let is_bare = entries.iter().all(|entry| entry.get("owned_by").is_none());
        if is_bare && health.text.contains("<title>tinygrad") {
            self.software = Software::Tinygrad;
        } else if is_bare && health.json().is_some_and(|health| health["status"] == "ok") {
            self.software = Software::MlxLm;
        } else if let Some(api) = object(&query(http, "/openapi.json")?, "info")
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

/// The response as JSON, if it is an object with this key: other servers answer the path in another way, or not at all.
fn object(response: &HttpResponse, key: &str) -> Option<Value> {
    response.json().filter(|document| document.get(key).is_some())
}

/// A text that is not empty; an absent one is not reported.
fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
