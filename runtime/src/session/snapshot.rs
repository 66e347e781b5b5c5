//! Snapshots: a session, with its KV cache and its recurrent states, saved to a file or a buffer
//! and restored in another process.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

use ollm_kernels::memory::{self, OutOfMemory};
use ollm_kernels::ops::{KvType, LayerKvCache, Rotation};

use crate::atomic;
use crate::gguf::TensorType;
use crate::model::{Config, Gating, LayerConfig, Model, PLUGIN_PREFIX, State, fingerprint};
use crate::plugin::LatentState;

use super::error::SessionError;
use super::sequence::Sequence;
use super::state::Session;

type Result<T, E = SnapshotError> = std::result::Result<T, E>;

/// Why a session cannot be saved or restored. The session is then as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It could not be written.
    Write(io::Error),
    /// It could not be read, or it ends too early.
    Read(io::Error),
    /// It does not begin like a saved session.
    NotASnapshot,
    /// It was written by another version.
    UnsupportedVersion {
        /// That version.
        version: u32,
    },
    /// It was saved on another model, on the same one in other types, or under other adapters.
    OtherModel {
        /// What identifies the model that it was saved on.
        saved: u64,
        /// What identifies this one.
        model: u64,
    },
    /// Its KV cache is of another type.
    OtherKvType {
        /// The type that it was saved in.
        saved: KvType,
        /// The type of this session.
        session: KvType,
    },
    /// It holds a latent that this session's plugin does not have.
    OtherPlugin {
        /// The latent.
        latent: usize,
        /// Options of the plugin; 0 without one.
        options: usize,
    },
    /// It was altered after it was written.
    Checksum,
    /// Its numbers make no sense.
    Invalid {
        /// Which.
        what: &'static str,
    },
    /// It has more tokens than the context has positions.
    TooLong {
        /// Tokens that it has.
        tokens: usize,
        /// Positions there are.
        context: usize,
    },
    /// The system has no memory left.
    OutOfMemory(OutOfMemory),
    /// The session may not hold it: [`SessionError::MemoryLimit`].
    Session(SessionError),
}

impl From<OutOfMemory> for SnapshotError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

/// The error of a writer.
impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<SessionError> for SnapshotError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(source) => write!(f, "the session cannot be saved: {source}"),
            Self::Read(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the saved session ends too early: it was cut off")
            }
            Self::Read(source) => write!(f, "the saved session cannot be read: {source}"),
            Self::NotASnapshot => write!(f, "this is no saved session"),
            Self::UnsupportedVersion { version } => {
                write!(
                    f,
                    "the session was saved in version {version} of the format, only {WITHOUT_CHECKPOINTS} to {VERSION} \
                     are known: start anew"
                )
            }
            Self::OtherModel { saved, model } => {
                write!(
                    f,
                    "the session was saved on another model, or under other adapters ({saved:016x}, here {model:016x})"
                )
            }
            Self::OtherKvType { saved, session } => {
                write!(
                    f,
                    "the session was saved with a KV cache of type {saved}, this one has {session}: take the same"
                )
            }
            Self::OtherPlugin { latent, options: 0 } => {
                write!(f, "the saved session holds latent {latent}, and this one has no plugin: name its plugin")
            }
            Self::OtherPlugin { latent, options } => {
                write!(
                    f,
                    "the saved session holds latent {latent}, and this one's plugin has {options} options: name its \
                     plugin"
                )
            }
            Self::Checksum => write!(f, "the saved session is damaged: its checksum does not fit"),
            Self::Invalid { what } => write!(f, "the saved session is damaged: {what}"),
            Self::TooLong { tokens, context } => {
                write!(f, "the saved session has {tokens} tokens, the context only {context} positions")
            }
            Self::OutOfMemory(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(source) | Self::Read(source) => Some(source),
            _ => None,
        }
    }
}

/// What a saved session begins with.
const MAGIC: [u8; 8] = *b"OLLMSESS";

