//! Why the command ends without success, and with which exit code.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ollm_console::hub::HubError;
use ollm_runtime::Error;
use ollm_runtime::branches::BranchError;
use ollm_runtime::chat::ChatError;
use ollm_runtime::constraint::ConstraintError;
use ollm_runtime::conversation::ConversationError;
use ollm_runtime::gguf::GgufError;
use ollm_runtime::logits::LogitsError;
use ollm_runtime::plugin::{PluginError, SelectError};
use ollm_runtime::session::{SessionError, SnapshotError};
use ollm_runtime::storage::StorageError;
use ollm_runtime::tokenizer::TokenizerError;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why the command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read our output has stopped reading (`| head`): no error.
    Closed,
    /// A flag has a value that makes no sense.
    Usage(String),
    /// A file is not what it should be.
    File { path: PathBuf, error: Error },
    /// The runtime refuses.
    Runtime(Error),
    /// A text cannot be read.
    Text { name: String, source: io::Error },
    /// A text is not UTF-8.
    NotUtf8 { name: String, offset: usize },
    /// The prompt has no text.
    EmptyPrompt,
    /// A flag is about latents, but there is no plugin.
    NoPlugin { flag: &'static str },
    /// Output cannot be written.
    Output(io::Error),
    /// A file of the Hugging Face Hub cannot be had.
    Hub(HubError),
    /// The server cannot listen, or cannot go on.
    #[cfg(feature = "serve")]
    Server(io::Error),
    /// The line editor gave up.
    Editor(String),
    /// The program that `bench` runs beside this one did not do its part.
    Peer { program: PathBuf, reason: String },
}

impl Failure {
    /// For `map_err`: what is wrong with the file at `path`.
    pub(crate) fn in_file<E: Into<Error>>(path: &Path) -> impl FnOnce(E) -> Self + '_ {
        |error| Self::File { path: path.to_owned(), error: error.into() }
    }

    /// 0 if nothing is wrong, 2 for wrong usage, 1 for everything else.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Closed => ExitCode::SUCCESS,
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "output closed"),
            Self::Usage(message) | Self::Editor(message) => f.write_str(message),
            // An error of the system names the file itself.
            Self::Runtime(error) | Self::File { error: error @ Error::Io { .. }, .. } => error.fmt(f),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Text { name, source } => write!(f, "cannot read {name}: {source}"),
            Self::NotUtf8 { name, offset } => write!(f, "{name} is not UTF-8 (byte {offset})"),
            Self::EmptyPrompt => write!(f, "the prompt is empty"),
            Self::NoPlugin { flag } => {
                write!(f, "{flag} needs options, but there is no plugin: name one with --plugin FILE")
            }
            Self::Peer { program, reason } => write!(f, "{}: {reason}", program.display()),
            Self::Hub(error) => error.fmt(f),
            #[cfg(feature = "serve")]
            Self::Server(source) => write!(f, "the server: {source}"),
            Self::Output(source) => write!(f, "cannot write the output: {source}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Output(error) }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Runtime(error)
    }
}

/// The errors of the runtime's modules are errors of the runtime.
macro_rules! from {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Runtime(error.into())
            }
        })+
    };
}

from!(
    BranchError,
    ChatError,
    ConstraintError,
    ConversationError,
    GgufError,
    LogitsError,
    PluginError,
    SelectError,
    SessionError,
    SnapshotError,
    StorageError,
    TokenizerError,
);
