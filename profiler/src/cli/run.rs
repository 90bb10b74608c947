//! `inferometer run`: turns the command line into [`Options`] and calls the libraries.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ::engines::FlashAttention;
use analyse::warnings::{self, Warning};
use clap::{Args, ValueEnum};
use measure::plan::{
    DEFAULT_ENGINE, DEFAULT_RUNS, DEFAULT_SEED, Design, EngineOptions, Instruments, Options, Output, ServerOptions,
    Subject, Workload,
};
use measure::prepare;
use measure::run::{self, Context};
use meter::split_counter_names;
use record::environment::Environment;
use record::plan::{DEFAULT_PROMPTS, PromptChoice, RUNS, TraceLevel};
use record::{Printable, RunFile, Status, files};
use redaction::Sensitive;
use traces::Nanos;

use super::advice::UsageError;
use super::failure::Code;
use super::kv_types::KvTypeFlags;
use super::progress::Live;
use super::{interrupt, output};

/// Measure engines, models and prompts; `inferometer` alone runs this with all defaults
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    engine: EngineSettings,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    kept: Kept,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What")]
struct What {
    /// Engine: `name` or `name:variant` (see `engines list`), or NAME=ENGINE for results under NAME; can be repeated
    #[arg(short, long = "engine", value_name = "ENGINE", default_value = DEFAULT_ENGINE, value_parser = not_empty)]
    engines: Vec<String>,
    /// Registry name, .gguf file, safetensors folder, config.json (with --synthetic), owner/repo or owner/repo:file; can be repeated [default: smollm2-135m; for a server: its model]
    #[arg(short, long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// A built-in prompt set, or a TOML file
    #[arg(long, value_name = "SET|FILE", default_value = DEFAULT_PROMPTS, conflicts_with_all = ["prompt", "prompt_file", "prompt_tokens"])]
    prompts: String,
    /// One prompt
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["prompt_file", "prompt_tokens"])]
    prompt: Option<String>,
    /// One prompt: the text of a file, without its last line end
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_tokens")]
    prompt_file: Option<PathBuf>,
    /// One prompt of exactly N random tokens (implies --ignore-eos)
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    prompt_tokens: Option<usize>,
    /// Maximal new tokens per request [default: as set by the prompt, else 128]
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    new_tokens: Option<usize>,
    /// Use random weights in the model's exact shape, without a download (implies --ignore-eos)
    #[arg(long)]
    synthetic: bool,
    /// Quantisation of synthetic weights: f16, q4_0, q4_1, q8_0, q4_k_m, mxfp4 [default: that of the registered file; q4_0 for a config.json]
    #[arg(long, value_name = "Q", requires = "synthetic")]
    quant: Option<String>,
    /// A GGUF file with the tokenizer for synthetic models
    #[arg(long, value_name = "GGUF", requires = "synthetic")]
    header: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
struct How {
    /// Measured requests per case; with --precision their minimal number
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_RUNS, value_parser = at_least_one)]
    runs: usize,
    /// Measure until a difference of PERCENT, such as 2%, is detectable with 90 % power: between the first engine and each other one, or of a single engine from a known figure
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    precision: Option<f64>,
    /// End the rounds after this time, such as 90s, 5m or 1h; the current round is finished [default: 10m with --precision, else none]
    #[arg(long, value_name = "TIME", value_parser = time)]
    budget: Option<Nanos>,
    /// Thread counts, separated by commas [default: the physical cores]
    #[arg(short, long, value_name = "N,...", value_delimiter = ',', value_parser = at_least_one)]
    threads: Vec<usize>,
    /// Tokens in the context before the prompt, separated by commas [default: 0]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = whole)]
    depth: Vec<usize>,
    /// Warm-up requests after the first request of a session [default: until steady]
    #[arg(long, value_name = "N", value_parser = whole)]
    warmup: Option<usize>,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEED)]
    seed: u64,
    /// Send prompts without the model's chat template
    #[arg(long)]
    raw: bool,
    /// Continue after the end token, so that every answer has its full length
    #[arg(long)]
    ignore_eos: bool,
    /// Drop the model file from the page cache before each load
    #[arg(long)]
    cold: bool,
    /// Time limit of one request in seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    timeout: Option<Nanos>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Engine settings")]
