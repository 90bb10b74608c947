//! The README's tables of engines and models are made from the registries.
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

#[test]
fn it_is_short() {
    let readme = include_str!("../README.md");
    assert!(readme.lines().count() <= 150, "the README has {} lines", readme.lines().count());
}
