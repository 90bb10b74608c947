//! Notes of a case: facts in words.

use serde::{Deserialize, Serialize};

use super::recorded::without_reason;
use super::{Reason, Reasons};

/// What a note of a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaseNote {
    /// That [`CaseOutput::prompt_ids`](super::CaseOutput::prompt_ids) differ from the ids of this program's tokenizer.
    PromptIds,
    /// Why [`Case::threads`](super::Case::threads) is a name and no number of threads.
    Threads,
    /// Why a session was loaded for the case alone.
    Session,
    /// Why no sample has a decode rate.
    DecodeTps,
    /// The position that a generation of a llama-bench file starts from, where it is not the end of the prompt.
    DecodedAfter,
    /// How the output tokens of a llama-bench file are counted.
    OutputTokens,
}

impl CaseNote {
    /// Its key in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PromptIds => "prompt_ids",
            Self::Threads => "threads",
            Self::Session => "session",
            Self::DecodeTps => "decode_tps",
            Self::DecodedAfter => "decoded_behind",
            Self::OutputTokens => "output_tokens",
        }
    }
}

/// The notes of a case, and notes on its counters by their names. Notes of other versions of this program are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaseNotes(Reasons);

without_reason!(CaseNotes);

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
}

impl From<Reasons> for CaseNotes {
    fn from(notes: Reasons) -> Self {
        Self(notes)
    }
}

impl From<CaseNotes> for Reasons {
    fn from(notes: CaseNotes) -> Self {
        notes.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Case, Recorded, RecordedList};

    #[test]
    fn notes_and_reasons_are_one_map_in_a_file() {
        let mut case = Case {
            counters: [
                ("cycles".to_owned(), Recorded::absent("not allowed")),
                ("faults".to_owned(), Recorded::Present(2.0)),
            ]
            .into(),
            ..Case::absent(Reason::unrecorded())
        };
        case.ops = RecordedList::absent("no ops were traced");
        case.notes.set(CaseNote::Session, "loaded alone");
        case.notes.set_of_counters([("faults".to_owned(), "extrapolated".to_owned())]);
        let mut value = serde_json::to_value(&case).unwrap();
        let expected = serde_json::json!({"cycles": "not allowed", "faults": "extrapolated", "ops": "no ops were traced", "session": "loaded alone"});
        assert_eq!(value["reasons"], expected);
        assert_eq!(serde_json::from_value::<Case>(value.clone()).unwrap(), case);
        value["reasons"]["a_later_version"] = "kept".into();
        let read: Case = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(read.counters["cycles"].reason().unwrap(), &"not allowed");
        assert_eq!(serde_json::to_value(&read).unwrap(), value);
        assert_eq!(read.ops.reason().unwrap(), &"no ops were traced");
        case.notes.remove(CaseNote::Session);
        assert!(!case.notes.has(CaseNote::Session) && read.notes.has(CaseNote::Session));
    }

    #[test]
    fn a_case_of_an_earlier_version_has_no_reasons() {
        let mut value = serde_json::to_value(Case::default()).unwrap();
        for list in ["phases", "ops", "layers", "workers", "sums", "allocations", "memory_timeline"] {
            assert_eq!(value["reasons"][list], "the case was not measured", "{list}");
        }
        value.as_object_mut().unwrap().remove("reasons");
        let read: Case = serde_json::from_value(value).unwrap();
        assert_eq!(
            (read.ops.stated_reason(), serde_json::to_value(&read).unwrap()["reasons"].to_string()),
            (None, "{}".to_owned())
        );
    }
}
