//! The weights of a server, where a file is named for it: that the server has this file is what the user says.

use record::plan::PlannedModel;
use record::{RunFile, ServerFile};

/// What a server says about the file that was named for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedWeights {
    /// The model of the file.
    pub model: String,
    /// The server.
    pub server: String,
    /// What contradicts the file, without a full stop; `None` where nothing does.
    pub contradiction: Option<String>,
}

/// Each pair of a file and a server that was measured with it; none for engines that read the file themselves.
#[must_use]
pub fn served_weights(file: &RunFile) -> Vec<ServedWeights> {
    let mut found: Vec<ServedWeights> = Vec::new();
    for model in file.plan.models.iter().filter(|model| model.parameters.is_present()) {
        let cases = file.cases.iter().filter(|case| case.model == model.name);
        for server in cases.filter_map(|case| case.server.as_ref()) {
            let one = ServedWeights {
                model: model.name.clone(),
                server: named(server),
                contradiction: contradiction(model, server),
            };
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    found
}

/// `llama-server at http://localhost:8080`, or `the server at ...`.
fn named(server: &ServerFile) -> String {
    let words = server.in_words();
    if words.contains(&server.url) { words } else { format!("{words} at {}", server.url) }
}

/// What the server reports and a file cannot have: another number of parameters, or only models of other names.
fn contradiction(model: &PlannedModel, server: &ServerFile) -> Option<String> {
    let reported = server.details.get("n_params").and_then(|number| number.parse::<f64>().ok());
    if let Some((own, reported)) = model.parameters.value().zip(reported)
        && (reported / own as f64 - 1.0).abs() > PARAMETERS
    {
        return Some(format!("it reports {reported:.0} parameters, and the file has {own}"));
    }
    let names = [model.name.as_str(), model.reference.as_str(), model.path.as_str()];
    let is_named = |listed: &String| names.iter().any(|name| are_alike(name, listed));
    if server.listed_models().is_empty() || server.listed_models().iter().any(is_named) {
        return None;
    }
    let listed: Vec<String> = server.listed_models().iter().map(|name| format!("`{name}`")).collect();
    let shown = &listed[..listed.len().min(MOST)];
    let more = listed.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("it lists {}{more}", shown.join(", ")))
}

/// Numbers of parameters differ by less between programs that count tied matrices in other ways.
const PARAMETERS: f64 = 0.3;
/// The most names of a list that are shown.
const MOST: usize = 5;

/// Whether two names are of one model: the letters and digits of one's last part are within the other's.
fn are_alike(one: &str, other: &str) -> bool {
    /// Shorter names are within too many others.
    const SHORTEST: usize = 4;
    let plain = |name: &str| -> String {
        let last = name.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase();
        let stem = last.strip_suffix(".gguf").unwrap_or(&last);
        stem.chars().filter(char::is_ascii_alphanumeric).collect()
    };
    let (one, other) = (plain(one), plain(other));
    one.len().min(other.len()) >= SHORTEST && (one.contains(&other) || other.contains(&one))
}

#[cfg(test)]
mod tests {
    use record::Case;
    use record::plan::PlanFile;

    use super::*;

    fn of(listed: &[&str], details: &[(&str, &str)]) -> Vec<ServedWeights> {
        let model = PlannedModel {
            name: "smollm2-135m".to_owned(),
            path: "/models/SmolLM2-135M-Instruct.Q4_1.gguf".to_owned(),
            parameters: 134_515_008.into(),
            ..PlannedModel::absent("not recorded")
        };
        let server = ServerFile {
            software: "llama-server".to_owned().into(),
            url: "http://h:1".to_owned(),
            models: listed.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into(),
            details: details.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..ServerFile::absent("not asked")
        };
        let case = Case { model: model.name.clone(), server: Some(server), ..Case::default() };
        let plan = PlanFile { models: vec![model], ..PlanFile::default() };
        served_weights(&RunFile { plan, cases: vec![case.clone(), case], ..RunFile::default() })
    }

    #[test]
    fn names_of_one_model_are_alike() {
        for listed in [
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "C:\\m\\smollm2-135m-instruct.q4_1.gguf",
            "smollm2:135m",
            "hub/SmolLM2-135M",
        ] {
            assert_eq!(of(&[listed], &[])[0].contradiction, None, "{listed}");
        }
    }

    #[test]
    fn a_list_of_other_models_contradicts_the_file() {
        let found = of(&["gpt2", "qwen3:0.6b"], &[]);
        assert_eq!(found.len(), 1, "once for all cases");
        assert_eq!(found[0].contradiction.as_deref(), Some("it lists `gpt2`, `qwen3:0.6b`"));
        assert_eq!(found[0].server, "llama-server at http://h:1");
        let many = of(&["a1", "a2", "a3", "a4", "a5", "a6", "a7"], &[]);
        assert!(many[0].contradiction.as_deref().unwrap().ends_with("`a5` and 2 more"));
    }

    #[test]
    fn another_number_of_parameters_contradicts_it_whatever_the_name() {
        let found = of(&["smollm2-135m"], &[("n_params", "361821120")]);
        assert_eq!(
            found[0].contradiction.as_deref(),
            Some("it reports 361821120 parameters, and the file has 134515008")
        );
        assert_eq!(of(&["smollm2-135m"], &[("n_params", "134515008")])[0].contradiction, None);
    }

    #[test]
    fn what_is_not_listed_is_not_contradicted() {
        assert_eq!(of(&[], &[])[0].contradiction, None);
    }
}
