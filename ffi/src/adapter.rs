//! Adapters: low-rank changes of a backbone (`LoRA`), which a session applies while it runs. An
//! adapter does not change: any number of sessions and threads share it, and sessions of one model
//! may have different ones.

use std::sync::Arc;

use ollm_runtime::model::Adapter;

use crate::boundary::guard;
use crate::cast::{self, Out};
use crate::handle::{HandleTable, Named};
use crate::log::{self, OllmLogLevel};
use crate::model::OllmModel;
use crate::session::OllmSession;
use crate::source::OllmSource;
use crate::status::{OllmStatus, Result};
use crate::turn::with;

/// Low-rank adapters of a model. Since 0.1.0.
pub struct OllmAdapter(Arc<Adapter>);

static ADAPTERS: HandleTable<OllmAdapter> = HandleTable::new();

impl Named for OllmAdapter {
    const KIND: usize = 7;
    const NAME: &'static str = "adapter";
    fn table() -> &'static HandleTable<Self> {
        &ADAPTERS
    }
}

/// Loads adapters of `model` from a GGUF file, as llama.cpp's `convert_lora_to_gguf` and
/// `ollm-convert adapter` write it. On success `*adapter` is a handle with one owner: release it
/// with `ollm_adapter_release`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_IO`,
/// `OLLM_BAD_FILE` also for factors whose shapes do not fit, `OLLM_UNSUPPORTED`, `OLLM_MISMATCH`
/// for adapters of another architecture or of matrices that cannot be adapted at run time,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_adapter_load(
    model: *const OllmModel,
    source: *const OllmSource,
    adapter: *mut *mut OllmAdapter,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (source, out) = unsafe { (OllmSource::read(source)?, Out::new("adapter", adapter)?) };
        let model = OllmModel::table().get(model)?;
        let loaded = source.open(None, |storage| Ok(Adapter::from_storage(storage, &model.model)?))?;
        log::write(OllmLogLevel::Info, || format!("loaded adapters of {} matrices", loaded.matrices()));
        out.set(ADAPTERS.insert(OllmAdapter(Arc::new(loaded)))?);
        Ok(())
    })
}

/// Gives up one owner and makes `*adapter` NULL. Sessions with the adapter keep it alive. NULL, and
/// a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_adapter_release(adapter: *mut *mut OllmAdapter) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { ADAPTERS.release_at(adapter) }.map(drop))
}

/// Sets the adapters of all that follows, each with its scale (1 is as it was trained); with a
/// `count` of 0 the backbone is as it is, as at first. `scales` may be NULL: all are 1. The tokens
/// that are there stay as they were computed: rewind to compute them anew. Forks and branches have
/// them too; a saved session does not.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_MISMATCH` for
/// adapters of another model. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_set_adapters(
    session: *mut OllmSession,
    adapters: *const *const OllmAdapter,
    scales: *const f32,
    count: usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the arrays are as long as the caller says.
        let (adapters, scales) = unsafe {
            let scales = if scales.is_null() { None } else { Some(cast::slice("the scales", scales, count)?) };
            (cast::slice("the adapters", adapters, count)?, scales)
        };
        let adapted = |(i, adapter): (usize, &*const OllmAdapter)| {
            let adapter = Arc::clone(&ADAPTERS.get(*adapter)?.0);
            Ok((adapter, scales.map_or(1.0, |scales| scales[i])))
        };
        let adapted = adapters.iter().enumerate().map(adapted).collect::<Result<Vec<_>>>()?;
        with(session, |live| Ok(live.session.set_adapters(adapted)?))
    })
}
