//! Recovery: the newest snapshot that is whole, then the logs' records behind it, into a tree.
//!
//! Thread: the main one, before any other runs.
//! Invariants: what was acknowledged is in the tree afterwards or the start is refused. A torn end
//! is cut, durably, before this returns; nothing else on the disk is repaired. New records go to a
//! new file.
//! Not here: how a file ends (`scan.rs`), what a txn does (`tree/`), which server may vote (`zab/`).
//!
//! Results are those of Java 3.9.5 (storage-format 11), but for four cases, each tested:
//! a page that is missing within the last batch is cut like any torn end, where Java may find a
//! wrong checksum and refuse; a length field that grew over good records is refused, where Java
//! drops them; a hole between the snapshot and the first record is refused, where Java serves a
//! wrong tree; and `digest.enabled=false` does not make snapshots with a digest unreadable.

use std::fmt;
use std::io;
use std::path::PathBuf;

use smallvec::SmallVec;

use super::disk::{Dir, Disk, FileName, Job};
use super::scan::{Damage, End, LogScan, RECORD_BYTES_MAX, Step};
use super::snapshot::{self, SnapshotDigest, SnapshotError, SnapshotSink, SnapshotWriter};
use super::{Compression, Named, log};
use crate::tree::{DataTree, DiskStat, Owner, TreeOptions};
use crate::types::{Map, SessionId, Zxid};
use crate::wire::client::AclList;
use crate::wire::codes::OpCode;
use crate::wire::jute::{DecodeError, Reader};
use crate::wire::txn::{Txn, TxnEntry, TxnHeader};

/// What an operator can say about it.
#[derive(Clone, Debug)]
pub struct RecoveryOptions {
    /// Longest record expected; a longer one is read too if it is whole (`jute.maxbuffer` plus `zookeeper.jute.maxbuffer.extrasize`).
    pub record_bytes_max: usize,
    /// Logs without any snapshot begin at an empty tree (`zookeeper.snapshot.trust.empty`).
    pub trust_empty: bool,
    /// An empty directory is a new database (`zookeeper.db.autocreate`); if not, only beside a file
    /// `initialize`.
    pub db_autocreate: bool,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        Self { record_bytes_max: RECORD_BYTES_MAX, trust_empty: false, db_autocreate: true }
    }
}

/// How far it is, for a log line now and then.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Reading a snapshot.
    Snapshot {
        /// Its name.
        file: &'a FileName,
        /// Plain bytes so far.
        bytes: u64,
    },
    /// Replaying a log.
    Log {
        /// Its name.
        file: &'a FileName,
        /// Txns applied so far, of all logs.
        txns: u64,
    },
}

/// The snapshot it began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedSnapshot {
    /// Its name.
    pub file: FileName,
    /// In its name.
    pub zxid: Zxid,
    /// Length of the file.
    pub len_bytes: u64,
}

/// A torn end that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The log.
    pub path: PathBuf,
    /// Its length now.
    pub offset_bytes: u64,
    /// Bytes dropped: none of them was acknowledged.
    pub dropped_bytes: u64,
    /// What stood there.
    pub damage: Damage,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ended in a write that was interrupted ({}); cut at byte {}, {} bytes dropped, none \
             of them acknowledged",
            self.path.display(),
            self.damage,
            self.offset_bytes,
            self.dropped_bytes
        )
    }
}

/// A directory, loaded.
#[derive(Debug)]
pub struct Recovered {
    /// At `last_zxid`, all of it published.
    pub tree: DataTree,
    /// Sessions and their timeouts in ms.
    pub sessions: Map<SessionId, i32>,
    /// The newest txn on the disk, committed or not; -1 when `initialized` is false.
    pub last_zxid: Zxid,
    /// False for an empty directory that may not become a database (storage-format 11.3): the
    /// server must not vote.
    pub initialized: bool,
    /// Where the replay began; `None` for an empty directory that got its first snapshot, and for
    /// logs trusted without one: take a snapshot before the first write then.
    pub snapshot: Option<LoadedSnapshot>,
    /// Txns replayed.
    pub txns: u64,
    /// Bytes of their records.
    pub log_bytes: u64,
    /// Torn ends that were cut.
    pub cuts: Vec<Cut>,
    /// Txns after which the tree's digest was not the logged one; the first of them.
    pub digest_mismatches: u64,
    /// Where the digest differed first.
    pub first_mismatch: Option<Zxid>,
    /// Nodes with a time to live were met: without `extendedTypesEnabled` Java loses them.
    pub ttl_nodes: u64,
    /// Lines for the operator: snapshots that were skipped and why, torn ends that newer logs
    /// supersede, files deleted.
    pub warnings: Vec<String>,
}

