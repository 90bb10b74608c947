//! Random digits that make a prompt unique, so that no prefix cache contains it.
//!
//! They must be in front of everything. A chat template puts its own system text before the first message of a user, so that digits
//! in that message leave the system text in the cache: they are a system message of their own, which replaces that text. Some
//! templates take no system message; their digits are in the first message.

use std::hash::{BuildHasher, RandomState};

use models::chat::Message;

/// Number of digits of a nonce: constant, so that every prompt becomes longer by the same length.
const DIGITS: usize = 12;
/// One more than the largest nonce.
const LIMIT: u64 = 10u64.pow(12);

/// Where the digits are in a chat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum NoncePlace {
    /// At the start of the system message, or in one of their own.
    #[default]
    System,
    /// At the start of the first message.
    FirstMessage,
}

/// A line of random digits. The keys of the standard library's hash maps are random; no clock is read.
pub(super) fn line() -> String {
    let random = RandomState::new().hash_one(std::thread::current().id());
    format!("{:0DIGITS$}\n", random % LIMIT)
}

/// Whether the digits need a system message of their own.
pub(super) fn needs_system_message(messages: &[Message]) -> bool {
    !messages.first().is_some_and(|first| matches!(first.role.as_str(), "system" | "developer"))
}

/// The messages with the nonce in front.
pub(super) fn before(nonce: &str, place: NoncePlace, messages: &[Message]) -> Vec<Message> {
    if nonce.is_empty() {
        return messages.to_vec();
    }
    if place == NoncePlace::System && needs_system_message(messages) {
        let own = Message::new("system", nonce.trim_end());
        return std::iter::once(own).chain(messages.iter().cloned()).collect();
    }
    let mut with = messages.to_vec();
    if let Some(first) = with.first_mut() {
        first.content.insert_str(0, nonce);
    }
    with
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
    fn the_digits_are_in_front_of_everything() {
        let system = Message::new("system", "be brief");
        let user = Message::new("user", "hello");
        let both = [system.clone(), user.clone()];
        for place in [NoncePlace::System, NoncePlace::FirstMessage] {
            let with = before("1\n", place, &both);
            assert_eq!(with, [Message::new("system", "1\nbe brief"), user.clone()]);
            assert_eq!(before("", place, &both), both);
        }
        let alone = std::slice::from_ref(&user);
        assert_eq!(before("1\n", NoncePlace::System, alone), [Message::new("system", "1"), user.clone()]);
        assert_eq!(before("1\n", NoncePlace::FirstMessage, alone), [Message::new("user", "1\nhello")]);
    }
}
