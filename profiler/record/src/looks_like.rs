//! [`looks_like`]: what a text file is that is not a run, so that an error can say what to do with it.

use super::Action;

/// A kind of file that people give to `compare`.
struct Kind {
    name: &'static str,
    advice: fn() -> String,
    /// All of these are in the text.
    signs: &'static [&'static str],
}

/// The first match counts.
const KINDS: &[Kind] = &[
    Kind {
        name: "a Chrome trace",
        advice: || format!("{} reads it, and {} compares two", Action::SummariseTrace, Action::DiffTraces),
        signs: &["\"ph\"", "\"ts\""],
    },
    Kind {
        name: "samples.jsonl of a run folder",
        advice: || "give the folder".to_owned(),
        signs: &["\"pass\"", "\"round\"", "\"latency_s\""],
    },
    Kind {
        name: "results.csv of a run folder",
        advice: || "give the folder".to_owned(),
        signs: &["engine,model,prompt,threads,depth,status"],
    },
    Kind {
        name: "a report of inferometer",
        advice: || "give the folder of the run".to_owned(),
        signs: &["# inferometer"],
    },
    Kind { name: "results of hyperfine", advice: whole_commands, signs: &["\"results\"", "\"command\"", "\"times\""] },
    Kind { name: "results of hyperfine", advice: whole_commands, signs: &["command,mean,stddev"] },
    Kind {
        name: "results of LocalScore",
        advice: || format!("they are not read; measure the model with {}", Action::Run),
        signs: &["\"results\"", "\"name\"", "pp", "+tg"],
    },
    Kind {
        name: "results of `vllm bench`",
        advice: || format!("they are not read; measure the server with {}", Action::RunServer),
        signs: &["\"request_throughput\""],
    },
    Kind {
        name: "results of lm-evaluation-harness",
        advice: || "they rate answers, and this program measures speed".to_owned(),
        signs: &["\"results\"", "acc_norm"],
    },
    Kind {
        name: "a configuration of a model",
        advice: || format!("{} measures it", Action::RunFolder),
        signs: &["\"architectures\""],
    },
    Kind { name: "a web page", advice: || "give the file that the page was made of".to_owned(), signs: &["<html"] },
];

fn whole_commands() -> String {
    format!("they are times of whole commands, which have no phases; measure the engine with {}", Action::Run)
}

/// What a text is in a few words, and what to do with it.
pub(crate) fn looks_like(text: &str) -> (String, String) {
    let advice = || format!("give a run folder, its run.json, or {}", super::llama_bench::FORMS);
    match KINDS.iter().find(|kind| kind.signs.iter().all(|sign| text.contains(sign))) {
        Some(kind) => (
            kind.name.to_owned(),
            format!("{}; here {}", (kind.advice)(), advice().replacen("give", "one can give", 1)),
        ),
        None if text.trim().is_empty() => ("an empty file".to_owned(), advice()),
        None => (format!("a text that begins with `{}`", text_input::excerpt(text)), advice()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_programs_are_named() {
        for (text, name) in [
            ("{\"results\": [{\"command\": \"x\", \"mean\": 1.2, \"times\": [1.1]}]}", "results of hyperfine"),
            ("[{\"ph\":\"X\",\"ts\":1}]", "a Chrome trace"),
            (" \n", "an empty file"),
            ("{\"a\": 1}", "a text that begins with `{\"a\": 1}`"),
        ] {
            let (found, advice) = looks_like(text);
            assert_eq!(found, name);
            assert!(advice.contains("json, jsonl, csv, md and sql"), "{advice}");
        }
    }
}
