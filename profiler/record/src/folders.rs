//! Run folders below one folder: listed, found by name, removed.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Action, RunFile, Status, files, open};
use crate::Error;
use crate::nearest;
use crate::plan::RUNS;

/// A run folder.
#[derive(Debug)]
pub struct Folder {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its record, or why it cannot be read.
    pub file: Result<RunFile, Error>,
    /// Bytes of its files.
    pub bytes: u64,
}

impl Folder {
    /// When it was started: RFC 3339, which sorts by time; empty where the record cannot be read.
    fn started(&self) -> String {
        self.file.as_ref().map(|file| file.started.clone()).unwrap_or_default()
    }

    /// The number of complete cases, and of all cases.
    pub fn cases(&self) -> Option<(usize, usize)> {
        let file = self.file.as_ref().ok()?;
        Some((file.cases.iter().filter(|case| case.status == Status::Ok).count(), file.cases.len()))
    }
}

/// The run folders below a folder, the oldest first, those that cannot be read in front; none where the folder does not exist.
///
/// # Errors
/// When the folder exists and cannot be read.
pub fn folders(parent: &Path) -> Result<Vec<Folder>, Error> {
    if !parent.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(parent).map_err(Error::file(parent, "read"))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_run(path)).collect();
    paths.sort();
    let mut found: Vec<Folder> = paths.into_iter().map(folder).collect();
    found.sort_by_cached_key(Folder::started);
    Ok(found)
}

/// A run folder that is named itself, or those below one that is named.
///
/// # Errors
/// When it does not exist or cannot be read.
pub fn folders_of(place: &Path) -> Result<Vec<Folder>, Error> {
    if is_run(place) {
        return Ok(vec![folder(place.to_path_buf())]);
    }
    if !place.is_dir() {
        let found = if place.exists() { "a file" } else { "nothing" };
        return Err(Error::usage(
            format!("{}: expected a run folder or a folder with run folders, found {found}", place.display()),
            format!("give another one, or none for {RUNS}/"),
        ));
    }
    folders(place)
}

/// A run folder by its path, or by its name below `parent`.
///
/// # Errors
/// When there is none; the nearest name is in the text.
pub fn find(parent: &Path, name: &str) -> Result<PathBuf, Error> {
    named(parent, name).ok_or_else(|| {
        let known: Vec<String> = folders(parent).unwrap_or_default().into_iter().map(|folder| folder.name).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        Error::usage(
            format!(
                "{name}: no run folder (none of this path, none of this name below {}){}",
                parent.display(),
                nearest(name, &known)
            ),
            format!("{} shows them", Action::ListRuns),
        )
    })
}

/// A path as it was given, or the run of this name below `parent`: for commands that take files, too, or whose errors about a path say
/// more.
///
/// # Errors
/// When nothing of that path exists and no run has that name; the nearest name is in the text.
pub fn place(parent: &Path, given: &Path) -> Result<PathBuf, Error> {
    match given.to_str() {
        Some(name) if !given.exists() && given.components().count() == 1 => find(parent, name),
        _ => Ok(given.to_path_buf()),
    }
}

/// The name of a folder, also of one that is given as `.` or `..`; empty for the root of the file system.
pub fn name_of(folder: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    name(folder).or_else(|| name(&folder.canonicalize().ok()?)).unwrap_or_default()
}

/// The same, without an error where there is none. No other folder is read.
pub fn named(parent: &Path, name: &str) -> Option<PathBuf> {
    [PathBuf::from(name), parent.join(name)].into_iter().find(|path| is_run(path))
}

/// Removes a run folder. A run may have been written into a folder with other things: then nothing is removed.
///
/// # Errors
/// When it is none, contains what no run writes, or cannot be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    if !is_run(path) {
        return Err(Error::usage(
            format!("{}: no run folder (no {})", path.display(), files::RUN),
            "nothing was removed; name the folder of a run",
        ));
    }
    let entries = fs::read_dir(path).map_err(Error::file(path, "read"))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut others: Vec<String> = names.filter(|name| !is_of_run(name)).collect();
    if !others.is_empty() {
        others.sort();
        return Err(Error::usage(
            format!("{}: contains what no run writes: {}", path.display(), others.join(", ")),
            "nothing was removed; move these files elsewhere, or remove the folder yourself",
        ));
    }
    fs::remove_dir_all(path).map_err(Error::file(path, "remove"))
}

/// Whether a run writes a file or folder of this name.
fn is_of_run(name: &str) -> bool {
    const FILES: [&str; 10] = [
        files::RUN,
        files::JOURNAL,
        files::DAMAGED_JOURNAL,
        files::LOCK,
        files::SAMPLES,
        files::TABLE,
        files::TRACE,
        files::REPORT_MARKDOWN,
        files::REPORT_PAGE,
        files::OUTPUTS,
    ];
    // Files are written beside their place first.
    let name = name.strip_suffix(".partial").unwrap_or(name);
    FILES.contains(&name) || (name.starts_with("trace-") && name.ends_with(".json"))
}

