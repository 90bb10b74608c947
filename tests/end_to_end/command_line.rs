//! The verbs that measure nothing, and the manners of a command-line program.

use std::io::Read;
use std::process::Stdio;

use crate::support::Place;

#[test]
fn the_help_of_run() {
    let place = Place::new();
    let mut command = place.command("run --help");
    command.env("COLUMNS", "100");
    let output = command.output().unwrap();
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}

#[test]
fn results_go_to_stdout_and_nothing_else_does() {
    let place = Place::new();
    // The first time it measures the ceilings and says so on stderr; then they are known.
    assert!(place.run("machine").ends_with(0).err.contains("measuring the ceilings"));
    for line in [
        "models list",
        "engines list",
        "models show llama-3.2-1b",
        "models show ./tiny.gguf",
        "--version",
        "machine",
        "run --dry-run -e mock -m tiny.gguf",
    ] {
        let done = place.run(line).ends_with(0);
        assert!(!done.out.is_empty() && done.err.is_empty(), "{line}:\n{}", done.err);
        assert!(!done.out.contains('\u{1b}'), "{line} writes colour codes into a file");
    }
}

#[test]
fn a_dry_run_leaves_nothing() {
    let place = Place::new();
    place.run("run --dry-run -e mock -m tiny.gguf --out run").ends_with(0);
    assert!(!place.path("run").exists() && !place.path("runs").exists());
}

#[test]
fn every_known_engine_and_model_is_listed() {
    let place = Place::new();
    let engines = place.run("engines list").ends_with(0).out;
    assert!(engines::registry::ENGINES.iter().all(|entry| engines.contains(entry.name)), "{engines}");
    let list = place.run("models list").ends_with(0).out;
    for entry in &models::registry::MODELS {
        assert!(list.contains(entry.name), "{}:\n{list}", entry.name);
        let shown = place.run(&format!("models show {}", entry.name)).ends_with(0).out;
        assert!(shown.contains(entry.gguf.repo) && shown.contains(entry.license), "{shown}");
    }
}

#[test]
fn the_machine_explains_every_counter_that_is_missing() {
    let place = Place::new();
    let out = place.run("machine").ends_with(0).out;
    for counter in meter::COUNTERS {
        assert!(out.contains(counter.name), "{}:\n{out}", counter.name);
    }
    for heading in ["Machine", "Counters", "Memory and page cache", "Noise", "Ceilings"] {
        assert!(out.contains(heading), "{heading}:\n{out}");
    }
}

#[test]
fn completions_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.run(&format!("completions {shell}")).ends_with(0).out;
        assert!(script.contains("prompt-tokens") && !script.contains("worker --"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    // The reader is gone before the first byte.
    let mut child = place.command("completions bash").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((status.code(), told.as_str()), (Some(0), ""));
}

#[test]
fn a_synthetic_model_is_the_same_file_each_time() {
    let place = Place::new();
    std::fs::write(
        place.path("tiny.json"),
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../engines/tests/fixtures/tiny/llama-tied/config.json"))
            .unwrap(),
    )
    .unwrap();
    let done = place.run("models synth tiny.json --quant f16 -o a.gguf");
    // That fixture's vocabulary is too small for a generated tokenizer: then it is refused, and nothing is left.
    if done.code == Some(0) {
        place.run("models synth tiny.json --quant f16 -o b.gguf").ends_with(0);
        assert!(std::fs::read(place.path("a.gguf")).unwrap() == std::fs::read(place.path("b.gguf")).unwrap());
    } else {
        done.ends_with(2);
        assert!(!place.path("a.gguf").exists());
    }
}
