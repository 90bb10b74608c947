//! Peak memory of the decoder compared with the size of the file, one child process per case.
//!
//! `cargo run --release -p engines --example memory` makes the synthetic files (about 5 GB, kept in the cache folder), prints the
//! table, and fails if a case needs more than 1.15 times the size of its file. Linux only.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example prints, and panics on errors")]

use std::path::Path;
use std::process::{Command, ExitCode};

use engines::candle::Candle;
use engines::{Engine, LoadOptions};
use models::Checkpoint;
use models::fetch::Quiet;
use models::synth::{self, Quant, Recipe, TokenizerSource};

/// Prompt and new tokens of a case.
const PREFILL: usize = 128;
const DECODE: usize = 8;
/// Maximum ratio of the peak less the KV cache to the size of the file.
const LIMIT: f64 = 1.15;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, path] = arguments.as_slice()
        && flag == "--case"
    {
        measure(Path::new(path));
        return ExitCode::SUCCESS;
    }
    println!("prefill {PREFILL}, decode {DECODE}; peak = highest RssAnon + RssFile of the process\n");
    println!("| 1B | file MB | peak MB | of it anonymous | KV MB | (peak - KV) / file |\n|---|--:|--:|--:|--:|--:|");
    let entry = models::registry::find("llama-3.2-1b").expect("it is in the registry");
    let mut is_within = true;
    for quant in [Quant::Q4_0, Quant::Q4_1, Quant::Q8_0, Quant::Q4_K_M, Quant::F16] {
        let recipe =
            Recipe { name: "llama-3.2-1b", spec: &entry.spec(), quant, seed: 1, tokenizer: TokenizerSource::default() };
        let path = synth::write_cached(&recipe, &synth::cache_folder(), &Quiet).expect("the file can be made");
        let program = std::env::current_exe().expect("this program has a path");
        let output = Command::new(program).arg("--case").arg(&path).output().expect("a child process starts");
        assert!(output.status.success(), "{}: {}", quant.name(), String::from_utf8_lossy(&output.stderr));
        let line = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [file, peak, anonymous, kv] = numbers[..] else { panic!("the child printed {line:?}") };
        let ratio = (peak - kv) / file;
        is_within &= ratio <= LIMIT;
        let [file, peak, anonymous, kv] = [file, peak, anonymous, kv].map(|bytes| bytes / 1e6);
        println!("| {} | {file:.0} | {peak:.0} | {anonymous:.0} | {kv:.1} | {ratio:.3} |", quant.name());
    }
    if is_within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one case in this process and prints its bytes: file, peak, anonymous part at the end, KV cache.
fn measure(path: &Path) {
    let checkpoint = Checkpoint::open(path).expect("the file opens");
    let options = LoadOptions { threads: Candle::threads(), context: 256, ..LoadOptions::default() };
    let mut session = Candle::default().load(&checkpoint, &options).expect("it loads");
    let steps = session.steps().expect("a white box");
    let ids: Vec<u32> = (0..PREFILL as u32).collect();
    steps.prefill(&ids).expect("it runs");
    for _ in 0..DECODE {
        let token = steps.sample().expect("a token");
        steps.decode(token).expect("it runs");
    }
    // VmHWM is the peak of VmRSS, which is RssAnon + RssFile + RssShmem; there is no shared memory here.
    let kv = session.kv_bytes().expect("its cache is known").used;
    println!("{} {} {} {kv}", checkpoint.file_bytes().get(), status("VmHWM"), status("RssAnon"));
}

/// A line of `/proc/self/status`, in bytes.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = text.lines().find(|line| line.starts_with(key)).expect("it has this line");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    kilobytes * 1024
}
