//! Snapshots: a whole tree at one zxid, written from a view and read back (storage-format 5).
//!
//! Thread: the disk thread writes, in steps between which it may pause; recovery reads.
//! Invariants: unlike Java's, a snapshot is exact: its name, its digest section and every node are
//! of one zxid. It bears its name only when all of it is on the disk.
//! Not here: which snapshot to load (`recovery.rs`) or to keep (`retention.rs`).
//!
//! Layout written: tree, seal, digest, seal, as 3.8 does. The third section of 3.9, the last
//! processed zxid, is left out: 3.9 takes the end of the file for "no such section" and reads the
//! zxid from the name in any case, while a section that nobody needs could only go wrong.

use std::fmt;
use std::io::{self, BufRead, Read, Write as _};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use simd_adler32::Adler32;

use super::disk::{Dir, Disk, FileName, Job, ReadFile};
use super::{Compression, Named};
use crate::tree::{DiskStat, View, Walk};
use crate::types::{SessionId, Zxid};
use crate::wire::client::{AclList, Field};
use crate::wire::jute::{Reader, Write};
use crate::wire::txn::DIGEST_VERSION;

/// Opens a snapshot: magic, format version, dbid -1.
const HEADER: [u8; 16] = *b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff";

/// Ends the list of nodes, and stands behind the checksum of every seal.
const END_PATH: [u8; 5] = *b"\0\0\0\x01/";

const SEAL_BYTES: usize = 8 + END_PATH.len();
const DIGEST_BYTES: usize = 8 + 4 + 8;

/// snappy-java's stream header: magic, version 1, compatible with version 1.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

/// Written aside under a name that Java does not take for a snapshot, as `snapshot.N.tmp` would be.
fn aside() -> FileName {
    FileName::new(Dir::Snap, "taken.tmp")
}

/// A name that recovery deletes: a snapshot that was not finished.
pub(super) fn leftover() -> FileName {
    aside()
}

/// Bytes packed in one step.
const STEP_BYTES: usize = 64 << 10;

/// What is in a finished snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// In its name.
    pub zxid: Zxid,
    /// Length of the file.
    pub len_bytes: u64,
    /// How many nodes.
    pub nodes: u64,
}

/// A snapshot being written, step by step.
#[derive(Debug)]
pub struct SnapshotWriter {
    walk: Walk,
    zxid: Zxid,
    digest: Option<u64>,
    compression: Compression,
    file: FileName,
    packer: Packer,
    written_bytes: u64,
    nodes: u64,
    state: WriteState,
}

#[derive(Debug, PartialEq, Eq)]
enum WriteState {
    Create,
    Nodes,
    Seals,
    Sync,
    Done,
}

impl SnapshotWriter {
    /// Of `view`, which must be durable and committed up to its zxid. `sessions` (with timeouts in
    /// ms) and `digest` are those of the same zxid; no digest leaves out that section.
    pub fn new(
        view: View,
        sessions: &[(SessionId, i32)],
        digest: Option<u64>,
        compression: Compression,
    ) -> Self {
        let zxid = view.zxid();
        let mut packer = Packer::new(compression);
        packer.plain.put_raw(&HEADER);
        packer.plain.put_len(sessions.len());
        for (id, timeout_ms) in sessions {
            packer.plain.put_long(id.0);
            packer.plain.put_int(*timeout_ms);
        }
        // All lists there are: which of them the view uses is known only at its end.
        let lists = view.acls().iter();
        packer.plain.put_len(lists.len());
        for (id, list) in lists {
            packer.plain.put_long(id.to_disk());
            list.encode(&mut packer.plain);
        }
        Self {
            walk: view.walk(),
            zxid,
            digest,
            compression,
            file: aside(),
            packer,
            written_bytes: 0,
            nodes: 0,
            state: WriteState::Create,
        }
    }

