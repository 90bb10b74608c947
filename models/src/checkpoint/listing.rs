//! The files of a folder, sorted, and their names for messages.

use std::fs;
use std::path::{Path, PathBuf};

/// The GGUF files of a folder, sorted.
pub(super) fn gguf_files(folder: &Path) -> Vec<PathBuf> {
    files_with(folder, "gguf")
}

/// The files of a folder with this extension, sorted. Hidden ones (`._x.gguf` of macOS) do not count.
pub(super) fn files_with(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let has = |path: &PathBuf| path.extension().is_some_and(|own| own.eq_ignore_ascii_case(extension));
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut files = entries(folder);
    files.retain(|path| has(path) && !is_hidden(path));
    files
}

/// File names for a message: at most eight.
pub(super) fn names(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 8;
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let shown: Vec<String> = paths.iter().take(SHOWN).map(name).collect();
    let more = paths.len().saturating_sub(SHOWN);
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// All entries of a folder, sorted.
pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
