//! Anonymous memory in pages of a known size, and the rates at which a team reads and copies it.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;
use meter::Root;
use meter::environment::{read_limits, read_memory};
use record::Reason;

use super::kernels::read;
use super::repeat::{Effort, rates, repeat};
use super::team::Team;

/// Streams that a thread reads in parallel from memory.
const STREAMS: usize = 8;
/// Units of a buffer per member of the team that fills it, so that a smaller team can divide them nearly evenly.
const UNITS: usize = 8;
/// Units begin at multiples of this: the size of a huge page.
const HUGE: usize = 2 << 20;
/// Available memory must be this many times a buffer, so that other processes are not affected.
const MARGIN: u64 = 2;

/// The size of the pages that memory is mapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// The smallest: 4 KiB on most machines.
    Small,
    /// 2 MiB, if the system supports them.
    Huge,
}

/// A mapping whose pages were not touched yet.
pub(super) fn map(bytes: usize, pages: Pages) -> Result<MmapMut, Reason> {
    let map =
        MmapMut::map_anon(bytes).map_err(|error| Reason::new(format!("{bytes} bytes cannot be mapped: {error}")))?;
    advise(&map, pages)?;
    Ok(map)
}

#[cfg(target_os = "linux")]
fn advise(map: &MmapMut, pages: Pages) -> Result<(), Reason> {
    use memmap2::Advice;

    let (advice, name) = match pages {
        Pages::Small => (Advice::NoHugePage, "MADV_NOHUGEPAGE"),
        Pages::Huge => (Advice::HugePage, "MADV_HUGEPAGE"),
    };
    match map.advise(advice) {
        // A kernel without transparent huge pages rejects both advices, and has only small pages.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && pages == Pages::Small => Ok(()),
        other => other.map_err(|error| Reason::new(format!("{name} is refused: {error}"))),
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_map: &MmapMut, pages: Pages) -> Result<(), Reason> {
    match pages {
        Pages::Small => Ok(()),
        Pages::Huge => Err("this system has no request for huge pages".into()),
    }
}

/// A buffer that a team has filled. It consists of units; each member of a team reads a contiguous range of them.
#[derive(Debug)]
pub(super) struct Buffer {
    map: MmapMut,
    pages: Pages,
    unit: usize,
    /// The correct sum of each unit.
    sums: Vec<u64>,
}

impl Buffer {
    /// A buffer of about `bytes`. The member that reads a unit touches it first.
    pub(super) fn new(team: Team, bytes: u64, pages: Pages) -> Result<Self, Reason> {
        affordable(bytes)?;
        let bytes = usize::try_from(bytes).map_err(|_| "the buffer exceeds the address space")?;
        let units = team.size() * UNITS;
        let unit = (bytes / units).next_multiple_of(HUGE);
        // A mapping may begin inside a huge page.
        let mut map = map(unit * units + HUGE, pages)?;
        let slack = slack(&map);
        let sums: Vec<AtomicU64> = (0..units).map(|_| AtomicU64::new(0)).collect();
        {
            let (_, aligned) = map.split_at_mut(slack);
            let parts: Vec<Mutex<&mut [u8]>> = aligned.chunks_exact_mut(unit).map(Mutex::new).collect();
            team.run(|member| {
                for index in share(member, team.size(), units) {
                    let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
                    sums[index].store(read::fill(&mut part), Ordering::Relaxed);
                }
            });
        }
        let sums = sums.into_iter().map(AtomicU64::into_inner).collect();
        Ok(Self { map, pages, unit, sums })
    }

    /// Bytes that a team reads in one pass.
    pub(super) fn bytes(&self) -> u64 {
        (self.unit * self.sums.len()) as u64
    }

    fn unit(&self, index: usize) -> &[u8] {
        let first = slack(&self.map) + index * self.unit;
        &self.map[first..first + self.unit]
    }

    /// Bytes per second that a team reads, one value per repetition: `bytes / time of a pass`, where a pass ends when the slowest
    /// member has read its part. `team` may be smaller than the one that filled the buffer.
    ///
    /// # Errors
    /// When the pages are not of the requested size, or the sums are wrong.
    pub(super) fn read(&self, team: Team, effort: Effort) -> Result<Vec<f64>, Reason> {
        self.check_pages()?;
        let wrong = AtomicU64::new(0);
        let seconds = repeat(effort, |passes| {
            for _ in 0..passes {
                team.run(|member| {
                    for index in share(member, team.size(), self.sums.len()) {
                        let sum = read::sum::<STREAMS>(black_box(self.unit(index)));
                        if self.sums[index] != sum {
                            wrong.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        match wrong.into_inner() {
            0 => Ok(rates(self.bytes(), &seconds)),
            wrong => Err(Reason::new(format!("{wrong} sums of the memory are wrong: the figure is invalid"))),
        }
    }

    #[cfg(target_os = "linux")]
    fn check_pages(&self) -> Result<(), Reason> {
        /// Share of a buffer that must be in huge pages for the figure to be valid.
        const NEEDED: f64 = 0.9;
        if self.pages == Pages::Small {
            return Ok(());
        }
        let huge = huge_bytes(&Root::system().text("/proc/self/smaps")?, self.map.as_ptr().addr(), self.map.len())?;
        let share = huge as f64 / self.bytes() as f64;
        if share >= NEEDED {
            return Ok(());
        }
        Err(Reason::new(format!(
            "only {:.0} % of the buffer is in huge pages (see transparent_hugepage/enabled; memory may be fragmented)",
            share * 100.0
        )))
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unnecessary_wraps, reason = "the same signature on every system")]
    fn check_pages(&self) -> Result<(), Reason> {
        debug_assert!(self.pages == Pages::Small, "huge pages are not supported");
        Ok(())
    }
}

/// Bytes per second that a team copies from one half of `bytes` to the other; each byte is counted once.
///
/// # Errors
/// When memory does not suffice, or the copy differs from the original.
pub(super) fn copy(team: Team, bytes: u64, effort: Effort) -> Result<Vec<f64>, Reason> {
    let source = Buffer::new(team, bytes / 2, Pages::Small)?;
    let mut target = map(source.unit * source.sums.len(), Pages::Small)?;
    let parts: Vec<Mutex<&mut [u8]>> = target.chunks_exact_mut(source.unit).map(Mutex::new).collect();
    let seconds = repeat(effort, |passes| {
        for _ in 0..passes {
            team.run(|member| {
                for index in share(member, team.size(), parts.len()) {
                    let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
                    part.copy_from_slice(black_box(source.unit(index)));
                    black_box(&mut **part);
                }
            });
        }
    });
    drop(parts);
    let copied = target.chunks_exact(source.unit).map(read::sum::<1>).collect::<Vec<_>>();
    if copied != source.sums {
        return Err("the copy differs from the original: the figure is invalid".into());
    }
    Ok(rates(source.bytes(), &seconds))
}

/// The contiguous range of units of a member.
fn share(member: usize, members: usize, units: usize) -> Range<usize> {
    member * units / members..(member + 1) * units / members
}

/// Bytes before the first whole huge page of a mapping.
fn slack(map: &MmapMut) -> usize {
    map.as_ptr().align_offset(HUGE).min(HUGE)
}

/// Whether the buffer may stay allocated between two probes: available memory is at least ten times its size.
pub(super) fn is_ample(bytes: u64) -> bool {
    available().is_none_or(|available| available >= bytes.saturating_mul(10))
}

fn affordable(bytes: u64) -> Result<(), Reason> {
    match available() {
        Some(available) if available < bytes.saturating_mul(MARGIN) => Err(Reason::new(format!(
            "{} of memory are available, and the measurement needs {} twice",
            models::Bytes(available),
            models::Bytes(bytes)
        ))),
        _ => Ok(()),
    }
}

/// Available memory by the system and the control groups; `None` if neither reports it.
fn available() -> Option<u64> {
    let root = Root::system();
    let known = [read_memory(&root).available_bytes.value(), read_limits(&root).memory_bytes.value()];
    known.into_iter().flatten().min()
}

/// `AnonHugePages` of the mappings in `smaps` that overlap a range.
#[cfg(target_os = "linux")]
fn huge_bytes(smaps: &str, start: usize, length: usize) -> Result<u64, Reason> {
    let mut inside = false;
    let mut bytes = 0;
    for line in smaps.lines() {
        if let Some((first, last)) = range(line) {
            inside = first < start + length && last > start;
        } else if inside && let Some(rest) = line.strip_prefix("AnonHugePages:") {
            let number = rest.trim().trim_end_matches(" kB");
            let kibibytes: u64 = number.parse().map_err(|_| {
                Reason::new(format!("/proc/self/smaps: AnonHugePages: expected a number of kB, found `{number}`"))
            })?;
            bytes += kibibytes * 1024;
        }
    }
    Ok(bytes)
}

/// `7f00-7f80 rw-p ...` -> both addresses.
#[cfg(target_os = "linux")]
fn range(line: &str) -> Option<(usize, usize)> {
    let (first, last) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(first, 16).ok()?, usize::from_str_radix(last, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use traces::Nanos;

    use super::*;

    const QUICK: Effort = Effort { each: Nanos(1), repetitions: 2 };
    const BYTES: u64 = 8 << 20;

    #[test]
    fn a_team_reads_what_it_wrote() {
        let team = Team::whole();
        let buffer = Buffer::new(team, BYTES, Pages::Small).unwrap();
        assert!(buffer.bytes() >= BYTES);
        for team in [team, Team::of(1)] {
            let rates = buffer.read(team, QUICK).unwrap();
            assert!(rates.len() == 2 && rates.iter().all(|rate| *rate > 0.0), "{rates:?}");
        }
    }

    #[test]
    fn a_wrong_byte_is_an_error() {
        let mut buffer = Buffer::new(Team::of(1), BYTES, Pages::Small).unwrap();
        let slack = slack(&buffer.map);
        buffer.map[slack + 12_345] ^= 1;
        assert!(buffer.read(Team::of(1), QUICK).unwrap_err().as_str().contains("wrong"));
    }

    #[test]
    fn every_unit_has_one_member() {
        for (members, units) in [(1, 8), (3, 32), (4, 32), (5, 8)] {
            let all: Vec<usize> = (0..members).flat_map(|member| share(member, members, units)).collect();
            assert_eq!(all, (0..units).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_copy_is_checked_and_rated() {
        let rates = copy(Team::whole(), BYTES, QUICK).unwrap();
        assert!(rates.iter().all(|rate| *rate > 0.0), "{rates:?}");
    }

    #[test]
    fn more_memory_than_is_available_is_a_reason() {
        if available().is_some() {
            assert!(Buffer::new(Team::of(1), 1 << 60, Pages::Small).unwrap_err().as_str().contains("available"));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn huge_pages_are_counted_or_refused() {
        match Buffer::new(Team::of(1), BYTES, Pages::Huge).and_then(|buffer| buffer.read(Team::of(1), QUICK)) {
            Ok(rates) => assert!(rates.iter().all(|rate| *rate > 0.0)),
            Err(reason) => {
                assert!(
                    reason.as_str().contains("huge pages") || reason.as_str().contains("MADV_HUGEPAGE"),
                    "{reason}"
                );
            }
        }
        let smaps = "1000-3000 rw-p 00000000 00:00 0\nSize: 8 kB\nAnonHugePages:      2048 kB\n3000-5000 rw-p 00000000 00:00 0 \nAnonHugePages:  4096 kB\n";
        assert_eq!(huge_bytes(smaps, 0x1000, 0x1000), Ok(2048 << 10));
        assert_eq!(huge_bytes(smaps, 0x2000, 0x2000), Ok(6144 << 10));
        assert_eq!(huge_bytes(smaps, 0x6000, 0x10), Ok(0));
        assert!(huge_bytes("1000-3000 rw-p 0 00:00 0\nAnonHugePages: many kB\n", 0x1000, 1).is_err());
    }
}