    /// Does one step: bytes written by it, for [`super::disk::Pace`], or `None` when the snapshot
    /// is durable under its name. After an error the unfinished file is gone and the snapshot too;
    /// the log is unharmed.
    pub fn step(&mut self, disk: &mut dyn Disk) -> io::Result<Option<u64>> {
        self.try_step(disk).inspect_err(|_| {
            // The first error is the one to report, and the next start deletes the file too.
            let _ = disk.run(Job::Remove(&self.file));
        })
    }

    /// What was written; complete when [`Self::step`] said `None`.
    pub fn taken(&self) -> Taken {
        Taken { zxid: self.zxid, len_bytes: self.written_bytes, nodes: self.nodes }
    }

    fn try_step(&mut self, disk: &mut dyn Disk) -> io::Result<Option<u64>> {
        let before = self.written_bytes;
        match self.state {
            WriteState::Create => {
                disk.run(Job::Create { file: &self.file, reserve_bytes: 0 })?;
                self.state = WriteState::Nodes;
            }
            WriteState::Nodes => {
                let Self { walk, packer, nodes, .. } = self;
                let more = walk.step(usize::MAX, |node| {
                    *nodes += 1;
                    packer.plain.put_some(node.path());
                    packer.plain.put_buffer(node.data());
                    packer.plain.put_long(node.acl().to_disk());
                    node.disk_stat().encode(&mut packer.plain);
                    packer.plain.len() < STEP_BYTES
                });
                self.packer.pack()?;
                if !more {
                    self.state = WriteState::Seals;
                }
            }
            WriteState::Seals => {
                self.packer.plain.put_raw(&END_PATH);
                self.packer.seal()?;
                if let Some(digest) = self.digest {
                    // COMPAT: with nothing applied yet Java writes digest 0, and ignores it.
                    let digest = if self.zxid == Zxid::ZERO { 0 } else { digest };
                    self.packer.plain.put_long(self.zxid.to_wire());
                    self.packer.plain.put_int(DIGEST_VERSION);
                    self.packer.plain.put_long(digest.cast_signed());
                    self.packer.seal()?;
                }
                self.packer.finish()?;
                self.state = WriteState::Sync;
            }
            WriteState::Sync => {
                disk.run(Job::Sync(&self.file))?;
                disk.run(Job::Close(&self.file))?;
                let name = Named::snapshot(self.zxid, self.compression);
                disk.run(Job::Rename { file: &self.file, to: &name })?;
                disk.run(Job::SyncDir(Dir::Snap))?;
                self.state = WriteState::Done;
            }
            WriteState::Done => return Ok(None),
        }
        let bytes = std::mem::take(&mut self.packer.packed);
        if !bytes.is_empty() {
            let offset_bytes = self.written_bytes;
            disk.run(Job::Write { file: &self.file, offset_bytes, bytes: &bytes })?;
            self.written_bytes += bytes.len() as u64;
        }
        Ok(Some(self.written_bytes - before))
    }
}

/// Checksums plain bytes and compresses them.
struct Packer {
    /// Not yet checksummed.
    plain: Vec<u8>,
    adler: Adler32,
    /// Ready for the file.
    packed: Vec<u8>,
    method: Method,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("plain", &self.plain.len()).finish_non_exhaustive()
    }
}

enum Method {
    Plain,
    Gzip(Option<GzEncoder<Vec<u8>>>),
    Snappy { block: Vec<u8>, encoder: Box<snap::raw::Encoder> },
}

impl Packer {
    fn new(compression: Compression) -> Self {
        let mut packed = Vec::new();
        let method = match compression {
            Compression::None => Method::Plain,
            Compression::Gzip => {
                Method::Gzip(Some(GzEncoder::new(Vec::new(), flate2::Compression::default())))
            }
            Compression::Snappy => {
                packed.extend_from_slice(&XERIAL_HEADER);
                Method::Snappy { block: Vec::new(), encoder: Box::new(snap::raw::Encoder::new()) }
            }
        };
        Self { plain: Vec::new(), adler: Adler32::new(), packed, method }
    }

