//! What the reader of a user's set says about mistakes.

#![allow(clippy::expect_used, reason = "a helper function of tests; only test functions themselves are exempt")]

use std::fs;

use prompts::{Input, Set};

/// The error of a file `my.toml` with this text.
fn error(text: &str) -> String {
    Set::from_toml(text, "my.toml", "my").expect_err("a mistake").to_string()
}

#[test]
fn a_full_set_reads() {
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
fn a_mistake_has_its_line_and_column_and_what_to_do() {
    let head = "[[prompt]]\nid = \"a\"\n";
    let cases = [
        ("syntax", "[[prompt]\nid = 1".to_owned()),
        ("unknown field", format!("{head}txt = \"x\"\n")),
        ("unknown field at the top", format!("nmae = \"x\"\n{head}text = \"x\"\n")),
        ("wrong type", format!("{head}text = 5\n")),
        ("no prompt", "name = \"x\"\n".to_owned()),
        ("no id", "\n[[prompt]]\ntext = \"x\"\n".to_owned()),
        ("duplicate id", format!("{head}text = \"x\"\n\n{head}text = \"y\"\n")),
        ("id unfit for a file", "[[prompt]]\nid = \"../x\"\ntext = \"x\"\n".to_owned()),
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
fn a_file_that_is_missing_or_unknown_says_what_there_is() {
    let missing = Set::from_file("no/such/file.toml".as_ref()).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read the prompt set no/such/file.toml: "), "{missing}");
    insta::assert_snapshot!(Set::named("sed").unwrap_err(), @r#"there is no prompt set "sed"; the sets are lengths, long, seed, smoke, or give the path of a TOML file"#);
}

#[test]
fn a_set_is_called_after_its_file() {
    let path = std::env::temp_dir().join(format!("prompts-{}.toml", std::process::id()));
    fs::write(&path, "[[prompt]]\nid = \"a\"\ntext = \"x\"\n").unwrap();
    let set = Set::from_file(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(set.unwrap().name, format!("prompts-{}", std::process::id()));
}
