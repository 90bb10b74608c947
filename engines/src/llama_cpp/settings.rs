//! The settings of this engine, with llama-bench's names for them where it has them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use redaction::Sensitive;

use super::unsupported;
use crate::EngineError;

/// Processors that a mask can name: ggml's limit.
pub(super) const MASK_BITS: usize = 512;
/// Prompt tokens per call by default, which llama.cpp divides into passes: llama-bench's `-b`.
const DEFAULT_N_BATCH: usize = 2048;
/// How weights are loaded and threads run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// How the file is read (llama-bench's `-lm`; `-mmp` and `-dio` have two of them each).
    pub(super) load_mode: LoadMode,
    /// Which tensors are read row by row when they are used (`-lzm`).
    pub(super) lazy_mode: LazyMode,
    /// Copy weights into a layout for the processor, if llama.cpp has one (`--repack`).
    pub(super) repack: bool,
    /// Prompt tokens per call, which llama.cpp divides into passes (`-b`); a pass is the batch of the load options (`-ub`).
    pub(super) n_batch: usize,
    /// Threads for prompts; `None`: as many as for single tokens.
    pub(super) threads_batch: Option<usize>,
    /// The processors that threads may run on (`-C`); none: all.
    pub(super) cpu_mask: CpuMask,
    /// Each thread on one processor of the mask (`--cpu-strict`).
    pub(super) cpu_strict: bool,
    /// How long threads wait for work before they sleep, 0 to 100 (`--poll`); `None`: ggml's default.
    pub(super) poll: Option<u32>,
    /// Scheduling of the threads (`--prio`).
    pub(super) priority: Priority,
    /// Where memory and threads are on a machine with several NUMA nodes (`--numa`).
    pub(super) numa: Option<Numa>,
    /// Also compute the embedding of each token, and the logits of all of them (`-embd`).
    pub(super) embeddings: bool,
}

/// How the file of the weights is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadMode {
    /// Mapped where all devices can use mapped memory.
    Auto,
    /// Read into memory.
    None,
    /// Mapped.
    Mmap,
    /// Read, and locked in memory.
    Mlock,
    /// Mapped, and locked in memory.
    MmapMlock,
    /// Read without the page cache.
    DirectIo,
}

/// Which tensors of a mapped file are read row by row when they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LazyMode {
    /// None.
    Off,
    /// Those that the architecture marks, if they are larger than 4 GiB.
    Auto,
    /// Those that the architecture marks.
    On,
}

/// Scheduling of threads: policy and priority of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// `SCHED_BATCH`.
    Low,
    /// That of the process.
    Normal,
    /// `SCHED_FIFO` 40.
    Medium,
    /// `SCHED_FIFO` 80.
    High,
    /// `SCHED_FIFO` 90.
    Realtime,
}

/// Placement on a machine with several NUMA nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numa {
    /// Threads on all nodes.
    Distribute,
    /// Threads on the node of the first.
    Isolate,
    /// As `numactl` has set it.
    Numactl,
}

/// A setting: its name, the values that it takes, and what reads one; `None` for a wrong value.
struct Known {
    key: &'static str,
    expected: &'static str,
    read: fn(&mut Settings, &str) -> Option<()>,
}

/// All settings.
const KNOWN: &[Known] = &[
    Known {
        key: "load_mode",
        expected: "auto|none|mmap|mlock|mmap+mlock|dio",
        read: |settings, text| choose(&mut settings.load_mode, text, &LOAD_MODES),
    },
    Known {
        key: "mmap",
        expected: "on|off",
        read: |settings, text| {
            choose(&mut settings.load_mode, text, &[("on", LoadMode::Mmap), ("off", LoadMode::None)])
        },
    },
    Known {
        key: "direct_io",
        expected: "on|off",
        read: |settings, text| {
            choose(&mut settings.load_mode, text, &[("on", LoadMode::DirectIo), ("off", LoadMode::Mmap)])
        },
    },
    Known {
        key: "lazy_mode",
        expected: "on|auto|off",
        read: |settings, text| choose(&mut settings.lazy_mode, text, &LAZY_MODES),
    },
    Known { key: "repack", expected: "on|off", read: |settings, text| choose(&mut settings.repack, text, &SWITCH) },
    Known {
        key: "n_batch",
        expected: "TOKENS",
        read: |settings, text| number(&mut settings.n_batch, text, 1..=0x7fff_ffff),
    },
    Known {
        key: "threads_batch",
        expected: "THREADS",
        read: |settings, text| number(settings.threads_batch.insert(1), text, 1..=MASK_BITS),
    },
    Known {
        key: "cpu_mask",
        expected: "0xBITS",
        read: |settings, text| CpuMask::parse(text).map(|mask| settings.cpu_mask = mask),
    },
    Known {
        key: "cpu_strict",
        expected: "on|off",
        read: |settings, text| choose(&mut settings.cpu_strict, text, &SWITCH),
    },
    Known { key: "poll", expected: "0...100", read: |settings, text| number(settings.poll.insert(0), text, 0..=100) },
    Known {
        key: "prio",
        expected: "-1|0|1|2|3",
        read: |settings, text| choose(&mut settings.priority, text, &PRIORITIES),
    },
    Known {
        key: "numa",
        expected: "distribute|isolate|numactl",
        read: |settings, text| choose(settings.numa.insert(Numa::Distribute), text, &NUMA),
    },
    Known {
        key: "embeddings",
        expected: "on|off",
        read: |settings, text| choose(&mut settings.embeddings, text, &SWITCH),
    },
];

