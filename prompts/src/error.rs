//! What can be wrong with a prompt set.

use std::fmt;
use std::path::PathBuf;

/// A place in a file, both counted from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Character in the line.
    pub column: usize,
}

impl Position {
    /// The place of a byte offset in a text.
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

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No set has this name.
    #[error("there is no prompt set \"{name}\"; the sets are {}, or give the path of a TOML file", known.join(", "))]
    UnknownSet {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The file cannot be read.
    #[error("cannot read the prompt set {}: {source}; give a set's name or the path of a readable TOML file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The text is no prompt set.
    #[error("{origin}:{position}: {problem}; {advice}")]
    Invalid {
        /// The file, or the set's name.
        origin: String,
        /// Where in it.
        position: Position,
        /// What was expected and what was found.
        problem: String,
        /// What to do.
        advice: String,
    },
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
