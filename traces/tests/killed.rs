//! A process that is killed while it writes leaves a file of complete records.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]
#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Stdio};

use traces::chrome::{Process, Writer};
use traces::record::{self, Config};
use traces::{Nanos, check, clock, op, span};

const FILE: &str = "TRACES_TEST_WRITE_UNTIL_KILLED";

/// The child process of the test below.
#[test]
#[ignore = "the child process of a_killed_process_leaves_complete_records"]
fn child_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    record::start(Config { per_thread: 1 << 14 });
    let mut writer = Writer::create(path, Process::this("child")).unwrap();
    loop {
        for n in 0..1000_usize {
            let _phase = span!("decode", "position" = n);
            let _op = op!("gate_proj", n % 30, [1, 576, 1536]);
        }
        writer.write(&record::drain()).unwrap();
    }
}

fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

#[test]
fn a_killed_process_leaves_complete_records() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=8 {
        let path = folder.path().join(format!("{round}.json"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child_writes_until_it_is_killed", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while bytes(&path) < round * 100_000 {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            clock::sleep(Nanos::from_micros(300));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let report = check::check(&path).unwrap();
        let texts: Vec<&str> = report.problems.iter().map(|problem| problem.text.as_str()).collect();
        assert_eq!(texts, ["its array is not closed: the writer was killed or is still running (viewers accept this)"]);
        assert!(report.counts.spans > 500);
    }
}
