//! Txn log, writing: records into batches, batches into segments, segments one after the other.
//!
//! Thread: [`begin_record`] and [`end_record`] run on the pipeline, [`LogWriter`] on the flusher,
//! [`Preparation`] on the disk thread.
//! Invariants: a batch lies in one segment; nothing of a batch is written before the sync of the
//! batch before it returned, so that a crash damages the last batch alone; bytes behind the last
//! record are zeros; a `log.*` has its header, and its name, on the disk before its first record
//! counts. A record never goes into a file that an earlier process wrote.
//! Not here: reading (`scan.rs`), when to sync (`parts/pipeline.rs`), sleeping between the steps of
//! a preparation (the disk thread, by [`super::disk::Pace`]).

use std::io;

use super::Named;
use super::disk::{Dir, Disk, FileName, Job};
use crate::types::Zxid;

/// Opens a log file: magic, format version, dbid 0 (storage-format 2).
pub const LOG_HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";

/// Bytes a record has around its payload: Adler-32 as i64, length, end marker.
pub const RECORD_FRAME_BYTES: usize = 8 + 4 + 1;

/// Stands behind every payload.
pub const RECORD_END: u8 = b'B';

/// Where a record begins in a batch.
#[derive(Debug)]
#[must_use = "the record is not one before `end_record`"]
pub struct RecordMark {
    at: usize,
}

/// Reserves a record's frame at the end of `out`; the payload is encoded behind it.
pub fn begin_record(out: &mut Vec<u8>) -> RecordMark {
    let at = out.len();
    out.extend_from_slice(&[0; RECORD_FRAME_BYTES - 1]);
    RecordMark { at }
}

/// Takes the record back: its payload will not be one.
pub fn drop_record(out: &mut Vec<u8>, mark: RecordMark) {
    out.truncate(mark.at);
}

/// The payload is everything behind the mark: fills in checksum and length, sets the end marker.
///
/// # Panics
/// On an empty payload, which would read as the end of the log.
pub fn end_record(out: &mut Vec<u8>, mark: RecordMark) {
    let start = mark.at + RECORD_FRAME_BYTES - 1;
    let payload = &out[start..];
    assert!(!payload.is_empty(), "an empty record is the end of a log");
    let len = i32::try_from(payload.len()).expect("bounded by the frame limit");
    let crc = i64::from(simd_adler32::adler32(&payload));
    out[mark.at..mark.at + 8].copy_from_slice(&crc.to_be_bytes());
    out[mark.at + 8..start].copy_from_slice(&len.to_be_bytes());
    out.push(RECORD_END);
}

/// How the log is written.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Length of a segment (`preAllocSize`, there in KiB).
    pub segment_bytes: u64,
    /// A segment ends early when it holds so much (`txnLogSizeLimitInKb`).
    pub size_limit_bytes: Option<u64>,
    /// `forceSync=no` acknowledges what a power cut loses.
    pub force_sync: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, size_limit_bytes: None, force_sync: true }
    }
}

/// Segments prepared ahead bear this name until their first record.
fn next_segment() -> FileName {
    FileName::new(Dir::Log, "next.tmp")
}

/// A segment that the flusher makes itself, because none is prepared.
fn own_segment() -> FileName {
    FileName::new(Dir::Log, "roll.tmp")
}

/// Names that recovery deletes: segments that never got a record.
pub(super) fn leftovers() -> [FileName; 2] {
    [next_segment(), own_segment()]
}

#[derive(Debug)]
struct Segment {
    file: FileName,
    end_bytes: u64,
    len_bytes: u64,
}

/// What an append did.
#[derive(Debug, Default)]
pub struct Appended {
    /// A segment was finished; [`trim`] it on the disk thread.
    pub finished: Option<Finished>,
    /// Length of the current segment, for the log line of a slow sync.
    pub segment_bytes: u64,
}

/// A segment that gets no more records.
#[derive(Debug)]
pub struct Finished {
    file: FileName,
    end_bytes: u64,
    len_bytes: u64,
}

/// The log's one writer.
#[derive(Debug)]
pub struct LogWriter {
    options: LogOptions,
    current: Option<Segment>,
    /// Length of the segment that waits as `next.tmp`.
    prepared: Option<u64>,
    preparing: bool,
    /// Length of the next segment that must be made on the spot.
    own_bytes: u64,
    last: Zxid,
    failed: bool,
}

/// PERF: the first write after a start waits for this much to be prepared, about 2 ms; each further
/// segment made on the spot is twice as long, so that a burst right at the start is not slowed by
/// rolls. The full length is the disk thread's to prepare, out of anyone's way.
const OWN_SEGMENT_BYTES: u64 = 1 << 20;

