//! Which form a model gives its thoughts and its tool calls.

use std::fmt;
use std::str::FromStr;

use super::template::ChatTemplate;

/// The form of a model's thoughts and tool calls; [`ChatTemplate::format`] reads it from a
/// template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChatFormat {
    /// How the model marks what it thinks before it answers; none: it does not think aloud.
    pub reasoning: Option<Reasoning>,
    /// How it calls tools; none: what looks like a call is text.
    pub tools: Option<ToolFormat>,
    /// Marks of the form that are neither said nor thought, such as those around the answer.
    pub dropped: &'static [&'static str],
}

/// The marks around what a model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reasoning {
    /// Begins the thought.
    pub open: &'static str,
    /// Ends it.
    pub close: &'static str,
    /// What a model writes where it ends a thought by itself: `close` with the white space around
    /// it.
    pub end: &'static str,
    /// Whether a thought may begin anywhere in an answer, and not at its beginning alone.
    pub anywhere: bool,
    /// Whether an answer may begin in a thought that nothing opens: what comes before `close` then
    /// is one, and is held back until that is known.
    pub unmarked: bool,
}

impl Reasoning {
    /// A thought at the beginning of an answer, between two marks.
    pub const fn new(open: &'static str, close: &'static str, end: &'static str) -> Self {
        Self { open, close, end, anywhere: false, unmarked: false }
    }
}

/// What tells the marks of thoughts in a template, the more special before the more general.
const REASONING: [(&[&str], Reasoning); 8] = [
    (
        &["<|channel|>"],
        Reasoning {
            anywhere: true,
            ..Reasoning::new(
                "<|channel|>analysis<|message|>",
                "<|end|>",
                "<|end|><|start|>assistant<|channel|>final<|message|>",
            )
        },
    ),
    (
        &["<|channel>"],
        Reasoning { anywhere: true, ..Reasoning::new("<|channel>thought", "<channel|>", "\n<channel|>") },
    ),
    (&["<seed:think>"], Reasoning::new("<seed:think>", "</seed:think>", "</seed:think>")),
    (
        &["<|START_THINKING|>"],
        Reasoning { anywhere: true, ..Reasoning::new("<|START_THINKING|>", "<|END_THINKING|>", "<|END_THINKING|>") },
    ),
    (&["<think>", "</think>"], Reasoning::new("<think>", "</think>", "\n</think>\n\n")),
    (&["[THINK]", "[/THINK]"], Reasoning::new("[THINK]", "[/THINK]", "[/THINK]")),
    (&["<thinking>", "</thinking>"], Reasoning::new("<thinking>", "</thinking>", "\n</thinking>\n\n")),
    (&["<reasoning>", "</reasoning>"], Reasoning::new("<reasoning>", "</reasoning>", "\n</reasoning>\n\n")),
];

