//! Notes of a case: facts in words, and why its lists are empty.

use serde::{Deserialize, Serialize};

use super::recorded::Field;
use super::{Reason, Reasons, RecordedMap};

/// What a note of a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaseNote {
    /// Why [`Case::phases`](super::Case::phases) is empty.
    Phases,
    /// Why [`Case::ops`](super::Case::ops) is empty.
    Ops,
    /// Why [`Case::workers`](super::Case::workers) is empty.
    Workers,
    /// Why [`Case::allocations`](super::Case::allocations) is empty.
    Allocations,
    /// Why [`Case::memory_timeline`](super::Case::memory_timeline) is empty.
    MemoryTimeline,
    /// Why [`CaseOutput::prompt_ids`](super::CaseOutput::prompt_ids) is empty, or that it differs from the ids of this program's tokenizer.
    PromptIds,
    /// Why [`CaseOutput::rendered_prompt`](super::CaseOutput::rendered_prompt) is empty.
    RenderedPrompt,
    /// Why [`CaseOutput::top_logprobs`](super::CaseOutput::top_logprobs) is empty.
    TopLogprobs,
    /// Why [`Case::threads`](super::Case::threads) is a name and no number of threads.
    Threads,
    /// Why a session was loaded for the case alone.
    Session,
    /// Why no sample has a decode rate.
    DecodeTps,
    /// The position that a generation of a llama-bench file starts from, where it is not the end of the prompt.
    DecodedAfter,
}

impl CaseNote {
    /// Its key in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phases => "phases",
            Self::Ops => "ops",
            Self::Workers => "workers",
            Self::Allocations => "allocations",
            Self::MemoryTimeline => "memory_timeline",
            Self::PromptIds => "prompt_ids",
            Self::RenderedPrompt => "rendered_prompt",
            Self::TopLogprobs => "top_logprobs",
            Self::Threads => "threads",
            Self::Session => "session",
            Self::DecodeTps => "decode_tps",
            Self::DecodedAfter => "decoded_behind",
        }
    }
}

/// The notes of a case, and notes on its counters by their names. Notes of other versions of this program are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaseNotes(Reasons);

impl CaseNotes {
    /// A note.
    pub fn get(&self, note: CaseNote) -> Option<&str> {
        self.of_counter(note.name())
    }

    /// Whether there is a note.
    pub fn has(&self, note: CaseNote) -> bool {
        self.get(note).is_some()
    }

    /// Sets a note.
    pub fn set(&mut self, note: CaseNote, text: impl Into<Reason>) {
        self.0.insert(note.name().to_owned(), text.into().into());
    }

    /// Removes a note.
    pub fn remove(&mut self, note: CaseNote) {
        self.0.remove(note.name());
    }

    /// The note on a counter, such as how far it is extrapolated.
    pub fn of_counter(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets notes on counters, by their names.
    pub fn set_of_counters(&mut self, notes: impl IntoIterator<Item = (String, String)>) {
        self.0.extend(notes);
    }

    /// All notes with their keys in files.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Adds the reasons of absent counters.
    pub(crate) fn add_reasons_of(&mut self, counters: &RecordedMap) {
        counters.add_reasons("counters", &mut self.0);
    }

    /// Moves the reasons of absent counters to them.
    pub(crate) fn give_reasons_to(&mut self, counters: &mut RecordedMap) {
        counters.take_reasons("counters", &mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Case, Recorded};

    #[test]
    fn notes_and_reasons_of_counters_are_one_map_in_a_file() {
        let mut case = Case {
            counters: [
                ("cycles".to_owned(), Recorded::absent("not allowed")),
                ("faults".to_owned(), Recorded::Present(2.0)),
            ]
            .into(),
            ..Case::default()
        };
        case.notes.set(CaseNote::Ops, "no ops were traced");
        case.notes.set_of_counters([("faults".to_owned(), "extrapolated".to_owned())]);
        let mut value = serde_json::to_value(&case).unwrap();
        let expected =
            serde_json::json!({"cycles": "not allowed", "faults": "extrapolated", "ops": "no ops were traced"});
        assert_eq!(value["reasons"], expected);
        assert_eq!(serde_json::from_value::<Case>(value.clone()).unwrap(), case);
        value["reasons"]["a_later_version"] = "kept".into();
        let read: Case = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(read.counters["cycles"].reason().unwrap(), &"not allowed");
        assert_eq!(serde_json::to_value(&read).unwrap(), value);
        case.notes.remove(CaseNote::Ops);
        assert!(!case.notes.has(CaseNote::Ops) && read.notes.has(CaseNote::Ops));
    }

    #[test]
    fn a_case_without_notes_has_an_empty_map() {
        let mut value = serde_json::to_value(Case::default()).unwrap();
        assert_eq!(value["reasons"], serde_json::json!({}));
        value.as_object_mut().unwrap().remove("reasons");
        assert_eq!(serde_json::from_value::<Case>(value).unwrap(), Case::default(), "files of earlier versions");
    }
}
