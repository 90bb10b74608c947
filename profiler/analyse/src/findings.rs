//! All findings of a run.

use record::{CaseFindings, Findings, RunFile};

use crate::attribution::{self, Attribution};
use crate::verdicts::PhaseVerdict;
use crate::{audit, depth_laws, predict, summary, verdicts, warnings};

/// Everything that follows from the measurements of a run. Findings that the file already contains are not used.
#[must_use]
pub fn findings(file: &RunFile) -> Findings {
    let cases = &file.cases;
    let attributions: Vec<Attribution> = cases.iter().map(|case| attribution::attribute(file, case)).collect();
    let verdicts: Vec<Vec<PhaseVerdict>> =
        cases.iter().zip(&attributions).map(|(case, attribution)| verdicts::of_case(file, case, attribution)).collect();
    let probes: Vec<_> = cases.iter().filter(|case| !case.samples.is_empty()).map(summary::probe_effect).collect();
    let of_groups = verdicts::of_groups(cases, &verdicts);
    let line = file.environment.processor.cache_line_bytes.value();
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
        depth_laws: depth_laws::depth_laws(file),
        verdicts: of_groups,
        what_if: predict::what_if(file),
        warnings: warnings::texts(file, &probes),
        probes,
        cases: of_cases,
    }
}

#[cfg(test)]
mod tests {
    use record::{PhaseRow, Recorded};

    use super::*;
    use crate::predict::tests::{run_file, small};

    /// A run with ops, phases, counters and samples.
    fn file() -> RunFile {
        let mut file = run_file(&[&small()]);
        let case = &mut file.cases[0];
        for op in &mut case.ops {
            (op.flops, op.bytes, op.streamed_bytes) = (0.0.into(), 2e6.into(), 1e6.into());
        }
        case.ops[0].flops = Recorded::absent("no model");
        case.phases = [PhaseRow {
            phase: engine_api::Phase::Decode.into(),
            time_s: 1.0.into(),
            counters: [("cycles", 2e9), ("instructions", 4e9)].map(|(name, n)| (name.to_owned(), n.into())).into(),
            ..PhaseRow::absent("not measured")
        }]
        .into();
        for sample in case.samples.iter_mut().chain(&mut case.traced) {
            (sample.latency_s, sample.token_times_s) = (2.0.into(), [0.5, 1.0, 1.5, 2.0].into());
        }
        file.clear_findings();
        file
    }

    #[test]
    fn findings_do_not_depend_on_earlier_findings() {
        let measured = file();
        let first = findings(&measured);
        assert!(!first.summaries.is_empty() && !first.verdicts.is_empty() && first.what_if.is_ok());
        assert!(first.cases[0].series.is_some() && !first.cases[0].sums.is_empty());
        assert!(first.cases[0].ops.iter().any(|op| op.attainable.is_ok() && op.roofline.is_ok()));
        assert!(first.cases[0].ops[0].attainable.is_err(), "its cost is not known");
        assert!((first.cases[0].phase_counters[0]["ipc"] - 2.0).abs() < 1e-12);
        let mut file = measured.clone();
        file.set_findings(first.clone());
        assert_ne!(file, measured);
        assert_eq!(findings(&file), first, "the same from a file that contains findings");
        let mut other = file.clone();
        other.cases[0].sums[0].time_s = 99.0;
        other.cases[0].verdicts.clear();
        other.cases[0].ops.iter_mut().for_each(|op| op.attainable_s = 7.0.into());
        other.probes.clear();
        assert_eq!(findings(&other), first, "the same from a file with wrong findings");
        file.clear_findings();
        assert_eq!(file, measured);
    }
}
