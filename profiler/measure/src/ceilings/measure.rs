//! Reads the stored ceilings of this machine, and measures the missing ones.

use std::path::Path;

use engine_api::Advice as _;
use record::environment::Environment;
use record::{Action, Ceilings, Reason, Recorded, ThreadCeilings, Tool};
use traces::clock;

use super::cache::CeilingCache;
use super::machine_digest::machine_digest;
use super::prober::{ProberProcess, WRONG_REPLY};
use crate::interrupt::Interrupt;
use crate::pool::WorkerFolder;
use crate::protocol::{MachineCeilings, ProberCommand, ProberReply};
use crate::timestamp::rfc3339;
use crate::working_set::buffer_bytes;

/// Why ceilings are absent before they are measured.
const NOT_MEASURED: &str = "not measured yet";

/// What measuring ceilings needs from the program around it.
#[derive(Clone, Copy)]
pub struct ProbeResources<'a> {
    /// The binary whose hidden subcommand is the worker.
    pub binary: &'a Path,
    /// The folder of the workers' sockets.
    pub worker_folder: &'a WorkerFolder,
    /// Ends it early.
    pub interrupt: &'a Interrupt,
    /// Receives the progress, in words.
    pub report: &'a dyn Fn(&str),
}

/// The stored ceilings of this machine and this build; `None` if nothing was measured.
#[must_use]
pub fn known(environment: &Environment, tool: &Tool) -> Option<Ceilings> {
    CeilingCache::of_user().read(&machine_digest(environment, tool))
}

/// The ceilings of this machine for at least these thread counts. Stored ceilings are used, missing ones are measured; with `again`
/// all of them are measured. A ceiling that fails is absent with a reason, and is measured again the next time.
pub fn ceilings(
    resources: ProbeResources<'_>,
    environment: &Environment,
    tool: &Tool,
    threads: &[usize],
    again: bool,
) -> Ceilings {
    in_folder(&CeilingCache::of_user(), resources, environment, tool, threads, again)
}

fn in_folder(
    folder: &CeilingCache,
    resources: ProbeResources<'_>,
    environment: &Environment,
    tool: &Tool,
    threads: &[usize],
    again: bool,
) -> Ceilings {
    let machine = machine_digest(environment, tool);
    let known = || {
        folder.read(&machine).unwrap_or_else(|| Ceilings { machine: machine.clone(), ..Ceilings::absent(NOT_MEASURED) })
    };
    let before = known();
    let disturbed = disturbed(environment);
    let now = Ceilings { disturbed: disturbed.clone(), ..Ceilings::absent(NOT_MEASURED) };
    // Ceilings that were measured on a busy machine are measured again when it is idle.
    let again = again || (before.is_disturbed() && !now.is_disturbed());
    if !again && missing(&before, threads).is_empty() && is_whole(&before) {
        return before;
    }
    let waiting = || (resources.report)("another process measures the ceilings of this machine; waiting for it");
    let lock = folder
        .lock(waiting)
        .map_err(|error| (resources.report)(&format!("ceilings will not be stored: {}", error.with_advice())))
        .ok();
    // The process that held the lock may have measured the same.
    let mut found = known();
    let wanted = if again { threads.to_vec() } else { missing(&found, threads) };
    if wanted.is_empty() && is_whole(&found) {
        return found;
    }
    (resources.report)(&format!(
        "measuring the ceilings of this machine (stored for later runs; {} measures them again)",
        Action::RefreshCeilings
    ));
    if again || !is_whole(&found) {
        add_machine_wide(&mut found, resources, folder.path());
    }
    for count in wanted {
        if resources.interrupt.is_set() {
            break;
        }
        (resources.report)(&format!(
            "ceilings with {count} thread{}, a few seconds",
            if count == 1 { "" } else { "s" }
        ));
        let entry = consistent(resources.report, || of_threads(resources, environment, count));
        found.threads.retain(|old| old.threads != count);
        found.threads.push(entry);
    }
    found.threads.sort_by_key(|entry| entry.threads);
    found.measured = rfc3339(clock::unix_time());
    found.disturbed = disturbed;
    if let Some(share) = found.disturbed.value().filter(|_| found.is_disturbed()) {
        let kept = if is_whole(&before) {
            "the earlier ones are kept"
        } else {
            "they are measured again when the machine is idle"
        };
        (resources.report)(&format!(
            "other programs used {:.0} % of the processors just before: these ceilings are too low; {kept}",
            share * 100.0
        ));
        if is_whole(&before) && missing(&before, threads).is_empty() {
            return found;
        }
    }
    if lock.is_some() && !resources.interrupt.is_set() {
        // An entry without its first figure failed: it is not stored.
        let kept = found.threads.iter().filter(|entry| entry.memory_read.is_present()).cloned().collect();
        if let Err(error) = folder.write(&Ceilings { threads: kept, ..found.clone() }) {
            (resources.report)(&format!("ceilings are not stored: {}", error.with_advice()));
        }
    }
    found
}

