//! The clock: the only code that reads the time.
//!
//! [`now`] is monotonic. On Linux it is `CLOCK_MONOTONIC`, on macOS `CLOCK_UPTIME_RAW` (what `std::time::Instant` reads
//! there), in nanoseconds since boot: all processes of a machine share its origin, so records of a parent and its
//! workers need no alignment.
//!
//! A thread can install a [`VirtualClock`], which only advances when the program advances it: the code on this thread then has
//! the same times on every machine. While no thread has one, a reading costs one relaxed load more than the system's clock.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::Nanos;

/// [`unix_time`] at the origin of a virtual clock: 2026-01-01 00:00 UTC.
pub const VIRTUAL_EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// The number of threads with a virtual clock. A thread that installs one raises the count before it reads [`VIRTUAL`], in
/// program order, and the readings of other threads do not depend on it: relaxed ordering suffices.
static VIRTUAL_CLOCKS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static VIRTUAL: Cell<Option<Nanos>> = const { Cell::new(None) };
}

/// The monotonic time since an arbitrary origin.
#[inline]
pub fn now() -> Nanos {
    if VIRTUAL_CLOCKS.load(Ordering::Relaxed) != 0
        && let Some(time) = VIRTUAL.get()
    {
        return time;
    }
    monotonic()
}

/// The wall time since 1970-01-01 00:00 UTC; on a virtual clock [`VIRTUAL_EPOCH`] plus [`now`].
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn unix_time() -> Duration {
    if is_virtual() {
        return VIRTUAL_EPOCH + Duration::from(now());
    }
    // A wall clock before 1970 is not set; this is zero then.
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Sleeps, or advances the virtual clock.
pub fn sleep(time: Nanos) {
    if !advance(time) {
        std::thread::sleep(time.into());
    }
}

/// Advances this thread's virtual clock; returns `false` if it has none.
pub fn advance(time: Nanos) -> bool {
    let Some(before) = VIRTUAL.get() else { return false };
    VIRTUAL.set(Some(before + time));
    true
}

/// Whether this thread has a virtual clock.
pub fn is_virtual() -> bool {
    VIRTUAL.get().is_some()
}

/// A clock that only [`advance`] and [`sleep`] advance.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock;

impl VirtualClock {
    /// Gives this thread a virtual clock that begins at zero, until the guard is dropped.
    pub fn install() -> VirtualClockGuard {
        VIRTUAL_CLOCKS.fetch_add(1, Ordering::Relaxed);
        VirtualClockGuard { before: VIRTUAL.replace(Some(Nanos::ZERO)), this_thread: PhantomData }
    }
}

/// Restores the thread's previous clock when it is dropped.
#[derive(Debug)]
#[must_use = "the clock is virtual only while this guard lives"]
pub struct VirtualClockGuard {
    before: Option<Nanos>,
    this_thread: PhantomData<*const ()>,
}

impl Drop for VirtualClockGuard {
    fn drop(&mut self) {
        VIRTUAL.set(self.before);
        VIRTUAL_CLOCKS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The resolution and the cost of the real clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precision {
    /// The smallest nonzero difference between two readings.
    pub step: Nanos,
    /// The time of one reading: the minimum over many short series.
    pub read: Nanos,
}

/// Measures the precision of the real clock; takes about a millisecond.
pub fn precision() -> Precision {
    const SERIES: usize = 64;
    const READINGS: u64 = 256;
    let mut result = Precision { step: Nanos::MAX, read: Nanos::MAX };
    for _ in 0..SERIES {
        let first = monotonic();
        let mut last = first;
        for _ in 0..READINGS {
            let reading = monotonic();
            if reading > last {
                result.step = result.step.min(reading - last);
            }
            last = reading;
        }
        result.read = result.read.min((last - first) / READINGS);
    }
    result
}

/// `std::time::Instant` reads the same clock but hides the number. Differences to an origin in this process would cost another
/// load and subtraction per reading, and processes could not share a time axis.
#[inline]
#[allow(unsafe_code, reason = "clock_gettime has no safe wrapper in std that yields the number")]
fn monotonic() -> Nanos {
    #[cfg(target_vendor = "apple")]
    const CLOCK: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
    #[cfg(not(target_vendor = "apple"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that lives through the call. The call fails only for an unknown clock id or an
    // invalid pointer; both are excluded, so its result can be ignored.
    unsafe { libc::clock_gettime(CLOCK, &raw mut time) };
    // Both fields are never negative on a monotonic clock.
    Nanos((time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_is_monotonic() {
        let mut last = now();
        for _ in 0..1000 {
            let reading = now();
            assert!(reading >= last);
            last = reading;
        }
        assert!(last > Nanos::ZERO);
        assert!(unix_time() > VIRTUAL_EPOCH);
    }

    #[test]
    fn virtual_time_advances_only_on_request() {
        let guard = VirtualClock::install();
        assert!(is_virtual());
        assert_eq!((now(), now()), (Nanos::ZERO, Nanos::ZERO));
        sleep(Nanos::from_secs(3600));
        assert!(advance(Nanos(5)));
        assert_eq!(now(), Nanos(3_600_000_000_005));
        assert_eq!(unix_time(), VIRTUAL_EPOCH + Duration::new(3600, 5));
        drop(guard);
        assert!(!is_virtual());
        assert!(!advance(Nanos(1)));
    }

    #[test]
    fn virtual_clocks_belong_to_one_thread_and_nest() {
        let outer = VirtualClock::install();
        advance(Nanos(7));
        {
            let _inner = VirtualClock::install();
            assert_eq!(now(), Nanos::ZERO);
            advance(Nanos(100));
        }
        assert_eq!(now(), Nanos(7));
        let other = std::thread::Builder::new().name("other".into()).spawn(|| (is_virtual(), now())).unwrap();
        let (is_virtual, time) = other.join().unwrap();
        assert!(!is_virtual);
        assert_ne!(time, Nanos(7));
        drop(outer);
    }

    #[test]
    fn precision_is_measured() {
        let precision = precision();
        assert!(precision.step > Nanos::ZERO);
        assert!(precision.read < Nanos::MAX);
    }
}