impl LogWriter {
    /// Continues behind `last`, in a new file.
    pub fn new(options: LogOptions, last: Zxid) -> Self {
        let own_bytes = OWN_SEGMENT_BYTES.min(options.segment_bytes);
        Self {
            options,
            current: None,
            prepared: None,
            preparing: false,
            own_bytes,
            last,
            failed: false,
        }
    }

    /// Writes whole records, the first of them `first`, and makes them durable. An error is final:
    /// what of the batch is on the disk is unknown, nothing may be appended or synced again.
    ///
    /// # Panics
    /// When the batch does not follow what the log has.
    pub fn append(
        &mut self,
        disk: &mut dyn Disk,
        batch: &[u8],
        first: Zxid,
        last: Zxid,
    ) -> io::Result<Appended> {
        assert!(first > self.last, "the log has {}, a batch begins at {first}", self.last);
        assert!(last >= first, "a batch from {first} to {last}");
        if self.failed {
            // The kernel dropped the dirty pages: a sync that succeeds now would lie.
            return Err(io::Error::other("the log has failed before and takes no more"));
        }
        self.failed = true;
        let appended = self.try_append(disk, batch, first, last)?;
        self.failed = false;
        Ok(appended)
    }

    fn try_append(
        &mut self,
        disk: &mut dyn Disk,
        batch: &[u8],
        first: Zxid,
        last: Zxid,
    ) -> io::Result<Appended> {
        let mut appended = Appended::default();
        let batch_bytes = batch.len() as u64;
        let limit = self.options.size_limit_bytes.unwrap_or(u64::MAX);
        let fits = self.current.as_ref().is_some_and(|segment| {
            segment.end_bytes + batch_bytes <= segment.len_bytes && segment.end_bytes < limit
        });
        if !fits {
            appended.finished = self.roll(disk)?;
            self.open(disk, first, batch_bytes)?;
        }
        let segment = self.current.as_mut().expect("opened above");
        disk.run(Job::Write {
            file: &segment.file,
            offset_bytes: segment.end_bytes,
            bytes: batch,
        })?;
        if self.options.force_sync {
            disk.run(Job::Sync(&segment.file))?;
        }
        segment.end_bytes += batch_bytes;
        self.last = last;
        appended.segment_bytes = segment.len_bytes;
        Ok(appended)
    }

    /// Ends the current segment: the next append begins a new one. A snapshot starts with it.
    pub fn roll(&mut self, disk: &mut dyn Disk) -> io::Result<Option<Finished>> {
        let Some(Segment { file, end_bytes, len_bytes }) = self.current.take() else {
            return Ok(None);
        };
        disk.run(Job::Close(&file))?;
        Ok(Some(Finished { file, end_bytes, len_bytes }))
    }

    /// The newest txn in the log.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Whether the disk thread should prepare a segment now: says so once for each. Ask after an
    /// append and at the start.
    pub fn wants_segment(&mut self) -> Option<Preparation> {
        if self.prepared.is_some() || self.preparing {
            return None;
        }
        self.preparing = true;
        Some(Preparation::new(self.options.segment_bytes))
    }

    /// The preparation ended; its length, or `None` when it failed. The writer goes on without and
    /// asks again: whether to take more writes on a full disk is the server's decision.
    pub fn prepared(&mut self, len_bytes: Option<u64>) {
        self.preparing = false;
        self.prepared = len_bytes;
    }

    fn open(&mut self, disk: &mut dyn Disk, first: Zxid, batch_bytes: u64) -> io::Result<()> {
        let need = LOG_HEADER.len() as u64 + batch_bytes;
        let file = Named::log(first);
        let (made, len_bytes) = match self.prepared.take_if(|len| *len >= need) {
            Some(len_bytes) => {
                self.own_bytes = OWN_SEGMENT_BYTES.min(self.options.segment_bytes);
                (next_segment(), len_bytes)
            }
            None => {
                let len_bytes = self.own_bytes.max(need).next_multiple_of(PAGE_BYTES);
                self.own_bytes = (self.own_bytes * 2).min(self.options.segment_bytes);
                let mut preparation = Preparation::named(own_segment(), len_bytes);
                while preparation.step(disk)?.is_some() {}
                (own_segment(), len_bytes)
            }
        };
        // A file of this name can only be one without records: a roll that a crash ended.
        disk.run(Job::Rename { file: &made, to: &file })?;
        disk.run(Job::SyncDir(Dir::Log))?;
        disk.run(Job::Map(&file))?;
        let end_bytes = LOG_HEADER.len() as u64;
        self.current = Some(Segment { file, end_bytes, len_bytes });
        Ok(())
    }
}

