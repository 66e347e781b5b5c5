//! The plugin's part of a file: its metadata keys, and its tensors with their shapes.
//!
//! This is the one place that knows them. The runtime binds weights by it, the converter writes and
//! checks by it, and `convert/FORMAT.md` describes it for people; a test compares the page with
//! this module.

use crate::gguf::{Gguf, Metadata, TensorInfo, TensorType, Value};
use crate::model::fingerprint::fingerprint;
use crate::model::{PLUGIN_PREFIX, Role, TensorName};

use super::error::PluginError;
use super::hold::{Hold, UnknownHold};

/// The version of the schema, the value of [`keys::VERSION`].
pub const VERSION: u32 = 1;

/// What the keys begin with that say how a plugin was trained: free text, for people and tools,
/// never read here.
pub const TRAINING_PREFIX: &str = "ollm.training.";

/// `general.type` and `adapter.type` of a file that holds a plugin alone.
pub const FILE_TYPE: [(&str, &str); 2] = [("general.type", "adapter"), ("adapter.type", "ollm")];

/// A metadata key and the type of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The name in the file.
    pub name: &'static str,
    /// The type of the value.
    pub kind: KeyKind,
}

/// The type of the value of a [`Key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A positive integer.
    U32,
    /// A float.
    F32,
    /// Text.
    Str,
}

/// The metadata keys of a plugin.
pub mod keys {
    use super::{Key, KeyKind};

    macro_rules! keys {
        ($($name:ident $kind:ident $text:literal $doc:literal;)*) => {
            $(#[doc = $doc] pub const $name: Key = Key { name: $text, kind: KeyKind::$kind };)*

            /// All of them, in the order in which they are written.
            pub const ALL: &[Key] = &[$($name),*];
        };
    }

    keys! {
        VERSION               U32 "ollm.version"                    "The version of the schema.";
        OPTION_COUNT          U32 "ollm.option_count"               "K, the size of an option set.";
        NORM_EPSILON          F32 "ollm.norm_epsilon"               "What every norm of the plugin adds to the mean square.";
        DECODER_KIND          Str "ollm.decoder.kind"               "How the decoder works: `swiglu` or `lowrank`.";
        DECODER_WIDTH         U32 "ollm.decoder.width"              "u, the width of the decoder's `SwiGLU`.";
        DECODER_RANK          U32 "ollm.decoder.rank"               "r, the rank of each option's delta (`lowrank` only).";
        ENCODER_KIND          Str "ollm.encoder.kind"               "How the encoder works: `mlp`.";
        ENCODER_WIDTH         U32 "ollm.encoder.width"              "e, the width of the encoder's hidden layer.";
        POLICY_KIND           Str "ollm.policy.kind"                "How the policy works: `mlp`.";
        POLICY_WIDTH          U32 "ollm.policy.width"               "p, the width of the policy's hidden layer.";
        VALUE_KIND            Str "ollm.value.kind"                 "How the value head works: `mlp`; optional.";
        VALUE_WIDTH           U32 "ollm.value.width"                "v, the width of the value head's hidden layer.";
        LATENT_HOLD           Str "ollm.latent.hold"                "How long a latent is meant to stay; where there is none, for a token.";
        BACKBONE_ARCHITECTURE Str "ollm.backbone.architecture"      "`general.architecture` of the backbone.";
        BACKBONE_HIDDEN       U32 "ollm.backbone.embedding_length"  "d, the hidden size of the backbone.";
        BACKBONE_VOCAB        U32 "ollm.backbone.vocab_size"        "Rows of the backbone's token embedding.";
        BACKBONE_FINGERPRINT  Str "ollm.backbone.fingerprint"       "Which backbone it is, in any quantization.";
    }
}

/// The largest number of options.
pub const MAX_OPTIONS: u32 = 1 << 10;
/// The largest width of anything; times the number of options it fits 32 bits.
const MAX_WIDTH: u32 = 1 << 20;
const MAX_VOCAB: u32 = 1 << 30;

/// The only kind of encoder, policy and value head so far: a hidden layer with `SiLU`.
const MLP: &str = "mlp";
const SWIGLU: &str = "swiglu";
const LOWRANK: &str = "lowrank";

/// What the metadata says about a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// K, the number of options.
    pub options: usize,
    /// The epsilon of every norm in the plugin.
    pub norm_epsilon: f32,
    /// How the decoder works.
    pub decoder: DecoderKind,
    /// e, the width of the encoder's hidden layer.
    pub encoder_width: usize,
    /// p, the width of the policy's hidden layer.
    pub policy_width: usize,
    /// v, the width of the value head's hidden layer; `None` without a value head.
    pub value_width: Option<usize>,
    /// How long a latent is meant to stay.
    pub hold: Hold,
    /// The backbone that the plugin was trained on.
    pub backbone: Backbone,
}

