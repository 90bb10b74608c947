//! Cost of the thread that samples memory: its CPU time over its run time, in an idle process and next to threads that
//! compute. The bound is a thousandth of one core.
//!
//! `cargo run --release -p meter --example memory_timer [SECONDS]`

#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meter::MemorySampler;
use traces::{Nanos, clock};

/// Share of one core that it may use.
const BOUND: f64 = 0.001;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |text| text.parse::<u64>())?;
    measure("quiet", seconds)?;
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
    measure("all processors busy", seconds)?;
    stop.store(true, Ordering::Relaxed);
    for thread in busy {
        let _ = thread.join();
    }
    Ok(())
}

fn measure(what: &str, seconds: u64) -> Result<(), Box<dyn std::error::Error>> {
    let sampler = MemorySampler::start()?;
    clock::sleep(Nanos::from_secs(seconds));
    let samples = sampler.finish();
    let Some(share) = samples.cpu_share() else {
        println!("{what}: this system does not report the CPU time of a thread");
        return Ok(());
    };
    let per_reading = samples.cpu_s.unwrap_or_default() * 1e6 / samples.points.len() as f64;
    println!(
        "{what}: {} readings, {per_reading:.0} us each, {:.3} % of one core: {:.2} times the bound of {} %",
        samples.points.len(),
        share * 100.0,
        share / BOUND,
        BOUND * 100.0
    );
    Ok(())
}