/// The version of the format: all numbers little endian.
///
/// | bytes | what |
/// |---|---|
/// | 8 | [`MAGIC`] |
/// | 4 | the version |
/// | 8 | what identifies the model: [`identity`] |
/// | 4 | the number of the KV cache's type: that of the GGUF specification (`enum ggml_type`) |
/// | 4 | n, the number of tokens |
/// | 4 | p, the number of positions that follow, less than n |
/// | 8 | tokens that context shifts have dropped |
/// | 4 | the latent that is held, or [`NO_LATENT`] |
/// | 4 | tokens that were generated under it |
/// | 4 | latents that were selected for the current answer |
/// | 4 n | the tokens |
/// | 2 p layers words | of each position, of each layer with a KV cache: the key, then the value, of each head |
/// | 4 | c, the number of checkpoints: the last is at p, unless that is 0; a model without recurrent layers has none |
/// | c (4 + 4 f) | of each checkpoint, in rising order: its position, then the states of all recurrent layers, f floats |
/// | 8 | the FNV-1a hash of all bytes before |
///
/// Version 5 is the same without the checkpoints and their number.
///
/// A head's elements are binary16, or, in `Q8_0`, bytes (with a byte of zero after an odd number)
/// and then the scales, binary16, one for 32 elements.
const VERSION: u32 = 6;

/// The last version without checkpoints.
const WITHOUT_CHECKPOINTS: u32 = 5;

/// No latent is held.
const NO_LATENT: u32 = u32::MAX;

/// Tokens that are read and written at once.
const BLOCK: usize = 1024;

/// Bytes of all that has a fixed size.
const FIXED: u64 = 8 + 4 + 8 + 4 + 4 + 4 + 4 + 8 + 3 * 4 + 8;

impl Session {
    /// Bytes that [`Session::save`] writes now.
    pub fn saved_bytes(&self) -> u64 {
        let tokens = self.sequence.tokens.len() * size_of::<u32>();
        let positions = self.saved_positions() * words(&self.sequence.state) * size_of::<u16>();
        let checkpoints = self.saved_checkpoints().map(|(_, values)| size_of::<u32>() + size_of_val(values));
        FIXED + (tokens + positions + checkpoints.sum::<usize>()) as u64
    }

    /// Saves the session: its tokens, its state, and what it remembers of latents
    /// ([`Session::latent_state`]). Sampler, selector, plugin and constraint are not part of it:
    /// with the same ones, the restored session takes the same steps.
    ///
    /// # Errors
    /// [`SnapshotError::Write`]; [`SnapshotError::OutOfMemory`].
    pub fn save(&self, to: &mut dyn Write) -> Result<()> {
        let mut row = memory::filled(0, words(&self.sequence.state))?;
        let mut bytes = memory::filled(0, row.len() * size_of::<u16>())?;
        let mut writer = SnapshotWriter { to, hash: fingerprint::OFFSET_BASIS };
        writer.write(&MAGIC)?;
        writer.write(&VERSION.to_le_bytes())?;
        writer.write(&identity(&self.sequence).to_le_bytes())?;
        writer.write(&type_number(self.kv_type()).to_le_bytes())?;
        writer.write(&(self.sequence.tokens.len() as u32).to_le_bytes())?;
        writer.write(&(self.saved_positions() as u32).to_le_bytes())?;
        writer.write(&self.sequence.dropped.to_le_bytes())?;
        let LatentState { held, held_tokens, selected } = self.latent_state;
        for number in [held.map_or(NO_LATENT, |latent| latent as u32), held_tokens, selected] {
            writer.write(&number.to_le_bytes())?;
        }
        for tokens in self.sequence.tokens.chunks(BLOCK) {
            let mut bytes = [0; 4 * BLOCK];
            for (bytes, token) in bytes.chunks_exact_mut(4).zip(tokens) {
                bytes.copy_from_slice(&token.to_le_bytes());
            }
            writer.write(&bytes[..4 * tokens.len()])?;
        }
        for position in 0..self.saved_positions() {
            let mut left = &mut row[..];
            for cache in self.sequence.state.caches() {
                let own;
                (own, left) = left.split_at_mut(cache.position_words());
                cache.load(position, own);
            }
            for (bytes, bits) in bytes.chunks_exact_mut(2).zip(&row) {
                bytes.copy_from_slice(&bits.to_le_bytes());
            }
            writer.write(&bytes)?;
        }
        writer.write(&(self.saved_checkpoints().count() as u32).to_le_bytes())?;
        for (position, values) in self.saved_checkpoints() {
            writer.write(&(position as u32).to_le_bytes())?;
            for value in values {
                writer.write(&value.to_le_bytes())?;
            }
        }
        let hash = writer.hash;
        writer.write(&hash.to_le_bytes())?;
        to.flush().map_err(SnapshotError::Write)
    }