/// How the decoder turns the hidden state h into that of option z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderKind {
    /// `x = rmsnorm(h) + E[z]; h' = h + W_o (silu(W_g x) * W_u x)`.
    SwiGlu {
        /// u, the rows of `W_g` and `W_u`.
        width: usize,
    },
    /// `n = rmsnorm(h); h' = h + W_o (silu(W_g n) * W_u n) + O_z silu(V_z n)`.
    LowRank {
        /// u, the rows of `W_g` and `W_u`.
        width: usize,
        /// r, the rows of each `V_z`.
        rank: usize,
    },
}

/// What identifies a backbone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backbone {
    /// `general.architecture`.
    pub architecture: String,
    /// d, the hidden size.
    pub hidden: usize,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// What [`fingerprint`] says.
    pub fingerprint: String,
}

/// Whether the file holds a plugin, alone or beside its backbone.
pub fn is_present(metadata: &Metadata) -> bool {
    metadata.get(keys::VERSION.name).is_some()
}

/// The tensors of a plugin and their row-major shapes (outermost dimension first). Matrices may
/// have any type, vectors are F32.
pub fn tensors(spec: &PluginConfig) -> Vec<(&'static str, Vec<usize>)> {
    let (k, d) = (spec.options, spec.backbone.hidden);
    let (e, p, u) = (spec.encoder_width, spec.policy_width, spec.decoder.width());
    let own = match spec.decoder {
        DecoderKind::SwiGlu { .. } => vec![("ollm.decoder.embed.weight", vec![k, d])],
        DecoderKind::LowRank { rank, .. } => vec![
            ("ollm.decoder.delta_in.weight", vec![k * rank, d]),
            ("ollm.decoder.delta_out.weight", vec![k * d, rank]),
        ],
    };
    let decoder = [
        ("ollm.decoder.norm.weight", vec![d]),
        ("ollm.decoder.gate.weight", vec![u, d]),
        ("ollm.decoder.up.weight", vec![u, d]),
        ("ollm.decoder.out.weight", vec![d, u]),
    ];
    let encoder = [
        ("ollm.encoder.norm_hidden.weight", vec![d]),
        ("ollm.encoder.norm_token.weight", vec![d]),
        ("ollm.encoder.in.weight", vec![e, 2 * d]),
        ("ollm.encoder.in.bias", vec![e]),
        ("ollm.encoder.out.weight", vec![k, e]),
        ("ollm.encoder.out.bias", vec![k]),
    ];
    let policy = [
        ("ollm.policy.norm.weight", vec![d]),
        ("ollm.policy.in.weight", vec![p, d]),
        ("ollm.policy.in.bias", vec![p]),
        ("ollm.policy.out.weight", vec![k, p]),
        ("ollm.policy.out.bias", vec![k]),
    ];
    let value = spec.value_width.map(|v| {
        [
            ("ollm.value.norm.weight", vec![d]),
            ("ollm.value.in.weight", vec![v, d]),
            ("ollm.value.in.bias", vec![v]),
            ("ollm.value.out.weight", vec![1, v]),
            ("ollm.value.out.bias", vec![1]),
        ]
    });
    let value = value.into_iter().flatten();
    decoder.into_iter().chain(own).chain(encoder).chain(policy).chain(value).collect()
}

