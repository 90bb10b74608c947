//! [`Answer`]: what an option of another program becomes, and how the values of other programs are read.

use std::path::Path;

/// What an option of another program becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Options of this program.
    Words(Vec<String>),
    /// One command line for each.
    Choices(Vec<Vec<String>>),
    /// A test of its own with these options, beside those that other options ask for.
    Test(Vec<String>),
    /// A setting of the engine llama-cpp: its key and values, in one run each.
    Setting(&'static str, Vec<String>),
    /// The host of a server.
    Host(String),
    /// The port of a server.
    Port(String),
    /// A file of the repository that is the model.
    ModelFile(String),
    /// A variable before the command.
    Environment(&'static str),
    /// A report after the run: its format, and the file that it goes to.
    Report(&'static str, Option<String>),
    /// Another command.
    Instead(&'static str, Vec<String>),
    /// Nothing, for this reason.
    None(&'static str),
}

impl Answer {
    /// The answer in a few words.
    pub(super) fn note(&self) -> String {
        match self {
            Self::Words(words) | Self::Test(words) => words.join(" "),
            Self::Choices(choices) => {
                let shown: Vec<String> = choices.iter().map(|words| words.join(" ")).collect();
                format!("{}, in one run each", shown.join(" and "))
            }
            Self::Setting(key, values) => {
                let shown: Vec<String> = values.iter().map(|value| format!("--set llama-cpp.{key}={value}")).collect();
                format!("{}: a setting of the engine llama-cpp alone", shown.join(" and "))
            }
            Self::Host(host) => format!("-e openai --url http://{host}:PORT"),
            Self::Port(port) => format!("-e openai --url http://HOST:{port}"),
            Self::ModelFile(file) => format!("-m OWNER/REPO:{file}"),
            Self::Environment(variable) => format!("the environment variable {variable}"),
            Self::Report(format, file) => {
                let file = file.as_ref().map(|file| format!(" > {file}")).unwrap_or_default();
                format!("afterwards `inferometer report RUN --format {format}{file}`")
            }
            Self::Instead(verb, _) => format!("`inferometer {verb}`"),
            Self::None(reason) => format!("no counterpart: {reason}"),
        }
    }
}

/// Words of this program.
pub(super) fn words<const N: usize>(words: [&str; N]) -> Answer {
    Answer::Words(words.map(str::to_owned).into())
}

/// `on`, `off` or `auto`.
pub(super) fn switch(value: &str) -> Option<&'static str> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" | "enabled" => Some("on"),
        "0" | "off" | "false" | "no" | "disabled" => Some("off"),
        "auto" | "-1" => Some("auto"),
        _ => None,
    }
}

/// A format of this program's reports by the names that people use.
pub(super) fn report_format(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "json" => Some("json"),
        "md" | "markdown" | "asciidoc" | "orgmode" => Some("md"),
        "csv" | "tsv" => Some("csv"),
        "html" => Some("html"),
        "text" | "txt" | "plain" | "table" => Some("text"),
        _ => None,
    }
}

/// The format of a file by its name.
pub(super) fn format_of_file(name: &str) -> &'static str {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    report_format(extension).unwrap_or("text")
}

/// Numbers as llama-bench reads them: `1,2`, `1-4`, `0-4096+1024`, `1-8*2`, joined by commas. At most 64 of them.
pub(super) fn list(text: &str) -> Option<Vec<u64>> {
    const MOST: usize = 64;
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let Some((first, rest)) = part.split_once('-').filter(|(first, _)| !first.is_empty()) else {
            numbers.push(part.parse().ok()?);
            continue;
        };
        let (last, step) = match rest.split_once(['+', '*']) {
            Some((last, step)) => (last, Some(step.parse::<u64>().ok()?)),
            None => (rest, None),
        };
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let mut number = first;
        while number <= last && numbers.len() < MOST {
            numbers.push(number);
            let next = match (rest.contains('*'), step) {
                (true, Some(factor)) => number.checked_mul(factor)?,
                (_, step) => number.checked_add(step.unwrap_or(1))?,
            };
            if next <= number {
                return None;
            }
            number = next;
        }
    }
    (!numbers.is_empty() && numbers.len() <= MOST).then_some(numbers)
}
