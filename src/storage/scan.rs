//! Txn log, reading: records in order, a verdict on where and why they end, and truncation.
//!
//! Thread: whoever recovers, at start; the flusher for [`truncate`], with no writer open.
//! Invariants: a record is handed out only when its frame is whole and its checksum right; memory
//! is bounded by the longest record, not by the file.
//! Not here: what a torn end means for a directory (`recovery.rs`).

use std::fmt;
use std::io;

use super::Named;
use super::disk::{Dir, Disk, FileName, Job, ReadFile};
use super::log::{LOG_HEADER, RECORD_END, RECORD_FRAME_BYTES};
use crate::limits::BATCH_BYTES_MAX;
use crate::types::Zxid;
use crate::wire::jute::Reader;

/// Longest payload expected, unless `jute.maxbuffer` or `zookeeper.jute.maxbuffer.extrasize` say
/// otherwise: their defaults together.
pub const RECORD_BYTES_MAX: usize = 2 * 1_048_575;

/// What is wrong with the bytes at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file is shorter than its header.
    ShortHeader,
    /// It does not begin with `ZKLG`.
    Magic([u8; 4]),
    /// Negative, or above the limit.
    Length(i32),
    /// No length, but bytes behind.
    NoLength,
    /// The frame does not end in `B`.
    NoEnd,
    /// The payload is not what its checksum was made of.
    Checksum,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortHeader => write!(f, "the file ends within its header"),
            Self::Magic(found) => write!(f, "the file begins with {found:02x?}, not with ZKLG"),
            Self::Length(len) => write!(f, "unreasonable record length {len}"),
            Self::NoLength => write!(f, "a record without length, but bytes behind it"),
            Self::NoEnd => write!(f, "the record's end marker is missing"),
            Self::Checksum => write!(f, "the record's checksum is wrong"),
        }
    }
}

/// How a log file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In zeros, or with the file.
    Clean,
    /// In what an interrupted write leaves: a record cut short with nothing behind, or a hole where
    /// a page is missing, close to the end. What is behind was never acknowledged.
    Torn(Damage),
    /// In anything else: bytes that were right once are not any more.
    Corrupt(Damage),
}

/// One step of a scan.
#[derive(Debug)]
pub enum Step<'a> {
    /// A record.
    Record {
        /// Where its frame begins.
        offset_bytes: u64,
        /// Header, txn, digest.
        payload: &'a [u8],
    },
    /// No more.
    End {
        /// Behind the last good record.
        offset_bytes: u64,
        /// Why.
        end: End,
        /// Behind the last byte that is not zero.
        data_end_bytes: u64,
    },
}

/// A log file being read.
pub struct LogScan<'d> {
    file: Box<dyn ReadFile + 'd>,
    record_bytes_max: usize,
    /// Bytes of the file from `window_at` on.
    window: Vec<u8>,
    window_at: u64,
    at: u64,
    /// What [`LogScan::ahead`] tells next.
    ahead_at: u64,
    header: Option<Damage>,
}

impl fmt::Debug for LogScan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogScan").field("at", &self.at).finish_non_exhaustive()
    }
}

const CHUNK_BYTES: usize = 1 << 20;

/// How far [`LogScan::ahead`] looks: about eight small records.
const AHEAD_BYTES: u64 = 2 << 10;

/// The least that a disk writes or loses as a whole.
const SECTOR_BYTES: u64 = 512;

impl<'d> LogScan<'d> {
    /// Opens `file` at its first record.
    pub fn open(disk: &'d dyn Disk, file: &FileName, record_bytes_max: usize) -> io::Result<Self> {
        Self::of(disk.open(file)?, record_bytes_max)
    }

    fn of(file: Box<dyn ReadFile + 'd>, record_bytes_max: usize) -> io::Result<Self> {
        let mut scan = Self {
            file,
            record_bytes_max,
            window: Vec::new(),
            window_at: 0,
            at: LOG_HEADER.len() as u64,
            ahead_at: 0,
            header: None,
        };
        let header = scan.bytes(0, LOG_HEADER.len())?;
        // COMPAT: only the magic counts, version and dbid are not looked at (Java `FileTxnLog`).
        let damage = if header.len() < LOG_HEADER.len() {
            Some(Damage::ShortHeader)
        } else if header[..4] == LOG_HEADER[..4] {
            None
        } else {
            Some(Damage::Magic(header[..4].try_into().expect("4 bytes")))
        };
        scan.header = damage;
        Ok(scan)
    }

