//! Command lines of other programs, and the answers.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory;

use super::answer::Answer;
use super::command_line::has_llama_cpp;
use super::run_words::OwnOptions;
use super::*;

fn words(line: &str) -> Vec<OsString> {
    // Words in quotes are one.
    let mut found = vec!["inferometer".to_owned()];
    for (place, part) in line.split('\'').enumerate() {
        match place % 2 {
            0 => found.extend(part.split_whitespace().map(str::to_owned)),
            _ => found.push(part.to_owned()),
        }
    }
    found.into_iter().map(OsString::from).collect()
}

fn program() -> Command {
    super::super::Arguments::command()
}

/// The words that are parsed, without the program's name, or the command line that is advised.
fn answer(line: &str) -> Result<String, String> {
    match understood(words(line), &program()) {
        Ok(words) => {
            Ok(words[1..].iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
        }
        Err(error) => Err(error.advice().to_owned()),
    }
}

#[test]
fn own_command_lines_stay() {
    for line in [
        "run -m x.gguf -n 8 -t 1,2 -r 3",
        "run --prompt -ngl",
        "run --thread 2",
        "run -n8 --nope x",
        "run --prompt=-hf -n8",
        "run --depth 0,64 --out runs/a -o runs/b",
        "compare a b --format html",
        "report runs/x --format json",
        "models fetch x",
        "--help",
        "-V",
        "help",
        "trace summary a.json",
        "unknown",
        "localhost:8080",
    ] {
        assert_eq!(answer(line).as_deref(), Ok(line));
    }
}

#[test]
fn run_is_implied_by_options_and_models() {
    for (line, expected) in [
        ("", "run"),
        ("-m x.gguf -n 8", "run -m x.gguf -n 8"),
        ("--out x", "run --out x"),
        ("--self-trace t.json", "run --self-trace t.json"),
        ("--self-trace t.json --dry-run", "--self-trace t.json run --dry-run"),
        ("--self-trace=t.json machine", "--self-trace=t.json machine"),
        ("model.gguf", "run -m model.gguf"),
        ("smollm2-135m -n 4", "run -m smollm2-135m -n 4"),
        ("SmolLM2-135M", "run -m SmolLM2-135M"),
        ("llama3.2:1b", "run -m llama3.2:1b"),
        ("owner/repo:Q4_1", "run -m owner/repo:Q4_1"),
        ("run model.GGUF", "run -m model.GGUF"),
        ("-n8 -t2 model.gguf", "run -n8 -t2 -m model.gguf"),
        ("https://huggingface.co/o/r/resolve/main/x.gguf", "run -m https://huggingface.co/o/r/resolve/main/x.gguf"),
    ] {
        assert_eq!(answer(line).as_deref(), Ok(expected), "{line}");
    }
}

#[test]
fn options_of_other_programs_are_answered_with_the_whole_command() {
    for (line, expected) in [
        ("-m x.gguf -p 512 -n 128", "inferometer run -m x.gguf --prompt-tokens 512 -n 128"),
        (
            "run -m x.gguf -p 512,1024 -n 128",
            "inferometer run -m x.gguf -n 128 --prompt-tokens 512 && inferometer run -m x.gguf -n 128 --prompt-tokens 1024",
        ),
        ("-m x.gguf -p 0 -n 32", "inferometer run -m x.gguf --prompt-tokens 1 -n 32"),
        ("-m x.gguf -p 512 -n 0", "inferometer run -m x.gguf --prompt-tokens 512 -n 1"),
        ("-m x.gguf -pg 512,128", "inferometer run -m x.gguf --prompt-tokens 512 -n 128"),
        (
            "-m x.gguf -p 256 -n 32 -pg 512,128",
            "inferometer run -m x.gguf --prompt-tokens 256 -n 32 && inferometer run -m x.gguf --prompt-tokens 512 -n 128",
        ),
        (
            "-m x.gguf -pg 512,128 -pg 64,16 -r 3",
            "inferometer run -m x.gguf -r 3 --prompt-tokens 512 -n 128 && inferometer run -m x.gguf -r 3 --prompt-tokens 64 -n 16",
        ),
        (
            "-m x.gguf -p 64,128 -pg 512,0",
            "inferometer run -m x.gguf --prompt-tokens 64 && inferometer run -m x.gguf --prompt-tokens 128 && inferometer run -m x.gguf --prompt-tokens 512 -n 1",
        ),
        ("-m x.gguf -p 'Hello there' -n 64", "inferometer run -m x.gguf --prompt 'Hello there' -n 64"),
        ("-hf owner/repo", "inferometer run -m owner/repo"),
        ("-hf owner/repo:Q4_K_M -hff a.gguf", "inferometer run -m owner/repo:a.gguf"),
        ("-hf owner/repo --offline", "HF_HUB_OFFLINE=1 inferometer run -m owner/repo"),
        ("-m x.gguf -ngl 0 -fa 1 -r 5", "inferometer run -m x.gguf --flash-attn on -r 5"),
        ("-m x.gguf -fa -t 2", "inferometer run -m x.gguf --flash-attn on -t 2"),
        ("-m x.gguf -ctk f16 -ctv f16", "inferometer run -m x.gguf --kv-type-k f16 --kv-type-v f16"),
        (
            "-m x.gguf -ctk q8_0 -ctv iq4_nl -fa on",
            "inferometer run -m x.gguf --kv-type-k q8_0 --kv-type-v iq4_nl --flash-attn on",
        ),
        ("-m x.gguf -ctk turbo3", "inferometer run -m x.gguf"),
        ("-m x.gguf --kv-cache-dtype bfloat16", "inferometer run -m x.gguf --kv-type bf16"),
        ("-m x.gguf -d 0-2048+1024", "inferometer run -m x.gguf --depth 0,1024,2048"),
        ("-m x.gguf -t 1-8*2", "inferometer run -m x.gguf -t 1,2,4,8"),
        ("-m a.gguf,b.gguf", "inferometer run -m a.gguf -m b.gguf"),
        ("-m x.gguf -ub 512 --no-warmup", "inferometer run -m x.gguf --batch 512 --warmup 0"),
        (
            "-m x.gguf -o json",
            "inferometer run -m x.gguf --out runs/mine && inferometer report runs/mine --format json",
        ),
        ("-m x.gguf --out a -o md", "inferometer run -m x.gguf --out a && inferometer report a --format md"),
        (
            "-m x.gguf --export-json b.json -w 3 --runs 10",
            "inferometer run -m x.gguf --warmup 3 --runs 10 --out runs/mine && inferometer report runs/mine --format json > b.json",
        ),
        ("-m x.gguf -c 4096 -s 42 --temp 0", "inferometer run -m x.gguf --ctx 4096 --seed 42"),
        ("-m x.gguf -f p.txt --n-predict 64", "inferometer run -m x.gguf --prompt-file p.txt -n 64"),
        ("-L threads 1,2,4 -m x.gguf", "inferometer run -t 1,2,4 -m x.gguf"),
        (
            "--base-url http://h:1 --input-len 128 --output-len 16",
            "inferometer run -e openai --url http://h:1 --prompt-tokens 128 -n 16",
        ),
        ("run 'a text' -m x.gguf", "inferometer run --prompt 'a text' -m x.gguf"),
        ("llama-bench -m x.gguf -p 512 -ngl 0", "inferometer run -m x.gguf --prompt-tokens 512 -n 128"),
        ("llama-bench -m x.gguf", "inferometer run -m x.gguf --prompt-tokens 512 -n 128"),
        ("llama-bench -m x.gguf -pg 64,8", "inferometer run -m x.gguf --prompt-tokens 64 -n 8"),
        ("bench -m x.gguf", "inferometer run -m x.gguf"),
        (
            "hyperfine --warmup 3 -r 10 'llama-cli -m x.gguf -p Hi -n 8'",
            "inferometer run --warmup 3 -r 10 -m x.gguf --prompt Hi -n 8",
        ),
        ("hyperfine -w 3 './build/inferometer run -m x.gguf'", "inferometer run --warmup 3 -m x.gguf"),
        ("hyperfine --warmup 3 'sleep 1'", "inferometer run --warmup 3"),
        ("hyperfine -p 'make clean' -m 5 './inferometer run -m x.gguf -n 8'", "inferometer run -r 5 -m x.gguf -n 8"),
        ("hyperfine -N 'llama-cli -m x.gguf -n 8'", "inferometer run -m x.gguf -n 8"),
        ("hyperfine -n fast -s sync 'llama-cli -m x.gguf -n 8'", "inferometer run -m x.gguf -n 8"),
        ("hyperfine -p 'llama-cli --version' 'llama-cli -m x.gguf'", "inferometer run -m x.gguf"),
        ("-m x.gguf --min-runs 5 -p 'make clean'", "inferometer run -m x.gguf -r 5"),
        ("-w 3 -m 10 'sleep 1'", "inferometer run --warmup 3 -r 10"),
        ("-v", "inferometer --version"),
        ("ls", "inferometer models list"),
        ("diff runs/a runs/b", "inferometer compare runs/a runs/b"),
        ("http://localhost:8080 -n 8", "inferometer run -e openai --url http://localhost:8080 -n 8"),
        ("compare a b -o md", "inferometer compare a b --format md"),
        ("compare a b --export-markdown c.md", "inferometer compare a b --format md > c.md"),
        ("report runs/x --json", "inferometer report runs/x --format json"),
        ("report runs/x -o page.html", "inferometer report runs/x --format html > page.html"),
        ("--list-devices", "inferometer engines list"),
        ("-hf", "inferometer run"),
        ("-m x.gguf -ngl", "inferometer run -m x.gguf"),
        (
            "'./llama-cli -m x.gguf'",
            "a command that starts a server is measured with: inferometer run -e openai --spawn 'SERVER --port {port}'",
        ),
    ] {
        assert_eq!(answer(line), Err(expected.to_owned()), "{line}");
    }
}

#[test]
fn settings_of_llama_cpp_go_to_its_engines() {
    for (line, expected) in [
        ("-m x.gguf -e llama-cpp -mmp 0", "inferometer run -m x.gguf -e llama-cpp --set llama-cpp.mmap=off"),
        (
            "-e a=llama-cpp -e candle -b 2048 -tb 2 -nr",
            "inferometer run -e a=llama-cpp -e candle --set a.n_batch=2048 --set a.threads_batch=2 --set a.repack=off",
        ),
        (
            "-e llama-cpp -mmp 0,1",
            "inferometer run -e llama-cpp --set llama-cpp.mmap=off && inferometer run -e llama-cpp --set llama-cpp.mmap=on",
        ),
        (
            "-e llama-cpp --mlock -C ff",
            "inferometer run -e llama-cpp --set llama-cpp.load_mode=mmap+mlock --set llama-cpp.cpu_mask=0xff",
        ),
        ("-e candle -mmp 0", "inferometer run -e candle"),
    ] {
        assert_eq!(answer(line), Err(expected.to_owned()), "{line}");
    }
    // Without an engine it is the one that has the setting, if it is in this build.
    let engine = if has_llama_cpp() { " -e llama-cpp --set llama-cpp.n_batch=2048" } else { "" };
    assert_eq!(answer("-m x.gguf -b 2048"), Err(format!("inferometer run -m x.gguf{engine}")));
}

#[test]
fn an_option_is_proposed_once() {
    for (line, expected) in [
        ("-m x.gguf --seed 1 -s 3", "inferometer run -m x.gguf --seed 3"),
        ("-m x.gguf -n8 --n-predict 16", "inferometer run -m x.gguf -n 16"),
        ("-m x.gguf --runs=3 --repetitions 5", "inferometer run -m x.gguf -r 5"),
        ("-p 512 -f p.txt", "inferometer run --prompt-file p.txt"),
        ("-m a.gguf -hf o/r", "inferometer run -m a.gguf -m o/r"),
        ("--raw -no-cnv", "inferometer run --raw"),
        ("-p 512 -n 128 -pg 512,128", "inferometer run --prompt-tokens 512 -n 128"),
        ("--host 10.0.0.5 --port 8000", "inferometer run -e openai --url http://10.0.0.5:8000"),
        ("--port 8000", "inferometer run -e openai --url http://localhost:8000"),
        ("-m x.gguf -dev none", "inferometer run -m x.gguf --device cpu"),
        ("-m x.gguf -dev CUDA1", "inferometer run -m x.gguf --device cuda:1"),
        (
            "-m x.gguf -fa 0,1",
            "inferometer run -m x.gguf --flash-attn off && inferometer run -m x.gguf --flash-attn on",
        ),
    ] {
        assert_eq!(answer(line), Err(expected.to_owned()), "{line}");
    }
}

#[test]
fn the_program_of_an_option_is_the_one_that_has_it() {
    for (line, of) in [
        ("--min-runs 5", "hyperfine"),
        ("-np 4", "llama-server"),
        ("--json", "other programs"),
        ("-p 'some text'", "llama-cli"),
        ("-p 512", "llama-bench"),
        ("-s 'make clean'", "hyperfine"),
        ("-s 42", "llama-cli"),
        ("--output-len 5", "vllm bench"),
        ("-g 5", "mlx_lm"),
    ] {
        let error = understood(words(&format!("-m x.gguf {line}")), &program()).unwrap_err().to_string();
        assert!(error.contains(&format!("is an option of {of}, not of this program")), "{line}: {error}");
    }
}

#[test]
fn each_word_is_named_with_its_answer() {
    let error =
        understood(words("-m x.gguf -p 512 --lora a.bin -hft hf_abcdefghijkl"), &program()).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().map(str::trim_start).collect();
    assert_eq!(lines[0], "3 words are not understood (they are options of llama-bench, llama.cpp's programs)");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>().join(" "), "-p 512 --prompt-tokens 512");
    assert!(lines[2].starts_with("--lora a.bin  no counterpart: "), "{error}");
    assert!(lines[3].starts_with("-hft ***") && !error.contains("abcdef"), "{error}");
}

