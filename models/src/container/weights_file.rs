//! Mapping a file of weights read-only.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::Error;

/// Maps the file at `path`. Nothing is read yet: pages are loaded when they are accessed.
pub(crate) fn map(path: &Path) -> Result<Arc<Mmap>, Error> {
    // Checked before the file is opened: opening a named pipe would block until something writes to it.
    let metadata = std::fs::metadata(path).map_err(|source| Error::io("open", path, source))?;
    let refused = |found: &str, advice: &str| Error::NotAModel {
        path: path.to_path_buf(),
        found: found.to_owned(),
        advice: advice.to_owned(),
    };
    if !metadata.is_file() {
        return Err(refused("it is not a regular file", "give a .gguf file or a folder with config.json"));
    }
    if metadata.len() == 0 {
        return Err(refused(
            "the file is empty",
            "give a .gguf file or a folder with config.json; if it was downloaded, fetch it again",
        ));
    }
    let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
    map_file(&file).map(Arc::new).map_err(|source| Error::io("map", path, source))
}

#[allow(unsafe_code, reason = "a mapping is the only way to share the weights with the page cache")]
fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is private, read-only and owned, so nothing in this process changes it. Another process may: if it
    // truncates the file while it is mapped, touching a page past the new end raises SIGBUS and ends the process; if it
    // overwrites the file, weights change under the engine. Both hold for every engine that maps its weights (llama.cpp too).
    // Downloads never do it: they write to another file and rename it. Every value is valid for the types read from here (plain
    // integers and floats), and text is checked once, when it is copied out.
    unsafe { Mmap::map(file) }
}
