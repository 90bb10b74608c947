//! [`Thread`] and [`Track`]: what the events of a trace belong to.
//!
//! A track is a line of the trace that is no thread, such as the queue of a device or a server that is measured from outside.

use std::sync::{Mutex, PoisonError};

/// Above every thread id of Linux (at most 2^22), below 2^31.
const FIRST_TRACK_TID: u32 = 2_000_000_000;

static TRACK_NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A thread, or a virtual track, that events refer to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Thread {
    /// The operating system's id; that of a virtual track is above all of them.
    pub tid: u32,
    /// Its name.
    pub name: String,
}

impl Thread {
    /// The calling thread. A thread without a name is named by its id.
    pub(super) fn current() -> Self {
        let tid = current_tid();
        let name = match std::thread::current().name() {
            Some(name) => name.to_owned(),
            None => format!("thread {tid}"),
        };
        Self { tid, name }
    }

    /// Whether this is the id of a virtual track.
    pub fn is_track(tid: u32) -> bool {
        tid > FIRST_TRACK_TID
    }
}

/// A virtual track: a line in the trace of this process that is no thread. Spans on one must nest, as on a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Track(pub(super) u16);

impl Track {
    /// The track of this name; the same name gives the same track. There are at most 65,535; further names share the last one.
    pub fn named(name: &str) -> Self {
        let mut names = TRACK_NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
            if names.len() < usize::from(u16::MAX) {
                names.push(name.to_owned());
            }
            names.len() - 1
        });
        Self(index as u16 + 1)
    }

    /// Its id, which takes the place of a thread id.
    pub fn tid(self) -> u32 {
        FIRST_TRACK_TID + u32::from(self.0)
    }

    /// Its entry among the threads of a batch.
    pub(super) fn thread(self) -> Thread {
        let names = TRACK_NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        // Every track was made by `named`, so its name is in the list.
        let name = names.get(usize::from(self.0).wrapping_sub(1)).cloned().unwrap_or_default();
        Thread { tid: self.tid(), name }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code, reason = "the kernel's thread id has no safe wrapper in std")]
fn current_tid() -> u32 {
    // SAFETY: gettid takes nothing and always succeeds; the id is positive.
    (unsafe { libc::gettid() }) as u32
}

#[cfg(target_vendor = "apple")]
#[allow(unsafe_code, reason = "the kernel's thread id has no safe wrapper in std")]
fn current_tid() -> u32 {
    let mut id = 0_u64;
    // SAFETY: thread 0 means the calling one; `id` is valid and lives through the call.
    unsafe { libc::pthread_threadid_np(0, &raw mut id) };
    // Ids count up from boot; viewers expect 32 bits.
    id as u32
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn current_tid() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    // Never 0, and never 1, which viewers take for the process itself.
    static NEXT: AtomicU32 = AtomicU32::new(2);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_gives_the_same_track() {
        let (queue, server) = (Track::named("queue"), Track::named("server"));
        assert_eq!(queue, Track::named("queue"));
        assert_ne!(queue.tid(), server.tid());
        assert_eq!(server.thread(), Thread { tid: server.tid(), name: "server".into() });
    }
}