/// Marks that are dropped, of templates that have the first of them.
const DROPPED: [&[&str]; 5] = [
    &[
        "<|channel|>",
        "<|channel|>final<|message|>",
        "<|channel|>final <|constrain|>json<|message|>",
        "<|channel|>final",
        "<|channel|>commentary<|message|>",
        "<|channel|>commentary",
        "<|channel|>analysis",
        "<|start|>assistant",
        "<|start|>",
        "<|message|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
    ],
    &["<|START_RESPONSE|>", "<|END_RESPONSE|>"],
    &["<|/tool_call|>"],
    &["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
    &["<answer>", "</answer>"],
];

impl Reasoning {
    /// Whether a prompt ends inside a thought, which the template has opened.
    pub fn is_open_in(&self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }
}

/// How a family of models calls tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen 2.5 and 3, SmolLM3.
    Hermes,
    /// `{"name": .., "parameters": {..}}` or `[f(a=1)]` as all of the answer, or behind
    /// `<|python_tag|>`.
    Llama3,
    /// A fence of `tool_code` with Python, the same forms as `Llama3` as all of the answer, or
    /// `<start_function_call>call:f{a:1}<end_function_call>`.
    Gemma,
    /// `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`.
    Lfm2,
    /// `[TOOL_CALLS][{"name": .., "arguments": {..}}]` or `[TOOL_CALLS]f[ARGS]{..}`.
    Mistral,
    /// `<tool_call><function=f><parameter=a>..</parameter></function></tool_call>`: Qwen3-Coder,
    /// Qwen 3.5, Nemotron 3.
    QwenXml,
    /// The same in `<seed:tool_call>`: Seed-OSS.
    Seed,
    /// `<tool_call>f`, then `<arg_key>a</arg_key><arg_value>..</arg_value>`: GLM 4.5 and later.
    Glm,
    /// `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{..}<|call|>`: gpt-oss.
    Harmony,
    /// `<|tool_call>call:f{a:1}<tool_call|>`.
    Gemma4,
    /// `<|tool_call|>[{"name": .., "arguments": {..}}]`: Granite 3, Phi-4-mini.
    Granite,
    /// `<|START_ACTION|>[{"tool_name": .., "parameters": {..}}]<|END_ACTION|>`: Command R7B and A.
    Command,
    /// `<tool_calls>[{"name": .., "arguments": {..}}]</tool_calls>`: Hunyuan, Apriel.
    Hunyuan,
    /// `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f`, then a fence of JSON and
    /// `<｜tool▁call▁end｜>`: DeepSeek R1 and what is distilled from it.
    DeepSeek,
    /// `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{..}<｜tool▁call▁end｜>`: DeepSeek V3.1.
    DeepSeekV31,
    /// `<TOOLCALL>[{"name": .., "arguments": {..}}]</TOOLCALL>`: Nemotron Nano.
    Nemotron,
}

/// What tells a format, in the order in which a template is searched, the more special before the
/// more general: the template has all texts of one of the lists.
const SIGNS: [(ToolFormat, &[&[&str]]); 16] = [
    (ToolFormat::Mistral, &[&["[TOOL_CALLS]"]]),
    (ToolFormat::Harmony, &[&["<|channel|>", "<|message|>"]]),
    (ToolFormat::Lfm2, &[&["<|tool_call_start|>"], &["<|tool_list_start|>"]]),
    (ToolFormat::Seed, &[&["<seed:tool_call>"]]),
    (ToolFormat::DeepSeek, &[&["<｜tool▁sep｜>", "```json"]]),
    (ToolFormat::DeepSeekV31, &[&["<｜tool▁sep｜>"]]),
    (ToolFormat::Nemotron, &[&["<TOOLCALL>"]]),
    (ToolFormat::Gemma4, &[&["<|tool_call>"]]),
    (ToolFormat::Granite, &[&["<|tool_call|>"]]),
    (ToolFormat::Command, &[&["<|START_ACTION|>"]]),
    (ToolFormat::QwenXml, &[&["<tool_call>", "<function="]]),
    (ToolFormat::Glm, &[&["<tool_call>", "<arg_key>"]]),
    (ToolFormat::Hunyuan, &[&["<tool_calls>"]]),
    (ToolFormat::Hermes, &[&["<tool_call>"]]),
    (ToolFormat::Llama3, &[&["<|python_tag|>"], &["<|start_header_id|>"]]),
    (ToolFormat::Gemma, &[&["<start_function_call>"], &["<start_of_turn>"]]),
];

impl ToolFormat {
    /// All formats.
    pub const ALL: [Self; 16] = [
        Self::Hermes,
        Self::Llama3,
        Self::Gemma,
        Self::Lfm2,
        Self::Mistral,
        Self::QwenXml,
        Self::Seed,
        Self::Glm,
        Self::Harmony,
        Self::Gemma4,
        Self::Granite,
        Self::Command,
        Self::Hunyuan,
        Self::DeepSeek,
        Self::DeepSeekV31,
        Self::Nemotron,
    ];

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        self.family().name
    }
}

