//! `proc_pid_rusage`: the layout of its structure, its two versions, its units.
//!
//! `struct rusage_info_v6` of xnu's bsd/sys/resource.h is 16 bytes of UUID and 56 words of 64 bits; version 4 is its first 35.
//! Times are in Mach ticks, which on Apple Silicon are not nanoseconds.

use super::system::{Answer, Question, System};
use record::Reason;

/// Bytes of the structure in version 6 and in version 4.
pub(crate) const BYTES: usize = 464;
pub(crate) const BYTES_V4: usize = 296;
/// Bytes before the first word.
const UUID: usize = 16;

/// A word of the structure, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    UserTime = 0,
    SystemTime = 1,
    Pageins = 4,
    ResidentSize = 6,
    Footprint = 7,
    Started = 8,
    ChildUserTime = 10,
    ChildSystemTime = 11,
    ChildPageins = 14,
    BytesRead = 16,
    BytesWritten = 17,
    Instructions = 29,
    Cycles = 30,
    IntervalMaxFootprint = 33,
    PerformanceUserTime = 36,
    PerformanceSystemTime = 37,
    PerformanceInstructions = 38,
    PerformanceCycles = 39,
    EnergyNanojoules = 40,
    PerformanceEnergyNanojoules = 41,
}

impl Field {
    /// Its offset in the structure, in bytes.
    pub(crate) const fn offset(self) -> usize {
        UUID + 8 * self as usize
    }
}

/// One answer of `proc_pid_rusage`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rusage(Answer<BYTES>);

/// The version that the kernel has. It is found out once, so that a reading is one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Six,
    Four,
}

impl Version {
    fn number(self) -> u8 {
        if self == Self::Six { 6 } else { 4 }
    }
}

impl Rusage {
    /// Reads version 6, or version 4 where the kernel does not have it (before macOS 13).
    ///
    /// # Errors
    /// When version 4 is refused too.
    pub(crate) fn first(system: &dyn System, pid: u32) -> Result<(Self, Version), Reason> {
        Self::read(system, pid, Version::Six)
            .map(|found| (found, Version::Six))
            .or_else(|_| Ok((Self::read(system, pid, Version::Four)?, Version::Four)))
    }

    /// Reads this version.
    ///
    /// # Errors
    /// When the call is refused or its answer has another length.
    pub(crate) fn read(system: &dyn System, pid: u32, version: Version) -> Result<Self, Reason> {
        let answer = Answer::to(system, Question::Rusage { pid, version: version.number() })?;
        let (expected, found) = (if version == Version::Six { BYTES } else { BYTES_V4 }, answer.bytes().len());
        if found != expected {
            return Err(reason!("proc_pid_rusage of process {pid}: expected {expected} bytes, found {found}"));
        }
        Ok(Self(answer))
    }

    /// The word; `None` where this version does not have it.
    pub(crate) fn field(&self, field: Field) -> Option<u64> {
        self.0.u64(field.offset())
    }

    /// User and system time, in ticks.
    pub(crate) fn ticks(&self) -> Option<u64> {
        Some(self.field(Field::UserTime)?.saturating_add(self.field(Field::SystemTime)?))
    }

    /// The same on performance cores.
    pub(crate) fn performance_ticks(&self) -> Option<u64> {
        Some(self.field(Field::PerformanceUserTime)?.saturating_add(self.field(Field::PerformanceSystemTime)?))
    }

    /// `efficiency = all - performance`: the structure has figures of all cores and of performance cores.
    pub(crate) fn efficiency(&self, all: Field, performance: Field) -> Option<u64> {
        self.field(all)?.checked_sub(self.field(performance)?)
    }
}

/// The length of a Mach tick: `numerator / denominator` ns, 125/3 on Apple Silicon, 1/1 on Intel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timebase {
    numerator: u64,
    denominator: u64,
}

