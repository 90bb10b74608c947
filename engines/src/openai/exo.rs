//! exo: a model runs as an instance that is placed on nodes. One that is there is used; else one is placed, waited for, and
//! ended with the session.
//!
//! Ready is what each of its runners says of itself in `/state`: an instance exists long before it can serve.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::NAME;
use super::failure::{Failure, Problem, quote};
use super::http::Http;
use super::ready::Patience;
use super::settings::Settings;
use super::software::Found;
use crate::EngineError;

/// Between two looks at the state, which is long.
const PAUSE: Duration = Duration::from_millis(100);
/// What is kept of the nodes' state, as it was when the instance could serve.
const NODES: [&str; 8] =
    ["topology", "nodeIdentities", "nodeMemory", "nodeDisk", "nodeSystem", "nodeNetwork", "nodeBackends", "runners"];

/// An instance that was placed for a session; it is ended with it.
pub(super) struct Placed {
    http: Arc<Http>,
    id: String,
}

impl Drop for Placed {
    fn drop(&mut self) {
        // Whoever ended it before has done the same; there is nobody to tell.
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

/// Finds or places an instance and waits until it can serve: its model, and what was placed.
pub(super) fn ready(
    http: &Arc<Http>,
    found: &mut Found,
    settings: &Settings,
    patience: &mut Patience<'_>,
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
    let mut was_there = placed.is_none();
    loop {
        let state = state(http)?;
        match look(&state, &id) {
            Look::Ready(instance) => {
                describe(found, &state, &instance, placed.is_some());
                return Ok((model, placed));
            }
            Look::Failed(reason) => return Err(failed(http, &id, &reason)),
            Look::Absent if was_there => return Err(failed(http, &id, "it is gone")),
            Look::Absent => {}
            Look::Loading => was_there = true,
        }
        let waits_for = || failed(http, &id, &format!("its runners say {}", states(&state, &id)));
        patience.pause(PAUSE, waits_for)?;
    }
}

/// What the state says of an instance.
enum Look {
    Ready(Instance),
    Loading,
    Failed(String),
    Absent,
}

fn look(state: &Value, id: &str) -> Look {
    let Some(instance) = instances(state).into_iter().find(|instance| instance.id == id) else { return Look::Absent };
    let mut all_ready = !instance.runners.is_empty();
    for runner in &instance.runners {
        match runner_state(state, runner) {
            Some(("RunnerReady" | "RunnerRunning", _)) => {}
            Some((name @ ("RunnerFailed" | "RunnerShuttingDown" | "RunnerShutdown"), said)) => {
                let message =
                    said["errorMessage"].as_str().map_or_else(String::new, |text| format!(": {}", quote(text)));
                return Look::Failed(format!("a runner says {name}{message}"));
            }
            _ => all_ready = false,
        }
    }
    if all_ready { Look::Ready(instance) } else { Look::Loading }
}

/// A tagged value: its tag and what is in it.
fn tagged(value: &Value) -> Option<(&str, &Value)> {
    value.as_object()?.iter().next().map(|(tag, inner)| (tag.as_str(), inner))
}

fn runner_state<'a>(state: &'a Value, runner: &str) -> Option<(&'a str, &'a Value)> {
    tagged(&state["runners"][runner])
}

fn states(state: &Value, id: &str) -> String {
    let instance = instances(state).into_iter().find(|instance| instance.id == id);
    let runners = instance.map_or_else(Vec::new, |instance| instance.runners);
    let names: Vec<&str> =
        runners.iter().map(|runner| runner_state(state, runner).map_or("nothing", |(name, _)| name)).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
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
    let answer = http.get(path)?;
    let document = answer.json();
    let problem = || match answer.is_success() {
        true => Problem::Broken("expected JSON, found something else".to_owned()),
        false => Problem::Status { status: answer.status, message: answer.message() },
    };
    Ok(document.ok_or_else(|| Failure::new(&http.place("GET", path), problem()))?)
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
        _ => Err(EngineError::Unsupported {
            engine: NAME,
            what: format!("a choice among {} models of exo: {}", models.len(), quote(&models.join(", "))),
            instead: "name one: --set openai.model=NAME".to_owned(),
        }),
    }
}

