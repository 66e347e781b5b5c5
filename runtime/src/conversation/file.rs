//! A conversation in a file: its messages, and the session that it has come to.

use std::io::{BufReader, Read, Write};
use std::path::Path;

use ollm_kernels::memory;
use serde_json::{Map, Value, json};

use crate::atomic;
use crate::chat::{Message, Variables};
use crate::model::fingerprint;
use crate::session::Session;
use crate::storage;

use super::error::{ConversationError, VERSION};
use super::talk::{Conversation, ConversationOptions, pinned};

type Result<T, E = ConversationError> = std::result::Result<T, E>;

/// What a saved conversation begins with. All numbers are little endian.
///
/// | bytes | what |
/// |---|---|
/// | 8 | this |
/// | 4 | [`VERSION`] |
/// | 8 | n, the length of the JSON |
/// | n | JSON, an object: `messages`, `variables`, and `dropped`, how many messages behind the system messages are forgotten |
/// | 8 | the FNV-1a hash of all bytes before |
/// | rest | the session, as [`Session::save`] writes it |
const MAGIC: [u8; 8] = *b"OLLMCHAT";

/// Bytes of JSON that are read at most.
const MAX_JSON: u64 = 1 << 28;

/// Bytes that are read at once.
const BLOCK: u64 = 1 << 16;

impl Conversation {
    /// Saves the conversation with the session of its last answer: messages, template variables,
    /// and the session as [`Session::save`] does. Other settings, sampler and selector are not part
    /// of it.
    ///
    /// # Errors
    /// [`ConversationError::Write`], [`ConversationError::Snapshot`].
    pub fn save(&self, session: &Session, to: &mut dyn Write) -> Result<()> {
        let messages: Vec<&Map<String, Value>> = self.messages.iter().map(Message::as_json).collect();
        let variables = self.options.variables.as_json();
        let json = json!({ "messages": messages, "variables": variables, "dropped": self.dropped }).to_string();
        let mut head = [&MAGIC[..], &VERSION.to_le_bytes(), &(json.len() as u64).to_le_bytes()].concat();
        head.extend_from_slice(json.as_bytes());
        let hash = fingerprint::hash(fingerprint::OFFSET_BASIS, &head);
        to.write_all(&head)?;
        to.write_all(&hash.to_le_bytes())?;
        Ok(session.save(to)?)
    }

    /// Saves to the file at `path`, which is replaced when all of it is written: see
    /// [`atomic::write`].
    ///
    /// # Errors
    /// As [`Conversation::save`].
    pub fn save_file(&self, session: &Session, path: &Path) -> Result<()> {
        atomic::write(path, |out| self.save(session, out))
    }

    /// Restores what [`Conversation::save`] wrote, messages and template variables, and the
    /// session: under the same settings, the next answer is bit-identical to the one that the saved
    /// conversation would have had. Calls of tools are free where the tools, or the template that
    /// the variables choose, are others than before.
    ///
    /// # Errors
    /// [`ConversationError::Read`], [`ConversationError::NotAConversation`],
    /// [`ConversationError::UnsupportedVersion`], [`ConversationError::Damaged`],
    /// [`ConversationError::Chat`], [`ConversationError::Snapshot`] as [`Session::restore`]; then
    /// conversation and session are as they were.
    pub fn restore(&mut self, session: &mut Session, from: &mut dyn Read) -> Result<()> {
        let json = read_json(from)?;
        let (messages, variables, dropped) = parse(&json)?;
        let checked = self.check(ConversationOptions { variables, ..self.options.clone() })?;
        session.restore(from)?;
        self.apply(checked);
        (self.messages, self.dropped) = (messages, dropped);
        Ok(())
    }

    /// Restores from the file at `path`.
    ///
    /// # Errors
    /// As [`Conversation::restore`].
    pub fn restore_file(&mut self, session: &mut Session, path: &Path) -> Result<()> {
        let file = storage::open_file(path).map_err(ConversationError::Read)?;
        self.restore(session, &mut BufReader::new(file))
    }
}

/// Messages, variables, and how many messages are forgotten.
fn parse(json: &[u8]) -> Result<(Vec<Message>, Variables, usize)> {
    let damaged = |what| ConversationError::Damaged { what };
    let saved: Value = serde_json::from_slice(json).map_err(|_| damaged("its messages are no JSON"))?;
    let messages = Message::list_from_json(&saved["messages"].to_string())?;
    let variables = Variables::from_json(&saved["variables"].to_string())?;
    let dropped = saved["dropped"].as_u64().and_then(|dropped| usize::try_from(dropped).ok());
    let behind = messages.len() - pinned(&messages);
    let dropped = dropped.filter(|&dropped| dropped <= behind).ok_or_else(|| damaged("its turns"))?;
    Ok((messages, variables, dropped))
}

/// The checked JSON of a saved conversation. No more is allocated than the bytes read so far
/// justify.
fn read_json(from: &mut dyn Read) -> Result<Vec<u8>> {
    let mut head = [0; 20];
    from.read_exact(&mut head).map_err(ConversationError::Read)?;
    let (magic, rest) = head.split_at(8);
    if magic != MAGIC {
        return Err(ConversationError::NotAConversation);
    }
    let (version, length) = rest.split_at(4);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
    let (version, length) = (number(version) as u32, number(length));
    if version != VERSION {
        return Err(ConversationError::UnsupportedVersion { version });
    }
    if length > MAX_JSON {
        return Err(ConversationError::Damaged { what: "its messages have no sensible length" });
    }
    let mut json = Vec::new();
    while (json.len() as u64) < length {
        let (begin, block) = (json.len(), BLOCK.min(length - json.len() as u64) as usize);
        memory::grow(&mut json, block).map_err(|error| ConversationError::Chat(error.into()))?;
        json.resize(begin + block, 0);
        from.read_exact(&mut json[begin..]).map_err(ConversationError::Read)?;
    }
    let mut hash = [0; 8];
    from.read_exact(&mut hash).map_err(ConversationError::Read)?;
    let expected = [&head[..], &json].into_iter().fold(fingerprint::OFFSET_BASIS, fingerprint::hash);
    if u64::from_le_bytes(hash) == expected {
        Ok(json)
    } else {
        Err(ConversationError::Damaged { what: "its checksum does not fit" })
    }
}
