//! One simulated run, compared with the code that compares real ones.

use rand::RngCore;

use super::noise::Noise;
use crate::compare::pairing::Group;
use crate::compare::side::ComparedRun;
use crate::compare::{GroupPair, figures};
use record::plan::PlanFile;
use record::{Case, RunFile, Sample};
use statistics::rounds::random;
use statistics::rounds::{DesignCell, order};

const PROMPTS: usize = 5;
const ENGINES: [&str; 2] = ["mock", "again"];

/// A kind of experiment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Experiment<'a> {
    pub(super) noise: &'a Noise,
    pub(super) rounds: usize,
    /// Times of the other side over those of the baseline.
    pub(super) slower: f64,
    /// In the order of a real run; else all of the baseline first, as two runs.
    pub(super) interleaved: bool,
    /// How much the machine slows down from the first request to the last, as a share.
    pub(super) drift: f64,
}

/// What was concluded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) ratio: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) detectable: f64,
    pub(super) is_difference: bool,
}

impl Verdict {
    pub(super) fn covers(&self, truth: f64) -> bool {
        self.low <= truth && truth <= self.high
    }
}

impl Experiment<'_> {
    pub(super) fn run(&self, seed: u64) -> Verdict {
        let mut random = random(seed, "experiment");
        let (baseline, other) = self.cases(seed, &mut random);
        let file = |cases: Vec<Case>| ComparedRun {
            path: "simulated".into(),
            file: RunFile { plan: PlanFile { seed, ..PlanFile::default() }, cases, ..RunFile::default() },
            foreign: false,
            notes: Vec::new(),
        };
        let (one, two) = (file(baseline), file(other));
        fn group<'s>(label: &'s str, run: &'s ComparedRun) -> Group<'s> {
            Group { label, run, cases: run.file.cases.iter().collect() }
        }
        let pair = GroupPair {
            baseline: group(ENGINES[0], &one),
            other: group(ENGINES[1], &two),
            interleaved: self.interleaved,
        };
        let row = figures::rows(&pair, None, 0.02).into_iter().find(|row| row.metric == "decode_tps").unwrap();
        let (low, high) = (row.low.value().unwrap(), row.high.value().unwrap());
        Verdict {
            ratio: row.ratio.value().unwrap(),
            low,
            high,
            detectable: row.detectable.value().unwrap(),
            is_difference: low > 1.0 || high < 1.0,
        }
    }

    /// The cases of both sides with their samples.
    fn cases(&self, seed: u64, random: &mut impl RngCore) -> (Vec<Case>, Vec<Case>) {
        let places: Vec<DesignCell> = (0..ENGINES.len())
            .flat_map(|slot| (0..PROMPTS).map(move |prompt| DesignCell { slot, prompt, depth: 0 }))
            .collect();
        let mut cases: Vec<Case> = places
            .iter()
            .map(|place| Case {
                engine: ENGINES[place.slot].to_owned(),
                prompt: format!("p{}", place.prompt),
                ..Case::default()
            })
            .collect();
        let asked: Vec<(usize, usize)> = match self.interleaved {
            true => (0..self.rounds)
                .flat_map(|round| order(&places, true, seed, round).concat().into_iter().map(move |case| (case, round)))
                .collect(),
            false => (0..ENGINES.len())
                .flat_map(|slot| {
                    (0..self.rounds)
                        .flat_map(move |round| (0..PROMPTS).map(move |prompt| (slot * PROMPTS + prompt, round)))
                })
                .collect(),
        };
        let series = self.noise.series(asked.len(), random);
        let last = (asked.len() - 1).max(1) as f64;
        for (number, ((case, round), noise)) in asked.iter().zip(series).enumerate() {
            let place = places[*case];
            let slower = if place.slot == 1 { self.slower } else { 1.0 };
            let grown = 1.0 + self.drift * number as f64 / last;
            // Prompts take different times: the statistics must not care.
            let time = (1.0 + 0.3 * place.prompt as f64) * slower * grown * noise.exp();
            cases[*case].samples.push(Sample {
                round: *round,
                decode_tps: (1.0 / time).into(),
                ..Sample::absent("not measured")
            });
        }
        let other = cases.split_off(PROMPTS);
        (cases, other)
    }
}
