//! Conversations: messages in, a streamed answer out. A chat holds the messages and what the chat
//! template is given beside them; its answers come from a session, with the sampling, selection and
//! duty cycle of that.
//!
//! Of the prompt of an answer the session computes what is new: the longest beginning that it has
//! already stays. When the context is full, the model forgets the oldest whole turns (a message of
//! a user and what follows it); system messages at the beginning stay, and so does the last turn.
//! `ollm_session_cancel` ends an answer: what came until then is the answer.
//!
//! One thread at a time uses a chat: a second one gets `OLLM_BUSY`, and so does a callback that
//! calls the chat, or its session.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::ptr;
use std::sync::{Arc, Mutex};

use ollm_runtime::Error;
use ollm_runtime::chat::{Message, Variables};
use ollm_runtime::conversation::{Answer, AnswerPart, Conversation, ConversationError, ConversationOptions};
use ollm_runtime::generate::{GenerateOptions, Reason};
use serde_json::Value;

use crate::boundary::guard;
use crate::cast::{self, Out, OutArray, OutStruct, versioned};
use crate::chat::{EventTexts, OllmChatEvent, OllmToolFormat, read_format};
use crate::generate::{OllmReason, read_stops};
use crate::handle::{HandleTable, Named};
use crate::model::OllmModel;
use crate::session::{Live, OllmSession};
use crate::status::{CallFailure, OllmStatus, Result};
use crate::text::{OllmMessage, OllmText, read_message};
use crate::turn::{only, with};

/// A conversation, whose answers come from a session. Since 0.1.0.
pub struct OllmChat(Mutex<Talk>);

struct Talk {
    conversation: Conversation,
    model: Arc<OllmModel>,
    /// The session's handle, as a number.
    session: usize,
}

static CHATS: HandleTable<OllmChat> = HandleTable::new();

impl Named for OllmChat {
    const KIND: usize = 11;
    const NAME: &'static str = "chat";
    fn table() -> &'static HandleTable<Self> {
        &CHATS
    }
}

/// The settings of a chat. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmChatOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Variables of the chat template, as a JSON object: `tools`, `chat_template` and others, as in
    /// `ollm_chat_input`. NULL: none.
    pub variables_json: *const c_char,
    /// Bytes of `variables_json`.
    pub variables_json_length: usize,
    /// With `limit_reasoning`: tokens that the model may think before each answer; its thought is
    /// then ended as if it had ended it.
    pub reasoning_budget: usize,
    /// 1: what the model thinks has the limit `reasoning_budget`.
    pub limit_reasoning: i32,
    /// 1: the arguments of each tool call follow the JSON schema of the tool, from the text on that
    /// opens calls in the model's form. Other text stays free; the session's own constraint does
    /// not count in answers then.
    pub constrain_calls: i32,
    /// 1: a full context ends with `OLLM_CONTEXT_FULL` and `OLLM_REASON_CONTEXT`; 0: the model
    /// forgets the oldest turns.
    pub no_context_shift: i32,
    /// How the model calls tools.
    pub tool_format: MaybeUninit<OllmToolFormat>,
}

versioned!(OllmChatOptions {
    struct_size: usize,
    variables_json: *const c_char,
    variables_json_length: usize,
    reasoning_budget: usize,
    limit_reasoning: i32,
    constrain_calls: i32,
    no_context_shift: i32,
    tool_format: MaybeUninit<OllmToolFormat>,
});

/// A number that says yes or no.
fn flag(name: &str, number: i32) -> Result<bool> {
    match number {
        0 | 1 => Ok(number == 1),
        other => Err(CallFailure::argument(format!("{name} is {other}, not 0 or 1"))),
    }
}

impl OllmChatOptions {
    /// The runtime's options, and whether calls of tools are constrained.
    ///
    /// # Safety
    /// The struct's text is what the header asks for.
    unsafe fn to_runtime(self) -> Result<(ConversationOptions, bool)> {
        // SAFETY: the same contract.
        let json = unsafe { cast::text("variables_json", self.variables_json, self.variables_json_length) }?;
        let limited = flag("limit_reasoning", self.limit_reasoning)?;
        if !limited && self.reasoning_budget > 0 {
            return Err(CallFailure::argument("reasoning_budget is set, but not limit_reasoning"));
        }
        let options = ConversationOptions {
            variables: if json.is_empty() { Variables::new() } else { Variables::from_json(json)? },
            tools: read_format(cast::number(self.tool_format))?,
            reasoning_budget: limited.then_some(self.reasoning_budget),
            context_shift: !flag("no_context_shift", self.no_context_shift)?,
        };
        Ok((options, flag("constrain_calls", self.constrain_calls)?))
    }
}

