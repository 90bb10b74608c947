//! The decoder of this project compared with candle-transformers' `quantized_llama`, in one process, on the same threads, interleaved.
//!
//! Prints a table and asserts nothing. `INFEROMETER_BENCH_THREADS` (default 2) is the number of threads, `INFEROMETER_SMOLLM2` the path
//! of the smollm2 file, `INFEROMETER_BENCH_ROUNDS` (default 3) the number of rounds, `INFEROMETER_BENCH_DEPTHS` (default `0,2048`) the
//! numbers of tokens in the cache before a measurement. Arguments select files by name. Synthetic files are made once and kept in the
//! cache folder. Run it on an idle machine.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and panics on errors")]

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use engines::candle::Candle;
use engines::{Engine, LoadOptions, Session};
use models::fetch::Quiet;
use models::synth::{self, Quant, Recipe, TokenizerSource};
use models::{Checkpoint, DType, TensorInfo};
use traces::clock;

/// Tokens per decode measurement.
const DECODED: usize = 16;
/// Prompt lengths.
const PROMPTS: [usize; 2] = [64, 512];

/// candle reads the environment variables of its thread count once, so that the process starts itself again with them.
fn main() {
    let threads = std::env::var("INFEROMETER_BENCH_THREADS").unwrap_or_else(|_| "2".to_owned());
    if std::env::var("CANDLE_NUM_THREADS").as_ref() != Ok(&threads) {
        let program = std::env::current_exe().expect("this program has a path");
        let status = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env("CANDLE_NUM_THREADS", &threads)
            .env("RAYON_NUM_THREADS", &threads)
            .status()
            .expect("it starts again");
        assert!(status.success(), "the benchmark failed: {status}");
        return;
    }
    let rounds = std::env::var("INFEROMETER_BENCH_ROUNDS").map_or(3, |n| n.parse().expect("a number of rounds"));
    println!(
        "tokens per second on {} threads, medians of {rounds} interleaved rounds; ratio = ours / stock\n",
        Candle::threads()
    );
    println!("| file | test | depth | ours | stock | ratio |\n|---|---|--:|--:|--:|--:|");
    for (name, path) in files() {
        match path {
            Ok(path) => compare(&name, &path, rounds),
            Err(reason) => println!("| {name} | skipped: {reason} | | | | |"),
        }
    }
}

/// The path of a file, or why it is not available.
type FilePath = Result<PathBuf, Box<dyn Error>>;

/// Each file by name.
fn files() -> Vec<(String, FilePath)> {
    let smollm2 = std::env::var_os("INFEROMETER_SMOLLM2").map(PathBuf::from).filter(|path| path.exists());
    let smollm2 = smollm2.ok_or_else(|| "INFEROMETER_SMOLLM2 is not the path of a file".into());
    let mut files = vec![("smollm2 q4_1".to_owned(), smollm2)];
    let entry = models::registry::find("llama-3.2-1b");
    for quant in [Quant::Q4_0, Quant::Q4_K_M, Quant::Q8_0] {
        let entry = entry.as_ref().expect("it is in the registry");
        let recipe =
            Recipe { name: "llama-3.2-1b", spec: &entry.spec(), quant, seed: 1, tokenizer: TokenizerSource::default() };
        let path = synth::write_cached(&recipe, &synth::cache_folder(), &Quiet).map_err(Into::into);
        files.push((format!("1B {}", quant.name().to_lowercase()), path));
    }
    let names: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    files.retain(|(name, _)| names.is_empty() || names.iter().any(|part| name.contains(part.as_str())));
    files
}

/// Numbers of tokens in the cache before a measurement.
fn depths() -> Vec<usize> {
    let depths = std::env::var("INFEROMETER_BENCH_DEPTHS").unwrap_or_else(|_| "0,2048".to_owned());
    depths.split(',').map(|depth| depth.trim().parse().expect("a depth is a number")).collect()
}

/// Seconds of a prefill and of the decode after it.
#[derive(Clone, Copy)]
struct Times {
    prefill: f64,
    decode: f64,
}

