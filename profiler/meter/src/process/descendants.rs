//! [`Descendants`]: whether processes that another process started are still alive.

use crate::platform::process::Processes;

/// The descendants of a process at one moment, by process id and start time: a reused id is not mistaken for one of them.
#[derive(Debug)]
pub struct Descendants {
    system: Processes,
    members: Vec<(u32, u64)>,
}

impl Descendants {
    /// The descendants of a process, without the process itself.
    pub fn of(pid: u32) -> Self {
        let system = Processes::system();
        let tree = system.tree(&[pid]);
        let members =
            tree.iter().filter(|member| member.pid != pid).map(|member| (member.pid, member.started)).collect();
        Self { system, members }
    }

    /// Whether one of them is alive. A process that ended and was not waited for has no memory left.
    pub fn any_alive(&self) -> bool {
        let alive = |&(pid, started): &(u32, u64)| {
            self.system.snapshot(pid).is_some_and(|member| member.started == started && member.memory.resident > 0)
        };
        self.members.iter().any(alive)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn children_are_descendants_until_they_end() {
        // The child has its parent's input: in the background a shell would give it none.
        let script = "exec 3<&0; sh -c 'read -r _ <&3; exit 0' & wait";
        let mut parent = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let input = parent.stdin.take();
        let descendants = || Descendants::of(parent.id());
        while descendants().members.is_empty() {
            std::thread::yield_now();
        }
        let descendants = descendants();
        assert!(descendants.any_alive());
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(!Descendants::of(parent.id()).any_alive(), "it ended: its child has another parent now");
        assert!(descendants.any_alive(), "it waits for the end of its input");
        drop(input);
        while descendants.any_alive() {
            std::thread::yield_now();
        }
    }
}
