//! The sets that come with the tool.

/// One set of the registry: its name and its TOML text.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The name after `--prompts`.
    pub name: &'static str,
    /// The file's text.
    pub toml: &'static str,
}

/// The set of a run that names none.
pub const DEFAULT: &str = "seed";

/// Every set, sorted by name.
pub const SETS: &[Source] = &[
    Source { name: "lengths", toml: include_str!("../sets/lengths.toml") },
    Source { name: "long", toml: include_str!("../sets/long.toml") },
    Source { name: "seed", toml: include_str!("../sets/seed.toml") },
    Source { name: "smoke", toml: include_str!("../sets/smoke.toml") },
];
