//! `rl`: learning from right answers.

mod args;
mod policy;
mod run;
mod tokens;

use ollm_train::Result;
use ollm_train::eval::accuracy::{Questions, check_row};
use ollm_train::rollout::library::Library;

use args::Learner;
pub(crate) use args::RlArgs;
use run::RlRun;

use crate::prepare::to_answer;
use crate::progress::bar;
use crate::world;

pub(crate) fn run(args: &RlArgs, recorded: String) -> Result<()> {
    let (input, rollout) = (&args.input, &args.rollout);
    args.settings().check()?;
    world::check_judge(&rollout.answer)?;
    args.check()?;
    check_against(args)?;
    let backbone = input.backbone()?;
    let read = |data, limit| to_answer(input, &backbone, data, limit);
    let (train, valid) = (read(&input.data, input.limit)?, read(&args.valid.valid, args.valid.valid_limit)?);
    let questions = |corpus, limit| Questions::new(corpus, limit, &rollout.answer);
    let (train, valid) = (questions(&train, input.limit)?, questions(&valid, args.valid.valid_limit)?);
    let mut folder = args.run.open(recorded)?;
    let about = backbone.describe()?;
    let library = Library::new(&backbone, &rollout.rollouts, input.threads, rollout.slots).on(world::ranks());
    let bar = bar("rl", 0, "problems");
    let run = RlRun { args, library: &library, about: &about, train: &train, valid: &valid, bar: &bar };
    match args.learn {
        Learner::Policy => policy::run(&run, &mut folder),
        Learner::Control => tokens::control(&run, &mut folder),
        Learner::Adapters => tokens::adapters(&run, &mut folder),
    }
}

/// Refuses the name of no row to compare with before anything is learned.
fn check_against(args: &RlArgs) -> Result<()> {
    let rows = match args.learn {
        Learner::Policy => policy::row_names(args.hold()),
        Learner::Control | Learner::Adapters => tokens::row_names(args.learn).to_vec(),
    };
    args.against.as_ref().map_or(Ok(()), |name| check_row(name, rows.iter().copied()))
}