/// A folder that a run has written. A link to one does not count, so that nothing elsewhere is removed.
fn is_run(path: &Path) -> bool {
    !path.is_symlink() && path.is_dir() && [files::RUN, files::JOURNAL].iter().any(|name| path.join(name).is_file())
}

fn folder(path: PathBuf) -> Folder {
    let name = name_of(&path);
    Folder { name, file: open(&path).map(|opened| opened.file), bytes: bytes(&path), path }
}

fn bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
        _ => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use engine_api::Advice;

    use super::*;

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for name in ["b", "a"] {
            fs::create_dir_all(place.path().join(name).join("outputs")).unwrap();
            let file = RunFile { schema_version: 1, name: name.to_owned(), ..RunFile::default() };
            fs::write(place.path().join(name).join(files::RUN), serde_json::to_vec(&file).unwrap()).unwrap();
        }
        fs::write(place.path().join("a/outputs/x"), [0; 1000]).unwrap();
        fs::create_dir(place.path().join("no-run")).unwrap();
        place
    }

    #[test]
    fn runs_are_listed_by_name_with_their_size() {
        let place = place();
        let found = folders(place.path()).unwrap();
        assert_eq!(found.iter().map(|folder| folder.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found[0].bytes - found[1].bytes, 1000);
        assert_eq!(found[0].cases(), Some((0, 0)));
        assert!(folders(&place.path().join("nowhere")).unwrap().is_empty());
    }

    #[test]
    fn a_run_is_named_itself_or_by_the_folder_that_holds_it() {
        let place = place();
        let names = |path: &Path| folders_of(path).unwrap().into_iter().map(|folder| folder.name).collect::<Vec<_>>();
        assert_eq!(names(&place.path().join("b")), ["b"]);
        assert_eq!(names(place.path()), ["a", "b"]);
        assert!(names(&place.path().join("no-run")).is_empty());
        let error = folders_of(&place.path().join("nowhere")).unwrap_err().with_advice();
        assert!(error.contains("found nothing") && error.contains("runs/"), "{error}");
    }

    #[test]
    fn a_path_stays_and_a_name_is_found() {
        let place_of = |given: &str, parent: &Path| super::place(parent, Path::new(given));
        let parent = place();
        let parent = parent.path();
        assert_eq!(place_of("b", parent).unwrap(), parent.join("b"));
        let file = parent.join("b/run.json").display().to_string();
        assert_eq!(place_of(&file, parent).unwrap(), Path::new(&file));
        assert_eq!(place_of("runs/absent", parent).unwrap(), Path::new("runs/absent"), "its reader says what is wrong");
        let error = place_of("bb", parent).unwrap_err().with_advice();
        assert!(error.contains("no run folder") && error.contains("did you mean"), "{error}");
    }

    #[test]
    fn every_folder_has_a_name() {
        let parent = place();
        assert_eq!(name_of(&parent.path().join("a")), "a");
        assert_eq!(name_of(&parent.path().join("a/outputs/..")), "a");
        assert!(!name_of(Path::new(".")).is_empty());
    }

    #[test]
    fn the_oldest_comes_first_whatever_it_is_called() {
        let place = place();
        for (name, started) in [("a", "2026-11-22T10:00:00.000Z"), ("b", "2026-11-21T10:00:00.000Z")] {
            let file = RunFile { schema_version: 1, started: started.to_owned(), ..RunFile::default() };
            fs::write(place.path().join(name).join(files::RUN), serde_json::to_vec(&file).unwrap()).unwrap();
        }
        let found = folders(place.path()).unwrap();
        assert_eq!(found.iter().map(|folder| folder.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn a_run_among_other_files_is_not_removed() {
        let place = place();
        let run = place.path().join("a");
        for name in ["trace-01-a.json", "results.csv", "run.json.partial"] {
            fs::write(run.join(name), "").unwrap();
        }
        for name in ["notes.txt", "runs", "trace.py"] {
            fs::write(run.join(name), "mine").unwrap();
        }
        let error = remove(&run).unwrap_err().with_advice();
        assert!(error.contains("what no run writes: notes.txt, runs, trace.py; nothing was removed"), "{error}");
        for name in ["notes.txt", "runs", "trace.py"] {
            fs::remove_file(run.join(name)).unwrap();
        }
        remove(&run).unwrap();
        assert!(!run.exists());
    }

    #[test]
    fn only_runs_are_removed() {
        let place = place();
        let other = place.path().join("no-run");
        assert!(remove(&other).unwrap_err().with_advice().contains("nothing was removed") && other.exists());
        let link = place.path().join("link");
        std::os::unix::fs::symlink(place.path().join("b"), &link).unwrap();
        assert!(remove(&link).is_err() && place.path().join("b").exists());
        remove(&find(place.path(), "a").unwrap()).unwrap();
        let error = find(place.path(), "a").unwrap_err().with_advice();
        assert!(error.contains("the list of runs shows them"), "{error}");
        assert_eq!(folders(place.path()).unwrap().len(), 1);
    }
}
