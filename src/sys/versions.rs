//! Versioned znodes: one writer pushes versions, readers see any zxid that is still needed.
//!
//! Threads: [`Store`] is the writer, `Send` but not `Sync`. Handles in `readers.rs` share
//! `Shared` with it. What the writer hands out borrows the store, and only methods that take
//! `&mut self` free or undo, so no handle outlives its znode.
//!
//! The queue is the heart: every version pushed gets one entry, in order of stamps. From the back
//! it is the undo log of what is not published. From the front it says what became garbage: when
//! every reader looks at or above an entry's stamp, the version below it goes, unless a view
//! stands between the two; a tombstone that is left alone takes its znode along. Both ends are
//! O(1) a version, and a steady stream of writes allocates nothing but versions.
//!
//! Unlinked is not freed: that takes an epoch that every pin has left.
//!
//! Orders: a version is linked by a release store of `head`, readers load it with acquire; so are
//! segments, slots, chunks, and `published`. Unlinking needs no order of its own: what a reader
//! may still hold stays allocated, and its own links stay intact.
#![expect(unsafe_code, reason = "raw znodes that lock-free readers hold while the writer goes on")]

use super::atomic::{AtomicU64, Ordering};
use super::index::{Directory, Hash, Index, Segment};
use super::raw::{RawZnode, Spares, Version, prefetch};
use super::readers::{Children, Reader, View};
use super::slots::Slots;
use crate::types::{Seeded, Zxid};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

pub use super::raw::{Content, Fields};

/// Something unlinked.
#[derive(Clone, Copy)]
pub(super) enum Garbage {
    Version(NonNull<Version>),
    /// With its chunks.
    Znode(NonNull<RawZnode>),
    Segment(NonNull<Segment>),
    Directory(NonNull<Directory>),
}

impl Garbage {
    /// # Safety
    /// Unlinked, and out of every reader's reach; the caller is the writer or the last owner.
    unsafe fn free(self, shared: &Shared) {
        // SAFETY: by the caller's promise.
        unsafe {
            match self {
                Self::Version(version) => Version::free(version, &shared.spares),
                Self::Znode(znode) => RawZnode::free(znode),
                Self::Segment(segment) => shared.index.give_back(segment),
                Self::Directory(directory) => Directory::free(directory),
            }
        }
    }
}

/// What writer and readers share. The last of them frees it.
pub(super) struct Shared {
    pub(super) published: AtomicU64,
    /// Grows with every collection; pins copy it.
    pub(super) epoch: AtomicU64,
    /// Views dropped so far.
    pub(super) views_released: AtomicU64,
    pub(super) slots: Slots,
    pub(super) index: Index,
    pub(super) root: NonNull<RawZnode>,
    hasher: Seeded,
    spares: Spares,
    /// Garbage of a writer that is gone. Written by `Store::drop` alone, read by `Shared::drop`.
    leftovers: UnsafeCell<Vec<Garbage>>,
}

// SAFETY: raw pointers lead to znodes and versions whose fields are atomics, immutable, or the
// writer's alone, as are `spares` and the index's pool; the writer is one `Store`, which is not
// `Sync`. `leftovers` is touched when the writer goes and when the last owner goes, which the
// `Arc`'s count orders.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn hash(&self, path: &[u8]) -> Hash {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(path);
        Hash::new(hasher.finish())
    }

    /// The caller is pinned or the writer.
    pub(super) fn find(&self, path: &[u8]) -> Option<NonNull<RawZnode>> {
        if path.is_empty() { Some(self.root) } else { self.index.find(path, self.hash(path)) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut znodes = vec![self.root];
        while let Some(znode) = znodes.pop() {
            // SAFETY: nobody else is left. Every linked znode is in exactly one child list, every
            // linked version in exactly one chain, and garbage is in neither.
            unsafe {
                let raw = znode.as_ref();
                let mut chunk = raw.children.load(Ordering::Relaxed).as_ref();
                while let Some(this) = chunk {
                    let slots = this.slots().iter();
                    znodes.extend(slots.filter_map(|s| NonNull::new(s.load(Ordering::Relaxed))));
                    chunk = this.next.as_ref();
                }
                let mut version = NonNull::new(raw.head.load(Ordering::Relaxed));
                while let Some(this) = version {
                    version = NonNull::new(this.as_ref().prev.load(Ordering::Relaxed));
                    Version::free(this, &self.spares);
                }
                RawZnode::free(znode);
            }
        }
        for garbage in std::mem::take(self.leftovers.get_mut()) {
            // SAFETY: unlinked, and no reader is left.
            unsafe { garbage.free(self) };
        }
        self.index.free();
    }
}

