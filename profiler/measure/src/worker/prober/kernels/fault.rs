//! The first touch of anonymous memory: the kernel finds a page, clears it and maps it.

/// Writes one byte of every page.
#[inline(never)]
pub(in crate::worker::prober) fn touch(map: &mut [u8], page: usize) {
    for first in map.iter_mut().step_by(page) {
        *first = 1;
    }
}

#[cfg(test)]
mod tests {
    use memmap2::MmapMut;

    use super::*;

    #[test]
    fn one_byte_of_every_page_is_written() {
        let mut map = MmapMut::map_anon(10 * 4096).unwrap();
        assert!(map.iter().all(|byte| *byte == 0));
        touch(&mut map, 4096);
        assert_eq!(map.iter().filter(|byte| **byte == 1).count(), 10);
        assert_eq!(map.first(), Some(&1));
    }
}
