//! The reasons why there is no interval.

/// Why an interval could not be computed. [`NoInterval::needs_more_rounds`] is apart from the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoInterval {
    /// There are no values.
    #[error("no sample")]
    NoSample,
    /// There is one value.
    #[error("one sample: an interval needs at least two")]
    OneSample,
    /// There are no pairs.
    #[error("no pair: no round has a value on both sides")]
    NoPair,
    /// There is one pair.
    #[error("one pair: an interval needs at least two")]
    OnePair,
    /// No prompt is on both sides.
    #[error("no prompt has a value on both sides")]
    NoCommonPrompt,
    /// A side has one round.
    #[error("one round: an interval needs at least two")]
    OneRound,
}

impl NoInterval {
    /// Whether a second round of the same cases would give an interval.
    #[must_use]
    pub const fn needs_more_rounds(self) -> bool {
        match self {
            Self::OneSample | Self::OnePair | Self::OneRound => true,
            Self::NoSample | Self::NoPair | Self::NoCommonPrompt => false,
        }
    }
}
