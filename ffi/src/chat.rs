//! Chat template: messages with all their fields, tools and template variables to text and to
//! tokens, and the model's answer back to its parts.
//!
//! Tokens of a conversation are safe: what the chat template writes may be control tokens, what is
//! said in a message, a tool or a variable never is, whatever it looks like.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::sync::Mutex;

use ollm_runtime::chat::{ChatEvent, ChatParser, ChatTemplate, Message, Prompt, ToolCall, ToolFormat, Variables};
use ollm_runtime::conversation::ToolChoice;
use serde_json::Value;

use crate::boundary::guard;
use crate::cast::{self, Out, OutArray, OutStruct, versioned};
use crate::handle::{HandleTable, Named};
use crate::model::OllmModel;
use crate::status::{CallFailure, OllmStatus, Result};
use crate::text::{OllmMessage, read_message};
use crate::turn::only;

/// A conversation, and what the chat template is given beside it. A field that is 0 takes its
/// default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmChatInput {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// The messages; or NULL where `messages_json` has them.
    pub messages: *const OllmMessage,
    /// How many there are.
    pub message_count: usize,
    /// The messages as JSON, for those with other fields than role and content: a list of objects
    /// such as `{"role": "tool", "name": "weather", "content": "21"}`. `content` is a string, null,
    /// or a list of parts such as `{"type": "text", "text": "Hi"}`; `tool_calls`, `tool_call_id`
    /// and `reasoning_content` mean what they mean in the chat template.
    pub messages_json: *const c_char,
    /// Bytes of `messages_json`.
    pub messages_json_length: usize,
    /// Variables of the chat template, as a JSON object: `tools` (a list of their schemas),
    /// `documents`, `enable_thinking`, any other; `strftime_now` is the date that the template's
    /// function of that name tells, such as `"2026-11-30"`; `chat_template` chooses the template,
    /// by the name of one of the file's or as the text of another. NULL: none.
    pub variables_json: *const c_char,
    /// Bytes of `variables_json`.
    pub variables_json_length: usize,
    /// 0: the text ends where the model's answer begins; 1: it ends with the last message.
    pub no_answer: i32,
    /// Must be 0.
    pub reserved: i32,
}

versioned!(OllmChatInput {
    struct_size: usize,
    messages: *const OllmMessage,
    message_count: usize,
    messages_json: *const c_char,
    messages_json_length: usize,
    variables_json: *const c_char,
    variables_json_length: usize,
    no_answer: i32,
    reserved: i32,
});

/// A conversation that was read.
struct ChatInput {
    messages: Vec<Message>,
    variables: Variables,
    answer: bool,
}

impl OllmChatInput {
    /// # Safety
    /// The struct's texts and arrays are what the header asks for.
    unsafe fn read(&self) -> Result<ChatInput> {
        if self.reserved != 0 || !(0..=1).contains(&self.no_answer) {
            return Err(CallFailure::argument("no_answer is not 0 or 1, or reserved is not 0"));
        }
        // SAFETY: the same contract.
        let (messages, messages_json, variables_json) = unsafe {
            (
                cast::slice("the messages", self.messages, self.message_count)?,
                cast::text("messages_json", self.messages_json, self.messages_json_length)?,
                cast::text("variables_json", self.variables_json, self.variables_json_length)?,
            )
        };
        if !messages.is_empty() && !messages_json.is_empty() {
            return Err(CallFailure::argument("there are messages both as an array and as JSON"));
        }
        let messages = match messages_json {
            "" => messages.iter().map(read_message).collect::<Result<_>>()?,
            json => Message::list_from_json(json)?,
        };
        let variables =
            if variables_json.is_empty() { Variables::new() } else { Variables::from_json(variables_json)? };
        Ok(ChatInput { messages, variables, answer: self.no_answer == 0 })
    }
}

impl ChatInput {
    fn render(&self, model: &OllmModel, template: &ChatTemplate) -> Result<Prompt> {
        Ok(template.render(&self.messages, &self.variables, self.answer, model.tokenizer()?)?)
    }
}

/// The template that the variables choose, or else the model's.
fn template(model: &OllmModel, variables: &Variables) -> Result<ChatTemplate> {
    Ok(ChatTemplate::chosen(model.model.gguf().metadata(), variables)?)
}

