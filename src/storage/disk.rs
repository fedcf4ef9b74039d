//! The disk seam, below the file formats: jobs on files, and the files as they are read at start.
//!
//! Thread: `RealDisk` runs a job on the calling thread, which is the flusher or the disk thread;
//! each has its own, and a file is written by one of them only. Queue and `Done` are theirs too.
//! Invariants: jobs run in the order given; nothing is durable before the `Sync` (content) and the
//! `SyncDir` (names) that follow it; until then pages reach the disk in any order or not at all.
//! An error of a job is final for the log: the kernel may have dropped the dirty pages.
//! Not here: what the bytes mean (`log.rs`, `snapshot.rs`). The simulator has its own `Disk`.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sys::mmap::MappedFile;
use crate::types::Map;

/// The directories of a server. The last two may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dir {
    /// `dataDir`: `myid`, `initialize`.
    Data,
    /// `dataDir/version-2`: snapshots and epochs.
    Snap,
    /// `dataLogDir/version-2`: txn logs.
    Log,
}

/// A file by directory and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    /// Where.
    pub dir: Dir,
    /// Without a directory.
    pub name: String,
}

impl FileName {
    /// `name` in `dir`.
    pub fn new(dir: Dir, name: impl Into<String>) -> Self {
        Self { dir, name: name.into() }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One thing to do to one file.
#[derive(Debug)]
pub enum Job<'a> {
    /// A new, empty file; one of that name is emptied. Space for `reserve_bytes` is taken from the
    /// file system, so that a full disk shows itself here.
    Create {
        /// The file.
        file: &'a FileName,
        /// 0 reserves nothing.
        reserve_bytes: u64,
    },
    /// Zeros, written as data.
    Zero {
        /// The file.
        file: &'a FileName,
        /// From here.
        offset_bytes: u64,
        /// So many.
        len_bytes: u64,
    },
    /// Bytes at a place.
    Write {
        /// The file.
        file: &'a FileName,
        /// From here.
        offset_bytes: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// From now on writes to this file are stores into a mapping of it; its length stays.
    Map(&'a FileName),
    /// Makes the file's content and length durable.
    Sync(&'a FileName),
    /// Makes the names in the directory durable.
    SyncDir(Dir),
    /// Gives the file another name in its directory; a file of that name is replaced.
    Rename {
        /// The file.
        file: &'a FileName,
        /// Its new name.
        to: &'a FileName,
    },
    /// Cuts the file.
    Truncate {
        /// The file.
        file: &'a FileName,
        /// What is left of it.
        len_bytes: u64,
    },
    /// Deletes the file; one that is gone already is no error.
    Remove(&'a FileName),
    /// No more jobs for this file: its mapping and descriptor go.
    Close(&'a FileName),
}

impl Job<'_> {
    /// Bytes it brings to the disk, for [`Pace`].
    pub fn cost_bytes(&self) -> u64 {
        match self {
            Self::Zero { len_bytes, .. } => *len_bytes,
            Self::Write { bytes, .. } => bytes.len() as u64,
            Self::Create { .. }
            | Self::Map(_)
            | Self::Sync(_)
            | Self::SyncDir(_)
            | Self::Rename { .. }
            | Self::Truncate { .. }
            | Self::Remove(_)
            | Self::Close(_) => 0,
        }
    }
}

/// A file's name and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Without a directory.
    pub name: String,
    /// Length.
    pub len_bytes: u64,
}

/// An open file that is read from start to end or at places.
pub trait ReadFile {
    /// Length when it was opened.
    fn len_bytes(&self) -> u64;
    /// Fills as much of `into` as the file has from `offset_bytes` on; says how much.
    fn read_at(&mut self, offset_bytes: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// What the log, snapshot and recovery code stand on.
pub trait Disk {
    /// Does it now.
    fn run(&mut self, job: Job<'_>) -> io::Result<()>;
    /// The plain files of a directory, in no order.
    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>>;
    /// Opens a file for reading.
    fn open(&self, file: &FileName) -> io::Result<Box<dyn ReadFile + '_>>;
    /// Whether logs have a directory of their own.
    fn separate_logs(&self) -> bool;
    /// What an operator calls this file.
    fn path(&self, file: &FileName) -> PathBuf;
}

/// Replaces a small file: written aside, synced, renamed, directory synced. A crash leaves the old
/// content or the new one.
pub fn replace(disk: &mut dyn Disk, file: &FileName, bytes: &[u8]) -> io::Result<()> {
    let aside = FileName::new(file.dir, format!("{}.tmp", file.name));
    disk.run(Job::Create { file: &aside, reserve_bytes: 0 })?;
    disk.run(Job::Write { file: &aside, offset_bytes: 0, bytes })?;
    disk.run(Job::Sync(&aside))?;
    disk.run(Job::Close(&aside))?;
    disk.run(Job::Rename { file: &aside, to: file })?;
    disk.run(Job::SyncDir(file.dir))
}

/// A whole file, for the small ones; `None` if there is none.
pub fn read_whole(disk: &dyn Disk, file: &FileName) -> io::Result<Option<Vec<u8>>> {
    let mut open = match disk.open(file) {
        Ok(open) => open,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
    };
    let len = usize::try_from(open.len_bytes()).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let got = open.read_at(0, &mut bytes)?;
    bytes.truncate(got);
    Ok(Some(bytes))
}

/// Bounds how fast background work writes. It knows no clock: the thread that sleeps says how long
/// the work itself took.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    bytes_per_s: u64,
    owed_us: u64,
}

impl Pace {
    /// At most `bytes_per_s`; 0 is no bound.
    pub fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, owed_us: 0 }
    }

    /// After `bytes` that took `took_us`: microseconds to sleep now. Pauses under a millisecond are
    /// saved up, since a sleep that short costs more than it holds back.
    pub fn after(&mut self, bytes: u64, took_us: u64) -> u64 {
        if self.bytes_per_s == 0 {
            return 0;
        }
        let due_us = bytes.saturating_mul(1_000_000) / self.bytes_per_s;
        self.owed_us = (self.owed_us + due_us).saturating_sub(took_us);
        if self.owed_us < 1000 { 0 } else { std::mem::take(&mut self.owed_us) }
    }
}

/// PERF: a zero-filled page of its own keeps the page cache in 4 KiB folios. Larger writes make
/// larger folios, and a store of 256 bytes into one writes all of it (`benches/log.rs`).
const ZERO_PIECE_BYTES: usize = 4096;

#[derive(Debug)]
enum Open {
    Plain(File),
    Mapped(MappedFile),
}

impl Open {
    fn file(self) -> File {
        match self {
            Self::Plain(file) => file,
            Self::Mapped(map) => map.into_file(),
        }
    }
}

/// The kernel's files.
#[derive(Debug)]
pub struct RealDisk {
    dirs: Dirs,
    open: Map<FileName, Open>,
}

/// Where the directories are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    data: PathBuf,
    snap: PathBuf,
    log: PathBuf,
}

impl Dirs {
    /// From `dataDir` and, if it is set, `dataLogDir`.
    pub fn new(data_dir: &Path, data_log_dir: Option<&Path>) -> Self {
        Self {
            data: data_dir.to_path_buf(),
            snap: data_dir.join(super::VERSION_DIR),
            log: data_log_dir.unwrap_or(data_dir).join(super::VERSION_DIR),
        }
    }

    /// The path of `dir`.
    pub fn path(&self, dir: Dir) -> &Path {
        match dir {
            Dir::Data => &self.data,
            Dir::Snap => &self.snap,
            Dir::Log => &self.log,
        }
    }

    /// Whether logs have a directory of their own.
    pub fn separate(&self) -> bool {
        self.snap != self.log
    }
}

impl RealDisk {
    /// On these directories, which must exist by the first job.
    pub fn new(dirs: Dirs) -> Self {
        Self { dirs, open: Map::default() }
    }

    /// Where it works.
    pub fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    fn opened(&mut self, file: &FileName) -> io::Result<&mut Open> {
        if !self.open.contains_key(file) {
            let path = self.path(file);
            let opened = File::options().read(true).write(true).open(path)?;
            self.open.insert(file.clone(), Open::Plain(opened));
        }
        Ok(self.open.get_mut(file).expect("inserted above"))
    }

    fn create(&mut self, file: &FileName, reserve_bytes: u64) -> io::Result<()> {
        self.open.remove(file);
        let path = self.path(file);
        let created =
            File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        if reserve_bytes > 0 {
            use rustix::fs::{FallocateFlags, fallocate};
            match fallocate(&created, FallocateFlags::empty(), 0, reserve_bytes) {
                // A file system without it: the zeros that follow take the space as well.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(err) => return Err(err.into()),
            }
        }
        self.open.insert(file.clone(), Open::Plain(created));
        Ok(())
    }

    fn zero(&mut self, file: &FileName, mut offset_bytes: u64, len_bytes: u64) -> io::Result<()> {
        let Open::Plain(opened) = self.opened(file)? else {
            return Err(io::Error::other("zeros go to files that are not mapped"));
        };
        let zeros = [0; ZERO_PIECE_BYTES];
        let end = offset_bytes + len_bytes;
        while offset_bytes < end {
            // Up to the next page boundary, so that every page is written once.
            let piece = (ZERO_PIECE_BYTES as u64 - offset_bytes % ZERO_PIECE_BYTES as u64)
                .min(end - offset_bytes);
            let piece_len = usize::try_from(piece).expect("at most a page");
            opened.write_all_at(&zeros[..piece_len], offset_bytes)?;
            offset_bytes += piece;
        }
        Ok(())
    }

    fn write(&mut self, file: &FileName, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        match self.opened(file)? {
            Open::Plain(opened) => opened.write_all_at(bytes, offset_bytes),
            Open::Mapped(map) => {
                map.store(usize::try_from(offset_bytes).map_err(io::Error::other)?, bytes);
                Ok(())
            }
        }
    }

    fn dispatch(&mut self, job: &Job<'_>) -> io::Result<()> {
        match *job {
            Job::Create { file, reserve_bytes } => self.create(file, reserve_bytes),
            Job::Zero { file, offset_bytes, len_bytes } => self.zero(file, offset_bytes, len_bytes),
            Job::Write { file, offset_bytes, bytes } => self.write(file, offset_bytes, bytes),
            Job::Map(file) => {
                self.opened(file)?;
                let opened = self.open.remove(file).expect("opened above").file();
                self.open.insert(file.clone(), Open::Mapped(MappedFile::new(opened)?));
                Ok(())
            }
            Job::Sync(file) => match self.opened(file)? {
                Open::Plain(opened) => opened.sync_all(),
                Open::Mapped(map) => map.sync(),
            },
            Job::SyncDir(dir) => open_for_reading(self.dirs.path(dir))?.sync_all(),
            Job::Rename { file, to } => {
                fs::rename(self.path(file), self.path(to))?;
                self.open.remove(to);
                if let Some(opened) = self.open.remove(file) {
                    self.open.insert(to.clone(), opened);
                }
                Ok(())
            }
            Job::Truncate { file, len_bytes } => {
                // A mapping must not outlive the pages behind it.
                if let Some(opened) = self.open.remove(file) {
                    self.open.insert(file.clone(), Open::Plain(opened.file()));
                }
                let Open::Plain(opened) = self.opened(file)? else {
                    unreachable!("made plain above")
                };
                opened.set_len(len_bytes)
            }
            Job::Remove(file) => {
                self.open.remove(file);
                match fs::remove_file(self.path(file)) {
                    Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => other,
                }
            }
            Job::Close(file) => {
                self.open.remove(file);
                Ok(())
            }
        }
    }

    fn explain(&self, job: &Job<'_>, err: &io::Error) -> io::Error {
        let (verb, path) = match *job {
            Job::Create { file, .. } => ("create", self.path(file)),
            Job::Zero { file, .. } => ("prepare", self.path(file)),
            Job::Write { file, .. } => ("write", self.path(file)),
            Job::Map(file) => ("map", self.path(file)),
            Job::Sync(file) => ("fsync", self.path(file)),
            Job::SyncDir(dir) => ("fsync", self.dirs.path(dir).to_path_buf()),
            Job::Rename { file, .. } => ("rename", self.path(file)),
            Job::Truncate { file, .. } => ("truncate", self.path(file)),
            Job::Remove(file) => ("remove", self.path(file)),
            Job::Close(file) => ("close", self.path(file)),
        };
        let full = matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let remedy = if full {
            "; free space on that file system (old logs and snapshots: autopurge)"
        } else {
            ""
        };
        io::Error::new(err.kind(), format!("cannot {verb} {}: {err}{remedy}", path.display()))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is storage's door to the file system")]
fn open_for_reading(path: &Path) -> io::Result<File> {
    File::open(path)
}

impl Disk for RealDisk {
    fn run(&mut self, job: Job<'_>) -> io::Result<()> {
        self.dispatch(&job).map_err(|err| self.explain(&job, &err))
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.dirs.path(dir))? {
            let entry = entry?;
            // Follows links: operators link single files to larger disks.
            let Ok(meta) = fs::metadata(entry.path()) else { continue };
            // Names that are not UTF-8 are no files of ours.
            let (true, Some(name)) = (meta.is_file(), entry.file_name().to_str().map(String::from))
            else {
                continue;
            };
            entries.push(Entry { name, len_bytes: meta.len() });
        }
        Ok(entries)
    }

    fn separate_logs(&self) -> bool {
        self.dirs.separate()
    }

    fn path(&self, file: &FileName) -> PathBuf {
        self.dirs.path(file.dir).join(&file.name)
    }

    fn open(&self, file: &FileName) -> io::Result<Box<dyn ReadFile + '_>> {
        let opened = open_for_reading(&self.path(file))?;
        let len_bytes = opened.metadata()?.len();
        Ok(Box::new(OpenRead { file: opened, len_bytes }))
    }
}

struct OpenRead {
    file: File,
    len_bytes: u64,
}

impl ReadFile for OpenRead {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&mut self, offset_bytes: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < into.len() {
            match self.file.read_at(&mut into[got..], offset_bytes + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_holds_over_many_small_steps() {
        let mut pace = Pace::new(10_000_000);
        // A thousand steps of 10 kB, each of which took 200 us by itself: a second in all.
        let slept: u64 = (0..1000).map(|_| pace.after(10_000, 200)).sum();
        assert!((799_000..=800_000).contains(&slept), "{slept}");
        // Work slower than the pace owes nothing.
        assert_eq!(Pace::new(10_000_000).after(10_000, 5000), 0);
        assert_eq!(Pace::new(0).after(1 << 40, 0), 0);
    }

    #[test]
    fn an_error_names_the_file_and_what_was_done() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::new(Dirs::new(dir.path(), None));
        let file = FileName::new(Dir::Log, "log.1");
        let err = disk.run(Job::Create { file: &file, reserve_bytes: 0 }).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::NotFound);
        assert!(err.to_string().starts_with("cannot create "), "{err}");
        assert!(err.to_string().contains("version-2/log.1"), "{err}");
        disk.run(Job::Remove(&file)).unwrap();
    }
}
