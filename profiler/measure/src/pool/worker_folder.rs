//! [`WorkerFolder`]: where the sockets, status files and logs of workers are.

use std::path::{Path, PathBuf};

use record::Error;

/// A private folder; removed when dropped.
#[derive(Debug)]
pub struct WorkerFolder {
    dir: PathBuf,
    count: std::cell::Cell<usize>,
}

/// Bytes of the folder's path: the path of a Unix socket has at most 104 bytes (108 on Linux), of which the file name takes 16.
const LONGEST: usize = 85;

impl WorkerFolder {
    /// Creates the folder, readable by this user only.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create() -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        let mut base = std::env::temp_dir();
        if base.as_os_str().len() > LONGEST - 40 {
            base = PathBuf::from("/tmp");
        }
        let pid = std::process::id();
        for number in 0..1000 {
            let dir = base.join(format!("inferometer-{pid}-{number}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Self { dir, count: std::cell::Cell::new(0) }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::file(&dir, "create")(error)),
            }
        }
        Err(Error::Content {
            path: base,
            problem: "contains a thousand folders of this process".to_owned(),
            advice: "remove the folders inferometer-* there".to_owned(),
        })
    }

    /// A path without extension that no other worker has.
    pub(super) fn next_path(&self) -> PathBuf {
        let number = self.count.get();
        self.count.set(number + 1);
        self.dir.join(format!("w{number}"))
    }

    /// The number of workers that were started here.
    pub fn started(&self) -> u32 {
        u32::try_from(self.count.get()).unwrap_or(u32::MAX)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for WorkerFolder {
    fn drop(&mut self) {
        // A folder that cannot be removed stays in the system's folder for temporary files, where it does no harm.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
