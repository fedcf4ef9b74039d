//! Handles of those who read: a reader pins for a turn, a view holds a zxid for as long as it
//! likes and pins for one step at a time.
//!
//! Threads: each handle is one thread's at a time (`Send`, not `Sync`).
//! Invariant: a znode that exists at a view's zxid keeps its place in its parent's list and its
//! memory until the view is dropped, so cursors stay valid between pins.
#![expect(unsafe_code, reason = "cursors into lists that the writer changes meanwhile")]

use super::atomic::{Ordering, fence};
use super::raw::{Chunk, RawZnode, prefetch};
use super::slots::Slot;
use super::versions::{Node, Shared};
use crate::types::Zxid;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

/// Slots of a list looked at for each node that a step may visit: bounds a step over a list of
/// holes.
const SLOTS_PER_NODE: usize = 16;
/// Paths of a batch whose cache misses overlap.
const BATCH: usize = 16;

/// One thread's handle.
pub struct Reader {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    pins: Cell<u32>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("visible", &self.visible()).finish_non_exhaustive()
    }
}

/// While it lives nothing that was reachable is freed.
#[derive(Debug)]
pub struct Pin<'r> {
    reader: &'r Reader,
}

impl Reader {
    pub(super) fn new(shared: &Arc<Shared>, visible: u64) -> Self {
        let slot = shared.slots.claim_reader(visible);
        Self { shared: Arc::clone(shared), slot, pins: Cell::new(0) }
    }

    /// What the writer published.
    pub fn published(&self) -> Zxid {
        Zxid(self.shared.published.load(Ordering::Acquire))
    }

    /// What it said it looks at.
    pub fn visible(&self) -> Zxid {
        Zxid(self.slot.zxid())
    }

    /// Looks at nothing below `visible` any more. Does not go back.
    pub fn set_visible(&self, visible: Zxid) {
        self.slot.advance(visible.0);
    }

    /// Before its thread sleeps: nothing is kept for this reader until it resumes.
    ///
    /// # Panics
    /// While pinned.
    pub fn park(&self) {
        assert_eq!(self.pins.get(), 0, "a pinned reader cannot park");
        self.slot.park();
    }

    /// After [`park`](Self::park), before anything is read: the reader may then look at what is
    /// published from now on, and at nothing older.
    pub fn resume(&self) {
        self.slot.resume();
    }

    /// Holds reclamation; nests.
    pub fn pin(&self) -> Pin<'_> {
        let pins = self.pins.get();
        if pins == 0 {
            self.slot.pin(&self.shared.epoch);
        }
        self.pins.set(pins + 1);
        Pin { reader: self }
    }

    /// A view at the reader's own visible zxid, which the writer keeps readable.
    pub fn view(&self) -> View {
        View::new(&self.shared, self.slot.zxid())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.slot.release();
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let pins = self.reader.pins.get() - 1;
        self.reader.pins.set(pins);
        if pins == 0 {
            self.reader.slot.unpin();
        }
    }
}

impl Pin<'_> {
    /// What the writer published.
    pub fn published(&self) -> Zxid {
        self.reader.published()
    }

    /// The node at `path` as of `visible`.
    pub fn get(&self, path: &[u8], visible: Zxid) -> Option<Node<'_>> {
        let raw = self.reader.shared.find(path)?;
        // SAFETY: found while pinned, and the result borrows the pin.
        unsafe { Node::new(raw, visible.0) }
    }

    /// Starts the first cache miss of a `get` that follows soon.
    pub fn prefetch(&self, path: &[u8]) {
        if !path.is_empty() {
            self.reader.shared.index.prefetch(self.reader.shared.hash(path));
        }
    }

    /// `get` for many, their cache misses overlapped. `found` hears the place in `paths`.
    pub fn get_batch<'p>(
        &'p self,
        paths: &[&[u8]],
        visible: Zxid,
        mut found: impl FnMut(usize, Option<Node<'p>>),
    ) {
        let shared = &self.reader.shared;
        for (batch, paths) in paths.chunks(BATCH).enumerate() {
            let mut hashes = [None; BATCH];
            for (hash, path) in hashes.iter_mut().zip(paths) {
                let new = shared.hash(path);
                shared.index.prefetch(new);
                *hash = Some(new);
            }
            let mut likely = [None; BATCH];
            for (znode, hash) in likely.iter_mut().zip(hashes.iter().flatten()) {
                *znode = shared.index.prefetch_znode(*hash);
            }
            for znode in likely.iter().flatten() {
                Node::prefetch_version(*znode);
            }
            for (n, (path, hash)) in paths.iter().zip(hashes.iter().flatten()).enumerate() {
                let raw = if path.is_empty() {
                    Some(shared.root)
                } else {
                    shared.index.find(path, *hash)
                };
                // SAFETY: as in `get`.
                let node = raw.and_then(|raw| unsafe { Node::new(raw, visible.0) });
                found(batch * BATCH + n, node);
            }
        }
    }
}

