//! Atomic replacement of files: a path holds the old content or the new one, whatever happens.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{error, fmt};

use crate::nameless;

/// Symbolic links that are followed, one after the other, before they are taken for a circle.
const MAX_LINKS: usize = 40;

/// Writes the file at `path` through `emit`: into a temporary file in the same folder, flushed to
/// the disk, then renamed. Any number of threads and processes may write and read one path at the
/// same time: a reader sees the whole content of one writer.
///
/// A symbolic link stays, and the file that it names is replaced. A file that was there keeps its
/// permissions (the new one belongs to the user who writes).
///
/// Windows may refuse to replace a file that is open or mapped, which Unix never does. From Windows
/// 10 (1607) on, NTFS replaces a file that is open as Rust opens files (`FILE_SHARE_DELETE`), and
/// may refuse one that is mapped; other file systems, older systems and Wine replace neither. It is
/// tried for two seconds, then [`InUse`] is the error.
///
/// # Errors
/// That of `emit` or of the system; also where `path` names a folder, a device, a pipe or a socket.
/// Then what was there is as it was, and no temporary file is left. A file in use is an error of
/// [`io::ErrorKind::ResourceBusy`], whose [`io::Error::get_ref`] is [`InUse`].
pub fn write<E: From<io::Error>>(
    path: &Path,
    emit: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    Ok(commit([stage(path, emit)?]).map_err(|(_, error)| error)?)
}

/// The first half of [`write()`]: the whole file is on the disk, under another name. With
/// [`commit`], files that belong together appear together: none of them replaces anything before
/// all of them are written.
///
/// # Errors
/// As [`write()`].
pub fn stage<E: From<io::Error>>(
    path: &Path,
    emit: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<StagedFile, E> {
    stage_as(path, nameless::create, emit)
}

/// The second half of [`write()`]: each file takes its name.
///
/// # Errors
/// That of the system, and the path of the file that could not be renamed. Then those before it are
/// removed again where nothing was before; what they replaced is lost.
pub fn commit(files: impl IntoIterator<Item = StagedFile>) -> Result<(), (PathBuf, io::Error)> {
    let mut new = Vec::new();
    for StagedFile { temporary, target } in files {
        let absent = target.symlink_metadata().is_err();
        if let Err(error) = temporary.rename(&target) {
            for path in &new {
                // The first error is the one to tell.
                let _ = fs::remove_file(path);
            }
            return Err((target, error));
        }
        if absent {
            new.push(target);
        }
    }
    Ok(())
}

/// A file that [`stage`] has written. Dropped, it is removed.
pub struct StagedFile {
    temporary: Temporary,
    /// The name that it will have.
    target: PathBuf,
}

/// [`stage`] where `nameless` gives a file without a name in a folder, or none.
fn stage_as<E: From<io::Error>>(
    path: &Path,
    nameless: impl FnOnce(&Path) -> Option<File>,
    emit: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<StagedFile, E> {
    let target = resolve(path)?;
    let permissions = permissions(&target)?;
    let (mut temporary, file) = Temporary::create(&target, permissions.is_some(), nameless)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    emit(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.sync_all()?;
    temporary.name(&file, &target)?;
    Ok(StagedFile { temporary, target })
}

/// Where a path leads through symbolic links; the last one may name what is not there yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&target) {
            Ok(link) => target = folder(&target).join(link),
            // It is no link, or nothing at all.
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many symbolic links follow each other"))
}

/// The permissions of the file at `target`, if there is one.
fn permissions(target: &Path) -> io::Result<Option<Permissions>> {
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_file() => Ok(Some(found.permissions())),
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "a device, pipe or socket cannot be replaced")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file that is removed when dropped, unless it was renamed.
struct Temporary {
    /// Its name; none while it has none, so that nothing is left of it if the process is killed.
    path: Option<PathBuf>,
}

impl Temporary {
    /// Others may not read a `private` one, unless it gets other permissions.
    fn create(target: &Path, private: bool, nameless: impl FnOnce(&Path) -> Option<File>) -> io::Result<(Self, File)> {
        if target.file_name().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file name"));
        }
        if let Some(file) = nameless(folder(target)) {
            return Ok((Self { path: None }, file));
        }
        let (path, file) = first_free(target, |path| options(private).write(true).create_new(true).open(path))?;
        Ok((Self { path: Some(path) }, file))
    }

    /// Gives it a name, if it has none.
    fn name(&mut self, file: &File, target: &Path) -> io::Result<()> {
        if self.path.is_none() {
            self.path = Some(first_free(target, |path| nameless::name(file, path))?.0);
        }
        Ok(())
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            rename(path, target)?;
        }
        self.path = None;
        sync_folder(target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // An error is already on its way to the caller; a second one would hide it.
            let _ = fs::remove_file(path);
        }
    }
}

