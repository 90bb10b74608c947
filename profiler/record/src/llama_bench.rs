//! The JSON that llama-bench writes (`-o json`), read as a run of one engine.
//!
//! A test of llama-bench is a prompt (`n_prompt` tokens, none decoded) or a generation (`n_gen` tokens after `n_depth`). Here both are
//! parts of one request: the test of a prompt of P tokens after D, and the generation after D + P tokens, become the case `ppP` at
//! depth D, which is what `inferometer run --prompt-tokens P --depth D` measures. Where no generation starts at the end of a prompt,
//! the one that starts nearest to it is taken, and the case contains the difference as a reason ([`DECODED_AFTER`]).
//!
//! Fields as in llama.cpp's `tools/llama-bench/llama-bench.cpp`; `samples_ns` and `samples_ts` have one value for each repetition.

use std::collections::BTreeSet;
use std::path::Path;

use engine_api::{Device, Identity, RecordedKvType};
use serde::Deserialize;

use super::plan::{PlanFile, PlannedModel};
use super::{Case, Error, Reason, Recorded, RunFile, SCHEMA_VERSION, Sample, Status, Tool};

/// The engine's label in such a run.
pub(crate) const ENGINE: &str = "llama-bench";

/// One test.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Test {
    build_commit: String,
    build_number: u64,
    cpu_info: String,
    backends: String,
    model_filename: String,
    model_type: String,
    model_size: Option<u64>,
    model_n_params: Option<u64>,
    n_threads: usize,
    type_k: String,
    type_v: String,
    n_prompt: usize,
    n_gen: usize,
    n_depth: usize,
    test_time: String,
    samples_ns: Vec<f64>,
    samples_ts: Vec<f64>,
}

impl Test {
    fn is_prompt(&self) -> bool {
        self.n_prompt > 0 && self.n_gen == 0
    }

    fn is_generation(&self) -> bool {
        self.n_gen > 0 && self.n_prompt == 0
    }

    /// The same model on as many threads.
    fn is_beside(&self, other: &Self) -> bool {
        (&self.model_filename, self.n_threads) == (&other.model_filename, other.n_threads)
    }

    fn model(&self) -> String {
        Path::new(&self.model_filename)
            .file_stem()
            .map_or_else(|| self.model_type.clone(), |stem| stem.to_string_lossy().into_owned())
    }
}

/// Whether the content of a file may be llama-bench's: JSON that begins as a list. `run.json` begins as an object.
pub(crate) fn is_llama_bench(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// Reads the content of a file as a run. `path` gives the run its name, and errors their place.
///
/// # Errors
/// When it is not what llama-bench writes, or has no test that can be compared.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<RunFile, Error> {
    let wrong = |problem: String| {
        Error::Content {
        path: path.to_path_buf(),
        problem,
        advice: "write it with `llama-bench -o json`, such as `-p 512 -n 0` and `-p 0 -n 64 -d 512` in one call or in two files"
            .to_owned(),
    }
    };
    let tests: Vec<Test> =
        serde_json::from_slice(bytes).map_err(|error| wrong(format!("is not JSON of llama-bench: {error}")))?;
    let cases = cases(&tests);
    let Some(first) = tests.first().filter(|_| !cases.is_empty()) else {
        return Err(wrong("has no test of a prompt alone or of a generation alone".to_owned()));
    };
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let version = format!("{} ({})", first.build_number, first.build_commit);
    let mut file = RunFile {
        schema_version: SCHEMA_VERSION,
        name,
        tool: Tool { name: ENGINE.to_owned(), version: version.clone(), ..Tool::default() },
        started: first.test_time.clone(),
        finished: Some(first.test_time.clone()),
        plan: plan(&tests, &cases),
        cases,
        ..RunFile::default()
    };
    file.environment.processor.model = Some(first.cpu_info.clone()).filter(|model| !model.is_empty());
    file.environment.engines = vec![Identity {
        name: ENGINE.to_owned(),
        variant: None,
        version,
        device: device(&tests),
        features: Vec::new(),
    }];
    Ok(file)
}

fn plan(tests: &[Test], cases: &[Case]) -> PlanFile {
    let mut models: Vec<PlannedModel> = Vec::new();
    for test in tests {
        if models.iter().all(|model| model.name != test.model()) {
            models.push(PlannedModel {
                name: test.model(),
                reference: test.model_filename.clone(),
                path: test.model_filename.clone(),
                origin: "llama-bench".to_owned(),
                file_bytes: test.model_size,
                parameters: test.model_n_params,
                format: "gguf".to_owned(),
                quantisation: test.model_type.clone(),
                ..PlannedModel::default()
            });
        }
    }
    let mut threads: Vec<usize> = cases.iter().map(|case| case.threads).collect();
    threads.dedup();
    PlanFile {
        engines: vec![ENGINE.to_owned()],
        models,
        prompt_set: "random tokens".to_owned(),
        threads,
        runs: tests.iter().map(|test| test.samples_ns.len()).max().unwrap_or(0),
        ignore_eos: true,
        kv_type: kv_type(tests),
        device: device(tests),
        ..PlanFile::default()
    }
}

