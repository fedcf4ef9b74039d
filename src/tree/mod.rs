//! The tree of znodes: `apply` of a txn is total and deterministic, and readers see any published
//! zxid while the writer is ahead of it.
//!
//! Thread: [`DataTree`] is the pipeline's, the single writer. Shards hold a [`TreeReader`] each,
//! snapshots a [`View`].
//! Invariants: the writer's view is the newest version of everything, txns not yet published
//! included; digest, owners and quota roots follow it, through rollbacks too. A reader sees a
//! multi whole or not at all.
//! Not here: what a request may do (`prep/`), sessions (`session/`), how versions live and die
//! (`sys/versions.rs`).

pub mod acl;
mod apply;
mod digest;
mod ephemerals;
pub mod path;
pub mod quota;
pub mod reader;
pub mod views;
pub mod znode;

use crate::sys::versions::{Content, Fields, Node, Store};
use crate::types::{Map, Millis, SessionId, Zxid};
use crate::wire::client::{AclList, Stat};
use crate::wire::codes::{ErrorCode, EventType};
use ephemerals::Owned;
use quota::{Quotas, Track};
use smallvec::SmallVec;

pub use acl::{AclId, AclTable};
pub use quota::QuotaExceeded;
pub use reader::{Pin, TreeReader};
pub use views::{Acls, Listing, View, Walk};
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
pub struct Savepoint {
    mark: u64,
    last_zxid: Zxid,
    digest: u64,
    nodes: usize,
    bytes: u64,
}

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

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoParent(path) => {
                write!(f, "node {} stands before its parent", path.escape_ascii())
            }
            Self::UnknownAcl(path, id) => {
                write!(f, "node {} has ACL id {id}, which is not defined", path.escape_ascii())
            }
            Self::BadPath(path) => write!(f, "{} is not a path", path.escape_ascii()),
        }
    }
}

impl std::error::Error for LoadError {}

/// The node that holds the ensemble's configuration.
pub const CONFIG_PATH: &[u8] = b"/zookeeper/config";

/// Nodes that come with the tree and cannot be deleted.
const FIXED: [&[u8]; 4] = [b"", b"/zookeeper", b"/zookeeper/quota", CONFIG_PATH];

/// The tree as its one writer has it.
#[derive(Debug)]
pub struct DataTree {
    options: TreeOptions,
    store: Store,
    acls: AclTable,
    last_zxid: Zxid,
    digest: u64,
    owned: Owned,
    quotas: Quotas,
    /// Nodes there are.
    nodes: usize,
    /// Bytes of their paths and data.
    bytes: u64,
    /// Ids of the snapshot that is being loaded.
    load_acls: Map<i64, AclId>,
}

impl DataTree {
    /// The four fixed nodes at zxid 0.
    pub fn new(options: TreeOptions) -> Self {
        let mut tree = Self {
            options,
            store: Store::new(&Fields::default(), Some(b"")),
            acls: AclTable::default(),
            last_zxid: Zxid::ZERO,
            digest: 0,
            owned: Owned::default(),
            quotas: Quotas::default(),
            nodes: 1,
            bytes: 0,
            load_acls: Map::default(),
        };
        tree.load_acls.insert(-1, AclId::OPEN);
        let config_acl = tree.acls.intern(AclList::READ_ONLY);
        tree.load_acls.insert(-2, config_acl);
        for path in FIXED {
            let config = path == CONFIG_PATH;
            let stat = DiskStat { aversion: if config { -1 } else { 0 }, ..DiskStat::default() };
            tree.load_node(path, Some(b""), if config { -2 } else { -1 }, stat)
                .expect("parents come first");
        }
        tree.load_acls.remove(&-2);
        tree
    }

    /// What it was told.
    pub fn options(&self) -> TreeOptions {
        self.options
    }

    /// A handle for one more reading thread.
    pub fn reader(&self) -> TreeReader {
        TreeReader::new(self.store.reader(), self.acls.lists())
    }

