//! Chat templates of the kinds that the supported models have; the expected texts are written by hand.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helper functions of tests; only test functions themselves are exempt"
)]

mod tokenizer_files;

use std::fs;

use models::chat::{ChatTemplate, DEFAULT_DATE, Date, Message, PLAIN, RenderOptions, SpecialToken};
use models::{Checkpoint, EncodeOptions};

/// Llama 3: headers, trimmed contents, a date in the system turn, BOS from the template.
const LLAMA3: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("no tools here") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

/// ChatML with trimmed blocks, as in Qwen.
const CHATML: &str = r"{% for message in messages %}
    {% if loop.first and messages[0]['role'] != 'system' %}
{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>' }}
    {% endif %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}
    {%- if (loop.last and add_generation_prompt) or not loop.last %}
{{ '<|im_end|>' }}
    {% endif %}
{% endfor %}
{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}
";

/// Mistral: the template checks that roles alternate.
const MISTRAL: &str = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

/// DeepSeek: a namespace collects the system text, Python's `split` removes the reasoning.
const DEEPSEEK: &str = r"{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, system_prompt='') %}
{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}
{{ bos_token }}{{ ns.system_prompt }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}{% continue %}{% endif %}
    {%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{%- endif %}
    {%- if message['role'] == 'assistant' and message['content'] is not none %}
        {%- set content = message['content'] %}
        {%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}
        {{- '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}";

fn user(text: &str) -> Vec<Message> {
    vec![Message::new("user", text)]
}

fn conversation() -> Vec<Message> {
    [("system", " Be brief. "), ("user", "Hi"), ("assistant", "<think>hm</think>Hello!"), ("user", "Bye ")]
        .map(|(role, content)| Message::new(role, content))
        .to_vec()
}

fn render(source: &str, bos: &str, eos: &str, messages: &[Message]) -> String {
    let tokens = [SpecialToken::new("bos_token", bos), SpecialToken::new("eos_token", eos)];
    ChatTemplate::new(source, &tokens).unwrap().render(messages, RenderOptions::default()).unwrap()
}

fn error_text(source: &str) -> String {
    match ChatTemplate::new(source, &[]) {
        Ok(template) => template.render(&user("Hi"), RenderOptions::default()).expect_err("a failure").with_advice(),
        Err(error) => error.with_advice(),
    }
}

#[test]
fn llama3_renders_headers_and_the_default_date() {
    let head = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n";
    assert_eq!(
        render(LLAMA3, "<|begin_of_text|>", "", &user("Hi")),
        format!(
            "{head}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        )
    );
    assert_eq!(
        render(LLAMA3, "<|begin_of_text|>", "", &conversation()),
        format!(
            "{head}Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>hm</think>Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        )
    );
}

#[test]
fn the_date_and_the_generation_prompt_are_options() {
    let template = ChatTemplate::new(LLAMA3, &[]).unwrap();
    let options = RenderOptions { add_generation_prompt: false, date: Date::new(2026, 11, 3).unwrap() };
    let text = template.render(&user("Hi"), options).unwrap();
    assert!(text.contains("Today Date: 03 Nov 2026\n") && text.ends_with("Hi<|eot_id|>"), "{text}");
    assert_eq!(DEFAULT_DATE.to_string(), "2024-07-26");
}

#[test]
fn chatml_blocks_are_trimmed() {
    assert_eq!(
        render(CHATML, "", "", &user("Hi")),
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        render(CHATML, "", "", &conversation()[..3]),
        "<|im_start|>system\n Be brief. <|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>hm</think>Hello!<|im_end|>\n"
    );
}

#[test]
fn mistral_refuses_roles_that_do_not_alternate() {
    let turns = [Message::new("user", "Hi"), Message::new("assistant", "Hello"), Message::new("user", "Bye")];
    assert_eq!(render(MISTRAL, "<s>", "</s>", &turns), "<s>[INST] Hi [/INST]Hello</s> [INST] Bye [/INST]");
    let template = ChatTemplate::new(MISTRAL, &[SpecialToken::new("bos_token", "<s>")]).unwrap();
    let error = template.render(&conversation(), RenderOptions::default()).unwrap_err();
    insta::assert_snapshot!(error.with_advice(), @"chat template of the model: line 1: expected a template that renders this conversation, found an exception of the template: Conversation roles must alternate user/assistant/user/assistant/...; send the prompt without a template, or take another conversion of the model");
}

#[test]
fn deepseek_removes_reasoning() {
    assert_eq!(
        render(DEEPSEEK, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", &conversation()),
        "<｜begin▁of▁sentence｜> Be brief. <｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜><｜User｜>Bye <｜Assistant｜><think>\n"
    );
}

#[test]
fn the_plain_template_has_a_line_per_message() {
    assert_eq!(render(PLAIN, "<s>", "", &conversation()[..2]), "system: Be brief.\nuser: Hi\nassistant:");
}

#[test]
fn errors_name_the_line_and_what_to_do() {
    let cases = [
        ("syntax", "a\n{% if x %}\n"),
        ("syntax, unknown tag", "{% generate %}"),
        ("unsupported tag", "a\n{% include 'x' %}"),
        ("unsupported filter", "{{ messages | pprint }}"),
        ("unsupported text", "{{ messages[0].content.upper }}"),
        ("unknown function", "a\n\n{{ fetch('x') }}"),
        ("unknown filter", "{{ 'x' | shout }}"),
        ("unknown test", "{{ 'x' is loud }}"),
        ("a type that Python refuses", "{{ 'x' + 1 }}"),
        ("unknown method", "\n{{ messages[0]['content'].shout() }}"),
        ("field of an undefined value", "{{ tools.first.name }}"),
        ("unknown date", "{{ strftime_now('%Q') }}"),
        (
            "endless loop",
            "{% for a in range(10000) %}{% for b in range(10000) %}{% set c = b %}{% endfor %}{% endfor %}",
        ),
        ("output too long", "{% set s = 'x' * 10000000 %}{% for a in range(10) %}{{ s }}{% endfor %}"),
    ];
    let report: Vec<_> = cases.iter().map(|(what, source)| format!("{what}\n  {}", error_text(source))).collect();
    insta::assert_snapshot!(report.join("\n"));
    let long = error_text(&" ".repeat((1 << 20) + 1));
    assert!(long.contains("expected at most 1048576 bytes, found 1048577"), "{long}");
}

/// The conversation of the fragments in `fixtures/chat_templates.json`, and of `tests/oracle/chat_templates.py`.
fn fragment_conversation() -> Vec<Message> {
    [
        ("system", " Be terse. "),
        ("user", "Hi <b>there</b>"),
        ("assistant", "<think>\nhm\n</think>\n\nHello 'you'"),
        ("user", "Bye \u{e9}\u{1f600}\n"),
    ]
    .map(|(role, content)| Message::new(role, content))
    .to_vec()
}

#[derive(serde::Deserialize)]
struct Fragment {
    name: String,
    template: String,
    /// What transformers renders; `null` where it raises an error.
    ok: Option<String>,
}

#[test]
fn fragments_render_as_transformers_renders_them() {
    let fragments: Vec<Fragment> = serde_json::from_str(include_str!("fixtures/chat_templates.json")).unwrap();
    let tokens: Vec<_> = [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")]
        .map(|(name, text)| SpecialToken::new(name, text))
        .to_vec();
    let messages = fragment_conversation();
    let mut wrong = Vec::new();
    for Fragment { name, template, ok } in &fragments {
        let rendered = ChatTemplate::new(template, &tokens)
            .and_then(|template| template.render(&messages, RenderOptions::default()));
        match (&rendered, ok) {
            (Ok(ours), Some(theirs)) if ours == theirs => {}
            (Err(_), None) => {}
            _ => wrong.push(format!("{name}: {template:?}\n  ours {rendered:?}\n  transformers {ok:?}")),
        }
    }
    assert!(fragments.len() > 300 && wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_token_that_the_model_does_not_have_is_undefined() {
    let template = "{{ bos_token is defined }}{{ pad_token is defined }}{{ bos_token }}|{{ eos_token }}";
    let template = ChatTemplate::new(template, &[SpecialToken::new("bos_token", "<s>")]).unwrap();
    assert_eq!(template.render(&user("Hi"), RenderOptions::default()).unwrap(), "TrueFalse<s>|");
}

#[test]
fn a_template_cannot_exhaust_the_stack_or_the_memory() {
    let recursion = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
    let doubling =
        "{% set ns = namespace(s='x' * 1000000) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
    let kept =
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + ['x' * 1000000] %}{% endfor %}";
    let chain = format!("{{{{ 1{} }}}}", " + 1".repeat(100_000));
    for source in
        [recursion, doubling, kept, "{{ '%9999999999d' % 1 }}", "{{ 'x'.center(999999999) }}", "{{ 9 ** 999 }}"]
    {
        let text = error_text(source);
        assert!(text.contains("expected") && text.len() < 400, "{text}");
    }
    assert_eq!(render(&chain, "", "", &user("Hi")), "100001");
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(error_text(&nested).contains("nested"), "{}", error_text(&nested));
    let tags = "{% if true %}".repeat(5000);
    assert!(error_text(&tags).contains("nested"), "{}", error_text(&tags));
}

#[test]
#[ignore = "needs INFEROMETER_SMOLLM2: the path of SmolLM2-135M-Instruct.Q4_1.gguf"]
fn smollm2_renders_and_encodes_the_prompts_given_to_llama_cpp() {
    let path = tokenizer_files::path(tokenizer_files::SMOLLM2);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../engines/tests/fixtures/smollm2_golden.json");
    let golden: serde_json::Value = serde_json::from_slice(&fs::read(golden).unwrap()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    let source = checkpoint.chat_template().unwrap().unwrap();
    let template = ChatTemplate::new(&source.text, &checkpoint.special_tokens().unwrap()).unwrap();
    let prompts = golden["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), 5);
    for prompt in prompts {
        let rendered = template.render(&user(prompt["prompt"].as_str().unwrap()), RenderOptions::default()).unwrap();
        assert_eq!(rendered, prompt["rendered"].as_str().unwrap());
        let options = EncodeOptions { add_bos: tokenizer.wants_bos(&rendered), parse_special: true };
        let ids = tokenizer.encode(&rendered, options).unwrap();
        let expected: Vec<_> = prompt["prompt_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        assert_eq!(ids.iter().map(|id| u64::from(*id)).collect::<Vec<_>>(), expected);
        let mut stream = tokenizer.decode_stream();
        let generated = prompt["generated"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap());
        let mut text: String = generated.filter_map(|id| stream.push(u32::try_from(id).unwrap()).unwrap()).collect();
        text.extend(stream.flush());
        assert_eq!(text, prompt["text"].as_str().unwrap());
    }
}
