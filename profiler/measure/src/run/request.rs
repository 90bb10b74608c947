//! One request of a run: asked, kept, and its flaws told.

use traces::Nanos;

use super::block::{Purpose, Run};
use super::crew::{Crew, Trouble};
use super::state::CaseState;
use super::watch::Edge;
use super::{memory, ops};
use crate::plan::Block;
use crate::worker::{Ask, FromWorker, Measured, ToWorker};
use record::Error;
use record::{Pass, Sample, Status};

/// Time outside of an engine's phases, over the latency, that is worth a warning.
const OUTSIDE: f64 = 0.01;

impl Run<'_> {
    /// Runs one request and keeps what it gave: its seconds per token, or `None` (outside) where the case is over or the run ends.
    pub(super) fn request(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        state: &mut CaseState<'_>,
        purpose: Purpose,
    ) -> Result<Option<Option<f64>>, Error> {
        self.tell(state);
        let Some(prompt) = block.prompt(state.plan) else { return Ok(None) };
        // Where time is virtual nothing of this machine enters a sample.
        let is_watched = purpose.pass == Pass::Clean && !self.means.plan.file.virtual_time;
        let ops_file = (purpose.pass == Pass::Traced && state.case.trace.is_none())
            .then(|| self.trace.name(state.index, &state.case))
            .flatten();
        let ask = Ask {
            case: state.plan.id.clone(),
            pass: purpose.pass,
            round: purpose.round,
            warmup: purpose.warmup,
            fresh: purpose.fresh,
            counter_set: purpose.set,
            input: prompt.input.clone(),
            filler: state.plan.filler.ids().to_vec(),
            new_tokens: prompt.new_tokens,
            ignore_eos: self.means.plan.file.ignore_eos,
            trace: self.trace.target(ops_file.as_deref()),
        };
        let seat = state.plan.seat;
        let edge = || if is_watched { Edge::now() } else { Edge::default() };
        let before = edge();
        let answer = crew.ask(seat, &ToWorker::Measure(Box::new(ask)), self.means.plan.options.timeout);
        let edges = (before, edge());
        self.done += 1;
        self.trace.take()?;
        let measured = match answer {
            Ok(FromWorker::Measured(measured)) => *measured,
            Ok(FromWorker::Failed(failure)) => {
                state.fail(Status::Failed, failure.text);
                return Ok(None);
            }
            Ok(_) => {
                let trouble = crew.confused(seat);
                self.trouble(state, trouble);
                return Ok(None);
            }
            Err(trouble) => {
                self.trouble(state, trouble);
                return Ok(None);
            }
        };
        if ops_file.is_some() && measured.trace_error.is_none() {
            state.case.trace = ops_file;
        }
        self.keep(block, state, measured, edges).map(Some)
    }

    /// Puts a request's results where they belong; returns its seconds per token.
    fn keep(
        &mut self,
        block: &Block,
        state: &mut CaseState<'_>,
        mut measured: Measured,
        edges: (Edge, Edge),
    ) -> Result<Option<f64>, Error> {
        let Some(prompt) = block.prompt(state.plan) else { return Ok(None) };
        self.note_flaws(state, &measured);
        self.spent += Nanos::from_secs_f64(measured.sample.latency_s.unwrap_or(0.0));
        self.look(state, &mut measured.sample, edges);
        if measured.sample.fresh {
            memory::first_request(&mut state.case.memory, &measured, state.case.server.as_ref());
        }
        if let Some((ahead, server)) = measured.ahead.take().zip(state.case.server.as_mut()) {
            server.before_model = Some(ahead.figures(&prompt.rendered, &prompt.ids));
        }
        let is_first = state.case.output.is_none();
        let (prompts, outputs) = (measured.answer.prompt_tokens, measured.answer.output_tokens);
        let sample = state.keep(measured, &prompt.rendered, &prompt.ids);
        if sample.pass == Pass::Traced
            && let Some(weights) = &block.model.weights
        {
            let kv = self.means.plan.options.kv_type.dtype();
            let depth = state.plan.filler.depth();
            let engine = block.seats.get(state.plan.seat).and_then(|seat| self.means.plan.engines.get(seat.engine));
            let prunes = engine.is_some_and(|engine| engine.prunes_last_block);
            let (shape, batch) = (&weights.shape, block.model.batch);
            let work = ops::Work { shape, kv, batch, prunes, depth, prompts, outputs };
            work.join(&mut state.case);
        }
        self.store.sample(&sample)?;
        if let Some(output) = state.case.output.as_ref().filter(|_| is_first) {
            self.store.output(&state.plan.id, output)?;
        }
        self.means.context.progress.sample(&sample);
        Ok(sample.pace())
    }

    /// Whether a clean request lay in a spell; warm-up only says what is usual.
    fn look(&mut self, state: &CaseState<'_>, sample: &mut Sample, (before, after): (Edge, Edge)) {
        if sample.pass != Pass::Clean {
            return;
        }
        if sample.warmup {
            self.watch.see(sample);
            return;
        }
        sample.disturbed = self.watch.judge(sample, before, after);
        if let Some(text) = &sample.disturbed {
            self.means.context.progress.note(&format!(
                "{}, round {}: disturbed: {text}",
                state.plan.id,
                sample.round + 1
            ));
        }
    }

    /// Flaws of the measurement itself, each told once.
    fn note_flaws(&mut self, state: &CaseState<'_>, measured: &Measured) {
        let id = &state.plan.id;
        let share =
            measured.sample.latency_s.filter(|&latency| latency > 0.0).map(|latency| measured.outside_s / latency);
        if measured.sample.pass == Pass::Clean && measured.sample.counts() && share.is_some_and(|share| share > OUTSIDE)
        {
            self.once(Some(format!("{id}: the engine works before its first phase or after its last one, for more than 1 % of the latency, which the latency leaves out")));
        }
        if measured.dropped > 0 {
            self.once(Some(format!(
                "{id}: more marks in one phase than the recorder holds; the sums and the trace lack some: choose a shorter prompt, or a larger --batch"
            )));
        }
        self.once(measured.trace_error.clone());
    }

    pub(super) fn once(&mut self, note: Option<String>) {
        if let Some(note) = note.filter(|note| !self.file.notes.contains(note)) {
            self.means.context.progress.note(&note);
            self.file.notes.push(note);
        }
    }

    pub(super) fn tell(&mut self, state: &CaseState<'_>) {
        self.total = self.total.max(self.done + 1);
        self.means.context.progress.request(&state.plan.id, self.done, self.total);
    }

    /// A case that has no answer; returns the text unless the run was interrupted.
    pub(super) fn trouble(&mut self, state: &mut CaseState<'_>, trouble: Trouble) -> Option<String> {
        let (status, text) = match trouble {
            Trouble::Failed(text) => (Status::Failed, text),
            Trouble::Timeout(text) => (Status::Timeout, text),
            Trouble::Interrupted => return None,
        };
        self.means.context.progress.note(&format!("{}: {text}", state.plan.id));
        state.fail(status, text.clone());
        Some(text)
    }
}
