//! Reads: served by a shard from the tree as of its visible zxid, without a lock or an allocation.
//!
//! The order of checks is client-protocol.md 6.3. A read that leaves a watch is one step with it.

use crate::auth::{self, Auth, Schemes};
use crate::limits;
use crate::prep::{begin_frame, finish_frame, is_multi};
use crate::tree::acl::permits;
use crate::tree::{NodeRef, Pin};
use crate::types::Zxid;
use crate::watch::{CatchUp, ConnKey, MissedList, Modes, WatchTable, catch_up};
use crate::wire::client::{
    Field, MultiHeader, PathKind, PathOnly, PathWatch, RequestHeader, WatcherEvent, decode,
};
use crate::wire::codes::{AddWatchMode, ErrorCode, EventType, OpCode, WatcherType, perms, xids};
use crate::wire::jute::{DecodeError, Reader, Write as _};

/// One read in its surroundings.
#[derive(Debug)]
pub(super) struct Reads<'a> {
    pub(super) pin: &'a Pin<'a>,
    pub(super) watches: &'a mut WatchTable,
    pub(super) visible: Zxid,
    pub(super) skip_acl: bool,
    pub(super) auth: &'a Auth,
    pub(super) schemes: &'a Schemes,
    pub(super) key: ConnKey,
}

