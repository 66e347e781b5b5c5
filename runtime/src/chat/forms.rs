//! How the families of models write their tool calls, as data: the parser, its streaming and the
//! grammar of constrained calls read the same tables.

use super::format::ToolFormat;
use super::literal::QUOTES_OF_BRACES;

/// What a family of models writes.
pub(super) struct Family {
    pub(super) name: &'static str,
    /// What opens calls anywhere in an answer.
    pub(super) forms: &'static [CallForm],
    /// Calls that begin an answer, or follow other ones, and that nothing opens.
    pub(super) bare: Option<Bare>,
}

/// Calls between two texts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallForm {
    /// Opens them.
    pub(super) open: &'static str,
    /// Ends them; empty: they end where their JSON does. It may be missing at the end of an answer.
    pub(super) close: &'static str,
    pub(super) body: Body,
}

/// What stands between the two.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// An object of JSON for each call, or a list of them.
    Json(JsonBody),
    /// The name of the tool and its arguments in JSON.
    Named(NamedBody),
    /// Either of the two.
    JsonOrNamed(JsonBody, NamedBody),
    /// Calls of Python: `[f(a=1)]`, or `f(a=1)` in a line; or JSON.
    Python { brackets: bool },
    /// Calls of built-in tools, code, or JSON, to the end of the answer.
    PythonTag,
    /// `call:f{a:1,b:"x"}`, with this text for the quotes.
    Braces { quote: &'static str },
    /// The arguments one by one between tags.
    Tags(TagBody),
}

/// A call in JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonBody {
    /// The key of the name, that of the arguments, and one of a number before both, if there is.
    pub(super) name: &'static str,
    pub(super) arguments: &'static str,
    pub(super) number: Option<&'static str>,
    /// Before the calls, between two and behind them. Without an inner text there is one alone.
    pub(super) list: (&'static str, Option<&'static str>, &'static str),
}

/// A name, and arguments in JSON behind a mark.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedBody {
    /// The mark before the arguments.
    pub(super) arguments: &'static str,
    /// The mark before an id, behind the name.
    pub(super) id: Option<&'static str>,
    /// What models write between the name and the arguments, the mark among it.
    pub(super) heads: &'static [&'static str],
}

