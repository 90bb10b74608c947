//! Whether both sides computed the same prompt tokens.

use super::super::comparison::{Check, Comparability};
use super::super::pairing::{Group, GroupPair};
use super::{both, check as check_of, is_served, served};
use record::Case;

/// What is known of the tokens of one prompt on both sides.
enum Known {
    /// The ids, which are the same.
    Same,
    /// The ids, which differ.
    OtherIds,
    /// Another number of tokens.
    OtherCounts(f64, f64),
    /// The same number of tokens: the ids are unknown on a side.
    SameCount,
    /// Not even their number, on a side.
    Unknown,
}

/// The token ids that the model saw; of a server, at least their number by its own count.
pub(super) fn check(pair: &GroupPair<'_>) -> Check {
    let is_served = is_served(pair);
    let (mut same, mut found) = (0, Vec::new());
    for (b, o) in pair.prompts() {
        match known(b, o) {
            Known::Same => same += 1,
            other => found.push((b.prompt.as_str(), other)),
        }
    }
    let of = |pick: fn(&Known) -> bool| -> Vec<&str> {
        found.iter().filter(|(_, known)| pick(known)).map(|(prompt, _)| *prompt).collect()
    };
    let counts: Vec<String> = found
        .iter()
        .filter_map(|(prompt, known)| match known {
            Known::OtherCounts(b, o) => Some(format!("{b} and {o} in {prompt}")),
            _ => None,
        })
        .collect();
    let other_ids = of(|known| matches!(known, Known::OtherIds));
    let unknown = of(|known| matches!(known, Known::Unknown));
    // A file of another program has no ids: those of llama-bench are random, and only their number matters.
    let same_count = of(|known| matches!(known, Known::SameCount));
    let mut texts = Vec::new();
    if !counts.is_empty() {
        texts.push(format!("other numbers of prompt tokens: {}", counts.join(", ")));
    }
    if !other_ids.is_empty() {
        texts.push(format!("the token ids differ in {} ({same} are the same)", other_ids.join(", ")));
    }
    if !unknown.is_empty() {
        let what = if is_served { "the token ids and their number" } else { "the token ids" };
        texts.push(format!("{what} of {} are unknown on a side", unknown.join(", ")));
    }
    let differs = !texts.is_empty();
    if !same_count.is_empty() {
        texts.push(format!(
            "as many prompt tokens{}, and which ones is unknown, in {}",
            if is_served { " by the server's count" } else { "" },
            same_count.join(", ")
        ));
    }
    let allows = match (differs, same_count.is_empty()) {
        (true, _) => Comparability::NotComparable,
        (false, false) => Comparability::EqualOnWord,
        (false, true) => Comparability::Equal,
    };
    check_of("prompt tokens", both(pair, |group| text_of(group, is_served)), allows, &texts.join("; "))
}

fn known(b: &Case, o: &Case) -> Known {
    if let (Some(b), Some(o)) = (served::prompt_ids(b), served::prompt_ids(o)) {
        return if b == o { Known::Same } else { Known::OtherIds };
    }
    match (served::prompt_tokens(b), served::prompt_tokens(o)) {
        (Some(b), Some(o)) if (b - o).abs() < f64::EPSILON => Known::SameCount,
        (Some(b), Some(o)) => Known::OtherCounts(b, o),
        _ => Known::Unknown,
    }
}

/// The number of prompts; beside a server also their tokens, and who names them.
fn text_of(group: &Group<'_>, beside_server: bool) -> String {
    let prompts = match group.cases.len() {
        1 => "1 prompt".to_owned(),
        n => format!("{n} prompts"),
    };
    if !beside_server {
        return prompts;
    }
    let tokens: Option<f64> = group.cases.iter().map(|case| served::prompt_tokens(case)).sum();
    let tokens = tokens.map_or_else(|| "an unknown number of tokens".to_owned(), |tokens| format!("{tokens} tokens"));
    let ids = match group.cases.iter().find(|case| case.server.is_some()) {
        None => String::new(),
        Some(case) if served::prompt_ids(case).is_none() => ", ids unknown".to_owned(),
        Some(case) => served::named_by(case).map_or_else(String::new, |by| format!(", ids {by}")),
    };
    format!("{prompts}, {tokens}{ids}")
}