    /// Saves the session to the file at `path`, which is replaced when all of it is written: see
    /// [`atomic::write`].
    ///
    /// # Errors
    /// As [`Session::save`].
    pub fn save_file(&self, path: &Path) -> Result<()> {
        atomic::write(path, |out| self.save(out))
    }

    /// Positions that are saved, the same with and without drafts: all but the last, which goes
    /// through the network once more for its hidden state; with recurrent layers those before the
    /// nearest checkpoint.
    fn saved_positions(&self) -> usize {
        let Sequence { state, asked, tokens, .. } = &self.sequence;
        state.resumable((*asked).min(tokens.len().saturating_sub(1)))
    }

    /// The checkpoints that are saved, without that of an empty sequence.
    fn saved_checkpoints(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let positions = 1..=self.saved_positions();
        self.sequence.state.checkpoints().iter().filter(move |(position, _)| positions.contains(position))
    }

    /// Restores the session that [`Session::save`] wrote: the next steps are bit-identical to those
    /// of the saved session. Exactly the written bytes are read, and allocations never exceed the
    /// size that the bytes read so far justify. The old KV cache stays until everything is read and
    /// checked: reset the session first if memory is short. A session that was saved in the middle
    /// of an answer goes on in the middle of it.
    ///
    /// # Errors
    /// [`SnapshotError`]; then the session is as it was.
    pub fn restore(&mut self, from: &mut dyn Read) -> Result<()> {
        let mut reader = SnapshotReader { from, hash: fingerprint::OFFSET_BASIS };
        self.sequence.check_causal().map_err(SnapshotError::Session)?;
        let Header { version, tokens, positions } = self.read_header(&mut reader)?;
        let dropped = u64::from_le_bytes(reader.array()?);
        let latent_state = self.read_latent_state(&mut reader)?;
        let tokens = self.read_tokens(&mut reader, tokens)?;
        let mut state = self.read_positions(&mut reader, positions)?;
        let checkpoints = if version > WITHOUT_CHECKPOINTS { reader.size()? } else { 0 };
        self.read_checkpoints(&mut reader, checkpoints, positions, &mut state)?;
        let hash = reader.hash;
        if u64::from_le_bytes(reader.array()?) != hash {
            return Err(SnapshotError::Checksum);
        }
        let sequence = &mut self.sequence;
        (sequence.tokens, sequence.position, sequence.state) = (tokens, positions, state);
        sequence.asked = positions;
        sequence.dropped = dropped;
        sequence.step.clear();
        if let Some(constraint) = &mut sequence.constraint {
            constraint.reset();
        }
        self.latent_state = latent_state;
        Ok(())
    }

    fn read_header(&self, reader: &mut SnapshotReader<'_>) -> Result<Header> {
        if reader.array()? != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        let version = u32::from_le_bytes(reader.array()?);
        if !(WITHOUT_CHECKPOINTS..=VERSION).contains(&version) {
            return Err(SnapshotError::UnsupportedVersion { version });
        }
        let (saved, model) = (u64::from_le_bytes(reader.array()?), identity(&self.sequence));
        if saved != model {
            return Err(SnapshotError::OtherModel { saved, model });
        }
        let (number, session) = (u32::from_le_bytes(reader.array()?), self.kv_type());
        let saved = KvType::ALL.into_iter().find(|&kv_type| type_number(kv_type) == number);
        let saved = saved.ok_or(SnapshotError::Invalid { what: "its KV cache has no known type" })?;
        if saved != session {
            return Err(SnapshotError::OtherKvType { saved, session });
        }
        let (tokens, positions) = (reader.size()?, reader.size()?);
        if tokens > self.context() {
            return Err(SnapshotError::TooLong { tokens, context: self.context() });
        }
        if positions > tokens.saturating_sub(1) {
            return Err(SnapshotError::Invalid { what: "it has more positions than tokens" });
        }
        Ok(Header { version, tokens, positions })
    }

    fn read_latent_state(&self, reader: &mut SnapshotReader<'_>) -> Result<LatentState> {
        let held = match u32::from_le_bytes(reader.array()?) {
            NO_LATENT => None,
            latent => Some(latent as usize),
        };
        let options = self.sequence.options();
        if let Some(latent) = held.filter(|&latent| latent >= options) {
            return Err(SnapshotError::OtherPlugin { latent, options });
        }
        let [held_tokens, selected] = [u32::from_le_bytes(reader.array()?), u32::from_le_bytes(reader.array()?)];
        Ok(LatentState { held, held_tokens, selected })
    }

