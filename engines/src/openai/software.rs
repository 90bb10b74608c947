//! The identification of the server software, by the content of its responses, never by its port or a status.
//!
//! Each line of [`RULES`] names what a server answers that no other one does. Where no line matches, the software is unknown.

use std::collections::BTreeMap;

use serde_json::Value;

use super::address::V1;
use super::answers::{Answer, Answers, LIST};
use super::error::{Problem, RequestError};
use super::http::{Http, HttpResponse};
use crate::{Reason, ServerInfo, ServerReport};

/// Servers with special support, or with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Software {
    /// exo, one node of a cluster.
    Exo,
    /// KoboldCpp.
    KoboldCpp,
    /// The server of the Python package llama-cpp-python.
    LlamaCppPython,
    /// llama.cpp's own server.
    LlamaServer,
    /// LM Studio.
    LmStudio,
    /// LocalAI.
    LocalAi,
    /// mistral.rs.
    MistralRs,
    /// `mlx_lm.server`.
    MlxLm,
    /// ollama.
    Ollama,
    /// SGLang.
    Sglang,
    /// TensorRT-LLM's `trtllm-serve`.
    TensorRtLlm,
    /// Text Generation Inference.
    Tgi,
    /// tinygrad's `tinygrad.llm`.
    Tinygrad,
    /// `transformers serve`.
    Transformers,
    /// vLLM.
    Vllm,
    /// Any other server with the same protocol.
    Unknown,
}

impl Software {
    /// Its common name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Exo => "exo",
            Self::KoboldCpp => "koboldcpp",
            Self::LlamaCppPython => "llama-cpp-python",
            Self::LlamaServer => "llama-server",
            Self::LmStudio => "lm-studio",
            Self::LocalAi => "localai",
            Self::MistralRs => "mistral.rs",
            Self::MlxLm => "mlx_lm.server",
            Self::Ollama => "ollama",
            Self::Sglang => "sglang",
            Self::TensorRtLlm => "tensorrt-llm",
            Self::Tgi => "text-generation-inference",
            Self::Tinygrad => "tinygrad",
            Self::Transformers => "transformers serve",
            Self::Vllm => "vllm",
            Self::Unknown => "unknown",
        }
    }
}

/// Evidence in one response. A path is that of a GET request; a pointer is that of RFC 6901.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The JSON of this path has a value here that is not `null`.
    Has(&'static str, &'static str),
    /// It has this text here.
    Is(&'static str, &'static str, &'static str),
    /// It has a text here that contains this one.
    Names(&'static str, &'static str, &'static str),
    /// The JSON of this path is one text.
    Text(&'static str),
    /// The response to this path is a page that contains this text.
    Page(&'static str, &'static str),
    /// The response to this path has the status line of HTTP/1.0, as from the server of Python's standard library.
    Http10(&'static str),
}

impl Evidence {
    /// The path whose response it is in.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Has(path, _)
            | Self::Is(path, ..)
            | Self::Names(path, ..)
            | Self::Text(path)
            | Self::Page(path, _)
            | Self::Http10(path) => path,
        }
    }

    fn is_in(self, answers: &Answers) -> bool {
        let text = |path, pointer| answers.json(path).and_then(|json| json.pointer(pointer)?.as_str());
        match self {
            Self::Has(path, pointer) => value(answers, path, pointer).is_some(),
            Self::Is(path, pointer, expected) => text(path, pointer) == Some(expected),
            Self::Names(path, pointer, part) => text(path, pointer).is_some_and(|text| text.contains(part)),
            Self::Text(path) => text(path, "").is_some(),
            Self::Page(path, part) => answers.get(path).is_some_and(|answer| answer.text.contains(part)),
            Self::Http10(path) => answers.get(path).is_some_and(|answer| answer.is_http_10),
        }
    }
}

/// How a server is identified, and what its responses say about it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) software: Software,
    /// All of it has to be there.
    pub(super) evidence: &'static [Evidence],
    /// Paths and pointers of its version; the first one that is there.
    pub(super) version: &'static [(&'static str, &'static str)],
    /// Names, paths and pointers of the details that are recorded.
    pub(super) details: &'static [(&'static str, &'static str, &'static str)],
}

/// A value of each model in the list.
const OWNER: &str = "/data/0/owned_by";
const CONTEXT: (&str, &str, &str) = ("context_length", LIST, "/data/0/max_model_len");
const OPENAPI: &str = "/openapi.json";

use Evidence::{Has, Http10, Is, Names, Page, Text};

