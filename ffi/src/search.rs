//! Search: a vote over branches, the best of N, beam search. What counts is the final answer of a
//! branch's text, which a rule finds.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::ptr::null;
use std::sync::{Arc, Mutex, PoisonError};

use ollm_runtime::branches::{
    AnswerRule, Branches, Expansion, Found, Score, SearchOptions, Strategy, Weight, search_in, vote,
};

use crate::boundary::guard;
use crate::branches::{OllmBranch, OllmBranches, OllmExpansion, Tree, Views};
use crate::cast::{self, OutStruct, User, versioned};
use crate::status::{CallFailure, OllmStatus, Result};
use crate::text::OllmText;
use crate::turn::with;

/// How branches are searched. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmStrategy {
    /// Expands once. The answer that has most of the weight wins; it ends as soon as no open branch
    /// can change that.
    Vote = 0,
    /// Expands once. The branch with the best score wins (best of N).
    Best = 1,
    /// Expands at each boundary, and keeps the branches with the best scores (beam search).
    Beam = 2,
}

/// Which branch is better. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmScore {
    /// The mean of the log-probabilities of its tokens.
    Logprob = 0,
    /// Their sum, which prefers short texts.
    LogprobSum = 1,
    /// The logarithm of the policy's probability of its latents.
    Policy = 2,
    /// What the plugin's value head says.
    Value = 3,
}

/// How much a branch counts for its answer. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmWeight {
    /// Each branch counts 1.
    One = 0,
    /// By the policy's probability of its latents.
    Policy = 1,
    /// By what the plugin's value head says.
    Value = 2,
}

/// Finds the answer of a text. `*answer` is empty at first, and stays so if there is none; what it
/// points to is copied when the callback returns, and may be part of the text. Since 0.1.0.
pub type OllmAnswerFn = Option<unsafe extern "C" fn(user: *mut c_void, text: OllmText, answer: *mut OllmText)>;

/// Says how good a branch is: the higher, the better; NaN is the lowest. What `branch` points to is
/// gone when the callback returns. Since 0.1.0.
pub type OllmScoreFn = Option<unsafe extern "C" fn(user: *mut c_void, branch: *const OllmBranch) -> f64>;

/// How answers are found, and which one wins. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmTally {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// How the answer is found in a text; NULL is "number". At most 64 KiB.
    ///
    /// - "number": the number behind the last `####`, or else the last number. Numbers are compared
    ///   by value: `1,234.50` is `1234.5`.
    /// - "hash": what stands behind the last `####`, to the end of its line.
    /// - "boxed": what stands in the last `\boxed{}`.
    /// - "regex:RE": the one group of a regular expression, where it matches last.
    /// - "text": the whole text.
    pub rule: *const c_char,
    /// Bytes of the rule.
    pub rule_length: usize,
    /// Finds the answer in place of a rule; may be NULL.
    pub answer: OllmAnswerFn,
    /// The first argument of `answer`.
    pub user: *mut c_void,
    /// How much a branch counts for its answer.
    pub weight: MaybeUninit<OllmWeight>,
    /// Which branch is better; in a vote, which of those that tie.
    pub score: MaybeUninit<OllmScore>,
    /// Says which branch is better in place of `score`; may be NULL. Called inside the call and on
    /// its thread, once a branch wherever branches are ranked.
    pub score_of: OllmScoreFn,
    /// The first argument of `score_of`.
    pub score_user: *mut c_void,
}

versioned!(OllmTally {
    struct_size: usize,
    rule: *const c_char,
    rule_length: usize,
    answer: OllmAnswerFn,
    user: *mut c_void,
    weight: MaybeUninit<OllmWeight>,
    score: MaybeUninit<OllmScore>,
    score_of: OllmScoreFn,
    score_user: *mut c_void,
});

/// Sees the branches after each step of a search. The array, and what is in it, are gone when the
/// callback returns. Any other result than 0 ends the search, which gives what there is. Since
/// 0.1.0.
pub type OllmBranchesFn =
    Option<unsafe extern "C" fn(user: *mut c_void, branches: *const *const OllmBranch, count: usize) -> i32>;

/// A search. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmSearchOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Into what a branch is expanded; NULL is all latents.
    pub expansion: *const OllmExpansion,
    /// How answers are found, and which one wins; NULL takes the defaults.
    pub tally: *const OllmTally,
    /// Vote and best: branches that an expansion makes at most, the most probable ones. Beam:
    /// branches that are kept at a boundary. 0 is as many as the expansion makes.
    pub width: usize,
    /// Called after each step, inside the call and on its thread; may be NULL.
    pub each: OllmBranchesFn,
    /// The first argument of `each`.
    pub user: *mut c_void,
    /// The strategy.
    pub strategy: MaybeUninit<OllmStrategy>,
    /// Must be 0.
    pub reserved: i32,
}

