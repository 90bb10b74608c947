//! Invalid headers and their errors, including all cases of llama.cpp's tests/test-gguf.cpp.

use std::path::Path;

use models::gguf::Header;

use crate::allocations;
use crate::writer::{ARRAY, BOOL, F32, File, STRING, U8, U32, array, key, tensor, text};

/// A valid file, changed.
fn with(change: impl FnOnce(&mut File)) -> Vec<u8> {
    let mut file = File::valid();
    change(&mut file);
    file.bytes()
}

/// A valid file with one more key.
fn with_key(name: &str, id: u32, value: &[u8]) -> Vec<u8> {
    with(|file| file.keys.push(key(name, id, value)))
}

/// A valid file with another first tensor.
fn with_tensor(entry: Vec<u8>) -> Vec<u8> {
    with(|file| file.tensors[0] = entry)
}

fn headers() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("header: bad magic", with(|file| file.magic = *b"GGUX")),
        ("header: swapped magic", with(|file| file.magic = *b"FUGG")),
        ("header: big-endian", with(|file| file.version = 3u32.swap_bytes())),
        ("header: version 0", with(|file| file.version = 0)),
        ("header: version 1", with(|file| file.version = 1)),
        ("header: version 4", with(|file| file.version = 4)),
        ("header: tensors -1", with(|file| file.tensor_count = Some(u64::MAX))),
        ("header: tensors 2^30", with(|file| file.tensor_count = Some(1 << 30))),
        ("header: keys -1", with(|file| file.key_count = Some(u64::MAX))),
        ("header: keys 2^30", with(|file| file.key_count = Some(1 << 30))),
        ("header: one key too many", with(|file| file.key_count = Some(4))),
        ("header: cut inside the magic", b"GGU".to_vec()),
        ("header: cut inside the version", b"GGUF\x03\0".to_vec()),
        ("header: cut inside the counts", File::valid().bytes()[..20].to_vec()),
        ("header: cut inside the keys", File::valid().bytes()[..60].to_vec()),
        ("header: an empty file", Vec::new()),
        ("header: a web page", b"<!DOCTYPE html><html><title>404".to_vec()),
        ("header: a zip", b"PK\x03\x04\x14\0\0\0\x08\0archive/data.pkl".to_vec()),
        ("header: a pickle", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec()),
        ("header: safetensors", b"\x20\0\0\0\0\0\0\0{\"__metadata__\":{}}".to_vec()),
        ("header: JSON", b"{\"error\":\"Repository not found\"}".to_vec()),
        ("header: a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00".to_vec()),
    ]
}

fn keys() -> Vec<(&'static str, Vec<u8>)> {
    let long = "x".repeat(2000);
    vec![
        ("key: length -1", with(|file| file.keys.push([&u64::MAX.to_le_bytes()[..], &[0; 64]].concat()))),
        ("key: too long", with_key(&long, U32, &[0; 4])),
        ("key: empty", with_key("", U32, &[0; 4])),
        ("key: twice", with_key("llama.block_count", U32, &[0; 4])),
        ("key: control characters", with_key("a\x1b[31m\nb", 13, &[0; 4])),
        ("value: type 13", with_key("k", 13, &[0; 16])),
        ("value: type -1", with_key("k", u32::MAX, &[0; 16])),
        ("value: text of length -1", with_key("k", STRING, &u64::MAX.to_le_bytes())),
        ("value: text of 2^29", with_key("k", STRING, &(1u64 << 29).to_le_bytes())),
        ("value: text past the end", with_key("k", STRING, &1_000_000u64.to_le_bytes())),
        ("array: type 13", with_key("k", ARRAY, &array(13, 1, &[1]))),
        ("array: count -1", with_key("k", ARRAY, &array(U8, u64::MAX, &[1]))),
        ("array: count 2^62 of F32", with_key("k", ARRAY, &array(F32, 1 << 62, &[1]))),
        ("array: past the end", with_key("k", ARRAY, &array(U32, 1000, &[1]))),
        (
            "array: text past the end",
            with_key("k", ARRAY, &array(STRING, 2, &[text("a"), 99_999u64.to_le_bytes().to_vec()].concat())),
        ),
        ("alignment: 0", with_key("general.alignment", U32, &[0; 4])),
        ("alignment: 13", with_key("general.alignment", U32, &13u32.to_le_bytes())),
        ("alignment: 2^31", with_key("general.alignment", U32, &(1u32 << 31).to_le_bytes())),
        ("alignment: a text", with_key("general.alignment", STRING, &text("32"))),
    ]
}

