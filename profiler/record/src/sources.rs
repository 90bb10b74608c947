//! The runs that a command line names: folders, names below a parent folder, files of llama-bench.

use std::path::{Path, PathBuf};

use super::looks_like::looks_like;
use super::{Action, Error, Opened, RunFile, folders, llama_bench, named, open};

/// A run with its path.
#[derive(Debug)]
pub struct Source {
    /// The path of its folder or file.
    pub path: PathBuf,
    /// The run.
    pub opened: Opened,
    /// Whether another program measured it.
    pub foreign: bool,
    /// What was left out of a file of another program, and what it does not have: sentences without a full stop.
    pub notes: Vec<String>,
}

/// A run, and the names after it that are not runs: engines or models of it.
#[derive(Debug)]
pub struct NamedSource {
    /// The run.
    pub source: Source,
    /// The names after it.
    pub parts: Vec<String>,
}

/// Reads the runs that are named: paths or names of runs, and files of llama-bench. Other arguments are parts of the run before them.
/// Parts without a run are those of the newest run below `parent`, which is also the run of an empty list.
///
/// # Errors
/// When a run cannot be read, or the newest run is needed and there is none.
pub fn sources(arguments: &[String], parent: &Path) -> Result<Vec<NamedSource>, Error> {
    let mut found: Vec<NamedSource> = Vec::new();
    for argument in arguments {
        if let Some(source) = source(argument, parent)? {
            found.push(NamedSource { source, parts: Vec::new() });
        } else if let Some(last) = found.last_mut() {
            last.parts.push(argument.clone());
        } else {
            found.push(NamedSource { source: newest(argument, parent)?, parts: vec![argument.clone()] });
        }
    }
    if found.is_empty() {
        found.push(NamedSource { source: newest("compare", parent)?, parts: Vec::new() });
    }
    Ok(found)
}

/// Every run below a folder, or why it cannot be read, sorted by path; none where the folder does not exist.
///
/// # Errors
/// When the folder cannot be listed.
pub fn open_all(parent: &Path) -> Result<Vec<Result<Opened, Error>>, Error> {
    if !parent.exists() {
        return Ok(Vec::new());
    }
    let list = std::fs::read_dir(parent).map_err(Error::file(parent, "list"))?;
    let mut paths: Vec<PathBuf> =
        list.flatten().map(|entry| entry.path()).filter(|path| path.join(super::files::RUN).exists()).collect();
    paths.sort();
    Ok(paths.iter().map(|path| open(path)).collect())
}

/// The run of an argument; `None` where it names none.
fn source(argument: &str, parent: &Path) -> Result<Option<Source>, Error> {
    let path = Path::new(argument);
    if path.is_file()
        && let Some(source) = foreign(path)?
    {
        return Ok(Some(source));
    }
    let path = match named(parent, argument) {
        Some(path) => path,
        // An argument that looks like a path is one: the error of reading it is more helpful.
        None if path.exists() || looks_like_path(argument) => path.to_path_buf(),
        None => return Ok(None),
    };
    let opened = open(&path)?;
    Ok(Some(Source { path, opened, foreign: false, notes: Vec::new() }))
}

/// Whether an argument can only be a path: no engine and no model of a run has such a name.
fn looks_like_path(argument: &str) -> bool {
    const FILES: [&str; 7] = ["json", "jsonl", "csv", "md", "sql", "gz", "txt"];
    let extension = Path::new(argument).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    argument.contains(std::path::MAIN_SEPARATOR) || FILES.contains(&extension)
}

/// The run in a file of another program; `None` for a `run.json`.
fn foreign(path: &Path) -> Result<Option<Source>, Error> {
    let text = text_input::read(path).map_err(Error::text(path))?;
    if is_run_file(&text) {
        return Ok(None);
    }
    let Some(bench) = llama_bench::parse(path, &text)? else {
        let (found, advice) = looks_like(&text);
        return Err(Error::Content {
            path: path.to_path_buf(),
            problem: format!("is not a run: it is {found}"),
            advice,
        });
    };
    let opened = Opened { file: bench.file, samples_added: false, without_findings: false };
    Ok(Some(Source { path: path.to_path_buf(), opened, foreign: true, notes: bench.notes }))
}

