//! The right to write an output: while one process writes it, another one is refused at once, not
//! after hours of work that the other then replaces.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use twox_hash::XxHash64;

use crate::error::ConvertError;

/// A lock of the output, as long as it lives. The locked file is in the system's folder for
/// temporary files and goes with the lock; one that a killed process left has none, and is used
/// again.
pub(crate) struct Claim {
    /// None where the system has no locks: then nothing is claimed.
    lock: Option<(PathBuf, File)>,
}

impl Claim {
    /// # Errors
    /// [`ConvertError::Busy`] if another writer has it.
    pub(crate) fn new(output: &Path) -> Result<Self, ConvertError> {
        let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The folder is there, or the writer says what is wrong with it.
        let Ok(folder) = folder.canonicalize() else { return Ok(Self { lock: None }) };
        let target = folder.join(output.file_name().unwrap_or_default());
        let target = target.canonicalize().unwrap_or(target);
        let hash = XxHash64::oneshot(0, target.as_os_str().as_encoded_bytes());
        let path = std::env::temp_dir().join(format!("ollm-{hash:016x}.lock"));
        loop {
            let Ok(file) = OpenOptions::new().write(true).create(true).truncate(false).open(&path) else {
                // Another user's, or no folder for it.
                return Ok(Self { lock: None });
            };
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Self { lock: Some((path, file)) }),
                // Another writer has just removed it.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(ConvertError::Busy { path: output.to_owned() }),
                Err(TryLockError::Error(_)) => {
                    let _ = fs::remove_file(&path);
                    return Ok(Self { lock: None });
                }
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.lock {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether the open file is the one of this name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |found: fs::Metadata| (found.dev(), found.ino());
    file.metadata().ok().map(inode) == fs::metadata(path).ok().map(inode)
}

/// Open files are not removed there.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use ollm_runtime::gguf::{TensorType, Writer};
    use ollm_runtime::quant;

    use super::*;
    use crate::pack;

    #[test]
    fn one_writer_at_a_time() {
        let folder = std::env::temp_dir().join(format!("ollm-claim-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (output, other) = (folder.join("out.gguf"), folder.join("other.gguf"));
        let first = Claim::new(&output).unwrap();
        assert!(matches!(Claim::new(&output), Err(ConvertError::Busy { path }) if path == output));
        drop(Claim::new(&other).unwrap());
        drop(first);
        drop(Claim::new(&output).unwrap());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn packing_is_refused_while_another_writes() {
        let folder = std::env::temp_dir().join(format!("ollm-claim-pack-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let [plain, packed, again] = ["plain.gguf", "packed.gguf", "again.gguf"].map(|name| folder.join(name));
        let mut writer = Writer::new();
        writer.set("general.architecture", "llama").unwrap();
        let matrix = quant::encode(TensorType::Q4_0, &[1.0; 64 * 16]).unwrap();
        writer.tensor("token_embd.weight", &[64, 16], TensorType::Q4_0, matrix).unwrap();
        writer.write_to(&plain).unwrap();
        {
            let _other = Claim::new(&packed).unwrap();
            assert!(matches!(pack::pack(&plain, &packed, false), Err(ConvertError::Busy { .. })));
        }
        pack::pack(&plain, &packed, false).unwrap();
        let _other = Claim::new(&again).unwrap();
        assert!(matches!(pack::unpack(&packed, &again, false), Err(ConvertError::Busy { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
