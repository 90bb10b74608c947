//! Processor features that decide which kernels an engine can use, by the kernel's name and by the compiler's.

/// One feature: the name in `/proc/cpuinfo` and the compiler's name for it.
struct Feature {
    kernel: &'static str,
    compiler: &'static str,
    /// Whether a stable compiler shows it to the program; what it does not show cannot be missed.
    shown: bool,
}

const fn shown(kernel: &'static str, compiler: &'static str) -> Feature {
    Feature { kernel, compiler, shown: true }
}

const fn hidden(kernel: &'static str, compiler: &'static str) -> Feature {
    Feature { kernel, compiler, shown: false }
}

/// x86-64, narrow to wide.
const X86: &[Feature] = &[
    shown("avx", "avx"),
    shown("avx2", "avx2"),
    shown("fma", "fma"),
    shown("f16c", "f16c"),
    shown("avx512f", "avx512f"),
    shown("avx512bw", "avx512bw"),
    shown("avx512dq", "avx512dq"),
    shown("avx512vl", "avx512vl"),
    shown("avx512_vnni", "avx512vnni"),
    shown("avx512_bf16", "avx512bf16"),
    hidden("avx512_fp16", "avx512fp16"),
    hidden("avx_vnni", "avxvnni"),
    hidden("amx_tile", "amx-tile"),
    hidden("amx_int8", "amx-int8"),
    hidden("amx_bf16", "amx-bf16"),
];

/// AArch64.
const ARM: &[Feature] = &[
    shown("asimd", "neon"),
    shown("asimdhp", "fp16"),
    shown("asimddp", "dotprod"),
    shown("i8mm", "i8mm"),
    shown("bf16", "bf16"),
    shown("sve", "sve"),
    shown("sve2", "sve2"),
];

/// The features of this list that the processor has, by the compiler's names. `flags` are the kernel's words.
pub fn present(architecture: &str, flags: &[&str]) -> Vec<String> {
    table(architecture).iter().filter(|f| flags.contains(&f.kernel)).map(|f| f.compiler.to_owned()).collect()
}

/// The features that the processor has and the build could not use. Features that a stable compiler does not show are
/// left out: whether the build used them is unknown.
pub fn missing_in_build(architecture: &str, processor: &[String], build: &[String]) -> Vec<String> {
    let shown = |name: &String| table(architecture).iter().any(|f| f.shown && f.compiler == name);
    processor.iter().filter(|name| shown(name) && !build.contains(name)).cloned().collect()
}

fn table(architecture: &str) -> &'static [Feature] {
    match architecture {
        "x86_64" => X86,
        "aarch64" => ARM,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn kernel_names_become_the_compilers() {
        assert_eq!(present("x86_64", &["fpu", "avx2", "avx512_vnni"]), ["avx2", "avx512vnni"]);
        assert_eq!(present("aarch64", &["fp", "asimd", "asimddp"]), ["neon", "dotprod"]);
        assert!(present("riscv64", &["v"]).is_empty());
    }

    #[test]
    fn only_what_the_compiler_shows_can_be_missing() {
        let processor = words(&["avx2", "avx512f", "amx-int8"]);
        assert_eq!(missing_in_build("x86_64", &processor, &words(&["avx2"])), ["avx512f"]);
        assert!(missing_in_build("x86_64", &processor, &words(&["avx2", "avx512f"])).is_empty());
    }
}
