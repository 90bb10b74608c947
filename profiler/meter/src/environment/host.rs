//! Operating system, kernel, clock source, and whether this is a virtual machine or a container.

use crate::root::Root;
use record::environment::Host;
use record::{Reason, Reasons};

/// Reads `/etc/os-release`, `/proc` and `/sys/class/dmi`.
pub fn read(root: &Root) -> Host {
    let machine = root.text("/sys/class/dmi/id/sys_vendor").and_then(|vendor| {
        let product = root.text("/sys/class/dmi/id/product_name")?;
        Ok(format!("{vendor} {product}"))
    });
    let machine = machine.or_else(|why| root.text("/proc/device-tree/model").map_err(|_| why));
    let hypervisor = hypervisor(root, machine.as_deref().unwrap_or_default());
    let hypervisor_name = match &hypervisor {
        Ok(Hypervisor::Named(name)) => Ok(name.clone()),
        Ok(Hypervisor::Unnamed) => Err(Reason::new("the hypervisor does not give its name in a file")),
        Ok(Hypervisor::None) => Err(Reason::new("not virtualised")),
        Err(why) => Err(why.clone()),
    };
    let clock = root.text("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    Host {
        system: system(root).into(),
        kernel: root.text("/proc/sys/kernel/osrelease").into(),
        architecture: std::env::consts::ARCH.to_owned(),
        virtualised: hypervisor.map(|found| found != Hypervisor::None).into(),
        hypervisor: hypervisor_name.into(),
        machine: machine.into(),
        container: container(root).into(),
        clock_source: clock.into(),
        translated: None,
        notes: Reasons::new(),
    }
}

fn system(root: &Root) -> Result<String, Reason> {
    let release = root.text("/etc/os-release").or_else(|why| root.text("/usr/lib/os-release").map_err(|_| why))?;
    let value = |key: &str| {
        release.lines().find_map(|line| line.strip_prefix(key)).map(|text| text.trim_matches('"').to_owned())
    };
    value("PRETTY_NAME=").or_else(|| value("NAME=")).ok_or_else(|| Reason::new("/etc/os-release: has no PRETTY_NAME"))
}

/// Vendors of virtual machines in DMI, and the common names of the hypervisors.
const VIRTUAL_MACHINES: &[(&str, &str)] = &[
    ("Amazon EC2", "EC2"),
    ("Bochs", "Bochs"),
    ("Google Compute Engine", "Google Compute Engine"),
    ("KVM", "KVM"),
    ("Microsoft Corporation Virtual Machine", "Hyper-V"),
    ("OpenStack", "OpenStack"),
    ("Parallels", "Parallels"),
    ("QEMU", "QEMU"),
    ("VMware", "VMware"),
    ("VirtualBox", "VirtualBox"),
    ("Xen", "Xen"),
];

/// Whether this is a virtual machine, and of which hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hypervisor {
    /// A real machine.
    None,
    /// A virtual machine of an unknown hypervisor.
    Unnamed,
    /// A virtual machine of this hypervisor.
    Named(String),
}

/// x86 processors set the flag `hypervisor` for every guest, and Amazon's real machines have the vendor's name too: the flag
/// decides where it exists, elsewhere the vendor does.
fn hypervisor(root: &Root, machine: &str) -> Result<Hypervisor, Reason> {
    let info = root.text("/proc/cpuinfo")?;
    let by_kernel = root.text("/sys/hypervisor/type").ok().filter(|name| !name.is_empty());
    let by_tree = root.text("/proc/device-tree/hypervisor/compatible").ok();
    let by_maker = VIRTUAL_MACHINES.iter().find(|(text, _)| machine.contains(text)).map(|&(_, name)| name.to_owned());
    let by_wsl = root
        .text("/proc/sys/kernel/osrelease")
        .ok()
        .filter(|kernel| kernel.contains("microsoft"))
        .map(|_| "Hyper-V (WSL)".to_owned());
    let name = by_wsl.or(by_kernel).or(by_tree).or(by_maker);
    let flags = info.lines().find(|line| line.starts_with("flags"));
    match flags {
        Some(flags) if !flags.split_whitespace().any(|flag| flag == "hypervisor") => Ok(Hypervisor::None),
        Some(_) => Ok(name.map_or(Hypervisor::Unnamed, Hypervisor::Named)),
        None => Ok(name.map_or(Hypervisor::None, Hypervisor::Named)),
    }
}

/// The container runtime by the traces that it leaves; `none` where there are none.
fn container(root: &Root) -> String {
    let groups = root.text("/proc/self/cgroup").unwrap_or_default();
    let first = root.text("/proc/1/environ").unwrap_or_default();
    let variable = first.split('\0').find_map(|pair| pair.strip_prefix("container="));
    let kind = match variable {
        Some(kind) if !kind.is_empty() => kind,
        _ if root.has("/run/.containerenv") => "podman",
        _ if groups.contains("kubepods") => "kubernetes",
        _ if root.has("/.dockerenv") || groups.contains("/docker") => "docker",
        _ if groups.contains("/lxc") => "lxc",
        _ => "none",
    };
    kind.to_owned()
}
