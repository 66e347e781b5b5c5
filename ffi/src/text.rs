//! Tokenizer: text to tokens and back. All functions take a model, which any number of threads
//! share.

use std::ffi::c_char;

use ollm_runtime::chat::{ChatTemplate, Message, Variables};
use ollm_runtime::memory;

use crate::boundary::guard;
use crate::cast::{self, Out, OutArray};
use crate::handle::Named;
use crate::model::OllmModel;
use crate::status::{CallFailure, OllmStatus, Result};

/// A text, as UTF-8. Arrays of this struct are read, so it never grows. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmText {
    /// The bytes.
    pub data: *const c_char,
    /// Their number.
    pub length: usize,
}

/// The id that stands for no token.
pub const OLLM_NO_TOKEN: u32 = u32::MAX;

/// A token, and the natural logarithm of its probability. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmLogprob {
    /// The token.
    pub token: u32,
    /// The logarithm of its probability, before bias and filters.
    pub logprob: f32,
}

/// What `ollm_tokenize` does beyond text: flags to be added up. Since 0.1.0.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum OllmTokenizeFlags {
    /// The text of a control token, such as `<|im_start|>`, becomes that token. Only for text that
    /// you trust: in a user's text it would let the user write control tokens.
    Special = 1,
    /// The token for the beginning of a text comes first, if the model's file asks for one.
    Bos = 2,
    /// The token for the end of a whole text comes last, if the model's file asks for one: with
    /// `OLLM_TOKENIZE_BOS`, what an embedding is made of.
    Eos = 4,
}

/// The tokens of a text. `flags` are of `ollm_tokenize_flags`, or 0.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`,
/// `OLLM_BUFFER_TOO_SMALL`, `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_tokenize(
    model: *const OllmModel,
    text: *const c_char,
    length: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the arrays are as long as the caller says.
        let (text, out) =
            unsafe { (cast::text("the text", text, length)?, OutArray::new("tokens", tokens, capacity, count)?) };
        let flags = read_flags(flags)?;
        out.write(&OllmModel::table().get(model)?.tokenize(text, flags)?)
    })
}

impl OllmModel {
    /// The tokens of a text; the flags as [`read_flags`] gives them.
    pub(crate) fn tokenize(&self, text: &str, [special, bos, eos]: [bool; 3]) -> Result<Vec<u32>> {
        let tokenizer = self.tokenizer()?;
        let mut tokens = tokenizer.encode(text, special)?;
        if bos {
            tokenizer.begin(&mut tokens)?;
        }
        if eos {
            tokenizer.end(&mut tokens)?;
        }
        Ok(tokens)
    }
}

/// Whether each of [`OllmTokenizeFlags`] is set.
pub(crate) fn read_flags(flags: u32) -> Result<[bool; 3]> {
    let known = [OllmTokenizeFlags::Special, OllmTokenizeFlags::Bos, OllmTokenizeFlags::Eos].map(|flag| flag as u32);
    if flags & !known.iter().sum::<u32>() != 0 {
        return Err(CallFailure::argument(format!("{flags} are no flags of ollm_tokenize")));
    }
    Ok(known.map(|flag| flags & flag != 0))
}

/// The text of tokens. What is not UTF-8 becomes U+FFFD, control tokens their names, and tokens
/// that the tokenizer does not know nothing. For text as it is generated, use `ollm_token.text`: it
/// never cuts a character.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`,
/// `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_detokenize(
    model: *const OllmModel,
    tokens: *const u32,
    count: usize,
    text: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the arrays are as long as the caller says.
        let (tokens, out) =
            unsafe { (cast::slice("the tokens", tokens, count)?, OutArray::text(text, capacity, length)?) };
        let model = OllmModel::table().get(model)?;
        out.write_text(model.tokenizer()?.try_decode(tokens)?.as_bytes())
    })
}

