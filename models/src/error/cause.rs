//! Why a file is refused, and the one advice that belongs to each cause.

/// The cause of an error in a file. Only [`Cause::Damaged`] advises to fetch the file again: for every other cause the same file
/// would come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Bytes are missing: the file is shorter than it says, or a part of it is.
    Damaged,
    /// A number that no version of the format has. It is a damaged byte, or a newer format.
    Unexpected,
    /// The file is whole, and its content contradicts itself or the format.
    WrittenWrongly,
    /// The file is larger in one respect than this program accepts.
    OverLimit,
    /// A valid model that this program cannot compute.
    Unsupported,
    /// A valid model whose weights have a type that this program cannot compute with.
    OtherQuantisation,
    /// Two files of one model do not fit together.
    OfDifferentModels,
    /// A text file, such as a config.json, has an invalid value.
    WrongField,
}

impl Cause {
    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Damaged => "the file is incomplete or damaged: fetch it again",
            Self::Unexpected => {
                "the file is newer than this program, or damaged: compare its size and SHA-256 with those at its source"
            }
            Self::WrittenWrongly => {
                "the file was made wrongly: take another, or convert the model again with a current llama.cpp"
            }
            Self::OverLimit => {
                "this is a limit of this program, and the file may be valid: take another file of the model"
            }
            Self::Unsupported => "this variant is not supported: take another model",
            Self::OtherQuantisation => "take the model in another quantisation",
            Self::OfDifferentModels => {
                "weights and header (or config.json) belong to different models: take both from one place"
            }
            Self::WrongField => "correct the file, or take it from the model's source",
        }
    }
}

impl From<Cause> for String {
    fn from(cause: Cause) -> Self {
        cause.advice().to_owned()
    }
}

/// A cause with its advice, or an advice of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CauseOrAdvice {
    pub(super) cause: Option<Cause>,
    pub(super) advice: String,
}

impl From<Cause> for CauseOrAdvice {
    fn from(cause: Cause) -> Self {
        Self { cause: Some(cause), advice: cause.into() }
    }
}

impl From<String> for CauseOrAdvice {
    fn from(advice: String) -> Self {
        Self { cause: None, advice }
    }
}

impl From<&str> for CauseOrAdvice {
    fn from(advice: &str) -> Self {
        advice.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_bytes_are_fetched_again() {
        let all = [
            Cause::Damaged,
            Cause::Unexpected,
            Cause::WrittenWrongly,
            Cause::OverLimit,
            Cause::Unsupported,
            Cause::OtherQuantisation,
            Cause::OfDifferentModels,
            Cause::WrongField,
        ];
        let again: Vec<Cause> = all.into_iter().filter(|cause| cause.advice().contains("fetch it again")).collect();
        assert_eq!(again, [Cause::Damaged]);
        let advice: std::collections::BTreeSet<_> = all.iter().map(|cause| cause.advice()).collect();
        assert_eq!(advice.len(), all.len(), "each cause has its own");
    }
}
