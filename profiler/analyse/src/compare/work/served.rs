//! What is known of the work of a server: only what it reports itself. Everything else is the user's word.

use super::super::pairing::Group;
use record::{Case, PromptIdsOf, Recorded, ServerFile};
use statistics::median;

/// Details of a server under which it names the type or the quantisation of its weights.
const PRECISION: [&str; 5] = ["model_ftype", "quantization", "quantization_level", "quantisation", "dtype"];

/// The server of a group, where another process computed.
pub(super) fn server<'a>(group: &Group<'a>) -> Option<&'a ServerFile> {
    group.cases.iter().find_map(|case| case.server.as_ref())
}

/// The token ids that the model saw. In files of earlier versions, a server's are those of this program's tokenizer: they are known
/// where the server's template and tokenizer were asked and made the same of the prompt.
pub(super) fn prompt_ids(case: &Case) -> Option<&[u32]> {
    let output = case.output.as_ref()?;
    let named = match &case.server {
        None => true,
        Some(_) if output.prompt_ids_of.is_some() => true,
        Some(server) => server.before_model.as_ref().is_some_and(|before| {
            before.same_text == Recorded::Present(true) && before.same_ids == Recorded::Present(true)
        }),
    };
    Some(&*output.prompt_ids).filter(|ids| named && !ids.is_empty())
}

/// Who names them, in words; nothing for an engine that computed in this process.
pub(super) fn named_by(case: &Case) -> Option<&'static str> {
    case.server.as_ref()?;
    Some(match case.output.as_ref()?.prompt_ids_of {
        Some(PromptIdsOf::Request) => "sent as ids",
        Some(PromptIdsOf::Response) => "by the server's response",
        Some(PromptIdsOf::Tokenizer) | None => "by the server's tokenizer",
    })
}

/// Tokens of the prompt by the requests that count. The digits that bypass a prefix cache may make one token more or less of a prompt.
pub(super) fn prompt_tokens(case: &Case) -> Option<f64> {
    let counts: Option<Vec<f64>> =
        case.clean_samples().map(|sample| Some(sample.prompt_tokens.value()? as f64)).collect();
    median(&counts?)
}

/// Whether other digits in each request's prompt bypassed the server's prefix cache.
pub(super) fn has_nonce(case: &Case) -> bool {
    case.clean_samples().any(|sample| sample.server.as_ref().is_some_and(|reported| reported.nonce))
}

/// The type of its weights in the server's own words.
pub(super) fn precision(server: &ServerFile) -> Option<&str> {
    PRECISION.iter().find_map(|key| server.details.get(*key)).map(String::as_str)
}

/// Bits per weight by the size and the number of parameters that the server reports.
pub(super) fn bits_per_weight(server: &ServerFile) -> Option<f64> {
    let number = |key: &str| server.details.get(key)?.parse::<f64>().ok().filter(|number| *number > 0.0);
    Some(number("size")? * 8.0 / number("n_params")?)
}

/// The context of the server's sessions.
pub(super) fn context(server: &ServerFile) -> Option<usize> {
    server.details.get("context_length")?.parse().ok()
}

/// Whether it runs on the machine that measured it.
pub(super) fn is_here(server: &ServerFile) -> bool {
    server.started_here || server.pid.is_present()
}

/// The type that a text such as `Q4_1`, `Q4_K - Medium`, `all F32` or `torch.bfloat16` names, in one spelling.
pub(super) fn weight_type(text: &str) -> Option<String> {
    let text =
        text.to_ascii_lowercase().replace("bfloat16", "bf16").replace("float16", "f16").replace("float32", "f32");
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let is_type = |word: &&str| {
        let rest = word.trim_start_matches("bf").trim_start_matches("iq").trim_start_matches(['f', 'q']);
        rest.len() < word.len() && rest.starts_with(|letter: char| letter.is_ascii_digit())
    };
    // The suffix of a mixture: `q4_k_m` holds mostly `q4_k`.
    words
        .map(|word| word.trim_end_matches("_s").trim_end_matches("_m").trim_end_matches("_l"))
        .find(is_type)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_in_the_words_of_servers() {
        let found =
            ["Q4_1", "Q4_K - Medium", "all F32", "torch.bfloat16", "float16", "Q4_K_M", "IQ2_XS", "auto", "mlx 4bit"]
                .map(|text| weight_type(text).unwrap_or_else(|| "-".to_owned()));
        assert_eq!(found, ["q4_1", "q4_k", "f32", "bf16", "f16", "q4_k", "iq2_xs", "-", "-"]);
    }
}
