//! One case while it is measured.

use super::counter_sets;
use crate::plan::CasePlan;
use crate::worker::Measured;
use record::{Case, CaseOutput, Pass, Reasons, Sample, Status, mark_repeated};
use statistics::rounds::Place;

/// Why there are no figures of single threads.
const NO_WORKERS: &str =
    "the engine marks no work that its threads share: kernels of libraries deal it out by themselves";

/// What a case has so far.
pub(super) struct CaseState<'a> {
    /// Place in the run file.
    pub(super) index: usize,
    pub(super) plan: &'a CasePlan,
    pub(super) case: Case,
    /// It failed or timed out: nothing more of it is measured.
    pub(super) over: bool,
    /// A disturbed request of its block is to be measured again.
    pub(super) due: bool,
    /// Sets of counters, each of which takes a stepped request of its own in a round.
    pub(super) sets: usize,
    /// Whether any event is counted there.
    pub(super) counts_events: bool,
    /// Latencies with what else the stepped requests gave.
    stepped: Vec<Measured>,
    traced: Vec<Measured>,
    counted: Vec<Measured>,
}

impl<'a> CaseState<'a> {
    pub(super) fn new(index: usize, plan: &'a CasePlan, case: Case) -> Self {
        Self {
            index,
            plan,
            case,
            over: false,
            due: false,
            sets: 1,
            counts_events: false,
            stepped: Vec::new(),
            traced: Vec::new(),
            counted: Vec::new(),
        }
    }

    /// Requests of a pass that count.
    pub(super) fn samples(&self, pass: Pass) -> &[Sample] {
        match pass {
            Pass::Clean => &self.case.samples,
            Pass::Stepped => &self.case.stepped,
            Pass::Traced => &self.case.traced,
            Pass::Counted => &self.case.counted,
        }
    }

    /// Whether a round of a pass is there already.
    pub(super) fn has(&self, pass: Pass, round: usize) -> bool {
        (0..self.sets_of(pass)).all(|set| self.has_set(pass, round, set))
    }

    /// Requests that a round of a pass takes.
    pub(super) fn sets_of(&self, pass: Pass) -> usize {
        if matches!(pass, Pass::Stepped | Pass::Counted) { self.sets } else { 1 }
    }

    /// Whether the request for one set of counters is there already.
    pub(super) fn has_set(&self, pass: Pass, round: usize, set: usize) -> bool {
        let is_it = |sample: &Sample| sample.counts() && sample.round == round && sample.counter_set == set;
        self.samples(pass).iter().any(is_it)
    }

    /// Where it stands in the design of a round.
    pub(super) fn place(&self) -> Place {
        Place { seat: self.plan.seat, prompt: self.plan.prompt, depth: self.plan.filler.depth() }
    }

    /// Whether the clean request of a round that counts lay in a spell, and can be measured again.
    pub(super) fn is_disturbed(&self, round: usize) -> bool {
        let is_it = |sample: &Sample| sample.counts() && sample.round == round && sample.disturbed.is_some();
        !self.over && self.case.samples.iter().any(is_it)
    }

    /// How often the clean request of a round was measured again.
    pub(super) fn repeats(&self, round: usize) -> usize {
        self.case.samples.iter().filter(|sample| sample.repeated && sample.round == round).count()
    }

    /// Ends the case with a reason; what was measured stays.
    pub(super) fn fail(&mut self, status: Status, text: String) {
        self.over = true;
        self.case.status = status;
        self.case.error = Some(text);
    }