/// Share of the processors that other programs used just before, if the system reports it.
fn disturbed(environment: &Environment) -> Recorded<f64> {
    let state = &environment.state;
    let steal = state.steal_now.value().unwrap_or(0.0);
    state.busy_now.clone().map(|busy| busy + steal)
}

/// The thread counts of a list that were not measured, each once.
fn missing(known: &Ceilings, threads: &[usize]) -> Vec<usize> {
    let mut missing: Vec<usize> = threads
        .iter()
        .copied()
        .filter(|count| !known.threads.iter().any(|entry| entry.threads == *count && is_usable(entry)))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// Whether stored ceilings are used: those that earlier versions stored may contradict each other.
fn is_usable(entry: &ThreadCeilings) -> bool {
    entry.memory_read.is_present() && entry.contradictions().is_empty()
}

/// Whether the limits that do not depend on threads were measured.
fn is_whole(known: &Ceilings) -> bool {
    known.page_fault_s.is_present()
}

fn add_machine_wide(found: &mut Ceilings, resources: ProbeResources<'_>, folder: &Path) {
    (resources.report)("page faults and reading a file, a few seconds");
    let wide = match probe_once(resources, 1, ProberCommand::Machine { folder: folder.to_path_buf() }) {
        Ok(ProberReply::Machine(wide)) => wide,
        Ok(_) => MachineCeilings::absent(WRONG_REPLY),
        Err(reason) => MachineCeilings::absent(reason),
    };
    found.file_read_cold = wide.file_read_cold;
    found.file_read_warm = wide.file_read_warm;
    found.page_fault_s = wide.page_fault_s;
}

/// How often the ceilings of a thread count are measured where they contradict each other.
const ATTEMPTS: usize = 3;

/// The first measurement without a contradiction; of the last attempt without the ceilings that contradict others.
fn consistent(report: &dyn Fn(&str), mut measure: impl FnMut() -> ThreadCeilings) -> ThreadCeilings {
    let mut found = measure();
    for _ in 1..ATTEMPTS {
        let Some((level, reason)) = found.contradictions().into_iter().next() else { return found };
        report(&format!("level {level} cache: {reason}; measuring again"));
        found = measure();
    }
    found.without_contradictions()
}

fn of_threads(resources: ProbeResources<'_>, environment: &Environment, threads: usize) -> ThreadCeilings {
    let caches = environment.processor.caches.to_vec();
    let bytes = buffer_bytes(&caches);
    let failed = |reason: Reason| ThreadCeilings { threads, ..ThreadCeilings::absent(reason) };
    match probe_once(resources, threads, ProberCommand::Threads { caches, bytes }) {
        Ok(ProberReply::Threads(found)) if found.threads == threads => found,
        Ok(ProberReply::Threads(found)) => {
            let problem =
                format!("the prober had {} threads, expected {threads}: check {}", found.threads, variables());
            failed(problem.into())
        }
        Ok(_) => failed(WRONG_REPLY.into()),
        Err(reason) => failed(reason),
    }
}

fn variables() -> String {
    engines::threads::VARIABLES.join(" and ")
}

/// Starts a prober, sends one command, and ends it.
fn probe_once(resources: ProbeResources<'_>, threads: usize, command: ProberCommand) -> Result<ProberReply, Reason> {
    let mut prober = ProberProcess::start(resources.binary, resources.worker_folder, threads)?;
    let reply = prober.probe(command, resources.interrupt)?;
    prober.quit();
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use record::Spread;

    #[test]
    fn a_prober_that_cannot_start_is_a_reason_and_nothing_is_stored() {
        let cache = tempfile::tempdir().unwrap();
        let folder = CeilingCache::at(cache.path());
        let worker_folder = WorkerFolder::create().unwrap();
        let reported = RefCell::new(Vec::new());
        let report = |text: &str| reported.borrow_mut().push(text.to_owned());
        let resources = ProbeResources {
            binary: Path::new("/nowhere/at/all"),
            worker_folder: &worker_folder,
            interrupt: &Interrupt::default(),
            report: &report,
        };
        let (environment, tool) = (Environment::default(), Tool::default());
        let found = in_folder(&folder, resources, &environment, &tool, &[2, 1], false);
        assert_eq!(found.threads.iter().map(|entry| entry.threads).collect::<Vec<_>>(), [1, 2]);
        let one = &found.threads[0];
        for reason in [one.memory_read.reason(), one.caches.reason(), found.page_fault_s.reason()] {
            assert!(reason.is_some_and(|reason| reason.as_str().contains("/nowhere/at/all")), "{found:?}");
        }
        assert!(found.disturbed.is_absent());
        assert_eq!(folder.read(&found.machine).map(|kept| kept.threads.len()), Some(0));
        assert!(reported.borrow().iter().any(|text| text.contains("2 threads")), "{reported:?}");
    }

    #[test]
    fn ceilings_of_a_busy_machine_do_not_replace_those_of_an_idle_one() {
        let cache = tempfile::tempdir().unwrap();
        let folder = CeilingCache::at(cache.path());
        let (mut environment, tool) = (Environment::default(), Tool::default());
        let machine = machine_digest(&environment, &tool);
        let spread = Spread { median: 1.0, low: 1.0, high: 1.0, n: 5 };
        let entry = ThreadCeilings { threads: 2, memory_read: spread.into(), ..ThreadCeilings::absent("not measured") };
        let idle = Ceilings { machine, threads: vec![entry], page_fault_s: spread.into(), ..Ceilings::absent("no") };
        folder.write(&idle).unwrap();
        environment.state.busy_now = 0.4.into();
        let worker_folder = WorkerFolder::create().unwrap();
        let reported = RefCell::new(Vec::new());
        let report = |text: &str| reported.borrow_mut().push(text.to_owned());
        let interrupt = Interrupt::default();
        let resources = ProbeResources {
            binary: Path::new("/nowhere"),
            worker_folder: &worker_folder,
            interrupt: &interrupt,
            report: &report,
        };
        let found = in_folder(&folder, resources, &environment, &tool, &[2], true);
        assert!(found.is_disturbed());
        assert!(
            reported.borrow().iter().any(|text| text.contains("40 %") && text.contains("are kept")),
            "{reported:?}"
        );
        assert_eq!(folder.read(&idle.machine), Some(idle.clone()));
        // Ceilings of an idle machine replace disturbed ones, without `again`.
        folder.write(&Ceilings { disturbed: 0.4.into(), ..idle.clone() }).unwrap();
        environment.state.busy_now = 0.01.into();
        let found = in_folder(&folder, resources, &environment, &tool, &[2], false);
        assert_eq!(found.disturbed.value(), Some(0.01));
        assert!(found.threads[0].memory_read.is_absent(), "it was measured again");
    }

    #[test]
    fn contradictory_ceilings_are_measured_again_and_then_withheld() {
        let exactly = |rate: f64| Spread { median: rate, low: rate, high: rate, n: 7 };
        let entry = |near: f64| {
            let cache = |level, rate| record::CacheCeiling { level, size_bytes: 1, read: exactly(rate) };
            ThreadCeilings {
                threads: 2,
                memory_read: exactly(20e9).into(),
                caches: record::CacheCeilings::measured(vec![cache(1, near), cache(2, 200e9)], "none"),
                ..ThreadCeilings::absent("not measured")
            }
        };
        let measured = |rates: &[f64]| {
            let mut rates = rates.iter();
            let found = consistent(&|_| {}, || entry(*rates.next().unwrap()));
            (found, rates.count())
        };
        assert_eq!(measured(&[400e9, 1.0, 1.0]), (entry(400e9), 2), "once");
        assert_eq!(measured(&[90e9, 400e9, 1.0]), (entry(400e9), 1), "again");
        let (found, left) = measured(&[90e9, 80e9, 70e9]);
        assert_eq!((found.caches.len(), left), (1, 0));
        assert!(found.caches.reason_of(1).is_some(), "{found:?}");
        let stored = Ceilings { threads: vec![entry(90e9)], ..Ceilings::absent("not measured") };
        assert_eq!(missing(&stored, &[2]), [2], "a stored contradiction is not used");
    }

    #[test]
    fn stored_ceilings_are_not_measured_again() {
        let cache = tempfile::tempdir().unwrap();
        let folder = CeilingCache::at(cache.path());
        let (environment, tool) = (Environment::default(), Tool::default());
        let spread = Spread { median: 1.0, low: 1.0, high: 1.0, n: 5 };
        let entry = ThreadCeilings { threads: 2, memory_read: spread.into(), ..ThreadCeilings::absent("not measured") };
        let kept = Ceilings {
            machine: machine_digest(&environment, &tool),
            threads: vec![entry],
            page_fault_s: spread.into(),
            ..Ceilings::absent("not measured")
        };
        folder.write(&kept).unwrap();
        let worker_folder = WorkerFolder::create().unwrap();
        let report = |text: &str| panic!("nothing to measure: {text}");
        let interrupt = Interrupt::default();
        let resources = ProbeResources {
            binary: Path::new("/nowhere"),
            worker_folder: &worker_folder,
            interrupt: &interrupt,
            report: &report,
        };
        assert_eq!(in_folder(&folder, resources, &environment, &tool, &[2, 2], false), kept);
        assert_eq!(missing(&kept, &[4, 2, 1, 4]), [1, 4]);
    }
}
