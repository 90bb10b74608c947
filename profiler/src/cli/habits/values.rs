//! Values that other programs accept for options that this program has, too: ranges, lists, and numbers with a special meaning.

use super::answer::{Answer, list, words};

/// The problem of a value and what to type instead; `None` for a value that this program's parser judges.
pub(super) fn foreign(name: &str, value: &str) -> Option<(String, Answer)> {
    match name {
        "-n" | "--new-tokens" => new_tokens(value),
        "-t" | "--threads" | "--depth" if value.contains('-') => {
            let numbers = list(value)?;
            let joined = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            Some((format!("a range is written as a list: {name} {joined}"), words([name, &joined])))
        }
        "-m" | "--model" if value.contains(',') && !std::path::Path::new(value).exists() => {
            let models: Vec<String> = value.split(',').flat_map(|model| [name.to_owned(), model.to_owned()]).collect();
            Some((format!("several models are given with several {name}"), Answer::Words(models)))
        }
        "-m" | "--model" if value.parse::<u32>().is_ok() && !std::path::Path::new(value).exists() => {
            Some(("hyperfine's least number of runs; here -m is the model".to_owned(), words(["-r", value])))
        }
        _ => None,
    }
}

fn new_tokens(value: &str) -> Option<(String, Answer)> {
    match value {
        "0" => Some((
            "llama-bench measures a prompt alone; here every request decodes at least one token, and prefill is reported apart".to_owned(),
            words(["-n", "1"]),
        )),
        "-1" | "-2" => Some((
            "llama-cli has no limit then; here the answer ends at the end token or after N tokens".to_owned(),
            words(["-n", "1024"]),
        )),
        _ => {
            let numbers = list(value).filter(|numbers| numbers.len() > 1)?;
            Some((
                "one number for all requests of a run".to_owned(),
                Answer::Choices(numbers.iter().map(|number| vec!["-n".to_owned(), number.to_string()]).collect()),
            ))
        }
    }
}
