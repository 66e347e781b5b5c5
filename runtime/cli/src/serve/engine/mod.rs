//! The engine: one thread that owns every session, and decodes all that are on their way in one
//! batch (continuous batching).
//!
//! A pass admits what waits if there is room, takes a step of each continuation, and feeds a piece
//! of the prompts that are new, so that a long prompt holds nobody up for long. Requests and the
//! engine know each other by channels alone. Each text is bit-identical to that of the same request
//! alone.
//!
//! | file | what it holds |
//! |---|---|
//! | `job` | what requests ask for, and what they hear |
//! | `running` | a continuation on its way |
//! | `prefixes` | prefix reuse |

mod job;
mod prefixes;
mod running;

pub(crate) use job::{Answer, Between, Choice, Event, Job, Said, Task, Then, Work};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ollm_runtime::model::BATCH;
use ollm_runtime::session::{Batch, OptionView, Session, SessionError};
use ollm_runtime::tokenizer::Tokenizer;
use tokio::sync::mpsc::{self, Receiver};

use crate::serve::metrics::Metrics;
use prefixes::Prefixes;
use running::Running;

/// Tokens of prompts that a pass computes while others generate.
const PIECE: usize = 64;

/// How long the engine sleeps where every client is slower than it.
const NAP: Duration = Duration::from_millis(2);

/// How much the engine takes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Continuations in a batch.
    pub(crate) parallel: usize,
    /// Sessions that are kept for their beginnings.
    pub(crate) prefixes: usize,
    /// How long a client may take nothing.
    pub(crate) patience: Duration,
}

/// A prompt on its way in.
struct Prompted {
    session: Session,
    reused: usize,
    job: Job,
}

/// The engine's side of the channels.
pub(crate) struct Engine {
    inbox: Receiver<Job>,
    /// The one that is to be admitted next.
    next: Option<Job>,
    bounds: Bounds,
    prefixes: Prefixes,
    prompts: VecDeque<Prompted>,
    works: VecDeque<(Session, Box<dyn Work>)>,
    running: Vec<Running>,
    batch: Batch,
    tokenizer: Arc<Tokenizer>,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// An engine for forks of `origin`, and where jobs go: so many wait at most.
    pub(crate) fn new(
        origin: Session,
        tokenizer: Arc<Tokenizer>,
        queue: usize,
        bounds: Bounds,
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::Sender<Job>) {
        let (sender, inbox) = mpsc::channel(queue);
        let engine = Self {
            inbox,
            next: None,
            bounds,
            prefixes: Prefixes::new(origin, bounds.prefixes),
            prompts: VecDeque::new(),
            works: VecDeque::new(),
            running: Vec::new(),
            batch: Batch::default(),
            tokenizer,
            metrics,
        };
        (engine, sender)
    }

    /// Works until nobody can ask for anything any more.
    pub(crate) fn run(mut self) {
        loop {
            let idle = self.running.is_empty() && self.prompts.is_empty() && self.works.is_empty();
            if idle && self.next.is_none() {
                match self.inbox.blocking_recv() {
                    Some(job) => self.next = Some(job),
                    None => return,
                }
            }
            let advanced = self.pass();
            if let Some((session, work)) = self.works.pop_front() {
                work.run(Ok(session), &mut || {
                    self.pass();
                });
            } else if !advanced {
                std::thread::sleep(NAP);
            }
        }
    }

    /// One pass; whether anything was done.
    fn pass(&mut self) -> bool {
        self.admit();
        let decoded = self.decode();
        let fed = self.feed();
        self.metrics.running.set(self.running.len() + self.prompts.len() + self.works.len());
        self.metrics.waiting.set(self.inbox.len() + usize::from(self.next.is_some()));
        decoded || fed
    }

    /// Admits jobs while there is room in the batch.
    fn admit(&mut self) {
        loop {
            let Some(job) = self.next.take().or_else(|| self.inbox.try_recv().ok()) else { return };
            if job.then.is_gone() {
                self.metrics.cancelled.add(1);
                continue;
            }
            let prompts: usize = self.prompts.iter().map(|prompt| prompt.job.then.sequences()).sum();
            let taken = self.running.len() + self.works.len() + prompts;
            if taken > 0 && taken + job.then.sequences() > self.bounds.parallel {
                self.next = Some(job);
                return;
            }
            match self.prefixes.session_for(&job.prompt) {
                Ok(session) => self.prompts.push_back(Prompted { reused: session.position(), session, job }),
                Err(error) => self.fail(job.then, error),
            }
        }
    }