    /// Keeps a request: its sample, and of a stepped or traced one the rows of the request in the middle.
    pub(super) fn keep(&mut self, mut measured: Measured, rendered: &str, prompt_ids: &[u32]) -> Sample {
        self.check_output(&mut measured, rendered, prompt_ids);
        let sample = measured.sample.clone();
        match sample.pass {
            Pass::Clean => {
                self.case.samples.push(sample.clone());
                mark_repeated(&mut self.case.samples);
            }
            Pass::Stepped => {
                self.case.stepped.push(sample.clone());
                self.stepped.push(measured);
                let of_set = |set| middle(self.stepped.iter().filter(move |one| one.sample.counter_set == set));
                if let Some(middle) = of_set(0) {
                    keep_timeline(&mut self.case, middle);
                    self.case.phases = middle.phases.clone();
                    self.case.counters = middle.counters.clone();
                    self.case.reasons.extend(middle.counter_reasons.clone());
                    (1..self.sets).filter_map(of_set).for_each(|other| counter_sets::add(&mut self.case, other));
                }
            }
            Pass::Counted => {
                self.case.counted.push(sample.clone());
                self.counted.push(measured);
                let of_set = |set| middle(self.counted.iter().filter(move |one| one.sample.counter_set == set));
                let sets: Vec<_> = (0..self.sets).filter_map(of_set).map(|one| one.op_counters.as_slice()).collect();
                self.case.op_counters = counter_sets::joined(&sets);
            }
            Pass::Traced => {
                self.case.traced.push(sample.clone());
                self.traced.push(measured);
                if let Some(middle) = middle(self.traced.iter()) {
                    if self.stepped.is_empty() {
                        keep_timeline(&mut self.case, middle);
                    }
                    self.case.ops = middle.ops.clone();
                    self.case.ops_round = Some(middle.sample.round);
                    self.case.layers = middle.layers.clone();
                    self.case.workers = middle.workers.clone();
                    self.case.allocations = middle.allocations.clone();
                    self.case.memory.held_bytes = middle.held;
                    let reasons =
                        [(&mut self.case.reasons, "allocations"), (&mut self.case.memory.reasons, "held_bytes")];
                    for (reasons, field) in reasons {
                        match &middle.uncounted {
                            Some(reason) => reasons.insert(field.to_owned(), reason.clone()),
                            None => reasons.remove(field),
                        };
                    }
                    if middle.workers.is_empty() {
                        self.case.reasons.insert("workers".to_owned(), NO_WORKERS.to_owned());
                    }
                }
            }
        }
        sample
    }

    /// The first answer is the case's; a request with another one has no valid timing.
    fn check_output(&mut self, measured: &mut Measured, rendered: &str, prompt_ids: &[u32]) {
        let answer = &measured.answer;
        let sha256 = answer.sha256();
        let Some(output) = &self.case.output else {
            if !answer.prompt_ids.is_empty() && answer.prompt_ids != prompt_ids {
                let text = format!(
                    "the engine saw {} prompt tokens that differ from the tokenizer's {}",
                    answer.prompt_ids.len(),
                    prompt_ids.len()
                );
                self.case.reasons.insert("prompt_ids".to_owned(), text);
            }
            self.case.output = Some(CaseOutput {
                text: answer.text.clone(),
                token_ids: answer.token_ids.clone(),
                prompt_ids: if answer.prompt_ids.is_empty() { prompt_ids.to_vec() } else { answer.prompt_ids.clone() },
                rendered_prompt: rendered.to_owned(),
                finish_reason: match answer.finish {
                    engine_api::FinishReason::Stop => "stop",
                    engine_api::FinishReason::Length => "length",
                    engine_api::FinishReason::Interrupted => "interrupted",
                }
                .to_owned(),
                sha256,
                top_logprobs: Vec::new(),
            });
            return;
        };
        // With other digits in front of the prompt the answer may be another one.
        let same_prompt = answer.reported.as_ref().is_none_or(|reported| reported.nonce.is_none());
        if output.sha256 != sha256 && same_prompt {
            void(&mut measured.sample);
        }
    }
}

/// Memory over a request, or why it is not known.
fn keep_timeline(case: &mut Case, measured: &Measured) {
    case.memory_timeline.clone_from(&measured.memory_timeline);
    case.memory_timer_share = measured.timer_share;
    if case.memory_timeline.is_empty() {
        let reason = measured.sample.reasons.get("memory_delta_bytes").cloned();
        let reason = reason.unwrap_or_else(|| "the thread that reads memory could not be started".to_owned());
        case.reasons.insert("memory_timeline".to_owned(), reason);
    }
}

/// A wrong output voids its timing: the figures go, the reason stays.
fn void(sample: &mut Sample) {
    const REASON: &str = "void: the output differs from the case's first one";
    let figures = [
        ("latency_s", &mut sample.latency_s),
        ("ttft_s", &mut sample.ttft_s),
        ("tokenize_s", &mut sample.tokenize_s),
        ("prefill_s", &mut sample.prefill_s),
        ("decode_s", &mut sample.decode_s),
        ("sample_s", &mut sample.sample_s),
        ("detokenize_s", &mut sample.detokenize_s),
        ("other_s", &mut sample.other_s),
        ("tps", &mut sample.tps),
        ("prefill_tps", &mut sample.prefill_tps),
        ("decode_tps", &mut sample.decode_tps),
    ];
    let mut reasons = Reasons::new();
    for (name, figure) in figures {
        *figure = None;
        reasons.insert(name.to_owned(), REASON.to_owned());
    }
    sample.token_times_s.clear();
    sample.reasons.extend(reasons);
}

