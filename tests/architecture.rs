//! The invariants of ARCHITECTURE.md that can be read from the sources: which crate may use which, and where the clock,
//! the terminal, the network and the exit are named.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each crate and the crates of this workspace that it may use, also in its tests.
const EDGES: &[(&str, &[&str])] = &[
    ("prompts", &[]),
    ("models", &[]),
    ("traces", &[]),
    ("engines", &["models", "traces"]),
    ("profiler", &["engines", "models", "prompts", "traces"]),
];

/// No file is longer; most are far shorter.
const LONGEST: usize = 450;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every Rust file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// `CRATE/src/...` with the code of it: without comments, and without the tests at its foot.
fn code() -> Vec<(String, String)> {
    let root = root();
    let files = EDGES.iter().flat_map(|(name, _)| sources(&root.join(name).join("src")));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = body.lines().filter(|line| !line.trim_start().starts_with("//"));
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        (name, lines.collect::<Vec<_>>().join("\n"))
    };
    files.map(read).collect()
}

/// Files that name one of the words in their code and are not allowed to.
fn offenders(words: &[&str], allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let named = |code: &str| words.iter().find(|word| code.contains(**word)).copied();
    code()
        .iter()
        .filter(|(file, _)| !allowed(file))
        .filter_map(|(file, code)| Some(format!("{file} names {}", named(code)?)))
        .collect()
}

#[test]
fn no_crate_uses_one_above_it() {
    let members: Vec<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in EDGES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let mut in_dependencies = false;
        let mut used = 0;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
            }
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if in_dependencies && members.contains(&key) {
                used += 1;
                assert!(allowed.contains(&key) || key == *name, "{name} may not use {key}");
            }
        }
        assert!(used >= allowed.len(), "{name} was expected to use {allowed:?}: is the list of edges out of date?");
    }
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for name in members {
        assert!(workspace.contains(&format!("\"{name}\"")), "{name} is no member");
    }
}

#[test]
fn one_file_reads_the_clock() {
    let found =
        offenders(&["Instant::now", "SystemTime::now", "clock_gettime(", "Zoned::now", "Timestamp::now"], |file| {
            file == "traces/src/clock.rs"
        });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_command_line_prints() {
    let found = offenders(&["print!(", "println!(", "io::stdout()", "io::stderr()", "dbg!("], |file| {
        file.starts_with("profiler/src/cli/")
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_fetcher_and_the_server_engine_open_a_connection() {
    let found = offenders(&["ureq::", "hf_hub::", "TcpStream", "TcpListener", "UdpSocket"], |file| {
        file.starts_with("models/src/fetch/") || file.starts_with("engines/src/openai/")
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn engines_know_nothing_of_counters_statistics_or_reports() {
    let found = offenders(&["profiler::", "perf_event", "getrusage", "bootstrap", "percentile"], |file| {
        !file.starts_with("engines/")
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_command_lines_types_stay_at_the_door() {
    let found = offenders(&["clap::", "indicatif::", "anyhow::"], |file| file.starts_with("profiler/src/cli/"));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nobody_leaves_by_the_back_door() {
    let found = offenders(&["process::exit(", "process::abort("], |file| {
        ["profiler/src/cli/interrupt.rs", "engines/src/mock/session.rs"].contains(&file)
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn files_stay_small_and_say_what_they_are() {
    let root = root();
    for (name, _) in EDGES {
        for path in sources(&root.join(name).join("src")) {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            assert!(lines <= LONGEST, "{} has {lines} lines: split it by concept", path.display());
            assert!(text.starts_with("//!"), "{} begins without a line that says what it is for", path.display());
        }
    }
}
