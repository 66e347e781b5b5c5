//! The engine: one thread that owns every session, and decodes all that are on their way in one
//! batch (continuous batching).
//!
//! A pass admits what waits if there is room: places in the batch (`--parallel`), and bytes of KV
//! cache (`--kv-memory`), of which each job reserves as many as it may come to hold. It takes a
//! step of each continuation, and a piece of the prompts that are new, in one read of the weights
//! (chunked prefill): a long prompt holds nobody up for long. Works (searches, embeddings, option
//! sets) have steps of their own and take turns, one step between two passes.
//!
//! Requests and the engine know each other by channels alone: a request whose channel is closed is
//! cancelled, wherever it is. Each text is bit-identical to that of the same request alone.
//!
//! | file | what it holds |
//! |---|---|
//! | `job` | what requests ask for, and what they hear |
//! | `running` | a continuation on its way |
//! | `coroutine` | a work on its way |
//! | `pace` | how many tokens of prompts a pass takes |
//! | `prefixes` | prefix reuse |

mod coroutine;
mod job;
mod pace;
mod prefixes;
mod running;

pub(crate) use job::{Answer, Between, Choice, Event, Job, Request, Task, Then, TokenEvent};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ollm_runtime::generate::Reason;
use ollm_runtime::session::{Batch, OptionView, Session, SessionError};
use ollm_runtime::tokenizer::Tokenizer;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::serve::memory::{KvMemory, Reservation};
use crate::serve::metrics::Metrics;
use coroutine::Coroutine;
use pace::Pace;
use prefixes::Prefixes;
use running::Running;

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
    kv: Arc<Reservation>,
}

impl Prompted {
    fn is_complete(&self) -> bool {
        self.session.tokens().len() == self.job.prompt.len()
    }
}

/// The engine's side of the channels.
pub(crate) struct Scheduler {
    inbox: UnboundedReceiver<Request>,
    /// Requests that wait. They take turns: one of many prompts holds up no other.
    waiting: VecDeque<Request>,
    bounds: Bounds,
    memory: KvMemory,
    prefixes: Prefixes,
    prompts: VecDeque<Prompted>,
    /// The one whose turn it is is at the front.
    works: VecDeque<(Coroutine, Arc<Reservation>)>,
    running: Vec<Running>,
    batch: Batch,
    pace: Pace,
    tokenizer: Arc<Tokenizer>,
    metrics: Arc<Metrics>,
}

impl Scheduler {
    /// An engine for forks of `origin`, and where requests go.
    pub(crate) fn new(
        origin: Session,
        tokenizer: Arc<Tokenizer>,
        bounds: Bounds,
        memory: KvMemory,
        metrics: Arc<Metrics>,
    ) -> (Self, UnboundedSender<Request>) {
        let (sender, inbox) = unbounded_channel();
        let engine = Self {
            inbox,
            waiting: VecDeque::new(),
            bounds,
            memory,
            prefixes: Prefixes::new(origin, bounds.prefixes),
            prompts: VecDeque::new(),
            works: VecDeque::new(),
            running: Vec::new(),
            batch: Batch::default(),
            pace: Pace::default(),
            tokenizer,
            metrics,
        };
        (engine, sender)
    }

    /// Works until nobody can ask for anything any more.
    pub(crate) fn run(mut self) {
        loop {
            let idle = self.running.is_empty() && self.prompts.is_empty() && self.works.is_empty();
            if idle && self.waiting.is_empty() {
                match self.inbox.blocking_recv() {
                    Some(request) => self.waiting.push_back(request),
                    None => return,
                }
            }
            let computed = self.pass();
            let worked = self.work();
            self.metrics.running.set(self.running.len() + self.prompts.len() + self.works.len());
            if !computed && !worked {
                std::thread::sleep(NAP);
            }
        }
    }

    /// One pass; whether anything was computed.
    fn pass(&mut self) -> bool {
        // What has ended is kept, and its room is free, before the next request is admitted.
        self.part();
        self.admit();
        self.compute()
    }

    /// A step of the work whose turn it is; whether there is one.
    fn work(&mut self) -> bool {
        let Some((work, kv)) = self.works.pop_front() else { return false };
        if work.step() {
            self.works.push_back((work, kv));
        }
        true
    }

    /// Admits jobs while there is room for them. Requests that nobody waits for go first.
    fn admit(&mut self) {
        self.waiting.extend(std::iter::from_fn(|| self.inbox.try_recv().ok()));
        self.waiting.retain(|request| !request.is_gone());
        while let Some(mut request) = self.waiting.pop_front() {
            let Some(job) = request.jobs.pop_front() else { continue };
            let Some(kv) = self.room_for(&job) else {
                request.jobs.push_front(job);
                self.waiting.push_front(request);
                return;
            };
            if !request.jobs.is_empty() {
                self.waiting.push_back(request);
            }
            match self.prefixes.session_for(&job.prompt) {
                Ok(session) => self.prompts.push_back(Prompted { reused: session.position(), session, job, kv }),
                Err(error) => self.fail(job.then, error),
            }
        }
    }

    /// Room for a job: a place in the batch for each of its sequences, and memory. A continuation
    /// takes none while it waits for its client. What is kept makes room.
    fn room_for(&mut self, job: &Job) -> Option<Arc<Reservation>> {
        let running = self.running.iter().filter(|one| !one.is_stalled()).count();
        let prompts: usize = self.prompts.iter().map(|prompt| prompt.job.then.sequences()).sum();
        let taken = running + self.works.len() + prompts;
        if taken > 0 && taken + job.then.sequences() > self.bounds.parallel {
            return None;
        }
        let kv = self.memory.reserve(job.kv)?;
        self.prefixes.shrink(self.memory.free());
        Some(kv)
    }

