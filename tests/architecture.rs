//! The invariants of ARCHITECTURE.md that can be read from the sources: which crate uses which, no cycles among the modules of a
//! crate, where the clock, the terminal and the network are used, that errors of libraries are typed, and that only the binary names
//! its flags.
//!
//! `cargo test -p profiler --test architecture -- --nocapture` prints the graph of modules of every crate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[path = "architecture/command_line.rs"]
mod command_line;
#[path = "architecture/modules.rs"]
mod modules;
#[path = "architecture/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use modules::ModuleGraph;
use source::{Files, SourceTree};

/// Each crate: its folder, its package, and the packages of this workspace that it uses, also in its tests. A crate uses
/// only crates above it in this table.
const EDGES: &[(&str, &str, &[&str])] = &[
    ("text-input", "text-input", &[]),
    ("prompts", "prompts", &["text-input"]),
    ("redaction", "redaction", &[]),
    ("models", "models", &["redaction", "text-input"]),
    ("traces", "traces", &["text-input"]),
    ("engines/api", "engine-api", &["models", "redaction", "traces"]),
    ("engines", "engines", &["engine-api", "models", "redaction", "traces"]),
    ("profiler/statistics", "statistics", &[]),
    ("profiler/record", "record", &["engine-api", "models", "redaction", "statistics", "text-input", "traces"]),
    ("profiler/meter", "meter", &["engine-api", "record", "redaction", "statistics", "traces"]),
    (
        "profiler/measure",
        "measure",
        &["engine-api", "engines", "meter", "models", "prompts", "record", "redaction", "statistics", "traces"],
    ),
    ("profiler/analyse", "analyse", &["engine-api", "models", "record", "statistics", "traces"]),
    ("profiler/report", "report", &["analyse", "engine-api", "models", "record", "statistics", "traces"]),
    (
        BINARY,
        "profiler",
        &[
            "analyse",
            "engine-api",
            "engines",
            "measure",
            "meter",
            "models",
            "prompts",
            "record",
            "redaction",
            "report",
            "statistics",
            "text-input",
            "traces",
        ],
    ),
];

/// Files whose texts are arguments of other programs, with the program.
const OTHER_PROGRAMS: &[(&str, &str)] = &[
    ("models/src/fetch/mirror.rs", "pip"),
    ("models/src/fetch/settings.rs", "python"),
    ("engines/src/openai/server_process.rs", "the shell"),
];

/// The folder of the crate with the command line. All others are libraries.
const BINARY: &str = "profiler";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The Rust files in the `src` of a crate.
fn sources(folder: &str) -> Files {
    fn gather(root: &Path, folder: &Path, files: &mut Files) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                gather(root, &path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let (root, mut files) = (root(), Files::new());
    gather(&root, &root.join(folder).join("src"), &mut files);
    files
}

/// The modules of a crate: of its library and of its binary, as far as it has them.
fn trees(folder: &str) -> Vec<SourceTree> {
    let files = sources(folder);
    let roots = ["lib.rs", "main.rs"].map(|name| format!("{folder}/src/{name}"));
    let found: Vec<_> = roots.iter().filter(|root| files.contains_key(*root)).collect();
    assert!(!found.is_empty(), "{folder} has neither src/lib.rs nor src/main.rs");
    found.into_iter().map(|root| SourceTree::parse(&files, root)).collect()
}

/// Each file with its code: without comments, and without the tests at its foot.
fn code() -> Vec<(String, String)> {
    let code = |(name, text): (String, String)| {
        let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = body.lines().filter(|line| !line.trim_start().starts_with("//"));
        (name, lines.collect::<Vec<_>>().join("\n"))
    };
    EDGES.iter().flat_map(|(folder, ..)| sources(folder)).map(code).collect()
}

/// The files whose code has one of the words, although `allowed` does not allow them to.
fn offenders(words: &[&str], allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let named = |code: &str| words.iter().find(|word| code.contains(**word)).copied();
    code()
        .iter()
        .filter(|(file, _)| !allowed(file))
        .filter_map(|(file, code)| Some(format!("{file} names {}", named(code)?)))
        .collect()
}

/// Whether a file belongs to a module: `MODULE.rs`, or a file below the folder `MODULE`.
fn is_in(file: &str, module: &str) -> bool {
    file.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn is_in_binary(file: &str) -> bool {
    is_in(file, &format!("{BINARY}/src"))
}

#[test]
fn each_crate_uses_the_crates_that_it_may_use() {
    let packages: Vec<&str> = EDGES.iter().map(|(_, package, _)| *package).collect();
    for (place, (folder, package, allowed)) in EDGES.iter().enumerate() {
        for name in *allowed {
            assert!(
                packages[..place].contains(name),
                "EDGES: {package} uses {name}, which is not above it in the table"
            );
        }
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("\nname = \"{package}\"\n")), "{folder}/Cargo.toml is not of {package}");
        let mut in_dependencies = false;
        let mut used = Vec::new();
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
            }
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if in_dependencies && key != *package && packages.contains(&key) && !used.contains(&key) {
                used.push(key);
            }
        }
        let extra: Vec<_> = used.iter().filter(|key| !allowed.contains(*key)).collect();
        assert!(extra.is_empty(), "{package} may not use {extra:?}");
        let unused: Vec<_> = allowed.iter().filter(|name| !used.contains(*name)).collect();
        assert!(unused.is_empty(), "{package} does not use {unused:?}: remove them from EDGES");
    }
}