/// One version pushed.
#[derive(Clone, Copy)]
struct Entry {
    znode: NonNull<RawZnode>,
    version: NonNull<Version>,
}

/// The writer.
pub struct Store {
    shared: Arc<Shared>,
    queue: RefCell<VecDeque<Entry>>,
    /// Entries ever taken off the front: with the length, the number of the next one.
    taken: u64,
    stamp: Cell<u64>,
    garbage: RefCell<VecDeque<(u64, Garbage)>>,
    /// Znodes to look at again when a view is gone, each once, flagged as held.
    held: RefCell<Vec<NonNull<RawZnode>>>,
    /// Those being looked at now.
    recheck: Vec<NonNull<RawZnode>>,
    /// Look at `held` even if no view went.
    again: Cell<bool>,
    released_seen: u64,
    views: Vec<u64>,
    ahead: Ahead,
}

/// Paths that will be asked for soon, the newest last: each is taken a cache miss further when some
/// more have come.
#[derive(Default)]
struct Ahead {
    hashes: [Option<(Hash, bool)>; Ahead::LEN],
    next: usize,
}

impl Ahead {
    /// Paths between one cache miss and the next.
    const STEP: usize = 2;
    const LEN: usize = 8;
}

// SAFETY: as `Shared`; what only the writer touches moves with it.
unsafe impl Send for Store {}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("published", &self.published())
            .field("queue", &self.queue.borrow().len())
            .field("garbage", &self.garbage.borrow().len())
            .field("held", &self.held.borrow().len())
            .finish_non_exhaustive()
    }
}

/// A znode in the writer's hand, alive or a tombstone.
#[derive(Clone, Copy)]
pub struct Znode<'s> {
    raw: NonNull<RawZnode>,
    store: &'s Store,
}

impl fmt::Debug for Znode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Znode").field(&self.path().escape_ascii().to_string()).finish()
    }
}

/// One version of a znode, and what is below the znode at the same zxid.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    raw: NonNull<RawZnode>,
    version: NonNull<Version>,
    at: u64,
    life: PhantomData<&'t ()>,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("path", &self.path().escape_ascii().to_string())
            .field("fields", &self.fields())
            .finish()
    }
}

/// A push that was undone.
#[derive(Debug)]
pub struct Undone<'u> {
    /// Of the znode.
    pub path: &'u [u8],
    /// What it was; `None` for a deletion.
    pub was: Option<Node<'u>>,
    /// What it is again.
    pub is: Option<Node<'u>>,
}

impl<'t> Node<'t> {
    /// Sees `raw` as of `at`.
    ///
    /// # Safety
    /// `raw` is linked, and for `'t` the caller is pinned or borrows the writer.
    pub(super) unsafe fn new(raw: NonNull<RawZnode>, at: u64) -> Option<Self> {
        // SAFETY: by the caller's promise.
        let version = unsafe { raw.as_ref() }.visible(at)?;
        Some(Self { raw, version, at, life: PhantomData })
    }

    pub(super) fn raw(&self) -> NonNull<RawZnode> {
        self.raw
    }

    fn version(&self) -> &Version {
        // SAFETY: alive for `'t`, by the promise given to `new`.
        unsafe { self.version.as_ref() }
    }

