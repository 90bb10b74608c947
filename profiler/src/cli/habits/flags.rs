//! [`FLAGS`]: options of other programs, and this program's for each, or why there is none.
//!
//! Spellings are those of `llama-bench --help`, `llama-cli --help`, `llama-server --help`, `hyperfine --help`, `vllm bench --help` and
//! `mlx_lm.benchmark --help`. An option that this program has under the same name and meaning is not in the table.

use super::answer::{Answer, list, switch, words};
use super::conversions::{
    depth, device, each, flash_attention, generated, gpu_layers, kv_type, masks, number, numbers, off_or_on, on_or_off,
    one, output_format, parameter_list, prompt, prompt_and_generation,
};

/// An option of another program.
pub(super) struct Flag {
    /// Its spellings.
    pub(super) names: &'static [&'static str],
    /// The program that has it.
    of: &'static str,
    /// Another program that has an option of this name, where it can be told by the value.
    other: Option<(IsOther, &'static str)>,
    /// The words after it.
    pub(super) values: Values,
    /// What it becomes; `None` where the value shows that this program's own option is meant.
    pub(super) ours: fn(&[String]) -> Option<Answer>,
    /// Whether the value must not be printed.
    pub(super) is_secret: bool,
    /// The answer for the documentation.
    #[allow(dead_code, reason = "docs/from-other-tools.md is generated from it, by a test")]
    pub(super) documented: &'static str,
}

/// Whether a value is one of the other program.
type IsOther = fn(&str) -> bool;

impl Flag {
    /// The program whose option was typed, with these values.
    pub(super) fn of(&self, values: &[String]) -> &'static str {
        match (self.other, values.first()) {
            (Some((is_other, program)), Some(value)) if is_other(value) => program,
            _ => self.of,
        }
    }

    /// Whether only hyperfine has it.
    fn is_of_hyperfine(&self) -> bool {
        self.of == HYPERFINE && self.other.is_none()
    }

    /// Every program that has it.
    #[cfg(test)]
    pub(super) fn programs(&self) -> String {
        let other = self.other.map(|(_, program)| format!(", {program}")).unwrap_or_default();
        format!("{}{other}", self.of)
    }

    /// The same, where texts that are no numbers are those of another program.
    const fn with_texts_of(self, program: &'static str) -> Self {
        Self { other: Some((is_text, program)), ..self }
    }
}

/// Whether some of these words is an option that only hyperfine has: then its short options have its meaning.
pub(super) fn are_of_hyperfine<'a>(words: impl IntoIterator<Item = &'a str>) -> bool {
    words.into_iter().any(|word| {
        let name = word.split('=').next().unwrap_or_default();
        FLAGS.iter().any(|flag| flag.is_of_hyperfine() && flag.names.contains(&name))
    })
}

/// Short options of hyperfine that other programs or this one have with another meaning, and their long forms.
pub(super) const SHORT_OF_HYPERFINE: [(&str, &str); 6] = [
    ("-C", "--conclude"),
    ("-c", "--cleanup"),
    ("-m", "--min-runs"),
    ("-n", "--command-name"),
    ("-p", "--prepare"),
    ("-s", "--setup"),
];

fn is_text(value: &str) -> bool {
    list(value).is_none()
}

/// How many words belong to an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    None,
    /// `0`, `1`, `on`, `off` or `auto`, or none.
    Switch,
    Number(usize),
}

impl Values {
    /// The number of words, of which the first is `next`.
    pub(super) fn count(self, next: Option<&str>) -> usize {
        match self {
            Self::None => 0,
            Self::Switch => usize::from(next.is_some_and(|next| next.split(',').all(|part| switch(part).is_some()))),
            Self::Number(count) => count,
        }
    }
}

const BENCH: &str = "llama-bench";
const CLI: &str = "llama-cli";
const LLAMA: &str = "llama.cpp's programs";
const SERVER: &str = "llama-server";
pub(super) const HYPERFINE: &str = "hyperfine";
const VLLM: &str = "vllm bench";
const MLX: &str = "mlx_lm";
const OTHERS: &str = "other programs";

