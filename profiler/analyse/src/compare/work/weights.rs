//! Whether both sides have the same weights: by their hash, else by their source and their bits per weight. What weights a server has
//! is the user's word, unless the server contradicts it.

use super::super::comparison::{Check, Comparability, ProbabilityDistance};
use super::super::pairing::{Group, GroupPair};
use super::{both, check as check_of, is_near, served};
use record::plan::PlannedModel;
use record::{ServerFile, Setting};

const WHAT: &str = "weights";
/// Bits per weight that may differ between two quantisations that are called equivalent, as a share.
const BITS: f64 = 0.10;
/// The number of parameters that a server reports may differ from the file's by this share: tied matrices are counted once or twice.
const PARAMETERS: f64 = 0.5;

/// The weights of both sides.
pub(super) fn check(pair: &GroupPair<'_>, probabilities: Option<&ProbabilityDistance>) -> Check {
    match (served::server(&pair.baseline), served::server(&pair.other)) {
        (None, None) => of_files(pair, probabilities),
        servers => of_servers(pair, servers),
    }
}

/// Weights of which at least one side's are a server's.
fn of_servers(pair: &GroupPair<'_>, servers: (Option<&ServerFile>, Option<&ServerFile>)) -> Check {
    let sides = (Claimed::new(&pair.baseline, servers.0), Claimed::new(&pair.other, servers.1));
    let values = (sides.0.text(), sides.1.text());
    let not_comparable = |text: &str| check_of(WHAT, values.clone(), Comparability::NotComparable, text);
    if let Some(text) = contradiction(&sides.0, &sides.1) {
        return not_comparable(&text);
    }
    if let (Some(b), Some(o)) = servers
        && pair.interleaved
        && (&b.url, &b.model) == (&o.url, &o.model)
    {
        return check_of(WHAT, values, Comparability::Equal, "");
    }
    let unknown: Vec<String> = [&sides.0, &sides.1].into_iter().filter_map(Claimed::unknown).collect();
    let on_word = |how: &str| {
        let text = format!("the weights are the same {how}; {}", unknown.join("; "));
        check_of(WHAT, values.clone(), Comparability::EqualOnWord, &text)
    };
    match (sides.0.hash, sides.1.hash) {
        (Some(b), Some(o)) if b == o => {
            return on_word(&format!("as you state: {} names this file for the server", Setting::Model));
        }
        (Some(_), Some(_)) => return not_comparable(&format!("{} names files with other hashes", Setting::Model)),
        _ => {}
    }
    match (sides.0.named, sides.1.named) {
        (Some(b), Some(o)) if b == o => on_word(&format!("as you state: {} names {b}", Setting::Model)),
        (None, None) if servers.0.map(|server| &server.model) == servers.1.map(|server| &server.model) => {
            on_word("by the name that both servers give them")
        }
        (Some(_), Some(_)) => not_comparable(&format!(
            "{} names other models, and nothing shows that they have the same weights",
            Setting::Model
        )),
        _ => {
            not_comparable(&format!("which weights the server has is unknown: name the model with {}", Setting::Model))
        }
    }
}

/// What is said of the weights of a side.
struct Claimed<'a> {
    /// The hash of the file that -m names.
    hash: Option<&'a str>,
    /// The model that -m names.
    named: Option<&'a str>,
    planned: Option<&'a PlannedModel>,
    /// The server that has them; `None` for an engine in this process.
    server: Option<&'a ServerFile>,
}

impl<'a> Claimed<'a> {
    fn new(group: &Group<'a>, server: Option<&'a ServerFile>) -> Self {
        let planned = group.planned();
        Self {
            hash: planned.and_then(|model| model.sha256.as_deref()),
            named: planned.filter(|model| !model.reference.is_empty()).map(|model| model.name.as_str()),
            planned,
            server,
        }
    }

    /// The type of the weights: a server's by its own words, else that of the file.
    fn precision(&self) -> Option<&'a str> {
        match self.server {
            Some(server) => served::precision(server),
            None => self.planned.map(|model| model.quantisation.as_str()).filter(|text| !text.is_empty()),
        }
    }

    fn bits(&self) -> Option<f64> {
        match self.server {
            Some(server) => served::bits_per_weight(server),
            None => self.planned.and_then(bits),
        }
    }

    fn parameters(&self) -> Option<f64> {
        match self.server {
            Some(server) => server.details.get("n_params")?.parse().ok(),
            None => self.planned?.parameters.value().map(|number| number as f64),
        }
    }

    fn text(&self) -> String {
        match self.server {
            None => self.planned.map_or_else(|| "?".to_owned(), text_of),
            Some(server) => {
                let precision = self
                    .precision()
                    .map_or_else(|| "precision unknown".to_owned(), |said| format!("{said} by its own words"));
                format!("`{}` on {} ({precision}, hash unknown)", server.model, server.in_words())
            }
        }
    }

    /// What a server does not report of its weights.
    fn unknown(&self) -> Option<String> {
        let server = self.server?;
        let what = if self.precision().is_some() { "their hash" } else { "their hash and precision" };
        Some(format!("{} does not report {what}", server.in_words()))
    }
}

