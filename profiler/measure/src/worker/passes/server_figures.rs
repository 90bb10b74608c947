//! The figures of a request that a server answered: what arrived, as [`judge`] decides, and the server's own report beside it.

use engine_api::{CacheBypass, CacheHit, Phase, Prompt, Request, ServerReport};
use models::Tokenizer;
use record::{Reason, Reasons, Recorded, RecordedList, ServerCounters, ServerSample};
use traces::Nanos;

use super::arrivals::{Judged, Judgement, StreamedAnswer, judge};
use super::figures::{TimeFigures, rate};
use super::timing::Timing;
use crate::protocol::Answer;

/// More tokens than any chat template adds to a prompt. Of the prompt itself a token is at least one byte.
const TEMPLATE_TOKENS: usize = 100_000;
/// Why there is no number of prompt tokens although the server reports one.
const NO_PROMPT_TOKENS: &str = "the server reports 0 prompt tokens: it does not count them";
/// Why a figure of a server is absent.
const NOT_REPORTED: &str = "the server does not report it";

/// Replaces the figures that follow from tokens by those that the stream and the server's counts support, and returns the server's own
/// figures. `tokenizer` is the model's own, `progress` is the time of its first event about the prompt, `counters` are those of its processes. `None` where no server
/// answered.
pub(crate) fn server_figures(
    figures: &mut TimeFigures,
    timing: &Timing,
    answer: &Answer,
    request: &Request,
    tokenizer: Option<&Tokenizer>,
    progress: Option<Nanos>,
    counters: ServerCounters,
) -> Option<ServerSample> {
    let reported = answer.reported.as_ref()?;
    let queued = progress.filter(|&at| at >= timing.start()).map(|at| at.saturating_sub(timing.start()));
    let mut server = ServerSample { counters, ..server_sample(reported, queued) };
    let tokenized =
        tokenizer.and_then(|tokenizer| tokens_after_pieces(tokenizer, &answer.text, &reported.stream.text_bytes));
    let judgement = judge(StreamedAnswer {
        times: &timing.tokens,
        text: &answer.text,
        facts: &reported.stream,
        tokenized: tokenized.as_deref(),
        reported: reported.output_tokens,
        requested: request.max_new_tokens,
        finish: answer.finish,
    });
    if let Some(reason) = &judgement.not_counted {
        server.output_tokens = Recorded::Absent(reason.clone());
        figures.notes.insert("server.output_tokens".to_owned(), reason.to_string());
    }
    match &judgement.token_times {
        Ok(times) => mark(&mut figures.estimated, "token_times_s", times.estimated.as_ref()),
        Err(reason) => {
            server.piece_times_s = figures.token_times_s.to_vec();
            figures.token_times_s = RecordedList::absent(reason.clone());
        }
    }
    output_figures(figures, &judgement, timing);
    let prompt = prompt_tokens(reported, &request.prompt);
    if server.prompt_tokens.value() == Some(0) {
        server.prompt_tokens = Recorded::absent(NO_PROMPT_TOKENS);
    }
    prompt_figures(figures, &judgement, prompt, reported, timing);
    Some(server)
}

/// The number of tokens of the answer after each piece of text, as the model's own tokenizer divides it. `None` if its tokens do not
/// spell the text.
fn tokens_after_pieces(tokenizer: &Tokenizer, text: &str, piece_ends: &[usize]) -> Option<Vec<usize>> {
    // An error is as a text that is not spelled: the server's counts are used.
    let ends = tokenizer.token_ends(text).ok().flatten()?;
    Some(piece_ends.iter().map(|&piece_end| ends.partition_point(|&end| end <= piece_end)).collect())
}

/// Tokens of the prompt, or why they are not known.
fn prompt_tokens(reported: &ServerReport, prompt: &Prompt) -> Result<usize, Reason> {
    let bytes = match prompt {
        // The server gets them as they are.
        Prompt::Tokens(ids) => return Ok(ids.len()),
        Prompt::Text { text, messages, .. } => {
            messages.iter().map(|message| message.content.len()).sum::<usize>().max(text.len())
        }
    };
    match reported.prompt_tokens {
        None => Err(Reason::new("the server does not report the number of prompt tokens")),
        Some(0) => Err(Reason::new(NO_PROMPT_TOKENS)),
        Some(tokens) if tokens > bytes + TEMPLATE_TOKENS => Err(Reason::new(format!(
            "void: the server reports {tokens} prompt tokens, but the prompt has {bytes} bytes"
        ))),
        Some(tokens) => Ok(tokens),
    }
}

