//! A fake kernel and PMU for tests. Its time advances by one step with every reading.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::system::{Attributes, CACHE, Errno, EventHandle, HARDWARE, PerfSystem, SOFTWARE, Target};

const DEVICES: &str = "/sys/bus/event_source/devices/";

/// The fake, shared by the test and the counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakePmu(pub(crate) Rc<RefCell<State>>);

#[derive(Debug)]
pub(crate) struct State {
    /// Events of the processor that count at once.
    pub(crate) registers: usize,
    /// Registers in use by others; opening a group does not fail because of them.
    pub(crate) taken: usize,
    /// Nanoseconds per reading.
    pub(crate) step: u64,
    /// Events that cannot be opened: type and config, or all of them.
    pub(crate) refused: Vec<(Option<(u32, u64)>, i32)>,
    /// Whether it may count in the kernel.
    pub(crate) privileged: bool,
    /// All readings from this one on fail.
    pub(crate) fail_from: Option<usize>,
    /// From this reading on the last event of each group is lost.
    pub(crate) lose_from: Option<usize>,
    /// The number of low bits that values have.
    pub(crate) bits: u32,
    /// The threads at each call of `list`; the last list stays.
    pub(crate) threads: Vec<Vec<i32>>,
    /// Files of `/proc` and `/sys`.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) reads: usize,
    pub(crate) switches: usize,
    events: Vec<Option<OpenEvent>>,
}

#[derive(Debug)]
struct OpenEvent {
    event: Attributes,
    leader: usize,
    on: bool,
    enabled: u64,
    running: u64,
    value: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            registers: 4,
            taken: 0,
            step: 100_000,
            refused: Vec::new(),
            privileged: false,
            fail_from: None,
            lose_from: None,
            bits: 64,
            threads: vec![vec![1]],
            files: BTreeMap::from([("/proc/sys/kernel/perf_event_paranoid".to_owned(), "2\n".to_owned())]),
            reads: 0,
            switches: 0,
            events: Vec::new(),
        }
    }
}

/// Events per nanosecond: cycles 1, instructions 2, and so on.
pub(crate) fn rate(event: &Attributes) -> u64 {
    if event.pmu == SOFTWARE { 1 } else { (event.config & 0xff) + 1 }
}

impl FakePmu {
    pub(crate) fn with(change: impl FnOnce(&mut State)) -> Self {
        let fake = Self::default();
        change(&mut fake.0.borrow_mut());
        fake
    }

    pub(crate) fn with_file(self, path: &str, text: &str) -> Self {
        self.0.borrow_mut().files.insert(format!("{DEVICES}{path}"), text.to_owned());
        self
    }

    /// Events that are open.
    pub(crate) fn open_events(&self) -> usize {
        self.0.borrow().events.iter().flatten().count()
    }
}

impl State {
    fn members(&self, leader: usize) -> impl Iterator<Item = &OpenEvent> {
        self.events.iter().flatten().filter(move |open| open.leader == leader)
    }

    fn on_processor(&self, leader: usize) -> usize {
        self.members(leader).filter(|open| open.event.pmu != SOFTWARE).count()
    }

    /// Advances time by one step. Groups that do not fit take turns; a group that can never fit never counts.
    fn pass(&mut self) {
        let free = self.registers.saturating_sub(self.taken);
        let on: Vec<usize> = (0..self.events.len())
            .filter(|&at| self.events[at].as_ref().is_some_and(|open| open.leader == at && open.on))
            .collect();
        let wanted: usize = on.iter().map(|&leader| self.on_processor(leader)).sum();
        let groups = on.iter().filter(|&&leader| self.on_processor(leader) > 0).count() as u64;
        for leader in on {
            let need = self.on_processor(leader);
            let counted = if need > free {
                0
            } else if need > 0 && wanted > free {
                self.step / groups
            } else {
                self.step
            };
            for open in self.events.iter_mut().flatten().filter(|open| open.leader == leader) {
                open.enabled += self.step;
                open.running += counted;
                open.value += counted * rate(&open.event);
            }
        }
    }
}

impl PerfSystem for FakePmu {
    fn open(&mut self, event: &Attributes, _: Target, leader: Option<EventHandle>) -> Result<EventHandle, Errno> {
        let mut state = self.0.borrow_mut();
        let key = (event.pmu, event.config);
        let refused = state.refused.iter().find(|(which, _)| which.is_none_or(|which| which == key));
        if let Some(&(_, code)) = refused {
            return Err(Errno(code));
        }
        if !event.exclude_kernel && !state.privileged {
            return Err(Errno(libc::EACCES));
        }
        let index = state.events.len();
        let leader = leader.map_or(index, |handle| handle.0);
        let needs = usize::from(matches!(event.pmu, HARDWARE | CACHE) || event.pmu > SOFTWARE);
        if state.on_processor(leader) + needs > state.registers {
            return Err(Errno(libc::EINVAL));
        }
        state.events.push(Some(OpenEvent { event: *event, leader, on: false, enabled: 0, running: 0, value: 0 }));
        Ok(EventHandle(index))
    }

    fn switch(&mut self, leader: EventHandle, on: bool) -> Result<(), Errno> {
        let mut state = self.0.borrow_mut();
        state.switches += 1;
        state.events.iter_mut().flatten().filter(|open| open.leader == leader.0).for_each(|open| open.on = on);
        Ok(())
    }

    fn read(&mut self, leader: EventHandle, words: &mut [u64]) -> Result<usize, Errno> {
        let mut state = self.0.borrow_mut();
        state.reads += 1;
        state.pass();
        if state.fail_from.is_some_and(|from| state.reads >= from) {
            return Err(Errno(libc::EIO));
        }
        let mask = u64::MAX >> (64 - state.bits);
        let mut values: Vec<u64> = state.members(leader.0).map(|open| open.value & mask).collect();
        if state.lose_from.is_some_and(|from| state.reads >= from) {
            values.pop();
        }
        let first = state.events[leader.0].as_ref().ok_or(Errno(libc::EBADF))?;
        let header = [values.len() as u64, first.enabled, first.running];
        let all = header.into_iter().chain(values);
        Ok(words.iter_mut().zip(all).map(|(word, value)| *word = value).count())
    }

    fn close(&mut self, event: EventHandle) {
        self.0.borrow_mut().events[event.0] = None;
    }

    fn text(&self, path: &str) -> Result<String, Errno> {
        self.0.borrow().files.get(path).cloned().ok_or(Errno(libc::ENOENT))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Errno> {
        let mut state = self.0.borrow_mut();
        if path == "/proc/self/task" {
            let now = if state.threads.len() > 1 { state.threads.remove(0) } else { state.threads[0].clone() };
            return Ok(now.iter().map(i32::to_string).collect());
        }
        let inside = |file: &String| Some(file.strip_prefix(path)?.strip_prefix('/')?.split('/').next()?.to_owned());
        let mut names: Vec<String> = state.files.keys().filter_map(inside).collect();
        names.dedup();
        if names.is_empty() { Err(Errno(libc::ENOENT)) } else { Ok(names) }
    }
}