impl Talk {
    fn configure(&mut self, options: ConversationOptions, constrained: bool) -> Result<()> {
        let (before, was_constrained) = (self.conversation.options().clone(), self.conversation.constrains_calls());
        self.conversation.set_options(options)?;
        if !constrained {
            self.conversation.free_calls();
        } else if let Err(failure) = self.constrain() {
            self.conversation.set_options(before)?;
            if was_constrained {
                self.constrain()?;
            }
            return Err(failure);
        }
        Ok(())
    }

    fn constrain(&mut self) -> Result<()> {
        Ok(self.conversation.constrain_calls(self.model.grammars()?)?)
    }

    fn session(&self) -> *const OllmSession {
        ptr::without_provenance(self.session)
    }
}

/// Runs `work` on a chat, if no other call is running on it.
fn with_chat<R>(chat: *const OllmChat, work: impl FnOnce(&mut Talk) -> Result<R>) -> Result<R> {
    let chat = CHATS.get(chat)?;
    let mut talk = only(&chat.0, OllmChat::NAME)?;
    work(&mut talk)
}

/// A conversation without messages, whose answers come from `session`, by the chat template of its
/// model. `options` may be NULL. The session is not the chat's own: it can be used between answers,
/// and after it is freed the chat has no answers any more. On success `*chat` is a handle of one
/// owner: free it with `ollm_chat_free`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` (also for a template that is none of the file's, for a
/// reasoning budget where the template shows no thoughts, and for constrained calls without tools),
/// `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_TOKENIZER` (or no template),
/// `OLLM_TEMPLATE`, `OLLM_OUT_OF_MEMORY`; `OLLM_UNSUPPORTED` for constrained calls in a build
/// without grammars. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_new(
    session: *mut OllmSession,
    options: *const OllmChatOptions,
    chat: *mut *mut OllmChat,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let ((options, constrained), out) = unsafe { (cast::options(options)?.to_runtime()?, Out::new("chat", chat)?) };
        let model = with(session, |live| Ok(Arc::clone(&live.model)))?;
        let tokenizer = Arc::clone(model.tokenizer()?);
        let conversation = Conversation::of_model(&model.model, tokenizer, options)?;
        let mut talk = Talk { conversation, model, session: session.addr() };
        if constrained {
            talk.constrain()?;
        }
        out.set(CHATS.insert(OllmChat(Mutex::new(talk)))?);
        Ok(())
    })
}

/// Frees a chat and makes `*chat` NULL; its session stays. A call that another thread is inside
/// goes on to its end. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_free(chat: *mut *mut OllmChat) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { CHATS.release_at(chat) }.map(drop))
}

/// Changes the settings: other tools, another reasoning budget. `options` may be NULL, which is
/// every default.
///
/// Statuses: as `ollm_chat_new`; then the chat stays as it was. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_set_options(chat: *mut OllmChat, options: *const OllmChatOptions) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let (options, constrained) = unsafe { cast::options(options)?.to_runtime() }?;
        with_chat(chat, |talk| talk.configure(options, constrained))
    })
}

/// Adds a message: what a user says, or any other with a role and a content.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_add(chat: *mut OllmChat, message: *const OllmMessage) -> OllmStatus {
    guard(|| {
        // SAFETY: the message is what the header asks for.
        let message = unsafe { cast::slice("the message", message, 1) }?;
        let message = read_message(&message[0])?;
        with_chat(chat, |talk| {
            talk.conversation.add(message);
            Ok(())
        })
    })
}

/// Adds messages with all their fields, as `messages_json` of `ollm_chat_input` has them: a list of
/// objects, or one object. The result of a tool is such a message:
/// `{"role": "tool", "tool_call_id": "call00000", "name": "weather", "content": "21"}`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for JSON that is no message, `OLLM_INVALID_HANDLE`,
/// `OLLM_INVALID_UTF8`, `OLLM_BUSY`; then none is added. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_add_json(chat: *mut OllmChat, json: *const c_char, length: usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the text is as long as the caller says.
        let json = unsafe { cast::text("the messages", json, length) }?;
        let messages = Message::one_or_list_from_json(json)?;
        with_chat(chat, |talk| {
            for message in messages {
                talk.conversation.add(message);
            }
            Ok(())
        })
    })
}

/// Sets the system message, in place of those at the beginning; a NULL `text` leaves the
/// conversation without. The turns stay.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_set_system(chat: *mut OllmChat, text: *const c_char, length: usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the text is as long as the caller says.
        let system = unsafe { cast::text("the text", text, length) }?;
        let message = (!text.is_null()).then(|| Message::new("system", system));
        with_chat(chat, |talk| {
            talk.conversation.set_system(message);
            Ok(())
        })
    })
}

