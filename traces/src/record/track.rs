//! Virtual tracks: lines in a trace that are no threads, such as a device's queue or a server that is watched.

use std::sync::{Mutex, PoisonError};

use super::event::Thread;

/// Above every thread id of Linux (at most 2^22), below 2^31.
pub(super) const FIRST_TID: u32 = 2_000_000_000;

static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A line in the trace of this process that is no thread. Spans on one must nest, as on a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Track(pub(super) u16);

impl Track {
    /// The track of this name; the same one for the same name. There can be 65,535; later names share the last.
    pub fn named(name: &str) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let place = names.iter().position(|known| known == name).unwrap_or_else(|| {
            if names.len() < usize::from(u16::MAX) {
                names.push(name.to_owned());
            }
            names.len() - 1
        });
        Self(place as u16 + 1)
    }

    /// Its number in place of a thread's.
    pub fn tid(self) -> u32 {
        FIRST_TID + u32::from(self.0)
    }

    /// How it appears among the threads of a batch.
    pub(super) fn thread(self) -> Thread {
        let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.get(usize::from(self.0).wrapping_sub(1)).cloned().unwrap_or_default();
        Thread { tid: self.tid(), name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_track() {
        let (queue, server) = (Track::named("queue"), Track::named("server"));
        assert_eq!(queue, Track::named("queue"));
        assert_ne!(queue.tid(), server.tid());
        assert_eq!(server.thread(), Thread { tid: server.tid(), name: "server".into() });
    }
}
