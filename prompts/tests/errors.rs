//! The errors of invalid prompt sets.

#![allow(clippy::expect_used, reason = "a helper function of tests; only test functions themselves are exempt")]

use std::fs;

use prompts::{Input, Set};

/// The error of a file `my.toml` with this text, and its advice.
fn error(text: &str) -> String {
    let error = Set::from_toml(text, "my.toml", "my").expect_err("the set is invalid");
    format!("{error}\n  advice: {}", error.advice())
}

#[test]
fn a_set_with_all_fields_is_read() {
    let set = Set::from_toml(
        "name = \"mine\"\ndescription = \"d\"\n[[prompt]]\nid = \"a\"\ntests = \"t\"\ntext = \"x\"\nsystem = \"s\"\nnew_tokens = 4\n[[prompt]]\nid = \"b\"\nprompt_tokens = 7\n",
        "my.toml",
        "my",
    )
    .unwrap();
    assert_eq!((set.name.as_str(), set.description.as_str()), ("mine", "d"));
    assert_eq!(set.prompts[0].input, Input::Text { text: "x".to_owned(), system: Some("s".to_owned()) });
    assert_eq!(set.prompts[0].new_tokens, Some(4));
    assert_eq!(set.prompts[1].input, Input::Tokens(7));
}

#[test]
fn each_error_has_line_column_and_advice() {
    let head = "[[prompt]]\nid = \"a\"\n";
    let cases = [
        ("syntax", "[[prompt]\nid = 1".to_owned()),
        ("unknown field", format!("{head}txt = \"x\"\n")),
        ("unknown field at the top", format!("nmae = \"x\"\n{head}text = \"x\"\n")),
        ("wrong type", format!("{head}text = 5\n")),
        ("no prompt", "name = \"x\"\n".to_owned()),
        ("no id", "\n[[prompt]]\ntext = \"x\"\n".to_owned()),
        ("duplicate id", format!("{head}text = \"x\"\n\n{head}text = \"y\"\n")),
        ("id that cannot be in a file name", "[[prompt]]\nid = \"../x\"\ntext = \"x\"\n".to_owned()),
        ("both", format!("{head}text = \"x\"\nprompt_tokens = 5\n")),
        ("neither", format!("{head}tests = \"nothing\"\n")),
        ("empty text", format!("{head}text = \"  \"\n")),
        ("empty system", format!("{head}text = \"x\"\nsystem = \"\"\n")),
        ("system without text", format!("{head}prompt_tokens = 5\nsystem = \"x\"\n")),
        ("zero tokens", format!("{head}prompt_tokens = 0\n")),
        ("zero new tokens", format!("{head}text = \"x\"\nnew_tokens = 0\n")),
        ("negative", format!("{head}prompt_tokens = -1\n")),
        ("too many", format!("{head}prompt_tokens = 99999999999\n")),
    ];
    let report: Vec<_> = cases.iter().map(|(what, text)| format!("{what}\n  {}", error(text))).collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn unknown_and_missing_sets_give_advice() {
    let missing = Set::from_file("no/such/file.toml".as_ref()).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read the prompt set no/such/file.toml: "), "{missing}");
    assert_eq!(missing.advice(), "give the name of a set or the path of a readable TOML file");
    let unknown = Set::named("sed").unwrap_err();
    assert_eq!(unknown.to_string(), "there is no prompt set \"sed\"");
    assert_eq!(unknown.advice(), "the sets are lengths, long, seed, smoke, or give the path of a TOML file");
}

#[test]
fn a_set_without_a_name_has_the_name_of_its_file() {
    let path = std::env::temp_dir().join(format!("prompts-{}.toml", std::process::id()));
    fs::write(&path, "[[prompt]]\nid = \"a\"\ntext = \"x\"\n").unwrap();
    let set = Set::from_file(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(set.unwrap().name, format!("prompts-{}", std::process::id()));
}

#[test]
fn a_set_in_utf16_is_read() {
    let path = std::env::temp_dir().join(format!("prompts-utf16-{}.toml", std::process::id()));
    let text = "\u{feff}[[prompt]]\r\nid = \"a\"\r\ntext = \"é\"\r\n";
    fs::write(&path, text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    let set = Set::from_file(&path);
    fs::remove_file(&path).unwrap();
    let expected = Input::Text { text: "é".to_owned(), system: None };
    assert_eq!(set.unwrap().prompts[0].input, expected);
}