    /// A step of each continuation that can go on.
    fn decode(&mut self) -> bool {
        let patience = self.bounds.patience;
        self.running.iter_mut().for_each(Running::flush);
        let (gone, left) = self.running.drain(..).partition(|one: &Running| one.is_over() || one.is_lost(patience));
        self.running = left;
        for one in gone {
            if !one.is_over() {
                self.metrics.cancelled.add(1);
            }
            self.prefixes.keep(one.session);
        }
        let mut ready: Vec<&mut Running> = self.running.iter_mut().filter(|one| one.is_ready()).collect();
        if ready.is_empty() {
            return false;
        }
        let shown = option_sets(&mut self.batch, &mut ready);
        let mut turns = Vec::with_capacity(ready.len());
        let mut outcomes: Vec<Option<SessionError>> = Vec::with_capacity(ready.len());
        let mut options = Vec::with_capacity(ready.len());
        for (one, shown) in ready.iter_mut().zip(shown) {
            match shown.and_then(|shown| Ok((one.turn()?, shown))) {
                Ok((turn, shown)) => {
                    turns.push(turn);
                    options.push(shown);
                    outcomes.push(None);
                }
                Err(error) => outcomes.push(Some(error)),
            }
        }
        let mut steps = self.batch.step(&mut turns).into_iter().zip(options);
        drop(turns);
        let mut tokens = 0;
        for (one, refused) in ready.into_iter().zip(outcomes) {
            let (step, options) = match refused {
                Some(error) => (Err(error), Vec::new()),
                None => match steps.next() {
                    Some((step, options)) => (step, options),
                    None => continue,
                },
            };
            tokens += usize::from(one.take(step, options, &self.tokenizer));
        }
        self.metrics.generated.add(tokens);
        self.metrics.passes.add(1);
        true
    }

    /// Feeds pieces of prompts, one after the other, as many tokens as a pass may take.
    fn feed(&mut self) -> bool {
        let fed = !self.prompts.is_empty();
        let mut budget = if self.running.is_empty() { BATCH } else { PIECE };
        while budget > 0
            && let Some(mut prompt) = self.prompts.pop_front()
        {
            if prompt.job.then.is_gone() {
                self.metrics.cancelled.add(1);
                self.prefixes.keep(prompt.session);
                continue;
            }
            let from = prompt.session.position();
            let piece = &prompt.job.prompt[from..];
            let piece = &piece[..piece.len().min(budget)];
            budget -= piece.len().max(1);
            let complete = from + piece.len() == prompt.job.prompt.len();
            match prompt.session.feed(piece) {
                Err(error) => self.fail(prompt.job.then, error),
                Ok(()) if complete => self.start(prompt),
                Ok(()) => self.prompts.push_back(prompt),
            }
        }
        fed
    }

    /// A prompt is in: what follows it begins.
    fn start(&mut self, Prompted { session, reused, job }: Prompted) {
        self.metrics.prompted.add(job.prompt.len() - reused);
        self.metrics.reused.add(reused);
        match job.then {
            Then::Work(work) => {
                // Without memory for it, it is not kept.
                if let Ok(copy) = session.fork() {
                    self.prefixes.keep(copy);
                }
                self.works.push_back((session, work));
            }
            Then::Answer(mut answer) => {
                // A client that does not listen is noticed with the first token.
                let _ = answer.events.try_send(Event::Prompted { reused });
                let choices = std::mem::take(&mut answer.choices);
                match self.begin(session, &answer, choices) {
                    Ok(()) => {}
                    Err(error) => self.fail(Then::Answer(answer), error),
                }
            }
        }
    }

    fn begin(&mut self, mut session: Session, answer: &Answer, choices: Vec<Choice>) -> Result<(), SessionError> {
        session.set_constraint(answer.constraint.clone())?;
        for choice in choices {
            self.running.push(Running::new(session.fork()?, answer, choice));
        }
        Ok(())
    }

    /// Tells a request that it cannot be done. Where memory is short, what is kept goes.
    fn fail(&mut self, then: Then, error: SessionError) {
        if matches!(error, SessionError::OutOfMemory(_)) {
            self.prefixes.clear();
        }
        then.fail(error);
    }
}

/// The option set of each continuation that shows it. The hidden states that they need are computed
/// in one batch, for all.
fn option_sets(batch: &mut Batch, ready: &mut [&mut Running]) -> Vec<Result<Vec<OptionView>, SessionError>> {
    if ready.iter().any(|one| one.show.is_some()) {
        let mut sessions: Vec<&mut Session> = ready.iter_mut().map(|one| &mut one.session).collect();
        // What fails here fails in the step, which tells the request.
        drop(batch.advance(&mut sessions));
    }
    let shown = |one: &mut Running| one.show.map_or(Ok(Vec::new()), |top| one.session.option_set(top));
    ready.iter_mut().map(|one| shown(one)).collect()
}
