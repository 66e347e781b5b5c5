//! Any calls of the C API, in any order, on handles that are alive, dead or none.
#![no_main]

#[path = "../../../ffi/tests/calls/driver.rs"]
mod driver;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ollm::{OllmModel, OllmPlugin};

/// The numbers of the handles.
static LOADED: OnceLock<(usize, usize)> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let &(model, plugin) = LOADED.get_or_init(|| {
        let (model, plugin) = driver::load();
        (model.addr(), plugin.addr())
    });
    let model = std::ptr::without_provenance_mut::<OllmModel>(model);
    let plugin = std::ptr::without_provenance_mut::<OllmPlugin>(plugin);
    driver::drive(&bytes[..bytes.len().min(1024)], model, plugin);
});