/// A place in a child list.
#[derive(Clone, Copy)]
struct Cursor {
    chunk: *const Chunk,
    slot: usize,
}

impl Cursor {
    /// # Safety
    /// The znode is linked; the caller is pinned or the writer.
    unsafe fn start(znode: NonNull<RawZnode>) -> Self {
        // SAFETY: by the caller's promise. Acquire: the chunk's slots are there.
        let chunk = unsafe { znode.as_ref() }.children.load(Ordering::Acquire);
        Self { chunk, slot: 0 }
    }

    /// The next taken or empty slot; `None` at the end.
    ///
    /// # Safety
    /// The list's znode has been alive since `start`, and the caller is pinned or the writer.
    #[expect(clippy::option_option, reason = "an end and an empty slot are different")]
    unsafe fn next(&mut self) -> Option<Option<NonNull<RawZnode>>> {
        // SAFETY: chunks live as long as their znode.
        let mut chunk = unsafe { self.chunk.as_ref() }?;
        if self.slot == chunk.slots().len() {
            *self = Self { chunk: chunk.next, slot: 0 };
            // SAFETY: as above.
            chunk = unsafe { self.chunk.as_ref() }?;
        }
        let slots = chunk.slots();
        let child = slots[self.slot].load(Ordering::Acquire);
        self.slot += 1;
        self.look_ahead(slots);
        Some(NonNull::new(child))
    }

    /// Two stages, so that neither znode nor version is waited for in a long list.
    fn look_ahead(&self, slots: &[super::atomic::AtomicPtr<RawZnode>]) {
        const ZNODES: usize = 12;
        const VERSIONS: usize = 6;
        if let Some(slot) = slots.get(self.slot + ZNODES) {
            prefetch(slot.load(Ordering::Relaxed));
        }
        let near = slots.get(self.slot + VERSIONS).map(|slot| slot.load(Ordering::Acquire));
        if let Some(znode) = near.and_then(NonNull::new) {
            Node::prefetch_version(znode);
        }
    }
}

/// Children of a node at one zxid, in no order.
pub struct Children<'t> {
    cursor: Cursor,
    at: u64,
    life: PhantomData<&'t ()>,
}

impl fmt::Debug for Children<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children").field("at", &Zxid(self.at)).finish_non_exhaustive()
    }
}

impl Children<'_> {
    /// # Safety
    /// `raw` is linked, and for `'t` the caller is pinned or borrows the writer.
    pub(super) unsafe fn new(raw: NonNull<RawZnode>, at: u64) -> Self {
        // SAFETY: by the caller's promise.
        Self { cursor: unsafe { Cursor::start(raw) }, at, life: PhantomData }
    }
}

impl<'t> Iterator for Children<'t> {
    type Item = Node<'t>;

    fn next(&mut self) -> Option<Node<'t>> {
        // SAFETY: for `'t` nothing is freed, by the promise given to `new`.
        unsafe {
            while let Some(slot) = self.cursor.next() {
                if let Some(node) = slot.and_then(|raw| Node::new(raw, self.at)) {
                    return Some(node);
                }
            }
        }
        None
    }
}

/// One zxid, readable until dropped.
pub struct View {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("zxid", &self.zxid()).finish_non_exhaustive()
    }
}

/// Pins a view's slot for a scope.
struct Step<'v>(&'v Slot);

impl<'v> Step<'v> {
    fn new(view: &'v View) -> Self {
        view.slot.pin(&view.shared.epoch);
        Self(&view.slot)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.unpin();
    }
}

impl View {
    pub(super) fn new(shared: &Arc<Shared>, zxid: u64) -> Self {
        let slot = shared.slots.claim_view(zxid);
        // The registration comes before all loads of the tree; pairs with the writer's fence.
        fence(Ordering::SeqCst);
        Self { shared: Arc::clone(shared), slot }
    }

