//! [`Prober`]: measures limits of the machine with the threads of its process.

mod file;
mod kernels;
mod memory;
mod repeat;
mod team;

use std::hint::black_box;
use std::sync::Mutex;

use record::environment::Cache;
use record::{CacheCeiling, CacheCeilings, Reason, Reasons, Recorded, Spread, ThreadCeilings};
use statistics::median;
use traces::{Nanos, clock};

use crate::protocol::{MachineCeilings, ProberCommand, ProberReply, ShortProbe};
use crate::working_set::{Level, levels};
use kernels::{dot, fault, fma, read};
use memory::{Buffer, Pages};
use repeat::{Effort, REPETITIONS, rates, repeat};
use team::Team;

/// The durations of one repetition of a full measurement.
const MEMORY: Effort = Effort::millis(50);
const CACHE: Effort = Effort::millis(15);
const COMPUTE: Effort = Effort::millis(20);
const DISPATCH: Effort = Effort::millis(5);
/// A short probe: about ten passes over memory, of which the median counts, and a few short computations.
const SHORT_MEMORY: Effort = Effort { each: Nanos::from_millis(9), repetitions: 8 };
const SHORT_COMPUTE: Effort = Effort { each: Nanos::from_millis(4), repetitions: 5 };
/// Bytes that are touched to measure the time of a page fault.
const FAULTS: usize = 32 << 20;

/// Measures limits. It keeps its buffer between two short probes if there is ample memory.
#[derive(Debug, Default)]
pub(crate) struct Prober {
    buffer: Option<Buffer>,
}

impl Prober {
    /// Measures a limit.
    pub(crate) fn probe(&mut self, command: &ProberCommand) -> ProberReply {
        match command {
            ProberCommand::Threads { caches, bytes } => ProberReply::Threads(all(caches, *bytes)),
            ProberCommand::Machine { folder } => ProberReply::Machine(machine_wide(folder)),
            ProberCommand::Short { threads, bytes } => ProberReply::Short(self.short(*threads, *bytes)),
        }
    }

    fn short(&mut self, threads: usize, bytes: u64) -> ShortProbe {
        let team = Team::of(threads);
        let buffer = match self.buffer.take() {
            Some(buffer) => Ok(buffer),
            None => Buffer::new(Team::whole(), bytes, Pages::Small),
        };
        let memory = buffer.and_then(|buffer| {
            let rates = buffer.read(team, SHORT_MEMORY)?;
            if memory::is_ample(bytes) {
                self.buffer = Some(buffer);
            }
            Ok(rates)
        });
        let compute = dots(team, SHORT_COMPUTE).or_else(|_| Ok(multiply_adds(team, SHORT_COMPUTE)));
        let middle = |rates: Result<Vec<f64>, Reason>| {
            Recorded::from(rates.and_then(|rates| median(&rates).ok_or_else(|| CLOCK.into())))
        };
        ShortProbe { memory_read: middle(memory), compute: middle(compute), notes: Reasons::new() }
    }
}

/// Why a rate is absent although the measurement worked.
const CLOCK: &str = "the clock did not advance";

/// Every limit that depends on the number of threads, with all threads.
fn all(caches: &[Cache], bytes: u64) -> ThreadCeilings {
    let team = Team::whole();
    let memory = |pages: Pages| Buffer::new(team, bytes, pages).and_then(|buffer| buffer.read(team, MEMORY));
    let memory_read = spread(memory(Pages::Small));
    let memory_read_huge = spread(memory(Pages::Huge));
    let copy = spread(memory::copy(team, bytes, MEMORY));
    let fma_f32 = spread(Ok(multiply_adds(team, COMPUTE)));
    let dot_i8 = spread(dots(team, COMPUTE));
    let dispatch_s = spread(Ok(dispatch(team)));
    let measured = levels(caches, team.size()).into_iter().map(|level| {
        let of_level = |read| CacheCeiling { level: level.level, size_bytes: level.size, read };
        (level.level, spread(cache(team, level)).map(of_level))
    });
    let measured: Vec<_> = measured.collect();
    let without_caches = match caches {
        [] => "the system does not report its caches",
        _ => "no level of cache was measured",
    };
    ThreadCeilings {
        threads: team.size(),
        memory_read,
        memory_read_huge,
        caches: CacheCeilings::new(measured, without_caches),
        copy,
        fma_f32,
        dot_i8,
        dispatch_s,
        notes: Reasons::new(),
    }
}

/// The spread of repetitions.
fn spread(values: Result<Vec<f64>, Reason>) -> Recorded<Spread> {
    values.and_then(|values| Spread::of(&values).ok_or_else(|| CLOCK.into())).into()
}

