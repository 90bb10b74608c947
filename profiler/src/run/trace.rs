//! The run's trace files. Workers write parts after each request; the main process takes them over, so that `trace.json` is
//! whole at every moment.

use std::path::{Path, PathBuf};

use traces::chrome::{Process, Writer};

use crate::Error;
use crate::plan::{PlanFile, TraceLevel};
use crate::worker::TraceTo;

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
        })
    }

    /// Where a request's trace goes; `ops` names the case's own file where its ops are wanted.
    pub(super) fn target(&self, ops: Option<&str>) -> TraceTo {
        if self.writer.is_none() {
            return TraceTo::default();
        }
        let ops_in_part = self.single && ops.is_some();
        TraceTo {
            part: Some(self.part.clone()),
            ops_in_part,
            ops: ops.filter(|_| !self.single).map(|name| self.dir.join(name)),
        }
    }

    /// Where the trace of a loading goes.
    pub(super) fn part(&self) -> Option<PathBuf> {
        self.writer.is_some().then(|| self.part.clone())
    }

    /// Name of the file with a case's ops: `trace.json` itself where there is one case.
    pub(super) fn name(&self, index: usize, prompt: &str) -> Option<String> {
        if self.level != TraceLevel::Ops {
            return None;
        }
        let plain: String =
            prompt.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
        Some(if self.single { OVERVIEW.to_owned() } else { format!("trace-{:02}-{plain}.json", index + 1) })
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

fn open(dir: &Path, plan: &PlanFile) -> Result<Writer, Error> {
    let path = dir.join(OVERVIEW);
    let old = dir.join("trace.json.old");
    let fail = |problem: String| Error::Trace { path: path.clone(), problem };
    let resumed = path.exists();
    if resumed {
        std::fs::rename(&path, &old).map_err(Error::file(&path, "rename"))?;
    }
    // A real number would differ from run to run.
    let pid = if plan.virtual_time { 1 } else { std::process::id() };
    let mut writer = Writer::create(&path, Process { pid, name: "inferometer".to_owned() })
        .map_err(|error| fail(error.to_string()))?;
    if resumed {
        writer.append(&old).map_err(|error| fail(error.to_string()))?;
        std::fs::remove_file(&old).map_err(Error::file(&old, "remove"))?;
    }
    Ok(writer)
}