/// Sees a part of an answer; `event` and its texts are gone when the callback returns. A call of a
/// tool has an id in any case. Any other result than 0 ends the answer. Since 0.1.0.
pub type OllmChatEventFn = Option<unsafe extern "C" fn(user: *mut c_void, event: *const OllmChatEvent) -> i32>;

/// The options of an answer. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmAnswerOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Tokens at most; 0 is as many as the context holds.
    pub limit: usize,
    /// Stop strings: texts that end the answer, and are not part of it. At most 4096, of 1 MiB
    /// together.
    pub stops: *const OllmText,
    /// How many there are.
    pub stop_count: usize,
    /// Called for each part of the answer, inside the call and on its thread; may be NULL.
    pub each: OllmChatEventFn,
    /// The first argument of `each`.
    pub user: *mut c_void,
}

versioned!(OllmAnswerOptions {
    struct_size: usize,
    limit: usize,
    stops: *const OllmText,
    stop_count: usize,
    each: OllmChatEventFn,
    user: *mut c_void,
});

/// What an answer took. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmAnswer {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them the session had already, so that they were not computed.
    pub reused_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
    /// Whole turns that the model forgot because the context was full.
    pub forgotten_turns: usize,
    /// Their messages.
    pub forgotten_messages: usize,
    /// Why the answer ended.
    pub reason: MaybeUninit<OllmReason>,
    /// 1 if the answer is now the last message; 0 if it was ended before anything came.
    pub has_message: i32,
}

versioned!(OllmAnswer {
    struct_size: usize,
    prompt_tokens: usize,
    reused_tokens: usize,
    answer_tokens: usize,
    forgotten_turns: usize,
    forgotten_messages: usize,
    reason: MaybeUninit<OllmReason>,
    has_message: i32,
});

/// Answers the conversation, whose last message is not of the role "assistant": feeds its prompt,
/// generates, and adds the answer as a message. `options` may be NULL, and so may `answer`, which
/// must begin with its `struct_size`.
///
/// An answer that is cancelled, whose callback ends it, or that fills the context with a single
/// turn is an answer too: `answer->reason` tells. A cancellation while the prompt is fed is the
/// status `OLLM_CANCELLED`; the next call goes on from there.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE` (also where the session was freed),
/// `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_EMPTY` if there is nothing to answer, `OLLM_CANCELLED`,
/// `OLLM_CONTEXT_FULL` if the system messages and the last turn alone do not fit, `OLLM_TEMPLATE`,
/// `OLLM_IO` if there is no thread for the template, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`, `OLLM_UNSUPPORTED` as `ollm_session_step`; then the messages are as they
/// were. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_answer(
    chat: *mut OllmChat,
    options: *const OllmAnswerOptions,
    answer: *mut OllmAnswer,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let options = unsafe { cast::options(options) }?;
        // SAFETY: as above.
        let (stops, out) = unsafe {
            let out = if answer.is_null() { None } else { Some(OutStruct::new(answer)?) };
            (read_stops(options.stops, options.stop_count)?, out)
        };
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let generate = GenerateOptions { limit, stops, show: None, reasoning: None };
        with_chat(chat, |talk| {
            let (before, session) = (talk.conversation.messages().len(), talk.session());
            let answer = with(session, |live| live.answer(&mut talk.conversation, &options, &generate))?;
            if let Some(out) = out {
                out.set(&OllmAnswer::new(&answer, talk.conversation.messages().len() > before));
            }
            Ok(())
        })
    })
}

