//! [`RunTrace`]: the trace files of a run. A worker writes a part after each request, and the main process appends it, so that
//! `trace.json` is complete at every moment.

use std::path::{Path, PathBuf};

use record::plan::{PlanFile, TraceLevel};
use record::{Case, Error};
use traces::chrome::{self, AppendError, Process, Writer};
use traces::clock;

use crate::protocol::{TracePart, TraceTargets};

/// The run's own trace file.
pub(super) const OVERVIEW: &str = "trace.json";
/// The same while the records of an earlier run are copied.
const PARTIAL: &str = "trace.json.partial";

/// Writes `trace.json`.
#[derive(Debug)]
pub(super) struct RunTrace {
    dir: PathBuf,
    part: PathBuf,
    writer: Option<Writer>,
    /// Messages about traces that cannot be read.
    notes: Vec<String>,
    level: TraceLevel,
    /// Whether there is only one case, so that everything is written to one file.
    single: bool,
    /// Which properties differ between the cases, besides their prompts.
    differ: DifferingProperties,
}

impl RunTrace {
    /// Creates the file; a resumed run keeps its records. Parts are written to `worker_folder` for a moment.
    pub(super) fn create(dir: &Path, worker_folder: &Path, plan: &PlanFile) -> Result<Self, Error> {
        let opened = if plan.trace == TraceLevel::Off { None } else { Some(open(dir, plan)?) };
        let (writer, note) = opened.unzip();
        Ok(Self {
            notes: note.flatten().into_iter().collect(),
            dir: dir.to_path_buf(),
            part: worker_folder.join("part.json"),
            writer,
            level: plan.trace,
            single: plan.cases.len() == 1,
            differ: DifferingProperties {
                engines: plan.engines.len() > 1,
                models: plan.models.len() > 1,
                threads: plan.threads.len() > 1,
                depths: plan.depths.len() > 1,
            },
        })
    }

    /// Where the trace of a request is written; `ops` is the name of the case's own file if its ops are traced.
    pub(super) fn targets(&self, ops: Option<&str>) -> TraceTargets {
        let Some(writer) = &self.writer else { return TraceTargets::default() };
        let ops_in_part = self.single && ops.is_some();
        TraceTargets {
            epoch: writer.epoch(),
            part: Some(self.part.clone()),
            ops_in_part,
            ops: ops.filter(|_| !self.single).map(|name| self.dir.join(name)),
        }
    }

    /// Where the trace of loading is written.
    pub(super) fn part(&self) -> Option<TracePart> {
        self.writer.as_ref().map(|writer| TracePart { path: self.part.clone(), epoch: writer.epoch() })
    }

    /// The name of the file with a case's ops: `trace.json` if there is one case, else such as
    /// `trace-03-mock-t2-d1024-hello.json`, with the properties that differ between the cases.
    pub(super) fn name(&self, index: usize, case: &Case) -> Option<String> {
        if self.level != TraceLevel::Ops {
            return None;
        }
        Some(if self.single { OVERVIEW.to_owned() } else { self.differ.name(index, case) })
    }

    /// Appends the part that a worker has just written, if there is one.
    pub(super) fn take_over_part(&mut self) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if !self.part.exists() {
            return Ok(());
        }
        match writer.append(&self.part) {
            Ok(_) => {}
            // A worker that was killed leaves a part that may be of any form.
            Err(AppendError::Read(_) | AppendError::EpochsDiffer { .. }) => {
                self.notes.push("the trace lacks a request whose worker ended while it wrote its part".to_owned());
            }
            Err(error @ AppendError::Write(_)) => {
                return Err(Error::Trace { path: self.dir.join(OVERVIEW), problem: error.to_string() });
            }
        }
        std::fs::remove_file(&self.part).map_err(Error::file(&self.part, "remove"))
    }

    /// The messages about traces that cannot be read, each once.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Closes the file.
    pub(super) fn finish(self) -> Result<(), Error> {
        let path = self.dir.join(OVERVIEW);
        let Some(writer) = self.writer else { return Ok(()) };
        writer.finish().map(|_| ()).map_err(|error| Error::Trace { path, problem: error.to_string() })
    }
}