const fn flag(
    names: &'static [&'static str],
    of: &'static str,
    values: Values,
    ours: fn(&[String]) -> Option<Answer>,
    documented: &'static str,
) -> Flag {
    Flag { names, of, other: None, values, ours, is_secret: false, documented }
}

const fn secret(
    names: &'static [&'static str],
    of: &'static str,
    ours: fn(&[String]) -> Option<Answer>,
    documented: &'static str,
) -> Flag {
    Flag { names, of, other: None, values: ONE, ours, is_secret: true, documented }
}

const NO: Values = Values::None;
const ONE: Values = Values::Number(1);
const SWITCH: Values = Values::Switch;

macro_rules! none {
    ($reason:literal) => {
        |_| Some(Answer::None($reason))
    };
}

/// A setting of the engine llama-cpp, which other engines do not have; `$value` makes its values of the typed words.
macro_rules! of_llama_cpp {
    ($names:expr, $values:expr, $key:literal, $shown:literal, $value:expr) => {
        flag(
            $names,
            LLAMA,
            $values,
            |values| Some(Answer::Setting($key, ($value)(values)?)),
            concat!("with `-e llama-cpp`: `--set llama-cpp.", $key, "=", $shown, "`"),
        )
    };
}

/// The same value under another name; without a value nothing is answered.
macro_rules! same {
    ($name:literal) => {
        |values| Some(words([$name, values.first()?]))
    };
}

