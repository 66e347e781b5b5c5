//! Errors: every function that can fail returns an `ollm_status`. Its outputs are written only when
//! that is `OLLM_OK`, unless the function says otherwise. The text of the last failure on a thread
//! says what, where and what to do.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

use ollm_runtime::Error;
use ollm_runtime::branches::BranchError;
use ollm_runtime::chat::ChatError;
use ollm_runtime::constraint::ConstraintError;
use ollm_runtime::conversation::ConversationError;
use ollm_runtime::gguf::GgufError;
use ollm_runtime::logits::LogitsError;
use ollm_runtime::model::ModelError;
use ollm_runtime::plugin::PluginError;
use ollm_runtime::sampler::SamplerError;
use ollm_runtime::session::{SessionError, SnapshotError};
use ollm_runtime::storage::StorageError;
use ollm_runtime::tokenizer::TokenizerError;

/// The status of a call. The numbers are frozen; later versions may add some, so treat an unknown
/// number as an error. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OllmStatus {
    /// It worked.
    Ok = 0,
    /// An argument is NULL, out of its range, or does not go with another.
    InvalidArgument = 1,
    /// A handle was freed, is of another kind, or never was one.
    InvalidHandle = 2,
    /// Text is not UTF-8.
    InvalidUtf8 = 3,
    /// A buffer is too small; the size that is needed was written.
    BufferTooSmall = 4,
    /// The session, branches, chat, parser or batch is in use: by another thread, or by the call
    /// that called back.
    Busy = 5,
    /// The call was cancelled. The session is at its last complete position, and the next call
    /// continues from there.
    Cancelled = 6,
    /// The system has not enough memory.
    OutOfMemory = 7,
    /// More memory is needed than the limit allows.
    MemoryLimit = 8,
    /// The system could not read or write a file, or not start a thread.
    Io = 9,
    /// The file is damaged, or not of the kind that was asked for: a GGUF file, a saved session.
    BadFile = 10,
    /// What is asked for is not in this version, this build, or this model; or a grammar cannot go
    /// on.
    Unsupported = 11,
    /// Two things do not belong together: what was made for another model (a plugin, adapters, a
    /// grammar, a saved session), branches of another text.
    Mismatch = 12,
    /// There is no plugin, and the call needs one.
    NoPlugin = 13,
    /// The model's file has no tokenizer or no chat template that can be used.
    NoTokenizer = 14,
    /// The chat template refused the conversation, or failed.
    Template = 15,
    /// The context has no room for this, or for more.
    ContextFull = 16,
    /// There is nothing to continue: no token was fed yet.
    Empty = 17,
    /// The weights give no numbers: the file may be damaged.
    NotFinite = 18,
    /// A bug in the library; the object that it happened in can only be freed.
    Internal = 19,
}

impl OllmStatus {
    /// All of them, with their names in C.
    const NAMES: [(Self, &'static CStr); 20] = [
        (Self::Ok, c"OLLM_OK"),
        (Self::InvalidArgument, c"OLLM_INVALID_ARGUMENT"),
        (Self::InvalidHandle, c"OLLM_INVALID_HANDLE"),
        (Self::InvalidUtf8, c"OLLM_INVALID_UTF8"),
        (Self::BufferTooSmall, c"OLLM_BUFFER_TOO_SMALL"),
        (Self::Busy, c"OLLM_BUSY"),
        (Self::Cancelled, c"OLLM_CANCELLED"),
        (Self::OutOfMemory, c"OLLM_OUT_OF_MEMORY"),
        (Self::MemoryLimit, c"OLLM_MEMORY_LIMIT"),
        (Self::Io, c"OLLM_IO"),
        (Self::BadFile, c"OLLM_BAD_FILE"),
        (Self::Unsupported, c"OLLM_UNSUPPORTED"),
        (Self::Mismatch, c"OLLM_MISMATCH"),
        (Self::NoPlugin, c"OLLM_NO_PLUGIN"),
        (Self::NoTokenizer, c"OLLM_NO_TOKENIZER"),
        (Self::Template, c"OLLM_TEMPLATE"),
        (Self::ContextFull, c"OLLM_CONTEXT_FULL"),
        (Self::Empty, c"OLLM_EMPTY"),
        (Self::NotFinite, c"OLLM_NOT_FINITE"),
        (Self::Internal, c"OLLM_INTERNAL"),
    ];
}

/// The name of a status, such as `"OLLM_BUSY"`; `"OLLM_UNKNOWN"` for a number that is none. The
/// text is static: never free it. Any thread. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_status_name(status: i32) -> *const c_char {
    let found = OllmStatus::NAMES.iter().find(|(known, _)| *known as i32 == status);
    found.map_or(c"OLLM_UNKNOWN", |(_, name)| name).as_ptr()
}

