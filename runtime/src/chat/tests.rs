//! Templates of the shapes that models carry, and templates that mean harm.

mod answers;
#[cfg(feature = "constraints")]
mod constrained;
mod families;
mod jinja;
mod safe;

use super::error::{KEY, MAX_TEMPLATE};
use super::*;
use crate::gguf::{Gguf, Writer};
use crate::tokenizer::Tokenizer;

/// `<s>` is 0, `</s>` is 1.
pub(super) fn tokenizer() -> Tokenizer {
    let mut writer = Writer::new();
    writer.set("tokenizer.ggml.model", "gpt2").unwrap();
    writer.set("tokenizer.ggml.pre", "gpt2").unwrap();
    writer.set("tokenizer.ggml.tokens", vec!["<s>".to_owned(), "</s>".to_owned()]).unwrap();
    writer.set("tokenizer.ggml.token_type", vec![3, 3]).unwrap();
    writer.set("tokenizer.ggml.merges", Vec::<String>::new()).unwrap();
    writer.set("tokenizer.ggml.bos_token_id", 0_u32).unwrap();
    writer.set("tokenizer.ggml.eos_token_id", 1_u32).unwrap();
    Tokenizer::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata()).unwrap()
}

fn try_render(template: &str, messages: &[(&str, &str)]) -> Result<String, ChatError> {
    let messages: Vec<Message> = messages.iter().map(|&(role, content)| Message::new(role, content)).collect();
    let prompt = ChatTemplate::new(template)?.render(&messages, &Variables::new(), true, &tokenizer())?;
    Ok(prompt.text().to_owned())
}

fn render(template: &str, messages: &[(&str, &str)]) -> String {
    try_render(template, messages).unwrap()
}

/// The value of an expression, as text.
fn value(expression: &str) -> String {
    render(&format!("{{{{ {expression} }}}}"), &[])
}

