//! The passes: which instruments were on while a request ran.

use serde::{Deserialize, Serialize};

/// Which instruments were on while a request ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// None inside the timed region: every published time.
    #[default]
    Clean,
    /// Counters at the edges of phases.
    Stepped,
    /// Marks of ops.
    Traced,
    /// Counters at the edges of ops. Its counts are used, its times are not.
    Counted,
}

impl Pass {
    /// The name in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Stepped => "stepped",
            Self::Traced => "traced",
            Self::Counted => "counted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_contain_the_names() {
        for pass in [Pass::Clean, Pass::Stepped, Pass::Traced, Pass::Counted] {
            assert_eq!(serde_json::to_value(pass).unwrap(), pass.name());
        }
    }
}
