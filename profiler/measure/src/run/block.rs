//! The cases of one model: warm-up, rounds, and what becomes of every answer.

use traces::{Nanos, clock};

use super::crew::Crew;
use super::precision::{self, Ends};
use super::probes::{Moment, Probes};
use super::resume::Earlier;
use super::state::CaseState;
use super::trace::RunTrace;
use super::watch::Watch;
use super::{Context, memory};
use crate::ceilings;
use crate::plan::{Block, CasePlan, Plan};
use crate::worker::Home;
use meter::MachineLoad;
use meter::environment;
use record::Error;
use record::environment::Conditions;
use record::plan::{MOST_WARMUPS, STEADY};
use record::{Case, Pass, PrecisionReached, RunFile, Status, StoppedBy, Store, mark_repeated};

/// What a run is made of, for as long as it lasts.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) plan: &'a Plan,
    pub(super) home: &'a Home,
    pub(super) context: Context<'a>,
}

/// A run in progress.
pub(super) struct Run<'a> {
    pub(super) means: Means<'a>,
    pub(super) store: Store,
    pub(super) file: RunFile,
    pub(super) earlier: Option<Earlier>,
    pub(super) trace: RunTrace,
    /// The machine's limits between the rounds.
    probes: Probes<'a>,
    /// What is usual for the requests of the block.
    pub(super) watch: Watch,
    /// Until when `run.json` need not be written again.
    pause: Pause,
    /// When measuring began.
    began: Nanos,
    /// Where time is virtual: what all requests together took.
    pub(super) spent: Nanos,
    /// Rounds that make a case of the block whole; `None` while more of them may be needed.
    pub(super) goal: Option<usize>,
    /// Requests so far, and of the whole run as far as it is known.
    pub(super) done: usize,
    pub(super) total: usize,
}

/// What one request is for.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    pub(super) pass: Pass,
    pub(super) round: usize,
    pub(super) warmup: bool,
    pub(super) fresh: bool,
    /// Which set of counters is read.
    pub(super) set: usize,
}

