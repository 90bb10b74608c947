//! What the thread that reads memory costs: its own account of CPU time against the time that it ran for, in a quiet process
//! and beside threads that compute. The bound is a thousandth of one core.
//!
//! `cargo run --release -p profiler --example memory_timer [SECONDS]`

#![allow(clippy::print_stdout, reason = "an example shows what it finds")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meter::Timeline;
use traces::{Nanos, clock};

/// Share of one core that it may take.
const BOUND: f64 = 0.001;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |text| text.parse::<u64>())?;
    watch("quiet", seconds)?;
    let stop = Arc::new(AtomicBool::new(false));
    let threads = std::thread::available_parallelism()?.get();
    let mut busy = Vec::new();
    for _ in 0..threads {
        let stop = Arc::clone(&stop);
        let work = move || {
            let mut sum = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
            }
        };
        busy.push(std::thread::Builder::new().name("busy".to_owned()).spawn(work)?);
    }
    watch("all processors busy", seconds)?;
    stop.store(true, Ordering::Relaxed);
    for thread in busy {
        let _ = thread.join();
    }
    Ok(())
}

fn watch(what: &str, seconds: u64) -> Result<(), Box<dyn std::error::Error>> {
    let timeline = Timeline::start()?;
    clock::sleep(Nanos::from_secs(seconds));
    let watched = timeline.finish();
    let Some(share) = watched.share() else {
        println!("{what}: this system does not tell the CPU time of a thread");
        return Ok(());
    };
    let per_reading = watched.cpu_s.unwrap_or_default() * 1e6 / watched.points.len() as f64;
    println!(
        "{what}: {} readings, {per_reading:.0} us each, {:.3} % of one core: {:.2} times the bound of {} %",
        watched.points.len(),
        share * 100.0,
        share / BOUND,
        BOUND * 100.0
    );
    Ok(())
}
