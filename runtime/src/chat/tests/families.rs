//! Templates in the form of the families' own: what they use of Jinja and Python, with tools,
//! thoughts and parts.

use serde_json::{Value, json};

use super::super::*;
use super::tokenizer;

/// As Qwen 2.5 and 3: tools in XML, calls as objects or text, results in a turn of the user,
/// thoughts dropped but for the last turn.
pub(super) const QWEN: &str = include_str!("templates/qwen.jinja");

/// As Llama 3.1 and 3.2: a date, built-in tools, one call a message, `ipython` for results.
pub(super) const LLAMA3: &str = include_str!("templates/llama3.jinja");

/// As Gemma 3: parts, roles that alternate, a prefix before the first message.
pub(super) const GEMMA3: &str = include_str!("templates/gemma3.jinja");

/// As LFM2: a list of tools in the system turn, a mark for training, thoughts cut off.
pub(super) const LFM2: &str = include_str!("templates/lfm2.jinja");

/// As Mistral: tools before the last question, calls as JSON with ids, filters with tests.
pub(super) const MISTRAL: &str = include_str!("templates/mistral.jinja");

/// As SmolLM3: a mode of thinking from a flag in the system message, a date, macros.
pub(super) const SMOLLM3: &str = include_str!("templates/smollm3.jinja");

/// A template that knows content of parts alone.
const PARTS_ONLY: &str = include_str!("templates/parts_only.jinja");

/// A template that compares each message with all others.
pub(super) const LOOKBACK: &str = include_str!("templates/lookback.jinja");

/// All of them by their files, and more.
pub(super) const ALL: [(&str, &str); 13] = [
    ("qwen.jinja", QWEN),
    ("llama3.jinja", LLAMA3),
    ("gemma3.jinja", GEMMA3),
    ("lfm2.jinja", LFM2),
    ("mistral.jinja", MISTRAL),
    ("smollm3.jinja", SMOLLM3),
    // Tools in XML, results of tools that follow each other, as Qwen3-Coder.
    ("qwen_coder.jinja", include_str!("templates/qwen_coder.jinja")),
    // Thoughts by a word in the text, lists of results, as Nemotron Nano.
    ("nemotron.jinja", include_str!("templates/nemotron.jinja")),
    // One line, calls in a fence, as DeepSeek.
    ("deepseek.jinja", include_str!("templates/deepseek.jinja")),
    // `get`, `%` and an end where no answer follows, as Phi 4.
    ("phi.jinja", include_str!("templates/phi.jinja")),
    // `format`, documents, JSON with arguments, as Granite.
    ("granite.jinja", include_str!("templates/granite.jinja")),
    ("parts_only.jinja", PARTS_ONLY),
    ("lookback.jinja", LOOKBACK),
];

/// Those whose control tokens are known to the tests.
pub(super) const GUARDED: [&str; 6] = [QWEN, LLAMA3, GEMMA3, LFM2, MISTRAL, SMOLLM3];

