//! Counters of the real kernel with the candle engine: each is a value or a reason, and includes threads that the engine starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::support::{Done, TestFolder};

const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
const COUNTERS: &str = "cycles,instructions,LLC-load-misses,task-clock,page-faults,context-switches,cpu-migrations";
const NAMES: [&str; 7] =
    ["cycles", "instructions", "llc_load_misses", "task_clock_s", "page_faults", "context_switches", "cpu_migrations"];

fn line(threads: usize, tokens: usize) -> String {
    format!(
        "run -e candle -m tiny.gguf --prompt hello -n {tokens} --ignore-eos -r 1 -t {threads} --warmup 0 --trace phases --counters {COUNTERS} --out run"
    )
}

/// The run has a value or a reason for each counter.
fn each_is_a_value_or_a_reason(file: &Value) {
    let case = &file["cases"][0];
    assert_eq!(case["status"], "ok", "{}", case["error"]);
    for name in NAMES {
        let value = &case["counters"][name];
        let reason = case["reasons"][name].as_str().unwrap_or_default();
        assert!(value.is_number() || reason.len() > 20, "{name}: {value}, {reason}");
    }
}

/// Restores the setting.
struct Level(String);

impl Drop for Level {
    fn drop(&mut self) {
        let _ = fs::write(PARANOID, &self.0);
    }
}

#[test]
#[ignore = "needs root with a writable /proc/sys/kernel/perf_event_paranoid, and setpriv"]
fn every_level_of_rights_gives_values_or_reasons() {
    let before = fs::read_to_string(PARANOID).unwrap_or_default();
    let restore = Level(before);
    for level in ["2", "3"] {
        fs::write(PARANOID, level).unwrap();
        let folder = TestFolder::new();
        folder.run(&line(1, 4)).ends_with(0);
        each_is_a_value_or_a_reason(&folder.run_file("run"));
        as_nobody(level);
    }
    drop(restore);
}

/// The same run by a user without rights.
fn as_nobody(level: &str) {
    let folder = TestFolder::new();
    let everybody =
        |path: &str, mode| fs::set_permissions(folder.path(path), fs::Permissions::from_mode(mode)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_inferometer"), folder.path("inferometer")).unwrap();
    everybody("inferometer", 0o755);
    everybody("tiny.gguf", 0o644);
    everybody("", 0o777);
    let own = folder.command(&line(1, 4));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(folder.path("inferometer"));
    command.args(own.get_args()).current_dir(folder.path("")).env_clear();
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Done::from(command.output().unwrap()).ends_with(0);
    let file = folder.run_file("run");
    each_is_a_value_or_a_reason(&file);
    let case = &file["cases"][0];
    assert!(case["counters"]["context_switches"].is_null(), "level {level}: {}", case["counters"]);
    let reason = case["reasons"]["context_switches"].as_str().unwrap();
    assert!(reason.contains("perf_event_paranoid") || reason.contains("perf_event_open"), "{reason}");
}

/// The two clocks may differ if a hypervisor took the processor. Such a run is repeated; any other must agree. Without the counter the
/// run has the reason.
#[test]
fn the_task_clock_is_the_processor_time_of_all_threads() {
    for threads in [1, 2] {
        let mut differences = Vec::new();
        loop {
            let before = stolen_ticks();
            let Some((clock, accounted)) = processor_time(threads) else { return };
            let was_interrupted = stolen_ticks() > before;
            // The kernel's times of a thread on another processor are up to a tick old, at both ends of a request.
            let ticks = 0.004 * 2.0 * threads as f64;
            if clock > 0.0 && (clock - accounted).abs() <= 0.02 * accounted + ticks {
                break;
            }
            differences.push(format!("{threads} threads: {clock} s by the task clock, {accounted} s by getrusage"));
            assert!(was_interrupted && differences.len() < 6, "{differences:#?}");
        }
    }
}

/// Ticks that the hypervisor took from all processors since boot.
fn stolen_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    stat.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// Processor time of a request in seconds: by the task clock, and by getrusage.
fn processor_time(threads: usize) -> Option<(f64, f64)> {
    let folder = TestFolder::new();
    folder.run(&line(threads, 1500)).ends_with(0);
    let file = folder.run_file("run");
    let case = &file["cases"][0];
    if let Some(reason) = case["reasons"]["task_clock_s"].as_str() {
        assert!(reason.contains("perf_event"), "{reason}");
        return None;
    }
    // Of the whole request: in short phases the kernel's times are withheld.
    let of = |name: &str| case["counters"][name].as_f64().unwrap();
    Some((of("task_clock_s"), of("cpu_user_s") + of("cpu_system_s")))
}
