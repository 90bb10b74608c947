//! [`Settings`]: how llama-bench was set for a test, as the file has it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::found::Record;

/// Fields that are settings, and the short names of llama-bench's options for them. Threads are not among them: cases have them.
pub(super) const FIELDS: &[(&str, &str)] = &[
    ("backends", "backend"),
    ("cpu_info", "cpu"),
    ("gpu_info", "gpu"),
    ("n_batch", "b"),
    ("n_ubatch", "ub"),
    ("cpu_mask", "C"),
    ("cpu_strict", "cpu-strict"),
    ("poll", "poll"),
    ("type_k", "ctk"),
    ("type_v", "ctv"),
    ("n_gpu_layers", "ngl"),
    ("n_cpu_moe", "ncmoe"),
    ("split_mode", "sm"),
    ("main_gpu", "mg"),
    ("no_kv_offload", "nkvo"),
    ("flash_attn", "fa"),
    ("devices", "dev"),
    ("tensor_split", "ts"),
    ("tensor_buft_overrides", "ot"),
    ("use_mmap", "mmp"),
    ("use_direct_io", "dio"),
    ("load_mode", "lm"),
    ("lazy_mode", "lzm"),
    ("embeddings", "embd"),
    ("no_op_offload", "nopo"),
    ("no_host", "no-host"),
    ("repack", "repack"),
    ("fit_target", "fitt"),
    ("fit_min_ctx", "fitc"),
    ("mul_mat_q", "mmq"),
    ("low_vram", "low-vram"),
    ("numa", "numa"),
];

/// Fields of the first releases: a back end each.
const BACKENDS: &[&str] = &["cuda", "opencl", "vulkan", "kompute", "metal", "sycl", "rpc", "gpu_blas"];

/// Values by field, as text; switches are `1` or `0`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<&'static str, String>);

impl Settings {
    /// The settings of a record.
    pub(super) fn read(record: &Record) -> Self {
        let text = |name: &str| record.fields.get(name).and_then(text_of);
        let mut found: BTreeMap<&'static str, String> =
            FIELDS.iter().filter_map(|(field, _)| Some((*field, text(field)?))).collect();
        if !found.contains_key("backends") {
            let on = |name: &&&str| text(name).is_some_and(|value| value == "1");
            let backends: Vec<&str> = BACKENDS.iter().filter(on).copied().collect();
            let known = BACKENDS.iter().any(|name| record.fields.contains_key(*name));
            if known {
                found.insert("backends", if backends.is_empty() { "cpu".to_owned() } else { backends.join(",") });
            }
        }
        // Without a type the cache is of f16; the first releases had a switch for it.
        let kv = match text("f16_kv").as_deref() {
            Some("0") => "f32",
            _ => "f16",
        };
        for field in ["type_k", "type_v"] {
            found.entry(field).or_insert_with(|| kv.to_owned());
        }
        Self(found)
    }

    /// The value of a field.
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// Every field with its value.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(field, _)| !["cpu_info", "gpu_info"].contains(field))
            .map(|(field, value)| (*field, value.as_str()))
    }

    /// The type of the cache. llama-bench has one for keys and one for values.
    pub(super) fn kv_type(&self) -> String {
        let of = |field| self.get(field).unwrap_or("f16").to_owned();
        match (of("type_k"), of("type_v")) {
            (keys, values) if keys == values => keys,
            (keys, values) => format!("{keys} keys, {values} values"),
        }
    }

    /// The device: the one that was chosen, else by the names of ggml's back ends. `BLAS` computes on the processor, too.
    pub(super) fn device(&self) -> String {
        match self.get("devices") {
            None | Some("auto") => {}
            Some("none") => return "cpu".to_owned(),
            Some(chosen) => {
                let name = chosen.to_lowercase();
                let number = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
                let kind = &name[..name.len() - number.len()];
                let is_one = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
                return if is_one { format!("{kind}:{number}") } else { name };
            }
        }
        let backends = self.get("backends").unwrap_or_default().split(',').map(|name| name.trim().to_lowercase());
        let others: Vec<String> =
            backends.filter(|name| !matches!(name.as_str(), "" | "cpu" | "blas" | "gpu_blas" | "zendnn")).collect();
        if others.is_empty() { "cpu".to_owned() } else { others.join(",") }
    }
}

/// A value as text; `None` for one that is absent or empty.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(if *value { "1" } else { "0" }.to_owned()),
        Value::String(text) => match text.trim() {
            "" => None,
            "true" => Some("1".to_owned()),
            "false" => Some("0".to_owned()),
            text => Some(text.to_owned()),
        },
        other => Some(other.to_string()),
    }
}
