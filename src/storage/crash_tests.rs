//! Crashes: the log, snapshots, rolls and purges on a disk that loses what was not synced, stopped
//! before every single job, must recover to at least what was acknowledged and to nothing that
//! never was.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use proptest::prelude::*;
use smallvec::SmallVec;

use super::Compression;
use super::disk::{Dir, Disk, Entry, FileName, Job, ReadFile};
use super::java_tests::{copy, disk, dump, load};
use super::log::{LogOptions, LogWriter, begin_record, end_record, trim};
use super::recovery::{Recovered, RecoveryError, RecoveryOptions, recover};
use super::retention::purge;
use super::scan::{RECORD_BYTES_MAX, truncate};
use super::snapshot::SnapshotWriter;
use crate::tree::{DataTree, TreeOptions};
use crate::types::{SessionId, Zxid};
use crate::wire::client::AclList;
use crate::wire::txn::{CreateTxn, SetDataTxn, Txn, TxnHeader, encode_digest};

const SECTOR: usize = 512;

/// What a file holds, as programs see it and as the disk has it.
#[derive(Clone, Debug, Default)]
struct MemFile {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// A disk in memory. After a crash any unsynced sector is there or not, each for itself, and of
/// the unsynced changes of names a first part happened.
#[derive(Clone, Debug, Default)]
struct MemDisk {
    files: BTreeMap<u32, MemFile>,
    names: BTreeMap<FileName, u32>,
    durable_names: BTreeMap<FileName, u32>,
    /// Changes of names since the last sync of the directory.
    pending: Vec<(FileName, Option<u32>)>,
    next: u32,
    /// Jobs that still run; the next one fails, as do all behind it.
    jobs_left: usize,
    jobs: usize,
}

impl MemDisk {
    fn new() -> Self {
        Self { jobs_left: usize::MAX, ..Self::default() }
    }

    fn name(&mut self, file: &FileName, inode: Option<u32>) {
        match inode {
            Some(inode) => self.names.insert(file.clone(), inode),
            None => self.names.remove(file),
        };
        self.pending.push((file.clone(), inode));
    }

    fn file(&mut self, file: &FileName) -> io::Result<&mut MemFile> {
        let inode = *self.names.get(file).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files.get_mut(&inode).expect("every name has a file"))
    }

    /// What the machine finds when it is up again.
    fn crash(&self, mut seed: u64) -> Self {
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut after = Self::new();
        after.next = self.next;
        after.names.clone_from(&self.durable_names);
        let happened = usize::try_from(random() % (self.pending.len() as u64 + 1)).unwrap();
        for (file, inode) in &self.pending[..happened] {
            match inode {
                Some(inode) => after.names.insert(file.clone(), *inode),
                None => after.names.remove(file),
            };
        }
        for (inode, file) in &self.files {
            // The length is either of the two, and the sectors of both are mixed.
            let len = if random().is_multiple_of(2) { file.now.len() } else { file.durable.len() };
            let mut bytes = vec![0; len];
            let density = random() % 4; // All, most, some, none of the new sectors.
            for at in (0..len).step_by(SECTOR) {
                let new = random() % 4 >= density;
                let from = if new { &file.now } else { &file.durable };
                let end = len.min(at + SECTOR).min(from.len());
                if at < end {
                    bytes[at..end].copy_from_slice(&from[at..end]);
                }
            }
            after.files.insert(*inode, MemFile { durable: bytes.clone(), now: bytes });
        }
        after.durable_names.clone_from(&after.names);
        after
    }
}

