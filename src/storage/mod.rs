//! What survives the process: txn logs, snapshots, epochs, in ZooKeeper's formats, byte for byte.
//!
//! Thread: the flusher runs log and epoch jobs, the disk thread snapshots, segment preparation and
//! purge; recovery runs before either. None of it knows a clock.
//! Invariants: a directory is loadable after a crash at any point; nothing in it bears a name that
//! ZooKeeper would take for a log or a snapshot without being a whole one.
//! Not here: when to sync, roll or snapshot (`parts/pipeline.rs`), what a txn means (`tree/`).

pub mod disk;
pub mod epochs;
pub mod log;
pub mod recovery;
pub mod retention;
pub mod scan;
pub mod snapshot;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod java_tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::types::Zxid;
use disk::{Dir, Dirs, FileName};

/// Below `dataDir` and `dataLogDir`; the number is the file format's.
pub const VERSION_DIR: &str = "version-2";

/// How a snapshot is packed; its name says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Plain bytes.
    #[default]
    None,
    /// `snapshot.N.gz`
    Gzip,
    /// `snapshot.N.snappy`, framed as snappy-java's streams are.
    Snappy,
}

/// What a name in a data directory means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// `log.<zxid of its first record>`
    Log(Zxid),
    /// `snapshot.<zxid when it was started>`, maybe compressed.
    Snapshot(Zxid, Compression),
}

impl Named {
    /// COMPAT: Java `Util.getZxidFromName` and `SnapStream.getStreamMode`: further parts are
    /// ignored but for the last, so that `snapshot.8e.tmp` is the plain snapshot 0x8e.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let (kind, hex) = (parts.next()?, parts.next()?);
        if hex.starts_with('+') {
            return None;
        }
        let zxid = Zxid(u64::from_str_radix(hex, 16).ok()?);
        match kind {
            "log" => Some(Self::Log(zxid)),
            "snapshot" => Some(Self::Snapshot(
                zxid,
                match parts.next_back() {
                    Some("gz") => Compression::Gzip,
                    Some("snappy") => Compression::Snappy,
                    _ => Compression::None,
                },
            )),
            _ => None,
        }
    }

    /// The name of a log whose first record is `first`.
    pub fn log(first: Zxid) -> FileName {
        FileName::new(Dir::Log, format!("log.{:x}", first.0))
    }

    /// The name of a snapshot of `zxid`.
    pub fn snapshot(zxid: Zxid, compression: Compression) -> FileName {
        let suffix = match compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        };
        FileName::new(Dir::Snap, format!("snapshot.{:x}{suffix}", zxid.0))
    }
}

/// Bytes of all files below a directory, as `dirs` and `conf` report them (ZooKeeper:
/// `getDirSize`); what vanishes meanwhile counts nothing.
pub fn dir_size_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => dir_size_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// No second server works on these directories while this lives. The kernel lets go of it with the
/// process, however it ends.
#[derive(Debug)]
pub struct DirLock {
    _held: Vec<File>,
}

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it.
    InUse(PathBuf),
    /// It does not exist and must not be created (`zookeeper.datadir.autocreate=false`).
    Missing(PathBuf),
    /// The file system said no.
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse(dir) => write!(
                f,
                "the data directory {} is in use by another server (its {LOCK_FILE} is locked); \
                 stop that one or give this one its own dataDir",
                dir.display()
            ),
            Self::Missing(dir) => write!(
                f,
                "the data directory {} does not exist and zookeeper.datadir.autocreate is false; \
                 create it",
                dir.display()
            ),
            Self::Io(dir, err) => {
                write!(f, "cannot use the data directory {}: {err}", dir.display())
            }
        }
    }
}

impl std::error::Error for LockError {}

/// Not `log.*` or `snapshot.*`: Java would take it for one.
const LOCK_FILE: &str = "ringkeeper.lock";

impl DirLock {
    /// Creates what is missing, if it may, and locks.
    pub fn acquire(dirs: &Dirs, autocreate: bool) -> Result<Self, LockError> {
        let mut wanted = vec![Dir::Snap];
        if dirs.separate() {
            wanted.push(Dir::Log);
        }
        let mut held: Vec<File> = Vec::new();
        for dir in wanted {
            let path = dirs.path(dir);
            let io = |err| LockError::Io(path.to_path_buf(), err);
            if !path.exists() {
                if !autocreate {
                    return Err(LockError::Missing(path.to_path_buf()));
                }
                std::fs::create_dir_all(path).map_err(io)?;
                // The name must outlast a power cut as the files in it will.
                if let Some(parent) = path.parent() {
                    let opened = File::options().read(true).open(parent).map_err(io)?;
                    opened.sync_all().map_err(io)?;
                }
            }
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path.join(LOCK_FILE))
                .map_err(io)?;
            if held.iter().any(|other| same_file(other, &file)) {
                continue; // Two names of one directory: a link.
            }
            use rustix::fs::{FlockOperation, flock};
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => held.push(file),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(LockError::InUse(path.to_path_buf()));
                }
                Err(err) => return Err(io(err.into())),
            }
        }
        Ok(Self { _held: held })
    }
}

fn same_file(a: &File, b: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_java_makes_of_them() {
        let plain = |zxid| Some(Named::Snapshot(Zxid(zxid), Compression::None));
        assert_eq!(Named::parse("log.1f"), Some(Named::Log(Zxid(0x1f))));
        assert_eq!(Named::parse("log.5.idx"), Some(Named::Log(Zxid(5))));
        assert_eq!(Named::parse("snapshot.8e.tmp"), plain(0x8e));
        assert_eq!(
            Named::parse("snapshot.8e.gz"),
            Some(Named::Snapshot(Zxid(0x8e), Compression::Gzip))
        );
        assert_eq!(
            Named::parse("snapshot.8e.snappy"),
            Some(Named::Snapshot(Zxid(0x8e), Compression::Snappy))
        );
        for other in ["next.tmp", "roll.tmp", "taken.tmp", LOCK_FILE, "log", "log.", "log.xyz"] {
            assert_eq!(Named::parse(other), None, "{other}");
        }
        assert_eq!(Named::log(Zxid(0x1_0000_0001)).name, "log.100000001");
        assert_eq!(Named::snapshot(Zxid(0), Compression::Gzip).name, "snapshot.0.gz");
    }

    #[test]
    fn a_second_server_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let logs = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path(), Some(logs.path()));
        assert!(matches!(DirLock::acquire(&dirs, false), Err(LockError::Missing(_))));
        let first = DirLock::acquire(&dirs, true).unwrap();
        // The log directory alone is enough to refuse.
        let other = tempfile::tempdir().unwrap();
        let err = DirLock::acquire(&Dirs::new(other.path(), Some(logs.path())), true).unwrap_err();
        assert!(err.to_string().contains(&logs.path().display().to_string()), "{err}");
        drop(first);
        DirLock::acquire(&dirs, false).unwrap();
    }
}
