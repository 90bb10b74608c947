//! exo: a model runs as an instance that is placed on nodes. An existing instance is used; otherwise one is placed, and deleted at
//! the end of the session.
//!
//! An instance is ready when each of its runners in `/state` is ready; it exists long before.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::NAME;
use super::error::{Problem, RequestError, quote};
use super::http::Http;
use super::readiness::ReadinessWait;
use super::settings::Settings;
use super::software::ServerIdentity;
use crate::EngineError;

/// Time between two queries of the state, which is large.
const PAUSE: Duration = Duration::from_millis(100);
/// The parts of the nodes' state that are recorded when the instance is ready.
const NODES: [&str; 8] =
    ["topology", "nodeIdentities", "nodeMemory", "nodeDisk", "nodeSystem", "nodeNetwork", "nodeBackends", "runners"];

/// An instance that was placed for a session; it is deleted on drop.
pub(super) struct Placed {
    http: Arc<Http>,
    id: String,
}

impl Drop for Placed {
    fn drop(&mut self) {
        // It may be deleted already; a drop cannot report errors.
        let _ = self.http.delete(&format!("/instance/{}", self.id));
    }
}

/// An instance as the state shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Instance {
    id: String,
    model: String,
    runners: Vec<String>,
}

/// Finds or places an instance and waits until it is ready. Returns its model, and the instance if it was placed.
pub(super) fn ready(
    http: &Arc<Http>,
    found: &mut ServerIdentity,
    settings: &Settings,
    wait: &mut ReadinessWait<'_>,
) -> Result<(String, Option<Placed>), EngineError> {
    let present = instances(&state(http)?);
    let model = match &settings.model {
        Some(model) => model.clone(),
        None => only_model(http, &present)?,
    };
    let (id, placed) = match present.iter().find(|instance| instance.model == model) {
        Some(instance) => (instance.id.clone(), None),
        None => {
            let placed = place(http, &model, settings)?;
            (placed.id.clone(), Some(placed))
        }
    };
    let mut was_present = placed.is_none();
    loop {
        let state = state(http)?;
        match status(&state, &id) {
            InstanceStatus::Ready(instance) => {
                describe(found, &state, &instance, placed.is_some());
                return Ok((model, placed));
            }
            InstanceStatus::Failed(reason) => return Err(failed(http, &id, &reason)),
            InstanceStatus::Absent if was_present => return Err(failed(http, &id, "it no longer exists")),
            InstanceStatus::Absent => {}
            InstanceStatus::Loading => was_present = true,
        }
        let not_ready = || failed(http, &id, &format!("the state of its runners is {}", runner_states(&state, &id)));
        wait.pause(PAUSE, "to load the model on its nodes", not_ready)?;
    }
}

/// The status of an instance.
enum InstanceStatus {
    Ready(Instance),
    Loading,
    Failed(String),
    Absent,
}

fn status(state: &Value, id: &str) -> InstanceStatus {
    let Some(instance) = instances(state).into_iter().find(|instance| instance.id == id) else {
        return InstanceStatus::Absent;
    };
    let mut all_ready = !instance.runners.is_empty();
    for runner in &instance.runners {
        match runner_state(state, runner) {
            Some(("RunnerReady" | "RunnerRunning", _)) => {}
            Some((name @ ("RunnerFailed" | "RunnerShuttingDown" | "RunnerShutdown"), content)) => {
                let message =
                    content["errorMessage"].as_str().map_or_else(String::new, |text| format!(": {}", quote(text)));
                return InstanceStatus::Failed(format!("a runner reports {name}{message}"));
            }
            _ => all_ready = false,
        }
    }
    if all_ready { InstanceStatus::Ready(instance) } else { InstanceStatus::Loading }
}

/// The tag and the content of a tagged value.
fn tagged(value: &Value) -> Option<(&str, &Value)> {
    value.as_object()?.iter().next().map(|(tag, inner)| (tag.as_str(), inner))
}

fn runner_state<'a>(state: &'a Value, runner: &str) -> Option<(&'a str, &'a Value)> {
    tagged(&state["runners"][runner])
}

