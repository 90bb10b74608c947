//! The verdict on a phase over all prompts of an engine, model, thread count and depth.

use engine_api::Phase;
use record::{Case, GroupVerdict, Limit};

use super::PhaseVerdict;

/// A case with its verdicts.
type Judged<'a> = (&'a Case, &'a [PhaseVerdict]);

/// One verdict for each group and phase: groups in the order of their first case, phases in the order of a request. The limit with
/// the most time over the cases wins; its verdict is that of the case with the most of that time.
pub(super) fn of(cases: &[Case], verdicts: &[Vec<PhaseVerdict>]) -> Vec<GroupVerdict> {
    let mut groups: Vec<Vec<Judged<'_>>> = Vec::new();
    for (case, verdicts) in cases.iter().zip(verdicts).filter(|(_, verdicts)| !verdicts.is_empty()) {
        match groups.iter_mut().find(|group| group.first().is_some_and(|(first, _)| key(first) == key(case))) {
            Some(group) => group.push((case, verdicts)),
            None => groups.push(vec![(case, verdicts)]),
        }
    }
    let of_group =
        |group: &Vec<Judged<'_>>| Phase::ALL.iter().filter_map(|phase| of_phase(group, *phase)).collect::<Vec<_>>();
    groups.iter().flat_map(of_group).collect()
}

fn key(case: &Case) -> (&str, &str, usize, usize) {
    (&case.engine, &case.model, case.threads, case.depth)
}

fn of_phase(group: &[Judged<'_>], phase: Phase) -> Option<GroupVerdict> {
    let of_phase = |found: &&PhaseVerdict| found.verdict.phase == phase;
    let verdicts: Vec<(&Case, &PhaseVerdict)> = group
        .iter()
        .flat_map(|&(case, verdicts)| verdicts.iter().filter(of_phase).map(move |found| (case, found)))
        .collect();
    let time_of = |limit: Limit| -> f64 {
        verdicts.iter().filter(|(_, found)| found.verdict.limit == limit).map(|(_, found)| found.time_s).sum()
    };
    // Of equal times the first wins: `max_by` takes the last, so the order is reversed.
    let (_, longest) =
        verdicts.iter().rev().max_by(|a, b| time_of(a.1.verdict.limit).total_cmp(&time_of(b.1.verdict.limit)))?;
    let alike: Vec<&(&Case, &PhaseVerdict)> =
        verdicts.iter().filter(|(_, found)| found.verdict.limit == longest.verdict.limit).collect();
    let (case, representative) = alike.iter().rev().max_by(|a, b| a.1.time_s.total_cmp(&b.1.time_s))?;
    Some(GroupVerdict {
        engine: case.engine.clone(),
        model: case.model.clone(),
        threads: case.threads,
        depth: case.depth,
        prompt: case.prompt.clone(),
        verdict: representative.verdict.clone(),
        agree: alike.len(),
        cases: verdicts.len(),
    })
}

#[cfg(test)]
mod tests {
    use record::{Confidence, Verdict};

    use super::*;

    fn verdict(limit: Limit, time_s: f64) -> Vec<PhaseVerdict> {
        let verdict = Verdict {
            phase: Phase::Decode,
            limit,
            sentence: String::new(),
            share: 1.0,
            unexplained: false,
            headroom: record::Recorded::absent("not computed"),
            confidence: Confidence::High,
            doubts: Vec::new(),
            evidence: Vec::new(),
            advice: Vec::new(),
            notes: record::Reasons::new(),
        };
        vec![PhaseVerdict { time_s, verdict }]
    }

    #[test]
    fn the_limit_with_the_most_time_wins_and_the_longest_case_represents_it() {
        let cases = ["a", "b", "c"].map(|prompt| Case { prompt: prompt.to_owned(), ..Case::default() });
        let verdicts =
            [verdict(Limit::Compute, 2.0), verdict(Limit::MemoryBandwidth, 1.0), verdict(Limit::MemoryBandwidth, 1.5)];
        let found = of(&cases, &verdicts);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].verdict.limit, found[0].prompt.as_str()), (Limit::MemoryBandwidth, "c"));
        assert_eq!((found[0].agree, found[0].cases), (2, 3));
    }
}