impl Disk for MemDisk {
    fn run(&mut self, job: Job<'_>) -> io::Result<()> {
        self.jobs_left =
            self.jobs_left.checked_sub(1).ok_or_else(|| io::Error::other("crashed"))?;
        self.jobs += 1;
        match job {
            Job::Create { file, .. } => {
                self.next += 1;
                let inode = self.next;
                self.files.insert(inode, MemFile::default());
                self.name(file, Some(inode));
            }
            Job::Zero { file, offset_bytes, len_bytes } => {
                let zeros = vec![0; usize::try_from(len_bytes).unwrap()];
                self.jobs_left += 1; // It is one job with the write that does it.
                self.jobs -= 1;
                self.run(Job::Write { file, offset_bytes, bytes: &zeros })?;
            }
            Job::Write { file, offset_bytes, bytes } => {
                let now = &mut self.file(file)?.now;
                let at = usize::try_from(offset_bytes).unwrap();
                now.resize(now.len().max(at + bytes.len()), 0);
                now[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Job::Sync(file) => {
                let file = self.file(file)?;
                file.durable.clone_from(&file.now);
            }
            Job::SyncDir(dir) => {
                for (file, inode) in self.pending.extract_if(.., |(file, _)| file.dir == dir) {
                    match inode {
                        Some(inode) => self.durable_names.insert(file, inode),
                        None => self.durable_names.remove(&file),
                    };
                }
            }
            Job::Rename { file, to } => {
                let inode = *self.names.get(file).ok_or(io::ErrorKind::NotFound)?;
                // One change for a crash: the old name goes with it or stays as well.
                self.name(to, Some(inode));
                self.name(file, None);
            }
            Job::Truncate { file, len_bytes } => {
                self.file(file)?.now.resize(usize::try_from(len_bytes).unwrap(), 0);
            }
            Job::Remove(file) => self.name(file, None),
            Job::Map(_) | Job::Close(_) => {}
        }
        Ok(())
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        let names = self.names.iter().filter(|(file, _)| file.dir == dir);
        Ok(names
            .map(|(file, inode)| Entry {
                name: file.name.clone(),
                len_bytes: self.files[inode].now.len() as u64,
            })
            .collect())
    }

    fn open(&self, file: &FileName) -> io::Result<Box<dyn ReadFile + '_>> {
        let inode = self.names.get(file).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Bytes(&self.files[inode].now)))
    }

    fn separate_logs(&self) -> bool {
        false
    }

    fn path(&self, file: &FileName) -> PathBuf {
        PathBuf::from(&file.name)
    }
}

struct Bytes<'a>(&'a [u8]);

impl ReadFile for Bytes<'_> {
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset_bytes: u64, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset_bytes).unwrap().min(self.0.len());
        let len = into.len().min(self.0.len() - from);
        into[..len].copy_from_slice(&self.0[from..from + len]);
        Ok(len)
    }
}

/// Directories of this disk hold snapshots and logs together, as the default configuration does:
/// only the `Dir` tells them apart here.
fn start(disk: &mut dyn Disk) -> Result<Recovered, RecoveryError> {
    recover(disk, &RecoveryOptions::default(), TreeOptions::default(), &mut |_| {})
}

/// A server that writes, as far as storage sees it.
struct Server {
    tree: DataTree,
    log: LogWriter,
    batch: Vec<u8>,
    first: Zxid,
    /// Digest after every txn since the first.
    digests: BTreeMap<Zxid, u64>,
    acknowledged: Zxid,
}

const SESSION: SessionId = SessionId(0x77);

impl Server {
    fn new(recovered: Recovered) -> Self {
        let last = recovered.last_zxid;
        let options = LogOptions { segment_bytes: 8192, ..LogOptions::default() };
        Self {
            digests: BTreeMap::from([(last, recovered.tree.digest())]),
            tree: recovered.tree,
            log: LogWriter::new(options, last),
            batch: Vec::new(),
            first: last,
            acknowledged: last,
        }
    }

