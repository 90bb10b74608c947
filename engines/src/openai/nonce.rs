//! Random digits that make a prompt unique, so that no prefix cache contains it.

use std::hash::{BuildHasher, RandomState};

use models::chat::Message;

/// Number of digits of a nonce: constant, so that every prompt becomes longer by the same length.
const DIGITS: usize = 12;
/// One more than the largest nonce.
const LIMIT: u64 = 10u64.pow(12);

/// A line of random digits. The keys of the standard library's hash maps are random; no clock is read.
pub(super) fn line() -> String {
    let random = RandomState::new().hash_one(std::thread::current().id());
    format!("{:0DIGITS$}\n", random % LIMIT)
}

/// The messages with the nonce in front of the first one.
pub(super) fn before(nonce: &str, messages: &[Message]) -> Vec<Message> {
    let content = |nth: usize, message: &Message| match nth {
        0 => format!("{nonce}{}", message.content),
        _ => message.content.clone(),
    };
    messages
        .iter()
        .enumerate()
        .map(|(nth, message)| Message::new(message.role.clone(), content(nth, message)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nonces_differ_and_have_the_same_length() {
        let lines: BTreeSet<String> = (0..100).map(|_| line()).collect();
        assert_eq!(lines.len(), 100);
        for line in lines {
            assert!(line.len() == DIGITS + 1 && line.ends_with('\n'), "{line:?}");
            assert!(line[..DIGITS].bytes().all(|byte| byte.is_ascii_digit()), "{line:?}");
        }
    }

    #[test]
    fn only_the_first_message_gets_it() {
        let messages = [Message::new("system", "be brief"), Message::new("user", "hello")];
        let with = before("1\n", &messages);
        assert_eq!(with[0], Message::new("system", "1\nbe brief"));
        assert_eq!(with[1], messages[1]);
    }
}
