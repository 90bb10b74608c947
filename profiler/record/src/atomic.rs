//! Atomic replacement of files.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::Printable;
use crate::Error;

/// Writes a file without the secrets that this process knows: beside it, waits until the bytes are stored, renames it, and waits until the
/// folder is stored. At every moment the old file or the new one is there, also after a crash of the machine. After an error the old file
/// is unchanged and the partial one is removed.
pub fn write(path: &Path, text: &Printable) -> Result<(), Error> {
    replace(path, redaction::without_known(text.as_str()).as_bytes(), true)
}

/// The same without waiting: for a file that is made again from the journal if the machine crashes.
pub(crate) fn write_derived(path: &Path, text: &Printable) -> Result<(), Error> {
    replace(path, redaction::without_known(text.as_str()).as_bytes(), false)
}

/// Writes the bytes beside the file and renames it.
pub(crate) fn replace(path: &Path, bytes: &[u8], waits: bool) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        if waits { file.sync_all() } else { Ok(()) }
    });
    let renamed = written.and_then(|()| fs::rename(&partial, path)).map_err(|source| {
        // The first error is reported, not that of the removal.
        let _ = fs::remove_file(&partial);
        Error::file(path, "write")(source)
    });
    renamed?;
    if waits {
        store_folder_of(path);
    }
    Ok(())
}

/// Waits until the names of a file's folder are stored. Some file systems cannot do this; the file is complete in either case.
fn store_folder_of(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_file_replaces_the_old_one_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, &Printable::new("one")).unwrap();
        write(&path, &Printable::new("two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(write(&path, &Printable::new("one")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
