//! Packed files: the same bits as the plain ones that they were made of, and no copy of the
//! weights.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ollm_convert::{merge, pack};
use ollm_runtime::cpu::Isa;
use ollm_runtime::gguf::{Layout, TensorType};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::schema::{DecoderKind, PluginConfig};
use ollm_runtime::plugin::{Hold, LatentMode, Plugin, PluginError, Selector};
use ollm_runtime::quant;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_tests::backbones::{self, Shape};
use ollm_tests::plugins;

const OPTIONS: usize = 3;
const PROMPT: [u32; 7] = [10, 200, 31, 47, 5, 300, 0];
const KINDS: [DecoderKind; 2] = [DecoderKind::SwiGlu { width: 32 }, DecoderKind::LowRank { width: 32, rank: 32 }];

/// Rows that are no whole panels: of keys and values, of the embedding.
fn shape(tied: bool) -> Shape {
    Shape { vocab: 301, context: 64, hidden: 256, ffn: 256, heads: 32, kv_heads: 1, tied }
}

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ollm-packed-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir(&folder.0).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `plain.gguf`, a backbone with its plugin inside, and `packed.gguf`.
    fn merged(kind: DecoderKind, dtype: TensorType, tied: bool) -> Self {
        let folder = Self::new();
        let [base, plugin, plain, packed] =
            ["base.gguf", "plugin.gguf", "plain.gguf", "packed.gguf"].map(|name| folder.path(name));
        std::fs::write(&base, backbones::backbone(&shape(tied), dtype)).unwrap();
        let spec = plugins::spec(&Model::open(&base).unwrap(), kind, OPTIONS);
        let spec = PluginConfig { value_width: Some(32), ..spec };
        plugins::plugin_file(&spec, TensorType::Q8_0, 0.5).write_to(&plugin).unwrap();
        merge::merge(&base, &plugin, &plain, true).unwrap();
        pack::pack(&plain, &packed, true).unwrap();
        folder
    }

    fn model(&self, name: &str) -> Arc<Model> {
        Arc::new(Model::open(&self.path(name)).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn quantized() -> impl Iterator<Item = TensorType> {
    TensorType::ALL.iter().copied().filter(|&dtype| dtype.is_quantized() && quant::is_writable(dtype))
}

fn session(model: &Arc<Model>, isa: Option<Isa>) -> Session {
    let plugin = Plugin::bundled(model).unwrap().map(Arc::new);
    let options = SessionOptions { threads: 2, context: 64, isa, ..SessionOptions::default() };
    Session::new(Arc::clone(model), plugin, &options).unwrap()
}

/// A step: its token, its latent, and the bits of its log-probability.
type Shown = (u32, Option<usize>, u32);

/// Ten steps, their latents drawn.
fn steps(session: &mut Session) -> Vec<Shown> {
    let mut sampler = Sampler::new(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }).unwrap();
    let selector = Selector::new(LatentMode::Sample { temperature: 1.0 }, Hold::Token, OPTIONS, 7).unwrap();
    let mut step = || session.step(Some(&selector), &mut sampler).unwrap();
    (0..10).map(|_| step()).map(|step| (step.token, step.latent, step.logprob.to_bits())).collect()
}

/// The hidden states of the prompt, the latents that the encoder gives it, its value, the option
/// set after it, and ten steps.
fn everything(model: &Arc<Model>, isa: Isa) -> (Vec<u32>, String, Vec<Shown>) {
    let mut hidden = Vec::new();
    session(model, Some(isa)).hidden_states(&PROMPT, &mut hidden).unwrap();
    let latents = session(model, Some(isa)).encode_latents(&PROMPT).unwrap();
    let mut session = session(model, Some(isa));
    session.feed(&PROMPT).unwrap();
    let value = session.value().unwrap().to_bits();
    let set: Vec<_> = session.option_set(301).unwrap().into_iter().map(|option| (option.policy, option.top)).collect();
    (hidden.into_iter().map(f32::to_bits).collect(), format!("{latents:?} {value} {set:?}"), steps(&mut session))
}

#[test]
fn a_packed_file_gives_the_bits_of_the_plain_one() {
    for dtype in quantized() {
        for (tied, kind) in [(true, KINDS[0]), (false, KINDS[1])] {
            let folder = Folder::merged(kind, dtype, tied);
            let [plain, packed] = ["plain.gguf", "packed.gguf"].map(|name| folder.model(name));
            assert_eq!(packed.fingerprint(), plain.fingerprint());
            assert_eq!(packed.weights_fingerprint(), plain.weights_fingerprint());
            for isa in Isa::available() {
                assert_eq!(everything(&packed, isa), everything(&plain, isa), "{dtype} {tied} {isa:?}");
            }
            assert_eq!(packed.embedding_weights(), plain.embedding_weights(), "{dtype}");
            assert_eq!(packed.head_weights(), plain.head_weights(), "{dtype}");
        }
    }
}

#[test]
fn nothing_is_left_to_pack_and_unpacking_gives_the_plain_file() {
    for dtype in quantized() {
        let folder = Folder::merged(KINDS[1], dtype, true);
        let packed = folder.model("packed.gguf");
        assert_eq!(packed.weights().packed_size(), 0);
        let matrices = packed.gguf().tensors().iter().filter(|tensor| tensor.dims.len() == 2);
        assert!(matrices.clone().count() > 8 && matrices.clone().all(|tensor| tensor.layout == Layout::Panels));
        pack::unpack(&folder.path("packed.gguf"), &folder.path("again.gguf"), true).unwrap();
        let [plain, again] = ["plain.gguf", "again.gguf"].map(|name| std::fs::read(folder.path(name)).unwrap());
        assert!(plain == again, "{dtype}");
    }
}

#[test]
fn a_session_goes_on_in_the_other_file() {
    let folder = Folder::merged(KINDS[0], TensorType::Q4_0, true);
    let mut origin = session(&folder.model("plain.gguf"), None);
    origin.feed(&PROMPT).unwrap();
    let mut saved = Vec::new();
    origin.save(&mut saved).unwrap();
    let mut other = session(&folder.model("packed.gguf"), None);
    other.restore(&mut Cursor::new(saved)).unwrap();
    assert_eq!(steps(&mut other), steps(&mut origin));
}

#[test]
fn plugins_packed_or_plain_fit_backbones_packed_or_plain_and_no_others() {
    let folder = Folder::merged(KINDS[0], TensorType::Q4K, false);
    pack::pack(&folder.path("base.gguf"), &folder.path("base-packed.gguf"), true).unwrap();
    pack::pack(&folder.path("plugin.gguf"), &folder.path("plugin-packed.gguf"), true).unwrap();
    let mut expected = None;
    for base in ["base.gguf", "base-packed.gguf"] {
        for plugin in ["plugin.gguf", "plugin-packed.gguf"] {
            let model = folder.model(base);
            let plugin = Arc::new(Plugin::open(&folder.path(plugin), &model).unwrap());
            let mut session = Session::new(model, Some(plugin), &SessionOptions::default()).unwrap();
            session.feed(&PROMPT).unwrap();
            let found = steps(&mut session);
            assert_eq!(*expected.get_or_insert_with(|| found.clone()), found);
        }
    }
    let other = backbones::backbone(&Shape { vocab: 302, ..shape(false) }, TensorType::Q4K);
    let other = Model::from_storage(Storage::from(other)).unwrap();
    let error = Plugin::open(&folder.path("plugin-packed.gguf"), &other).unwrap_err();
    assert!(matches!(error, PluginError::OtherBackbone { .. }), "{error}");
}

#[test]
fn a_packed_file_is_read_from_an_open_file_and_from_memory() {
    let folder = Folder::merged(KINDS[0], TensorType::Q6K, true);
    let bytes = std::fs::read(folder.path("packed.gguf")).unwrap();
    let expected = steps(&mut fed(&folder.model("packed.gguf")));
    for start in [4, 6, 64] {
        let archive = folder.path("archive");
        std::fs::write(&archive, [vec![7; start], bytes.clone()].concat()).unwrap();
        let file = std::fs::File::open(&archive).unwrap();
        let storage = Storage::from_file(&file, start as u64, Some(bytes.len() as u64)).unwrap();
        let model = Arc::new(Model::from_storage(storage).unwrap());
        assert_eq!(steps(&mut fed(&model)), expected, "{start}");
    }
    let model = Arc::new(Model::from_storage(Storage::copied(&bytes).unwrap()).unwrap());
    assert_eq!(steps(&mut fed(&model)), expected);
}

fn fed(model: &Arc<Model>) -> Session {
    let mut session = session(model, None);
    session.feed(&PROMPT).unwrap();
    session
}
