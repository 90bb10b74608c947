//! What a server answers to queries about itself. None of them is needed: a failure is a reason, and each has a short limit.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::error::Problem;
use super::http::{Http, HttpResponse};

/// The list of models, in the form of OpenAI's own.
pub(super) const LIST: &str = "/v1/models";
/// Queries at the same time. Servers with one thread keep few connections waiting (five, with Python's standard library).
const TOGETHER: usize = 4;

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    /// The JSON of a successful response.
    pub(super) json: Option<Value>,
    pub(super) is_http_10: bool,
}

impl Answer {
    pub(super) fn new(response: HttpResponse) -> Self {
        let json = response.json();
        Self { status: response.status, text: response.text, json, is_http_10: response.is_http_10 }
    }
}

/// The answers by path.
#[derive(Debug, Default)]
pub(super) struct Answers {
    found: BTreeMap<&'static str, Answer>,
    /// Why a path has no answer, or no successful one.
    pub(super) reasons: BTreeMap<&'static str, String>,
}

impl Answers {
    /// Adds the list of models, whose entries are put into the form `{"data": [{"id": ...}]}`.
    pub(super) fn add_list(&mut self, mut answer: Answer) {
        answer.json = answer.json.as_ref().and_then(entries).map(|entries| json!({ "data": entries }));
        self.found.insert(LIST, answer);
    }

    /// Queries the paths that were not queried yet, some at the same time.
    pub(super) fn query(&mut self, http: &Http, paths: impl IntoIterator<Item = &'static str>) {
        let is_new = |path: &&'static str| !self.found.contains_key(path) && !self.reasons.contains_key(path);
        let mut paths: Vec<&'static str> = paths.into_iter().filter(is_new).collect();
        paths.sort_unstable();
        paths.dedup();
        let (next, answers) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = http.probe(path);
                answers.lock().unwrap_or_else(PoisonError::into_inner).push((*path, answer));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..TOGETHER.min(paths.len()) {
                // Without a further thread this one does all the work.
                let _ = std::thread::Builder::new().name("probe".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        for (path, answer) in answers.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match answer {
                Ok(response) => {
                    if !response.is_success() {
                        self.reasons.insert(path, response.problem().to_string());
                    }
                    self.found.insert(path, Answer::new(response));
                }
                Err(error) => drop(self.reasons.insert(path, error.problem.to_string())),
            }
        }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Answer> {
        self.found.get(path)
    }

    /// The JSON of a path.
    pub(super) fn json(&self, path: &str) -> Option<&Value> {
        self.found.get(path)?.json.as_ref()
    }

    /// Why the server is not ready, if one of its answers says so. A gateway that answers 503 to every path that it does not know says
    /// nothing about the model.
    pub(super) fn loading(&self) -> Option<(&'static str, Problem)> {
        let unavailable = |answer: &Answer| answer.status == 503;
        let says_so = |answer: &Answer| {
            let error: Option<Value> = serde_json::from_str(&answer.text).ok();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
            error.is_some_and(|document| {
                let error = document.get("error").unwrap_or(&document);
                text(&error["type"]) == "unavailable_error" || text(&error["message"]).contains("loading")
            })
        };
        let others = self.found.iter().filter(|(path, answer)| **path != "/health" && unavailable(answer)).count();
        let is_loading = |(path, answer): &(&&'static str, &Answer)| {
            unavailable(answer) && (says_so(answer) || **path == "/health" && others < 2)
        };
        let (path, answer) = self.found.iter().find(is_loading)?;
        Some((path, Problem::Status { status: 503, message: super::error::message_of(&answer.text) }))
    }
}

/// The models of a list: `{"data": [...]}`, `{"models": [...]}` or an array, of objects or of names.
fn entries(list: &Value) -> Option<Vec<Value>> {
    let entries = [&list["data"], &list["models"], list].into_iter().find_map(Value::as_array)?;
    let entry = |entry: &Value| match entry {
        Value::String(name) => Some(json!({ "id": name })),
        Value::Object(fields) => {
            let id = ["id", "name", "model", "key"].iter().find_map(|key| fields.get(*key)?.as_str())?;
            let mut fields = fields.clone();
            fields.insert("id".to_owned(), json!(id));
            Some(Value::Object(fields))
        }
        // Nothing else names a model.
        _ => None,
    };
    Some(entries.iter().filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(given: &[(&'static str, u16, &str)]) -> Answers {
        let mut answers = Answers::default();
        for (path, status, text) in given {
            let response =
                HttpResponse { status: *status, text: (*text).to_owned(), is_http_10: false, redirect: None };
            answers.found.insert(path, Answer::new(response));
        }
        answers
    }

    #[test]
    fn lists_of_models_are_read_in_every_form() {
        for list in [
            r#"{"object":"list","data":[{"id":"a"},{"id":"b"}]}"#,
            r#"[{"id":"a"},{"id":"b"}]"#,
            r#"{"models":[{"name":"a"},{"model":"b"}]}"#,
            r#"["a","b"]"#,
            r#"{"data":["a",5,{"key":"b"}]}"#,
        ] {
            let found = entries(&serde_json::from_str(list).expect("it is JSON")).expect("a list");
            let names: Vec<&str> = found.iter().filter_map(|entry| entry["id"].as_str()).collect();
            assert_eq!(names, ["a", "b"], "{list}");
        }
        assert_eq!(entries(&json!({"detail": "Not Found"})), None);
        assert_eq!(entries(&json!({"data": []})), Some(Vec::new()));
    }

    #[test]
    fn only_an_answer_about_the_model_means_that_it_is_loading() {
        let llama = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
        let loading = |given: &[(&'static str, u16, &str)]| answers(given).loading().map(|(path, _)| path);
        assert_eq!(loading(&[("/props", 503, llama), ("/info", 503, llama)]), Some("/info"));
        assert_eq!(loading(&[("/health", 503, ""), ("/props", 404, "")]), Some("/health"));
        let gateway = "<html>no backend for this path</html>";
        assert_eq!(loading(&[("/health", 503, gateway), ("/props", 503, gateway), ("/info", 503, gateway)]), None);
        assert_eq!(loading(&[("/health", 200, "{}"), ("/props", 503, gateway)]), None);
    }
}