/// Every rule; the first one that matches counts. Servers that also imitate another one (KoboldCpp has endpoints of llama-server and
/// ollama, LocalAI those of ollama) come before it.
#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    Rule { software: Software::Vllm, evidence: &[Is(LIST, OWNER, "vllm")], version: &[("/version", "/version")],
        details: &[CONTEXT, ("model_path", LIST, "/data/0/root")] },
    Rule { software: Software::Sglang, evidence: &[Is(LIST, OWNER, "sglang")],
        version: &[("/server_info", "/version"), ("/get_server_info", "/version")],
        details: &[CONTEXT, ("model_path", LIST, "/data/0/root"), ("dtype", "/server_info", "/dtype"), ("quantization", "/server_info", "/quantization")] },
    Rule { software: Software::TensorRtLlm, evidence: &[Is(LIST, OWNER, "tensorrt_llm")], version: &[("/version", "/version")], details: &[] },
    Rule { software: Software::KoboldCpp, evidence: &[Is(LIST, OWNER, "koboldcpp")],
        version: &[("/api/extra/version", "/version")], details: &[("context_length", "/api/extra/true_max_context_length", "/value")] },
    Rule { software: Software::MistralRs, evidence: &[Is(LIST, OWNER, "local"), Is(LIST, "/data/0/id", "default")],
        version: &[], details: &[("build", "/v1/system/info", "/build")] },
    Rule { software: Software::MistralRs, evidence: &[Is("/api-doc/openapi.json", "/info/title", "Mistral.rs")],
        version: &[], details: &[("build", "/v1/system/info", "/build")] },
    Rule { software: Software::LlamaServer, evidence: &[Has("/props", "/default_generation_settings")],
        version: &[("/props", "/build_info")],
        details: &[("model_path", "/props", "/model_path"), ("model_ftype", "/props", "/model_ftype"), ("slots", "/props", "/total_slots"),
            ("context_length", "/props", "/default_generation_settings/n_ctx"), ("n_params", LIST, "/data/0/meta/n_params"),
            ("size", LIST, "/data/0/meta/size"), ("n_ctx_train", LIST, "/data/0/meta/n_ctx_train"), ("n_vocab", LIST, "/data/0/meta/n_vocab")] },
    Rule { software: Software::Exo, evidence: &[Text("/node_id")], version: &[], details: &[("node_id", "/node_id", "")] },
    Rule { software: Software::LmStudio, evidence: &[Has("/api/v0/models", "/data/0/compatibility_type")], version: &[],
        details: &[] },
    Rule { software: Software::Tgi, evidence: &[Has("/info", "/model_id"), Has("/info", "/max_total_tokens")], version: &[("/info", "/version")],
        details: &[("context_length", "/info", "/max_total_tokens"), ("dtype", "/info", "/model_dtype"), ("model_path", "/info", "/model_id")] },
    Rule { software: Software::LocalAi, evidence: &[Has("/system", "/backends"), Has("/system", "/loaded_models")],
        version: &[("/version", "/version")], details: &[] },
    Rule { software: Software::LlamaCppPython, evidence: &[Names(OPENAPI, "/info/title", "llama.cpp Python")],
        version: &[(OPENAPI, "/info/version")], details: &[] },
    // Its interface description is the default one of its library, and only it also answers OPTIONS for the models.
    Rule { software: Software::Transformers, evidence: &[Has(OPENAPI, "/paths/~1v1~1models/options"), Has(OPENAPI, "/paths/~1v1~1responses")],
        version: &[], details: &[] },
    Rule { software: Software::Ollama, evidence: &[Has("/api/version", "/version"), Has("/api/tags", "/models")],
        version: &[("/api/version", "/version")], details: &[] },
    Rule { software: Software::Tinygrad, evidence: &[Http10(LIST), Page("/health", "<title>tinygrad")], version: &[], details: &[] },
    Rule { software: Software::MlxLm, evidence: &[Http10(LIST), Http10("/health"), Is("/health", "/status", "ok")], version: &[], details: &[] },
];

impl Rule {
    fn matches(&self, answers: &Answers) -> bool {
        self.evidence.iter().all(|evidence| evidence.is_in(answers))
    }

    /// The paths that say more about a server of this rule.
    fn further_paths(&self) -> impl Iterator<Item = &'static str> {
        let details = self.details.iter().map(|(_, path, _)| *path);
        self.version.iter().map(|(path, _)| *path).chain(details).chain(["/health"]).filter(|path| *path != LIST)
    }
}

