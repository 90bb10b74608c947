//! [`CaseState`]: one case while it is measured.

use record::{
    Case, CaseNote, CaseOutput, MemoryTimeline, OpCounters, Pass, PassFigures, PromptIdsOf, Reason, Recorded,
    RecordedList, Sample, Session, Status, SteppedFigures, TracedFigures, mark_repeated,
};
use statistics::rounds::DesignCell;

use super::counter_sets;
use crate::plan::{CasePlan, PreparedPrompt, PromptInput};
use crate::protocol::{Answer, Measured, ServerPrompt};

/// How often a design block is repeated in a round at most.
pub(super) const MOST_REPEATS: usize = 3;
/// Why there are no operations of a traced request.
const NO_OPS: &str = "the traced request has no operations";
/// Why there are no figures of single threads.
const NO_THREADS: &str =
    "the engine marks no shared work of its threads: kernels of libraries distribute it themselves";

/// The results of a case so far.
pub(super) struct CaseState<'a> {
    /// Its index in the record.
    pub(super) index: usize,
    pub(super) plan: &'a CasePlan,
    pub(super) case: Case,
    /// It failed, timed out or is complete: it is not measured further.
    pub(super) over: bool,
    /// Its session was made and warmed up in this run.
    pub(super) warmed_up: bool,
    /// A disturbed request of its design block is to be repeated.
    pub(super) due: bool,
    /// Sets of counters; each takes a stepped request of its own in a round.
    pub(super) sets: usize,
    /// Whether any event is counted.
    pub(super) counts_events: bool,
    /// The prompt as the server's own template and tokenizer make it.
    pub(super) server_prompt: ServerPrompt,
    /// The passes that the first rounds have, the counted one only if events are counted.
    pub(super) passes: Vec<Pass>,
    /// The digest of the rows that the journal has.
    journalled_rows: Option<[u8; 32]>,
    /// The status that the journal has.
    journalled_status: Option<(Status, Option<String>)>,
    stepped: Vec<Kept<SteppedFigures>>,
    traced: Vec<Kept<TracedFigures>>,
    counted: Vec<Kept<Vec<OpCounters>>>,
}

/// A request with the figures of its pass.
struct Kept<T> {
    sample: Sample,
    figures: T,
}

impl<'a> CaseState<'a> {
    pub(super) fn new(index: usize, plan: &'a CasePlan, case: Case) -> Self {
        Self {
            index,
            plan,
            case,
            over: false,
            warmed_up: false,
            due: false,
            sets: 1,
            counts_events: false,
            server_prompt: ServerPrompt::default(),
            passes: Vec::new(),
            journalled_rows: None,
            journalled_status: None,
            stepped: Vec::new(),
            traced: Vec::new(),
            counted: Vec::new(),
        }
    }

    /// Takes over the requests and the session that an earlier run has of the case, besides its rows.
    pub(super) fn restore(&mut self, requests: Vec<(Sample, PassFigures)>, session: Option<Session>) {
        if let Some(session) = session {
            (self.sets, self.counts_events) = (session.counter_sets, session.counts_events);
        } else {
            self.counts_events = !self.case.counted.is_empty();
        }
        for (sample, figures) in requests {
            match figures {
                PassFigures::Clean => {}
                PassFigures::Stepped(figures) => self.stepped.push(Kept { sample, figures }),
                PassFigures::Traced(figures) => self.traced.push(Kept { sample, figures }),
                PassFigures::Counted(figures) => self.counted.push(Kept { sample, figures }),
            }
        }
    }

    /// The first instrumented pass that some of so many rounds lack.
    pub(super) fn lacks(&self, rounds: usize) -> Option<Pass> {
        let is_wanted = |pass: &&Pass| **pass != Pass::Counted || self.counts_events;
        let lacks = |pass: &Pass| (0..rounds).any(|round| !self.has(*pass, round));
        self.passes.iter().filter(is_wanted).copied().filter(|pass| *pass != Pass::Clean).find(lacks)
    }