/// Whether a text is a `run.json`, whose first field is the version of its schema.
fn is_run_file(text: &str) -> bool {
    let head = text.trim_start().strip_prefix('{').map(str::trim_start);
    head.is_some_and(|head| head.starts_with("\"schema_version\""))
}

/// The run that was started last, for an argument that needs one.
fn newest(argument: &str, parent: &Path) -> Result<Source, Error> {
    let runs = folders(parent)?.into_iter().filter_map(|folder| Some((folder.file.ok()?, folder.path)));
    let newest = runs.max_by(|(a, _), (b, _): &(RunFile, PathBuf)| a.started.cmp(&b.started));
    let (_, path) = newest.ok_or_else(|| {
        Error::usage(
            format!("{argument}: no run is named, and there is none below {}", parent.display()),
            format!("give the folder of a run, or make one with {}", Action::Run),
        )
    })?;
    let opened = open(&path)?;
    Ok(Source { path, opened, foreign: false, notes: Vec::new() })
}

#[cfg(test)]
mod tests {
    use engine_api::Advice;

    use super::*;
    use crate::files;

    /// Two runs, `old` and `new`, and a file of llama-bench.
    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, started) in [("old", "2026-01-01T00:00:00Z"), ("new", "2026-01-02T00:00:00Z")] {
            std::fs::create_dir(place.path().join(name)).unwrap();
            let file =
                RunFile { schema_version: 1, name: name.to_owned(), started: started.to_owned(), ..RunFile::default() };
            std::fs::write(place.path().join(name).join(files::RUN), serde_json::to_vec(&file).unwrap()).unwrap();
        }
        let bench = r#"[{"model_filename": "m.gguf", "n_threads": 1, "n_prompt": 8, "samples_ns": [1.0]}]"#;
        std::fs::write(place.path().join("bench.json"), bench).unwrap();
        place
    }

    fn names(arguments: &[&str], parent: &Path) -> Vec<(String, bool, Vec<String>)> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let found = sources(&arguments, parent).unwrap();
        found.into_iter().map(|named| (named.source.opened.file.name, named.source.foreign, named.parts)).collect()
    }

    #[test]
    fn parts_belong_to_the_run_before_them_else_to_the_newest() {
        let place = place();
        let part = || vec!["candle".to_owned()];
        assert_eq!(names(&[], place.path()), [("new".to_owned(), false, vec![])]);
        assert_eq!(names(&["candle"], place.path()), [("new".to_owned(), false, part())]);
        assert_eq!(
            names(&["old", "candle", "new"], place.path()),
            [("old".to_owned(), false, part()), ("new".to_owned(), false, vec![])]
        );
        let bench = place.path().join("bench.json").display().to_string();
        assert_eq!(names(&[&bench], place.path()), [("bench".to_owned(), true, vec![])]);
    }

    #[test]
    fn a_file_of_another_program_is_named() {
        let place = place();
        let path = place.path().join("other.json");
        std::fs::write(&path, "{\"results\": [{\"command\": \"x\", \"times\": [1.0]}]}").unwrap();
        let error = sources(&[path.display().to_string()], place.path()).unwrap_err().with_advice();
        assert!(error.contains("is not a run: it is results of hyperfine"), "{error}");
        // In UTF-16, as PowerShell writes what a program prints.
        let bench = std::fs::read_to_string(place.path().join("bench.json")).unwrap();
        let bytes: Vec<u8> = std::iter::once(0xfeff).chain(bench.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(names(&[&path.display().to_string()], place.path()), [("other".to_owned(), true, vec![])]);
    }

    #[test]
    fn a_path_without_a_run_is_an_error() {
        let place = place();
        assert!(sources(&["runs/absent".to_owned()], place.path()).unwrap_err().to_string().contains("does not exist"));
        let error = sources(&["bench.json".to_owned()], place.path()).unwrap_err().to_string();
        assert!(error.contains("bench.json") && error.contains("does not exist"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        assert!(sources(&[], empty.path()).unwrap_err().to_string().contains("there is none below"));
    }

    #[test]
    fn all_runs_below_a_folder_are_read() {
        let place = place();
        std::fs::write(place.path().join("new").join(files::RUN), "{").unwrap();
        let found = open_all(place.path()).unwrap();
        assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
        assert!(open_all(&place.path().join("absent")).unwrap().is_empty());
    }
}
