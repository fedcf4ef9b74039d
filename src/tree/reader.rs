//! A shard's handle on the tree.

use super::acl::AclId;
use super::views::View;
use super::znode::NodeRef;
use crate::types::Zxid;
use crate::wire::client::AclList;
use std::marker::PhantomData;

/// Reads without a lock, everything as of one zxid. `Send`, not `Sync`: one a shard.
#[derive(Debug)]
pub struct TreeReader {}

/// While it lives nothing that a reader can reach is freed. It lasts one turn at most and is
/// dropped before the thread parks. May be nested.
#[derive(Debug)]
pub struct Pin<'r> {
    _marker: PhantomData<&'r ()>,
}

impl TreeReader {
    /// The zxid that readers may go up to (acquire).
    pub fn published(&self) -> Zxid {
        unimplemented!()
    }
    /// Holds reclamation for a turn.
    pub fn pin(&self) -> Pin<'_> {
        unimplemented!()
    }
    /// Tells the writer that this reader looks at nothing below `visible` any more. It never goes
    /// back. A new reader starts at what was published.
    pub fn set_visible(&self, _visible: Zxid) {
        unimplemented!()
    }
    /// A view at this reader's visible zxid: for a list that goes out in slices over many turns.
    pub fn view(&self) -> View {
        unimplemented!()
    }
}

impl Pin<'_> {
    /// The node at `visible`.
    pub fn get(&self, _path: &[u8], _visible: Zxid) -> Option<NodeRef<'_>> {
        unimplemented!()
    }
    /// Looks up a batch with its cache misses overlapped; `found` gets the place in `paths`.
    pub fn get_batch<'p>(
        &'p self,
        _paths: &[&[u8]],
        _visible: Zxid,
        _found: impl FnMut(usize, Option<NodeRef<'p>>),
    ) {
        unimplemented!()
    }
    /// Starts the cache misses of a `get` that follows soon.
    pub fn prefetch(&self, _path: &[u8]) {
        unimplemented!()
    }
    /// The list of an id.
    pub fn acl(&self, _id: AclId) -> AclList<'_> {
        unimplemented!()
    }
    /// Count of descendants; `None` when there is no such node.
    pub fn all_children_number(&self, _path: &[u8], _visible: Zxid) -> Option<i32> {
        unimplemented!()
    }
}