impl Reads<'_> {
    /// Appends the whole reply frame, behind the events that must precede it. Returns what it was.
    pub(super) fn serve(&mut self, frame: &[u8], out: &mut Vec<u8>) -> (OpCode, i32) {
        let mut reader = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut reader) else {
            unreachable!("the shard read the header before");
        };
        let kind = OpCode::from_wire(header.kind).unwrap_or(OpCode::Error);
        if matches!(kind, OpCode::SetWatches | OpCode::SetWatches2) {
            let outcome = self.set_watches(kind, reader.rest(), out);
            let err = outcome.err().map_or(0, ErrorCode::to_wire);
            let start = begin_frame(out, header.xid, self.visible.to_wire(), err);
            finish_frame(out, start);
            return (kind, header.xid);
        }
        let xid = if kind == OpCode::Ping { xids::PING } else { header.xid };
        let start = begin_frame(out, xid, self.visible.to_wire(), 0);
        let body = out.len();
        if let Err(code) = self.dispatch(kind, reader.rest(), out) {
            if kind != OpCode::MultiRead {
                out.truncate(body);
            }
            out[body - 4..body].copy_from_slice(&code.to_wire().to_be_bytes());
        }
        finish_frame(out, start);
        (kind, xid)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the shard sends only reads here")]
    fn dispatch(&mut self, kind: OpCode, body: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        match kind {
            OpCode::Ping => Ok(()),
            OpCode::GetData => {
                let request: PathWatch<'_> = parse(body)?;
                let path = self.get_data(request.path, out)?;
                if request.watch {
                    self.watches.set(path, self.key, Modes::DATA);
                }
                Ok(())
            }
            OpCode::Exists => self.exists(&parse(body)?, out),
            OpCode::GetChildren | OpCode::GetChildren2 => {
                let request: PathWatch<'_> = parse(body)?;
                let path = self.get_children(request.path, kind == OpCode::GetChildren2, out)?;
                if request.watch {
                    self.watches.set(path, self.key, Modes::CHILD);
                }
                Ok(())
            }
            OpCode::GetAcl => self.get_acl(&parse(body)?, out),
            OpCode::Sync => {
                // COMPAT: echoed unchanged, null included; the path means nothing.
                let request: PathOnly<'_> = parse(body)?;
                request.encode(out);
                Ok(())
            }
            OpCode::GetAllChildrenNumber => {
                let request: PathOnly<'_> = parse(body)?;
                let path = request.path.ok_or(ErrorCode::MarshallingError)?;
                self.readable(path)?;
                let count = self.pin.all_children_number(path, self.visible);
                out.put_int(count.ok_or(ErrorCode::NoNode)?);
                Ok(())
            }
            OpCode::WhoAmI => {
                let at = out.len();
                out.put_int(0);
                let mut count = 0_i32;
                for (scheme, user) in self.auth.users(self.schemes) {
                    out.put_some(scheme.as_bytes());
                    out.put_some(user.as_bytes());
                    count += 1;
                }
                out[at..at + 4].copy_from_slice(&count.to_be_bytes());
                Ok(())
            }
            OpCode::AddWatch => {
                let request: PathKind<'_> = parse(body)?;
                let mode =
                    AddWatchMode::from_wire(request.kind).ok_or(ErrorCode::MarshallingError)?;
                // Java accepts a null path here; nothing could ever fire it.
                let path = request.path.ok_or(ErrorCode::MarshallingError)?;
                self.watches.add_watch(path, self.key, mode);
                out.put_int(0);
                Ok(())
            }
            OpCode::CheckWatches | OpCode::RemoveWatches => {
                let request: PathKind<'_> = parse(body)?;
                let wanted =
                    WatcherType::from_wire(request.kind).ok_or(ErrorCode::MarshallingError)?;
                let path = request.path.unwrap_or_default();
                let found = if kind == OpCode::CheckWatches {
                    self.watches.check(path, self.key, wanted)
                } else {
                    self.watches.remove(path, self.key, wanted)
                };
                if found { Ok(()) } else { Err(ErrorCode::NoWatcher) }
            }
            OpCode::MultiRead => self.multi_read(body, out),
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    fn permitted(&self, node: &NodeRef<'_>, wanted: i32) -> Result<(), ErrorCode> {
        if self.skip_acl || permits(self.pin.acl(node.acl()), wanted, self.auth.ids()) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    fn readable(&self, path: &[u8]) -> Result<NodeRef<'_>, ErrorCode> {
        let node = self.pin.get(path, self.visible).ok_or(ErrorCode::NoNode)?;
        self.permitted(&node, perms::READ)?;
        Ok(node)
    }

    fn get_data<'p>(
        &self,
        path: Option<&'p [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<&'p [u8], ErrorCode> {
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        let node = self.readable(path)?;
        out.put_buffer(node.data());
        node.stat().encode(out);
        Ok(path)
    }

    fn get_children<'p>(
        &self,
        path: Option<&'p [u8]>,
        with_stat: bool,
        out: &mut Vec<u8>,
    ) -> Result<&'p [u8], ErrorCode> {
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        let node = self.readable(path)?;
        let at = out.len();
        out.put_int(0);
        let mut count = 0_i32;
        for name in node.children() {
            out.put_some(name);
            count += 1;
        }
        out[at..at + 4].copy_from_slice(&count.to_be_bytes());
        if with_stat {
            node.stat().encode(out);
        }
        Ok(path)
    }

    fn exists(&mut self, request: &PathWatch<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let path = request.path.ok_or(ErrorCode::MarshallingError)?;
        if path.contains(&0) {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.pin.get(path, self.visible);
        if let Some(node) = &node {
            self.permitted(node, perms::READ)?;
        }
        if request.watch {
            self.watches.set(path, self.key, Modes::DATA);
        }
        node.ok_or(ErrorCode::NoNode)?.stat().encode(out);
        Ok(())
    }

    fn get_acl(&self, request: &PathOnly<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let path = request.path.ok_or(ErrorCode::MarshallingError)?;
        let node = self.pin.get(path, self.visible).ok_or(ErrorCode::NoNode)?;
        self.permitted(&node, perms::READ | perms::ADMIN)?;
        let list = self.pin.acl(node.acl());
        if self.permitted(&node, perms::ADMIN).is_ok() {
            list.encode(out);
        } else {
            auth::mask_digests(list, out);
        }
        node.stat().encode(out);
        Ok(())
    }

    /// COMPAT: what is no list of reads is refused whole. If it is a list of writes, or a row
    /// cannot be served at all, the refusal has a body all the same: the rows before that one.
    fn multi_read(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let rows = read_rows(body)?;
        let first = out.len();
        let outcome = rows.ok_or(ErrorCode::MarshallingError).and_then(|rows| {
            for (kind, path) in rows {
                let path = path.ok_or(ErrorCode::MarshallingError)?;
                let start = out.len();
                MultiHeader { kind: kind.to_wire(), done: false, err: 0 }.encode(out);
                let outcome = if kind == OpCode::GetData {
                    self.get_data(Some(path), out)
                } else {
                    self.get_children(Some(path), false, out)
                };
                if let Err(code) = outcome {
                    out.truncate(start);
                    MultiHeader { kind: -1, done: false, err: code.to_wire() }.encode(out);
                    out.put_int(code.to_wire());
                }
                if out.len() - first > limits::MULTI_READ_BYTES_MAX {
                    out.truncate(first);
                    return Err(ErrorCode::MarshallingError);
                }
            }
            Ok(())
        });
        MultiHeader { kind: -1, done: true, err: -1 }.encode(out);
        outcome
    }

    /// Catch-up events go before the reply, are not filtered by ACLs, and carry zxid -1.
    ///
    /// COMPAT: a null in place of a list or of a path ends the work with an error, and what came
    /// before it is done.
    fn set_watches(
        &mut self,
        kind: OpCode,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let mut reader = Reader::new(body);
        let relative = reader.long().map_err(marshalling)?;
        let mut lists: [PathList<'_>; 5] = Default::default();
        let given = if kind == OpCode::SetWatches2 { 5 } else { 3 };
        for list in &mut lists[..given] {
            *list = path_list(&mut reader).map_err(marshalling)?;
        }
        let [data, exist, child, persistent, recursive] = lists;
        let missed =
            [(MissedList::Data, data), (MissedList::Exist, exist), (MissedList::Child, child)];
        for (list, paths) in missed {
            for path in paths.ok_or(ErrorCode::MarshallingError)? {
                let path = path.ok_or(ErrorCode::MarshallingError)?;
                let node = self.pin.get(path, self.visible);
                let zxids = node.map(|node| (node.mzxid(), node.pzxid()));
                match catch_up(list, zxids, relative) {
                    CatchUp::Fire(event) => put_event(out, event, path),
                    CatchUp::Set(modes) => self.watches.set(path, self.key, modes),
                }
            }
        }
        if kind == OpCode::SetWatches {
            return Ok(());
        }
        for (mode, paths) in
            [(AddWatchMode::Persistent, persistent), (AddWatchMode::PersistentRecursive, recursive)]
        {
            // A watch on null could never fire.
            for path in paths.ok_or(ErrorCode::MarshallingError)?.into_iter().flatten() {
                self.watches.add_watch(path, self.key, mode);
            }
        }
        Ok(())
    }
}

/// Nulls are possible in both places.
type PathList<'a> = Option<Vec<Option<&'a [u8]>>>;

fn path_list<'a>(reader: &mut Reader<'a>) -> Result<PathList<'a>, DecodeError> {
    let Some(count) = reader.count(4)? else { return Ok(None) };
    (0..count).map(|_| reader.buffer()).collect::<Result<_, _>>().map(Some)
}

