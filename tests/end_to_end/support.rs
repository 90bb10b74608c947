//! Runs the binary in its own folder, without the user's cache, network access or variables that change the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The shape of the test model: every row a multiple of 32, so that every simple quantisation fits.
const CONFIG: &str = r#"{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512,
  "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true
}"#;

/// A folder in which the binary runs.
pub(crate) struct TestFolder {
    folder: TempDir,
}

impl TestFolder {
    /// A folder with the test model `tiny.gguf`.
    pub(crate) fn new() -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(folder.path("tiny.gguf"), tiny()).unwrap();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary with these arguments, separated by spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = bare(self.folder.path());
        command.args(line.split_whitespace());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Done {
        Done::from(self.command(line).output().unwrap())
    }

    /// `run.json` of a run folder.
    pub(crate) fn run_file(&self, dir: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(dir).join("run.json")).unwrap()).unwrap()
    }

    /// Waits until a file has this many complete lines, for at most a minute.
    pub(crate) fn wait_for_lines(&self, name: &str, lines: usize) {
        let count = || fs::read_to_string(self.path(name)).unwrap_or_default().matches('\n').count();
        for _ in 0..1200 {
            if count() >= lines {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{name} has {} lines after a minute, {lines} were expected", count());
    }
}

/// How a command ended.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let done = Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
        assert!(!done.err.contains("panicked"), "{}", done.err);
        done
    }
}

impl Done {
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// Ends a child by signal, by its id.
pub(crate) fn signal(id: u32, name: &str) {
    assert!(Command::new("kill").args([name, &id.to_string()]).status().unwrap().success());
}

fn bare(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferometer"));
    command.current_dir(folder).stdin(Stdio::null()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .env("HOME", folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("HF_HUB_OFFLINE", "1")
        .env("TMPDIR", folder);
    command
}

/// The test model, which the binary makes once.
fn tiny() -> &'static [u8] {
    static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tiny.json"), CONFIG).unwrap();
        let done = bare(folder.path())
            .args(["models", "synth", "tiny.json", "--quant", "q8_0", "-o", "tiny.gguf"])
            .output()
            .unwrap();
        Done::from(done).ends_with(0);
        fs::read(folder.path().join("tiny.gguf")).unwrap()
    })
}

/// A prompt set with this many short prompts.
pub(crate) fn prompts(count: usize) -> String {
    let prompt = |n: usize| {
        format!("[[prompt]]\nid = \"p{n}\"\ntests = \"nothing in particular\"\ntext = \"Say something about {n}.\"\n")
    };
    format!("description = \"for tests\"\n{}", (1..=count).map(prompt).collect::<String>())
}
