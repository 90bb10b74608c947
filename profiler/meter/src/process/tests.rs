//! Real processes and recorded ones.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::root::{Root, tree as recorded_tree};

/// A shell that does `work` and then waits for the end of its input.
fn shell(work: &str) -> Child {
    let script = format!("{work}; read line");
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap()
}

/// Ends it, waits for it, and returns its CPU time and that of all children that it waited for: user and system, in seconds.
#[allow(unsafe_code, reason = "std does not report the resource usage of a child")]
fn finish(mut child: Child) -> (f64, f64) {
    drop(child.stdin.take());
    let pid = i32::try_from(child.id()).unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are valid and live through the call.
    let ended = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(ended, pid);
    // SAFETY: all-zero bytes are a valid `rusage`, and the call has filled it.
    let usage = unsafe { usage.assume_init_ref() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

/// Reads until a condition holds; a shell needs time for its work.
fn until(meter: &mut ProcessMeter, what: impl Fn(&ProcessReading) -> bool) -> ProcessReading {
    for _ in 0..3000 {
        let reading = meter.read().unwrap();
        if what(&reading) {
            return reading;
        }
        clock::sleep(Nanos::from_millis(10));
    }
    panic!("the condition never held: {:?}", meter.read());
}

/// About a fifth of a second of work.
const LOOP: &str = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done";

#[test]
fn cpu_time_of_children_counts_once_whether_they_live_or_were_waited_for() {
    // Two that end and are waited for, one that stays. Only with the sleeper of the last one the tree has three.
    let late = format!("({LOOP}; sleep 20; :) & trap \"kill $!\" EXIT");
    let child = shell(&format!("({LOOP}); ({LOOP}) & wait; {late}"));
    let mut meter = ProcessMeter::attach(child.id()).unwrap();
    let end = until(&mut meter, |reading| reading.processes == 3);
    // Totals never fall on the way.
    let (mut last, mut most) = (0.0, 0);
    for _ in 0..5 {
        let reading = meter.read().unwrap();
        let total = reading.cpu_user_s + reading.cpu_system_s;
        assert!(total >= last, "{total} after {last}");
        last = total;
        most = most.max(reading.processes);
    }
    assert!(most >= 2 && end.memory.resident > 0 && end.memory.anonymous > 0, "{end:?}");
    let before = meter.read().unwrap();
    let pids: Vec<u32> = meter.totals.pids().collect();
    assert!(pids.len() >= 2, "{pids:?}");
    let read = before.cpu_user_s + before.cpu_system_s;
    let (user, system) = finish(child);
    // `wait4` has all but the one that was not waited for, which is a third; ticks are 10 ms a process and kind.
    assert!(read >= user + system - 0.05, "read {read}, waited for {user} + {system}");
    assert!(read <= (user + system) * 1.5 + 0.1, "nothing counts twice: read {read}, waited for {user} + {system}");
}

#[test]
fn totals_of_waited_children_equal_those_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let child = shell(&format!("({LOOP}); ({LOOP}) & ({LOOP}) & wait; : > {}", done.display()));
    let mut meter = ProcessMeter::attach(child.id()).unwrap();
    // When the file is there the shell has waited for all three and is about to read.
    until(&mut meter, |_| done.exists());
    let end = meter.read().unwrap();
    assert_eq!(end.processes, 1, "{end:?}");
    let read = end.cpu_user_s + end.cpu_system_s;
    let (user, system) = finish(child);
    let truth = user + system;
    // Four processes, user and system, each in ticks of 10 ms.
    assert!((read - truth).abs() <= 0.08, "read {read}, the system says {truth}");
}

#[test]
fn a_known_allocation_is_resident_and_its_bytes_are_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(&vec![b'x'; 24 << 20]).unwrap();
    // A shell variable holds the file: 24 MiB of heap.
    let child = shell(&format!("sleep 0.05; read begin; text=$(cat {})", file.path().display()));
    let mut meter = ProcessMeter::attach(child.id()).unwrap();
    let before = meter.read().unwrap();
    child.stdin.as_ref().unwrap().write_all(b"go\n").unwrap();
    let after = until(&mut meter, |reading| {
        reading.processes == 1 && reading.memory.anonymous > before.memory.anonymous + (24 << 20)
    });
    let grown = after.memory.anonymous - before.memory.anonymous;
    assert!((24 << 20..200 << 20).contains(&grown), "{grown}");
    assert!(after.memory.peak >= after.memory.resident && after.minor_faults >= before.minor_faults + 1000);
    assert_eq!(after.memory.resident, after.memory.anonymous + after.memory.file + after.memory.shared);
    assert!(after.read_bytes.is_present() && after.voluntary_switches.value() > Some(0), "{after:?}");
    finish(child);
}

#[test]
fn absent_and_ended_processes_are_two_errors() {
    let child = shell(":");
    let pid = child.id();
    let mut meter = ProcessMeter::attach(pid).unwrap();
    finish(child);
    assert_eq!(meter.read().unwrap_err(), ProcessError::Ended(pid));
    let absent = ProcessMeter::attach(u32::MAX).unwrap_err();
    assert_eq!(absent, ProcessError::Absent(u32::MAX));
    insta::assert_snapshot!(ProcessError::Absent(4242).with_advice(), @"process 4242 does not exist, or this user may not see it; give the number of a running process (`pgrep -fa NAME` lists them)");
    insta::assert_snapshot!(ProcessError::Ended(4242), @"process 4242 ended during the measurement: its figures end with the last reading");
}

