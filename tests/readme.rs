//! The tables of engines and models in the README and in docs/models-and-weights.md, and docs/counters.md are generated from the
//! registries. The files and headings that the
//! documents name exist.
//!
//! `INFEROMETER_BLESS=1 cargo test -p profiler --test readme` writes them.
#![allow(clippy::expect_used, reason = "a test that cannot read the README fails")]

use std::fmt::Write as _;
use std::path::Path;

/// A document with the text between `<!-- NAME: ...` and `<!-- /NAME -->` replaced.
fn with_table(document: &str, name: &str, table: &str) -> String {
    let opening = format!("<!-- {name}: generated, held by a test -->\n");
    let closing = format!("<!-- /{name} -->");
    let start = document.find(&opening).expect("the document has the opening mark") + opening.len();
    let end = document[start..].find(&closing).expect("the document has the closing mark") + start;
    format!("{}{table}{}", &document[..start], &document[end..])
}

fn engines_table() -> String {
    let mut table = "| engine | what it is |\n|---|---|\n".to_owned();
    for entry in engines::registry::ENGINES {
        writeln!(table, "| `{}` | {} |", entry.name, entry.summary).expect("writing to a string cannot fail");
        for (variant, summary) in entry.variants {
            writeln!(table, "| `{}:{variant}` | {summary} |", entry.name).expect("writing to a string cannot fail");
        }
    }
    table
}

fn models_table(models: &[models::registry::Entry]) -> String {
    let mut table = "| model | what it is | parameters | source | licence |\n|---|---|--:|---|---|\n".to_owned();
    for entry in models {
        let (name, title, parameters) = (entry.name, entry.title, entry.parameters);
        writeln!(table, "| `{name}` | {title} | {parameters} | `{}` | {} |", entry.gguf.repo, entry.license)
            .expect("writing to a string cannot fail");
    }
    table
}

/// Compares a document with what it should be, or writes it.
fn holds(document: &str, fresh: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let found = std::fs::read_to_string(&path).expect("the document can be read");
    let fresh = fresh(&found);
    if std::env::var_os("INFEROMETER_BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("the document can be written");
        return;
    }
    let differing = found.lines().zip(fresh.lines()).find(|(one, other)| one != other);
    assert!(
        found == fresh,
        "{document} is not up to date, first at {differing:?}: run `INFEROMETER_BLESS=1 cargo test -p profiler --test readme`"
    );
}

#[test]
fn the_tables_are_those_of_the_registries() {
    let reference = models_table(models::registry::reference_models());
    holds("README.md", |readme| with_table(&with_table(readme, "engines", &engines_table()), "models", &reference));
    let all = models_table(&models::registry::MODELS);
    holds("docs/models-and-weights.md", |page| with_table(page, "models", &all));
}

/// docs/counters.md. The text above and between the tables is here, too.
fn counters_page() -> String {
    use meter::{COUNTERS, Source};
    let mut page = String::from(
        "# Counters

This page is generated from `profiler/meter/src/counters/registry.rs`; a test keeps them equal. `inferometer machine` shows which counters
this machine has, and why the others are unavailable. `--counters NAME,...` selects events; accounting counters are always read.
Names as perf writes them (`LLC-loads`, `task-clock`) are accepted.

On Linux two more forms are accepted:

- `rHEX`: an event by its number in the processor's manual, such as `r01c2`;
- `PMU/TERM=VALUE,.../`: fields and events of `/sys/bus/event_source/devices/PMU`, such as `cpu/event=0xd0,umask=0x81/` or
  `cpu/mem-loads/`.

Events that do not fit into the processor's registers together are counted in separate requests, one set at a time. Nothing is
multiplexed unless another program takes registers; the share of the time that was counted is then reported. Hardware, cache, raw and
top-down events count in user mode only, which `perf_event_paranoid` 2 allows. Kernel events (`page_faults`, `context_switches`,
`cpu_migrations`) need `perf_event_paranoid` 1 or `CAP_PERFMON`. Without it they would read 0, so they are absent. On processors with
two kinds of cores, generic events count on the kind that the kernel calls `cpu_core`; `cpu_atom/cycles/` selects the other kind.
[Counters, memory and energy](counters-memory-energy.md) explains how counters are read.
",
    );
    let kinds: [(&str, &str); 6] = [
        (
            "accounting",
            "The kernel always keeps these: `getrusage` and `/proc` on Linux, `proc_pid_rusage` on macOS. Counters that only macOS has \
             are read when they are named.",
        ),
        ("hardware", "`perf_event_open` on Linux, `proc_pid_rusage` on macOS. Counters marked * are read by default."),
        ("cache", "The kernel's cache events. Few processors have all of them."),
        (
            "top-down",
            "How the slots of the pipeline are used (Intel, Ice Lake and later). `topdown_slots` is read with each of the others.",
        ),
        (
            "energy",
            "RAPL counters of the whole machine, read at the edges of long phases only; the estimate of macOS for this process. See \
             [Energy](counters-memory-energy.md#energy).",
        ),
        ("software", "Kernel events. They need no PMU."),
    ];
    for (kind, about) in kinds {
        let mut title = kind.to_owned();
        title[..1].make_ascii_uppercase();
        write!(page, "\n## {title}\n\n{about}\n\n| name | unit | what it counts | where |\n|---|---|---|---|\n")
            .expect("writing to a string cannot fail");
        for counter in COUNTERS.iter().filter(|counter| counter.source.kind() == kind) {
            let star = if counter.default && !matches!(counter.source, Source::Usage(_)) { " *" } else { "" };
            let (name, unit, meaning) = (counter.name, record::counter_unit(counter.name), counter.meaning);
            writeln!(page, "| `{name}`{star} | {unit} | {meaning} | {} |", counter.systems().name())
                .expect("writing to a string cannot fail");
        }
    }
    page
}

