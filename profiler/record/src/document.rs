//! [`Document`]: a document that a text for users names. A report is opened far from the documents, so it names them without a link.

use std::fmt;

/// A document of this project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// What can make the numbers misleading, and where the formulas are.
    Methodology,
    /// Phases, metrics, passes.
    Metrics,
    /// Operations, ceilings, verdicts.
    RooflineAndVerdicts,
    /// Every counter.
    Counters,
    /// The options of other programs.
    FromOtherTools,
}

impl Document {
    /// Every document.
    pub const ALL: [Self; 5] =
        [Self::Methodology, Self::Metrics, Self::RooflineAndVerdicts, Self::Counters, Self::FromOtherTools];

    /// Its heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Methodology => "How inferometer measures",
            Self::Metrics => "Metrics",
            Self::RooflineAndVerdicts => "Roofline and verdicts",
            Self::Counters => "Counters",
            Self::FromOtherTools => "If you come from llama-bench, hyperfine or another tool",
        }
    }

    /// Its place in the source of the project.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Methodology => "METHODOLOGY.md",
            Self::Metrics => "docs/metrics.md",
            Self::RooflineAndVerdicts => "docs/roofline-and-verdicts.md",
            Self::Counters => "docs/counters.md",
            Self::FromOtherTools => "docs/from-other-tools.md",
        }
    }
}

/// The title, and where the document is.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ({} in the source of inferometer)", self.title(), self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_where_a_document_is() {
        insta::assert_snapshot!(Document::RooflineAndVerdicts, @r#""Roofline and verdicts" (docs/roofline-and-verdicts.md in the source of inferometer)"#);
    }
}
