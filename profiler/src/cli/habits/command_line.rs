//! [`CommandLine`]: a command of this program, built to be shown and typed.

use super::answer::Answer;

/// The most command lines that are shown for lists of values; beyond them only the first values are used.
const MOST_LINES: usize = 6;

/// A command with its words, and what belongs around it.
#[derive(Debug)]
pub(super) struct CommandLine {
    /// Variables before it, such as `HF_HUB_OFFLINE=1`.
    environment: Vec<String>,
    verb: String,
    /// Its words in order; those in [`choices`](Self::choices) follow them.
    pub(super) words: Vec<String>,
    /// Several values for one option, where each needs a command of its own.
    choices: Vec<Vec<Vec<String>>>,
    /// Tests of a prompt and a generation, each in a command of its own beside what the other words ask for.
    tests: Vec<Vec<String>>,
    /// Settings of the engine llama-cpp with their values.
    settings: Vec<(&'static str, Vec<String>)>,
    /// Host and port of a server.
    host: Option<String>,
    port: Option<String>,
    /// The file of the repository that is the model.
    model_file: Option<String>,
    /// The format and the file of a report after the run.
    reports: Vec<(&'static str, Option<String>)>,
    /// The file that its output goes to.
    pub(super) redirect: Option<String>,
}

impl CommandLine {
    pub(super) fn new(verb: &str) -> Self {
        Self {
            environment: Vec::new(),
            verb: verb.to_owned(),
            words: Vec::new(),
            choices: Vec::new(),
            tests: Vec::new(),
            settings: Vec::new(),
            host: None,
            port: None,
            model_file: None,
            reports: Vec::new(),
            redirect: None,
        }
    }

    /// Adds what an option of another program becomes.
    pub(super) fn take(&mut self, answer: Answer) {
        match answer {
            // The same option in two spellings, such as for keys and values of a cache, is given once.
            Answer::Words(words) => words.chunks(2).for_each(|pair| {
                if !self.words.windows(pair.len()).any(|given| given == pair) {
                    self.words.extend_from_slice(pair);
                }
            }),
            Answer::Test(words) => self.tests.push(words),
            Answer::Setting(key, values) => {
                // The last one counts.
                self.settings.retain(|(known, _)| *known != key);
                self.settings.push((key, values));
            }
            Answer::Host(host) => self.host = Some(host),
            Answer::Port(port) => self.port = Some(port),
            Answer::ModelFile(file) => self.model_file = Some(file),
            Answer::Choices(choices) => self.choices.push(choices),
            Answer::Environment(variable) => self.environment.push(variable.to_owned()),
            Answer::Report(format, file) => self.reports.push((format, file)),
            Answer::Instead(verb, words) => {
                self.verb = verb.to_owned();
                self.words = words;
            }
            Answer::None(_) => {}
        }
    }

    /// The text to type. Secrets are hidden.
    pub(super) fn shown(mut self) -> String {
        if !self.reports.is_empty() && !self.words.iter().any(|word| word == "--out") {
            self.words.extend(["--out".to_owned(), "runs/mine".to_owned()]);
        }
        self.add_address();
        self.add_settings();
        if let Some(file) = self.model_file.take() {
            let model = self.words.iter().rposition(|word| word == "-m").map(|place| place + 1);
            match model.and_then(|place| self.words.get_mut(place)) {
                Some(model) => *model = format!("{}:{file}", model.split(':').next().unwrap_or_default()),
                None => self.words.extend(["-m".to_owned(), format!("OWNER/REPO:{file}")]),
            }
        }
        let mut variants = self.variants();
        variants.truncate(MOST_LINES);
        let several = variants.len() > 1;
        let lines: Vec<String> =
            variants.into_iter().enumerate().map(|(number, words)| self.one(words, number, several)).collect();
        lines.join(" && ")
    }

    /// The words of each command: one for each combination of the choices, and one for each of these with each test.
    fn variants(&self) -> Vec<Vec<String>> {
        let work = self.words.iter().chain(self.choices.iter().flatten().flatten());
        let has_work = work.into_iter().any(|word| says_the_work(word));
        let mut variants = if has_work || self.tests.is_empty() {
            combined(self.words.clone(), self.choices.iter())
        } else {
            Vec::new()
        };
        for test in &self.tests {
            let mut words = Vec::new();
            let mut rest = self.words.iter();
            while let Some(word) = rest.next() {
                match says_the_work(word) {
                    true if word.starts_with("--") && word.contains('=') => {}
                    true => drop(rest.next()),
                    false => words.push(word.clone()),
                }
            }
            words.extend(test.iter().cloned());
            let others = self.choices.iter().filter(|choice| !choice.iter().flatten().any(|word| says_the_work(word)));
            variants.extend(combined(words, others));
        }
        let mut distinct: Vec<Vec<String>> = Vec::new();
        for variant in variants {
            if !distinct.contains(&variant) {
                distinct.push(variant);
            }
        }
        distinct
    }

    /// Adds the address of a server that is given by host and port.
    fn add_address(&mut self) {
        let (host, port) = (self.host.take(), self.port.take());
        if (host.is_some() || port.is_some()) && !self.words.iter().any(|word| word == "--url") {
            let (host, port) =
                (host.unwrap_or_else(|| "localhost".to_owned()), port.unwrap_or_else(|| "PORT".to_owned()));
            self.words.extend(["-e", "openai", "--url"].map(str::to_owned));
            self.words.push(format!("http://{host}:{port}"));
        }
    }

    /// Adds the settings of llama-cpp for each engine of the line that is one; without an engine it is chosen, where this build has it.
    fn add_settings(&mut self) {
        let settings = std::mem::take(&mut self.settings);
        let mut engines: Vec<String> = Vec::new();
        for pair in self.words.windows(2) {
            if let [option, engine] = pair
                && (option == "-e" || option == "--engine")
            {
                engines.push(engine.clone());
            }
        }
        if engines.is_empty() && !settings.is_empty() && has_llama_cpp() {
            self.words.extend(["-e".to_owned(), LLAMA_CPP.to_owned()]);
            engines.push(LLAMA_CPP.to_owned());
        }
        for engine in &engines {
            let (label, name) = engine.split_once('=').unwrap_or((engine, engine));
            if name.split(':').next() != Some(LLAMA_CPP) {
                continue;
            }
            for (key, values) in &settings {
                let words = |value: &String| vec!["--set".to_owned(), format!("{label}.{key}={value}")];
                match values.as_slice() {
                    [one] => self.words.extend(words(one)),
                    many => self.choices.push(many.iter().map(words).collect()),
                }
            }
        }
    }

    fn one(&self, mut words: Vec<String>, number: usize, several: bool) -> String {
        // Each command needs a folder of its own.
        let folder =
            words.iter().position(|word| word == "--out").map(|place| place + 1).filter(|place| *place < words.len());
        if let Some(folder) = folder.filter(|_| several) {
            words[folder] = format!("{}-{}", words[folder], number + 1);
        }
        let name = folder.map(|folder| words[folder].clone()).unwrap_or_default();
        let command = self.verb.split(' ').map(str::to_owned).chain(words);
        let command: Vec<String> = crate::tool::redacted(command).iter().map(|word| quoted(word)).collect();
        let mut line = self.environment.join(" ");
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&format!("inferometer {}", command.join(" ")));
        if let Some(file) = &self.redirect {
            line.push_str(&format!(" > {}", quoted(file)));
        }
        for (format, file) in &self.reports {
            line.push_str(&format!(" && inferometer report {} --format {format}", quoted(&name)));
            if let Some(file) = file {
                line.push_str(&format!(" > {}", quoted(file)));
            }
        }
        line
    }
}

/// Whether a word is an option for the tokens of a prompt or of an answer.
fn says_the_work(word: &str) -> bool {
    ["--prompt-tokens", "--prompt", "-n"].contains(&word.split('=').next().unwrap_or_default())
}

/// These words with each combination of the choices.
fn combined<'a>(words: Vec<String>, choices: impl Iterator<Item = &'a Vec<Vec<String>>>) -> Vec<Vec<String>> {
    choices.fold(vec![words], |variants, choice| {
        let more = |words: &Vec<String>| {
            choice.iter().map(|chosen| [words.clone(), chosen.clone()].concat()).collect::<Vec<_>>()
        };
        variants.iter().flat_map(more).collect()
    })
}