    /// Executes a txn and puts it into the batch.
    fn propose(&mut self, len: usize) {
        let zxid = self.tree.last_zxid().next();
        let header = TxnHeader { session: SESSION, cxid: 1, zxid, time_ms: 1_000 };
        let path = format!("/n{}", zxid.0);
        let data = vec![u8::try_from(zxid.0 % 251).unwrap(); len];
        let txn = if zxid.0 == 1 {
            Txn::CreateSession(30_000)
        } else if zxid.0.is_multiple_of(3) {
            Txn::SetData(SetDataTxn { path: b"", data: Some(&data), version: 1 })
        } else {
            Txn::Create(CreateTxn {
                path: path.as_bytes(),
                data: Some(&data),
                acl: AclList::READ_ONLY,
                ephemeral: zxid.0.is_multiple_of(4),
                parent_cversion: i32::try_from(zxid.0).unwrap(),
            })
        };
        self.tree.apply(&header, &txn, &mut Vec::new(), &mut SmallVec::new());
        self.digests.insert(zxid, self.tree.digest());
        if self.batch.is_empty() {
            self.first = zxid;
        }
        let mark = begin_record(&mut self.batch);
        header.encode(txn.kind(), &mut self.batch);
        txn.encode_record(&mut self.batch);
        encode_digest(Some(self.tree.digest()), &mut self.batch);
        end_record(&mut self.batch, mark);
    }

    fn sync(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        let last = self.tree.last_zxid();
        let batch = std::mem::take(&mut self.batch);
        let appended = self.log.append(disk, &batch, self.first, last)?;
        self.acknowledged = last;
        self.tree.publish(last);
        if let Some(finished) = appended.finished {
            trim(disk, &finished)?;
        }
        Ok(())
    }

    fn prepare(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        let mut preparation = self.log.wants_segment().expect("none is prepared");
        while preparation.step(disk)?.is_some() {}
        self.log.prepared(Some(preparation.len_bytes()));
        Ok(())
    }

    fn snapshot(&mut self, disk: &mut dyn Disk, compression: Compression) -> io::Result<()> {
        if let Some(finished) = self.log.roll(disk)? {
            trim(disk, &finished)?;
        }
        let digest = Some(self.tree.digest());
        let mut writer =
            SnapshotWriter::new(self.tree.view(), &[(SESSION, 30_000)], digest, compression);
        while writer.step(disk)?.is_some() {}
        Ok(())
    }

    /// Everything that storage does, in some order.
    fn work(&mut self, disk: &mut dyn Disk) -> io::Result<()> {
        self.propose(10);
        self.sync(disk)?;
        self.prepare(disk)?;
        for len in [100, 3000, 700] {
            self.propose(len);
            self.propose(0);
            self.sync(disk)?;
        }
        self.propose(5000);
        self.sync(disk)?;
        self.snapshot(disk, Compression::None)?;
        self.propose(600);
        self.sync(disk)?;
        self.propose(20_000);
        self.propose(1);
        self.sync(disk)?;
        self.snapshot(disk, Compression::Gzip)?;
        self.propose(30);
        self.sync(disk)?;
        purge(disk, 1)?;
        self.propose(31);
        self.sync(disk)?;
        self.snapshot(disk, Compression::Snappy)?;
        self.propose(32);
        self.sync(disk)?;
        purge(disk, 1)?;
        Ok(())
    }
}

