//! Memory of the machine: size, huge pages, swap and swap traffic.

use crate::root::Root;
use record::environment::Memory;
use record::{Reason, Reasons};

const VMSTAT: &str = "/proc/vmstat";

/// Reads `/proc/meminfo` and `/sys/kernel/mm/transparent_hugepage`.
pub fn read(root: &Root) -> Memory {
    let info = root.text("/proc/meminfo");
    let bytes = |name: &str| info.clone().and_then(|info| kibibytes(&info, name));
    let huge =
        |file: &str| root.text(&format!("/sys/kernel/mm/transparent_hugepage/{file}")).and_then(|text| chosen(&text));
    let swap_used = bytes("SwapTotal").and_then(|total| Ok(total.saturating_sub(bytes("SwapFree")?)));
    Memory {
        total_bytes: bytes("MemTotal").into(),
        available_bytes: bytes("MemAvailable").into(),
        swap_total_bytes: bytes("SwapTotal").into(),
        swap_used_bytes: swap_used.into(),
        transparent_huge_pages: huge("enabled").into(),
        huge_page_defrag: huge("defrag").into(),
        page_bytes: page_bytes().into(),
        notes: Reasons::new(),
    }
}

/// `MemTotal:  24684084 kB` -> bytes (the kernel's kB are 1024 bytes).
fn kibibytes(info: &str, name: &str) -> Result<u64, Reason> {
    let line = info.lines().find(|line| line.split(':').next() == Some(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok());
    value.map(|kib| kib * 1024).ok_or_else(|| reason!("/proc/meminfo: has no {name}"))
}

/// `always [madvise] never` -> `madvise`.
fn chosen(text: &str) -> Result<String, Reason> {
    let inner = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map(|(word, _)| word.to_owned()).ok_or_else(|| reason!("expected one word in brackets, found \"{text}\""))
}

/// Size of a page of memory, in bytes.
#[allow(unsafe_code, reason = "sysconf has no safe wrapper in std")]
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf takes no pointers and has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// Bytes written to swap and read from it since boot, together.
///
/// # Errors
/// When the kernel does not report them.
pub fn swapped_bytes(root: &Root) -> Result<u64, Reason> {
    let text = root.text(VMSTAT)?;
    let pages = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        line.ok_or_else(|| reason!("{VMSTAT}: no line `{}`", name.trim()))
    };
    Ok((pages("pswpin ")? + pages("pswpout ")?) * page_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::tree;

    #[test]
    fn the_selected_word_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never").unwrap(), "madvise");
        assert!(chosen("always").is_err());
    }

    #[test]
    fn names_are_matched_whole() {
        let info = "SwapTotalX: 1 kB\nSwapTotal: 2 kB";
        assert_eq!(kibibytes(info, "SwapTotal").unwrap(), 2048);
        assert_eq!(kibibytes(info, "SwapFree").unwrap_err(), "/proc/meminfo: has no SwapFree");
    }

    #[test]
    fn both_directions_are_counted() {
        let stat = tree(&[(VMSTAT, "nr_free_pages 5\npgpgin 70\npswpin 3\npswpout 4\n")]);
        assert_eq!(swapped_bytes(&Root::recorded(stat.path())), Ok(7 * page_bytes()));
        let without = tree(&[(VMSTAT, "nr_free_pages 5\n")]);
        assert!(swapped_bytes(&Root::recorded(without.path())).unwrap_err().as_str().contains("pswpin"));
    }
}