    /// Of the znode; the root's is empty.
    pub fn path(&self) -> &'t [u8] {
        // SAFETY: alive for `'t`, by the promise given to `new`.
        unsafe { self.raw.as_ref() }.path()
    }

    /// All but data.
    pub fn fields(&self) -> Fields {
        self.version().fields()
    }

    /// Null and empty differ.
    pub fn data(&self) -> Option<&'t [u8]> {
        self.version().data()
    }

    /// 0 for null.
    pub fn data_len(&self) -> u32 {
        self.version().data_len()
    }

    /// ACL id.
    pub fn acl(&self) -> u32 {
        self.version().acl()
    }

    /// The node's own digest.
    pub fn digest(&self) -> u32 {
        self.version().digest()
    }

    /// zxid that made this version.
    pub fn stamp(&self) -> u64 {
        self.version().stamp
    }

    /// Children at the same zxid.
    pub fn children(&self) -> Children<'t> {
        // SAFETY: alive for `'t`, by the promise given to `new`, which covers the children too.
        unsafe { Children::new(self.raw, self.at) }
    }

    pub(super) fn prefetch_version(raw: NonNull<RawZnode>) {
        // SAFETY: callers are pinned or the writer.
        prefetch(unsafe { raw.as_ref() }.head.load(Ordering::Acquire));
    }
}

impl<'s> Znode<'s> {
    fn raw(&self) -> &RawZnode {
        // SAFETY: nothing is freed while the store is borrowed.
        unsafe { self.raw.as_ref() }
    }

    /// Of the znode; the root's is empty.
    pub fn path(&self) -> &'s [u8] {
        self.raw().path()
    }

    /// The newest version; `None` when that is a tombstone.
    pub fn head(&self) -> Option<Node<'s>> {
        // SAFETY: nothing is freed while the store is borrowed.
        unsafe { Node::new(self.raw, u64::MAX) }
    }

    /// The znode it is a child of; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.raw().parent().map(|raw| Self { raw, store: self.store })
    }

    fn link(&self, version: NonNull<Version>) {
        self.raw().head.store(version.as_ptr(), Ordering::Release);
        self.store.queue.borrow_mut().push_back(Entry { znode: self.raw, version });
    }

    /// Pushes a version under the store's current stamp.
    pub fn push(&self, fields: &Fields, content: Content<'_>) -> Node<'s> {
        let prev = self.raw().head.load(Ordering::Relaxed);
        let stamp = self.store.stamp.get();
        let spares = &self.store.shared.spares;
        let version = Version::build(spares, stamp, prev, fields, content, true);
        self.link(version);
        Node { raw: self.raw, version, at: u64::MAX, life: PhantomData }
    }

    /// Pushes a tombstone.
    pub fn bury(&self) {
        let prev = self.raw().head.load(Ordering::Relaxed);
        let spares = &self.store.shared.spares;
        self.link(Version::tombstone(spares, self.store.stamp.get(), prev));
    }

    /// While loading: replaces the newest version, which cannot be undone.
    pub fn replace(&self, stamp: u64, fields: &Fields, content: Content<'_>) -> Node<'s> {
        self.replace_as(stamp, fields, content, true)
    }

    fn replace_as(
        &self,
        stamp: u64,
        fields: &Fields,
        content: Content<'_>,
        compact: bool,
    ) -> Node<'s> {
        assert!(self.store.queue.borrow().is_empty(), "loading comes before all pushes");
        let old = NonNull::new(self.raw().head.load(Ordering::Relaxed)).expect("never null");
        let spares = &self.store.shared.spares;
        let version = Version::build(spares, stamp, old.as_ptr(), fields, content, compact);
        // SAFETY: both are alive; the new one is not shared yet.
        unsafe {
            let below = old.as_ref().prev.load(Ordering::Relaxed);
            version.as_ref().prev.store(below, Ordering::Relaxed);
        }
        self.raw().head.store(version.as_ptr(), Ordering::Release);
        self.store.retire(Garbage::Version(old));
        Node { raw: self.raw, version, at: u64::MAX, life: PhantomData }
    }

    /// While loading: counts one child more.
    fn count_child(&self) {
        let Some(head) = self.head() else { return };
        if !head.version().count_child() {
            let mut fields = head.fields();
            fields.children += 1;
            self.replace_as(head.stamp(), &fields, Content::Keep, false);
        }
    }
}

