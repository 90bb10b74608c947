//! Identifies a machine and a build, for which measured ceilings are valid.

use record::Tool;
use record::environment::Environment;
use sha2::{Digest, Sha256};

/// Increment it when a kernel changes, so that ceilings of older kernels are measured again.
const KERNELS: u32 = 2;

/// A digest over the processor, its caches and usable threads, memory, kernel, and the build, in 16 hexadecimal digits.
pub(super) fn machine_digest(environment: &Environment, tool: &Tool) -> String {
    let (processor, memory) = (&environment.processor, &environment.memory);
    let properties = format!(
        "{KERNELS}\n{:?}\n{:?}\n{:?} {:?} {:?}\n{:?} {:?} {:?}\n{:?} {:?}\n{:?}\n{} {} {}\n{:?}",
        processor.model,
        processor.caches,
        processor.cores,
        processor.threads,
        processor.usable_threads,
        memory.total_bytes,
        memory.transparent_huge_pages,
        memory.page_bytes,
        environment.host.kernel,
        environment.host.virtualised,
        environment.limits.cpus,
        tool.version,
        tool.profile,
        tool.target,
        tool.target_features,
    );
    Sha256::digest(properties).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_or_build_has_another_digest() {
        let (environment, tool) = (Environment::default(), Tool::default());
        let plain = machine_digest(&environment, &tool);
        assert_eq!((plain.len(), plain.clone()), (16, machine_digest(&environment, &tool)));
        let mut other = environment.clone();
        other.processor.usable_threads = Some(3);
        assert_ne!(machine_digest(&other, &tool), plain);
        other = environment.clone();
        other.host.kernel = Some("6.9".to_owned());
        assert_ne!(machine_digest(&other, &tool), plain);
        other = environment.clone();
        other.state.load_1m = Some(7.0);
        assert_eq!(machine_digest(&other, &tool), plain, "the current load is not a property of the machine");
        let slower = Tool { profile: "debug".to_owned(), ..tool };
        assert_ne!(machine_digest(&environment, &slower), plain);
    }
}
