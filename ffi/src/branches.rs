//! Branches: several continuations of one session, decoded in one batch. A branch is bit-identical
//! to a session of its own, and a step of ten costs little more than a step of one.
//!
//! At first there is one branch, without a token. `ollm_branches_expand` makes several of one,
//! `ollm_branches_step` advances all of them, `ollm_branches_run` does both until there is an
//! answer. A branch begins an answer, and is at a boundary where no latent is held: see `ollm_hold`
//! for what an answer is and where a hold ends.
//!
//! Branches may be used by any thread, but by one thread at a time: a second thread that calls
//! meanwhile gets `OLLM_BUSY`, and so does a callback that calls the same branches. Only
//! `ollm_branches_cancel` and `ollm_branches_free` may be called from other threads too.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr::null;
use std::sync::Arc;

use ollm_runtime::branches::{Branch, BranchEnd, BranchError, BranchOptions, Branches, Expansion};

use crate::boundary::guard;
use crate::cast::{self, Out, OutStruct, versioned};
use crate::choose::OllmSelection;
use crate::generate::read_stops;
use crate::handle::{HandleTable, Named};
use crate::model::OllmModel;
use crate::selection::Selection;
use crate::session::{Live, OllmSession};
use crate::status::{self, CallFailure, OllmStatus, Result};
use crate::text::OllmText;
use crate::turn::{self, TakesTurns, Turns, with};
use crate::workers::Host;

/// Several continuations of one session. Since 0.1.0.
pub struct OllmBranches(Turns<Tree>);

/// What branches work with.
pub(crate) struct Tree {
    pub(crate) branches: Branches,
    pub(crate) model: Arc<OllmModel>,
    /// K, or 0 without a plugin.
    pub(crate) option_count: usize,
    pub(crate) views: Views,
    /// The answer that the last search or vote gave, which C looks at until the next call.
    pub(crate) answer: String,
    /// The workers that the application runs, as long as there are branches that need them.
    _host: Option<Arc<Host>>,
}

static BRANCHES: HandleTable<OllmBranches> = HandleTable::new();

impl Named for OllmBranches {
    const KIND: usize = 5;
    const NAME: &'static str = "set of branches";
    fn table() -> &'static HandleTable<Self> {
        &BRANCHES
    }
}

impl TakesTurns for OllmBranches {
    type Live = Tree;
    fn turns(&self) -> &Turns<Tree> {
        &self.0
    }
}

/// How branches are generated. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmBranchOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Tokens of a branch at most; 0 is as many as the context holds, or without end with a context
    /// shift.
    pub limit: usize,
    /// Stop strings: texts that end a branch, and are not part of its text. At most 4096, of 1 MiB
    /// together.
    pub stops: *const OllmText,
    /// How many there are.
    pub stop_count: usize,
    /// How latents are selected where no expansion did, and how long latents are held; NULL takes
    /// the session's selection. Its `seed` must be 0: the seed of all choices is that of the
    /// session's sampling.
    pub selection: *const OllmSelection,
}

versioned!(OllmBranchOptions {
    struct_size: usize,
    limit: usize,
    stops: *const OllmText,
    stop_count: usize,
    selection: *const OllmSelection,
});

/// Branches of a session, which does not move: at first one, which begins where the session is.
/// They are sampled as the session is, and the seed of its sampling is that of all choices. They
/// share the KV cache of the text and the workers with the session, have its memory limit and duty
/// cycle, and live on when it is freed. Without a plugin and a selection, the only boundary is at
/// the beginning. `options` may be NULL. On success `*branches` is a handle of one owner: free it
/// with `ollm_branches_free`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
/// `OLLM_NO_PLUGIN` for a selection of latents, `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since
/// 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_branches_new(
    session: *mut OllmSession,
    options: *const OllmBranchOptions,
    branches: *mut *mut OllmBranches,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (options, out) = unsafe { (cast::options(options)?, Out::new("branches", branches)?) };
        // SAFETY: as above.
        let (selection, stops) = unsafe { (options.selection()?, read_stops(options.stops, options.stop_count)?) };
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let tree = with(session, |live| live.branches(selection.as_ref(), stops, limit))?;
        let canceller = tree.branches.canceller();
        out.set(BRANCHES.insert(OllmBranches(Turns::new(tree, canceller)))?);
        Ok(())
    })
}

