//! Batched decoding (continuous batching): several sessions of one model in one read of the
//! weights.

use crate::model::Scratch;
use crate::plugin::Selector;
use crate::sampler::Sampler;

use super::buffers::{BufferBytes, Buffers};
use super::choice::{Chosen, Pick, Request, Step};
use super::error::SessionError;
use super::group::Group;
use super::latents::{ROWS, StepSource};
use super::sequence::attention_bytes;
use super::state::Session;

type Result<T, E = SessionError> = std::result::Result<T, E>;

/// The buffers of batched decoding, kept from call to call.
///
/// The sessions of a call are of one model, one plugin and one instruction set, such as
/// [forks](Session::fork) are; the threads of the first of them compute. A batch may have other
/// sessions at each call, and any number of them. It rests for the [duty cycle](Session::set_duty)
/// of each, so the smallest one sets its pace.
///
/// ```no_run
/// # use ollm_runtime::{sampler::Sampler, session::*};
/// # fn step(one: &mut Session, two: &mut Session, sampler: &mut [Sampler; 2]) {
/// let [first, second] = sampler;
/// let steps = Batch::default().step(&mut [
///     Turn { session: one, selector: None, sampler: first },
///     Turn { session: two, selector: None, sampler: second },
/// ]);
/// # drop(steps);
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Batch(Buffers);

/// What [`Batch::choose`] gives.
pub(crate) struct Choices {
    /// Of each session.
    pub(crate) sessions: Vec<Result<()>>,
    /// Of each request.
    pub(crate) choices: Vec<Option<Result<Chosen>>>,
}

/// A session's part in [`Batch::step`].
#[derive(Debug)]
pub struct Turn<'a> {
    /// The session.
    pub session: &'a mut Session,
    /// What selects the latent; `None` leaves the step to the backbone.
    pub selector: Option<&'a Selector>,
    /// What chooses the token.
    pub sampler: &'a mut Sampler,
}

impl Batch {
    /// Makes the hidden state of the last token of each session current: [`Session::hidden`],
    /// [`Session::policy`] and [`Session::option_set`] need no pass of their own then. Sessions for
    /// which it is are left as they are.
    ///
    /// An error concerns one session: the other sessions are advanced all the same. Each session
    /// has the outcome that [`Session::hidden`] would have had.
    pub fn advance(&mut self, sessions: &mut [&mut Session]) -> Vec<Result<()>> {
        let members = sessions.iter_mut().map(|session| session.in_batch().0).collect();
        let mut group = Group::new(&mut self.0, members);
        group.advance();
        group.outcomes().collect()
    }

    /// Chooses next tokens of the sessions, as the `requests` say: several for a session, if need
    /// be, which is evaluated once. No token is added. Each session has an outcome; a request has
    /// none where its session failed.
    pub(crate) fn choose(&mut self, sessions: &mut [&mut Session], requests: &mut [Request<'_>]) -> Choices {
        let members = sessions.iter_mut().map(|session| session.in_batch().0).collect();
        let mut group = Group::new(&mut self.0, members);
        let choices = group.choose(requests);
        Choices { sessions: group.outcomes().collect(), choices }
    }

    /// Bytes that the buffers will hold in a step of `tokens` tokens and `rows` distributions.
    pub(crate) fn bytes_for(&self, session: &Session, tokens: usize, rows: usize) -> usize {
        let config = session.sequence.config();
        let BufferBytes { scratch, logits } = self.0.bytes(config);
        let rows = rows
            .min(ROWS.max(session.sequence.options() + 1))
            .saturating_mul(config.vocab)
            .saturating_mul(size_of::<f32>());
        let threads = session.sequence.machine.threads.most();
        let attention = attention_bytes(config, threads, session.position());
        let scratch = scratch.max(Scratch::bytes_for(config, config.pass_tokens(tokens)));
        [scratch, logits.max(rows), attention].into_iter().fold(0, usize::saturating_add)
    }

    /// Batched decoding: takes a step of each session, as [`Session::step`] would. Their tokens go
    /// through the network in one batch, and so do their hidden states through policy, decoder and
    /// head.
    ///
    /// An error concerns one session: the other sessions take their steps all the same. A pass ends
    /// early only when all of its sessions are cancelled.
    pub fn step(&mut self, turns: &mut [Turn<'_>]) -> Vec<Result<Step>> {
        self.step_with_prefill(turns, &mut []).0
    }

    /// As [`Batch::step`]; what other sessions were given ([`Session::append`]) is computed in the
    /// same pass (chunked prefill). The second list is the outcome of each of them, as of
    /// [`Batch::advance`].
    pub fn step_with_prefill(
        &mut self,
        turns: &mut [Turn<'_>],
        given: &mut [&mut Session],
    ) -> (Vec<Result<Step>>, Vec<Result<()>>) {
        let (mut members, mut requests) = (Vec::new(), Vec::new());
        for (index, Turn { session, selector, sampler }) in turns.iter_mut().enumerate() {
            let (member, latent_state) = session.in_batch();
            members.push(member);
            let source = selector.map_or(StepSource::Backbone, StepSource::Selector);
            requests.push(Request { member: index, source, latent_state, pick: Pick::Sampler(sampler) });
        }
        members.extend(given.iter_mut().map(|session| session.in_batch().0));
        Group::new(&mut self.0, members).step(&mut requests)
    }
}
