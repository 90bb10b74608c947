//! `inferometer compare BASELINE OTHER ...`.

use std::path::Path;

use analyse::compare::{Gate, Outcome, Sides, THRESHOLD, compare, outcome};
use clap::Args;
use record::plan::RUNS;
use report::COMPARISON_FORMATS;

use super::advice::UsageError;
use super::failure::Code;
use super::form::Form;
use super::output;

/// Compare engines, models or runs: whether they did the same work, how they differ, and how certain that is
///
/// Without arguments, the engines of the newest run below runs/ are compared. Otherwise give runs by folder or name; the first one is
/// the baseline. After a run, give engines or models of it. Results of llama-bench (json, jsonl, csv, md, sql) are accepted as a run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  inferometer run -e candle -e llama-cpp && inferometer compare
  inferometer compare runs/before runs/after --gate decode_tps=5 --gate memory_peak_bytes=10
  inferometer compare runs/mine candle llama-cpp --format html > compare.html
  inferometer compare llama-bench.json runs/mine llama-cpp

Exit codes: 0 compared, 1 nothing was compared or a gate could not be judged, 2 bad usage or input, 3 a gate failed")]
pub(super) struct Arguments {
    /// Runs, engines or models; the first is the baseline
    #[arg(value_name = "BASELINE OTHER")]
    sides: Vec<String>,
    /// Fail (exit code 3) if the whole interval of a metric is worse than the baseline by more than PERCENT; an interval that is too wide to judge is exit code 1
    #[arg(long, value_name = "METRIC=PERCENT")]
    gate: Vec<String>,
    /// The smallest difference that is relevant in practice, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = THRESHOLD * 100.0)]
    threshold: f64,
    /// The format of the report
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    let _span = tracing::info_span!("compare", format = arguments.format.name()).entered();
    if !(arguments.threshold > 0.0 && arguments.threshold.is_finite()) {
        return Err(UsageError::new(
            format!("--threshold {}: expected more than 0 percent", arguments.threshold),
            format!("omit it for {} percent", THRESHOLD * 100.0),
        )
        .into());
    }
    let gates = arguments.gate.iter().map(|gate| gate.parse::<Gate>()).collect::<Result<Vec<_>, _>>()?;
    let sides = Sides::of(record::sources(&arguments.sides, Path::new(RUNS))?)?;
    let mut found = compare(&sides, arguments.threshold / 100.0, &gates);
    found.tool = crate::tool::tool();
    let wanted = COMPARISON_FORMATS.iter().find(|format| format.name == arguments.format.name());
    let shown = wanted.map(|format| (format.render)(&found, &sides, output::text_options())).unwrap_or_default();
    output::print(&shown)?;
    for gate in found.gates.iter().filter(|gate| gate.outcome != Outcome::Passed) {
        output::complain(&format!("gate {} of {}: {}\n", gate.metric, gate.subject, gate.text));
    }
    if found.contrasts.is_empty() {
        // Without a comparison no gate has passed.
        output::complain("nothing was compared: the sides have no cases in common (reasons above)\n");
        return Ok(Code::SomeFailed);
    }
    Ok(match outcome(&found) {
        _ if gates.is_empty() => Code::Done,
        Outcome::Passed => Code::Done,
        Outcome::Failed => Code::GateFailed,
        Outcome::NotJudged => Code::SomeFailed,
    })
}