    /// The next record, or the end, again and again.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        if let Some(damage) = self.header {
            let end = End::Corrupt(damage);
            return Ok(Step::End { offset_bytes: 0, end, data_end_bytes: self.file.len_bytes() });
        }
        let at = self.at;
        let Some(payload_len) = self.good_record(at)? else {
            let data_end_bytes = self.data_end(at)?;
            let end = self.judge(at, data_end_bytes)?;
            return Ok(Step::End { offset_bytes: at, end, data_end_bytes });
        };
        self.at = at + (RECORD_FRAME_BYTES + payload_len) as u64;
        let payload = &self.bytes(at, 12 + payload_len)?[12..];
        Ok(Step::Record { offset_bytes: at, payload })
    }

    /// The payload of a record some way behind the next one, each once, not checked; `None` when
    /// enough were told or it is not in memory yet.
    pub(super) fn ahead(&mut self) -> Option<&[u8]> {
        self.ahead_at = self.ahead_at.max(self.at);
        if self.ahead_at > self.at + AHEAD_BYTES {
            return None;
        }
        let skip = usize::try_from(self.ahead_at.checked_sub(self.window_at)?).ok()?;
        let rest = self.window.get(skip..)?;
        let (_, len) = parse_frame(*rest.first_chunk::<12>()?);
        let len = usize::try_from(len).ok().filter(|len| *len > 0)?;
        let payload = rest.get(12..12_usize.checked_add(len)?)?;
        self.ahead_at += (RECORD_FRAME_BYTES + len) as u64;
        Some(payload)
    }

    /// Length of the payload of the record at `at`, if it is whole.
    fn good_record(&mut self, at: u64) -> io::Result<Option<usize>> {
        let frame = self.bytes(at, 12)?;
        let Ok(frame) = <[u8; 12]>::try_from(frame) else { return Ok(None) };
        let (crc, len) = parse_frame(frame);
        let Some(len) = usize::try_from(len).ok().filter(|len| *len > 0) else { return Ok(None) };
        // COMPAT: Java refuses a record above the limit, and with it a log that it wrote itself
        // (ZOOKEEPER-4306). What is whole and has the right checksum was acknowledged: it is read.
        if at + (RECORD_FRAME_BYTES + len) as u64 > self.file.len_bytes() {
            return Ok(None);
        }
        let record = self.bytes(at, RECORD_FRAME_BYTES + len)?;
        let whole = record.len() == RECORD_FRAME_BYTES + len
            && record[12 + len] == RECORD_END
            && i64::from(simd_adler32::adler32(&&record[12..12 + len])) == crc;
        Ok(whole.then_some(len))
    }

    /// Why there is no good record at `at`. Between the end of one sync and the next only one batch
    /// is written, into zeros: so a crash can leave zeros where that batch has bytes, and nothing
    /// else. Whatever zeros do not explain is damage, and so is a hole that lies further than one
    /// batch before the last byte.
    fn judge(&mut self, at: u64, data_end: u64) -> io::Result<End> {
        if data_end <= at {
            return Ok(End::Clean);
        }
        let mut frame = [0; 12];
        let got = self.bytes(at, 12)?;
        frame[..got.len()].copy_from_slice(got);
        if got.len() < 12 {
            return Ok(End::Torn(Damage::NoLength)); // Java: the end of the file.
        }
        let (_, len_field) = parse_frame(frame);
        let len = match u64::try_from(len_field) {
            // Zeros only make a length smaller, so a torn one is in bounds; above the usual ones
            // it is believed when the file has room for it, as a batch lies in one file.
            Ok(len)
                if len <= self.record_bytes_max as u64
                    || at + RECORD_FRAME_BYTES as u64 + len <= self.file.len_bytes() =>
            {
                len
            }
            _ => return Ok(End::Corrupt(Damage::Length(len_field))),
        };
        let extent = at + RECORD_FRAME_BYTES as u64 + len;
        let damage = if len == 0 {
            Damage::NoLength
        } else if self.byte(extent - 1)? != Some(RECORD_END) {
            Damage::NoEnd
        } else {
            Damage::Checksum
        };
        if data_end < extent {
            // Cut short with nothing behind it; or a length that grew over the records behind.
            let followed = self.holds_a_record(at + 1, data_end)?;
            return Ok(if followed { End::Corrupt(damage) } else { End::Torn(damage) });
        }
        let batch_bytes_max = BATCH_BYTES_MAX.max(self.record_bytes_max + RECORD_FRAME_BYTES);
        // A single record may be longer than a batch should be.
        let in_last_batch = data_end - at <= batch_bytes_max as u64 || data_end == extent;
        if in_last_batch && self.misses_a_sector(at, extent)? {
            return Ok(End::Torn(damage));
        }
        Ok(End::Corrupt(damage))
    }

    /// Whether a whole record lies anywhere in `from..to`.
    fn holds_a_record(&mut self, from: u64, to: u64) -> io::Result<bool> {
        let len = usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
        let bytes = self.bytes(from, len)?;
        Ok((0..bytes.len()).any(|at| {
            let rest = &bytes[at..];
            let Some(frame) = rest.first_chunk::<12>() else { return false };
            let (crc, len) = parse_frame(*frame);
            let Ok(len) = usize::try_from(len) else { return false };
            // The checksum last: it is the costly one.
            len > 0
                && (1..=i64::from(u32::MAX)).contains(&crc)
                && rest.get(12 + len) == Some(&RECORD_END)
                && i64::from(simd_adler32::adler32(&&rest[12..12 + len])) == crc
        }))
    }

    /// Whether a sector that `at..extent` touches has only zeros from `at` on.
    fn misses_a_sector(&mut self, at: u64, extent: u64) -> io::Result<bool> {
        let mut sector = at - at % SECTOR_BYTES;
        while sector < extent {
            let (from, to) = (sector.max(at), sector + SECTOR_BYTES);
            let len = usize::try_from(to - from).expect("at most a sector");
            let bytes = self.bytes(from, len)?;
            if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            sector = to;
        }
        Ok(false)
    }

    /// Behind the last byte from `at` on that is not zero; `at` if there is none.
    fn data_end(&mut self, at: u64) -> io::Result<u64> {
        let mut end = self.file.len_bytes();
        let mut chunk = Vec::new();
        while end > at {
            let from = end.saturating_sub(CHUNK_BYTES as u64).max(at);
            let len = usize::try_from(end - from).expect("at most a chunk");
            chunk.resize(len, 0);
            let got = self.file.read_at(from, &mut chunk)?;
            if let Some(last) = last_byte(&chunk[..got]) {
                return Ok(from + last as u64 + 1);
            }
            end = from;
        }
        Ok(at)
    }

    fn byte(&mut self, at: u64) -> io::Result<Option<u8>> {
        Ok(self.bytes(at, 1)?.first().copied())
    }

    /// `len` bytes from `at` on, fewer at the end of the file.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let inside =
            at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            let left = usize::try_from(self.file.len_bytes().saturating_sub(at));
            let want = len.max(CHUNK_BYTES).min(left.unwrap_or(usize::MAX));
            self.window.resize(want, 0);
            let got = self.file.read_at(at, &mut self.window)?;
            self.window.truncate(got);
            self.window_at = at;
        }
        let skip = usize::try_from(at - self.window_at).expect("inside the window");
        let end = (skip + len).min(self.window.len());
        Ok(&self.window[skip..end])
    }
}