    /// Takes what is in `plain`.
    fn pack(&mut self) -> io::Result<()> {
        self.adler.write(&self.plain);
        match &mut self.method {
            Method::Plain => self.packed.append(&mut self.plain),
            Method::Gzip(encoder) => {
                let encoder = encoder.as_mut().expect("bytes come before the end");
                encoder.write_all(&self.plain)?;
                self.packed.append(encoder.get_mut());
            }
            Method::Snappy { block, encoder } => {
                block.append(&mut self.plain);
                let whole = block.len() - block.len() % XERIAL_BLOCK_BYTES;
                for piece in block[..whole].chunks(XERIAL_BLOCK_BYTES) {
                    put_xerial_block(&mut self.packed, encoder, piece)?;
                }
                block.drain(..whole);
            }
        }
        self.plain.clear();
        Ok(())
    }

    /// The checksum covers everything so far, earlier seals included.
    fn seal(&mut self) -> io::Result<()> {
        self.pack()?;
        let sum = self.adler.finish();
        self.plain.put_long(i64::from(sum));
        self.plain.put_raw(&END_PATH);
        self.pack()
    }

    fn finish(&mut self) -> io::Result<()> {
        match &mut self.method {
            Method::Plain => {}
            Method::Gzip(encoder) => {
                let encoder = encoder.take().expect("it ends once");
                self.packed.append(&mut encoder.finish()?);
            }
            Method::Snappy { block, encoder } => {
                if !block.is_empty() {
                    put_xerial_block(&mut self.packed, encoder, block)?;
                    block.clear();
                }
            }
        }
        Ok(())
    }
}

fn put_xerial_block(
    out: &mut Vec<u8>,
    encoder: &mut snap::raw::Encoder,
    plain: &[u8],
) -> io::Result<()> {
    let packed = encoder.compress_vec(plain).map_err(io::Error::other)?;
    out.put_some(&packed);
    Ok(())
}

