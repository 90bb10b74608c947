//! The entries of the registry, and looking them up.

use models::registry::{self, MODELS};
use models::{Arch, DType};

#[test]
fn entries_are_sorted_and_names_are_unique() {
    let (first, others) = MODELS.split_at(registry::reference_models().len());
    assert_eq!(first.len(), 6);
    assert_eq!(first[0].name, "deepseek-r1");
    for part in [first, others] {
        assert!(part.is_sorted_by(|one, other| one.name < other.name));
    }
    let mut names: Vec<_> = MODELS.iter().flat_map(registry::Entry::names).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(
        names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c)))
    );
    assert_eq!(registry::find(registry::DEFAULT).unwrap().name, "smollm2-135m");
}

#[test]
fn every_shape_has_the_published_number_of_parameters() {
    for entry in &MODELS {
        assert_eq!(entry.spec().parameters(), entry.parameters, "{}", entry.name);
    }
}

#[test]
fn every_shape_is_supported_by_the_decoder() {
    for entry in &MODELS {
        let spec = entry.spec();
        for layer in &spec.layers {
            let Some(attention) = layer.mixer.attention() else { continue };
            assert_eq!(attention.heads % attention.kv_heads, 0, "{}", entry.name);
            assert_eq!(attention.qkv_bias, spec.arch == Arch::QWEN2 || attention.sinks, "{}", entry.name);
            if let Some(rope) = &attention.rope {
                assert!(rope.dim <= attention.head_dim, "{}", entry.name);
                assert_eq!(rope.inverse_frequencies(0).len(), rope.dim / 2);
            }
            // Rows of every matrix can be stored in blocks of 32.
            let widths = [spec.hidden, layer.feed_forward.gated().width, attention.q_width()];
            assert!(widths.iter().all(|width| width.is_multiple_of(32)), "{}", entry.name);
        }
    }
}

#[test]
fn sources_are_plain_names() {
    for entry in &MODELS {
        for source in [entry.gguf, entry.safetensors] {
            let (owner, name) = source.repo.split_once('/').expect(entry.name);
            for part in [owner, name, source.revision, source.file] {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                assert!(
                    !part.is_empty() && !part.starts_with('.') && part.chars().all(plain),
                    "{}: {part}",
                    entry.name
                );
            }
            let hash = source.sha256.unwrap_or(&"0".repeat(64)).to_owned();
            assert!(
                hash.len() == 64 && hash.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)),
                "{}",
                entry.name
            );
            // A branch can change: a hash needs a commit, or packages of a fixed version that contain the file.
            let is_fixed = source.revision.len() == 40 || entry.mirror.is_some();
            assert!(source.sha256.is_none() || is_fixed, "{}", entry.name);
        }
        let wheels = entry.mirror.map_or(&[][..], |mirror| mirror.wheels);
        assert!(wheels.iter().all(|wheel| wheel.requirement.contains("==")), "{}", entry.name);
        assert!(entry.gguf.file.ends_with(".gguf"), "{}", entry.name);
        assert!(entry.quants.iter().any(|(_, file)| *file == entry.gguf.file), "{}", entry.name);
        for (quant, file) in entry.quants {
            assert!(file.to_uppercase().contains(quant), "{file}");
            assert!(DType::from_name(quant).is_some() || *quant == "Q4_K_M", "{quant}");
            assert_eq!(entry.quant(&quant.to_lowercase()).unwrap().file, *file);
        }
        assert!(!entry.license.is_empty() && !entry.summary.is_empty() && !entry.title.is_empty(), "{}", entry.name);
    }
}

#[test]
fn only_the_pinned_file_keeps_its_hash() {
    let entry = registry::find("llama-3.2-1b").unwrap();
    assert_eq!(entry.quant("q8_0").unwrap().sha256, None);
    let pinned = registry::find("SmolLM2").unwrap();
    assert_eq!(pinned.quant("Q4_1"), Some(pinned.gguf));
    assert_eq!(pinned.quant("Q2_K"), None);
}

#[test]
fn the_error_of_an_unknown_name_lists_all_and_the_nearest() {
    let error_text = |name: &str| registry::find(name).unwrap_err().with_advice();
    let all = [error_text("lama-3.2-1b"), error_text("smolm2"), error_text("gpt-2"), error_text("")].join("\n");
    insta::assert_snapshot!(all);
}
