//! Whether two sides did the same work: one check per row, and the label that all of them allow.

mod prompts;
mod served;
#[cfg(test)]
mod tests;
mod weights;

use super::answers::{NEAR_TIE, answers};
use super::comparison::{Agreement, Check, Comparability, ProbabilityDistance, Work};
use super::pairing::{Group, GroupPair};
use super::probabilities::distance;
use engine_api::RecordedKvTypes;
use record::plan::PlannedModel;
use record::{Case, CaseNote, Reasons, Recorded, ServerFile, Setting, Status};

/// Up to this mean divergence in nats, two models are quantisations of the same weights. Quantising to four bits causes hundredths;
/// another model of the same shape differs by whole nats.
const SAME_SOURCE: f64 = 0.1;
/// They also have the same most likely token at this share of the positions at least: nearly uniform distributions diverge little,
/// whatever their origin.
const SAME_TOP: f64 = 0.75;

/// All checks, and the label that they allow.
pub(super) fn work(pair: &GroupPair<'_>) -> Work {
    let probabilities = Recorded::from(distance(pair));
    let answers = answers(pair);
    let mut checks = vec![
        prompts::check(pair),
        weights::check(pair, probabilities.as_ref()),
        tokens(pair),
        cache_type(pair),
        threads(pair),
        setting("tokens before the prompt", both(pair, |group| group.depth().to_string())),
        context(pair),
        settings_of_server(pair),
        ended(pair),
        elsewhere(pair),
        build(pair),
        machine(pair),
        same_answers(pair, &answers, probabilities.as_ref()),
        same_texts(pair),
    ];
    checks.retain(|check| !check.what.is_empty());
    let allowed = checks.iter().map(|check| check.allows).max_by_key(|allows| rank(*allows)).unwrap_or_default();
    Work { label: allowed, checks, answers, probabilities, notes: Reasons::new() }
}

/// The check that allows the least decides.
const fn rank(sameness: Comparability) -> u8 {
    match sameness {
        Comparability::Equal => 0,
        Comparability::EqualOnWord => 1,
        Comparability::QuantEquivalent => 2,
        Comparability::NotComparable => 3,
    }
}

fn both(pair: &GroupPair<'_>, of: impl Fn(&Group<'_>) -> String) -> (String, String) {
    (of(&pair.baseline), of(&pair.other))
}

fn check(what: &str, (baseline, other): (String, String), allows: Comparability, because: &str) -> Check {
    let because = if allows == Comparability::Equal { String::new() } else { because.to_owned() };
    Check { what: what.to_owned(), allows, baseline, other, because }
}

/// A setting that must be equal.
fn setting(what: &str, values: (String, String)) -> Check {
    let allows = if values.0 == values.1 { Comparability::Equal } else { Comparability::NotComparable };
    check(what, values, allows, &format!("{what} differ"))
}

/// Whether a side's work was done by a server.
fn is_served(pair: &GroupPair<'_>) -> bool {
    served::server(&pair.baseline).is_some() || served::server(&pair.other).is_some()
}

/// The type of the cache of keys and values. A server sets its own.
fn cache_type(pair: &GroupPair<'_>) -> Check {
    if is_served(pair) {
        return Check::default();
    }
    setting("cache of keys and values", both(pair, cache_types))
}

/// The types of a group's cache. A file of llama-bench has them for each of its engines, and those of all engines in the plan.
fn cache_types(group: &Group<'_>) -> String {
    let plan = &group.file().plan;
    let engine = group.cases.first().map(|case| case.engine.as_str());
    let of = |key: &str| {
        let own = plan.settings.iter().find(|(label, name, _)| Some(label.as_str()) == engine && name == key);
        own.map(|(.., value)| value.as_str())
    };
    match of("type_k").zip(of("type_v")) {
        Some((keys, values)) => RecordedKvTypes::from(format!("{keys},{values}").as_str()).to_string(),
        None => plan.kv_type.to_string(),
    }
}

/// Whether the number of threads of a group is only a label: its server sets its own.
fn has_own_threads(group: &Group<'_>) -> bool {
    group.cases.iter().any(|case| case.notes.has(CaseNote::Threads))
}

