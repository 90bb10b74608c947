//! Names of Ollama's models, `name:tag`: their files in Ollama's store, for the advice to give that file.

use std::path::{Path, PathBuf};

use crate::container::json::{self, CONFIG_LIMIT};
use crate::filesystem::home;

/// Where a service on Linux has its models.
const SERVICE_STORE: &str = "/usr/share/ollama/.ollama/models";

/// The file of the model `name:tag` in one of Ollama's stores on this machine.
pub(super) fn model_file(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("OLLAMA_MODELS").map(PathBuf::from);
    let stores = [own, home().map(|home| home.join(".ollama/models")), Some(PathBuf::from(SERVICE_STORE))];
    stores.into_iter().flatten().find_map(|store| file_in(&store, name))
}

/// The file in one store: the manifest names the layer that contains the weights by its digest.
fn file_in(store: &Path, name: &str) -> Option<PathBuf> {
    let (name, tag) = name.split_once(':')?;
    let manifest = store.join("manifests/registry.ollama.ai/library").join(name).join(tag);
    let manifest = json::read(&manifest, CONFIG_LIMIT).ok()?;
    let is_model = |layer: &&serde_json::Value| {
        layer.get("mediaType").and_then(|kind| kind.as_str()) == Some("application/vnd.ollama.image.model")
    };
    let layer = manifest.get("layers")?.as_array()?.iter().find(is_model)?;
    let digest = layer.get("digest")?.as_str()?.replace(':', "-");
    let file = store.join("blobs").join(digest);
    file.is_file().then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_with_the_weights_is_found() {
        let store = tempfile::tempdir().unwrap();
        let folder = store.path().join("manifests/registry.ollama.ai/library/tiny");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(store.path().join("blobs")).unwrap();
        let manifest = r#"{"layers": [{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:00"},
            {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:0a1b"}]}"#;
        std::fs::write(folder.join("1b"), manifest).unwrap();
        assert_eq!(file_in(store.path(), "tiny:1b"), None, "the file is not there");
        let blob = store.path().join("blobs/sha256-0a1b");
        std::fs::write(&blob, "GGUF").unwrap();
        assert_eq!(file_in(store.path(), "tiny:1b"), Some(blob));
        assert_eq!(file_in(store.path(), "tiny:2b"), None);
    }
}
