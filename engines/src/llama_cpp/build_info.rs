//! Versions and features of this build of llama.cpp.

use super::raw;

/// The version of the package with llama.cpp's source; a test compares it with the lock file.
const PACKAGE: &str = "0.1.160";
/// The commit of llama-cpp-rs from which the package was made; that repository references the commit of llama.cpp. A test compares
/// it with the record in the package, if cargo's registry is on this machine.
const COMMIT: &str = "0dd5814c9b061930965d144c1653cd4d05054873";

/// `0.6.0, ggml 0.26.0 (llama-cpp-sys-2 0.1.160, llama-cpp-rs 0dd5814c9b06)`.
pub(super) fn version() -> String {
    let [llama, ggml] = raw::versions();
    format!("{llama}, ggml {ggml} (llama-cpp-sys-2 {PACKAGE}, llama-cpp-rs {})", &COMMIT[..12])
}

/// Features of the build, such as `avx512_vnni`, `openmp`, `repack`.
pub(super) fn features() -> Vec<String> {
    parse(raw::system_info())
}

/// Whether its threads are those of OpenMP.
pub(super) fn has_openmp() -> bool {
    features().iter().any(|feature| feature == "openmp")
}

/// The names in `CPU : AVX2 = 1 | F16C = 0 | ...` that are not 0.
fn parse(info: &str) -> Vec<String> {
    let one = |part: &str| {
        let (name, value) = part.rsplit_once('=')?;
        let name = name.rsplit(':').next()?.trim().to_lowercase();
        (value.trim() != "0" && !name.is_empty()).then_some(name)
    };
    info.split('|').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn features_that_are_off_are_left_out() {
        let info = "CPU : SSE3 = 1 | AVX2 = 0 | AVX512_VNNI = 1 | OPENMP = 1 | REPACK = 1 | ";
        assert_eq!(parse(info), ["sse3", "avx512_vnni", "openmp", "repack"]);
        assert!(features().contains(&"repack".to_owned()), "{:?}", features());
    }

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
        let lock = lock.expect("the workspace has a lock file");
        let entry = format!("name = \"llama-cpp-sys-2\"\nversion = \"{PACKAGE}\"");
        assert!(lock.contains(&entry), "llama-cpp-sys-2 moved on");
        let version = version();
        assert!(version.starts_with(|first: char| first.is_ascii_digit()) && version.contains(PACKAGE), "{version}");
    }

    #[test]
    #[ignore = "needs cargo's registry with the source of llama-cpp-sys-2, in CARGO_HOME or ~/.cargo"]
    fn the_commit_is_that_of_the_package() {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).expect("a home folder");
        let registries = std::fs::read_dir(home.join("registry/src")).expect("cargo's registry");
        let record = |registry: &Path| registry.join(format!("llama-cpp-sys-2-{PACKAGE}/.cargo_vcs_info.json"));
        let records: Vec<String> = registries
            .filter_map(|registry| std::fs::read_to_string(record(&registry.expect("a folder").path())).ok())
            .collect();
        assert!(!records.is_empty(), "no registry in {} has the package", home.display());
        for record in records {
            assert!(record.contains(COMMIT), "the package is from another commit: {record}");
        }
    }
}