/// The type of the cache in all tests. llama-bench writes one type for keys and one for values; older versions write none, which
/// means f16.
fn kv_type(tests: &[Test]) -> RecordedKvType {
    let named = |text: &str| if text.is_empty() { "f16".to_owned() } else { text.to_owned() };
    let of = |test: &Test| match (named(&test.type_k), named(&test.type_v)) {
        (keys, values) if keys == values => keys,
        (keys, values) => format!("{keys} keys, {values} values"),
    };
    RecordedKvType::from(one_or_all(tests.iter().map(of)).as_str())
}

/// The device in all tests, from the names of ggml's back ends. `BLAS` computes on the processor, too.
fn device(tests: &[Test]) -> Device {
    let of = |test: &Test| {
        let backends: Vec<String> = test.backends.split(',').map(|name| name.trim().to_lowercase()).collect();
        let on_cpu = |name: &String| matches!(name.as_str(), "" | "cpu" | "blas");
        let others: Vec<String> = backends.into_iter().filter(|name| !on_cpu(name)).collect();
        if others.is_empty() { "cpu".to_owned() } else { others.join(",") }
    };
    Device::from(one_or_all(tests.iter().map(of)).as_str())
}

/// The value where all are alike, else each of them once.
fn one_or_all(values: impl Iterator<Item = String>) -> String {
    let distinct: BTreeSet<String> = values.collect();
    distinct.into_iter().collect::<Vec<_>>().join(" or ")
}

/// One case for each test of a prompt; without any, one for each generation.
fn cases(tests: &[Test]) -> Vec<Case> {
    let prompts = tests.iter().filter(|test| test.is_prompt());
    let mut cases: Vec<Case> = prompts.map(|prompt| case(prompt, generation(tests, prompt))).collect();
    if cases.is_empty() {
        let after_context = |test: &&Test| test.is_generation() && test.n_depth > 0;
        cases.extend(tests.iter().filter(after_context).map(|test| {
            let empty = Test {
                n_prompt: test.n_depth,
                n_depth: 0,
                n_gen: 0,
                samples_ns: Vec::new(),
                samples_ts: Vec::new(),
                ..test.clone()
            };
            case(&empty, Some(test))
        }));
    }
    cases
}

/// The generation that starts at the end of a prompt, else the one that starts nearest to it.
fn generation<'t>(tests: &'t [Test], prompt: &Test) -> Option<&'t Test> {
    let end = prompt.n_depth + prompt.n_prompt;
    let generations = tests.iter().filter(|test| test.is_generation() && test.is_beside(prompt));
    generations.min_by_key(|test| test.n_depth.abs_diff(end))
}

fn case(prompt: &Test, generation: Option<&Test>) -> Case {
    let end = prompt.n_depth + prompt.n_prompt;
    let id = format!("pp{}", prompt.n_prompt);
    let repetitions = prompt.samples_ns.len().max(generation.map_or(0, |test| test.samples_ns.len()));
    let of_prompt = |list: &[f64], round| found(list, round, "the file has no test of the prompt");
    let of_generation = |list: fn(&Test) -> &[f64], round| found(generation.map_or(&[], list), round, NO_GENERATION);
    let sample = |round: usize| Sample {
        round,
        prompt_tokens: prompt.n_prompt.into(),
        // The first token is an output of the prompt's pass, so there is one more than is timed.
        output_tokens: generation.map(|test| test.n_gen + 1).ok_or_else(|| Reason::new(NO_GENERATION)).into(),
        prefill_s: of_prompt(&prompt.samples_ns, round).map(|nanos| nanos / 1e9),
        prefill_tps: of_prompt(&prompt.samples_ts, round),
        decode_s: of_generation(|test| &test.samples_ns, round).map(|nanos| nanos / 1e9),
        decode_tps: of_generation(|test| &test.samples_ts, round),
        ..Sample::absent("llama-bench does not measure it")
    };
    let mut case = Case {
        id: format!("{ENGINE}/{}/{id}/t{}/d{}", prompt.model(), prompt.n_threads, prompt.n_depth),
        engine: ENGINE.to_owned(),
        model: prompt.model(),
        prompt: id,
        threads: prompt.n_threads,
        depth: prompt.n_depth,
        status: Status::Ok,
        samples: (0..repetitions).map(sample).collect(),
        output: None,
        ..Case::default()
    };
    match generation {
        Some(test) if test.n_depth != end => {
            case.reasons
                .insert(DECODED_AFTER.to_owned(), format!("decoded after {} tokens, not after {end}", test.n_depth));
        }
        Some(_) => {}
        None => {
            case.reasons.insert("decode_tps".to_owned(), NO_GENERATION.to_owned());
        }
    }
    case
}

/// Why a case has no figures of the output.
const NO_GENERATION: &str = "the file has no test of a generation";

/// The figure of one repetition. A test that was not run has none, for `reason`.
fn found(figures: &[f64], round: usize, reason: &str) -> Recorded<f64> {
    let none = if figures.is_empty() { reason } else { "the other test of the case had more repetitions" };
    figures.get(round).copied().ok_or_else(|| Reason::new(none)).into()
}

