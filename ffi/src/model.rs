//! Models: a frozen backbone with its tokenizer, loaded from a file, a part of a file, or memory. A
//! model does not change: any number of sessions and threads share it.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use ollm_runtime::constraint::{ConstraintError, GrammarCompiler};
use ollm_runtime::model::{LoadOptions, LoadProgress, Model};
use ollm_runtime::plugin::Hold;
use ollm_runtime::plugin::{HoldUntil, TokenEnds};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::{Tokenizer, TokenizerError};

use crate::boundary::guard;
use crate::cast::{self, Out, OutArray, versioned};
use crate::handle::{HandleTable, Named};
use crate::info;
use crate::log::{self, OllmLogLevel};
use crate::source::OllmSource;
use crate::status::{CallFailure, OllmStatus, Result};

/// A backbone and its tokenizer. Since 0.1.0.
pub struct OllmModel {
    pub(crate) model: Arc<Model>,
    tokenizer: std::result::Result<Arc<Tokenizer>, TokenizerError>,
    token_ends: OnceLock<TokenEnds>,
    /// Compiles grammars, once one is asked for.
    grammars: OnceLock<std::result::Result<GrammarCompiler, ConstraintError>>,
}

static MODELS: HandleTable<OllmModel> = HandleTable::new();

impl Named for OllmModel {
    const KIND: usize = 0;
    const NAME: &'static str = "model";
    fn table() -> &'static HandleTable<Self> {
        &MODELS
    }
}

impl OllmModel {
    fn new(model: Model) -> Self {
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).map(Arc::new);
        Self { model: Arc::new(model), tokenizer, token_ends: OnceLock::new(), grammars: OnceLock::new() }
    }

    /// The tokenizer, which a file of weights alone has not.
    pub(crate) fn tokenizer(&self) -> Result<&Arc<Tokenizer>> {
        self.tokenizer.as_ref().map_err(|error| CallFailure::new(OllmStatus::NoTokenizer, error.to_string()))
    }

    /// What compiles grammars for this model.
    pub(crate) fn grammars(&self) -> Result<&GrammarCompiler> {
        let tokenizer = self.tokenizer()?;
        let compiler = self.grammars.get_or_init(|| GrammarCompiler::new(tokenizer, self.model.config().vocab));
        compiler.as_ref().map_err(|error| error.clone().into())
    }

    /// What ends this hold; one for a line needs the tokenizer.
    pub(crate) fn hold_until(&self, hold: Hold) -> Result<HoldUntil> {
        let ends = |tokenizer| self.token_ends.get_or_init(|| TokenEnds::new(tokenizer)).clone();
        match self.tokenizer() {
            Ok(tokenizer) => Ok(HoldUntil::new(hold, ends(tokenizer))),
            Err(none) if hold == Hold::Line => Err(none),
            Err(_) => Ok(hold.into()),
        }
    }
}

/// Tells how far a load is, from 0 to 1, on the thread that loads; any other result than 0 cancels
/// it. Since 0.1.0.
pub type OllmProgressFn = Option<unsafe extern "C" fn(user: *mut c_void, progress: f32) -> i32>;

/// How to load. A field that is 0 takes the default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmLoadOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Bytes of memory that the weights may take, with a copy of the file if one is made; 0 is no
    /// limit. Pages of a file that is mapped are the system's, which takes them back when it needs
    /// them: they do not count.
    pub memory_limit: usize,
    /// Threads that prepare the weights, at most 1024; 0 takes as many as the system has cores for.
    pub threads: usize,
    /// Called while the model loads; may be NULL.
    pub progress: OllmProgressFn,
    /// The first argument of `progress`.
    pub user: *mut c_void,
}

versioned!(OllmLoadOptions {
    struct_size: usize,
    memory_limit: usize,
    threads: usize,
    progress: OllmProgressFn,
    user: *mut c_void,
});

impl OllmLoadOptions {
    fn memory_limit(&self) -> Option<u64> {
        (self.memory_limit > 0).then_some(self.memory_limit as u64)
    }
}

/// Loads a model from a GGUF file. On success `*model` is a handle with one owner: release it with
/// `ollm_model_release`. `options` may be NULL.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_IO`, `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`,
/// `OLLM_MEMORY_LIMIT`, `OLLM_OUT_OF_MEMORY`, `OLLM_CANCELLED` by the progress callback. Since
/// 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_model_load(
    source: *const OllmSource,
    options: *const OllmLoadOptions,
    model: *mut *mut OllmModel,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (source, options, out) =
            unsafe { (OllmSource::read(source)?, cast::options(options)?, Out::new("model", model)?) };
        let loaded = source.open(options.memory_limit(), |storage| load(storage, &options))?;
        log::write(OllmLogLevel::Info, || format!("loaded a model of {} bytes", loaded.model.storage().len()));
        out.set(MODELS.insert(loaded)?);
        Ok(())
    })
}

fn load(storage: Storage, options: &OllmLoadOptions) -> Result<OllmModel> {
    let mut progress = options.progress.map(|callback| {
        let user = options.user;
        move |LoadProgress { done, total }| {
            let share = if total == 0 { 1.0 } else { done as f64 / total as f64 };
            // SAFETY: the callback and its argument go together, and the call that gave them has
            // not returned.
            let cancelled = unsafe { callback(user, share as f32) } != 0;
            if cancelled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    });
    let options = LoadOptions {
        threads: options.threads,
        memory_limit: options.memory_limit(),
        progress: progress.as_mut().map(|progress| progress as _),
    };
    Ok(OllmModel::new(Model::load(storage, options)?))
}

/// Adds an owner: `model` has to be released once more.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_model_retain(model: *const OllmModel) -> OllmStatus {
    guard(|| MODELS.retain(model))
}

/// Gives up one owner and makes `*model` NULL. Sessions and plugins on the model keep it alive.
/// NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_model_release(model: *mut *mut OllmModel) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { MODELS.release_at(model) }.map(drop))
}

/// The value of a key of the file's metadata, as JSON: a number, a string, a truth value or an
/// array.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for a key that the file has not,
/// `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_model_metadata(
    model: *const OllmModel,
    key: *const c_char,
    key_length: usize,
    json: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: text and buffer are as long as the caller says.
        let (key, out) = unsafe { (cast::text("the key", key, key_length)?, OutArray::text(json, capacity, length)?) };
        let model = MODELS.get(model)?;
        let value = model.model.gguf().metadata().get(key);
        let value = value.ok_or_else(|| CallFailure::argument(format!("the model's file has no key {key:?}")))?;
        out.write_text(info::of_value(value).to_string().as_bytes())
    })
}

/// What the model is, as JSON: name, architecture, shape, tensor types, tokenizer, fingerprint.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_model_info(
    model: *const OllmModel,
    json: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the buffer is as long as the caller says.
        let out = unsafe { OutArray::text(json, capacity, length) }?;
        let model = MODELS.get(model)?;
        out.write_text(info::of_model(&model.model, model.tokenizer().ok().map(Arc::as_ref)).to_string().as_bytes())
    })
}
