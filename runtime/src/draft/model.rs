//! A draft model: a smaller model of the same vocabulary.

use std::fmt;
use std::sync::Arc;

use crate::model::Model;
use crate::sampler::{Sampler, SamplerOptions};
use crate::session::{Drafter, Session, SessionError};

/// Drafts what a smaller model finds most probable.
pub struct ModelDrafter {
    session: Session,
    sampler: Sampler,
}

impl ModelDrafter {
    /// Drafts for `session` with `model`, on the same threads, with a context of the same size.
    ///
    /// # Errors
    /// [`SessionError::DraftVocabulary`], [`SessionError::OutOfMemory`],
    /// [`SessionError::Bidirectional`] for a model that does not continue texts. Vocabularies of
    /// one size with other tokens cannot be told apart here: drafts are wrong then, and the text is
    /// the same.
    pub fn new(session: &Session, model: Arc<Model>) -> Result<Self, SessionError> {
        let (draft, vocab) = (model.config().vocab, session.model().config().vocab);
        if draft != vocab {
            return Err(SessionError::DraftVocabulary { draft, model: vocab });
        }
        if !model.config().causal {
            return Err(SessionError::Bidirectional);
        }
        Ok(Self { session: session.beside(model)?, sampler: Sampler::new(SamplerOptions::default())? })
    }

    /// How many tokens of `text` the session has.
    fn known(&self, text: &[u32]) -> usize {
        self.session.tokens().iter().zip(text).take_while(|(a, b)| a == b).count()
    }

    /// Comes to `text`, and on from there.
    fn try_draft(&mut self, text: &[u32], count: usize, draft: &mut Vec<u32>) -> Result<(), SessionError> {
        let known = self.known(text);
        self.session.rewind(known)?;
        self.session.feed(&text[known..])?;
        for _ in 0..count {
            draft.push(self.session.step(None, &mut self.sampler)?.token);
        }
        Ok(())
    }
}

impl fmt::Debug for ModelDrafter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelDrafter").finish_non_exhaustive()
    }
}

impl Drafter for ModelDrafter {
    fn evidence(&mut self, _: &[u32]) -> Option<usize> {
        Some(0)
    }

    /// An error of the draft model, such as a full context, ends the draft: the text does not need
    /// it. A cancellation is that of the session that drafts, which has not seen it yet.
    fn draft(&mut self, text: &[u32], count: usize, draft: &mut Vec<u32>) {
        if let Err(SessionError::Cancelled) = self.try_draft(text, count, draft) {
            self.session.canceller().cancel();
        }
    }

    fn unread(&self, text: &[u32]) -> usize {
        text.len() - self.known(text)
    }
}
