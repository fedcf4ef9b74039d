//! A shard's handle on the tree: everything as of one zxid, without a lock.

use super::acl::{AclId, AclLists};
use super::views::View;
use super::znode::NodeRef;
use crate::sys::readers;
use crate::types::Zxid;
use crate::wire::client::AclList;
use std::sync::Arc;

/// Reads without a lock, everything as of one zxid. `Send`, not `Sync`: one a shard.
#[derive(Debug)]
pub struct TreeReader {
    inner: readers::Reader,
    acls: Arc<AclLists>,
}

/// While it lives nothing that a reader can reach is freed. It lasts one turn at most and is
/// dropped before the thread parks. May be nested.
#[derive(Debug)]
pub struct Pin<'r> {
    inner: readers::Pin<'r>,
    acls: &'r AclLists,
}

impl TreeReader {
    pub(super) fn new(inner: readers::Reader, acls: &Arc<AclLists>) -> Self {
        Self { inner, acls: Arc::clone(acls) }
    }

    /// The zxid that readers may go up to (acquire).
    pub fn published(&self) -> Zxid {
        self.inner.published()
    }

    /// Holds reclamation for a turn.
    pub fn pin(&self) -> Pin<'_> {
        Pin { inner: self.inner.pin(), acls: &self.acls }
    }

    /// What this reader last said it looks at.
    pub fn visible(&self) -> Zxid {
        self.inner.visible()
    }

    /// Tells the writer that this reader looks at nothing below `visible` any more. It never goes
    /// back. A new reader starts at what was published.
    pub fn set_visible(&self, visible: Zxid) {
        self.inner.set_visible(visible);
    }

    /// Before its thread sleeps: nothing is kept for this reader until it resumes.
    pub fn park(&self) {
        self.inner.park();
    }

    /// After [`park`](Self::park), before anything is read: the reader may look at what is
    /// published from now on, and at nothing older.
    pub fn resume(&self) {
        self.inner.resume();
    }

    /// A view at this reader's visible zxid: for a list that goes out in slices over many turns.
    pub fn view(&self) -> View {
        View::new(self.inner.view(), &self.acls)
    }
}

impl<'r> Pin<'r> {
    /// The node at `visible`. Only zxids from the reader's own visible one on are kept.
    pub fn get(&self, path: &[u8], visible: Zxid) -> Option<NodeRef<'_>> {
        self.inner.get(super::path::canonical(path), visible).map(NodeRef)
    }

    /// The zxid that readers may go up to (acquire).
    pub fn published(&self) -> Zxid {
        self.inner.published()
    }

    /// Looks up a batch with its cache misses overlapped; `found` gets the place in `paths`.
    pub fn get_batch<'p>(
        &'p self,
        paths: &[&[u8]],
        visible: Zxid,
        mut found: impl FnMut(usize, Option<NodeRef<'p>>),
    ) {
        self.inner.get_batch(paths, visible, |n, node| {
            found(n, if paths[n] == b"/" { self.get(b"", visible) } else { node.map(NodeRef) });
        });
    }

    /// Starts the first cache miss of a `get` that follows soon.
    pub fn prefetch(&self, path: &[u8]) {
        self.inner.prefetch(super::path::canonical(path));
    }

    /// The list of an id.
    pub fn acl(&self, id: AclId) -> AclList<'r> {
        self.acls.get(id)
    }

    /// Count of descendants; `None` when there is no such node.
    pub fn all_children_number(&self, path: &[u8], visible: Zxid) -> Option<i32> {
        let below = self.get(path, visible)?.subtree().skip(1).count();
        Some(i32::try_from(below).unwrap_or(i32::MAX))
    }
}