/// What went wrong in the last call on this thread that failed, as text that ends in zero; "" if
/// none did. Calls that succeed leave it. The text belongs to the library and stays until the next
/// call on this thread that fails: copy it to keep it. Any thread. Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn ollm_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// The status of an outcome; what failed becomes the thread's last error.
pub(crate) fn note(outcome: Result<()>) -> OllmStatus {
    match outcome {
        Ok(()) => OllmStatus::Ok,
        Err(failure) => {
            set_last_error(&failure.message);
            failure.status
        }
    }
}

fn set_last_error(message: &str) {
    let text = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
    // A thread that is ending has no last error any more: then nobody can ask for it.
    let _ = LAST.try_with(|last| last.replace(text));
}

#[cfg(test)]
pub(crate) fn last_error() -> String {
    LAST.with(|last| last.borrow().to_string_lossy().into_owned())
}

/// Why a call fails.
#[derive(Debug)]
pub(crate) struct CallFailure {
    pub(crate) status: OllmStatus,
    pub(crate) message: String,
}

pub(crate) type Result<T> = std::result::Result<T, CallFailure>;

impl CallFailure {
    pub(crate) fn new(status: OllmStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(OllmStatus::InvalidArgument, message)
    }
}

impl<E: Into<Error>> From<E> for CallFailure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self::new(status_of(&error), error.to_string())
    }
}

fn status_of(error: &Error) -> OllmStatus {
    match error {
        Error::Io { source, .. }
        | Error::Threads(source)
        | Error::Affinity(source)
        | Error::Storage(StorageError::File(source)) => of_io(source),
        Error::OutOfMemory(_) => OllmStatus::OutOfMemory,
        Error::Isa(_) => OllmStatus::Unsupported,
        Error::Gguf(error) => of_gguf(error),
        Error::Model(error) => of_model(error),
        Error::Plugin(error) => of_plugin(error),
        Error::Sampler(SamplerError::Logits(error)) | Error::Logits(error) => of_logits(error),
        Error::Storage(StorageError::MemoryLimit { .. }) => OllmStatus::MemoryLimit,
        Error::Storage(StorageError::Range { .. })
        | Error::Select(_)
        | Error::Sampler(_)
        | Error::AnswerRule(_)
        | Error::Tokenizer(TokenizerError::Encode { .. })
        | Error::Chat(
            ChatError::Json { .. }
            | ChatError::Message { .. }
            | ChatError::Variable { .. }
            | ChatError::NoSuchTemplate { .. }
            | ChatError::NoDate,
        ) => OllmStatus::InvalidArgument,
        Error::Constraint(error) => of_constraint(error),
        Error::Session(error) => of_session(error),
        Error::Branch(error) => of_branches(error),
        Error::Snapshot(error) => of_snapshot(error),
        Error::Tokenizer(_) | Error::Chat(ChatError::Missing) => OllmStatus::NoTokenizer,
        Error::Chat(ChatError::Thread(error)) => of_io(error),
        Error::Chat(_) => OllmStatus::Template,
        Error::Conversation(error) => of_conversation(error),
        _ => OllmStatus::Internal,
    }
}