fn threads(pair: &GroupPair<'_>) -> Check {
    if has_own_threads(&pair.baseline) || has_own_threads(&pair.other) {
        return Check::default();
    }
    setting("threads", both(pair, |group| group.threads().to_string()))
}

/// The settings of a group's server that are unknown.
fn unknown_settings<'a>(group: &Group<'a>) -> Option<(&'a ServerFile, Vec<&'static str>)> {
    let server = served::server(group)?;
    let mut unknown = vec!["cache type"];
    unknown.extend(has_own_threads(group).then_some("threads"));
    unknown.extend(served::context(server).is_none().then_some("context"));
    unknown.extend((!served::is_here(server)).then_some("machine"));
    Some((server, unknown))
}

/// Settings that a server has of its own and that are therefore unknown.
fn settings_of_server(pair: &GroupPair<'_>) -> Check {
    let sides = (unknown_settings(&pair.baseline), unknown_settings(&pair.other));
    let text_of = |side: &Option<(&ServerFile, Vec<&str>)>| match side {
        None => "as recorded".to_owned(),
        Some((server, unknown)) => {
            let context = served::context(server).map(|tokens| format!("context {tokens}; "));
            format!("{}unknown: {}", context.unwrap_or_default(), unknown.join(", "))
        }
    };
    let found: Vec<String> = [&sides.0, &sides.1]
        .into_iter()
        .flatten()
        .map(|(server, unknown)| format!("{} of {}", unknown.join(", "), server.in_words()))
        .collect();
    if found.is_empty() {
        return Check::default();
    }
    let because = format!("unknown are {}", found.join(" and "));
    check("settings of a server", (text_of(&sides.0), text_of(&sides.1)), Comparability::EqualOnWord, &because)
}

/// Probabilities as near as those of the same weights.
fn is_near(found: &ProbabilityDistance) -> bool {
    found.kl_mean <= SAME_SOURCE && found.same_top >= SAME_TOP
}

fn hash(model: Option<&PlannedModel>) -> Option<&str> {
    model?.sha256.as_deref()
}

/// A prompt with the output tokens of both sides.
type Counts<'a> = (&'a str, Option<usize>, Option<usize>);

/// Tokens that came out of each prompt.
fn tokens(pair: &GroupPair<'_>) -> Check {
    let of = |case: &Case| {
        case.samples.iter().rev().find(|sample| !sample.warmup).and_then(|sample| sample.output_tokens.value())
    };
    let counts: Vec<Counts<'_>> = pair.prompts().map(|(b, o)| (b.prompt.as_str(), of(b), of(o))).collect();
    let sum = |side: fn(&Counts<'_>) -> Option<usize>| {
        counts.iter().map(side).sum::<Option<usize>>().map_or_else(|| "unknown".to_owned(), |n| n.to_string())
    };
    // The files of another program may count them in their own way.
    let notes = |case: &Case| case.notes.get(CaseNote::OutputTokens).map(|note| format!(" ({note})"));
    let note_b = pair.prompts().find_map(|(b, _)| notes(b));
    let note_o = pair.prompts().find_map(|(_, o)| notes(o));
    let other: Vec<String> = counts
        .iter()
        .filter(|(_, b, o)| b != o)
        .map(|(prompt, b, o)| {
            let text_of = |n: &Option<usize>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
            format!("{prompt} ({} and {})", text_of(b), text_of(o))
        })
        .collect();
    let unknown = counts.iter().any(|(_, b, o)| b.is_none() || o.is_none());
    let equal = if note_b.is_some() == note_o.is_some() {
        format!("{} makes them equal", Setting::IgnoreEos)
    } else {
        format!("{} and {} make them equal: one more than `n_gen`", Setting::NewTokens, Setting::IgnoreEos)
    };
    let text = format!("the answers have different lengths in {}; {equal}", other.join(", "));
    let allows = if other.is_empty() && !unknown { Comparability::Equal } else { Comparability::NotComparable };
    let values = (
        format!("{}{}", sum(|row| row.1), note_b.unwrap_or_default()),
        format!("{}{}", sum(|row| row.2), note_o.unwrap_or_default()),
    );
    check("output tokens", values, allows, &text)
}