    /// The rows of the case, unless the journal has them.
    pub(super) fn new_rows(&mut self) -> Option<Box<Case>> {
        use sha2::{Digest, Sha256};
        let rows = self.case.rows();
        // A record that cannot be encoded is an error when it is written.
        let digest = serde_json::to_vec(&rows).ok().map(|bytes| Sha256::digest(bytes).into());
        let is_new = digest.is_none() || digest != self.journalled_rows;
        self.journalled_rows = digest;
        is_new.then(|| Box::new(rows))
    }

    /// The status of the case, unless the journal has it.
    pub(super) fn new_status(&mut self) -> Option<(Status, Option<String>)> {
        let status = (self.case.status, self.case.error.clone());
        let is_new = self.journalled_status.as_ref() != Some(&status);
        self.journalled_status = Some(status.clone());
        is_new.then_some(status)
    }

    /// The requests of a pass.
    pub(super) fn samples(&self, pass: Pass) -> &[Sample] {
        match pass {
            Pass::Clean => &self.case.samples,
            Pass::Stepped => &self.case.stepped,
            Pass::Traced => &self.case.traced,
            Pass::Counted => &self.case.counted,
        }
    }

    /// Whether a round of a pass is complete.
    pub(super) fn has(&self, pass: Pass, round: usize) -> bool {
        (0..self.sets_of(pass)).all(|set| self.has_set(pass, round, set))
    }

    /// The number of requests of a pass in a round.
    pub(super) fn sets_of(&self, pass: Pass) -> usize {
        if matches!(pass, Pass::Stepped | Pass::Counted) { self.sets } else { 1 }
    }

    /// Whether a round has the request for one set of counters.
    pub(super) fn has_set(&self, pass: Pass, round: usize, set: usize) -> bool {
        let is_it = |sample: &Sample| sample.counts() && sample.round == round && sample.counter_set == set;
        self.samples(pass).iter().any(is_it)
    }

    /// Its cell in the design of a round.
    pub(super) fn cell(&self) -> DesignCell {
        DesignCell { slot: self.plan.slot, prompt: self.plan.prompt, depth: self.plan.filler.depth() }
    }

    /// Whether the valid clean request of a round was disturbed and can be repeated.
    pub(super) fn is_disturbed(&self, round: usize) -> bool {
        let is_it = |sample: &Sample| sample.counts() && sample.round == round && sample.disturbed.is_some();
        !self.over && self.case.samples.iter().any(is_it)
    }

    /// How often the clean request of a round was repeated.
    pub(super) fn repeats(&self, round: usize) -> usize {
        self.case.samples.iter().filter(|sample| sample.repeated && sample.round == round).count()
    }

    /// Ends the case with a reason; its results are kept.
    pub(super) fn fail(&mut self, status: Status, text: String) {
        self.over = true;
        self.case.status = status;
        self.case.error = Some(text);
    }

    /// Stores a request: its sample, and the figures of the middle request of its pass.
    pub(super) fn store(&mut self, mut measured: Measured, prompt: &PreparedPrompt) -> Sample {
        self.check_output(&mut measured, prompt);
        let Measured { sample, figures, .. } = measured;
        match figures {
            PassFigures::Clean => {
                self.case.samples.push(sample.clone());
                mark_repeated(&mut self.case.samples);
            }
            PassFigures::Stepped(figures) => {
                self.case.stepped.push(sample.clone());
                self.stepped.push(Kept { sample: sample.clone(), figures });
                self.show_stepped();
            }
            PassFigures::Counted(figures) => {
                self.case.counted.push(sample.clone());
                self.counted.push(Kept { sample: sample.clone(), figures });
                let sets: Vec<_> = (0..self.sets)
                    .filter_map(|set| middle_of_set(&self.counted, set))
                    .map(|kept| kept.figures.as_slice())
                    .collect();
                self.case.op_counters = counter_sets::merged(&sets);
            }
            PassFigures::Traced(figures) => {
                self.case.traced.push(sample.clone());
                self.traced.push(Kept { sample: sample.clone(), figures });
                self.show_traced();
            }
        }
        sample
    }

