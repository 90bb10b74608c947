//! Whether anything is left of what a process has started.

use super::Processes;

/// The processes that descended from one at some moment, by number and start: a stranger that has the number of one later is
/// not mistaken for it.
pub struct Kin {
    system: Processes,
    members: Vec<(u32, u64)>,
}

impl Kin {
    /// Those of a process, itself left out.
    pub fn of(pid: u32) -> Self {
        let system = Processes::system();
        let family = system.family(&[pid]);
        let members =
            family.iter().filter(|member| member.pid != pid).map(|member| (member.pid, member.started)).collect();
        Self { system, members }
    }

    /// Whether one of them lives. What has ended and was not waited for has no memory left.
    pub fn lives(&self) -> bool {
        let lives = |&(pid, started): &(u32, u64)| {
            self.system.member(pid).is_some_and(|member| member.started == started && member.memory.resident > 0)
        };
        self.members.iter().any(lives)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn children_are_kin_until_they_end() {
        // The child has its parent's input: in the background a shell would give it none.
        let script = "exec 3<&0; sh -c 'read -r _ <&3; exit 0' & wait";
        let mut parent = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let input = parent.stdin.take();
        let kin = || Kin::of(parent.id());
        while kin().members.is_empty() {
            std::thread::yield_now();
        }
        let kin = kin();
        assert!(kin.lives());
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(!Kin::of(parent.id()).lives(), "it is gone, and what it had is nobody's");
        assert!(kin.lives(), "it waits for the end of its input");
        drop(input);
        while kin.lives() {
            std::thread::yield_now();
        }
    }
}
