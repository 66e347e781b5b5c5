//! Sessions: one sequence of tokens on a model, with or without a plugin. A session may be used by
//! any thread, but by one thread at a time: a second thread that calls meanwhile gets `OLLM_BUSY`,
//! and so does a callback that calls the same session. Only `ollm_session_cancel` and
//! `ollm_session_free` may be called from other threads too.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::sync::Arc;

use ollm_runtime::cpu::{self, Workers};
use ollm_runtime::ops::KvType;
use ollm_runtime::plugin::Selector;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{ContextShift, Session, SessionOptions};
use ollm_runtime::tokenizer::Detokenizer;

use crate::boundary::guard;
use crate::cast::{self, Out, OutArray, versioned};
use crate::handle::{HandleTable, Named};
use crate::log::{self, OllmLogLevel};
use crate::model::{OllmModel, OllmProgressFn};
use crate::plugin::OllmPlugin;
use crate::selection::Selection;
use crate::status::{CallFailure, OllmStatus, Result};
use crate::text::{OllmLogprob, read_flags};
use crate::thread_pool::{self, OllmThreadPool};
use crate::turn::{self, TakesTurns, Turns, with};
use crate::workers::{Host, OllmStartFn};

/// A sequence of tokens. Since 0.1.0.
pub struct OllmSession(Turns<Live>);

/// What a session works with.
pub(crate) struct Live {
    pub(crate) session: Session,
    pub(crate) model: Arc<OllmModel>,
    pub(crate) sampler: Sampler,
    pub(crate) selection: Selection,
    /// What the selection selects with; none leaves it to the backbone.
    pub(crate) selector: Option<Selector>,
    /// The detokenizer of single steps.
    pub(crate) text: Detokenizer,
    /// The text that the last step gave, which C looks at until the next call.
    pub(crate) piece: String,
    /// The most probable tokens of the last step, which C looks at until the next call.
    pub(crate) top: Vec<OllmLogprob>,
    /// The workers that the application runs: dropping it drops workers that were never run.
    pub(crate) host: Option<Arc<Host>>,
}

static SESSIONS: HandleTable<OllmSession> = HandleTable::new();

impl Named for OllmSession {
    const KIND: usize = 2;
    const NAME: &'static str = "session";
    fn table() -> &'static HandleTable<Self> {
        &SESSIONS
    }
}

impl TakesTurns for OllmSession {
    type Live = Live;
    fn turns(&self) -> &Turns<Live> {
        &self.0
    }
}

impl OllmSession {
    fn new(live: Live) -> Self {
        let canceller = live.session.canceller();
        Self(Turns::new(live, canceller))
    }
}

/// The type of the keys and values in a session's KV cache. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmKvType {
    /// Half precision.
    F16 = 0,
    /// ggml's `Q8_0`, signed bytes with a scale for each 32: half the memory, and faster over long
    /// texts. Output differs a little from that of half precision; it is deterministic too.
    Q8_0 = 1,
}

/// How a session runs. A field that is 0 takes the default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmSessionOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Context size in positions; 0 takes the context that the model was trained for.
    pub context: usize,
    /// Memory limit of the session in bytes, without the weights; 0 is no limit.
    pub memory_limit: usize,
    /// Threads for decode (a single token), at most 1024; 0 takes as many as the system has cores
    /// for. On phones, as many as there are large cores.
    pub threads: usize,
    /// Threads for prefill (many tokens at once), at most 1024; 0 takes as many as `threads`.
    pub prefill_threads: usize,
    /// With `context_shift`: tokens at the beginning that are never forgotten.
    pub keep: usize,
    /// If it is not NULL, the workers run on threads of yours: see `ollm_start_fn`.
    pub start: OllmStartFn,
    /// The first argument of `start`.
    pub user: *mut c_void,
    /// CPU affinity of the workers (Linux and Android): bit 0 is processor 0. 0 leaves it to the
    /// system. The calling thread is yours, and is not bound.
    pub affinity: u64,
    /// The context shift of a full context: 0 ends with `OLLM_CONTEXT_FULL`; 1 forgets the older
    /// half of the tokens, except the first `keep`, and the session continues.
    pub context_shift: i32,
    /// Must be 0.
    pub reserved: i32,
    /// The type of the keys and values in the KV cache.
    pub kv_type: MaybeUninit<OllmKvType>,
    /// Must be 0.
    pub reserved2: i32,
    /// If it is not NULL, the workers are those of this pool, which has as many threads at least;
    /// `threads` of 0 takes all of them. Without `start` and `affinity`.
    pub pool: *const OllmThreadPool,
}

versioned!(OllmSessionOptions {
    struct_size: usize,
    context: usize,
    memory_limit: usize,
    threads: usize,
    prefill_threads: usize,
    keep: usize,
    start: OllmStartFn,
    user: *mut c_void,
    affinity: u64,
    context_shift: i32,
    reserved: i32,
    kv_type: MaybeUninit<OllmKvType>,
    reserved2: i32,
    pool: *const OllmThreadPool,
});