/// The text of a conversation, by the chat template of the model's file, or the one that the
/// variables choose. It is for reading: make tokens with `ollm_chat_tokens`, since the text does
/// not tell what is the template's and what was said.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT` (also for JSON that is no conversation),
/// `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUFFER_TOO_SMALL`, `OLLM_NO_TOKENIZER` (or no
/// template), `OLLM_TEMPLATE`, `OLLM_IO` if there is no thread for the template,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_render(
    model: *const OllmModel,
    input: *const OllmChatInput,
    text: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (input, out) = unsafe { (cast::required(input)?.read()?, OutArray::text(text, capacity, length)?) };
        let model = OllmModel::table().get(model)?;
        out.write_text(input.render(&model, &template(&model, &input.variables)?)?.text().as_bytes())
    })
}

/// The tokens of a conversation, by the chat template of the model's file, to be fed. What the
/// template writes may be control tokens; what is said in a message, a tool or a variable never is:
/// a user who writes `<|im_end|>` does not end the turn.
///
/// Any thread. Statuses: as `ollm_chat_render`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_tokens(
    model: *const OllmModel,
    input: *const OllmChatInput,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (input, out) =
            unsafe { (cast::required(input)?.read()?, OutArray::new("tokens", tokens, capacity, count)?) };
        let model = OllmModel::table().get(model)?;
        out.write(&input.render(&model, &template(&model, &input.variables)?)?.tokens(model.tokenizer()?)?)
    })
}

/// How a family of models calls tools. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmToolFormat {
    /// As the model's chat template shows, if the conversation offers `tools`; else none.
    Auto = 0,
    /// What looks like a call is text.
    None = 1,
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen.
    Hermes = 2,
    /// `{"name": .., "parameters": {..}}` or `[f(a=1)]` as all of the answer, or behind
    /// `<|python_tag|>`.
    Llama3 = 3,
    /// A fence of `tool_code`, the forms of Llama 3 as all of the answer, or
    /// `<start_function_call>call:f{a:1}<end_function_call>`.
    Gemma = 4,
    /// `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`.
    Lfm2 = 5,
    /// `[TOOL_CALLS][{"name": .., "arguments": {..}}]` or `[TOOL_CALLS]f[ARGS]{..}`.
    Mistral = 6,
    /// `<tool_call><function=f><parameter=a>..</parameter></function></tool_call>`: Qwen3-Coder,
    /// Qwen 3.5.
    QwenXml = 7,
    /// The same in `<seed:tool_call>`: Seed-OSS.
    Seed = 8,
    /// `<tool_call>f`, then `<arg_key>a</arg_key><arg_value>..</arg_value>`: GLM 4.5.
    Glm = 9,
    /// `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{..}`: gpt-oss.
    Harmony = 10,
    /// `<|tool_call>call:f{a:1}<tool_call|>`: Gemma 4.
    Gemma4 = 11,
    /// `<|tool_call|>[{"name": .., "arguments": {..}}]`: Granite 3, Phi-4-mini.
    Granite = 12,
    /// `<|START_ACTION|>[{"tool_name": .., "parameters": {..}}]<|END_ACTION|>`: Command R7B and A.
    Command = 13,
    /// `<tool_calls>[{"name": .., "arguments": {..}}]</tool_calls>`: Hunyuan, Apriel.
    Hunyuan = 14,
    /// `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f`, then a fence of JSON and
    /// `<｜tool▁call▁end｜>`: DeepSeek R1 and what is distilled from it.
    DeepSeek = 15,
    /// `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{..}<｜tool▁call▁end｜>`: DeepSeek V3.1.
    DeepSeekV31 = 16,
    /// `<TOOLCALL>[{"name": .., "arguments": {..}}]</TOOLCALL>`: Nemotron Nano.
    Nemotron = 17,
}

