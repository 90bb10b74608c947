//! Checks of options that need no file and no engine.

use meter::Counter;
use record::plan::PromptChoice;
use record::{Setting, nearest};

use super::engine::EngineArgument;
use super::option_error::OptionError;
use super::options::Options;

/// Checks the options.
///
/// # Errors
/// When an option is invalid.
pub fn check(options: &Options) -> Result<(), OptionError> {
    let zero = |setting, needed, default| Err(OptionError::Zero { setting, needed, default });
    if options.design.runs == 0 {
        return zero(Setting::Runs, "at least one run per case", Some("5"));
    }
    if let Some(share) = options.design.precision.filter(|share| *share <= 0.0 || *share >= 1.0) {
        return Err(OptionError::Precision(share));
    }
    if options.engine.threads.contains(&0) {
        return zero(Setting::Threads, "at least one thread", Some("the physical cores"));
    }
    if options.workload.new_tokens == Some(0) {
        return zero(Setting::NewTokens, "at least one new token", Some("128"));
    }
    if options.engine.context == Some(0) {
        return zero(Setting::Context, "a context of at least one token", Some("what the prompts need"));
    }
    if options.engine.batch == Some(0) {
        return zero(Setting::Batch, "at least one token per pass", Some("the engine's default"));
    }
    match &options.workload.prompts {
        PromptChoice::Tokens(0) => return zero(Setting::PromptTokens, "at least one prompt token", None),
        PromptChoice::Text(text) if text.is_empty() => return Err(OptionError::EmptyPrompt),
        _ => {}
    }
    if options.subject.header.is_some() && !options.subject.synthetic {
        return Err(OptionError::HeaderWithoutSynthetic);
    }
    if let (Some(out), Some(resume)) = (&options.output.out, &options.output.resume) {
        return Err(OptionError::TwoFolders { out: out.clone(), resume: resume.clone() });
    }
    for name in &options.instruments.counters {
        counter(name)?;
    }
    unique_engines(&options.subject.engines)?;
    unique(Setting::Model, &options.subject.models)?;
    unique(Setting::Threads, &options.engine.threads)?;
    unique(Setting::Depth, &options.workload.depths)
}

/// The counter or event of this name.
///
/// # Errors
/// When there is none.
pub(crate) fn counter(name: &str) -> Result<&'static Counter, OptionError> {
    meter::counter_by_name(name)
        .ok_or_else(|| OptionError::Counter { name: name.to_owned(), near: nearest(name, &meter::counter_names()) })
}

/// Two engines with the same label would share the ids of their cases.
fn unique_engines(engines: &[String]) -> Result<(), OptionError> {
    for (index, text) in engines.iter().enumerate() {
        let label = EngineArgument::new(text)?.label;
        let mut earlier = engines.iter().take(index).filter_map(|earlier| EngineArgument::new(earlier).ok());
        if let Some(earlier) = earlier.find(|earlier| earlier.label == label) {
            return Err(if label == text && earlier.engine == text {
                OptionError::GivenTwice { setting: Setting::Engine, value: text.clone() }
            } else {
                OptionError::LabelTaken { argument: text.clone(), label: label.to_owned() }
            });
        }
    }
    Ok(())
}

/// A value that is given twice would make two cases with the same id.
fn unique<T: PartialEq + std::fmt::Display>(setting: Setting, values: &[T]) -> Result<(), OptionError> {
    let again =
        values.iter().enumerate().find(|(index, value)| values.iter().take(*index).any(|earlier| earlier == *value));
    match again {
        Some((_, value)) => Err(OptionError::GivenTwice { setting, value: value.to_string() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use engine_api::Advice as _;

    use super::*;

    fn checked(change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options::default();
        change(&mut options);
        check(&options).map_or_else(|error| error.with_advice(), |()| "accepted".to_owned())
    }

    #[test]
    fn invalid_options_are_refused_by_name() {
        assert_eq!(checked(|_| {}), "accepted");
        insta::assert_snapshot!(checked(|o| o.design.runs = 0), @"`runs` 0: at least one run per case is needed; leave `runs` out for 5");
        insta::assert_snapshot!(checked(|o| o.design.precision = Some(1.0)), @"`precision`: expected more than 0 and less than 100 percent; give a share such as 2%");
        insta::assert_snapshot!(checked(|o| o.engine.threads = vec![2, 0]), @"`threads` 0: at least one thread is needed; leave `threads` out for the physical cores");
        insta::assert_snapshot!(checked(|o| o.workload.new_tokens = Some(0)), @"`new_tokens` 0: at least one new token is needed; leave `new_tokens` out for 128");
        insta::assert_snapshot!(checked(|o| o.workload.prompts = PromptChoice::Tokens(0)), @"`prompt_tokens` 0: at least one prompt token is needed; give 1 or more");
        insta::assert_snapshot!(checked(|o| o.engine.threads = vec![1, 2, 1]), @"`threads` 1 is given twice: each case is measured once per run; raise `runs` for more samples");
        let engines = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        insta::assert_snapshot!(checked(|o| o.subject.engines = engines(&["mock", "candle", "candle"])), @"`engines` candle is given twice: each case is measured once per run; raise `runs` for more samples; to compare an engine with itself, name one of them: `engines` candle `engines` again=candle");
        insta::assert_snapshot!(checked(|o| o.subject.engines = engines(&["a=mock", "a=candle"])), @"`engines` a=candle: another engine of this run is called `a`; choose another name for one of them");
        assert_eq!(checked(|o| o.subject.engines = engines(&["candle", "again=candle", "third=candle"])), "accepted");
        insta::assert_snapshot!(checked(|o| o.instruments.counters = vec!["cycels".to_owned()]), @r#"no counter is called `cycels`; did you mean `cycles`?; the measurement of the machine and "Counters" (docs/counters.md in the source of inferometer) list the counters; write other events as rHEX or PMU/TERM=VALUE,.../"#);
        assert_eq!(
            checked(|o| o.instruments.counters =
                vec!["LLC-loads".to_owned(), "cpu/event=0x3c/".to_owned(), "r01c2".to_owned()]),
            "accepted"
        );
        assert!(checked(|o| o.subject.header = Some("x".into())).contains("`synthetic`"));
        assert!(
            checked(|o| (o.output.out, o.output.resume) = (Some("a".into()), Some("b".into()))).contains("one of them")
        );
    }
}
