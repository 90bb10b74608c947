//! Energy of the machine per request and per token, where it has energy counters.

use super::RunView;
use crate::content::Section;
use crate::figures::ABSENT;
use crate::table::Table;
use record::figures::significant;
use record::{EnergyRow, Recorded};
use statistics::mean;

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Energy");
    for summary in &view.file.summaries {
        let rows: Vec<&EnergyRow> = view.cases(summary).flat_map(|case| &case.energy).collect();
        let mut counters: Vec<&str> = Vec::new();
        for row in &rows {
            if !counters.contains(&row.counter.as_str()) {
                counters.push(&row.counter);
            }
        }
        let columns = ["<counter", "J per request", "W", "J per prompt token", "J per output token"];
        let mut table = Table::new(
            format!("{}: stepped pass, per request, mean over the prompts.", view.subject(summary)),
            &columns,
        );
        for counter in counters {
            let figure = |value: fn(&EnergyRow) -> &Recorded<f64>| {
                let of_counter = rows.iter().filter(|row| row.counter == counter).filter_map(|row| value(row).value());
                mean(&of_counter.collect::<Vec<f64>>()).map_or(ABSENT.to_owned(), significant)
            };
            table.rows.push(vec![
                counter.to_owned(),
                figure(|row| &row.request_j),
                figure(|row| &row.mean_w),
                figure(|row| &row.per_prompt_token_j),
                figure(|row| &row.per_output_token_j),
            ]);
        }
        section.add_table(table);
    }
    if !section.blocks.is_empty() {
        section.add_sentence("The counters are of the whole machine, so they include idle power and other programs. Intervals that are too short for the counter's update interval have no figure.");
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Case, RunFile, Summary};

    #[test]
    fn a_counter_is_a_row_and_the_section_names_its_scope() {
        let row = EnergyRow {
            counter: "energy_package_j".to_owned(),
            request_j: 52.0.into(),
            mean_w: 26.0.into(),
            per_output_token_j: 3.0.into(),
            ..EnergyRow::absent("too short")
        };
        let case = Case { engine: "e".to_owned(), model: "m".to_owned(), energy: vec![row], ..Case::default() };
        let summary = Summary { engine: "e".to_owned(), model: "m".to_owned(), ..Summary::absent("unused") };
        let mut file = RunFile { cases: vec![case], summaries: vec![summary], ..RunFile::default() };
        let found = section(&RunView { file: &file });
        let text = format!("{found:?}");
        assert!(text.contains("52") && text.contains("26") && text.contains("whole machine"), "{text}");
        file.cases[0].energy.clear();
        assert!(section(&RunView { file: &file }).blocks.is_empty(), "no counters, no section");
    }
}
