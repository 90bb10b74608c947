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
fn a_quantisation_finds_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let hub = repository(&["m-Q4_0.gguf", "m-Q4_K_M.gguf", "mmproj-f16.gguf", "model.safetensors", "config.json"]);
    let mut settings = settings(folder.path(), &hub.url);
    let located = locate(&settings, "o/r:q4_k_m", &Notes::default()).unwrap();
    assert!(located.path.ends_with("m-Q4_K_M.gguf"), "{}", located.path.display());
    let shown = |settings: &Settings, reference: &str| {
        locate(settings, reference, &Notes::default()).unwrap_err().with_advice().replace(&hub.url, "HUB")
    };
    insta::assert_snapshot!(shown(&settings, "o/r:Q8_0"), @"cannot get o/r:Q8_0: the cache: it is not there; HUB: the repository has no file for `Q8_0`; it has m-Q4_0.gguf, m-Q4_K_M.gguf; name one of these files as owner/repo:FILE; give a local file, or use synthetic weights");
    settings.offline = true;
    let again = locate(&settings, &format!("hf.co/o/r:Q4_K_M@{COMMIT}"), &Notes::default()).unwrap();
    assert_eq!((again.origin, again.path), (Origin::Cache, located.path));
    insta::assert_snapshot!(shown(&settings, &format!("o/r:Q8_0@{COMMIT}")), @"cannot get o/r:Q8_0@0123456789abcdef0123456789abcdef01234567: the cache: the repository has no file for `Q8_0`; it has m-Q4_K_M.gguf; HUB: offline (HF_HUB_OFFLINE is set); name one of these files as owner/repo:FILE; unset HF_HUB_OFFLINE to allow connections; give a local file, or use synthetic weights");
}

#[test]
fn all_parts_of_a_split_model_are_fetched() {
    let names = ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"];
    let hub = repository(&["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "m-Q4_0.gguf"]);
    for reference in ["o/r:Q8_0", "o/r:m-Q8_0-00001-of-00002.gguf", "o/r:m-Q8_0-00002-of-00002.gguf"] {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &hub.url);
        let located = locate(&settings, reference, &Notes::default()).unwrap();
        assert!(located.path.ends_with(names[0]), "{reference}");
        assert!(located.path.with_file_name(names[1]).is_file(), "{reference}");
    }
}

/// What a hub answers in place of the file, and what is said about it.
#[test]
fn errors_of_the_hub_are_named() {
    let answers = |status: u16, code: &'static str, body: &'static str| {
        move |_: &Request| {
            let reply = Reply::new(status, body);
            if code.is_empty() { reply } else { reply.with("X-Error-Code", code) }
        }
    };
    let mut errors = Vec::new();
    for (name, status, code, body) in [
        ("a typing error or a private repository", 401, "RepoNotFound", "{}"),
        ("a gated repository", 403, "GatedRepo", "{}"),
        ("a wrong revision", 404, "RevisionNotFound", "{}"),
        ("a login page of the network", 200, "", "<!doctype html><title>Login</title>"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let hub = Mock::start(answers(status, code, body));
        let port = hub.url.rsplit(':').next().unwrap().to_owned();
        for reference in ["o/r", "o/r:m.gguf"] {
            let error = locate(&settings(folder.path(), &hub.url), reference, &Notes::default()).unwrap_err();
            errors.push(format!("{name}\n    {}", error.with_advice().replace(&port, "PORT")));
        }
    }
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_missing_file_is_answered_with_those_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| {
        if request.path.starts_with("/api/") {
            return Reply::new(200, r#"{"siblings": [{"rfilename": "m-Q4_0.gguf"}, {"rfilename": "README.md"}]}"#);
        }
        Reply::new(404, "Entry not found").with("X-Error-Code", "EntryNotFound")
    });
    let error = locate(&settings(folder.path(), &hub.url), "o/r:m-Q5_0.gguf", &Notes::default()).unwrap_err();
    let error = error.with_advice();
    assert!(error.contains("the repository has no file for `m-Q5_0.gguf`; it has m-Q4_0.gguf"), "{error}");
    assert!(error.contains("name one of these files as owner/repo:FILE"), "{error}");
}

#[test]
fn a_folder_is_resolved_where_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), "http://127.0.0.1:9");
    let given = folder.path().join("given");
    std::fs::create_dir(&given).unwrap();
    std::fs::write(given.join("only.gguf"), b"GGUF").unwrap();
    let located = locate(&settings, given.to_str().unwrap(), &Notes::default()).unwrap();
    assert_eq!((located.origin, located.path), (Origin::Local, given.join("only.gguf")));
    let address = format!("file://{}", given.join("only.gguf").display());
    assert_eq!(locate(&settings, &address, &Notes::default()).unwrap().path, given.join("only.gguf"));
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
