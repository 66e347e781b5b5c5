//! A loaded model, ready to run.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ollm_runtime::chat::ChatTemplate;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::{HoldUntil, LatentMode, Plugin, Selector, TokenEnds};
use ollm_runtime::session::{ContextShift, Session, SessionOptions};
use ollm_runtime::tokenizer::Tokenizer;

use crate::args::{MachineArgs, SelectArgs};
use crate::failure::{Failure, Result};

/// A session on a model, with its tokenizer and its plugin.
pub(crate) struct Engine {
    pub(crate) session: Session,
    pub(crate) tokenizer: Tokenizer,
    /// How long it took to get here.
    pub(crate) load_time: Duration,
}

impl Engine {
    pub(crate) fn load(args: &MachineArgs) -> Result<Self> {
        let start = Instant::now();
        let path = args.model()?;
        let model = Arc::new(Model::open(path).map_err(Failure::in_file(path))?);
        let plugin = open_plugin(args.plugin.as_deref(), path, &model)?.map(Arc::new);
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).map_err(Failure::in_file(path))?;
        let options = SessionOptions {
            threads: args.threads,
            prefill_threads: args.prefill_threads,
            context: args.context,
            context_shift: args.context_shift.then_some(ContextShift { keep: args.keep }),
            kv_type: args.kv_type,
            ..SessionOptions::default()
        };
        let session = Session::new(model, plugin, &options)?;
        Ok(Self { session, tokenizer, load_time: start.elapsed() })
    }

    /// The number of options, if there is a plugin.
    pub(crate) fn options(&self) -> Option<usize> {
        self.session.plugin().map(|plugin| plugin.option_count())
    }

    /// The plugin's selector as the flags say; by default the policy decides, for as long as the
    /// plugin was trained for.
    pub(crate) fn selector(&self, args: &SelectArgs, seed: u64) -> Result<Option<Selector>> {
        let Some(plugin) = self.session.plugin() else {
            return args.flag().map_or(Ok(None), |flag| Err(Failure::NoPlugin { flag }));
        };
        let mode = args.mode().unwrap_or(LatentMode::Policy);
        let hold = HoldUntil::new(args.hold.unwrap_or(plugin.spec().hold), TokenEnds::new(&self.tokenizer));
        Ok(Some(Selector::new(mode, hold, plugin.option_count(), seed)?))
    }

    pub(crate) fn chat_template(&self) -> Result<ChatTemplate> {
        Ok(ChatTemplate::from_metadata(self.session.model().gguf().metadata())?)
    }
}

/// The plugin of `--plugin`, or else the one inside the model's file.
fn open_plugin(plugin: Option<&Path>, model_path: &Path, model: &Model) -> Result<Option<Plugin>> {
    match plugin {
        Some(path) => Plugin::open(path, model).map(Some).map_err(Failure::in_file(path)),
        None => Plugin::bundled(model).map_err(Failure::in_file(model_path)),
    }
}
