//! Identifies a machine and a build, for which measured ceilings are valid.

use record::Tool;
use record::environment::{Cache, Environment};
use sha2::{Digest, Sha256};

/// Increment it when a kernel changes, so that ceilings of older kernels are measured again.
const KERNELS: u32 = 2;

/// A digest over the processor, its caches and usable threads, memory, kernel, and the build, in 16 hexadecimal digits.
pub(super) fn machine_digest(environment: &Environment, tool: &Tool) -> String {
    let (processor, memory) = (&environment.processor, &environment.memory);
    // As released versions wrote it: stored ceilings and earlier runs are found by the digest.
    let cache = |Cache { level, kind, bytes, instances }: &Cache| {
        let kind = kind.name();
        format!("Cache {{ level: {level}, kind: {kind:?}, bytes: {bytes}, instances: {instances} }}")
    };
    let caches = processor.caches.iter().map(cache).collect::<Vec<_>>().join(", ");
    let properties = format!(
        "{KERNELS}\n{:?}\n[{caches}]\n{:?} {:?} {:?}\n{:?} {:?} {:?}\n{:?} {:?}\n{:?}\n{} {} {}\n{:?}",
        processor.model.as_ref(),
        processor.cores.as_ref(),
        processor.threads.as_ref(),
        processor.usable_threads.as_ref(),
        memory.total_bytes.as_ref(),
        memory.transparent_huge_pages.as_ref(),
        memory.page_bytes.as_ref(),
        environment.host.kernel.as_ref(),
        environment.host.virtualised.as_ref(),
        environment.limits.cpus.as_ref(),
        tool.version,
        tool.profile,
        tool.target,
        tool.target_features,
    );
    Sha256::digest(properties).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use record::RecordedList;
    use record::environment::CacheKind;

    use super::*;

    #[test]
    fn another_machine_or_build_has_another_digest() {
        let (environment, tool) = (Environment::default(), Tool::default());
        let plain = machine_digest(&environment, &tool);
        assert_eq!((plain.len(), plain.clone()), (16, machine_digest(&environment, &tool)));
        let mut other = environment.clone();
        other.processor.usable_threads = 3.into();
        assert_ne!(machine_digest(&other, &tool), plain);
        other = environment.clone();
        other.host.kernel = "6.9".to_owned().into();
        assert_ne!(machine_digest(&other, &tool), plain);
        other = environment.clone();
        other.state.load_1m = 7.0.into();
        assert_eq!(machine_digest(&other, &tool), plain, "the current load is not a property of the machine");
        let slower = Tool { profile: "debug".to_owned(), ..tool };
        assert_ne!(machine_digest(&environment, &slower), plain);
    }

    /// The value is that of the text `Debug` wrote of optional strings and numbers.
    #[test]
    fn the_digest_of_a_machine_does_not_change() {
        let mut environment = Environment::default();
        let cache = |level, kind, bytes, instances| Cache { level, kind, bytes, instances };
        let caches = vec![cache(1, CacheKind::Data, 32 << 10, 8), cache(3, CacheKind::Unified, 32 << 20, 1)];
        environment.processor.model = "A \"CPU\"".to_owned().into();
        environment.processor.caches = RecordedList::new(caches, "none");
        environment.processor.cores = 8.into();
        environment.processor.usable_threads = 4.into();
        environment.memory.total_bytes = (16 << 30).into();
        environment.memory.transparent_huge_pages = "madvise".to_owned().into();
        environment.memory.page_bytes = 4096.into();
        environment.host.kernel = "6.1".to_owned().into();
        environment.host.virtualised = true.into();
        environment.limits.cpus = 1.5.into();
        let tool = Tool {
            version: "0.3.0".to_owned(),
            profile: "release".to_owned(),
            target: "x86_64-unknown-linux-gnu".to_owned(),
            target_features: vec!["avx2".to_owned(), "fma".to_owned()],
            ..Tool::default()
        };
        assert_eq!(machine_digest(&environment, &tool), "e963cbf38b19dba1");
    }
}
