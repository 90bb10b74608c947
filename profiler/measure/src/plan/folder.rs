//! The folder of a run.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// `2026-11-21T22-40-05_smollm2-135m_candle`: the time in UTC, models, engines; at most three of each are named.
pub fn folder_name(since_epoch: Duration, models: &[&str], engines: &[&str]) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(0);
    let time =
        jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H-%M-%S");
    format!("{time}_{}_{}", joined(models), joined(engines))
}

fn joined(names: &[&str]) -> String {
    const NAMED: usize = 3;
    let plain = |name: &&str| {
        name.chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .take(60)
            .collect::<String>()
    };
    let mut parts: Vec<String> = names.iter().take(NAMED).map(plain).collect();
    if names.len() > NAMED {
        parts.push(format!("{}-more", names.len() - NAMED));
    }
    parts.join("+")
}

/// A folder of this name that does not exist yet: `NAME`, else `NAME-2`, `NAME-3`, ...
pub fn new_folder(parent: &Path, name: &str) -> PathBuf {
    let first = parent.join(name);
    if !first.exists() {
        return first;
    }
    let mut number = 2_u64;
    loop {
        let next = parent.join(format!("{name}-{number}"));
        if !next.exists() {
            return next;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_time_models_and_engines() {
        let time = Duration::from_secs(1_795_300_805);
        assert_eq!(folder_name(time, &["smollm2-135m"], &["candle"]), "2026-11-21T22-40-05_smollm2-135m_candle");
        assert_eq!(
            folder_name(time, &["a", "b", "c", "d", "e"], &["candle:x", "mock"]),
            "2026-11-21T22-40-05_a+b+c+2-more_candle-x+mock"
        );
    }

    #[test]
    fn a_taken_name_is_numbered() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(new_folder(parent.path(), "r"), parent.path().join("r"));
        std::fs::create_dir(parent.path().join("r")).unwrap();
        std::fs::create_dir(parent.path().join("r-2")).unwrap();
        assert_eq!(new_folder(parent.path(), "r"), parent.path().join("r-3"));
    }
}
