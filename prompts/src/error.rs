//! [`Error`]: why a prompt set cannot be read, with the place in the file.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// A place in a file. Line and column count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The position of a byte offset in a text.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[start..].chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

/// Why a prompt set cannot be read. [`Error::advice`] is apart from the text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No set has this name.
    #[error("there is no prompt set \"{name}\"")]
    UnknownSet {
        /// The requested name.
        name: String,
        /// The names of all sets.
        known: Vec<&'static str>,
    },
    /// The file cannot be read.
    #[error("cannot read the prompt set {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says, or why it is not text.
        source: text_input::Error,
    },
    /// The text is not a prompt set.
    #[error("{origin}:{position}: {problem}")]
    Invalid {
        /// The file, or the name of the set.
        origin: String,
        /// The place of the error.
        position: Position,
        /// What was expected and what was found.
        problem: String,
        /// How to correct it.
        advice: &'static str,
    },
}

impl Error {
    /// What to do about it.
    pub fn advice(&self) -> Cow<'_, str> {
        match self {
            Self::UnknownSet { known, .. } => {
                Cow::Owned(format!("the sets are {}, or give the path of a TOML file", known.join(", ")))
            }
            Self::Unreadable { source, .. } => {
                Cow::Borrowed(source.advice().unwrap_or("give the name of a set or the path of a readable TOML file"))
            }
            Self::Invalid { advice, .. } => Cow::Borrowed(advice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "ab\nçd\n";
        assert_eq!(Position::of(text, 0), Position { line: 1, column: 1 });
        assert_eq!(Position::of(text, 5), Position { line: 2, column: 2 });
        assert_eq!(Position::of(text, 99), Position { line: 3, column: 1 });
    }
}
