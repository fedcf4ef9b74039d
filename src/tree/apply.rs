//! What each txn does to the tree (storage-format.md, sections 8 and 13).
//!
//! Live and in replay it is the same function. Replay may run over a snapshot that already has
//! effects of later txns, so each rule says what happens then: most errors are ignored.

use super::quota::{self, Track};
use super::znode::{CONTAINER_OWNER, NodeRef, Owner};
use super::{AclId, Applied, Change, DataTree, FIXED, changed_path, digest, len_of, moved, path};
use crate::sys::versions::{Content, Fields, Node, Znode};
use crate::types::{SessionId, Zxid};
use crate::wire::client::AclList;
use crate::wire::codes::{ErrorCode, EventType};
use crate::wire::txn::{SetAclTxn, SetDataTxn, Txn, TxnHeader};
use smallvec::SmallVec;

/// A create of any kind.
struct Create<'a> {
    path: &'a [u8],
    data: Option<&'a [u8]>,
    acl: AclList<'a>,
    owner: i64,
    parent_cversion: i32,
    /// ZooKeeper lets type 1 alone raise the parent's counter when the node is there already.
    raises: bool,
}

impl DataTree {
    /// Applies one txn. Total: there is no txn that it panics on. Each node event goes to
    /// `changes` in order, one result a txn, or a sub-txn of a multi, to `results`. A multi with
    /// an error among its sub-txns changes nothing.
    ///
    /// May be called several times at one zxid, for the parts of a multi. Zxids are above the
    /// published one: what is applied at or below it is visible at once and cannot be undone.
    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        changes: &mut Vec<Change>,
        results: &mut SmallVec<[Applied; 1]>,
    ) {
        self.store.set_stamp(header.zxid);
        if let Txn::Multi(txns) = txn {
            let failed = txns.iter().any(|txn| matches!(txn, Txn::Error(_)));
            for txn in txns {
                let undone = failed && !matches!(txn, Txn::Error(_));
                results.push(if undone {
                    Applied::Done
                } else {
                    self.apply_one(header, txn, changes)
                });
            }
        } else {
            results.push(self.apply_one(header, txn, changes));
        }
        self.last_zxid = self.last_zxid.max(header.zxid);
    }

    fn apply_one(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        changes: &mut Vec<Change>,
    ) -> Applied {
        let create = match txn {
            Txn::Create(txn) | Txn::Create2(txn) => Create {
                path: txn.path,
                data: txn.data,
                acl: txn.acl,
                owner: if txn.ephemeral { header.session.0 } else { 0 },
                parent_cversion: txn.parent_cversion,
                raises: false,
            },
            Txn::CreateContainer(txn) => Create {
                path: txn.path,
                data: txn.data,
                acl: txn.acl,
                owner: CONTAINER_OWNER,
                parent_cversion: txn.parent_cversion,
                raises: false,
            },
            Txn::CreateTtl(txn) => Create {
                path: txn.path,
                data: txn.data,
                acl: txn.acl,
                // Java logs such a txn and then dies of it, at each start again [J-1].
                owner: Owner::ttl_to_raw(txn.ttl_ms).unwrap_or(0),
                parent_cversion: txn.parent_cversion,
                raises: false,
            },
            Txn::Delete(path) | Txn::DeleteContainer(path) => {
                return self.delete(header.zxid, path, changes);
            }
            Txn::SetData(txn) | Txn::Reconfig(txn) => return self.set_data(header, txn, changes),
            Txn::SetAcl(txn) => return self.set_acl(txn),
            Txn::CloseSession(paths) => {
                let paths = paths.as_deref().unwrap_or_default();
                return self.close_session(header.zxid, header.session, paths, changes);
            }
            Txn::Check(_) | Txn::CreateSession(_) => return Applied::Done,
            // A multi in a multi does not decode.
            Txn::Multi(_) => return Applied::Error(ErrorCode::Unimplemented),
            Txn::Error(code) => {
                let code = ErrorCode::from_wire(*code);
                return Applied::Error(code.unwrap_or(ErrorCode::RuntimeInconsistency));
            }
        };
        self.create(header, Create { raises: matches!(txn, Txn::Create(_)), ..create }, changes)
    }

    /// Pushes a new state of a node, keeping the digest. Its stat is the result's.
    fn push<'s>(
        &'s self,
        znode: Znode<'s>,
        old: &Fields,
        new: Fields,
        content: Content<'_>,
    ) -> (Node<'s>, u64) {
        let mut fields = new;
        fields.digest = match content {
            Content::Set(data) => self.digest_of(znode.path(), data, &new),
            Content::Keep => {
                let data = znode.head().and_then(|head| head.data());
                self.digest_of(znode.path(), data, &new)
            }
        };
        let sum = digest::step(self.digest, old.digest, fields.digest);
        (znode.push(&fields, content), sum)
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        txn: Create<'_>,
        changes: &mut Vec<Change>,
    ) -> Applied {
        let path = path::canonical(txn.path);
        let acl = self.acls.intern(txn.acl);
        let Some(parent_path) = path::parent(path) else {
            let root = path.is_empty();
            return Applied::Error(if root {
                ErrorCode::NodeExists
            } else {
                ErrorCode::BadArguments
            });
        };
        let Some(parent) = self.store.find(parent_path) else {
            return Applied::Error(ErrorCode::NoNode);
        };
        let Some(parent_head) = parent.head() else {
            return Applied::Error(ErrorCode::NoNode);
        };
        let old_parent = parent_head.fields();
        let mut new_parent = old_parent;
        let raised = match txn.parent_cversion {
            -1 => old_parent.cversion.wrapping_add(1),
            cversion => cversion,
        };
        // Both stay when the counter is at its end, or when the snapshot was ahead.
        if raised > old_parent.cversion {
            new_parent.cversion = raised;
            new_parent.pzxid = header.zxid;
        }

        let old = self.store.find(path);
        if let Some(there) = old.and_then(|znode| znode.head()) {
            // Replay over a snapshot that was ahead: the ACL may since have been another.
            if let Some(znode) = old.filter(|_| there.acl() != acl.0) {
                znode.push(&Fields { acl: acl.0, ..there.fields() }, Content::Keep);
            }
            if txn.raises && new_parent != old_parent {
                self.digest = self.push(parent, &old_parent, new_parent, Content::Keep).1;
            }
            return Applied::Error(ErrorCode::NodeExists);
        }

        new_parent.children = new_parent.children.wrapping_add(1);
        let parent_acl = AclId(old_parent.acl);
        let (_, sum) = self.push(parent, &old_parent, new_parent, Content::Keep);
        let mut fields = Fields {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time_ms,
            mtime: header.time_ms,
            owner: txn.owner,
            acl: acl.0,
            ..Fields::default()
        };
        fields.digest = self.digest_of(path, txn.data, &fields);
        let node = self.store.create(parent, old, path, &fields, txn.data);
        let stat = NodeRef(node).stat();
        self.digest = digest::step(sum, 0, fields.digest);
        self.nodes += 1;
        self.bytes = moved(self.bytes, len_of(Some(path)) + len_of(txn.data));
        self.owned.add(path, txn.owner);
        self.quotas.add(path);
        changes.push(Change {
            zxid: header.zxid,
            kind: EventType::NodeCreated,
            path: changed_path(&node),
            acl,
            parent_acl,
        });
        if let Some(counted) = quota::counted_by(path) {
            let text = self.recount(counted);
            self.set_stats(path, &text);
        }
        self.account(path, 1, len_of(txn.data));
        Applied::Stat(stat)
    }

    fn delete(&mut self, zxid: Zxid, path: &[u8], changes: &mut Vec<Change>) -> Applied {
        let path = path::canonical(path);
        if FIXED.contains(&path) {
            return Applied::Error(ErrorCode::BadArguments);
        }
        let below = self.store.get(path).filter(|node| node.fields().children > 0);
        if let Some(node) = below {
            // Only in replay over a snapshot that was ahead: what is below was created later, and
            // will be again.
            let paths: Vec<Vec<u8>> =
                NodeRef(node).subtree().skip(1).map(|node| node.path().to_vec()).collect();
            for path in paths.iter().rev() {
                self.delete_leaf(zxid, path, changes);
            }
        }
        self.delete_leaf(zxid, path, changes)
    }

    fn delete_leaf(&mut self, zxid: Zxid, path: &[u8], changes: &mut Vec<Change>) -> Applied {
        let parent = path::parent(path).and_then(|parent| self.store.find(parent));
        let Some((parent, parent_head)) = parent.and_then(|p| Some((p, p.head()?))) else {
            return Applied::Error(ErrorCode::NoNode);
        };
        let old_parent = parent_head.fields();
        let mut new_parent = old_parent;
        new_parent.pzxid = old_parent.pzxid.max(zxid);
        let found = self.store.find(path).and_then(|znode| Some((znode, znode.head()?)));
        new_parent.children = new_parent.children.wrapping_sub(i32::from(found.is_some()));
        if new_parent != old_parent {
            self.digest = self.push(parent, &old_parent, new_parent, Content::Keep).1;
        }
        let Some((znode, node)) = found else {
            return Applied::Error(ErrorCode::NoNode);
        };
        let (fields, bytes) = (node.fields(), i64::from(node.data_len()));
        changes.push(Change {
            zxid,
            kind: EventType::NodeDeleted,
            path: changed_path(&node),
            acl: AclId(fields.acl),
            parent_acl: AclId(old_parent.acl),
        });
        znode.bury();
        self.digest = digest::step(self.digest, fields.digest, 0);
        self.nodes -= 1;
        self.bytes = moved(self.bytes, -len_of(Some(path)) - bytes);
        self.owned.remove(path, fields.owner);
        self.quotas.remove(path);
        self.account(path, -1, -bytes);
        Applied::Done
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        txn: &SetDataTxn<'_>,
        changes: &mut Vec<Change>,
    ) -> Applied {
        let path = path::canonical(txn.path);
        let found = self.store.find(path).and_then(|znode| Some((znode, znode.head()?)));
        let Some((znode, old)) = found else {
            return Applied::Error(ErrorCode::NoNode);
        };
        let old_fields = old.fields();
        let bytes = len_of(txn.data) - i64::from(old.data_len());
        let new = Fields {
            version: txn.version,
            mtime: header.time_ms,
            mzxid: header.zxid,
            ..old_fields
        };
        let (node, sum) = self.push(znode, &old_fields, new, Content::Set(txn.data));
        let stat = NodeRef(node).stat();
        changes.push(Change {
            zxid: header.zxid,
            kind: EventType::NodeDataChanged,
            path: changed_path(&node),
            acl: AclId(old_fields.acl),
            parent_acl: AclId::OPEN,
        });
        self.digest = sum;
        self.bytes = moved(self.bytes, bytes);
        self.account(path, 0, bytes);
        Applied::Stat(stat)
    }

    fn set_acl(&mut self, txn: &SetAclTxn<'_>) -> Applied {
        let acl = self.acls.intern(txn.acl);
        let found = self.store.find(path::canonical(txn.path));
        let Some((znode, old)) = found.and_then(|znode| Some((znode, znode.head()?))) else {
            return Applied::Error(ErrorCode::NoNode);
        };
        let old = old.fields();
        let new = Fields { aversion: txn.version, acl: acl.0, ..old };
        let (node, sum) = self.push(znode, &old, new, Content::Keep);
        let stat = NodeRef(node).stat();
        self.digest = sum;
        Applied::Stat(stat)
    }

    /// Deletes what the txn lists, then whatever else the session owns.
    fn close_session(
        &mut self,
        zxid: Zxid,
        session: SessionId,
        listed: &[&[u8]],
        changes: &mut Vec<Change>,
    ) -> Applied {
        for path in listed {
            self.delete(zxid, path, changes);
        }
        let rest: Vec<Vec<u8>> = self.owned.of_session(session).map(<[u8]>::to_vec).collect();
        for path in rest {
            self.delete(zxid, &path, changes);
        }
        Applied::Done
    }

    /// Moves the numbers of the quota that counts `path`. Its stats node changes in place: no
    /// stat, no event.
    fn account(&mut self, path: &[u8], count: i64, bytes: i64) {
        let Some(root) = self.quotas.root_of(path) else { return };
        if count == 0 && bytes == 0 {
            return;
        }
        let stats_path = quota::stats_path(root);
        let Some(stats) = self.store.get(&stats_path) else { return };
        let text = Track::parse(stats.data()).moved(count, bytes).format();
        self.set_stats(&stats_path, text.as_bytes());
    }

    fn set_stats(&mut self, stats_path: &[u8], text: &[u8]) {
        let Some(znode) = self.store.find(stats_path) else { return };
        let Some(old) = znode.head() else { return };
        let old_len = i64::from(old.data_len());
        // Below /zookeeper nothing is in the digest.
        znode.push(&old.fields(), Content::Set(Some(text)));
        self.bytes = moved(self.bytes, len_of(Some(text)) - old_len);
    }
}