/// What a snapshot holds, as it is read.
pub trait SnapshotSink {
    /// A session and its timeout in ms.
    fn session(&mut self, id: SessionId, timeout_ms: i32);
    /// An ACL list and the id that nodes name it by.
    fn acl(&mut self, id: i64, list: AclList<'_>);
    /// A node, parents first; a refusal says why.
    fn node(
        &mut self,
        path: &[u8],
        data: Option<&[u8]>,
        acl_id: i64,
        stat: DiskStat,
    ) -> Result<(), String>;
    /// A node of this path comes soon, if the file is not damaged.
    fn coming(&mut self, _path: &[u8]) {}
    /// Called now and then with the bytes of the file read so far.
    fn progress(&mut self, _bytes: u64) {}
}

/// Why a snapshot cannot be used.
#[derive(Debug)]
pub enum SnapshotError {
    /// The file system said no.
    Io(io::Error),
    /// Its bytes are not what was written.
    Damaged {
        /// Of the plain bytes.
        offset_bytes: u64,
        /// In words.
        what: String,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(err) => write!(f, "{err}"),
            Self::Damaged { offset_bytes, what } => write!(f, "at byte {offset_bytes}: {what}"),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// The digest section: the tree's digest after `zxid`, which in a fuzzy snapshot may be above the
/// zxid of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotDigest {
    /// Of the last txn applied when it was written; 0 says nothing.
    pub zxid: Zxid,
    /// `None` for another version of the digest than ours.
    pub digest: Option<u64>,
}

/// Whether a file has the look of a whole snapshot: what ZooKeeper checks before it lists one as a
/// candidate (storage-format 5.4).
pub fn looks_whole(file: &mut dyn ReadFile, compression: Compression) -> io::Result<bool> {
    let len_bytes = file.len_bytes();
    let mut found = [0; 8];
    Ok(match compression {
        Compression::None => {
            let at = len_bytes.saturating_sub(END_PATH.len() as u64);
            let got = file.read_at(at, &mut found[..END_PATH.len()])?;
            len_bytes >= 10 && found[..got] == END_PATH
        }
        Compression::Gzip => {
            file.read_at(0, &mut found[..2])?;
            found[..2] == [0x1f, 0x8b]
        }
        Compression::Snappy => {
            file.read_at(0, &mut found)?;
            found == XERIAL_HEADER[..8]
        }
    })
}

/// Reads a whole snapshot into `sink`, checking every seal. What the sink got is good only if this
/// returns `Ok`.
pub fn read(
    file: Box<dyn ReadFile + '_>,
    compression: Compression,
    sink: &mut dyn SnapshotSink,
) -> Result<Option<SnapshotDigest>, SnapshotError> {
    let raw = io::BufReader::with_capacity(256 << 10, FileReader { file, at: 0 });
    match compression {
        Compression::None => parse(raw, sink),
        Compression::Gzip => {
            parse(io::BufReader::with_capacity(64 << 10, MultiGzDecoder::new(raw)), sink)
        }
        Compression::Snappy => parse(XerialReader::new(raw).map_err(SnapshotError::Io)?, sink),
    }
}

/// Reads the tree of a SNAP stream or a file: everything between the header and the first seal.
fn parse(
    from: impl BufRead,
    sink: &mut dyn SnapshotSink,
) -> Result<Option<SnapshotDigest>, SnapshotError> {
    let mut source = Source { from, adler: Adler32::new(), at: 0, scratch: Vec::new() };
    let header = source.array::<16>()?;
    if header[..4] != HEADER[..4] {
        return Err(source.damaged("it does not begin with ZKSN"));
    }
    parse_body(&mut source, sink)?;
    source.seal()?;
    // Sections bear no tags, but what may follow differs in length: nothing; the digest; the digest
    // and 3.9's last zxid; or, from a 3.9 without digests, the last zxid alone.
    const LAST_ZXID_BYTES: usize = 8;
    const MOST_BYTES: u64 = 1 << 10;
    let mut tail = Vec::new();
    let read = source.from.by_ref().take(MOST_BYTES).read_to_end(&mut tail);
    read.map_err(|err| source.failed(err))?;
    let Source { adler, at, scratch, .. } = source;
    let mut source = Source { from: &tail[..], adler, at, scratch };
    let (has_digest, has_last_zxid) = match tail.len() {
        0 => return Ok(None),
        len if len == DIGEST_BYTES + SEAL_BYTES => (true, false),
        len if len == DIGEST_BYTES + LAST_ZXID_BYTES + 2 * SEAL_BYTES => (true, true),
        len if len == LAST_ZXID_BYTES + SEAL_BYTES => (false, true),
        _ => return Err(source.damaged("bytes that are no section behind the tree")),
    };
    let mut digest = None;
    if has_digest {
        let zxid = Zxid::from_wire(i64::from_be_bytes(source.array()?));
        let version = i32::from_be_bytes(source.array()?);
        let value = u64::from_be_bytes(source.array()?);
        source.seal()?;
        digest =
            Some(SnapshotDigest { zxid, digest: (version == DIGEST_VERSION).then_some(value) });
    }
    if has_last_zxid {
        // COMPAT: the file's name wins; the value is for the admin server's restore alone.
        source.array::<LAST_ZXID_BYTES>()?;
        source.seal()?;
    }
    Ok(digest)
}

fn parse_body(
    source: &mut Source<impl BufRead>,
    sink: &mut dyn SnapshotSink,
) -> Result<(), SnapshotError> {
    for _ in 0..source.count()? {
        let id = SessionId(i64::from_be_bytes(source.array()?));
        sink.session(id, i32::from_be_bytes(source.array()?));
    }
    for _ in 0..source.count()? {
        let id = i64::from_be_bytes(source.array()?);
        let list = source.acl_list()?;
        sink.acl(id, AclList { bytes: &list });
    }
    let mut nodes = Nodes::default();
    let mut reported = 0;
    loop {
        let more = nodes.read(source, sink);
        // What was read whole comes first, also when what follows is damaged.
        nodes
            .give(sink)
            .map_err(|(offset_bytes, what)| SnapshotError::Damaged { offset_bytes, what })?;
        if !more? {
            return Ok(());
        }
        if source.at - reported >= 4 << 20 {
            reported = source.at;
            sink.progress(source.at);
        }
    }
}

/// A few nodes, read and announced to the sink before it gets the first, so that its cache misses
/// overlap.
#[derive(Default)]
struct Nodes {
    /// Paths and data.
    bytes: Vec<u8>,
    nodes: Vec<ReadNode>,
}

struct ReadNode {
    path_end: usize,
    /// `None` is null.
    data_end: Option<usize>,
    acl_id: i64,
    stat: DiskStat,
    /// Behind it, in the file.
    at: u64,
}

impl Nodes {
    const COUNT: usize = 16;
    /// Long ones are not collected.
    const BYTES: usize = 64 << 10;

