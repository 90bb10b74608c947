//! Models with experts: what a pass reads of their weights, and how evenly tokens are spread over the experts of a layer.

use analyse::experts::{LayerBalance, PassReads, layer_balance, pass_reads};
use engine_api::Phase;

use super::RunView;
use crate::content::Section;
use crate::figures::{count, or_absent, percent};
use crate::table::Table;
use record::figures::significant;
use record::{Case, Document, PhaseOrOther, Summary};

/// What a token and a pass over the prompt read.
pub(super) fn short(view: &RunView<'_>) -> Section {
    let mut section = Section::short("Experts");
    for summary in &view.file.summaries {
        let cases: Vec<&Case> = view.cases(summary).collect();
        let subject = view.subject(summary);
        let reads = pass_reads(&cases);
        let count = layer_balance(&cases).iter().map(|layer| layer.experts).max();
        if let Some(sentence) = sentence(&reads, count, weight_bytes(view, summary, &cases)) {
            section.add_sentence(format!("{subject}: {sentence}"));
        } else if let Some(reason) = cases.iter().find_map(|case| case.experts.as_ref()?.stated_reason()) {
            section.add_sentence(format!("{subject}: which experts ran is not known: {reason}."));
        }
    }
    section
}

/// What passes of each size read, and the balance of each layer.
pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Experts by pass and layer");
    for summary in &view.file.summaries {
        let cases: Vec<&Case> = view.cases(summary).collect();
        section.add_table(reads(view, summary, &cases));
        section.add_table(layers(view, summary, &layer_balance(&cases)));
    }
    if !section.blocks.is_empty() {
        section.add_sentence(format!(
            "Distinct experts and GB are means over the passes of one size. An even choice takes each expert with the same probability, independently for each token. Max / mean is the number of tokens of the expert with most tokens / the mean over the experts of the layer (1 = even); by chance is what an even choice of as many tokens gives, so that only what is above it shows an uneven router. Entropy is 1 for an even use. See {}.",
            Document::Metrics
        ));
    }
    section
}

/// Bytes of all weights of a model.
fn weight_bytes(view: &RunView<'_>, summary: &Summary, cases: &[&Case]) -> Option<f64> {
    let measured = cases.iter().find_map(|case| case.memory.weights_bytes.value()).map(|bytes| bytes as f64);
    let of_plan = || {
        let model = view.file.plan.models.iter().find(|model| model.name == summary.model)?;
        Some(model.parameters.value()? as f64 * model.bits_per_weight.value()? / 8.0)
    };
    measured.or_else(of_plan)
}

