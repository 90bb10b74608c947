//! The words of `run`, with the options of other programs answered.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{ArgAction, Command};

use super::super::advice::UsageError;
use super::answer::list;
use super::command_line::CommandLine;
use super::flags::Values;
use super::{flags, values};

/// Whether a word without an option before it can only be a model.
pub(super) fn is_model(word: &str) -> bool {
    let path = Path::new(word);
    let is_file = path
        .extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| ["gguf", "safetensors"].iter().any(|known| extension.eq_ignore_ascii_case(known)));
    let is_repository = || {
        let name = word.split([':', '@']).next().unwrap_or_default();
        !path.exists()
            && !name.starts_with(['.', '/', '~'])
            && name.split('/').filter(|part| !part.is_empty()).count() == 2
            && name.matches('/').count() == 1
            && !word.contains(char::is_whitespace)
            && !word.contains("://")
    };
    // `llama3.2:1b`, a name of ollama: `-m` says what it is called here.
    let is_tag = || {
        word.split_once(':').is_some_and(|(name, tag)| {
            let in_names = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
            let is_port = tag.chars().all(|digit| digit.is_ascii_digit());
            !name.is_empty() && !is_port && format!("{name}{tag}").chars().all(in_names)
        })
    };
    let is_hub_page = || ["https://huggingface.co/", "https://hf.co/"].iter().any(|hub| word.starts_with(hub));
    // With spaces and no such file it is a command of a shell.
    is_file && (!word.contains(char::is_whitespace) || path.exists())
        || path.join("config.json").is_file()
        || ::models::registry::find(word).is_ok()
        || is_tag()
        || is_repository()
        || is_hub_page()
}

/// Options of `run` by their spelling.
pub(super) struct OwnOptions(Vec<OwnOption>);

/// A spelling of an option.
struct OwnOption {
    name: String,
    /// What it sets: options that exclude each other set the same.
    sets: String,
    takes_value: bool,
    /// Whether it can be given several times.
    repeats: bool,
}

/// Options that exclude each other: each says what the prompts are.
const PROMPTS: [&str; 4] = ["prompts", "prompt", "prompt_file", "prompt_tokens"];

impl OwnOptions {
    pub(super) fn of(program: &Command) -> Self {
        let mut options = Vec::new();
        let run = program.get_subcommands().find(|command| command.get_name() == "run");
        for option in run.into_iter().chain([program]).flat_map(Command::get_arguments) {
            let id = option.get_id().as_str();
            let sets = if PROMPTS.contains(&id) { PROMPTS[0] } else { id };
            let long = option.get_long_and_visible_aliases().unwrap_or_default();
            let short = option.get_short_and_visible_aliases().unwrap_or_default();
            let names = long
                .into_iter()
                .map(|name| format!("--{name}"))
                .chain(short.into_iter().map(|name| format!("-{name}")));
            options.extend(names.map(|name| OwnOption {
                name,
                sets: sets.to_owned(),
                takes_value: option.get_action().takes_values(),
                repeats: matches!(option.get_action(), ArgAction::Append),
            }));
        }
        Self(options)
    }

    fn find(&self, name: &str) -> Option<&OwnOption> {
        self.0.iter().find(|option| option.name == name)
    }

    /// A short option of this program together with its value, such as `-n8`.
    fn with_its_value(&self, word: &str) -> Option<&OwnOption> {
        let option: String = word.chars().take(2).collect();
        self.find(&option).filter(|option| option.takes_value && !word.starts_with("--"))
    }

    /// Whether a value follows this option; `None` where it is no option of this program.
    pub(super) fn takes_value(&self, name: &str) -> Option<bool> {
        self.find(name).map(|option| option.takes_value)
    }

    /// Words in which no option is given twice that can be given once: the last one counts, as in the programs that they come from.
    fn last_of_each(&self, words: Vec<String>) -> Vec<String> {
        let mut parts: Vec<(Option<&OwnOption>, Vec<String>)> = Vec::new();
        let mut rest = words.into_iter().peekable();
        while let Some(word) = rest.next() {
            let name = word.split('=').next().unwrap_or_default();
            let (option, needs_value) = match self.find(name) {
                Some(option) => (Some(option), option.takes_value && !word.contains('=')),
                None => (self.with_its_value(&word), false),
            };
            let value = if needs_value { rest.next() } else { None };
            parts.push((option, std::iter::once(word).chain(value).collect()));
        }
        let is_later = |place: usize, sets: &str| {
            parts[place + 1..].iter().any(|(later, _)| later.is_some_and(|later| later.sets == sets))
        };
        let stays = |(place, (option, _)): &(usize, &(Option<&OwnOption>, Vec<String>))| {
            option.is_none_or(|option| option.repeats || !is_later(*place, &option.sets))
        };
        parts.iter().enumerate().filter(stays).flat_map(|(_, (_, words))| words.clone()).collect()
    }
}

