//! The system calls of macOS, each in a safe function that fills bytes. Other modules interpret the bytes.
//!
//! `layout` compares the layouts that the readers rely on with those of `libc` and `mach2` at compile time.

#![allow(unsafe_code, reason = "Mach, libproc and notify have no safe wrappers")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use objc2_foundation::NSProcessInfo;

use super::system::{Question, Refusal, System, put};

/// `PROC_PPID_ONLY` of bsd/sys/proc_info.h.
const CHILDREN_OF: u32 = 6;

unsafe extern "C" {
    // <notify.h>, in libSystem.
    fn notify_register_check(name: *const c_char, token: *mut c_int) -> u32;
    fn notify_get_state(token: c_int, state: *mut u64) -> u32;
    fn notify_cancel(token: c_int) -> u32;
    // <sys/qos.h>
    fn qos_class_self() -> u32;
}

/// The kernel of this Mac.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel;

impl System for Kernel {
    fn ask(&self, question: Question<'_>, answer: &mut [u8]) -> Result<usize, Refusal> {
        match question {
            Question::Rusage { pid, version } => rusage(pid, version, answer),
            Question::Children(pid) => children(pid, answer),
            Question::Process(pid) => process(pid, answer),
            Question::OwnUsage => own_usage(answer),
            Question::Task(flavor) => task(flavor, answer),
            Question::Host(flavor) => host(flavor, answer),
            Question::Thread(kind) => thread(kind, answer),
            Question::Value(name) => value(name, answer),
            Question::Timebase => timebase(answer),
            Question::Load => load(answer),
            Question::ThreadTime => thread_time(answer),
            Question::Notified(name) => notified(name, answer),
            Question::PowerSource => super::power::source(answer),
            Question::Battery => super::power::battery(answer),
            Question::LowPowerMode => put(answer, &[u8::from(NSProcessInfo::processInfo().isLowPowerModeEnabled())]),
            Question::Qos => {
                // SAFETY: it reads the calling thread's class and touches no memory of ours.
                let class = unsafe { qos_class_self() };
                put(answer, &class.to_ne_bytes())
            }
            Question::ResetFootprint => reset_footprint(),
        }
    }
}

/// The C library's last error.
fn errno() -> Refusal {
    Refusal::Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn process_id(pid: u32) -> Result<c_int, Refusal> {
    c_int::try_from(pid).map_err(|_| Refusal::Errno(libc::ESRCH))
}

fn rusage(pid: u32, version: u8, answer: &mut [u8]) -> Result<usize, Refusal> {
    let pid = process_id(pid)?;
    let size = if version >= 6 { super::rusage::BYTES } else { super::rusage::BYTES_V4 };
    // Words, so that the buffer has the alignment of the structure.
    let mut words = [0_u64; super::rusage::BYTES / 8];
    // SAFETY: the buffer has space for version 6, of which version 4 is a prefix, and lives through the call.
    let code = unsafe { libc::proc_pid_rusage(pid, c_int::from(version), words.as_mut_ptr().cast()) };
    if code != 0 {
        return Err(errno());
    }
    for (bytes, word) in answer.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(size.min(answer.len()))
}

fn children(pid: u32, answer: &mut [u8]) -> Result<usize, Refusal> {
    let length = c_int::try_from(answer.len()).unwrap_or(c_int::MAX);
    // SAFETY: `length` is that of the buffer, which lives through the call; process ids need no alignment to be copied.
    let bytes = unsafe { libc::proc_listpids(CHILDREN_OF, pid, answer.as_mut_ptr().cast(), length) };
    usize::try_from(bytes).map_err(|_| errno())
}

fn process(pid: u32, answer: &mut [u8]) -> Result<usize, Refusal> {
    let pid = process_id(pid)?;
    // Words, so that the buffer has the alignment of the structure.
    let mut words = [0_u64; size_of::<libc::proc_taskallinfo>() / 8];
    let length = size_of::<libc::proc_taskallinfo>() as c_int;
    // SAFETY: `length` is the size of the buffer, which lives through the call.
    let filled = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTASKALLINFO, 0, words.as_mut_ptr().cast(), length) };
    if filled == length { put(answer, &words.map(u64::to_ne_bytes).concat()) } else { Err(errno()) }
}

fn own_usage(answer: &mut [u8]) -> Result<usize, Refusal> {
    let mut usage = [0_u64; size_of::<libc::rusage>() / 8];
    // SAFETY: the buffer has the size and the alignment of a `rusage`, which the call fills.
    let code = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr().cast()) };
    if code == 0 { put(answer, &usage.map(u64::to_ne_bytes).concat()) } else { Err(errno()) }
}

/// Mach gives lengths in words of 32 bits.
pub(super) const MOST_WORDS: usize = 128;

fn task(flavor: u32, answer: &mut [u8]) -> Result<usize, Refusal> {
    // SAFETY: mach_task_self reads a global that is set before main.
    let task = unsafe { mach2::traps::mach_task_self() };
    words(answer, |buffer, length| {
        // SAFETY: `length` says how many words the buffer has; both live through the call.
        unsafe { mach2::task::task_info(task, flavor, buffer, length) }
    })
}

fn host(flavor: u32, answer: &mut [u8]) -> Result<usize, Refusal> {
    let flavor = c_int::try_from(flavor).map_err(|_| Refusal::Absent)?;
    // SAFETY: mach_host_self takes no arguments and returns a port.
    let host = unsafe { mach2::mach_init::mach_host_self() };
    words(answer, |buffer, length| {
        // SAFETY: `length` says how many words the buffer has; both live through the call.
        unsafe { libc::host_statistics64(host, flavor, buffer, length) }
    })
}