impl Recovered {
    /// Deletes ephemerals whose session is not in the table, without a txn, as a leader and a lone
    /// server do at start (storage-format 6). Says which sessions had some.
    pub fn remove_orphans(&mut self) -> Vec<SessionId> {
        let orphans: Vec<SessionId> = self
            .tree
            .sessions_with_ephemerals()
            .filter(|session| !self.sessions.contains_key(session))
            .collect();
        for session in &orphans {
            let header = TxnHeader { session: *session, cxid: 0, zxid: self.last_zxid, time_ms: 0 };
            let txn = Txn::CloseSession(None);
            self.tree.apply(&header, &txn, &mut Vec::new(), &mut SmallVec::new());
        }
        self.tree.publish(self.last_zxid);
        orphans
    }
}

/// Why a directory is refused.
#[derive(Debug)]
pub enum RecoveryError {
    /// The file system said no.
    Io(io::Error),
    /// A log in the snapshots' directory or the other way round.
    Misplaced(PathBuf),
    /// There are snapshots, and none can be read.
    NoValidSnapshot {
        /// The newest.
        path: PathBuf,
        /// What is wrong with it.
        why: SnapshotError,
    },
    /// There are records, and no snapshot that they continue.
    NoSnapshot {
        /// The first log with a record.
        path: PathBuf,
    },
    /// Bytes of a log are not what was written.
    Damaged {
        /// The log.
        path: PathBuf,
        /// Where.
        offset_bytes: u64,
        /// The newest txn before it.
        after: Zxid,
        /// What is wrong.
        damage: Damage,
    },
    /// A record is whole, and no txn.
    NoTxn {
        /// The log.
        path: PathBuf,
        /// Where.
        offset_bytes: u64,
        /// The newest txn before it.
        after: Zxid,
        /// What is wrong.
        why: DecodeError,
    },
    /// Txns are missing.
    Hole {
        /// The log whose record does not follow.
        path: PathBuf,
        /// Where.
        offset_bytes: u64,
        /// The newest txn before it.
        after: Zxid,
        /// What follows.
        found: Zxid,
        /// A log before it that ends torn.
        torn: Option<PathBuf>,
    },
}

