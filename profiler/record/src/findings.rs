//! What follows from the measurements of a run. A run file contains both; [`RunFile::set_findings`] writes the findings into it.
//!
//! The wire form has each finding beside the measurements that it follows from, with `null` and a reason where it is absent. Here
//! the findings are apart, so that a function from measurements to findings cannot depend on earlier findings by accident.

use std::collections::BTreeMap;

use super::{
    AuditFinding, Case, DepthLaw, EnergyRow, GroupVerdict, OpRow, PhaseSum, ProbeEffect, Reason, Recorded,
    RecordedList, Roof, RunFile, Series, Slope, Summary, Verdict, WhatIf,
};

/// Everything that follows from the measurements of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// Averages over the prompts.
    pub summaries: Vec<Summary>,
    /// The cost of the instruments, one entry for each case with samples.
    pub probes: Vec<ProbeEffect>,
    /// The time of a token against the context.
    pub depth_laws: Vec<DepthLaw>,
    /// The verdicts over all prompts.
    pub verdicts: Vec<GroupVerdict>,
    /// Estimates for other settings and models.
    pub what_if: Result<Vec<WhatIf>, Reason>,
    /// What may have disturbed the numbers.
    pub warnings: Vec<String>,
    /// One entry for each case, in the order of [`RunFile::cases`].
    pub cases: Vec<CaseFindings>,
}

/// What follows from the measurements of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseFindings {
    /// The gaps between tokens over time; `None` where no clean sample has two tokens.
    pub series: Option<Series>,
    /// One entry for each row of [`Case::ops`].
    pub ops: Vec<OpFindings>,
    /// The phases as sums of their ops.
    pub sums: RecordedList<PhaseSum>,
    /// The energy per token.
    pub energy: Vec<EnergyRow>,
    /// Figures that follow from the counters of each row of [`Case::phases`].
    pub phase_counters: Vec<BTreeMap<String, f64>>,
    /// The same for each row of [`Case::op_counters`].
    pub op_counters: Vec<BTreeMap<String, f64>>,
    /// The memory, reconciled.
    pub memory: MemoryFindings,
    /// The verdict on each phase.
    pub verdicts: Vec<Verdict>,
    /// What the audit of the server found; `None` where no server computed.
    pub audit: Option<Vec<AuditFinding>>,
}

/// An op on the roofline.
#[derive(Debug, Clone, PartialEq)]
pub struct OpFindings {
    /// Floating-point operations / bytes.
    pub intensity: Result<f64, Reason>,
    /// The least time that the ceilings allow.
    pub attainable: Result<Attainable, Reason>,
    /// That time / the measured time.
    pub roofline: Result<Roofline, Reason>,
}

impl OpFindings {
    /// An op without any of the figures.
    #[must_use]
    pub fn absent(reason: &Reason) -> Self {
        Self { intensity: Err(reason.clone()), attainable: Err(reason.clone()), roofline: Err(reason.clone()) }
    }

    /// The attainable time in seconds, where it is known.
    #[must_use]
    pub fn attainable_s(&self) -> Option<f64> {
        self.attainable.as_ref().ok().map(|attainable| attainable.seconds)
    }

    /// The ceiling that sets it.
    #[must_use]
    pub fn roof(&self) -> Option<Roof> {
        self.attainable.as_ref().ok().map(|attainable| attainable.roof)
    }
}

/// The least time that the ceilings allow for an op.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attainable {
    /// The time in seconds.
    pub seconds: f64,
    /// The ceiling that sets it.
    pub roof: Roof,
}

/// The attainable time of an op over its measured time.
#[derive(Debug, Clone, PartialEq)]
pub struct Roofline {
    /// The ratio: 1 = at the roofline.
    pub ratio: f64,
    /// The explanation of a ratio above 1.
    pub note: Option<Reason>,
}