impl OllmBranchOptions {
    /// # Safety
    /// The selection is what the header asks for.
    unsafe fn selection(&self) -> Result<Option<Selection>> {
        if self.selection.is_null() {
            return Ok(None);
        }
        // SAFETY: the same contract.
        let selection = unsafe { OllmSelection::read(self.selection) }?;
        if selection.seed != 0 {
            let message = "the selection of branches has a seed: set that of the session's sampling";
            return Err(CallFailure::argument(message));
        }
        Ok(Some(selection))
    }
}

impl Live {
    fn branches(&self, selection: Option<&Selection>, stops: Vec<String>, limit: usize) -> Result<Tree> {
        self.model.tokenizer()?;
        let selection = selection.unwrap_or(&self.selection);
        let options = BranchOptions {
            latents: selection.mode.clone(),
            hold: selection.hold_until(&self.model, &self.session)?,
            sampling: self.sampler.options().clone(),
            stops,
            limit,
        };
        Ok(Tree {
            branches: Branches::new(&self.session, options)?,
            model: Arc::clone(&self.model),
            option_count: self.session.plugin().map_or(0, |plugin| plugin.option_count()),
            views: Views::default(),
            answer: String::new(),
            _host: self.host.clone(),
        })
    }
}

/// Frees branches and makes `*branches` NULL. If another thread is inside, its call is cancelled
/// first, and this one waits for it; inside a callback it does not wait, and the branches go when
/// that call returns. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`; `OLLM_BUSY` inside a callback of these branches.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_branches_free(branches: *mut *mut OllmBranches) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { turn::free_at(branches) })
}

/// Cancels the branches' work: the running call, or else the next call that computes, returns
/// `OLLM_CANCELLED`. No branch has moved in the step that was cancelled.
///
/// Any thread, at any time; not in a signal handler. Statuses: `OLLM_INVALID_ARGUMENT`,
/// `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_branches_cancel(branches: *mut OllmBranches) -> OllmStatus {
    guard(|| {
        BRANCHES.get(branches)?.0.canceller().cancel();
        Ok(())
    })
}

/// Takes back a cancellation that no call has seen yet, such as one that came after the end.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_branches_withdraw_cancel(branches: *mut OllmBranches) -> OllmStatus {
    guard(|| {
        BRANCHES.get(branches)?.0.canceller().withdraw();
        Ok(())
    })
}

/// Into which branches a branch is expanded. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmExpand {
    /// One for each latent.
    Latents = 0,
    /// One for each of `count` latents, those that the policy finds most probable.
    Top = 1,
    /// One for each of `count` latents that are drawn from the policy. What is drawn twice counts
    /// twice.
    Draw = 2,
    /// One for each of `count` tokens, the most probable ones.
    Tokens = 3,
    /// `count` samples.
    Sample = 4,
}

/// An expansion. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmExpansion {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// How many branches; 0 for `OLLM_EXPAND_LATENTS`, and for nothing else.
    pub count: usize,
    /// The temperature of the tokens of `OLLM_EXPAND_SAMPLE`; 0 is 1. Nothing else has one.
    pub temperature: f32,
    /// Into what.
    pub kind: MaybeUninit<OllmExpand>,
}

versioned!(OllmExpansion { struct_size: usize, count: usize, temperature: f32, kind: MaybeUninit<OllmExpand> });

impl OllmExpansion {
    /// # Safety
    /// The struct is what the header asks for.
    pub(crate) unsafe fn read(expansion: *const Self) -> Result<Expansion> {
        // SAFETY: the same contract.
        let e = unsafe { cast::options(expansion) }?;
        let none = e.temperature.to_bits() == 0;
        let expansion = match cast::number(e.kind) {
            0 if e.count > 0 => return Err(CallFailure::argument("count is not for OLLM_EXPAND_LATENTS")),
            0 => Expansion::Latents,
            1 => Expansion::Top(e.count),
            2 => Expansion::Draw(e.count),
            3 => Expansion::Tokens(e.count),
            4 => Expansion::Sample { count: e.count, temperature: if none { 1.0 } else { e.temperature } },
            other => return Err(CallFailure::argument(format!("{other} is no way to expand"))),
        };
        if none || matches!(expansion, Expansion::Sample { .. }) {
            Ok(expansion)
        } else {
            Err(CallFailure::argument("temperature is for OLLM_EXPAND_SAMPLE alone"))
        }
    }
}

