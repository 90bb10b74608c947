//! Real servers. `INFEROMETER_SERVERS` contains the commands that start them, one per line, with `{port}` for the port.
#![cfg(feature = "openai")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test prints figures and fails by panicking"
)]

mod server;

use engines::LoadOptions;
use redaction::Sensitive;

use server::watch::{Record, chat, connect_with};

#[test]
#[ignore = "needs INFEROMETER_SERVERS: commands that start servers, one per line, with {port} for the port"]
fn real_servers_are_started_used_and_stopped() {
    let commands = std::env::var("INFEROMETER_SERVERS").expect("INFEROMETER_SERVERS contains commands");
    let commands: Vec<&str> = commands.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(!commands.is_empty(), "INFEROMETER_SERVERS contains no command");
    for command in commands {
        // Without a nonce the responses must be the same.
        let settings = [("cache".to_owned(), Sensitive::setting("cache", "keep"))].into();
        let options = LoadOptions { spawn: Some(Sensitive::command(command)), settings, ..LoadOptions::default() };
        let mut session = connect_with(&options).unwrap_or_else(|error| panic!("{command}: {error}"));
        let mut texts = Vec::new();
        for _ in 0..2 {
            let mut record = Record::default();
            let usage = session.generate(&chat("Name three colours.", 12), &mut record).expect("a response");
            record.check();
            println!("{usage:?}\n{:?}, progress {:?}", record.text(), record.progress);
            // llama-cpp-python reports no counts in a stream.
            let counted = usage.reported.as_ref().and_then(|reported| reported.prompt_tokens);
            assert!(counted.is_none_or(|tokens| tokens > 3) && usage.output_tokens > 0, "{usage:?}");
            assert!(!record.text().is_empty() && record.pieces.len() <= 12);
            texts.push(record.text());
        }
        assert_eq!(texts[0], texts[1], "{command}");
        let mut record = Record { stop_after: Some(2), ..Record::default() };
        session.generate(&chat("Tell a long story.", 200), &mut record).expect("it ends well");
        let remote = session.server().expect("a server").info();
        println!("{remote:?}");
        let address = remote.address.expect("an address");
        drop(session);
        assert!(std::net::TcpStream::connect(address).is_err(), "{command}: a server still answers");
    }
}