impl OllmSessionOptions {
    /// The runtime's options, but for the workers.
    pub(crate) fn to_runtime(self) -> Result<SessionOptions> {
        let too_many = |error: cpu::TooManyThreads| CallFailure::argument(error.to_string());
        cpu::check_threads(self.threads.max(self.prefill_threads)).map_err(too_many)?;
        let context_shift = match self.context_shift {
            0 if self.keep > 0 => return Err(CallFailure::argument("keep is set, but not context_shift")),
            0 => None,
            1 => Some(ContextShift { keep: self.keep }),
            other => return Err(CallFailure::argument(format!("context_shift is {other}, not 0 or 1"))),
        };
        if self.reserved != 0 || self.reserved2 != 0 {
            return Err(CallFailure::argument("reserved or reserved2 is not 0"));
        }
        let kv_type = match cast::number(self.kv_type) {
            0 => KvType::F16,
            1 => KvType::Q8_0,
            other => return Err(CallFailure::argument(format!("{other} is no type of a KV cache"))),
        };
        Ok(SessionOptions {
            threads: self.threads,
            prefill_threads: self.prefill_threads,
            context: self.context,
            isa: None,
            context_shift,
            kv_type,
            memory_limit: (self.memory_limit > 0).then_some(self.memory_limit),
            workers: Workers::Own,
        })
    }

    /// The workers, and the application that runs them, if it does.
    fn workers(&self) -> Result<(Workers, Option<Arc<Host>>)> {
        if self.pool.is_null() {
            return thread_pool::workers(self.start, self.user, self.affinity);
        }
        if self.start.is_some() || self.affinity != 0 {
            return Err(CallFailure::argument("a pool has its workers: start and affinity are set where it is made"));
        }
        OllmThreadPool::table().get(self.pool)?.workers(self.threads.max(self.prefill_threads))
    }
}

/// A session on `model`. With a `plugin` (which may be NULL) each step goes through its options,
/// and its policy selects; without, the backbone generates alone. `options` may be NULL. On success
/// `*session` is a handle of one owner: free it with `ollm_session_free`. The session keeps model
/// and plugin alive.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`, `OLLM_IO` if threads cannot be started or bound, `OLLM_MISMATCH` if the
/// plugin is another model's. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_new(
    model: *const OllmModel,
    plugin: *const OllmPlugin,
    options: *const OllmSessionOptions,
    session: *mut *mut OllmSession,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (options, out) = unsafe { (cast::options(options)?, Out::new("session", session)?) };
        let model = OllmModel::table().get(model)?;
        let plugin = if plugin.is_null() { None } else { Some(OllmPlugin::table().get(plugin)?) };
        let live = open(model, plugin.as_deref(), options)?;
        log::write(OllmLogLevel::Info, || {
            let session = &live.session;
            format!("a session of {} positions, {} threads, {}", session.context(), session.threads(), session.isa())
        });
        out.set(SESSIONS.insert(OllmSession::new(live))?);
        Ok(())
    })
}

fn open(model: Arc<OllmModel>, plugin: Option<&OllmPlugin>, options: OllmSessionOptions) -> Result<Live> {
    let runtime = options.to_runtime()?;
    let (workers, host) = options.workers()?;
    let runtime = SessionOptions { workers, ..runtime };
    if let Some(plugin) = plugin {
        plugin.check(&model)?;
    }
    let session = Session::new(Arc::clone(&model.model), plugin.map(|plugin| Arc::clone(&plugin.0)), &runtime)?;
    let selection = Selection::default_of(&session);
    Ok(Live {
        selector: selection.selector(&model, &session)?,
        selection,
        session,
        model,
        sampler: Sampler::new(SamplerOptions::default())?,
        text: Detokenizer::new(),
        piece: String::new(),
        top: Vec::new(),
        host,
    })
}

/// Frees a session and makes `*session` NULL. If another thread is inside, its call is cancelled
/// first, and this one waits for it; inside a callback it does not wait, and the session goes when
/// that call returns. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`; `OLLM_BUSY` inside a callback of this session.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_free(session: *mut *mut OllmSession) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { turn::free_at(session) })
}

/// Forks the session: a second, independent session with the same text, sampling and selection. The
/// KV cache of the text is shared (copy on write). Both sessions share their workers and may be
/// used on different threads at the same time. On success `*fork` is a handle of one owner.
///
/// The random number of a token follows from the seed and its place in the text, so forks that
/// sample with one seed draw the same tokens. Give each fork a seed of its own for other tokens:
/// `sampling.seed` in `ollm_session_set_sampling`, and `selection.seed` in
/// `ollm_session_set_selection` where latents are drawn.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_fork(session: *mut OllmSession, fork: *mut *mut OllmSession) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("fork", fork) }?;
        let fork = with(session, |live| live.fork())?;
        out.set(SESSIONS.insert(OllmSession::new(fork))?);
        Ok(())
    })
}

impl Live {
    fn fork(&self) -> Result<Self> {
        Ok(Self {
            session: self.session.fork()?,
            model: Arc::clone(&self.model),
            sampler: self.sampler.clone(),
            selection: self.selection.clone(),
            selector: self.selector.clone(),
            text: self.text.clone(),
            piece: String::new(),
            top: Vec::new(),
            host: self.host.clone(),
        })
    }