struct EngineSettings {
    /// Size of the context in tokens [default: as needed, rounded up to 256]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    ctx: Option<usize>,
    #[command(flatten)]
    kv: KvTypeFlags,
    /// Fused attention
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    flash_attn: When,
    /// Prompt tokens per forward pass [default: the engine's]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    batch: Option<usize>,
    /// The device, such as cpu, cuda:0 or metal
    #[arg(long, value_name = "D", default_value = "cpu", value_parser = not_empty)]
    device: String,
    /// A setting of an engine, or of an engine's NAME; can be repeated
    #[arg(long = "set", value_name = "ENGINE.KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String, Sensitive)>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "A server")]
struct Server {
    /// Address of the server that `-e openai` measures, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", value_parser = not_empty)]
    url: Option<String>,
    /// Start this server, measure it and stop it; `{port}` in the command is replaced by a free port
    #[arg(long, value_name = "COMMAND", conflicts_with = "pid", value_parser = not_empty)]
    spawn: Option<String>,
    /// Process id of the server; its process tree is measured [default: the process that listens at the URL, if it is on this machine]
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What is kept")]
struct Kept {
    /// What to trace: nothing, requests and phases, or every operation in a separate pass
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    trace: Level,
    /// Counters to read at the edges of phases, separated by commas (see `machine`) [default: those marked there]
    #[arg(long, value_name = "NAME,...")]
    counters: Vec<String>,
    /// The run folder [default: a new one under runs/]
    #[arg(short, long, visible_alias = "output", value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue an interrupted run, by its folder or its name below runs/; give the same options
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Show the plan without measuring or writing anything
    #[arg(long)]
    dry_run: bool,
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

fn whole(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number that is not negative".to_owned())
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("expected a text that is not empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn seconds(text: &str) -> Result<Nanos, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, such as 60 or 0.5".to_owned())?;
    if seconds > 0.0 && seconds < 1e9 {
        Ok(Nanos::from_secs_f64(seconds))
    } else {
        Err("expected more than 0 and less than 1e9 seconds".to_owned())
    }
}

/// `2` or `2%` as a share.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: f64 = number.parse().map_err(|_| "expected percent, such as 2 or 2%".to_owned())?;
    if percent > 0.0 && percent < 100.0 {
        Ok(percent / 100.0)
    } else {
        Err("expected more than 0 and less than 100 percent".to_owned())
    }
}

/// A number with a unit: `s` (also without a unit), `m` or `h`.
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

/// `ENGINE.KEY=VALUE`; the value may contain `.` and `=`.
fn setting(text: &str) -> Result<(String, String, Sensitive), String> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value)));
    match parts {
        Some(((engine, key), value)) if !engine.is_empty() && !key.is_empty() => {
            Ok((engine.to_owned(), key.to_owned(), Sensitive::setting(key, value)))
        }
        _ => Err("expected ENGINE.KEY=VALUE, such as candle.x=1".to_owned()),
    }
}

impl Arguments {
    /// Reads the file of `--prompt-file` as the prompt.
    fn with_prompt_of_file(mut self) -> anyhow::Result<Self> {
        if let Some(path) = self.what.prompt_file.take() {
            let text = text_input::read(&path).map_err(record::Error::text(&path))?;
            let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
            if text.trim().is_empty() {
                let problem = format!("--prompt-file {}: the file has no text", path.display());
                return Err(
                    UsageError::new(problem, "give a file with a text, or leave it out for the seed prompts").into()
                );
            }
            self.what.prompt = Some(text.to_owned());
        }
        Ok(self)
    }

