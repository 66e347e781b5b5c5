//! Files of the Hugging Face Hub by their names: `hf:OWNER/NAME` and `hf:OWNER/NAME:FILE`.
//!
//! They are downloaded once, to the cache that other programs share (`HF_HOME`); `HF_ENDPOINT`
//! names another server, `HF_TOKEN` (or the token file of `HF_HOME`) an account. A download that
//! was cut is resumed, and its size is checked.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a file cannot be had.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubError {
    /// The text names no repository.
    Name(String),
    /// This build has no downloads.
    NoDownloads(String),
    /// The server does not have it, or not for this account.
    Refused {
        /// What was asked for.
        what: String,
        /// The status of HTTP.
        status: u16,
    },
    /// The repository has several files that could be meant, or none.
    Choice {
        /// The repository.
        repository: String,
        /// Names that could be meant, or that there are.
        files: Vec<String>,
    },
    /// The server names a file that has no place in the cache.
    Unsafe(String),
    /// What came is not as long as the server says.
    Size {
        /// The file.
        file: String,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The download failed.
    Failed {
        /// What was asked for.
        what: String,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) => write!(f, "{text:?} is not hf:OWNER/NAME or hf:OWNER/NAME:FILE"),
            Self::NoDownloads(text) => write!(
                f,
                "{text} is on the Hugging Face Hub, and this build has no downloads: fetch the file, or build with \
                 --features download"
            ),
            Self::Refused { what, status: status @ (401 | 403) } => {
                write!(f, "{what} is not for everyone (HTTP {status}): set HF_TOKEN to a token that may read it")
            }
            Self::Refused { what, status: 404 } => write!(f, "{what} is not there: check the names (HTTP 404)"),
            Self::Refused { what, status } => write!(f, "{what}: the server says HTTP {status}"),
            Self::Choice { repository, files } if files.is_empty() => {
                write!(f, "{repository} has no such file: name one of its GGUF files, hf:OWNER/NAME:FILE")
            }
            Self::Choice { repository, files } => {
                write!(f, "{repository} has several such files; name one, hf:OWNER/NAME:FILE: {}", files.join(", "))
            }
            Self::Unsafe(name) => write!(f, "the server names {name:?}, which is no place in a cache"),
            Self::Size { file, expected, found } => {
                write!(f, "{file}: {found} bytes came of {expected}, and were removed: try again")
            }
            Self::Failed { what, reason } => write!(f, "{what} cannot be downloaded: {reason}"),
        }
    }
}

impl std::error::Error for HubError {}

/// A repository, and perhaps a file in it.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    repository: String,
    file: Option<String>,
}

impl Reference {
    /// What `hf:..` names; `None` of any other path.
    fn parse(path: &Path) -> Option<Result<Self, HubError>> {
        let text = path.to_str()?;
        let name = text.strip_prefix("hf:")?;
        let (repository, file) = name.split_once(':').map_or((name, None), |(name, file)| (name, Some(file)));
        let parts: Vec<&str> = repository.split('/').collect();
        let whole = parts.len() == 2 && parts.iter().chain(&file).all(|part| is_safe(part));
        let found = Self { repository: repository.to_owned(), file: file.map(str::to_owned) };
        Some(if whole { Ok(found) } else { Err(HubError::Name(text.to_owned())) })
    }
}

/// Whether a name stays inside the folder that it is put into.
fn is_safe(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', ':', '?', '#', '%']);
    !name.contains(char::is_control) && name.split('/').all(is_part)
}

/// Whether the folder of a model needs this file: it is one of the model itself, or in a folder of
/// a module behind it or of its chat templates, or says what the model is for.
#[cfg(any(feature = "download", test))]
fn is_part(name: &str) -> bool {
    const ENDS: [&str; 5] = [".json", ".safetensors", ".model", ".txt", ".jinja"];
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let is_module = ["_Pooling", "_Dense", "additional_chat_templates"].iter().any(|end| folder.ends_with(end));
    let is_read = folder.is_empty() || is_module && !folder.contains('/');
    name == "README.md" || is_read && ENDS.iter().any(|end| name.ends_with(end))
}

