//! [`COMMANDS`]: first words that people type from habit, and what this program has for them.

use std::ffi::OsString;

use clap::Command;

use super::flags::{FLAGS, Flag, SHORT_OF_HYPERFINE, Values};

/// A word that is a command of another program, or another program's name.
pub(super) struct Habit {
    /// Its spellings.
    pub(super) names: &'static [&'static str],
    /// This program's words for it.
    ours: &'static str,
    /// Whether the words after it are options of `run` and stay.
    keeps_words: bool,
    /// Its defaults: an option of `run` with its value, for where none of the options in front is given.
    defaults: &'static [(&'static [&'static str], [&'static str; 2])],
}

const fn habit(names: &'static [&'static str], ours: &'static str, keeps_words: bool) -> Habit {
    Habit { names, ours, keeps_words, defaults: &[] }
}

/// Without options llama-bench measures a prompt of 512 tokens and a generation of 128.
const OF_LLAMA_BENCH: &[(&[&str], [&str; 2])] =
    &[(&["-p", "--n-prompt", "-pg"], ["--prompt-tokens", "512"]), (&["-n", "--n-gen", "-pg"], ["-n", "128"])];

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
    Habit { names: &["llama-bench"], ours: "run", keeps_words: true, defaults: OF_LLAMA_BENCH },
    habit(
        &["serve", "server", "llama-server", "vllm", "ollama", "mlx_lm.server", "connect"],
        "run -e openai --url http://localhost:8080",
        false,
    ),
    habit(&["hyperfine"], "run", true),
    habit(&["perf", "time"], "run -r 5", false),
    habit(&["history", "results", "ps"], "runs list", false),
    habit(&["show", "open", "view", "print"], "report", true),
    habit(&["delete", "remove", "rm"], "runs rm", true),
];

impl Habit {
    /// The command line to type, with the words after it; and what their options become, one line each.
    pub(super) fn advice(&self, rest: &[OsString], program: &Command) -> (String, String) {
        let mut words: Vec<OsString> = if self.keeps_words { rest.to_vec() } else { Vec::new() };
        if self.names.contains(&"hyperfine") {
            words = commands_of_hyperfine(words);
        }
        for (instead, option) in self.defaults {
            if !words.iter().any(|word| instead.iter().any(|name| word == name)) {
                words.extend(option.map(OsString::from));
            }
        }
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

/// The words of hyperfine, with the words of a command of this program or of llama.cpp's in the place of its text: what hyperfine would
/// start is what is measured.
fn commands_of_hyperfine(words: Vec<OsString>) -> Vec<OsString> {
    let inner = |word: &OsString| -> Option<Vec<OsString>> {
        let mut parts = word.to_str()?.split_whitespace();
        let program = parts.next()?.rsplit('/').next()?;
        let is_own = program == "inferometer";
        let is_known = |habit: &Habit| habit.ours == "run" && habit.names.contains(&program) && program != "hyperfine";
        (is_own || COMMANDS.iter().any(is_known)).then(|| {
            let words = parts.skip_while(|word| is_own && *word == "run");
            words.map(|word| OsString::from(word.trim_matches(['\'', '"']))).collect()
        })
    };
    let takes_value = |word: &OsString| {
        let is_switch = |flag: &Flag| flag.values == Values::None && flag.names.iter().any(|name| word == name);
        word.to_string_lossy().starts_with('-') && !FLAGS.iter().any(is_switch)
    };
    let mut kept: Vec<OsString> = Vec::new();
    let mut after_option = false;
    for word in words {
        let is_text = word.to_string_lossy().contains(char::is_whitespace);
        let next_after_option = takes_value(&word);
        let long = SHORT_OF_HYPERFINE.iter().find(|(short, _)| word == *short);
        let word = long.map_or(word, |(_, long)| OsString::from(long));
        match inner(&word).filter(|_| !after_option) {
            Some(words) => kept.extend(words),
            // Another command of a shell. After an option it is its value.
            None if is_text && !after_option => {}
            None => kept.push(word),
        }
        after_option = next_after_option;
    }
    kept
}
