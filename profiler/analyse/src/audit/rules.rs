//! The rules of the audit, one row each; docs/servers.md explains them.

use std::path::Path;

use engine_api::CacheHit;
use record::Recorded;

use super::AuditedRequest;

/// The tolerance for a clock of another process, which is read at other moments.
const SHARE: f64 = 1.02;
/// The same for short times, in seconds: servers often round their figures to the millisecond.
const ROUNDING_S: f64 = 0.002;
/// Rates agree if they differ by no more than this factor.
const RATE: f64 = 1.10;
/// The tolerance for a memory bandwidth that was probed beside other work.
const BANDWIDTH: f64 = 1.15;

/// The result of a rule for one request that it applies to.
pub(super) enum Check {
    /// The request satisfies the rule.
    Passed,
    /// It does not.
    Violated(Violation),
}

/// A request that violates a rule.
pub(super) struct Violation {
    /// By how much; larger is worse.
    pub(super) excess: f64,
    /// The description, with the figures of the request.
    pub(super) text: String,
}

impl Check {
    fn violated_if(violated: bool, excess: f64, text: impl FnOnce() -> String) -> Self {
        if violated { Self::Violated(Violation { excess, text: text() }) } else { Self::Passed }
    }

    pub(super) fn violation(self) -> Option<Violation> {
        match self {
            Self::Passed => None,
            Self::Violated(violation) => Some(violation),
        }
    }
}

/// One rule.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Both sides cannot be true.
    pub(super) impossible: bool,
    /// `None` where the rule does not apply to the request.
    pub(super) check: fn(&AuditedRequest<'_>) -> Option<Check>,
}

/// Every rule; contradictions first.
pub(super) const RULES: &[Rule] = &[
    Rule { name: "prefill_before_first_token", impossible: true, check: prefill_before_first_token },
    Rule { name: "first_token_before_ours", impossible: true, check: first_token_before_ours },
    Rule { name: "work_within_latency", impossible: true, check: work_within_latency },
    Rule { name: "pieces_are_tokens", impossible: true, check: pieces_are_tokens },
    Rule { name: "below_memory_bandwidth", impossible: true, check: below_memory_bandwidth },
    Rule { name: "prefill_rate_fits_its_time", impossible: false, check: prefill_rate_fits_its_time },
    Rule { name: "decode_rate_fits_arrivals", impossible: false, check: decode_rate_fits_arrivals },
    Rule { name: "one_token_an_event", impossible: false, check: one_token_an_event },
    Rule { name: "counted_tokens", impossible: false, check: counted_tokens },
    Rule { name: "no_text_after_the_end", impossible: false, check: no_text_after_the_end },
    Rule { name: "known_finish_reason", impossible: false, check: known_finish_reason },
    Rule { name: "same_file", impossible: false, check: same_file },
    Rule { name: "same_prompt", impossible: false, check: same_prompt },
    Rule { name: "same_tokens", impossible: false, check: same_tokens },
    Rule { name: "empty_prefix_cache", impossible: false, check: empty_prefix_cache },
    Rule { name: "known_prefix_cache", impossible: false, check: known_prefix_cache },
    Rule { name: "no_other_client", impossible: false, check: no_other_client },
];

/// `server prefill <= TTFT`: the first token needs the whole prompt.
fn prefill_before_first_token(request: &AuditedRequest<'_>) -> Option<Check> {
    let (said, first) = (prefill_s(request)?, request.sample.ttft_s.value()?);
    Some(Check::violated_if(said > first * SHARE + ROUNDING_S, said / first, || {
        format!("the server reports {said:.3} s for the prompt, but its first text arrived after {first:.3} s")
    }))
}

/// The server's time of the prompt, or that which follows from its rate.
fn prefill_s(request: &AuditedRequest<'_>) -> Option<f64> {
    let server = request.server;
    let by_rate = || {
        let computed = server.prompt_tokens.value()?.saturating_sub(server.cached_tokens.value()?);
        Some(computed as f64 / server.prefill_tps.value()?)
    };
    server.prefill_s.value().or_else(by_rate)
}

/// `server time to the first token <= TTFT`: ours also contains the way to the server and back.
fn first_token_before_ours(request: &AuditedRequest<'_>) -> Option<Check> {
    let (said, first) = (request.server.first_token_s?, request.sample.ttft_s.value()?);
    Some(Check::violated_if(said > first * SHARE + ROUNDING_S, said / first, || {
        format!("the server reports its first token after {said:.3} s, but its first text arrived after {first:.3} s")
    }))
}

