//! The rules, one row each. METHODOLOGY says the same in words.

use std::path::Path;

use engine_api::CacheHit;

use super::Asked;

/// A clock of another process, read at its own edges, may differ by so much.
const SHARE: f64 = 1.02;
/// The same for short times, in seconds: a server's figures are often rounded to the millisecond.
const ROUNDING_S: f64 = 0.002;
/// Rates that differ by no more agree.
const RATE: f64 = 1.10;
/// A memory bandwidth that was probed beside other work may be exceeded by so much.
const BANDWIDTH: f64 = 1.15;

/// What one request broke: by how much, and in which words.
pub(super) struct Broken {
    pub(super) excess: f64,
    pub(super) text: String,
}

/// `None`: it cannot be asked of this request. `Some(None)`: the request keeps it.
type Ask = fn(&Asked<'_>) -> Option<Option<Broken>>;

/// One rule.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Both sides cannot be true.
    pub(super) impossible: bool,
    pub(super) ask: Ask,
}

/// Every rule, what cannot be first.
pub(super) const RULES: &[Rule] = &[
    Rule { name: "prefill_before_first_token", impossible: true, ask: prefill_before_first_token },
    Rule { name: "work_within_latency", impossible: true, ask: work_within_latency },
    Rule { name: "pieces_are_tokens", impossible: true, ask: pieces_are_tokens },
    Rule { name: "below_memory_bandwidth", impossible: true, ask: below_memory_bandwidth },
    Rule { name: "prefill_rate_fits_its_time", impossible: false, ask: prefill_rate_fits_its_time },
    Rule { name: "decode_rate_fits_arrivals", impossible: false, ask: decode_rate_fits_arrivals },
    Rule { name: "one_token_an_event", impossible: false, ask: one_token_an_event },
    Rule { name: "counted_tokens", impossible: false, ask: counted_tokens },
    Rule { name: "same_file", impossible: false, ask: same_file },
    Rule { name: "same_prompt", impossible: false, ask: same_prompt },
    Rule { name: "same_tokens", impossible: false, ask: same_tokens },
    Rule { name: "empty_prefix_cache", impossible: false, ask: empty_prefix_cache },
    Rule { name: "known_prefix_cache", impossible: false, ask: known_prefix_cache },
];

fn broken_if(broken: bool, excess: f64, text: impl FnOnce() -> String) -> Option<Broken> {
    broken.then(|| Broken { excess, text: text() })
}

/// `server prefill <= TTFT`: the first token waits for the whole prompt.
fn prefill_before_first_token(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let (said, first) = (asked.server.prefill_s?, asked.sample.ttft_s?);
    Some(broken_if(said > first * SHARE + ROUNDING_S, said / first, || {
        format!("the server says that the prompt took {said:.3} s, and its first word was here after {first:.3} s")
    }))
}

/// `server prefill + decode <= latency`.
fn work_within_latency(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let (said, latency) = (asked.server.prefill_s? + asked.server.decode_s?, asked.sample.latency_s?);
    Some(broken_if(said > latency * SHARE + ROUNDING_S, said / latency, || {
        format!("the server says that it worked for {said:.3} s, and the whole request took {latency:.3} s")
    }))
}

/// `pieces <= tokens`: no token is sent twice, and none is cut in two.
fn pieces_are_tokens(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let (tokens, pieces) = (asked.server.output_tokens?, asked.server.chunks);
    Some(broken_if(pieces > tokens, pieces as f64 / tokens.max(1) as f64, || {
        format!("{pieces} pieces of text came, and the server counts {tokens} tokens: its count is wrong")
    }))
}

/// `file bytes x decode rate <= read bandwidth` of the memory, or of the smallest cache that holds the file: each token reads every
/// weight once.
fn below_memory_bandwidth(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let (bytes, limits) = (asked.file_bytes? as f64, asked.limits?);
    let rate = [asked.sample.decode_tps, asked.server.decode_tps].into_iter().flatten().reduce(f64::max)?;
    let most = limits.holding(bytes).map(|cache| cache.read.0).or_else(|| limits.memory.map(|(rate, _)| rate.0))?;
    let needed = bytes * rate;
    Some(broken_if(needed > most * BANDWIDTH, needed / most, || {
        format!(
            "{rate:.1} tokens/s of a file of {:.1} MB would read {:.1} GB/s, and {} threads read at most {:.1} GB/s here: it runs other weights, more threads, another device, or drafts tokens",
            bytes / 1e6,
            needed / 1e9,
            asked.case.threads,
            most / 1e9
        )
    }))
}

/// `prefill rate = (prompt tokens - cached ones) / prefill time`.
fn prefill_rate_fits_its_time(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let (rate, time) = (asked.server.prefill_tps?, asked.server.prefill_s.filter(|&time| time > 0.0)?);
    let worked = asked.server.prompt_tokens?.saturating_sub(asked.server.cached_tokens.unwrap_or(0));
    let own = worked as f64 / time;
    Some(apart(rate, own, || {
        format!(
            "the server says {rate:.1} prompt tokens/s, and {worked} tokens in {time:.3} s are {own:.1}: it counts cached tokens, or another request's time"
        )
    }))
}

