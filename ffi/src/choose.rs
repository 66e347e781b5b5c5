//! Selection: the latent of each step, from whose option its token is then sampled.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::num::NonZeroU32;

use ollm_runtime::plugin::{Callback, Hold, LatentMode};

use crate::boundary::guard;
use crate::cast::{self, User, versioned};
use crate::selection::Selection;
use crate::session::OllmSession;
use crate::status::{CallFailure, OllmStatus, Result};
use crate::turn::with;

/// Ways to select a latent. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmSelect {
    /// The one that the policy finds most probable; the lowest of several.
    Policy = 0,
    /// Drawn from the policy, which `temperature` sharpens (below 1) or flattens (above 1).
    Sample = 1,
    /// Drawn uniformly.
    Uniform = 2,
    /// Always the first of `latents`.
    Fixed = 3,
    /// One of `latents` after the other; the last one stays.
    Script = 4,
    /// The one that `choose` gives.
    Callback = 5,
    /// None: the token follows the mixture of all options, weighted by the policy.
    Mixture = 6,
    /// None: the token is the backbone's, as if there were no plugin.
    Backbone = 7,
}

/// How long a selected latent is held. An answer begins with the first token that is generated
/// after a feed, a rewind or a restored prompt, and ends with an end token or the next feed; a line
/// ends after the token whose text has a line feed. A latent is always let go where the answer
/// ends, and a script begins anew. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmHold {
    /// As long as the plugin was trained for, as in a new session.
    Trained = 0,
    /// For one token.
    Token = 1,
    /// To the end of the line.
    Line = 2,
    /// For all of the answer.
    All = 3,
    /// For `hold_tokens` tokens.
    Tokens = 4,
}

/// Chooses a latent, from the hidden state of the last token (`hidden_size` numbers, after the
/// final norm) and the policy's probabilities of the `option_count` latents; both are gone when the
/// callback returns. A result that is no latent makes the step fail with `OLLM_INVALID_ARGUMENT`.
/// Since 0.1.0.
pub type OllmPolicyFn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        hidden: *const f32,
        hidden_size: usize,
        policy: *const f32,
        option_count: usize,
    ) -> u32,
>;

/// How latents are selected. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmSelection {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// The latents of `OLLM_SELECT_FIXED` and `OLLM_SELECT_SCRIPT`; they are copied.
    pub latents: *const u32,
    /// How many there are, at most 65536.
    pub latent_count: usize,
    /// The function of `OLLM_SELECT_CALLBACK`: it is called inside the calls that generate, on
    /// their thread.
    pub choose: OllmPolicyFn,
    /// The first argument of `choose`.
    pub user: *mut c_void,
    /// The temperature of `OLLM_SELECT_SAMPLE`; 0 is 1.
    pub temperature: f32,
    /// How long a latent is held.
    pub hold: MaybeUninit<OllmHold>,
    /// The seed of all choices.
    pub seed: u64,
    /// The way to select.
    pub mode: MaybeUninit<OllmSelect>,
    /// Tokens that a latent is held for with `OLLM_HOLD_TOKENS`, at least 1; else 0.
    pub hold_tokens: u32,
}

versioned!(OllmSelection {
    struct_size: usize,
    latents: *const u32,
    latent_count: usize,
    choose: OllmPolicyFn,
    user: *mut c_void,
    temperature: f32,
    hold: MaybeUninit<OllmHold>,
    seed: u64,
    mode: MaybeUninit<OllmSelect>,
    hold_tokens: u32,
});

/// Latents of a script, at most.
const MAX_SCRIPT: usize = 1 << 16;

impl OllmSelection {
    /// # Safety
    /// The struct is what the header asks for; the callback and its argument stay so while the
    /// session uses them.
    pub(crate) unsafe fn read(selection: *const Self) -> Result<Selection> {
        // SAFETY: the same contract.
        let s = unsafe { cast::options(selection) }?;
        // SAFETY: the same contract.
        let latents = unsafe { cast::slice("the latents", s.latents, s.latent_count) }?;
        if latents.len() > MAX_SCRIPT {
            let message = format!("a script of {} latents is longer than {MAX_SCRIPT}", latents.len());
            return Err(CallFailure::argument(message));
        }
        let latents: Vec<usize> = latents.iter().map(|&latent| latent as usize).collect();
        let mode = match cast::number(s.mode) {
            0 => LatentMode::Policy,
            1 => LatentMode::Sample { temperature: if s.temperature.to_bits() == 0 { 1.0 } else { s.temperature } },
            2 => LatentMode::Uniform,
            3 => LatentMode::Fixed(*latents.first().ok_or_else(|| CallFailure::argument("there is no latent to fix"))?),
            4 => LatentMode::Script(latents),
            5 => LatentMode::Callback(callback(s.choose, User(s.user))?),
            6 => LatentMode::Mixture,
            7 => return Ok(Selection { mode: None, hold: s.hold()?, seed: s.seed }),
            other => return Err(CallFailure::argument(format!("{other} is no way to select a latent"))),
        };
        Ok(Selection { mode: Some(mode), hold: s.hold()?, seed: s.seed })
    }

    fn hold(&self) -> Result<Option<Hold>> {
        let refused = |what: String| Err(CallFailure::argument(what));
        let hold = match cast::number(self.hold) {
            0 => None,
            1 => Some(Hold::Token),
            2 => Some(Hold::Line),
            3 => Some(Hold::All),
            4 => match NonZeroU32::new(self.hold_tokens) {
                Some(count) => return Ok(Some(Hold::Tokens(count))),
                None => return refused("hold_tokens is 0: a latent is held for at least 1 token".into()),
            },
            other => return refused(format!("{other} is no time to hold a latent")),
        };
        if self.hold_tokens == 0 { Ok(hold) } else { refused("hold_tokens is for OLLM_HOLD_TOKENS alone".into()) }
    }
}

/// The callback of the application as the runtime calls it.
fn callback(choose: OllmPolicyFn, user: User) -> Result<Callback> {
    let choose = choose.ok_or_else(|| CallFailure::argument("the callback that chooses is NULL"))?;
    Ok(Callback::new(move |hidden, policy| {
        // The whole of `user` is captured, which may go to other threads, and not the pointer in
        // it, which may not.
        let user = &user;
        // SAFETY: the header asks the caller to keep the callback and its argument alive while they
        // are set.
        unsafe { choose(user.0, hidden.as_ptr(), hidden.len(), policy.as_ptr(), policy.len()) as usize }
    }))
}

/// Sets how the session selects latents from now on. NULL takes what the policy finds most
/// probable, held as long as the plugin was trained for, as at first (the backbone, where there is
/// no plugin). A held latent is let go, and a script begins anew. A callback, and its argument,
/// must stay alive until the next call of this function, or until the session is freed, and until
/// every fork and every set of branches that was made meanwhile is freed: these have them too.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` for what is no latent or out of its range,
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_NO_PLUGIN`, `OLLM_NO_TOKENIZER` if a latent is to be
/// held for a line. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_set_selection(
    session: *mut OllmSession,
    selection: *const OllmSelection,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let chosen = unsafe { OllmSelection::read(selection) }?;
        with(session, |live| {
            let bare = selection.is_null() && live.session.plugin().is_none();
            let chosen = if bare { Selection::default_of(&live.session) } else { chosen };
            live.selector = chosen.selector(&live.model, &live.session)?;
            live.selection = chosen;
            live.session.begin_answer();
            Ok(())
        })
    })
}
