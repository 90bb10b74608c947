//! References to a repository without a file.

use models::fetch::Origin;

use super::*;

/// A repository of these files, all small.
fn repository(names: &'static [&'static str]) -> Mock {
    Mock::start(move |request| {
        if request.path.starts_with("/api/models/o/r/revision/") {
            let siblings: Vec<String> = names.iter().map(|name| format!("{{\"rfilename\": \"{name}\"}}")).collect();
            return Reply::new(200, format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}", siblings.join(", ")));
        }
        let name = request.path.rsplit('/').next().unwrap_or_default().to_owned();
        let body: Vec<u8> = match name.rsplit('.').next() {
            Some("gguf") => b"GGUF one".to_vec(),
            Some("safetensors") => [&2u64.to_le_bytes()[..], b"{}", name.as_bytes()].concat(),
            _ if name.contains("index") => {
                br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#.to_vec()
            }
            _ => format!("{{\"file\": \"{name}\"}}").into_bytes(),
        };
        whole(request, &body)
    })
}

#[test]
fn the_only_gguf_file_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let hub = repository(&["README.md", "m.Q4_0.gguf"]);
    let located = locate(&settings(folder.path(), &hub.url), "o/r", &Notes::default()).unwrap();
    assert!(located.path.ends_with("m.Q4_0.gguf"));
}

#[test]
fn several_gguf_files_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = repository(&["m.Q4_0.gguf", "m.Q8_0.gguf"]);
    let error = locate(&settings(folder.path(), &hub.url), "o/r", &Notes::default()).unwrap_err().with_advice();
    assert!(error.contains("owner/repo:FILE") && error.contains("m.Q8_0.gguf"), "{error}");
    assert_eq!(hub.gets().len(), 1);
}

#[test]
fn a_safetensors_model_is_complete_and_works_offline() {
    let folder = tempfile::tempdir().unwrap();
    let hub = repository(&[
        "config.json",
        "tokenizer.json",
        "model.safetensors.index.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "../../evil.json",
    ]);
    let mut settings = settings(folder.path(), &hub.url);
    let located = locate(&settings, "o/r", &Notes::default()).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&located.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "tokenizer.json"]
    );
    settings.offline = true;
    let again = locate(&settings, &format!("o/r@{COMMIT}"), &Notes::default()).unwrap();
    assert_eq!((again.origin, &again.path), (Origin::Cache, &located.path));
    // A folder without one of its shards is not a model.
    std::fs::remove_file(located.path.join("model-2.safetensors")).unwrap();
    assert!(locate(&settings, &format!("o/r@{COMMIT}"), &Notes::default()).is_err());
}

#[test]
fn paths_are_used_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    std::fs::write(&path, b"GGUF").unwrap();
    let settings = settings(folder.path(), "http://127.0.0.1:9");
    let located = locate(&settings, path.to_str().unwrap(), &Notes::default()).unwrap();
    assert_eq!((located.origin, located.path), (Origin::Local, path));
    assert!(matches!(locate(&settings, "./missing.gguf", &Notes::default()), Err(Error::Io { .. })));
    assert!(matches!(locate(&settings, "no-such-model", &Notes::default()), Err(Error::UnknownModel { .. })));
}
