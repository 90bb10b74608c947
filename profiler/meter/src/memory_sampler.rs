//! [`MemorySampler`]: a background thread that reads memory ten times a second and measures its own cost. The clean pass never
//! uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use record::Reason;
use traces::{Nanos, clock};

use crate::memory::MemoryPoint;
use crate::platform::{self, MemoryReader};

/// Time between two readings. Nearly all of the cost is waking up, 40 to 70 us on a virtual machine: at ten times a second that
/// is less than a thousandth of a core.
const INTERVAL: Nanos = Nanos::from_millis(100);

/// A running background reader; [`MemorySampler::finish`] ends it.
#[derive(Debug)]
#[must_use = "the thread runs until finish is called"]
pub struct MemorySampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<MemorySamples>,
}

/// The readings of a sampler, and their cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemorySamples {
    /// The readings.
    pub points: Vec<MemoryPoint>,
    /// How long the thread ran.
    pub time: Nanos,
    /// CPU time of the thread, user and system, in seconds; `None` where the system does not report it per thread.
    pub cpu_s: Option<f64>,
}

impl MemorySamples {
    /// CPU time over time: the share of one core that the readings used. `None` where the thread ran too briefly for several.
    pub fn cpu_share(&self) -> Option<f64> {
        let enough = self.points.len() > 2 && self.time > INTERVAL * 2;
        self.cpu_s.filter(|_| enough).map(|cpu| cpu / self.time.as_secs_f64())
    }
}

impl MemorySampler {
    /// Starts to sample this process.
    ///
    /// # Errors
    /// When the platform does not report memory or the thread cannot be created.
    pub fn start() -> Result<Self, Reason> {
        let mut reader = MemoryReader::open()?;
        Self::start_with(move |at| reader.read(at))
    }

    /// Starts to sample what a function returns, such as the memory of other processes.
    ///
    /// # Errors
    /// When the thread cannot be created.
    pub fn start_with(mut read: impl FnMut(Nanos) -> Option<MemoryPoint> + Send + 'static) -> Result<Self, Reason> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let body = move || {
            let began = clock::now();
            let mut points = Vec::with_capacity(1024);
            loop {
                if let Some(point) = read(clock::now()) {
                    points.push(point);
                }
                std::thread::park_timeout(INTERVAL.into());
                if stopped.load(Ordering::Relaxed) {
                    let time = clock::now().saturating_sub(began);
                    return MemorySamples { points, time, cpu_s: platform::thread_cpu_seconds() };
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("memory".into())
            .spawn(body)
            .map_err(|error| reason!("the thread that reads memory could not be created: {error}"))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and returns its readings.
    pub fn finish(self) -> MemorySamples {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // A panic of the thread is a bug: it must not become an empty timeline.
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_in_order_and_add_up() {
        let sampler = MemorySampler::start().unwrap();
        clock::sleep(Nanos::from_millis(350));
        let samples = sampler.finish();
        let points = &samples.points;
        assert!(!points.is_empty());
        assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(points.iter().all(|p| p.resident > 0 && p.anonymous + p.file == p.resident));
        if cfg!(target_os = "linux") {
            assert!(samples.cpu_s.unwrap() > 0.0, "{samples:?}");
        }
    }

    #[test]
    fn the_cost_is_a_share_of_one_core() {
        let point = MemoryPoint { at: Nanos(0), resident: 1, anonymous: 1, file: 0 };
        let samples = MemorySamples { points: vec![point; 20], time: Nanos::from_secs(2), cpu_s: Some(0.001) };
        assert!((samples.cpu_share().unwrap() - 0.0005).abs() < 1e-12);
        assert_eq!(MemorySamples { points: vec![point; 2], ..samples.clone() }.cpu_share(), None, "too short to know");
        assert_eq!(MemorySamples { cpu_s: None, ..samples }.cpu_share(), None);
    }
}