/// What a server reports about itself.
#[derive(Debug)]
pub(super) struct ServerIdentity {
    pub(super) software: Software,
    /// The name of the software, or why it was not recognised.
    pub(super) name: Result<String, Reason>,
    pub(super) version: Result<String, Reason>,
    /// Names of the models that it lists, or of those that are loaded if it says which; or why they are not known.
    pub(super) models: Result<Vec<String>, Reason>,
    pub(super) details: BTreeMap<String, String>,
}

impl ServerIdentity {
    /// The models that are known to be there.
    pub(super) fn listed(&self) -> &[String] {
        self.models.as_deref().unwrap_or_default()
    }
}

/// What is known before a server is identified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The model is named: the list of models is not needed.
    pub(super) model: bool,
    /// The server was started here, and may not listen yet.
    pub(super) is_starting: bool,
}

/// Queries the server until its software is known. An error if no server answers, if it is not ready yet, or if it has no list of models
/// and needs one.
pub(super) fn identify(http: &Http, known: Known) -> Result<ServerIdentity, RequestError> {
    let mut answers = Answers::default();
    let listed = list(http).and_then(|answer| match answer.json.is_some() {
        true => Ok(answer),
        false => {
            let problem = "expected a list of models, found something else: this is not an OpenAI-compatible server";
            Err(RequestError::new(&http.place("GET", LIST), Problem::Unexpected(problem.to_owned())))
        }
    });
    let list_error = match listed {
        Ok(answer) => {
            answers.add_list(answer);
            None
        }
        Err(error) if error.is_about_one_path() && !(known.is_starting && error.is_transient()) => Some(error),
        Err(error) => return Err(error),
    };
    let by_list = |rule: &&Rule| rule.evidence.iter().all(|evidence| evidence.path() == LIST);
    let rule = match RULES.iter().filter(by_list).find(|rule| rule.matches(&answers)) {
        Some(rule) => Some(rule),
        None => {
            answers.query(http, RULES.iter().flat_map(|rule| rule.evidence).map(|evidence| evidence.path()));
            RULES.iter().find(|rule| rule.matches(&answers))
        }
    };
    answers.query(http, rule.into_iter().flat_map(Rule::further_paths));
    if let Some((path, problem)) = answers.loading() {
        return Err(RequestError::new(&http.place("GET", path), problem));
    }
    let listed = models(&answers, rule);
    let models = match list_error {
        // exo has a list of its instances. mlx_lm.server lists the hub cache, which may not exist, and has a default model.
        Some(error)
            if !known.model && rule.is_none_or(|rule| !matches!(rule.software, Software::Exo | Software::MlxLm)) =>
        {
            return Err(error);
        }
        // LM Studio lists the loaded models at another path.
        Some(error) if listed.is_empty() => Err(Reason::new(error.to_string())),
        Some(_) | None => Ok(listed),
    };
    Ok(match rule {
        Some(rule) => ServerIdentity {
            software: rule.software,
            name: Ok(rule.software.name().to_owned()),
            version: version(rule, &answers),
            models,
            details: details(rule, &answers),
        },
        None => ServerIdentity {
            software: Software::Unknown,
            version: Err(Reason::new("its software is not known")),
            name: Err(unknown(&answers)),
            models,
            details: BTreeMap::new(),
        },
    })
}

/// The list of models. Where the given path has no list, it is looked for below `/v1`.
fn list(http: &Http) -> Result<Answer, RequestError> {
    let listed = http.get(LIST);
    let is_list = |response: &HttpResponse| response.json().is_some();
    if !http.address().has_known_api() && !listed.as_ref().is_ok_and(is_list) {
        let below = http.probe_url(&http.address().url_below(V1, LIST));
        if let Ok(found) = below
            && is_list(&found)
        {
            http.address().set_api(V1);
            return Ok(Answer::new(found));
        }
    }
    let response = listed?;
    match response.is_success() {
        true => Ok(Answer::new(response)),
        false => Err(RequestError::new(&http.place("GET", LIST), response.problem())),
    }
}

/// The names of the models: those that are loaded if the server says which, else all.
fn models(answers: &Answers, rule: Option<&Rule>) -> Vec<String> {
    let entries =
        |path: &str| answers.json(path).and_then(|list| list["data"].as_array()).map_or(&[][..], Vec::as_slice);
    let name = |entry: &Value| entry["id"].as_str().map(str::to_owned);
    if rule.is_some_and(|rule| rule.software == Software::LmStudio) {
        let loaded: Vec<String> =
            entries("/api/v0/models").iter().filter(|entry| entry["state"] == "loaded").filter_map(name).collect();
        if !loaded.is_empty() {
            return loaded;
        }
    }
    let mut listed: Vec<String> = entries(LIST).iter().filter_map(name).collect();
    if rule.is_some_and(|rule| rule.software == Software::MistralRs) && listed.len() > 1 {
        // Another name of the model that is listed after it.
        listed.retain(|name| name != "default");
    }
    listed
}

