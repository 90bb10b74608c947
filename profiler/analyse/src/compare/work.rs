//! Whether two sides did the same work: one check per row, and the label that all of them allow.

use super::answers::{NEAR_TIE, answers};
use super::comparison::{Check, Comparability, ProbabilityDistance, Work};
use super::pairing::GroupPair;
use super::probabilities::distance;
use record::plan::PlannedModel;
use record::{Case, DECODED_AFTER, Reasons, Status};

/// Bits per weight that may differ between two quantisations that are called equivalent, as a share.
const BITS: f64 = 0.10;
/// Up to this mean divergence in nats, two models are quantisations of the same weights. Quantising to four bits causes hundredths;
/// another model of the same shape differs by whole nats.
const SAME_SOURCE: f64 = 0.1;
/// They also have the same most likely token at this share of the positions at least: nearly uniform distributions diverge little,
/// whatever their origin.
const SAME_TOP: f64 = 0.75;

/// All checks, and the label that they allow.
pub(super) fn work(pair: &GroupPair<'_>) -> Work {
    let mut reasons = Reasons::new();
    let probabilities = distance(pair).map_err(|reason| reasons.insert("probabilities".to_owned(), reason.into())).ok();
    let answers = answers(pair);
    let mut checks = vec![
        prompts(pair),
        weights(pair, probabilities.as_ref()),
        tokens(pair),
        setting(pair, "cache of keys and values", |pair| {
            both(pair, |group| group.file().plan.kv_type.name().to_owned())
        }),
        setting(pair, "threads", |pair| both(pair, |group| group.threads().to_string())),
        setting(pair, "tokens before the prompt", |pair| both(pair, |group| group.depth().to_string())),
        context(pair),
        ended(pair),
        elsewhere(pair),
        build(pair),
        machine(pair),
        same_answers(pair, &answers, &probabilities),
    ];
    checks.retain(|check| !check.what.is_empty());
    let allowed = checks.iter().map(|check| check.allows).max_by_key(|allows| rank(*allows)).unwrap_or_default();
    Work { label: allowed, checks, answers, probabilities, reasons }
}

/// The check that allows the least decides.
const fn rank(sameness: Comparability) -> u8 {
    match sameness {
        Comparability::Equal => 0,
        Comparability::QuantEquivalent => 1,
        Comparability::NotComparable => 2,
    }
}

fn both(pair: &GroupPair<'_>, of: impl Fn(&super::pairing::Group<'_>) -> String) -> (String, String) {
    (of(&pair.baseline), of(&pair.other))
}

fn check(what: &str, (baseline, other): (String, String), allows: Comparability, because: &str) -> Check {
    let because = if allows == Comparability::Equal { String::new() } else { because.to_owned() };
    Check { what: what.to_owned(), allows, baseline, other, because }
}

/// A setting that must be equal.
fn setting(pair: &GroupPair<'_>, what: &str, of: impl Fn(&GroupPair<'_>) -> (String, String)) -> Check {
    let values = of(pair);
    let allows = if values.0 == values.1 { Comparability::Equal } else { Comparability::NotComparable };
    check(what, values, allows, &format!("{what} differ"))
}

/// The token ids that the model saw.
fn prompts(pair: &GroupPair<'_>) -> Check {
    let ids = |case: &Case| case.output.as_ref().map(|output| output.prompt_ids.clone()).filter(|ids| !ids.is_empty());
    let (mut same, mut other, mut unknown) = (0, Vec::new(), Vec::new());
    for (b, o) in pair.prompts() {
        match (ids(b), ids(o)) {
            (Some(b), Some(o)) if b == o => same += 1,
            (Some(_), Some(_)) => other.push(b.prompt.as_str()),
            _ => unknown.push(b.prompt.as_str()),
        }
    }
    let count = |group: &super::pairing::Group<'_>| match group.cases.len() {
        1 => "1 prompt".to_owned(),
        n => format!("{n} prompts"),
    };
    let values = both(pair, count);
    let text = match (other.is_empty(), unknown.is_empty()) {
        (true, true) => String::new(),
        (false, _) => format!("the token ids differ in {} ({same} are the same)", other.join(", ")),
        (true, false) => format!("the token ids of {} are unknown on a side", unknown.join(", ")),
    };
    let allows = if text.is_empty() { Comparability::Equal } else { Comparability::NotComparable };
    check("prompt tokens", values, allows, &text)
}

/// The weights: by their hash, else by their source and their bits per weight.
fn weights(pair: &GroupPair<'_>, probabilities: Option<&ProbabilityDistance>) -> Check {
    const WHAT: &str = "weights";
    let (Some(b), Some(o)) = (pair.baseline.planned(), pair.other.planned()) else {
        return check(
            WHAT,
            both(pair, |_| "?".to_owned()),
            Comparability::NotComparable,
            "the plan does not contain the model",
        );
    };
    let values = (text_of(b), text_of(o));
    if pair.interleaved && std::ptr::eq(b, o) {
        return check(WHAT, values, Comparability::Equal, "");
    }
    if b.sha256.is_some() && b.sha256 == o.sha256 {
        return check(WHAT, values, Comparability::Equal, "");
    }
    if b.architecture != o.architecture && !b.architecture.is_empty() && !o.architecture.is_empty() {
        return check(WHAT, values, Comparability::NotComparable, "the architectures differ");
    }
    if b.parameters.is_some() && o.parameters.is_some() && b.parameters != o.parameters {
        return check(WHAT, values, Comparability::NotComparable, "the numbers of parameters differ");
    }
    let Some((bits_b, bits_o)) = bits(b).zip(bits(o)) else {
        return check(WHAT, values, Comparability::NotComparable, "a hash and the bits per weight are unknown");
    };
    if (bits_b / bits_o).max(bits_o / bits_b) > 1.0 + BITS {
        let text = format!("{bits_b:.2} and {bits_o:.2} bits per weight: the bytes that a token reads differ");
        return check(WHAT, values, Comparability::NotComparable, &text);
    }
    let related = source(b).is_some() && source(b) == source(o);
    let near = probabilities.is_some_and(is_near);
    if related || near {
        let how = if related { "the same source" } else { "probabilities as close as those of the same weights" };
        let text = format!("other quantisations of {bits_b:.2} and {bits_o:.2} bits per weight, with {how}");
        return check(WHAT, values, Comparability::QuantEquivalent, &text);
    }
    let text = "their hashes differ or are unknown, and nothing shows that they have the same source";
    check(WHAT, values, Comparability::NotComparable, text)
}

