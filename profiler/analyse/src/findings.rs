//! All findings of a run.

use record::{CaseFindings, Findings, Opened, RunFile};

use crate::attribution::{self, Attribution};
use crate::verdicts::PhaseVerdict;
use crate::{audit, predict, summary, verdicts, warnings};

/// Everything that follows from the measurements of a run. Findings that the file already contains are not used.
#[must_use]
pub fn findings(file: &RunFile) -> Findings {
    let cases = &file.cases;
    let attributions: Vec<Attribution> = cases.iter().map(|case| attribution::attribute(file, case)).collect();
    let verdicts: Vec<Vec<PhaseVerdict>> =
        cases.iter().zip(&attributions).map(|(case, attribution)| verdicts::of_case(file, case, attribution)).collect();
    let probes: Vec<_> = cases.iter().filter(|case| !case.samples.is_empty()).map(summary::probe_effect).collect();
    let of_groups = verdicts::of_groups(cases, &verdicts);
    let line = file.environment.processor.cache_line_bytes;
    let mut of_cases = Vec::new();
    for (((case, attribution), verdicts), memory) in
        cases.iter().zip(attributions).zip(verdicts).zip(attribution::memory(cases))
    {
        let [phase_counters, op_counters] = attribution::counters(case, line);
        of_cases.push(CaseFindings {
            series: summary::series(case),
            audit: audit::audit(file, case, &attribution.ceilings),
            ops: attribution.ops,
            sums: attribution.sums,
            energy: attribution::energy(case),
            phase_counters,
            op_counters,
            memory,
            verdicts: verdicts.into_iter().map(|found| found.verdict).collect(),
        });
    }
    Findings {
        summaries: summary::summarise(cases, file.plan.seed),
        verdicts: of_groups,
        what_if: predict::what_if(file),
        warnings: warnings::texts(file, &probes),
        probes,
        cases: of_cases,
    }
}

/// The file of a record. Where `run.json` lacked samples, its summaries are computed again.
#[must_use]
pub fn complete(opened: Opened) -> RunFile {
    let Opened { mut file, samples_added } = opened;
    if samples_added {
        file.summaries = summary::summarise(&file.cases, file.plan.seed);
    }
    file
}