/// A switch; llama-bench's `1` and `0` are read, too.
const SWITCH: [(&str, bool); 4] = [("on", true), ("off", false), ("1", true), ("0", false)];
const LOAD_MODES: [(&str, LoadMode); 6] = [
    ("auto", LoadMode::Auto),
    ("none", LoadMode::None),
    ("mmap", LoadMode::Mmap),
    ("mlock", LoadMode::Mlock),
    ("mmap+mlock", LoadMode::MmapMlock),
    ("dio", LoadMode::DirectIo),
];
const LAZY_MODES: [(&str, LazyMode); 3] = [("on", LazyMode::On), ("auto", LazyMode::Auto), ("off", LazyMode::Off)];
const PRIORITIES: [(&str, Priority); 5] = [
    ("-1", Priority::Low),
    ("0", Priority::Normal),
    ("1", Priority::Medium),
    ("2", Priority::High),
    ("3", Priority::Realtime),
];
const NUMA: [(&str, Numa); 3] =
    [("distribute", Numa::Distribute), ("isolate", Numa::Isolate), ("numactl", Numa::Numactl)];

/// Settings of llama-bench that would not act, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("n_gpu_layers", GPU),
    ("split_mode", GPU),
    ("main_gpu", GPU),
    ("tensor_split", GPU),
    ("no_kv_offload", GPU),
    ("no_op_offload", GPU),
    ("no_host", GPU),
    ("devices", GPU),
    ("fit_target", GPU),
    ("fit_min_ctx", GPU),
    ("n_cpu_moe", ON_CPU),
    ("tensor_buft_overrides", ON_CPU),
    ("rpc", "this build of llama.cpp has no RPC back end"),
];
const GPU: &str = "it acts on GPUs alone, and this build of llama.cpp has no GPU back end";
const ON_CPU: &str = "all weights are in the memory of the processor in this build of llama.cpp";

/// Settings of llama-bench that have another place in the load options, which all engines have.
const OF_ALL_ENGINES: &[(&str, &str)] = &[
    ("n_ubatch", "the prompt tokens per forward pass"),
    ("n_threads", "the threads"),
    ("type_k", "the type of the keys in the KV cache"),
    ("type_v", "the type of the values in the KV cache"),
    ("flash_attn", "fused attention"),
];

/// Processors by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CpuMask([u64; MASK_BITS / 64]);

impl CpuMask {
    /// Whether it names no processor.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether it names a processor.
    pub(super) const fn has(self, processor: usize) -> bool {
        self.0[processor / 64] >> (processor % 64) & 1 == 1
    }

    /// A hexadecimal number, with or without `0x`, whose bits are the processors, 0 for no mask; `None` for any other text and for too
    /// many processors.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.is_empty() || digits.len() > MASK_BITS / 4 {
            return None;
        }
        let mut mask = Self::default();
        for (place, digit) in digits.chars().rev().enumerate() {
            let bit = 4 * place;
            mask.0[bit / 64] |= u64::from(digit.to_digit(16)?) << (bit % 64);
        }
        Some(mask)
    }
}

impl Default for Settings {
    /// As in llama.cpp's own tools.
    fn default() -> Self {
        Self {
            load_mode: LoadMode::Auto,
            lazy_mode: LazyMode::Auto,
            repack: true,
            n_batch: DEFAULT_N_BATCH,
            threads_batch: None,
            cpu_mask: CpuMask::default(),
            cpu_strict: false,
            poll: None,
            priority: Priority::Normal,
            numa: None,
            embeddings: false,
        }
    }
}

