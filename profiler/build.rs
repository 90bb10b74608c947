//! Records what the program was built from: revision, compiler, target, features. It never fails: unknown values are empty,
//! and the program reports them as unknown.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of the crates of the workspace. A change in any of them changes the program.
const MEMBERS: [&str; 12] = [
    "engines",
    "engines/api",
    "models",
    "profiler",
    "profiler/analyse",
    "profiler/measure",
    "profiler/meter",
    "profiler/record",
    "profiler/report",
    "profiler/statistics",
    "prompts",
    "traces",
];

fn main() {
    set("REVISION", &revision());
    set("COMPILER", &first_line(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()), &["--version"]));
    set("TARGET", &std::env::var("TARGET").unwrap_or_default());
    set("OPTIMISATION", &std::env::var("OPT_LEVEL").unwrap_or_default());
    set("TARGET_FEATURES", &std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
}

fn set(name: &str, value: &str) {
    println!("cargo::rustc-env=INFEROMETER_{name}={value}");
}

/// The commit, with `-dirty` if tracked files differ from it; empty outside a repository or without git.
///
/// Only for optimised builds, because only they measure. To watch the repository would compile test builds again after each
/// commit, and without watching the revision could be outdated.
fn revision() -> String {
    if std::env::var("OPT_LEVEL").as_deref() != Ok("3") {
        return String::new();
    }
    let commit = first_line("git", &["rev-parse", "--short=12", "HEAD"]);
    if commit.is_empty() {
        return commit;
    }
    // HEAD names a branch, whose file contains the commit. A path that does not exist would run this script every time.
    let folder = PathBuf::from(first_line("git", &["rev-parse", "--absolute-git-dir"]));
    let branch = first_line("git", &["symbolic-ref", "--quiet", "HEAD"]);
    let sources = MEMBERS.map(|member| Path::new("..").join(member).join("src"));
    for watched in [folder.join("HEAD"), folder.join(branch), folder.join("index")]
        .iter()
        .chain(&sources)
        .filter(|path| path.is_file() || path.ends_with("src"))
    {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let changes = first_line("git", &["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"]);
    format!("{commit}{}", if changes.is_empty() { "" } else { "-dirty" })
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