impl From<io::Error> for RecoveryError {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RESYNC: &str = "In an ensemble, move the version-2 directories aside and start: the \
                              leader sends everything.";
        match self {
            Self::Io(err) => write!(f, "{err}"),
            Self::Misplaced(path) => write!(
                f,
                "{} is in the wrong directory: dataDir holds snapshots, dataLogDir holds logs; \
                 check both settings, or move the file",
                path.display()
            ),
            Self::NoValidSnapshot { path, why } => write!(
                f,
                "Not able to find valid snapshots: the newest, {}, is damaged {why}, and no older \
                 one can be read. Restore one from a backup. {RESYNC}",
                path.display()
            ),
            Self::NoSnapshot { path } => write!(
                f,
                "No snapshot found, but there are log entries. Something is broken! The first is \
                 in {}. Put the snapshot back that the logs continue; if they begin at an empty \
                 database, set zookeeper.snapshot.trust.empty=true for one start. {RESYNC}",
                path.display()
            ),
            Self::Damaged { path, offset_bytes, after, damage } => write!(
                f,
                "{} is damaged at byte {offset_bytes}, behind txn {after}: {damage}. {RESYNC} \
                 Alone, to give up every write behind {after}: `truncate -s {} {}` and move newer \
                 logs and snapshots aside.",
                path.display(),
                offset_bytes.max(&16),
                path.display()
            ),
            Self::NoTxn { path, offset_bytes, after, why } => write!(
                f,
                "{} has a record at byte {offset_bytes}, behind txn {after}, that this server does \
                 not understand: {why}. Was it written by a newer version? {RESYNC} Alone, to give \
                 up every write behind {after}: `truncate -s {offset_bytes} {}` and move newer \
                 logs and snapshots aside.",
                path.display(),
                path.display()
            ),
            Self::Hole { path, offset_bytes, after, found, torn } => {
                write!(
                    f,
                    "txns are missing: {found}, at byte {offset_bytes} of {}, is not the next one \
                     after {after}",
                    path.display()
                )?;
                if let Some(torn) = torn {
                    write!(f, "; {}, before it, ends torn", torn.display())?;
                }
                write!(
                    f,
                    ". Put the missing log back. {RESYNC} Alone, to give up every write behind \
                     {after}: move the logs from {} on and newer snapshots aside.",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for RecoveryError {}

/// Loads what the directories hold; they are locked and exist.
pub fn recover(
    disk: &mut dyn Disk,
    options: &RecoveryOptions,
    tree_options: TreeOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Recovered, RecoveryError> {
    let mut warnings = Vec::new();
    check_places(disk)?;
    remove_leftovers(disk)?;
    let logs = logs(disk, &mut warnings)?;
    let loaded = load_newest(disk, tree_options, progress, &mut warnings)?;
    let had_snapshot = loaded.is_some();
    let mut replay = Replay::new(loaded, tree_options, warnings);
    replay.run(disk, &logs, options, progress)?;
    let mut recovered = replay.finish(disk)?;
    if !had_snapshot && recovered.txns == 0 {
        initialize(disk, options, &mut recovered)?;
    } else if !had_snapshot {
        // Logs trusted once are not to be trusted blindly at every start.
        write_snapshot(disk, &recovered)?;
    }
    Ok(recovered)
}

/// COMPAT: Java `FileTxnSnapLog` refuses directories that were swapped.
fn check_places(disk: &dyn Disk) -> Result<(), RecoveryError> {
    if !disk.separate_logs() {
        return Ok(());
    }
    for dir in [Dir::Snap, Dir::Log] {
        for entry in disk.list(dir)? {
            let misplaced = match Named::parse(&entry.name) {
                Some(Named::Log(_)) => dir == Dir::Snap,
                Some(Named::Snapshot(..)) => dir == Dir::Log,
                None => false,
            };
            if misplaced {
                let path = disk.path(&FileName::new(dir, entry.name));
                return Err(RecoveryError::Misplaced(path));
            }
        }
    }
    Ok(())
}

fn remove_leftovers(disk: &mut dyn Disk) -> io::Result<()> {
    let [next, own] = log::leftovers();
    for file in [next, own, snapshot::leftover()] {
        if disk.list(file.dir)?.iter().any(|entry| entry.name == file.name) {
            disk.run(Job::Remove(&file))?;
        }
    }
    Ok(())
}

/// The logs by zxid. A newest one of no length, which a Java server killed at the wrong moment
/// leaves, is deleted.
fn logs(
    disk: &mut dyn Disk,
    warnings: &mut Vec<String>,
) -> Result<Vec<(Zxid, FileName)>, RecoveryError> {
    let mut logs: Vec<(Zxid, u64, FileName)> = disk
        .list(Dir::Log)?
        .into_iter()
        .filter_map(|entry| match Named::parse(&entry.name) {
            Some(Named::Log(zxid)) => {
                Some((zxid, entry.len_bytes, FileName::new(Dir::Log, entry.name)))
            }
            Some(Named::Snapshot(..)) | None => None,
        })
        .collect();
    logs.sort();
    if logs.last().is_some_and(|(_, len_bytes, _)| *len_bytes == 0) {
        let (_, _, file) = logs.pop().expect("there is a last one");
        disk.run(Job::Remove(&file))?;
        disk.run(Job::SyncDir(Dir::Log))?;
        warnings.push(format!("{} was empty and is deleted", disk.path(&file).display()));
    }
    Ok(logs.into_iter().map(|(zxid, _, file)| (zxid, file)).collect())
}

/// A snapshot that can be loaded by its looks.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) zxid: Zxid,
    pub(super) compression: Compression,
    pub(super) file: FileName,
    pub(super) len_bytes: u64,
}

/// COMPAT: Java `FileSnap.findNValidSnapshots` looks at no more.
const CANDIDATES_MAX: usize = 100;

/// Snapshots that look whole, newest first; what does not is named in `skipped`.
pub(super) fn candidates(disk: &dyn Disk, skipped: &mut Vec<String>) -> io::Result<Vec<Candidate>> {
    let mut found: Vec<Candidate> = disk
        .list(Dir::Snap)?
        .into_iter()
        .filter_map(|entry| match Named::parse(&entry.name)? {
            Named::Snapshot(zxid, compression) => Some(Candidate {
                zxid,
                compression,
                file: FileName::new(Dir::Snap, entry.name),
                len_bytes: entry.len_bytes,
            }),
            Named::Log(_) => None,
        })
        .collect();
    // By name too, so that the order never depends on the directory's.
    found.sort_by(|a, b| (b.zxid, &a.file).cmp(&(a.zxid, &b.file)));
    let mut whole = Vec::new();
    for candidate in found {
        if snapshot::looks_whole(&mut *disk.open(&candidate.file)?, candidate.compression)? {
            whole.push(candidate);
        } else {
            let path = disk.path(&candidate.file);
            skipped.push(format!("Invalid snapshot {}: it has no end", path.display()));
        }
    }
    whole.truncate(CANDIDATES_MAX);
    Ok(whole)
}

struct Loaded {
    snapshot: LoadedSnapshot,
    tree: DataTree,
    sessions: Map<SessionId, i32>,
    digest: Option<SnapshotDigest>,
    ttl_nodes: u64,
}

fn load_newest(
    disk: &dyn Disk,
    tree_options: TreeOptions,
    progress: &mut dyn FnMut(Progress<'_>),
    warnings: &mut Vec<String>,
) -> Result<Option<Loaded>, RecoveryError> {
    let mut newest = None;
    for candidate in candidates(disk, warnings)? {
        let path = disk.path(&candidate.file);
        let mut loader = Loader {
            tree: DataTree::new(tree_options),
            sessions: Map::default(),
            ttl_nodes: 0,
            file: &candidate.file,
            progress,
        };
        match snapshot::read(disk.open(&candidate.file)?, candidate.compression, &mut loader) {
            Ok(digest) => {
                let Loader { mut tree, sessions, ttl_nodes, .. } = loader;
                tree.finish_load(candidate.zxid);
                let snapshot = LoadedSnapshot {
                    file: candidate.file,
                    zxid: candidate.zxid,
                    len_bytes: candidate.len_bytes,
                };
                return Ok(Some(Loaded { snapshot, tree, sessions, digest, ttl_nodes }));
            }
            Err(SnapshotError::Io(err)) => {
                return Err(io::Error::new(
                    err.kind(),
                    format!("cannot read {}: {err}", path.display()),
                )
                .into());
            }
            Err(why @ SnapshotError::Damaged { .. }) => {
                warnings.push(format!("problem reading snap file {}: {why}", path.display()));
                newest.get_or_insert((path, why));
            }
        }
    }
    match newest {
        Some((path, why)) => Err(RecoveryError::NoValidSnapshot { path, why }),
        None => Ok(None),
    }
}

struct Loader<'a> {
    tree: DataTree,
    sessions: Map<SessionId, i32>,
    ttl_nodes: u64,
    file: &'a FileName,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl SnapshotSink for Loader<'_> {
    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.sessions.insert(id, timeout_ms);
    }

    fn acl(&mut self, id: i64, list: AclList<'_>) {
        self.tree.load_acl(id, list);
    }

    fn node(
        &mut self,
        path: &[u8],
        data: Option<&[u8]>,
        acl_id: i64,
        stat: DiskStat,
    ) -> Result<(), String> {
        if matches!(Owner::from_raw(stat.owner), Owner::Ttl(_)) {
            self.ttl_nodes += 1;
        }
        self.tree.load_node(path, data, acl_id, stat).map_err(|err| format!("{err:?}"))
    }

    fn coming(&mut self, path: &[u8]) {
        self.tree.prefetch(path, true);
    }

    fn progress(&mut self, bytes: u64) {
        (self.progress)(Progress::Snapshot { file: self.file, bytes });
    }
}

/// A torn end, not yet known to be the last.
struct Torn {
    file: FileName,
    offset_bytes: u64,
    data_end_bytes: u64,
    damage: Damage,
}

struct Replay {
    recovered: Recovered,
    /// Records up to here are in the snapshot.
    from: Zxid,
    /// No snapshot, or an empty one that is trusted: the first record need not follow it.
    any_first: bool,
    torn: Vec<Torn>,
    digests: Digests,
}

/// When the tree's digest is to be compared with what is on the disk.
enum Digests {
    /// A fuzzy snapshot has more than its name says: not before this txn, and then with this.
    From(Zxid, Option<u64>),
    Compare,
    Off,
}

const PUBLISH_TXNS: u64 = 1024;

impl Replay {
    fn new(loaded: Option<Loaded>, tree_options: TreeOptions, warnings: Vec<String>) -> Self {
        let any_first = loaded.is_none();
        let (from, digest) =
            loaded.as_ref().map_or((Zxid::ZERO, None), |l| (l.snapshot.zxid, l.digest));
        let (snapshot, tree, sessions, ttl_nodes) = match loaded {
            Some(l) => (Some(l.snapshot), l.tree, l.sessions, l.ttl_nodes),
            None => (None, DataTree::new(tree_options), Map::default(), 0),
        };
        let mut digests = Digests::Compare;
        let mut first_mismatch = None;
        if !tree_options.digest_enabled {
            digests = Digests::Off;
        } else if let Some(SnapshotDigest { zxid, digest }) = digest {
            if zxid > from {
                digests = Digests::From(zxid, digest);
            } else if zxid == from && from > Zxid::ZERO {
                let differs = digest.is_some_and(|digest| digest != tree.digest());
                first_mismatch = differs.then_some(from);
            }
        }
        let recovered = Recovered {
            tree,
            sessions,
            last_zxid: from,
            initialized: true,
            snapshot,
            txns: 0,
            log_bytes: 0,
            cuts: Vec::new(),
            digest_mismatches: u64::from(first_mismatch.is_some()),
            first_mismatch,
            ttl_nodes,
            warnings,
        };
        Self { recovered, from, any_first, torn: Vec::new(), digests }
    }

    fn run(
        &mut self,
        disk: &dyn Disk,
        logs: &[(Zxid, FileName)],
        options: &RecoveryOptions,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), RecoveryError> {
        // The log with the snapshot's next txn may have begun before it.
        let first = logs.iter().rposition(|(zxid, _)| *zxid <= self.from).unwrap_or(0);
        for (_, file) in &logs[first..] {
            let path = disk.path(file);
            let mut scan = LogScan::open(disk, file, options.record_bytes_max)?;
            loop {
                while let Some(payload) = scan.ahead() {
                    if let Some((path, new)) = likely_path(payload) {
                        self.recovered.tree.prefetch(path, new);
                    }
                }
                match scan.step()? {
                    Step::Record { offset_bytes, payload } => {
                        let entry = TxnEntry::decode(payload).map_err(|why| {
                            let (path, after) = (path.clone(), self.recovered.last_zxid);
                            RecoveryError::NoTxn { path, offset_bytes, after, why }
                        })?;
                        if entry.header.zxid <= self.from || self.is_echo(&entry) {
                            continue;
                        }
                        if self.any_first && self.recovered.txns == 0 && !options.trust_empty {
                            return Err(RecoveryError::NoSnapshot { path });
                        }
                        self.follows(disk, &path, offset_bytes, entry.header.zxid)?;
                        let len = payload.len() + log::RECORD_FRAME_BYTES;
                        self.recovered.log_bytes += len as u64;
                        self.apply(&entry);
                        if self.recovered.txns.is_multiple_of(PUBLISH_TXNS) {
                            self.publish();
                            progress(Progress::Log { file, txns: self.recovered.txns });
                        }
                    }
                    Step::End { end: End::Clean, .. } => break,
                    Step::End { offset_bytes, end: End::Torn(damage), data_end_bytes } => {
                        let file = file.clone();
                        self.torn.push(Torn { file, offset_bytes, data_end_bytes, damage });
                        break;
                    }
                    Step::End { offset_bytes, end: End::Corrupt(damage), .. } => {
                        let after = self.recovered.last_zxid;
                        return Err(RecoveryError::Damaged { path, offset_bytes, after, damage });
                    }
                }
            }
        }
        Ok(())
    }

    /// COMPAT: Java 3.9 logs the failure of a write that it cannot decode at the zxid of the txn
    /// before it (client-protocol.md J-5, here of a single server).
    fn is_echo(&self, entry: &TxnEntry<'_>) -> bool {
        entry.header.zxid == self.recovered.last_zxid && matches!(entry.txn, Txn::Error(_))
    }

    /// Every txn follows the one before: the next of its epoch, or one of a later epoch.
    fn follows(
        &mut self,
        disk: &dyn Disk,
        path: &std::path::Path,
        offset_bytes: u64,
        found: Zxid,
    ) -> Result<(), RecoveryError> {
        let after = self.recovered.last_zxid;
        let first = self.any_first && self.recovered.txns == 0;
        let next = if found.epoch() == after.epoch() {
            found.counter().checked_sub(1) == Some(after.counter())
        } else {
            found.epoch() > after.epoch()
        };
        if !next && !first {
            let path = path.to_path_buf();
            let torn = self.torn.last().map(|torn| disk.path(&torn.file));
            return Err(RecoveryError::Hole { path, offset_bytes, after, found, torn });
        }
        // What a Java server left when it was killed: its next run went on in a new file.
        for torn in self.torn.drain(..) {
            self.recovered.warnings.push(format!(
                "{} ends torn at byte {} ({}); {} continues behind {after}, so nothing is missing",
                disk.path(&torn.file).display(),
                torn.offset_bytes,
                torn.damage,
                path.display()
            ));
        }
        Ok(())
    }

    fn apply(&mut self, entry: &TxnEntry<'_>) {
        let recovered = &mut self.recovered;
        let TxnEntry { header, txn, digest } = entry;
        // Errors of single txns are those of fuzzy snapshots, and ignored (storage-format 13).
        recovered.tree.apply(header, txn, &mut Vec::new(), &mut SmallVec::new());
        recovered.last_zxid = header.zxid;
        recovered.txns += 1;
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others touch neither")]
        match txn {
            Txn::CreateSession(timeout_ms) => {
                recovered.sessions.insert(header.session, *timeout_ms);
            }
            Txn::CloseSession(_) => {
                recovered.sessions.remove(&header.session);
            }
            Txn::CreateTtl(_) => recovered.ttl_nodes += 1,
            _ => {}
        }
        let expected = match self.digests {
            Digests::Off => return,
            Digests::Compare => *digest,
            Digests::From(zxid, _) if header.zxid < zxid => return,
            Digests::From(zxid, of_snapshot) => {
                self.digests = Digests::Compare;
                if header.zxid == zxid { of_snapshot } else { *digest }
            }
        };
        if expected.is_some_and(|expected| expected != recovered.tree.digest()) {
            recovered.digest_mismatches += 1;
            recovered.first_mismatch.get_or_insert(header.zxid);
        }
    }

    fn publish(&mut self) {
        let tree = &mut self.recovered.tree;
        tree.publish(self.recovered.last_zxid);
        let min_visible = tree.min_visible();
        tree.collect(min_visible, usize::MAX);
    }

    /// Cuts torn ends that nothing supersedes.
    fn finish(mut self, disk: &mut dyn Disk) -> Result<Recovered, RecoveryError> {
        self.publish();
        for torn in &self.torn {
            let (file, len_bytes) = (&torn.file, torn.offset_bytes);
            disk.run(Job::Truncate { file, len_bytes })?;
            disk.run(Job::Sync(file))?;
            disk.run(Job::Close(file))?;
            self.recovered.cuts.push(Cut {
                path: disk.path(file),
                offset_bytes: len_bytes,
                dropped_bytes: torn.data_end_bytes - len_bytes,
                damage: torn.damage,
            });
        }
        Ok(self.recovered)
    }
}

/// Of all that was recovered.
fn write_snapshot(disk: &mut dyn Disk, recovered: &Recovered) -> io::Result<()> {
    let digest = recovered.tree.options().digest_enabled.then(|| recovered.tree.digest());
    let sessions: Vec<(SessionId, i32)> =
        recovered.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms)).collect();
    let mut writer =
        SnapshotWriter::new(recovered.tree.view(), &sessions, digest, Compression::None);
    while writer.step(disk)?.is_some() {}
    Ok(())
}

/// What stands where most txns have their path, behind a header of fixed length, and whether it is
/// that of a create. A hint only.
fn likely_path(payload: &[u8]) -> Option<(&[u8], bool)> {
    let mut reader = Reader::new(payload);
    reader.take(8 + 4 + 8 + 8).ok()?;
    let kind = OpCode::from_wire(reader.int().ok()?);
    let path = reader.buffer().ok()??;
    let new = matches!(kind, Some(OpCode::Create | OpCode::Create2));
    path.starts_with(b"/").then_some((path, new))
}

/// An empty directory becomes a database, if it may: logs without a snapshot would be refused, so
/// the first one is written before the first record.
fn initialize(
    disk: &mut dyn Disk,
    options: &RecoveryOptions,
    recovered: &mut Recovered,
) -> Result<(), RecoveryError> {
    let allowed = FileName::new(Dir::Data, "initialize");
    let present = disk.list(Dir::Data)?.iter().any(|entry| entry.name == allowed.name);
    if !options.db_autocreate && !present {
        recovered.initialized = false;
        recovered.last_zxid = Zxid::from_wire(-1);
        return Ok(());
    }
    write_snapshot(disk, recovered)?;
    if present {
        disk.run(Job::Remove(&allowed))?;
        disk.run(Job::SyncDir(Dir::Data))?;
    }
    Ok(())
}
