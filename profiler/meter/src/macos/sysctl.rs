//! Values of `sysctlbyname`: numbers of four or eight bytes, and text that ends in a zero.

use super::system::{Answer, Question, System};
use record::Reason;

/// A number.
///
/// # Errors
/// When the system has no such value, or it has another form.
pub(crate) fn number(system: &dyn System, name: &str) -> Result<u64, Reason> {
    let answer: Answer<64> = Answer::to(system, Question::Value(name))?;
    let found = match answer.bytes().len() {
        4 => answer.u32(0).map(u64::from),
        8 => answer.u64(0),
        _ => None,
    };
    found.ok_or_else(|| reason!("{name}: expected an integer, found {} bytes", answer.bytes().len()))
}

/// A count of cores, threads or the like.
///
/// # Errors
/// As [`number`].
pub(crate) fn count(system: &dyn System, name: &str) -> Result<usize, Reason> {
    number(system, name)
        .and_then(|number| usize::try_from(number).map_err(|_| reason!("{name}: {number} is too large to count")))
}

/// Text without its terminating zero.
///
/// # Errors
/// When the system has no such value, or it has another form.
pub(crate) fn text(system: &dyn System, name: &str) -> Result<String, Reason> {
    let answer: Answer<256> = Answer::to(system, Question::Value(name))?;
    let text = String::from_utf8_lossy(answer.bytes()).trim_end_matches('\0').trim().to_owned();
    if text.is_empty() { Err(reason!("{name}: is empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::super::recorded::Recorded;
    use super::*;

    #[test]
    fn numbers_come_in_four_or_eight_bytes_and_text_ends_in_a_zero() {
        let system = Recorded::default()
            .number("hw.ncpu", 10)
            .with(Question::Value("hw.memsize"), (24_u64 << 30).to_ne_bytes().to_vec())
            .with(Question::Value("odd"), vec![1, 2, 3])
            .text("hw.model", "Mac16,1")
            .text("nothing", "");
        assert_eq!(count(&system, "hw.ncpu"), Ok(10));
        assert_eq!(number(&system, "hw.memsize"), Ok(24 << 30));
        assert_eq!(text(&system, "hw.model").as_deref(), Ok("Mac16,1"));
        insta::assert_snapshot!(number(&system, "odd").unwrap_err(), @"odd: expected an integer, found 3 bytes");
        insta::assert_snapshot!(number(&system, "hw.nosuch").unwrap_err(), @"hw.nosuch: not on this system");
        insta::assert_snapshot!(text(&system, "nothing").unwrap_err(), @"nothing: is empty");
    }
}
