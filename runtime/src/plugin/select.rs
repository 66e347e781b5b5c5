//! Ways to select a latent at each step.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ollm_kernels::logits;
use ollm_kernels::random::Random;

use super::hold::{HoldEnd, HoldUntil};

/// How a latent is selected.
#[derive(Clone, Debug, PartialEq)]
pub enum LatentMode {
    /// The latent that the policy finds most probable; the lowest index of several.
    Policy,
    /// Drawn from the policy, sharpened (below 1) or flattened (above 1) by a temperature above 0.
    Sample {
        /// The temperature.
        temperature: f32,
    },
    /// Drawn uniformly.
    Uniform,
    /// Always this one.
    Fixed(usize),
    /// One after the other; the last one stays.
    Script(Vec<usize>),
    /// The one that the application chooses.
    Callback(Callback),
    /// None: the next token follows the mixture of all options, weighted by the policy.
    Mixture,
}

impl LatentMode {
    /// How each mode is written, as [`LatentMode::from_str`] reads it; a callback cannot be
    /// written.
    pub const ALL: [&str; 6] = ["policy", "sample[:T]", "uniform", "fixed:Z", "script:Z,Z,..", "mixture"];
}

impl fmt::Display for LatentMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy => write!(f, "policy"),
            Self::Sample { temperature } => write!(f, "sample:{temperature}"),
            Self::Uniform => write!(f, "uniform"),
            Self::Fixed(latent) => write!(f, "fixed:{latent}"),
            Self::Script(latents) => {
                let latents: Vec<String> = latents.iter().map(usize::to_string).collect();
                write!(f, "script:{}", latents.join(","))
            }
            Self::Callback(_) => write!(f, "callback"),
            Self::Mixture => write!(f, "mixture"),
        }
    }
}

impl FromStr for LatentMode {
    type Err = UnknownLatentMode;

    /// Reads one of [`LatentMode::ALL`].
    fn from_str(text: &str) -> Result<Self, UnknownLatentMode> {
        let unknown = || UnknownLatentMode(text.to_owned());
        let index = |z: &str| z.trim().parse::<usize>().map_err(|_| unknown());
        match text.split_once(':') {
            None => match text {
                "policy" => Ok(Self::Policy),
                "sample" => Ok(Self::Sample { temperature: 1.0 }),
                "uniform" => Ok(Self::Uniform),
                "mixture" => Ok(Self::Mixture),
                _ => Err(unknown()),
            },
            Some(("sample", t)) => Ok(Self::Sample { temperature: t.trim().parse().map_err(|_| unknown())? }),
            Some(("fixed", z)) => Ok(Self::Fixed(index(z)?)),
            Some(("script", list)) => Ok(Self::Script(list.split(',').map(index).collect::<Result<_, _>>()?)),
            Some(_) => Err(unknown()),
        }
    }
}

/// A text that names no [`LatentMode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLatentMode(pub String);

impl fmt::Display for UnknownLatentMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no way to select a latent; there are {}", self.0, LatentMode::ALL.join(", "))
    }
}

impl std::error::Error for UnknownLatentMode {}

/// A way to choose a latent from a hidden state (`[hidden]`, after the final norm) and the policy's
/// probabilities (`[options]`). Clones share it. A latent that does not exist is an error of the
/// step, which then does not happen.
#[derive(Clone)]
pub struct Callback(Arc<Choose>);

type Choose = dyn Fn(&[f32], &[f32]) -> usize + Send + Sync;

impl Callback {
    /// The callback `choose(hidden, policy)`.
    pub fn new(choose: impl Fn(&[f32], &[f32]) -> usize + Send + Sync + 'static) -> Self {
        Self(Arc::new(choose))
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

impl PartialEq for Callback {
    /// Whether they are clones.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Why latents cannot be selected that way.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SelectError {
    /// A latent is not one of the plugin's.
    LatentOutOfRange {
        /// The latent.
        latent: usize,
        /// The number of options.
        options: usize,
    },
    /// A script without a latent.
    EmptyScript,
    /// A temperature that is not a positive number.
    Temperature(f32),
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LatentOutOfRange { latent, options } => {
                write!(
                    f,
                    "latent {latent} does not exist: the plugin has {options} options, 0 to {}",
                    options.saturating_sub(1)
                )
            }
            Self::EmptyScript => write!(f, "a script of latents needs at least one"),
            Self::Temperature(t) => write!(f, "the temperature of the policy is {t}, but must be a positive number"),
        }
    }
}

