//! The root below which a Linux machine's files are read: `/`, or a recorded tree.

use record::Reason;
use std::fs;
use std::path::PathBuf;

/// A file or folder that cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// It does not exist.
    #[error("{0}: not on this system")]
    Absent(String),
    /// This user may not read or write it.
    #[error("{0}: permission denied")]
    Denied(String),
    /// Any other error.
    #[error("{0}: cannot be read")]
    Failed(String),
}

impl FileError {
    fn new(path: &str, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Absent(path.to_owned()),
            std::io::ErrorKind::PermissionDenied => Self::Denied(path.to_owned()),
            _ => Self::Failed(path.to_owned()),
        }
    }
}

impl From<FileError> for Reason {
    fn from(error: FileError) -> Self {
        Self::new(error.to_string())
    }
}

/// Reads small text files below a root; every error is a reason that names the path.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
    /// Files whose path contains this may not be read.
    denied: Option<&'static str>,
}

impl Root {
    /// This machine.
    pub fn system() -> Self {
        Self { path: PathBuf::from("/"), denied: None }
    }

    /// A recorded tree.
    pub fn recorded(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), denied: None }
    }

    /// The same tree, in which files whose path contains `part` may not be read. Tests use it because permissions in a recorded
    /// tree do not apply to the user root.
    #[must_use]
    pub fn denying(self, part: &'static str) -> Self {
        Self { denied: Some(part), ..self }
    }

    /// The file's text without the white space at its end. `path` is absolute.
    ///
    /// # Errors
    /// The reason, naming the path.
    pub fn text(&self, path: &str) -> Result<String, Reason> {
        Ok(self.read(path)?)
    }

    /// Like [`Root::text`], for callers whose next step depends on the kind of error.
    pub(crate) fn read(&self, path: &str) -> Result<String, FileError> {
        let bytes = self.bytes(path).map_err(|error| FileError::new(path, &error))?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\0', ' ']).to_owned())
    }

    /// The file's text as a number.
    ///
    /// # Errors
    /// The reason, naming the path and what was found.
    pub fn number<T: std::str::FromStr>(&self, path: &str) -> Result<T, Reason> {
        let text = self.text(path)?;
        text.trim().parse().map_err(|_| reason!("{path}: expected a number, found \"{text}\""))
    }

    /// Writes to a file that exists.
    ///
    /// # Errors
    /// The reason, naming the path.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has files to write to"))]
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<(), Reason> {
        fs::write(self.full_path(path), text).map_err(|error| FileError::new(path, &error).into())
    }

    /// The names in a folder, sorted; numbers in them by value, so that `cpu10` follows `cpu9`.
    ///
    /// # Errors
    /// The reason, naming the path.
    pub fn names(&self, path: &str) -> Result<Vec<String>, Reason> {
        let failed = |error: std::io::Error| FileError::new(path, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(self.full_path(path)).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort_by_key(|name| {
            (name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), trailing_number(name))
        });
        Ok(names)
    }

    /// The target of a symbolic link; `None` where it cannot be read.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux names its sockets by links"))]
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        fs::read_link(self.full_path(path)).ok().map(|target| target.to_string_lossy().into_owned())
    }

    /// Whether the path exists.
    pub fn has(&self, path: &str) -> bool {
        self.full_path(path).exists()
    }

    fn bytes(&self, path: &str) -> std::io::Result<Vec<u8>> {
        if self.denied.is_some_and(|part| path.contains(part)) {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        fs::read(self.full_path(path))
    }

    fn full_path(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }
}

/// The number at a name's end, 0 without one: `cpu10` -> 10.
fn trailing_number(name: &str) -> u64 {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[name.len() - digits..].parse().unwrap_or(0)
}

/// Counts a kernel list such as `0-3,8,10-11`.
pub(crate) fn count_list(list: &str) -> Option<usize> {
    let mut count = 0;
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count += last.checked_sub(first)? + 1;
    }
    Some(count)
}

/// A recorded tree of these files.
#[cfg(test)]
pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = folder.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_counted() {
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list("0-3,8,10-11\n"), Some(7));
        assert_eq!(count_list(""), Some(0));
        assert_eq!(count_list("3-1"), None);
        assert_eq!(count_list("a"), None);
    }

    #[test]
    fn names_are_sorted_by_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cpu10", "cpu9", "cpu0", "cpufreq"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(Root::recorded(folder.path()).names("/").unwrap(), ["cpu0", "cpu9", "cpu10", "cpufreq"]);
    }

    #[test]
    fn an_absent_file_is_a_reason_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let reason = Root::recorded(folder.path()).text("/proc/meminfo").unwrap_err();
        assert_eq!(reason, "/proc/meminfo: not on this system");
    }
}