/// A key `k` whose value cannot be represented.
fn passed_over() -> Vec<(&'static str, Vec<u8>)> {
    let megabytes = "x".repeat((1 << 20) + 1);
    let tokens = (1u64 << 21) + 1;
    let nested = array(ARRAY, 2, &[array(STRING, 1, &text("a")), array(ARRAY, 0, &[])].concat());
    vec![
        ("bool 2", with_key("k", BOOL, &[2])),
        ("text over a megabyte", with_key("k", STRING, &text(&megabytes))),
        ("text not UTF-8", with_key("k", STRING, &[&2u64.to_le_bytes()[..], b"a\xc3"].concat())),
        ("of arrays", with_key("k", ARRAY, &array(ARRAY, 1, &array(U8, 1, &[1])))),
        ("bool 255", with_key("k", ARRAY, &array(BOOL, 3, &[0, 1, 255]))),
        ("too many texts", with_key("k", ARRAY, &array(STRING, tokens, &vec![0; 8 * tokens as usize]))),
        ("over 64 MiB", with_key("k", ARRAY, &array(U8, (64 << 20) + 1, &vec![0; (64 << 20) + 1]))),
        ("arrays of arrays of texts", with_key("k", ARRAY, &nested)),
        ("a text over a megabyte in an array", with_key("k", ARRAY, &array(STRING, 1, &text(&megabytes)))),
    ]
}

fn tensors() -> Vec<(&'static str, Vec<u8>)> {
    let name_64 = "n".repeat(64);
    let big = 4 * u64::from(u32::MAX / 2);
    vec![
        ("tensor: name of 64", with_tensor(tensor(&name_64, &[8, 4], 0, 0))),
        ("tensor: name of length -1", with(|file| file.tensors[0][..8].fill(0xff))),
        ("tensor: twice", with(|file| file.tensors[1] = tensor("first", &[32], 2, 128))),
        ("tensor: 5 dimensions", with_tensor(tensor("first", &[2, 2, 2, 2, 2], 0, 0))),
        ("tensor: 2^31 dimensions", with(|file| file.tensors[0][13..17].copy_from_slice(&(1u32 << 31).to_le_bytes()))),
        ("tensor: dimension -1", with_tensor(tensor("first", &[8, u64::MAX], 0, 0))),
        ("tensor: too many elements", with_tensor(tensor("first", &[big, big], 0, 0))),
        ("tensor: elements overflow to 0", with_tensor(tensor("first", &[1 << 33, 1 << 33], 0, 0))),
        ("tensor: bytes overflow", with_tensor(tensor("first", &[1 << 31, 1 << 31], 0, 0))),
        ("tensor: type 4, removed", with_tensor(tensor("first", &[32], 4, 0))),
        ("tensor: type IQ2_XXS", with_tensor(tensor("first", &[256], 16, 0))),
        ("tensor: type -1", with_tensor(tensor("first", &[32], u32::MAX, 0))),
        ("tensor: row no multiple of the block", with_tensor(tensor("first", &[24, 4], 2, 0))),
        ("tensor: row of 32 in a type of 256", with_tensor(tensor("first", &[32, 8], 12, 0))),
        ("tensor: offset -1", with_tensor(tensor("first", &[8, 4], 0, u64::MAX))),
        ("tensor: aligned offset that overflows", with_tensor(tensor("first", &[8, 4], 0, u64::MAX - 31))),
        ("tensor: offset past the end", with_tensor(tensor("first", &[8, 4], 0, 1 << 20))),
        ("tensor: unaligned offset", with(|file| file.tensors[1] = tensor("second", &[32], 2, 132))),
        ("tensor: inside another", with(|file| file.tensors[1] = tensor("second", &[32], 2, 64))),
        ("tensor: on top of another", with(|file| file.tensors[1] = tensor("second", &[32], 2, 0))),
        ("tensor: one byte missing", with(|file| file.data.truncate(128 + 17))),
        ("tensor: larger than the file", with_tensor(tensor("first", &[8, 4000], 0, 0))),
        (
            "tensor: file aligned to 32, header to 64",
            with(|file| {
                file.keys.push(key("general.alignment", U32, &64u32.to_le_bytes()));
                file.tensors.push(tensor("third", &[8], 0, 160));
                file.data.resize(256, 0);
            }),
        ),
    ]
}