/// `requests of other clients = 0`, where the server counts them.
fn no_other_client(request: &AuditedRequest<'_>) -> Option<Check> {
    let others = request.server.other_requests?;
    Some(Check::violated_if(others > 0, others as f64, || {
        let requests = if others == 1 { "request" } else { "requests" };
        format!(
            "the server worked on {others} {requests} of other clients meanwhile: times are not those of this request alone"
        )
    }))
}

/// `server prefill + decode <= latency`.
fn work_within_latency(request: &AuditedRequest<'_>) -> Option<Check> {
    let said = request.server.prefill_s.value()? + request.server.decode_s.value()?;
    let latency = request.sample.latency_s.value()?;
    Some(Check::violated_if(said > latency * SHARE + ROUNDING_S, said / latency, || {
        format!("the server reports {said:.3} s of work, but the whole request took {latency:.3} s")
    }))
}

/// `pieces <= tokens`: a token is sent once, in one piece.
fn pieces_are_tokens(request: &AuditedRequest<'_>) -> Option<Check> {
    let (tokens, pieces) = (request.server.output_tokens.value()?, request.server.chunks);
    Some(Check::violated_if(pieces > tokens, pieces as f64 / tokens.max(1) as f64, || {
        format!("{pieces} pieces of text arrived, but the server counts {tokens} tokens: its count is wrong")
    }))
}

/// `file bytes x decode rate <= read bandwidth` of the memory, or of the smallest cache that holds the file: each token reads every
/// weight once, of experts those that it uses.
fn below_memory_bandwidth(request: &AuditedRequest<'_>) -> Option<Check> {
    let (file, ceilings) = (request.file_bytes? as f64, request.ceilings?);
    let bytes = request.used_bytes.map_or(file, |used| used.min(file));
    let rate = [&request.sample.decode_tps, &request.server.decode_tps].into_iter().filter_map(Recorded::value);
    let rate = rate.reduce(f64::max)?;
    // A cache holds all weights, or none of them from one token to the next.
    let most = ceilings.holding(file).map(|cache| cache.read.0).or_else(|| ceilings.memory.map(|(rate, _)| rate.0))?;
    let needed = bytes * rate;
    Some(Check::violated_if(needed > most * BANDWIDTH, needed / most, || {
        let part = if request.used_bytes.is_some() { "that each read their experts of" } else { "with" };
        format!(
            "{rate:.1} tokens/s {part} a file of {:.1} MB need {:.1} GB/s, but {} threads read at most {:.1} GB/s on this machine: the server uses other weights, more threads, another device, or speculative decoding",
            file / 1e6,
            needed / 1e9,
            request.case.threads,
            most / 1e9
        )
    }))
}

/// `prefill rate = (prompt tokens - cached ones) / prefill time`.
fn prefill_rate_fits_its_time(request: &AuditedRequest<'_>) -> Option<Check> {
    let (rate, time) =
        (request.server.prefill_tps.value()?, request.server.prefill_s.value().filter(|&time| time > 0.0)?);
    let worked =
        request.server.prompt_tokens.value()?.saturating_sub(request.server.cached_tokens.value().unwrap_or(0));
    let own = worked as f64 / time;
    Some(apart(rate, own, || {
        format!(
            "the server reports {rate:.1} prompt tokens/s, but {worked} tokens in {time:.3} s are {own:.1}: it counts cached tokens, or the time of another request"
        )
    }))
}

/// `server decode rate = that of the arrivals`, where both count the gaps between tokens.
fn decode_rate_fits_arrivals(request: &AuditedRequest<'_>) -> Option<Check> {
    let counted = request.server.output_tokens.value().zip(request.server.decode_s.value().filter(|&time| time > 0.0));
    let said = request.server.decode_tps.value().or_else(|| counted.map(|(tokens, time)| tokens as f64 / time))?;
    let arrived = request.sample.decode_tps.value()?;
    // A rate over n tokens and one over n - 1 gaps differ by that much in short answers.
    let tokens = request.server.output_tokens.value().unwrap_or(2).max(2) as f64;
    Some(apart_by(said, arrived, RATE * tokens / (tokens - 1.0), || {
        format!(
            "the server reports {said:.1} tokens/s, but they arrived at {arrived:.1} tokens/s: its time is incomplete, or it delays tokens"
        )
    }))
}

/// `pieces = tokens`, an end token without text aside.
fn one_token_an_event(request: &AuditedRequest<'_>) -> Option<Check> {
    let (tokens, pieces) = (request.server.output_tokens.value()?, request.server.chunks);
    Some(Check::violated_if(pieces + 1 < tokens, tokens as f64 / pieces.max(1) as f64, || {
        format!("{tokens} tokens arrived in {pieces} pieces of text: the gaps are those of pieces, not of tokens")
    }))
}

