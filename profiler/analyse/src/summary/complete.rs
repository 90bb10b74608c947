//! Summaries of a record whose samples are newer than they are.

use record::{Opened, RunFile};

use super::summarise::summarise;

/// The file of a record. Where `run.json` lacked samples, its summaries are computed again.
#[must_use]
pub fn complete(opened: Opened) -> RunFile {
    let Opened { mut file, samples_added } = opened;
    if samples_added {
        file.summaries = summarise(&file.cases, file.plan.seed);
    }
    file
}

#[cfg(test)]
mod tests {
    use record::{Case, Sample};

    use super::*;

    #[test]
    fn summaries_are_computed_again_where_samples_were_added() {
        let sample = |round: usize| Sample { round, latency_s: 2.0.into(), ..Sample::absent("not measured") };
        let mut file =
            RunFile { cases: vec![Case { samples: vec![sample(0)], ..Case::default() }], ..RunFile::default() };
        file.summaries = summarise(&file.cases, 1);
        file.cases[0].samples.push(sample(1));
        let opened = |samples_added| Opened { file: file.clone(), samples_added };
        assert_eq!(complete(opened(false)).summaries[0].samples, 1);
        assert_eq!(complete(opened(true)).summaries[0].samples, 2);
    }
}
