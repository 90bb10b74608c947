//! [`Recorded`]: a system of recorded answers for tests, and the bytes of system structures.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::rusage::{BYTES, BYTES_V4, Field};
use super::system::{Question, Refusal, System, put};

/// An answer or a refusal.
type RecordedAnswer = Result<Vec<u8>, Refusal>;

/// Answers by question. Several answers to one question are answer_or_refusal in order; the last one is repeated.
#[derive(Debug, Default)]
pub(crate) struct Recorded(Vec<(Question<'static>, RefCell<VecDeque<RecordedAnswer>>)>);

impl Recorded {
    /// Adds an answer.
    pub(crate) fn with(self, question: Question<'static>, bytes: Vec<u8>) -> Self {
        self.add(question, Ok(bytes))
    }

    /// Adds a refusal.
    pub(crate) fn refusing(self, question: Question<'static>, refusal: Refusal) -> Self {
        self.add(question, Err(refusal))
    }

    /// Adds the integer of a sysctl.
    pub(crate) fn number(self, name: &'static str, number: u32) -> Self {
        self.with(Question::Value(name), number.to_ne_bytes().to_vec())
    }

    /// Adds the text of a sysctl, which ends in a zero.
    pub(crate) fn text(self, name: &'static str, text: &str) -> Self {
        self.with(Question::Value(name), [text.as_bytes(), &[0]].concat())
    }

    fn add(mut self, question: Question<'static>, answer_or_refusal: RecordedAnswer) -> Self {
        match self.0.iter().find(|(asked, _)| *asked == question) {
            Some((_, answers)) => answers.borrow_mut().push_back(answer_or_refusal),
            None => self.0.push((question, RefCell::new(VecDeque::from([answer_or_refusal])))),
        }
        self
    }
}

impl System for Recorded {
    fn ask(&self, question: Question<'_>, answer: &mut [u8]) -> Result<usize, Refusal> {
        let (_, answers) = self.0.iter().find(|(asked, _)| *asked == question).ok_or(Refusal::Absent)?;
        let mut answers = answers.borrow_mut();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        put(answer, &next.unwrap_or(Err(Refusal::Absent))?)
    }
}

/// `rusage_info_v6` with these words, all others 0.
pub(crate) fn rusage(fields: &[(Field, u64)]) -> Vec<u8> {
    let words: Vec<_> = fields.iter().map(|&(field, value)| (field.offset(), value)).collect();
    structure(BYTES, &words)
}

/// `rusage_info_v4`.
pub(crate) fn v4(fields: &[(Field, u64)]) -> Vec<u8> {
    let mut bytes = rusage(fields);
    bytes.truncate(BYTES_V4);
    bytes
}

/// A structure of so many bytes with these 64-bit words at these offsets.
pub(crate) fn structure(size: usize, words: &[(usize, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for &(offset, value) in words {
        bytes[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}
