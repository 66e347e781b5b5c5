//! Suggestions: short continuations to choose from, as a keyboard or an editor shows them.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use ollm_runtime::branches::{SuggestOptions, Suggestion, Until, suggest};

use crate::boundary::guard;
use crate::cast::{self, Out, OutStruct, versioned};
use crate::handle::{HandleTable, Named};
use crate::session::OllmSession;
use crate::status::{CallFailure, OllmStatus, Result};
use crate::turn::with;

/// Continuations that a session suggests. Since 0.1.0.
pub struct OllmSuggestions(Vec<Suggestion>);

static SUGGESTIONS: HandleTable<OllmSuggestions> = HandleTable::new();

impl Named for OllmSuggestions {
    const KIND: usize = 6;
    const NAME: &'static str = "set of suggestions";
    fn table() -> &'static HandleTable<Self> {
        &SUGGESTIONS
    }
}

/// Where a suggestion ends, if it has not as many tokens as it may have. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmUntil {
    /// Nowhere.
    Tokens = 0,
    /// At the end of the word.
    Word = 1,
    /// At the end of the line.
    Line = 2,
}

/// What is suggested. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmSuggestOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Suggestions at most; 0 is 3.
    pub count: usize,
    /// Tokens of each at most; 0 is 8.
    pub tokens: usize,
    /// Where it ends before.
    pub until: MaybeUninit<OllmUntil>,
    /// Must be 0.
    pub reserved: i32,
}

versioned!(OllmSuggestOptions {
    struct_size: usize,
    count: usize,
    tokens: usize,
    until: MaybeUninit<OllmUntil>,
    reserved: i32,
});

impl OllmSuggestOptions {
    fn to_runtime(self) -> Result<SuggestOptions> {
        if self.reserved != 0 {
            return Err(CallFailure::argument("reserved is not 0"));
        }
        let until = match cast::number(self.until) {
            0 => Until::Tokens,
            1 => Until::Word,
            2 => Until::Line,
            other => return Err(CallFailure::argument(format!("{other} is no end of a suggestion"))),
        };
        let or = |value, default| if value == 0 { default } else { value };
        Ok(SuggestOptions { count: or(self.count, 3), tokens: or(self.tokens, 8), until })
    }
}

/// Suggests continuations of the session, which does not move: the most probable first, none the
/// beginning of another. With a plugin each latent continues the text, held for all of it; if these
/// say too little that is different, and without a plugin, the likeliest tokens are continued.
/// Sampling and selection of the session do not matter, its constraint does; `ollm_session_cancel`
/// cancels it. `options` may be NULL. On success `*suggestions` is a handle of one owner: free it
/// with `ollm_suggestions_free`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_EMPTY`, `OLLM_NO_TOKENIZER`, `OLLM_CONTEXT_FULL`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_suggest(
    session: *mut OllmSession,
    options: *const OllmSuggestOptions,
    suggestions: *mut *mut OllmSuggestions,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (options, out) = unsafe { (cast::options(options)?, Out::new("suggestions", suggestions)?) };
        let options = options.to_runtime()?;
        let found = with(session, |live| Ok(suggest(&live.session, live.model.tokenizer()?, &options)?))?;
        out.set(SUGGESTIONS.insert(OllmSuggestions(found))?);
        Ok(())
    })
}

/// Frees suggestions and makes `*suggestions` NULL. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_suggestions_free(suggestions: *mut *mut OllmSuggestions) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { SUGGESTIONS.release_at(suggestions) }.map(drop))
}

/// The number of suggestions, in `*count`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_suggestions_count(suggestions: *const OllmSuggestions, count: *mut usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("count", count) }?;
        out.set(SUGGESTIONS.get(suggestions)?.0.len());
        Ok(())
    })
}

/// A suggestion. Its text and its tokens belong to the suggestions, and are gone when these are
/// freed. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmSuggestion {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// The text, as UTF-8 without a zero at its end; it is not empty.
    pub text: *const c_char,
    /// Bytes of the text.
    pub text_length: usize,
    /// Its tokens; with an end at a word or a line, the last one may have more text.
    pub tokens: *const u32,
    /// The number of tokens.
    pub token_count: usize,
    /// The probability of the tokens; with a plugin the sum, over the latents that give them, of
    /// the policy's probability times theirs.
    pub probability: f64,
    /// The latent that adds most to it; -1 for none.
    pub latent: i32,
    /// 0.
    pub reserved: i32,
}

versioned!(OllmSuggestion {
    struct_size: usize,
    text: *const c_char,
    text_length: usize,
    tokens: *const u32,
    token_count: usize,
    probability: f64,
    latent: i32,
    reserved: i32,
});

/// The suggestion of index `index`, from 0 on, in `*suggestion`, which must begin with its
/// `struct_size`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for an index that is none,
/// `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_suggestions_get(
    suggestions: *const OllmSuggestions,
    index: usize,
    suggestion: *mut OllmSuggestion,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let out = unsafe { OutStruct::new(suggestion) }?;
        let all = SUGGESTIONS.get(suggestions)?;
        let none = || CallFailure::argument(format!("suggestion {index} is none of the {}", all.0.len()));
        let one = all.0.get(index).ok_or_else(none)?;
        out.set(&OllmSuggestion {
            struct_size: size_of::<OllmSuggestion>(),
            text: one.text.as_ptr().cast(),
            text_length: one.text.len(),
            tokens: one.tokens.as_ptr(),
            token_count: one.tokens.len(),
            probability: one.probability,
            latent: one.latent.map_or(-1, |latent| latent as i32),
            reserved: 0,
        });
        Ok(())
    })
}
