//! The README's tables of engines and models and the page of counters are made from the registries.
//!
//! `INFEROMETER_BLESS=1 cargo test --test readme` writes them anew.
#![allow(clippy::expect_used, reason = "a test that cannot read the README fails")]

use std::fmt::Write as _;
use std::path::Path;

/// The README with the text between `<!-- NAME: ...` and `<!-- /NAME -->` replaced.
fn with_table(readme: &str, name: &str, table: &str) -> String {
    let opening = format!("<!-- {name}: generated, held by a test -->\n");
    let closing = format!("<!-- /{name} -->");
    let start = readme.find(&opening).expect("the README has the opening mark") + opening.len();
    let end = readme[start..].find(&closing).expect("the README has the closing mark") + start;
    format!("{}{table}{}", &readme[..start], &readme[end..])
}

fn engines_table() -> String {
    let mut table = "| engine | what it is |\n|---|---|\n".to_owned();
    for entry in engines::registry::ENGINES {
        writeln!(table, "| `{}` | {} |", entry.name, entry.summary).expect("a string takes everything");
        for (variant, summary) in entry.variants {
            writeln!(table, "| `{}:{variant}` | {summary} |", entry.name).expect("a string takes everything");
        }
    }
    table
}

fn models_table() -> String {
    let mut table = "| model | what it is | parameters | source | licence |\n|---|---|--:|---|---|\n".to_owned();
    for entry in &models::registry::MODELS {
        let (name, title, parameters) = (entry.name, entry.title, entry.parameters);
        writeln!(table, "| `{name}` | {title} | {parameters} | `{}` | {} |", entry.gguf.repo, entry.license)
            .expect("a string takes everything");
    }
    table
}

#[test]
fn the_tables_are_those_of_the_registries() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).expect("the README can be read");
    let fresh = with_table(&with_table(&readme, "engines", &engines_table()), "models", &models_table());
    if std::env::var_os("INFEROMETER_BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("the README can be written");
        return;
    }
    assert_eq!(readme, fresh, "run `INFEROMETER_BLESS=1 cargo test --test readme`");
}

/// COUNTERS.md: what stands above the tables is written here, too.
fn counters_page() -> String {
    use meter::{COUNTERS, Source};
    let mut page = String::from(
        "# Counters

Made from the registry (`profiler/src/meter/registry.rs`) and held by a test. `inferometer machine` says which of them this machine
has, and why not the others. `--counters NAME,...` chooses events; accounting is always read. Names as perf writes them (`LLC-loads`,
`task-clock`) are understood.

Two more forms are taken on Linux:

- `rHEX`: an event by its number in the processor's manual, such as `r01c2`;
- `PMU/TERM=VALUE,.../`: fields and events of `/sys/bus/event_source/devices/PMU`, such as `cpu/event=0xd0,umask=0x81/` or
  `cpu/mem-loads/`.

Events that do not fit the processor's registers together are counted in requests of their own, one set at a time; nothing is
multiplexed unless another program takes registers, and then the share is told. Hardware, cache, raw and top-down events count in user mode
only, which `perf_event_paranoid` 2 allows. Events of the kernel (`page_faults`, `context_switches`, `cpu_migrations`) take
`perf_event_paranoid` 1 or `CAP_PERFMON`: without it they would read 0, so they are absent. On processors with two kinds of cores
generic events count on the kind that the kernel calls `cpu_core`; `cpu_atom/cycles/` names the other one.
",
    );
    let kinds: [(&str, &str); 6] = [
        (
            "accounting",
            "Kept by the kernel anyway: `getrusage` and `/proc` on Linux, `proc_pid_rusage` on macOS. Those of macOS alone are read \
             when they are named.",
        ),
        ("hardware", "`perf_event_open` on Linux, `proc_pid_rusage` on macOS; those marked * by default."),
        ("cache", "What the kernel calls cache events; few processors have all of them."),
        (
            "top-down",
            "Where the slots of the pipeline go (Intel, from Ice Lake on). `topdown_slots` comes along with the others.",
        ),
        (
            "energy",
            "RAPL's accounts of the whole machine, read at the edges of long phases only; macOS's estimate for this process. \
             METHODOLOGY.md says how.",
        ),
        ("software", "Events of the kernel: no PMU needed."),
    ];
    for (kind, about) in kinds {
        let mut title = kind.to_owned();
        title[..1].make_ascii_uppercase();
        write!(page, "\n## {title}\n\n{about}\n\n| name | unit | what it counts | where |\n|---|---|---|---|\n")
            .expect("a string takes everything");
        for counter in COUNTERS.iter().filter(|counter| counter.source.kind() == kind) {
            let star = if counter.default && !matches!(counter.source, Source::Usage(_)) { " *" } else { "" };
            let (name, unit, meaning) = (counter.name, counter.unit, counter.meaning);
            writeln!(page, "| `{name}`{star} | {unit} | {meaning} | {} |", counter.systems().name())
                .expect("a string takes everything");
        }
    }
    page
}

#[test]
fn the_page_of_counters_is_that_of_the_registry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../COUNTERS.md");
    let fresh = counters_page();
    let rows = meter::COUNTERS.len();
    assert_eq!(fresh.lines().filter(|line| line.starts_with("| `")).count(), rows, "each counter has its line");
    if std::env::var_os("INFEROMETER_BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("the page can be written");
        return;
    }
    let page = std::fs::read_to_string(&path).expect("the page can be read");
    assert_eq!(page, fresh, "run `INFEROMETER_BLESS=1 cargo test --test readme`");
}

#[test]
fn it_is_short() {
    let readme = include_str!("../README.md");
    assert!(readme.lines().count() <= 150, "the README has {} lines", readme.lines().count());
}