/// What `make` makes under a name beside the target that no other writer, in this process or
/// another, uses at the same time. The name is short: that of the target may be the longest that
/// the system takes.
fn first_free<T>(target: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = target.with_file_name(OsString::from(format!(".ollm-{}-{count}.tmp", std::process::id())));
        match make(&path) {
            Ok(made) => return Ok((path, made)),
            // What a process of the same number left when it was killed is not ours to remove.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn folder(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(unix)]
fn options(private: bool) -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.mode(if private { 0o600 } else { 0o666 });
    options
}

#[cfg(not(unix))]
fn options(_private: bool) -> OpenOptions {
    OpenOptions::new()
}

/// Windows does not replace a file that a program, this one included, has open or mapped. The
/// source of an [`io::Error`]: see [`write()`].
#[derive(Debug)]
pub struct InUse {
    /// What the system said.
    source: io::Error,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the file was not replaced, as a program has it open or mapped, or may not be replaced ({}): close what \
             uses it, such as a model that was loaded from it, or write to another path",
            self.source
        )
    }
}

impl error::Error for InUse {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(not(windows))]
use fs::rename;

/// Renames a file. `fs::rename` asks for `MOVEFILE_REPLACE_EXISTING`, and where that is denied for
/// `FILE_RENAME_FLAG_POSIX_SEMANTICS`. If both are, somebody may have the target open for a moment,
/// as a reader or a virus scanner has: then it is tried again for a while.
#[cfg(windows)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    use std::time::{Duration, Instant};
    const PATIENCE: Duration = Duration::from_secs(2);
    let start = Instant::now();
    loop {
        match fs::rename(from, to) {
            Err(error) if may_be_in_use(&error, to) => {
                if start.elapsed() > PATIENCE {
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, InUse { source: error }));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            outcome => return outcome,
        }
    }
}

/// Whether a refusal to replace `target` may be because it is open or mapped: the system says no
/// more than that for a file that may not be replaced at all. Read-only files never may.
#[cfg(windows)]
fn may_be_in_use(error: &io::Error, target: &Path) -> bool {
    const ERROR_ACCESS_DENIED: i32 = 5;
    const ERROR_SHARING_VIOLATION: i32 = 32;
    const ERROR_USER_MAPPED_FILE: i32 = 1224;
    let refused = [ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE];
    error.raw_os_error().is_some_and(|code| refused.contains(&code))
        && fs::metadata(target).is_ok_and(|found| found.is_file() && !found.permissions().readonly())
}

/// Makes the rename itself durable. Only Unix can open a folder as a file.
#[cfg(unix)]
fn sync_folder(target: &Path) -> io::Result<()> {
    match File::open(folder(target)).and_then(|folder| folder.sync_all()) {
        Err(error) if !cannot_sync(error.kind()) => Err(error),
        _ => Ok(()),
    }
}

