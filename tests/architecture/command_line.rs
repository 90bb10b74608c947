//! The flags of this program, as its own help lists them, and the texts that name them.

use std::collections::BTreeSet;
use std::process::Command;

/// Flags that every program has.
const EVERYWHERE: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// The flags of all commands, with their dashes.
pub(crate) fn flags() -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    gather(&mut Vec::new(), &mut flags);
    assert!(flags.contains("--prompt-tokens") && flags.contains("-r") && flags.contains("--refresh"), "{flags:?}");
    flags
}

/// Adds the flags of a command and of its subcommands.
fn gather(command: &mut Vec<String>, flags: &mut BTreeSet<String>) {
    let binary = env!("CARGO_BIN_EXE_inferometer");
    let output = Command::new(binary).args(&*command).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut in_commands = false;
    for line in help.lines() {
        if !line.starts_with(' ') {
            in_commands = line == "Commands:";
            continue;
        }
        let mut words = line.split_whitespace();
        match words.next() {
            Some(name) if in_commands && line.starts_with("  ") && !line.starts_with("   ") && name != "help" => {
                command.push(name.to_owned());
                gather(command, flags);
                command.pop();
            }
            Some(first) if first.starts_with('-') => {
                let names = std::iter::once(first).chain(words).take_while(|word| word.starts_with('-'));
                let names = names.map(|name| name.trim_end_matches(','));
                let names = names.filter(|name| name.contains(char::is_alphabetic) && !EVERYWHERE.contains(name));
                flags.extend(names.map(str::to_owned));
            }
            _ => {}
        }
    }
}

/// The flags that a text names, and the commands of this program. Commands of other programs, which are in backquotes, are left out.
pub(crate) fn named(text: &str, flags: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (number, part) in text.split('`').enumerate() {
        let is_quoted = number % 2 == 1;
        if is_quoted && part.starts_with("inferometer ") {
            found.push(format!("`{part}`"));
        } else if !is_quoted || part.starts_with('-') {
            let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let words = part.split(|c: char| !is_inner(c));
            found.extend(words.filter(|word| flags.contains(*word)).map(str::to_owned));
        }
    }
    found
}

#[test]
fn flags_and_commands_are_found_in_texts() {
    let flags: BTreeSet<String> = ["-t", "--ctx"].map(str::to_owned).into();
    for (text, expected) in [
        ("raise --ctx, or leave it out", vec!["--ctx"]),
        ("use fewer threads (-t)", vec!["-t"]),
        ("--ctx=7", vec!["--ctx"]),
        ("`-t 2` is one", vec!["-t"]),
        ("see `inferometer machine`", vec!["`inferometer machine`"]),
        ("`gzip -t` checks it", vec![]),
        ("a built-in thread-t of x--ctx", vec![]),
        ("--contexts and -th", vec![]),
    ] {
        assert_eq!(named(text, &flags), expected, "{text}");
    }
}
