//! Habits from other programs: options of llama-bench, llama-cli, hyperfine and others are answered with this program's, as one
//! whole command line to type. Options of `run` work without the word `run`, and a model works as the first word.
//!
//! [`FLAGS`](flags::FLAGS) and [`COMMANDS`](commands::COMMANDS) are the data; nothing of another program is run by guess.

mod answer;
mod command_line;
mod commands;
mod conversions;
mod flags;
mod run_words;
mod values;

use std::ffi::OsString;

use clap::Command;

use super::advice::UsageError;
use answer::{format_of_file, report_format};
use command_line::CommandLine;
use run_words::{is_model, problem};

/// The words of the command line as this program parses them: with `run` where it is implied, and `-m` before a model.
///
/// # Errors
/// When they contain options or commands of other programs; the advice is the command line to type.
pub(super) fn understood(words: Vec<OsString>, program: &Command) -> Result<Vec<OsString>, UsageError> {
    let words = with_command(words, program)?;
    let verb = words.iter().skip(1).find_map(|word| word.to_str().filter(|word| !word.starts_with('-')));
    let verb = verb.map(str::to_owned);
    match verb.as_deref() {
        Some("run") => run_words::run(words, program),
        Some(verb @ ("compare" | "report")) => reports(verb, words),
        _ => Ok(words),
    }
}

/// Inserts `run` where the first word is an option, a model, or missing.
fn with_command(mut words: Vec<OsString>, program: &Command) -> Result<Vec<OsString>, UsageError> {
    if words.is_empty() {
        words.push("inferometer".into());
    }
    // `--self-trace FILE` may be before the command.
    let mut first = 1;
    while let Some(word) =
        words.get(first).and_then(|word| word.to_str()).filter(|word| word.starts_with("--self-trace"))
    {
        first += if word.contains('=') { 1 } else { 2 };
    }
    let Some(word) = words.get(first) else {
        words.insert(1, "run".into());
        return Ok(words);
    };
    let shown = word.to_string_lossy().into_owned();
    let is_command = program.get_subcommands().any(|command| command.get_name() == shown) || shown == "help";
    if is_command || ["-h", "--help", "-V", "--version"].contains(&shown.as_str()) {
        return Ok(words);
    }
    if shown == "-v" && words.len() == 2 {
        let problem = "`-v` alone is the version in some programs, and more messages in others";
        return Err(UsageError::new(problem, "inferometer --version"));
    }
    if shown.starts_with('-') || is_model(&shown) {
        words.insert(first, "run".into());
        return Ok(words);
    }
    if shown.contains("://") {
        let mut line = CommandLine::new("run");
        line.words.extend(["-e", "openai", "--url", &shown].map(str::to_owned));
        line.words.extend(words[first + 1..].iter().map(|word| word.to_string_lossy().into_owned()));
        return Err(UsageError::new(format!("`{shown}` is an address, and no command"), line.shown()));
    }
    if shown.contains(char::is_whitespace) {
        let line = "inferometer run -e openai --spawn 'SERVER --port {port}'";
        return Err(UsageError::new(
            format!(
                "`{shown}` is a command of the shell: this program measures engines, models and servers, not commands"
            ),
            format!("a command that starts a server is measured with: {line}"),
        ));
    }
    match commands::COMMANDS.iter().find(|command| command.names.contains(&shown.as_str())) {
        Some(command) => {
            let rest: Vec<OsString> = words[first + 1..].to_vec();
            let (advice, notes) = command.advice(&rest, program);
            Err(UsageError::new(format!("`{shown}` is not a command of this program{notes}"), advice))
        }
        None => Ok(words),
    }
}

/// `compare` and `report` print one format: options that choose a format or a file elsewhere are answered with `--format`.
fn reports(verb: &str, words: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    let mut line = CommandLine::new(verb);
    let mut notes = Vec::new();
    let mut rest = words
        .iter()
        .skip_while(|word| **word != *verb)
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .peekable();
    while let Some(word) = rest.next() {
        let (name, mut value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.clone(), None),
        };
        let exported = name.strip_prefix("--export-").map(str::to_owned);
        let is_format = matches!(name.as_str(), "-o" | "--output" | "-f" | "--output-format");
        if (is_format || exported.is_some()) && value.is_none() {
            value = rest.next();
        }
        let value = value.unwrap_or_default();
        if let Some(format) = exported {
            let format = report_format(&format).unwrap_or("json");
            line.words.extend(["--format".to_owned(), format.to_owned()]);
            line.redirect = Some(value.clone());
            notes.push((format!("{name} {value}"), format!("--format {format} > {value}")));
        } else if is_format {
            let format = report_format(&value);
            let (words, redirect) = match format {
                Some(format) => (format, None),
                None => (format_of_file(&value), Some(value.clone())),
            };
            line.words.extend(["--format".to_owned(), words.to_owned()]);
            line.redirect = redirect;
            notes.push((format!("{name} {value}"), format!("--format {words}")));
        } else if let Some(format) = name.strip_prefix("--").and_then(report_format) {
            line.words.extend(["--format".to_owned(), format.to_owned()]);
            notes.push((name, format!("--format {format}")));
        } else {
            line.words.push(word);
        }
    }
    if notes.is_empty() {
        return Ok(words);
    }
    Err(UsageError::new(problem(&notes, &[]), line.shown()))
}

/// What to do about the word that is not text. clap's own error does not name it.
pub(super) fn not_text(words: &[OsString]) -> Option<UsageError> {
    let place = words.iter().position(|word| word.to_str().is_none())?;
    let shown = words[place].to_string_lossy().into_owned();
    let option = words[..place].last().and_then(|word| word.to_str()).filter(|word| word.starts_with('-'));
    let name = match (shown.split_once('='), option) {
        (Some((name, _)), _) if name.starts_with('-') => format!("the value of {name}"),
        (_, Some(option)) => format!("the value of {option}"),
        _ => format!("argument {place}"),
    };
    Some(UsageError::new(
        format!("{name} is not UTF-8 text: `{shown}`"),
        "write it in UTF-8; give a file of such a name through a link with another name (ln -s)",
    ))
}

#[cfg(test)]
mod tests;