#[test]
fn a_word_that_is_not_text_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let word = OsStr::from_bytes(b"\xff.gguf").to_owned();
    let error = not_text(&["inferometer".into(), "-m".into(), word.clone()]).unwrap();
    assert!(error.to_string().starts_with("the value of -m is not UTF-8 text: "), "{error}");
    let joined = OsStr::from_bytes(b"--prompt=\xff").to_owned();
    assert!(not_text(&[joined]).unwrap().to_string().starts_with("the value of --prompt is not"));
    assert!(not_text(&["a".into(), word]).unwrap().to_string().starts_with("argument 1 is not"));
    assert!(not_text(&["a".into()]).is_none());
}

/// A value that the answers of the table understand.
fn example(flag: &flags::Flag) -> Vec<String> {
    let value = match flag.names[0] {
        "-pg" => "512,128",
        "-o" => "json",
        _ => "1",
    };
    vec![value.to_owned(); 3]
}

#[test]
fn every_spelling_is_in_the_table_once_and_has_an_answer() {
    let own = OwnOptions::of(&program());
    let mut seen = Vec::new();
    for flag in flags::FLAGS {
        for name in flag.names {
            assert!(!seen.contains(name), "{name} is in the table twice");
            seen.push(name);
            let shared = ["-o", "--output", "--offline"];
            assert!(own.takes_value(name).is_none() || shared.contains(name), "{name} is this program's own");
        }
        let answer = (flag.ours)(&example(flag)).unwrap_or_else(|| panic!("{} has no answer", flag.names[0]));
        assert!(!answer.note().is_empty() && !flag.documented.is_empty());
        // What is advised exists.
        if let Answer::Words(words) = answer {
            let name = &words[0];
            assert!(own.takes_value(name).is_some(), "{} is answered with {name}, which does not exist", flag.names[0]);
        }
    }
}