/// The memory of a case, reconciled.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryFindings {
    /// [`super::MemoryFile::kv_resident_bytes`].
    pub kv_resident_bytes: Result<u64, Reason>,
    /// [`super::MemoryFile::unaccounted_bytes`].
    pub unaccounted_bytes: Result<i64, Reason>,
    /// [`super::MemoryFile::growth_bytes_per_token`].
    pub growth_bytes_per_token: Result<f64, Reason>,
    /// [`super::MemoryFile::leak_bytes_per_request`].
    pub leak_bytes_per_request: Result<Slope, Reason>,
}

/// The field of [`OpRow`] whose value may have a note.
const ROOFLINE: &str = "roofline";

impl RunFile {
    /// Replaces the findings in the file. They must be those of this file: one entry for each case, op and phase.
    pub fn set_findings(&mut self, findings: Findings) {
        self.summaries = findings.summaries;
        self.probes = findings.probes;
        self.depth_laws = findings.depth_laws;
        self.verdicts = findings.verdicts;
        self.what_if = findings.what_if.into();
        self.warnings = findings.warnings;
        for (case, findings) in self.cases.iter_mut().zip(findings.cases) {
            case.set_findings(findings);
        }
    }

    /// Removes all findings: what remains was measured.
    pub fn clear_findings(&mut self) {
        self.summaries.clear();
        self.probes.clear();
        self.depth_laws.clear();
        self.verdicts.clear();
        self.what_if = RecordedList::default();
        self.warnings.clear();
        self.cases.iter_mut().for_each(Case::clear_findings);
    }
}

impl Case {
    fn set_findings(&mut self, findings: CaseFindings) {
        self.series = findings.series;
        for (row, op) in self.ops.iter_mut().zip(findings.ops) {
            row.set_findings(op);
        }
        self.sums = findings.sums;
        self.energy = findings.energy;
        for (row, derived) in self.phases.iter_mut().zip(findings.phase_counters) {
            row.derived = derived;
        }
        for (row, derived) in self.op_counters.iter_mut().zip(findings.op_counters) {
            row.derived = derived;
        }
        let (memory, found) = (&mut self.memory, findings.memory);
        memory.kv_resident_bytes = found.kv_resident_bytes.into();
        memory.unaccounted_bytes = found.unaccounted_bytes.into();
        memory.growth_bytes_per_token = found.growth_bytes_per_token.into();
        memory.leak_bytes_per_request = found.leak_bytes_per_request.into();
        self.verdicts = findings.verdicts;
        if let Some((server, found)) = self.server.as_mut().zip(findings.audit) {
            server.findings = found;
        }
    }

    fn clear_findings(&mut self) {
        self.series = None;
        self.sums = RecordedList::default();
        self.energy.clear();
        self.verdicts.clear();
        self.ops.iter_mut().for_each(OpRow::clear_findings);
        self.phases.iter_mut().for_each(|row| row.derived.clear());
        self.op_counters.iter_mut().for_each(|row| row.derived.clear());
        let memory = &mut self.memory;
        memory.kv_resident_bytes = Recorded::unrecorded();
        memory.unaccounted_bytes = Recorded::unrecorded();
        memory.growth_bytes_per_token = Recorded::unrecorded();
        memory.leak_bytes_per_request = Recorded::unrecorded();
        if let Some(server) = &mut self.server {
            server.findings.clear();
        }
    }
}

impl OpRow {
    fn set_findings(&mut self, findings: OpFindings) {
        let note = findings.roofline.as_ref().ok().and_then(|roofline| roofline.note.clone());
        self.intensity = findings.intensity.into();
        self.attainable_s = findings.attainable.clone().map(|attainable| attainable.seconds).into();
        self.limit = findings.attainable.map(|attainable| attainable.roof).into();
        self.roofline = findings.roofline.map(|roofline| roofline.ratio).into();
        self.notes.remove(ROOFLINE);
        self.notes.extend(note.map(|note| (ROOFLINE.to_owned(), note.into())));
    }

