//! Sampling: the token of a step, from the distribution of the backbone, of the selected option, or
//! of the mixture.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use ollm_runtime::sampler::{Dry, DynamicTemperature, Filter, LogitsEdit, Mirostat, Sampler, SamplerOptions, Xtc};

use crate::boundary::guard;
use crate::cast::{self, User, versioned};
use crate::model::OllmModel;
use crate::session::OllmSession;
use crate::status::{CallFailure, OllmStatus, Result};
use crate::text::OllmText;
use crate::turn::with;

/// One filter of the sampler. It does nothing where its numbers are 0. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmFilter {
    /// The repetition, presence and frequency penalties.
    Penalties = 1,
    /// Don't repeat yourself: `dry_multiplier`.
    Dry = 2,
    /// `top_n_sigma`.
    TopNSigma = 3,
    /// `top_k`.
    TopK = 4,
    /// `typical_p`.
    Typical = 5,
    /// `top_p`.
    TopP = 6,
    /// `min_p`.
    MinP = 7,
    /// Exclude top choices: `xtc_probability`.
    Xtc = 8,
    /// `temperature`.
    Temperature = 9,
}

/// What is added to the logit of a token; `-INFINITY` bans it. Arrays of this struct are read, so
/// it never grows. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmLogitBias {
    /// The token.
    pub token: u32,
    /// What is added.
    pub bias: f32,
}

/// Sees and changes the logits of a step, one for each token of the vocabulary, given the tokens so
/// far; both arrays are gone when the callback returns. `-INFINITY` bans a token. If no token is
/// left that may come, or a logit is no number, the step fails with `OLLM_INVALID_ARGUMENT`. Since
/// 0.1.0.
pub type OllmLogitsFn = Option<
    unsafe extern "C" fn(user: *mut c_void, logits: *mut f32, vocabulary: usize, tokens: *const u32, count: usize),
>;

/// How tokens are sampled. A field that is 0 takes its default, and all defaults together are
/// greedy. Logit bias and callback come first, then the filters, in the order of `ollm_filter`
/// unless `order` gives another one. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmSampling {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Top-k: keeps this many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// The seed of all choices: the same seed makes the same choices on every platform.
    pub seed: u64,
    /// The temperature, which divides the logits; 0 is greedy: then filters other than the
    /// penalties and DRY do nothing.
    pub temperature: f32,
    /// Top-p (nucleus): keeps the most probable tokens whose probabilities reach this sum; 0 and 1
    /// keep all.
    pub top_p: f32,
    /// Min-p: keeps tokens at least this many times as probable as the best token; 0 keeps all.
    pub min_p: f32,
    /// The repetition penalty: divides the positive logits of recent tokens and multiplies the
    /// negative ones; 0 and 1 change nothing.
    pub repeat_penalty: f32,
    /// The number of recent tokens that the repetition, presence and frequency penalties apply to;
    /// 0 is 64.
    pub repeat_last: u32,
    /// Must be 0.
    pub reserved: u32,
    /// The presence penalty: is taken from the logits of recent tokens.
    pub presence_penalty: f32,
    /// The frequency penalty: is taken from the logits of recent tokens, for each time that they
    /// occur.
    pub frequency_penalty: f32,
    /// Typical sampling: keeps the tokens whose surprise is nearest to the entropy and whose
    /// probabilities reach this sum; 0 and 1 keep all.
    pub typical_p: f32,
    /// Top-n-sigma: keeps tokens whose logits are at most this many standard deviations below the
    /// best one; 0 keeps all.
    pub top_n_sigma: f32,
    /// XTC: where several tokens are at least `xtc_threshold` probable, all but the least probable
    /// of them are left out, in this share of the steps; 0 never.
    pub xtc_probability: f32,
    /// See `xtc_probability`; 0 is 0.1.
    pub xtc_threshold: f32,
    /// DRY: a token that would go on with a repetition of n tokens loses `dry_multiplier *
    /// dry_base^(n - dry_allowed_length)`; 0 loses nothing.
    pub dry_multiplier: f32,
    /// See `dry_multiplier`; 0 is 1.75.
    pub dry_base: f32,
    /// The shortest repetition that loses something; 0 is 2.
    pub dry_allowed_length: u32,
    /// The number of recent tokens that DRY searches; 0 is all.
    pub dry_last: u32,
    /// Mirostat 2: the surprise of a token, in bits, that is aimed at; 0 is no mirostat. It needs a
    /// temperature. A restored session begins anew to aim.
    pub mirostat_tau: f32,
    /// How fast mirostat aims; 0 is 0.1.
    pub mirostat_eta: f32,
    /// Dynamic temperature: it goes from `temperature` minus this to `temperature` plus this, the
    /// higher, the less sure the model is; 0 is a fixed one.
    pub dynamic_range: f32,
    /// The power of the entropy that a dynamic temperature follows; 0 is 1.
    pub dynamic_exponent: f32,
    /// Texts that end a repetition for DRY: tokens that have one of them in their text; NULL takes
    /// the end of a line, `:`, `"` and `*`.
    pub dry_breakers: *const OllmText,
    /// How many there are.
    pub dry_breaker_count: usize,
    /// Is added to the logits of these tokens.
    pub biases: *const OllmLogitBias,
    /// How many there are.
    pub bias_count: usize,
    /// The filters that run, in this order; NULL is the order of `ollm_filter`. A filter that has
    /// something to do must be there.
    pub order: *const MaybeUninit<OllmFilter>,
    /// How many there are.
    pub order_count: usize,
    /// Sees and changes the logits; may be NULL. It is called inside the calls that generate, on
    /// their thread, and must stay alive, as `user`, until sampling is set again or the session,
    /// and every fork and every set of branches that was made meanwhile, is freed.
    pub edit: OllmLogitsFn,
    /// The first argument of `edit`.
    pub user: *mut c_void,
    /// With each token `ollm_token.top` tells so many of the most probable ones; 0 tells none.
    pub logprobs: usize,
}