/// A contradiction between what both sides say of their weights.
fn contradiction(b: &Claimed<'_>, o: &Claimed<'_>) -> Option<String> {
    let apart = |b: f64, o: f64, share: f64| (b / o).max(o / b) > 1.0 + share;
    if let Some((b, o)) = b.parameters().zip(o.parameters())
        && apart(b, o, PARAMETERS)
    {
        return Some(format!("{b} and {o} parameters: these are other models"));
    }
    if let Some((b, o)) = b.bits().zip(o.bits())
        && apart(b, o, BITS)
    {
        return Some(format!("{b:.2} and {o:.2} bits per weight: the bytes that a token reads differ"));
    }
    let types = |text: Option<&str>| text.and_then(served::weight_type);
    let (type_b, type_o) = types(b.precision()).zip(types(o.precision()))?;
    (type_b != type_o).then(|| format!("{type_b} and {type_o} weights"))
}

/// The weights of files: by their hash, else by their source and their bits per weight.
fn of_files(pair: &GroupPair<'_>, probabilities: Option<&ProbabilityDistance>) -> Check {
    let (Some(b), Some(o)) = (pair.baseline.planned(), pair.other.planned()) else {
        return check_of(
            WHAT,
            both(pair, |_| "?".to_owned()),
            Comparability::NotComparable,
            "the plan does not contain the model",
        );
    };
    let values = (text_of(b), text_of(o));
    if pair.interleaved && std::ptr::eq(b, o) {
        return check_of(WHAT, values, Comparability::Equal, "");
    }
    if b.sha256.is_present() && b.sha256 == o.sha256 {
        return check_of(WHAT, values, Comparability::Equal, "");
    }
    if b.architecture != o.architecture && !b.architecture.is_empty() && !o.architecture.is_empty() {
        return check_of(WHAT, values, Comparability::NotComparable, "the architectures differ");
    }
    if b.parameters.is_present() && o.parameters.is_present() && b.parameters != o.parameters {
        return check_of(WHAT, values, Comparability::NotComparable, "the numbers of parameters differ");
    }
    let Some((bits_b, bits_o)) = bits(b).zip(bits(o)) else {
        return check_of(WHAT, values, Comparability::NotComparable, "a hash and the bits per weight are unknown");
    };
    if (bits_b / bits_o).max(bits_o / bits_b) > 1.0 + BITS {
        let text = format!("{bits_b:.2} and {bits_o:.2} bits per weight: the bytes that a token reads differ");
        return check_of(WHAT, values, Comparability::NotComparable, &text);
    }
    let related = source(b).is_some() && source(b) == source(o);
    let near = probabilities.is_some_and(is_near);
    if related || near {
        let how = if related { "the same source" } else { "probabilities as close as those of the same weights" };
        let text = format!("other quantisations of {bits_b:.2} and {bits_o:.2} bits per weight, with {how}");
        return check_of(WHAT, values, Comparability::QuantEquivalent, &text);
    }
    let text = "their hashes differ or are unknown, and nothing shows that they have the same source";
    check_of(WHAT, values, Comparability::NotComparable, text)
}

fn text_of(model: &PlannedModel) -> String {
    let hash = model.sha256.as_ref().map_or_else(|| "hash unknown".to_owned(), |hash| hash.chars().take(12).collect());
    format!("{} {} ({hash})", model.name, model.quantisation)
}

/// Bits per weight: from the plan, else the size of the file over the parameters.
fn bits(model: &PlannedModel) -> Option<f64> {
    model.bits_per_weight.value().or_else(|| {
        let parameters = model.parameters.value().filter(|number| *number > 0)?;
        Some(model.file_bytes.value()? as f64 * 8.0 / parameters as f64)
    })
}

/// The hash of the source of the weights, or their own.
fn source(model: &PlannedModel) -> Option<&str> {
    model.source.as_ref().map(|source| source.sha256.as_str()).or(model.sha256.as_deref())
}
