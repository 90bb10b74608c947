//! The runs that an estimate may use.

use engine_api::Advice;
use record::{Case, Error, Opened, RunFile, Tool};
use statistics::median;

/// A run is not used if other programs took more than this share of the processors in the median request.
const OTHERS: f64 = 0.2;

/// The runs to learn from, newest first, and those left out with the reason.
#[derive(Debug, Default)]
pub struct Runs {
    /// The runs to learn from.
    pub used: Vec<RunFile>,
    /// The runs that are not used, one line each.
    pub skipped: Vec<String>,
    /// Why runs that are used because they were named would not have been chosen, one line each.
    pub doubts: Vec<String>,
}

impl Runs {
    /// Of the runs that were read, those of this machine (`machine`, the digest of its ceilings, where it is known) by a program of
    /// this version and build, complete and in real time.
    #[must_use]
    pub fn usable(read: Vec<Result<Opened, Error>>, machine: Option<&str>, tool: &Tool) -> Self {
        let mut runs = Self::default();
        for run in read {
            match run.map(crate::summary::with_summaries) {
                Err(error) => runs.skipped.push(error.with_advice()),
                Ok(file) => match refusal(&file, machine, tool) {
                    Some(reason) => runs.skipped.push(format!("{}: {reason}", file.name)),
                    None => runs.used.push(file),
                },
            }
        }
        runs.sort();
        runs
    }

    /// All of the runs: a user who names runs takes the responsibility for them. Those that [`usable`](Self::usable) would leave out
    /// have a doubt.
    #[must_use]
    pub fn all(read: Vec<Opened>, machine: Option<&str>, tool: &Tool) -> Self {
        let used: Vec<RunFile> = read.into_iter().map(crate::summary::with_summaries).collect();
        let doubt = |file: &RunFile| Some(format!("{}: {}", file.name, refusal(file, machine, tool)?));
        let doubts = used.iter().filter_map(doubt).collect();
        let mut runs = Self { used, skipped: Vec::new(), doubts };
        runs.sort();
        runs
    }

    fn sort(&mut self) {
        self.used.sort_by(|a, b| b.started.cmp(&a.started));
    }
}

/// Why a run is not used.
fn refusal(file: &RunFile, machine: Option<&str>, tool: &Tool) -> Option<String> {
    let build =
        |tool: &Tool| (tool.version.clone(), tool.profile.clone(), tool.target.clone(), tool.target_features.clone());
    let own = file.ceilings.as_ref().map(|ceilings| ceilings.machine.as_str());
    if file.plan.virtual_time {
        Some("its time is virtual".to_owned())
    } else if file.interrupted || file.finished.is_absent() {
        Some("it is incomplete".to_owned())
    } else if own.is_none() && file.ceiling_probes.is_empty() {
        Some("it has no ceilings".to_owned())
    } else if machine.is_some() && own.is_some() && machine != own {
        Some("it was measured on another machine, or on this one before it changed".to_owned())
    } else if build(&file.tool) != build(tool) {
        let Tool { version, profile, .. } = &file.tool;
        Some(format!("it was measured by another build (version {version}, {profile}, or other processor features)"))
    } else {
        let disturbed = others(file).filter(|share| *share > OTHERS);
        disturbed.map(|share| format!("other programs took {:.0} % of the processors", share * 100.0))
    }
}

/// Share of the processors that others took, programs and hypervisor, in the median request.
fn others(file: &RunFile) -> Option<f64> {
    let samples = file.cases.iter().flat_map(Case::clean_samples);
    let shares = samples.filter_map(|sample| Some(sample.load_others.value()? + sample.steal.value().unwrap_or(0.0)));
    median(&shares.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ceilings, run_file};
    use super::*;
    use record::Recorded;

    #[test]
    fn only_runs_of_this_machine_and_build_are_used() {
        let tool = Tool { version: "1".to_owned(), profile: "release".to_owned(), ..Tool::default() };
        let good = || {
            let spec = models::registry::find("smollm2-135m").unwrap().spec();
            let own = super::super::Target::synthetic("m", "m", spec, models::synth::Quant::Q8_0, None).unwrap();
            let mut file = run_file(&[&own]);
            file.tool = tool.clone();
            file.finished = "2026-01-01T00:00:00Z".to_owned().into();
            file.ceilings = ceilings(&[1], 20e9, 200e9).into();
            file
        };
        let machine = ceilings(&[1], 1.0, 1.0).machine;
        let reason = |change: fn(&mut RunFile)| {
            let mut file = good();
            change(&mut file);
            refusal(&file, Some(&machine), &tool)
        };
        assert_eq!(reason(|_| {}), None);
        for (change, word) in [
            ((|file| file.plan.virtual_time = true) as fn(&mut RunFile), "virtual"),
            (|file| file.interrupted = true, "incomplete"),
            (|file| file.finished = Recorded::absent("killed"), "incomplete"),
            (|file| file.ceilings = Recorded::absent("not measured"), "no ceilings"),
            (|file| file.ceilings.as_mut().unwrap().machine = "other".to_owned(), "another machine"),
            (|file| file.tool.profile = "debug".to_owned(), "another build"),
            (
                |file| file.cases[0].samples.iter_mut().for_each(|sample| sample.load_others = 0.5.into()),
                "other programs",
            ),
        ] {
            assert!(reason(change).is_some_and(|text| text.contains(word)), "{word}");
            let mut file = good();
            file.name = "named".to_owned();
            change(&mut file);
            let named =
                Runs::all(vec![Opened { file, samples_added: false, without_findings: false }], Some(&machine), &tool);
            assert_eq!(named.used.len(), 1, "a user named it");
            assert!(named.doubts[0].starts_with("named: ") && named.doubts[0].contains(word), "{:?}", named.doubts);
        }
        let named = Runs::all(
            vec![Opened { file: good(), samples_added: false, without_findings: false }],
            Some(&machine),
            &tool,
        );
        assert!(named.doubts.is_empty());
    }
}