    /// Fills in the case's rows from the middle stepped request of each set of counters.
    fn show_stepped(&mut self) {
        let Some(kept) = middle_of_set(&self.stepped, 0) else { return };
        let figures = &kept.figures;
        show_timeline(&mut self.case, &kept.sample, &figures.timeline);
        self.case.phases = RecordedList::new(figures.phases.clone(), "the stepped request has no phases");
        self.case.counters = figures.counters.values.clone();
        self.case.notes.set_of_counters(figures.counters.notes.clone());
        for other in (1..self.sets).filter_map(|set| middle_of_set(&self.stepped, set)) {
            counter_sets::add(&mut self.case, &other.figures);
        }
    }

    /// Fills in the case's rows from the middle traced request.
    fn show_traced(&mut self) {
        let Some(kept) = middle(self.traced.iter()) else { return };
        let figures = &kept.figures;
        if self.case.stepped.is_empty() {
            show_timeline(&mut self.case, &kept.sample, &figures.timeline);
        }
        self.case.ops = RecordedList::new(figures.ops.clone(), NO_OPS);
        self.case.ops_round = Some(kept.sample.round);
        self.case.layers = RecordedList::new(figures.layers.clone(), NO_OPS);
        self.case.workers = RecordedList::new(figures.threads.clone(), NO_THREADS);
        // Whether a model without rows has experts is not known here.
        self.case.experts = (!figures.experts.is_empty()).then(|| RecordedList::new(figures.experts.clone(), NO_OPS));
        self.case.expert_passes.clone_from(&figures.expert_passes);
        self.case.allocations = match &figures.allocations {
            Ok(allocations) => RecordedList::new(allocations.rows.clone(), "the traced request has no phases"),
            Err(reason) => RecordedList::absent(reason.clone()),
        };
        self.show_held_bytes();
    }

    /// Fills in what the middle traced request held. Loading another session does not change it.
    pub(super) fn show_held_bytes(&mut self) {
        let Some(kept) = middle(self.traced.iter()) else { return };
        let held = kept.figures.allocations.as_ref().map(|allocations| allocations.held);
        self.case.memory.held_bytes = held.map_err(Reason::clone).into();
    }

    /// Why there are no rows of the stepped pass, as long as no request of it is stored.
    pub(super) fn without_stepped(&mut self, reason: impl Into<Reason>) {
        if self.case.stepped.is_empty() {
            self.case.phases = RecordedList::absent(reason);
        }
    }

    /// The same of the traced pass.
    pub(super) fn without_traced(&mut self, reason: impl Into<Reason>) {
        if !self.case.traced.is_empty() {
            return;
        }
        let reason = reason.into();
        self.case.ops = RecordedList::absent(reason.clone());
        self.case.layers = RecordedList::absent(reason.clone());
        self.case.workers = RecordedList::absent(reason.clone());
        self.case.allocations = RecordedList::absent(reason.clone());
        if self.case.stepped.is_empty() {
            self.case.memory_timeline = RecordedList::absent(reason);
        }
    }

    /// The first answer is that of the case; a request with another answer has no valid timing.
    fn check_output(&mut self, measured: &mut Measured, prompt: &PreparedPrompt) {
        let answer = &measured.answer;
        let sha256 = answer.sha256();
        let Some(output) = &self.case.output else {
            let known = self.known_prompt_ids(answer, prompt);
            let rendered_prompt = self.rendered_prompt(prompt);
            let (prompt_ids, prompt_ids_of) = match known {
                Ok((ids, named_by)) => (RecordedList::new(ids, "the prompt has no tokens"), named_by),
                Err(reason) => (RecordedList::absent(reason), None),
            };
            if !prompt_ids.is_empty() && !prompt.ids.is_empty() && *prompt_ids != *prompt.ids {
                let text = format!(
                    "the engine had {} prompt tokens, which differ from the {} of the tokenizer",
                    prompt_ids.len(),
                    prompt.ids.len()
                );
                self.case.notes.set(CaseNote::PromptIds, text);
            }
            self.case.output = Some(CaseOutput {
                text: answer.text.clone(),
                token_ids: answer.token_ids.clone(),
                prompt_ids,
                prompt_ids_of,
                rendered_prompt,
                finish_reason: match answer.finish {
                    engine_api::FinishReason::Stop => "stop",
                    engine_api::FinishReason::Length => "length",
                    engine_api::FinishReason::Interrupted => "interrupted",
                }
                .to_owned(),
                sha256,
                top_logprobs: RecordedList::absent("the answer was not examined"),
            });
            return;
        };
        // With other digits at the start of the prompt the answer may differ.
        if output.sha256 != sha256 && !has_nonce(answer) {
            void(&mut measured.sample);
        }
    }