impl fmt::Display for ToolFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownToolFormat(String);

impl fmt::Display for UnknownToolFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = ToolFormat::ALL.map(ToolFormat::name).join(", ");
        write!(f, "{:?} is no format of tool calls: there are {known}", self.0)
    }
}

impl std::error::Error for UnknownToolFormat {}

impl FromStr for ToolFormat {
    type Err = UnknownToolFormat;

    fn from_str(name: &str) -> Result<Self, UnknownToolFormat> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownToolFormat(name.to_owned()))
    }
}

impl ChatTemplate {
    /// The form that the template gives thoughts and tool calls, told by the marks in its text. A
    /// model may use a form that its template does not show: then choose it.
    pub fn format(&self) -> ChatFormat {
        let says = |mark: &&str| self.source().contains(*mark);
        let reasoning = REASONING.into_iter().find(|(signs, _)| signs.iter().any(&says));
        let tools = SIGNS.into_iter().find(|(_, signs)| signs.iter().any(|signs| signs.iter().all(&says)));
        let dropped = DROPPED.into_iter().find(|marks| says(&marks[0]));
        ChatFormat {
            reasoning: reasoning
                .map(|(_, marks)| Reasoning { unmarked: !says(&marks.open) && !marks.anywhere, ..marks }),
            tools: tools.map(|(format, _)| format),
            dropped: dropped.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_read_as_it_is_written() {
        assert!(ToolFormat::ALL.into_iter().all(|format| format.to_string().parse() == Ok(format)));
        assert!("qwen".parse::<ToolFormat>().unwrap_err().to_string().contains("hermes, llama3"));
    }

    #[test]
    fn a_template_shows_its_format() {
        let format = |source: &str| ChatTemplate::new(source).unwrap().format();
        let think = Reasoning::new("<think>", "</think>", "\n</think>\n\n");
        assert_eq!(format("<|im_start|>"), ChatFormat::default());
        let hermes = ChatFormat { reasoning: Some(think), tools: Some(ToolFormat::Hermes), dropped: &[] };
        assert_eq!(format("{{ '<tool_call>' }} <think></think>"), hermes);
        // Nothing in the template opens the thought.
        assert!(format("</think>").reasoning.unwrap().unmarked);
        for (source, tools) in [
            ("<|start_header_id|>", ToolFormat::Llama3),
            ("<start_of_turn>", ToolFormat::Gemma),
            ("<|tool_list_start|>", ToolFormat::Lfm2),
            ("[TOOL_CALLS] [THINK]", ToolFormat::Mistral),
            ("<tool_call>\n<function=", ToolFormat::QwenXml),
            ("'<seed:tool_call>' <function=", ToolFormat::Seed),
            ("<tool_call>' <arg_key>", ToolFormat::Glm),
            ("<|start|>assistant<|channel|>final<|message|>", ToolFormat::Harmony),
            ("<|tool_call>call:", ToolFormat::Gemma4),
            ("<|tool_call|>", ToolFormat::Granite),
            ("<|START_ACTION|>", ToolFormat::Command),
            ("<tool_calls>", ToolFormat::Hunyuan),
        ] {
            assert_eq!(format(source).tools, Some(tools), "{source}");
        }
        for (source, open) in [
            ("<|channel|>analysis<|message|>", "<|channel|>analysis<|message|>"),
            ("<|channel>thought\n<channel|>", "<|channel>thought"),
            ("<seed:think>", "<seed:think>"),
            ("<|START_THINKING|>", "<|START_THINKING|>"),
            ("<think><answer>", "<think>"),
        ] {
            assert_eq!(format(source).reasoning.unwrap().open, open);
        }
        assert_eq!(format("<think><answer>").dropped, ["<answer>", "</answer>"]);
        assert!(think.is_open_in("<|im_start|>assistant\n<think>\n"));
        assert!(!think.is_open_in("<think>\n\n</think>\n\n"));
    }
}
