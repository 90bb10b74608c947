//! Energy of the machine per request and per token, where it has energy accounts.

use super::View;
use crate::content::{Section, Table};
use crate::figures::ABSENT;
use record::EnergyRow;
use record::figures::significant;
use statistics::mean;

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("Energy");
    for summary in &view.file.summaries {
        let rows: Vec<&EnergyRow> = view.cases(summary).flat_map(|case| &case.energy).collect();
        let mut accounts: Vec<&str> = Vec::new();
        for row in &rows {
            if !accounts.contains(&row.counter.as_str()) {
                accounts.push(&row.counter);
            }
        }
        let columns = ["<account", "J a request", "W", "J a prompt token", "J an output token"];
        let mut table = Table::new(format!("{}.", view.subject(summary)), &columns);
        for account in accounts {
            let figure = |value: fn(&EnergyRow) -> Option<f64>| {
                let of_account = rows.iter().filter(|row| row.counter == account).filter_map(|row| value(row));
                mean(&of_account.collect::<Vec<f64>>()).map_or(ABSENT.to_owned(), significant)
            };
            table.rows.push(vec![
                account.to_owned(),
                figure(|row| row.request_j),
                figure(|row| row.mean_w),
                figure(|row| row.per_prompt_token_j),
                figure(|row| row.per_output_token_j),
            ]);
        }
        section.show(table);
    }
    if !section.blocks.is_empty() {
        section.say("From the stepped pass: means over the prompts of one request. The accounts are of the whole machine, not of the engine: idle power and other programs are in them. What is too short for the processor's update interval has no figure.");
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Case, RunFile, Summary};

    #[test]
    fn an_account_is_a_row_and_says_whose_energy_it_is() {
        let row = EnergyRow {
            counter: "energy_package_j".to_owned(),
            request_j: Some(52.0),
            mean_w: Some(26.0),
            per_output_token_j: Some(3.0),
            ..EnergyRow::default()
        };
        let case = Case { engine: "e".to_owned(), model: "m".to_owned(), energy: vec![row], ..Case::default() };
        let summary = Summary { engine: "e".to_owned(), model: "m".to_owned(), ..Summary::default() };
        let mut file = RunFile { cases: vec![case], summaries: vec![summary], ..RunFile::default() };
        let found = section(&View { file: &file });
        let text = format!("{found:?}");
        assert!(text.contains("52") && text.contains("26") && text.contains("whole machine"), "{text}");
        file.cases[0].energy.clear();
        assert!(section(&View { file: &file }).blocks.is_empty(), "no accounts, no section");
    }
}