    /// The text that the model's template rendered; absent where only the server knows it. This program's template does not render the
    /// text of a server.
    fn rendered_prompt(&self, prompt: &PreparedPrompt) -> Recorded<String> {
        if self.case.server.is_none() || !prompt.input.is_chat() {
            let rendered = Some(prompt.rendered.clone()).filter(|text| !text.is_empty());
            return Recorded::of(rendered, "the prompt is given as token ids");
        }
        let text = self.server_prompt.text.clone();
        Recorded::of(text, "the server renders it by its own chat template and does not report it")
    }

    /// The token ids that the model saw and, for a server, what names them; or why they are unknown. This program's tokenizer does
    /// not name a server's.
    fn known_prompt_ids(
        &self,
        answer: &Answer,
        prompt: &PreparedPrompt,
    ) -> Result<(Vec<u32>, Option<PromptIdsOf>), Reason> {
        if self.case.server.is_none() {
            let ids = if answer.prompt_ids.is_empty() { &prompt.ids } else { &answer.prompt_ids };
            return Ok((ids.clone(), None));
        }
        if !answer.prompt_ids.is_empty() {
            let is_sent = matches!(prompt.input, PromptInput::Tokens(_));
            let named_by = if is_sent { PromptIdsOf::Request } else { PromptIdsOf::Response };
            return Ok((answer.prompt_ids.clone(), Some(named_by)));
        }
        if has_nonce(answer) {
            return Err(Reason::new(
                "digits that bypass the server's prefix cache are in the prompt, other ones in each request",
            ));
        }
        let Some(ids) = &self.server_prompt.ids else {
            return Err(Reason::new("the server does not report them"));
        };
        let counted = answer.reported.as_ref().and_then(|reported| reported.prompt_tokens);
        match counted.filter(|counted| *counted != ids.len()) {
            None => Ok((ids.clone(), Some(PromptIdsOf::Tokenizer))),
            Some(counted) => Err(Reason::new(format!(
                "the server's tokenizer makes {} tokens of the prompt, and the server counts {counted} in its response",
                ids.len()
            ))),
        }
    }
}

/// Whether random digits in the prompt bypass the server's prefix cache.
fn has_nonce(answer: &Answer) -> bool {
    answer.reported.as_ref().is_some_and(|reported| reported.nonce.is_some())
}

/// Memory over a request, or why it is unknown.
fn show_timeline(case: &mut Case, sample: &Sample, timeline: &MemoryTimeline) {
    let without = sample.memory_delta_bytes.reason().map_or("no reading of memory succeeded", Reason::as_str);
    case.memory_timeline = RecordedList::new(timeline.points.clone(), without);
    case.memory_timer_share = timeline.timer_share;
}

/// A wrong output makes the timing invalid: the figures are removed, with the reason.
fn void(sample: &mut Sample) {
    let has_others = sample.server.as_ref().and_then(|server| server.other_requests).is_some_and(|others| others > 0);
    let cause = if has_others { "; the server worked for other clients meanwhile" } else { "" };
    let reason = format!("void: the output differs from the case's first one{cause}");
    for figure in [
        &mut sample.latency_s,
        &mut sample.ttft_s,
        &mut sample.tokenize_s,
        &mut sample.prefill_s,
        &mut sample.decode_s,
        &mut sample.sample_s,
        &mut sample.detokenize_s,
        &mut sample.other_s,
        &mut sample.tps,
        &mut sample.prefill_tps,
        &mut sample.decode_tps,
    ] {
        *figure = Recorded::absent(reason.as_str());
    }
    sample.token_times_s = RecordedList::absent(reason);
}