/// Cuts the unused zeros off a finished segment: they are real space, unlike Java's. Runs on the
/// disk thread; a crash before it costs space only.
pub fn trim(disk: &mut dyn Disk, finished: &Finished) -> io::Result<()> {
    if finished.end_bytes < finished.len_bytes {
        disk.run(Job::Truncate { file: &finished.file, len_bytes: finished.end_bytes })?;
    }
    disk.run(Job::Close(&finished.file))
}

const PAGE_BYTES: u64 = 4096;

/// Bytes of one step of a preparation: short enough that other work of the disk thread and its
/// pace come between.
const STEP_BYTES: u64 = 128 << 10;

/// PERF: dirty bytes of a preparation at most. A sync of the log must wait for the journal to write
/// out what the file system has in order before it: with the whole segment dirty that was 200 ms.
const SYNC_BYTES: u64 = 128 << 10;

/// A segment in the making, step by step, so that the disk thread can pause between.
#[derive(Debug)]
pub struct Preparation {
    file: FileName,
    len_bytes: u64,
    done_bytes: u64,
    state: PreparationState,
}

#[derive(Debug)]
enum PreparationState {
    Create,
    Zeros,
    Sync,
    Done,
}

impl Preparation {
    fn new(len_bytes: u64) -> Self {
        Self::named(next_segment(), len_bytes.max(PAGE_BYTES).next_multiple_of(PAGE_BYTES))
    }

    fn named(file: FileName, len_bytes: u64) -> Self {
        Self { file, len_bytes, done_bytes: 0, state: PreparationState::Create }
    }

    /// The same from the start, after a failed step.
    #[must_use]
    pub fn again(self) -> Self {
        Self::named(self.file, self.len_bytes)
    }

    /// Length of the segment when it is done, for [`LogWriter::prepared`].
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Does one step: bytes written by it, or `None` when all is done and durable. A full disk
    /// shows itself here, long before the write that would have failed; what was made is removed.
    pub fn step(&mut self, disk: &mut dyn Disk) -> io::Result<Option<u64>> {
        self.try_step(disk).inspect_err(|_| {
            // The first error is the one to report, and the next start deletes the file too.
            let _ = disk.run(Job::Remove(&self.file));
        })
    }