/// Makes several branches of one, which is open. It becomes the first of them; the others come
/// after those that are there. Branches that would go the same way are merged at once. NULL expands
/// all latents.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none or has ended, for a second
/// expansion into latents or tokens without a step between, and for a count of 0;
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`, `OLLM_EMPTY`, `OLLM_NO_PLUGIN` if latents
/// are expanded without one, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT` if a
/// token of each does not fit; then there are as many branches as before. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_branches_expand(
    branches: *mut OllmBranches,
    branch: usize,
    expansion: *const OllmExpansion,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let expansion = unsafe { OllmExpansion::read(expansion) }?;
        with(branches, |tree| {
            tree.branches.expand(branch, expansion)?;
            Ok(())
        })
    })
}

/// Advances all open branches by a token each, in one pass over the weights; how many there were
/// goes to `*advanced` (which may be NULL): with 0 all have ended. An error of a branch alone ends
/// that branch.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_MEMORY_LIMIT`; then no branch has moved. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_branches_step(branches: *mut OllmBranches, advanced: *mut usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::optional("advanced", advanced) }?;
        let count = with(branches, |tree| Ok(tree.branches.step(tree.model.tokenizer()?, |_| true)?))?;
        if let Some(out) = out {
            out.set(count);
        }
        Ok(())
    })
}

/// Gives an open branch up.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none or has ended,
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_branches_prune(branches: *mut OllmBranches, branch: usize) -> OllmStatus {
    guard(|| with(branches, |tree| Ok(tree.branches.prune(branch)?)))
}

/// The number of branches, open and ended, in `*count`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_branches_count(branches: *mut OllmBranches, count: *mut usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("count", count) }?;
        out.set(with(branches, |tree| Ok(tree.branches.all().len()))?);
        Ok(())
    })
}

/// Whether a branch goes on, or how it ended. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmBranchState {
    /// It is still generated.
    Open = 0,
    /// By an end token.
    End = 1,
    /// By a stop string.
    Stop = 2,
    /// By the limit of tokens, or the end of the context.
    Length = 3,
    /// It was given up.
    Pruned = 4,
    /// Another branch has the same tokens, and the same to come: `merged_into`.
    Merged = 5,
    /// By an error of its own: `error`.
    Failed = 6,
}

/// One branch. Its arrays and its text belong to the branches, and are gone with the next call on
/// them that is not `ollm_branches_get` or `ollm_branches_count`. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmBranch {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// The generated tokens, without an end token; NULL if there are none.
    pub tokens: *const u32,
    /// The latent of each token, -1 for none; NULL if there are no tokens.
    pub latents: *const i32,
    /// The number of tokens.
    pub token_count: usize,
    /// The generated text, as UTF-8 without a zero at its end. What may be the beginning of a stop
    /// string, or half a character, comes with a later token.
    pub text: *const c_char,
    /// Bytes of the text.
    pub text_length: usize,
    /// Tokens that it shares with its parent.
    pub fork: usize,
    /// The sum of the natural logarithms of the policy's probabilities of the latents that were
    /// selected.
    pub policy: f64,
    /// The sum of the natural logarithms of the tokens' probabilities, before the sampler's
    /// filters, that of an end token included.
    pub logprob: f64,
    /// What it counts in a vote: 1 at first, with that of branches that were merged into it. Where
    /// it is expanded later, its branches share it.
    pub count: f64,
    /// The probability that the answer will be right, as the plugin's value head says; NaN where
    /// none was asked.
    pub value: f32,
    /// The branch that it was forked from; -1 for the text of the session.
    pub parent: i32,
    /// The branch that it was merged into; -1 for none.
    pub merged_into: i32,
    /// 1 if it is at a boundary: no latent is held. Else 0.
    pub at_boundary: i32,
    /// Whether it goes on, or how it ended.
    pub state: MaybeUninit<OllmBranchState>,
    /// Why it failed; `OLLM_OK` if it did not.
    pub error: MaybeUninit<OllmStatus>,
}