/// What a number of [`OllmToolFormat`] means.
pub(crate) fn read_format(format: i32) -> Result<ToolChoice> {
    Ok(match format {
        0 => ToolChoice::Auto,
        1 => ToolChoice::Never,
        2 => ToolChoice::Given(ToolFormat::Hermes),
        3 => ToolChoice::Given(ToolFormat::Llama3),
        4 => ToolChoice::Given(ToolFormat::Gemma),
        5 => ToolChoice::Given(ToolFormat::Lfm2),
        6 => ToolChoice::Given(ToolFormat::Mistral),
        7 => ToolChoice::Given(ToolFormat::QwenXml),
        8 => ToolChoice::Given(ToolFormat::Seed),
        9 => ToolChoice::Given(ToolFormat::Glm),
        10 => ToolChoice::Given(ToolFormat::Harmony),
        11 => ToolChoice::Given(ToolFormat::Gemma4),
        12 => ToolChoice::Given(ToolFormat::Granite),
        13 => ToolChoice::Given(ToolFormat::Command),
        14 => ToolChoice::Given(ToolFormat::Hunyuan),
        15 => ToolChoice::Given(ToolFormat::DeepSeek),
        16 => ToolChoice::Given(ToolFormat::DeepSeekV31),
        17 => ToolChoice::Given(ToolFormat::Nemotron),
        other => return Err(CallFailure::argument(format!("{other} is no ollm_tool_format"))),
    })
}

/// Takes the text of an answer apart: what the model thinks, what it says, which tools it calls.
/// One thread at a time uses it. Since 0.1.0.
pub struct OllmChatParser(Mutex<Parsing>);

struct Parsing {
    parser: ChatParser,
    events: VecDeque<ChatEvent>,
    /// The event that was given last.
    shown: EventTexts,
}

static PARSERS: HandleTable<OllmChatParser> = HandleTable::new();

impl Named for OllmChatParser {
    const KIND: usize = 9;
    const NAME: &'static str = "chat parser";
    fn table() -> &'static HandleTable<Self> {
        &PARSERS
    }
}

/// Runs `work` on a parser, if no other call is running on it.
fn with_parser(parser: *const OllmChatParser, work: impl FnOnce(&mut Parsing)) -> Result<()> {
    let parser = PARSERS.get(parser)?;
    work(&mut *only(&parser.0, OllmChatParser::NAME)?);
    Ok(())
}

/// A parser for the answer to a conversation. Which thoughts the model marks, and whether the
/// prompt ends inside one, it learns from the chat template; how tools are called, `format` says
/// (an `ollm_tool_format`). `input` may be NULL: a conversation without tools whose prompt ends
/// outside of a thought. On success `*parser` is a handle of one owner: free it with
/// `ollm_chat_parser_free`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`,
/// `OLLM_NO_TOKENIZER` (or no template), `OLLM_TEMPLATE`, `OLLM_IO`, `OLLM_OUT_OF_MEMORY`. Since
/// 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_parser_new(
    model: *const OllmModel,
    input: *const OllmChatInput,
    format: i32,
    parser: *mut *mut OllmChatParser,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (input, out) = unsafe {
            let given = if input.is_null() { None } else { Some(cast::required(input)?.read()?) };
            (given, Out::new("parser", parser)?)
        };
        let choice = read_format(format)?;
        let model = OllmModel::table().get(model)?;
        let none = Variables::new();
        let template = template(&model, input.as_ref().map_or(&none, |input| &input.variables))?;
        let offered = input.as_ref().is_some_and(|input| input.variables.has_tools());
        let format = choice.format(&template, offered);
        let in_reasoning = match (&input, format.reasoning) {
            (Some(input), Some(marks)) => marks.is_open_in(input.render(&model, &template)?.text()),
            _ => false,
        };
        let offered = input.as_ref().map_or(&none, |input| &input.variables);
        let parser = ChatParser::new(format, in_reasoning).with_tools(offered);
        let parsing = Parsing { parser, events: VecDeque::new(), shown: EventTexts::default() };
        out.set(PARSERS.insert(OllmChatParser(Mutex::new(parsing)))?);
        Ok(())
    })
}

/// Frees a parser and makes `*parser` NULL. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_parser_free(parser: *mut *mut OllmChatParser) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { PARSERS.release_at(parser) }.map(drop))
}

/// Takes a piece of the answer's text, such as that of one token. Its parts come with
/// `ollm_chat_parser_next`; they are the same however the text is cut.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_parser_push(
    parser: *mut OllmChatParser,
    text: *const c_char,
    length: usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the text is as long as the caller says.
        let text = unsafe { cast::text("the text", text, length) }?;
        with_parser(parser, |parsing| parsing.events.extend(parsing.parser.push(text)))
    })
}