impl Store {
    /// A tree of the root alone, at zxid 0.
    pub fn new(root: &Fields, data: Option<&[u8]>) -> Self {
        let spares = Spares::default();
        let none = std::ptr::null_mut();
        let version = Version::build(&spares, 0, none, root, Content::Set(data), true);
        let shared = Shared {
            published: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            views_released: AtomicU64::new(0),
            slots: Slots::new(),
            index: Index::new(),
            root: RawZnode::new(b"", 0, version),
            hasher: Seeded::default(),
            spares,
            leftovers: UnsafeCell::default(),
        };
        Self {
            shared: Arc::new(shared),
            queue: RefCell::default(),
            taken: 0,
            stamp: Cell::new(0),
            garbage: RefCell::default(),
            held: RefCell::default(),
            recheck: Vec::new(),
            again: Cell::new(false),
            released_seen: 0,
            views: Vec::new(),
            ahead: Ahead::default(),
        }
    }

    /// Versions pushed from now on belong to `zxid`. Stamps never go back.
    pub fn set_stamp(&mut self, zxid: Zxid) {
        self.stamp.set(self.stamp.get().max(zxid.0));
    }

    /// The znode at `path`, tombstones included.
    pub fn find(&self, path: &[u8]) -> Option<Znode<'_>> {
        self.shared.find(path).map(|raw| Znode { raw, store: self })
    }

    /// Says that `path` will be looked for, or made if `new`, about eight calls of this later: its
    /// cache misses overlap with the work until then.
    pub fn prefetch(&mut self, path: &[u8], new: bool) {
        let Self { shared, ahead, .. } = self;
        let index = &shared.index;
        let newest = shared.hash(path);
        index.prefetch_place(newest);
        let before = |n| ahead.hashes[(ahead.next + Ahead::LEN - n) % Ahead::LEN];
        if let Some((hash, _)) = before(Ahead::STEP) {
            index.prefetch_insert(hash);
        }
        // A new one has no znode yet.
        let there = |n| before(n).filter(|(_, new)| !new);
        if let Some((hash, _)) = there(2 * Ahead::STEP) {
            index.prefetch_znode(hash);
        }
        if let Some(znode) = there(3 * Ahead::STEP).and_then(|(hash, _)| index.prefetch_znode(hash))
        {
            Node::prefetch_version(znode);
        }
        ahead.hashes[ahead.next] = Some((newest, new));
        ahead.next = (ahead.next + 1) % Ahead::LEN;
    }

    /// The root.
    pub fn root(&self) -> Znode<'_> {
        Znode { raw: self.shared.root, store: self }
    }

    /// The newest state of the node at `path`.
    pub fn get(&self, path: &[u8]) -> Option<Node<'_>> {
        self.find(path)?.head()
    }

    /// The state of the node at `path` before the txn `zxid`, which must not be published.
    pub fn get_before(&self, path: &[u8], zxid: Zxid) -> Option<Node<'_>> {
        debug_assert!(zxid > self.published(), "what a published txn replaced may be gone");
        let raw = self.shared.find(path)?;
        // SAFETY: the result borrows the writer, who alone frees.
        unsafe { Node::new(raw, zxid.0 - 1) }
    }

    fn insert(&self, parent: Znode<'_>, path: &[u8], version: NonNull<Version>) -> Znode<'_> {
        let hash = self.shared.hash(path);
        let raw = RawZnode::new(path, hash.bits, version);
        RawZnode::link(parent.raw, raw);
        self.shared.index.insert(raw, hash, &mut |garbage| self.retire(garbage));
        Znode { raw, store: self }
    }

    /// A node that is not there, below `parent`; `old` is its tombstone if `find` had one.
    pub fn create<'s>(
        &'s self,
        parent: Znode<'s>,
        old: Option<Znode<'s>>,
        path: &[u8],
        fields: &Fields,
        data: Option<&[u8]>,
    ) -> Node<'s> {
        assert!(std::ptr::eq(parent.store, self), "a parent of this store");
        if let Some(old) = old {
            return old.push(fields, Content::Set(data));
        }
        let stamp = self.stamp.get();
        let none = std::ptr::null_mut();
        let spares = &self.shared.spares;
        let version = Version::build(spares, stamp, none, fields, Content::Set(data), true);
        let znode = self.insert(parent, path, version);
        self.queue.borrow_mut().push_back(Entry { znode: znode.raw, version });
        Node { raw: znode.raw, version, at: u64::MAX, life: PhantomData }
    }

    /// While loading: a node that is not there; its parent counts it.
    pub fn load<'s>(
        &'s self,
        parent: Znode<'s>,
        path: &[u8],
        stamp: u64,
        fields: &Fields,
        data: Option<&[u8]>,
    ) -> Node<'s> {
        assert!(std::ptr::eq(parent.store, self), "a parent of this store");
        let none = std::ptr::null_mut();
        let spares = &self.shared.spares;
        let version = Version::build(spares, stamp, none, fields, Content::Set(data), true);
        let znode = self.insert(parent, path, version);
        parent.count_child();
        Node { raw: znode.raw, version, at: u64::MAX, life: PhantomData }
    }

    /// The number of pushes so far: a place to go back to.
    pub fn mark(&self) -> u64 {
        self.taken + self.queue.borrow().len() as u64
    }

    /// Undoes all pushes since `mark`, newest first, telling each.
    ///
    /// # Panics
    /// When one of them is published.
    pub fn undo(&mut self, mark: u64, mut tell: impl FnMut(Undone<'_>)) {
        assert!(mark >= self.taken, "what was collected was published");
        while self.mark() > mark {
            let entry = self.queue.get_mut().pop_back().expect("counted");
            // SAFETY: unpublished znodes and versions are linked until undone here; they go to
            // the garbage, so readers that came across them may finish.
            let (raw, version) = unsafe { (entry.znode.as_ref(), entry.version.as_ref()) };
            assert!(version.stamp > self.published().0, "published txns stay");
            let below = version.prev.load(Ordering::Relaxed);
            // SAFETY: as above, and `self` is borrowed for as long as `tell` runs.
            let was = unsafe { Node::new(entry.znode, u64::MAX) };
            if below.is_null() {
                tell(Undone { path: raw.path(), was, is: None });
                self.unlink(entry.znode);
                self.retire(Garbage::Znode(entry.znode));
            } else {
                raw.head.store(below, Ordering::Release);
                // SAFETY: as above.
                let is = unsafe { Node::new(entry.znode, u64::MAX) };
                if is.is_none() {
                    // Its own entry may have passed while this version stood above.
                    self.hold(entry.znode);
                    self.again.set(true);
                }
                tell(Undone { path: raw.path(), was, is });
            }
            self.retire(Garbage::Version(entry.version));
        }
        let last = self.queue.get_mut().back();
        // SAFETY: the queue's versions are linked.
        let last = last.map_or(0, |entry| unsafe { entry.version.as_ref() }.stamp);
        self.stamp.set(last.max(self.published().0));
    }

    /// Release: who sees the zxid sees everything up to it.
    pub fn publish(&self, zxid: Zxid) {
        if zxid > self.published() {
            self.shared.published.store(zxid.0, Ordering::Release);
        }
    }

    /// What readers may look at.
    pub fn published(&self) -> Zxid {
        Zxid(self.shared.published.load(Ordering::Relaxed))
    }

    /// The smallest zxid that a reader looks at.
    pub fn min_visible(&self) -> Zxid {
        self.shared.slots.min_reader().map_or(self.published(), Zxid)
    }

    /// A new reader, at what is published.
    pub fn reader(&self) -> Reader {
        Reader::new(&self.shared, self.published().0)
    }

    /// A new view of what is published.
    pub fn view(&self) -> View {
        View::new(&self.shared, self.published().0)
    }

    fn retire(&self, garbage: Garbage) {
        let epoch = self.shared.epoch.load(Ordering::Relaxed);
        self.garbage.borrow_mut().push_back((epoch, garbage));
    }

    /// Out of index and child list.
    fn unlink(&self, znode: NonNull<RawZnode>) {
        // SAFETY: linked, so alive.
        let path = unsafe { znode.as_ref() }.path();
        self.shared.index.remove(znode, self.shared.hash(path));
        RawZnode::unlink(znode);
    }

    /// Will be looked at again.
    fn hold(&self, znode: NonNull<RawZnode>) {
        // SAFETY: linked, so alive; a held znode is not removed.
        let raw = unsafe { znode.as_ref() };
        if !raw.is_held() {
            raw.set_held(true);
            self.held.borrow_mut().push(znode);
        }
    }

    /// Unlinks and frees what nobody can need when no reader looks below `min_visible`, at most
    /// about `budget` pieces.
    pub fn collect(&mut self, min_visible: Zxid, budget: usize) {
        // The order matters: readers first, then views (see `slots.rs`).
        let floor = min_visible.0.min(self.published().0);
        let floor = self.shared.slots.min_reader().map_or(floor, |zxid| zxid.min(floor));
        let released = self.shared.views_released.load(Ordering::Acquire);
        let mut views = std::mem::take(&mut self.views);
        self.shared.slots.views(&mut views);
        if (released != self.released_seen || self.again.get()) && self.recheck.is_empty() {
            self.released_seen = released;
            self.again.set(false);
            std::mem::swap(&mut self.recheck, self.held.get_mut());
        }
        let mut left = budget;
        while left > budget / 2
            && let Some(znode) = self.recheck.pop()
        {
            left -= 1;
            self.look_again(znode, &views);
        }
        while left > 0 && self.take_front(floor, &views) {
            left -= 1;
        }
        self.views = views;
        self.free_garbage(budget.saturating_mul(2).saturating_add(16));
    }

    /// Whether a view looks at a version with stamp `from` that `to` superseded.
    fn needed(views: &[u64], from: u64, to: u64) -> bool {
        views.iter().any(|view| (from..to).contains(view))
    }

    /// Handles the oldest entry of the queue, if it is not above `floor`.
    fn take_front(&mut self, floor: u64, views: &[u64]) -> bool {
        let Some(entry) = self.queue.get_mut().front().copied() else { return false };
        // SAFETY: a version is linked as long as its entry is in the queue, and so is its znode:
        // `look_again` and this drop only versions whose superseding one has left the queue.
        let (raw, version) = unsafe { (entry.znode.as_ref(), entry.version.as_ref()) };
        if version.stamp > floor {
            return false;
        }
        self.queue.get_mut().pop_front();
        self.taken += 1;
        if let Some(below) = NonNull::new(version.prev.load(Ordering::Relaxed)) {
            // SAFETY: linked below a linked version.
            let old = unsafe { below.as_ref() };
            if Self::needed(views, old.stamp, version.stamp) {
                self.hold(entry.znode);
            } else {
                version.prev.store(old.prev.load(Ordering::Relaxed), Ordering::Release);
                self.retire(Garbage::Version(below));
            }
        }
        if version.is_tombstone()
            && version.prev.load(Ordering::Relaxed).is_null()
            && raw.head.load(Ordering::Relaxed) == entry.version.as_ptr()
            && !raw.is_held()
        {
            self.remove(entry.znode);
        }
        true
    }

    /// Removes a znode that is nothing but a tombstone that everybody sees.
    fn remove(&self, znode: NonNull<RawZnode>) {
        // SAFETY: linked, so alive.
        let raw = unsafe { znode.as_ref() };
        if raw.linked_children() > 0 {
            // They are tombstones too, held longer. Their znodes name this one's list.
            self.hold(znode);
            self.again.set(true);
            return;
        }
        let tombstone = NonNull::new(raw.head.load(Ordering::Relaxed)).expect("never null");
        self.unlink(znode);
        self.retire(Garbage::Version(tombstone));
        self.retire(Garbage::Znode(znode));
    }

    /// Drops all that is not needed any more from the chain of a held znode, as far as the queue
    /// has passed it.
    fn look_again(&mut self, znode: NonNull<RawZnode>, views: &[u64]) {
        // SAFETY: a held znode is not removed; the queue's versions are linked.
        let (raw, limit) = unsafe {
            let front = self.queue.get_mut().front();
            (znode.as_ref(), front.map_or(u64::MAX, |entry| entry.version.as_ref().stamp))
        };
        raw.set_held(false);
        let mut keep = false;
        let head = NonNull::new(raw.head.load(Ordering::Relaxed)).expect("never null");
        // SAFETY: linked, so alive, until retired; garbage is freed later.
        let head = unsafe { head.as_ref() };
        let mut upper = head;
        while let Some(below) = NonNull::new(upper.prev.load(Ordering::Relaxed)) {
            // SAFETY: linked below a linked version.
            let old = unsafe { below.as_ref() };
            let passed = upper.stamp < limit;
            let needed = Self::needed(views, old.stamp, upper.stamp);
            keep |= passed && needed;
            if passed && !needed {
                upper.prev.store(old.prev.load(Ordering::Relaxed), Ordering::Release);
                self.retire(Garbage::Version(below));
            } else {
                upper = old;
            }
        }
        if keep {
            self.hold(znode);
        } else if head.is_tombstone() {
            if head.stamp >= limit {
                // Its entry may be behind others of the same stamp: once more.
                self.hold(znode);
                self.again.set(true);
            } else if head.prev.load(Ordering::Relaxed).is_null() {
                self.remove(znode);
            }
        }
    }

    fn free_garbage(&mut self, budget: usize) {
        let garbage = self.garbage.get_mut();
        if garbage.is_empty() {
            return;
        }
        // Release: a reader pinned at the new epoch sees all unlinking of the older ones.
        self.shared.epoch.fetch_add(1, Ordering::Release);
        let oldest = self.shared.slots.oldest_pin();
        for _ in 0..budget {
            let Some((epoch, first)) = garbage.front().copied() else { break };
            if epoch >= oldest {
                break;
            }
            garbage.pop_front();
            // SAFETY: unlinked in an epoch before every pin, so no reader can reach it; the
            // writer dropped it when it was retired.
            unsafe { first.free(&self.shared) };
        }
    }

    /// Znodes in the child lists, and the root.
    #[cfg(test)]
    pub(crate) fn linked(&self) -> usize {
        let mut stack = vec![self.shared.root];
        let mut count = 0;
        while let Some(znode) = stack.pop() {
            count += 1;
            // SAFETY: linked, so alive.
            let mut chunk = unsafe { znode.as_ref().children.load(Ordering::Relaxed).as_ref() };
            while let Some(this) = chunk {
                let slots = this.slots().iter();
                stack.extend(slots.filter_map(|s| NonNull::new(s.load(Ordering::Relaxed))));
                // SAFETY: chunks live as long as their znode.
                chunk = unsafe { this.next.as_ref() };
            }
        }
        count
    }

    /// Pieces unlinked but not freed yet, and versions waiting for readers or views.
    pub fn backlog(&self) -> (usize, usize) {
        (self.garbage.borrow().len(), self.queue.borrow().len() + self.held.borrow().len())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: this is the one writer, and `Shared::drop` comes after it.
        let leftovers = unsafe { &mut *self.shared.leftovers.get() };
        leftovers.extend(self.garbage.get_mut().drain(..).map(|(_, garbage)| garbage));
    }
}