fn of_io(error: &std::io::Error) -> OllmStatus {
    if error.kind() == std::io::ErrorKind::OutOfMemory { OllmStatus::OutOfMemory } else { OllmStatus::Io }
}

fn of_gguf(error: &GgufError) -> OllmStatus {
    use GgufError::{BigEndian, UnknownTensorType, UnknownValueType, UnsupportedVersion};
    match error {
        BigEndian | UnsupportedVersion { .. } | UnknownTensorType { .. } | UnknownValueType { .. } => {
            OllmStatus::Unsupported
        }
        _ => OllmStatus::BadFile,
    }
}

fn of_model(error: &ModelError) -> OllmStatus {
    use ModelError::{Cancelled, MemoryLimit, NoMemoryForWeights};
    use ModelError::{NotAdaptable, OtherArchitecture, TooManyThreads};
    use ModelError::{UnexpectedTensor, UnknownArchitecture, UnknownKey, Unsupported};
    match error {
        Cancelled => OllmStatus::Cancelled,
        MemoryLimit { .. } => OllmStatus::MemoryLimit,
        NoMemoryForWeights { .. } => OllmStatus::OutOfMemory,
        OtherArchitecture { .. } | NotAdaptable(_) => OllmStatus::Mismatch,
        TooManyThreads(_) => OllmStatus::InvalidArgument,
        UnknownArchitecture(_) | UnknownKey { .. } | Unsupported { .. } | UnexpectedTensor(_) => {
            OllmStatus::Unsupported
        }
        _ => OllmStatus::BadFile,
    }
}

fn of_plugin(error: &PluginError) -> OllmStatus {
    match error {
        PluginError::OtherBackbone { .. } => OllmStatus::Mismatch,
        PluginError::UnsupportedVersion { .. } | PluginError::UnknownKind { .. } => OllmStatus::Unsupported,
        PluginError::PolicyNotFinite | PluginError::EncoderNotFinite | PluginError::ValueNotFinite => {
            OllmStatus::NotFinite
        }
        _ => OllmStatus::BadFile,
    }
}

fn of_logits(error: &LogitsError) -> OllmStatus {
    match error {
        LogitsError::TokenOutOfRange { .. } => OllmStatus::InvalidArgument,
        _ => OllmStatus::NotFinite,
    }
}

fn of_constraint(error: &ConstraintError) -> OllmStatus {
    use ConstraintError::{Complete, NotBuilt, Stuck, Vocabulary};
    match error {
        NotBuilt | Vocabulary { .. } | Stuck { .. } | Complete => OllmStatus::Unsupported,
        ConstraintError::Mismatch { .. } => OllmStatus::Mismatch,
        ConstraintError::NoThread { .. } => OllmStatus::Io,
        ConstraintError::OutOfMemory(_) => OllmStatus::OutOfMemory,
        _ => OllmStatus::InvalidArgument,
    }
}

fn of_branches(error: &BranchError) -> OllmStatus {
    match error {
        BranchError::Session(error) => of_session(error),
        BranchError::Failed(error) => of_session(error),
        BranchError::NoPlugin { .. } | BranchError::NoValue => OllmStatus::NoPlugin,
        BranchError::Mismatch => OllmStatus::Mismatch,
        _ => OllmStatus::InvalidArgument,
    }
}