/// The request with the median latency (the lower one of two). Its rows add up, which medians of rows would not.
fn middle<'m, T>(requests: impl Iterator<Item = &'m Kept<T>>) -> Option<&'m Kept<T>> {
    // A request whose timing is invalid has no latency.
    let mut valid: Vec<_> = requests.filter_map(|request| Some((request.sample.latency_s.value()?, request))).collect();
    valid.sort_by(|a, b| a.0.total_cmp(&b.0));
    valid.get(valid.len().saturating_sub(1) / 2).map(|(_, request)| *request)
}

/// The middle request of those that read a set of counters.
fn middle_of_set<T>(requests: &[Kept<T>], set: usize) -> Option<&Kept<T>> {
    middle(requests.iter().filter(|request| request.sample.counter_set == set))
}

#[cfg(test)]
mod tests {
    use engine_api::FinishReason;
    use record::PhaseRow;

    use super::*;
    use crate::plan::Filler;
    use crate::protocol::Answer;

    fn measured(pass: Pass, round: usize, latency: f64, ids: &[u32]) -> Measured {
        let phases = vec![PhaseRow { time_s: latency.into(), ..PhaseRow::absent("not measured") }];
        let figures = match pass {
            Pass::Stepped => PassFigures::Stepped(SteppedFigures { phases, ..SteppedFigures::default() }),
            _ => PassFigures::Clean,
        };
        Measured {
            sample: Sample {
                pass,
                round,
                latency_s: latency.into(),
                tps: 1.0.into(),
                ..Sample::absent("not measured")
            },
            answer: Answer {
                text: String::new(),
                token_ids: ids.to_vec(),
                prompt_ids: vec![9],
                prompt_tokens: 1,
                output_tokens: ids.len(),
                finish: FinishReason::Length,
                reported: None,
            },
            outside_s: 0.0,
            memory: Err(Reason::new("not read")),
            read_bytes: Err(Reason::new("not read")),
            kv_used: Some(0),
            kv_reserved: Some(0),
            device: None,
            server: None,
            first: None,
            figures,
            trace_error: None,
        }
    }

    /// A chat of one message that this program's template and tokenizer turn into these ids.
    fn prompt(ids: &[u32]) -> PreparedPrompt {
        let messages = vec![models::chat::Message::new("user", "hi")];
        PreparedPrompt {
            id: "p".to_owned(),
            tests: String::new(),
            rendered: "<user>hi".to_owned(),
            input: PromptInput::Text { text: "<user>hi".to_owned(), add_bos: false, messages },
            ids: ids.to_vec(),
            new_tokens: 2,
        }
    }

    /// A case of a server that counted so many prompt tokens, after its first answer.
    fn served(
        server_prompt: ServerPrompt,
        counted: Option<usize>,
        nonce: Option<&str>,
        prompt: &PreparedPrompt,
    ) -> Case {
        let plan = plan();
        let case = Case { server: Some(record::ServerFile::absent("not reported")), ..Case::default() };
        let mut state = CaseState::new(0, &plan, case);
        state.server_prompt = server_prompt;
        let mut measured = measured(Pass::Clean, 0, 1.0, &[]);
        measured.answer.prompt_ids = match &prompt.input {
            PromptInput::Tokens(ids) => ids.clone(),
            PromptInput::Text { .. } => Vec::new(),
        };
        let nonce = nonce.map(str::to_owned);
        measured.answer.reported =
            Some(engine_api::ServerReport { prompt_tokens: counted, nonce, ..engine_api::ServerReport::default() });
        state.store(measured, prompt);
        state.case
    }

    fn plan() -> CasePlan {
        CasePlan { id: "c".to_owned(), slot: 0, prompt: 0, filler: Filler::default() }
    }

    #[test]
    fn another_output_makes_the_timing_invalid() {
        let plan = plan();
        let mut state = CaseState::new(0, &plan, Case::default());
        assert!(state.store(measured(Pass::Clean, 0, 1.0, &[1, 2]), &prompt(&[9])).latency_s.is_present());
        let wrong = state.store(measured(Pass::Clean, 1, 1.0, &[1, 3]), &prompt(&[9]));
        assert_eq!((wrong.latency_s.value(), wrong.tps.value()), (None, None));
        assert!(wrong.latency_s.reason().unwrap().as_str().starts_with("void"));
        assert_eq!(state.case.output.as_ref().map(|output| output.token_ids.as_slice()), Some(&[1, 2][..]));
        assert!(state.has(Pass::Clean, 1) && !state.has(Pass::Stepped, 0));
    }

