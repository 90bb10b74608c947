//! The run's trace files. Workers write parts after each request; the main process takes them over, so that `trace.json` is
//! whole at every moment.

use std::path::{Path, PathBuf};

use traces::chrome::{self, Process, Writer};
use traces::clock;

use crate::worker::{PartFile, TraceTo};
use record::Case;
use record::Error;
use record::plan::{PlanFile, TraceLevel};

/// The run's own trace file.
pub(super) const OVERVIEW: &str = "trace.json";

/// Writes `trace.json`.
#[derive(Debug)]
pub(super) struct RunTrace {
    dir: PathBuf,
    part: PathBuf,
    writer: Option<Writer>,
    level: TraceLevel,
    /// One case: everything goes into one file.
    single: bool,
    /// What tells the run's cases apart beside their prompts.
    differ: Differ,
}

impl RunTrace {
    /// Makes the file; of a resumed run the records that are there are taken over. `home` is where parts lie for a moment.
    pub(super) fn create(dir: &Path, home: &Path, plan: &PlanFile) -> Result<Self, Error> {
        let writer = if plan.trace == TraceLevel::Off { None } else { Some(open(dir, plan)?) };
        Ok(Self {
            dir: dir.to_path_buf(),
            part: home.join("part.json"),
            writer,
            level: plan.trace,
            single: plan.cases.len() == 1,
            differ: Differ {
                engines: plan.engines.len() > 1,
                models: plan.models.len() > 1,
                threads: plan.threads.len() > 1,
                depths: plan.depths.len() > 1,
            },
        })
    }

    /// Where a request's trace goes; `ops` names the case's own file where its ops are wanted.
    pub(super) fn target(&self, ops: Option<&str>) -> TraceTo {
        let Some(writer) = &self.writer else { return TraceTo::default() };
        let ops_in_part = self.single && ops.is_some();
        TraceTo {
            epoch: writer.epoch(),
            part: Some(self.part.clone()),
            ops_in_part,
            ops: ops.filter(|_| !self.single).map(|name| self.dir.join(name)),
        }
    }

    /// Where the trace of a loading goes.
    pub(super) fn part(&self) -> Option<PartFile> {
        self.writer.as_ref().map(|writer| PartFile { path: self.part.clone(), epoch: writer.epoch() })
    }

    /// Name of the file with a case's ops: `trace.json` itself where there is one case, else such as
    /// `trace-03-mock-t2-d1024-hello.json`, with what tells the cases of the run apart.
    pub(super) fn name(&self, index: usize, case: &Case) -> Option<String> {
        if self.level != TraceLevel::Ops {
            return None;
        }
        Some(if self.single { OVERVIEW.to_owned() } else { self.differ.name(index, case) })
    }

    /// Takes over what a worker has just written, if it has.
    pub(super) fn take(&mut self) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if !self.part.exists() {
            return Ok(());
        }
        let fail = |problem: String| Error::Trace { path: self.dir.join(OVERVIEW), problem };
        writer.append(&self.part).map_err(|error| fail(error.to_string()))?;
        std::fs::remove_file(&self.part).map_err(Error::file(&self.part, "remove"))
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
struct Differ {
    engines: bool,
    models: bool,
    threads: bool,
    depths: bool,
}

impl Differ {
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

/// The files of a resumed run that come from before the machine was started again.
const BEFORE: &str = "trace-before-restart.json";

fn open(dir: &Path, plan: &PlanFile) -> Result<Writer, Error> {
    let path = dir.join(OVERVIEW);
    let old = dir.join("trace.json.old");
    let fail = |problem: String| Error::Trace { path: path.clone(), problem };
    let now = clock::now();
    // A resumed run goes on on the axis that it has.
    let mut epoch = None;
    if path.exists() {
        let read = || chrome::read(&path)?.axis();
        epoch = Some(read().map_err(|error| fail(error.to_string()))?.unwrap_or_default().epoch);
        // A clock that lies before it began anew with the machine: the two axes have nothing to do with each other.
        let keep = if epoch.is_some_and(|epoch| epoch <= now) { &old } else { &dir.join(BEFORE) };
        std::fs::rename(&path, keep).map_err(Error::file(&path, "rename"))?;
        epoch = epoch.filter(|_| *keep == old);
    }
    // A real number would differ from run to run.
    let pid = if plan.virtual_time { 1 } else { std::process::id() };
    let process = Process { pid, name: "inferometer".to_owned() };
    let mut writer = Writer::since(epoch.unwrap_or(now), &path, process).map_err(|error| fail(error.to_string()))?;
    if epoch.is_some() {
        writer.append(&old).map_err(|error| fail(error.to_string()))?;
        std::fs::remove_file(&old).map_err(Error::file(&old, "remove"))?;
    }
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_tells_the_cases_apart() {
        let case = Case {
            engine: "mock:slow".to_owned(),
            model: "smollm2-135m".to_owned(),
            prompt: "a/b".to_owned(),
            threads: 2,
            depth: 1024,
            ..Case::default()
        };
        let none = Differ { engines: false, models: false, threads: false, depths: false };
        assert_eq!(none.name(0, &case), "trace-01-a_b.json");
        assert_eq!(Differ { engines: true, depths: true, ..none }.name(1, &case), "trace-02-mock_slow-d1024-a_b.json");
        let all = Differ { engines: true, models: true, threads: true, depths: true };
        assert_eq!(all.name(11, &case), "trace-12-mock_slow-smollm2-135m-t2-d1024-a_b.json");
    }
}