versioned!(OllmBranch {
    struct_size: usize,
    tokens: *const u32,
    latents: *const i32,
    token_count: usize,
    text: *const c_char,
    text_length: usize,
    fork: usize,
    policy: f64,
    logprob: f64,
    count: f64,
    value: f32,
    parent: i32,
    merged_into: i32,
    at_boundary: i32,
    state: MaybeUninit<OllmBranchState>,
    error: MaybeUninit<OllmStatus>,
});

/// The latents of branches as C reads them. Those of a branch only ever grow.
#[derive(Default)]
pub(crate) struct Views(Vec<Vec<i32>>);

impl Views {
    /// The branch as C sees it, until `branch` changes.
    pub(crate) fn show(&mut self, index: usize, branch: &Branch) -> OllmBranch {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, Vec::new);
        }
        let latents = &mut self.0[index];
        let fresh = branch.latents.iter().skip(latents.len());
        latents.extend(fresh.map(|latent| latent.map_or(-1, |latent| latent as i32)));
        let (state, merged_into, error) = match &branch.end {
            None => (OllmBranchState::Open, None, OllmStatus::Ok),
            Some(BranchEnd::End) => (OllmBranchState::End, None, OllmStatus::Ok),
            Some(BranchEnd::Stop) => (OllmBranchState::Stop, None, OllmStatus::Ok),
            Some(BranchEnd::Length) => (OllmBranchState::Length, None, OllmStatus::Ok),
            Some(BranchEnd::Pruned) => (OllmBranchState::Pruned, None, OllmStatus::Ok),
            Some(BranchEnd::Merged(into)) => (OllmBranchState::Merged, Some(*into), OllmStatus::Ok),
            Some(BranchEnd::Failed(error)) => (OllmBranchState::Failed, None, status::of_session(error)),
        };
        let number = |branch: Option<usize>| branch.map_or(-1, |branch| branch as i32);
        let empty = branch.tokens.is_empty();
        OllmBranch {
            struct_size: size_of::<OllmBranch>(),
            tokens: if empty { null() } else { branch.tokens.as_ptr() },
            latents: if empty { null() } else { latents.as_ptr() },
            token_count: branch.tokens.len(),
            text: if branch.text.is_empty() { c"".as_ptr() } else { branch.text.as_ptr().cast() },
            text_length: branch.text.len(),
            fork: branch.fork,
            policy: branch.policy,
            logprob: branch.logprob,
            count: branch.count,
            value: branch.value.unwrap_or(f32::NAN),
            parent: number(branch.parent),
            merged_into: number(merged_into),
            at_boundary: i32::from(branch.at_boundary),
            state: MaybeUninit::new(state),
            error: MaybeUninit::new(error),
        }
    }
}

/// The branch of index `branch`, from 0 on, in the order in which they came to be, in `*out`, which
/// must begin with its `struct_size`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none, `OLLM_INVALID_HANDLE`,
/// `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_branches_get(
    branches: *mut OllmBranches,
    branch: usize,
    out: *mut OllmBranch,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let out = unsafe { OutStruct::new(out) }?;
        with(branches, |tree| {
            let found = tree.branches.all().get(branch).ok_or(BranchError::NoBranch { branch })?;
            out.set(&tree.views.show(branch, found));
            Ok(())
        })
    })
}

/// Brings a session to where a branch is, as if it had generated the branch's tokens. The KV cache
/// is shared (copy on write), and nothing is computed again. The session keeps its sampling,
/// selection, workers and limits; the branches stay as they are. It must be where the branches
/// began: the session that they were made from, or a fork of it.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none, or that was pruned or merged
/// or failed; `OLLM_INVALID_HANDLE`, `OLLM_BUSY`; `OLLM_MISMATCH` if the session has another model,
/// plugin, context size or text; `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays
/// as it was. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_branches_adopt(
    branches: *mut OllmBranches,
    branch: usize,
    session: *mut OllmSession,
) -> OllmStatus {
    guard(|| {
        with(branches, |tree| {
            with(session, |live| {
                tree.branches.adopt(branch, &mut live.session)?;
                live.cut_text();
                Ok(())
            })
        })
    })
}