/// Place of the last byte that is not zero. By blocks first: the end of a segment is many
/// megabytes of zeros.
fn last_byte(bytes: &[u8]) -> Option<usize> {
    let zero = |block: &&[u8]| block.iter().fold(0, |sum, byte| sum | byte) == 0;
    let zeros: usize = bytes.rchunks(4096).take_while(zero).map(<[u8]>::len).sum();
    bytes[..bytes.len() - zeros].iter().rposition(|byte| *byte != 0)
}

/// Checksum and length.
fn parse_frame(frame: [u8; 12]) -> (i64, i32) {
    let crc = i64::from_be_bytes(frame[..8].try_into().expect("8 bytes"));
    (crc, i32::from_be_bytes(frame[8..].try_into().expect("4 bytes")))
}

/// Cuts the log behind the txn `zxid`, durably: what a leader's TRUNC asks for (storage-format 12).
/// Logs behind it go first, the newest first, each for good before the next: a crash in between
/// leaves a log that is longer than asked, never one with a hole. The caller loads the directory
/// again, and its log writer is a new one.
pub fn truncate(disk: &mut dyn Disk, zxid: Zxid, record_bytes_max: usize) -> io::Result<()> {
    let mut logs: Vec<(Zxid, FileName)> = Vec::new();
    for entry in disk.list(Dir::Log)? {
        if let Some(Named::Log(first)) = Named::parse(&entry.name) {
            logs.push((first, FileName::new(Dir::Log, entry.name)));
        }
    }
    logs.sort();
    let Some(at) = logs.iter().rposition(|(first, _)| *first <= zxid) else {
        let none = format!("No log files found to truncate! None begins at or before {zxid}");
        return Err(io::Error::new(io::ErrorKind::NotFound, none));
    };
    let file = &logs[at].1;
    let len_bytes = end_of(disk, file, zxid, record_bytes_max)?;
    for (_, later) in logs[at + 1..].iter().rev() {
        disk.run(Job::Remove(later))?;
        disk.run(Job::SyncDir(Dir::Log))?;
    }
    disk.run(Job::Truncate { file, len_bytes })?;
    disk.run(Job::Sync(file))?;
    disk.run(Job::Close(file))
}