/// The words of `run`. With options of other programs an error that lists each of them.
pub(super) fn run(words: Vec<OsString>, program: &Command) -> Result<Vec<OsString>, UsageError> {
    let own = OwnOptions::of(program);
    let mut line = CommandLine::new("run");
    let mut notes: Vec<(String, String)> = Vec::new();
    let mut programs: Vec<&str> = Vec::new();
    let mut kept: Vec<OsString> = Vec::new();
    let mut rest = words.into_iter().peekable();
    // The program and everything up to the command.
    for word in rest.by_ref() {
        let is_run = word == "run";
        kept.push(word);
        if is_run {
            break;
        }
    }
    let mut waiting: Vec<OsString> = rest.collect();
    // `-p` before a text is a prompt in llama-cli, and a command before each run in hyperfine.
    if flags::are_of_hyperfine(waiting.iter().filter_map(|word| word.to_str())) {
        for place in 1..waiting.len() {
            if waiting[place - 1] == "-p" && waiting[place].to_str().is_some_and(|value| list(value).is_none()) {
                waiting[place - 1] = "--prepare".into();
            }
        }
    }
    waiting.reverse();
    while let Some(word) = waiting.pop() {
        let Some(text) = word.to_str().map(str::to_owned) else {
            line.words.push(word.to_string_lossy().into_owned());
            kept.push(word);
            continue;
        };
        if text == "--" {
            kept.push(word);
            kept.extend(waiting.drain(..).rev());
            break;
        }
        if !text.starts_with('-') || text == "-" {
            if is_model(&text) {
                line.words.extend(["-m".to_owned(), text]);
                kept.extend(["-m".into(), word]);
            } else if text.contains(char::is_whitespace) && programs.contains(&flags::HYPERFINE) {
                notes.push((
                    text,
                    "a command of the shell: this program measures engines, models and servers, not commands"
                        .to_owned(),
                ));
            } else {
                notes.push((
                    text.clone(),
                    "has no option before it: a model is given with -m, a prompt with --prompt".to_owned(),
                ));
                line.words
                    .extend([if text.contains(char::is_whitespace) { "--prompt" } else { "-m" }.to_owned(), text]);
            }
            continue;
        }
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (name.to_owned(), Some(value.to_owned())),
            _ => (text.clone(), None),
        };
        let next = |waiting: &Vec<OsString>| waiting.last().and_then(|word| word.to_str()).map(str::to_owned);
        let value = attached.clone().or_else(|| next(&waiting));
        if let Some(flag) = flags::FLAGS.iter().find(|flag| flag.names.contains(&name.as_str())) {
            let count = flag.values.count(value.as_deref());
            let mut values: Vec<String> = attached.clone().into_iter().collect();
            let available: Vec<String> = waiting
                .iter()
                .rev()
                .take(count.saturating_sub(values.len()))
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            values.extend(available);
            if values.len() < count.max(1) && flag.values != Values::Switch && flag.values != Values::None {
                notes.push((name, format!("needs a value; here: {}", flag.documented)));
                waiting.clear();
                continue;
            }
            if let Some(answer) = (flag.ours)(&values) {
                let taken = values.len().saturating_sub(usize::from(attached.is_some()));
                waiting.truncate(waiting.len() - taken);
                let of = flag.of(&values);
                let typed =
                    if flag.is_secret { format!("{name} ***") } else { [vec![name], values].concat().join(" ") };
                notes.push((typed, answer.note()));
                if !programs.contains(&of) {
                    programs.push(of);
                }
                line.take(answer);
                continue;
            }
        }
        let takes_value = own.takes_value(&name).or_else(|| own.with_its_value(&name).map(|_| false));
        if let (Some(true), Some(value)) = (takes_value, &value)
            && let Some((problem, answer)) = values::foreign(&name, value)
        {
            if attached.is_none() {
                waiting.pop();
            }
            notes.push((format!("{name} {value}"), problem));
            line.take(answer);
            continue;
        }
        line.words.push(text);
        kept.push(word);
        // Of an option that is in no table, a word after it may be the value: the parser names the nearest option.
        let may_take_value = match takes_value {
            Some(takes_value) => takes_value,
            None => attached.is_none() && waiting.last().is_some_and(|next| !next.to_string_lossy().starts_with('-')),
        };
        if may_take_value
            && attached.is_none()
            && let Some(value) = waiting.pop()
        {
            line.words.push(value.to_string_lossy().into_owned());
            kept.push(value);
        }
    }
    if notes.is_empty() {
        return Ok(kept);
    }
    line.words = own.last_of_each(line.words);
    Err(UsageError::new(problem(&notes, &programs), line.shown()))
}

/// One line for each word that this program does not have.
pub(super) fn problem(notes: &[(String, String)], programs: &[&str]) -> String {
    let are = if notes.iter().all(|(typed, _)| typed.starts_with('-')) { "they are" } else { "among them are" };
    let known = match programs {
        [] => String::new(),
        programs => format!(" ({are} options of {})", programs.join(", ")),
    };
    let widest = notes.iter().map(|(typed, _)| typed.chars().count()).max().unwrap_or(0).min(32);
    let head = match notes {
        [(typed, _)] => match programs {
            [] => format!("`{typed}` is not understood"),
            programs => format!("`{typed}` is an option of {}, not of this program", programs.join(", ")),
        },
        many => format!("{} words are not understood{known}", many.len()),
    };
    let lines: Vec<String> = notes.iter().map(|(typed, note)| format!("  {typed:widest$}  {note}")).collect();
    redaction::redact(&format!("{head}\n{}", lines.join("\n")))
}