impl Purpose {
    pub(super) const fn warm_up(number: usize) -> Self {
        Self { pass: Pass::Clean, round: number, warmup: true, fresh: number == 0, set: 0 }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(means: Means<'a>, store: Store, file: RunFile, earlier: Option<Earlier>) -> Result<Self, Error> {
        let trace = RunTrace::create(store.dir(), means.home.dir(), &means.plan.file)?;
        store.write_run(&file)?;
        let bytes = ceilings::buffer_bytes(&file.environment.processor.caches);
        let probes = Probes::new(means.plan, bytes, means.context.binary, means.home, means.context.interrupt);
        let done = earlier.as_ref().map_or(0, |earlier| earlier.requests(means.plan));
        Ok(Self {
            means,
            store,
            file,
            earlier,
            trace,
            probes,
            watch: Watch::new(None),
            pause: Pause::default(),
            began: clock::now(),
            spent: Nanos::ZERO,
            goal: None,
            done,
            total: means.plan.requests(),
        })
    }

    /// All blocks, one after the other.
    pub(super) fn everything(&mut self) -> Result<(), Error> {
        let mut first_case = 0;
        // A virtual clock begins at zero in every worker: those of the run that is resumed keep their numbers.
        let first_number = self
            .earlier
            .as_ref()
            .map_or(1, |earlier| u32::try_from(earlier.samples.len() + 1).unwrap_or(1).saturating_mul(1000));
        let plan = self.means.plan;
        for (place, block) in plan.blocks.iter().enumerate() {
            if self.means.context.interrupt.is_set() {
                break;
            }
            let left = plan.blocks.len() - place;
            let budget = plan.options.budget.map(|budget| precision::deadline(budget, self.elapsed(), left));
            let ends = Ends { rounds: plan.file.runs, wanted: plan.file.precision, deadline: budget };
            self.block(block, first_case, first_number, ends)?;
            first_case += block.cases.len();
        }
        Ok(())
    }

    /// How long the run measures already, loading and warm-up included.
    pub(super) fn elapsed(&self) -> Nanos {
        if self.means.plan.file.virtual_time { self.spent } else { clock::now().saturating_sub(self.began) }
    }

    /// Closes the files.
    pub(super) fn finish(mut self) -> Result<RunFile, Error> {
        self.once(self.probes.trouble());
        self.probes.dismiss();
        self.file.interrupted = self.means.context.interrupt.is_set();
        if !self.file.plan.virtual_time {
            self.file.throttle_events_after = environment::throttle_events_now();
        }
        self.file.finished = Some(crate::drive::rfc3339(clock::unix_time()));
        (self.means.context.analyse)(&mut self.file);
        self.trace.finish()?;
        self.store.finish(&self.file)?;
        Ok(self.file)
    }

    fn block(&mut self, block: &'a Block, first_case: usize, first_number: u32, ends: Ends) -> Result<(), Error> {
        let Means { plan, home, context } = self.means;
        let (binary, interrupt) = (context.binary, context.interrupt);
        self.goal = ends.wanted.is_none().then_some(ends.rounds);
        let mut states: Vec<_> =
            block.cases.iter().enumerate().map(|(place, case)| self.state(first_case + place, case)).collect();
        let mut crew = Crew::new(plan, block, binary, home, interrupt, first_number);
        self.watch = self.watch_of(&states);
        let anything = states.iter().any(|state| !state.over);
        if anything {
            self.probe(&mut crew, block, Moment::Before);
        }
        for seat in 0..block.seats.len() {
            self.warm_up_seat(&mut crew, block, seat, &mut states)?;
        }
        self.rounds(&mut crew, block, &mut states, ends)?;
        if anything {
            self.probe(&mut crew, block, Moment::After);
        }
        self.publish(&mut states)?;
        for name in &crew.restless {
            self.file.notes.push(format!("worker {name} used the processor while another one measured, though it was stopped: compare with a run of one engine"));
        }
        self.examine(&mut crew, block, &mut states)?;
        self.publish(&mut states)?;
        crew.dismiss();
        Ok(())
    }

    /// A watch that knows what was seen of a block before.
    fn watch_of(&self, states: &[CaseState<'_>]) -> Watch {
        let mut watch = Watch::new(MachineLoad::read().ok().map(|load| load.ticks_per_second as f64));
        states.iter().flat_map(|state| &state.case.samples).for_each(|sample| watch.see(sample));
        watch
    }

    /// The machine's limits with the thread counts of a block, while its workers stand still.
    pub(super) fn probe(&mut self, crew: &mut Crew<'_>, block: &Block, moment: Moment) {
        let threads: Vec<usize> = block.seats.iter().map(|seat| seat.threads).collect();
        if !self.means.plan.file.virtual_time && !self.means.context.interrupt.is_set() {
            let now = environment::conditions_now();
            self.file.conditions.push(Conditions { moment: moment.told(), model: block.model.name.clone(), ..now });
        }
        let probes = &mut self.probes;
        let taken = crew.while_still(|| probes.take(moment, &block.model.name, &threads));
        self.file.ceiling_probes.extend(taken);
    }

    /// A case with what an earlier run has of it.
    fn state(&self, index: usize, plan: &'a CasePlan) -> CaseState<'a> {
        let empty = self.file.cases.get(index).cloned().unwrap_or_default();
        let Some(earlier) = &self.earlier else { return CaseState::new(index, plan, empty) };
        let old = earlier.cases.iter().find(|case| case.id == plan.id);
        if let Some(done) = old.filter(|case| case.status == Status::Ok && self.is_settled(case, earlier)) {
            let mut state = CaseState::new(index, plan, done.clone());
            state.over = true;
            return state;
        }
        let of_pass = |pass: Pass| {
            earlier.samples.iter().filter(|sample| sample.case == plan.id && sample.pass == pass).cloned().collect()
        };
        let kept = old.cloned().unwrap_or_else(|| empty.clone());
        let mut case = Case {
            samples: of_pass(Pass::Clean),
            stepped: of_pass(Pass::Stepped),
            traced: of_pass(Pass::Traced),
            counted: of_pass(Pass::Counted),
            status: empty.status,
            error: empty.error,
            ..kept
        };
        mark_repeated(&mut case.samples);
        CaseState::new(index, plan, case)
    }

    /// Whether nothing more of a case is to be measured: a run that its budget ended goes on.
    fn is_settled(&self, case: &Case, earlier: &Earlier) -> bool {
        let lacks = |found: &PrecisionReached| {
            found.model == case.model && !found.reached && found.stopped_by != StoppedBy::Rounds
        };
        case.clean_samples().count() >= self.means.plan.file.runs && !earlier.precision.iter().any(lacks)
    }

    /// First requests and warm-up of every case of a worker. Where loading fails, it fails for all of them.
    fn warm_up_seat(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        seat: usize,
        states: &mut [CaseState<'_>],
    ) -> Result<(), Error> {
        let mut unloadable: Option<String> = None;
        for index in 0..states.len() {
            let Some(state) = states.get_mut(index).filter(|state| state.plan.seat == seat && !state.over) else {
                continue;
            };
            if self.means.context.interrupt.is_set() {
                return Ok(());
            }
            if let Some(reason) = &unloadable {
                state.fail(Status::Failed, reason.clone());
            } else {
                unloadable = self.warm_up(crew, block, state)?;
            }
            self.publish(states)?;
        }
        Ok(())
    }

    /// A fresh session, its first request, more until two of them are alike. Returns why it cannot be loaded.
    fn warm_up(
        &mut self,
        crew: &mut Crew<'_>,
        block: &Block,
        state: &mut CaseState<'_>,
    ) -> Result<Option<String>, Error> {
        self.tell(state);
        let loaded = match crew.load(state.plan.seat, self.trace.part())? {
            Ok(loaded) => loaded,
            Err(trouble) => return Ok(self.trouble(state, trouble)),
        };
        self.trace.take()?;
        state.case.server.clone_from(&loaded.server);
        if loaded.server.is_some()
            && !self.means.plan.options.spawn.as_ref().is_some_and(|command| command.contains("{threads}"))
        {
            let reason =
                "the server's own affair: -t is only a name here; with --spawn, {threads} in the command tells it";
            state.case.reasons.insert(record::plan::THREADS.to_owned(), reason.to_owned());
        }
        (state.sets, state.counts_events) = (loaded.counter_sets.max(1), loaded.counts_events);
        state.case.memory = memory::loaded(
            &block.model,
            self.means.plan.options.kv_type.dtype(),
            &loaded,
            self.means.plan.file.virtual_time,
        );
        if self.means.plan.file.cold && state.case.memory.load_cache.as_deref() != Some("cold") {
            let share = loaded
                .cached_share
                .map_or_else(|| "an unknown share".to_owned(), |share| format!("{:.0} %", share * 100.0));
            self.once(Some(format!(
                "{}: --cold was asked for, but {share} of the file was in the page cache: another process maps it, such as the worker of another engine or thread count; measure one at a time",
                state.plan.id
            )));
        }
        self.once(loaded.trace_error.clone());
        if !block.together {
            state.case.reasons.insert(
                "session".to_owned(),
                "reloaded in turn: memory does not suffice for all workers together".to_owned(),
            );
        }
        let (least, most) = self.means.plan.file.warmup.map_or((1, MOST_WARMUPS), |number| (number, number));
        let mut last = None;
        for number in 0..=most {
            let Some(pace) = self.request(crew, block, state, Purpose::warm_up(number))? else { return Ok(None) };
            if number >= least && is_steady(last, pace) {
                break;
            }
            last = pace;
        }
        Ok(None)
    }

    /// Writes `run.json` unless that was done a moment ago: what it costs grows with the samples, and they are on disk already.
    pub(super) fn publish_when_due(&mut self, states: &mut [CaseState<'_>]) -> Result<(), Error> {
        if self.pause.is_over() { self.publish(states) } else { Ok(()) }
    }

    /// Writes `run.json` with what there is.
    fn publish(&mut self, states: &mut [CaseState<'_>]) -> Result<(), Error> {
        let began = clock::now();
        let goal = self.goal;
        for state in states.iter_mut() {
            let count = state.case.clean_samples().count();
            if !state.over {
                let lacks = match goal {
                    None => Some(format!("not complete: {count} rounds, and --precision may ask for more")),
                    Some(goal) if count < goal => Some(format!("not complete: {count} of {goal} rounds")),
                    _ => state.due.then(|| "not complete: a disturbed request was not measured again".to_owned()),
                };
                state.case.status = if lacks.is_none() { Status::Ok } else { Status::Skipped };
                state.case.error = lacks;
            }
            if let Some(place) = self.file.cases.get_mut(state.index) {
                place.clone_from(&state.case);
            }
        }
        (self.means.context.analyse)(&mut self.file);
        self.store.write_run(&self.file)?;
        self.pause = Pause::after(began);
        Ok(())
    }
}

/// Time in which a thing is not done again: many times what it took, so that its share of the run stays small.
#[derive(Clone, Copy, Default)]
struct Pause {
    until: Nanos,
}

impl Pause {
    /// Twenty times what passed since `began`.
    fn after(began: Nanos) -> Self {
        let now = clock::now();
        Self { until: now + now.saturating_sub(began) * 20 }
    }

    fn is_over(self) -> bool {
        clock::now() >= self.until
    }
}

/// Whether two requests in a row took about the same per token.
fn is_steady(last: Option<f64>, now: Option<f64>) -> bool {
    match (last, now) {
        (Some(last), Some(now)) if last > 0.0 => ((now - last) / last).abs() <= STEADY,
        // Without tokens there is nothing to compare.
        _ => last.is_none() && now.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_means_within_five_percent() {
        assert!(is_steady(Some(1.0), Some(1.04)));
        assert!(is_steady(Some(1.0), Some(0.96)));
        assert!(!is_steady(Some(1.0), Some(0.9)));
        assert!(!is_steady(None, Some(1.0)), "one request alone says nothing");
        assert!(is_steady(None, None));
    }
}