fn runner_states(state: &Value, id: &str) -> String {
    let instance = instances(state).into_iter().find(|instance| instance.id == id);
    let runners = instance.map_or_else(Vec::new, |instance| instance.runners);
    let names: Vec<&str> =
        runners.iter().map(|runner| runner_state(state, runner).map_or("unknown", |(name, _)| name)).collect();
    if names.is_empty() { "unknown".to_owned() } else { names.join(", ") }
}

fn instances(state: &Value) -> Vec<Instance> {
    let all = state["instances"].as_object();
    let instance = |(id, value): (&String, &Value)| {
        let assignments = &tagged(value)?.1["shardAssignments"];
        let runners = assignments["runnerToShard"].as_object()?.keys().cloned().collect();
        Some(Instance { id: id.clone(), model: assignments["modelId"].as_str()?.to_owned(), runners })
    };
    all.map_or_else(Vec::new, |all| all.iter().filter_map(instance).collect())
}

fn state(http: &Http) -> Result<Value, EngineError> {
    document(http, "/state")
}

fn document(http: &Http, path: &str) -> Result<Value, EngineError> {
    let response = http.get(path)?;
    let document = response.json();
    let problem = || match response.is_success() {
        true => Problem::Unexpected("expected JSON, found something else".to_owned()),
        false => response.problem(),
    };
    Ok(document.ok_or_else(|| RequestError::new(&http.place("GET", path), problem()))?)
}

/// The model of the only instance, or the only one that is downloaded.
fn only_model(http: &Http, present: &[Instance]) -> Result<String, EngineError> {
    let mut models: Vec<String> = present.iter().map(|instance| instance.model.clone()).collect();
    if models.is_empty() {
        let list = document(http, "/v1/models?status=downloaded")?;
        let entries = list["data"].as_array().map_or(&[][..], Vec::as_slice);
        models = entries.iter().filter_map(|entry| Some(entry["id"].as_str()?.to_owned())).collect();
    }
    models.sort();
    models.dedup();
    match models.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(EngineError::unsupported(
            NAME,
            format!("a choice among {} models of exo: {}", models.len(), quote(&models.join(", "))),
            "name one in the setting openai.model",
        )),
    }
}

/// Requests the possible placements of the model, and places it at the first one that matches the settings.
fn place(http: &Arc<Http>, model: &str, settings: &Settings) -> Result<Placed, EngineError> {
    let path = format!("/instance/previews?model_id={}", percent_encoded(model));
    let previews = document(http, &path)?;
    let previews = previews["previews"].as_array().map_or(&[][..], Vec::as_slice);
    let possible = |preview: &&Value| !preview["instance"].is_null() && preview["error"].is_null();
    let Some(preview) = previews.iter().filter(possible).find(|preview| matches_settings(preview, &settings.placement))
    else {
        let all: Vec<String> = previews.iter().map(describe_preview).collect();
        let reason = format!("`{model}` has no placement that matches the settings: {}", all.join(", "));
        return Err(EngineError::failed(NAME, http.place("GET", &path), reason));
    };
    let instance = &preview["instance"];
    let id = tagged(instance).and_then(|(_, inner)| inner["instanceId"].as_str()).ok_or_else(|| {
        EngineError::failed(NAME, http.place("GET", &path), "expected the `instanceId` of a placement, found none")
    })?;
    let response = http.post("/instance", &json!({"instance": instance}))?;
    if !response.is_success() {
        return Err(RequestError::new(&http.place("POST", "/instance"), response.problem()).into());
    }
    Ok(Placed { http: Arc::clone(http), id: id.to_owned() })
}

/// Whether each word of `openai.placement` is the sharding, the kind or the number of nodes of this placement.
fn matches_settings(preview: &Value, words: &[String]) -> bool {
    let nodes = nodes(preview).to_string();
    let own = [preview["sharding"].as_str(), preview["instance_meta"].as_str(), Some(nodes.as_str())];
    words.iter().all(|word| own.iter().flatten().any(|own| own.eq_ignore_ascii_case(word)))
}