    fn options(self) -> Options {
        let Self { what, how, engine, server, kept } = self;
        let prompts = match (what.prompt, what.prompt_tokens) {
            (Some(text), _) => PromptChoice::Text(text),
            (None, Some(tokens)) => PromptChoice::Tokens(tokens),
            (None, None) => prompt_choice(&what.prompts),
        };
        Options {
            subject: Subject {
                engines: what.engines,
                models: what.models,
                synthetic: what.synthetic,
                quant: what.quant,
                header: what.header,
            },
            workload: Workload {
                prompts,
                new_tokens: what.new_tokens,
                depths: how.depth,
                raw: how.raw,
                ignore_eos: how.ignore_eos,
            },
            engine: EngineOptions {
                threads: how.threads,
                context: engine.ctx,
                kv_type: engine.kv.types(),
                flash_attention: match engine.flash_attn {
                    When::Auto => FlashAttention::Auto,
                    When::On => FlashAttention::On,
                    When::Off => FlashAttention::Off,
                },
                batch: engine.batch,
                device: engine.device.as_str().into(),
                settings: engine.settings,
            },
            server: ServerOptions {
                url: server.url.as_deref().map(Sensitive::address),
                spawn: server.spawn.as_deref().map(Sensitive::command),
                pid: server.pid,
            },
            design: Design {
                runs: how.runs,
                precision: how.precision,
                budget: how.budget,
                warmup: how.warmup,
                seed: how.seed,
                cold: how.cold,
                timeout: how.timeout,
            },
            instruments: Instruments {
                trace: match kept.trace {
                    Level::Off => TraceLevel::Off,
                    Level::Phases => TraceLevel::Phases,
                    Level::Ops => TraceLevel::Ops,
                },
                counters: kept.counters.iter().flat_map(|names| split_counter_names(names)).collect(),
            },
            output: Output { out: kept.out, resume: kept.resume, command_line: crate::tool::command_line() },
        }
    }
}

/// The name of a set takes precedence over a file of that name; `./seed` is the file.
fn prompt_choice(text: &str) -> PromptChoice {
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
    let dry_run = arguments.kept.dry_run;
    let mut options = arguments.with_prompt_of_file()?.options();
    if let Some(resume) = &mut options.output.resume {
        *resume = record::place(Path::new(RUNS), resume)?;
    }
    if dry_run {
        let environment = meter::environment::capture(&[]);
        let mut plan = prepare::dry_run(&options, &environment)?;
        for warning in warnings_of_plan(&options, &environment) {
            // Writing to a string does not fail.
            let _ = writeln!(plan, "{:<9} {warning}", "warning");
        }
        output::print(&Printable::new(&plan))?;
        return Ok(Code::Done);
    }
    let interrupt = interrupt::listen()?;
    let live = Live::new();
    let outcome = {
        let _span = tracing::info_span!("run").entered();
        let binary = std::env::current_exe().map_err(record::Error::file(Path::new("/proc/self/exe"), "find"))?;
        let tool = crate::tool::tool();
        let context = Context {
            binary: &binary,
            tool: &tool,
            analyse: &analyse::findings,
            progress: &live,
            interrupt: &interrupt,
        };
        run::execute(&options, context)
    };
    live.clear();
    let outcome = outcome?;
    let _span = tracing::info_span!("report").entered();
    report::write(&outcome.dir, &outcome.file)?;
    let mut shown = report::text(&report::content(&outcome.file).short(), output::text_options());
    shown.push_str(&closing(&outcome.dir));
    output::print(&Printable::styled(&shown))?;
    Ok(code(&outcome.file))
}

/// The warnings of a run that follow from its options alone: those about the threads of this program's engines.
fn warnings_of_plan(options: &Options, environment: &Environment) -> Vec<String> {
    let is_server = |engine: &String| {
        let name = engine.split_once('=').map_or(engine.as_str(), |(_, name)| name);
        ::engines::registry::find(name).is_ok_and(|entry| entry.open().is_ok_and(|engine| engine.caps().remote))
    };
    if options.subject.engines.iter().all(is_server) && !options.server.takes_threads() {
        return Vec::new();
    }
    let is_about_threads =
        |warning: &Warning| matches!(warning, Warning::Oversubscribed(..) | Warning::ProcessorLimit(..));
    let found = warnings::before(environment, &crate::tool::tool(), &options.engine.threads);
    found.iter().filter(|warning| is_about_threads(warning)).map(Warning::text).collect()
}

