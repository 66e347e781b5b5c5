//! Every large allocation behind the C API is refused once, in turn: the caller gets a status,
//! nothing is leaked, and what was there goes on. A test of its own process, since it replaces the
//! allocator.

use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use ollm::*;
use ollm_runtime::gguf::TensorType;
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::DecoderKind;
use ollm_runtime::storage::Storage;
use ollm_tests::refusing::{ALIVE, LEFT, Refusing};
use ollm_tests::{backbones, plugins};

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

const OPTIONS: usize = 3;
const VOCAB: u32 = 512;

fn memory(bytes: &[u8]) -> OllmSource {
    // SAFETY: zero is a value of every field.
    let mut source: OllmSource = unsafe { std::mem::zeroed() };
    source.struct_size = size_of::<OllmSource>();
    source.kind.write(OllmSourceKind::Memory);
    (source.data, source.length) = (bytes.as_ptr().cast(), bytes.len());
    source
}

/// Everything that is loaded, and a session that was fed 300 tokens.
struct World {
    backbone: Vec<u8>,
    plugin_file: Vec<u8>,
    saved: Vec<u8>,
    model: *mut OllmModel,
    plugin: *mut OllmPlugin,
    session: *mut OllmSession,
}

fn load(bytes: &[u8]) -> (OllmStatus, *mut OllmModel) {
    // SAFETY: zero is a value of every field.
    let mut options: OllmLoadOptions = unsafe { std::mem::zeroed() };
    (options.struct_size, options.threads) = (size_of::<OllmLoadOptions>(), 1);
    let (source, mut model) = (memory(bytes), null_mut());
    // SAFETY: source and options are whole; so below.
    (unsafe { ollm_model_load(&raw const source, &raw const options, &raw mut model) }, model)
}

fn load_plugin(model: *mut OllmModel, bytes: &[u8]) -> (OllmStatus, *mut OllmPlugin) {
    let (source, mut plugin) = (memory(bytes), null_mut());
    // SAFETY: as above.
    (unsafe { ollm_plugin_load(model, &raw const source, &raw mut plugin) }, plugin)
}

/// One thread, so that all allocations are this thread's.
fn new_session(model: *mut OllmModel, plugin: *mut OllmPlugin) -> (OllmStatus, *mut OllmSession) {
    // SAFETY: zero is a value of every field.
    let mut options: OllmSessionOptions = unsafe { std::mem::zeroed() };
    (options.struct_size, options.threads) = (size_of::<OllmSessionOptions>(), 1);
    let mut session = null_mut();
    // SAFETY: as above.
    (unsafe { ollm_session_new(model, plugin, &raw const options, &raw mut session) }, session)
}

fn text(n: u32) -> Vec<u32> {
    (0..n).map(|i| i * 37 % VOCAB).collect()
}

fn feed(session: *mut OllmSession, tokens: &[u32]) -> OllmStatus {
    // SAFETY: as above.
    unsafe { ollm_session_feed(session, tokens.as_ptr(), tokens.len()) }
}

/// Three tokens that follow the 300.
fn go_on(session: *mut OllmSession) -> Vec<u32> {
    assert_eq!(ollm_session_rewind(session, 300), OllmStatus::Ok);
    (0..3).map(|_| step(session).1).collect()
}

fn step(session: *mut OllmSession) -> (OllmStatus, u32) {
    // SAFETY: zero is a value of every field.
    let mut token: OllmToken = unsafe { std::mem::zeroed() };
    token.struct_size = size_of::<OllmToken>();
    // SAFETY: as above.
    (unsafe { ollm_session_step(session, &raw mut token) }, token.id)
}

