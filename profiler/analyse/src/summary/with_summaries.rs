//! Summaries of a record whose samples are newer than they are.

use record::{Opened, RunFile, Summary};

use super::summarise::summarise;

/// The file of a record. Its summaries are computed again where `run.json` lacked samples, and where it has all samples that the stored
/// ones are of. Older versions took the mean of the samples' rates, which tables of the same samples would contradict.
#[must_use]
pub fn with_summaries(opened: Opened) -> RunFile {
    let Opened { mut file, samples_added, without_findings } = opened;
    let computed = summarise(&file.cases, file.plan.seed);
    let samples = |summaries: &[Summary]| summaries.iter().map(|summary| summary.samples).collect::<Vec<_>>();
    if samples_added || without_findings || samples(&computed) == samples(&file.summaries) {
        file.summaries = computed;
    }
    file
}

#[cfg(test)]
mod tests {
    use record::{Case, Estimate, Sample};

    use super::*;

    #[test]
    fn summaries_are_computed_again_where_samples_were_added() {
        let sample = |round: usize| Sample { round, latency_s: 2.0.into(), ..Sample::absent("not measured") };
        let mut file =
            RunFile { cases: vec![Case { samples: vec![sample(0)], ..Case::default() }], ..RunFile::default() };
        file.summaries = summarise(&file.cases, 1);
        file.cases[0].samples.push(sample(1));
        let opened = |samples_added| Opened { file: file.clone(), samples_added, without_findings: false };
        assert_eq!(with_summaries(opened(false)).summaries[0].samples, 1);
        assert_eq!(with_summaries(opened(true)).summaries[0].samples, 2);
    }

    #[test]
    fn means_of_rates_of_older_versions_are_replaced_where_the_samples_are_there() {
        let sample = |latency: f64| Sample {
            latency_s: latency.into(),
            tps: (8.0 / latency).into(),
            output_tokens: 8.into(),
            ..Sample::absent("not measured")
        };
        let case = Case { samples: vec![sample(1.0), sample(3.0)], ..Case::default() };
        let mut file = RunFile { cases: vec![case], ..RunFile::default() };
        file.summaries = summarise(&file.cases, 1);
        let stated = file.summaries[0].metrics.get("tps").unwrap();
        let old = Estimate { mean: 5.333, ..stated.clone() };
        file.summaries[0].metrics = [("tps".to_owned(), record::Recorded::Present(old))].into_iter().collect();
        let tps = |file: RunFile| {
            with_summaries(Opened { file, samples_added: false, without_findings: false }).summaries[0]
                .metrics
                .get("tps")
                .unwrap()
                .mean
        };
        assert!((tps(file.clone()) - 4.0).abs() < 1e-12);
        file.cases[0].samples.clear();
        assert!((tps(file) - 5.333).abs() < 1e-12, "nothing to compute it from");
    }
}
