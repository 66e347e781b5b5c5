//! Generation: one token at a time, or a loop that calls back for each and knows when to end.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;

use ollm_runtime::generate::{GenerateOptions, Reason, Token, generate};
use ollm_runtime::session::{SessionError, Step};

use crate::boundary::guard;
use crate::cast::{self, Out, OutStruct, versioned};
use crate::option_set::{OllmOptionSet, Shown};
use crate::session::{Live, OllmSession};
use crate::status::{CallFailure, OllmStatus, Result};
use crate::text::{OLLM_NO_TOKEN, OllmLogprob, OllmText};
use crate::turn::with;

/// Those of a sampler, as C reads them.
fn logprobs(top: &[(u32, f32)]) -> Vec<OllmLogprob> {
    top.iter().map(|&(token, logprob)| OllmLogprob { token, logprob }).collect()
}

/// One generated token. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmToken {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// The text that is complete with this token, as UTF-8 without a zero at its end: not the
    /// token's own where that is half a character. It belongs to the session and is gone with the
    /// next call on it, or with the callback's return.
    pub text: *const c_char,
    /// Bytes of the text.
    pub text_length: usize,
    /// The option set that the token was chosen from, where `ollm_run_options` asks for it; else
    /// NULL. It belongs to the library and is dead when the callback returns.
    pub options: *const OllmOptionSet,
    /// The token.
    pub id: u32,
    /// The latent whose option it comes from; -1 without a plugin, for the mixture, and for a token
    /// that a constraint forced.
    pub latent: i32,
    /// Natural logarithm of its probability, before the sampler's filters; 0 of a token that a
    /// constraint forced.
    pub logprob: f32,
    /// 1 if a text or a turn ends with this token, which then has no text; else 0.
    pub is_end: i32,
    /// The most probable tokens of the distribution that it was chosen from, best first, as many as
    /// `ollm_sampling.logprobs` asks for. They belong to the session, as the text does.
    pub top: *const OllmLogprob,
    /// How many there are.
    pub top_count: usize,
}

versioned!(OllmToken {
    struct_size: usize,
    text: *const c_char,
    text_length: usize,
    options: *const OllmOptionSet,
    id: u32,
    latent: i32,
    logprob: f32,
    is_end: i32,
    top: *const OllmLogprob,
    top_count: usize,
});

impl OllmToken {
    fn new(step: Step, text: &str, is_end: bool, options: *const OllmOptionSet, top: &[OllmLogprob]) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            text: if text.is_empty() { c"".as_ptr() } else { text.as_ptr().cast() },
            text_length: text.len(),
            options,
            id: step.token,
            latent: step.latent.map_or(-1, |latent| latent as i32),
            logprob: step.logprob,
            is_end: i32::from(is_end),
            top: if top.is_empty() { std::ptr::null() } else { top.as_ptr() },
            top_count: top.len(),
        }
    }
}

/// Chooses the next token, as the session's sampling and selection say, and adds it to the
/// sequence. `token` must begin with its `struct_size`. An end token is a token like any other
/// here: the caller chooses whether to generate more.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_EMPTY`, `OLLM_CONTEXT_FULL`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`,
/// `OLLM_UNSUPPORTED` if its grammar cannot go on, or its model generates no text; then the session
/// stays as it was. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_step(session: *mut OllmSession, token: *mut OllmToken) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let out = unsafe { OutStruct::new(token) }?;
        let step = |live: &mut Live| Ok(live.session.step(live.selector.as_ref(), &mut live.sampler)?);
        with(session, |live| live.single(step, &out))
    })
}

/// As `ollm_session_step`, but from the option of this latent; the session's selection stays as it
/// is.
///
/// Statuses: as `ollm_session_step`, and `OLLM_NO_PLUGIN`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_step_latent(
    session: *mut OllmSession,
    latent: u32,
    token: *mut OllmToken,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let out = unsafe { OutStruct::new(token) }?;
        let step = |live: &mut Live| Ok(live.session.step_with_latent(latent as usize, &mut live.sampler)?);
        with(session, |live| live.single(step, &out))
    })
}

impl Live {
    fn single(&mut self, step: impl FnOnce(&mut Self) -> Result<Step>, out: &OutStruct<OllmToken>) -> Result<()> {
        let step = step(self)?;
        self.show(step, out);
        Ok(())
    }

    /// Shows a step to C, with the text that it completes. A model without a tokenizer has tokens,
    /// but no text.
    pub(crate) fn show(&mut self, step: Step, out: &OutStruct<OllmToken>) {
        let tokenizer = self.model.tokenizer().ok();
        let is_end = tokenizer.is_some_and(|tokenizer| tokenizer.is_end(step.token));
        self.piece = match tokenizer {
            Some(tokenizer) if !is_end => self.text.push(tokenizer, step.token),
            _ => String::new(),
        };
        self.top = logprobs(self.sampler.top());
        out.set(&OllmToken::new(step, &self.piece, is_end, std::ptr::null(), &self.top));
    }
}

/// Sees a token of `ollm_session_run`; `token` is gone when the callback returns. Any other result
/// than 0 ends the run. Since 0.1.0.
pub type OllmTokenFn = Option<unsafe extern "C" fn(user: *mut c_void, token: *const OllmToken) -> i32>;

/// The options of a run: its limit, its stop strings, its callback. A field that is 0 takes its
/// default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmRunOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Tokens at most; 0 is as many as the context holds.
    pub limit: usize,
    /// Stop strings: texts that end the run, and are not part of the generated text. At most 4096,
    /// of 1 MiB together.
    pub stops: *const OllmText,
    /// How many there are.
    pub stop_count: usize,
    /// If it is not 0, `options` of each token holds the option set, with this many tokens of each;
    /// needs a plugin.
    pub top: usize,
    /// Called for each token, inside the call and on its thread; may be NULL.
    pub each: OllmTokenFn,
    /// The first argument of `each`.
    pub user: *mut c_void,
}