#[test]
fn documents_that_texts_name_have_their_titles() {
    for document in record::Document::ALL {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document.path());
        let text = std::fs::read_to_string(&path).expect("the document can be read");
        assert_eq!(text.lines().next(), Some(format!("# {}", document.title()).as_str()), "{document}");
    }
}

/// One place of the documents defines the passes, in the words of the reports.
#[test]
fn the_passes_are_defined_as_in_reports() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(path).expect("the page can be read");
    for pass in record::Pass::ALL {
        let row = format!("| {} | {} |", pass.name(), pass.meaning());
        assert!(page.contains(&row), "docs/metrics.md has no row `{row}`");
    }
}

#[test]
fn the_page_of_counters_is_that_of_the_registry() {
    let fresh = counters_page();
    let rows = meter::COUNTERS.len();
    assert_eq!(fresh.lines().filter(|line| line.starts_with("| `")).count(), rows, "each counter has its line");
    holds("docs/counters.md", |_| fresh.clone());
}

#[test]
fn the_readme_is_short() {
    let readme = include_str!("../README.md");
    assert!(readme.lines().count() <= 150, "the README has {} lines", readme.lines().count());
}

/// Every Markdown file of the repository, relative to its root: not those of builds, runs and hidden folders.
fn documents(root: &Path) -> Vec<String> {
    fn gather(root: &Path, folder: &str, documents: &mut Vec<String>) {
        for entry in std::fs::read_dir(root.join(folder)).expect("the folder can be read") {
            let entry = entry.expect("the entry can be read");
            let name = entry.file_name().into_string().expect("names are UTF-8");
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if entry.file_type().expect("the type can be read").is_dir() {
                if !name.starts_with('.') && !["target", "runs"].contains(&name.as_str()) {
                    gather(root, &path, documents);
                }
            } else if name.ends_with(".md") {
                documents.push(path);
            }
        }
    }
    let mut documents = Vec::new();
    gather(root, "", &mut documents);
    documents
}

/// The words of a document that begin with a folder of the repository, without patterns such as `golden.{json,gguf}`.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    const FOLDERS: [&str; 11] = [
        ".ci/",
        ".cargo/",
        "docs/",
        "engines/",
        "models/",
        "profiler/",
        "prompts/",
        "redaction/",
        "tests/",
        "text-input/",
        "traces/",
    ];
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "._-/{*".contains(c)))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains(['{', '*']))
}

/// Headings as the anchors that GitHub gives them.
fn anchors(text: &str) -> Vec<String> {
    let anchor = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// Whether a file or folder of this name is there, or files with this name before their extension.
fn exists(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let has_stem = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| Path::new(&entry.file_name()).file_stem() == Some(name))
    };
    path.exists() || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.any(has_stem))
}

#[test]
fn what_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut missing = Vec::new();
    for document in documents(&root) {
        let text = std::fs::read_to_string(root.join(&document)).expect("the document can be read");
        // A placeholder in capitals, such as NAME, stands for any file.
        let concrete = |path: &&str| {
            !path.split(['/', '.']).any(|part| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase()))
        };
        missing.extend(
            named_paths(&text)
                .filter(concrete)
                .filter(|path| !exists(&root.join(path)))
                .map(|path| format!("{document}: {path}")),
        );
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://"))
        {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path =
                if file.is_empty() { root.join(&document) } else { root.join(&document).with_file_name("").join(file) };
            let found = match std::fs::read_to_string(&path) {
                Ok(linked) => anchor.is_empty() || anchors(&linked).iter().any(|heading| heading == anchor),
                Err(_) => path.exists() && anchor.is_empty(),
            };
            if !found {
                missing.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(missing.is_empty(), "documents name what does not exist:\n{}", missing.join("\n"));
}