versioned!(OllmSearchOptions {
    struct_size: usize,
    expansion: *const OllmExpansion,
    tally: *const OllmTally,
    width: usize,
    each: OllmBranchesFn,
    user: *mut c_void,
    strategy: MaybeUninit<OllmStrategy>,
    reserved: i32,
});

/// What a search or a vote found. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmFound {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// The branch.
    pub branch: usize,
    /// Its answer, as UTF-8 without a zero at its end; NULL if it has none. It belongs to the
    /// branches, and is gone with the next call of `ollm_branches_run` or `ollm_branches_vote` on
    /// them.
    pub answer: *const c_char,
    /// Bytes of the answer.
    pub answer_length: usize,
    /// The share of the weight of all branches that have the same answer: 0 to 1.
    pub confidence: f64,
    /// Passes over the weights, since the branches were made.
    pub passes: usize,
    /// Tokens generated since then, of all branches; what several share counts once.
    pub generated: usize,
}

versioned!(OllmFound {
    struct_size: usize,
    branch: usize,
    answer: *const c_char,
    answer_length: usize,
    confidence: f64,
    passes: usize,
    generated: usize,
});

/// A checked tally. A callback's answer that is no text is noted, and makes the call fail.
struct Tally {
    rule: AnswerRule,
    weight: Weight,
    score: Score,
    failed: Arc<Mutex<Option<CallFailure>>>,
}

impl OllmTally {
    /// # Safety
    /// The struct is what the header asks for, and its callback is alive until the tally is
    /// dropped.
    unsafe fn read(tally: *const Self) -> Result<Tally> {
        // SAFETY: the same contract.
        let t = unsafe { cast::options(tally) }?;
        // SAFETY: the same contract.
        let text = unsafe { cast::text("the rule for answers", t.rule, t.rule_length) }?;
        let failed = Arc::default();
        let rule = match t.answer {
            Some(_) if !text.is_empty() => return Err(CallFailure::argument("rule and answer exclude each other")),
            Some(answer) => callback(answer, User(t.user), Arc::clone(&failed)),
            None if t.rule.is_null() => AnswerRule::default(),
            None => text.parse::<AnswerRule>()?,
        };
        let weight = match cast::number(t.weight) {
            0 => Weight::One,
            1 => Weight::Policy,
            2 => Weight::Value,
            other => return Err(CallFailure::argument(format!("{other} is no weight"))),
        };
        let score = match (cast::number(t.score), t.score_of) {
            (0, Some(score_of)) => score_callback(score_of, User(t.score_user)),
            (_, Some(_)) => return Err(CallFailure::argument("score and score_of exclude each other")),
            (0, None) => Score::LogProb,
            (1, None) => Score::LogProbSum,
            (2, None) => Score::Policy,
            (3, None) => Score::Value,
            (other, None) => return Err(CallFailure::argument(format!("{other} is no score"))),
        };
        Ok(Tally { rule, weight, score, failed })
    }
}

/// The callback of the application as the runtime calls it.
fn callback(
    answer: unsafe extern "C" fn(*mut c_void, OllmText, *mut OllmText),
    user: User,
    failed: Arc<Mutex<Option<CallFailure>>>,
) -> AnswerRule {
    AnswerRule::Callback(Arc::new(move |text| {
        // The whole of `user` is captured, which may go to other threads, and not the pointer in
        // it, which may not.
        let user = &user;
        let mut found = OllmText { data: null(), length: 0 };
        // SAFETY: the callback and its argument go together, and the call that gave them has not
        // returned.
        unsafe { answer(user.0, OllmText { data: text.as_ptr().cast(), length: text.len() }, &raw mut found) };
        // SAFETY: the header asks the callback for a text.
        match unsafe { cast::text("the answer", found.data, found.length) } {
            Ok(answer) => Some(answer).filter(|answer| !answer.is_empty()).map(str::to_owned),
            Err(failure) => {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                None
            }
        }
    }))
}

/// The score of the application as the runtime calls it.
fn score_callback(score_of: unsafe extern "C" fn(*mut c_void, *const OllmBranch) -> f64, user: User) -> Score {
    Score::Callback(Arc::new(move |branch| {
        // The whole of `user` is captured, as above.
        let user = &user;
        let mut views = Views::default();
        let shown = views.show(0, branch);
        // SAFETY: the callback and its argument go together, and the call that gave them has not
        // returned.
        unsafe { score_of(user.0, &raw const shown) }
    }))
}

