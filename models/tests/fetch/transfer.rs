//! Transfers of one file from the hub: successful, interrupted, short, stalled, refused, wrong.

use models::fetch::Origin;

use super::*;

const REFERENCE: &str = "o/r:m.gguf";

#[test]
fn a_file_is_stored_in_the_hubs_layout_and_not_requested_again() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| whole(request, &content()));
    let (settings, notes) = (settings(folder.path(), &hub.url), Notes::default());
    let located = locate(&settings, REFERENCE, &notes).unwrap();
    assert_eq!(located.origin, Origin::Hub);
    assert_eq!(std::fs::read(&located.path).unwrap(), content());
    assert_eq!(located.path, folder.path().join("hub/models--o--r/snapshots").join(COMMIT).join("m.gguf"));
    assert!(folder.path().join("hub/models--o--r/blobs").join(sha256(&content())).is_file());
    assert_eq!(std::fs::read_to_string(folder.path().join("hub/models--o--r/refs/main")).unwrap(), COMMIT);
    assert_eq!(hub.requests()[0].path, "/o/r/resolve/main/m.gguf");
    assert_eq!(hub.requests()[0].header("authorization"), Some("Bearer hf_secret"));

    let before = hub.requests().len();
    assert_eq!(locate(&settings, REFERENCE, &notes).unwrap().origin, Origin::Cache);
    assert_eq!(hub.requests().len(), before, "a cached file needs no connection");
    assert_eq!(notes.all(), "");
}

#[test]
fn an_interrupted_transfer_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let mut gets = 0;
    let hub = Mock::start(move |request| {
        gets += usize::from(request.method == "GET");
        let reply = whole(request, &content());
        if gets == 1 { reply.cut_after(20_000) } else { reply }
    });
    let notes = Notes::default();
    let located = locate(&settings(folder.path(), &hub.url), REFERENCE, &notes).unwrap();
    assert_eq!(std::fs::read(located.path).unwrap(), content());
    let second = &hub.gets()[1];
    assert_eq!(second.range(), Some(20_000));
    assert_eq!(second.header("if-range"), Some(&*format!("\"{}\"", sha256(&content()))));
    assert!(notes.all().contains("resuming"), "{}", notes.all());
}

#[test]
fn a_partial_transfer_is_kept_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut gets = 0;
    let hub = Mock::start(move |request| {
        gets += usize::from(request.method == "GET");
        match (request.method.as_str(), gets) {
            ("GET", 1) => whole(request, &content()).cut_after(20_000),
            ("GET", 2 | 3) => whole(request, &content()).cut_after(0),
            _ => whole(request, &content()),
        }
    });
    let settings = settings(folder.path(), &hub.url);
    let error = locate(&settings, REFERENCE, &Notes::default()).unwrap_err().with_advice();
    assert!(error.contains("was interrupted at 20.0 kB of 60.0 kB"), "{error}");
    let located = locate(&settings, REFERENCE, &Notes::default()).unwrap();
    assert_eq!(std::fs::read(located.path).unwrap(), content());
    assert_eq!(hub.gets()[3].range(), Some(20_000));
}

#[test]
fn a_server_that_ignores_the_range_is_read_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut gets = 0;
    let hub = Mock::start(move |request| {
        gets += usize::from(request.method == "GET");
        let reply = Reply::new(200, content())
            .with("ETag", format!("\"{}\"", sha256(&content())))
            .with("X-Repo-Commit", COMMIT);
        if gets == 1 { reply.cut_after(20_000) } else { reply }
    });
    let located = locate(&settings(folder.path(), &hub.url), REFERENCE, &Notes::default()).unwrap();
    assert_eq!(std::fs::read(located.path).unwrap(), content());
}

#[test]
fn a_body_shorter_than_announced_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| match request.method.as_str() {
        "HEAD" => whole(request, &content()),
        _ => Reply::new(200, &content()[..5_000]),
    });
    let error = locate(&settings(folder.path(), &hub.url), REFERENCE, &Notes::default()).unwrap_err().with_advice();
    assert!(error.contains("expected 60004 bytes, found 5000"), "{error}");
    assert!(
        files(folder.path()).iter().all(|path| path.to_string_lossy().ends_with(".part")),
        "{:?}",
        files(folder.path())
    );
}

#[test]
fn a_stalled_transfer_ends_after_the_time_limit() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| match request.method.as_str() {
        "HEAD" => whole(request, &content()),
        _ => whole(request, &content()).stalls_after(10_000.min(60_004 - request.range().unwrap_or(0))),
    });
    let mut settings = settings(folder.path(), &hub.url);
    settings.attempts = 2;
    settings.stall_timeout = Duration::from_secs(1);
    let error = locate(&settings, REFERENCE, &Notes::default()).unwrap_err().with_advice();
    assert!(error.contains("was interrupted at 20.0 kB") && error.contains("timeout"), "{error}");
}