pub(super) fn tools() -> Value {
    json!([{"type": "function", "function": {
        "name": "weather", "description": "The weather \"now\".",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])
}

/// A question, a call, its result.
fn dialogue() -> Vec<Message> {
    let call = json!({"id": "call12345", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}});
    [
        json!({"role": "system", "content": "Be kind. "}),
        json!({"role": "user", "content": "How warm is it?"}),
        json!({"role": "assistant", "content": null, "reasoning_content": "I ask.", "tool_calls": [call]}),
        json!({"role": "tool", "content": "21", "tool_call_id": "call12345", "name": "weather"}),
    ]
    .map(|message| Message::from_json(message).unwrap())
    .to_vec()
}

fn render(template: &str, messages: &[Message], variables: &[(&str, Value)]) -> String {
    let none = Variables::new().with("strftime_now", json!("2026-11-30")).unwrap();
    let variables = variables.iter().fold(none, |all, (name, value)| all.with(*name, value.clone()).unwrap());
    ChatTemplate::new(template).unwrap().render(messages, &variables, true, &tokenizer()).unwrap().text().to_owned()
}

const TOOL: &str = "{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"description\": \"The weather \\\"now\\\".\", \
    \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}, \"required\": [\"city\"]}}}";

#[test]
fn qwen() {
    let text = render(QWEN, &dialogue(), &[("tools", tools()), ("enable_thinking", json!(false))]);
    let expected = format!(
        "<|im_start|>system\nBe kind. \n\n# Tools\n\nSignatures within <tools></tools> XML tags:\n<tools>\n{TOOL}\n</tools>\n\n\
        Return JSON within <tool_call></tool_call>:\n<tool_call>\n{{\"name\": <function-name>}}\n</tool_call><|im_end|>\n\
        <|im_start|>user\nHow warm is it?<|im_end|>\n<|im_start|>assistant\n<think>\nI ask.\n</think>\n\n<tool_call>\n\
        {{\"name\": \"weather\", \"arguments\": {{\"city\": \"Zürich\"}}}}\n</tool_call><|im_end|>\n\
        <|im_start|>user\n<tool_response>\n21\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    );
    assert_eq!(text, expected);
    let thought = [("user", "q"), ("assistant", "<think>\nhm\n</think>\n\na"), ("user", "r")];
    let text = render(QWEN, &thought.map(|(role, content)| Message::new(role, content)), &[]);
    assert_eq!(
        text,
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn llama3() {
    let text = render(LLAMA3, &dialogue(), &[("tools", tools())]);
    for part in [
        "<s><|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\nToday Date: 30 Nov 2026\n\nBe kind.<|eot_id|>",
        "value}.\n\n{\n    \"type\": \"function\",\n    \"function\": {\n        \"name\": \"weather\",\n",
        "\n\nHow warm is it?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{\"name\": \"weather\", \"parameters\": {\"city\": \"Zürich\"}}<|eot_id|>",
        "<|start_header_id|>ipython<|end_header_id|>\n\n21<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    let built_in = render(LLAMA3, &dialogue(), &[("builtin_tools", json!(["weather"]))]);
    assert!(built_in.contains("<|python_tag|>weather.call(city=\"Zürich\")<|eot_id|>"), "{built_in}");
}

#[test]
fn gemma3() {
    let part = |text: &str| json!({"type": "text", "text": text});
    let parts = json!({"role": "user", "content": [part(" a "), part("b")]});
    let messages = [Message::new("system", "S"), Message::from_json(parts).unwrap(), Message::new("assistant", "c")];
    let text = render(GEMMA3, &messages, &[]);
    assert_eq!(
        text,
        "<s><start_of_turn>user\nS\n\nab<end_of_turn>\n<start_of_turn>model\nc<end_of_turn>\n<start_of_turn>model\n"
    );
}

#[test]
fn lfm2() {
    let messages: Vec<Message> = dialogue()
        .into_iter()
        .map(|m| if m.role() == "assistant" { Message::new("assistant", "x") } else { m })
        .collect();
    let text = render(LFM2, &messages, &[("tools", tools())]);
    let expected = format!(
        "<s><|im_start|>system\nBe kind. \nList of tools: <|tool_list_start|>[{TOOL}]<|tool_list_end|><|im_end|>\n\
        <|im_start|>user\nHow warm is it?<|im_end|>\n<|im_start|>assistant\nx<|im_end|>\n\
        <|im_start|>tool\n<|tool_response_start|>21<|tool_response_end|><|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn mistral() {
    let text = render(MISTRAL, &dialogue(), &[("tools", tools())]);
    let expected = "<s>[AVAILABLE_TOOLS] [{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"description\": \"The weather \"now\".\", \
        \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}, \"required\": [\"city\"]}}}]\
        [/AVAILABLE_TOOLS][INST] How warm is it?[/INST][TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Zürich\"}, \
        \"id\": \"call12345\"}]</s>[TOOL_RESULTS] {\"content\": 21, \"call_id\": \"call12345\"}[/TOOL_RESULTS]";
    assert_eq!(text, expected);
}

#[test]
fn smollm3() {
    let messages =
        [Message::new("system", "Be kind. /no_think"), Message::new("user", "q"), Message::new("assistant", "\na")];
    let text = render(SMOLLM3, &messages, &[]);
    let expected = "<|im_start|>system\n## Metadata\n\nToday Date: 30 November 2026\nReasoning Mode: /no_think\n\nBe kind.\n<|im_end|>\n\
        <|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n";
    assert_eq!(text, expected);
    let template = ChatTemplate::new(SMOLLM3).unwrap();
    assert!(template.needs_date() && !ChatTemplate::new(LLAMA3).unwrap().needs_date());
    let undated = template.render(&messages, &Variables::new(), true, &tokenizer());
    assert!(matches!(undated, Err(ChatError::NoDate)), "{undated:?}");
    let wrong = Variables::new().with("strftime_now", json!("today")).unwrap();
    assert!(matches!(template.render(&messages, &wrong, true, &tokenizer()), Err(ChatError::Variable { .. })));
}

/// A template that knows no parts gets their text, and no picture.
#[test]
fn parts_are_joined_where_the_template_knows_none() {
    let message = |parts: Value| Message::from_json(json!({"role": "user", "content": parts})).unwrap();
    let text = |text: &str| json!({"type": "text", "text": text});
    let plain = "{% for m in messages %}[{{ m.content }}]{% endfor %}";
    for template in [plain, "{% for m in messages %}{{ '[' + m['content'] + ']' }}{% endfor %}"] {
        assert_eq!(render(template, &[message(json!([text("a"), text("b")]))], &[]), "[a\nb]");
    }
    let image = message(json!([text("a"), {"type": "image", "url": "u"}]));
    let refused = ChatTemplate::new(plain).unwrap().render(&[image], &Variables::new(), true, &tokenizer());
    assert!(
        matches!(&refused, Err(ChatError::Message { index: 0, reason }) if reason.contains("image")),
        "{refused:?}"
    );
}

/// What a developer says is the system's where a template does not name the developer.
#[test]
fn a_developer_is_the_system() {
    let messages = [Message::new("developer", "Be kind."), Message::new("user", "Hi")];
    let of = |which: &str| {
        let source = format!("{{% for m in messages{which} %}}[{{{{ m.role }}}}]{{{{ m.content }}}}{{% endfor %}}");
        render(&source, &messages, &[])
    };
    assert_eq!(of(" if m.role in ['system', 'user']"), "[system]Be kind.[user]Hi");
    assert_eq!(of(""), "[system]Be kind.[user]Hi");
    assert_eq!(of(" if m.role in ['developer', 'user']"), "[developer]Be kind.[user]Hi");
    assert_eq!(of(" if m.role in ['developer', 'system', 'user']"), "[developer]Be kind.[user]Hi");
}

/// A template that knows parts alone gets a text as one; one that writes nothing that was said is
/// refused.
#[test]
fn no_message_is_dropped() {
    let messages =
        [Message::new("system", "Be kind."), Message::new("user", "Hi there"), Message::new("assistant", "yes")];
    assert_eq!(render(PARTS_ONLY, &messages, &[]), "<system>Be kind.\n<user>Hi there\n<assistant>yes!\n<assistant>");
    for source in ["{{ messages|length }}", "{% for m in messages if m.role == 'human' %}{{ m.content }}{% endfor %}"] {
        let dropped = ChatTemplate::new(source).unwrap().render(&messages, &Variables::new(), true, &tokenizer());
        assert!(matches!(dropped, Err(ChatError::Dropped)), "{dropped:?}");
    }
    assert_eq!(render("{{ messages|length }}", &[Message::new("user", " ")], &[]), "1");
}

/// A budget for templates that compare all messages with each other; one that goes on from there
/// ends.
#[test]
fn looking_back_is_paid() {
    for turns in [201, 601] {
        let messages: Vec<Message> = (0..turns)
            .map(|i| Message::new(if i % 2 == 0 { "user" } else { "assistant" }, format!("turn {i}")))
            .collect();
        let text = render(LOOKBACK, &messages, &[]);
        assert!(text.ends_with(&format!("[user {}*] turn {}", turns / 2, turns - 1)), "{}", &text[text.len() - 99..]);
    }
    let messages = vec![Message::new("user", "x"); 1001];
    let cubic =
        "{% for a in messages %}{% for b in messages %}{% for c in messages %}{% endfor %}{% endfor %}{% endfor %}";
    let endless = ChatTemplate::new(cubic).unwrap().render(&messages, &Variables::new(), true, &tokenizer());
    assert!(matches!(endless, Err(ChatError::Exhausted)), "{endless:?}");
}