/// Bytes per second from a level of cache: `threads x part / time of a pass`. Each thread reads its own part.
fn cache(team: Team, level: Level) -> Result<Vec<f64>, Reason> {
    if level.part == 0 {
        return Err("the share of a thread is smaller than a page".into());
    }
    let part = || {
        let mut part = vec![0; level.part];
        let sum = read::fill(&mut part);
        (part, sum)
    };
    let parts: Vec<(Vec<u8>, u64)> = (0..team.size()).map(|_| part()).collect();
    let sums: Vec<Mutex<u64>> = parts.iter().map(|_| Mutex::new(0)).collect();
    let mut all = 0_u64;
    let seconds = repeat(CACHE, |passes| {
        all += passes;
        team.run(|member| {
            let (Some((part, _)), Some(Ok(mut sum))) = (parts.get(member), sums.get(member).map(Mutex::lock)) else {
                return;
            };
            for _ in 0..passes {
                *sum = sum.wrapping_add(read::sum::<1>(black_box(part)));
            }
        });
    });
    let right =
        |((_, once), sum): (&(Vec<u8>, u64), &Mutex<u64>)| sum.lock().is_ok_and(|sum| *sum == once.wrapping_mul(all));
    if !parts.iter().zip(&sums).all(right) {
        return Err("the sums of the data are wrong: the figure is invalid".into());
    }
    Ok(rates((level.part * team.size()) as u64, &seconds))
}

/// Floating-point operations per second: `threads x operations of a pass / time of a pass`.
fn multiply_adds(team: Team, effort: Effort) -> Vec<f64> {
    let kernel = fma::Loop::best();
    let seconds = repeat(effort, |passes| {
        team.run(|_| {
            black_box(kernel.run(passes));
        });
    });
    rates(kernel.operations() * team.size() as u64, &seconds)
}

/// 8-bit operations per second, in the same way.
fn dots(team: Team, effort: Effort) -> Result<Vec<f64>, Reason> {
    let kernel = dot::Loop::best().ok_or(dot::ABSENT)?;
    let seconds = repeat(effort, |passes| {
        team.run(|_| {
            black_box(kernel.run(passes));
        });
    });
    Ok(rates(kernel.operations() * team.size() as u64, &seconds))
}

/// Seconds to start empty work on all threads and to wait for its end, many times in a row, so that the threads are still waiting in
/// their loop, as between two operations of a decoder.
fn dispatch(team: Team) -> Vec<f64> {
    repeat(DISPATCH, |passes| {
        for _ in 0..passes {
            team.run(|member| {
                black_box(member);
            });
        }
    })
}

fn machine_wide(folder: &std::path::Path) -> MachineCeilings {
    let (cold, warm) = file::read(folder);
    MachineCeilings {
        file_read_cold: spread(cold),
        file_read_warm: spread(warm),
        page_fault_s: spread(faults()),
        notes: Reasons::new(),
    }
}

/// Seconds per page of the first touch: `time / pages`, one thread, a fresh mapping each time.
fn faults() -> Result<Vec<f64>, Reason> {
    let page = usize::try_from(meter::environment::page_bytes()).map_err(|error| Reason::new(error.to_string()))?;
    let pages = (FAULTS / page) as f64;
    let once = || {
        let mut map = memory::map(FAULTS, Pages::Small)?;
        let start = clock::now();
        fault::touch(&mut map, page);
        Ok(clock::now().saturating_sub(start).as_secs_f64() / pages)
    };
    (0..REPETITIONS).map(|_| once()).collect()
}

#[cfg(test)]
mod tests {
    use record::environment::CacheKind;

    use super::*;

    #[test]
    fn every_limit_has_a_value_or_a_reason() {
        let cache = |level, bytes| Cache { level, kind: CacheKind::Unified, bytes, instances: 1 };
        let found = all(&[cache(1, 256 << 10), cache(2, 0)], 8 << 20);
        assert_eq!(found.threads, engines::threads::count());
        let fields = [
            ("memory_read", &found.memory_read),
            ("memory_read_huge", &found.memory_read_huge),
            ("copy", &found.copy),
            ("fma_f32", &found.fma_f32),
            ("dot_i8", &found.dot_i8),
            ("dispatch_s", &found.dispatch_s),
        ];
        for (name, spread) in fields {
            match spread {
                Recorded::Present(spread) => assert!(
                    spread.n >= 5 && 0.0 < spread.low && spread.low <= spread.median && spread.median <= spread.high,
                    "{name}: {spread:?}"
                ),
                Recorded::Absent(reason) => assert!(!reason.as_str().is_empty(), "{name} has no reason"),
            }
        }
        assert_eq!(found.caches.len(), 1, "{found:?}");
        assert!(found.caches.reason_of(2).is_some());
        assert_eq!(found.dot_i8.is_present(), dot::Loop::best().is_some());
        assert_eq!(all(&[], 8 << 20).caches.reason().unwrap(), &"the system does not report its caches");
    }

    #[test]
    fn short_probes_measure_both() {
        let mut prober = Prober::default();
        for _ in 0..2 {
            let ProberReply::Short(short) = prober.probe(&ProberCommand::Short { threads: 1, bytes: 8 << 20 }) else {
                panic!("a reply of the wrong type");
            };
            assert!(short.memory_read.value() > Some(0.0) && short.compute.value() > Some(0.0), "{short:?}");
        }
    }

    #[test]
    fn page_faults_take_time() {
        assert!(faults().unwrap().iter().all(|seconds| *seconds > 0.0));
    }
}
