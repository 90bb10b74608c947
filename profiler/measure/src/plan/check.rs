//! Checks of options that need no file and no engine.

use meter::Counter;
use record::plan::PromptChoice;
use record::{Error, nearest};

use super::engine::EngineArgument;
use super::options::Options;

/// Checks the options.
///
/// # Errors
/// When an option is invalid: a usage error that names it, with what was expected and what was found.
pub fn check(options: &Options) -> Result<(), Error> {
    let refuse = |problem: &str, advice: &str| Err(Error::usage(problem, advice));
    if options.runs == 0 {
        return refuse("-r 0: at least one run per case is needed", "leave -r out for 5");
    }
    if options.precision.is_some_and(|share| share <= 0.0 || share >= 1.0) {
        return refuse("--precision: expected more than 0 and less than 100 percent", "give a share such as 2%");
    }
    if options.threads.contains(&0) {
        return refuse("-t 0: at least one thread is needed", "leave -t out for the physical cores");
    }
    if options.new_tokens == Some(0) {
        return refuse("-n 0: at least one new token is needed", "leave -n out for 128");
    }
    if options.ctx == Some(0) {
        return refuse(
            "--ctx 0: a context of at least one token is needed",
            "leave --ctx out for what the prompts need",
        );
    }
    if options.batch == Some(0) {
        return refuse(
            "--batch 0: at least one token per pass is needed",
            "leave --batch out for the engine's default",
        );
    }
    match &options.prompts {
        PromptChoice::Tokens(0) => {
            return refuse("--prompt-tokens 0: at least one prompt token is needed", "give 1 or more");
        }
        PromptChoice::Text(text) if text.is_empty() => {
            return refuse("--prompt is empty", "give a text, or leave it out for the seed prompts");
        }
        _ => {}
    }
    if options.header.is_some() && !options.synthetic {
        return refuse("--header gives synthetic models a tokenizer", "add --synthetic, or leave --header out");
    }
    if let (Some(out), Some(resume)) = (&options.out, &options.resume) {
        let (out, resume) = (out.display(), resume.display());
        return refuse(
            &format!("--out {out} and --resume {resume}: a resumed run stays in its folder"),
            "give one of them",
        );
    }
    for name in &options.counters {
        counter(name)?;
    }
    unique_engines(&options.engines)?;
    unique("-m", &options.models)?;
    unique("-t", &options.threads)?;
    unique("--depth", &options.depths)
}

/// The counter or event of this name.
///
/// # Errors
/// When there is none.
pub(crate) fn counter(name: &str) -> Result<&'static Counter, Error> {
    meter::counter_by_name(name).ok_or_else(|| {
        Error::usage(
            format!("no counter is called `{name}`{}", nearest(name, &meter::counter_names())),
            "`inferometer machine` and docs/counters.md list the counters; write other events as rHEX or PMU/TERM=VALUE,.../",
        )
    })
}

/// Two engines with the same label would share the ids of their cases.
fn unique_engines(engines: &[String]) -> Result<(), Error> {
    for (index, text) in engines.iter().enumerate() {
        let label = EngineArgument::new(text)?.label;
        let mut earlier = engines.iter().take(index).filter_map(|earlier| EngineArgument::new(earlier).ok());
        if let Some(earlier) = earlier.find(|earlier| earlier.label == label) {
            return Err(if label == text && earlier.engine == text {
                Error::usage(
                    format!("-e {text} is given twice: each case is measured once per run"),
                    format!(
                        "raise -r for more samples; to compare an engine with itself, name one of them: -e {text} -e again={text}"
                    ),
                )
            } else {
                Error::usage(
                    format!("-e {text}: another engine of this run is called `{label}`"),
                    "choose another name for one of them",
                )
            });
        }
    }
    Ok(())
}

/// A value that is given twice would make two cases with the same id.
fn unique<T: PartialEq + std::fmt::Display>(option: &str, values: &[T]) -> Result<(), Error> {
    let again =
        values.iter().enumerate().find(|(index, value)| values.iter().take(*index).any(|earlier| earlier == *value));
    match again {
        Some((_, value)) => Err(Error::usage(
            format!("{option} {value} is given twice: each case is measured once per run"),
            "raise -r for more samples",
        )),
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
        insta::assert_snapshot!(checked(|o| o.runs = 0), @"-r 0: at least one run per case is needed; leave -r out for 5");
        insta::assert_snapshot!(checked(|o| o.precision = Some(1.0)), @"--precision: expected more than 0 and less than 100 percent; give a share such as 2%");
        insta::assert_snapshot!(checked(|o| o.threads = vec![2, 0]), @"-t 0: at least one thread is needed; leave -t out for the physical cores");
        insta::assert_snapshot!(checked(|o| o.new_tokens = Some(0)), @"-n 0: at least one new token is needed; leave -n out for 128");
        insta::assert_snapshot!(checked(|o| o.prompts = PromptChoice::Tokens(0)), @"--prompt-tokens 0: at least one prompt token is needed; give 1 or more");
        insta::assert_snapshot!(checked(|o| o.threads = vec![1, 2, 1]), @"-t 1 is given twice: each case is measured once per run; raise -r for more samples");
        let engines = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        insta::assert_snapshot!(checked(|o| o.engines = engines(&["mock", "candle", "candle"])), @"-e candle is given twice: each case is measured once per run; raise -r for more samples; to compare an engine with itself, name one of them: -e candle -e again=candle");
        insta::assert_snapshot!(checked(|o| o.engines = engines(&["a=mock", "a=candle"])), @"-e a=candle: another engine of this run is called `a`; choose another name for one of them");
        assert_eq!(checked(|o| o.engines = engines(&["candle", "again=candle", "third=candle"])), "accepted");
        insta::assert_snapshot!(checked(|o| o.counters = vec!["cycels".to_owned()]), @"no counter is called `cycels`; did you mean `cycles`?; `inferometer machine` and docs/counters.md list the counters; write other events as rHEX or PMU/TERM=VALUE,.../");
        assert_eq!(
            checked(|o| o.counters = vec!["LLC-loads".to_owned(), "cpu/event=0x3c/".to_owned(), "r01c2".to_owned()]),
            "accepted"
        );
        assert!(checked(|o| o.header = Some("x".into())).contains("--synthetic"));
        assert!(checked(|o| (o.out, o.resume) = (Some("a".into()), Some("b".into()))).contains("one of them"));
    }
}
