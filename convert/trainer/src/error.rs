//! The error type of the trainer: what went wrong, where, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use ollm_convert::ConvertError;
use ollm_runtime::chat::ChatError;
use ollm_runtime::model::ModelError;
use ollm_runtime::plugin::PluginError;
use ollm_runtime::session::SessionError;
use ollm_runtime::storage::StorageError;
use ollm_runtime::tokenizer::TokenizerError;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can stop a run. Nothing half written is left behind by any of them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tensor operation failed (shapes, device memory, an unavailable device).
    Tensor(candle_core::Error),
    /// The runtime refused the backbone or could not run it.
    Runtime(ollm_runtime::Error),
    /// The backbone has something that the trainer does not compute.
    Unsupported {
        /// What it has.
        part: &'static str,
    },
    /// The backbone's tokenizer cannot be used.
    Tokenizer(TokenizerError),
    /// The backbone's chat template cannot be used, or refused a question.
    Chat(ChatError),
    /// A line of a data file is not a problem.
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The data files hold no problem at all.
    NoData(Vec<PathBuf>),
    /// There seem to be fewer different problems than are asked for.
    NoNewQuestion {
        /// How many were found.
        found: usize,
        /// How many were asked for.
        wanted: usize,
        /// How many draws in a row gave no new one.
        tries: usize,
    },
    /// A cache, checkpoint or plugin file is not what its name promises.
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file belongs to another backbone, other data or other settings.
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which property differs.
        what: String,
        /// What this run has.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The processes of a run do not fit together.
    Ranks {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The run folder already holds a run, and `--resume` was not given.
    RunExists(PathBuf),
    /// The folder holds no run that `--resume` could go on with.
    NoRun(PathBuf),
    /// The backbone's file is not what it should be.
    Convert(ConvertError),
    /// The command of `--answer command:CMD` did not judge the answers that it was given.
    AnswerCommand {
        /// The command.
        command: String,
        /// The line of its output, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The run was asked to end, and has kept what is done.
    Interrupted,
    /// A setting has a value that makes no sense.
    Setting {
        /// The setting, as on the command line.
        name: &'static str,
        /// Why its value is refused.
        reason: String,
    },
    /// A loss or hidden state is NaN or infinite; the last checkpoint is kept.
    NonFinite {
        /// What was not finite.
        what: String,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }

    /// A file that breaks its format.
    pub fn bad_file(path: &Path, reason: impl Into<String>) -> Self {
        Self::BadFile { path: path.to_owned(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Tensor(source) => write!(f, "tensor operation: {source}"),
            Self::Runtime(source) => source.fmt(f),
            Self::Unsupported { part } => {
                write!(f, "the backbone has {part}, which this stage does not compute: take one without")
            }
            Self::Tokenizer(source) => source.fmt(f),
            Self::Chat(source) => source.fmt(f),
            Self::Line { path, line, reason } => write!(f, "{}:{line}: {reason}", path.display()),
            Self::NoData(paths) => write!(
                f,
                "no problems to use in {}: none, none within --limit, or all longer than the context",
                list(paths)
            ),
            Self::NoNewQuestion { found, wanted, tries } => write!(
                f,
                "only {found} of {wanted} different problems were found: {tries} draws in a row gave no question that \
                 is new and not excluded (ask for fewer, or for more --operands or --digits where the kind has them)"
            ),
            Self::BadFile { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Mismatch { path, what, expected, found } => {
                write!(f, "{}: made with {what} {found}, this run has {expected}", path.display())
            }
            Self::Ranks { reason } => f.write_str(reason),
            Self::RunExists(path) => {
                write!(
                    f,
                    "{} already holds a run: pass --resume to go on with it, or name another folder",
                    path.display()
                )
            }
            Self::NoRun(path) => {
                write!(f, "{} holds no run to resume: leave out --resume, or name the folder of a run", path.display())
            }
            Self::Convert(source) => source.fmt(f),
            Self::AnswerCommand { command, line, reason } => write!(
                f,
                "--answer command:{command}: line {line} of its output: {reason}; for each line of its input it must \
                 print a line {{\"reward\": 0..1}}, and flush it"
            ),
            Self::Interrupted => write!(f, "interrupted; what is done is kept"),
            Self::Setting { name, reason } => write!(f, "{name}: {reason}"),
            Self::NonFinite { what } => {
                write!(f, "{what} is not finite: stopped, the last checkpoint is kept (a lower --lr may help)")
            }
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Tensor(source) => Some(source),
            Self::Runtime(source) => Some(source),
            Self::Tokenizer(source) => Some(source),
            Self::Chat(source) => Some(source),
            Self::Convert(source) => source.source(),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$source> for Error {
            fn from(source: $source) -> Self {
                Self::$variant(source)
            }
        })+
    };
}

from!(
    candle_core::Error => Tensor,
    ollm_runtime::Error => Runtime,
    TokenizerError => Tokenizer,
    ChatError => Chat,
    ConvertError => Convert,
);

/// The errors of the runtime's modules are errors of the runtime.
macro_rules! from_runtime {
    ($($source:ty),+ $(,)?) => {
        $(impl From<$source> for Error {
            fn from(source: $source) -> Self {
                Self::Runtime(source.into())
            }
        })+
    };
}

from_runtime!(ModelError, PluginError, SessionError, StorageError);