    /// Hands out what was said, and parts with the continuations that are over.
    fn part(&mut self) {
        let patience = self.bounds.patience;
        self.running.iter_mut().for_each(Running::flush);
        let (gone, left) = self.running.drain(..).partition(|one: &Running| one.is_over() || one.is_lost(patience));
        self.running = left;
        for one in gone {
            if !one.is_over() && !one.is_gone() {
                self.metrics.timed_out.add(1);
            }
            self.prefixes.keep(one.into_session(), self.memory.free());
        }
    }

    /// A step of each continuation that can go on, and pieces of the prompts that are on their way
    /// in, in one batch. Whether there was anything.
    fn compute(&mut self) -> bool {
        let start = Instant::now();
        let (mut fed, pieces) = self.next_pieces();
        let mut ready: Vec<&mut Running> = self.running.iter_mut().filter(|one| one.is_ready()).collect();
        if ready.is_empty() && fed.is_empty() {
            return false;
        }
        let mut shown = Vec::with_capacity(ready.len());
        let mut turns = Vec::with_capacity(ready.len());
        let mut refused: Vec<Option<SessionError>> = Vec::with_capacity(ready.len());
        let sets = option_sets(&mut self.batch, &mut ready);
        for (one, set) in ready.iter_mut().zip(sets) {
            refused.push(set.and_then(|set| Ok((one.turn()?, set))).map_or_else(Some, |(turn, set)| {
                turns.push(turn);
                shown.push(set);
                None
            }));
        }
        let mut given: Vec<&mut Session> = fed.iter_mut().map(|prompt| &mut prompt.session).collect();
        let (steps, outcomes) = self.batch.step_with_prefill(&mut turns, &mut given);
        drop(turns);
        let decodes = !ready.is_empty();
        self.pace.note(start.elapsed(), pieces, decodes);
        let (mut steps, mut tokens) = (steps.into_iter().zip(shown), 0);
        for (one, refused) in ready.iter_mut().zip(refused) {
            let (step, shown) = match refused {
                Some(error) => (Err(error), Vec::new()),
                None => match steps.next() {
                    Some((step, shown)) => (step, shown),
                    None => continue,
                },
            };
            tokens += usize::from(one.take(step, shown, &self.tokenizer));
        }
        self.metrics.generated.add(tokens);
        self.metrics.passes.add(usize::from(!ready.is_empty()));
        for (prompt, outcome) in fed.into_iter().zip(outcomes) {
            match outcome {
                Err(error) => self.fail(prompt.job.then, error),
                Ok(()) if prompt.is_complete() => self.start(prompt),
                Ok(()) => self.prompts.push_back(prompt),
            }
        }
        true
    }

    /// Gives the prompts that are on their way in their next tokens, as many as a pass may take;
    /// those are to be computed. And how many tokens that are. What follows a prompt that is in
    /// already begins.
    fn next_pieces(&mut self) -> (Vec<Prompted>, usize) {
        let most = self.pace.room(self.running.iter().any(Running::is_ready));
        let mut room = most;
        let mut fed = Vec::new();
        while room > 0
            && let Some(mut prompt) = self.prompts.pop_front()
        {
            if prompt.job.then.is_gone() {
                self.prefixes.keep(prompt.session, self.memory.free());
                continue;
            }
            // What has no prompt of its own is not fed: models of embeddings take none.
            if prompt.job.prompt.is_empty() {
                self.start(prompt);
                continue;
            }
            let rest = &prompt.job.prompt[prompt.session.tokens().len()..];
            let piece = &rest[..rest.len().min(room)];
            room -= piece.len();
            match prompt.session.append(piece) {
                Err(error) => self.fail(prompt.job.then, error),
                Ok(()) if piece.is_empty() => self.start(prompt),
                Ok(()) => fed.push(prompt),
            }
        }
        (fed, most - room)
    }

    /// A prompt is in: what follows it begins.
    fn start(&mut self, Prompted { session, reused, job, kv }: Prompted) {
        self.metrics.prompted.add(job.prompt.len() - reused);
        self.metrics.reused.add(reused);
        match job.then {
            Then::Work(work) => {
                // Without memory for it, it is not kept.
                if let Ok(copy) = session.fork() {
                    self.prefixes.keep(copy, self.memory.free());
                }
                // Where there is no thread for it, the request hears that nobody answers.
                self.works.extend(Coroutine::start(session, work).ok().map(|work| (work, kv)));
            }
            Then::Answer(mut answer) => {
                // A client that does not listen is noticed with the first token.
                let _ = answer.events.try_send(Event::Prompted { reused });
                let choices = std::mem::take(&mut answer.choices);
                match self.begin(session, &answer, choices, &kv) {
                    Ok(()) => {}
                    Err(error) => self.fail(Then::Answer(answer), error),
                }
            }
        }
    }

    fn begin(
        &mut self,
        mut session: Session,
        answer: &Answer,
        choices: Vec<Choice>,
        kv: &Arc<Reservation>,
    ) -> Result<(), SessionError> {
        session.set_constraint(answer.constraint.clone())?;
        for choice in choices {
            let mut one = Running::new(session.fork()?, answer, choice, Arc::clone(kv));
            if answer.limit == 0 {
                one.end(Reason::Limit);
            }
            self.running.push(one);
        }
        Ok(())
    }

    /// Tells a request that it cannot be done. Where memory is short, what is kept goes.
    fn fail(&mut self, then: Then, error: SessionError) {
        if matches!(error, SessionError::OutOfMemory(_)) {
            self.prefixes.shrink(0);
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
