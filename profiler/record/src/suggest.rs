//! Suggestions for misspelt names.

/// `; did you mean ...?` where a known name is similar to the wanted one, else an empty text.
pub fn nearest(wanted: &str, known: &[&str]) -> String {
    let wanted = wanted.to_lowercase();
    let best = known.iter().map(|name| (strsim::jaro_winkler(&wanted, name), name)).filter(|(score, _)| *score >= 0.75);
    best.max_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}