/// The bytes that one token stands for, which may be a part of a character; none for a token that
/// the tokenizer does not know. They have a zero after them, as text has.
///
/// Any thread. Statuses: as `ollm_detokenize`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_token_bytes(
    model: *const OllmModel,
    token: u32,
    bytes: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the buffer is as long as the caller says.
        let out = unsafe { OutArray::text(bytes, capacity, length) }?;
        let model = OllmModel::table().get(model)?;
        out.write_text(model.tokenizer()?.token_bytes(token).unwrap_or_default())
    })
}

/// Whether a text or a turn ends at this token: 1 or 0 in `*is_end`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_NO_TOKENIZER`. Since
/// 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_is_end(model: *const OllmModel, token: u32, is_end: *mut i32) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("is_end", is_end) }?;
        let model = OllmModel::table().get(model)?;
        out.set(i32::from(model.tokenizer()?.is_end(token)));
        Ok(())
    })
}

/// One turn of a conversation, as UTF-8. Arrays of this struct are read, so it never grows. Since
/// 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmMessage {
    /// Who speaks: "system", "user", "assistant", or what else the template knows.
    pub role: *const c_char,
    /// Bytes of `role`.
    pub role_length: usize,
    /// What is said.
    pub content: *const c_char,
    /// Bytes of `content`.
    pub content_length: usize,
}

/// Special tokens of a model. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmSpecial {
    /// The beginning of a text.
    Bos = 0,
    /// The end of a text.
    Eos = 1,
    /// The end of a turn.
    Eot = 2,
    /// The end of a message.
    Eom = 3,
    /// What stands for unknown text.
    Unknown = 4,
    /// Padding.
    Padding = 5,
    /// What separates texts.
    Separator = 6,
}

/// A special token of the model's file in `*token`; `OLLM_NO_TOKEN` if the file names none.
/// `special` is of `ollm_special`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_NO_TOKENIZER`. Since
/// 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_special_token(model: *const OllmModel, special: i32, token: *mut u32) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("token", token) }?;
        // As transformers calls them.
        let names = ["bos_token", "eos_token", "eot_token", "eom_token", "unk_token", "pad_token", "sep_token"];
        let name = usize::try_from(special).ok().and_then(|special| names.get(special));
        let name = name.ok_or_else(|| CallFailure::argument(format!("{special} is no special token")))?;
        let model = OllmModel::table().get(model)?;
        out.set(model.tokenizer()?.special(name).unwrap_or(OLLM_NO_TOKEN));
        Ok(())
    })
}

/// The text of a conversation, by the chat template of the model's file: `ollm_chat_render` where
/// there are roles and contents alone. With `answer` other than 0 it ends where the model's answer
/// begins. It is for reading: to feed a conversation, make tokens with `ollm_chat_tokens`, since
/// `ollm_tokenize` cannot tell the template's control tokens from those that a user wrote.
///
/// Any thread. Statuses: as `ollm_chat_render`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_chat_text(
    model: *const OllmModel,
    messages: *const OllmMessage,
    count: usize,
    answer: i32,
    text: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the arrays are as long as the caller says.
        let (messages, out) =
            unsafe { (cast::slice("the messages", messages, count)?, OutArray::text(text, capacity, length)?) };
        let messages = messages.iter().map(read_message).collect::<Result<Vec<_>>>()?;
        let model = OllmModel::table().get(model)?;
        let template = ChatTemplate::from_metadata(model.model.gguf().metadata())?;
        let prompt = template.render(&messages, &Variables::new(), answer != 0, model.tokenizer()?)?;
        out.write_text(prompt.text().as_bytes())
    })
}

pub(crate) fn read_message(message: &OllmMessage) -> Result<Message> {
    let OllmMessage { role, role_length, content, content_length } = *message;
    // SAFETY: the texts are as long as the caller says.
    let (role, content) =
        unsafe { (cast::text("the role", role, role_length)?, cast::text("the content", content, content_length)?) };
    Ok(Message::new(memory::text(role)?, memory::text(content)?))
}