/// `/proc/PID/stat` of a recorded process: 100 ticks a second.
fn stat(pid: u32, parent: u32, user: u64, started: u64) -> (String, String) {
    let text = format!("{pid} (a b) c) S {parent} 1 1 0 -1 4194304 70 0 3 0 {user} 2 0 0 20 0 2 0 {started} 9 9 9\n");
    (format!("/proc/{pid}/stat"), text)
}

#[test]
fn kernels_without_lists_of_children_are_scanned() {
    let processes = [stat(10, 1, 5, 100), stat(11, 10, 6, 101), stat(12, 11, 7, 102), stat(99, 1, 50, 90)];
    let files: Vec<(&str, &str)> = processes.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let tree = recorded_tree(&files);
    let mut meter = ProcessMeter::attach_in(Processes::recorded(Root::recorded(tree.path())), 10).unwrap();
    let reading = meter.read().unwrap();
    assert_eq!((reading.processes, reading.threads), (3, 6));
    assert!((reading.cpu_user_s - 0.18).abs() < 1e-9 && (reading.cpu_system_s - 0.06).abs() < 1e-9, "{reading:?}");
    let reason = reading.read_bytes.reason().unwrap();
    assert!(reason.as_str().contains("/proc/10/io"), "{reason}");
    assert_eq!(reading.written_bytes.reason(), Some(reason));
}

#[test]
fn a_reused_id_is_not_followed() {
    let processes = [stat(10, 1, 5, 100), stat(11, 10, 6, 101)];
    let files: Vec<(&str, &str)> = processes.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let tree = recorded_tree(&files);
    let mut meter = ProcessMeter::attach_in(Processes::recorded(Root::recorded(tree.path())), 10).unwrap();
    let write = |(path, text): (String, String)| {
        std::fs::write(tree.path().join(path.trim_start_matches('/')), text).unwrap();
    };
    write(stat(11, 1, 9000, 555));
    let reading = meter.read().unwrap();
    assert_eq!(reading.processes, 1);
    assert!((reading.cpu_user_s - 0.11).abs() < 1e-9, "the values of the child remain: {reading:?}");
    write(stat(10, 1, 1, 700));
    assert_eq!(meter.read().unwrap_err(), ProcessError::Ended(10));
}

#[test]
fn the_storage_of_another_user_has_a_reason_and_a_fix() {
    let (path, text) = stat(10, 1, 5, 100);
    let tree = recorded_tree(&[(&path, &text), ("/proc/10/io", "read_bytes: 5\nwrite_bytes: 6\n")]);
    let open = |root: Root| ProcessMeter::attach_in(Processes::recorded(root), 10).unwrap().read().unwrap();
    let own = open(Root::recorded(tree.path()));
    assert_eq!((own.read_bytes.value(), own.written_bytes.value()), (Some(5), Some(6)));
    let foreign = open(Root::recorded(tree.path()).denying("/io"));
    insta::assert_snapshot!(foreign.read_bytes.reason().unwrap(), @"/proc/10/io: permission denied: the process belongs to another user; measure as that user or as root");
}

/// A parent and a child that map the same pages: each has 300 MB of them, which are 300 MB together.
#[test]
fn shared_pages_count_once_in_proportional_memory() {
    let stat = |pid: u32, parent: u32, state: &str| {
        let zeros = "0 ".repeat(50);
        (format!("proc/{pid}/stat"), format!("{pid} (srv) {state} {parent} {zeros}\n"))
    };
    let rollup = |pid: u32, text: &str| (format!("proc/{pid}/smaps_rollup"), text.to_owned());
    let body = |rss: u64, pss: u64| format!("00400000-7fff [rollup]\nRss: {rss} kB\nPss: {pss} kB\nPss_Anon: 1 kB\n");
    let files = [
        stat(10, 1, "S"),
        stat(11, 10, "S"),
        stat(12, 10, "Z"),
        ("proc/10/task/10/children".to_owned(), "11 12 ".to_owned()),
        rollup(10, &body(310_000, 160_000)),
        rollup(11, &body(305_000, 155_000)),
        rollup(12, ""),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let folder = recorded_tree(&files);
    let processes = || Processes::recorded(Root::recorded(folder.path()));
    let mut meter = ProcessMeter::attach_in(processes(), 10).unwrap();
    assert_eq!(meter.proportional(), Ok(315_000 * 1024));
    // Without the file of a living process there is a reason, not a smaller sum.
    std::fs::remove_file(folder.path().join("proc/11/smaps_rollup")).unwrap();
    let reason = ProcessMeter::attach_in(processes(), 10).unwrap().proportional().unwrap_err();
    assert!(reason.as_str().contains("smaps_rollup"), "{reason}");
}

#[test]
fn proportional_memory_of_a_real_process_is_at_most_its_resident_memory() {
    let child = shell(":");
    let mut meter = ProcessMeter::attach(child.id()).unwrap();
    let reading = until(&mut meter, |reading| reading.memory.resident > 0);
    let proportional = meter.proportional().unwrap();
    // The counters of the resident size are exact to some pages per thread.
    assert!(proportional > 0 && proportional <= reading.memory.resident + (1 << 20), "{proportional} of {reading:?}");
    finish(child);
}
