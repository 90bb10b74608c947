//! `inferometer run`: the command line becomes [`Options`], the library does the rest.

use std::path::{Path, PathBuf};

use ::engines::{FlashAttention, KvType};
use clap::{Args, ValueEnum};
use measure::plan;
use measure::plan::{DEFAULT_ENGINE, DEFAULT_RUNS, DEFAULT_SEED, Options};
use measure::run::{self, Context};
use meter::split_names;
use record::plan::{DEFAULT_PROMPTS, PromptChoice, TraceLevel};
use record::{RunFile, Status, files};
use traces::Nanos;

use super::failure::Code;
use super::progress::Live;
use super::{interrupt, output};

/// Measure engines, models and prompts; `inferometer` alone does it with every default
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Engine, as `name` or `name:variant` (see `engines list`), or as NAME=ENGINE to call it NAME; may be given several times
    #[arg(short, long = "engine", value_name = "ENGINE", help_heading = "What", default_value = DEFAULT_ENGINE)]
    engines: Vec<String>,
    /// Registry name, .gguf file, safetensors folder, config.json (with --synthetic) owner/repo or owner/repo:file; may be given several times [default: smollm2-135m; of a server: its own]
    #[arg(short, long = "model", value_name = "MODEL", help_heading = "What")]
    models: Vec<String>,
    /// A prompt set of this program, or a TOML file of your own
    #[arg(long, value_name = "SET|FILE", help_heading = "What", default_value = DEFAULT_PROMPTS, conflicts_with_all = ["prompt", "prompt_tokens"])]
    prompts: String,
    /// One prompt
    #[arg(long, value_name = "TEXT", help_heading = "What", conflicts_with = "prompt_tokens")]
    prompt: Option<String>,
    /// One prompt of exactly so many random tokens (implies --ignore-eos)
    #[arg(long, value_name = "N", help_heading = "What", value_parser = at_least_one)]
    prompt_tokens: Option<usize>,
    /// New tokens per request, at most [default: what the prompt says, else 128]
    #[arg(short, long, value_name = "N", help_heading = "What", value_parser = at_least_one)]
    new_tokens: Option<usize>,
    /// Random weights in the model's exact shape: nothing is downloaded (implies --ignore-eos)
    #[arg(long, help_heading = "What")]
    synthetic: bool,
    /// Quantisation of synthetic weights: f16, q4_0, q4_1, q8_0, q4_k_m
    #[arg(long, value_name = "Q", help_heading = "What", requires = "synthetic")]
    quant: Option<String>,
    /// A GGUF file whose tokenizer synthetic models take
    #[arg(long, value_name = "GGUF", help_heading = "What", requires = "synthetic")]
    header: Option<PathBuf>,

    /// Requests per case that count; with --precision the least number of them
    #[arg(short, long, value_name = "N", help_heading = "How", default_value_t = DEFAULT_RUNS, value_parser = at_least_one)]
    runs: usize,
    /// Go on until a difference of so many percent would be found nine times out of ten, such as 2%: between the first engine and each other one, or of one engine alone
    #[arg(long, value_name = "PERCENT", help_heading = "How", value_parser = percent)]
    precision: Option<f64>,
    /// End the rounds after this time, such as 90s, 5m or 1h; a round that has begun is finished [default: 10m with --precision, else none]
    #[arg(long, value_name = "TIME", help_heading = "How", value_parser = time)]
    budget: Option<Nanos>,
    /// Thread counts, separated by commas [default: the physical cores]
    #[arg(short, long, value_name = "N,...", help_heading = "How", value_delimiter = ',', value_parser = at_least_one)]
    threads: Vec<usize>,
    /// Tokens in the context before the prompt, separated by commas [default: 0]
    #[arg(long, value_name = "N,...", help_heading = "How", value_delimiter = ',')]
    depth: Vec<usize>,
    /// Warm-up requests after a session's first one [default: until steady]
    #[arg(long, value_name = "N", help_heading = "How")]
    warmup: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "N", help_heading = "How", default_value_t = DEFAULT_SEED)]
    seed: u64,
    /// Send prompts as they are, without the model's chat template
    #[arg(long, help_heading = "How")]
    raw: bool,
    /// Go on past the end token, so that every answer has its full length
    #[arg(long, help_heading = "How")]
    ignore_eos: bool,
    /// Drop the model file from the page cache before each load
    #[arg(long, help_heading = "How")]
    cold: bool,
    /// Longest time of one request in seconds
    #[arg(long, value_name = "S", help_heading = "How", value_parser = seconds)]
    timeout: Option<Nanos>,

    /// Tokens that the context holds [default: what is needed, rounded up to 256]
    #[arg(long, value_name = "N", help_heading = "Engine settings", value_parser = at_least_one)]
    ctx: Option<usize>,
    /// Element type of the KV cache
    #[arg(long, value_name = "T", help_heading = "Engine settings", value_enum, default_value_t)]
    kv_type: Kv,
    /// Fused attention
    #[arg(long, value_name = "WHEN", help_heading = "Engine settings", value_enum, default_value_t)]
    flash_attn: When,
    /// Prompt tokens per forward pass [default: the engine's]
    #[arg(long, value_name = "N", help_heading = "Engine settings", value_parser = at_least_one)]
    batch: Option<usize>,
    /// The device, such as cpu, cuda:0 or metal
    #[arg(long, value_name = "D", help_heading = "Engine settings", default_value = "cpu")]
    device: String,
    /// A setting of one engine, or of one NAME alone; may be given several times
    #[arg(long = "set", value_name = "ENGINE.KEY=VALUE", help_heading = "Engine settings", value_parser = setting)]
    settings: Vec<(String, String, String)>,

    /// Where the server answers that `-e openai` watches, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", help_heading = "A server")]
    url: Option<String>,
    /// Start this server, measure it and end it; `{port}` in the command stands for a free port
    #[arg(long, value_name = "COMMAND", help_heading = "A server", conflicts_with = "pid")]
    spawn: Option<String>,
    /// Process of the server, whose family is measured [default: the one that listens at the URL, where it is this machine]
    #[arg(long, value_name = "PID", help_heading = "A server")]
    pid: Option<u32>,

    /// How much is traced: nothing, requests and phases, or every operation in a pass of its own
    #[arg(long, value_name = "LEVEL", help_heading = "What is kept", value_enum, default_value_t)]
    trace: Level,
    /// Counters to read at phase edges, separated by commas (see `machine`) [default: those marked there]
    #[arg(long, value_name = "NAME,...", help_heading = "What is kept")]
    counters: Vec<String>,
    /// The run folder [default: a new one under runs/]
    #[arg(long, value_name = "DIR", help_heading = "What is kept", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with a run that was interrupted; give the same options
    #[arg(long, value_name = "DIR", help_heading = "What is kept")]
    resume: Option<PathBuf>,
    /// Show the plan; measure nothing and write nothing
    #[arg(long, help_heading = "What is kept")]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Kv {
    #[default]
    F16,
    F32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum When {
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Level {
    Off,
    Phases,
    #[default]
    Ops,
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("expected a whole number".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Nanos, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, such as 60 or 0.5".to_owned())?;
    if seconds > 0.0 && seconds < 1e9 {
        Ok(Nanos::from_secs_f64(seconds))
    } else {
        Err("expected more than 0 and less than 1e9 seconds".to_owned())
    }
}

/// `2` or `2%`: the share.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: f64 = number.parse().map_err(|_| "expected percent, such as 2 or 2%".to_owned())?;
    if percent > 0.0 && percent < 100.0 {
        Ok(percent / 100.0)
    } else {
        Err("expected more than 0 and less than 100 percent".to_owned())
    }
}

/// A number with its unit: `s` (also without one), `m` or `h`.
fn time(text: &str) -> Result<Nanos, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60.0),
        Some(number) if text.ends_with('h') => (number, 3600.0),
        Some(number) => (number, 1.0),
        None => (text, 1.0),
    };
    let number: f64 = number.parse().map_err(|_| "expected a time, such as 90s, 5m or 1h".to_owned())?;
    seconds(&(number * unit).to_string())
}