fn of_conversation(error: &ConversationError) -> OllmStatus {
    use ConversationError::{ContextFull, Damaged, NotAConversation, NothingToAnswer, TurnTooLong, UnsupportedVersion};
    match error {
        NothingToAnswer => OllmStatus::Empty,
        ContextFull { .. } | TurnTooLong { .. } => OllmStatus::ContextFull,
        // A save that ends too early is damaged, wherever it comes from.
        ConversationError::Read(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => OllmStatus::BadFile,
        ConversationError::Read(source) | ConversationError::Write(source) => of_io(source),
        NotAConversation | Damaged { .. } => OllmStatus::BadFile,
        UnsupportedVersion { .. } => OllmStatus::Unsupported,
        _ => OllmStatus::InvalidArgument,
    }
}

pub(crate) fn of_session(error: &SessionError) -> OllmStatus {
    match error {
        SessionError::ContextFull { .. } => OllmStatus::ContextFull,
        SessionError::Empty => OllmStatus::Empty,
        SessionError::NoPlugin | SessionError::NoValue => OllmStatus::NoPlugin,
        SessionError::Cancelled => OllmStatus::Cancelled,
        SessionError::Bidirectional | SessionError::NoClassifier => OllmStatus::Unsupported,
        SessionError::OutOfMemory(_) => OllmStatus::OutOfMemory,
        SessionError::Plugin(error) => of_plugin(error),
        SessionError::Logits(error) | SessionError::Sampler(SamplerError::Logits(error)) => of_logits(error),
        SessionError::MemoryLimit { .. } => OllmStatus::MemoryLimit,
        SessionError::OtherAdapter | SessionError::DraftVocabulary { .. } => OllmStatus::Mismatch,
        SessionError::Constraint(error) => of_constraint(error),
        SessionError::TokenOutOfRange { .. }
        | SessionError::PositionOutOfRange { .. }
        | SessionError::ContextShift { .. }
        | SessionError::Incompatible
        | SessionError::Select(_)
        | SessionError::Sampler(_)
        | SessionError::AdapterScale(_)
        | SessionError::Duty
        | SessionError::TooManyThreads(_) => OllmStatus::InvalidArgument,
        _ => OllmStatus::Internal,
    }
}

fn of_snapshot(error: &SnapshotError) -> OllmStatus {
    use SnapshotError::{OtherKvType, OtherModel, OtherPlugin, Read, TooLong, UnsupportedVersion, Write};
    match error {
        // A save that ends too early is damaged, wherever it comes from.
        Read(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => OllmStatus::BadFile,
        Write(source) | Read(source) => of_io(source),
        UnsupportedVersion { .. } => OllmStatus::Unsupported,
        OtherModel { .. } | OtherKvType { .. } | OtherPlugin { .. } => OllmStatus::Mismatch,
        TooLong { .. } => OllmStatus::ContextFull,
        _ => OllmStatus::BadFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no file can be blamed for before it computes has a status of its own.
    #[test]
    fn weights_that_give_no_distribution_are_not_finite() {
        for error in [PluginError::PolicyNotFinite, PluginError::EncoderNotFinite, PluginError::ValueNotFinite] {
            assert_eq!(CallFailure::from(SessionError::Plugin(error)).status, OllmStatus::NotFinite);
        }
        assert_eq!(CallFailure::from(LogitsError::Impossible).status, OllmStatus::NotFinite);
    }

    /// An error has one status, whichever module passes it on.
    #[test]
    fn what_modules_pass_on_is_the_same_status() {
        let memory = || ollm_runtime::memory::OutOfMemory { bytes: 1 };
        let failures = [
            CallFailure::from(memory()),
            CallFailure::from(SessionError::OutOfMemory(memory())),
            CallFailure::from(SnapshotError::OutOfMemory(memory())),
            CallFailure::from(PluginError::OutOfMemory(memory())),
            CallFailure::from(StorageError::OutOfMemory(memory())),
            CallFailure::from(SessionError::Logits(LogitsError::OutOfMemory(memory()))),
        ];
        assert!(failures.iter().all(|failure| failure.status == OllmStatus::OutOfMemory));
        let limit = SnapshotError::Session(SessionError::MemoryLimit { needed: 2, limit: 1 });
        assert_eq!(CallFailure::from(limit).status, OllmStatus::MemoryLimit);
    }
}