    /// The writer's view, pending txns included.
    pub fn get(&self, path: &[u8]) -> Option<NodeRef<'_>> {
        self.store.get(path::canonical(path)).map(NodeRef)
    }

    /// Says that a txn on `path` comes some txns later, so that its cache misses begin now.
    /// `new` for a node that is not there.
    pub fn prefetch(&mut self, path: &[u8], new: bool) {
        self.store.prefetch(path::canonical(path), new);
    }

    /// Of the newest applied txn.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Digest after the newest applied txn; 0 when none is kept.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Marks a place to go back to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            mark: self.store.mark(),
            last_zxid: self.last_zxid,
            digest: self.digest,
            nodes: self.nodes,
            bytes: self.bytes,
        }
    }

    /// Undoes everything applied since `to`, in O(changes). The caller drops the changes it got.
    ///
    /// # Panics
    /// When something of it is published.
    pub fn rollback(&mut self, to: Savepoint) {
        let Self { store, owned, quotas, .. } = self;
        store.undo(to.mark, |undone| match (undone.was, undone.is) {
            (Some(was), None) => {
                owned.remove(undone.path, was.fields().owner);
                quotas.remove(undone.path);
            }
            (None, Some(is)) => {
                owned.add(undone.path, is.fields().owner);
                quotas.add(undone.path);
            }
            (Some(_), Some(_)) | (None, None) => {}
        });
        self.last_zxid = to.last_zxid;
        self.digest = to.digest;
        self.nodes = to.nodes;
        self.bytes = to.bytes;
    }

    /// Shows readers everything up to `zxid`, with one release store.
    pub fn publish(&mut self, zxid: Zxid) {
        self.store.publish(zxid);
    }

    /// What readers may see.
    pub fn published(&self) -> Zxid {
        self.store.published()
    }

    /// The smallest visible zxid of any reader; the published one without readers.
    pub fn min_visible(&self) -> Zxid {
        self.store.min_visible()
    }

    /// Frees what no reader or view can need, about `budget` pieces at most. Called once a turn
    /// with at least as much as the turn wrote, it frees as much as is written.
    pub fn collect(&mut self, min_visible: Zxid, budget: usize) {
        self.store.collect(min_visible, budget);
    }

    /// Unlinked pieces not freed yet, and versions that wait for readers or views: for metrics.
    pub fn backlog(&self) -> (usize, usize) {
        self.store.backlog()
    }

    /// A view at the published zxid.
    pub fn view(&self) -> View {
        View::new(self.store.view(), self.acls.lists())
    }

    /// Paths of a session's ephemerals, sorted; the writer's view.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &[u8]> {
        self.owned.of_session(session)
    }

    /// Sessions that own nodes; the writer's view.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = SessionId> {
        self.owned.sessions()
    }

    /// Containers and TTL nodes that are due for deleteContainer (semantics.md, section 6).
    pub fn expired_containers(
        &self,
        now_wall_ms: Millis,
        max_never_used_ms: Millis,
    ) -> impl Iterator<Item = &[u8]> {
        self.owned.expiring().filter(move |path| {
            let Some(fields) = self.store.get(path).map(|node| node.fields()) else { return false };
            let age_ms = now_wall_ms.saturating_sub(fields.mtime);
            fields.children == 0
                && match Owner::from_raw(fields.owner) {
                    Owner::Container if fields.cversion > 0 => true,
                    Owner::Container => max_never_used_ms != 0 && age_ms > max_never_used_ms,
                    Owner::Ttl(ttl_ms) => age_ms > ttl_ms,
                    Owner::None | Owner::Session(_) => false,
                }
        })
    }

    /// The interned lists.
    pub fn acls(&self) -> &AclTable {
        &self.acls
    }

    /// The id of a list.
    pub fn intern_acl(&mut self, list: AclList<'_>) -> AclId {
        self.acls.intern(list)
    }

    /// As Java counts: the root twice, so 5 at birth.
    pub fn node_count(&self) -> usize {
        self.nodes + 1
    }

    /// Nodes owned by sessions.
    pub fn ephemerals_count(&self) -> usize {
        self.owned.ephemerals()
    }

    /// Bytes of paths and data, as Java sums them: 44 at birth, since it has the root under `/`
    /// too.
    pub fn approximate_data_size(&self) -> u64 {
        self.bytes + 1
    }

    /// The limit that `count_delta` nodes and `bytes_delta` bytes more at `path` would exceed, a
    /// hard one before a soft one, judged by usage and limits before the txn `before`. The caller
    /// knows whether limits are enforced.
    pub fn quota_exceeded(
        &self,
        path: &[u8],
        count_delta: i64,
        bytes_delta: i64,
        before: Zxid,
    ) -> Option<QuotaExceeded> {
        let root = self.quotas.root_of(path)?;
        let track = |path: Vec<u8>| {
            self.store.get_before(&path, before).map(|node| Track::parse(node.data()))
        };
        // COMPAT: without either node there is no limit (ZooKeeper: `ZooKeeperServer.checkQuota`).
        let limits = track(quota::limits_path(root))?;
        let stats = track(quota::stats_path(root))?;
        quota::exceeded(root, &limits, &stats, count_delta, bytes_delta)
    }

    /// Writes the configuration node outside of any txn, as each server does at its start. Visible
    /// at once; not to be called while txns are unpublished.
    pub fn set_config(&mut self, text: &[u8], version: Zxid, now_wall_ms: Millis) {
        let Some(znode) = self.store.find(CONFIG_PATH) else { return };
        let Some(old) = znode.head() else { return };
        let mut fields = old.fields();
        fields.version = -1;
        fields.mzxid = version;
        fields.mtime = now_wall_ms;
        self.bytes = moved(self.bytes, len_of(Some(text)) - i64::from(old.data_len()));
        znode.push(&fields, Content::Set(Some(text)));
    }

    /// Loading: an entry of the snapshot's ACL table.
    pub fn load_acl(&mut self, id: i64, list: AclList<'_>) {
        let ours = self.acls.intern(list);
        self.load_acls.insert(id, ours);
    }

    /// Loading: a node, parents first. The fixed nodes are replaced. Only on a new tree.
    pub fn load_node(
        &mut self,
        path: &[u8],
        data: Option<&[u8]>,
        acl_id: i64,
        stat: DiskStat,
    ) -> Result<(), LoadError> {
        let acl = *self
            .load_acls
            .get(&acl_id)
            .ok_or_else(|| LoadError::UnknownAcl(path.to_vec(), acl_id))?;
        let mut fields = Fields {
            czxid: Zxid::from_wire(stat.czxid),
            mzxid: Zxid::from_wire(stat.mzxid),
            pzxid: Zxid::from_wire(stat.pzxid),
            ctime: stat.ctime,
            mtime: stat.mtime,
            owner: stat.owner,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            children: 0,
            acl: acl.0,
            digest: 0,
        };
        fields.digest = self.digest_of(path, data, &fields);
        // Every reader may see it; a node that was only created can say so with its own zxid,
        // which saves memory.
        let created_only = stat.mzxid == stat.czxid && stat.pzxid == stat.czxid;
        let stamp = if created_only { fields.czxid.0 } else { 0 };
        if let Some(znode) = self.store.find(path) {
            let mut old_digest = 0;
            if let Some(old) = znode.head() {
                let old_fields = old.fields();
                fields.children = old_fields.children;
                old_digest = old_fields.digest;
                self.owned.remove(path, old_fields.owner);
                self.bytes = moved(self.bytes, -i64::from(old.data_len()));
            }
            znode.replace(stamp, &fields, Content::Set(data));
            self.digest = digest::step(self.digest, old_digest, fields.digest);
            self.bytes = moved(self.bytes, len_of(data));
        } else {
            let parent = path::parent(path).ok_or_else(|| LoadError::BadPath(path.to_vec()))?;
            let parent =
                self.store.find(parent).ok_or_else(|| LoadError::NoParent(path.to_vec()))?;
            self.store.load(parent, path, stamp, &fields, data);
            self.digest = digest::step(self.digest, 0, fields.digest);
            self.nodes += 1;
            self.bytes = moved(self.bytes, len_of(Some(path)) + len_of(data));
        }
        self.owned.add(path, fields.owner);
        self.quotas.add(path);
        Ok(())
    }

    /// Loading ends: `zxid` is applied and published; quotas are recounted.
    pub fn finish_load(&mut self, zxid: Zxid) {
        self.load_acls = Map::default();
        self.last_zxid = zxid;
        self.store.set_stamp(zxid);
        self.store.publish(zxid);
        let roots: Vec<Vec<u8>> = self.quotas.roots().map(<[u8]>::to_vec).collect();
        for root in roots {
            let text = self.recount(&root);
            let Some(znode) = self.store.find(&quota::stats_path(&root)) else { continue };
            let Some(old) = znode.head() else { continue };
            self.bytes = moved(self.bytes, len_of(Some(&text)) - i64::from(old.data_len()));
            znode.replace(0, &old.fields(), Content::Set(Some(&text)));
        }
    }

    /// The text of a fresh stats node for `root`.
    fn recount(&self, root: &[u8]) -> Vec<u8> {
        let (mut count, mut bytes) = (0, 0);
        for node in self.get(root).iter().flat_map(NodeRef::subtree) {
            count += 1;
            bytes += len_of(node.data());
        }
        let mut track = Track::default();
        track.set("count", count);
        track.set("bytes", bytes);
        track.format().into_bytes()
    }

    fn digest_of(&self, path: &[u8], data: Option<&[u8]>, fields: &Fields) -> u32 {
        if self.options.digest_enabled { digest::of_node(path, data, fields) } else { 0 }
    }
}

/// Null has no length.
fn len_of(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(0, |bytes| i64::try_from(bytes.len()).expect("slices are below isize::MAX"))
}

/// A byte count that goes up and down, never below zero in sum.
fn moved(sum: u64, by: i64) -> u64 {
    sum.wrapping_add_signed(by)
}

/// As a change has it.
fn changed_path(node: &Node<'_>) -> PathBuf {
    // Clients know the root as a slash.
    let path = node.path();
    PathBuf::from_slice(if path.is_empty() { b"/" } else { path })
}

#[cfg(test)]
mod tests;