/// `ENGINE.KEY=VALUE`; the value may hold both signs again.
fn setting(text: &str) -> Result<(String, String, String), String> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value)));
    match parts {
        Some(((engine, key), value)) if !engine.is_empty() && !key.is_empty() => {
            Ok((engine.to_owned(), key.to_owned(), value.to_owned()))
        }
        _ => Err("expected ENGINE.KEY=VALUE, such as candle.x=1".to_owned()),
    }
}

impl Arguments {
    fn options(self) -> Options {
        let prompts = match (self.prompt, self.prompt_tokens) {
            (Some(text), _) => PromptChoice::Text(text),
            (None, Some(tokens)) => PromptChoice::Tokens(tokens),
            (None, None) => chosen(&self.prompts),
        };
        Options {
            engines: self.engines,
            models: self.models,
            prompts,
            new_tokens: self.new_tokens,
            runs: self.runs,
            precision: self.precision,
            budget: self.budget,
            threads: self.threads,
            depths: self.depth,
            warmup: self.warmup,
            seed: self.seed,
            raw: self.raw,
            ignore_eos: self.ignore_eos,
            cold: self.cold,
            ctx: self.ctx,
            kv_type: match self.kv_type {
                Kv::F16 => KvType::F16,
                Kv::F32 => KvType::F32,
            },
            flash_attention: match self.flash_attn {
                When::Auto => FlashAttention::Auto,
                When::On => FlashAttention::On,
                When::Off => FlashAttention::Off,
            },
            batch: self.batch,
            device: self.device.as_str().into(),
            settings: self.settings,
            url: self.url,
            spawn: self.spawn,
            pid: self.pid,
            trace: match self.trace {
                Level::Off => TraceLevel::Off,
                Level::Phases => TraceLevel::Phases,
                Level::Ops => TraceLevel::Ops,
            },
            counters: self.counters.iter().flat_map(|names| split_names(names)).collect(),
            synthetic: self.synthetic,
            quant: self.quant,
            header: self.header,
            out: self.out,
            resume: self.resume,
            timeout: self.timeout,
            dry_run: self.dry_run,
            command_line: crate::tool::redacted(
                std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()),
            ),
        }
    }
}