/// Whether this says that a folder may not be read, or is on a file system that does not sync
/// folders. The file itself is written all the same.
#[cfg(unix)]
fn cannot_sync(error: io::ErrorKind) -> bool {
    matches!(error, io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

#[cfg(not(unix))]
fn sync_folder(_target: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    #[cfg(unix)]
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    #[cfg(unix)]
    use std::os::unix::net::UnixListener;
    #[cfg(unix)]
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::storage::Storage;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("ollm-atomic-{}-{name}", std::process::id()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn names(&self) -> Vec<String> {
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
            let mut names: Vec<String> = fs::read_dir(&self.0).unwrap().map(name).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Writes with a nameless temporary file where there are such, or with one that has a name.
    fn put(path: &Path, named: bool, bytes: &[u8]) -> io::Result<()> {
        let nameless = |folder: &Path| if named { None } else { nameless::create(folder) };
        write_as(path, nameless, |out| bytes.chunks(1000).try_for_each(|part| out.write_all(part)))
    }

    fn write_as(
        path: &Path,
        nameless: impl FnOnce(&Path) -> Option<File>,
        emit: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        commit([stage_as(path, nameless, emit)?]).map_err(|(_, error)| error)
    }

    /// What is mapped is replaced, or refused with an error that says why: Unix never refuses, and
    /// Windows does by its version and its file system. The map keeps its bytes in both cases.
    #[test]
    fn a_file_that_is_mapped_is_replaced_or_is_in_use() {
        let folder = Folder::new("mapped");
        let path = &folder.file("file");
        put(path, false, b"old").unwrap();
        let map = Storage::open(path).unwrap();
        for named in [false, true] {
            let now: &[u8] = match put(path, named, b"new") {
                Ok(()) => b"new",
                Err(error) => {
                    assert_eq!((std::env::consts::OS, error.kind()), ("windows", io::ErrorKind::ResourceBusy));
                    assert!(error.get_ref().is_some_and(<dyn error::Error + Send + Sync>::is::<InUse>), "{error}");
                    b"old"
                }
            };
            assert_eq!(fs::read(path).unwrap(), now);
            assert_eq!(&*map, b"old");
            assert_eq!(folder.names(), ["file"]);
        }
        drop(map);
        put(path, false, b"newest").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"newest");
    }

    // Windows may refuse to replace what is being read, for longer than `rename` waits.
    #[cfg(unix)]
    #[test]
    fn readers_see_the_whole_of_one_of_several_writers() {
        let folder = Folder::new("writers");
        let (path, done) = (&folder.file("file"), &AtomicBool::new(false));
        put(path, false, &vec![0; 300_000]).unwrap();
        std::thread::scope(|scope| {
            let writers = [(1_u8, false), (2, true), (3, true)].map(|(byte, named)| {
                scope.spawn(move || (0..40).for_each(|_| put(path, named, &vec![byte; 300_000]).unwrap()))
            });
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let bytes = fs::read(path).unwrap();
                    assert!(bytes.len() == 300_000 && bytes.iter().all(|byte| *byte == bytes[0]));
                }
            });
            let written = writers.map(std::thread::ScopedJoinHandle::join);
            done.store(true, Ordering::Relaxed);
            assert!(written.into_iter().all(|outcome| outcome.is_ok()));
        });
        assert_eq!(folder.names(), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_they_name_is_replaced() {
        let folder = Folder::new("links");
        fs::create_dir(folder.file("other")).unwrap();
        fs::write(folder.file("other/file"), "old").unwrap();
        symlink("other/file", folder.file("inner")).unwrap();
        symlink(folder.file("inner"), folder.file("outer")).unwrap();
        symlink("other/new", folder.file("dangling")).unwrap();
        symlink("circle", folder.file("circle")).unwrap();
        for named in [false, true] {
            put(&folder.file("outer"), named, b"new").unwrap();
            assert_eq!(fs::read(folder.file("other/file")).unwrap(), b"new");
            put(&folder.file("dangling"), named, b"there").unwrap();
            assert_eq!(fs::read(folder.file("other/new")).unwrap(), b"there");
            put(&folder.file("circle"), named, b"nowhere").unwrap_err();
        }
        assert!(["inner", "outer", "dangling"].into_iter().all(|link| folder.file(link).is_symlink()));
        assert_eq!(folder.names(), ["circle", "dangling", "inner", "other", "outer"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_mode_of_a_file_is_kept_and_a_new_one_has_the_usual() {
        let folder = Folder::new("modes");
        let mode = |name: &str| fs::metadata(folder.file(name)).unwrap().permissions().mode() & 0o777;
        fs::write(folder.file("usual"), "").unwrap();
        for named in [false, true] {
            for kept in [0o600, 0o640, 0o755, 0o444] {
                fs::write(folder.file("file"), "old").unwrap();
                fs::set_permissions(folder.file("file"), Permissions::from_mode(kept)).unwrap();
                put(&folder.file("file"), named, b"new").unwrap();
                assert_eq!(mode("file"), kept);
                fs::remove_file(folder.file("file")).unwrap();
            }
            put(&folder.file("new"), named, b"new").unwrap();
            assert_eq!(mode("new"), mode("usual"));
            fs::remove_file(folder.file("new")).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_and_stays() {
        let folder = Folder::new("kinds");
        fs::create_dir(folder.file("folder")).unwrap();
        let _socket = UnixListener::bind(folder.file("socket")).unwrap();
        for name in ["folder", "socket"] {
            put(&folder.file(name), false, b"new").unwrap_err();
        }
        put(Path::new("/"), false, b"new").unwrap_err();
        put(&folder.file("missing/file"), false, b"new").unwrap_err();
        assert_eq!(folder.names(), ["folder", "socket"]);
    }

    #[test]
    fn a_writer_that_fails_leaves_nothing_and_the_longest_name_is_fine() {
        let folder = Folder::new("failures");
        let longest = "n".repeat(255);
        for named in [false, true] {
            put(&folder.file(&longest), named, b"old").unwrap();
            let nameless = |folder: &Path| if named { None } else { nameless::create(folder) };
            let outcome = write_as(&folder.file(&longest), nameless, |out| {
                out.write_all(b"half")?;
                Err(io::Error::other("no more"))
            });
            assert_eq!(outcome.unwrap_err().to_string(), "no more");
            assert_eq!(fs::read(folder.file(&longest)).unwrap(), b"old");
        }
        assert_eq!(folder.names(), [longest]);
    }

    #[test]
    fn files_that_belong_together_replace_nothing_before_all_are_written() {
        let folder = Folder::new("together");
        put(&folder.file("old"), false, b"old").unwrap();
        let stage = |name: &str| stage(&folder.file(name), |out| out.write_all(b"new"));
        drop([stage("old").unwrap(), stage("new").unwrap()]);
        stage("missing/file").map(drop).unwrap_err();
        assert_eq!(folder.names(), ["old"]);
        assert_eq!(fs::read(folder.file("old")).unwrap(), b"old");

        let staged = ["first", "old", "blocked", "last"].map(|name| stage(name).unwrap());
        fs::create_dir(folder.file("blocked")).unwrap();
        let (path, _) = commit(staged).unwrap_err();
        assert_eq!(path, folder.file("blocked"));
        assert_eq!(folder.names(), ["blocked", "old"]);
        fs::remove_dir(folder.file("blocked")).unwrap();
        commit(["old", "new"].map(|name| stage(name).unwrap())).unwrap();
        assert_eq!(folder.names(), ["new", "old"]);
        assert_eq!(fs::read(folder.file("old")).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn what_replaces_a_private_file_is_private_from_the_start() {
        let folder = Folder::new("private");
        fs::write(folder.file("file"), "old").unwrap();
        fs::set_permissions(folder.file("file"), Permissions::from_mode(0o640)).unwrap();
        let mut seen = Vec::new();
        let emit = |_: &mut BufWriter<File>| {
            for name in folder.names().into_iter().filter(|name| name != "file") {
                seen.push(fs::metadata(folder.file(&name))?.permissions().mode() & 0o777);
            }
            Ok(())
        };
        write_as(&folder.file("file"), |_| None, emit).unwrap();
        assert_eq!(seen, [0o600]);
        assert_eq!(fs::metadata(folder.file("file")).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_synced_is_no_error() {
        let folder = Folder::new("unreadable");
        fs::set_permissions(&folder.0, Permissions::from_mode(0o333)).unwrap();
        let outcome = put(&folder.file("file"), false, b"new");
        fs::set_permissions(&folder.0, Permissions::from_mode(0o777)).unwrap();
        outcome.unwrap();
        assert_eq!(fs::read(folder.file("file")).unwrap(), b"new");
        // EACCES, EPERM, EINVAL (Linux: a file system without fsync of folders); not EIO, ENOSPC.
        let kind = |code| io::Error::from_raw_os_error(code).kind();
        assert!([13, 1, 22].into_iter().all(|code| cannot_sync(kind(code))));
        assert!(![5, 28].into_iter().any(|code| cannot_sync(kind(code))));
    }
}