    fn read_tokens(&self, reader: &mut SnapshotReader<'_>, count: usize) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        while tokens.len() < count {
            let mut bytes = [0; 4 * BLOCK];
            let bytes = &mut bytes[..4 * BLOCK.min(count - tokens.len())];
            reader.read(bytes)?;
            memory::grow(&mut tokens, bytes.len() / 4)?;
            tokens.extend(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        }
        let known = |token: &u32| (*token as usize) < self.sequence.config().vocab;
        let unknown = SnapshotError::Invalid { what: "a token is not in the vocabulary" };
        if tokens.iter().all(known) { Ok(tokens) } else { Err(unknown) }
    }

    /// Keys and values of the first `count` positions.
    fn read_positions(&self, reader: &mut SnapshotReader<'_>, count: usize) -> Result<State> {
        let config = self.sequence.config();
        let mut state = State::of_type(config, self.kv_type(), self.context());
        let mut row = memory::filled(0, words(&state))?;
        let mut bytes = memory::filled(0, row.len() * size_of::<u16>())?;
        for position in 0..count {
            reader.read(&mut bytes)?;
            let positions = position..position + 1;
            let needed = self.memory_used().saturating_add(state.bytes_with(positions.clone(), 0));
            self.sequence.check_memory_limit(needed)?;
            state.reserve(positions)?;
            for (bits, bytes) in row.iter_mut().zip(bytes.chunks_exact(2)) {
                *bits = u16::from_le_bytes([bytes[0], bytes[1]]);
            }
            let mut left = &row[..];
            for cache in state.caches_mut() {
                let own;
                (own, left) = left.split_at(cache.position_words());
                cache.store_bits(position, own);
            }
        }
        Ok(state)
    }

    /// The states of recurrent layers at `count` positions, the last of which is `last`.
    fn read_checkpoints(
        &self,
        reader: &mut SnapshotReader<'_>,
        count: usize,
        last: usize,
        state: &mut State,
    ) -> Result<()> {
        let (width, mut before) = (state.checkpoints().width(), 0);
        if width == 0 && count > 0 {
            return Err(SnapshotError::Invalid { what: "it has states of recurrent layers, and the model has none" });
        }
        for _ in 0..count {
            let position = reader.size()?;
            if !(before + 1..=last).contains(&position) {
                return Err(SnapshotError::Invalid { what: "its checkpoints are not in order" });
            }
            before = position;
            let needed = self.memory_used().saturating_add(state.bytes()).saturating_add(width * size_of::<f32>());
            self.sequence.check_memory_limit(needed)?;
            let mut values = memory::filled(0.0, width)?;
            for value in &mut values {
                *value = f32::from_le_bytes(reader.array()?);
            }
            state.checkpoints_mut().push(position, values);
        }
        let is_whole = width == 0 || before == last;
        is_whole.then_some(()).ok_or(SnapshotError::Invalid { what: "it has no state of its last position" })
    }
}

/// What a saved session begins with.
struct Header {
    version: u32,
    tokens: usize,
    positions: usize,
}

/// Words of a position's keys and values in all layers.
fn words(state: &State) -> usize {
    state.caches().map(LayerKvCache::position_words).sum()
}

/// The number of a type in the format.
fn type_number(kv_type: KvType) -> u32 {
    match kv_type {
        KvType::F16 => TensorType::F16,
        KvType::Q8_0 => TensorType::Q8_0,
    }
    .id()
}

/// The tokens of a saved session that [`Session::restore`] would take, if it is one of this model;
/// what follows them in the file is not read. `None` for any other file.
pub(super) fn tokens_of(session: &Session, from: &mut dyn Read) -> Option<Vec<u32>> {
    let mut reader = SnapshotReader { from, hash: fingerprint::OFFSET_BASIS };
    let Header { tokens, .. } = session.read_header(&mut reader).ok()?;
    let dropped = u64::from_le_bytes(reader.array().ok()?);
    session.read_latent_state(&mut reader).ok()?;
    session.read_tokens(&mut reader, tokens).ok().filter(|_| dropped == 0)
}

