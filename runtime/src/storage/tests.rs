use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::options::IN_PLACE;
use super::*;

fn file(name: &str, bytes: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("ollm-storage-{}-{name}", std::process::id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.write_all(bytes).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

#[test]
fn a_part_of_a_file_is_that_part() {
    let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
    let file = file("part", &bytes);
    for (offset, length) in [(0, None), (4096, Some(100)), (4100, Some(9000)), (4097, Some(9000)), (13, None)] {
        let storage = Storage::from_file(&file, offset, length).unwrap();
        let end = length.map_or(bytes.len(), |length| (offset + length) as usize);
        assert_eq!(&*storage, &bytes[offset as usize..end], "{offset} {length:?}");
        assert!(storage.as_ptr().addr().is_multiple_of(IN_PLACE));
        let owned = StorageOptions::default().file_bytes(&file, offset, length).unwrap();
        assert_eq!((storage.owned_bytes(), owned > 0), (owned, offset % 4 != 0));
    }
    assert!(Storage::from_file(&file, 20_000, None).unwrap().is_empty());
}

#[test]
fn a_part_that_is_not_in_the_file_is_refused() {
    let file = file("outside", &[0; 100]);
    for (offset, length) in [(101, None), (0, Some(101)), (50, Some(51)), (u64::MAX, Some(2)), (1, Some(u64::MAX))] {
        let error = Storage::from_file(&file, offset, length).unwrap_err();
        assert!(matches!(error, StorageError::Range { size: 100, .. }), "{error}");
    }
}

#[test]
fn borrowed_memory_is_released_once_when_the_last_user_is_gone() {
    let memory: Vec<u64> = (0..8).collect();
    let released = Arc::new(AtomicUsize::new(0));
    for (shift, copied) in [(0, false), (4, false), (1, true), (2, true)] {
        released.store(0, Ordering::Relaxed);
        let count = Arc::clone(&released);
        let release: Release = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        // SAFETY: `memory` outlives the storage and is not changed.
        let storage = unsafe { Storage::borrowed(memory.as_ptr().cast::<u8>().add(shift), 40, release) }.unwrap();
        assert_eq!(released.load(Ordering::Relaxed), usize::from(copied));
        let shared = Arc::new(storage);
        let other = Arc::clone(&shared);
        drop(shared);
        assert_eq!((other[8 - shift], other.len()), (1, 40));
        drop(other);
        assert_eq!(released.load(Ordering::Relaxed), 1, "{shift}");
    }
}

#[test]
fn a_copy_stays_when_the_file_is_cut() {
    let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 251) as u8).collect();
    let options = StorageOptions { copy: true, ..StorageOptions::default() };
    for (offset, length) in [(0, None), (4096, Some(100)), (13, Some(9000))] {
        let file = file("copy", &bytes);
        let storage = options.file(&file, offset, length).unwrap();
        file.set_len(0).unwrap();
        let end = length.map_or(bytes.len(), |length| (offset + length) as usize);
        assert_eq!(&*storage, &bytes[offset as usize..end]);
        assert_eq!(storage.owned_bytes(), storage.len());
    }
}

#[test]
fn a_copy_keeps_to_the_limit() {
    let file = file("limit", &[7; 1000]);
    let within = |limit| StorageOptions { memory_limit: Some(limit), ..StorageOptions::default() };
    assert!(within(0).file(&file, 0, None).is_ok());
    assert!(within(999).file(&file, 1, None).is_ok());
    let refused = |made: Result<Storage>| {
        assert!(matches!(made.unwrap_err(), StorageError::MemoryLimit { needed: 999, limit: 998 }));
    };
    refused(within(998).file(&file, 1, None));
    refused(StorageOptions { copy: true, ..within(998) }.file(&file, 0, Some(999)));
    refused(within(998).bytes(&[0; 999]));
    let memory = [0_u32; 251];
    let odd = memory.as_ptr().cast::<u8>().wrapping_add(1);
    assert_eq!(within(998).borrowed_bytes(odd, 999), 999);
    // SAFETY: `memory` outlives the storage and is not changed.
    refused(unsafe { within(998).borrow(odd, 999, Box::new(|| ())) });
}

#[test]
fn nothing_can_be_borrowed_from_nowhere() {
    // SAFETY: no bytes are at null, and none are read.
    let storage = unsafe { Storage::borrowed(std::ptr::null(), 0, Box::new(|| ())) }.unwrap();
    assert!(storage.is_empty());
    assert!(Storage::copied(&[]).unwrap().is_empty());
}

/// Devices, pipes and sockets.
#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::storage::bytes::ALIGNMENT;
    use crate::storage::options::{CHUNK, MAGIC};

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = std::env::temp_dir().join(format!("ollm-storage-{}-kinds", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (socket, pipe) = (folder.join("socket"), folder.join("pipe"));
        let _socket = UnixListener::bind(&socket).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&*folder, &*socket, &*pipe, Path::new("/dev/zero"), Path::new("/dev/null")] {
            let error = Storage::open(path).unwrap_err();
            assert!(matches!(error, StorageError::Open { .. }), "{}: {error}", path.display());
        }
        let zero = File::open("/dev/zero").unwrap();
        assert!(matches!(Storage::from_file(&zero, 0, None).unwrap_err(), StorageError::File(_)));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_pipe_is_read_by_those_who_ask_for_it() {
        let pipe = std::env::temp_dir().join(format!("ollm-storage-{}-stream", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let read = |bytes: Vec<u8>, options: StorageOptions| {
            let writer = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::write(pipe, bytes)
            });
            let storage = options.open(&pipe);
            // Who writes what is not read on is told so.
            let _ = writer.join().unwrap();
            storage
        };
        let options = StorageOptions { streams: true, ..StorageOptions::default() };
        let long: Vec<u8> = MAGIC.iter().copied().chain((0..3 << 20).map(|i| (i % 251) as u8)).collect();
        for bytes in [long.clone(), b"GGUF".to_vec(), b"GG".to_vec(), Vec::new()] {
            let storage = read(bytes.clone(), options).unwrap();
            assert!(*storage == *bytes && storage.as_ptr().addr().is_multiple_of(ALIGNMENT));
        }
        let other = read(vec![b'y'; 8 << 20], options).unwrap();
        assert!(other.len() <= CHUNK && other.iter().all(|&byte| byte == b'y'));
        let limited = read(long, StorageOptions { memory_limit: Some(1 << 20), ..options });
        assert!(matches!(limited.unwrap_err(), StorageError::MemoryLimit { limit: 1_048_576, .. }));
        fs::remove_file(&pipe).unwrap();
        // A device has no end.
        assert!(matches!(options.open(Path::new("/dev/zero")).unwrap_err(), StorageError::Open { .. }));
    }
}
