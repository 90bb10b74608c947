//! This program, its build, and its command line as a run records them.

use record::Tool;
use redaction::Sensitive;

/// This program. The build script sets revision, compiler, target and features.
pub(crate) fn tool() -> Tool {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Tool {
        name: "inferometer".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: given(env!("INFEROMETER_REVISION")),
        profile: profile().to_owned(),
        target: env!("INFEROMETER_TARGET").to_owned(),
        target_features: env!("INFEROMETER_TARGET_FEATURES")
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        compiler: env!("INFEROMETER_COMPILER").to_owned(),
    }
}

/// The kind of build by its settings: a release build is fully optimised and has no debug assertions.
fn profile() -> &'static str {
    if env!("INFEROMETER_OPTIMISATION") == "3" && !cfg!(debug_assertions) { "release" } else { "debug" }
}

/// The command line of this process without its secrets, which are remembered: whatever this process prints or writes later is
/// searched for them.
pub(crate) fn command_line() -> Vec<String> {
    redacted(std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()))
}

/// A command line without secrets. Each argument of this program is read as what it is: an address, a command, a setting. A prompt is
/// not a secret.
pub(crate) fn redacted(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut option: Option<String> = None;
    for argument in arguments {
        let shown = match option.take() {
            Some(name) => value_of(&name, &argument),
            None => match argument.split_once('=').filter(|(name, _)| is_option(name)) {
                Some((name, value)) => format!("{name}={}", value_of(name, value)),
                None => Sensitive::setting("", &argument).to_string(),
            },
        };
        option = (is_option(&argument) && !argument.contains('=') && kept.last().is_none_or(|last| last != "--prompt"))
            .then(|| argument.clone());
        kept.push(shown);
    }
    kept
}

/// The value of an option as it is shown.
fn value_of(option: &str, value: &str) -> String {
    let shown = match option {
        "--prompt" => return value.to_owned(),
        "--url" => Sensitive::address(value),
        "--spawn" => Sensitive::command(value),
        "--set" => match value.split_once('=') {
            Some((name, value)) => return format!("{name}={}", Sensitive::setting(name, value)),
            None => Sensitive::setting("", value),
        },
        // The name of an option without a value, such as `--raw`, is not that of a secret.
        _ => Sensitive::setting(option, value),
    };
    shown.to_string()
}

fn is_option(text: &str) -> bool {
    text.starts_with('-')
        && text.len() > 1
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        redacted(text.split(' ').map(str::to_owned)).join(" ")
    }

    #[test]
    fn ordinary_arguments_stay() {
        for text in [
            "inferometer run -m smollm2-135m -n 64",
            "inferometer run --prompt-tokens 512 --seed 7",
            "run --set candle.kernel=tile",
        ] {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn secrets_go() {
        for (given, shown) in [
            ("run --api-key abc -n 1", "run --api-key *** -n 1"),
            ("run --api-key=abc", "run --api-key=***"),
            ("run --set exo.token=abc", "run --set exo.token=***"),
            ("run --set=exo.token=abc -r 1", "run --set=exo.token=*** -r 1"),
            ("run --set openai.key_env=MY_KEY", "run --set openai.key_env=MY_KEY"),
            ("run --set openai.body={\"api_key\":\"abc\"}", "run --set openai.body={\"api_key\":\"***\"}"),
            ("run http://u:p@h/x", "run http://***@h/x"),
            ("run --url u:p@h:1", "run --url ***@h:1"),
            ("run --url=http://u:p@h:1/v1?sig=abc", "run --url=http://***@h:1/v1?sig=***"),
            ("run --prompt http://u:p@h", "run --prompt http://u:p@h"),
            ("run --prompt=--api-key", "run --prompt=--api-key"),
        ] {
            assert_eq!(line(given), shown);
        }
        let words = ["run", "--spawn", "TOKEN=abc srv --api-key 'd e' -p 1", "--prompt", "--api-key", "xyz"];
        let shown = redacted(words.into_iter().map(str::to_owned));
        assert_eq!(shown, ["run", "--spawn", "TOKEN=*** srv --api-key *** -p 1", "--prompt", "--api-key", "xyz"]);
    }

    #[test]
    fn the_build_is_known() {
        let tool = tool();
        assert!(!tool.version.is_empty() && !tool.target.is_empty() && tool.compiler.starts_with("rustc"));
        assert!(["debug", "release"].contains(&tool.profile.as_str()));
    }
}
