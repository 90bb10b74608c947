//! Commands that do not measure, and conventions of command-line programs.

use std::io::Read;
use std::process::Stdio;

use crate::support::TestFolder;

#[test]
fn the_help_of_run() {
    let folder = TestFolder::new();
    let mut command = folder.command("run --help");
    command.env("COLUMNS", "100");
    let output = command.output().unwrap();
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}

#[test]
fn only_results_go_to_stdout() {
    let folder = TestFolder::new();
    // The first call measures the ceilings, with messages on stderr; later calls reuse them.
    assert!(folder.run("machine").ends_with(0).err.contains("measuring the ceilings"));
    for line in [
        "models list",
        "engines list",
        "models show llama-3.2-1b",
        "models show ./tiny.gguf",
        "--version",
        "machine",
        "run --dry-run -e mock -m tiny.gguf",
    ] {
        let done = folder.run(line).ends_with(0);
        assert!(!done.out.is_empty() && done.err.is_empty(), "{line}:\n{}", done.err);
        assert!(!done.out.contains('\u{1b}'), "{line} writes colour codes into a file");
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = TestFolder::new();
    folder.run("run --dry-run -e mock -m tiny.gguf --out run").ends_with(0);
    assert!(!folder.path("run").exists() && !folder.path("runs").exists());
}

#[test]
fn every_registered_engine_and_model_is_listed() {
    let folder = TestFolder::new();
    let engines = folder.run("engines list").ends_with(0).out;
    assert!(engines::registry::ENGINES.iter().all(|entry| engines.contains(entry.name)), "{engines}");
    let list = folder.run("models list").ends_with(0).out;
    for entry in &models::registry::MODELS {
        assert!(list.contains(entry.name), "{}:\n{list}", entry.name);
        let shown = folder.run(&format!("models show {}", entry.name)).ends_with(0).out;
        assert!(shown.contains(entry.gguf.repo) && shown.contains(entry.license), "{shown}");
    }
}

#[test]
fn machine_lists_every_counter() {
    let folder = TestFolder::new();
    let out = folder.run("machine").ends_with(0).out;
    for counter in meter::COUNTERS {
        assert!(out.contains(counter.name), "{}:\n{out}", counter.name);
    }
    for heading in ["Machine", "Counters", "Memory and page cache", "Noise", "Ceilings"] {
        assert!(out.contains(heading), "{heading}:\n{out}");
    }
}

#[test]
fn completions_for_every_shell() {
    let folder = TestFolder::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = folder.run(&format!("completions {shell}")).ends_with(0).out;
        assert!(script.contains("prompt-tokens") && !script.contains("worker --"), "{shell}");
    }
}

#[test]
fn a_closed_stdout_is_not_an_error() {
    let folder = TestFolder::new();
    // The reader closes the pipe before the first byte.
    let mut child = folder.command("completions bash").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}

/// A folder with `tiny.json`, a configuration with this size of the vocabulary.
fn with_configuration(vocabulary: usize) -> TestFolder {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../engines/tests/fixtures/tiny/llama-tied/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(source).unwrap()).unwrap();
    config["vocab_size"] = vocabulary.into();
    let folder = TestFolder::new();
    std::fs::write(folder.path("tiny.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn a_synthetic_model_is_the_same_file_each_time() {
    let folder = with_configuration(512);
    for output in ["a.gguf", "b.gguf"] {
        folder.run(&format!("models synth tiny.json --quant f16 -o {output}")).ends_with(0);
    }
    assert!(std::fs::read(folder.path("a.gguf")).unwrap() == std::fs::read(folder.path("b.gguf")).unwrap());
}

#[test]
fn a_vocabulary_that_is_too_small_for_a_tokenizer_writes_no_model() {
    let folder = with_configuration(128);
    let done = folder.run("models synth tiny.json --quant f16 -o a.gguf").ends_with(2);
    assert!(done.err.contains("expected at least 259 tokens"), "{}", done.err);
    assert!(!folder.path("a.gguf").exists());
}