/// Why the software is not known: what was asked, and what was answered.
fn unknown(answers: &Answers) -> Reason {
    let answered: Vec<String> = answers.reasons.iter().map(|(path, reason)| format!("{path}: {reason}")).collect();
    let answered = super::error::quote(&answered.join(", "));
    Reason::new(format!("none of its answers are those of a known server ({answered})"))
}

/// The version, or why it is not known.
fn version(rule: &Rule, answers: &Answers) -> Result<String, Reason> {
    let text = |(path, pointer): &(&str, &str)| value(answers, path, pointer).and_then(shown);
    rule.version.iter().find_map(text).ok_or_else(|| {
        let asked = rule.version.iter().map(|(path, _)| match answers.reasons.get(path) {
            Some(reason) => format!("{path}: {reason}"),
            None => format!("{path} does not name it"),
        });
        let asked = asked.collect::<Vec<_>>().join(", ");
        Reason::new(if asked.is_empty() { "no answer to a query names it".to_owned() } else { asked })
    })
}

/// Other facts, by name.
fn details(rule: &Rule, answers: &Answers) -> BTreeMap<String, String> {
    let known = rule
        .details
        .iter()
        .filter_map(|(name, path, pointer)| Some(((*name).to_owned(), value(answers, path, pointer).and_then(shown)?)));
    known.collect()
}

/// A value of a response that is not `null`.
fn value<'a>(answers: &'a Answers, path: &str, pointer: &str) -> Option<&'a Value> {
    answers.json(path)?.pointer(pointer).filter(|value| !value.is_null())
}

/// A value as it is recorded; `null` and an empty text say nothing.
pub(super) fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// What a response says about the server that its queries did not: called after each response.
pub(super) fn learn(software: Software, info: &mut ServerInfo, fingerprint: Option<String>, reported: &ServerReport) {
    if let Some(fingerprint) = fingerprint {
        // That of mlx_lm.server contains its version, that of MLX and the system's, separated by dashes. That of llama-server is its
        // build. That of vLLM is `vllm-VERSION-HASH`.
        let version = match software {
            Software::MlxLm => fingerprint.split('-').next(),
            Software::LlamaServer => Some(fingerprint.as_str()),
            Software::Vllm => fingerprint.strip_prefix("vllm-").and_then(|rest| rest.split('-').next()),
            _ => None,
        };
        if info.version.is_err()
            && let Some(version) = version.filter(|version| !version.is_empty())
        {
            info.version = Ok(version.to_owned());
        }
        info.details.insert("system_fingerprint".to_owned(), fingerprint);
    }
    // Only mistral.rs reports rates in its usage.
    if software == Software::Unknown && reported.has_usage_rates {
        info.software = Ok(Software::MistralRs.name().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_evidence_and_every_known_server_a_rule() {
        for rule in RULES {
            assert!(!rule.evidence.is_empty() && rule.software != Software::Unknown, "{rule:?}");
        }
        assert_eq!(RULES.iter().filter(|rule| rule.software == Software::MlxLm).count(), 1);
    }

    #[test]
    fn versions_are_learnt_from_fingerprints() {
        let learnt = |software: Software, fingerprint: &str| {
            let mut info = ServerInfo::unknown("not asked");
            learn(software, &mut info, Some(fingerprint.to_owned()), &ServerReport::default());
            info.version.unwrap_or_default()
        };
        assert_eq!(learnt(Software::MlxLm, "0.32.2-0.32.4-Linux"), "0.32.2");
        assert_eq!(learnt(Software::LlamaServer, "b9931-0c1e570"), "b9931-0c1e570");
        assert_eq!(learnt(Software::Vllm, "vllm-0.32.0-9689089d"), "0.32.0");
        assert_eq!(learnt(Software::Unknown, "fp_44709d6fcb"), "", "a fingerprint of an unknown server is no version");
    }

    #[test]
    fn rates_in_the_usage_are_those_of_mistral_rs() {
        let report = ServerReport { has_usage_rates: true, ..ServerReport::default() };
        let mut info = ServerInfo::unknown("not asked");
        learn(Software::Unknown, &mut info, None, &report);
        assert_eq!(info.software_name(), "mistral.rs");
        let mut known = ServerInfo { software: Ok("vllm".to_owned()), ..ServerInfo::unknown("not asked") };
        learn(Software::Vllm, &mut known, None, &report);
        assert_eq!(known.software_name(), "vllm");
    }
}
