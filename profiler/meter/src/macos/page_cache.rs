//! The share of files in the page cache. macOS has no call that drops a file from it.

use record::Reason;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Cached pages of these files over all their pages, 0 to 1.
///
/// # Errors
/// When a file cannot be opened or `mincore` fails.
#[allow(clippy::cast_precision_loss, reason = "page counts stay far below 2^53")]
pub fn share<P: AsRef<Path>>(files: &[P]) -> Result<f64, Reason> {
    let (mut cached, mut all) = (0_u64, 0_u64);
    for path in files {
        let path = path.as_ref();
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(named)?;
        let length = usize::try_from(file.metadata().map_err(named)?.len())
            .map_err(|error| reason!("{}: {error}", path.display()))?;
        let (in_cache, pages) = by_mincore(&file, length).map_err(named)?;
        cached += in_cache;
        all += pages;
    }
    if all == 0 {
        return Err(Reason::new("the model's files are empty"));
    }
    Ok(cached as f64 / all as f64)
}

/// Not possible without root.
///
/// # Errors
/// Always, with advice.
pub fn drop_files<P: AsRef<Path>>(_files: &[P]) -> Result<(), Reason> {
    Err(Reason::new("macOS cannot drop one file from the page cache: run `sudo purge` before the run"))
}

#[allow(unsafe_code, reason = "mmap and mincore have no safe wrapper in std")]
fn by_mincore(file: &File, length: usize) -> std::io::Result<(u64, u64)> {
    if length == 0 {
        return Ok((0, 0));
    }
    // SAFETY: sysconf reads no memory of ours.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(16384);
    // SAFETY: a fresh private mapping at an address of the kernel's choice; nothing reads through it.
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    let mut pages = vec![0_u8; length.div_ceil(page)];
    // SAFETY: the mapping spans `length` bytes and the vector has one byte per page of it.
    let code = unsafe { libc::mincore(start, length, pages.as_mut_ptr().cast()) };
    let result = if code == 0 {
        Ok((pages.iter().filter(|&&page| page & 1 != 0).count() as u64, pages.len() as u64))
    } else {
        Err(std::io::Error::last_os_error())
    };
    // SAFETY: unmaps exactly the mapping made above, to which no reference exists.
    unsafe { libc::munmap(start, length) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_just_written_is_cached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        assert!((share(&[&path]).unwrap() - 1.0).abs() < 1e-9);
        assert!(share(&[folder.path().join("absent")]).unwrap_err().as_str().contains("absent"));
        std::fs::write(&path, []).unwrap();
        assert_eq!(share(&[&path]).unwrap_err(), "the model's files are empty");
        assert!(drop_files(&[&path]).unwrap_err().as_str().contains("purge"));
    }
}