    /// What it shows.
    pub fn zxid(&self) -> Zxid {
        Zxid(self.slot.zxid())
    }

    /// Calls `f` with the node at `path`. Exclusive, because a view has one pin.
    pub fn get<T>(&mut self, path: &[u8], f: impl FnOnce(Node<'_>) -> T) -> Option<T> {
        let _step = Step::new(self);
        let raw = self.shared.find(path)?;
        // SAFETY: pinned until `f` has returned.
        unsafe { Node::new(raw, self.zxid().0) }.map(f)
    }

    /// Goes over the whole tree.
    pub fn walk(self) -> Walk {
        Walk { view: self, stack: Vec::new(), started: false }
    }

    /// Goes over the children of `path`.
    pub fn listing(self, path: &[u8]) -> Option<Listing> {
        let cursor = {
            let _step = Step::new(&self);
            let raw = self.shared.find(path)?;
            // SAFETY: pinned; the znode exists at the view's zxid, so it stays.
            unsafe {
                Node::new(raw, self.zxid().0)?;
                Cursor::start(raw)
            }
        };
        Some(Listing { view: self, cursor })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.slot.release();
        // Release: who counts this one does not find its slot any more.
        self.shared.views_released.fetch_add(1, Ordering::Release);
    }
}

/// Depth first, parents before children, in steps.
pub struct Walk {
    view: View,
    stack: Vec<Cursor>,
    started: bool,
}

// SAFETY: the cursors point into lists that the view keeps; it is one thread's at a time.
unsafe impl Send for Walk {}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("view", &self.view)
            .field("depth", &self.stack.len())
            .finish_non_exhaustive()
    }
}

impl Walk {
    /// What it walks over.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Visits up to `nodes_max` further nodes; false when there are no more. `visit` returns false
    /// to end the step behind the node it saw.
    pub fn step(&mut self, nodes_max: usize, mut visit: impl FnMut(Node<'_>) -> bool) -> bool {
        let Self { view, stack, started } = self;
        let _step = Step::new(view);
        let at = view.slot.zxid();
        let mut nodes_left = nodes_max;
        let mut slots_left = nodes_max.saturating_mul(SLOTS_PER_NODE);
        if !*started && nodes_left > 0 {
            *started = true;
            nodes_left -= 1;
            // SAFETY: pinned; the root is always there.
            unsafe {
                stack.push(Cursor::start(view.shared.root));
                if let Some(root) = Node::new(view.shared.root, at)
                    && !visit(root)
                {
                    return true;
                }
            }
        }
        while nodes_left > 0 && slots_left > 0 {
            let Some(top) = stack.last_mut() else { return false };
            slots_left -= 1;
            // SAFETY: pinned; every list on the stack belongs to a znode that exists at the
            // view's zxid, so it stays.
            let node = unsafe {
                let Some(slot) = top.next() else {
                    stack.pop();
                    continue;
                };
                slot.and_then(|raw| Node::new(raw, at))
            };
            if let Some(node) = node {
                nodes_left -= 1;
                // SAFETY: as above, now for this znode.
                stack.push(unsafe { Cursor::start(node.raw()) });
                if !visit(node) {
                    return true;
                }
            }
        }
        !(*started && stack.is_empty())
    }
}

/// One node's children, in steps.
pub struct Listing {
    view: View,
    cursor: Cursor,
}

// SAFETY: as `Walk`.
unsafe impl Send for Listing {}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").field("view", &self.view).finish_non_exhaustive()
    }
}

impl Listing {
    /// What it lists from.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Visits up to `nodes_max` further children, as [`Walk::step`].
    pub fn step(&mut self, nodes_max: usize, mut visit: impl FnMut(Node<'_>) -> bool) -> bool {
        let _step = Step::new(&self.view);
        let at = self.view.slot.zxid();
        let mut nodes_left = nodes_max;
        let mut slots_left = nodes_max.saturating_mul(SLOTS_PER_NODE);
        while nodes_left > 0 && slots_left > 0 {
            slots_left -= 1;
            // SAFETY: pinned; the parent exists at the view's zxid, so its list stays.
            let node = unsafe {
                let Some(slot) = self.cursor.next() else { return false };
                slot.and_then(|raw| Node::new(raw, at))
            };
            if let Some(node) = node {
                nodes_left -= 1;
                if !visit(node) {
                    return true;
                }
            }
        }
        true
    }
}
