//! The rule of all files with figures: `null` has a reason in the map `reasons` of the same object.

use serde_json::{Map, Value};

/// Maps of figures by name. Their reasons are in the row that has the map: `NAME`, or `NAME.FIELD` where an entry has fields.
const MAPS: [&str; 3] = ["counters", "load_counters", "metrics"];

/// The paths of fields that are `null` without a reason in the same object, such as `cases[].memory.load_s`, each once. `facts` are the
/// paths of fields whose `null` is a fact: a part that does not exist, an option that is not set.
pub(crate) fn without_reason(file: &Value, facts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    search(file, "", &mut found);
    found.sort();
    found.dedup();
    found.retain(|path| !facts.contains(&path.as_str()));
    found
}

fn search(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let has_reason = |name: &str| fields.get("reasons").is_some_and(|reasons| reasons.get(name).is_some());
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match field {
                    Value::Null if !has_reason(name) => found.push(path),
                    Value::Object(map) if MAPS.contains(&name.as_str()) => {
                        let missing = nulls(map).into_iter().filter(|name| !has_reason(name));
                        found.extend(missing.map(|name| format!("{path}.{name}")));
                    }
                    _ => search(field, &path, found),
                }
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| search(entry, &format!("{path}[]"), found)),
        _ => {}
    }
}

/// The names of what is `null` in a map.
fn nulls(map: &Map<String, Value>) -> Vec<String> {
    let of_entry = |(name, entry): (&String, &Value)| match entry {
        Value::Null => vec![name.clone()],
        Value::Object(fields) => nulls(fields).into_iter().map(|field| format!("{name}.{field}")).collect(),
        _ => Vec::new(),
    };
    map.iter().flat_map(of_entry).collect()
}
