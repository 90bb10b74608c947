//! `journal.jsonl`: what a run has measured, in its order. It is only appended to, and every other file of a run follows from it.
//!
//! Each line is an [`Entry`], written before the next request begins. [`replay`] makes the record from the lines, so that a run that
//! ended at any moment has all that was measured.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    Case, CeilingProbe, ConditionsAt, Error, Examination, Pass, PassFigures, PrecisionReached, RecordedList, RunFile,
    Sample, Status, files, json_lines, mark_repeated,
};

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The whole run with all of its cases. The first line.
    Run(Box<RunFile>),
    /// The fields of the run besides its cases, as they are when it is continued or ends.
    Fields(Box<RunFile>),
    /// A case got a fresh session.
    Session {
        /// The id of the case.
        case: String,
        /// Sets of counters; each takes a stepped request of its own.
        counter_sets: usize,
        /// Whether any event is counted.
        counts_events: bool,
    },
    /// A request was measured.
    Request {
        /// Its sample, which names the case.
        sample: Box<Sample>,
        /// What its pass gives besides; absent in the clean pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        figures: Option<Box<PassFigures>>,
        /// The case without its samples, if anything of it changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        case: Option<Box<Case>>,
    },
    /// Something of a case changed without a request: the case without its samples.
    Case(Box<Case>),
    /// A case has another status.
    Status {
        /// The id of the case.
        case: String,
        /// The status.
        status: Status,
        /// Why it is not complete.
        error: Option<String>,
    },
    /// The machine between two rounds.
    Conditions(Box<ConditionsAt>),
    /// The machine's ceilings between two rounds.
    Probes(Vec<CeilingProbe>),
    /// A message of the run.
    Message(String),
    /// The most likely tokens of an engine in the passage.
    Examination(Box<Examination>),
    /// The precision of the cases of a model, which replaces an earlier one.
    Precision {
        /// The model.
        model: String,
        /// One per difference.
        reached: Vec<PrecisionReached>,
    },
}

/// The sets of counters of a case's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Sets of counters; each takes a stepped request of its own.
    pub counter_sets: usize,
    /// Whether any event is counted.
    pub counts_events: bool,
}

/// What a journal holds.
#[derive(Debug)]
pub struct Journalled {
    /// The record, without findings.
    pub file: RunFile,
    /// The requests of the stepped, the traced and the counted pass with their figures, in their order, by case.
    pub requests: HashMap<String, Vec<(Sample, PassFigures)>>,
    /// The last session of each case that had one.
    pub sessions: HashMap<String, Session>,
}

impl Journalled {
    /// Of a folder without a journal.
    pub(super) fn of(file: RunFile) -> Self {
        Self { file, requests: HashMap::new(), sessions: HashMap::new() }
    }
}

/// What of the lines is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The record.
    File,
    /// Also the figures of each request, to continue the run.
    Requests,
}

/// Reads the journal of a run folder; `None` where there is none, or where it has no first line. Lines that cannot be read are left
/// out, with a message in the record.
pub(super) fn replay(dir: &Path, keep: Keep) -> Result<Option<Journalled>, Error> {
    let path = dir.join(files::JOURNAL);
    if !path.exists() {
        return Ok(None);
    }
    let mut found: Option<Replay> = None;
    let damaged = json_lines::read(&path, |entry: Entry| match (&mut found, entry) {
        (found @ None, Entry::Run(file)) => *found = Some(Replay::new(*file, keep)),
        (Some(replay), entry) => replay.add(entry),
        (None, _) => {}
    })?;
    Ok(found.map(|replay| replay.finish(json_lines::about_damaged(files::JOURNAL, &damaged))))
}

/// The samples of a journal's requests, in their order.
pub(super) fn for_each_sample(dir: &Path, mut each: impl FnMut(&Sample)) -> Result<(), Error> {
    let request = |entry: Entry| {
        if let Entry::Request { sample, .. } = entry {
            each(&sample);
        }
    };
    json_lines::read(&dir.join(files::JOURNAL), request).map(drop)
}

/// A record that is made from the lines of a journal.
struct Replay {
    keep: Keep,
    /// Index in the record by the id of a case.
    cases: HashMap<String, usize>,
    journalled: Journalled,
}

impl Replay {
    fn new(file: RunFile, keep: Keep) -> Self {
        let cases = file.cases.iter().enumerate().map(|(index, case)| (case.id.clone(), index)).collect();
        Self { keep, cases, journalled: Journalled::of(file) }
    }

    fn case(&mut self, id: &str) -> Option<&mut Case> {
        self.cases.get(id).and_then(|&index| self.journalled.file.cases.get_mut(index))
    }