    /// Drops an incomplete character at the end of the text: the next tokens do not continue it.
    pub(crate) fn cut_text(&mut self) {
        self.text = Detokenizer::new();
        self.piece.clear();
    }
}

/// Prefill: adds tokens to the sequence and runs them through the network. If the call is
/// cancelled, the session is at the last complete position (see `ollm_session_position`): feed the
/// remaining tokens to continue.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` (also for a token that is not in the vocabulary),
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`, `OLLM_CONTEXT_FULL`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`. But for `OLLM_CANCELLED`, the session stays as it was. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_feed(session: *mut OllmSession, tokens: *const u32, count: usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the array is as long as the caller says.
        let tokens = unsafe { cast::slice("the tokens", tokens, count) }?;
        with(session, |live| live.feed(tokens))
    })
}

/// As `ollm_session_feed`; `progress` is told after each batch which share of the tokens is done,
/// inside the call and on its thread. Any other result than 0 cancels the feed.
///
/// Statuses: as `ollm_session_feed`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_feed_watched(
    session: *mut OllmSession,
    tokens: *const u32,
    count: usize,
    progress: OllmProgressFn,
    user: *mut c_void,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the array is as long as the caller says.
        let tokens = unsafe { cast::slice("the tokens", tokens, count) }?;
        let progress = progress.ok_or_else(|| CallFailure::argument("the callback is NULL"))?;
        let mut watch = |left: usize| {
            // What was pending before is computed first, and counts for nothing.
            let share = (1.0 - left as f32 / tokens.len().max(1) as f32).max(0.0);
            // SAFETY: the callback and its argument go together, and the call that gave them has
            // not returned.
            let ended = unsafe { progress(user, share) } != 0;
            if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        with(session, |live| live.moving(|live| Ok(live.session.feed_watched(tokens, &mut watch)?)))
    })
}

/// Adds text to the sequence: `ollm_tokenize` and `ollm_session_feed` in one.
///
/// Statuses: those of both. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_feed_text(
    session: *mut OllmSession,
    text: *const c_char,
    length: usize,
    flags: u32,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the text is as long as the caller says.
        let text = unsafe { cast::text("the text", text, length) }?;
        let flags = read_flags(flags)?;
        with(session, |live| {
            let tokens = live.model.tokenize(text, flags)?;
            live.feed(&tokens)
        })
    })
}

impl Live {
    fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.moving(|live| Ok(live.session.feed(tokens)?))
    }

    /// Runs what adds given tokens, or takes tokens away: a character that was begun before them is
    /// dropped, unless it fails and has changed nothing.
    pub(crate) fn moving<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let before = self.session.position();
        let outcome = work(self);
        if outcome.is_ok() || self.session.position() != before {
            self.cut_text();
        }
        outcome
    }
}

/// Cancels the session's work: the running call, or else the next call that computes, returns
/// `OLLM_CANCELLED`. It is seen between layers, also during a long prefill, and while the session
/// rests for its duty cycle.
///
/// Any thread, at any time; not in a signal handler. Statuses: `OLLM_INVALID_ARGUMENT`,
/// `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_session_cancel(session: *mut OllmSession) -> OllmStatus {
    guard(|| {
        SESSIONS.get(session)?.0.canceller().cancel();
        Ok(())
    })
}

/// Takes back a cancellation that no call has seen yet, such as one that came after the end.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_session_withdraw_cancel(session: *mut OllmSession) -> OllmStatus {
    guard(|| {
        SESSIONS.get(session)?.0.canceller().withdraw();
        Ok(())
    })
}

/// Sets the duty cycle, against thermal throttling: computing takes at most this share of the time
/// (above 0; 1, as at first, is no limit). Before each batch and each step the session rests as
/// long as the work before it requires, which with a tiny share is for ever: a cancellation ends
/// the rest.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_session_set_duty(session: *mut OllmSession, share: f32) -> OllmStatus {
    guard(|| with(session, |live| Ok(live.session.set_duty(share)?)))
}

/// The number of tokens so far, fed and generated, in `*position`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_position(session: *mut OllmSession, position: *mut usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("position", position) }?;
        out.set(with(session, |live| Ok(live.session.position()))?);
        Ok(())
    })
}

/// The context size in positions, in `*context`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_context(session: *mut OllmSession, context: *mut usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("context", context) }?;
        out.set(with(session, |live| Ok(live.session.context()))?);
        Ok(())
    })
}

/// The tokens so far, fed and generated; after a context shift, the remaining tokens.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_tokens(
    session: *mut OllmSession,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the array is as long as the caller says.
        let out = unsafe { OutArray::new("tokens", tokens, capacity, count) }?;
        with(session, |live| out.write(live.session.tokens()))
    })
}

/// Rewinds to `position`: the tokens from there on are forgotten, and the next tokens follow there;
/// 0 forgets all.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` if there are not so many, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_session_rewind(session: *mut OllmSession, position: usize) -> OllmStatus {
    guard(|| with(session, |live| live.moving(|live| Ok(live.session.rewind(position)?))))
}
