//! The passes: which instruments were on while a request ran.

use serde::{Deserialize, Serialize};

/// Which instruments were on while a request ran. [`Pass::meaning`] defines each for reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// None inside the timed region except the clock.
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
    /// Every pass.
    pub const ALL: [Self; 4] = [Self::Clean, Self::Stepped, Self::Traced, Self::Counted];

    /// What happens in it, in one sentence without its end.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Clean => "the engine runs on its own, and only the clock is read",
            Self::Stepped => {
                "the profiler starts the phases one by one and reads memory and counters at the start and end of each"
            }
            Self::Traced => "the start and end of every operation are recorded",
            Self::Counted => "counters are read at the start and end of every operation; only the counts are used",
        }
    }

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
        for pass in Pass::ALL {
            assert_eq!(serde_json::to_value(pass).unwrap(), pass.name());
        }
    }
}
