//! A trace of a million ops: bytes, seconds and memory to write it, to summarise it and to compare it with another.
//!
//! `cargo bench -p traces --bench million`. The goals: under 120 MB and 5 s to write, under 3 s to summarise, in memory that
//! does not grow with the trace. Each step runs in its own process, whose peak memory is printed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it cannot go on")]

use std::path::Path;
use std::process::Command;

use traces::chrome::{self, Process, Writer};
use traces::record::{self, Complete, Config, Name};
use traces::{Nanos, check, clock, diff, summary};

static OPS: [Name; 15] = [
    Name::new("attn_norm"),
    Name::new("q_proj"),
    Name::new("k_proj"),
    Name::new("v_proj"),
    Name::new("rope"),
    Name::new("kv_write"),
    Name::new("attention"),
    Name::new("o_proj"),
    Name::new("attn_residual"),
    Name::new("ffn_norm"),
    Name::new("gate_proj"),
    Name::new("up_proj"),
    Name::new("silu_mul"),
    Name::new("down_proj"),
    Name::new("ffn_residual"),
];
const LAYERS: u64 = 32;
const STEPS: [&str; 4] = ["write", "check", "summary", "diff"];

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    match (words.next(), words.next(), words.next()) {
        (Some(step), Some(path), Some(spans)) => run(&step, Path::new(&path), spans.parse().unwrap()),
        _ => all(),
    }
}

/// Each step for a quarter of the spans and for all of them, to see what grows.
fn all() {
    let folder = tempfile::tempdir().unwrap();
    for spans in ["250000", "1000000"] {
        let path = folder.path().join(format!("{spans}.json"));
        for step in STEPS {
            let path = path.to_str().unwrap();
            Command::new(std::env::current_exe().unwrap()).args([step, path, spans]).status().unwrap();
        }
    }
}

fn run(step: &str, path: &Path, spans: u64) {
    let start = clock::now();
    let trace = || chrome::read(path).unwrap();
    let result = match step {
        "write" => write(path, spans),
        "check" => format!("{} problems", check::check(path).unwrap().problems.len()),
        "summary" => format!("{} rows", summary::summarise(&trace()).unwrap().rows.len()),
        _ => format!("{} phases", diff::diff(&[trace()], &[trace()]).unwrap().phases.len()),
    };
    let seconds = (clock::now() - start).as_secs_f64();
    println!("{spans:>8} spans  {step:<8} {seconds:6.2} s  {:>7}  {result}", peak());
}

fn write(path: &Path, spans: u64) -> String {
    let epoch = Nanos::from_secs(1_000_000);
    let mut writer = Writer::since(epoch, path, Process { pid: 65_432, name: "inferometer".into() }).unwrap();
    record::start(Config { per_thread: 1 << 16 });
    let (mut time, mut done) = (epoch, 0);
    static DECODE: Name = Name::new("decode");
    while done < spans {
        let start = time;
        for layer in 0..LAYERS {
            for name in &OPS {
                record::emit(Complete::op(name, layer as usize, [1, 4096, 4096], time, Nanos(19_123)));
                time += Nanos(20_007);
                done += 1;
            }
        }
        record::emit(Complete::span(&DECODE, record::Category::Phase, start, time - start));
        time += Nanos(5_000);
        if record::fullness() > 0.8 {
            writer.write(&record::drain()).unwrap();
        }
    }
    writer.write(&record::drain()).unwrap();
    let written = writer.finish().unwrap();
    format!("{:.1} MB, {:.1} B a span", written.bytes as f64 / 1e6, written.bytes as f64 / done as f64)
}

/// The peak memory of this process; `-` if the system does not report it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.map_or_else(|| "-".to_owned(), |kilobytes| format!("{:.0} MB", kilobytes * 1.024e-3))
}