    fn clear_findings(&mut self) {
        (self.intensity, self.attainable_s) = (Recorded::unrecorded(), Recorded::unrecorded());
        (self.roofline, self.limit) = (Recorded::unrecorded(), Recorded::unrecorded());
        self.notes.remove(ROOFLINE);
    }

    /// The reason why its share of the roofline is absent, or the note on it.
    pub fn why_roofline(&self) -> Option<&str> {
        let reason = self.roofline.stated_reason().map(Reason::as_str);
        reason.or_else(|| self.notes.get(ROOFLINE).map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PhaseRow;

    fn file() -> RunFile {
        let ops = [OpRow { time_s: 1.0, ..OpRow::absent("no model") }].into();
        let case = Case { ops, phases: [PhaseRow::absent("not measured")].into(), ..Case::default() };
        let mut file = RunFile { cases: vec![case], ..RunFile::default() };
        file.clear_findings();
        file
    }

    fn findings(op: OpFindings) -> Findings {
        let reason = || Reason::new("too few");
        let memory = MemoryFindings {
            kv_resident_bytes: Ok(7),
            unaccounted_bytes: Err(reason()),
            growth_bytes_per_token: Err(reason()),
            leak_bytes_per_request: Err(reason()),
        };
        let case = CaseFindings {
            series: None,
            ops: vec![op],
            sums: [PhaseSum::absent("not computed")].into(),
            energy: Vec::new(),
            phase_counters: vec![[("ipc".to_owned(), 1.5)].into()],
            op_counters: Vec::new(),
            memory,
            verdicts: Vec::new(),
            audit: None,
        };
        Findings {
            summaries: Vec::new(),
            depth_laws: Vec::new(),
            probes: Vec::new(),
            verdicts: Vec::new(),
            what_if: Err(Reason::new("no ceilings")),
            warnings: vec!["a warning".to_owned()],
            cases: vec![case],
        }
    }

    #[test]
    fn an_absent_finding_has_its_reason_in_the_file_and_a_later_value_removes_it() {
        let mut file = file();
        file.set_findings(findings(OpFindings::absent(&Reason::new("no cost"))));
        let row = &file.cases[0].ops[0];
        for reason in [row.intensity.reason(), row.attainable_s.reason(), row.roofline.reason(), row.limit.reason()] {
            assert_eq!(reason.unwrap(), &"no cost");
        }
        assert_eq!(row.why_roofline(), Some("no cost"));
        assert_eq!(file.what_if.reason().unwrap(), &"no ceilings");
        assert_eq!(file.cases[0].memory.kv_resident_bytes.value(), Some(7));
        assert_eq!(file.cases[0].memory.unaccounted_bytes.reason().unwrap(), &"too few");
        let known = OpFindings {
            intensity: Ok(2.0),
            attainable: Ok(Attainable { seconds: 0.5, roof: Roof::Cache }),
            roofline: Ok(Roofline { ratio: 1.5, note: Some(Reason::new("above 1")) }),
        };
        file.set_findings(findings(known));
        let row = &file.cases[0].ops[0];
        let found = (row.attainable_s.value(), row.limit.value(), row.roofline.value());
        assert_eq!(found, (Some(0.5), Some(Roof::Cache), Some(1.5)));
        assert_eq!(row.why_roofline(), Some("above 1"), "a ratio above 1 has a note");
        let reasons: Vec<_> = row.reasons().into_keys().collect();
        assert_eq!(reasons, ["bytes", "dtype", "flops", "roofline", "streamed_bytes"], "no reason of a value is left");
    }

    #[test]
    fn without_its_findings_a_file_contains_the_measurements_alone() {
        let measured = file();
        let mut file = file();
        file.set_findings(findings(OpFindings::absent(&Reason::new("no cost"))));
        assert_ne!(file, measured);
        file.clear_findings();
        assert_eq!(file, measured);
    }
}
