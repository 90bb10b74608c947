//! Cases from tests: prompts with their generations, and tests that stand alone.

use super::test::Test;
use crate::{Case, CaseNote, Reason, Reasons, Recorded, Sample, Status};

/// Why a figure is absent.
const NOT_MEASURED: &str = "llama-bench does not measure it";
const NO_GENERATION: &str = "the file has no test of a generation";
const NO_PROMPT: &str = "the file has no test of the prompt";
const TOGETHER: &str = "llama-bench measured the prompt and the generation together";
const FEWER: &str = "the other test of the case had more repetitions";
const NO_FIGURE: &str =
    "the file has no usable figure: it is not positive, not finite, or its rate and its time disagree";

/// The cases of a file: one for each prompt, each generation that belongs to no prompt, and each test of both.
pub(super) fn cases(tests: &[Test]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut used = vec![false; tests.len()];
    for prompt in tests.iter().filter(|test| test.is_prompt()) {
        let found = generation(tests, prompt);
        if let Some(place) = found {
            used[place] = true;
        }
        cases.push(of_prompt(prompt, found.map(|place| &tests[place])));
    }
    for (test, _) in tests.iter().zip(&used).filter(|(test, used)| test.is_generation() && !**used) {
        // After a context that no test of a prompt measured, the context is the prompt.
        let context = Test {
            prompt: test.depth,
            depth: 0,
            generated: 0,
            times_ns: Vec::new(),
            rates: Vec::new(),
            ..test.clone()
        };
        let case = of_prompt(&context, Some(test));
        let is_taken = cases.iter().any(|taken: &Case| taken.id == case.id);
        cases.push(if test.depth > 0 && !is_taken { case } else { of_generation(test) });
    }
    cases.extend(tests.iter().filter(|test| test.prompt > 0 && test.generated > 0).map(of_both));
    cases
}

/// The place of the generation that starts at the end of a prompt, else of the one that starts nearest to it.
fn generation(tests: &[Test], prompt: &Test) -> Option<usize> {
    let end = prompt.depth + prompt.prompt;
    let generations = tests.iter().enumerate().filter(|(_, test)| test.is_generation() && test.is_beside(prompt));
    generations.min_by_key(|(_, test)| test.depth.abs_diff(end)).map(|(place, _)| place)
}

/// A case without samples.
fn case(test: &Test, prompt: String) -> Case {
    let threads = test.threads.unwrap_or(0);
    let mut case = Case {
        id: format!("{}/{}/{prompt}/t{threads}/d{}", test.label(), test.model(), test.depth),
        engine: test.label(),
        model: test.model(),
        prompt,
        threads,
        depth: test.depth,
        status: Status::Ok,
        ..Case::absent(NOT_MEASURED)
    };
    if test.threads.is_none() {
        case.notes.set(CaseNote::Threads, "the file does not have the number of threads");
    }
    case
}

fn of_prompt(prompt: &Test, generation: Option<&Test>) -> Case {
    let end = prompt.depth + prompt.prompt;
    let repetitions = prompt.rates.len().max(generation.map_or(0, |test| test.rates.len()));
    let mut case = case(prompt, format!("pp{}", prompt.prompt));
    case.samples = (0..repetitions)
        .map(|round| Sample {
            round,
            prompt_tokens: prompt.prompt.into(),
            // The first token is an output of the prompt's pass, so there is one more than is timed.
            output_tokens: generation.map(|test| test.generated + 1).ok_or_else(|| Reason::new(NO_GENERATION)).into(),
            prefill_s: figure(&prompt.times_ns, round, NO_PROMPT).map(|nanos| nanos / 1e9),
            prefill_tps: figure(&prompt.rates, round, NO_PROMPT),
            decode_s: figure(generation.map_or(&[], |test| &test.times_ns), round, NO_GENERATION)
                .map(|nanos| nanos / 1e9),
            decode_tps: figure(generation.map_or(&[], |test| &test.rates), round, NO_GENERATION),
            estimated: doubts([("prefill", Some(prompt)), ("decode", generation)]),
            ..Sample::absent(NOT_MEASURED)
        })
        .collect();
    count_outputs(&mut case, generation);
    match generation {
        Some(test) if test.depth != end => {
            let note = format!("decoded after {} tokens, not after {end}", test.depth);
            case.notes.set(CaseNote::DecodedAfter, note);
        }
        Some(_) => {}
        None => {
            case.notes.set(CaseNote::DecodeTps, NO_GENERATION);
        }
    }
    case
}

fn of_generation(test: &Test) -> Case {
    let mut case = case(test, format!("tg{}", test.generated));
    case.samples = (0..test.rates.len())
        .map(|round| Sample {
            round,
            output_tokens: (test.generated + 1).into(),
            decode_s: figure(&test.times_ns, round, NO_GENERATION).map(|nanos| nanos / 1e9),
            decode_tps: figure(&test.rates, round, NO_GENERATION),
            estimated: doubts([("decode", Some(test))]),
            ..Sample::absent(NO_PROMPT)
        })
        .collect();
    count_outputs(&mut case, Some(test));
    case
}

/// Says why there is one output token more than the file has.
fn count_outputs(case: &mut Case, generation: Option<&Test>) {
    if let Some(test) = generation {
        let note = format!("{} of `n_gen`, and the first one, which is a result of the prompt", test.generated);
        case.notes.set(CaseNote::OutputTokens, note);
    }
}

/// Its rate counts the tokens of both parts, which is no rate of this program.
fn of_both(test: &Test) -> Case {
    let mut case = case(test, format!("pp{}+tg{}", test.prompt, test.generated));
    case.samples = (0..test.rates.len())
        .map(|round| {
            let latency_s = figure(&test.times_ns, round, TOGETHER).map(|nanos| nanos / 1e9);
            Sample {
                round,
                prompt_tokens: test.prompt.into(),
                output_tokens: test.generated.into(),
                tps: latency_s.clone().map(|seconds| test.generated as f64 / seconds),
                latency_s,
                estimated: test
                    .contradiction
                    .iter()
                    .flat_map(|why| ["tps", "latency_s"].map(|name| (name.to_owned(), why.clone())))
                    .collect(),
                ..Sample::absent(TOGETHER)
            }
        })
        .collect();
    case
}

/// Why time and rate of a phase are doubtful, by the fields of a sample.
fn doubts<const N: usize>(phases: [(&str, Option<&Test>); N]) -> Reasons {
    let of_phase = |(phase, test): (&str, Option<&Test>)| {
        let why = test?.contradiction.clone()?;
        Some([format!("{phase}_s"), format!("{phase}_tps")].map(|field| (field, why.clone())))
    };
    phases.into_iter().filter_map(of_phase).flatten().collect()
}

/// The figure of one repetition. A test that was not run has none, for `reason`.
fn figure(figures: &[Option<f64>], round: usize, reason: &str) -> Recorded<f64> {
    let found = match figures.get(round) {
        Some(Some(figure)) => Ok(*figure),
        Some(None) => Err(Reason::new(NO_FIGURE)),
        None if figures.is_empty() => Err(Reason::new(reason)),
        None => Err(Reason::new(FEWER)),
    };
    found.into()
}