/// Prompt tokens that the model computed in prefill, or why they are not known.
fn computed(tokens: usize, reported: &ServerReport) -> Result<Judged<usize>, Reason> {
    let exact = |value| Ok(Judged { value, estimated: None });
    let unknown = |text: &str| Err(Reason::new(text));
    match (reported.cached_tokens, reported.cache) {
        (Some(cached), _) if cached > tokens => {
            Err(Reason::new(format!("void: the server reports {cached} cached prompt tokens of {tokens}")))
        }
        (Some(cached), _) if cached == tokens => {
            unknown("all prompt tokens are from the server's prefix cache: nothing was computed")
        }
        (Some(cached), _) => exact(tokens - cached),
        (None, Some(CacheHit::Cold)) => exact(tokens),
        (None, Some(CacheHit::Partial | CacheHit::Exact)) => {
            unknown("the server reports that tokens are from its prefix cache, but not how many")
        }
        (None, None) => match reported.bypass {
            CacheBypass::Switch => exact(tokens),
            CacheBypass::Nonce => Ok(Judged {
                value: tokens,
                estimated: Some(Reason::new(
                    "an upper bound: the server does not report the tokens from its prefix cache, which may hold the text that its chat template puts before the digits",
                )),
            }),
            CacheBypass::None => {
                unknown("the server's prefix cache is not bypassed, and the server does not report the tokens from it")
            }
        },
    }
}

/// Marks a field as an estimate.
fn mark(estimated: &mut Reasons, field: &str, reason: Option<&Reason>) {
    if let Some(reason) = reason {
        estimated.insert(field.to_owned(), reason.to_string());
    }
}

/// The value of a field, which is marked if it is an estimate.
fn recorded<T>(estimated: &mut Reasons, field: &str, judged: Result<Judged<T>, Reason>) -> Recorded<T> {
    let found = judged.inspect(|judged| mark(estimated, field, judged.estimated.as_ref()));
    found.map(|judged| judged.value).into()
}

#[allow(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
fn output_figures(figures: &mut TimeFigures, judgement: &Judgement, timing: &Timing) {
    let estimated = &mut figures.estimated;
    let per_second = |judged: Judged<usize>| {
        if judged.value == 0 {
            return Err(Reason::new("the answer has no token"));
        }
        Ok(Judged { value: rate(judged.value as f64, timing.latency)?, estimated: judged.estimated })
    };
    figures.tps = recorded(estimated, "tps", judgement.output_tokens.clone().and_then(per_second));
    figures.output_tokens = recorded(estimated, "output_tokens", judgement.output_tokens.clone());
    figures.decode_tps = recorded(estimated, "decode_tps", judgement.decode_tps.clone());
    if let Err(reason) = &judgement.decode_time {
        figures.decode_s = Recorded::Absent(reason.clone());
    }
}

#[allow(clippy::cast_precision_loss, reason = "token counts stay far below 2^53")]
fn prompt_figures(
    figures: &mut TimeFigures,
    judgement: &Judgement,
    prompt: Result<usize, Reason>,
    reported: &ServerReport,
    timing: &Timing,
) {
    let per_second = |tokens: usize| {
        if let Some(void) = &judgement.void {
            return Err(void.clone());
        }
        let ended = judgement.prefill.clone()?;
        let tokens = computed(tokens, reported)?;
        let value = rate(tokens.value as f64, timing.phase(Phase::Prefill))?;
        let bounds = [tokens.estimated, ended.estimated].into_iter().flatten().map(|reason| reason.to_string());
        Ok(Judged { value, estimated: bounds.reduce(|one, other| format!("{one}; {other}")).map(Reason::new) })
    };
    figures.prefill_tps = recorded(&mut figures.estimated, "prefill_tps", prompt.clone().and_then(per_second));
    figures.prompt_tokens = prompt.into();
    if let Err(reason) = &judgement.prefill {
        figures.prefill_s = Recorded::Absent(reason.clone());
    }
}

/// A figure that the server reports, or that it does not.
fn reported_value<T>(value: Option<T>) -> Recorded<T> {
    value.ok_or_else(|| Reason::new(NOT_REPORTED)).into()
}

