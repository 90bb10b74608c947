//! [`COMMANDS`]: first words that people type from habit, and what this program has for them.

use std::ffi::OsString;

use clap::Command;

/// A word that is a command of another program, or another program's name.
pub(super) struct Habit {
    /// Its spellings.
    pub(super) names: &'static [&'static str],
    /// This program's words for it.
    ours: &'static str,
    /// Whether the words after it are options of `run` and stay.
    keeps_words: bool,
}

const fn habit(names: &'static [&'static str], ours: &'static str, keeps_words: bool) -> Habit {
    Habit { names, ours, keeps_words }
}

/// Sorted by this program's words.
pub(super) const COMMANDS: &[Habit] = &[
    habit(&["--", "version"], "--version", false),
    habit(&["diff", "cmp", "vs"], "compare", true),
    habit(&["devices", "info", "system", "sysinfo", "doctor", "hardware"], "machine", false),
    habit(&["download", "fetch", "pull", "get"], "models fetch", true),
    habit(&["list", "ls", "tags"], "models list", false),
    habit(&["convert", "quantise", "quantize", "llama-quantize"], "models quantize", true),
    habit(&["estimate"], "predict", true),
    habit(
        &[
            "bench",
            "benchmark",
            "llama-bench",
            "llama-cli",
            "llama-simple",
            "main",
            "measure",
            "profile",
            "test",
            "generate",
            "start",
            "exec",
            "mlx_lm.generate",
            "mlx_lm.benchmark",
        ],
        "run",
        true,
    ),
    habit(
        &["serve", "server", "llama-server", "vllm", "ollama", "mlx_lm.server", "connect"],
        "run -e openai --url http://localhost:8080",
        false,
    ),
    habit(&["hyperfine", "perf", "time"], "run -r 5", false),
    habit(&["history", "results", "ps"], "runs list", false),
    habit(&["show", "open", "view", "print"], "report", true),
    habit(&["delete", "remove", "rm"], "runs rm", true),
];

impl Habit {
    /// The command line to type, with the words after it; and what their options become, one line each.
    pub(super) fn advice(&self, rest: &[OsString], program: &Command) -> (String, String) {
        let words: Vec<OsString> = if self.keeps_words { rest.to_vec() } else { Vec::new() };
        let full: Vec<OsString> =
            ["inferometer"].into_iter().chain(self.ours.split(' ')).map(OsString::from).chain(words.clone()).collect();
        // Options of other programs after it are replaced, too.
        if self.ours == "run"
            && let Err(error) = super::run_words::run(full, program)
        {
            let problem = error.to_string();
            let notes = problem.split_once('\n').map_or("", |(_, notes)| notes);
            return (error.advice().to_owned(), format!("\n{notes}"));
        }
        let words = crate::tool::redacted(words.iter().map(|word| word.to_string_lossy().into_owned()));
        let words = words.iter().map(|word| super::command_line::quoted(word));
        let line: Vec<String> = ["inferometer".to_owned(), self.ours.to_owned()].into_iter().chain(words).collect();
        (line.join(" "), String::new())
    }
}