    fn add(&mut self, entry: Entry) {
        let file = &mut self.journalled.file;
        match entry {
            // Only the first one counts.
            Entry::Run(_) => {}
            Entry::Fields(fields) => {
                let cases = std::mem::take(&mut file.cases);
                *file = RunFile { cases, ..*fields };
            }
            Entry::Session { case, counter_sets, counts_events } => {
                self.journalled.sessions.insert(case, Session { counter_sets, counts_events });
            }
            Entry::Request { sample, figures, case } => {
                if let Some(rows) = case {
                    self.set_rows(*rows);
                }
                if let Some(case) = self.case(&sample.case) {
                    case.samples_mut(sample.pass).push((*sample).clone());
                    if let Some(figures) = figures.filter(|_| self.keep == Keep::Requests) {
                        self.journalled.requests.entry(sample.case.clone()).or_default().push((*sample, *figures));
                    }
                }
            }
            Entry::Case(rows) => self.set_rows(*rows),
            Entry::Status { case, status, error } => {
                if let Some(case) = self.case(&case) {
                    (case.status, case.error) = (status, error);
                }
            }
            Entry::Conditions(conditions) => file.conditions.push(*conditions),
            Entry::Probes(probes) => file.ceiling_probes.extend(probes),
            Entry::Message(message) => file.messages.push(message),
            Entry::Examination(examination) => file.set_examination(*examination),
            Entry::Precision { model, reached } => file.set_precision(&model, reached),
        }
    }

    /// Replaces a case except for its samples and its status.
    fn set_rows(&mut self, rows: Case) {
        let Some(case) = self.case(&rows.id) else { return };
        let samples = Pass::ALL.map(|pass| std::mem::take(case.samples_mut(pass)));
        let (status, error) = (case.status, case.error.take());
        *case = Case { status, error, ..rows };
        for (pass, samples) in Pass::ALL.into_iter().zip(samples) {
            *case.samples_mut(pass) = samples;
        }
    }

    fn finish(self, damaged: Option<String>) -> Journalled {
        let mut journalled = self.journalled;
        journalled.file.cases.iter_mut().for_each(|case| mark_repeated(&mut case.samples));
        journalled.file.messages.extend(damaged);
        journalled
    }
}

impl Case {
    /// The requests of a pass.
    pub fn samples_mut(&mut self, pass: Pass) -> &mut Vec<Sample> {
        match pass {
            Pass::Clean => &mut self.samples,
            Pass::Stepped => &mut self.stepped,
            Pass::Traced => &mut self.traced,
            Pass::Counted => &mut self.counted,
        }
    }

    /// The case without its samples and its status, which the journal has in entries of their own.
    #[must_use]
    pub fn rows(&mut self) -> Self {
        let samples = Pass::ALL.map(|pass| std::mem::take(self.samples_mut(pass)));
        let rows = Self { status: Status::default(), error: None, ..self.clone() };
        for (pass, samples) in Pass::ALL.into_iter().zip(samples) {
            *self.samples_mut(pass) = samples;
        }
        rows
    }
}

impl RunFile {
    /// Adds an examination, or replaces the one of the same engine, model and thread count.
    pub fn set_examination(&mut self, examination: Examination) {
        let of = |one: &Examination| (one.engine.clone(), one.model.clone(), one.threads);
        let its = of(&examination);
        self.examinations.retain(|known| of(known) != its);
        self.examinations.push(examination);
    }

    /// Replaces the precision of a model.
    pub fn set_precision(&mut self, model: &str, reached: Vec<PrecisionReached>) {
        self.precision.retain(|one| one.model != model);
        self.precision.extend(reached);
    }

    /// The run besides its cases, without findings.
    pub(super) fn besides_cases(&self) -> Self {
        let mut file = Self {
            schema_version: self.schema_version,
            name: self.name.clone(),
            tool: self.tool.clone(),
            command_line: self.command_line.clone(),
            started: self.started.clone(),
            finished: self.finished.clone(),
            interrupted: self.interrupted,
            environment: self.environment.clone(),
            plan: self.plan.clone(),
            ceilings: self.ceilings.clone(),
            ceiling_probes: self.ceiling_probes.clone(),
            conditions: self.conditions.clone(),
            examinations: self.examinations.clone(),
            precision: self.precision.clone(),
            messages: self.messages.clone(),
            throttle_events_after: self.throttle_events_after.clone(),
            ..Self::default()
        };
        file.what_if = RecordedList::absent("not estimated yet");
        file
    }
}
