//! What the values of other programs' options become, where they are more than a word under another name.

use super::answer::{Answer, list, report_format, switch, words};

/// A number of tokens, or a text.
pub(super) fn prompt(values: &[String]) -> Option<Answer> {
    let value = values.first()?;
    match list(value) {
        Some(numbers) => match numbers.as_slice() {
            [0] => Some(Answer::Words(["--prompt-tokens", "1"].map(str::to_owned).into())),
            [one] => Some(words(["--prompt-tokens", &one.to_string()])),
            many => Some(Answer::Choices(
                many.iter().map(|number| vec!["--prompt-tokens".to_owned(), number.max(&1).to_string()]).collect(),
            )),
        },
        None => Some(words(["--prompt", value])),
    }
}

pub(super) fn generated(values: &[String]) -> Option<Answer> {
    let value = values.first()?;
    match super::values::foreign("-n", value) {
        Some((_, answer)) => Some(answer),
        None => Some(words(["-n", value])),
    }
}

pub(super) fn prompt_and_generation(values: &[String]) -> Option<Answer> {
    let (prompt, generation) = values.first()?.split_once(',')?;
    let generation = match generated(&[generation.to_owned()])? {
        Answer::Words(words) => words,
        _ => return None,
    };
    Some(Answer::Test([["--prompt-tokens", prompt].map(str::to_owned).to_vec(), generation].concat()))
}

pub(super) fn depth(values: &[String]) -> Option<Answer> {
    let value = values.first()?;
    let joined = list(value).map(|numbers| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    Some(words(["--depth", joined.as_deref().unwrap_or(value)]))
}

pub(super) fn number(values: &[String]) -> Option<String> {
    values.first().filter(|value| value.parse::<i64>().is_ok()).cloned()
}

pub(super) fn gpu_layers(values: &[String]) -> Option<Answer> {
    let value = values.first()?;
    Some(if value == "0" {
        Answer::None("0 layers on a GPU is the default: --device cpu")
    } else if cfg!(feature = "cuda") {
        words(["--device", "cuda:0"])
    } else if cfg!(target_os = "macos") {
        words(["--device", "metal"])
    } else {
        Answer::None(
            "this build computes on the CPU; a build with `--features cuda` has --device cuda:0, and a model is on one device as a whole",
        )
    })
}

/// A device by llama.cpp's names for it.
pub(super) fn device(values: &[String]) -> Option<Answer> {
    let value = values.first()?.to_ascii_lowercase();
    let number = |name: &str| value.strip_prefix(name).filter(|rest| rest.parse::<u32>().is_ok()).map(str::to_owned);
    let device = match value.as_str() {
        "none" | "cpu" => "cpu".to_owned(),
        "metal" => "metal".to_owned(),
        other => match (number("cuda"), number("mtl")) {
            (Some(number), _) => format!("cuda:{number}"),
            (_, Some(_)) => "metal".to_owned(),
            _ => other.to_owned(),
        },
    };
    Some(words(["--device", &device]))
}

pub(super) fn one(value: &str) -> Option<Vec<String>> {
    Some(vec![value.to_owned()])
}

/// The parts of a list; each is a run of its own.
pub(super) fn each(values: &[String]) -> Option<Vec<String>> {
    Some(values.first()?.split(',').map(str::to_owned).collect())
}

pub(super) fn numbers(values: &[String]) -> Option<Vec<String>> {
    Some(list(values.first()?)?.iter().map(ToString::to_string).collect())
}

/// Masks in hexadecimal, which llama.cpp also reads without `0x`.
pub(super) fn masks(values: &[String]) -> Option<Vec<String>> {
    let mask = |text: String| if text.starts_with("0x") { text } else { format!("0x{text}") };
    Some(each(values)?.into_iter().map(mask).collect())
}

/// A switch, which is on without a value.
pub(super) fn on_or_off(values: &[String]) -> Option<Vec<String>> {
    let Some(value) = values.first() else { return one("on") };
    value.split(',').map(|part| switch(part).map(str::to_owned)).collect()
}

/// A switch that turns something off.
pub(super) fn off_or_on(values: &[String]) -> Option<Vec<String>> {
    let turned = |value: String| if value == "on" { "off".to_owned() } else { "on".to_owned() };
    Some(on_or_off(values)?.into_iter().map(turned).collect())
}

pub(super) fn flash_attention(values: &[String]) -> Option<Answer> {
    let Some(value) = values.first() else { return Some(words(["--flash-attn", "on"])) };
    let each: Option<Vec<&str>> = value.split(',').map(switch).collect();
    Some(match each?.as_slice() {
        [one] => words(["--flash-attn", one]),
        many => Answer::Choices(many.iter().map(|when| vec!["--flash-attn".to_owned(), (*when).to_owned()]).collect()),
    })
}

/// A type of the cache of keys and values, under the flag of this program.
pub(super) fn kv_type(flag: &str, values: &[String]) -> Option<Answer> {
    let name = values.first()?.to_ascii_lowercase();
    let name = match name.as_str() {
        "fp16" | "float16" | "auto" => "f16",
        "fp32" | "float32" => "f32",
        "bfloat16" => "bf16",
        other => other,
    };
    Some(match name.parse::<engines::KvType>() {
        Ok(known) => words([flag, known.name()]),
        Err(_) => Answer::None(
            "no engine of this program has a cache of this type (see the types of --kv-type); behind a server it is measured with --spawn",
        ),
    })
}

pub(super) fn parameter_list(values: &[String]) -> Option<Answer> {
    let (name, list) = (values.first()?, values.get(1)?);
    Some(match name.to_ascii_lowercase().as_str() {
        "threads" | "t" | "n_threads" => words(["-t", list]),
        "depth" | "d" => words(["--depth", list]),
        "model" | "m" => Answer::Words(list.split(',').flat_map(|model| ["-m".to_owned(), model.to_owned()]).collect()),
        "engine" | "e" | "backend" => {
            Answer::Words(list.split(',').flat_map(|engine| ["-e".to_owned(), engine.to_owned()]).collect())
        }
        _ => Answer::None("lists are given in the option itself: -t 1,2, --depth 0,512, or -m and -e several times"),
    })
}

/// A format of llama-bench; another value is a folder for this program's own `-o`.
pub(super) fn output_format(values: &[String]) -> Option<Answer> {
    let value = values.first()?;
    match value.as_str() {
        "jsonl" => Some(Answer::None("the run folder has samples.jsonl, one line for each request")),
        "sql" | "none" | "null" | "inherit" | "pipe" => {
            Some(Answer::None("the run folder has run.json and results.csv"))
        }
        other => report_format(other).map(|format| Answer::Report(format, None)),
    }
}