/// The GGUF file that is meant: the name itself, or the only one that has `wanted` in its name, as
/// a whole word if there is such a name: `F16` is not `BF16`. Parts of a model in several files
/// count by the first.
#[cfg(any(feature = "download", test))]
fn choose(names: &[String], wanted: Option<&str>) -> Result<String, Vec<String>> {
    let wanted = wanted.unwrap_or_default().to_lowercase();
    let is_model = |name: &&String| {
        let lower = name.to_lowercase();
        let part = shard(name).is_none_or(|(_, number, _)| number == 1);
        Path::new(&lower).extension().is_some_and(|end| end == "gguf")
            && lower.contains(&wanted)
            && part
            && !lower.contains("mmproj")
    };
    let mut found: Vec<String> = names.iter().filter(is_model).cloned().collect();
    let words: Vec<String> = found.iter().filter(|name| has_word(&name.to_lowercase(), &wanted)).cloned().collect();
    if !words.is_empty() {
        found = words;
    }
    if found.len() == 1 { Ok(found.remove(0)) } else { Err(found) }
}

/// Whether `word` is in `text` with no letter, digit or underscore of a longer word beside it.
#[cfg(any(feature = "download", test))]
fn has_word(text: &str, word: &str) -> bool {
    let is_inner = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_inner) && !text[at + word.len()..].starts_with(is_inner))
}

/// `NAME-00002-of-00005.gguf`: the name, the number of the part, and of all parts.
#[cfg(any(feature = "download", test))]
fn shard(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let parse = |digits: &str| (digits.len() == 5).then(|| digits.parse().ok())?;
    Some((stem, parse(number)?, parse(count)?))
}

/// All parts of the file `name`, itself first.
#[cfg(any(feature = "download", test))]
fn parts(name: &str) -> Vec<String> {
    match shard(name) {
        // A model of no parts is a name like any other.
        Some((stem, 1, count)) if count > 0 => {
            (1..=count).map(|number| format!("{stem}-{number:05}-of-{count:05}.gguf")).collect()
        }
        _ => vec![name.to_owned()],
    }
}

/// Where the file of `path` is: `hf:..` is downloaded, unless it is there; any other path is
/// itself.
///
/// # Errors
/// [`HubError`].
pub fn fetch_file(path: &Path) -> Result<PathBuf, HubError> {
    match Reference::parse(path) {
        None => Ok(path.to_owned()),
        Some(reference) => download::file(&reference?),
    }
}

/// The same for a folder with a model in the form of transformers.
///
/// # Errors
/// [`HubError`].
pub fn fetch_folder(path: &Path) -> Result<PathBuf, HubError> {
    match Reference::parse(path) {
        None => Ok(path.to_owned()),
        Some(reference) => {
            let reference = reference?;
            if reference.file.is_some() {
                return Err(HubError::Name(path.display().to_string()));
            }
            download::folder(&reference)
        }
    }
}

#[cfg(not(feature = "download"))]
mod download {
    use super::{HubError, PathBuf, Reference};

    pub(super) fn file(reference: &Reference) -> Result<PathBuf, HubError> {
        Err(HubError::NoDownloads(reference.repository.clone()))
    }

    pub(super) fn folder(reference: &Reference) -> Result<PathBuf, HubError> {
        file(reference)
    }
}

#[cfg(feature = "download")]
mod download {
    use std::fs::{self, OpenOptions};
    use std::time::Duration;