#[test]
fn the_commands_that_are_advised_exist() {
    let program = program();
    for habit in commands::COMMANDS {
        let (advice, _) = habit.advice(&[], &program);
        let verb = advice.split(' ').nth(1).unwrap();
        let exists = verb == "--version" || program.get_subcommands().any(|command| command.get_name() == verb);
        assert!(exists, "{advice}");
        for name in habit.names {
            assert!(program.get_subcommands().all(|command| command.get_name() != *name), "{name} is a command");
        }
    }
}

/// docs/from-other-tools.md has the table; `INFEROMETER_BLESS=1` writes it.
#[test]
fn the_documentation_has_the_table() {
    let mut table = "| option | of | here |\n|---|---|---|\n".to_owned();
    for flag in flags::FLAGS {
        let names: Vec<String> = flag.names.iter().map(|name| format!("`{name}`")).collect();
        writeln!(table, "| {} | {} | {} |", names.join(", "), flag.programs(), flag.documented).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/from-other-tools.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let opening = "<!-- options: generated, held by a test -->\n";
    let (before, rest) = page.split_once(opening).unwrap();
    let (_, after) = rest.split_once("<!-- /options -->").unwrap();
    let fresh = format!("{before}{opening}{table}<!-- /options -->{after}");
    if std::env::var_os("INFEROMETER_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
        return;
    }
    assert_eq!(page, fresh, "run `INFEROMETER_BLESS=1 cargo test -p profiler habits`");
}