/// A name of a set stays one even beside a file of that name: `./seed` means the file.
fn chosen(text: &str) -> PromptChoice {
    let is_set = prompts::SETS.iter().any(|set| set.name == text);
    let path = Path::new(text);
    let looks_like_path = text.contains(['/', '\\']) || path.extension().is_some_and(|extension| extension == "toml");
    if !is_set && (looks_like_path || path.exists()) {
        PromptChoice::File(path.to_path_buf())
    } else {
        PromptChoice::Set(text.to_owned())
    }
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let options = arguments.options();
    if options.dry_run {
        output::print(plan::dry_run(&options, &meter::environment::capture(&[]))?.as_bytes())?;
        return Ok(Code::Done);
    }
    let interrupt = interrupt::listen()?;
    let live = Live::new();
    let outcome = {
        let _span = tracing::info_span!("run").entered();
        let binary = std::env::current_exe().map_err(record::Error::file(Path::new("/proc/self/exe"), "find"))?;
        let tool = crate::tool::tool();
        let context =
            Context { binary: &binary, tool: &tool, analyse: &analyse::derive, progress: &live, interrupt: &interrupt };
        run::execute(&options, context)
    };
    live.clear();
    let outcome = outcome?;
    let _span = tracing::info_span!("report").entered();
    report::write(&outcome.dir, &outcome.file)?;
    let mut shown = report::text(&report::content(&outcome.file).short(), output::text_options());
    shown.push_str(&closing(&outcome.dir));
    output::print(shown.as_bytes())?;
    Ok(code(&outcome.file))
}

/// Where to look further.
fn closing(dir: &Path) -> String {
    let mut lines = vec![String::new(), format!("report  {}", dir.join(files::REPORT_MARKDOWN).display())];
    let trace = dir.join(files::TRACE);
    if trace.exists() {
        lines.push(format!("trace   {} (open it at ui.perfetto.dev)", trace.display()));
    }
    lines.push(format!("all     inferometer report {}\n", dir.display()));
    lines.join("\n")
}

