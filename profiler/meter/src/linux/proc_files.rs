//! Files of `/proc` that stay open: opening one takes four times as long as reading it.

use record::Reason;
use std::fs::File;
use std::os::unix::fs::FileExt;

use traces::Nanos;

use crate::memory::{Memory, MemoryPoint};

/// One open file of `/proc` with its buffer.
#[derive(Debug)]
pub(super) struct ProcFile {
    name: &'static str,
    file: File,
    buffer: Box<[u8; 4096]>,
}

impl ProcFile {
    pub(super) fn open(name: &'static str) -> Result<Self, Reason> {
        let file = File::open(name).map_err(|error| reason!("{name} cannot be opened: {error}"))?;
        Ok(Self { name, file, buffer: Box::new([0; 4096]) })
    }

    /// The file's present text. Does not allocate.
    pub(super) fn read(&mut self) -> Result<&str, Reason> {
        #[cfg(any(test, feature = "call-counts"))]
        super::calls::count(self.name);
        let length = self
            .file
            .read_at(self.buffer.as_mut_slice(), 0)
            .map_err(|error| reason!("{} cannot be read: {error}", self.name))?;
        let bytes = self.buffer.get(..length).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| reason!("{} is not text", self.name))
    }
}

/// Resident memory from `/proc/self/statm`: about a microsecond.
#[derive(Debug)]
pub(crate) struct MemoryReader {
    statm: ProcFile,
    page: u64,
}

impl MemoryReader {
    pub(crate) fn open() -> Result<Self, Reason> {
        Ok(Self { statm: ProcFile::open("/proc/self/statm")?, page: page_size() })
    }

    /// Resident memory, and the part of it that is backed by files or shared, in bytes.
    fn pages(&mut self) -> Option<(u64, u64)> {
        let page = self.page;
        let (resident, shared) = parse_statm(self.statm.read().ok()?)?;
        Some((resident * page, shared * page))
    }

    pub(super) fn resident(&mut self) -> Option<u64> {
        self.pages().map(|(resident, _)| resident)
    }

    pub(crate) fn read(&mut self, at: Nanos) -> Option<MemoryPoint> {
        let (resident, file) = self.pages()?;
        Some(MemoryPoint { at, resident, anonymous: resident.saturating_sub(file), file })
    }
}

/// `size resident shared text lib data dt`, in pages: resident and shared.
fn parse_statm(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().skip(1).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// RssAnon + RssFile + RssShmem and VmHWM of `/proc/self/status`, which are in KiB.
pub(super) fn parse_status(text: &str) -> Result<Memory, Reason> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
            .map(|kib| kib * 1024)
            .ok_or_else(|| reason!("/proc/self/status has no {name}: the kernel is older than 4.5"))
    };
    let anonymous = field("RssAnon")?;
    let file = field("RssFile")? + field("RssShmem")?;
    Ok(Memory { resident: anonymous + file, anonymous, file, peak: field("VmHWM")?, ..Memory::default() })
}

/// `read_bytes` of `/proc/self/io`: what really came from storage.
pub(super) fn parse_io(text: &str) -> Result<u64, Reason> {
    text.lines()
        .find_map(|line| line.strip_prefix("read_bytes:"))
        .and_then(|rest| rest.trim().parse().ok())
        .ok_or_else(|| Reason::new("/proc/self/io has no read_bytes: the kernel lacks CONFIG_TASK_IO_ACCOUNTING"))
}

/// Anonymous, file-backed and shared memory in huge pages, of `/proc/self/smaps_rollup`, which is in KiB.
pub(super) fn parse_huge_pages(text: &str) -> Result<u64, Reason> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let huge = fields.filter(|(name, _)| matches!(*name, "AnonHugePages" | "FilePmdMapped" | "ShmemPmdMapped"));
    let sizes: Vec<u64> = huge.filter_map(|(_, rest)| rest.split_ascii_whitespace().next()?.parse().ok()).collect();
    if sizes.is_empty() {
        return Err(Reason::new(
            "/proc/self/smaps_rollup has no AnonHugePages: the kernel lacks CONFIG_TRANSPARENT_HUGEPAGE",
        ));
    }
    Ok(sizes.iter().sum::<u64>() * 1024)
}

#[allow(unsafe_code, reason = "sysconf has no safe wrapper in std")]
pub(super) fn page_size() -> u64 {
    // SAFETY: sysconf reads no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// The kernel's clock ticks per second, in which `/proc/stat` counts.
#[allow(unsafe_code, reason = "sysconf has no safe wrapper in std")]
pub(super) fn ticks_per_second() -> u64 {
    // SAFETY: sysconf reads no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tinferometer\nUmask:\t0022\nState:\tR (running)\nVmPeak:\t  930244 kB\nVmHWM:\t  526336 kB\nVmRSS:\t  501000 kB\nRssAnon:\t  100000 kB\nRssFile:\t  400000 kB\nRssShmem:\t    1000 kB\nThreads:\t3\n";

    #[test]
    fn a_recorded_status() {
        let memory = parse_status(STATUS).unwrap();
        assert_eq!(
            memory,
            Memory {
                resident: 501_000 << 10,
                anonymous: 100_000 << 10,
                file: 401_000 << 10,
                peak: 526_336 << 10,
                ..Memory::default()
            }
        );
        assert!(parse_status("Name:\tx\n").unwrap_err().as_str().contains("RssAnon"));
    }

    #[test]
    fn a_recorded_rollup() {
        let text = "5581d7000000-7fff2b9d9000 ---p 00000000 00:00 0 [rollup]\nRss: 9000 kB\nAnonHugePages: 4096 kB\nShmemPmdMapped: 0 kB\nFilePmdMapped: 2048 kB\nLocked: 0 kB\n";
        assert_eq!(parse_huge_pages(text), Ok(6144 << 10));
        assert!(parse_huge_pages("Rss: 9000 kB\n").unwrap_err().as_str().contains("TRANSPARENT_HUGEPAGE"));
    }

    #[test]
    fn a_recorded_statm_and_io() {
        assert_eq!(parse_statm("232561 125250 100250 2113 0 46000 0\n"), Some((125_250, 100_250)));
        assert_eq!(parse_statm(""), None);
        assert_eq!(
            parse_io("rchar: 5\nwchar: 9\nsyscr: 1\nsyscw: 1\nread_bytes: 536870912\nwrite_bytes: 0\n"),
            Ok(536_870_912)
        );
        assert!(parse_io("rchar: 5\n").is_err());
    }
}