    /// Reads some; false at the end mark.
    fn read(
        &mut self,
        source: &mut Source<impl BufRead>,
        sink: &mut dyn SnapshotSink,
    ) -> Result<bool, SnapshotError> {
        const STAT_BYTES: usize = 4 * 8 + 3 * 4 + 2 * 8;
        while self.nodes.len() < Self::COUNT && self.bytes.len() < Self::BYTES {
            let start = self.bytes.len();
            if !source.buffer(&mut self.bytes)? {
                return Err(source.damaged("a node with a null path"));
            }
            let path = &self.bytes[start..];
            if path == b"/" {
                return Ok(false);
            }
            sink.coming(path);
            let path_end = self.bytes.len();
            let data_end = source.buffer(&mut self.bytes)?.then_some(self.bytes.len());
            let rest = source.array::<{ 8 + STAT_BYTES }>()?;
            let mut reader = Reader::new(&rest);
            const WHOLE: &str = "it is as long as its fields";
            let acl_id = reader.long().expect(WHOLE);
            let stat = DiskStat::decode(&mut reader).expect(WHOLE);
            self.nodes.push(ReadNode { path_end, data_end, acl_id, stat, at: source.at });
        }
        Ok(true)
    }

    /// Hands them over and forgets them; a refusal with its place.
    fn give(&mut self, sink: &mut dyn SnapshotSink) -> Result<(), (u64, String)> {
        let mut start = 0;
        for ReadNode { path_end, data_end, acl_id, stat, at } in self.nodes.drain(..) {
            let path = &self.bytes[start..path_end];
            let data = data_end.map(|end| &self.bytes[path_end..end]);
            sink.node(path, data, acl_id, stat).map_err(|what| (at, what))?;
            start = data_end.unwrap_or(path_end);
        }
        self.bytes.clear();
        Ok(())
    }
}

/// Plain bytes with their checksum.
struct Source<R> {
    from: R,
    adler: Adler32,
    at: u64,
    scratch: Vec<u8>,
}

impl<R: BufRead> Source<R> {
    fn damaged(&self, what: &str) -> SnapshotError {
        SnapshotError::Damaged { offset_bytes: self.at, what: what.to_owned() }
    }