/// `None` where no decoded token and no pass over the prompt has its bytes.
fn sentence(reads: &[PassReads], experts: Option<usize>, weight_bytes: Option<f64>) -> Option<String> {
    let (experts, weights) = (experts?, significant(weight_bytes? / 1e9));
    let of =
        |phase: Phase| reads.iter().filter(move |of| of.phase == phase).filter_map(|of| Some((of, of.streamed_bytes?)));
    let text = |pass: String, (of, bytes): (&PassReads, f64)| {
        let read = significant(bytes / 1e9);
        let distinct = significant(of.distinct);
        format!(
            "{pass} reads {read} of {weights} GB (weights and cache) and uses {distinct} of {experts} experts per layer"
        )
    };
    let decoded = of(Phase::Decode).find(|(of, _)| of.tokens == 1).map(|of| text("a decoded token".to_owned(), of));
    let prompt = of(Phase::Prefill).max_by_key(|(of, _)| of.tokens);
    let prompt = prompt.map(|of| text(format!("a pass over {} of the prompt", count(of.0.tokens, "token")), of));
    let parts: Vec<String> = decoded.into_iter().chain(prompt).collect();
    (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
}

fn reads(view: &RunView<'_>, summary: &Summary, cases: &[&Case]) -> Table {
    let caption = format!("{}: what a pass reads, traced pass, all prompts.", view.subject(summary));
    let columns = [
        "<phase",
        "tokens per pass",
        "passes",
        "distinct experts per layer",
        "by an even choice",
        "GB of experts",
        "GB of weights and cache",
        "relative to all weights",
    ];
    let mut table = Table::new(caption, &columns);
    let model = view.file.plan.models.iter().find(|model| model.name == summary.model);
    let spec = model.and_then(|model| model.spec.as_ref());
    let experts = spec.and_then(|spec| spec.layers.iter().find_map(|layer| layer.feed_forward.experts()));
    let weights = weight_bytes(view, summary, cases);
    let gigabytes = |bytes: Option<f64>| or_absent(bytes.map(|bytes| significant(bytes / 1e9)));
    for of in pass_reads(cases) {
        table.rows.push(vec![
            of.phase.to_string(),
            of.tokens.to_string(),
            of.passes.to_string(),
            significant(of.distinct),
            or_absent(experts.map(|experts| significant(experts.expected_distinct(of.tokens)))),
            gigabytes(of.expert_bytes),
            gigabytes(of.streamed_bytes),
            or_absent(of.streamed_bytes.zip(weights).map(|(read, all)| percent(read / all))),
        ]);
    }
    table
}

/// One row for each layer, with the figures of both phases.
fn layers(view: &RunView<'_>, summary: &Summary, layers: &[LayerBalance]) -> Table {
    let caption = format!("{}: balance of the experts of a layer, traced pass, all prompts.", view.subject(summary));
    let columns =
        ["<phase", "layer", "experts used", "tokens x experts", "busiest", "max / mean", "by chance", "entropy"];
    let mut table = Table::new(caption, &columns);
    let forward = |of: &&LayerBalance| !matches!(of.phase, PhaseOrOther::Other);
    for of in layers.iter().filter(forward) {
        table.rows.push(vec![
            of.phase.to_string(),
            of.layer.to_string(),
            format!("{} of {}", of.used, of.experts),
            of.pairs.to_string(),
            of.busiest.to_string(),
            significant(of.balance.max_to_mean),
            significant(of.balance.by_chance),
            significant(of.balance.entropy),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use record::{ExpertPassRow, ExpertRow, RecordedList, RunFile};

    use super::*;

    fn file() -> RunFile {
        let pass = |phase: Phase, pass_tokens, distinct, bytes: f64| ExpertPassRow {
            phase: phase.into(),
            pass_tokens,
            passes: 2,
            distinct,
            expert_bytes: (bytes / 2.0).into(),
            streamed_bytes: bytes.into(),
            ..ExpertPassRow::absent("unused")
        };
        let row = |phase: Phase, layer, tokens: &[u64]| ExpertRow {
            phase: phase.into(),
            layer,
            tokens: tokens.to_vec(),
            ..ExpertRow::absent("unused")
        };
        let mut case = Case {
            engine: "e".to_owned(),
            model: "m".to_owned(),
            experts: Some([row(Phase::Prefill, 0, &[20; 4]), row(Phase::Decode, 0, &[3, 9, 0, 0])].into()),
            expert_passes: vec![
                pass(Phase::Prefill, 20, 4.0, 15.1e9),
                pass(Phase::Prefill, 3, 3.5, 12e9),
                pass(Phase::Decode, 1, 2.0, 3.4e9),
            ],
            ..Case::default()
        };
        case.memory.weights_bytes = 17_200_000_000.into();
        let summary = Summary { engine: "e".to_owned(), model: "m".to_owned(), ..Summary::absent("unused") };
        RunFile { cases: vec![case], summaries: vec![summary], ..RunFile::default() }
    }

    fn text(section: &Section) -> String {
        let content = crate::Content { title: String::new(), sections: vec![section.clone()] };
        crate::text(&content, crate::TextOptions::default())
    }

    #[test]
    fn what_passes_read_and_how_even_layers_are() {
        let mut file = file();
        let view = RunView { file: &file };
        insta::assert_snapshot!(text(&short(&view)));
        insta::assert_snapshot!(text(&section(&view)));
        file.cases[0].expert_passes.clear();
        file.cases[0].experts = Some(RecordedList::absent("the engine does not state which experts it used"));
        let view = RunView { file: &file };
        assert!(text(&short(&view)).contains("which experts ran is not known: the engine does not state"));
        assert!(section(&view).blocks.is_empty());
        file.cases[0].experts = None;
        assert!(short(&RunView { file: &file }).blocks.is_empty(), "a dense model");
    }
}