/// Identifies what makes keys and values: the backbone's fingerprint and that of its weights, its
/// shape and parameters, the rope of this context, the names, types and shapes of its tensors, and
/// the adapters.
pub(super) fn identity(sequence: &Sequence) -> u64 {
    let start = model_identity(&sequence.model, sequence.state.rotations());
    sequence.adapters.iter().fold(start, |hash, (adapter, scale)| {
        let hash = fingerprint::hash(hash, &adapter.identity().to_le_bytes());
        fingerprint::hash(hash, &scale.to_le_bytes())
    })
}

fn model_identity(model: &Model, rotations: &[Rotation]) -> u64 {
    let config = model.config();
    let most = |size: fn(&LayerConfig) -> usize| config.most(size);
    let heads = [most(|layer| layer.heads), most(|layer| layer.kv_heads), most(|layer| layer.head_dim)];
    let sizes = [config.layers.len(), config.hidden, heads[0], heads[1], heads[2], config.vocab];
    let start = fingerprint::hash(fingerprint::OFFSET_BASIS, model.fingerprint().as_bytes());
    let start = fingerprint::hash(start, &model.weights_fingerprint().to_le_bytes());
    let start = sizes.iter().fold(start, |hash, &size| fingerprint::hash(hash, &(size as u64).to_le_bytes()));
    let start =
        parameters(config, rotations).fold(start, |hash, number| fingerprint::hash(hash, &number.to_le_bytes()));
    let tensors = model.gguf().tensors().iter().filter(|tensor| !tensor.name.starts_with(PLUGIN_PREFIX));
    tensors.fold(start, |hash, tensor| {
        fingerprint::hash(hash, format!("{} {} {:?};", tensor.name, tensor.dtype, tensor.dims).as_bytes())
    })
}

/// The numbers of a forward pass that are neither weights nor sizes.
fn parameters(config: &Config, rotations: &[Rotation]) -> impl Iterator<Item = u64> {
    let capped = [config.attention_softcap.unwrap_or(0.0), config.attention_scale, config.embedding_scale];
    let floats = capped.into_iter().chain([config.norm_epsilon]);
    let rotated =
        rotations.iter().flat_map(|rotation| rotation.frequencies.iter().copied().chain([rotation.magnitude]));
    let floats = floats.chain(rotated);
    let temperature = config.query_temperature.map(|it| u64::from(it.scale.to_bits()) ^ ((it.length as u64) << 32));
    let residual =
        Some(u64::from(config.residual_scale.to_bits())).filter(|_| config.residual_scale.total_cmp(&1.0).is_ne());
    let norms = (config.norms != config.family.norms).then_some(1);
    let experts = config.layers.iter().filter_map(|layer| layer.experts).flat_map(|experts| {
        let gating = u64::from(experts.gating == Gating::Sigmoid) | (u64::from(experts.normalized) << 1);
        [experts.used as u64, gating, u64::from(experts.scale.to_bits())]
    });
    let shared = config.layers.iter().filter_map(|layer| layer.kv_source).map(|source| source as u64);
    let cutoffs = config
        .layers
        .iter()
        .zip(0..)
        .filter_map(|(layer, index)| layer.gate_cutoff.map(|cutoff| u64::from(cutoff.to_bits()) | (index << 32)));
    let window = config.sliding_window.unwrap_or(usize::MAX) as u64;
    floats
        .map(|x| u64::from(x.to_bits()))
        .chain([window])
        .chain(config.layers.iter().map(|layer| u64::from(layer.is_sliding) | (u64::from(!layer.has_rope) << 1)))
        .chain(temperature)
        .chain(residual)
        .chain(norms)
        .chain(experts)
        .chain(shared)
        .chain(cutoffs)
}

/// Writes and hashes.
struct SnapshotWriter<'a> {
    to: &'a mut dyn Write,
    hash: u64,
}

impl SnapshotWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.hash = fingerprint::hash(self.hash, bytes);
        self.to.write_all(bytes).map_err(SnapshotError::Write)
    }
}

/// Reads and hashes.
struct SnapshotReader<'a> {
    from: &'a mut dyn Read,
    hash: u64,
}

impl SnapshotReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        self.from.read_exact(bytes).map_err(SnapshotError::Read)?;
        self.hash = fingerprint::hash(self.hash, bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn size(&mut self) -> Result<usize, SnapshotError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }
}