impl Live {
    fn answer(
        &mut self,
        conversation: &mut Conversation,
        options: &OllmAnswerOptions,
        generate: &GenerateOptions,
    ) -> Result<Answer> {
        self.cut_text();
        let mut each = |part: &AnswerPart<'_>| {
            let Some(each) = options.each else { return ControlFlow::Continue(()) };
            for event in part.events {
                let texts = EventTexts::new(event.clone());
                let shown = texts.event();
                // SAFETY: the callback and its argument go together, and the call that gave them
                // has not returned.
                if unsafe { each(options.user, &raw const shown) } != 0 {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        let (session, selector) = (&mut self.session, self.selector.as_ref());
        Ok(conversation.answer(session, selector, &mut self.sampler, generate, &mut each)?)
    }
}

impl OllmAnswer {
    fn new(answer: &Answer, has_message: bool) -> Self {
        let reason = match answer.generated.reason {
            Reason::End => OllmReason::End,
            Reason::Stop => OllmReason::Stop,
            Reason::Limit => OllmReason::Limit,
            Reason::Callback => OllmReason::Callback,
            Reason::ContextFull => OllmReason::Context,
            Reason::Cancelled => OllmReason::Cancelled,
        };
        Self {
            struct_size: size_of::<Self>(),
            prompt_tokens: answer.prompted.tokens,
            reused_tokens: answer.prompted.reused,
            answer_tokens: answer.generated.tokens.len(),
            forgotten_turns: answer.prompted.dropped.turns,
            forgotten_messages: answer.prompted.dropped.messages,
            reason: MaybeUninit::new(reason),
            has_message: i32::from(has_message),
        }
    }
}

/// How many messages there are, in `*count`; the model has forgotten `*forgotten` of them (which
/// may be NULL), those behind the system messages.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_count(
    chat: *const OllmChat,
    count: *mut usize,
    forgotten: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the outputs are where the caller says.
        let (count, forgotten) = unsafe { (Out::new("count", count)?, Out::optional("forgotten", forgotten)?) };
        with_chat(chat, |talk| {
            count.set(talk.conversation.messages().len());
            if let Some(out) = forgotten {
                out.set(talk.conversation.forgotten().len());
            }
            Ok(())
        })
    })
}

/// A message as JSON, an object with all its fields. The first one has `index` 0.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for an `index` that no message has,
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_message(
    chat: *const OllmChat,
    index: usize,
    text: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the buffer is as long as the caller says.
        let out = unsafe { OutArray::text(text, capacity, length) }?;
        with_chat(chat, |talk| {
            let messages = talk.conversation.messages();
            let message = messages.get(index).ok_or_else(|| {
                CallFailure::argument(format!("there is no message {index}: there are {}", messages.len()))
            })?;
            out.write_text(Value::Object(message.as_json().clone()).to_string().as_bytes())
        })
    })
}

/// Takes back the last turn: what the user said last and all that followed; `*removed` (which may
/// be NULL) tells how many messages that were, 0 where there is no turn.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_take_back(chat: *mut OllmChat, removed: *mut usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::optional("removed", removed) }?;
        let taken = with_chat(chat, |talk| Ok(talk.conversation.take_back()))?;
        if let Some(out) = out {
            out.set(taken.len());
        }
        Ok(())
    })
}

/// Forgets the messages after the first `count`: the last answer, for instance, to have another.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also if there are not so many, `OLLM_INVALID_HANDLE`,
/// `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_truncate(chat: *mut OllmChat, count: usize) -> OllmStatus {
    guard(|| with_chat(chat, |talk| Ok(talk.conversation.truncate(count)?)))
}

/// Forgets all messages but the system messages at the beginning.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_reset(chat: *mut OllmChat) -> OllmStatus {
    guard(|| {
        with_chat(chat, |talk| {
            talk.conversation.reset();
            Ok(())
        })
    })
}

/// Saves the chat to a file, whose path ends in zero: its messages, its template variables, and its
/// session as `ollm_session_save_file` does.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_save_file(chat: *mut OllmChat, path: *const c_char) -> OllmStatus {
    guard(|| {
        // SAFETY: the path is what the header asks for.
        let path = unsafe { cast::path(path) }?;
        with_chat(chat, |talk| {
            with(talk.session(), |live| {
                talk.conversation.save_file(&live.session, &path).map_err(|error| in_file(error, path))
            })
        })
    })
}

/// Restores chat and session from a file: under the same settings, sampling and selection, the next
/// answer has the bits that it would have had in the saved chat. The template variables are those
/// of the file; calls of tools stay constrained where tools and template are the same.
///
/// Statuses: as `ollm_session_restore_file`; `OLLM_BAD_FILE` also if it is no saved chat,
/// `OLLM_INVALID_ARGUMENT` also if its variables choose a template that the model does not have.
/// Chat and session then stay as they were. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_restore_file(chat: *mut OllmChat, path: *const c_char) -> OllmStatus {
    guard(|| {
        // SAFETY: the path is what the header asks for.
        let path = unsafe { cast::path(path) }?;
        with_chat(chat, |talk| {
            let (session, conversation) = (talk.session(), &mut talk.conversation);
            with(session, |live| {
                conversation.restore_file(&mut live.session, &path).map_err(|error| in_file(error, path))?;
                live.cut_text();
                Ok(())
            })
        })
    })
}

/// An error of the system names the file.
fn in_file(error: ConversationError, path: PathBuf) -> CallFailure {
    match error {
        ConversationError::Write(source) => Error::Io { path, source }.into(),
        ConversationError::Read(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::Io { path, source }.into()
        }
        error => error.into(),
    }
}
