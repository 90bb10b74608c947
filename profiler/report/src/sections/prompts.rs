//! Results by prompt.

use std::collections::BTreeSet;

use super::RunView;
use crate::content::Section;
use crate::figures::{marked, or_absent};
use crate::table::Table;
use analyse::summary::{itl, mean_of};
use record::figures::{milliseconds, significant};
use record::{Case, METRICS, Sample, Status};
use statistics::mean;

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Prompt by prompt");
    section.short = differ_in_length(view);
    for summary in &view.file.summaries {
        let columns = [
            "<prompt",
            "tokens in",
            "tokens out",
            "<end",
            "latency s",
            "TTFT ms",
            "TPS tokens/s",
            "prefill tokens/s",
            "decode tokens/s",
            "ITL p50 ms",
            "ITL p99 ms",
            "samples",
        ];
        let mut table = Table::new(
            format!("{}: clean pass, means over the samples (of rates: tokens / time).", view.subject(summary)),
            &columns,
        );
        table.rows.extend(view.cases(summary).map(row));
        section.add_table(table);
    }
    if !section.blocks.is_empty() {
        section.add_sentence("End is the reason why the answer ended (stop: end token; length: token limit; differs: the answers differ). ITL is the gap between two output tokens.");
    }
    section
}

/// Whether prompts have different lengths by design, so that a mean over them is not meaningful.
pub(super) fn differ_in_length(view: &RunView<'_>) -> bool {
    let differ = |lengths: Vec<usize>| {
        lengths.iter().max().zip(lengths.iter().min()).is_some_and(|(most, least)| *most > 2 * *least)
    };
    let prompts = &view.file.plan.prompts;
    differ(prompts.iter().map(|prompt| prompt.prompt_tokens).collect())
        || differ(prompts.iter().map(|prompt| prompt.new_tokens).collect())
}

fn row(case: &Case) -> Vec<String> {
    let metric = |name: &str| {
        let metric = METRICS.iter().find(|metric| metric.name == name)?;
        mean_of(metric, [case])
    };
    let is_estimate = |name: &str| case.clean_samples().any(|sample| sample.estimated.contains_key(name));
    let shown = |name: &str, show: fn(f64) -> String| marked(or_absent(metric(name).map(show)), is_estimate(name));
    let gaps = itl(case.clean_samples());
    let gap = |name: &str| marked(or_absent(gaps.get(name).copied().map(milliseconds)), is_estimate("token_times_s"));
    let tokens = |value: fn(&Sample) -> Option<usize>| {
        let all: Vec<usize> = case.clean_samples().filter_map(value).collect();
        let same = all.windows(2).all(|pair| pair[0] == pair[1]);
        let mean = mean(&all.iter().map(|&n| n as f64).collect::<Vec<f64>>());
        or_absent(mean.map(|mean| if same { format!("{mean:.0}") } else { format!("{mean:.1}") }))
    };
    let outputs: BTreeSet<_> = case.clean_samples().filter_map(|sample| sample.output_sha256.as_ref()).collect();
    let end = case.output.as_ref().map(|output| output.finish_reason.clone());
    let status = if case.status == Status::Ok { String::new() } else { format!(" ({})", case.status.word()) };
    vec![
        format!("{}{status}", case.prompt),
        tokens(|sample| sample.prompt_tokens.value()),
        marked(tokens(|sample| sample.output_tokens.value()), is_estimate("output_tokens")),
        or_absent(end.map(|end| if outputs.len() > 1 { "differs".to_owned() } else { end })),
        shown("latency_s", significant),
        shown("ttft_s", milliseconds),
        shown("tps", significant),
        shown("prefill_tps", significant),
        shown("decode_tps", significant),
        gap("p50"),
        gap("p99"),
        case.clean_samples().count().to_string(),
    ]
}