#[test]
fn the_table_has_every_crate_of_the_workspace() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let mut members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    let mut folders: Vec<&str> = EDGES.iter().map(|(folder, ..)| *folder).collect();
    members.sort_unstable();
    folders.sort_unstable();
    assert_eq!(members, folders);
}

#[test]
fn no_cycles_among_modules() {
    let mut cycles = String::new();
    for (folder, package, _) in EDGES {
        for tree in trees(folder) {
            let graph = ModuleGraph::new(&tree);
            println!("{}", graph.overview(package));
            graph.cycles().iter().for_each(|cycle| cycles += &format!("{package}: {}", cycle.describe()));
        }
    }
    assert!(cycles.is_empty(), "modules of one crate use each other:\n{cycles}");
}

#[test]
fn errors_of_libraries_are_typed() {
    let libraries = EDGES.iter().map(|(folder, ..)| *folder).filter(|folder| *folder != BINARY);
    let mut found = Vec::new();
    for tree in libraries.flat_map(trees) {
        for module in &tree.modules {
            found.extend(module.text_errors.iter().map(|line| format!("{}:{line}", module.file)));
        }
    }
    assert!(found.is_empty(), "{} results have a text as their error:\n{}", found.len(), found.join("\n"));
}

#[test]
fn only_the_binary_names_flags_and_commands() {
    let flags = command_line::flags();
    let libraries = EDGES.iter().map(|(folder, ..)| *folder).filter(|folder| *folder != BINARY);
    let mut found = Vec::new();
    for module in libraries.flat_map(trees).flat_map(|tree| tree.modules) {
        let other_programs = OTHER_PROGRAMS.iter().any(|(file, _)| *file == module.file);
        for (line, text) in module.texts.iter().filter(|_| !other_programs) {
            let named = command_line::named(text, &flags);
            found.extend(named.iter().map(|name| format!("{}:{line} names {name}", module.file)));
        }
    }
    assert!(found.is_empty(), "use record::Setting or record::Action:\n{}", found.join("\n"));
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
fn only_the_binary_prints() {
    let found = offenders(&["print!(", "println!(", "io::stdout()", "io::stderr()", "dbg!("], is_in_binary);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_fetcher_and_the_server_engine_open_a_connection() {
    let found = offenders(&["ureq::", "hf_hub::", "TcpStream", "TcpListener", "UdpSocket"], |file| {
        is_in(file, "models/src/fetch") || is_in(file, "engines/src/openai")
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn engines_do_not_measure_or_report() {
    let found = offenders(&["profiler::", "perf_event", "getrusage", "bootstrap", "percentile"], |file| {
        !file.starts_with("engines/")
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_binary_uses_the_command_line_libraries() {
    let found = offenders(&["clap::", "indicatif::", "anyhow::"], is_in_binary);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_two_files_end_the_process() {
    let found = offenders(&["process::exit(", "process::abort("], |file| {
        ["profiler/src/cli/interrupt.rs", "engines/src/mock/session.rs"].contains(&file)
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_file_begins_with_its_purpose() {
    let files = EDGES.iter().flat_map(|(folder, ..)| sources(folder));
    let without: Vec<String> = files.filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    assert!(without.is_empty(), "these files do not begin with a line of documentation: {without:#?}");
}
