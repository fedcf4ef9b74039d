//! The epoch-versioned tree of znodes.

pub mod acl;
pub mod path;
pub mod quota;
pub mod reader;
pub mod views;
pub mod znode;

use crate::types::{Millis, SessionId, Zxid};
use crate::wire::client::{AclList, Stat};
use crate::wire::codes::{ErrorCode, EventType};
use crate::wire::txn::{Txn, TxnHeader};
use smallvec::SmallVec;

pub use acl::{AclId, AclTable};
pub use quota::QuotaExceeded;
pub use reader::{Pin, TreeReader};
pub use views::{Listing, View, Walk};
pub use znode::{DiskStat, NodeRef, Owner};

/// What the tree is told once.
#[derive(Clone, Copy, Debug)]
pub struct TreeOptions {
    /// Keep the digest (`digest.enabled`, default true).
    pub digest_enabled: bool,
    /// Carried for those who check permissions (`skipACL`, default false).
    pub skip_acl: bool,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { digest_enabled: true, skip_acl: false }
    }
}

/// A path in a change: short ones live inside.
pub type PathBuf = SmallVec<[u8; 48]>;

/// What happened to one node; watches are fired from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of the txn.
    pub zxid: Zxid,
    /// Created, deleted or data changed; the parent's children changed with the first two.
    pub kind: EventType,
    /// The node.
    pub path: PathBuf,
    /// The node's list (of a deleted node: its last).
    pub acl: AclId,
    /// The parent's list, for the parent's event; the open list for data changes.
    pub parent_acl: AclId,
}

/// What became of a txn, or of one txn of a multi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Create, setData, reconfig, setACL: the node right after.
    Stat(Stat),
    /// Done, and there is nothing to show: delete, check, sessions.
    Done,
    /// It changed nothing. Replay ignores that. For error txns: the code, where it is one of ours.
    Error(ErrorCode),
}

/// A place within the unpublished txns to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {}

/// Why a snapshot's node cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The node's parent has not been loaded.
    NoParent(Vec<u8>),
    /// The node names an ACL id that the snapshot's table lacks.
    UnknownAcl(Vec<u8>, i64),
    /// Not a path: it is not empty and does not start with a slash.
    BadPath(Vec<u8>),
}

/// The tree as its one writer has it.
#[derive(Debug)]
pub struct DataTree {}

impl DataTree {
    /// The four fixed nodes at zxid 0.
    pub fn new(_options: TreeOptions) -> Self {
        unimplemented!()
    }
    /// What it was told.
    pub fn options(&self) -> TreeOptions {
        unimplemented!()
    }
    /// A handle for one more reading thread.
    pub fn reader(&self) -> TreeReader {
        unimplemented!()
    }
    /// The writer's view, pending txns included.
    pub fn get(&self, _path: &[u8]) -> Option<NodeRef<'_>> {
        unimplemented!()
    }
    /// Applies one txn. Total: there is no txn that it panics on. Each node event goes to
    /// `changes` in order, one result a (sub-)txn to `results`.
    pub fn apply(
        &mut self,
        _header: &TxnHeader,
        _txn: &Txn<'_>,
        _changes: &mut Vec<Change>,
        _results: &mut SmallVec<[Applied; 1]>,
    ) {
        unimplemented!()
    }
    /// Of the newest applied txn.
    pub fn last_zxid(&self) -> Zxid {
        unimplemented!()
    }
    /// Digest after the newest applied txn.
    pub fn digest(&self) -> u64 {
        unimplemented!()
    }
    /// Marks a place to go back to.
    pub fn savepoint(&self) -> Savepoint {
        unimplemented!()
    }
    /// Undoes everything applied since `to`, none of which may be published.
    pub fn rollback(&mut self, _to: Savepoint) {
        unimplemented!()
    }
    /// Shows readers everything up to `zxid`.
    pub fn publish(&mut self, _zxid: Zxid) {
        unimplemented!()
    }
    /// What readers may see.
    pub fn published(&self) -> Zxid {
        unimplemented!()
    }
    /// The smallest visible zxid of any reader; the published one without readers.
    pub fn min_visible(&self) -> Zxid {
        unimplemented!()
    }
    /// Frees what no reader or view can need, at most `budget` pieces.
    pub fn collect(&mut self, _min_visible: Zxid, _budget: usize) {
        unimplemented!()
    }
    /// A view at the published zxid.
    pub fn view(&self) -> View {
        unimplemented!()
    }
    /// Paths of a session's ephemerals, sorted; the writer's view.
    pub fn ephemerals(&self, _session: SessionId) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
    /// Sessions that own nodes.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = SessionId> {
        std::iter::empty()
    }
    /// Containers and TTL nodes that are due for deleteContainer.
    pub fn expired_containers(
        &self,
        _now_wall_ms: Millis,
        _max_never_used_ms: Millis,
    ) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
    /// The interned lists.
    pub fn acls(&self) -> &AclTable {
        unimplemented!()
    }
    /// The id of a list.
    pub fn intern_acl(&mut self, _list: AclList<'_>) -> AclId {
        unimplemented!()
    }
    /// As Java counts: the root twice, so 5 at birth.
    pub fn node_count(&self) -> usize {
        unimplemented!()
    }
    /// Nodes owned by sessions.
    pub fn ephemerals_count(&self) -> usize {
        unimplemented!()
    }
    /// Bytes of paths and data, as Java sums them: 44 at birth.
    pub fn approximate_data_size(&self) -> u64 {
        unimplemented!()
    }
    /// The limit that `count_delta` nodes and `bytes_delta` bytes more at `path` would exceed, a
    /// hard one before a soft one.
    pub fn quota_exceeded(
        &self,
        _path: &[u8],
        _count_delta: i64,
        _bytes_delta: i64,
    ) -> Option<QuotaExceeded> {
        unimplemented!()
    }
    /// Loading: an entry of the snapshot's ACL table.
    pub fn load_acl(&mut self, _id: i64, _list: AclList<'_>) {
        unimplemented!()
    }
    /// Loading: a node, parents first. The fixed nodes are replaced.
    pub fn load_node(
        &mut self,
        _path: &[u8],
        _data: Option<&[u8]>,
        _acl_id: i64,
        _stat: DiskStat,
    ) -> Result<(), LoadError> {
        unimplemented!()
    }
    /// Loading ends: `zxid` is applied and published; quotas are recounted.
    pub fn finish_load(&mut self, _zxid: Zxid) {
        unimplemented!()
    }
}
