//! Live views: the whole tree at one zxid, from any thread, for as long as it takes.

use super::acl::AclId;
use super::znode::NodeRef;
use crate::types::Zxid;
use crate::wire::client::AclList;

/// Keeps one zxid readable until it is dropped. `Send`.
#[derive(Debug)]
pub struct View {}

/// A depth-first walk over a [`View`], parents before children, in bounded steps.
#[derive(Debug)]
pub struct Walk {}

/// The children of one node of a [`View`], in bounded steps.
#[derive(Debug)]
pub struct Listing {}

impl View {
    /// What it shows.
    pub fn zxid(&self) -> Zxid {
        unimplemented!()
    }
    /// How many ACL ids may occur in it: ids are below.
    pub fn acl_count(&self) -> u32 {
        unimplemented!()
    }
    /// The list of an id.
    pub fn acl(&self, _id: AclId) -> AclList<'_> {
        unimplemented!()
    }
    /// Calls `f` with the node at `path`.
    pub fn get<T>(&self, _path: &[u8], _f: impl FnOnce(NodeRef<'_>) -> T) -> Option<T> {
        unimplemented!()
    }
    /// Starts a walk at the root.
    pub fn walk(self) -> Walk {
        unimplemented!()
    }
    /// Starts to list the children of `path`; `None` when it is not there.
    pub fn listing(self, _path: &[u8]) -> Option<Listing> {
        unimplemented!()
    }
}

impl Walk {
    /// The view it walks over.
    pub fn view(&self) -> &View {
        unimplemented!()
    }
    /// Visits up to `nodes_max` further nodes; false when there are no more. `visit` may say false
    /// to end the step early; the node it saw counts as visited.
    pub fn step(&mut self, _nodes_max: usize, _visit: impl FnMut(NodeRef<'_>) -> bool) -> bool {
        unimplemented!()
    }
}

impl Listing {
    /// The view it lists from.
    pub fn view(&self) -> &View {
        unimplemented!()
    }
    /// Names up to `names_max` further children; false when there are no more. `visit` may say
    /// false to end the step early; the name it saw counts as visited.
    pub fn step(&mut self, _names_max: usize, _visit: impl FnMut(&[u8]) -> bool) -> bool {
        unimplemented!()
    }
}