impl DecoderKind {
    /// The name of the kind in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SwiGlu { .. } => SWIGLU,
            Self::LowRank { .. } => LOWRANK,
        }
    }

    /// u, the rows of `W_g` and `W_u`.
    pub const fn width(self) -> usize {
        match self {
            Self::SwiGlu { width } | Self::LowRank { width, .. } => width,
        }
    }

    fn from_metadata(metadata: &Metadata) -> Result<Self, PluginError> {
        let width = size(metadata, keys::DECODER_WIDTH, MAX_WIDTH)?;
        match metadata.str(keys::DECODER_KIND.name)? {
            SWIGLU => Ok(Self::SwiGlu { width }),
            LOWRANK => Ok(Self::LowRank { width, rank: size(metadata, keys::DECODER_RANK, MAX_WIDTH)? }),
            found => Err(unknown_kind(keys::DECODER_KIND, found, &[SWIGLU, LOWRANK])),
        }
    }
}

/// The width of the value head, if either of its keys is there; then both have to be.
fn value_width(metadata: &Metadata) -> Result<Option<usize>, PluginError> {
    if [keys::VALUE_KIND, keys::VALUE_WIDTH].iter().all(|key| metadata.get(key.name).is_none()) {
        return Ok(None);
    }
    expect_mlp(metadata, keys::VALUE_KIND)?;
    size(metadata, keys::VALUE_WIDTH, MAX_WIDTH).map(Some)
}

/// The hold of a plugin's file: one token, unless the file says otherwise.
fn hold(metadata: &Metadata) -> Result<Hold, PluginError> {
    let found = metadata.opt_str(keys::LATENT_HOLD.name)?.map(str::parse);
    found
        .unwrap_or_else(|| Ok(Hold::default()))
        .map_err(|UnknownHold(found)| unknown_kind(keys::LATENT_HOLD, &found, &Hold::ALL))
}

impl PluginConfig {
    /// Reads and checks the keys of a plugin.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, PluginError> {
        let version = metadata.u32(keys::VERSION.name)?;
        if version != VERSION {
            return Err(PluginError::UnsupportedVersion { version, known: VERSION });
        }
        expect_mlp(metadata, keys::ENCODER_KIND)?;
        expect_mlp(metadata, keys::POLICY_KIND)?;
        Ok(Self {
            options: size(metadata, keys::OPTION_COUNT, MAX_OPTIONS)?,
            norm_epsilon: epsilon(metadata)?,
            decoder: DecoderKind::from_metadata(metadata)?,
            encoder_width: size(metadata, keys::ENCODER_WIDTH, MAX_WIDTH)?,
            policy_width: size(metadata, keys::POLICY_WIDTH, MAX_WIDTH)?,
            value_width: value_width(metadata)?,
            hold: hold(metadata)?,
            backbone: Backbone::from_metadata(metadata)?,
        })
    }

    /// The keys and values that [`Self::from_metadata`] reads, in the order of [`keys::ALL`].
    pub fn to_metadata(&self) -> Vec<(&'static str, Value)> {
        keys::ALL.iter().filter_map(|&key| Some((key.name, self.value(key)?))).collect()
    }

    fn value(&self, key: Key) -> Option<Value> {
        Some(match key {
            keys::VERSION => VERSION.into(),
            keys::OPTION_COUNT => integer(self.options),
            keys::NORM_EPSILON => self.norm_epsilon.into(),
            keys::DECODER_KIND => self.decoder.name().into(),
            keys::DECODER_WIDTH => integer(self.decoder.width()),
            keys::DECODER_RANK => match self.decoder {
                DecoderKind::LowRank { rank, .. } => integer(rank),
                DecoderKind::SwiGlu { .. } => return None,
            },
            keys::ENCODER_KIND | keys::POLICY_KIND => MLP.into(),
            keys::ENCODER_WIDTH => integer(self.encoder_width),
            keys::POLICY_WIDTH => integer(self.policy_width),
            keys::VALUE_KIND => self.value_width.map(|_| MLP.into())?,
            keys::VALUE_WIDTH => integer(self.value_width?),
            keys::LATENT_HOLD => match self.hold {
                Hold::Token => return None,
                held => held.to_string().as_str().into(),
            },
            keys::BACKBONE_ARCHITECTURE => self.backbone.architecture.as_str().into(),
            keys::BACKBONE_HIDDEN => integer(self.backbone.hidden),
            keys::BACKBONE_VOCAB => integer(self.backbone.vocab),
            keys::BACKBONE_FINGERPRINT => self.backbone.fingerprint.as_str().into(),
            _ => return None,
        })
    }

    /// Checks that the file has every tensor of the plugin in its shape, and no other tensor that
    /// claims to be one.
    pub fn check_tensors(&self, gguf: &Gguf) -> Result<(), PluginError> {
        self.faults(gguf).into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything that [`Self::check_tensors`] would refuse the file for.
    pub fn faults(&self, gguf: &Gguf) -> Vec<PluginError> {
        let expected = tensors(self);
        let foreign = |tensor: &&TensorInfo| {
            tensor.name.starts_with(PLUGIN_PREFIX) && !expected.iter().any(|(name, _)| *name == tensor.name)
        };
        let foreign = gguf.tensors().iter().filter(foreign);
        let unknown = foreign.map(|tensor| PluginError::UnknownTensor { tensor: tensor.name.clone() });
        let wrong = expected.iter().filter_map(|(name, shape)| check_tensor(gguf.tensor(name), name, shape).err());
        unknown.chain(wrong).collect()
    }
}