    use hf_hub::api::Progress;
    use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata};
    use hf_hub::{Cache, Repo, RepoType};
    use indicatif::ProgressBar;

    use super::{HubError, Path, PathBuf, Reference, choose, is_part, is_safe, parts};
    use crate::progress::bytes_bar;

    type Result<T> = std::result::Result<T, HubError>;

    /// How often a download that was cut is resumed.
    const RETRIES: u64 = 3;

    pub(super) fn file(reference: &Reference) -> Result<PathBuf> {
        let hub = Hub::open(&reference.repository)?;
        let name = match &reference.file {
            // A whole name needs no list.
            Some(file) if file.to_lowercase().ends_with(".gguf") => file.clone(),
            wanted => {
                let choice = |files| HubError::Choice { repository: reference.repository.clone(), files };
                choose(&hub.names()?, wanted.as_deref()).map_err(choice)?
            }
        };
        let mut paths = parts(&name).into_iter().map(|part| hub.fetch(&part));
        let first = paths.next().expect("a file has a part")?;
        paths.try_for_each(|path| path.map(drop))?;
        Ok(first)
    }

    pub(super) fn folder(reference: &Reference) -> Result<PathBuf> {
        let hub = Hub::open(&reference.repository)?;
        let names = hub.names()?;
        let mut folder = None;
        for name in names.iter().filter(|name| is_part(name)) {
            let path = hub.fetch(name)?;
            folder = if name.contains('/') { folder } else { path.parent().map(Path::to_owned) };
        }
        folder.ok_or_else(|| HubError::Choice { repository: reference.repository.clone(), files: Vec::new() })
    }

    /// A repository, here and on the server.
    struct Hub<'a> {
        name: &'a str,
        api: Api,
        repo: Repo,
        cache: Cache,
    }

    impl<'a> Hub<'a> {
        fn open(name: &'a str) -> Result<Self> {
            let mut builder = ApiBuilder::from_env().with_user_agent("ollm", env!("CARGO_PKG_VERSION"));
            if let Ok(token) = std::env::var("HF_TOKEN") {
                builder = builder.with_token(Some(token.trim().to_owned()).filter(|token| !token.is_empty()));
            }
            let api = builder.build().map_err(|error| refused(name, &error))?;
            let repo = Repo::new(name.to_owned(), RepoType::Model);
            Ok(Self { name, api, repo, cache: Cache::from_env() })
        }

        fn remote(&self) -> ApiRepo {
            self.api.repo(self.repo.clone())
        }

        /// The files of the repository; where the server cannot be reached, those that are here.
        fn names(&self) -> Result<Vec<String>> {
            let names = match self.remote().info() {
                Ok(info) => info.siblings.into_iter().map(|file| file.rfilename).collect(),
                Err(error) => {
                    let failure = refused(self.name, &error);
                    let offline = matches!(failure, HubError::Failed { .. });
                    self.local_names().filter(|_| offline).ok_or(failure)?
                }
            };
            Ok(names)
        }

        fn local_names(&self) -> Option<Vec<String>> {
            let folder = self.cache.path().join(self.repo.folder_name());
            let commit = fs::read_to_string(folder.join("refs/main")).ok()?;
            let folder = folder.join("snapshots").join(commit.trim());
            let list = |folder: &Path| -> Vec<String> {
                let files = fs::read_dir(folder).into_iter().flatten();
                files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect()
            };
            let mut names = list(&folder);
            let mut inner = Vec::new();
            for outer in &names {
                inner.extend(list(&folder.join(outer)).into_iter().map(|name| format!("{outer}/{name}")));
            }
            names.extend(inner);
            (!names.is_empty()).then_some(names)
        }

        /// A file, from the cache or the server.
        fn fetch(&self, name: &str) -> Result<PathBuf> {
            if !is_safe(name) {
                return Err(HubError::Unsafe(name.to_owned()));
            }
            let here = || self.cache.repo(self.repo.clone()).get(name);
            if let Some(path) = here() {
                return Ok(path);
            }
            let what = format!("{}: {name}", self.name);
            let mut tries = 0;
            loop {
                match self.download(name, &what) {
                    Err(HubError::Failed { .. }) if tries < RETRIES => {
                        tries += 1;
                        std::thread::sleep(Duration::from_millis(300 * tries));
                    }
                    done => return done,
                }
            }
        }

        fn download(&self, name: &str, what: &str) -> Result<PathBuf> {
            let remote = self.remote();
            let expected = self.api.metadata(&remote.url(name)).map_err(|error| refused(what, &error))?;
            for part in [expected.etag(), expected.commit_hash()] {
                if !is_safe(part) || part.contains('/') {
                    return Err(HubError::Unsafe(part.to_owned()));
                }
            }
            self.prepare(&expected).map_err(|error| refused(what, &ApiError::IoError(error)))?;
            let bar = Bar { bar: bytes_bar("download"), what: what.to_owned() };
            let path = remote.download_with_progress(name, bar).map_err(|error| refused(what, &error))?;
            let (expected_size, blob) = (expected.size() as u64, self.blob(&expected));
            let found = fs::metadata(&path).map_or(0, |file| file.len());
            if found == expected_size {
                return Ok(path);
            }
            // What is too short was cut, and goes on; what is too long is something else.
            let _ = fs::remove_file(&path);
            if found < expected_size && fs::rename(&blob, blob.with_extension("part")).is_ok() {
                return Err(HubError::Failed { what: what.to_owned(), reason: "the connection was cut".to_owned() });
            }
            let _ = fs::remove_file(blob);
            Err(HubError::Size { file: name.to_owned(), expected: expected_size, found })
        }

        fn blob(&self, file: &Metadata) -> PathBuf {
            self.cache.repo(self.repo.clone()).blob_path(file.etag())
        }

        /// Sees to it that there are bytes to ask for behind those that came before.
        fn prepare(&self, file: &Metadata) -> std::io::Result<()> {
            let part = self.blob(file).with_extension("part");
            let Ok(there) = fs::metadata(&part) else { return Ok(()) };
            if there.len() > file.size() as u64 {
                return fs::remove_file(part);
            }
            if there.len() == file.size() as u64 && there.len() > 0 {
                OpenOptions::new().write(true).open(part)?.set_len(there.len() - 1)?;
            }
            Ok(())
        }
    }

    /// What went wrong, as far as the user can do something about it.
    fn refused(what: &str, error: &ApiError) -> HubError {
        let what = what.to_owned();
        match error {
            ApiError::RequestError(request) => match **request {
                ureq::Error::StatusCode(status) if status < 500 => HubError::Refused { what, status },
                ref other => HubError::Failed { what, reason: other.to_string() },
            },
            ApiError::LockAcquisition(_) => {
                HubError::Failed { what, reason: "another program is downloading it".to_owned() }
            }
            other => HubError::Failed { what, reason: other.to_string() },
        }
    }

    /// A bar that is told how far a download is.
    struct Bar {
        bar: ProgressBar,
        what: String,
    }

    impl Progress for Bar {
        fn init(&mut self, size: usize, _: &str) {
            self.bar.set_message(self.what.clone());
            self.bar.set_length(size as u64);
            self.bar.set_position(0);
        }

        fn update(&mut self, size: usize) {
            self.bar.inc(size as u64);
        }

        fn finish(&mut self) {
            self.bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let parse = |text: &str| Reference::parse(Path::new(text));
        let found = |repository: &str, file: Option<&str>| {
            Some(Ok(Reference { repository: repository.to_owned(), file: file.map(str::to_owned) }))
        };
        assert_eq!(parse("hf:a/b"), found("a/b", None));
        assert_eq!(parse("hf:a/b:c.gguf"), found("a/b", Some("c.gguf")));
        assert_eq!(parse("hf:a/b:q/c.gguf"), found("a/b", Some("q/c.gguf")));
        assert_eq!(parse("model.gguf"), None);
        assert_eq!(parse("./hf:a/b"), None);
        for wrong in
            ["hf:", "hf:a", "hf:a/b/c", "hf:a/", "hf:../b", "hf:a/b:", "hf:a/b:../c", "hf:a/b:/c", "hf:a/b:c:d"]
        {
            assert_eq!(parse(wrong), Some(Err(HubError::Name(wrong.to_owned()))), "{wrong}");
        }
    }

    #[test]
    fn the_folder_of_a_model_has_its_modules_and_templates() {
        for part in
            ["config.json", "README.md", "1_Pooling/config.json", "2_Dense/model.safetensors", "model.safetensors"]
        {
            assert!(is_part(part), "{part}");
        }
        assert!(is_part("additional_chat_templates/rerank.jinja"));
        for other in ["pytorch_model.bin", "onnx/config.json", "a/1_Pooling/config.json", "docs/README.md", "m.gguf"] {
            assert!(!is_part(other), "{other}");
        }
    }

    #[test]
    fn a_file_is_chosen_where_one_is_meant() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let all = names(&["README.md", "m-Q4_0.gguf", "m-Q8_0.gguf", "mmproj-m.gguf", "config.json"]);
        assert_eq!(choose(&all, Some("q8_0")), Ok("m-Q8_0.gguf".to_owned()));
        assert_eq!(choose(&all, None), Err(names(&["m-Q4_0.gguf", "m-Q8_0.gguf"])));
        assert_eq!(choose(&all, Some("q6_k")), Err(Vec::new()));
        let types = names(&["m-BF16.gguf", "m-F16.gguf", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-UD-Q4_K_S.gguf"]);
        assert_eq!(choose(&types, Some("F16")), Ok("m-F16.gguf".to_owned()));
        assert_eq!(choose(&types, Some("bf1")), Ok("m-BF16.gguf".to_owned()));
        assert_eq!(choose(&types, Some("Q4_K")), Err(types[2..].to_vec()));
        assert_eq!(choose(&types, Some("Q4_K_S")), Err(types[3..].to_vec()));
        assert_eq!(choose(&types, None), Err(types.clone()));
        assert_eq!(
            choose(&names(&["m.F16.gguf", "m.F16-x.BF16.gguf"]), Some("x.bf16")),
            Ok("m.F16-x.BF16.gguf".into())
        );
        let parts_of_one = names(&["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
        assert_eq!(choose(&parts_of_one, None), Ok(parts_of_one[0].clone()));
        assert_eq!(parts(&parts_of_one[0]), parts_of_one);
        assert_eq!(parts("m.gguf"), ["m.gguf"]);
        assert_eq!(parts("m-00001-of-00000.gguf"), ["m-00001-of-00000.gguf"]);
    }
}