/// Where the record of `zxid` ends. Java would settle for the first one above; but then this server
/// never had what its leader believes it has, and must be told so.
fn end_of(
    disk: &dyn Disk,
    file: &FileName,
    zxid: Zxid,
    record_bytes_max: usize,
) -> io::Result<u64> {
    let mut scan = LogScan::open(disk, file, record_bytes_max)?;
    while let Step::Record { offset_bytes, payload } = scan.step()? {
        let mut header = Reader::new(payload);
        let found = (|| {
            header.take(8 + 4)?; // Session and cxid.
            header.long()
        })();
        let found = Zxid::from_wire(found.map_err(io::Error::other)?);
        if found == zxid {
            return Ok(offset_bytes + (RECORD_FRAME_BYTES + payload.len()) as u64);
        }
    }
    let path = disk.path(file);
    let none = format!("cannot truncate the log to {zxid}: {} does not have it", path.display());
    Err(io::Error::new(io::ErrorKind::NotFound, none))
}

#[cfg(test)]
mod tests {
    use super::super::log::{begin_record, end_record};
    use super::*;
    use proptest::prelude::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mark = begin_record(&mut out);
        out.extend_from_slice(payload);
        end_record(&mut out, mark);
        out
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

    /// Payloads that a scan of `bytes` finds, and the end.
    fn scan(bytes: &[u8]) -> (Vec<Vec<u8>>, u64, End) {
        let mut scan = LogScan::of(Box::new(Bytes(bytes)), RECORD_BYTES_MAX).unwrap();
        let mut found = Vec::new();
        loop {
            match scan.step().unwrap() {
                Step::Record { payload, .. } => found.push(payload.to_vec()),
                Step::End { offset_bytes, end, .. } => return (found, offset_bytes, end),
            }
        }
    }