#[test]
fn error_statuses_are_reported_with_their_meaning() {
    for (status, meaning) in
        [(403, "HF_TOKEN"), (404, "no such repository"), (500, "try again later"), (429, "wait a little")]
    {
        for only_get in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let hub = Mock::start(move |request| match request.method.as_str() {
                "HEAD" if only_get => whole(request, &content()),
                _ => Reply::new(status, "<html>no</html>"),
            });
            let error =
                locate(&settings(folder.path(), &hub.url), REFERENCE, &Notes::default()).unwrap_err().with_advice();
            assert!(error.contains(&format!("answered {status}")) && error.contains(meaning), "{error}");
            let left: Vec<_> = files(folder.path()).into_iter().filter(|p| p.metadata().unwrap().len() > 0).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

#[test]
fn a_web_page_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let page = b"<!doctype html><title>Log in to the hotel's network</title>";
    let hub = Mock::start(move |_| Reply::new(200, page));
    let error = locate(&settings(folder.path(), &hub.url), REFERENCE, &Notes::default()).unwrap_err().with_advice();
    assert!(error.contains("expected a GGUF file, found a web page"), "{error}");
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn the_token_is_not_sent_to_another_host() {
    let folder = tempfile::tempdir().unwrap();
    let cdn = Mock::start(|request| whole(request, &content()));
    let target = format!("{}/store/blob?signature=1", cdn.url);
    let hub = Mock::start(move |_| {
        let linked = format!("\"{}\"", sha256(&content()));
        Reply::new(302, "")
            .with("Location", &target)
            .with("X-Linked-Etag", linked)
            .with("X-Linked-Size", 60_004)
            .with("X-Repo-Commit", COMMIT)
    });
    let located = locate(&settings(folder.path(), &hub.url), REFERENCE, &Notes::default()).unwrap();
    assert_eq!(std::fs::read(located.path).unwrap(), content());
    assert!(hub.requests().iter().all(|request| request.header("authorization").is_some()));
    assert!(!cdn.requests().is_empty());
    assert!(cdn.requests().iter().all(|request| request.header("authorization").is_none()), "the token leaked");
}

#[test]
fn redirects_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| match request.method.as_str() {
        "HEAD" => whole(request, &content()),
        _ => Reply::new(302, "").with("Location", "/again"),
    });
    let error = locate(&settings(folder.path(), &hub.url), REFERENCE, &Notes::default()).unwrap_err().with_advice();
    assert!(error.contains("redirects"), "{error}");
}

#[test]
fn wrong_content_of_the_right_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| {
        let mut damaged = content();
        damaged[30_000] ^= 1;
        whole(request, &damaged).with("X-Linked-Etag", format!("\"{}\"", sha256(&content())))
    });
    let error = locate(&settings(folder.path(), &hub.url), REFERENCE, &Notes::default()).unwrap_err().with_advice();
    assert!(error.contains(&format!("expected sha256 {}", sha256(&content()))), "{error}");
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn headers_cannot_lead_out_of_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|_| {
        Reply::new(200, content()).with("ETag", "\"../../../../escaped\"").with("X-Repo-Commit", "../../escaped")
    });
    let located = locate(&settings(folder.path(), &hub.url), REFERENCE, &Notes::default()).unwrap();
    assert_eq!(std::fs::read(&located.path).unwrap(), content());
    for path in files(folder.path()) {
        assert!(path.starts_with(folder.path().join("hub/models--o--r")), "{path:?}");
        assert!(!path.to_string_lossy().contains("escaped"), "{path:?}");
    }
}

#[test]
fn offline_makes_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| whole(request, &content()));
    let mut settings = settings(folder.path(), &hub.url);
    settings.offline = true;
    for reference in [REFERENCE, "o/r"] {
        let error = locate(&settings, reference, &Notes::default()).unwrap_err().with_advice();
        assert!(error.contains("HF_HUB_OFFLINE") && error.contains("use synthetic weights"), "{error}");
    }
    assert_eq!(hub.requests().len(), 0);
    // Cached files are used.
    locate(&Settings { offline: false, ..settings.clone() }, REFERENCE, &Notes::default()).unwrap();
    let asked = hub.requests().len();
    assert_eq!(locate(&settings, REFERENCE, &Notes::default()).unwrap().origin, Origin::Cache);
    assert_eq!(hub.requests().len(), asked);
}

#[test]
fn a_damaged_cached_file_is_detected_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| whole(request, &content()));
    let digest: &str = Box::leak(sha256(&content()).into_boxed_str());
    let source = models::registry::Source {
        repo: "o/r",
        revision: "main",
        file: "m.gguf",
        sha256: Some(digest),
        bytes: Some(Bytes(60_004)),
        gated: false,
    };
    let (settings, notes) = (settings(folder.path(), &hub.url), Notes::default());
    let fetcher = Fetcher::new(settings, &notes);
    let path = fetcher.locate_source(&source, None).unwrap().path;
    std::fs::write(std::fs::canonicalize(&path).unwrap(), &content()[..100]).unwrap();
    let again = fetcher.locate_source(&source, None).unwrap();
    assert_eq!(again.origin, Origin::Hub);
    assert_eq!(std::fs::read(again.path).unwrap(), content());
    assert!(notes.all().contains("damaged (expected 60004 bytes, found 100)"), "{}", notes.all());
}

#[test]
fn a_changed_bit_is_detected_without_a_registered_digest() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| whole(request, &content()));
    let (settings, notes) = (settings(folder.path(), &hub.url), Notes::default());
    let path = locate(&settings, REFERENCE, &notes).unwrap().path;
    let mut damaged = content();
    damaged[1_000] ^= 4;
    let blob = std::fs::canonicalize(&path).unwrap();
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, damaged).unwrap();
    let again = locate(&settings, REFERENCE, &notes).unwrap();
    assert_eq!(again.origin, Origin::Hub);
    assert_eq!(std::fs::read(again.path).unwrap(), content());
    assert!(notes.all().contains("expected sha256"), "{}", notes.all());
}

#[test]
fn concurrent_requests_download_once() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Mock::start(|request| whole(request, &content()));
    let settings = settings(folder.path(), &hub.url);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let located = locate(&settings, REFERENCE, &Notes::default()).unwrap();
                assert_eq!(std::fs::read(located.path).unwrap(), content());
            });
        }
    });
    assert_eq!(hub.gets().len(), 1);
}