versioned!(OllmSampling {
    struct_size: usize,
    top_k: usize,
    seed: u64,
    temperature: f32,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    repeat_last: u32,
    reserved: u32,
    presence_penalty: f32,
    frequency_penalty: f32,
    typical_p: f32,
    top_n_sigma: f32,
    xtc_probability: f32,
    xtc_threshold: f32,
    dry_multiplier: f32,
    dry_base: f32,
    dry_allowed_length: u32,
    dry_last: u32,
    mirostat_tau: f32,
    mirostat_eta: f32,
    dynamic_range: f32,
    dynamic_exponent: f32,
    dry_breakers: *const OllmText,
    dry_breaker_count: usize,
    biases: *const OllmLogitBias,
    bias_count: usize,
    order: *const MaybeUninit<OllmFilter>,
    order_count: usize,
    edit: OllmLogitsFn,
    user: *mut c_void,
    logprobs: usize,
});

/// Only a zero as such stands for the default: a tiny number, or a negative one, is what the
/// sampler judges.
fn or(value: f32, default: f32) -> f32 {
    if value.to_bits() == 0 { default } else { value }
}

/// `Some` unless the number that switches it on is 0.
fn if_on<T>(switch: f32, value: T) -> Option<T> {
    (switch.to_bits() != 0).then_some(value)
}

impl OllmSampling {
    /// # Safety
    /// The struct is what the header asks for.
    unsafe fn to_runtime(self, model: &OllmModel) -> Result<SamplerOptions> {
        if self.reserved != 0 {
            return Err(CallFailure::argument("reserved is not 0"));
        }
        let xtc = Xtc { probability: self.xtc_probability, threshold: or(self.xtc_threshold, 0.1) };
        let mirostat = Mirostat { tau: self.mirostat_tau, eta: or(self.mirostat_eta, 0.1) };
        let (range, exponent) = (self.dynamic_range, or(self.dynamic_exponent, 1.0));
        // SAFETY: the same contract.
        let (biases, order, edit) = unsafe {
            (
                cast::slice("the biases", self.biases, self.bias_count)?,
                self.order()?,
                self.edit.map(|_| self.logits_edit()),
            )
        };
        // SAFETY: the same contract.
        let dry = if self.dry_multiplier.to_bits() == 0 { None } else { Some(unsafe { self.dry(model) }?) };
        Ok(SamplerOptions {
            temperature: self.temperature,
            dynamic_temperature: if_on(range, DynamicTemperature { range, exponent }),
            top_k: self.top_k,
            top_p: or(self.top_p, 1.0),
            min_p: self.min_p,
            typical_p: or(self.typical_p, 1.0),
            top_n_sigma: self.top_n_sigma,
            xtc: if_on(xtc.probability, xtc),
            repeat_penalty: or(self.repeat_penalty, 1.0),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            repeat_last_n: if self.repeat_last == 0 { 64 } else { self.repeat_last as usize },
            dry,
            mirostat: if_on(mirostat.tau, mirostat),
            logit_bias: biases.iter().map(|bias| (bias.token, bias.bias)).collect(),
            edit: edit.flatten(),
            order: order.unwrap_or_else(|| Filter::ALL.to_vec()),
            logprobs: self.logprobs,
            seed: self.seed,
        })
    }

