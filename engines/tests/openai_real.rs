//! Real servers: `INFEROMETER_SERVERS` holds the commands that start them, one a line, with `{port}` where the port goes.
#![cfg(feature = "openai")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it does and fails by panicking"
)]

mod server;

use engines::LoadOptions;

use server::watch::{Record, chat, connect_with};

#[test]
fn real_servers_are_started_asked_and_ended() {
    let Ok(commands) = std::env::var("INFEROMETER_SERVERS") else {
        println!("skipped: INFEROMETER_SERVERS names no commands");
        return;
    };
    for command in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // Without a nonce the answers must be the same.
        let settings = [("cache".to_owned(), "keep".to_owned())].into();
        let options = LoadOptions { spawn: Some(command.to_owned()), settings, ..LoadOptions::default() };
        let mut session = connect_with(&options).unwrap_or_else(|error| panic!("{command}: {error}"));
        let mut texts = Vec::new();
        for _ in 0..2 {
            let mut record = Record::default();
            let usage = session.generate(&chat("Name three colours.", 12), &mut record).expect("an answer");
            record.check();
            println!("{usage:?}\n{:?}, progress {:?}", record.text(), record.progress);
            // llama-cpp-python counts nothing in a stream.
            let counted = usage.reported.as_ref().and_then(|reported| reported.prompt_tokens);
            assert!(counted.is_none_or(|tokens| tokens > 3) && usage.output_tokens > 0, "{usage:?}");
            assert!(!record.text().is_empty() && record.pieces.len() <= 12);
            texts.push(record.text());
        }
        assert_eq!(texts[0], texts[1], "{command}");
        let mut record = Record { stop_after: Some(2), ..Record::default() };
        session.generate(&chat("Tell a long story.", 200), &mut record).expect("it ends well");
        let remote = session.server().expect("a server").remote();
        println!("{remote:?}");
        let address = remote.address.expect("an address");
        drop(session);
        assert!(std::net::TcpStream::connect(address).is_err(), "{command}: somebody answers still");
    }
}
