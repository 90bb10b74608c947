//! Whether the system grants a scheduling priority. ggml only prints a warning where it does not.

use super::super::settings::Priority;
use super::super::unsupported;
use crate::EngineError;

/// Tries the priority on a thread that ends at once.
///
/// # Errors
/// When the system refuses it.
#[cfg(target_os = "linux")]
pub(in super::super) fn check(priority: Priority) -> Result<(), EngineError> {
    // As `ggml_thread_apply_priority` has them.
    let (policy, sched_priority) = match priority {
        Priority::Low => (libc::SCHED_BATCH, 0),
        Priority::Normal => return Ok(()),
        Priority::Medium => (libc::SCHED_FIFO, 40),
        Priority::High => (libc::SCHED_FIFO, 80),
        Priority::Realtime => (libc::SCHED_FIFO, 90),
    };
    let attempt = move || {
        let parameters = libc::sched_param { sched_priority };
        // SAFETY: it has no conditions.
        let this = unsafe { libc::pthread_self() };
        // SAFETY: the thread is the calling one, and the parameters live during the call.
        unsafe { libc::pthread_setschedparam(this, policy, &raw const parameters) }
    };
    let thread = std::thread::Builder::new().name("priority".to_owned()).spawn(attempt);
    let outcome = thread.map(std::thread::JoinHandle::join);
    let reason = match outcome {
        Ok(Ok(0)) => return Ok(()),
        Ok(Ok(number)) => std::io::Error::from_raw_os_error(number).to_string(),
        Ok(Err(_)) => "the thread that tried it has ended with a panic".to_owned(),
        Err(error) => error.to_string(),
    };
    let advice = "leave it out, or allow it: as root, or with a higher limit of real-time priorities (RLIMIT_RTPRIO)";
    Err(unsupported(format!("this priority of threads here: the system refuses it ({reason})"), advice))
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
pub(in super::super) fn check(_priority: Priority) -> Result<(), EngineError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_that_need_no_right_are_granted() {
        check(Priority::Normal).unwrap();
        check(Priority::Low).unwrap();
    }
}
