//! The first touch of anonymous memory: the kernel finds a page, clears it and maps it.

use memmap2::MmapMut;

use crate::ceilings::memory::{Pages, map};

/// A fresh mapping of small pages that nobody has touched.
pub(in crate::ceilings) fn fresh(bytes: usize) -> Result<MmapMut, String> {
    map(bytes, Pages::Small)
}

/// Writes one byte of every page.
#[inline(never)]
pub(in crate::ceilings) fn touch(map: &mut [u8], page: usize) {
    for first in map.iter_mut().step_by(page) {
        *first = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_of_every_page_is_written() {
        let mut map = fresh(10 * 4096).unwrap();
        assert!(map.iter().all(|byte| *byte == 0));
        touch(&mut map, 4096);
        assert_eq!(map.iter().filter(|byte| **byte == 1).count(), 10);
        assert_eq!(map.first(), Some(&1));
    }
}