#[test]
fn a_crash_before_any_job_loses_nothing_acknowledged() {
    let jobs = {
        let mut disk = MemDisk::new();
        let mut server = Server::new(start(&mut disk).unwrap());
        server.work(&mut disk).unwrap();
        disk.jobs
    };
    assert!(jobs > 80, "{jobs}");
    let mut cut = 0;
    for stop in 0..=jobs {
        for seed in 1..=3_u64 {
            let name = format!("crash before job {stop}, seed {seed}");
            let mut disk = MemDisk::new();
            disk.jobs_left = stop;
            let Ok(recovered) = start(&mut disk) else {
                // Within the very first start: the next one finds an empty or a new database.
                let mut disk = disk.crash(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let again = start(&mut disk).unwrap_or_else(|err| panic!("{name}: {err}"));
                assert_eq!(again.last_zxid, Zxid::ZERO, "{name}");
                continue;
            };
            let mut server = Server::new(recovered);
            assert_eq!(server.work(&mut disk).is_ok(), stop == jobs, "{name}");

            let mut disk = disk.crash((seed + stop as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let again = start(&mut disk).unwrap_or_else(|err| panic!("{name}: {err}"));
            assert!(again.last_zxid >= server.acknowledged, "{name}");
            assert!(again.last_zxid <= server.tree.last_zxid(), "{name}");
            assert_eq!(Some(&again.tree.digest()), server.digests.get(&again.last_zxid), "{name}");
            assert_eq!(again.first_mismatch, None, "{name}");
            cut += again.cuts.len();

            // And it goes on from there, into a new file.
            let mut server = Server::new(again);
            server.propose(50);
            server.sync(&mut disk).unwrap();
            let last = start(&mut disk).unwrap_or_else(|err| panic!("{name}, later: {err}"));
            assert_eq!(last.last_zxid, server.acknowledged, "{name}");
            assert_eq!(last.tree.digest(), server.tree.digest(), "{name}");
            assert_eq!(last.cuts, [], "{name}: the cut was durable");
        }
    }
    assert!(cut > 0, "some of these crashes tear the log");
}

#[test]
fn a_log_that_failed_once_takes_no_more() {
    let mut disk = MemDisk::new();
    let mut server = Server::new(start(&mut disk).unwrap());
    server.propose(1);
    server.sync(&mut disk).unwrap();
    server.propose(2);
    disk.jobs_left = 1; // The store happens, the fsync fails.
    assert_eq!(server.sync(&mut disk).unwrap_err().to_string(), "crashed");
    disk.jobs_left = usize::MAX;
    let jobs = disk.jobs;
    server.propose(3);
    server.sync(&mut disk).unwrap_err();
    assert_eq!(disk.jobs, jobs, "neither the write nor the fsync is tried again");
    assert_eq!(server.acknowledged, Zxid(1));
}

#[test]
fn a_crash_during_recovery_itself_loses_nothing() {
    // A log with a torn end, an unfinished segment and an unfinished snapshot.
    let mut base = MemDisk::new();
    let mut server = Server::new(start(&mut base).unwrap());
    for len in [10, 4000] {
        server.propose(len);
        server.sync(&mut base).unwrap();
    }
    let acknowledged = server.acknowledged;
    server.propose(3000);
    let at = base.files[&base.names[&FileName::new(Dir::Log, "log.1")]].now.len();
    base.jobs_left = 1; // The store happens, the sync does not.
    server.sync(&mut base).unwrap_err();
    assert_eq!(base.files[&base.names[&FileName::new(Dir::Log, "log.1")]].now.len(), at);
    for seed in 1..60_u64 {
        let torn = base.crash(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for stop in 0..8 {
            let mut disk = torn.clone();
            disk.jobs_left = stop;
            let first = start(&mut disk);
            let mut disk = disk.crash(seed);
            let again = start(&mut disk).unwrap();
            assert!(first.is_err() || again.cuts.is_empty(), "the cut was durable");
            assert!(again.last_zxid >= acknowledged);
            assert_eq!(Some(&again.tree.digest()), server.digests.get(&again.last_zxid));
        }
    }
}

#[test]
fn a_truncation_that_crashes_leaves_a_log_without_holes() {
    let mut base = MemDisk::new();
    let mut server = Server::new(start(&mut base).unwrap());
    for i in 0..12 {
        server.propose(10 + i);
        server.sync(&mut base).unwrap();
        if i % 3 == 0 {
            server.log.roll(&mut base).unwrap();
        }
    }
    for to in 1..=12 {
        for stop in 0..12 {
            let mut disk = base.clone();
            disk.jobs_left = stop;
            let done = truncate(&mut disk, Zxid(to), RECORD_BYTES_MAX).is_ok();
            let mut disk = disk.crash(to * 31 + stop as u64 + 1);
            let again = start(&mut disk).unwrap();
            assert!(again.last_zxid.0 >= to, "{to} {stop}");
            assert!(!done || again.last_zxid.0 == to, "{to} {stop}: it was durable");
            assert_eq!(Some(&again.tree.digest()), server.digests.get(&again.last_zxid));
        }
    }
    assert!(truncate(&mut base, Zxid(13), RECORD_BYTES_MAX).is_err(), "never had it");
    assert!(truncate(&mut base, Zxid(0), RECORD_BYTES_MAX).is_err(), "before every log");
}

#[test]
fn damage_that_no_crash_explains_is_refused_with_file_offset_and_txn() {
    let dir = copy("java-3.8.0/standalone/basic");
    let path = dir.path().join("version-2/log.90");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1; // Within the second record, 0x91.
    std::fs::write(&path, bytes).unwrap();
    let err = load(dir.path()).unwrap_err();
    let RecoveryError::Damaged { offset_bytes, after, .. } = &err else { panic!("{err}") };
    assert_eq!(*after, Zxid(0x90));
    let text = err.to_string();
    for part in [&path.display().to_string(), &format!("byte {offset_bytes}"), "0x90", "truncate"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // What the message says to do works.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(*offset_bytes).unwrap();
    assert_eq!(load(dir.path()).unwrap().last_zxid, Zxid(0x90));
}

#[test]
fn a_hole_behind_the_snapshot_is_refused() {
    let dir = copy("java-3.8.0/standalone/basic");
    std::fs::remove_file(dir.path().join("version-2/log.5d")).unwrap();
    let err = load(dir.path()).unwrap_err();
    assert!(
        matches!(err, RecoveryError::Hole { after: Zxid(0x8e), found: Zxid(0x90), .. }),
        "{err}"
    );
}

#[test]
fn a_torn_end_that_a_later_log_continues_stays_as_it_is() {
    // Java cuts nothing: it leaves the torn end and goes on in a new file.
    let dir = copy("java-3.8.0/standalone/restarted");
    let path = dir.path().join("version-2/log.90");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[end..end + 20].copy_from_slice(b"\0\0\0\0\x9a\x69\x08\xd4\0\0\0\x30torntorn");
    std::fs::write(&path, &bytes).unwrap();
    std::fs::remove_file(dir.path().join("version-2/snapshot.92")).unwrap();
    let recovered = load(dir.path()).unwrap();
    assert!(recovered.last_zxid > Zxid(0x92));
    assert_eq!(recovered.cuts, []);
    assert!(recovered.warnings[0].contains("log.90"), "{:?}", recovered.warnings);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // Without the later log it is the end, and is cut.
    std::fs::remove_file(dir.path().join("version-2/log.93")).unwrap();
    let recovered = load(dir.path()).unwrap();
    assert_eq!(recovered.last_zxid, Zxid(0x92));
    assert_eq!(recovered.cuts[0].offset_bytes, end as u64);
    assert_eq!(std::fs::read(&path).unwrap().len(), end);
}

#[test]
fn an_error_at_the_zxid_before_it_is_javas_and_no_hole() {
    let mut disk = MemDisk::new();
    let mut server = Server::new(start(&mut disk).unwrap());
    let put = |server: &mut Server, txn: &Txn<'_>| {
        let zxid = server.tree.last_zxid();
        let mark = begin_record(&mut server.batch);
        TxnHeader { session: SESSION, cxid: 1, zxid, time_ms: 1_000 }
            .encode(txn.kind(), &mut server.batch);
        txn.encode_record(&mut server.batch);
        end_record(&mut server.batch, mark);
    };
    server.propose(1);
    put(&mut server, &Txn::Error(-5));
    put(&mut server, &Txn::Error(-5));
    server.propose(1);
    put(&mut server, &Txn::Error(-5));
    server.sync(&mut disk).unwrap();
    let recovered = start(&mut disk).unwrap();
    assert_eq!((recovered.last_zxid, recovered.txns), (Zxid(2), 2));
    assert_eq!(recovered.tree.digest(), server.tree.digest());
    // Anything else that comes twice is not what a server wrote.
    server.propose(1);
    put(&mut server, &Txn::Delete(b"/n2"));
    server.sync(&mut disk).unwrap();
    let err = start(&mut disk).unwrap_err();
    assert!(matches!(err, RecoveryError::Hole { after: Zxid(3), found: Zxid(3), .. }), "{err}");
}

#[test]
fn orphaned_ephemerals_go_without_a_txn() {
    let mut disk = MemDisk::new();
    let mut server = Server::new(start(&mut disk).unwrap());
    for _ in 0..9 {
        server.propose(1);
    }
    server.sync(&mut disk).unwrap();
    // The snapshot's table lacks the session that owns nodes.
    let digest = Some(server.tree.digest());
    let mut writer = SnapshotWriter::new(server.tree.view(), &[], digest, Compression::None);
    while writer.step(&mut disk).unwrap().is_some() {}
    let mut recovered = start(&mut disk).unwrap();
    assert!(recovered.tree.get(b"/n8").is_some() && recovered.tree.get(b"/n7").is_some());
    assert_eq!(recovered.remove_orphans(), [SESSION]);
    assert!(recovered.tree.get(b"/n8").is_none() && recovered.tree.get(b"/n7").is_some());
    assert_eq!(recovered.tree.ephemerals_count(), 0);
    assert_eq!(recovered.last_zxid, recovered.tree.last_zxid());
    assert!(dump(&recovered.tree).iter().all(|line| !line.starts_with("/n8")));
}

/// A directory with these files and nothing else.
fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    disk(dir.path());
    for (name, bytes) in files {
        std::fs::write(dir.path().join("version-2").join(name), bytes).unwrap();
    }
    dir
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_prefix_of_a_log_recovers_to_a_prefix_of_its_txns(cut in 0_usize..16_400) {
        let base = copy("java-3.8.0/standalone/basic");
        let read = |name| std::fs::read(base.path().join("version-2").join(name)).unwrap();
        let (log, snapshot) = (read("log.1"), read("snapshot.0"));
        let whole = load(directory(&[("snapshot.0", &snapshot), ("log.1", &log)]).path()).unwrap();
        let cut_dir = directory(&[("snapshot.0", &snapshot), ("log.1", &log[..cut])]);
        match load(cut_dir.path()) {
            Ok(part) => {
                prop_assert!(cut == 0 || cut >= 16);
                prop_assert!(part.last_zxid <= whole.last_zxid);
                prop_assert_eq!(part.txns, part.last_zxid.0);
                // Every txn of the fixture tells the digest after it.
                prop_assert_eq!(part.digest_mismatches, 0);
                prop_assert!(part.last_zxid == whole.last_zxid || cut < 16_000);
            }
            Err(err) => prop_assert!(cut < 16, "{}", err),
        }
    }

    #[test]
    fn any_bytes_load_or_are_refused(
        log in prop::collection::vec(any::<u8>(), 0..300),
        snapshot in prop::collection::vec(any::<u8>(), 0..300),
        headers in any::<bool>(),
        suffix in prop::sample::select(vec!["", ".gz", ".snappy"]),
    ) {
        let (mut log, mut snapshot) = (log, snapshot);
        if headers {
            log.splice(0..0, *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0");
            let head: &[u8] = match suffix {
                "" => b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff",
                ".gz" => b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
                _ => b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x20",
            };
            snapshot.splice(0..0, head.iter().copied());
            snapshot.extend(*b"\0\0\0\x01/");
        }
        let name = format!("snapshot.5{suffix}");
        if let Ok(recovered) = load(directory(&[("log.1", &log), (&name, &snapshot)]).path()) {
            prop_assert_eq!(recovered.last_zxid, Zxid::ZERO);
        }
    }
}