impl std::error::Error for SelectError {}

/// Selects latents: a mode, a hold and a seed. What a text remembers of them is the text's own
/// ([`LatentState`]), so that one selector serves many texts.
///
/// ```
/// use ollm_runtime::plugin::{Hold, LatentMode, Selector};
///
/// let mode: LatentMode = "sample:0.7".parse()?;
/// assert!(Selector::new(mode, Hold::Token, 10, 0).is_ok());
/// // Latents are checked: a plugin of ten options has 0 to 9.
/// assert!(Selector::new(LatentMode::Fixed(10), Hold::All, 10, 0).is_err());
/// # Ok::<(), ollm_runtime::plugin::UnknownLatentMode>(())
/// ```
#[derive(Clone, Debug)]
pub struct Selector {
    mode: LatentMode,
    hold: HoldUntil,
    seed: u64,
}

/// What a text remembers of the latents of the current answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatentState {
    /// The latent that is held for the next token; `None` where one will be selected for it.
    pub held: Option<usize>,
    /// Tokens that were generated since the last boundary: under the held latent, where there is
    /// one.
    pub held_tokens: u32,
    /// Latents that were selected: the place in a script.
    pub selected: u32,
}

impl LatentState {
    /// Notes which token followed, so that a latent is let go at its boundary.
    pub(crate) fn observe(&mut self, hold: &HoldUntil, token: u32) {
        let held_tokens = self.held_tokens.saturating_add(1);
        *self = match hold.ends_with(token, held_tokens) {
            HoldEnd::Nothing => Self { held_tokens, ..*self },
            HoldEnd::Latent => Self { held: None, held_tokens: 0, ..*self },
            HoldEnd::Answer => Self::default(),
        };
    }

    /// Whether a latent is held that no token has come from yet.
    pub(crate) fn is_unused(&self) -> bool {
        self.held.is_some() && self.held_tokens == 0
    }

    /// The state under a latent that was selected elsewhere.
    pub(crate) fn hold(self, latent: usize) -> Self {
        Self { held: Some(latent), held_tokens: 0, selected: self.selected.saturating_add(1) }
    }
}

/// Set apart from the sampler's random numbers, which may have the same seed.
const LATENT_STREAM: u64 = 0x6c61_7465_6e74_7321;

impl Selector {
    /// A selector for a plugin of `options` options. The same seed makes the same choices at the
    /// same places.
    ///
    /// # Errors
    /// [`SelectError`] if a latent is out of range, a script is empty, or a temperature is not
    /// positive.
    pub fn new(mode: LatentMode, hold: impl Into<HoldUntil>, options: usize, seed: u64) -> Result<Self, SelectError> {
        let latents: &[usize] = match &mode {
            LatentMode::Fixed(latent) => std::slice::from_ref(latent),
            LatentMode::Script(latents) if latents.is_empty() => return Err(SelectError::EmptyScript),
            LatentMode::Script(latents) => latents,
            LatentMode::Sample { temperature } if !(temperature.is_finite() && *temperature > 0.0) => {
                return Err(SelectError::Temperature(*temperature));
            }
            _ => &[],
        };
        latents.iter().try_for_each(|&latent| check_latent(latent, options))?;
        Ok(Self { mode, hold: hold.into(), seed })
    }

    /// The latent of the next token, given the hidden state and the policy's probabilities; `None`
    /// for the mixture. `place` is that of the token in its text.
    pub(crate) fn select(
        &self,
        state: &mut LatentState,
        place: u64,
        hidden: &[f32],
        policy: &[f32],
    ) -> Result<Option<usize>, SelectError> {
        if self.mode == LatentMode::Mixture && state.held.is_none() {
            return Ok(None);
        }
        let latent = state.held.unwrap_or_else(|| self.choose(state.selected, place, hidden, policy));
        check_latent(latent, policy.len())?;
        if state.held.is_none() {
            *state = state.hold(latent);
        }
        Ok(Some(latent))
    }