#[test]
fn errors_name_the_place_and_what_to_do() {
    let mut errors = String::new();
    for (name, bytes) in headers().into_iter().chain(keys()).chain(tensors()) {
        let (result, peak) = allocations::peak(|| Header::parse(Path::new("hostile.gguf"), &bytes));
        let error = result.expect_err(name);
        // Only a few short texts are allocated, not tables of the size that the file claims.
        assert!(peak < 16 << 10, "{name}: {peak} bytes allocated");
        errors.push_str(&format!("{name}\n    {}\n", error.with_advice()));
    }
    insta::assert_snapshot!(errors);
}

/// A value that cannot be read does not make the file invalid. Reading its key returns the reason.
#[test]
fn values_that_cannot_be_represented_are_passed_over() {
    let mut errors = String::new();
    for (name, bytes) in passed_over() {
        let (result, peak) = allocations::peak(|| Header::parse(Path::new("odd.gguf"), &bytes));
        let header = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(peak < 16 << 10, "{name}: {peak} bytes allocated");
        assert_eq!((header.tensors.len(), header.metadata.count("llama.block_count").unwrap()), (2, Some(2)), "{name}");
        assert!(header.metadata.contains("k") && !header.metadata.iter().any(|(key, _)| key == "k"), "{name}");
        let error = header.metadata.text("k").expect_err(name).with_advice();
        assert_eq!(header.metadata.get("k").expect_err(name).with_advice(), error);
        errors.push_str(&format!("{name}\n    {error}\n"));
    }
    insta::assert_snapshot!(errors);
    // Arrays in arrays in arrays have no limit in a hostile file.
    let deep = (0..1000).fold(array(U8, 1, &[1]), |inner, _| array(ARRAY, 1, &inner));
    let error = Header::parse(Path::new("deep.gguf"), &with_key("k", ARRAY, &deep)).unwrap_err().to_string();
    assert!(error.contains("arrays of at most 4 levels"), "{error}");
}

#[test]
fn texts_are_read_as_writers_leave_them() {
    let c_string = with_key("name", STRING, &text("llama\0"));
    let header = Header::parse(Path::new("c.gguf"), &c_string).unwrap();
    assert_eq!(header.metadata.text("name").unwrap(), Some("llama"));
    let c_key = with_key("name\0", STRING, &text("x"));
    assert_eq!(Header::parse(Path::new("c.gguf"), &c_key).unwrap().metadata.text("name").unwrap(), Some("x"));
    let mut latin = text("a");
    latin.extend([&2u64.to_le_bytes()[..], b"\xff\xfe", &text("c")].concat());
    let header = Header::parse(Path::new("l.gguf"), &with_key("k", ARRAY, &array(STRING, 3, &latin))).unwrap();
    let texts = header.metadata.texts("k").unwrap().unwrap();
    assert_eq!((texts.get(0), texts.get(2), texts.invalid()), (Some("a"), Some("c"), &[1][..]));
    let whole = with(|file| file.keys.push(key("base", U32, &10_000u32.to_le_bytes())));
    let header = Header::parse(Path::new("i.gguf"), &whole).unwrap();
    assert_eq!(header.metadata.number("base").unwrap(), Some(10_000.0));
}

