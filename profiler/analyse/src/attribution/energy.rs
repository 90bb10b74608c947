//! Energy per token, from the energy counters of the stepped pass.
//!
//! ```text
//! per_prompt_token = E(prefill) / prompt tokens                    J
//! per_output_token = E(decode, sample, detokenize) / (n - 1)       J    the first of n output tokens comes out of prefill
//! mean power       = E(request) / sum of the phases' times         W
//! ```
//! Source: the energy-to-solution of a phase over the work done in it; E is of the whole machine, idle power included.

use engine_api::Phase;
use record::{Case, EnergyRow, Reason, Reasons, Recorded};

/// The counters that are energy accounts: of the machine, and macOS's estimate for this process, which has no idle power in it.
const ACCOUNTS: [&str; 4] = ["energy_package_j", "energy_core_j", "energy_dram_j", "energy_j"];

/// One row for each account that has a value over the request.
pub(super) fn of(case: &Case) -> Vec<EnergyRow> {
    let joules = |name: &str| case.counters.get(name).and_then(Recorded::value);
    ACCOUNTS.iter().filter_map(|name| Some(row(case, name, joules(name)?))).collect()
}

fn row(case: &Case, name: &str, joules: f64) -> EnergyRow {
    let tokens = case.stepped.iter().find_map(|sample| sample.prompt_tokens.value().zip(sample.output_tokens.value()));
    let energy = |phase: Phase| -> Result<f64, Reason> {
        let row = case.phases.iter().find(|row| row.phase == phase);
        let row = row.ok_or_else(|| Reason::new("the stepped pass has no such phase"))?;
        let value = row.counters.get(name).ok_or_else(|| Reason::new("it was not read"))?;
        value.as_result().copied().map_err(Reason::clone)
    };
    let per = |energy: Result<f64, Reason>, tokens: Option<usize>| -> Recorded<f64> {
        let joules_per_token = energy.and_then(|joules| match tokens {
            Some(tokens @ 1..) => Ok(joules / tokens as f64),
            _ => Err(Reason::new("there was no such token")),
        });
        joules_per_token.into()
    };
    let seconds: f64 = case.phases.iter().filter_map(|row| row.time_s.value()).sum();
    let mean_w = if seconds > 0.0 { Ok(joules / seconds) } else { Err(Reason::new("the stepped pass has no times")) };
    EnergyRow {
        counter: name.to_owned(),
        request_j: joules.into(),
        mean_w: mean_w.into(),
        per_prompt_token_j: per(energy(Phase::Prefill), tokens.map(|(prompt, _)| prompt)),
        per_output_token_j: per(energy(Phase::Decode), tokens.map(|(_, output)| output.saturating_sub(1))),
        notes: Reasons::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{PhaseRow, Sample};

    fn case(output: usize) -> Case {
        let row = |phase: Phase, time: f64, joules: Option<f64>| PhaseRow {
            phase: phase.into(),
            time_s: time.into(),
            counters: [("energy_package_j".to_owned(), joules.ok_or(Reason::new("too short")).into())].into(),
            ..PhaseRow::absent("not measured")
        };
        Case {
            phases: [
                row(Phase::Prefill, 0.5, Some(20.0)),
                row(Phase::Decode, 1.0, Some(30.0)),
                row(Phase::Sample, 0.5, None),
            ]
            .into(),
            counters: [
                ("energy_package_j".to_owned(), 52.0.into()),
                ("energy_core_j".to_owned(), Recorded::absent("no such counter")),
            ]
            .into(),
            stepped: vec![Sample {
                prompt_tokens: 40.into(),
                output_tokens: output.into(),
                ..Sample::absent("not measured")
            }],
            ..Case::default()
        }
    }

    #[test]
    fn tokens_divide_the_energy_of_their_phase() {
        let rows = of(&case(11));
        assert_eq!(rows.len(), 1, "an account without a value has no row");
        assert!((rows[0].per_prompt_token_j.value().unwrap() - 0.5).abs() < 1e-12);
        assert!((rows[0].per_output_token_j.value().unwrap() - 3.0).abs() < 1e-12);
        assert!((rows[0].mean_w.value().unwrap() - 26.0).abs() < 1e-12);
        assert!(rows[0].reasons().is_empty());
    }

    #[test]
    fn a_single_token_has_no_decode_step_and_a_short_prefill_no_energy() {
        let mut short = case(1);
        let prefill = short.phases[2].clone();
        short.phases[0] = PhaseRow { phase: Phase::Prefill.into(), ..prefill };
        let row = &of(&short)[0];
        assert_eq!(row.per_prompt_token_j.reason().unwrap(), &"too short");
        assert_eq!(row.per_output_token_j.reason().unwrap(), &"there was no such token");
    }
}
