//! The workers of a block: started when needed, loaded, asked one at a time while the others stand still.

use std::path::Path;

use models::Bytes;
use traces::Nanos;

use super::Interrupt;
use crate::plan::{Block, Plan};
use crate::worker::{
    Fallen, FromWorker, Home, Load, Loaded, Open, Order, PartFile, ToWorker, Worker, thread_environment,
};
use record::Error;

/// Why a question has no answer, as a row tells it.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The case failed: the text.
    Failed(String),
    /// It took too long: the text.
    Timeout(String),
    /// The run is to end.
    Interrupted,
}

/// The workers of one block.
pub(super) struct Crew<'a> {
    plan: &'a Plan,
    block: &'a Block,
    binary: &'a Path,
    home: &'a Home,
    interrupt: &'a Interrupt,
    /// Added to a worker's place in its home it is its number in traces where time is virtual.
    first_number: u32,
    seats: Vec<Chair>,
    /// Workers that used the processor while another one measured.
    pub(super) restless: Vec<String>,
}

/// A seat with or without its worker.
#[derive(Default)]
struct Chair {
    worker: Option<Worker>,
    loaded: bool,
}

impl<'a> Crew<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        block: &'a Block,
        binary: &'a Path,
        home: &'a Home,
        interrupt: &'a Interrupt,
        first_number: u32,
    ) -> Self {
        let seats = block.seats.iter().map(|_| Chair::default()).collect();
        Self { plan, block, binary, home, interrupt, first_number, seats, restless: Vec::new() }
    }

    /// Whether a seat's worker is alive with a session.
    pub(super) fn is_loaded(&self, seat: usize) -> bool {
        self.seats.get(seat).is_some_and(|chair| chair.worker.is_some() && chair.loaded)
    }

    /// Engine, model and threads of a seat.
    pub(super) fn name(&self, seat: usize) -> String {
        let Some(seat) = self.block.seats.get(seat) else { return String::new() };
        let engine = self.plan.engines.get(seat.engine).map_or("", |engine| engine.label.as_str());
        format!("{engine}/{}/t{}", self.block.model.name, seat.threads)
    }

    /// Makes a fresh session in a fresh process: what an earlier session left behind (grown heaps, touched pages) would
    /// make the first request of this one look smaller. Where memory does not suffice for all workers, the others end first.
    pub(super) fn load(&mut self, seat: usize, part: Option<PartFile>) -> Result<Result<Loaded, Trouble>, Error> {
        for (other, chair) in self.seats.iter_mut().enumerate() {
            let ends = if other == seat { chair.loaded } else { !self.block.together };
            if ends && let Some(worker) = chair.worker.take() {
                worker.quit();
                chair.loaded = false;
            }
        }
        if let Err(trouble) = self.start(seat)? {
            return Ok(Err(trouble));
        }
        let question = ToWorker::Load(self.load_question(seat, part));
        Ok(match self.ask(seat, &question, None) {
            Ok(FromWorker::Loaded(loaded)) => {
                if let Some(chair) = self.seats.get_mut(seat) {
                    chair.loaded = true;
                }
                Ok(*loaded)
            }
            Ok(FromWorker::Failed(failure)) => {
                if let Some(chair) = self.seats.get_mut(seat) {
                    chair.loaded = false;
                }
                Err(Trouble::Failed(format!("loading failed: {}", failure.text)))
            }
            Ok(_) => Err(self.confused(seat)),
            Err(Trouble::Failed(text)) => Err(Trouble::Failed(format!("loading failed: {text}"))),
            Err(trouble) => Err(trouble),
        })
    }

    fn load_question(&self, seat: usize, part: Option<PartFile>) -> Load {
        let (options, model) = (&self.plan.options, &self.block.model);
        let chosen = self.block.seats.get(seat);
        let engine = chosen.and_then(|seat| self.plan.engines.get(seat.engine));
        let weights = model.weights.as_ref();
        let threads = chosen.map_or(1, |seat| seat.threads);
        let mut given = engine.map(|engine| options.of_engine(engine, threads, model.context)).unwrap_or_default();
        if weights.is_none() && !model.reference.is_empty() {
            given.settings.entry("model".to_owned()).or_insert_with(|| model.reference.clone());
        }
        Load {
            path: weights.map(|weights| weights.path.clone()).unwrap_or_default(),
            files: weights.map(|weights| weights.files.clone()).unwrap_or_default(),
            options: given,
            pid: options.pid,
            cold: options.cold,
            marks_per_thread: model.marks_per_thread(),
            end_tokens: model.end_tokens.clone(),
            window: weights.and_then(|weights| weights.window),
            part,
        }
    }

    /// Starts a seat's worker unless it is alive.
    fn start(&mut self, seat: usize) -> Result<Result<(), Trouble>, Error> {
        let name = self.name(seat);
        let Some(&place) = self.block.seats.get(seat) else { return Ok(Ok(())) };
        let Some(engine) = self.plan.engines.get(place.engine) else { return Ok(Ok(())) };
        if self.seats.get(seat).is_some_and(|chair| chair.worker.is_some()) {
            return Ok(Ok(()));
        }
        let order = Order {
            name: name.clone(),
            binary: self.binary.to_path_buf(),
            environment: thread_environment(&engine.caps, place.threads),
        };
        let worker = Worker::start(&order, self.home)?;
        if let Some(chair) = self.seats.get_mut(seat) {
            *chair = Chair { worker: Some(worker), ..Chair::default() };
        }
        let open = ToWorker::Open(Open {
            engine: engine.engine.clone(),
            counters: self.plan.file.counters.clone(),
            title: name,
            number: self.first_number.saturating_add(self.home.started()),
        });
        Ok(match self.ask(seat, &open, None) {
            Ok(FromWorker::Opened(_)) => Ok(()),
            Ok(FromWorker::Failed(failure)) => Err(Trouble::Failed(failure.text)),
            Ok(_) => Err(self.confused(seat)),
            Err(trouble) => Err(trouble),
        })
    }

    /// Asks one worker while the others stand still. A worker that died leaves its seat empty.
    pub(super) fn ask(
        &mut self,
        seat: usize,
        question: &ToWorker,
        limit: Option<Nanos>,
    ) -> Result<FromWorker, Trouble> {
        let before = self.quiet(Some(seat));
        let name = self.name(seat);
        let interrupt = self.interrupt;
        let Some(worker) = self.seats.get_mut(seat).and_then(|chair| chair.worker.as_mut()) else {
            return Err(Trouble::Failed(format!("worker of {name}: is not there")));
        };
        let answer = worker.ask(question, limit, interrupt);
        self.check_quiet(&before);
        let fallen = match answer {
            Ok(answer) => return Ok(answer),
            Err(fallen) => fallen,
        };
        if let Some(chair) = self.seats.get_mut(seat) {
            chair.loaded = false;
            match chair.worker.take() {
                // What it has outside of itself (a server, an instance that was placed) goes with it in good order.
                Some(worker) if matches!(fallen, Fallen::Interrupted) => worker.quit(),
                worker => drop(worker),
            }
        }
        Err(match fallen {
            Fallen::Died(death) => Trouble::Failed(format!("the worker {}", death.text())),
            Fallen::Timeout(death) => Trouble::Timeout(timed_out(limit, &death)),
            Fallen::Interrupted => Trouble::Interrupted,
            Fallen::Confused(text) => Trouble::Failed(format!("the worker {text}")),
        })
    }

    /// Does something else while all workers stand still.
    pub(super) fn while_still<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = self.quiet(None);
        let done = work();
        self.check_quiet(&before);
        done
    }

    /// Stops all workers but one; returns their CPU time.
    fn quiet(&mut self, seat: Option<usize>) -> Vec<(usize, u64)> {
        let mut ticks = Vec::new();
        for (other, chair) in self.seats.iter_mut().enumerate() {
            if Some(other) != seat
                && let Some(worker) = &mut chair.worker
            {
                worker.pause();
                ticks.extend(worker.cpu_ticks().map(|ticks| (other, ticks)));
            }
        }
        ticks
    }

    /// A stopped worker must not have used the processor.
    fn check_quiet(&mut self, before: &[(usize, u64)]) {
        for &(seat, ticks) in before {
            let now = self.seats.get(seat).and_then(|chair| chair.worker.as_ref()).and_then(Worker::cpu_ticks);
            let name = self.name(seat);
            if now.is_some_and(|now| now != ticks) && !self.restless.contains(&name) {
                self.restless.push(name);
            }
        }
    }

    /// An answer that does not fit the question: the worker cannot be trusted any more.
    pub(super) fn confused(&mut self, seat: usize) -> Trouble {
        if let Some(chair) = self.seats.get_mut(seat) {
            chair.worker = None;
            chair.loaded = false;
        }
        Trouble::Failed("the worker gave an answer to another question: please report this as a bug".to_owned())
    }

    /// Ends all workers in good order.
    pub(super) fn dismiss(self) {
        for worker in self.seats.into_iter().filter_map(|chair| chair.worker) {
            worker.quit();
        }
    }
}

fn timed_out(limit: Option<Nanos>, death: &crate::worker::Death) -> String {
    let limit = limit.map_or_else(String::new, |limit| format!(" {} s", limit.as_secs_f64()));
    let phase = death.phase.map_or("between its phases", engine_api::Phase::name);
    let peak = death.peak.map_or_else(String::new, |peak| format!("; peak memory {}", Bytes(peak)));
    format!("the request took longer than --timeout{limit} and was ended in phase {phase}{peak}")
}