versioned!(OllmRunOptions {
    struct_size: usize,
    limit: usize,
    stops: *const OllmText,
    stop_count: usize,
    top: usize,
    each: OllmTokenFn,
    user: *mut c_void,
});

impl OllmRunOptions {
    /// # Safety
    /// The struct's arrays are what the header asks for.
    unsafe fn to_runtime(self) -> Result<GenerateOptions> {
        // SAFETY: the same contract.
        let stops = unsafe { read_stops(self.stops, self.stop_count) }?;
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        Ok(GenerateOptions { limit, stops, show: (self.top > 0).then_some(self.top), reasoning: None })
    }
}

/// Bytes of all stop strings of a call, and their number, at most.
const MAX_STOP_BYTES: usize = 1 << 20;
const MAX_STOPS: usize = 4096;

/// Stop strings, none of which is empty.
///
/// # Safety
/// The array, and the texts in it, are what the header asks for.
pub(crate) unsafe fn read_stops(stops: *const OllmText, count: usize) -> Result<Vec<String>> {
    // SAFETY: the same contract.
    let stops = unsafe { cast::slice("the stop strings", stops, count) }?;
    let total = stops.iter().fold(0_usize, |total, stop| total.saturating_add(stop.length));
    if stops.len() > MAX_STOPS || total > MAX_STOP_BYTES {
        let reason =
            format!("{} stop strings of {total} bytes are more than {MAX_STOPS} of {MAX_STOP_BYTES}", stops.len());
        return Err(CallFailure::argument(reason));
    }
    // SAFETY: the same contract.
    let stop = |stop: &OllmText| unsafe { cast::text("a stop string", stop.data, stop.length) };
    let stops = stops.iter().map(|text| stop(text).map(str::to_owned)).collect::<Result<Vec<_>>>()?;
    if stops.iter().any(String::is_empty) {
        return Err(CallFailure::argument("a stop string is empty"));
    }
    Ok(stops)
}

/// Why a run ended. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmReason {
    /// An end token came; it is part of the session, not of the text.
    End = 0,
    /// A stop string came.
    Stop = 1,
    /// There are as many tokens as asked for.
    Limit = 2,
    /// The callback asked for it.
    Callback = 3,
    /// The context is full. Of `ollm_chat_answer`: of a run this is the status `OLLM_CONTEXT_FULL`.
    Context = 4,
    /// It was cancelled. Of `ollm_chat_answer`: of a run this is the status `OLLM_CANCELLED`.
    Cancelled = 5,
}

/// Generates token by token until an end token, a stop string, the limit, or the callback ends it;
/// `*reason` (which may be NULL) tells which. `options` may be NULL.
///
/// Text that may be the beginning of a stop string is held back until this is decided. Text that is
/// still held back at the end comes with one more call of `each`, whose `id` is `OLLM_NO_TOKEN`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
/// `OLLM_EMPTY`, `OLLM_NO_TOKENIZER`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`, `OLLM_UNSUPPORTED` as `ollm_session_step`; `OLLM_CANCELLED` and
/// `OLLM_CONTEXT_FULL` if these end it. The session holds all tokens that came before. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_run(
    session: *mut OllmSession,
    options: *const OllmRunOptions,
    reason: *mut OllmReason,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let options = unsafe { cast::options(options) }?;
        // SAFETY: as above.
        let (runtime, out) = unsafe { (options.to_runtime()?, Out::optional("reason", reason)?) };
        let ended = with(session, |live| live.run(&options, &runtime))?;
        if let Some(out) = out {
            out.set(ended);
        }
        Ok(())
    })
}

impl Live {
    fn run(&mut self, options: &OllmRunOptions, runtime: &GenerateOptions) -> Result<OllmReason> {
        self.cut_text();
        let mut failed = None;
        let mut each = |token: &Token<'_>| match call(options, token) {
            Ok(flow) => flow,
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        };
        let tokenizer = self.model.tokenizer()?;
        let (selector, sampler) = (self.selector.as_ref(), &mut self.sampler);
        let done = generate(&mut self.session, tokenizer, selector, sampler, runtime, &mut each)?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        if !done.rest.is_empty() {
            let step = Step { token: OLLM_NO_TOKEN, latent: None, logprob: 0.0, forced: false };
            // The run has ended: what the callback says does not matter any more.
            let _ = call(options, &Token { step, text: &done.rest, top: &[], options: &[] })?;
        }
        let (position, context) = (self.session.position(), self.session.context());
        match done.reason {
            Reason::End => Ok(OllmReason::End),
            Reason::Stop => Ok(OllmReason::Stop),
            Reason::Limit => Ok(OllmReason::Limit),
            Reason::Callback => Ok(OllmReason::Callback),
            Reason::Cancelled => Err(SessionError::Cancelled.into()),
            Reason::ContextFull => Err(SessionError::ContextFull { tokens: 1, position, context }.into()),
        }
    }
}

/// Shows a token to the application.
fn call(options: &OllmRunOptions, token: &Token<'_>) -> Result<ControlFlow<()>> {
    let Some(each) = options.each else { return Ok(ControlFlow::Continue(())) };
    let shown = if token.options.is_empty() { None } else { Some(Shown::new(token.options)?) };
    let set = shown.as_ref().map_or(std::ptr::null(), Shown::handle);
    let top = logprobs(token.top);
    let token = OllmToken::new(token.step, token.text, false, set, &top);
    // SAFETY: the callback and its argument go together, and the call that gave them has not
    // returned.
    let ended = unsafe { each(options.user, &raw const token) } != 0;
    Ok(if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}
