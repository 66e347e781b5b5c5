//! The processes of this run: one, unless MPI started several (feature `mpi`).

use std::sync::OnceLock;

use ollm_train::eval::answer_rule::AnswerRule;
use ollm_train::ranks::Ranks;
use ollm_train::{Error, Result};

static RANKS: OnceLock<Ranks> = OnceLock::new();

/// This process among those of the run.
pub(crate) fn ranks() -> &'static Ranks {
    RANKS.get_or_init(Ranks::alone)
}

/// Sets what [`ranks`] gives, before it is asked for.
pub(crate) fn set(ranks: &Ranks) {
    RANKS.get_or_init(|| ranks.clone());
}

/// Refuses several processes where a command judges answers: each would hear its own verdicts.
pub(crate) fn check_judge(rule: &AnswerRule) -> Result<()> {
    match rule {
        AnswerRule::Command(_) => check_alone("--answer command:CMD"),
        _ => Ok(()),
    }
}

/// Refuses several processes where each would do the same.
pub(crate) fn check_alone(command: &str) -> Result<()> {
    if ranks().is_alone() {
        return Ok(());
    }
    let reason = format!("`{command}` runs in one process: leave out mpirun");
    Err(Error::Ranks { reason })
}
