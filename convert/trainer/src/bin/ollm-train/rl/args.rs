//! The flags of `rl`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ollm_train::Result;
use ollm_train::eval::accuracy::Reward;
use ollm_train::features::segments::Hold;
use ollm_train::limits::require;
use ollm_train::rl::groups::GroupSettings;
use ollm_train::rl::task::RlSettings;

use crate::args::{InputArgs, RewardArgs, RolloutArgs, RunArgs, ValidArgs, count, price, steps};

#[derive(Debug, Args)]
pub(crate) struct RlArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) valid: ValidArgs,
    /// The plugin: plugin.safetensors of a run, or a GGUF file; not with --learn adapters
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// What learns: the policy, whose actions are latents; or, to compare, what draws tokens
    #[arg(long, value_enum, default_value = "policy")]
    pub(crate) learn: Learner,
    /// How long a latent is held: for the whole answer, the gradient is exact, and each step is
    /// over all problems; else each step draws answers [default: all]; with --learn policy alone
    #[arg(long, value_name = "HOLD")]
    pub(crate) hold: Option<Hold>,
    /// Answers drawn to a problem, which are compared with one another [default: 8]; not with
    /// latents that are held for the whole answer
    #[arg(long, value_name = "N")]
    pub(crate) group: Option<usize>,
    /// Problems of a step [default: 16]; not with latents that are held for the whole answer
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) problems: Option<usize>,
    #[command(flatten)]
    pub(crate) reward: RewardArgs,
    /// Entropy coefficient: a nat of the policy's entropy counts as so much reward, so that it does
    /// not prefer one latent everywhere before it has seen where others are better [default: 0.1];
    /// of latents held for the whole answer alone
    #[arg(long, value_name = "X", value_parser = price)]
    pub(crate) entropy: Option<f64>,
    /// The policy to begin with [default: control, if the options keep it, else imitation]
    #[arg(long, value_enum)]
    pub(crate) start: Option<Start>,
    /// Steps; 0 keeps the policy to begin with, as with --start regression
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(crate) steps: u64,
    /// Peak learning rate [default: 1e-3 for the policy, 3e-4 for control and adapters]
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f64>,
    /// End after N evaluations on the validation problems without more reward, and keep what had
    /// most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = steps)]
    pub(crate) patience: u64,
    /// Steps between evaluations
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = steps)]
    pub(crate) eval_every: u64,
    /// Validation questions whose answers each evaluation logs, and shows shortened
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) samples: usize,
    /// Compare each row of the table at the end with this one, problem by problem [default: what
    /// was before]
    #[arg(long, value_name = "ROW")]
    pub(crate) against: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

/// What learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Learner {
    /// The policy: its actions are latents, tokens are greedy
    Policy,
    /// The control's own parameters: its actions are tokens, drawn at temperature 1
    Control,
    /// Low-rank adapters on the backbone: their actions are tokens, drawn at temperature 1
    Adapters,
}

/// The policy that RL begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    /// Chooses the control in every state, with a probability of a half
    Control,
    /// The plugin's own, which imitates what the text was likely written with
    Imitation,
    /// Chooses what is expected to earn most, by a ridge regression of the rewards on the state;
    /// takes two policy units per latent, and latents held for the whole answer
    Regression,
}

impl RlArgs {
    /// How answers are drawn to learn from.
    pub(super) fn groups(&self) -> GroupSettings {
        let &Self { group, problems, ref rollout, .. } = self;
        let (size, problems) = (group.unwrap_or(8), problems.unwrap_or(16));
        let (tokens, reward, seed) = (rollout.tokens, self.reward(), rollout.seed);
        GroupSettings { size, problems, tokens, reward, seed }
    }

    /// That of groups, if answers are drawn; else all latents answer, held.
    pub(super) fn drawn(&self) -> Option<GroupSettings> {
        (self.learn != Learner::Policy || self.hold() != Hold::All).then(|| self.groups())
    }

    pub(super) fn hold(&self) -> Hold {
        self.hold.unwrap_or(Hold::All)
    }

    pub(super) fn entropy(&self) -> f64 {
        self.entropy.unwrap_or(0.1)
    }

    pub(super) fn reward(&self) -> Reward {
        self.reward.reward()
    }

    pub(super) fn settings(&self) -> RlSettings {
        let &Self { steps, lr, patience, eval_every, samples, .. } = self;
        let rate = if self.learn == Learner::Policy { 1e-3 } else { 3e-4 };
        RlSettings { steps, lr: lr.unwrap_or(rate), patience: Some(patience), eval_every, samples }
    }

    /// Refuses flags that do not go together.
    pub(super) fn check(&self) -> Result<()> {
        let exact = "has no effect on latents held for the whole answer, whose gradient is exact: leave it out";
        for (name, given) in [("--group", self.group), ("--problems", self.problems)] {
            require(self.drawn().is_some() || given.is_none(), name, exact)?;
        }
        require(
            self.drawn().is_none() || self.entropy.is_none(),
            "--entropy",
            "has an effect on latents held for the whole answer alone: leave it out",
        )?;
        let policy = self.learn == Learner::Policy;
        let latents = "is of latents, and with --learn control or adapters there are none: leave it out";
        require(policy || self.hold.is_none(), "--hold", latents)?;
        require(policy || self.start.is_none(), "--start", latents)?;
        require(
            self.start != Some(Start::Regression) || self.drawn().is_none(),
            "--start",
            "regression takes the rewards of all latents, held for the whole answer: leave out --hold",
        )?;
        let adapters = self.learn == Learner::Adapters;
        let needed = "is needed: the policy or the control that learns is in it";
        require(adapters || self.plugin.is_some(), "--plugin", needed)?;
        let without = "has no effect on adapters, which are on the backbone alone: leave it out";
        require(!adapters || self.plugin.is_none(), "--plugin", without)?;
        self.drawn().map_or(Ok(()), |groups| groups.check())
    }
}