impl Settings {
    pub(super) fn parse(pairs: &BTreeMap<String, Sensitive>) -> Result<Self, EngineError> {
        let mut settings = Self::default();
        let modes: Vec<&str> =
            ["load_mode", "mmap", "direct_io"].into_iter().filter(|key| pairs.contains_key(*key)).collect();
        if modes.len() > 1 {
            return Err(unsupported(format!("{} together", modes.join(" and ")), "give one of them"));
        }
        for (key, value) in pairs {
            let Some(known) = KNOWN.iter().find(|known| known.key == key) else { return Err(unknown(key)) };
            if (known.read)(&mut settings, value.expose()).is_none() {
                return Err(unsupported(format!("{key}={value}"), &format!("give {key}={}", known.expected)));
            }
        }
        if settings.cpu_strict && settings.cpu_mask.is_empty() {
            let what = "cpu_strict=on without cpu_mask, which has no effect";
            return Err(unsupported(what.to_owned(), "give cpu_mask too: the processors, one for each thread"));
        }
        Ok(settings)
    }

    /// Refuses what does not act in this build. `openmp`: whether its threads are OpenMP's.
    pub(super) fn check_build(&self, openmp: bool) -> Result<(), EngineError> {
        if openmp && self.poll.is_some() {
            let what = "the setting `poll`: the threads of this build are OpenMP's, which ggml does not poll";
            let advice = "leave it out; the variable OMP_WAIT_POLICY sets how OpenMP's threads wait";
            return Err(unsupported(what.to_owned(), advice));
        }
        Ok(())
    }

    /// Refuses what would not act with so many threads.
    pub(super) fn check_threads(&self, threads: usize, openmp: bool) -> Result<(), EngineError> {
        let placed = [("cpu_mask", !self.cpu_mask.is_empty()), ("prio", self.priority != Priority::Normal)];
        let alone = openmp && threads <= 1 && self.threads_batch.is_none_or(|count| count <= 1);
        match placed.iter().find(|(_, is_set)| alone && *is_set) {
            Some((key, _)) => {
                let what = format!("the setting `{key}` with one thread: ggml sets it for OpenMP's threads alone");
                Err(unsupported(what, "take two threads or more, or start the program with taskset or chrt"))
            }
            None => Ok(()),
        }
    }
}

/// Takes the value of this name.
fn choose<T: Copy>(place: &mut T, text: &str, values: &[(&str, T)]) -> Option<()> {
    let (_, value) = values.iter().find(|(name, _)| *name == text)?;
    *place = *value;
    Some(())
}

/// Takes a number of this range.
fn number<T: std::str::FromStr + PartialOrd>(place: &mut T, text: &str, range: RangeInclusive<T>) -> Option<()> {
    *place = text.parse().ok().filter(|number| range.contains(number))?;
    Some(())
}