impl Tally {
    fn search(&self, tree: &Tree, strategy: Strategy, expansion: Expansion, width: usize) -> SearchOptions {
        SearchOptions {
            strategy,
            expansion,
            width,
            score: self.score.clone(),
            weight: self.weight,
            answer: self.rule.clone(),
            branches: tree.branches.options().clone(),
        }
    }

    /// What was found, unless a callback failed.
    fn give(&self, tree: &mut Tree, found: Found, out: &OutStruct<OllmFound>) -> Result<()> {
        if let Some(failure) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure);
        }
        let has_answer = found.answer.is_some();
        tree.answer = found.answer.unwrap_or_default();
        out.set(&OllmFound {
            struct_size: size_of::<OllmFound>(),
            branch: found.branch,
            answer: if has_answer { tree.answer.as_ptr().cast() } else { null() },
            answer_length: tree.answer.len(),
            confidence: found.confidence,
            passes: tree.branches.passes(),
            generated: tree.branches.generated(),
        });
        Ok(())
    }
}

/// Searches: expands (a vote and best the first branch, if none was expanded yet; a beam each at
/// its boundary), generates, and prunes the branches that are still open at the end; `*found`,
/// which must begin with its `struct_size`, tells what was found. `options` may be NULL, which is a
/// vote of all latents.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a rule that is none, such as a regular expression
/// without one group; `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_EMPTY`, `OLLM_NO_PLUGIN` if latents or values are asked for that the session has not,
/// `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`. The branches then are where the
/// last whole step left them: a second call continues, and finds what the first would have found.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_branches_run(
    branches: *mut OllmBranches,
    options: *const OllmSearchOptions,
    found: *mut OllmFound,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (options, out) = unsafe { (cast::options(options)?, OutStruct::new(found)?) };
        // SAFETY: as above.
        let (expansion, tally) = unsafe { (OllmExpansion::read(options.expansion)?, OllmTally::read(options.tally)?) };
        let strategy = options.strategy()?;
        with(branches, |tree| {
            let all = expansion.count(tree.option_count).max(1);
            let width = if options.width == 0 { all } else { options.width };
            let search = tally.search(tree, strategy, expansion, width);
            let Tree { branches, model, views, .. } = &mut *tree;
            let each = &mut |branches: &Branches| options.show(branches, views);
            let found = search_in(branches, model.tokenizer()?, &search, each)?;
            tally.give(tree, found, &out)
        })
    })
}

impl OllmSearchOptions {
    fn strategy(&self) -> Result<Strategy> {
        if self.reserved != 0 {
            return Err(CallFailure::argument("reserved is not 0"));
        }
        match cast::number(self.strategy) {
            0 => Ok(Strategy::Vote),
            1 => Ok(Strategy::Best),
            2 => Ok(Strategy::Beam),
            other => Err(CallFailure::argument(format!("{other} is no strategy"))),
        }
    }

    /// Shows the branches to the application.
    fn show(&self, branches: &Branches, views: &mut Views) -> ControlFlow<()> {
        let Some(each) = self.each else { return ControlFlow::Continue(()) };
        let shown: Vec<OllmBranch> = branches.all().iter().enumerate().map(|(i, one)| views.show(i, one)).collect();
        let shown: Vec<*const OllmBranch> = shown.iter().map(std::ptr::from_ref).collect();
        // SAFETY: the callback and its argument go together, and the call that gave them has not
        // returned.
        let ended = unsafe { each(self.user, shown.as_ptr(), shown.len()) } != 0;
        if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The vote of the branches that are there, without generating: the answer that has most of the
/// weight, and the best branch that gives it. Open branches have no answer. `tally` may be NULL.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a rule that is none; `OLLM_INVALID_HANDLE`,
/// `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_PLUGIN` if values are asked for that the session has
/// not; `OLLM_CANCELLED`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT` where they are computed; the
/// error of a branch, if all have failed. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_branches_vote(
    branches: *mut OllmBranches,
    tally: *const OllmTally,
    found: *mut OllmFound,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (tally, out) = unsafe { (OllmTally::read(tally)?, OutStruct::new(found)?) };
        with(branches, |tree| {
            let search = tally.search(tree, Strategy::Vote, Expansion::Latents, 1);
            let winner = vote(&mut tree.branches, &search)?;
            tally.give(tree, winner, &out)
        })
    })
}
