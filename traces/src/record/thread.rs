//! Who the calling thread is, in the operating system's words.

use super::event::Thread;

/// The calling thread; one without a name is called by its number.
pub(super) fn current() -> Thread {
    let tid = id();
    let name = match std::thread::current().name() {
        Some(name) => name.to_owned(),
        None => format!("thread {tid}"),
    };
    Thread { tid, name }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code, reason = "the kernel's thread id has no safe wrapper in std")]
fn id() -> u32 {
    // SAFETY: gettid takes nothing and always succeeds; the id is positive.
    (unsafe { libc::gettid() }) as u32
}

#[cfg(target_vendor = "apple")]
#[allow(unsafe_code, reason = "the kernel's thread id has no safe wrapper in std")]
fn id() -> u32 {
    let mut id = 0_u64;
    // SAFETY: thread 0 means the calling one; `id` is valid and lives through the call.
    unsafe { libc::pthread_threadid_np(0, &raw mut id) };
    // Ids count up from boot; viewers want 32 bits.
    id as u32
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn id() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    // Never 0, and never 1, which viewers take for the process's own.
    static NEXT: AtomicU32 = AtomicU32::new(2);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
