//! Vocabularies and the model for tests, which are too large for the repository.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

/// The file of SmolLM2.
pub(crate) const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The path of a vocabulary or the model; `None` with a message if it is not available.
pub(crate) fn find(file: &str) -> Option<PathBuf> {
    let variable = if file == SMOLLM2 { "INFEROMETER_SMOLLM2" } else { "INFEROMETER_VOCABULARIES" };
    let path = match env::var_os(variable) {
        Some(path) if file == SMOLLM2 => PathBuf::from(path),
        Some(folder) => PathBuf::from(folder).join(file),
        None => cache().join("inferometer-oracle").join(file),
    };
    if path.exists() {
        return Some(path);
    }
    let how = if file == SMOLLM2 {
        "set INFEROMETER_SMOLLM2 to the model's file"
    } else {
        "run tests/oracle/fetch_vocabularies.sh DIR and set INFEROMETER_VOCABULARIES=DIR"
    };
    // Written to stderr directly, since the output of passing tests is captured.
    let _ = writeln!(io::stderr(), "SKIPPED: {} does not exist; {how}", path.display());
    None
}

fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap_or_default()
}
