//! Suggestions for misspelt names.

/// Lowest similarity (Jaro-Winkler, 0 to 1) of a name that is suggested.
const THRESHOLD: f64 = 0.75;

/// The most similar of the known names, if it is similar enough to be what was meant; case is ignored.
pub(crate) fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    known
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= THRESHOLD)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `did you mean X? ` in front of other advice, or nothing.
pub(crate) fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("did you mean `{near}`? "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        let known = || ["candle", "mlx", "openai"].into_iter();
        assert_eq!(nearest("Cnadle", known()), Some("candle"));
        assert_eq!(nearest("tensorrt", known()), None);
        assert_eq!(did_you_mean(nearest("opnai", known())), "did you mean `openai`? ");
        assert_eq!(did_you_mean(None), "");
    }
}
