//! [`ThreadWork`]: how long each thread of the engine was busy while work was shared.
//!
//! ```text
//!   q_proj      |--- requests ---|   |-- requests --|           busy: the time of a thread's marks
//!                |- candle-bp-0 -|    |--- candle-bp-0 ---|     shared: from the begin of the first mark to the end of the last,
//!   shared      |----------------|   |--------------------|             without the times at which no thread has a mark
//! ```

use std::collections::{BTreeMap, BTreeSet};

use ::record::WorkerRow;
use engine_api::Phase;
use traces::Nanos;
use traces::record::{Batch, Category, Kind};

use super::ops::phase_at;
use super::timing::PhaseSpan;

/// The name of the thread that runs requests, in results and traces.
pub(crate) const REQUEST_THREAD: &str = "requests";

/// Sums of the shared work of a request. They are added in batches, as its ops are.
#[derive(Debug, Clone, Default)]
pub(crate) struct ThreadWork {
    names: BTreeMap<u32, String>,
    busy: BTreeMap<(Phase, u32), Nanos>,
    shared: BTreeMap<Phase, Nanos>,
    /// The thread that marks the ops.
    caller: Option<u32>,
}

impl ThreadWork {
    /// Adds the work that was recorded during these phases.
    pub(crate) fn add(&mut self, batch: &Batch, phases: &[PhaseSpan]) {
        self.caller = self.caller.or_else(|| batch.of(Kind::Op).next().map(|op| op.tid));
        // Shared work before this time is counted. Marks are in the order of their begins.
        let mut counted = Nanos::ZERO;
        for mark in batch.of(Kind::Span).filter(|span| span.category == Category::Work) {
            let Some(phase) = phase_at(phases, mark.start) else { continue };
            let busy = self.busy.entry((phase, mark.tid)).or_default();
            *busy = busy.saturating_add(mark.duration);
            let shared = self.shared.entry(phase).or_default();
            *shared = shared.saturating_add(mark.end().saturating_sub(mark.start.max(counted)));
            counted = counted.max(mark.end());
            if let Some(thread) = batch.threads.iter().find(|thread| thread.tid == mark.tid) {
                self.names.entry(mark.tid).or_insert_with(|| thread.name.clone());
            }
        }
    }

    /// A row per phase and thread: every thread that worked in the request has a row for every phase with shared work.
    pub(crate) fn rows(&self) -> Vec<WorkerRow> {
        let tids: BTreeSet<u32> = self.busy.keys().map(|(_, tid)| *tid).collect();
        let mut threads: Vec<(u32, String)> = tids.into_iter().map(|tid| (tid, self.name(tid))).collect();
        // Thread ids differ from run to run; names do not.
        threads.sort_by(|a, b| (Some(a.0) != self.caller, &a.1, a.0).cmp(&(Some(b.0) != self.caller, &b.1, b.0)));
        make_unique(&mut threads);
        let mut rows = Vec::new();
        for (&phase, &shared) in &self.shared {
            for (tid, name) in &threads {
                let busy_s = self.busy.get(&(phase, *tid)).copied().unwrap_or_default().as_secs_f64();
                let share = if shared > Nanos::ZERO { busy_s / shared.as_secs_f64() } else { 1.0 };
                // A mark that extends into the next phase belongs to the phase in which it began, so the share may exceed 1.
                let idle_share = (1.0 - share).max(0.0);
                rows.push(WorkerRow { phase: phase.into(), thread: name.clone(), busy_s, idle_share });
            }
        }
        rows
    }

    fn name(&self, tid: u32) -> String {
        if Some(tid) == self.caller {
            return REQUEST_THREAD.to_owned();
        }
        self.names.get(&tid).cloned().unwrap_or_else(|| format!("thread {tid}"))
    }
}

/// Adds a number to the second and further threads with the same name.
fn make_unique(threads: &mut [(u32, String)]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (_, name) in threads {
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            *name = format!("{name} {count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use traces::record::{Args, Bins, Event, Thread};

    use super::*;

    fn event(kind: Kind, category: Category, tid: u32, start: u64, duration: u64) -> Event {
        Event {
            kind,
            category,
            name: "q_proj",
            tid,
            start: Nanos(start),
            duration: Nanos(duration),
            layer: None,
            shape: [0; 3],
            args: Args::default(),
            bins: Bins::default(),
        }
    }

    #[test]
    fn a_thread_is_idle_while_only_others_work() {
        let work = |tid, start, duration| event(Kind::Span, Category::Work, tid, start, duration);
        let thread = |tid: u32, name: &str| Thread { tid, name: name.to_owned() };
        let phases = [
            PhaseSpan { phase: Phase::Prefill, start: Nanos(0), end: Nanos(1_000) },
            PhaseSpan { phase: Phase::Decode, start: Nanos(2_000), end: Nanos(3_000) },
        ];
        let batch = Batch {
            events: vec![
                event(Kind::Op, Category::Op, 9, 0, 450),
                // 100..400 is shared: one thread works 300 of it, the other 200.
                work(9, 100, 300),
                work(7, 150, 200),
                // 500..600: one thread alone.
                work(9, 500, 100),
                work(8, 2_100, 100),
                // Between phases.
                work(8, 3_100, 100),
            ],
            threads: vec![thread(9, "main"), thread(7, "pool"), thread(8, "pool")],
            dropped: 0,
        };
        let mut sums = ThreadWork::default();
        sums.add(&batch, &phases);
        sums.add(&Batch::default(), &[]);
        let rows = sums.rows();
        let found: Vec<_> = rows
            .iter()
            .map(|row| format!("{} {} {:.0} {:.2}", row.phase, row.thread, row.busy_s * 1e9, row.idle_share))
            .collect();
        assert_eq!(
            found,
            [
                "prefill requests 400 0.00",
                "prefill pool 200 0.50",
                "prefill pool 2 0 1.00",
                "decode requests 0 1.00",
                "decode pool 0 1.00",
                "decode pool 2 100 0.00",
            ]
        );
        assert_eq!(ThreadWork::default().rows(), []);
    }
}
