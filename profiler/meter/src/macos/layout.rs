//! Compile-time checks of the offsets and sizes that the readers rely on against the structures of `libc` and `mach2`.

use std::mem::offset_of;

use libc::proc_taskallinfo;
use mach2::task_info::task_vm_info;
use mach2::vm_statistics::vm_statistics64;

use super::rusage::{BYTES_V4, Field};
use super::{counters, kernel, memory, process};

const _: () = assert!(size_of::<libc::rusage_info_v4>() == BYTES_V4);
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_user_time) == Field::UserTime.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_system_time) == Field::SystemTime.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_pageins) == Field::Pageins.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_resident_size) == Field::ResidentSize.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_phys_footprint) == Field::Footprint.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_diskio_bytesread) == Field::BytesRead.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_diskio_byteswritten) == Field::BytesWritten.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_instructions) == Field::Instructions.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_cycles) == Field::Cycles.offset());
const _: () =
    assert!(offset_of!(libc::rusage_info_v4, ri_interval_max_phys_footprint) == Field::IntervalMaxFootprint.offset());

const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_proc_start_abstime) == Field::Started.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_child_user_time) == Field::ChildUserTime.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_child_system_time) == Field::ChildSystemTime.offset());
const _: () = assert!(offset_of!(libc::rusage_info_v4, ri_child_pageins) == Field::ChildPageins.offset());

const _: () = assert!(size_of::<proc_taskallinfo>() == process::BYTES);
const _: () = assert!(offset_of!(proc_taskallinfo, pbsd.pbi_ppid) == process::PARENT);
const _: () = assert!(offset_of!(proc_taskallinfo, ptinfo.pti_faults) == process::FAULTS);
const _: () = assert!(offset_of!(proc_taskallinfo, ptinfo.pti_pageins) == process::PAGEINS);
const _: () = assert!(offset_of!(proc_taskallinfo, ptinfo.pti_threadnum) == process::THREADS);

const _: () = assert!(size_of::<libc::rusage>() == counters::OWN_BYTES);
const _: () = assert!(offset_of!(libc::rusage, ru_minflt) == counters::MINOR_FAULTS);
const _: () = assert!(offset_of!(libc::rusage, ru_majflt) == counters::MAJOR_FAULTS);
const _: () = assert!(offset_of!(libc::rusage, ru_nvcsw) == counters::VOLUNTARY);
const _: () = assert!(offset_of!(libc::rusage, ru_nivcsw) == counters::INVOLUNTARY);

const _: () = assert!(mach2::task_info::TASK_VM_INFO == memory::TASK_VM_INFO);
const _: () = assert!(size_of::<task_vm_info>() / 4 <= kernel::MOST_WORDS);
const _: () = assert!(offset_of!(task_vm_info, resident_size) == memory::RESIDENT);
const _: () = assert!(offset_of!(task_vm_info, external) == memory::EXTERNAL);
const _: () = assert!(offset_of!(task_vm_info, compressed) == memory::COMPRESSED);
const _: () = assert!(offset_of!(task_vm_info, phys_footprint) == memory::FOOTPRINT);

const _: () = assert!(libc::HOST_VM_INFO64 as u32 == memory::HOST_VM_INFO64);
const _: () = assert!(libc::HOST_CPU_LOAD_INFO as u32 == memory::HOST_CPU_LOAD_INFO);
const _: () = assert!(offset_of!(vm_statistics64, free_count) == memory::FREE_PAGES);
const _: () = assert!(offset_of!(vm_statistics64, inactive_count) == memory::INACTIVE_PAGES);
const _: () = assert!(offset_of!(vm_statistics64, compressor_page_count) == memory::COMPRESSOR_PAGES);