fn server_sample(reported: &ServerReport, queued: Option<Nanos>) -> ServerSample {
    let seconds = |time: Option<Nanos>| time.map(Nanos::as_secs_f64);
    let queued = seconds(queued).ok_or_else(|| Reason::new("no event about the progress of the prompt arrived"));
    ServerSample {
        prompt_tokens: reported_value(reported.prompt_tokens),
        cached_tokens: reported_value(reported.cached_tokens),
        cache: reported_value(reported.cache),
        output_tokens: reported_value(reported.output_tokens),
        prefill_s: reported_value(seconds(reported.prefill)),
        decode_s: reported_value(seconds(reported.decode)),
        load_s: reported_value(seconds(reported.load)),
        prefill_tps: reported_value(reported.prefill_tps),
        decode_tps: reported_value(reported.decode_tps),
        peak_memory_bytes: reported_value(reported.peak_memory_bytes),
        energy_j: reported_value(reported.energy_j),
        queued_s: queued.into(),
        first_token_s: seconds(reported.first_token),
        queue_s: seconds(reported.queue),
        whole_s: seconds(reported.whole),
        drafted_tokens: reported.drafted_tokens,
        accepted_tokens: reported.accepted_tokens,
        other_requests: reported.other_requests,
        chunks: reported.chunks,
        nonce: reported.nonce.is_some(),
        reopened: reported.stream.reopened,
        unknown_finish: reported.stream.unknown_finish.clone(),
        piece_times_s: Vec::new(),
        counters: Default::default(),
        notes: Reasons::new(),
    }
}

#[cfg(test)]
mod tests {
    use engine_api::{FinishReason, PhaseSplit};
    use models::chat::Message;

    use super::super::figures::time_figures;
    use super::super::timing::PhaseSpan;
    use super::*;

    fn request() -> Request {
        let prompt = Prompt::Text {
            text: "<user>hello</user>".to_owned(),
            add_bos: false,
            messages: vec![Message::new("user", "hello")],
        };
        Request { prompt, max_new_tokens: 8, ignore_eos: false }
    }

    fn report() -> ServerReport {
        ServerReport {
            prefill: Some(Nanos::from_millis(20)),
            prompt_tokens: Some(30),
            cached_tokens: Some(0),
            output_tokens: Some(3),
            chunks: 3,
            bypass: CacheBypass::Nonce,
            ..ServerReport::default()
        }
    }

    fn answer(reported: ServerReport) -> Answer {
        Answer {
            text: "one two three".to_owned(),
            token_ids: Vec::new(),
            prompt_ids: Vec::new(),
            prompt_tokens: 30,
            output_tokens: 3,
            finish: FinishReason::Length,
            reported: Some(reported),
        }
    }

    /// Prefill until 100 ms, then two gaps of 100 ms.
    fn timing() -> Timing {
        let span =
            |phase, start, end| PhaseSpan { phase, start: Nanos::from_millis(start), end: Nanos::from_millis(end) };
        Timing {
            spans: vec![span(Phase::Prefill, 50, 150), span(Phase::Decode, 150, 250), span(Phase::Decode, 250, 350)],
            latency: Nanos::from_millis(300),
            other: Nanos::ZERO,
            tokens: [100, 200, 300].map(Nanos::from_millis).to_vec(),
        }
    }

    fn figures(reported: ServerReport) -> (TimeFigures, ServerSample) {
        let (timing, answer) = (timing(), answer(reported));
        let merged = PhaseSplit { tokenize: false, sample: false, detokenize: false };
        let mut figures = time_figures(&timing, &answer, merged, false);
        let progress = Some(Nanos::from_millis(80));
        let server =
            server_figures(&mut figures, &timing, &answer, &request(), None, progress, ServerCounters::default());
        (figures, server.expect("a server answered"))
    }

    fn reason(figure: &Recorded<f64>) -> &str {
        figure.reason().expect("it is absent").as_str()
    }

    fn near(found: &Recorded<f64>, expected: f64) {
        let found = found.value().expect("a figure");
        assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
    }