impl World {
    fn new() -> Self {
        let backbone = backbones::wide(VOCAB, 1024, TensorType::Q8_0);
        let model = Model::from_storage(Storage::from(backbone.clone())).unwrap();
        let spec = plugins::spec(&model, DecoderKind::LowRank { width: 32, rank: 32 }, OPTIONS);
        let plugin_file = plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).to_bytes();
        let (loaded, model) = load(&backbone);
        let (plugged, plugin) = load_plugin(model, &plugin_file);
        let (made, session) = new_session(model, plugin);
        let fed = feed(session, &text(300));
        assert_eq!([loaded, plugged, made, fed], [OllmStatus::Ok; 4]);
        let mut saved = vec![0; 1 << 20];
        let mut length = 0;
        // SAFETY: as above.
        let status = unsafe { ollm_session_save(session, saved.as_mut_ptr().cast(), saved.len(), &raw mut length) };
        assert_eq!(status, OllmStatus::Ok);
        saved.truncate(length);
        Self { backbone, plugin_file, saved, model, plugin, session }
    }
}

/// Does `work` again and again, refusing the first, the second, .. large allocation, until none is
/// left to refuse.
fn refuse_each(name: &str, world: &World, expected: &[u32], work: impl Fn(&World) -> OllmStatus) {
    for nth in 0.. {
        assert_eq!(ollm_session_rewind(world.session, 300), OllmStatus::Ok);
        assert_eq!(ollm_session_trim(world.session), OllmStatus::Ok);
        let before = ALIVE.load(Ordering::SeqCst);
        LEFT.set(nth);
        let status = work(world);
        let refused = LEFT.replace(usize::MAX) == usize::MAX;
        let _ = (ollm_session_rewind(world.session, 300), ollm_session_trim(world.session));
        let leaked = ALIVE.load(Ordering::SeqCst) - before;
        assert!(leaked <= 0, "{name}, allocation {nth}: {leaked} bytes are left");
        assert_eq!(status, if refused { OllmStatus::OutOfMemory } else { OllmStatus::Ok }, "{name}, allocation {nth}");
        assert_eq!(go_on(world.session), expected, "{name}, allocation {nth}");
        if !refused {
            println!("{name}: {nth} large allocations");
            assert!(nth > 0, "{name} allocates nothing large: the test shows nothing");
            return;
        }
    }
}

#[test]
fn refused_memory_is_a_status() {
    let world = World::new();
    let expected = go_on(world.session);
    let check = |name: &str, work: &dyn Fn(&World) -> OllmStatus| refuse_each(name, &world, &expected, work);
    check("load", &|world| {
        let (status, mut model) = load(&world.backbone);
        // SAFETY: as above.
        unsafe { ollm_model_release(&raw mut model) };
        status
    });
    check("plugin", &|world| {
        let (status, mut plugin) = load_plugin(world.model, &world.plugin_file);
        // SAFETY: as above.
        unsafe { ollm_plugin_release(&raw mut plugin) };
        status
    });
    check("feed", &|world| feed(world.session, &text(200)));
    check("step", &|world| step(world.session).0);
    check("options", &|world| {
        let mut options = null_mut();
        // SAFETY: as above.
        let status = unsafe { ollm_option_set_new(world.session, 8, &raw mut options) };
        // SAFETY: as above.
        unsafe { ollm_option_set_free(&raw mut options) };
        status
    });
    check("session and restore", &|world| {
        let (mut status, mut session) = new_session(world.model, world.plugin);
        if status == OllmStatus::Ok {
            // SAFETY: as above.
            status = unsafe { ollm_session_restore(session, world.saved.as_ptr().cast(), world.saved.len()) };
        }
        // SAFETY: as above.
        unsafe { ollm_session_free(&raw mut session) };
        status
    });
    check("fork", &|world| {
        let mut fork = null_mut();
        // SAFETY: as above.
        let mut status = unsafe { ollm_session_fork(world.session, &raw mut fork) };
        if status == OllmStatus::Ok {
            assert_eq!(ollm_session_rewind(fork, 290), OllmStatus::Ok);
            status = feed(fork, &text(30));
        }
        // SAFETY: as above.
        unsafe { ollm_session_free(&raw mut fork) };
        status
    });
    check("encode", &|world| {
        let (tokens, mut latents) = (text(64), [0; 64]);
        // SAFETY: as above.
        unsafe { ollm_session_encode(world.session, tokens.as_ptr(), tokens.len(), latents.as_mut_ptr()) }
    });
}