fn check_tensor(tensor: Option<&TensorInfo>, name: &'static str, shape: &[usize]) -> Result<(), PluginError> {
    let tensor = tensor.ok_or_else(|| PluginError::MissingTensor { tensor: name.to_owned() })?;
    if tensor.shape() != shape {
        return Err(PluginError::WrongShape { tensor: name, expected: shape.to_vec(), found: tensor.shape() });
    }
    if shape.len() == 1 && tensor.dtype != TensorType::F32 {
        return Err(PluginError::WrongType { tensor: name, found: tensor.dtype });
    }
    Ok(())
}

impl Backbone {
    fn from_metadata(metadata: &Metadata) -> Result<Self, PluginError> {
        Ok(Self {
            architecture: metadata.str(keys::BACKBONE_ARCHITECTURE.name)?.to_owned(),
            hidden: size(metadata, keys::BACKBONE_HIDDEN, MAX_WIDTH)?,
            vocab: size(metadata, keys::BACKBONE_VOCAB, MAX_VOCAB)?,
            fingerprint: metadata.str(keys::BACKBONE_FINGERPRINT.name)?.to_owned(),
        })
    }

    /// What identifies the backbone in a file.
    ///
    /// # Errors
    /// If the file has no token embedding or no hidden size, as a plugin alone has not.
    pub fn of(gguf: &Gguf, file: &[u8]) -> Result<Self, PluginError> {
        let metadata = gguf.metadata();
        let architecture = metadata.str("general.architecture")?.to_owned();
        let hidden = metadata.u32(&format!("{architecture}.embedding_length"))? as usize;
        let embedding = TensorName::new(Role::Embedding).to_string();
        let vocab = gguf.tensor(&embedding).map(TensorInfo::rows);
        let vocab = vocab.ok_or(PluginError::MissingTensor { tensor: embedding })?;
        Ok(Self { architecture, hidden, vocab, fingerprint: fingerprint(gguf, file) })
    }

    /// Checks that this backbone, which a plugin names, is `found`.
    pub fn check(&self, found: &Self) -> Result<(), PluginError> {
        let pairs = [
            (keys::BACKBONE_ARCHITECTURE, self.architecture.clone(), found.architecture.clone()),
            (keys::BACKBONE_HIDDEN, self.hidden.to_string(), found.hidden.to_string()),
            (keys::BACKBONE_VOCAB, self.vocab.to_string(), found.vocab.to_string()),
            (keys::BACKBONE_FINGERPRINT, self.fingerprint.clone(), found.fingerprint.clone()),
        ];
        match pairs.into_iter().find(|(_, plugin, backbone)| plugin != backbone) {
            Some((key, plugin, backbone)) => Err(PluginError::OtherBackbone { key: key.name, plugin, backbone }),
            None => Ok(()),
        }
    }
}

fn integer(size: usize) -> Value {
    Value::U32(size as u32)
}

fn size(metadata: &Metadata, key: Key, limit: u32) -> Result<usize, PluginError> {
    let value = metadata.u32(key.name)?;
    let in_range = (1..=limit).contains(&value);
    if in_range { Ok(value as usize) } else { Err(PluginError::OutOfRange { key: key.name, value: value.to_string() }) }
}