fn text_of(model: &PlannedModel) -> String {
    let hash = model.sha256.as_ref().map_or_else(|| "hash unknown".to_owned(), |hash| hash.chars().take(12).collect());
    format!("{} {} ({hash})", model.name, model.quantisation)
}

/// Bits per weight: from the plan, else the size of the file over the parameters.
fn bits(model: &PlannedModel) -> Option<f64> {
    model.bits_per_weight.or_else(|| {
        let parameters = model.parameters.filter(|number| *number > 0)?;
        Some(model.file_bytes? as f64 * 8.0 / parameters as f64)
    })
}

/// Probabilities as near as those of the same weights.
fn is_near(found: &ProbabilityDistance) -> bool {
    found.kl_mean <= SAME_SOURCE && found.same_top >= SAME_TOP
}

fn hash(model: Option<&PlannedModel>) -> Option<&str> {
    model?.sha256.as_deref()
}

/// The hash of the source of the weights, or their own.
fn source(model: &PlannedModel) -> Option<&str> {
    model.source.as_ref().map(|source| source.sha256.as_str()).or(model.sha256.as_deref())
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
    let other: Vec<String> = counts
        .iter()
        .filter(|(_, b, o)| b != o)
        .map(|(prompt, b, o)| {
            let text_of = |n: &Option<usize>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
            format!("{prompt} ({} and {})", text_of(b), text_of(o))
        })
        .collect();
    let unknown = counts.iter().any(|(_, b, o)| b.is_none() || o.is_none());
    let text = format!("the answers have different lengths in {}; --ignore-eos makes them equal", other.join(", "));
    let allows = if other.is_empty() && !unknown { Comparability::Equal } else { Comparability::NotComparable };
    check("output tokens", (sum(|row| row.1), sum(|row| row.2)), allows, &text)
}

/// The context size of the sessions. It changes the reserved memory, not the computation. Foreign runs do not record it.
fn context(pair: &GroupPair<'_>) -> Check {
    let of = |model: Option<&PlannedModel>| model.map(|model| model.context).filter(|tokens| *tokens > 0);
    let (b, o) = (of(pair.baseline.planned()), of(pair.other.planned()));
    let text_of = |tokens: Option<usize>| tokens.map_or_else(|| "not recorded".to_owned(), |tokens| tokens.to_string());
    let allows = if b.zip(o).is_none_or(|(b, o)| b == o) { Comparability::Equal } else { Comparability::NotComparable };
    check("context", (text_of(b), text_of(o)), allows, "the context sizes differ; --ctx sets them")
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
    let of = |case: &Case| case.reasons.get(DECODED_AFTER).cloned();
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
    if pair.interleaved {
        return check("processor", ("this run".to_owned(), "this run".to_owned()), Comparability::Equal, "");
    }
    let text_of = |group: &super::pairing::Group<'_>| {
        let processor = &group.file().environment.processor;
        processor.model.clone().unwrap_or_else(|| "not recorded".to_owned())
    };
    let values = both(pair, text_of);
    let allows = if values.0 == values.1 { Comparability::Equal } else { Comparability::NotComparable };
    check("processor", values, allows, "measured on different processors")
}

/// Answers that diverge without a near-tie are those of another computation.
fn same_answers(
    pair: &GroupPair<'_>,
    answers: &[super::comparison::Agreement],
    probabilities: &Option<ProbabilityDistance>,
) -> Check {
    const WHAT: &str = "greedy answers";
    let (same, of) = answers.iter().fold((0, 0), |sum, row| (sum.0 + row.same, sum.1 + row.of));
    if of == 0 {
        // Foreign runs and servers do not report their tokens.
        return Check::default();
    }
    let apart: Vec<&super::comparison::Agreement> = answers.iter().filter(|row| row.same < row.of).collect();
    let difference = match apart.len() {
        0 => "the same tokens".to_owned(),
        parted => {
            format!("{same} of {of} tokens are equal before they diverge, in {parted} of {} prompts", answers.len())
        }
    };
    let values = ("reference".to_owned(), difference);
    let far: Vec<String> = apart
        .iter()
        .filter(|row| row.near_tie == Some(false))
        .map(|row| format!("{} at token {} ({:.2} nats)", row.prompt, row.same + 1, row.gap.unwrap_or_default()))
        .collect();
    let unknown = apart.iter().any(|row| row.near_tie.is_none());
    let near = probabilities.as_ref().is_some_and(is_near);
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
