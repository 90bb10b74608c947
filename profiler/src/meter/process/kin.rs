//! Whether anything is left of what a process has started.

use super::Processes;

/// The processes that descended from one at some moment, by number and start: a stranger that has the number of one later is
/// not mistaken for it.
pub(crate) struct Kin {
    system: Processes,
    members: Vec<(u32, u64)>,
}

impl Kin {
    /// Those of a process, itself left out.
    pub(crate) fn of(pid: u32) -> Self {
        let system = Processes::system();
        let family = system.family(&[pid]);
        let members =
            family.iter().filter(|member| member.pid != pid).map(|member| (member.pid, member.started)).collect();
        Self { system, members }
    }

    /// Whether one of them lives. What has ended and was not waited for has no memory left.
    pub(crate) fn lives(&self) -> bool {
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
        let shell = |script: &str| Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let mut parent = shell("sh -c 'read -r _; exit 0' <&0 & wait");
        let kin = || Kin::of(parent.id());
        while kin().members.is_empty() {
            std::thread::yield_now();
        }
        let kin = kin();
        assert!(kin.lives());
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(!Kin::of(parent.id()).lives(), "it is gone, and what it had is nobody's");
        // The end of its input, which it had from its parent.
        drop(parent);
        while kin.lives() {
            std::thread::yield_now();
        }
    }
}