/// The context size of the sessions. It changes the reserved memory, not the computation. Foreign runs do not record it.
fn context(pair: &GroupPair<'_>) -> Check {
    if is_served(pair) {
        return Check::default();
    }
    let of = |model: Option<&PlannedModel>| model.map(|model| model.context).filter(|tokens| *tokens > 0);
    let (b, o) = (of(pair.baseline.planned()), of(pair.other.planned()));
    let text_of = |tokens: Option<usize>| tokens.map_or_else(|| "not recorded".to_owned(), |tokens| tokens.to_string());
    let allows = if b.zip(o).is_none_or(|(b, o)| b == o) { Comparability::Equal } else { Comparability::NotComparable };
    let text = format!("the context sizes differ; {} sets them", Setting::Context);
    check("context", (text_of(b), text_of(o)), allows, &text)
}

/// Every case must be complete.
fn ended(pair: &GroupPair<'_>) -> Check {
    let failed = |side: fn(&(&Case, &Case)) -> String| {
        let of: Vec<String> = pair.prompts().map(|both| side(&both)).filter(|text| !text.is_empty()).collect();
        if of.is_empty() { "all ok".to_owned() } else { of.join("; ") }
    };
    let values = (failed(|(b, _)| unfinished(b)), failed(|(_, o)| unfinished(o)));
    let allows =
        if values.0 == values.1 && values.0 == "all ok" { Comparability::Equal } else { Comparability::NotComparable };
    check("cases", values, allows, "some cases are not complete")
}

fn unfinished(case: &Case) -> String {
    match case.status {
        Status::Ok => String::new(),
        _ => format!("{}: {}", case.prompt, case.error.as_deref().unwrap_or("not complete")),
    }
}

/// A generation that a foreign run measured at another position of the context.
fn elsewhere(pair: &GroupPair<'_>) -> Check {
    let of = |case: &Case| case.notes.get(CaseNote::DecodedAfter).map(str::to_owned);
    match pair.prompts().filter(|(b, o)| of(b) != of(o)).find_map(|(b, o)| of(b).or_else(|| of(o))) {
        Some(text) => check(
            "position of the decoded tokens",
            ("after the prompt".to_owned(), text.clone()),
            Comparability::NotComparable,
            &text,
        ),
        None => Check::default(),
    }
}

/// The builds: other target features make another program. Different programs are not compared.
fn build(pair: &GroupPair<'_>) -> Check {
    if is_served(pair) {
        return Check::default();
    }
    let (b, o) = (&pair.baseline.file().tool, &pair.other.file().tool);
    if pair.interleaved {
        return check("build", ("this program".to_owned(), "this program".to_owned()), Comparability::Equal, "");
    }
    if b.name != o.name {
        return Check::default();
    }
    let text_of = |tool: &record::Tool| {
        format!("{} {}, {} target features", tool.profile, tool.target, tool.target_features.len())
    };
    let missing = |a: &[String], b: &[String]| {
        a.iter().filter(|feature| !b.contains(feature)).cloned().collect::<Vec<_>>().join(" ")
    };
    let differing = [missing(&b.target_features, &o.target_features), missing(&o.target_features, &b.target_features)];
    let mut text = Vec::new();
    if b.profile != o.profile {
        text.push(format!("one is a {} build, the other a {} build", b.profile, o.profile));
    }
    if differing.iter().any(|features| !features.is_empty()) {
        text.push(format!(
            "target features of one side only: {}",
            differing.iter().filter(|f| !f.is_empty()).cloned().collect::<Vec<_>>().join("; ")
        ));
    }
    if let Some((b, o)) = pair.baseline.identity().zip(pair.other.identity())
        && b.name == o.name
        && b.features != o.features
    {
        text.push(format!(
            "{} was built with other features: {} against {}",
            b.name,
            b.features.join(" "),
            o.features.join(" ")
        ));
    }
    if b.target != o.target {
        text.push("the targets differ".to_owned());
    }
    let allows = if text.is_empty() { Comparability::Equal } else { Comparability::NotComparable };
    check("build", (text_of(b), text_of(o)), allows, &text.join("; "))
}