    #[test]
    fn figures_of_a_server_that_counts_follow_their_formulas() {
        let (found, server) = figures(report());
        near(&found.tps, 10.0);
        near(&found.decode_tps, 10.0);
        near(&found.prefill_tps, 300.0);
        assert_eq!((found.output_tokens.value(), found.prompt_tokens.value()), (Some(3), Some(30)));
        assert_eq!((found.notes.len(), found.estimated.len()), (0, 0), "{found:?}");
        assert_eq!((server.queued_s.value(), server.prefill_s.value()), (Some(0.03), Some(0.02)));
        assert_eq!(server.decode_s.reason().unwrap(), &NOT_REPORTED);
    }

    #[test]
    fn cached_tokens_are_no_prefilled_tokens() {
        let with = |change: &dyn Fn(&mut ServerReport)| {
            let mut report = report();
            change(&mut report);
            figures(report).0
        };
        let part = with(&|report| report.cached_tokens = Some(20));
        near(&part.prefill_tps, 100.0);
        assert!(part.estimated.is_empty());
        let unknown = with(&|report| report.cached_tokens = None);
        near(&unknown.prefill_tps, 300.0);
        assert!(unknown.estimated["prefill_tps"].starts_with("an upper bound"), "{unknown:?}");
        let switched = with(&|report| (report.cached_tokens, report.bypass) = (None, CacheBypass::Switch));
        assert!(switched.prefill_tps.is_present() && switched.estimated.is_empty());
        for change in [
            (&|report: &mut ServerReport| report.cached_tokens = Some(31)) as &dyn Fn(&mut ServerReport),
            &|report| report.cached_tokens = Some(30),
            &|report| (report.cached_tokens, report.bypass) = (None, CacheBypass::None),
            &|report| (report.cached_tokens, report.cache) = (None, Some(CacheHit::Partial)),
        ] {
            let none = with(change);
            assert!(none.prefill_tps.is_absent(), "{none:?}");
            assert!(none.ttft_s.is_present() && none.prefill_s.is_present(), "the time is what it is");
        }
    }

    #[test]
    fn a_prompt_of_unknown_length_has_no_rate() {
        for tokens in [None, Some(0), Some(900_000_000)] {
            let (found, _) = figures(ServerReport { prompt_tokens: tokens, ..report() });
            assert!(found.prompt_tokens.is_absent() && found.prefill_tps.is_absent(), "{tokens:?}");
            assert_eq!(found.prefill_tps.reason(), found.prompt_tokens.reason());
            assert!(found.decode_tps.is_present());
        }
    }

    #[test]
    fn a_count_that_cannot_be_true_voids_every_rate() {
        let (found, server) = figures(ServerReport { output_tokens: Some(900), ..report() });
        for figure in [&found.tps, &found.decode_tps, &found.prefill_tps] {
            assert_eq!(reason(figure), "void: the server counts 900 output tokens, but at most 8 were requested");
        }
        assert_eq!(found.token_times_s.reason(), found.tps.reason());
        assert!(found.output_tokens.is_absent());
        assert_eq!((server.output_tokens.value(), server.piece_times_s.len()), (Some(900), 3));
        assert!(found.ttft_s.is_present() && found.decode_s.is_present(), "times are no counts");
    }

    #[test]
    fn without_a_count_pieces_stand_in_and_say_so() {
        for tokens in [None, Some(0)] {
            let (found, server) = figures(ServerReport { output_tokens: tokens, ..report() });
            near(&found.decode_tps, 10.0);
            near(&found.tps, 10.0);
            assert_eq!((found.output_tokens.value(), server.output_tokens.value()), (Some(3), None));
            for field in ["decode_tps", "tps", "output_tokens", "token_times_s"] {
                assert!(found.estimated[field].contains("pieces of text stand in"), "{field}: {found:?}");
            }
            assert_eq!(found.notes.contains_key("server.output_tokens"), tokens.is_some());
        }
    }

    #[test]
    fn an_engine_of_this_process_keeps_its_figures() {
        let (timing, own) = (timing(), Answer { reported: None, ..answer(report()) });
        let merged = PhaseSplit { tokenize: false, sample: false, detokenize: false };
        let mut found = time_figures(&timing, &own, merged, false);
        assert_eq!(server_figures(&mut found, &timing, &own, &request(), None, None, ServerCounters::default()), None);
        near(&found.decode_tps, 10.0);
        assert_eq!(found.token_times_s.len(), 3);
    }
}