    fn failed(&self, err: io::Error) -> SnapshotError {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        if err.kind() == UnexpectedEof {
            self.damaged("it ends too early")
        } else if matches!(err.kind(), InvalidData | InvalidInput) {
            // What the decompressors say of bytes that are not theirs.
            self.damaged(&format!("it cannot be decompressed: {err}"))
        } else {
            SnapshotError::Io(err)
        }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), SnapshotError> {
        self.from.read_exact(into).map_err(|err| self.failed(err))?;
        self.adler.write(into);
        self.at += into.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A count; null is none.
    fn count(&mut self) -> Result<i32, SnapshotError> {
        match i32::from_be_bytes(self.array()?) {
            -1 => Ok(0),
            count if count < 0 => Err(self.damaged(&format!("a negative count, {count}"))),
            count => Ok(count),
        }
    }

    /// Appends a buffer to `into`; false is null. Memory grows with what is really there.
    fn buffer(&mut self, into: &mut Vec<u8>) -> Result<bool, SnapshotError> {
        let len = i32::from_be_bytes(self.array()?);
        if len == -1 {
            return Ok(false);
        }
        self.append(len, into)?;
        Ok(true)
    }

    fn append(&mut self, len: i32, into: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let Ok(mut left) = usize::try_from(len) else {
            return Err(self.damaged(&format!("unreasonable length {len}")));
        };
        while left > 0 {
            let piece = left.min(1 << 20);
            let start = into.len();
            into.resize(start + piece, 0);
            self.fill(&mut into[start..])?;
            left -= piece;
        }
        Ok(())
    }

    /// An ACL list in its bytes.
    fn acl_list(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let count: [u8; 4] = self.array()?;
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.put_raw(&count);
        match i32::from_be_bytes(count) {
            ..-1 => return Err(self.damaged("an ACL list of negative length")),
            entries => {
                for _ in 0..entries.max(0) {
                    bytes.put_raw(&self.array::<4>()?);
                    for _ in 0..2 {
                        let len: [u8; 4] = self.array()?;
                        bytes.put_raw(&len);
                        match i32::from_be_bytes(len) {
                            -1 => {}
                            len => self.append(len, &mut bytes)?,
                        }
                    }
                }
            }
        }
        let list = bytes.clone();
        self.scratch = bytes;
        Ok(list)
    }

    /// Checks a seal: the checksum of everything before it.
    fn seal(&mut self) -> Result<(), SnapshotError> {
        let want = i64::from(self.adler.finish());
        let found = i64::from_be_bytes(self.array()?);
        if found != want {
            return Err(self.damaged("the checksum is wrong"));
        }
        if self.array::<5>()? != END_PATH {
            return Err(self.damaged("a checksum without its end mark"));
        }
        Ok(())
    }
}

/// A file from start to end.
struct FileReader<'a> {
    file: Box<dyn ReadFile + 'a>,
    at: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(self.at, into)?;
        self.at += got as u64;
        Ok(got)
    }
}

/// Undoes snappy-java's framing: a stream header, then blocks behind their length.
struct XerialReader<R> {
    from: R,
    packed: Vec<u8>,
    plain: Vec<u8>,
    taken: usize,
    decoder: snap::raw::Decoder,
}

impl<R: BufRead> XerialReader<R> {
    /// More than any writer puts into a block; what a block claims to hold is not believed above.
    const PLAIN_BLOCK_BYTES_MAX: usize = 64 << 20;

    fn new(mut from: R) -> io::Result<Self> {
        let mut header = [0; XERIAL_HEADER.len()];
        from.read_exact(&mut header)?;
        if header[..8] != XERIAL_HEADER[..8] {
            return Err(invalid("no snappy stream header"));
        }
        let decoder = snap::raw::Decoder::new();
        Ok(Self { from, packed: Vec::new(), plain: Vec::new(), taken: 0, decoder })
    }

    /// Unpacks the next block; false at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut len = [0; 4];
        self.from.read_exact(&mut len)?;
        if len == XERIAL_HEADER[..4] {
            // Another stream follows the first: its header's other twelve bytes.
            self.from.read_exact(&mut [0; XERIAL_HEADER.len() - 4])?;
            return Ok(true);
        }
        let len = u64::from(u32::from_be_bytes(len));
        self.packed.clear();
        let got = self.from.by_ref().take(len).read_to_end(&mut self.packed)?;
        if got as u64 != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let plain_len = snap::raw::decompress_len(&self.packed).map_err(invalid)?;
        if plain_len > Self::PLAIN_BLOCK_BYTES_MAX {
            return Err(invalid("a snappy block claims an absurd length"));
        }
        self.plain.resize(plain_len, 0);
        self.taken = 0;
        self.decoder.decompress(&self.packed, &mut self.plain).map_err(invalid)?;
        Ok(true)
    }
}

fn invalid(err: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}

impl<R: BufRead> Read for XerialReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let len = have.len().min(into.len());
        into[..len].copy_from_slice(&have[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl<R: BufRead> BufRead for XerialReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken == self.plain.len() && self.next_block()? {}
        Ok(&self.plain[self.taken..])
    }

    fn consume(&mut self, len: usize) {
        self.taken += len;
    }
}