/// The lines at the end: paths of report and trace.
fn closing(dir: &Path) -> String {
    let mut lines = vec![String::new(), format!("report  {}", dir.join(files::REPORT_MARKDOWN).display())];
    let trace = dir.join(files::TRACE);
    if trace.exists() {
        lines.push(format!("trace   {} (open it at ui.perfetto.dev)", trace.display()));
    }
    lines.push(format!("more    `inferometer report {}` prints the whole report\n", dir.display()));
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
    use ::engines::{KvType, KvTypes};
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
    fn no_arguments_mean_the_defaults() {
        let found = parsed("").unwrap();
        let mut expected = Options::default();
        expected.subject.engines = vec![DEFAULT_ENGINE.to_owned()];
        expected.output.command_line.clone_from(&found.output.command_line);
        assert_eq!(found, expected);
        assert_eq!(measure::plan::DEFAULT_NEW_TOKENS, 128, "the help text names it");
        assert_eq!(measure::plan::DEFAULT_MODEL, "smollm2-135m", "the help text names it");
    }

    #[test]
    fn every_flag_arrives() {
        let found = parsed(
            "-e mock -e candle:stock -m a -m b --prompts smoke -n 7 -r 3 -t 1,2 --depth 0,64 --warmup 2 --seed 9 --raw --ignore-eos --cold --ctx 512 --kv-type f32 --kv-type-k q8_0 --kv-type-v iq4_nl --flash-attn off \
             --batch 64 --device cuda:0 --set candle.a=b=c --url http://h:1 --pid 7 --trace phases --counters cycles,instructions --synthetic --quant q4_0 --header v.gguf --out d --timeout 1.5 --precision 2.5% --budget 5m",
        )
        .unwrap();
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let expected = Options {
            subject: Subject {
                engines: words(&["mock", "candle:stock"]),
                models: words(&["a", "b"]),
                synthetic: true,
                quant: Some("q4_0".to_owned()),
                header: Some(PathBuf::from("v.gguf")),
            },
            workload: Workload {
                prompts: PromptChoice::Set("smoke".to_owned()),
                new_tokens: Some(7),
                depths: vec![0, 64],
                raw: true,
                ignore_eos: true,
            },
            engine: EngineOptions {
                threads: vec![1, 2],
                context: Some(512),
                kv_type: KvTypes { keys: KvType::Q8_0, values: KvType::IQ4_NL },
                flash_attention: FlashAttention::Off,
                batch: Some(64),
                device: "cuda:0".into(),
                settings: vec![("candle".to_owned(), "a".to_owned(), Sensitive::setting("a", "b=c"))],
            },
            server: ServerOptions { url: Some(Sensitive::address("http://h:1")), spawn: None, pid: Some(7) },
            design: Design {
                runs: 3,
                precision: Some(0.025),
                budget: Some(Nanos::from_secs(300)),
                warmup: Some(2),
                seed: 9,
                cold: true,
                timeout: Some(Nanos::from_millis(1500)),
            },
            instruments: Instruments { trace: TraceLevel::Phases, counters: words(&["cycles", "instructions"]) },
            output: Output {
                out: Some(PathBuf::from("d")),
                resume: None,
                command_line: found.output.command_line.clone(),
            },
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_type_of_the_cache_is_that_of_both_or_of_each() {
        let types = |line: &str| parsed(line).unwrap().engine.kv_type;
        let (f16, q8_0) = (KvType::F16, KvType::Q8_0);
        assert_eq!(types(""), f16.into());
        assert_eq!(types("--kv-type q8_0"), q8_0.into());
        assert_eq!(types("--kv-type-k q8_0"), KvTypes { keys: q8_0, values: f16 });
        assert_eq!(types("--kv-type q8_0 --kv-type-v f32"), KvTypes { keys: q8_0, values: KvType::F32 });
        let error = parsed("--kv-type f8").unwrap_err().to_string();
        assert!(KvType::all().all(|kv_type| error.contains(kv_type.name())), "{error}");
    }

    #[test]
    fn conflicting_arguments_are_errors() {
        for line in [
            "--prompt a --prompts smoke",
            "--prompt a --prompt-tokens 5",
            "--prompt a --prompt-file f",
            "--engine= ",
            "--url=",
            "-n -1",
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
            "--kv-type-k f16,f16",
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
    fn sets_and_files_are_distinguished() {
        assert_eq!(prompt_choice("seed"), PromptChoice::Set("seed".to_owned()));
        assert_eq!(prompt_choice("sed"), PromptChoice::Set("sed".to_owned()));
        assert_eq!(prompt_choice("./seed"), PromptChoice::File(PathBuf::from("./seed")));
        assert_eq!(prompt_choice("mine.toml"), PromptChoice::File(PathBuf::from("mine.toml")));
    }
}
