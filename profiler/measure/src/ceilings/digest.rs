//! What measured ceilings hold for.

use sha2::{Digest, Sha256};

use record::Tool;
use record::environment::Environment;

/// Raised when a kernel changes, so that what older ones measured is measured again.
const KERNELS: u32 = 2;

/// A digest over the processor, its caches and usable threads, memory, kernel, and the build, in 16 hexadecimal digits.
pub(super) fn machine(environment: &Environment, tool: &Tool) -> String {
    let (processor, memory) = (&environment.processor, &environment.memory);
    let facts = format!(
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
    Sha256::digest(facts).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_or_build_has_another_digest() {
        let (environment, tool) = (Environment::default(), Tool::default());
        let plain = machine(&environment, &tool);
        assert_eq!((plain.len(), plain.clone()), (16, machine(&environment, &tool)));
        let mut other = environment.clone();
        other.processor.usable_threads = Some(3);
        assert_ne!(machine(&other, &tool), plain);
        other = environment.clone();
        other.host.kernel = Some("6.9".to_owned());
        assert_ne!(machine(&other, &tool), plain);
        other = environment.clone();
        other.state.load_1m = Some(7.0);
        assert_eq!(machine(&other, &tool), plain, "the load of the moment is no property of the machine");
        let slower = Tool { profile: "debug".to_owned(), ..tool };
        assert_ne!(machine(&environment, &slower), plain);
    }
}
