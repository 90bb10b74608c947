//! The main process's side: what is known of this machine, and measuring what is not.

use std::path::Path;

use traces::{Nanos, clock};

use super::cache::Folder;
use super::question::{MachineWide, Probe, Probed};
use super::{buffer_bytes, digest};
use crate::drive::rfc3339;
use crate::run::Interrupt;
use crate::worker::{Fallen, FromWorker, Home, Order, ToWorker, Worker};
use record::environment::Environment;
use record::{Ceilings, Reasons, ThreadCeilings, Tool};

/// No measurement of one thread count takes so long.
const LIMIT: Nanos = Nanos::from_secs(180);

/// What measuring needs.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// The binary whose hidden subcommand is the worker.
    pub binary: &'a Path,
    /// Where workers have their sockets.
    pub home: &'a Home,
    /// Ends it early.
    pub interrupt: &'a Interrupt,
    /// Hears what is being done.
    pub tell: &'a dyn Fn(&str),
}

/// What earlier measurements say of this machine and this build; `None` where nothing was measured.
#[must_use]
pub fn known(environment: &Environment, tool: &Tool) -> Option<Ceilings> {
    Folder::of_user().read(&digest::machine(environment, tool))
}

/// The ceilings of this machine for at least these thread counts: what is known, and what is missing measured now; with
/// `again` everything that is asked for. What fails is absent with a reason, and is tried again the next time.
pub fn ceilings(means: Means<'_>, environment: &Environment, tool: &Tool, threads: &[usize], again: bool) -> Ceilings {
    in_folder(&Folder::of_user(), means, environment, tool, threads, again)
}

fn in_folder(
    folder: &Folder,
    means: Means<'_>,
    environment: &Environment,
    tool: &Tool,
    threads: &[usize],
    again: bool,
) -> Ceilings {
    let machine = digest::machine(environment, tool);
    let known =
        || folder.read(&machine).unwrap_or_else(|| Ceilings { machine: machine.clone(), ..Ceilings::default() });
    let before = known();
    let disturbed = disturbed(environment);
    let now = Ceilings { disturbed, ..Ceilings::default() };
    // What was measured beside something else is measured again as soon as the machine is quiet.
    let again = again || (before.is_disturbed() && !now.is_disturbed());
    if !again && missing(&before, threads).is_empty() && is_whole(&before) {
        return before;
    }
    let waiting = || (means.tell)("another process measures the ceilings of this machine; waiting for it");
    let lock = folder.lock(waiting).map_err(|error| (means.tell)(&format!("ceilings will not be kept: {error}"))).ok();
    // Whoever held the lock may have measured the same.
    let mut found = known();
    let wanted = if again { threads.to_vec() } else { missing(&found, threads) };
    if wanted.is_empty() && is_whole(&found) {
        return found;
    }
    (means.tell)(
        "measuring the ceilings of this machine (kept for later runs; `inferometer machine --refresh` measures them again)",
    );
    if again || !is_whole(&found) {
        wide(&mut found, means, folder.path());
    }
    for count in wanted {
        if means.interrupt.is_set() {
            break;
        }
        (means.tell)(&format!("ceilings with {count} thread{}, a few seconds", if count == 1 { "" } else { "s" }));
        let entry = of_threads(means, environment, count);
        found.threads.retain(|old| old.threads != count);
        found.threads.push(entry);
    }
    found.threads.sort_by_key(|entry| entry.threads);
    found.measured = rfc3339(clock::unix_time());
    found.disturbed = disturbed;
    if let Some(share) = disturbed.filter(|_| found.is_disturbed()) {
        let kept =
            if is_whole(&before) { "the earlier ones are kept" } else { "they are measured again when it is quiet" };
        (means.tell)(&format!(
            "something else had {:.0} % of the processors just before: these ceilings are too low; {kept}",
            share * 100.0
        ));
        if is_whole(&before) && missing(&before, threads).is_empty() {
            return found;
        }
    }
    if lock.is_some() && !means.interrupt.is_set() {
        // An entry without its first figure failed: it is not worth keeping.
        let kept = found.threads.iter().filter(|entry| entry.memory_read.is_some()).cloned().collect();
        if let Err(error) = folder.write(&Ceilings { threads: kept, ..found.clone() }) {
            (means.tell)(&format!("ceilings are not kept: {error}"));
        }
    }
    found
}

