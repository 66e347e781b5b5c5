//! Prefix reuse (prompt caching): sessions of earlier requests, of which a new one continues the
//! longest common beginning.

use std::collections::VecDeque;

use ollm_runtime::session::{Session, SessionError};

/// Fewer tokens are computed faster than they are kept.
const WORTH: usize = 16;

/// Sessions of earlier requests; the one that was used last is at the back.
pub(super) struct Prefixes {
    /// A session without a text.
    origin: Session,
    kept: VecDeque<Session>,
    /// Sessions at most.
    most: usize,
}

impl Prefixes {
    pub(super) fn new(origin: Session, most: usize) -> Self {
        Self { origin, kept: VecDeque::new(), most }
    }

    /// A session that has the beginning of `prompt`, as much of it as an earlier one had. It shares
    /// the KV cache of that one (copy on write).
    pub(super) fn session_for(&mut self, prompt: &[u32]) -> Result<Session, SessionError> {
        let lengths = self.kept.iter().map(|session| common(session.tokens(), prompt));
        let best = lengths.enumerate().max_by_key(|&(_, length)| length).filter(|&(_, length)| length >= WORTH);
        let Some((at, length)) = best else { return self.origin.fork() };
        let Some(found) = self.kept.remove(at) else { return self.origin.fork() };
        let session = found.fork().and_then(|mut session| session.rewind(length).map(|()| session));
        self.kept.push_back(found);
        session
    }

    /// Keeps a session, where there are `room` bytes for all that are kept; those whose text is the
    /// beginning of its text go, and so do those that were not used for the longest time.
    pub(super) fn keep(&mut self, mut session: Session, room: usize) {
        if self.most == 0 || session.tokens().len() < WORTH || session.set_constraint(None).is_err() {
            return;
        }
        if self.kept.iter().any(|other| other.tokens().starts_with(session.tokens())) {
            return;
        }
        session.trim();
        self.kept.retain(|other| !session.tokens().starts_with(other.tokens()));
        if self.kept.len() >= self.most {
            self.kept.pop_front();
        }
        self.kept.push_back(session);
        self.shrink(room);
    }

    /// Forgets those that were not used for the longest time, until the rest hold at most so many
    /// bytes of KV cache.
    pub(super) fn shrink(&mut self, room: usize) {
        while !self.kept.is_empty() && Session::kv_bytes(&self.kept) > room {
            self.kept.pop_front();
        }
    }
}

/// How many tokens two texts have in common at their beginning.
fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
