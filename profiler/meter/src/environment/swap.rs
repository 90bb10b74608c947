//! Swap traffic of the machine.

use super::page_bytes;
use crate::root::Root;
use record::Reason;

const VMSTAT: &str = "/proc/vmstat";

/// Bytes that went to swap and came from it since boot, together.
///
/// # Errors
/// The reason, where the kernel does not tell.
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
    fn both_directions_are_counted() {
        let stat = tree(&[(VMSTAT, "nr_free_pages 5\npgpgin 70\npswpin 3\npswpout 4\n")]);
        assert_eq!(swapped_bytes(&Root::recorded(stat.path())), Ok(7 * page_bytes()));
        let without = tree(&[(VMSTAT, "nr_free_pages 5\n")]);
        assert!(swapped_bytes(&Root::recorded(without.path())).unwrap_err().as_str().contains("pswpin"));
    }
}