/// The reason under this name: the tokens of a case were decoded at another position of the context.
pub const DECODED_AFTER: &str = "decoded_behind";

#[cfg(test)]
mod tests {
    use engine_api::Advice;

    use super::*;

    /// Two tests as llama-bench writes them, cut to the fields that are read and one that is not.
    const JSON: &str = r#"[
      { "build_commit": "0c1e57098", "build_number": 7, "cpu_info": "Some CPU", "gpu_info": "", "backends": "CPU",
        "model_filename": "models/tiny.Q4_1.gguf", "model_type": "llama 135M Q4_1", "model_size": 91000000, "model_n_params": 134515008,
        "n_threads": 2, "type_k": "f16", "type_v": "f16", "n_prompt": 512, "n_gen": 0, "n_depth": 0,
        "test_time": "2026-01-02T03:04:05Z", "samples_ns": [ 1600000000, 2000000000 ], "samples_ts": [ 320.0, 256.0 ] },
      { "build_commit": "0c1e57098", "build_number": 7, "model_filename": "models/tiny.Q4_1.gguf", "n_threads": 2,
        "n_prompt": 0, "n_gen": 64, "n_depth": 512, "samples_ns": [ 640000000 ], "samples_ts": [ 100.0 ] },
      { "build_commit": "0c1e57098", "build_number": 7, "model_filename": "models/tiny.Q4_1.gguf", "n_threads": 2,
        "n_prompt": 0, "n_gen": 128, "n_depth": 0, "samples_ns": [ 1000000000 ], "samples_ts": [ 128.0 ] }
    ]"#;

    fn read(text: &str) -> Result<RunFile, Error> {
        parse(Path::new("bench.json"), text.as_bytes())
    }

    #[test]
    fn a_prompt_and_the_generation_after_it_are_one_case() {
        assert!(is_llama_bench(JSON.as_bytes()));
        let file = read(JSON).unwrap();
        assert_eq!(file.name, "bench");
        assert_eq!(file.cases.len(), 1);
        let case = &file.cases[0];
        assert_eq!((case.id.as_str(), case.threads), ("llama-bench/tiny.Q4_1/pp512/t2/d0", 2));
        assert_eq!(case.samples.len(), 2);
        assert_eq!(
            (case.samples[0].prefill_tps.value(), case.samples[0].decode_tps.value()),
            (Some(320.0), Some(100.0))
        );
        assert!(case.samples[1].decode_tps.reason().unwrap().as_str().contains("more repetitions"));
        assert!(!case.reasons.contains_key(DECODED_AFTER), "the generation after 512 tokens is the nearest");
        assert_eq!(file.plan.models[0].parameters, Some(134_515_008));
    }

    #[test]
    fn cache_types_and_devices_are_those_of_the_file() {
        let plan = |text: &str| {
            let file = read(text).unwrap();
            assert_eq!(file.environment.engines[0].device, file.plan.device);
            (file.plan.kv_type, file.plan.device)
        };
        let quantised = JSON.replace("\"f16\"", "\"q8_0\"");
        // The other tests of the file name no type, which means f16.
        assert_eq!(plan(&quantised).0, RecordedKvType::from("f16 or q8_0"));
        let same = |kv: &str| {
            plan(
                &JSON
                    .replace(
                        "\"n_threads\": 2,",
                        &format!("\"type_k\": \"{kv}\", \"type_v\": \"{kv}\", \"n_threads\": 2,"),
                    )
                    .replacen("\"type_k\": \"f16\", \"type_v\": \"f16\",", "", 1),
            )
            .0
        };
        assert_eq!(same("q8_0"), RecordedKvType::Q8_0);
        assert_eq!(same("bf16"), RecordedKvType::BF16);
        assert_eq!(same("f32"), RecordedKvType::F32);
        assert_eq!(plan(JSON), (RecordedKvType::F16, Device::Cpu));
        let on = |backends: &str| {
            plan(
                &JSON
                    .replace("\"build_number\": 7,", &format!("\"build_number\": 7, \"backends\": \"{backends}\","))
                    .replacen("\"backends\": \"CPU\",", "", 1),
            )
            .1
        };
        assert_eq!(on("CUDA"), Device::Cuda(0));
        assert_eq!(on("BLAS"), Device::Cpu);
        assert_eq!(on("Vulkan"), Device::Other("vulkan".to_owned()));
    }

    #[test]
    fn a_generation_at_another_position_is_reported() {
        let file = read(&JSON.replace("\"n_depth\": 512", "\"n_depth\": 100")).unwrap();
        assert_eq!(file.cases[0].reasons[DECODED_AFTER], "decoded after 100 tokens, not after 512");
    }

    #[test]
    fn other_json_is_refused_with_the_reason() {
        let text = read("[1, 2]").unwrap_err().with_advice();
        assert!(text.contains("bench.json: is not JSON of llama-bench") && text.contains("-o json"), "{text}");
        assert!(read("[]").unwrap_err().to_string().contains("no test of a prompt"));
        assert!(!is_llama_bench(b"{}"));
    }
}