    /// # Safety
    /// As [`OllmSampling::to_runtime`].
    unsafe fn dry(&self, model: &OllmModel) -> Result<Dry> {
        // SAFETY: the same contract.
        let texts = unsafe { cast::slice("the breakers of DRY", self.dry_breakers, self.dry_breaker_count) }?;
        // SAFETY: the same contract.
        let text = |text: &OllmText| unsafe { cast::text("a breaker of DRY", text.data, text.length) };
        let mut texts = texts.iter().map(text).collect::<Result<Vec<_>>>()?;
        if texts.iter().any(|text| text.is_empty()) {
            return Err(CallFailure::argument("a breaker of DRY is empty"));
        }
        if self.dry_breakers.is_null() {
            texts = Dry::BREAKERS.to_vec();
        }
        Ok(Dry {
            multiplier: self.dry_multiplier,
            base: or(self.dry_base, 1.75),
            allowed_length: if self.dry_allowed_length == 0 { 2 } else { self.dry_allowed_length as usize },
            last_n: if self.dry_last == 0 { usize::MAX } else { self.dry_last as usize },
            breakers: model.tokenizer()?.tokens_with(&texts).into(),
        })
    }

    /// # Safety
    /// As [`OllmSampling::to_runtime`].
    unsafe fn order(&self) -> Result<Option<Vec<Filter>>> {
        // SAFETY: the same contract.
        let order = unsafe { cast::slice("the order of filters", self.order, self.order_count) }?;
        let filter = |filter: &MaybeUninit<OllmFilter>| {
            let number = cast::number(*filter);
            let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            let filter = index.and_then(|index| Filter::ALL.get(index)).copied();
            filter.ok_or_else(|| CallFailure::argument(format!("{number} is no filter")))
        };
        let order = order.iter().map(filter).collect::<Result<Vec<_>>>()?;
        Ok((!self.order.is_null()).then_some(order))
    }

    /// The callback of the application as the runtime calls it.
    fn logits_edit(&self) -> Option<LogitsEdit> {
        let (edit, user) = (self.edit?, User(self.user));
        Some(LogitsEdit::new(move |logits, tokens| {
            // The whole of `user` is captured, which may go to other threads, and not the pointer
            // in it, which may not.
            let user = &user;
            // SAFETY: the header asks the caller to keep the callback and its argument alive while
            // they are set.
            unsafe { edit(user.0, logits.as_mut_ptr(), logits.len(), tokens.as_ptr(), tokens.len()) }
        }))
    }
}

/// Sets how the session samples from now on. NULL is greedy, as at first. The random number of a
/// token follows from the seed and its place in the text: a rewound, forked or restored session
/// draws what it would have drawn.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` for a number that is out of its range or a token that is not
/// in the vocabulary, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_TOKENIZER`
/// for DRY. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_set_sampling(
    session: *mut OllmSession,
    sampling: *const OllmSampling,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let sampling = unsafe { cast::options(sampling) }?;
        with(session, |live| {
            // SAFETY: as above.
            let options = unsafe { sampling.to_runtime(&live.model) }?;
            let vocabulary = live.session.model().config().vocab;
            if let Some((token, _)) = options.logit_bias.iter().find(|(token, _)| *token as usize >= vocabulary) {
                return Err(CallFailure::argument(format!("token {token} of a bias is not in the vocabulary")));
            }
            live.sampler = Sampler::new(options)?;
            Ok(())
        })
    })
}
