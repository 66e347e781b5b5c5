//! Plugins: the decoder, policy and encoder that make an option set of a backbone's one
//! distribution. A plugin does not change: any number of sessions and threads share it. It belongs
//! to one backbone, in any quantization.

use std::ffi::c_char;
use std::sync::Arc;

use ollm_runtime::plugin::Plugin;
use ollm_runtime::plugin::schema::Backbone;

use crate::boundary::guard;
use crate::cast::{Out, OutArray};
use crate::handle::{HandleTable, Named};
use crate::info;
use crate::log::{self, OllmLogLevel};
use crate::model::OllmModel;
use crate::source::OllmSource;
use crate::status::{CallFailure, OllmStatus, Result};

/// The plugin of a model. Since 0.1.0.
pub struct OllmPlugin(pub(crate) Arc<Plugin>);

static PLUGINS: HandleTable<OllmPlugin> = HandleTable::new();

impl Named for OllmPlugin {
    const KIND: usize = 1;
    const NAME: &'static str = "plugin";
    fn table() -> &'static HandleTable<Self> {
        &PLUGINS
    }
}

impl OllmPlugin {
    /// That the plugin was trained on this backbone.
    pub(crate) fn check(&self, model: &OllmModel) -> Result<()> {
        let backbone = Backbone::of(model.model.gguf(), model.model.storage())?;
        Ok(self.0.spec().backbone.check(&backbone)?)
    }
}

/// Loads the plugin of `model` from a GGUF file. On success `*plugin` is a handle with one owner:
/// release it with `ollm_plugin_release`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_IO`,
/// `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`, `OLLM_OUT_OF_MEMORY`, `OLLM_MISMATCH` if it was trained on
/// another backbone. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_plugin_load(
    model: *const OllmModel,
    source: *const OllmSource,
    plugin: *mut *mut OllmPlugin,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the pointers are what the header asks for.
        let (source, out) = unsafe { (OllmSource::read(source)?, Out::new("plugin", plugin)?) };
        let model = OllmModel::table().get(model)?;
        let loaded = source.open(None, |storage| Ok(Plugin::from_storage(storage, &model.model)?))?;
        log::write(OllmLogLevel::Info, || format!("loaded a plugin of {} options", loaded.option_count()));
        out.set(PLUGINS.insert(OllmPlugin(Arc::new(loaded)))?);
        Ok(())
    })
}

/// The plugin inside the model's own file, if it is a merged one. On success `*plugin` is a handle
/// with one owner.
///
/// Any thread. Statuses: as `ollm_plugin_load`, and `OLLM_NO_PLUGIN` if the file has none. Since
/// 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_plugin_bundled(model: *const OllmModel, plugin: *mut *mut OllmPlugin) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("plugin", plugin) }?;
        let model = OllmModel::table().get(model)?;
        let none = || CallFailure::new(OllmStatus::NoPlugin, "the model's file holds no plugin: load one");
        let bundled = Plugin::bundled(&model.model)?.ok_or_else(none)?;
        out.set(PLUGINS.insert(OllmPlugin(Arc::new(bundled)))?);
        Ok(())
    })
}

/// Adds an owner: `plugin` has to be released once more.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_plugin_retain(plugin: *const OllmPlugin) -> OllmStatus {
    guard(|| PLUGINS.retain(plugin))
}

/// Gives up one owner and makes `*plugin` NULL. Sessions with the plugin keep it alive. NULL, and a
/// pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_plugin_release(plugin: *mut *mut OllmPlugin) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { PLUGINS.release_at(plugin) }.map(drop))
}

/// K, the number of options, in `*count`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_plugin_option_count(plugin: *const OllmPlugin, count: *mut usize) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("count", count) }?;
        out.set(PLUGINS.get(plugin)?.0.option_count());
        Ok(())
    })
}

/// What the plugin is, as JSON: options, kinds, widths, and the backbone that it was trained on.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_plugin_info(
    plugin: *const OllmPlugin,
    json: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the buffer is as long as the caller says.
        let out = unsafe { OutArray::text(json, capacity, length) }?;
        let plugin = PLUGINS.get(plugin)?;
        out.write_text(info::of_plugin(plugin.0.spec()).to_string().as_bytes())
    })
}