/// `server decode rate = that of the arrivals`, where both count the gaps between tokens.
fn decode_rate_fits_arrivals(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let counted = asked.server.output_tokens.zip(asked.server.decode_s.filter(|&time| time > 0.0));
    let said = asked.server.decode_tps.or_else(|| counted.map(|(tokens, time)| tokens as f64 / time))?;
    let arrived = asked.sample.decode_tps?;
    // A rate over n tokens and one over n - 1 gaps differ by that much in short answers.
    let tokens = asked.server.output_tokens.unwrap_or(2).max(2) as f64;
    Some(apart_by(said, arrived, RATE * tokens / (tokens - 1.0), || {
        format!(
            "the server says {said:.1} tokens/s, and they arrived at {arrived:.1} tokens/s: its clock leaves something out, or tokens are held back"
        )
    }))
}

/// `pieces = tokens`, an end token without text aside.
fn one_token_an_event(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let (tokens, pieces) = (asked.server.output_tokens?, asked.server.chunks);
    Some(broken_if(pieces + 1 < tokens, tokens as f64 / pieces.max(1) as f64, || {
        format!("{tokens} tokens came in {pieces} pieces of text: the gaps are those of pieces, not of tokens")
    }))
}

/// Whether the server counts its tokens at all.
fn counted_tokens(asked: &Asked<'_>) -> Option<Option<Broken>> {
    Some(broken_if(asked.server.output_tokens.is_none(), 1.0, || {
        format!(
            "the server does not count its tokens: {} pieces of text stand for them in every rate",
            asked.server.chunks
        )
    }))
}

/// `name of the server's GGUF file = name of the model's`, where the server names one.
fn same_file(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let server = asked.case.server.as_ref()?;
    let is_file = |name: &&str| name.to_lowercase().ends_with(".gguf");
    let said = server.details.get("model_path").map(String::as_str).into_iter().chain([server.model.as_str()]);
    let said = Path::new(said.into_iter().find(is_file)?).file_name()?;
    let own = asked.file?.file_name()?;
    Some(broken_if(said != own, 1.0, || {
        format!(
            "the server has {}, and this model is {}: the two are held against each other on your word only",
            said.display(),
            own.display()
        )
    }))
}

/// `prompt tokens = those of the model's own tokenizer`; with digits in front, no fewer.
fn same_prompt(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let (said, own) = (asked.server.prompt_tokens?, asked.own_prompt_tokens?);
    let fits = if asked.server.nonce { said > own } else { said == own };
    Some(broken_if(!fits, said.abs_diff(own) as f64, || {
        format!(
            "the server counts {said} prompt tokens, the tokenizer of the model file {own}: another template or another model"
        )
    }))
}

/// `token ids of its template and tokenizer = those of the model's own`, where it was asked for them.
fn same_tokens(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let before = asked.case.server.as_ref()?.before_model.as_ref()?;
    Some(broken_if(!before.same_ids?, 1.0, || {
        let text = if before.same_text == Some(false) { "its template gives another text; " } else { "" };
        let differs = before.differs.as_deref().unwrap_or("they differ");
        format!("the server makes other tokens of the prompt than the model file: {text}{differs}")
    }))
}

/// `cached tokens = 0`.
fn empty_prefix_cache(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let hit = asked.server.cache?;
    let cached = asked.server.cached_tokens;
    Some(broken_if(hit != CacheHit::Cold, cached.unwrap_or(0) as f64, || {
        let of = asked.server.prompt_tokens.map_or_else(String::new, |all| format!(" of {all}"));
        let cached = cached.map_or_else(|| "a part".to_owned(), |cached| cached.to_string());
        format!(
            "{cached}{of} prompt tokens came from the server's prefix cache: TTFT and prefill are not those of the whole prompt"
        )
    }))
}

/// Whether anything keeps the prefix cache out, or the server tells what it did.
fn known_prefix_cache(asked: &Asked<'_>) -> Option<Option<Broken>> {
    let kept_out = asked.case.server.as_ref().is_some_and(|server| server.cache != engine_api::CacheDefence::None);
    Some(broken_if(!kept_out && asked.server.cache.is_none(), 1.0, || {
        "nothing keeps the server's prefix cache out, and it does not tell what it did: TTFT and prefill may be those of a cache".to_owned()
    }))
}

fn apart(one: f64, other: f64, text: impl FnOnce() -> String) -> Option<Broken> {
    apart_by(one, other, RATE, text)
}

fn apart_by(one: f64, other: f64, most: f64, text: impl FnOnce() -> String) -> Option<Broken> {
    let ratio = (one / other).max(other / one);
    broken_if(ratio > most, ratio, text)
}