/// Ends the answer: what was still undecided comes with `ollm_chat_parser_next`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_parser_finish(parser: *mut OllmChatParser) -> OllmStatus {
    guard(|| with_parser(parser, |parsing| parsing.events.extend(parsing.parser.finish())))
}

/// What a part of an answer is. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmChatEventKind {
    /// None: there is no part yet.
    None = 0,
    /// More of what the model thinks, in `text`.
    Reasoning = 1,
    /// More of what it says, in `text`.
    Text = 2,
    /// A call of a tool: `name` and `arguments`, and `id` where the model's form has one.
    ToolCall = 3,
    /// The text before this was to be a call, but cannot be read as one; `text` says why.
    Malformed = 4,
}

/// A part of an answer. Texts are UTF-8 without a zero at their ends; they belong to the parser and
/// are gone with the next call on it, or with the return of an `ollm_chat_event_fn`. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmChatEvent {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// What is thought or said.
    pub text: *const c_char,
    /// Bytes of `text`.
    pub text_length: usize,
    /// The tool that is called.
    pub name: *const c_char,
    /// Bytes of `name`.
    pub name_length: usize,
    /// Its arguments: a JSON object.
    pub arguments: *const c_char,
    /// Bytes of `arguments`.
    pub arguments_length: usize,
    /// What names the call.
    pub id: *const c_char,
    /// Bytes of `id`.
    pub id_length: usize,
    /// What this is.
    pub kind: MaybeUninit<OllmChatEventKind>,
    /// 0.
    pub reserved: i32,
}

versioned!(OllmChatEvent {
    struct_size: usize,
    text: *const c_char,
    text_length: usize,
    name: *const c_char,
    name_length: usize,
    arguments: *const c_char,
    arguments_length: usize,
    id: *const c_char,
    id_length: usize,
    kind: MaybeUninit<OllmChatEventKind>,
    reserved: i32,
});

/// The next part of the answer, in order; `OLLM_CHAT_EVENT_NONE` in `event->kind` if there is
/// none yet. `event` must begin with its `struct_size`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_parser_next(parser: *mut OllmChatParser, event: *mut OllmChatEvent) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let out = unsafe { OutStruct::new(event) }?;
        with_parser(parser, |parsing| {
            parsing.shown = parsing.events.pop_front().map(EventTexts::new).unwrap_or_default();
            out.set(&parsing.shown.event());
        })
    })
}

/// The texts of an event, which C looks at.
pub(crate) struct EventTexts {
    kind: OllmChatEventKind,
    text: String,
    name: String,
    arguments: String,
    id: String,
}

impl Default for EventTexts {
    fn default() -> Self {
        let [text, name, arguments, id] = Default::default();
        Self { kind: OllmChatEventKind::None, text, name, arguments, id }
    }
}

impl EventTexts {
    pub(crate) fn new(event: ChatEvent) -> Self {
        let only = |kind, text| Self { kind, text, ..Self::default() };
        match event {
            ChatEvent::Reasoning(text) => only(OllmChatEventKind::Reasoning, text),
            ChatEvent::Text(text) => only(OllmChatEventKind::Text, text),
            ChatEvent::Malformed(reason) => only(OllmChatEventKind::Malformed, reason),
            ChatEvent::Call(ToolCall { name, arguments, id }) => Self {
                kind: OllmChatEventKind::ToolCall,
                name,
                arguments: Value::Object(arguments).to_string(),
                id: id.unwrap_or_default(),
                ..Self::default()
            },
        }
    }

    /// The event, whose texts are these.
    pub(crate) fn event(&self) -> OllmChatEvent {
        let [text, name, arguments, id] = [&self.text, &self.name, &self.arguments, &self.id].map(|text| part(text));
        OllmChatEvent {
            struct_size: size_of::<OllmChatEvent>(),
            text: text.0,
            text_length: text.1,
            name: name.0,
            name_length: name.1,
            arguments: arguments.0,
            arguments_length: arguments.1,
            id: id.0,
            id_length: id.1,
            kind: MaybeUninit::new(self.kind),
            reserved: 0,
        }
    }
}

fn part(text: &str) -> (*const c_char, usize) {
    (if text.is_empty() { c"".as_ptr() } else { text.as_ptr().cast() }, text.len())
}
