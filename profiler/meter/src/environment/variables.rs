//! Environment variables that may affect a measurement, without secrets.

use std::ffi::OsString;

use record::environment::Variables;
use redaction::redact;

/// Names and prefixes of names that affect an engine, an allocator, a loader or a download.
const RELEVANT: &[&str] = &[
    "ACCELERATE_",
    "BLIS_",
    "CANDLE_",
    "CARGO_BUILD_",
    "CUDA_",
    "GGML_",
    "GOMP_",
    "HF_",
    "HUGGINGFACE_",
    "INFEROMETER_",
    "JEMALLOC_",
    "KMP_",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LLAMA_",
    "MALLOC_",
    "METAL_",
    "MIMALLOC_",
    "MKL_",
    "MLX_",
    "NUMEXPR_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "RAYON_",
    "RUST_",
    "RUSTFLAGS",
    "TOKENIZERS_",
    "VECLIB_",
];

/// Proxy variables, which exist in upper and lower case.
const PROXIES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// Words in the names of secrets.
const SECRETS: &[&str] = &["AUTH", "COOKIE", "CREDENTIAL", "KEY", "PASS", "PRIVATE", "SECRET", "SESSION", "TOKEN"];

/// Names with such a word that are not secrets.
const HARMLESS: &[&str] = &["TOKENIZERS_PARALLELISM", "RAYON_RS_NUM_CPUS", "KMP_AFFINITY"];

/// Selects the variables that may affect a measurement.
pub fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Variables {
    let mut found = Variables::default();
    for (name, value) in variables {
        let (name, value) = (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned());
        if !is_relevant(&name) {
            continue;
        }
        if names_a_secret(&name) {
            found.hidden.push(name);
        } else {
            found.kept.insert(name, redact(&value));
        }
    }
    found.hidden.sort();
    found
}

fn is_relevant(name: &str) -> bool {
    RELEVANT.iter().any(|start| name.starts_with(start)) || PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
}

/// Whether a variable of this name is probably a secret. More names than [`redaction::is_secret_name`] has: a value that is not
/// recorded costs little.
fn names_a_secret(name: &str) -> bool {
    let upper = name.to_uppercase();
    !HARMLESS.contains(&upper.as_str()) && SECRETS.iter().any(|word| upper.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(pairs: &[(&str, &str)]) -> Variables {
        read(pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    #[test]
    fn relevant_variables_are_kept() {
        let found = selected(&[
            ("RAYON_NUM_THREADS", "2"),
            ("HOME", "/home/x"),
            ("https_proxy", "http://proxy:3128"),
            ("EDITOR", "vi"),
        ]);
        assert_eq!(found.kept.keys().collect::<Vec<_>>(), ["RAYON_NUM_THREADS", "https_proxy"]);
        assert!(found.hidden.is_empty());
    }

    #[test]
    fn names_of_secrets_are_kept_without_values() {
        let found = selected(&[
            ("HF_TOKEN", "hf_abc"),
            ("HUGGINGFACE_API_KEY", "k"),
            ("LLAMA_SECRET", "s"),
            ("HF_PASSWORD", "p"),
            ("HF_HOME", "/cache"),
        ]);
        assert_eq!(found.hidden, ["HF_PASSWORD", "HF_TOKEN", "HUGGINGFACE_API_KEY", "LLAMA_SECRET"]);
        assert_eq!(found.kept.len(), 1);
        let written = serde_json::to_string(&found).unwrap();
        assert!(!written.contains("hf_abc"), "{written}");
    }

    #[test]
    fn credentials_in_addresses_are_left_out() {
        let shown = |value: &str| selected(&[("HF_ENDPOINT", value)]).kept["HF_ENDPOINT"].clone();
        assert_eq!(shown("http://user:word@mirror:3128"), "http://***@mirror:3128");
        assert_eq!(shown("http://mirror:3128"), "http://mirror:3128");
        assert_eq!(shown("https://h/p?access_token=abc&x=1"), "https://h/p?access_token=***&x=1");
        let found = selected(&[("INFEROMETER_SERVERS", "srv --api-key k-1 --port {port}")]);
        assert_eq!(found.kept["INFEROMETER_SERVERS"], "srv --api-key *** --port {port}");
    }

    #[test]
    fn a_harmless_name_with_a_suspicious_word_is_kept() {
        assert_eq!(selected(&[("TOKENIZERS_PARALLELISM", "false")]).kept.len(), 1);
    }
}