/// Grouped by what they are about.
pub(super) const FLAGS: &[Flag] = &[
    // Models.
    flag(&["-hf", "-hfr", "--hf-repo"], LLAMA, ONE, same!("-m"), "`-m OWNER/REPO[:QUANT]`"),
    flag(
        &["-hff", "--hf-file"],
        LLAMA,
        ONE,
        |values| Some(Answer::ModelFile(values.first()?.clone())),
        "`-m OWNER/REPO:FILE`",
    ),
    secret(
        &["-hft", "--hf-token"],
        LLAMA,
        none!("set the environment variable HF_TOKEN"),
        "the environment variable `HF_TOKEN`",
    ),
    flag(&["-mu", "--model-url"], LLAMA, ONE, same!("-m"), "`-m URL`"),
    flag(&["--model-path", "--gguf", "--checkpoint"], LLAMA, ONE, same!("-m"), "`-m FILE`"),
    flag(
        &["--offline"],
        LLAMA,
        NO,
        |_| Some(Answer::Environment("HF_HUB_OFFLINE=1")),
        "the environment variable `HF_HUB_OFFLINE=1`",
    ),
    flag(
        &[
            "-md",
            "--model-draft",
            "--draft-model",
            "-hfd",
            "-hfrd",
            "--hf-repo-draft",
            "--draft-max",
            "--draft",
            "--draft-min",
        ],
        LLAMA,
        ONE,
        none!("no speculative decoding"),
        "none: no speculative decoding",
    ),
    flag(
        &["--lora", "--lora-scaled", "--control-vector", "-mm", "--mmproj"],
        LLAMA,
        ONE,
        none!("models are measured as their file has them, without adapters"),
        "none: no adapters",
    ),
    flag(
        &["--tokenizer"],
        VLLM,
        ONE,
        none!("the model's own tokenizer is used"),
        "none: the model's own tokenizer is used",
    ),
    // Work.
    flag(&["-p", "--n-prompt"], BENCH, ONE, prompt, "`--prompt-tokens N` for a number, `--prompt TEXT` for a text")
        .with_texts_of(CLI),
    flag(&["--input-len", "--random-input-len"], VLLM, ONE, same!("--prompt-tokens"), "`--prompt-tokens N`"),
    flag(
        &["--prompt-len", "--prompt-length", "--n-prompt-tokens"],
        OTHERS,
        ONE,
        same!("--prompt-tokens"),
        "`--prompt-tokens N`",
    ),
    flag(&["--n-gen"], BENCH, ONE, generated, "`-n N`"),
    flag(&["--n-predict", "--predict"], LLAMA, ONE, generated, "`-n N`"),
    flag(&["-g", "--generation-tokens", "--max-tokens"], MLX, ONE, generated, "`-n N`"),
    flag(&["--output-len", "--random-output-len"], VLLM, ONE, generated, "`-n N`"),
    flag(&["--max-new-tokens", "--num-predict"], OTHERS, ONE, generated, "`-n N`"),
    flag(&["-pg"], BENCH, ONE, prompt_and_generation, "`--prompt-tokens P -n G`: every request has both phases"),
    flag(&["-d", "--n-depth"], BENCH, ONE, depth, "`--depth N,...`"),
    flag(&["-f", "--file"], CLI, ONE, same!("--prompt-file"), "`--prompt-file FILE`"),
    flag(
        &["-sys", "--system-prompt", "-sysf", "--system-prompt-file", "--dataset-name", "--dataset-path", "--dataset"],
        LLAMA,
        ONE,
        none!("a set of prompts, also with system messages, is a TOML file: --prompts FILE.toml"),
        "`--prompts FILE.toml`",
    ),
    flag(
        &["-c", "--ctx-size", "--max-model-len", "--num-ctx"],
        LLAMA,
        ONE,
        |values| {
            number(values).map(|n| words(["--ctx", &n])).or(Some(Answer::None("no command runs between requests")))
        },
        "`--ctx N`",
    )
    .with_texts_of(HYPERFINE),
    flag(
        &["-s", "--random-seed"],
        CLI,
        ONE,
        |values| {
            number(values).map(|n| words(["--seed", &n])).or(Some(Answer::None("no command runs between requests")))
        },
        "`--seed N`",
    )
    .with_texts_of(HYPERFINE),
    flag(
        &["--chat-template", "--chat-template-file"],
        LLAMA,
        ONE,
        none!("the model's own chat template is used; --raw sends the prompt without it"),
        "none: the model's own; `--raw` sends the prompt without it",
    ),
    flag(
        &[
            "--jinja",
            "-cnv",
            "--conversation",
            "-i",
            "--interactive",
            "--interactive-first",
            "-ins",
            "--instruct",
            "-st",
            "--single-turn",
        ],
        CLI,
        NO,
        none!("prompts are sent through the model's chat template, one request each"),
        "none: prompts are sent through the chat template, one request each",
    ),
    flag(&["-no-cnv", "--no-conversation", "--no-chat-template"], CLI, NO, |_| Some(words(["--raw"])), "`--raw`"),
    flag(
        &[
            "--temp",
            "--temperature",
            "--top-k",
            "--top-p",
            "--min-p",
            "--typical",
            "--repeat-penalty",
            "--repeat-last-n",
            "--presence-penalty",
            "--frequency-penalty",
            "--mirostat",
            "--samplers",
            "-l",
            "--logit-bias",
            "--grammar",
            "--grammar-file",
            "-jf",
            "--json-schema",
        ],
        LLAMA,
        ONE,
        none!("decoding is greedy, so that every repetition does the same work"),
        "none: decoding is greedy",
    ),
    // Repetitions.
    flag(&["--repetitions"], BENCH, ONE, same!("-r"), "`-r N`"),
    flag(&["--min-runs"], HYPERFINE, ONE, same!("-r"), "`-r N`"),
    flag(&["--num-trials"], MLX, ONE, same!("-r"), "`-r N`"),
    flag(&["--num-iters", "--num-prompts"], VLLM, ONE, same!("-r"), "`-r N`"),
    flag(&["-R", "--iterations"], OTHERS, ONE, same!("-r"), "`-r N`"),
    flag(
        &["-M", "--max-runs"],
        HYPERFINE,
        ONE,
        none!("-r N is the number of requests; --precision 2% ends the run when the interval is small enough"),
        "`-r N`, or `--precision 2%`",
    ),
    flag(&["-w"], HYPERFINE, ONE, same!("--warmup"), "`--warmup N`"),
    flag(&["--num-warmups", "--num-iters-warmup", "--n-warmup"], VLLM, ONE, same!("--warmup"), "`--warmup N`"),
    flag(&["--no-warmup"], LLAMA, NO, |_| Some(words(["--warmup", "0"])), "`--warmup 0`"),
    flag(
        &["--prepare", "--setup", "--cleanup", "--conclude"],
        HYPERFINE,
        ONE,
        none!("no command runs between requests; --cold drops the model file from the page cache before each load"),
        "none: `--cold` drops the model file from the page cache",
    ),
    flag(
        &["-S", "--shell"],
        HYPERFINE,
        ONE,
        none!("engines run in this program or behind a server, without a shell"),
        "none: no shell",
    ),
    flag(
        &["-N"],
        HYPERFINE,
        NO,
        none!("engines run in this program or behind a server, without a shell"),
        "none: no shell",
    ),
    flag(
        &["-L", "--parameter-list"],
        HYPERFINE,
        Values::Number(2),
        parameter_list,
        "repeat `-m` or `-e`; `-t 1,2` and `--depth 0,512` are lists",
    ),
    flag(
        &["-P", "--parameter-scan"],
        HYPERFINE,
        Values::Number(3),
        none!("lists are given in the option itself, such as -t 1,2,4 or --depth 0,512"),
        "`-t 1,2,4`, `--depth 0,512`",
    ),
    flag(
        &["-D", "--parameter-step-size"],
        HYPERFINE,
        ONE,
        none!("lists are given in the option itself, such as -t 1,2,4"),
        "`-t 1,2,4`",
    ),
    flag(
        &["--ignore-failure"],
        HYPERFINE,
        NO,
        none!("a failed case is reported, and the others go on"),
        "none: a failed case is reported, and the others go on",
    ),
    flag(
        &["--command-name", "--reference", "--reference-name"],
        HYPERFINE,
        ONE,
        none!("a name is given to an engine: -e NAME=ENGINE"),
        "`-e NAME=ENGINE`",
    ),
    flag(&["--delay"], BENCH, ONE, none!("requests follow each other; disturbed ones are repeated"), "none"),
    flag(
        &["-np", "--parallel"],
        SERVER,
        ONE,
        none!("one request is sent at a time"),
        "none: one request is sent at a time",
    ),
    flag(
        &["--max-concurrency", "--request-rate"],
        VLLM,
        ONE,
        none!("one request is sent at a time"),
        "none: one request is sent at a time",
    ),
    flag(
        &["--concurrency", "--num-concurrent"],
        OTHERS,
        ONE,
        none!("one request is sent at a time"),
        "none: one request is sent at a time",
    ),
    flag(
        &["-cb", "--cont-batching"],
        SERVER,
        NO,
        none!("one request is sent at a time"),
        "none: one request is sent at a time",
    ),
    // Output.
    flag(
        &["-o", "--output", "-oe", "--output-err", "--output-format"],
        BENCH,
        ONE,
        output_format,
        "`inferometer report RUN --format json`, `md`, `csv`; `-o DIR` is the run folder",
    ),
    flag(
        &["--export-json"],
        HYPERFINE,
        ONE,
        |values| Some(Answer::Report("json", values.first().cloned())),
        "`inferometer report RUN --format json > FILE`; the run folder has `run.json`",
    ),
    flag(
        &["--result-filename", "--output-json"],
        VLLM,
        ONE,
        |values| Some(Answer::Report("json", values.first().cloned())),
        "`inferometer report RUN --format json > FILE`; the run folder has `run.json`",
    ),
    flag(
        &["--save-result"],
        VLLM,
        NO,
        |_| Some(Answer::Report("json", None)),
        "`inferometer report RUN --format json`; the run folder has `run.json`",
    ),
    flag(
        &["--export-markdown", "--export-asciidoc", "--export-orgmode"],
        HYPERFINE,
        ONE,
        |values| Some(Answer::Report("md", values.first().cloned())),
        "`inferometer report RUN --format md > FILE`; the run folder has `report.md`",
    ),
    flag(
        &["--export-csv"],
        HYPERFINE,
        ONE,
        |values| Some(Answer::Report("csv", values.first().cloned())),
        "`inferometer report RUN --format csv > FILE`; the run folder has `results.csv`",
    ),
    flag(&["--json"], OTHERS, NO, |_| Some(Answer::Report("json", None)), "`inferometer report RUN --format json`"),
    flag(
        &["--style", "--sort", "-u", "--time-unit"],
        HYPERFINE,
        ONE,
        none!("units and order are fixed, so that reports can be compared"),
        "none",
    ),
    flag(
        &["--show-output"],
        HYPERFINE,
        NO,
        none!("the answers are in the folder outputs/ of the run"),
        "none: the answers are in `outputs/` of the run folder",
    ),
    flag(
        &[
            "-v",
            "--verbose",
            "--progress",
            "--verbose-prompt",
            "--perf",
            "--show-timings",
            "--no-display-prompt",
            "--simple-io",
            "--log-disable",
            "--color",
            "-co",
        ],
        LLAMA,
        NO,
        none!("progress is always shown, and the report has the details"),
        "none: progress is always shown",
    ),
    // Processors and memory.
    flag(
        &["-ngl", "--gpu-layers", "--n-gpu-layers"],
        LLAMA,
        ONE,
        gpu_layers,
        "0: the default; else `--device cuda:0` or `metal`, in builds that have it: a model is on one device as a whole",
    ),
    flag(&["-dev"], LLAMA, ONE, device, "`--device D`; `none`: `--device cpu`"),
    flag(
        &["--list-devices"],
        LLAMA,
        NO,
        |_| Some(Answer::Instead("engines list", Vec::new())),
        "`inferometer engines list`",
    ),
    flag(
        &[
            "-sm",
            "--split-mode",
            "-mg",
            "--main-gpu",
            "-ts",
            "--tensor-split",
            "-tp",
            "--tensor-parallel-size",
            "-ot",
            "--override-tensor",
            "-ncmoe",
            "--n-cpu-moe",
            "--gpu-memory-utilization",
            "-fitt",
            "--fit-target",
            "-fitc",
            "--fit-ctx",
            "-rpc",
            "--rpc",
        ],
        LLAMA,
        ONE,
        none!("a model is on one device as a whole; a server that splits it is measured with -e openai"),
        "none: a model is on one device as a whole",
    ),
    flag(
        &["-cmoe", "--cpu-moe"],
        LLAMA,
        NO,
        none!("a model is on one device as a whole"),
        "none: a model is on one device as a whole",
    ),
    flag(&["-fa"], LLAMA, SWITCH, flash_attention, "`--flash-attn on`, `off` or `auto`"),
    flag(&["--no-flash-attn"], LLAMA, NO, |_| Some(words(["--flash-attn", "off"])), "`--flash-attn off`"),
    flag(&["-ctk", "--cache-type-k"], LLAMA, ONE, |values| kv_type("--kv-type-k", values), "`--kv-type-k T`"),
    flag(&["-ctv", "--cache-type-v"], LLAMA, ONE, |values| kv_type("--kv-type-v", values), "`--kv-type-v T`"),
    flag(&["--kv-cache-dtype"], VLLM, ONE, |values| kv_type("--kv-type", values), "`--kv-type T`"),
    flag(
        &["--kv-bits"],
        MLX,
        ONE,
        none!(
            "the types of a cache have names here, such as --kv-type q8_0; MLX's groups are measured behind a server, with --spawn"
        ),
        "`--kv-type T`; MLX's groups behind a server",
    ),
    flag(&["-ub", "--ubatch-size", "--prefill-step-size"], LLAMA, ONE, same!("--batch"), "`--batch N`"),
    flag(&["--num-threads", "--n-threads", "-nt"], LLAMA, ONE, same!("-t"), "`-t N,...`"),
    flag(
        &["-nkvo", "--no-kv-offload", "-nopo", "--no-op-offload", "--no-host", "-kvu", "--kv-unified"],
        LLAMA,
        SWITCH,
        none!("it acts on GPUs or on several sequences; the engine llama-cpp computes one sequence on the processor"),
        "none: it acts on GPUs or on several sequences",
    ),
    of_llama_cpp!(&["-mmp", "--mmap"], SWITCH, "mmap", "on/off", on_or_off),
    of_llama_cpp!(&["-dio", "--direct-io"], SWITCH, "direct_io", "on/off", on_or_off),
    of_llama_cpp!(&["-embd", "--embeddings"], SWITCH, "embeddings", "on/off", on_or_off),
    of_llama_cpp!(&["--repack"], SWITCH, "repack", "on/off", on_or_off),
    of_llama_cpp!(&["-nr", "--no-repack"], SWITCH, "repack", "off/on", off_or_on),
    of_llama_cpp!(&["--cpu-strict"], SWITCH, "cpu_strict", "on/off", on_or_off),
    of_llama_cpp!(&["--no-mmap"], NO, "mmap", "off", |_: &[String]| one("off")),
    of_llama_cpp!(&["--mlock"], NO, "load_mode", "mmap+mlock", |_: &[String]| one("mmap+mlock")),
    of_llama_cpp!(&["-lm", "--load-mode"], ONE, "load_mode", "MODE", each),
    of_llama_cpp!(&["-lzm", "--lazy-mode"], ONE, "lazy_mode", "MODE", each),
    of_llama_cpp!(&["--poll"], ONE, "poll", "0...100", each),
    of_llama_cpp!(&["--prio"], ONE, "prio", "-1...3", each),
    of_llama_cpp!(&["--numa"], ONE, "numa", "MODE", each),
    of_llama_cpp!(&["-C", "--cpu-mask"], ONE, "cpu_mask", "0xBITS", masks),
    of_llama_cpp!(&["-b", "--batch-size"], ONE, "n_batch", "N", numbers),
    of_llama_cpp!(&["-tb", "--threads-batch"], ONE, "threads_batch", "N", numbers),
    flag(
        &["--swa-full", "--no-context-shift"],
        LLAMA,
        NO,
        none!("it is always so: the engine llama-cpp keeps all positions, and a context is never shifted"),
        "none: it is always so",
    ),
    flag(
        &["-Cr", "--cpu-range"],
        LLAMA,
        ONE,
        none!("`taskset` in front of inferometer sets it; with -e llama-cpp: --set llama-cpp.cpu_mask=0xBITS"),
        "`--set llama-cpp.cpu_mask=0xBITS`, or `taskset` in front of the command",
    ),
    // Servers.
    flag(
        &["--base-url", "--endpoint", "--api-base", "--server", "--address"],
        VLLM,
        ONE,
        |values| Some(words(["-e", "openai", "--url", values.first()?])),
        "`-e openai --url URL`",
    ),
    flag(
        &["--host"],
        SERVER,
        ONE,
        |values| Some(Answer::Host(values.first()?.clone())),
        "`-e openai --url http://HOST:PORT`",
    ),
    flag(
        &["--port"],
        SERVER,
        ONE,
        |values| Some(Answer::Port(values.first()?.clone())),
        "`-e openai --url http://localhost:PORT`",
    ),
    secret(
        &["--api-key", "--openai-api-key"],
        SERVER,
        none!("set the environment variable OPENAI_API_KEY"),
        "the environment variable `OPENAI_API_KEY`",
    ),
    flag(&["--backend", "--engine-name", "--framework"], VLLM, ONE, same!("-e"), "`-e ENGINE`"),
    flag(&["-a", "--alias", "--served-model-name"], SERVER, ONE, same!("-m"), "`-m NAME`"),
];