    fn try_step(&mut self, disk: &mut dyn Disk) -> io::Result<Option<u64>> {
        let file = &self.file;
        match self.state {
            PreparationState::Create => {
                disk.run(Job::Create { file, reserve_bytes: self.len_bytes })?;
                self.state = PreparationState::Zeros;
                Ok(Some(0))
            }
            PreparationState::Zeros => {
                let len_bytes = STEP_BYTES.min(self.len_bytes - self.done_bytes);
                disk.run(Job::Zero { file, offset_bytes: self.done_bytes, len_bytes })?;
                if self.done_bytes == 0 {
                    disk.run(Job::Write { file, offset_bytes: 0, bytes: &LOG_HEADER })?;
                }
                self.done_bytes += len_bytes;
                if self.done_bytes.is_multiple_of(SYNC_BYTES) {
                    disk.run(Job::Sync(file))?;
                }
                if self.done_bytes == self.len_bytes {
                    self.state = PreparationState::Sync;
                }
                Ok(Some(len_bytes))
            }
            PreparationState::Sync => {
                disk.run(Job::Sync(file))?;
                disk.run(Job::Close(file))?;
                disk.run(Job::SyncDir(file.dir))?;
                self.state = PreparationState::Done;
                Ok(Some(0))
            }
            PreparationState::Done => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Dirs, RealDisk};
    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
        disk: RealDisk,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path(), None);
        std::fs::create_dir_all(dirs.path(Dir::Log)).unwrap();
        Fixture { dir, disk: RealDisk::new(dirs) }
    }

    impl Fixture {
        fn bytes(&self, name: &str) -> Vec<u8> {
            std::fs::read(self.dir.path().join(super::super::VERSION_DIR).join(name)).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> =
                self.disk.list(Dir::Log).unwrap().into_iter().map(|entry| entry.name).collect();
            names.sort();
            names
        }
    }

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mark = begin_record(&mut out);
        out.extend_from_slice(payload);
        end_record(&mut out, mark);
        out
    }

    #[test]
    fn a_record_is_framed_as_in_a_real_file() {
        // The first record of a log of Java 3.8.0 (storage-format 3).
        let mut payload = Vec::new();
        payload.extend_from_slice(&0x0100_0030_5f5e_0000_u64.to_be_bytes());
        payload.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        payload.extend_from_slice(&[0, 0, 1, 0xa2, 8, 0x44, 0x2c, 0x18, 0xff, 0xff, 0xff, 0xf6]);
        payload.extend_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0, 2, 0, 0, 0, 0, 0x51, 0xc6, 0xd6]);
        payload.push(0x60);
        let framed = record(&payload);
        assert_eq!(framed[..12], [0, 0, 0, 0, 0x9a, 0x69, 8, 0xd4, 0, 0, 0, 0x30]);
        assert_eq!(framed[60..], *b"B");
        assert_eq!(framed[12..60], payload[..]);
    }

    #[test]
    fn the_first_append_makes_a_segment_and_a_prepared_one_takes_over() {
        let mut f = fixture();
        let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
        let mut log = LogWriter::new(options, Zxid(4));
        let big = record(&[7; 40_000]);
        log.append(&mut f.disk, &big, Zxid(5), Zxid(5)).unwrap();
        assert_eq!(f.names(), ["log.5"]);
        let bytes = f.bytes("log.5");
        assert_eq!(bytes.len(), 64 << 10);
        assert_eq!(bytes[..16], LOG_HEADER);
        assert_eq!(bytes[16..16 + big.len()], big);
        assert!(bytes[16 + big.len()..].iter().all(|byte| *byte == 0));

        let mut preparation = log.wants_segment().unwrap();
        assert!(log.wants_segment().is_none(), "one at a time");
        while preparation.step(&mut f.disk).unwrap().is_some() {}
        assert_eq!(f.names(), ["log.5", "next.tmp"]);
        log.prepared(Some(preparation.len_bytes()));

        let appended = log.append(&mut f.disk, &big, Zxid(6), Zxid(7)).unwrap();
        assert_eq!(f.names(), ["log.5", "log.6"]);
        assert_eq!(f.bytes("log.6")[..16 + big.len()], [&LOG_HEADER[..], &big].concat());
        trim(&mut f.disk, &appended.finished.unwrap()).unwrap();
        assert_eq!(f.bytes("log.5").len(), 16 + big.len());
        assert_eq!(log.last(), Zxid(7));
        assert!(log.wants_segment().is_some());
    }

    #[test]
    fn a_batch_larger_than_a_segment_gets_one_of_its_size() {
        let mut f = fixture();
        let options = LogOptions { segment_bytes: 8192, ..LogOptions::default() };
        let mut log = LogWriter::new(options, Zxid(0));
        let big = record(&[7; 100_000]);
        log.append(&mut f.disk, &big, Zxid(1), Zxid(1)).unwrap();
        assert_eq!(f.bytes("log.1")[16..16 + big.len()], big);
        let small = record(b"x");
        log.append(&mut f.disk, &small, Zxid(2), Zxid(2)).unwrap();
        assert_eq!(f.bytes("log.1")[16 + big.len()..][..small.len()], small);
    }

    #[test]
    fn a_roll_and_a_size_limit_begin_a_new_file() {
        let mut f = fixture();
        let options = LogOptions { size_limit_bytes: Some(1000), ..LogOptions::default() };
        let mut log = LogWriter::new(options, Zxid(0));
        let small = record(&[1; 600]);
        for zxid in 1..=3 {
            log.append(&mut f.disk, &small, Zxid(zxid), Zxid(zxid)).unwrap();
        }
        assert_eq!(f.names(), ["log.1", "log.3"]);
        assert!(log.roll(&mut f.disk).unwrap().is_some());
        assert!(log.roll(&mut f.disk).unwrap().is_none());
        log.append(&mut f.disk, &small, Zxid(4), Zxid(4)).unwrap();
        assert_eq!(f.names(), ["log.1", "log.3", "log.4"]);
    }

    #[test]
    fn a_full_disk_shows_itself_in_the_preparation_and_leaves_nothing() {
        let mut f = fixture();
        // More than any file may have: the reservation fails, as on a full disk.
        let options = LogOptions { segment_bytes: 1 << 62, ..LogOptions::default() };
        let mut log = LogWriter::new(options, Zxid(0));
        let mut preparation = log.wants_segment().unwrap();
        let err = preparation.step(&mut f.disk).unwrap_err();
        assert!(err.to_string().contains("next.tmp"), "{err}");
        assert!(f.names().is_empty());
        log.prepared(None);
        assert!(log.wants_segment().is_some(), "it may be tried again");
        log.append(&mut f.disk, &record(b"x"), Zxid(1), Zxid(1)).unwrap();
    }
}
