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

#[test]
fn a_synthetic_model_is_the_same_file_each_time() {
    let folder = TestFolder::new();
    std::fs::write(
        folder.path("tiny.json"),
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../engines/tests/fixtures/tiny/llama-tied/config.json"))
            .unwrap(),
    )
    .unwrap();
    let done = folder.run("models synth tiny.json --quant f16 -o a.gguf");
    // If the vocabulary of this fixture is too small for a generated tokenizer, the command fails and writes nothing.
    if done.code == Some(0) {
        folder.run("models synth tiny.json --quant f16 -o b.gguf").ends_with(0);
        assert!(std::fs::read(folder.path("a.gguf")).unwrap() == std::fs::read(folder.path("b.gguf")).unwrap());
    } else {
        done.ends_with(2);
        assert!(!folder.path("a.gguf").exists());
    }
}