    /// Whether a callback of the application selects.
    pub(crate) fn asks_application(&self) -> bool {
        matches!(self.mode, LatentMode::Callback(_))
    }

    /// Notes which token followed, so that a latent is let go at its boundary.
    pub(crate) fn observe(&self, state: &mut LatentState, token: u32) {
        state.observe(&self.hold, token);
    }

    fn choose(&self, selected: u32, place: u64, hidden: &[f32], policy: &[f32]) -> usize {
        let mut random = Random::at(self.seed ^ LATENT_STREAM, place);
        match &self.mode {
            LatentMode::Policy | LatentMode::Mixture => argmax(policy),
            LatentMode::Sample { temperature } => draw(policy, *temperature, random.unit()),
            LatentMode::Uniform => random.below(policy.len()),
            LatentMode::Fixed(latent) => *latent,
            LatentMode::Callback(Callback(choose)) => choose(hidden, policy),
            LatentMode::Script(latents) => latents[(selected as usize).min(latents.len() - 1)],
        }
    }
}

/// That `latent` is one of `options`.
pub(crate) fn check_latent(latent: usize, options: usize) -> Result<(), SelectError> {
    if latent < options { Ok(()) } else { Err(SelectError::LatentOutOfRange { latent, options }) }
}

/// The highest; the lowest index of several.
pub(super) fn argmax(policy: &[f32]) -> usize {
    (0..policy.len()).rev().max_by(|&a, &b| policy[a].total_cmp(&policy[b])).unwrap_or(0)
}

/// The `count` most probable latents, the best first; the lower index of equals.
pub(crate) fn most_probable(policy: &[f32], count: usize) -> Vec<usize> {
    let mut latents: Vec<usize> = (0..policy.len()).collect();
    latents.sort_by(|&a, &b| policy[b].total_cmp(&policy[a]));
    latents.truncate(count);
    latents
}