/// Arguments between tags. White space between tags does not count.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TagBody {
    /// Around the name of the tool.
    pub(super) name: [&'static str; 2],
    /// Around the name of an argument.
    pub(super) key: [&'static str; 2],
    /// Around its value. A text stands as it is, other values as JSON.
    pub(super) value: [&'static str; 2],
    /// Behind the last argument.
    pub(super) end: &'static str,
}

/// Calls that nothing opens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bare {
    /// `{"name": .., "parameters": {..}}` or `[f(a=1)]`.
    Calls,
    /// The same, or JSON in a fence.
    Fenced,
    /// An opening text that counts at the beginning alone.
    Opened(&'static CallForm),
}

const LIST: (&str, Option<&str>, &str) = ("[", Some(", "), "]");

const NAME_ARGUMENTS: JsonBody = JsonBody { name: "name", arguments: "arguments", number: None, list: LIST };

/// Behind its opening text the grammar of Llama 3's calls, which begin an answer.
static LLAMA3: CallForm = CallForm {
    open: "{\"name\":",
    close: "",
    body: Body::Json(JsonBody { name: "name", arguments: "parameters", number: None, list: ("", None, "") }),
};

static HARMONY: CallForm = CallForm {
    open: "to=functions.",
    close: "",
    body: Body::Named(NamedBody {
        arguments: "<|message|>",
        id: None,
        heads: &[
            " <|constrain|>json<|message|>",
            "<|constrain|>json<|message|>",
            " json<|message|>",
            " code<|message|>",
            "<|message|>",
            "<|channel|>commentary <|constrain|>json<|message|>",
            "<|channel|>commentary<|constrain|>json<|message|>",
            "<|channel|>commentary json<|message|>",
            "<|channel|>commentary code<|message|>",
            "<|channel|>commentary<|message|>",
            "<|channel|>analysis <|constrain|>json<|message|>",
            "<|channel|>analysis<|constrain|>json<|message|>",
            "<|channel|>analysis json<|message|>",
            "<|channel|>analysis code<|message|>",
            "<|channel|>analysis<|message|>",
        ],
    }),
};

/// DeepSeek opens the first of its calls with one more mark.
const DEEPSEEK: Body = Body::Named(NamedBody { arguments: "\n```json\n", id: None, heads: &["\n```json\n"] });
const DEEPSEEK_FENCE: &str = "\n```<｜tool▁call▁end｜>";
const DEEPSEEK_V31: Body =
    Body::Named(NamedBody { arguments: "<｜tool▁sep｜>", id: None, heads: &["<｜tool▁sep｜>"] });

const XML: TagBody = TagBody {
    name: ["\n<function=", ">\n"],
    key: ["<parameter=", ">"],
    value: ["\n", "\n</parameter>\n"],
    end: "</function>\n",
};

const fn form(open: &'static str, close: &'static str, body: Body) -> CallForm {
    CallForm { open, close, body }
}

const fn family(name: &'static str, forms: &'static [CallForm]) -> Family {
    Family { name, forms, bare: None }
}

/// The families in the order of [`ToolFormat::ALL`].
static FAMILIES: [Family; ToolFormat::ALL.len()] = [
    family(
        "hermes",
        &[form("<tool_call>", "</tool_call>", Body::Json(JsonBody { list: ("\n", None, "\n"), ..NAME_ARGUMENTS }))],
    ),
    Family { bare: Some(Bare::Calls), ..family("llama3", &[form("<|python_tag|>", "", Body::PythonTag)]) },
    Family {
        bare: Some(Bare::Fenced),
        ..family(
            "gemma",
            &[
                form("```tool_code", "```", Body::Python { brackets: false }),
                form("<start_function_call>", "<end_function_call>", Body::Braces { quote: QUOTES_OF_BRACES[0] }),
            ],
        )
    },
    family("lfm2", &[form("<|tool_call_start|>", "<|tool_call_end|>", Body::Python { brackets: true })]),
    family(
        "mistral",
        &[form(
            "[TOOL_CALLS]",
            "",
            Body::JsonOrNamed(
                NAME_ARGUMENTS,
                NamedBody { arguments: "[ARGS]", id: Some("[CALL_ID]"), heads: &["[ARGS]"] },
            ),
        )],
    ),
    family(
        "qwen_xml",
        &[
            form("<tool_call>", "</tool_call>", Body::Tags(XML)),
            // Such models leave out the opening at times.
            form("<function=", "</function>", Body::Tags(TagBody { name: ["", ">\n"], end: "", ..XML })),
        ],
    ),
    family(
        "seed",
        &[form("<seed:tool_call>", "</seed:tool_call>", Body::Tags(TagBody { value: ["", "</parameter>\n"], ..XML }))],
    ),
    family(
        "glm",
        &[form(
            "<tool_call>",
            "</tool_call>",
            Body::Tags(TagBody {
                name: ["", "\n"],
                key: ["<arg_key>", "</arg_key>\n"],
                value: ["<arg_value>", "</arg_value>\n"],
                end: "",
            }),
        )],
    ),
    Family { bare: Some(Bare::Opened(&HARMONY)), ..family("harmony", &[]) },
    family("gemma4", &[form("<|tool_call>", "<tool_call|>", Body::Braces { quote: QUOTES_OF_BRACES[1] })]),
    family("granite", &[form("<|tool_call|>", "", Body::Json(NAME_ARGUMENTS))]),
    family(
        "command",
        &[form(
            "<|START_ACTION|>",
            "<|END_ACTION|>",
            Body::Json(JsonBody {
                name: "tool_name",
                arguments: "parameters",
                number: Some("tool_call_id"),
                list: ("[\n    ", Some(",\n    "), "\n]"),
            }),
        )],
    ),
    family("hunyuan", &[form("<tool_calls>", "</tool_calls>", Body::Json(NAME_ARGUMENTS))]),
    family(
        "deepseek",
        &[
            form("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>", DEEPSEEK_FENCE, DEEPSEEK),
            form("<｜tool▁call▁begin｜>function<｜tool▁sep｜>", DEEPSEEK_FENCE, DEEPSEEK),
        ],
    ),
    family(
        "deepseek_v31",
        &[
            form("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", DEEPSEEK_V31),
            form("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", DEEPSEEK_V31),
        ],
    ),
    family("nemotron", &[form("<TOOLCALL>", "</TOOLCALL>", Body::Json(NAME_ARGUMENTS))]),
];

impl ToolFormat {
    pub(super) fn family(self) -> &'static Family {
        &FAMILIES[self as usize]
    }

    /// The form that constrained calls have, for a template of this text: the one whose opening it
    /// shows.
    pub(super) fn constrained(self, template: &str) -> &'static CallForm {
        let family = self.family();
        let bare = match family.bare {
            Some(Bare::Opened(form)) => Some(form),
            Some(Bare::Calls) => Some(&LLAMA3),
            Some(Bare::Fenced) | None => None,
        };
        let shown = || family.forms.iter().find(|form| template.contains(form.open));
        bare.or_else(shown).or(family.forms.first()).unwrap_or(&LLAMA3)
    }
}