/// The request of the median latency (the lower one of two): its rows add up, which medians of rows would not.
fn middle<'m>(requests: impl Iterator<Item = &'m Measured>) -> Option<&'m Measured> {
    let mut valid: Vec<_> = requests.filter_map(|request| Some((request.sample.latency_s?, request))).collect();
    valid.sort_by(|a, b| a.0.total_cmp(&b.0));
    valid.get(valid.len().saturating_sub(1) / 2).map(|(_, request)| *request)
}

#[cfg(test)]
mod tests {
    use engine_api::FinishReason;

    use super::*;
    use crate::drive::Answer;
    use record::PhaseRow;

    fn measured(pass: Pass, round: usize, latency: f64, ids: &[u32]) -> Measured {
        Measured {
            sample: Sample { pass, round, latency_s: Some(latency), tps: Some(1.0), ..Sample::default() },
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
            memory: None,
            read_bytes: None,
            kv_used: 0,
            kv_reserved: 0,
            device: None,
            ahead: None,
            phases: vec![PhaseRow { time_s: Some(latency), ..PhaseRow::default() }],
            counters: [].into(),
            counter_reasons: Reasons::new(),
            op_counters: Vec::new(),
            ops: Vec::new(),
            layers: Vec::new(),
            workers: Vec::new(),
            allocations: Vec::new(),
            held: None,
            uncounted: None,
            huge_pages: None,
            nodes: None,
            timer_share: None,
            memory_timeline: Vec::new(),
            dropped: 0,
            trace_error: None,
        }
    }

    fn plan() -> CasePlan {
        CasePlan { id: "c".to_owned(), seat: 0, prompt: 0, filler: crate::prepare::Filler::default() }
    }

    #[test]
    fn another_output_voids_the_timing() {
        let plan = plan();
        let mut state = CaseState::new(0, &plan, Case::default());
        assert!(state.keep(measured(Pass::Clean, 0, 1.0, &[1, 2]), "p", &[9]).latency_s.is_some());
        let wrong = state.keep(measured(Pass::Clean, 1, 1.0, &[1, 3]), "p", &[9]);
        assert_eq!((wrong.latency_s, wrong.tps), (None, None));
        assert!(wrong.reasons["latency_s"].starts_with("void"));
        assert_eq!(state.case.output.as_ref().map(|output| output.token_ids.as_slice()), Some(&[1, 2][..]));
        assert!(state.has(Pass::Clean, 1) && !state.has(Pass::Stepped, 0));
    }

    #[test]
    fn rows_come_from_the_request_in_the_middle() {
        let plan = plan();
        let mut state = CaseState::new(0, &plan, Case::default());
        for (round, latency) in [3.0, 1.0, 2.0].into_iter().enumerate() {
            state.keep(measured(Pass::Stepped, round, latency, &[1]), "p", &[9]);
        }
        assert_eq!(state.case.phases[0].time_s, Some(2.0));
    }

    #[test]
    fn the_last_request_of_a_round_counts() {
        let plan = plan();
        let mut state = CaseState::new(0, &plan, Case::default());
        let mut first = measured(Pass::Clean, 0, 1.5, &[1]);
        first.sample.disturbed = Some("others".to_owned());
        state.keep(first, "p", &[9]);
        assert!(state.is_disturbed(0) && state.repeats(0) == 0);
        state.keep(measured(Pass::Clean, 0, 1.0, &[1]), "p", &[9]);
        assert!(!state.is_disturbed(0) && state.repeats(0) == 1 && state.has(Pass::Clean, 0));
        let counting: Vec<_> = state.case.clean_samples().filter_map(|sample| sample.latency_s).collect();
        assert_eq!((counting, state.case.samples.len()), (vec![1.0], 2));
    }

    #[test]
    fn prompt_ids_that_differ_are_told() {
        let plan = plan();
        let mut state = CaseState::new(0, &plan, Case::default());
        state.keep(measured(Pass::Clean, 0, 1.0, &[1]), "p", &[9, 9]);
        assert!(state.case.reasons.contains_key("prompt_ids"));
    }
}
