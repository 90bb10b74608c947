//! The formats of a report on the command line.

use clap::ValueEnum;

/// The names of `report::FORMATS` and `COMPARISON_FORMATS` for clap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For a terminal
    Text,
    /// Markdown; of a comparison the main findings, for a comment on a pull request
    Md,
    /// One page with charts, without other files
    Html,
    /// A table: one row per sample, or per metric, prompt and pair
    Csv,
    /// Everything, for programs
    Json,
}

impl Form {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Md => "md",
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

#[cfg(test)]
mod tests {
    use report::{COMPARISON_FORMATS, FORMATS};

    use super::*;

    #[test]
    fn the_formats_are_those_of_the_registries() {
        let mut offered: Vec<&str> = Form::value_variants().iter().map(|form| form.name()).collect();
        offered.sort_unstable();
        assert_eq!(offered, FORMATS.iter().map(|format| format.name).collect::<Vec<_>>());
        assert_eq!(offered, COMPARISON_FORMATS.iter().map(|format| format.name).collect::<Vec<_>>());
    }
}
