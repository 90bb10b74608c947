//! Prompts as a model takes them: rendered through its chat template, with the token ids that follow.

use models::chat::{ChatTemplate, Message, PLAIN, RenderOptions};
use models::{Checkpoint, EncodeOptions, Tokenizer};
use prompts::{Prompt, Set};

use super::model::new_tokens;
use super::tokens::Ordinary;
use crate::plan::Options;
use crate::worker::Input;
use record::Error;
use record::nearest;
use record::plan::PromptChoice;

/// A prompt for one model.
#[derive(Debug, Clone)]
pub struct PreparedPrompt {
    /// Its id.
    pub id: String,
    /// What it tests.
    pub tests: String,
    /// The text after the chat template; empty where the prompt is token ids.
    pub rendered: String,
    /// What the engine is given.
    pub input: Input,
    /// The token ids that the engine should see.
    pub ids: Vec<u32>,
    /// At most so many tokens come out.
    pub new_tokens: usize,
}

/// The prompts that were asked for.
///
/// # Errors
/// When there is no such set, or the file is no prompt set.
pub fn prompt_set(choice: &PromptChoice) -> Result<Set, Error> {
    let usage = |error: prompts::Error| Error::usage(error.to_string(), error.advice());
    match choice {
        PromptChoice::Set(name) => Set::named(name).map_err(|error| {
            let names: Vec<_> = prompts::SETS.iter().map(|source| source.name).collect();
            Error::usage(format!("{error}{}", nearest(name, &names)), error.advice())
        }),
        PromptChoice::File(path) => Set::from_file(path).map_err(usage),
        PromptChoice::Text(text) => Ok(Set::of_text(text)),
        PromptChoice::Tokens(tokens) => Ok(Set::of_tokens(*tokens)),
    }
}

/// Renders and tokenizes every prompt of a set.
pub(super) fn prepare(
    options: &Options,
    set: &Set,
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    ordinary: &Ordinary,
) -> Result<Vec<PreparedPrompt>, Error> {
    let template =
        ChatTemplate::new(checkpoint.chat_template().unwrap_or(PLAIN), checkpoint.bos_text(), checkpoint.eos_text());
    // Without the template nothing depends on whether it parses.
    let template = if options.raw { template.ok() } else { Some(template?) };
    set.prompts.iter().map(|prompt| one(options, prompt, template.as_ref(), tokenizer, ordinary)).collect()
}

/// A prompt for a model whose tokenizer only a server has.
pub(super) fn served(options: &Options, prompt: &Prompt) -> Result<PreparedPrompt, Error> {
    let prompts::Input::Text { text, system } = &prompt.input else {
        return Err(Error::usage(
            format!("prompt `{}` is a number of tokens, and only the server has the tokenizer of its model", prompt.id),
            "name the file of the model with -m, or give --prompt TEXT",
        ));
    };
    let system = system.as_ref().map(|text| Message::new("system", text));
    let messages = system.into_iter().chain([Message::new("user", text)]).filter(|_| !options.raw).collect();
    Ok(PreparedPrompt {
        id: prompt.id.clone(),
        tests: prompt.tests.clone(),
        rendered: String::new(),
        input: Input::Text { text: text.clone(), add_bos: false, messages },
        ids: Vec::new(),
        new_tokens: new_tokens(options, prompt.new_tokens),
    })
}

fn one(
    options: &Options,
    prompt: &Prompt,
    template: Option<&ChatTemplate>,
    tokenizer: &Tokenizer,
    ordinary: &Ordinary,
) -> Result<PreparedPrompt, Error> {
    let (rendered, input, ids) = match &prompt.input {
        prompts::Input::Tokens(count) => {
            let ids = ordinary.draw(*count, options.seed, &prompt.id);
            (String::new(), Input::Tokens(ids.clone()), ids)
        }
        prompts::Input::Text { text, system } => {
            let mut asked = Vec::new();
            let rendered = match template {
                Some(template) if !options.raw => {
                    let system = system.as_ref().map(|text| Message::new("system", text));
                    asked.extend(system.into_iter().chain([Message::new("user", text)]));
                    template.render(&asked, RenderOptions::default())?
                }
                _ => text.clone(),
            };
            // Templates that write BOS themselves must not get a second one.
            let add_bos = tokenizer.wants_bos(&rendered);
            let ids = tokenizer.encode(&rendered, EncodeOptions { add_bos, parse_special: true })?;
            (rendered.clone(), Input::Text { text: rendered, add_bos, messages: asked }, ids)
        }
    };
    if ids.is_empty() {
        return Err(Error::usage(
            format!("prompt `{}` is empty: expected at least one token", prompt.id),
            "give the prompt a text",
        ));
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