fn code(file: &RunFile) -> Code {
    if file.interrupted {
        return Code::Interrupted;
    }
    if file.cases.iter().all(|case| case.status == Status::Ok) { Code::Done } else { Code::SomeFailed }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: Arguments,
    }

    fn parsed(line: &str) -> Result<Options, clap::Error> {
        let words = std::iter::once("run").chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words).map(|line| line.run.options())
    }

    #[test]
    fn nothing_means_the_defaults() {
        let found = parsed("").unwrap();
        let expected = Options {
            engines: vec![DEFAULT_ENGINE.to_owned()],
            command_line: found.command_line.clone(),
            ..Options::default()
        };
        assert_eq!(found, expected);
        assert_eq!(plan::DEFAULT_NEW_TOKENS, 128, "the help text names it");
        assert_eq!(plan::DEFAULT_MODEL, "smollm2-135m", "the help text names it");
    }

    #[test]
    fn every_flag_arrives() {
        let found = parsed(
            "-e mock -e candle:stock -m a -m b --prompts smoke -n 7 -r 3 -t 1,2 --depth 0,64 --warmup 2 --seed 9 --raw --ignore-eos --cold --ctx 512 --kv-type f32 --flash-attn off \
             --batch 64 --device cuda:0 --set candle.a=b=c --url http://h:1 --pid 7 --trace phases --counters cycles,instructions --synthetic --quant q4_0 --header v.gguf --out d --timeout 1.5 --precision 2.5% --budget 5m --dry-run",
        )
        .unwrap();
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let expected = Options {
            engines: words(&["mock", "candle:stock"]),
            models: words(&["a", "b"]),
            prompts: PromptChoice::Set("smoke".to_owned()),
            new_tokens: Some(7),
            runs: 3,
            precision: Some(0.025),
            budget: Some(Nanos::from_secs(300)),
            threads: vec![1, 2],
            depths: vec![0, 64],
            warmup: Some(2),
            seed: 9,
            raw: true,
            ignore_eos: true,
            cold: true,
            ctx: Some(512),
            kv_type: KvType::F32,
            flash_attention: FlashAttention::Off,
            batch: Some(64),
            device: "cuda:0".into(),
            settings: vec![("candle".to_owned(), "a".to_owned(), "b=c".to_owned())],
            url: Some("http://h:1".to_owned()),
            spawn: None,
            pid: Some(7),
            trace: TraceLevel::Phases,
            counters: words(&["cycles", "instructions"]),
            synthetic: true,
            quant: Some("q4_0".to_owned()),
            header: Some(PathBuf::from("v.gguf")),
            out: Some(PathBuf::from("d")),
            resume: None,
            timeout: Some(Nanos::from_millis(1500)),
            dry_run: true,
            command_line: found.command_line.clone(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for line in [
            "--prompt a --prompts smoke",
            "--prompt a --prompt-tokens 5",
            "--out a --resume b",
            "-r 0",
            "-t 0",
            "-n x",
            "--timeout -1",
            "--precision 0",
            "--precision 100%",
            "--precision x",
            "--budget 5d",
            "--budget 0",
            "--set candle",
            "--spawn x --pid 7",
            "--pid x",
            "--quant q4_0",
            "--kv-type f8",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn percents_and_times_have_units() {
        assert_eq!([percent("2"), percent("2%"), percent("2 %")], [Ok(0.02), Ok(0.02), Ok(0.02)]);
        let seconds = |text: &str| time(text).map(Nanos::as_secs_f64);
        assert_eq!(
            [seconds("90"), seconds("90s"), seconds("1.5m"), seconds("1h")],
            [Ok(90.0), Ok(90.0), Ok(90.0), Ok(3600.0)]
        );
    }

    #[test]
    fn sets_and_files_are_told_apart() {
        assert_eq!(chosen("seed"), PromptChoice::Set("seed".to_owned()));
        assert_eq!(chosen("sed"), PromptChoice::Set("sed".to_owned()));
        assert_eq!(chosen("./seed"), PromptChoice::File(PathBuf::from("./seed")));
        assert_eq!(chosen("mine.toml"), PromptChoice::File(PathBuf::from("mine.toml")));
    }
}