    /// A log of records with these payload lengths, in zeros up to `len`.
    fn log(lens: &[usize], len: usize) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = LOG_HEADER.to_vec();
        let mut starts = Vec::new();
        for (i, payload_len) in lens.iter().enumerate() {
            starts.push(bytes.len());
            let fill = u8::try_from(i % 200 + 1).unwrap();
            bytes.extend(record(&vec![fill; *payload_len]));
        }
        starts.push(bytes.len());
        bytes.resize(len.max(bytes.len()), 0);
        (bytes, starts)
    }

    #[test]
    fn zeros_and_the_end_of_the_file_are_clean_ends() {
        for len in [0, 1 << 20, 3 << 20] {
            let (bytes, starts) = log(&[10, 2_000_000, 20], len);
            let (found, at, end) = scan(&bytes);
            assert_eq!((found.len(), end), (3, End::Clean));
            assert_eq!(at, starts[3] as u64);
        }
        for len in [16, 17, 27, 28, 29, 4096] {
            assert_eq!(scan(&log(&[], len).0).2, End::Clean, "{len}");
        }
    }

    #[test]
    fn a_record_cut_at_any_byte_is_torn_whether_zeros_or_nothing_follows() {
        let (bytes, starts) = log(&[30, 600], 0);
        for cut in starts[1]..starts[2] {
            let (found, at, end) = scan(&bytes[..cut]);
            assert_eq!((found.len(), at), (1, starts[1] as u64), "cut at {cut}");
            assert!(!matches!(end, End::Corrupt(_)), "cut at {cut}");
            let mut zeros = bytes[..cut].to_vec();
            zeros.resize(8192, 0);
            let (found, at, end) = scan(&zeros);
            assert_eq!((found.len(), at), (1, starts[1] as u64), "zeros from {cut}");
            assert!(!matches!(end, End::Corrupt(_)), "zeros from {cut}: {end:?}");
        }
    }

    #[test]
    fn every_pattern_of_missing_pages_of_the_last_batch_is_torn() {
        // The first two records were synced, the other six are the batch that a crash met: its
        // pages are there or not, in every combination, by page and by sector.
        let (full, starts) = log(&[100, 3000, 700, 1, 4083, 4084, 2000, 90], 32 << 10);
        let (from, to) = (starts[2], starts[8]);
        for grain in [512, 4096] {
            let first = from / grain;
            let pages = to.div_ceil(grain) - first;
            let all: Box<dyn Iterator<Item = u64>> = if pages <= 10 {
                Box::new(0..1 << pages)
            } else {
                // Too many: some hundred spread over them.
                Box::new((0..500_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20))
            };
            for missing in all {
                let mut bytes = full.clone();
                for page in (0..pages).filter(|page| missing >> page & 1 == 1) {
                    let (a, b) = ((first + page) * grain, (first + page + 1) * grain);
                    bytes[a.max(from)..b.min(to).max(from)].fill(0);
                }
                let (found, at, end) = scan(&bytes);
                assert!(found.len() >= 2, "synced records stay");
                assert_eq!(at, starts[found.len()] as u64);
                assert!(!matches!(end, End::Corrupt(_)), "{grain} {missing:b}: {end:?}");
                let whole = bytes[from..to] == full[from..to];
                assert_eq!(whole, found.len() == 8);
            }
        }
    }

    #[test]
    fn a_changed_byte_is_corruption() {
        let (full, starts) = log(&[100, 300, 700], 8192);
        for at in starts[1]..starts[3] {
            for change in [1, 0x80, 0xff] {
                let mut bytes = full.clone();
                bytes[at] ^= change;
                let (found, offset, end) = scan(&bytes);
                // A changed last byte of the file may look like one that was never written; a
                // length that grew over the end looks like a record cut short.
                let tail = at >= starts[2];
                let corrupt = matches!(end, End::Corrupt(_));
                let len_field = (starts[2] + 8..starts[2] + 12).contains(&at);
                let cleared = bytes[at] == 0;
                assert!(corrupt || (tail && (len_field || cleared)), "{at} {change}: {end:?}");
                assert_eq!(offset, starts[found.len()] as u64);
                assert_eq!(found.len(), if tail { 2 } else { 1 });
            }
        }
    }

    #[test]
    fn a_hole_further_back_than_a_batch_is_corruption() {
        let lens = vec![4096 - RECORD_FRAME_BYTES; BATCH_BYTES_MAX / 4096 + 20];
        let (full, starts) = log(&lens, 0);
        let hole = |record: usize| {
            let mut bytes = full.clone();
            let sector = starts[record].next_multiple_of(512);
            bytes[sector..sector + 512].fill(0);
            let (found, at, end) = scan(&bytes);
            assert_eq!((found.len(), at), (record, starts[record] as u64));
            end
        };
        assert!(matches!(hole(lens.len() - 1), End::Torn(_)));
        assert!(matches!(hole(30), End::Torn(_)));
        assert!(matches!(hole(3), End::Corrupt(_)));
    }

    #[test]
    fn a_record_of_any_length_is_read() {
        let (bytes, starts) = log(&[10, RECORD_BYTES_MAX + 1, 2 * BATCH_BYTES_MAX, 20], 32 << 20);
        let (found, at, end) = scan(&bytes);
        assert_eq!((found.len(), at, end), (4, starts[4] as u64, End::Clean));
        // Torn at either end or in the middle.
        let (from, to) = (starts[2], starts[3]);
        for hole in [from..from + 4096, from + 9_000_000..from + 9_004_096, to - 4096..to] {
            let mut bytes = bytes.clone();
            bytes[to..].fill(0);
            bytes[hole.start.next_multiple_of(512)..hole.end].fill(0);
            let (found, at, end) = scan(&bytes);
            assert_eq!((found.len(), at), (2, from as u64), "{hole:?}");
            assert!(matches!(end, End::Torn(_)), "{hole:?}: {end:?}");
        }
    }

    #[test]
    fn a_header_must_be_whole_and_ours() {
        for len in 0..16 {
            assert_eq!(scan(&LOG_HEADER[..len]).2, End::Corrupt(Damage::ShortHeader));
        }
        assert_eq!(scan(&[0; 4096]).2, End::Corrupt(Damage::Magic([0; 4])));
        let mut version = LOG_HEADER;
        version[7] = 9;
        assert_eq!(scan(&version).2, End::Clean);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut log = LOG_HEADER.to_vec();
            log.extend_from_slice(&bytes);
            scan(&log);
            scan(&bytes);
        }
    }
}
