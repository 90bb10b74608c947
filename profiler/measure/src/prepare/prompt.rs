//! Prepares prompts for a model: renders them through its chat template and tokenizes them.

use engine_api::EncodedText;
use models::Checkpoint;
use models::chat::{ChatTemplate, Message, PLAIN, RenderOptions};
use prompts::{Prompt, Set};
use record::plan::{PlannedTemplate, PromptChoice, Substitution};
use record::{Error, Reason, nearest};

use super::prepare_error::PrepareError;
use super::tokens::OrdinaryTokens;
use super::vocabulary::Vocabulary;
use crate::plan::{DEFAULT_NEW_TOKENS, Options, PreparedPrompt, PromptInput};

/// The prompts of a run.
///
/// # Errors
/// When the set does not exist, or the file is not a prompt set.
pub(super) fn prompt_set(choice: &PromptChoice) -> Result<Set, PrepareError> {
    match choice {
        PromptChoice::Set(name) => Set::named(name).map_err(|error| {
            let names: Vec<_> = prompts::SETS.iter().map(|source| source.name).collect();
            PrepareError::PromptSet { error, near: nearest(name, &names) }
        }),
        PromptChoice::File(path) => {
            Set::from_file(path).map_err(|error| PrepareError::PromptSet { error, near: String::new() })
        }
        PromptChoice::Text(text) => Ok(Set::of_text(text)),
        PromptChoice::Tokens(tokens) => Ok(Set::of_tokens(*tokens)),
    }
}

/// The chat template of a model, parsed, and what is recorded of it.
pub(super) struct Format {
    template: Option<ChatTemplate>,
    pub(super) planned: Result<PlannedTemplate, Reason>,
    pub(super) substitution: Option<Substitution>,
}

/// The chat template that the prompts of a set are rendered with.
///
/// # Errors
/// When the model's template cannot be parsed, or the model has several and none is the default one. A template that no prompt needs
/// is not read.
pub(super) fn format(options: &Options, set: &Set, checkpoint: &Checkpoint) -> Result<Format, Error> {
    let without = |reason| Ok(Format { template: None, planned: Err(Reason::new(reason)), substitution: None });
    if options.workload.raw {
        return without("the prompts are sent without a chat template");
    }
    if !set.prompts.iter().any(|prompt| matches!(prompt.input, prompts::Input::Text { .. })) {
        return without("the prompts are token ids");
    }
    let tokens = checkpoint.special_tokens()?;
    let Some(source) = checkpoint.chat_template()? else {
        return Ok(Format {
            template: Some(ChatTemplate::new(PLAIN, &tokens)?),
            planned: Err(Reason::new("the model has no chat template")),
            substitution: Some(Substitution::new("chat template", "a line `role: text` for each message")),
        });
    };
    let planned = PlannedTemplate {
        sha256: source.sha256(),
        place: source.place,
        name: source.name,
        others: source.others,
        date: source.text.contains("strftime_now").then(|| RenderOptions::default().date.to_string()),
    };
    Ok(Format { template: Some(ChatTemplate::new(&source.text, &tokens)?), planned: Ok(planned), substitution: None })
}

/// Renders and tokenizes every prompt of a set.
pub(super) fn prepare(
    options: &Options,
    set: &Set,
    format: &Format,
    vocabulary: &Vocabulary,
    ordinary: &OrdinaryTokens,
) -> Result<Vec<PreparedPrompt>, Error> {
    set.prompts.iter().map(|prompt| one(options, prompt, format.template.as_ref(), vocabulary, ordinary)).collect()
}

/// Prepares a prompt for a model whose tokenizer only a server has.
pub(super) fn served(options: &Options, prompt: &Prompt) -> Result<PreparedPrompt, Error> {
    let prompts::Input::Text { text, system } = &prompt.input else {
        return Err(PrepareError::TokensOfServer { id: prompt.id.clone() }.into());
    };
    let system = system.as_ref().map(|text| Message::new("system", text));
    let messages = system.into_iter().chain([Message::new("user", text)]).filter(|_| !options.workload.raw).collect();
    Ok(PreparedPrompt {
        id: prompt.id.clone(),
        tests: prompt.tests.clone(),
        rendered: String::new(),
        input: PromptInput::Text { text: text.clone(), add_bos: false, messages },
        ids: Vec::new(),
        new_tokens: new_tokens(options, prompt.new_tokens),
    })
}

fn one(
    options: &Options,
    prompt: &Prompt,
    template: Option<&ChatTemplate>,
    vocabulary: &Vocabulary,
    ordinary: &OrdinaryTokens,
) -> Result<PreparedPrompt, Error> {
    let (rendered, input, ids) = match &prompt.input {
        prompts::Input::Tokens(count) => {
            let ids = ordinary.draw(*count, options.design.seed, &prompt.id);
            (String::new(), PromptInput::Tokens(ids.clone()), ids)
        }
        prompts::Input::Text { text, system } => {
            let mut messages = Vec::new();
            let rendered = match template {
                Some(template) => {
                    let system = system.as_ref().map(|text| Message::new("system", text));
                    messages.extend(system.into_iter().chain([Message::new("user", text)]));
                    template.render(&messages, RenderOptions::default())?
                }
                None => text.clone(),
            };
            if !vocabulary.has_texts() {
                return Err(PrepareError::TextWithoutVocabulary { id: prompt.id.clone() }.into());
            }
            // Templates that write BOS themselves must not get a second one.
            let EncodedText { ids, add_bos } = vocabulary.encode(&rendered, true)?;
            (rendered.clone(), PromptInput::Text { text: rendered, add_bos, messages }, ids)
        }
    };
    if ids.is_empty() {
        return Err(PrepareError::EmptyPrompt { id: prompt.id.clone() }.into());
    }
    Ok(PreparedPrompt {
        id: prompt.id.clone(),
        tests: prompt.tests.clone(),
        rendered,
        input,
        ids,
        new_tokens: new_tokens(options, prompt.new_tokens),
    })
}

/// New tokens of a prompt: the number on the command line, else the prompt's own, else the default.
fn new_tokens(options: &Options, own: Option<usize>) -> usize {
    options.workload.new_tokens.or(own).unwrap_or(DEFAULT_NEW_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_sets_suggest_a_known_one() {
        let text = prompt_set(&PromptChoice::Set("sead".to_owned())).unwrap_err().to_string();
        assert!(text.contains("sead") && text.contains("did you mean `seed`?"), "{text}");
        assert!(prompt_set(&PromptChoice::Text("hi".to_owned())).is_ok());
        assert!(prompt_set(&PromptChoice::File("/nowhere.toml".into())).is_err());
    }
}
