//! Memory: the need of a model before it is loaded, the memory that a session holds, and how to
//! reduce it. The limits are in `ollm_load_options` and `ollm_session_options`.

use ollm_runtime::gguf::Gguf;
use ollm_runtime::model::{Config, Weights};
use ollm_runtime::plugin::schema::PluginConfig;
use ollm_runtime::session::Session;
use ollm_runtime::storage::Storage;

use crate::boundary::guard;
use crate::cast::{self, Out, OutStruct, versioned};
use crate::session::{OllmSession, OllmSessionOptions};
use crate::source::OllmSource;
use crate::status::{OllmStatus, Result};
use crate::turn::with;

/// Bytes of memory, without the pages of mapped files, with the bytes that loading copies. Since
/// 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmMemory {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// The model's weights.
    pub weights: usize,
    /// The plugin's weights.
    pub plugin: usize,
    /// The KV cache of a session whose context is full.
    pub kv: usize,
    /// Buffers of a session.
    pub scratch: usize,
    /// All of it.
    pub total: usize,
}

versioned!(OllmMemory { struct_size: usize, weights: usize, plugin: usize, kv: usize, scratch: usize, total: usize });

/// What a model, a plugin (NULL if there is none) and a session with these options (NULL for the
/// defaults) will need. Only the head of the files is read, and the sources are not taken over:
/// `release` is not called. `needed` must begin with its `struct_size`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_IO`, `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_memory_needed(
    model: *const OllmSource,
    plugin: *const OllmSource,
    options: *const OllmSessionOptions,
    needed: *mut OllmMemory,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (model, options, out) =
            unsafe { (OllmSource::read(model)?, cast::options(options)?, OutStruct::new(needed)?) };
        // SAFETY: as above.
        let plugin = if plugin.is_null() { None } else { Some(unsafe { OllmSource::read(plugin) }?) };
        let ((config, weights), copied) = model.peek(model_needs)?;
        let weights = weights.saturating_add(copied);
        let plugin = plugin.map(|plugin| plugin.peek(plugin_needs)).transpose()?;
        let spec = plugin.as_ref().map(|((spec, _), _)| spec);
        let session = Session::memory_needed(&config, spec, &options.to_runtime()?);
        let plugin = plugin.map_or(0, |((_, bytes), copied)| bytes.saturating_add(copied));
        out.set(&OllmMemory {
            struct_size: size_of::<OllmMemory>(),
            weights,
            plugin,
            kv: session.kv,
            scratch: session.scratch,
            total: session.total().saturating_add(weights).saturating_add(plugin),
        });
        Ok(())
    })
}

fn model_needs(file: &Storage) -> Result<(Config, usize)> {
    let gguf = Gguf::of(file)?;
    let config = Config::from_gguf(&gguf, file)?;
    let weights = Weights::bind(&gguf, file, &config)?.packed_size();
    Ok((config, usize::try_from(weights).unwrap_or(usize::MAX)))
}

fn plugin_needs(file: &Storage) -> Result<(PluginConfig, usize)> {
    let gguf = Gguf::parse(file)?;
    let spec = PluginConfig::from_metadata(gguf.metadata()).map_err(ollm_runtime::Error::from)?;
    Ok((spec, gguf.tensors().iter().map(|tensor| tensor.size).sum()))
}

/// The bytes that the session holds now, without the weights, in `*bytes`. Memory that forks share
/// counts for each fork.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_memory(session: *mut OllmSession, bytes: *mut usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("bytes", bytes) }?;
        out.set(with(session, |live| Ok(live.session.memory_used()))?);
        Ok(())
    })
}

/// Trims the session: frees memory that it can allocate again when needed, for low-memory warnings
/// of the system. To free more, save the session and free it.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_session_trim(session: *mut OllmSession) -> OllmStatus {
    guard(|| {
        with(session, |live| {
            live.session.trim();
            Ok(())
        })
    })
}