const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}\
    {{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn smollm2() {
    let text = render(SMOLLM2, &[("user", "Hi {{ 1 }}"), ("assistant", "Hello"), ("user", "é")]);
    let expected = "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nHi {{ 1 }}<|im_end|>\n\
        <|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\né<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text, expected);
    assert!(render(SMOLLM2, &[("system", "S"), ("user", "U")]).starts_with("<|im_start|>system\nS<|im_end|>"));
}

/// Whole lines of statements, a date that is asked for, slices, `trim`, namespaces.
const LLAMA3: &str = r"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now('%d %b %Y') %}
    {%- else %}
        {%- set date_string = '26 Jul 2024' %}
    {%- endif %}
{%- endif %}
{#- The system message comes first. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}
{{- 'Today Date: ' + date_string + '\n\n' }}
{{- system_message }}
{{- '<|eot_id|>' }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- else %}
        {{- raise_exception('tools are not expected') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
";

#[test]
fn llama3() {
    let text = render(LLAMA3, &[("system", " be kind "), ("user", " hello\n")]);
    let expected = "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\nbe kind<|eot_id|>\
        <|start_header_id|>user<|end_header_id|>\n\nhello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
    assert_eq!(text, expected);
}

/// Backwards loops, tests of types, string methods, what was thought before the answer.
const QWEN3: &str = r"{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == 'user' and message.content is string and not (message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.last = index %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
            {%- set thought = message.content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role + ' ' + thought|length|string + '\n' + content.strip() + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant ' ~ ns.last ~ '\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}";

#[test]
fn qwen3() {
    let text = render(QWEN3, &[("user", "q"), ("assistant", "<think>\nhm\n</think>\n\na "), ("user", "r")]);
    let expected = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant 2\na<|im_end|>\n<|im_start|>user\nr<|im_end|>\n\
        <|im_start|>assistant 2\n";
    assert_eq!(text, expected);
}

#[test]
fn blocks_are_trimmed_as_hugging_face_does() {
    let template = "{% for m in messages %}\n    {% if true %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}\nend\n";
    assert_eq!(render(template, &[("user", "a"), ("user", "b")]), "a\nb\nend");
}

#[test]
fn python_methods() {
    for (expression, expected) in [
        ("' a '.strip() ~ '|' ~ 'xxay'.strip('xy')", "a|a"),
        ("'a b  c'.split()|join(',')", "a,b,c"),
        ("'a,b,c'.split(',', 1)|join('|')", "a|b,c"),
        ("'a,b,c'.rsplit(',', 1)|join('|')", "a,b|c"),
        ("'abc'.startswith(('x', 'ab'))", "True"),
        ("'abc'.endswith('b')", "False"),
        ("'-'.join(['a', 'b'])", "a-b"),
        ("'éa'.find('a') ~ 'b'.find('a')", "1-1"),
        ("'aXbX'.replace('X', '.') ~ 'Ab'.upper() ~ 'a'.title()", "a.b.ABA"),
        ("'1\n2'.splitlines()|length ~ 'banana'.count('an') ~ '12'.isdigit()", "22True"),
        ("{'a': 1}.get('a') ~ {'a': 1}.get('b', 2) ~ ({'a': 1}.get('b') is none)", "12True"),
        ("{'a': 1}.items()|list|length ~ {'a': 1}.keys()|first ~ {'a': 1}.values()|first", "1a1"),
        ("['a', 'b', 'a'].count('a') ~ ['a', 'b'].index('b')", "21"),
        (r#"{'a': [1, 2.5, true, none], 'b': 'é"\n<'}|tojson"#, r#"{"a": [1, 2.5, true, null], "b": "é\"\n<"}"#),
        ("{'a': [1], 'b': []}|tojson(indent=2)", "{\n  \"a\": [\n    1\n  ],\n  \"b\": []\n}"),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

fn error(template: &str) -> ChatError {
    try_render(template, &[("user", "x")]).unwrap_err()
}

#[test]
fn failures_are_errors_of_their_kind() {
    assert!(matches!(error("{% if %}"), ChatError::Syntax { .. }));
    assert!(matches!(error("{{ messages.nothing.there }}"), ChatError::Render { .. }));
    assert!(matches!(error("{{ 'a'.format_map() }}"), ChatError::Render { .. }));
    assert!(matches!(error("{{ strftime_now('%Y') }}"), ChatError::NoDate));
    assert!(matches!(error("{% include '/etc/passwd' %}"), ChatError::Render { .. }));
    assert!(matches!(error(&"x".repeat(MAX_TEMPLATE + 1)), ChatError::TooLong { .. }));
    let refused = error("{% macro f() %}{{ raise_exception('roles must alternate') }}{% endmacro %}{{ f() }}");
    assert!(matches!(&refused, ChatError::Refused { message } if message == "roles must alternate"), "{refused:?}");
}

#[test]
fn a_file_without_a_template_has_none() {
    let mut writer = Writer::new();
    let missing = ChatTemplate::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata());
    assert!(matches!(missing, Err(ChatError::Missing)));
    writer.set(&format!("{KEY}.tool_use"), "T").unwrap();
    let named = |writer: &Writer, name: &str| {
        ChatTemplate::named(Gguf::parse(&writer.to_bytes()).unwrap().metadata(), name)
            .map(|found| found.source().to_owned())
    };
    assert_eq!(named(&writer, "tool_use").unwrap(), "T");
    assert!(matches!(named(&writer, "default"), Err(ChatError::Missing)));
    assert!(matches!(named(&writer, "rag"), Err(ChatError::NoSuchTemplate { known, .. }) if known == ["tool_use"]));
    let chosen = |template: &str| {
        let variables = Variables::new().with("chat_template", template.into()).unwrap();
        ChatTemplate::chosen(Gguf::parse(&writer.to_bytes()).unwrap().metadata(), &variables)
            .unwrap()
            .source()
            .to_owned()
    };
    assert_eq!([chosen("tool_use"), chosen("{{ 1 }}")], ["T", "{{ 1 }}"]);
    writer.set(KEY, 3_u32).unwrap();
    let number = ChatTemplate::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata());
    assert!(matches!(number, Err(ChatError::Metadata(_))));
}

#[test]
fn what_means_harm_is_stopped() {
    let doubling = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let loops = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}";
    let output = "{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}";
    for template in [doubling, loops, output, "{{ 'x' * 90000000 }}", "{{ ('x' * 100000)|replace('x', 'y' * 100000) }}"]
    {
        let error = error(template);
        assert!(matches!(error, ChatError::Exhausted), "{template}: {error:?}");
    }
    for template in [
        "{{ '{:900000000}'.format(1) }}",
        "{{ 'x'.center(900000000) }}",
        "{{ 'x'.zfill(900000000) }}",
        "{{ 'x'|center(900000000) }}",
        "{{ '%900000000d' % 1 }}",
        "{{ '\t'.expandtabs(900000000) }}",
        "{{ [1]|tojson(indent=900000000) }}",
        "{{ ('\n' * 9000)|indent(900000) }}",
    ] {
        let error = error(template);
        assert!(matches!(error, ChatError::Exhausted), "{template}: {error:?}");
    }
    for template in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% block x %}{{ self.x() }}{% endblock %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    ] {
        assert!(matches!(error(template), ChatError::Render { .. } | ChatError::Exhausted), "{template}");
    }
    assert!(matches!(error(&("{{ ".to_owned() + &"(".repeat(100_000))), ChatError::Syntax { .. }));
}

/// The budget grows with the conversation: half a megabyte of text is no attack.
#[test]
fn long_conversations_fit() {
    let long = "word ".repeat(100_000);
    for template in [SMOLLM2, LLAMA3, QWEN3] {
        assert!(render(template, &[("user", &long)]).contains(long.trim()));
        let turns = vec![("user", "short"); 2000];
        assert!(render(template, &turns).len() > 10_000);
    }
}

/// A list may be nested as deep as the budget allows, here by forty with each turn of a loop. That
/// must not overflow the stack when it is freed, nor when it is printed, compared or searched.
/// Whatever comes of it, the process lives.
#[test]
fn deep_nesting_is_no_danger() {
    let (open, close) = ("[".repeat(40), "]".repeat(40));
    let nest = |depth: usize| {
        format!(
            "{{% set a = namespace(x=[1]) %}}{{% set b = namespace(x=[1]) %}}{{% for i in range({}) %}}\
            {{% set a.x = {open}a.x{close} %}}{{% set b.x = {open}b.x{close} %}}{{% endfor %}}",
            depth / 40
        )
    };
    let uses =
        ["{{ a.x }}", "{{ a.x == b.x }}", "{{ a.x < b.x }}", "{{ a.x|tojson }}", "{{ {a.x: 1} }}", "{{ a.x ~ '' }}"];
    for (bytes, depth) in [(10, 4000), (1_000_000, 60_000)] {
        let content = "x".repeat(bytes);
        let freed = try_render(&nest(3_000_000), &[("user", &content)]);
        assert!(matches!(freed, Err(ChatError::Exhausted)), "{freed:?}");
        for use_it in uses {
            let _ = try_render(&(nest(depth) + use_it), &[("user", &content)]);
        }
    }
}

/// A model without BOS or EOS: they are not defined.
#[test]
fn tokens_that_are_missing_are_not_defined() {
    let mut writer = Writer::new();
    writer.set("tokenizer.ggml.model", "gpt2").unwrap();
    writer.set("tokenizer.ggml.pre", "gpt2").unwrap();
    writer.set("tokenizer.ggml.tokens", vec!["a".to_owned()]).unwrap();
    writer.set("tokenizer.ggml.token_type", vec![1]).unwrap();
    writer.set("tokenizer.ggml.merges", Vec::<String>::new()).unwrap();
    let tokenizer = Tokenizer::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata()).unwrap();
    let template = ChatTemplate::new("[{{ bos_token }}{{ eos_token is defined }}{{ tools is none }}]").unwrap();
    let prompt = template.render(&[], &Variables::new(), true, &tokenizer).unwrap();
    assert_eq!(prompt.text(), "[FalseTrue]");
}

/// As transformers gives a template its map of special tokens: those that there are.
#[test]
fn special_tokens_have_the_names_of_transformers() {
    let mut writer = Writer::new();
    writer.set("tokenizer.ggml.model", "gpt2").unwrap();
    writer.set("tokenizer.ggml.pre", "gpt2").unwrap();
    let tokens = ["<s>", "</s>", "<unk>", "<pad>", "[SEP]", "[CLS]", "[MASK]"];
    writer.set("tokenizer.ggml.tokens", tokens.map(str::to_owned).to_vec()).unwrap();
    writer.set("tokenizer.ggml.token_type", vec![3; tokens.len()]).unwrap();
    writer.set("tokenizer.ggml.merges", Vec::<String>::new()).unwrap();
    for (name, id) in ["bos", "eos", "unknown", "padding", "seperator", "cls"].iter().zip(0_u32..) {
        writer.set(&format!("tokenizer.ggml.{name}_token_id"), id).unwrap();
    }
    let tokenizer = Tokenizer::from_metadata(Gguf::parse(&writer.to_bytes()).unwrap().metadata()).unwrap();
    let template =
        "{{ bos_token ~ eos_token ~ unk_token ~ pad_token ~ sep_token ~ cls_token }}{{ mask_token is defined }}";
    let prompt = ChatTemplate::new(template).unwrap().render(&[], &Variables::new(), true, &tokenizer).unwrap();
    assert_eq!(prompt.text(), "<s></s><unk><pad>[SEP][CLS]False");
}

#[test]
fn what_a_template_changes_is_not_dropped() {
    assert_eq!(render("{{ messages[0].content | upper }}", &[("user", "hello")]), "HELLO");
    let ascii = render("{{ messages[0].content | tojson(ensure_ascii=true) }}", &[("user", "日本")]);
    assert_eq!(ascii, r#""\u65e5\u672c""#);
    let word = "long".repeat(100);
    assert_eq!(render("{{ messages[0].content | truncate(8, true) }}", &[("user", &word)]), "longl...");
    assert_eq!(render("{{ messages[0].content | length }}", &[("user", "hello")]), "5");
    for ignores in ["done", "{{ messages[0].role }}", "{{ messages | length }}"] {
        assert!(matches!(error(ignores), ChatError::Dropped), "{ignores}");
    }
}

#[test]
fn every_text_is_formatted_by_a_percent_sign() {
    for (template, expected) in [
        ("{% set f = '%s!' %}{{ f % 'x' }}", "x!"),
        ("{{ ('%s') % 'x' }}", "x"),
        ("{{ ('%s' ~ '-%s') % ('a', 'b') }}", "a-b"),
        ("{% set f = ['%s-%d'] %}{{- f[0] % ('a', 3) -}}", "a-3"),
        ("{{ '%s' % '%s' % 'x' }}", "x"),
        ("{{ 7 % 3 ~ -7 % 3 ~ 7 % -3 ~ 2 * 7 % 4 ~ 7.5 % 2 ~ true % 2 }}", "12-221.51"),
        ("{% if 3 % 2 == 1 and not 4 % 2 %}yes{% endif %}", "yes"),
    ] {
        assert_eq!(render(template, &[]), expected, "{template}");
    }
    assert!(matches!(error("{{ 1 % 0 }}"), ChatError::Render { .. }));
    assert!(matches!(error("{{ [] % 2 }}"), ChatError::Render { .. }));
}
