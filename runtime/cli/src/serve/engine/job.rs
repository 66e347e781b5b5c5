//! What requests ask of the engine, and what they hear of it.

use std::collections::VecDeque;

use ollm_runtime::constraint::Constraint;
use ollm_runtime::generate::Reason;
use ollm_runtime::plugin::Selector;
use ollm_runtime::sampler::Sampler;
use ollm_runtime::session::{OptionView, Session, SessionError, Step};
use tokio::sync::{mpsc, oneshot};

use crate::serve::admission::Place;
use crate::serve::error::ApiError;

/// A prompt, and what follows it.
pub(crate) struct Job {
    pub(crate) prompt: Vec<u32>,
    pub(crate) then: Then,
    /// Bytes of KV cache that it may come to hold.
    pub(crate) kv: usize,
}

/// The jobs of a request, with its place among those that wait.
pub(crate) struct Request {
    pub(super) jobs: VecDeque<Job>,
    _place: Place,
}

impl Request {
    pub(crate) fn new(jobs: Vec<Job>, place: Place) -> Self {
        Self { jobs: jobs.into(), _place: place }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.jobs.iter().all(|job| job.then.is_gone())
    }
}

/// What is done with a prompt.
pub(crate) enum Then {
    /// It is continued, in the batch of all that are.
    Answer(Answer),
    /// Something of its own, alone; the batch and other works go on between its steps.
    Work(Box<dyn Work>),
}

/// One or more continuations of a prompt.
pub(crate) struct Answer {
    pub(crate) choices: Vec<Choice>,
    pub(crate) constraint: Option<Constraint>,
    /// Tokens of each at most.
    pub(crate) limit: usize,
    pub(crate) stops: Vec<String>,
    /// How many tokens of each option are to be seen, if any.
    pub(crate) show: Option<usize>,
    /// Where what is generated goes. While it is full the continuation waits; when it is closed the
    /// continuation ends.
    pub(crate) events: mpsc::Sender<Event>,
}

/// One continuation.
pub(crate) struct Choice {
    /// Its number in the request.
    pub(crate) index: usize,
    pub(crate) selector: Option<Selector>,
    pub(crate) sampler: Sampler,
}

/// What a request hears.
pub(crate) enum Event {
    /// A prompt is in: so many of its tokens were known.
    Prompted { reused: usize },
    /// A token came.
    Token(Box<TokenEvent>),
    /// A continuation has ended; `rest` is text that came with no token.
    Done { index: usize, reason: Reason, rest: String },
    /// A continuation failed.
    Failed(SessionError),
}

/// One generated token.
pub(crate) struct TokenEvent {
    pub(crate) index: usize,
    pub(crate) step: Step,
    /// The text that is complete with it, and sure.
    pub(crate) text: String,
    /// How many characters are complete with it: of these the last ones may not be sure yet.
    pub(crate) characters: usize,
    /// How many bytes these are.
    pub(crate) bytes: usize,
    /// The most probable tokens, with their natural log-probabilities.
    pub(crate) top: Vec<(u32, f32)>,
    /// The option set it was chosen from, if that is to be seen.
    pub(crate) options: Vec<OptionView>,
}

/// Something that needs a session of its own.
pub(crate) trait Work: Send {
    /// Whether nobody waits for it any more.
    fn is_gone(&self) -> bool;
    /// Does it, with a session that has the prompt; `pause` lets the others go on, is called
    /// between steps, and tells whether it may go on itself.
    fn run(self: Box<Self>, session: Result<Session, SessionError>, pause: &mut dyn FnMut() -> bool);
}

/// Work with a reply.
pub(crate) struct Task<T, F> {
    reply: oneshot::Sender<Result<T, ApiError>>,
    work: F,
}

/// What [`Task`]s are given beside the session: lets the others go on, and tells whether somebody
/// still waits.
pub(crate) type Between<'a> = dyn FnMut() -> bool + 'a;

impl<T, F> Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(Session, &mut Between<'_>) -> Result<T, ApiError> + Send + 'static,
{
    /// The task, and where its reply comes.
    pub(crate) fn boxed(work: F) -> (Box<dyn Work>, oneshot::Receiver<Result<T, ApiError>>) {
        let (reply, receiver) = oneshot::channel();
        (Box::new(Self { reply, work }), receiver)
    }
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: FnOnce(Session, &mut Between<'_>) -> Result<T, ApiError> + Send,
{
    fn is_gone(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(self: Box<Self>, session: Result<Session, SessionError>, pause: &mut dyn FnMut() -> bool) {
        let Self { reply, work } = *self;
        let mut between = || pause() && !reply.is_closed();
        let outcome = session.map_err(ApiError::from).and_then(|session| work(session, &mut between));
        // Nobody waits if this fails.
        let _ = reply.send(outcome);
    }
}

impl Then {
    /// Whether nobody waits for it any more.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.events.is_closed(),
            Self::Work(work) => work.is_gone(),
        }
    }

    /// Sequences that it takes.
    pub(super) fn sequences(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.choices.len(),
            Self::Work(_) => 1,
        }
    }

    /// Tells that it cannot be done.
    pub(super) fn fail(self, error: SessionError) {
        match self {
            // A channel that is full or closed belongs to a client that does not listen.
            Self::Answer(answer) => drop(answer.events.try_send(Event::Failed(error))),
            Self::Work(work) => work.run(Err(error), &mut || false),
        }
    }
}