/// Asks where the model could run, and has it placed at the first of these that the settings allow.
fn place(http: &Arc<Http>, model: &str, settings: &Settings) -> Result<Placed, EngineError> {
    let path = format!("/instance/previews?model_id={}", encoded(model));
    let previews = document(http, &path)?;
    let previews = previews["previews"].as_array().map_or(&[][..], Vec::as_slice);
    let possible = |preview: &&Value| !preview["instance"].is_null() && preview["error"].is_null();
    let Some(preview) = previews.iter().filter(possible).find(|preview| is_wanted(preview, &settings.placement)) else {
        let told: Vec<String> = previews.iter().map(describe_preview).collect();
        let reason = format!("`{model}` cannot be placed as wanted: {}", told.join("; "));
        return Err(EngineError::Failed { engine: NAME, place: http.place("GET", &path), reason });
    };
    let instance = &preview["instance"];
    let id = tagged(instance).and_then(|(_, inner)| inner["instanceId"].as_str()).unwrap_or_default();
    let answer = http.post("/instance", &json!({"instance": instance}))?;
    if !answer.is_success() {
        let problem = Problem::Status { status: answer.status, message: answer.message() };
        return Err(Failure::new(&http.place("POST", "/instance"), problem).into());
    }
    Ok(Placed { http: Arc::clone(http), id: id.to_owned() })
}

/// Whether each word of `openai.placement` is its sharding, its kind, or its number of nodes.
fn is_wanted(preview: &Value, words: &[String]) -> bool {
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
    let way = format!("{} {}", word("sharding"), word("instance_meta"));
    match preview["error"].as_str() {
        Some(error) => format!("{way}: {}", quote(error)),
        None => format!("{way} on {} is possible", nodes(preview)),
    }
}

/// What the run's files are to hold of the cluster.
fn describe(found: &mut Found, state: &Value, instance: &Instance, is_own: bool) {
    let shown = tagged(&state["instances"][&instance.id]).map(|(kind, inner)| {
        let assignments = &inner["shardAssignments"];
        let shards = assignments["runnerToShard"].as_object().map_or_else(Vec::new, |shards| {
            let shard = |(runner, value): (&String, &Value)| {
                let (sharding, inner) = tagged(value).unwrap_or(("", &Value::Null));
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
    let placed = if is_own { "by this run" } else { "before this run" };
    found.details.insert("placed".to_owned(), placed.to_owned());
}

fn failed(http: &Http, id: &str, reason: &str) -> EngineError {
    EngineError::Failed { engine: NAME, place: format!("instance {id} at {}", http.base()), reason: reason.to_owned() }
}

/// A name in a query: model names have slashes.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let byte = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_into_queries() {
        assert_eq!(encoded("mlx-community/Llama 3.2"), "mlx-community%2FLlama%203.2");
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
        assert!(matches!(look(&state("RunnerRunning"), "i"), Look::Ready(_)));
        assert!(matches!(look(&state("RunnerLoading"), "i"), Look::Loading));
        assert!(matches!(look(&state("RunnerFailed"), "i"), Look::Failed(reason) if reason.ends_with("no memory")));
        assert!(matches!(look(&state("RunnerReady"), "j"), Look::Absent));
        assert_eq!(states(&state("RunnerLoading"), "i"), "RunnerReady, RunnerLoading");
    }

    #[test]
    fn a_placement_is_chosen_by_its_words() {
        let preview = json!({"sharding": "Pipeline", "instance_meta": "MlxRing", "instance":
            {"MlxRingInstance": {"shardAssignments": {"nodeToRunner": {"n1": "a", "n2": "b"}}}}});
        let wanted =
            |words: &[&str]| is_wanted(&preview, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(wanted(&[]) && wanted(&["pipeline", "2"]) && wanted(&["MlxRing"]));
        assert!(!wanted(&["Tensor"]) && !wanted(&["Pipeline", "1"]));
    }
}