fn epsilon(metadata: &Metadata) -> Result<f32, PluginError> {
    let key = keys::NORM_EPSILON.name;
    let value = metadata.f32(key)?;
    // Zero would divide by zero for a hidden state of zeros; NaN is in no range.
    let in_range = (f32::MIN_POSITIVE..=1.0).contains(&value);
    if in_range { Ok(value) } else { Err(PluginError::OutOfRange { key, value: value.to_string() }) }
}

fn expect_mlp(metadata: &Metadata, key: Key) -> Result<(), PluginError> {
    match metadata.str(key.name)? {
        MLP => Ok(()),
        found => Err(unknown_kind(key, found, &[MLP])),
    }
}

fn unknown_kind(key: Key, found: &str, known: &'static [&'static str]) -> PluginError {
    PluginError::UnknownKind { key: key.name, found: found.to_owned(), known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{GgufError, Writer};

    fn spec(decoder: DecoderKind) -> PluginConfig {
        let backbone =
            Backbone { architecture: "llama".into(), hidden: 64, vocab: 100, fingerprint: "norms-fnv1a64:0".into() };
        PluginConfig {
            options: 3,
            norm_epsilon: 1e-5,
            decoder,
            encoder_width: 8,
            policy_width: 16,
            value_width: Some(4),
            hold: Hold::Line,
            backbone,
        }
    }

    fn metadata(pairs: &[(&'static str, Value)]) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, value) in pairs {
            metadata.insert((*key).to_owned(), value.clone()).unwrap();
        }
        metadata
    }

    /// The keys of a good plugin with one of them changed.
    fn changed(key: Key, value: impl Into<Value>) -> Result<PluginConfig, PluginError> {
        let mut pairs = spec(DecoderKind::LowRank { width: 32, rank: 4 }).to_metadata();
        pairs.iter_mut().find(|(name, _)| *name == key.name).unwrap().1 = value.into();
        PluginConfig::from_metadata(&metadata(&pairs))
    }

    fn file(spec: &PluginConfig, edit: impl Fn(&str, &mut Vec<u64>, &mut TensorType)) -> Gguf {
        let mut writer = Writer::new();
        for (name, shape) in tensors(spec) {
            let mut dims: Vec<u64> = shape.iter().rev().map(|&n| n as u64).collect();
            let mut dtype = TensorType::F32;
            edit(name, &mut dims, &mut dtype);
            let elements = dims.iter().product::<u64>() as usize;
            writer.tensor(name, &dims, dtype, vec![0; dtype.row_bytes(elements).unwrap()]).unwrap();
        }
        Gguf::parse(&writer.to_bytes()).unwrap()
    }

    #[test]
    fn a_spec_survives_the_way_through_metadata() {
        for decoder in [DecoderKind::SwiGlu { width: 32 }, DecoderKind::LowRank { width: 32, rank: 4 }] {
            for hold in [Hold::Token, Hold::Tokens(8.try_into().unwrap()), Hold::Line, Hold::All] {
                for value_width in [None, Some(4)] {
                    let spec = PluginConfig { value_width, hold, ..spec(decoder) };
                    let metadata = metadata(&spec.to_metadata());
                    assert!(is_present(&metadata));
                    assert_eq!(PluginConfig::from_metadata(&metadata).unwrap(), spec);
                }
            }
        }
    }

    #[test]
    fn without_a_value_head_neither_keys_nor_tensors_name_one() {
        let with = spec(DecoderKind::SwiGlu { width: 32 });
        let without = PluginConfig { value_width: None, ..with.clone() };
        let of_value = |name: &&str| name.starts_with("ollm.value.");
        let keys = |spec: &PluginConfig| spec.to_metadata().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let names = |spec: &PluginConfig| tensors(spec).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        for (with, without, count) in [(keys(&with), keys(&without), 2), (names(&with), names(&without), 5)] {
            assert_eq!(with.iter().filter(|name| of_value(name)).count(), count);
            assert_eq!(with.into_iter().filter(|name| !of_value(name)).collect::<Vec<_>>(), without);
        }
        let error = without.check_tensors(&file(&with, |_, _, _| {}));
        assert!(matches!(error, Err(PluginError::UnknownTensor { tensor }) if tensor == "ollm.value.norm.weight"));
        let error = with.check_tensors(&file(&without, |_, _, _| {}));
        assert!(matches!(error, Err(PluginError::MissingTensor { tensor }) if tensor == "ollm.value.norm.weight"));
    }

    #[test]
    fn a_latent_stays_for_a_token_unless_the_file_says_otherwise() {
        let mut pairs = spec(DecoderKind::SwiGlu { width: 32 }).to_metadata();
        pairs.retain(|(name, _)| *name != keys::LATENT_HOLD.name);
        let spec = PluginConfig::from_metadata(&metadata(&pairs)).unwrap();
        assert_eq!(spec.hold, Hold::Token);
        assert_eq!(spec.to_metadata(), pairs);
    }

    #[test]
    fn every_key_is_typed_and_all_but_the_hold_are_needed() {
        let pairs = spec(DecoderKind::LowRank { width: 32, rank: 4 }).to_metadata();
        assert_eq!(pairs.len(), keys::ALL.len());
        for key in keys::ALL {
            let others: Vec<_> = pairs.iter().filter(|(name, _)| *name != key.name).cloned().collect();
            let missing = PluginConfig::from_metadata(&metadata(&others));
            let refused =
                matches!(missing, Err(PluginError::Metadata(GgufError::MissingKey { key: k })) if k == key.name);
            assert_eq!(refused, *key != keys::LATENT_HOLD, "{}", key.name);
            let wrong = changed(*key, true);
            assert!(matches!(wrong, Err(PluginError::Metadata(GgufError::WrongType { .. }))), "{}", key.name);
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert!(matches!(changed(keys::VERSION, 2u32), Err(PluginError::UnsupportedVersion { version: 2, .. })));
        for key in keys::ALL.iter().filter(|key| key.kind == KeyKind::U32 && **key != keys::VERSION) {
            for value in [0, u32::MAX] {
                assert!(matches!(changed(*key, value), Err(PluginError::OutOfRange { .. })), "{}", key.name);
            }
        }
        for value in [0.0, -1e-5, f32::NAN, f32::INFINITY] {
            assert!(matches!(changed(keys::NORM_EPSILON, value), Err(PluginError::OutOfRange { .. })));
        }
        let kinds = [keys::DECODER_KIND, keys::ENCODER_KIND, keys::POLICY_KIND, keys::VALUE_KIND];
        for key in kinds.into_iter().chain([keys::LATENT_HOLD]) {
            let error = changed(key, "block").unwrap_err();
            assert!(matches!(error, PluginError::UnknownKind { .. }));
            assert!(error.to_string().starts_with(key.name));
        }
    }

    #[test]
    fn tensors_are_checked_by_name_shape_and_type() {
        let spec = spec(DecoderKind::SwiGlu { width: 32 });
        spec.check_tensors(&file(&spec, |_, _, _| {})).unwrap();
        let wrong = file(&spec, |name, dims, _| {
            if name == "ollm.encoder.in.weight" {
                dims.reverse();
            }
        });
        assert!(matches!(spec.check_tensors(&wrong), Err(PluginError::WrongShape { found, .. }) if found == [128, 8]));
        let half = file(&spec, |name, _, dtype| {
            if name == "ollm.policy.out.bias" {
                *dtype = TensorType::F16;
            }
        });
        assert!(matches!(spec.check_tensors(&half), Err(PluginError::WrongType { .. })));
        let lowrank = PluginConfig { decoder: DecoderKind::LowRank { width: 32, rank: 4 }, ..spec.clone() };
        let error = lowrank.check_tensors(&file(&spec, |_, _, _| {}));
        assert!(matches!(error, Err(PluginError::UnknownTensor { tensor }) if tensor == "ollm.decoder.embed.weight"));
        let missing = Gguf::parse(&Writer::new().to_bytes()).unwrap();
        assert!(matches!(spec.check_tensors(&missing), Err(PluginError::MissingTensor { .. })));
    }

    #[test]
    fn another_backbone_is_named_by_the_key_that_differs() {
        let mine = spec(DecoderKind::SwiGlu { width: 32 }).backbone;
        mine.check(&mine).unwrap();
        let other = Backbone { vocab: 101, ..mine.clone() };
        let error = mine.check(&other).unwrap_err().to_string();
        assert!(error.contains(r#"ollm.backbone.vocab_size is "100", the backbone's is "101""#), "{error}");
    }
}
