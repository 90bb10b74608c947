//! Vocabularies and the model for tests, which are too large for the repository. Tests that need them are ignored by default, and
//! fail without them.

use std::env;
use std::path::PathBuf;

/// The file of SmolLM2.
pub(crate) const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The path of a vocabulary or the model.
pub(crate) fn path(file: &str) -> PathBuf {
    let (variable, path) = if file == SMOLLM2 {
        ("INFEROMETER_SMOLLM2", env::var_os("INFEROMETER_SMOLLM2").map(PathBuf::from))
    } else {
        let folder = env::var_os("INFEROMETER_VOCABULARIES");
        ("INFEROMETER_VOCABULARIES", folder.map(|folder| PathBuf::from(folder).join(file)))
    };
    assert!(path.is_some(), "{variable} is not set; see CONTRIBUTING.md");
    let path = path.unwrap_or_default();
    assert!(path.exists(), "{variable}: {} does not exist", path.display());
    path
}