/// Which properties differ between the cases of a run.
#[derive(Debug, Clone, Copy)]
struct DifferingProperties {
    engines: bool,
    models: bool,
    threads: bool,
    depths: bool,
}

impl DifferingProperties {
    fn name(self, index: usize, case: &Case) -> String {
        let parts = [
            self.engines.then(|| case.engine.clone()),
            self.models.then(|| case.model.clone()),
            self.threads.then(|| format!("t{}", case.threads)),
            self.depths.then(|| format!("d{}", case.depth)),
            Some(case.prompt.clone()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = parts.join("-").chars().map(plain).collect();
        format!("trace-{:02}-{name}.json", index + 1)
    }
}

/// Opens the trace of a run. The one of a run that is resumed is continued: another file gets its records and then its name, so that they
/// are there at every moment. Returns the file, and a message if the earlier one cannot be continued.
fn open(dir: &Path, plan: &PlanFile) -> Result<(Writer, Option<String>), Error> {
    let path = dir.join(OVERVIEW);
    let partial = dir.join(PARTIAL);
    let fail = |problem: String| Error::Trace { path: path.clone(), problem };
    let now = clock::now();
    // A resumed run keeps its time axis.
    let earlier = path.exists().then(|| chrome::read(&path).and_then(|trace| trace.axis()));
    // A clock that is earlier than the epoch was reset with the machine, so the two time axes are unrelated. A trace without events has no
    // axis.
    let epoch = match &earlier {
        Some(Ok(Some(axis))) if axis.epoch <= now => Some(axis.epoch),
        _ => None,
    };
    let mut note = None;
    if earlier.is_some() && epoch.is_none() {
        let kept =
            free_name(dir, if matches!(earlier, Some(Err(_))) { "trace-damaged" } else { "trace-before-restart" });
        std::fs::rename(&path, dir.join(&kept)).map_err(Error::file(&path, "rename"))?;
        if let Some(Err(error)) = earlier {
            note = Some(format!("{error}; the file is kept as {kept}, and {OVERVIEW} begins anew"));
        }
    }
    // A real process id would differ from run to run.
    let pid = if plan.virtual_time { 1 } else { std::process::id() };
    let process = Process { pid, name: "inferometer".to_owned() };
    let mut writer = Writer::since(epoch.unwrap_or(now), &partial, process).map_err(|error| fail(error.to_string()))?;
    if epoch.is_some() {
        writer.append(&path).map_err(|error| fail(error.to_string()))?;
    }
    writer.rename(&path).map_err(|error| fail(error.to_string()))?;
    Ok((writer, note))
}

/// The name of a new file in the run folder.
fn free_name(dir: &Path, name: &str) -> String {
    let numbered = (2_u64..).map(|number| format!("{name}-{number}.json"));
    let mut names = std::iter::once(format!("{name}.json")).chain(numbered);
    // There are more numbers than files.
    names.find(|name| !dir.join(name).exists()).unwrap_or_else(|| format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contain_the_properties_that_differ() {
        let case = Case {
            engine: "mock:slow".to_owned(),
            model: "smollm2-135m".to_owned(),
            prompt: "a/b".to_owned(),
            threads: 2,
            depth: 1024,
            ..Case::default()
        };
        let none = DifferingProperties { engines: false, models: false, threads: false, depths: false };
        assert_eq!(none.name(0, &case), "trace-01-a_b.json");
        assert_eq!(
            DifferingProperties { engines: true, depths: true, ..none }.name(1, &case),
            "trace-02-mock_slow-d1024-a_b.json"
        );
        let all = DifferingProperties { engines: true, models: true, threads: true, depths: true };
        assert_eq!(all.name(11, &case), "trace-12-mock_slow-smollm2-135m-t2-d1024-a_b.json");
    }
}