/// Whether the server counts its tokens.
fn counted_tokens(request: &AuditedRequest<'_>) -> Option<Check> {
    Some(Check::violated_if(request.server.output_tokens.is_absent(), 1.0, || {
        format!(
            "the server does not count its tokens: all rates use its {} pieces of text instead",
            request.server.chunks
        )
    }))
}

/// `pieces after a finish reason = 0`: a finish reason ends the answer.
fn no_text_after_the_end(request: &AuditedRequest<'_>) -> Option<Check> {
    let (late, pieces) = (request.server.reopened, request.server.chunks);
    Some(Check::violated_if(late > 0, late as f64, || {
        format!(
            "{late} of {pieces} pieces of text arrived after a finish_reason: the answer ends with the last of them"
        )
    }))
}

/// Whether its finish reasons are known words.
fn known_finish_reason(request: &AuditedRequest<'_>) -> Option<Check> {
    let word = request.server.unknown_finish.as_ref();
    Some(Check::violated_if(word.is_some(), 1.0, || {
        let word = word.map_or("", String::as_str);
        format!("the finish_reason `{word}` is unknown: the answer ends with the stream instead")
    }))
}

/// `name of the server's GGUF file = name of the model's file`, where the server names one.
fn same_file(request: &AuditedRequest<'_>) -> Option<Check> {
    let server = request.case.server.as_ref()?;
    let is_file = |name: &&str| name.to_lowercase().ends_with(".gguf");
    let said = server.details.get("model_path").map(String::as_str).into_iter().chain([server.model.as_str()]);
    let said = Path::new(said.into_iter().find(is_file)?).file_name()?;
    let own = request.file?.file_name()?;
    Some(Check::violated_if(said != own, 1.0, || {
        format!(
            "the server uses {}, but this model is {}: nothing shows that they are the same",
            said.display(),
            own.display()
        )
    }))
}

/// `prompt tokens = those of the model's own tokenizer`. With digits in front it is another prompt: they replace the system text of
/// the chat template.
fn same_prompt(request: &AuditedRequest<'_>) -> Option<Check> {
    let said = request.server.prompt_tokens.value()?;
    let own = request.own_prompt_tokens.filter(|_| !request.server.nonce)?;
    Some(Check::violated_if(said != own, said.abs_diff(own) as f64, || {
        format!(
            "the server counts {said} prompt tokens, the tokenizer of the model file counts {own}: the template or the model differs"
        )
    }))
}

/// `token ids of the server's template and tokenizer = those of the model file`, where the server has such an endpoint.
fn same_tokens(request: &AuditedRequest<'_>) -> Option<Check> {
    let before = request.case.server.as_ref()?.before_model.as_ref()?;
    Some(Check::violated_if(!before.same_ids.value()?, 1.0, || {
        let text =
            if before.same_text == Recorded::Present(false) { "its template produces another text; " } else { "" };
        let differs = before.differs.as_deref().unwrap_or("they differ");
        format!("the server's tokens of the prompt differ from those of the model file: {text}{differs}")
    }))
}

/// `cached tokens = 0`.
fn empty_prefix_cache(request: &AuditedRequest<'_>) -> Option<Check> {
    let hit = request.server.cache.value()?;
    let cached = request.server.cached_tokens.value();
    Some(Check::violated_if(hit != CacheHit::Cold, cached.unwrap_or(0) as f64, || {
        let of = request.server.prompt_tokens.value().map_or_else(String::new, |all| format!(" of {all}"));
        let cached = cached.map_or_else(|| "a part".to_owned(), |cached| cached.to_string());
        format!(
            "{cached}{of} prompt tokens are from the server's prefix cache: TTFT and prefill are not those of the whole prompt"
        )
    }))
}

/// Whether the prefix cache is bypassed, or the server reports its use. Digits are in front of the messages, not of the text that a
/// chat template puts before them.
fn known_prefix_cache(request: &AuditedRequest<'_>) -> Option<Check> {
    let kept_out = request.case.server.as_ref().is_some_and(|server| server.cache != engine_api::CacheBypass::None);
    Some(Check::violated_if(!kept_out && request.server.cache.is_absent(), 1.0, || {
        "the server's prefix cache is not bypassed, and the server does not report its use: TTFT and prefill may include cached tokens".to_owned()
    }))
}

fn apart(one: f64, other: f64, text: impl FnOnce() -> String) -> Check {
    apart_by(one, other, RATE, text)
}

fn apart_by(one: f64, other: f64, most: f64, text: impl FnOnce() -> String) -> Check {
    let ratio = (one / other).max(other / one);
    Check::violated_if(ratio > most, ratio, text)
}
