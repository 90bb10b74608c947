//! The built-in sets.

use prompts::{DEFAULT, Input, SETS, Set};

#[test]
fn every_built_in_set_has_its_name_and_a_purpose_for_each_prompt() {
    for source in SETS {
        let set = Set::named(source.name).unwrap();
        assert_eq!(set.name, source.name);
        assert!(!set.description.is_empty(), "{}", set.name);
        for prompt in &set.prompts {
            assert!(prompt.tests.starts_with("Tests "), "{}: {}", set.name, prompt.id);
        }
    }
}

#[test]
fn the_built_in_sets_are_sorted_and_have_the_default() {
    assert!(SETS.is_sorted_by(|one, other| one.name < other.name));
    assert!(SETS.iter().any(|source| source.name == DEFAULT));
}

#[test]
fn every_file_of_the_folder_is_a_built_in_set() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sets");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let stems: Vec<_> = files.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(stems, SETS.iter().map(|source| source.name).collect::<Vec<_>>());
}

#[test]
fn the_seed_prompts_are_verbatim() {
    let set = Set::named("seed").unwrap();
    let texts: Vec<_> = set
        .prompts
        .iter()
        .map(|prompt| match &prompt.input {
            Input::Text { text, system: None } => (prompt.id.as_str(), text.as_str(), prompt.new_tokens),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        texts,
        [
            ("artificial-intelligence", "Explain the concept of artificial intelligence in simple terms.", None),
            ("technology-poem", "Write a short poem about technology.", None),
            ("renewable-energy", "Summarize the key benefits of renewable energy.", None),
            ("quantum-computing", "What are the main differences between classical and quantum computing?", None),
            ("photosynthesis", "Describe the process of photosynthesis in plants.", None),
        ]
    );
}

#[test]
fn lengths_and_long_have_exact_lengths() {
    for (name, rows) in [
        (
            "lengths",
            vec![
                ("pp128", 128, 1),
                ("pp512", 512, 1),
                ("pp2048", 2048, 1),
                ("tg128", 1, 128),
                ("pp512-tg128", 512, 128),
            ],
        ),
        ("long", vec![("2k", 2048, 64), ("8k", 8192, 64)]),
    ] {
        let set = Set::named(name).unwrap();
        assert!(set.has_exact_lengths());
        let found: Vec<_> = set
            .prompts
            .iter()
            .map(|prompt| match prompt.input {
                Input::Tokens(tokens) => (prompt.id.as_str(), tokens, prompt.new_tokens.unwrap()),
                Input::Text { .. } => panic!("{} has a text", prompt.id),
            })
            .collect();
        assert_eq!(found, rows);
    }
    assert!(!Set::named("seed").unwrap().has_exact_lengths());
}

#[test]
fn a_set_can_be_one_text_or_one_length() {
    assert_eq!(Set::of_text("Hi").prompts[0].input, Input::Text { text: "Hi".to_owned(), system: None });
    let set = Set::of_tokens(300);
    assert_eq!((set.prompts[0].id.as_str(), &set.prompts[0].input), ("pp300", &Input::Tokens(300)));
}
