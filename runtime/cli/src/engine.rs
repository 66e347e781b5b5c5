//! A loaded model, ready to run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ollm_runtime::Error;
use ollm_runtime::constraint::{Constraint, GrammarCompiler};
use ollm_runtime::draft::{ModelDrafter, NgramDrafter};
use ollm_runtime::gguf::Metadata;
use ollm_runtime::model::{Adapter, Model};
use ollm_runtime::plugin::{HoldUntil, LatentMode, Plugin, Selector, TokenEnds};
use ollm_runtime::session::{ContextShift, Drafter, PromptCache, Session, SessionOptions, SnapshotError};
use ollm_runtime::storage::StorageOptions;
use ollm_runtime::tokenizer::Tokenizer;

use crate::args::{DraftSource, Lora, MachineArgs, SelectArgs};
use crate::bus_error;
use crate::constrain::GrammarText;
use crate::failure::{Failure, Result};
use crate::output;

/// A session on a model, with its tokenizer and its plugin.
pub(crate) struct Engine {
    pub(crate) session: Session,
    pub(crate) tokenizer: Arc<Tokenizer>,
    prompts: Option<PromptCache>,
    /// How long it took to get here.
    pub(crate) load_time: Duration,
}

impl Engine {
    pub(crate) fn load(args: &MachineArgs) -> Result<Self> {
        Self::load_for(args, |_, _| Ok(args.context))
    }

    /// Loads the model for a context of so many positions as `context` says; 0 takes the context
    /// that the model was trained for.
    pub(crate) fn load_for(
        args: &MachineArgs,
        context: impl FnOnce(&Model, &Tokenizer) -> Result<usize>,
    ) -> Result<Self> {
        let start = Instant::now();
        let path = args.model()?;
        if !args.copy {
            let adapters = args.lora.iter().map(|lora| &*lora.path);
            let draft = match &args.draft {
                Some(DraftSource::Model(path)) => Some(&**path),
                _ => None,
            };
            let others = args.plugin.as_deref().into_iter().chain(adapters).chain(draft);
            bus_error::explain(&[&**path].into_iter().chain(others).collect::<Vec<_>>());
        }
        let files = args.files();
        let model = files.open(path).map_err(Failure::in_file(path))?;
        let model = Arc::new(Model::from_storage(model).map_err(Failure::in_file(path))?);
        let plugin = open_plugin(files, args.plugin.as_deref(), path, &model)?.map(Arc::new);
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).map_err(Failure::in_file(path))?;
        tokenizer.warnings().iter().for_each(|warning| output::warn(&warning.to_string()));
        let options = SessionOptions {
            threads: args.threads,
            prefill_threads: args.prefill_threads,
            context: context(&model, &tokenizer)?,
            context_shift: args.context_shift.then_some(ContextShift { keep: args.keep }),
            kv_type: args.kv_type,
            ..SessionOptions::default()
        };
        let mut session = Session::new(Arc::clone(&model), plugin, &options)?;
        let adapted = args.lora.iter().map(|Lora { path, scale }| {
            let storage = files.open(path).map_err(Failure::in_file(path))?;
            let adapter = Adapter::from_storage(storage, &model).map_err(Failure::in_file(path))?;
            Ok((Arc::new(adapter), *scale))
        });
        session.set_adapters(adapted.collect::<Result<_>>()?)?;
        session.set_drafter(args.draft.as_ref().map(|draft| open_draft(files, draft, &session)).transpose()?);
        let open = |folder: &PathBuf| {
            let cache = PromptCache::open(folder, args.prompt_cache_limit.saturating_mul(1_000_000));
            cache.map_err(|source| Error::Io { path: folder.clone(), source })
        };
        let prompts = args.prompt_cache.as_ref().map(open).transpose()?;
        Ok(Self { session, tokenizer: Arc::new(tokenizer), prompts, load_time: start.elapsed() })
    }

    /// Feeds a prompt, from the folder of prompts as far as that has it. Gives how many tokens were
    /// computed.
    pub(crate) fn feed(&mut self, tokens: &[u32]) -> Result<usize> {
        let Some(prompts) = &self.prompts else {
            self.session.feed(tokens)?;
            return Ok(tokens.len());
        };
        match prompts.feed(&mut self.session, tokens) {
            Ok(found) => Ok(tokens.len() - found),
            // The prompt was read: what cannot be kept for the next run does not end this one.
            Err(SnapshotError::Write(error)) => {
                output::aside(&format!("note: this prompt is not kept: {error}"));
                self.prompts = None;
                Ok(tokens.len())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Feeds a prompt to a session that is empty, where there is a folder of prompts. Gives how
    /// many tokens were computed.
    pub(crate) fn recall(&mut self, tokens: &[u32]) -> Result<usize> {
        let fits = tokens.len() < self.session.context() && self.session.tokens().is_empty();
        if self.prompts.is_some() && fits { self.feed(tokens) } else { Ok(0) }
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

    /// A constraint, for this model.
    pub(crate) fn compile(&self, grammar: &GrammarText<'_>) -> Result<Constraint> {
        Ok(Constraint::after(&self.compiler()?.compile(grammar.kind, &grammar.text)?, grammar.trigger))
    }

    /// What compiles grammars for this model.
    pub(crate) fn compiler(&self) -> Result<GrammarCompiler> {
        Ok(GrammarCompiler::new(&self.tokenizer, self.session.model().config().vocab)?)
    }

    /// Constrains what is generated, where a grammar is given.
    pub(crate) fn constrain(&mut self, grammar: Option<&GrammarText<'_>>) -> Result<()> {
        let constraint = grammar.map(|grammar| self.compile(grammar)).transpose()?;
        Ok(self.session.set_constraint(constraint)?)
    }

    /// The metadata of the model's file.
    pub(crate) fn metadata(&self) -> &Metadata {
        self.session.model().gguf().metadata()
    }
}

/// What `--draft` names.
fn open_draft(files: StorageOptions, draft: &DraftSource, session: &Session) -> Result<Box<dyn Drafter>> {
    let path = match draft {
        DraftSource::Ngram => return Ok(Box::new(NgramDrafter::default())),
        DraftSource::Model(path) => path,
    };
    let storage = files.open(path).map_err(Failure::in_file(path))?;
    let model = Model::from_storage(storage).map_err(Failure::in_file(path))?;
    Ok(Box::new(ModelDrafter::new(session, Arc::new(model)).map_err(Failure::in_file(path))?))
}

/// The plugin of `--plugin`, or else the one inside the model's file.
fn open_plugin(
    files: StorageOptions,
    plugin: Option<&Path>,
    model_path: &Path,
    model: &Model,
) -> Result<Option<Plugin>> {
    match plugin {
        Some(path) => {
            let storage = files.open(path).map_err(Failure::in_file(path))?;
            Plugin::from_storage(storage, model).map(Some).map_err(Failure::in_file(path))
        }
        None => Plugin::bundled(model).map_err(Failure::in_file(model_path)),
    }
}