/// Rows of a multiRead: getData or getChildren, and a path, which may be null.
type ReadRows<'a> = Vec<(OpCode, Option<&'a [u8]>)>;

/// `None` is a list of writes.
fn read_rows(body: &[u8]) -> Result<Option<ReadRows<'_>>, ErrorCode> {
    let mut reader = Reader::new(body);
    let mut rows = ReadRows::new();
    loop {
        let header = MultiHeader::decode(&mut reader).map_err(marshalling)?;
        if header.done {
            return Ok(Some(rows));
        }
        let kind = match OpCode::from_wire(header.kind) {
            Some(kind @ (OpCode::GetData | OpCode::GetChildren)) => kind,
            _ if rows.is_empty() && is_multi(body) => return Ok(None),
            _ => return Err(ErrorCode::MarshallingError),
        };
        // The watch byte is there and means nothing.
        let request = PathWatch::decode(&mut reader).map_err(marshalling)?;
        rows.push((kind, request.path));
    }
}

fn put_event(out: &mut Vec<u8>, event: EventType, path: &[u8]) {
    let start = begin_frame(out, xids::NOTIFICATION, -1, 0);
    WatcherEvent { kind: event.to_wire(), state: 3, path }.encode(out);
    finish_frame(out, start);
}

fn parse<'a, T: Field<'a>>(body: &'a [u8]) -> Result<T, ErrorCode> {
    decode(body).map_err(marshalling)
}

fn marshalling(_: DecodeError) -> ErrorCode {
    ErrorCode::MarshallingError
}
