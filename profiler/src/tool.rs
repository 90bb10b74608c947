//! This program, its build, and its command line as a run records them.

use meter::environment::{names_a_secret, without_credentials};
use record::Tool;

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

/// A command line without secrets: credentials in URLs, and values of options and settings with names such as `--api-key X` or
/// `--set engine.token=X`, are replaced.
pub(crate) fn redacted(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut secret_follows = false;
    for argument in arguments {
        if std::mem::take(&mut secret_follows) {
            kept.push("***".to_owned());
            continue;
        }
        let option = argument.starts_with("--");
        kept.push(match argument.split_once('=') {
            Some((name, _)) if is_name(name) && names_a_secret(name) && !counts_tokens(name) => format!("{name}=***"),
            _ => without_credentials(&argument),
        });
        secret_follows = option && !argument.contains('=') && names_a_secret(&argument) && !counts_tokens(&argument);
    }
    kept
}

/// `--prompt-tokens` and `--max-new-tokens` are counts, not secrets.
fn counts_tokens(name: &str) -> bool {
    name.ends_with("-tokens") || name.ends_with("_tokens")
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
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
        assert_eq!(line("run --api-key abc -n 1"), "run --api-key *** -n 1");
        assert_eq!(line("run --api-key=abc"), "run --api-key=***");
        assert_eq!(line("run --set exo.token=abc"), "run --set exo.token=***");
        assert_eq!(line("run http://u:p@h/x"), "run http://***@h/x");
    }

    #[test]
    fn the_build_is_known() {
        let tool = tool();
        assert!(!tool.version.is_empty() && !tool.target.is_empty() && tool.compiler.starts_with("rustc"));
        assert!(["debug", "release"].contains(&tool.profile.as_str()));
    }
}