/// Both sides ran on the same processor.
fn machine(pair: &GroupPair<'_>) -> Check {
    let is_elsewhere = |group: &Group<'_>| served::server(group).is_some_and(|server| !served::is_here(server));
    // What is unknown of a server's machine is a check of its own.
    if is_elsewhere(&pair.baseline) || is_elsewhere(&pair.other) {
        return Check::default();
    }
    if pair.interleaved {
        return check("processor", ("this run".to_owned(), "this run".to_owned()), Comparability::Equal, "");
    }
    let text_of = |group: &Group<'_>| {
        let processor = &group.file().environment.processor;
        processor.model.as_deref().unwrap_or("not recorded").to_owned()
    };
    let values = both(pair, text_of);
    let allows = if values.0 == values.1 { Comparability::Equal } else { Comparability::NotComparable };
    check("processor", values, allows, "measured on different processors")
}

/// Answers that diverge without a near-tie are those of another computation.
fn same_answers(pair: &GroupPair<'_>, answers: &[Agreement], probabilities: Option<&ProbabilityDistance>) -> Check {
    const WHAT: &str = "greedy answers";
    let known: Vec<(&Agreement, usize)> = answers.iter().filter_map(|row| Some((row, row.same.value()?))).collect();
    let (same, of) = known.iter().fold((0, 0), |sum, (row, same)| (sum.0 + same, sum.1 + row.of));
    if of == 0 {
        // Foreign runs and servers do not report their tokens.
        return Check::default();
    }
    let apart: Vec<(&Agreement, usize)> = known.into_iter().filter(|(row, same)| *same < row.of).collect();
    let difference = match apart.len() {
        0 => "the same tokens".to_owned(),
        parted => {
            format!("{same} of {of} tokens are equal before they diverge, in {parted} of {} prompts", answers.len())
        }
    };
    let values = ("reference".to_owned(), difference);
    let far: Vec<String> = apart
        .iter()
        .filter(|(row, _)| row.near_tie.value() == Some(false))
        .filter_map(|(row, same)| Some(format!("{} at token {} ({:.2} nats)", row.prompt, same + 1, row.gap.value()?)))
        .collect();
    let unknown = apart.iter().any(|(row, _)| row.near_tie.is_absent());
    let near = probabilities.is_some_and(is_near);
    let same_bytes = pair.interleaved
        || hash(pair.baseline.planned()).is_some_and(|hash_of| Some(hash_of) == hash(pair.other.planned()));
    // Other weights may have other answers: the check of the weights covers them.
    if !far.is_empty() && same_bytes {
        let text = format!("they diverge without a near-tie (above {NEAR_TIE} nats): {}", far.join(", "));
        return check(WHAT, values, Comparability::NotComparable, &text);
    }
    if unknown && !near && same_bytes {
        let text = "they diverge, and whether at near-ties is unknown: a side has no probabilities";
        return check(WHAT, values, Comparability::NotComparable, text);
    }
    check(WHAT, values, Comparability::Equal, "")
}

/// The answers of a server as text: it reports no probabilities, so whether answers diverge at a near-tie is unknown.
fn same_texts(pair: &GroupPair<'_>) -> Check {
    const WHAT: &str = "answers as text";
    if !is_served(pair) {
        return Check::default();
    }
    let text_of = |case: &Case| case.output.as_ref().map_or("", |output| output.text.as_str()).to_owned();
    let (mut of, mut digits, mut other) = (0, Vec::new(), Vec::new());
    for (b, o) in pair.prompts() {
        let (one, two) = (text_of(b), text_of(o));
        of += 1;
        if served::has_nonce(b) || served::has_nonce(o) {
            digits.push(b.prompt.as_str());
        } else if one != two {
            let same = one.chars().zip(two.chars()).take_while(|(a, b)| a == b).count();
            other.push(format!("{} after {same} characters", b.prompt));
        }
    }
    let same = of - digits.len() - other.len();
    let values = ("reference".to_owned(), format!("{same} of {of} are the same"));
    if !other.is_empty() {
        let text = format!(
            "the answers diverge, and whether at near-ties is unknown, since a server reports no probabilities: {}",
            other.join(", ")
        );
        return check(WHAT, values, Comparability::NotComparable, &text);
    }
    let allows = if digits.is_empty() { Comparability::Equal } else { Comparability::EqualOnWord };
    let text = format!(
        "the answers to {} are not compared: other digits are in each request, to bypass the prefix cache",
        digits.join(", ")
    );
    check(WHAT, values, allows, &text)
}
