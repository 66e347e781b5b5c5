//! Which form a model gives its thoughts and its tool calls.

use std::fmt;
use std::str::FromStr;

use super::calls::{Body, bare, bare_or_fenced, braces, hermes, lfm2, mistral, python_tag, tool_code};
use super::template::ChatTemplate;

/// The form of a model's thoughts and tool calls; [`ChatTemplate::format`] reads it from a template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChatFormat {
    /// How the model marks what it thinks before it answers; none: it does not think aloud.
    pub reasoning: Option<Reasoning>,
    /// How it calls tools; none: what looks like a call is text.
    pub tools: Option<ToolFormat>,
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
}

/// The marks that are known; a template has those that it contains.
const REASONING: [Reasoning; 4] = [
    Reasoning { open: "<think>", close: "</think>", end: "\n</think>\n\n" },
    Reasoning { open: "[THINK]", close: "[/THINK]", end: "[/THINK]" },
    Reasoning { open: "<thinking>", close: "</thinking>", end: "\n</thinking>\n\n" },
    Reasoning { open: "<reasoning>", close: "</reasoning>", end: "\n</reasoning>\n\n" },
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
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen 2.5 and 3, `SmolLM3`.
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
}

/// What tells a format, in the order in which a template is searched.
const SIGNS: [(ToolFormat, &[&str]); 5] = [
    (ToolFormat::Mistral, &["[TOOL_CALLS]"]),
    (ToolFormat::Lfm2, &["<|tool_call_start|>", "<|tool_list_start|>"]),
    (ToolFormat::Hermes, &["<tool_call>"]),
    (ToolFormat::Llama3, &["<|python_tag|>", "<|start_header_id|>"]),
    (ToolFormat::Gemma, &["<start_function_call>", "<start_of_turn>"]),
];

/// A text that opens calls, and what follows it.
pub(super) type Opening = (&'static str, Body);

impl ToolFormat {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Hermes, Self::Llama3, Self::Gemma, Self::Lfm2, Self::Mistral];

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hermes => "hermes",
            Self::Llama3 => "llama3",
            Self::Gemma => "gemma",
            Self::Lfm2 => "lfm2",
            Self::Mistral => "mistral",
        }
    }

    /// What opens a call anywhere in an answer.
    pub(super) fn openings(self) -> &'static [Opening] {
        match self {
            Self::Hermes => &[("<tool_call>", hermes)],
            Self::Llama3 => &[("<|python_tag|>", python_tag)],
            Self::Gemma => &[("```tool_code", tool_code), ("<start_function_call>", braces)],
            Self::Lfm2 => &[("<|tool_call_start|>", lfm2)],
            Self::Mistral => &[("[TOOL_CALLS]", mistral)],
        }
    }

    /// How calls look that begin an answer and that nothing opens.
    pub(super) fn bare(self) -> Option<Body> {
        match self {
            Self::Llama3 => Some(bare),
            Self::Gemma => Some(bare_or_fenced),
            Self::Hermes | Self::Lfm2 | Self::Mistral => None,
        }
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
        let says = |mark: &str| self.source().contains(mark);
        let reasoning = REASONING.into_iter().find(|marks| says(marks.open) || says(marks.close));
        let tools = SIGNS.into_iter().find(|(_, signs)| signs.iter().any(|sign| says(sign)));
        ChatFormat { reasoning, tools: tools.map(|(format, _)| format) }
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
        let think = Some(REASONING[0]);
        assert_eq!(format("<|im_start|>"), ChatFormat::default());
        assert_eq!(
            format("{{ '<tool_call>' }} </think>"),
            ChatFormat { reasoning: think, tools: Some(ToolFormat::Hermes) }
        );
        for (source, tools) in [
            ("<|start_header_id|>", ToolFormat::Llama3),
            ("<start_of_turn>", ToolFormat::Gemma),
            ("<|tool_list_start|>", ToolFormat::Lfm2),
            ("[TOOL_CALLS] [THINK]", ToolFormat::Mistral),
        ] {
            assert_eq!(format(source).tools, Some(tools), "{source}");
        }
        assert!(REASONING[0].is_open_in("<|im_start|>assistant\n<think>\n"));
        assert!(!REASONING[0].is_open_in("<think>\n\n</think>\n\n"));
    }
}
