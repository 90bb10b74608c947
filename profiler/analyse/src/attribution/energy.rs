//! Energy per token, from the energy counters of the stepped pass.
//!
//! ```text
//! per_prompt_token = E(prefill) / prompt tokens                    J
//! per_output_token = E(decode, sample, detokenize) / (n - 1)       J    the first of n output tokens comes out of prefill
//! mean power       = E(request) / sum of the phases' times         W
//! ```
//! Source: the energy-to-solution of a phase over the work done in it; E is of the whole machine, idle power included.

use engine_api::Phase;
use record::{Case, EnergyRow, Reason, Reasons};

/// The counters that are energy accounts: of the machine, and macOS's estimate for this process, which has no idle power in it.
const ACCOUNTS: [&str; 4] = ["energy_package_j", "energy_core_j", "energy_dram_j", "energy_j"];

/// One row for each account that has a value over the request.
pub(super) fn of(case: &Case) -> Vec<EnergyRow> {
    let known = |name: &&str| case.counters.get(*name).copied().flatten().is_some();
    ACCOUNTS.iter().filter(|name| known(name)).map(|name| row(case, name)).collect()
}

fn row(case: &Case, name: &str) -> EnergyRow {
    let mut reasons = Reasons::new();
    let tokens = case.stepped.iter().find_map(|sample| sample.prompt_tokens.value().zip(sample.output_tokens.value()));
    let energy = |phase: Phase| -> Result<f64, Reason> {
        let row = case.phases.iter().find(|row| row.phase == phase.name());
        let row = row.ok_or_else(|| Reason::new("the stepped pass has no such phase"))?;
        let reason = || row.reasons.get(name).map_or("it was not read", String::as_str);
        row.counters.get(name).copied().flatten().ok_or_else(|| Reason::new(reason()))
    };
    let mut per = |field: &str, energy: Result<f64, Reason>, tokens: Option<usize>| {
        let joules_per_token = energy.and_then(|joules| match tokens {
            Some(tokens @ 1..) => Ok(joules / tokens as f64),
            _ => Err(Reason::new("there was no such token")),
        });
        joules_per_token.map_err(|reason| reasons.insert(field.to_owned(), reason.into())).ok()
    };
    let per_prompt_token_j = per("per_prompt_token_j", energy(Phase::Prefill), tokens.map(|(prompt, _)| prompt));
    let per_output_token_j =
        per("per_output_token_j", energy(Phase::Decode), tokens.map(|(_, output)| output.saturating_sub(1)));
    let request_j = case.counters.get(name).copied().flatten();
    let seconds: f64 = case.phases.iter().filter_map(|row| row.time_s).sum();
    let mean_w = request_j.filter(|_| seconds > 0.0).map(|joules| joules / seconds);
    if mean_w.is_none() {
        reasons.insert("mean_w".to_owned(), "the stepped pass has no times".to_owned());
    }
    EnergyRow { counter: name.to_owned(), request_j, mean_w, per_prompt_token_j, per_output_token_j, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{PhaseRow, Sample};

    fn case(output: usize) -> Case {
        let row = |phase: &str, time: f64, joules: Option<f64>| PhaseRow {
            phase: phase.to_owned(),
            time_s: Some(time),
            counters: [("energy_package_j".to_owned(), joules)].into(),
            reasons: joules
                .is_none()
                .then(|| ("energy_package_j".to_owned(), "too short".to_owned()))
                .into_iter()
                .collect(),
            ..PhaseRow::default()
        };
        Case {
            phases: vec![row("prefill", 0.5, Some(20.0)), row("decode", 1.0, Some(30.0)), row("sample", 0.5, None)],
            counters: [("energy_package_j".to_owned(), Some(52.0)), ("energy_core_j".to_owned(), None)].into(),
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
        assert!((rows[0].per_prompt_token_j.unwrap() - 0.5).abs() < 1e-12);
        assert!((rows[0].per_output_token_j.unwrap() - 3.0).abs() < 1e-12);
        assert!((rows[0].mean_w.unwrap() - 26.0).abs() < 1e-12);
        assert!(rows[0].reasons.is_empty());
    }

    #[test]
    fn a_single_token_has_no_decode_step_and_a_short_prefill_no_energy() {
        let mut short = case(1);
        let prefill = short.phases[2].clone();
        short.phases[0] = PhaseRow { phase: "prefill".to_owned(), ..prefill };
        let row = &of(&short)[0];
        assert_eq!((row.per_prompt_token_j, row.per_output_token_j), (None, None));
        assert_eq!(row.reasons["per_prompt_token_j"], "too short");
        assert!(row.reasons["per_output_token_j"].contains("no such token"));
    }
}
