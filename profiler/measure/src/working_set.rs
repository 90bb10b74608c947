//! How much memory a measurement of bandwidth reads: more than all caches hold, or half of what one level holds.

use record::environment::{Cache, CacheKind};

/// Fewest bytes that are read from memory.
const LEAST: u64 = 256 << 20;
/// Most bytes: more than the caches of any machine hold.
const MOST: u64 = 8 << 30;

/// One level of cache, and the part that one thread reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    /// 1 is nearest to the core.
    pub(crate) level: usize,
    /// Size of the instances that the threads use together, in bytes.
    pub(crate) size: u64,
    /// Bytes that one thread reads.
    pub(crate) part: usize,
}

/// Bytes that are read so that they come from memory: `max(256 MiB, 4 x all of the last level)`, at most 8 GiB.
pub(crate) fn buffer_bytes(caches: &[Cache]) -> u64 {
    let last = caches.iter().filter(|cache| holds_data(cache)).max_by_key(|cache| cache.level);
    let last = last.map_or(0, |cache| cache.bytes.saturating_mul(cache.instances as u64));
    last.saturating_mul(4).clamp(LEAST, MOST)
}

/// For each level: `size = bytes x min(threads, instances)`; a thread reads half of its share of an instance,
/// `part = bytes / ceil(threads / instances) / 2`. It assumes that the system spreads threads over the instances.
pub(crate) fn levels(caches: &[Cache], threads: usize) -> Vec<Level> {
    let of = |cache: &Cache| {
        let instances = cache.instances.max(1);
        let part = cache.bytes / threads.div_ceil(instances) as u64 / 2;
        Level {
            level: cache.level as usize,
            size: cache.bytes.saturating_mul(threads.min(instances) as u64),
            // Whole pages, so that no two parts share a cache line.
            part: usize::try_from(part).unwrap_or(usize::MAX) / 4096 * 4096,
        }
    };
    let mut levels: Vec<Level> = caches.iter().filter(|cache| holds_data(cache)).map(of).collect();
    levels.sort_by_key(|level| level.level);
    levels.dedup_by_key(|level| level.level);
    levels
}

fn holds_data(cache: &Cache) -> bool {
    cache.kind != CacheKind::Instruction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches() -> Vec<Cache> {
        let cache = |level, kind, bytes, instances| Cache { level, kind, bytes, instances };
        vec![
            cache(1, CacheKind::Data, 32 << 10, 8),
            cache(1, CacheKind::Instruction, 64 << 10, 8),
            cache(2, CacheKind::Unified, 1 << 20, 8),
            cache(3, CacheKind::Unified, 96 << 20, 2),
        ]
    }

    #[test]
    fn a_buffer_exceeds_the_last_level() {
        assert_eq!(buffer_bytes(&caches()), 4 * 2 * (96 << 20));
        assert_eq!(buffer_bytes(&[]), LEAST);
        assert_eq!(buffer_bytes(&caches()[..2]), LEAST, "an instruction cache holds no data");
    }

    #[test]
    fn threads_of_one_instance_share_its_size() {
        let found = levels(&caches(), 4);
        let expected = [(1, 4 * (32 << 10), 16 << 10), (2, 4 << 20, 512 << 10), (3, 192 << 20, 24 << 20)];
        assert_eq!(found.iter().map(|l| (l.level, l.size, l.part)).collect::<Vec<_>>(), expected);
        let alone = levels(&caches(), 1);
        assert_eq!(alone.last().map(|level| (level.size, level.part)), Some((96 << 20, 48 << 20)));
    }
}
