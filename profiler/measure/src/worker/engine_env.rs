//! The environment that a worker starts with: thread counts are read once by most libraries, before their first work.

use engine_api::Caps;

/// Variables to set for so many threads.
pub fn thread_environment(caps: &Caps, threads: usize) -> Vec<(String, String)> {
    caps.thread_variables.iter().map(|name| ((*name).to_owned(), threads.to_string())).collect()
}
