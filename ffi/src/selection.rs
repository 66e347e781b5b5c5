//! A checked selection of latents, as a session keeps it for itself and for its branches.

use ollm_runtime::plugin::{Hold, HoldUntil, LatentMode, Selector};
use ollm_runtime::session::Session;

use crate::model::OllmModel;
use crate::status::{CallFailure, OllmStatus, Result};

/// A checked selection. No mode is the backbone alone; no hold is the trained one.
#[derive(Clone)]
pub(crate) struct Selection {
    pub(crate) mode: Option<LatentMode>,
    pub(crate) hold: Option<Hold>,
    pub(crate) seed: u64,
}

impl Selection {
    /// That of a new session: what the policy finds most probable, or the backbone.
    pub(crate) fn default_of(session: &Session) -> Self {
        Self { mode: session.plugin().map(|_| LatentMode::Policy), hold: None, seed: 0 }
    }

    /// How long latents are held; without a plugin, which was trained for nothing, for all of the
    /// answer.
    pub(crate) fn hold_until(&self, model: &OllmModel, session: &Session) -> Result<HoldUntil> {
        let trained = || session.plugin().map_or(Hold::All, |plugin| plugin.spec().hold);
        model.hold_until(self.hold.unwrap_or_else(trained))
    }

    /// What selects so; none of the backbone.
    pub(crate) fn selector(&self, model: &OllmModel, session: &Session) -> Result<Option<Selector>> {
        let Some(mode) = self.mode.clone() else { return Ok(None) };
        let none = || CallFailure::new(OllmStatus::NoPlugin, "the session has no plugin, and so no latents");
        let options = session.plugin().ok_or_else(none)?.option_count();
        Ok(Some(Selector::new(mode, self.hold_until(model, session)?, options, self.seed)?))
    }
}
