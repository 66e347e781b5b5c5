//! Option sets. The option set of a step is K distributions of the next token, one for each latent,
//! and the policy's probability of each latent. A snapshot of it is a handle of its own, which
//! later steps of the session do not change.

use ollm_runtime::session::OptionView;

use crate::boundary::guard;
use crate::cast::{self, Out, OutArray};
use crate::handle::{HandleTable, Named};
use crate::session::OllmSession;
use crate::status::{CallFailure, OllmStatus, Result};
use crate::turn::with;

/// A snapshot of an option set. Since 0.1.0.
pub struct OllmOptionSet(Vec<OptionView>);

static OPTIONS: HandleTable<OllmOptionSet> = HandleTable::new();

impl Named for OllmOptionSet {
    const KIND: usize = 3;
    const NAME: &'static str = "option set";
    fn table() -> &'static HandleTable<Self> {
        &OPTIONS
    }
}

/// An option set that is shown for the time of a callback.
pub(crate) struct Shown(*mut OllmOptionSet);

impl Shown {
    pub(crate) fn new(options: &[OptionView]) -> Result<Self> {
        OPTIONS.insert(OllmOptionSet(options.to_vec())).map(Self)
    }

    pub(crate) fn handle(&self) -> *const OllmOptionSet {
        self.0
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // The callback may have freed it, which is fine.
        let _ = OPTIONS.release(self.0);
    }
}

/// One token of an option, and its probability there. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmCandidate {
    /// The token.
    pub token: u32,
    /// Its probability, from 0 to 1.
    pub probability: f32,
}

/// The option set of the session's current step, with the `top` most probable tokens of each
/// option. The session does not move. On success `*options` is a handle of one owner: free it with
/// `ollm_option_set_free`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_EMPTY`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_option_set_new(
    session: *mut OllmSession,
    top: usize,
    options: *mut *mut OllmOptionSet,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("options", options) }?;
        let set = with(session, |live| Ok(live.session.option_set(top)?))?;
        out.set(OPTIONS.insert(OllmOptionSet(set))?);
        Ok(())
    })
}

/// Frees an option set and makes `*options` NULL. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_option_set_free(options: *mut *mut OllmOptionSet) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { OPTIONS.release_at(options) }.map(drop))
}

/// The probability that the policy gives to each latent, one after the other: their number is K.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_option_set_policy(
    options: *const OllmOptionSet,
    policy: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the array is as long as the caller says.
        let out = unsafe { OutArray::new("policy", policy, capacity, count) }?;
        out.write_each(OPTIONS.get(options)?.0.iter().map(|option| option.policy))
    })
}

/// The most probable tokens of the option of a latent, best first.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_option_set_top(
    options: *const OllmOptionSet,
    latent: u32,
    top: *mut OllmCandidate,
    capacity: usize,
    count: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the array is as long as the caller says.
        let out = unsafe { OutArray::new("top", top, capacity, count) }?;
        let set = OPTIONS.get(options)?;
        let outside = || CallFailure::argument(format!("latent {latent} is none of the {} options", set.0.len()));
        let option = set.0.get(latent as usize).ok_or_else(outside)?;
        out.write_each(option.top.iter().map(|&(token, probability)| OllmCandidate { token, probability }))
    })
}

/// The policy of the session's current step: the probability of each latent. It costs less than an
/// option set.
///
/// Statuses: as `ollm_option_set_new`, and `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_policy(
    session: *mut OllmSession,
    policy: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the array is as long as the caller says.
        let out = unsafe { OutArray::new("policy", policy, capacity, count) }?;
        with(session, |live| out.write(live.session.policy()?))
    })
}

/// The hidden state of the session's last token, after the final norm: as many numbers as
/// `ollm_model_info` says.
///
/// Statuses: as `ollm_session_policy`, but for `OLLM_NO_PLUGIN`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_hidden(
    session: *mut OllmSession,
    hidden: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the array is as long as the caller says.
        let out = unsafe { OutArray::new("hidden", hidden, capacity, count) }?;
        with(session, |live| out.write(live.session.hidden()?))
    })
}

/// Adds tokens to the sequence, as `ollm_session_feed` does, and tells which latent the encoder
/// assigns to each: the option that explains it best. `latents` has room for `count` numbers; the
/// first token of a sequence has none, which is -1.
///
/// Statuses: as `ollm_session_feed`, `OLLM_NO_PLUGIN`, and `OLLM_NOT_FINITE` if the encoder gives
/// no distribution. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_encode(
    session: *mut OllmSession,
    tokens: *const u32,
    count: usize,
    latents: *mut i32,
) -> OllmStatus {
    guard(|| {
        let mut written = 0;
        // SAFETY: both arrays are as long as the caller says; the length goes to a variable of
        // ours.
        let (tokens, out) = unsafe {
            (
                cast::slice("the tokens", tokens, count)?,
                OutArray::new("the latents", cast::present("the latents", latents)?, count, &raw mut written)?,
            )
        };
        with(session, |live| {
            let latents = live.moving(|live| Ok(live.session.encode_latents(tokens)?))?;
            out.write_each(latents.iter().map(|latent| latent.map_or(-1, |latent| latent as i32)))
        })
    })
}