/// The engine that has llama.cpp's settings.
const LLAMA_CPP: &str = "llama-cpp";

/// Whether this build has it.
pub(super) fn has_llama_cpp() -> bool {
    ::engines::registry::find(LLAMA_CPP).is_ok_and(|entry| entry.open().is_ok())
}

/// A word as a POSIX shell reads it; `$(...)` stays, because the shell replaces it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@%+=:,./-_~{}*".contains(c);
    if !word.is_empty() && word.chars().all(plain) || word.starts_with("\"$(") {
        word.to_owned()
    } else if word.chars().any(char::is_control) {
        let escaped: String =
            word.chars().flat_map(|c| if c == '\'' { vec!['\\', '\''] } else { shell_escape(c) }).collect();
        format!("$'{escaped}'")
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A character between `$'` and `'`.
fn shell_escape(c: char) -> Vec<char> {
    match c {
        '\\' => vec!['\\', '\\'],
        '\n' => vec!['\\', 'n'],
        '\t' => vec!['\\', 't'],
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)).chars().collect(),
        c => vec![c],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in [
            ("plain-1.gguf", "plain-1.gguf"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
            ("\u{1b}[31m'", "$'\\u001b[31m\\''"),
            ("\"$(cat p.txt)\"", "\"$(cat p.txt)\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
