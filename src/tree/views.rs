//! Live views: the whole tree at one zxid, from any thread, for as long as it takes.
//!
//! A view makes the writer keep at most one more version per changed znode; it pins for one step
//! at a time, so that all other garbage is freed meanwhile. A long view should be dropped when it
//! costs too much memory: the caller has the clock and the budget.

use super::acl::{AclId, AclLists};
use super::znode::NodeRef;
use crate::sys::readers;
use crate::types::Zxid;
use crate::wire::client::AclList;
use std::sync::Arc;

/// Keeps one zxid readable until it is dropped. `Send`.
#[derive(Debug)]
pub struct View {
    inner: readers::View,
    acls: Acls,
}

/// The lists that can occur in a view.
#[derive(Clone, Debug)]
pub struct Acls {
    lists: Arc<AclLists>,
    count: u32,
}

/// A depth-first walk over a [`View`], parents before children, in bounded steps.
#[derive(Debug)]
pub struct Walk {
    inner: readers::Walk,
    acls: Acls,
}

/// The children of one node of a [`View`], in bounded steps.
#[derive(Debug)]
pub struct Listing {
    inner: readers::Listing,
}

impl Acls {
    /// The list of an id.
    pub fn get(&self, id: AclId) -> AclList<'_> {
        self.lists.get(id)
    }

    /// All lists but the open one, which snapshots need not hold.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (AclId, AclList<'_>)> {
        (1..self.count).map(|id| (AclId(id), self.lists.get(AclId(id))))
    }
}

impl View {
    pub(super) fn new(inner: readers::View, acls: &Arc<AclLists>) -> Self {
        Self { inner, acls: Acls { lists: Arc::clone(acls), count: acls.len() } }
    }

    /// What it shows.
    pub fn zxid(&self) -> Zxid {
        self.inner.zxid()
    }

    /// The lists that can occur in it.
    pub fn acls(&self) -> &Acls {
        &self.acls
    }

    /// Calls `f` with the node at `path`.
    pub fn get<T>(&mut self, path: &[u8], f: impl FnOnce(NodeRef<'_>) -> T) -> Option<T> {
        self.inner.get(super::path::canonical(path), |node| f(NodeRef(node)))
    }

    /// Starts a walk at the root.
    pub fn walk(self) -> Walk {
        Walk { inner: self.inner.walk(), acls: self.acls }
    }

    /// Starts to list the children of `path`; `None` when it is not there.
    pub fn listing(self, path: &[u8]) -> Option<Listing> {
        Some(Listing { inner: self.inner.listing(super::path::canonical(path))? })
    }
}

impl Walk {
    /// Of the view it walks over.
    pub fn zxid(&self) -> Zxid {
        self.inner.view().zxid()
    }

    /// The lists that can occur.
    pub fn acls(&self) -> &Acls {
        &self.acls
    }

    /// Visits up to `nodes_max` further nodes; false when there are no more. It may visit fewer,
    /// even none, and still return true. `visit` may say false to end the step early; the node it
    /// saw counts as visited.
    pub fn step(&mut self, nodes_max: usize, mut visit: impl FnMut(NodeRef<'_>) -> bool) -> bool {
        self.inner.step(nodes_max, |node| visit(NodeRef(node)))
    }
}

impl Listing {
    /// Of the view it lists from.
    pub fn zxid(&self) -> Zxid {
        self.inner.view().zxid()
    }

    /// Names up to `names_max` further children; else as [`Walk::step`].
    pub fn step(&mut self, names_max: usize, mut visit: impl FnMut(&[u8]) -> bool) -> bool {
        self.inner.step(names_max, |node| visit(super::path::name(node.path())))
    }
}
