//! Batched decoding (continuous batching): several sessions of one model in one read of the
//! weights.

use crate::plugin::Selector;
use crate::sampler::Sampler;

use super::buffers::Buffers;
use super::choice::{Request, Step};
use super::error::SessionError;
use super::group::Group;
use super::latents::StepSource;
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
        let members = sessions.iter_mut().map(|session| session.in_batch()).collect();
        let mut group = Group::new(&mut self.0, members);
        group.advance();
        group.outcomes().collect()
    }

    /// Batched decoding: takes a step of each session, as [`Session::step`] would. Their tokens go
    /// through the network in one batch, and so do their hidden states through policy, decoder and
    /// head.
    ///
    /// An error concerns one session: the other sessions take their steps all the same. A pass ends
    /// early only when all of its sessions are cancelled.
    pub fn step(&mut self, turns: &mut [Turn<'_>]) -> Vec<Result<Step>> {
        let (mut members, mut requests) = (Vec::new(), Vec::new());
        for Turn { session, selector, sampler } in turns {
            members.push(session.in_batch());
            let source = selector.map_or(StepSource::Backbone, StepSource::Selector);
            requests.push(Request { source, sampler });
        }
        Group::new(&mut self.0, members).step(&mut requests)
    }
}