fn compare(name: &str, path: &Path, rounds: usize) {
    let checkpoint = Checkpoint::open(path).expect("the file opens");
    let vocab = u32::try_from(checkpoint.spec().unwrap().vocab).expect("a vocabulary");
    let depths = depths();
    let context = depths.iter().max().expect("one depth at least") + PROMPTS[1] + DECODED;
    let options = LoadOptions { threads: Candle::threads(), context, ..LoadOptions::default() };
    let mut ours = Candle::default().load(&checkpoint, &options).expect("our decoder loads it");
    let mut file = File::open(path).expect("the file opens");
    let content = Content::read(&mut file).expect("candle reads it");
    let mut stock = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).expect("the stock decoder loads it");
    for depth in depths {
        for prompt in PROMPTS {
            let ids: Vec<u32> = (0..depth + prompt + DECODED).map(|i| (i as u32).wrapping_mul(7919) % vocab).collect();
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for round in 0..=rounds {
                // The order alternates, so that neither always runs after the other.
                let pair = if round % 2 == 0 {
                    let first = run_ours(ours.as_mut(), &ids, depth, prompt);
                    (first, run_stock(&mut stock, &ids, depth, prompt))
                } else {
                    let first = run_stock(&mut stock, &ids, depth, prompt);
                    (run_ours(ours.as_mut(), &ids, depth, prompt), first)
                };
                if round > 0 {
                    a.push(pair.0);
                    b.push(pair.1);
                }
            }
            row(name, &format!("prefill {prompt}"), depth, prompt, &a, &b, |times| times.prefill);
            if prompt == PROMPTS[0] {
                row(name, &format!("decode {DECODED}"), depth + prompt, DECODED, &a, &b, |times| times.decode);
            }
        }
    }
    packed_copies(name, &checkpoint);
}

fn row(name: &str, test: &str, depth: usize, tokens: usize, ours: &[Times], stock: &[Times], of: fn(&Times) -> f64) {
    let median = |times: &[Times]| {
        let mut times: Vec<f64> = times.iter().map(of).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (ours, stock) = (median(ours), median(stock));
    let tokens = tokens as f64;
    println!("| {name} | {test} | {depth} | {:.1} | {:.1} | {:.2} |", tokens / ours, tokens / stock, stock / ours);
}

fn run_ours(session: &mut dyn Session, ids: &[u32], depth: usize, prompt: usize) -> Times {
    session.reset().expect("it resets");
    let steps = session.steps().expect("a white box");
    if depth > 0 {
        steps.prefill(&ids[..depth]).expect("it runs");
    }
    let start = clock::now();
    steps.prefill(&ids[depth..depth + prompt]).expect("it runs");
    let middle = clock::now();
    for id in &ids[depth + prompt..] {
        steps.decode(*id).expect("it runs");
    }
    let end = clock::now();
    Times { prefill: (middle - start).as_secs_f64(), decode: (end - middle).as_secs_f64() }
}

fn run_stock(model: &mut ModelWeights, ids: &[u32], depth: usize, prompt: usize) -> Times {
    model.clear_kv_cache();
    let mut forward = |from: usize, to: usize| {
        let input = Tensor::new(&ids[from..to], &Device::Cpu).and_then(|ids| ids.unsqueeze(0)).expect("a tensor");
        model.forward(&input, from).expect("it runs");
    };
    if depth > 0 {
        forward(0, depth);
    }
    let start = clock::now();
    forward(depth, depth + prompt);
    let middle = clock::now();
    for at in depth + prompt..ids.len() {
        forward(at, at + 1);
    }
    let end = clock::now();
    Times { prefill: (middle - start).as_secs_f64(), decode: (end - middle).as_secs_f64() }
}

/// Size of candle's packed copies: 6 bits per weight for Q4_K (4.5 in the file), 8.5 for Q8_0 (8.5), 10 for Q6_K (6.6).
fn packed_copies(name: &str, checkpoint: &Checkpoint) {
    // Q6_K is packed for products with several rows, which the output projection never has.
    let packed_bits = |info: &TensorInfo| match info.dtype {
        DType::Q4_K => Some(6.0),
        DType::Q8_0 => Some(8.5),
        DType::Q6_K if info.name.starts_with("blk.") => Some(10.0),
        _ => None,
    };
    let matrices = checkpoint
        .tensors()
        .iter()
        .filter(|info| info.shape.len() == 2 && info.shape[0] % 16 == 0 && info.shape[1] % 256 == 0);
    let bytes: f64 = matrices
        .filter_map(|info| packed_bits(info).map(|bits| info.shape.iter().product::<usize>() as f64 * bits / 8.0))
        .sum();
    if bytes > 0.0 {
        let file = checkpoint.file_bytes().as_f64();
        println!(
            "| {name} | stock keeps packed copies of {:.0} MB beside a file of {:.0} MB | | | | |",
            bytes / 1e6,
            file / 1e6
        );
    }
}