fn nodes(preview: &Value) -> usize {
    let assignments = tagged(&preview["instance"]).map(|(_, inner)| &inner["shardAssignments"]["nodeToRunner"]);
    assignments.and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

fn describe_preview(preview: &Value) -> String {
    let word = |key: &str| preview[key].as_str().unwrap_or("?").to_owned();
    let kind = format!("{} {}", word("sharding"), word("instance_meta"));
    match preview["error"].as_str() {
        Some(error) => format!("{kind}: {}", quote(error)),
        None => format!("{kind} on {} node(s) is possible", nodes(preview)),
    }
}

/// Adds the details of the cluster that are recorded.
fn describe(found: &mut ServerIdentity, state: &Value, instance: &Instance, was_placed_here: bool) {
    let shown = tagged(&state["instances"][&instance.id]).map(|(kind, inner)| {
        let assignments = &inner["shardAssignments"];
        let shards = assignments["runnerToShard"].as_object().map_or_else(Vec::new, |shards| {
            let shard = |(runner, value): (&String, &Value)| {
                let (sharding, inner) = tagged(value).map_or((None, &Value::Null), |(tag, inner)| (Some(tag), inner));
                json!({
                    "runner": runner,
                    "sharding": sharding,
                    "rank": inner["deviceRank"],
                    "start_layer": inner["startLayer"],
                    "end_layer": inner["endLayer"],
                })
            };
            shards.iter().map(shard).collect()
        });
        let card = assignments["runnerToShard"].as_object().and_then(|shards| tagged(shards.values().next()?));
        let card = card.map_or(Value::Null, |(_, inner)| inner["modelCard"].clone());
        let nodes = assignments["nodeToRunner"].clone();
        (json!({"id": instance.id, "kind": kind, "nodes": nodes, "shards": shards}), card)
    });
    if let Some((instance, card)) = shown {
        found.details.insert("instance".to_owned(), instance.to_string());
        for (key, field) in [("context_length", "contextLength"), ("quantization", "quantization")] {
            if !card[field].is_null() {
                let text = card[field].as_str().map_or_else(|| card[field].to_string(), str::to_owned);
                found.details.insert(key.to_owned(), text);
            }
        }
    }
    let nodes: serde_json::Map<String, Value> =
        NODES.iter().map(|key| ((*key).to_owned(), state[*key].clone())).collect();
    found.details.insert("nodes".to_owned(), Value::Object(nodes).to_string());
    let placed = if was_placed_here { "by this run" } else { "before this run" };
    found.details.insert("placed".to_owned(), placed.to_owned());
}

fn failed(http: &Http, id: &str, reason: &str) -> EngineError {
    EngineError::failed(NAME, format!("instance {id} at {}", http.base()), reason)
}

/// Percent-encodes a name for a query string: model names contain slashes.
fn percent_encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let byte = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_queries() {
        assert_eq!(percent_encoded("mlx-community/Llama 3.2"), "mlx-community%2FLlama%203.2");
    }

    #[test]
    fn an_instance_of_two_nodes_is_ready_when_both_runners_are() {
        let state = |second: &str| {
            json!({
                "instances": {"i": {"MlxRingInstance": {"shardAssignments": {
                    "modelId": "m", "runnerToShard": {"a": {}, "b": {}}
                }}}},
                "runners": {"a": {"RunnerReady": {}}, "b": {second: {"errorMessage": "no memory"}}},
            })
        };
        assert!(matches!(status(&state("RunnerRunning"), "i"), InstanceStatus::Ready(_)));
        assert!(matches!(status(&state("RunnerLoading"), "i"), InstanceStatus::Loading));
        assert!(
            matches!(status(&state("RunnerFailed"), "i"), InstanceStatus::Failed(reason) if reason.ends_with("no memory"))
        );
        assert!(matches!(status(&state("RunnerReady"), "j"), InstanceStatus::Absent));
        assert_eq!(runner_states(&state("RunnerLoading"), "i"), "RunnerReady, RunnerLoading");
    }

    #[test]
    fn a_placement_matches_the_words_of_the_settings() {
        let preview = json!({"sharding": "Pipeline", "instance_meta": "MlxRing", "instance":
            {"MlxRingInstance": {"shardAssignments": {"nodeToRunner": {"n1": "a", "n2": "b"}}}}});
        let wanted = |words: &[&str]| {
            matches_settings(&preview, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        assert!(wanted(&[]) && wanted(&["pipeline", "2"]) && wanted(&["MlxRing"]));
        assert!(!wanted(&["Tensor"]) && !wanted(&["Pipeline", "1"]));
    }
}