/// The latent at `unit` (0 to 1) of the distribution `policy^(1/temperature)`, normalized.
pub(crate) fn draw(policy: &[f32], temperature: f32, unit: f64) -> usize {
    let most = policy.iter().copied().fold(0.0, f32::max);
    // (p / most)^(1 / temperature), the same on every platform.
    let weight = |&p: &f32| logits::exp(logits::ln(f64::from(p / most)) / f64::from(temperature));
    let mut left = unit * policy.iter().map(weight).sum::<f64>();
    let stop = policy.iter().position(|p| {
        left -= weight(p);
        left < 0.0
    });
    stop.unwrap_or_else(|| argmax(policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::hold::{Hold, TokenEnds};

    const POLICY: [f32; 4] = [0.1, 0.4, 0.4, 0.1];

    /// Token 1 ends a line, token 2 the answer.
    fn run(mode: LatentMode, hold: Hold, tokens: &[u32]) -> Vec<Option<usize>> {
        let selector = Selector::new(mode, HoldUntil::new(hold, TokenEnds::for_test()), 4, 1).unwrap();
        let mut state = LatentState::default();
        let step = |(place, &token): (usize, &u32)| {
            let latent = selector.select(&mut state, place as u64, &[], &POLICY).unwrap();
            selector.observe(&mut state, token);
            latent
        };
        tokens.iter().enumerate().map(step).collect()
    }

    fn some(latents: &[usize]) -> Vec<Option<usize>> {
        latents.iter().copied().map(Some).collect()
    }

    #[test]
    fn each_mode_does_what_it_says() {
        assert_eq!(run(LatentMode::Policy, Hold::Token, &[0, 0]), some(&[1, 1]));
        assert_eq!(run(LatentMode::Fixed(3), Hold::Token, &[0, 0]), some(&[3, 3]));
        assert_eq!(run(LatentMode::Script(vec![2, 0]), Hold::Token, &[0, 0, 0]), some(&[2, 0, 0]));
        assert_eq!(run(LatentMode::Mixture, Hold::Token, &[0]), [None]);
    }

    #[test]
    fn a_latent_is_held_to_its_boundary() {
        let script = || LatentMode::Script(vec![0, 1, 2]);
        assert_eq!(run(script(), Hold::Line, &[0, 0, 1, 0, 1, 0]), some(&[0, 0, 0, 1, 1, 2]));
        assert_eq!(run(script(), Hold::All, &[0, 1, 0]), some(&[0, 0, 0]));
        assert_eq!(run(script(), Hold::Tokens(2.try_into().unwrap()), &[0, 1, 0, 0, 0]), some(&[0, 0, 1, 1, 2]));
    }

    #[test]
    fn an_answer_ends_with_its_end_token_and_the_next_begins_afresh() {
        let script = || LatentMode::Script(vec![3, 1, 2]);
        assert_eq!(run(script(), Hold::All, &[0, 2, 0]), some(&[3, 3, 3]));
        assert_eq!(run(script(), Hold::Line, &[0, 1, 0, 2, 0, 1, 0]), some(&[3, 3, 1, 1, 3, 3, 1]));
        assert_eq!(
            run(script(), Hold::Tokens(3.try_into().unwrap()), &[0, 0, 2, 0, 0, 0, 0])[3..],
            some(&[3, 3, 3, 1])
        );
    }

    #[test]
    fn a_draw_depends_on_seed_and_place_alone() {
        let selector = Selector::new(LatentMode::Uniform, Hold::Token, 4, 9).unwrap();
        let at = |place| selector.select(&mut LatentState::default(), place, &[], &POLICY).unwrap();
        let forwards: Vec<_> = (0..50).map(at).collect();
        let mut backwards: Vec<_> = (0..50).rev().map(at).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert!(forwards.iter().any(|latent| *latent != forwards[0]));
    }

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        let sample = LatentMode::Sample { temperature: 0.7 };
        let fixed = [LatentMode::Fixed(3), LatentMode::Script(vec![0, 2, 1])];
        for mode in [LatentMode::Policy, sample, LatentMode::Uniform, LatentMode::Mixture].into_iter().chain(fixed) {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!("sample".parse(), Ok(LatentMode::Sample { temperature: 1.0 }));
        assert_eq!("script:0, 2,1".parse(), Ok(LatentMode::Script(vec![0, 2, 1])));
        for text in
            ["", "fixed", "fixed:", "fixed:-1", "fixed:x", "script:", "script:1,,2", "best", "callback", "sample:x"]
        {
            let error = text.parse::<LatentMode>().unwrap_err();
            assert!(error.to_string().ends_with("fixed:Z, script:Z,Z,.., mixture"), "{error}");
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let count = |mode: LatentMode| {
            let latents = run(mode, Hold::Token, &[0; 4000]);
            let share = |z| latents.iter().filter(|&&l| l == Some(z)).count() as f64 / 4000.0;
            [share(0), share(1), share(2), share(3)]
        };
        let near = |got: [f64; 4], want: [f64; 4]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 0.03);
        assert!(near(count(LatentMode::Uniform), [0.25; 4]));
        assert!(near(count(LatentMode::Sample { temperature: 1.0 }), [0.1, 0.4, 0.4, 0.1]));
        let cold = count(LatentMode::Sample { temperature: 0.5 });
        assert!(near(cold, [1.0 / 34.0, 16.0 / 34.0, 16.0 / 34.0, 1.0 / 34.0]), "{cold:?}");
    }

    #[test]
    fn what_cannot_be_selected_is_refused() {
        let new = |mode| Selector::new(mode, Hold::Token, 4, 0).err();
        let out_of_range = Some(SelectError::LatentOutOfRange { latent: 4, options: 4 });
        assert_eq!(new(LatentMode::Fixed(4)), out_of_range);
        assert_eq!(new(LatentMode::Script(vec![0, 4])), out_of_range);
        assert_eq!(new(LatentMode::Script(vec![])), Some(SelectError::EmptyScript));
        assert_eq!(new(LatentMode::Sample { temperature: 0.0 }), Some(SelectError::Temperature(0.0)));
        assert!(new(LatentMode::Sample { temperature: f32::NAN }).is_some());
    }
}
