//! Memory over time: a background thread that reads it ten times a second and keeps account of what that costs. Never used in
//! the clean pass.

use record::Reason;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use traces::{Nanos, clock};

use super::platform::MemoryReader;

/// Time between two readings. Nearly all of the cost is waking up, 40 to 70 us on a virtual machine: ten times a second that is
/// less than a thousandth of a core.
const INTERVAL: Nanos = Nanos::from_millis(100);

/// Memory at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPoint {
    /// When.
    pub at: Nanos,
    /// Resident.
    pub resident: u64,
    /// Anonymous.
    pub anonymous: u64,
    /// Backed by files, and shared.
    pub file: u64,
}

/// A running background reader; [`Timeline::finish`] ends it.
#[derive(Debug)]
#[must_use = "the thread runs until finish is called"]
pub struct Timeline {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Watched>,
}

/// What a timeline read, and what that cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watched {
    /// The readings.
    pub points: Vec<MemoryPoint>,
    /// For how long the thread ran.
    pub time: Nanos,
    /// CPU time of the thread by the system's account, user and system, in seconds; `None` where the system does not tell.
    pub cpu_s: Option<f64>,
}

impl Watched {
    /// CPU time over time: the share of one core that the readings took. `None` where it did not run long enough for several.
    pub fn share(&self) -> Option<f64> {
        let enough = self.points.len() > 2 && self.time > INTERVAL * 2;
        self.cpu_s.filter(|_| enough).map(|cpu| cpu / self.time.as_secs_f64())
    }
}

impl Timeline {
    /// Starts reading.
    ///
    /// # Errors
    /// When the platform does not tell or the thread cannot be made.
    pub fn start() -> Result<Self, Reason> {
        let mut reader = MemoryReader::open()?;
        Self::start_with(move |at| reader.read(at))
    }

    /// Starts reading what a closure tells, such as the memory of other processes.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start_with(mut read: impl FnMut(Nanos) -> Option<MemoryPoint> + Send + 'static) -> Result<Self, Reason> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let body = move || {
            let began = clock::now();
            let mut points = Vec::with_capacity(1024);
            loop {
                if let Some(point) = read(clock::now()) {
                    points.push(point);
                }
                std::thread::park_timeout(INTERVAL.into());
                if told.load(Ordering::Relaxed) {
                    let time = clock::now().saturating_sub(began);
                    return Watched { points, time, cpu_s: super::platform::thread_cpu_seconds() };
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("memory".into())
            .spawn(body)
            .map_err(|error| reason!("the thread that reads memory could not be made: {error}"))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and takes what it read.
    pub fn finish(self) -> Watched {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_in_order_and_add_up() {
        let timeline = Timeline::start().unwrap();
        clock::sleep(Nanos::from_millis(350));
        let watched = timeline.finish();
        let points = &watched.points;
        assert!(!points.is_empty());
        assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(points.iter().all(|p| p.resident > 0 && p.anonymous + p.file == p.resident));
        if cfg!(target_os = "linux") {
            assert!(watched.cpu_s.unwrap() > 0.0, "{watched:?}");
        }
    }

    #[test]
    fn the_cost_is_a_share_of_one_core() {
        let point = MemoryPoint { at: Nanos(0), resident: 1, anonymous: 1, file: 0 };
        let watched = Watched { points: vec![point; 20], time: Nanos::from_secs(2), cpu_s: Some(0.001) };
        assert!((watched.share().unwrap() - 0.0005).abs() < 1e-12);
        assert_eq!(Watched { points: vec![point; 2], ..watched.clone() }.share(), None, "too short to tell");
        assert_eq!(Watched { cpu_s: None, ..watched }.share(), None);
    }
}
