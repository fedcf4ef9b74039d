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
                let count = count.ok_or(ErrorCode::NoNode)?;
                // COMPAT: below the empty path ZooKeeper counts `/` too (`getAllChildrenNumber`).
                out.put_int(count + i32::from(path.is_empty()));
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::tree::{DataTree, TreeOptions};
    use crate::wire::client::{AclList, ReplyHeader};
    use crate::wire::txn::{CreateTxn, Txn, TxnHeader};

    const KEY: ConnKey = ConnKey(0);

    /// A tree with `/a` and `/a/b`, read as of zxid 2; each request's reply and events.
    fn check(requests: &[(OpCode, Vec<u8>)], expected: Expect) {
        let mut tree = DataTree::new(TreeOptions::default());
        for (n, path) in [&b"/a"[..], b"/a/b"].into_iter().enumerate() {
            let zxid = Zxid(n as u64 + 1);
            let header =
                TxnHeader { session: crate::types::SessionId(7), cxid: 0, zxid, time_ms: 1 };
            let acl = AclList::OPEN;
            let txn = CreateTxn { path, data: None, acl, ephemeral: false, parent_cversion: 1 };
            tree.apply(&header, &Txn::Create(txn), &mut Vec::new(), &mut Default::default());
        }
        tree.publish(Zxid(2));
        let reader = tree.reader();
        let pin = reader.pin();
        let mut watches = WatchTable::default();
        let auth = Auth::new([127, 0, 0, 1].into());
        let mut text = String::new();
        for (n, (kind, body)) in requests.iter().enumerate() {
            let mut frame = Vec::new();
            RequestHeader { xid: 40 + i32::try_from(n).expect("a few"), kind: kind.to_wire() }
                .encode(&mut frame);
            frame.extend_from_slice(body);
            let mut out = Vec::new();
            let mut reads = Reads {
                pin: &pin,
                watches: &mut watches,
                visible: Zxid(2),
                skip_acl: false,
                auth: &auth,
                schemes: &Schemes::default(),
                key: KEY,
            };
            reads.serve(&frame, &mut out);
            writeln!(text, "{kind:?}: {}", show(&out)).unwrap();
        }
        expected.assert_eq(&text);
    }

    fn show(out: &[u8]) -> String {
        let mut reader = Reader::new(out);
        let mut text = Vec::new();
        while let Ok(len) = reader.int() {
            let frame = reader.take(usize::try_from(len).unwrap()).unwrap();
            let mut reader = Reader::new(frame);
            let header = ReplyHeader::decode(&mut reader).unwrap();
            text.push(if header.xid == xids::NOTIFICATION {
                let event = WatcherEvent::decode(&mut reader).unwrap();
                let kind = EventType::from_wire(event.kind).unwrap();
                format!("{kind:?} {}", event.path.escape_ascii())
            } else {
                let err = ErrorCode::from_wire(header.err);
                let err = err.map_or("ok".into(), |code| format!("{code:?}"));
                format!("xid {} zxid {} {err} {:02x?}", header.xid, header.zxid, reader.rest())
            });
        }
        text.join(", ").replace("[]", "").trim_end().to_owned()
    }

    fn paths(lists: &[Option<&[Option<&str>]>]) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_long(0);
        for list in lists {
            let Some(list) = list else {
                body.put_int(-1);
                continue;
            };
            body.put_len(list.len());
            for path in *list {
                body.put_buffer(path.map(str::as_bytes));
            }
        }
        body
    }

    fn rows(rows: &[(OpCode, Option<&str>)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, path) in rows {
            MultiHeader { kind: kind.to_wire(), done: false, err: -1 }.encode(&mut body);
            PathWatch { path: path.map(str::as_bytes), watch: false }.encode(&mut body);
        }
        MultiHeader { kind: -1, done: true, err: -1 }.encode(&mut body);
        body
    }

    fn watches(path: &str, kind: WatcherType) -> (OpCode, Vec<u8>) {
        let mut body = Vec::new();
        PathKind { path: Some(path.as_bytes()), kind: kind.to_wire() }.encode(&mut body);
        (OpCode::CheckWatches, body)
    }

    #[test]
    fn a_null_ends_set_watches_behind_what_came_before() {
        let a: &[Option<&str>] = &[Some("/a")];
        let gone: &[Option<&str>] = &[Some("/gone")];
        let null: &[Option<&str>] = &[Some("/gone"), None, Some("/a")];
        check(
            &[
                (OpCode::SetWatches, paths(&[Some(a), None, Some(a)])),
                (OpCode::SetWatches, paths(&[Some(a), Some(null), Some(a)])),
                watches("/gone", WatcherType::Data),
                (OpCode::SetWatches2, paths(&[Some(a), Some(a), Some(a), Some(a), None])),
                watches("/a", WatcherType::Persistent),
                (
                    OpCode::SetWatches2,
                    paths(&[Some(gone), Some(&[]), Some(a), Some(null), Some(a)]),
                ),
                (OpCode::SetWatches2, paths(&[Some(a), Some(a), Some(a)])),
            ],
            expect![[r#"
                SetWatches: NodeDataChanged /a, xid 40 zxid 2 MarshallingError
                SetWatches: NodeDataChanged /a, xid 41 zxid 2 MarshallingError
                CheckWatches: xid 42 zxid 2 ok
                SetWatches2: NodeDataChanged /a, NodeCreated /a, NodeChildrenChanged /a, xid 43 zxid 2 MarshallingError
                CheckWatches: xid 44 zxid 2 ok
                SetWatches2: NodeDeleted /gone, NodeChildrenChanged /a, xid 45 zxid 2 ok
                SetWatches2: xid 46 zxid 2 MarshallingError
            "#]],
        );
    }

    #[test]
    fn what_no_row_of_a_multi_read_can_say_is_said_for_all() {
        let mut writes = Vec::new();
        MultiHeader { kind: OpCode::Delete.to_wire(), done: false, err: -1 }.encode(&mut writes);
        writes.extend_from_slice(b"\0\0\0\x02/a\0\0\0\0");
        writes.extend_from_slice(&rows(&[]));
        check(
            &[
                (OpCode::MultiRead, rows(&[])),
                (
                    OpCode::MultiRead,
                    rows(&[(OpCode::GetChildren, Some("/a")), (OpCode::GetData, Some("/zz"))]),
                ),
                (
                    OpCode::MultiRead,
                    rows(&[(OpCode::GetChildren, Some("/a")), (OpCode::GetData, None)]),
                ),
                (
                    OpCode::MultiRead,
                    rows(&[(OpCode::GetChildren, Some("/a")), (OpCode::Exists, None)]),
                ),
                (OpCode::MultiRead, writes),
                (OpCode::MultiRead, Vec::new()),
            ],
            expect![[r#"
                MultiRead: xid 40 zxid 2 ok [ff, ff, ff, ff, 01, ff, ff, ff, ff]
                MultiRead: xid 41 zxid 2 ok [00, 00, 00, 08, 00, 00, 00, 00, 00, 00, 00, 00, 01, 00, 00, 00, 01, 62, ff, ff, ff, ff, 00, ff, ff, ff, 9b, ff, ff, ff, 9b, ff, ff, ff, ff, 01, ff, ff, ff, ff]
                MultiRead: xid 42 zxid 2 MarshallingError [00, 00, 00, 08, 00, 00, 00, 00, 00, 00, 00, 00, 01, 00, 00, 00, 01, 62, ff, ff, ff, ff, 01, ff, ff, ff, ff]
                MultiRead: xid 43 zxid 2 MarshallingError
                MultiRead: xid 44 zxid 2 MarshallingError [ff, ff, ff, ff, 01, ff, ff, ff, ff]
                MultiRead: xid 45 zxid 2 MarshallingError
            "#]],
        );
    }

    #[test]
    fn the_empty_path_has_the_root_below_it() {
        let count = |path: &str| {
            let mut body = Vec::new();
            body.put_some(path.as_bytes());
            (OpCode::GetAllChildrenNumber, body)
        };
        check(
            &[count(""), count("/"), count("/a"), count("/zz")],
            expect![[r#"
            GetAllChildrenNumber: xid 40 zxid 2 ok [00, 00, 00, 06]
            GetAllChildrenNumber: xid 41 zxid 2 ok [00, 00, 00, 05]
            GetAllChildrenNumber: xid 42 zxid 2 ok [00, 00, 00, 01]
            GetAllChildrenNumber: xid 43 zxid 2 NoNode
        "#]],
        );
    }
}