/// The error of a setting that this engine does not have.
fn unknown(key: &str) -> EngineError {
    let of = |list: &[(&str, &'static str)]| list.iter().find(|(name, _)| *name == key).map(|(_, text)| *text);
    if let Some(why) = of(WITHOUT_EFFECT) {
        return unsupported(format!("the setting `{key}`: {why}"), "leave it out");
    }
    if let Some(what) = of(OF_ALL_ENGINES) {
        return unsupported(format!("the setting `{key}`"), &format!("set {what} for all engines of the run instead"));
    }
    let all: Vec<String> = KNOWN.iter().map(|known| format!("{}={}", known.key, known.expected)).collect();
    unsupported(format!("the setting `{key}`"), &format!("its settings: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advice;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, EngineError> {
        let setting = |(key, value): &(&str, &str)| ((*key).to_owned(), Sensitive::setting(key, value));
        Settings::parse(&pairs.iter().map(setting).collect())
    }

    #[test]
    fn settings_are_read_and_wrong_values_refused() {
        let default = Settings::default();
        assert_eq!(parse(&[("mmap", "off")]).unwrap(), Settings { load_mode: LoadMode::None, ..default });
        assert_eq!(parse(&[("direct_io", "on")]).unwrap(), Settings { load_mode: LoadMode::DirectIo, ..default });
        assert_eq!(parse(&[("repack", "on"), ("load_mode", "auto")]).unwrap(), default);
        assert_eq!(parse(&[("n_batch", "64")]).unwrap().n_batch, 64);
        assert_eq!(parse(&[("threads_batch", "3")]).unwrap(), Settings { threads_batch: Some(3), ..default });
        assert_eq!(parse(&[("poll", "0")]).unwrap(), Settings { poll: Some(0), ..default });
        assert_eq!(parse(&[("prio", "-1")]).unwrap(), Settings { priority: Priority::Low, ..default });
        assert_eq!(parse(&[("numa", "isolate")]).unwrap(), Settings { numa: Some(Numa::Isolate), ..default });
        assert_eq!(parse(&[("embeddings", "1")]).unwrap(), Settings { embeddings: true, ..default });
        assert_eq!(parse(&[("lazy_mode", "on")]).unwrap(), Settings { lazy_mode: LazyMode::On, ..default });
        assert_eq!(parse(&[("cpu_mask", "0x0")]).unwrap(), default);
        for (key, value, advice) in [
            ("mmap", "yes", "give mmap=on|off"),
            ("load_mode", "fast", "give load_mode=auto|none|mmap|mlock|mmap+mlock|dio"),
            ("n_batch", "0", "give n_batch=TOKENS"),
            ("threads_batch", "-1", "give threads_batch=THREADS"),
            ("cpu_mask", "0g", "give cpu_mask=0xBITS"),
            ("poll", "101", "give poll=0...100"),
            ("prio", "4", "give prio=-1|0|1|2|3"),
            ("numa", "on", "give numa=distribute|isolate|numactl"),
            ("cpu_strict", "on", "give cpu_mask too"),
            ("n_ubatch", "64", "set the prompt tokens per forward pass for all engines"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err().with_advice();
            assert!(error.contains(advice), "{error}");
        }
        assert!(parse(&[("mmap", "on"), ("load_mode", "mmap")]).is_err());
        assert!(parse(&[("mmap", "on"), ("direct_io", "off")]).is_err());
    }

    /// The settings in the files that llama-bench 0.5 writes: each acts, has its reason, or belongs to all engines.
    #[test]
    fn every_setting_of_llama_bench_is_known() {
        for field in [
            "n_batch",
            "n_ubatch",
            "n_threads",
            "cpu_mask",
            "cpu_strict",
            "poll",
            "type_k",
            "type_v",
            "n_gpu_layers",
            "n_cpu_moe",
            "split_mode",
            "main_gpu",
            "no_kv_offload",
            "flash_attn",
            "devices",
            "tensor_split",
            "tensor_buft_overrides",
            "load_mode",
            "lazy_mode",
            "embeddings",
            "no_op_offload",
            "no_host",
            "repack",
            "fit_target",
            "fit_min_ctx",
        ] {
            let found = [
                KNOWN.iter().any(|known| known.key == field),
                WITHOUT_EFFECT.iter().any(|(key, _)| *key == field),
                OF_ALL_ENGINES.iter().any(|(key, _)| *key == field),
            ];
            assert_eq!(found.iter().filter(|is| **is).count(), 1, "{field}");
        }
        let error = parse(&[("n_gpu_layers", "99")]).unwrap_err().with_advice();
        insta::assert_snapshot!(error, @"engine llama-cpp does not support the setting `n_gpu_layers`: it acts on GPUs alone, and this build of llama.cpp has no GPU back end; leave it out");
    }

    #[test]
    fn what_would_not_act_with_the_threads_of_the_build_is_refused() {
        let refused =
            |pairs: &[(&str, &str)], threads, openmp| parse(pairs).unwrap().check_threads(threads, openmp).is_err();
        let polls = parse(&[("poll", "0")]).unwrap();
        assert!(polls.check_build(true).is_err() && polls.check_build(false).is_ok());
        assert!(refused(&[("cpu_mask", "0x3")], 1, true) && !refused(&[("cpu_mask", "0x3")], 2, true));
        assert!(refused(&[("prio", "-1")], 1, true) && !refused(&[("prio", "-1"), ("threads_batch", "2")], 1, true));
        assert!(!refused(&[("cpu_mask", "0x0"), ("prio", "0")], 1, true));
    }

    #[test]
    fn bits_of_a_mask_are_processors() {
        let mask = parse(&[("cpu_mask", "0x1000000000000000a")]).unwrap().cpu_mask;
        let named: Vec<usize> = (0..MASK_BITS).filter(|processor| mask.has(*processor)).collect();
        assert_eq!(named, [1, 3, 64]);
        assert!(CpuMask::parse(&"f".repeat(129)).is_none() && CpuMask::parse("3g").is_none());
    }
}
