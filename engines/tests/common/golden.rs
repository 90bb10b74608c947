//! Answers of llama.cpp to compare with: what the oracle scripts write as JSON, and the comparison of greedy tokens.

use engines::{Engine, Session};
use serde::Deserialize;

/// The order of two best logits that are closer than this may differ between two correct implementations.
pub(crate) const TIE: f32 = 0.05;

/// The answers to some prompts.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) prompts: Vec<GoldenPrompt>,
}

/// The answer to a prompt, greedy and one token at a time.
#[derive(Deserialize)]
pub(crate) struct GoldenPrompt {
    pub(crate) number: usize,
    pub(crate) rendered: String,
    pub(crate) prompt_ids: Vec<u32>,
    pub(crate) generated: Vec<u32>,
    pub(crate) steps: Vec<Step>,
    /// How far the difference of the two best logits varies in llama.cpp itself.
    pub(crate) gap_noise: Option<f32>,
}

/// The two best ids of a position and their logits.
#[derive(Deserialize)]
pub(crate) struct Step {
    pub(crate) logits: [f32; 2],
}

/// The engine of this name.
pub(crate) fn engine(label: &str) -> Box<dyn Engine> {
    engines::registry::find(label).expect("it is in the registry").open().expect("it is in this build")
}

/// The golden file `NAME.json`.
pub(crate) fn golden(name: &str) -> Golden {
    let text = std::fs::read_to_string(super::fixtures().join(name)).expect("the golden file exists");
    serde_json::from_str(&text).expect("it has the fields of the scripts in tests/oracle")
}

/// The engine's tokenizer gives the ids that llama.cpp gives, with the model's BOS in front if `add_bos`.
pub(crate) fn assert_prompt_ids(session: &mut dyn Session, golden: &Golden, add_bos: bool) {
    for prompt in &golden.prompts {
        let ids = session.steps().expect("a white box").tokenize(&prompt.rendered, add_bos).expect("it tokenizes");
        assert_eq!(ids, prompt.prompt_ids, "prompt {}: token ids of the prompt", prompt.number);
    }
}

/// Greedy tokens of every prompt against the golden ones: the length of the common prefix, and the difference of llama.cpp's two
/// best logits at the first token that differs.
pub(crate) fn agreement(session: &mut dyn Session, golden: &Golden) -> Vec<(usize, f32)> {
    let mut agreed = Vec::new();
    for prompt in &golden.prompts {
        session.reset().expect("it resets");
        // Step by step: the copy in F32 has no tokenizer, which `generate` needs.
        let steps = session.steps().expect("a white box");
        steps.prefill(&prompt.prompt_ids).expect("it runs");
        let mut same = 0;
        for expected in &prompt.generated {
            if steps.sample().expect("a token") != *expected {
                break;
            }
            same += 1;
            steps.decode(*expected).expect("it runs");
        }
        let is_whole = same == prompt.generated.len();
        let gap = if is_whole { 0.0 } else { prompt.steps[same].logits[0] - prompt.steps[same].logits[1] };
        println!("prompt {}: {same} of {} tokens agree; gap there {gap}", prompt.number, prompt.generated.len());
        agreed.push((same, gap));
    }
    agreed.sort_by_key(|(same, _)| *same);
    agreed
}
