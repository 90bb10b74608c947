//! The share of files in the page cache, and dropping them from it.

use record::Reason;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::proc_files::page_size;

/// `cachestat(2)`: kernel 6.5 and later; the same number on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct Range {
    offset: u64,
    length: u64,
}

#[repr(C)]
#[derive(Default)]
struct Statistics {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Cached pages of these files over all their pages, 0 to 1.
///
/// # Errors
/// When a file cannot be opened, or both `cachestat` and `mincore` fail.
#[allow(clippy::cast_precision_loss, reason = "page counts stay far below 2^53")]
pub fn share<P: AsRef<Path>>(files: &[P]) -> Result<f64, Reason> {
    let (mut cached, mut all) = (0, 0);
    for path in files {
        let path = path.as_ref();
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(named)?;
        let size = file.metadata().map_err(named)?.len();
        all += size.div_ceil(page_size());
        cached += by_cachestat(&file).or_else(|_| by_mincore(&file, size)).map_err(named)?;
    }
    if all == 0 {
        return Err(Reason::new("the model's files are empty"));
    }
    Ok((cached as f64 / all as f64).min(1.0))
}

/// Asks the kernel to drop these files from the page cache. Mapped and dirty pages stay: check [`share`] afterwards before
/// calling a load cold.
///
/// # Errors
/// When a file cannot be opened or the kernel refuses.
#[allow(unsafe_code, reason = "posix_fadvise has no safe wrapper in std")]
pub fn drop_files<P: AsRef<Path>>(files: &[P]) -> Result<(), Reason> {
    for path in files {
        let path = path.as_ref();
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(named)?;
        // A page that was just written is dirty and would stay in the cache.
        file.sync_all().map_err(named)?;
        // SAFETY: the descriptor is open through the call, which touches no memory of ours.
        let code = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if code != 0 {
            return Err(named(std::io::Error::from_raw_os_error(code)).into());
        }
    }
    Ok(())
}

/// Cached pages of the whole file.
#[allow(unsafe_code, reason = "cachestat has no wrapper in libc")]
fn by_cachestat(file: &File) -> std::io::Result<u64> {
    let range = Range { offset: 0, length: 0 };
    let mut statistics = Statistics::default();
    // SAFETY: both structs have the kernel's layout and live through the call; length 0 means to the end of the file.
    let code = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut statistics, 0_u32) };
    if code == 0 { Ok(statistics.cached) } else { Err(std::io::Error::last_os_error()) }
}

/// Cached pages of the whole file by a temporary mapping, for older kernels.
#[allow(unsafe_code, reason = "mmap and mincore have no safe wrapper in std")]
fn by_mincore(file: &File, size: u64) -> std::io::Result<u64> {
    let Ok(length) = usize::try_from(size) else {
        return Err(std::io::Error::other("the file is larger than the address space"));
    };
    if length == 0 {
        return Ok(0);
    }
    // SAFETY: a fresh private mapping at an address of the kernel's choice; nothing reads through it.
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    let mut pages = vec![0_u8; length.div_ceil(page_size() as usize)];
    // SAFETY: the mapping spans `length` bytes and the vector has one byte per page of it.
    let code = unsafe { libc::mincore(start, length, pages.as_mut_ptr().cast()) };
    let result = if code == 0 {
        Ok(pages.iter().filter(|&&page| page & 1 != 0).count() as u64)
    } else {
        Err(std::io::Error::last_os_error())
    };
    // SAFETY: unmaps exactly the mapping made above, to which no reference exists.
    unsafe { libc::munmap(start, length) };
    result
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_written_file_is_cached_and_can_be_dropped() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.as_file().sync_all().unwrap();
        let warm = share(&[file.path()]).unwrap();
        assert!(warm > 0.9, "{warm}");
        let pages = by_mincore(file.as_file(), 1 << 20).unwrap();
        if let Ok(counted) = by_cachestat(file.as_file()) {
            assert!(counted >= pages, "{counted} {pages}");
        }
        drop_files(&[file.path()]).unwrap();
        // A file system in memory keeps its pages: only the direction is certain.
        assert!(share(&[file.path()]).unwrap() <= warm);
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(share(&["/nowhere/at/all.gguf"]).unwrap_err().as_str().contains("/nowhere/at/all.gguf"));
    }
}