impl Timebase {
    /// Reads it.
    ///
    /// # Errors
    /// When the call fails; times cannot be converted then.
    pub(crate) fn read(system: &dyn System) -> Result<Self, Reason> {
        let answer: Answer<8> = Answer::to(system, Question::Timebase)?;
        match (answer.u32(0), answer.u32(4)) {
            (Some(numerator), Some(denominator)) if numerator > 0 && denominator > 0 => {
                Ok(Self { numerator: u64::from(numerator), denominator: u64::from(denominator) })
            }
            (numerator, denominator) => Err(reason!(
                "mach_timebase_info: expected two numbers above 0, found {numerator:?} and {denominator:?}"
            )),
        }
    }

    /// `us = ticks x numerator / denominator / 1000`
    pub(crate) fn micros(self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks) * u128::from(self.numerator) / u128::from(self.denominator);
        u64::try_from(nanos / 1000).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorded::{Recorded, rusage, v4};
    use super::super::system::Refusal;
    use super::*;

    #[test]
    fn version_six_has_performance_cores_and_energy() {
        let bytes = rusage(&[(Field::Cycles, 900), (Field::PerformanceCycles, 700), (Field::EnergyNanojoules, 5)]);
        let system = Recorded::default().with(Question::Rusage { pid: 7, version: 6 }, bytes);
        let (info, version) = Rusage::first(&system, 7).unwrap();
        assert_eq!(version, Version::Six);
        assert_eq!(info.efficiency(Field::Cycles, Field::PerformanceCycles), Some(200));
        assert_eq!(info.field(Field::EnergyNanojoules), Some(5));
    }

    #[test]
    fn on_an_older_kernel_version_four_is_read_and_the_rest_is_absent() {
        let system = Recorded::default()
            .refusing(Question::Rusage { pid: 7, version: 6 }, Refusal::Errno(22))
            .with(Question::Rusage { pid: 7, version: 4 }, v4(&[(Field::Cycles, 900), (Field::Footprint, 4096)]));
        let (info, version) = Rusage::first(&system, 7).unwrap();
        assert_eq!(version, Version::Four);
        assert_eq!((info.field(Field::Cycles), info.field(Field::Footprint)), (Some(900), Some(4096)));
        assert_eq!(info.field(Field::PerformanceCycles), None);
        assert_eq!(info.efficiency(Field::Cycles, Field::PerformanceCycles), None);
        assert_eq!(info.performance_ticks(), None);
    }

    #[test]
    fn refusals_have_advice() {
        let refused = |errno| {
            let system = Recorded::default()
                .refusing(Question::Rusage { pid: 1, version: 6 }, Refusal::Errno(errno))
                .refusing(Question::Rusage { pid: 1, version: 4 }, Refusal::Errno(errno));
            Rusage::first(&system, 1).unwrap_err()
        };
        insta::assert_snapshot!(refused(1), @"proc_pid_rusage, version 4, of process 1: it belongs to another user; run as that user, or with sudo");
        insta::assert_snapshot!(refused(3), @"proc_pid_rusage, version 4, of process 1: no such process");
        insta::assert_snapshot!(refused(22), @"proc_pid_rusage, version 4, of process 1: refused with error 22");
    }

    #[test]
    fn a_short_answer_is_refused() {
        let system = Recorded::default()
            .with(Question::Rusage { pid: 7, version: 6 }, vec![0; 100])
            .with(Question::Rusage { pid: 7, version: 4 }, vec![0; 100]);
        insta::assert_snapshot!(Rusage::first(&system, 7).unwrap_err(), @"proc_pid_rusage of process 7: expected 296 bytes, found 100");
    }

    #[test]
    fn ticks_of_apple_silicon_are_not_nanoseconds() {
        let timebase = |numerator: u32, denominator: u32| {
            let bytes = [numerator.to_ne_bytes(), denominator.to_ne_bytes()].concat();
            Timebase::read(&Recorded::default().with(Question::Timebase, bytes))
        };
        assert_eq!(timebase(125, 3).unwrap().micros(24_000_000), 1_000_000);
        assert_eq!(timebase(1, 1).unwrap().micros(24_000_000), 24_000);
        assert_eq!(timebase(125, 3).unwrap().micros(u64::MAX / 2), 384_307_168_202_282_325);
        insta::assert_snapshot!(timebase(0, 0).unwrap_err(), @"mach_timebase_info: expected two numbers above 0, found Some(0) and Some(0)");
    }
}