/// The valid cases of llama.cpp's list.
#[test]
fn valid_files_are_read() {
    let custom = |alignment: u32| {
        with(|file| {
            file.keys.push(key("general.alignment", U32, &alignment.to_le_bytes()));
            file.alignment = alignment as usize;
            let second = 128usize.next_multiple_of(file.alignment);
            file.tensors[1] = tensor("second", &[32], 2, second as u64);
            file.data.resize(second + 18, 0);
        })
    };
    for (name, bytes, tensors) in [
        ("empty", File::default().bytes(), 0),
        ("valid", File::valid().bytes(), 2),
        ("version 2", with(|file| file.version = 2), 2),
        ("trailing bytes", with(|file| file.data.resize(1000, 7)), 2),
        ("no padding after the last", with(|file| file.data.truncate(128 + 18)), 2),
        ("a name of 63", with_tensor(tensor(&"n".repeat(63), &[8, 4], 0, 0)), 2),
        ("alignment 1", custom(1), 2),
        ("alignment 8", custom(8), 2),
        ("alignment 4096", custom(4096), 2),
        (
            "a key that is not UTF-8",
            with(|file| file.keys.push([&1u64.to_le_bytes()[..], b"\xff", &[0; 5]].concat())),
            2,
        ),
        ("a single number", with_tensor(tensor("first", &[], 0, 0)), 2),
        ("an empty tensor", with_tensor(tensor("first", &[8, 0], 0, 128)), 2),
        ("an empty array", with_key("k", ARRAY, &array(STRING, 0, &[])), 2),
    ] {
        let header = Header::parse(Path::new("valid.gguf"), &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(header.tensors.len(), tensors, "{name}");
        for tensor in header.tensors {
            assert!(tensor.range.end <= bytes.len(), "{name}");
            assert_eq!(tensor.range.start % header.alignment as usize, 0, "{name}");
        }
    }
}

#[test]
fn values_are_read() {
    let bytes = with(|file| {
        file.keys.push(key("flag", BOOL, &[1]));
        file.keys.push(key("eps", F32, &1e-5f32.to_le_bytes()));
        file.keys.push(key("scores", ARRAY, &array(F32, 2, &[1f32.to_le_bytes(), (-2f32).to_le_bytes()].concat())));
        file.keys.push(key("types", ARRAY, &array(5, 2, &[1i32.to_le_bytes(), (-1i32).to_le_bytes()].concat())));
    });
    let header = Header::parse(Path::new("values.gguf"), &bytes).unwrap();
    let metadata = &header.metadata;
    assert_eq!(metadata.text("general.architecture").unwrap(), Some("llama"));
    assert_eq!(metadata.count("llama.block_count").unwrap(), Some(2));
    assert_eq!(metadata.flag("flag").unwrap(), Some(true));
    assert_eq!(metadata.number("eps").unwrap(), Some(1e-5));
    assert_eq!(metadata.numbers("scores").unwrap(), Some(&[1.0, -2.0][..]));
    assert_eq!(metadata.integers("types").unwrap(), Some(vec![1, -1]));
    assert_eq!(metadata.texts("tokens").unwrap().unwrap().iter().collect::<Vec<_>>(), ["a", "bc"]);
    assert_eq!(metadata.count("absent").unwrap(), None);
    let wrong = metadata.count("eps").unwrap_err().to_string();
    assert!(wrong.contains("key `eps`: expected an integer that is not negative, found 1e-5"), "{wrong}");
    let first = &header.tensors[0];
    assert_eq!((first.name.as_str(), first.shape.as_slice()), ("first", &[4, 8][..]));
}

/// 20 MiB of one-byte elements need 20 MiB.
#[test]
fn arrays_need_no_more_memory_than_in_the_file() {
    let count = 20 << 20;
    let bytes = with_key("k", ARRAY, &array(U8, count, &vec![0; count as usize]));
    let (header, peak) = allocations::peak(|| Header::parse(Path::new("array.gguf"), &bytes));
    assert!(header.is_ok());
    assert!(peak < bytes.len() + (64 << 10), "{peak} bytes for a file of {}", bytes.len());
}