/// The call shrinks `length` to the words that it filled.
fn words(answer: &mut [u8], call: impl FnOnce(*mut c_int, *mut u32) -> c_int) -> Result<usize, Refusal> {
    let mut buffer = [0_i32; MOST_WORDS];
    let mut length = MOST_WORDS as u32;
    let code = call(buffer.as_mut_ptr(), &raw mut length);
    if code != 0 {
        return Err(Refusal::Mach(code));
    }
    let filled = buffer.get(..length as usize).unwrap_or(&buffer);
    let bytes: usize = answer
        .chunks_exact_mut(4)
        .zip(filled)
        .map(|(bytes, word)| {
            bytes.copy_from_slice(&word.to_ne_bytes());
            bytes.len()
        })
        .sum();
    Ok(bytes)
}

/// The address of a function that the system's libraries may lack.
fn symbol(name: &CStr) -> Result<*mut c_void, Refusal> {
    // SAFETY: the name ends in a zero; the default handle searches what is loaded.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if found.is_null() { Err(Refusal::Absent) } else { Ok(found) }
}

fn thread(kind: u32, answer: &mut [u8]) -> Result<usize, Refusal> {
    type Call = unsafe extern "C" fn(u32, *mut c_void, usize) -> c_int;
    static FOUND: std::sync::OnceLock<Option<Call>> = std::sync::OnceLock::new();
    let call = FOUND.get_or_init(|| {
        let address = symbol(c"thread_selfcounts").ok()?;
        // SAFETY: `int thread_selfcounts(uint32_t kind, void *buffer, size_t size)` of bsd/sys/resource_private.h.
        Some(unsafe { std::mem::transmute::<*mut c_void, Call>(address) })
    });
    let call = call.ok_or(Refusal::Absent)?;
    // SAFETY: the length is that of the buffer, which lives through the call.
    let code = unsafe { call(kind, answer.as_mut_ptr().cast(), answer.len()) };
    if code == 0 { Ok(answer.len()) } else { Err(errno()) }
}

fn reset_footprint() -> Result<usize, Refusal> {
    type Call = unsafe extern "C" fn(c_int) -> c_int;
    let address = symbol(c"proc_reset_footprint_interval")?;
    // SAFETY: `int proc_reset_footprint_interval(pid_t pid)` of libproc.
    let call = unsafe { std::mem::transmute::<*mut c_void, Call>(address) };
    let pid = process_id(std::process::id())?;
    // SAFETY: it takes a process id and touches no memory of ours.
    let code = unsafe { call(pid) };
    if code == 0 { Ok(0) } else { Err(errno()) }
}

fn value(name: &str, answer: &mut [u8]) -> Result<usize, Refusal> {
    let name = CString::new(name).map_err(|_| Refusal::Absent)?;
    let mut size = answer.len();
    // SAFETY: the name ends in a zero, `size` is the length of the buffer, and nothing is written to the system.
    let code = unsafe {
        libc::sysctlbyname(name.as_ptr(), answer.as_mut_ptr().cast(), &raw mut size, std::ptr::null_mut(), 0)
    };
    match code {
        0 => Ok(size),
        _ if errno() == Refusal::Errno(libc::ENOENT) => Err(Refusal::Absent),
        _ => Err(errno()),
    }
}

fn timebase(answer: &mut [u8]) -> Result<usize, Refusal> {
    let mut info = mach2::mach_time::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: the structure is valid and lives through the call.
    let code = unsafe { mach2::mach_time::mach_timebase_info(&raw mut info) };
    if code == 0 {
        put(answer, &[info.numer, info.denom].map(u32::to_ne_bytes).concat())
    } else {
        Err(Refusal::Mach(code))
    }
}

fn thread_time(answer: &mut [u8]) -> Result<usize, Refusal> {
    // SAFETY: pthread_self takes no arguments and cannot fail.
    let thread = unsafe { libc::pthread_self() };
    // SAFETY: the calling thread exists; the port stays the system's and need not be given back.
    let port = unsafe { libc::pthread_mach_thread_np(thread) };
    words(answer, |buffer, length| {
        // SAFETY: `length` says how many words the buffer has; both live through the call.
        unsafe { libc::thread_info(port, libc::THREAD_BASIC_INFO as u32, buffer, length) }
    })
}

fn load(answer: &mut [u8]) -> Result<usize, Refusal> {
    let mut load = [0_f64; 3];
    // SAFETY: `load` has space for the three numbers that are asked for.
    let found = unsafe { libc::getloadavg(load.as_mut_ptr(), 3) };
    if found == 3 { put(answer, &load.map(f64::to_ne_bytes).concat()) } else { Err(Refusal::Absent) }
}

fn notified(name: &str, answer: &mut [u8]) -> Result<usize, Refusal> {
    let name = CString::new(name).map_err(|_| Refusal::Absent)?;
    let (mut token, mut state) = (0, 0_u64);
    // SAFETY: the name ends in a zero and the token lives through the call.
    let code = unsafe { notify_register_check(name.as_ptr(), &raw mut token) };
    if code != 0 {
        return Err(Refusal::Absent);
    }
    // SAFETY: the token was given out above and the state lives through the call.
    let code = unsafe { notify_get_state(token, &raw mut state) };
    // SAFETY: the token was given out above and is not used again.
    unsafe { notify_cancel(token) };
    if code == 0 { put(answer, &state.to_ne_bytes()) } else { Err(Refusal::Absent) }
}