/// Share of the processors that others had just before this, where the system tells.
fn disturbed(environment: &Environment) -> Option<f64> {
    let state = &environment.state;
    state.busy_now.map(|busy| busy + state.steal_now.unwrap_or(0.0))
}

/// The thread counts of a list that were not measured, each once.
fn missing(known: &Ceilings, threads: &[usize]) -> Vec<usize> {
    let mut missing: Vec<usize> = threads
        .iter()
        .copied()
        .filter(|count| !known.threads.iter().any(|entry| entry.threads == *count && entry.memory_read.is_some()))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// Whether the limits that do not depend on threads were tried.
fn is_whole(known: &Ceilings) -> bool {
    known.page_fault_s.is_some()
}

fn wide(found: &mut Ceilings, means: Means<'_>, folder: &Path) {
    (means.tell)("page faults and a file that is read, a few seconds");
    let answer = ask(means, 1, Probe::Machine { folder: folder.to_path_buf() });
    let wide = match answer {
        Ok(Probed::Machine(wide)) => wide,
        Ok(_) => failed_wide(CONFUSED),
        Err(reason) => failed_wide(&reason),
    };
    found.file_read_cold = wide.file_read_cold;
    found.file_read_warm = wide.file_read_warm;
    found.page_fault_s = wide.page_fault_s;
    found.reasons = wide.reasons;
}

const CONFUSED: &str = "the prober gave an answer to another question: please report this as a bug";

fn failed_wide(reason: &str) -> MachineWide {
    MachineWide {
        reasons: all(&["file_read_cold", "file_read_warm", "page_fault_s"], reason),
        ..MachineWide::default()
    }
}

fn of_threads(means: Means<'_>, environment: &Environment, threads: usize) -> ThreadCeilings {
    let caches = environment.processor.caches.clone();
    let bytes = buffer_bytes(&caches);
    let fields = ["memory_read", "memory_read_huge", "caches", "copy", "fma_f32", "dot_i8", "dispatch_s"];
    let failed = |reason: &str| ThreadCeilings { threads, reasons: all(&fields, reason), ..ThreadCeilings::default() };
    match ask(means, threads, Probe::Threads { caches, bytes }) {
        Ok(Probed::Threads(found)) if found.threads == threads => found,
        Ok(Probed::Threads(found)) => {
            failed(&format!("the prober had {} threads, expected {threads}: look at {}", found.threads, variables()))
        }
        Ok(_) => failed(CONFUSED),
        Err(reason) => failed(&reason),
    }
}

fn variables() -> String {
    engines::threads::VARIABLES.join(" and ")
}

fn all(fields: &[&str], reason: &str) -> Reasons {
    fields.iter().map(|field| ((*field).to_owned(), reason.to_owned())).collect()
}

/// A prober that is asked once.
fn ask(means: Means<'_>, threads: usize, probe: Probe) -> Result<Probed, String> {
    let mut worker = start(means.binary, means.home, threads)?;
    let answer = put(&mut worker, probe, means.interrupt);
    if answer.is_ok() {
        worker.quit();
    }
    answer
}

/// A prober with so many threads.
pub(crate) fn start(binary: &Path, home: &Home, threads: usize) -> Result<Worker, String> {
    let variables = engines::threads::VARIABLES;
    let order = Order {
        name: format!("ceilings/t{threads}"),
        binary: binary.to_path_buf(),
        environment: variables.iter().map(|name| ((*name).to_owned(), threads.to_string())).collect(),
    };
    Worker::start(&order, home).map_err(|error| error.to_string())
}

/// Asks a prober; the text says why there is no answer.
pub(crate) fn put(worker: &mut Worker, probe: Probe, interrupt: &Interrupt) -> Result<Probed, String> {
    match worker.ask(&ToWorker::Probe(probe), Some(LIMIT), interrupt) {
        Ok(FromWorker::Probed(found)) => Ok(*found),
        Ok(FromWorker::Failed(failure)) => Err(failure.text),
        Ok(_) => Err(CONFUSED.to_owned()),
        Err(Fallen::Died(death)) => Err(format!("the prober {}", death.text())),
        Err(Fallen::Timeout(_)) => Err(format!("the prober did not answer within {LIMIT}")),
        Err(Fallen::Interrupted) => Err("interrupted".to_owned()),
        Err(Fallen::Confused(text)) => Err(format!("the prober {text}")),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use record::Spread;

    #[test]
    fn a_prober_that_cannot_start_is_a_reason_and_nothing_is_kept() {
        let cache = tempfile::tempdir().unwrap();
        let folder = Folder::at(cache.path());
        let home = Home::create().unwrap();
        let told = RefCell::new(Vec::new());
        let tell = |text: &str| told.borrow_mut().push(text.to_owned());
        let means =
            Means { binary: Path::new("/nowhere/at/all"), home: &home, interrupt: &Interrupt::default(), tell: &tell };
        let (environment, tool) = (Environment::default(), Tool::default());
        let found = in_folder(&folder, means, &environment, &tool, &[2, 1], false);
        assert_eq!(found.threads.iter().map(|entry| entry.threads).collect::<Vec<_>>(), [1, 2]);
        assert!(found.threads[0].memory_read.is_none());
        assert!(found.threads[0].reasons["memory_read"].contains("/nowhere/at/all"));
        assert!(found.reasons.contains_key("page_fault_s"));
        assert_eq!(folder.read(&found.machine).map(|kept| kept.threads.len()), Some(0));
        assert!(told.borrow().iter().any(|text| text.contains("2 threads")), "{told:?}");
    }

    #[test]
    fn what_is_measured_beside_something_else_does_not_replace_what_is_known() {
        let cache = tempfile::tempdir().unwrap();
        let folder = Folder::at(cache.path());
        let (mut environment, tool) = (Environment::default(), Tool::default());
        let machine = digest::machine(&environment, &tool);
        let spread = Some(Spread { median: 1.0, low: 1.0, high: 1.0, n: 5 });
        let entry = ThreadCeilings { threads: 2, memory_read: spread, ..ThreadCeilings::default() };
        let quiet = Ceilings { machine, threads: vec![entry], page_fault_s: spread, ..Ceilings::default() };
        folder.write(&quiet).unwrap();
        environment.state.busy_now = Some(0.4);
        let home = Home::create().unwrap();
        let told = RefCell::new(Vec::new());
        let tell = |text: &str| told.borrow_mut().push(text.to_owned());
        let interrupt = Interrupt::default();
        let means = Means { binary: Path::new("/nowhere"), home: &home, interrupt: &interrupt, tell: &tell };
        let found = in_folder(&folder, means, &environment, &tool, &[2], true);
        assert!(found.is_disturbed());
        assert!(told.borrow().iter().any(|text| text.contains("40 %") && text.contains("are kept")), "{told:?}");
        assert_eq!(folder.read(&quiet.machine), Some(quiet.clone()));
        // The other way round: quiet ones replace disturbed ones without being asked for.
        folder.write(&Ceilings { disturbed: Some(0.4), ..quiet.clone() }).unwrap();
        environment.state.busy_now = Some(0.01);
        let found = in_folder(&folder, means, &environment, &tool, &[2], false);
        assert_eq!((found.disturbed, found.threads[0].memory_read), (Some(0.01), None), "it was tried again");
    }

    #[test]
    fn what_is_known_is_not_measured_again() {
        let cache = tempfile::tempdir().unwrap();
        let folder = Folder::at(cache.path());
        let (environment, tool) = (Environment::default(), Tool::default());
        let spread = Some(Spread { median: 1.0, low: 1.0, high: 1.0, n: 5 });
        let entry = ThreadCeilings { threads: 2, memory_read: spread, ..ThreadCeilings::default() };
        let kept = Ceilings {
            machine: digest::machine(&environment, &tool),
            threads: vec![entry],
            page_fault_s: spread,
            ..Ceilings::default()
        };
        folder.write(&kept).unwrap();
        let home = Home::create().unwrap();
        let tell = |text: &str| panic!("nothing to do: {text}");
        let interrupt = Interrupt::default();
        let means = Means { binary: Path::new("/nowhere"), home: &home, interrupt: &interrupt, tell: &tell };
        assert_eq!(in_folder(&folder, means, &environment, &tool, &[2, 2], false), kept);
        assert_eq!(missing(&kept, &[4, 2, 1, 4]), [1, 4]);
    }
}
