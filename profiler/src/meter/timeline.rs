//! Memory over time: a background thread that reads it 20 times a second. Never used in the clean pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use traces::{Nanos, clock};

use super::platform::MemoryReader;

/// Time between two readings: 20 a second cost about a thousandth of a core.
const INTERVAL: Nanos = Nanos::from_millis(50);

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
    thread: JoinHandle<Vec<MemoryPoint>>,
}

impl Timeline {
    /// Starts reading.
    ///
    /// # Errors
    /// When the platform does not tell or the thread cannot be made.
    pub fn start() -> Result<Self, String> {
        let mut reader = MemoryReader::open()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let body = move || {
            let mut points = Vec::with_capacity(1024);
            loop {
                if let Some(point) = reader.read(clock::now()) {
                    points.push(point);
                }
                std::thread::park_timeout(INTERVAL.into());
                if told.load(Ordering::Relaxed) {
                    return points;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("memory".into())
            .spawn(body)
            .map_err(|error| format!("the thread that reads memory could not be made: {error}"))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and takes what it read.
    pub fn finish(self) -> Vec<MemoryPoint> {
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
        clock::sleep(Nanos::from_millis(120));
        let points = timeline.finish();
        assert!(!points.is_empty());
        assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(points.iter().all(|p| p.resident > 0 && p.anonymous + p.file == p.resident));
    }
}
