//! What was measured: engines, models, prompts and settings.

use super::RunView;
use crate::content::{Block, Section};
use crate::figures::count;
use analyse::served_weights::served_weights;
use record::plan::{PlannedModel, WeightSource};
use record::{Action, Case, Recorded, Setting, Status};

pub(super) fn section(view: &RunView<'_>) -> Section {
    let file = view.file;
    let plan = &file.plan;
    let mut section = Section::short("What was measured");
    let mut properties = Vec::new();
    let mut property = |name: &str, value: String| properties.push((name.to_owned(), value));
    let unnamed = std::iter::repeat(None);
    for (engine, label) in file.environment.engines.iter().zip(plan.engines.iter().map(Some).chain(unnamed)) {
        let features =
            if engine.features.is_empty() { String::new() } else { format!(", {}", engine.features.join(" ")) };
        let own = engine.label();
        let named = label.filter(|label| **label != own).map(|label| format!("{label} = ")).unwrap_or_default();
        property("engine", format!("{named}{own} {} on {}{features}", engine.version, engine.device));
    }
    for model in &plan.models {
        property("model", model_text(view, model));
        if let Some(text) = template_text(model) {
            property("chat template", text);
        }
    }
    let ids: Vec<&str> = plan
        .prompts
        .iter()
        .filter(|prompt| plan.models.first().is_none_or(|model| model.name == prompt.model))
        .map(|prompt| prompt.id.as_str())
        .collect();
    property(
        "prompts",
        format!(
            "{}: {}{}",
            plan.prompt_set,
            ids.join(", "),
            if plan.raw { " (raw, without the chat template)" } else { "" }
        ),
    );
    let rounds = match plan.warmup {
        Some(requests) => count(requests, "warm-up request"),
        None => "warm-up (at most 4 requests, until two consecutive ones differ by less than 5 %)".to_owned(),
    };
    property(
        "requests",
        format!(
            "{}{} per case after {rounds}, at most {} new tokens, temperature 0, seed {}{}",
            match (plan.precision, plan.budget_s) {
                (Some(_), _) => "at least ",
                (None, Some(_)) => "at most ",
                (None, None) => "",
            },
            plan.runs,
            new_tokens(view),
            plan.seed,
            eos(view)
        ),
    );
    property("threads", if file.threads_are_names() { "the server's own".to_owned() } else { list(&plan.threads) });
    if plan.depths.iter().any(|&depth| depth > 0) {
        property("depth", format!("{} tokens in the context before the prompt", list(&plan.depths)));
    }
    if view.file.environment.engines.iter().any(|engine| !engine.device.is_remote()) {
        property("KV cache", plan.kv_type.to_string());
    }
    if !plan.settings.is_empty() {
        property(
            "settings",
            plan.settings
                .iter()
                .map(|(engine, key, value)| format!("{engine}.{key}={value}"))
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    property("cases", cases_text(&file.cases));
    property("started", file.started.clone());
    if file.finished.is_absent() {
        let text = format!(
            "not yet: the run is still active, or it was killed. This report has the samples until then; {} with the same options continues the run",
            Action::ResumeRun
        );
        property("ended", text);
    }
    section.blocks.push(Block::Properties(properties));
    section
}

/// `2 of 4 ok, 1 failed, 1 incomplete`.
fn cases_text(cases: &[Case]) -> String {
    let count = |status: Status| cases.iter().filter(|case| case.status == status).count();
    let others = [Status::Failed, Status::Timeout, Status::Skipped].map(|status| (count(status), status.word()));
    let others = others.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!(", {count} {word}"));
    format!("{} of {} ok{}", count(Status::Ok), cases.len(), others.collect::<String>())
}

fn model_text(view: &RunView<'_>, model: &PlannedModel) -> String {
    let hash =
        model.sha256.as_deref().map(|hash| format!(", sha256 {}", &hash[..hash.len().min(12)])).unwrap_or_default();
    let (Some(parameters), Some(bytes)) = (model.parameters.value(), model.file_bytes.value()) else {
        let asked =
            if model.reference.is_empty() { String::new() } else { format!(", requested as {}", model.reference) };
        return format!("{}: the server's model, whose files this program did not read{asked}", model.name);
    };
    let (parameters, size) = (models::Params(parameters), models::Bytes(bytes));
    format!(
        "{}: {} {}, {parameters} parameters, {size} {}, from {}{hash}{}, context {}{}",
        view.model(&model.name),
        model.architecture,
        model.quantisation,
        model.format,
        model.origin,
        model.source.as_ref().map(source_text).unwrap_or_default(),
        model.context,
        on_word(view, model)
    )
}

/// The note for a model that a server runs: this program did not read its file there, and has the user's word that the weights are these.
fn on_word(view: &RunView<'_>, model: &PlannedModel) -> String {
    let weights = served_weights(view.file).into_iter().filter(|weights| weights.model == model.name);
    let mut servers: Vec<String> = weights.map(|weights| weights.server).collect();
    servers.dedup();
    match servers.as_slice() {
        [] => String::new(),
        servers => {
            format!("; {} has these weights on your word: {} names the file", servers.join(", "), Setting::Model)
        }
    }
}

/// The chat template of a model's prompts, or why there is none. Runs of the first version do not say it.
fn template_text(model: &PlannedModel) -> Option<String> {
    let template = match &model.chat_template {
        Recorded::Present(template) => template,
        Recorded::Absent(_) => return model.chat_template.stated_reason().map(|reason| format!("none: {reason}")),
    };
    let hash = template.sha256.get(..12).unwrap_or(&template.sha256);
    let date = template.date.as_ref().map(|date| format!(", with the date {date}")).unwrap_or_default();
    let others = match template.others.as_slice() {
        [] => String::new(),
        others => format!("; not used: {}", others.join(", ")),
    };
    Some(format!("{} of {}, sha256 {hash}{date}{others}", template.name, template.place))
}

/// `, made from F16 (sha256 0123456789ab) with an error of 0.5500 %`
fn source_text(source: &WeightSource) -> String {
    let file =
        |quantisation: &str, sha256: &str| format!("{quantisation} (sha256 {})", sha256.get(..12).unwrap_or(sha256));
    let first = file(&source.quantisation, &source.sha256);
    let error = source.error.map(|error| format!(" with an error of {:.4} %", error * 100.0)).unwrap_or_default();
    match &source.given {
        None => format!(", made from {first}{error}"),
        Some(given) => {
            format!(", made from {}{error}, which was made from {first}", file(&given.quantisation, &given.sha256))
        }
    }
}

fn new_tokens(view: &RunView<'_>) -> String {
    let mut limits: Vec<usize> = view.file.plan.prompts.iter().map(|prompt| prompt.new_tokens).collect();
    limits.sort_unstable();
    limits.dedup();
    list(&limits)
}

fn eos(view: &RunView<'_>) -> &'static str {
    let is_served = view.file.cases.iter().any(|case| case.server.is_some());
    match (view.file.plan.ignore_eos, is_served) {
        (false, _) => "",
        (true, false) => ", continuing after the end token",
        (true, true) => ", continuing after the end token where the server can be asked to",
    }
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_one_word() {
        let case = |status| Case { status, ..Case::default() };
        let of = |cases: &[Status]| cases_text(&cases.iter().map(|status| case(*status)).collect::<Vec<_>>());
        assert_eq!(of(&[Status::Ok, Status::Ok]), "2 of 2 ok");
        let all = [Status::Ok, Status::Skipped, Status::Timeout, Status::Failed, Status::Skipped];
        assert_eq!(of(&all), "1 of 5 ok, 1 failed, 1 timed out, 2 incomplete");
    }

    #[test]
    fn the_file_that_is_named_for_a_server_is_on_word() {
        let planned = PlannedModel {
            name: "m".to_owned(),
            parameters: 1000.into(),
            file_bytes: 900.into(),
            ..PlannedModel::absent("not recorded")
        };
        let server = record::ServerFile {
            url: "http://h:1".to_owned(),
            software: "vllm".to_owned().into(),
            ..record::ServerFile::absent("not asked")
        };
        let mut file = record::RunFile::default();
        file.plan.models = vec![planned];
        let of = |file: &record::RunFile| {
            let view = RunView { file };
            (view.model("m"), model_text(&view, &file.plan.models[0]))
        };
        let (name, text) = of(&file);
        assert!(name == "m" && !text.contains("your word"), "{text}");
        file.cases = vec![Case { model: "m".to_owned(), server: Some(server), ..Case::default() }];
        file.environment.engines = vec![engine_api::Identity {
            name: "openai".to_owned(),
            variant: None,
            version: "1".to_owned(),
            device: engine_api::Device::Server,
            features: Vec::new(),
            weight_use: engine_api::WeightUse::default(),
        }];
        let (name, text) = of(&file);
        assert_eq!(name, "m (on your word)");
        assert!(
            text.ends_with("; vllm at http://h:1 has these weights on your word: `models` names the file"),
            "{text}"
        );
    }
}