    #[test]
    fn rows_come_from_the_request_with_the_median_latency() {
        let plan = plan();
        let mut state = CaseState::new(0, &plan, Case::default());
        for (round, latency) in [3.0, 1.0, 2.0].into_iter().enumerate() {
            state.store(measured(Pass::Stepped, round, latency, &[1]), &prompt(&[9]));
        }
        assert_eq!(state.case.phases[0].time_s.value(), Some(2.0));
    }

    #[test]
    fn the_last_request_of_a_round_is_the_valid_one() {
        let plan = plan();
        let mut state = CaseState::new(0, &plan, Case::default());
        let mut first = measured(Pass::Clean, 0, 1.5, &[1]);
        first.sample.disturbed = Some("load of other processes".to_owned());
        state.store(first, &prompt(&[9]));
        assert!(state.is_disturbed(0) && state.repeats(0) == 0);
        state.store(measured(Pass::Clean, 0, 1.0, &[1]), &prompt(&[9]));
        assert!(!state.is_disturbed(0) && state.repeats(0) == 1 && state.has(Pass::Clean, 0));
        let counting: Vec<_> = state.case.clean_samples().filter_map(|sample| sample.latency_s.value()).collect();
        assert_eq!((counting, state.case.samples.len()), (vec![1.0], 2));
    }

    #[test]
    fn different_prompt_ids_are_reported() {
        let plan = plan();
        let mut state = CaseState::new(0, &plan, Case::default());
        state.store(measured(Pass::Clean, 0, 1.0, &[1]), &prompt(&[9, 9]));
        assert!(state.case.notes.has(CaseNote::PromptIds));
    }

    #[test]
    fn the_ids_of_a_servers_prompt_are_those_that_it_names() {
        let own = prompt(&[1, 2, 3]);
        let text = || Some("<system>be kind<user>hi".to_owned());
        let shown = |server_prompt: ServerPrompt, counted, nonce, prompt: &PreparedPrompt| {
            let case = served(server_prompt, counted, nonce, prompt);
            let output = case.output.unwrap();
            let why = output.prompt_ids.reason().map(Reason::as_str).or(case.notes.get(CaseNote::PromptIds));
            let rendered = output.rendered_prompt.as_deref().unwrap_or_default().to_owned();
            (output.prompt_ids.to_vec(), output.prompt_ids_of, rendered, why.unwrap_or_default().to_owned())
        };
        let found = shown(ServerPrompt::default(), Some(3), None, &own);
        assert_eq!((found.0, found.1, found.2.as_str()), (vec![], None, ""), "this program's are not the server's");
        assert_eq!(found.3, "the server does not report them");
        let full = ServerPrompt { text: text(), ids: Some(vec![7, 8, 1, 2, 3]) };
        let found = shown(full.clone(), Some(5), None, &own);
        assert_eq!((found.0, found.1), (vec![7, 8, 1, 2, 3], Some(PromptIdsOf::Tokenizer)));
        assert_eq!(found.2, "<system>be kind<user>hi", "the text of the server's own template");
        assert!(found.3.contains("5 prompt tokens, which differ from the 3"), "{}", found.3);
        let found = shown(full.clone(), Some(6), None, &own);
        assert!(found.0.is_empty() && found.3.contains("makes 5 tokens of the prompt, and the server counts 6"));
        assert!(shown(full, Some(9), Some("1234 "), &own).3.starts_with("digits that bypass"));
        let ids = PreparedPrompt { input: PromptInput::Tokens(vec![4, 5]), ids: vec![4, 5], ..prompt(&[]) };
        let found = shown(ServerPrompt::default(), Some(2), None, &ids);
        assert_eq!((found.0, found.1), (vec![4, 5], Some(PromptIdsOf::Request)));
    }
}
