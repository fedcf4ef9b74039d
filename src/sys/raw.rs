//! Layout and allocation of znodes, their versions, and their child lists.
//!
//! Each is one allocation: a header, then bytes. glibc rounds sizes to 16 with 8 of overhead, so a
//! new leaf with 100 bytes of data and a path of 24 takes 144 + 64.
//!
//! Nothing here decides when to free: `versions.rs` does.
#![expect(unsafe_code, reason = "headers followed by bytes of varying length in one allocation")]

use super::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::types::{Millis, Zxid};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ptr::{NonNull, null_mut};

/// The fields of a version that are not data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// zxid of the create.
    pub czxid: Zxid,
    /// zxid of the last set.
    pub mzxid: Zxid,
    /// zxid of the last change of the children.
    pub pzxid: Zxid,
    /// Time of the create.
    pub ctime: Millis,
    /// Time of the last set.
    pub mtime: Millis,
    /// Raw owner.
    pub owner: i64,
    /// Count of sets.
    pub version: i32,
    /// Children ever created.
    pub cversion: i32,
    /// Count of ACL sets.
    pub aversion: i32,
    /// Children now.
    pub children: i32,
    /// ACL id, 28 bits.
    pub acl: u32,
    /// Digest of the node, 0 when not counted.
    pub digest: u32,
}

/// The data of a version that is about to be made.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// These bytes; `None` is null.
    Set(Option<&'a [u8]>),
    /// The same as in the version below.
    Keep,
}

const FULL: u32 = 1 << 28;
const OWNED: u32 = 2 << 28;
const TOMBSTONE: u32 = 4 << 28;
const SHARED: u32 = 8 << 28;
const ACL_MASK: u32 = FULL - 1;
const NULL_LEN: u32 = u32::MAX;
/// Longer data lives in an allocation of its own, shared by the versions that only change a stat.
const INLINE_MAX: usize = 512;

/// One state of a znode. Three forms: a tombstone is the header; a leaf that was created and not
/// changed is header, owner if it has one, data; all else is header, [`Rest`], data.
#[repr(C)]
pub(super) struct Version {
    /// zxid of the txn that made it.
    pub(super) stamp: u64,
    /// The one before.
    pub(super) prev: AtomicPtr<Version>,
    ctime: i64,
    data_len: u32,
    digest: u32,
    kind_acl: u32,
    /// Children now, in the full form; else the first bytes of what follows. Changes only while
    /// a tree is loaded.
    children: AtomicU32,
}

/// Behind the header of the full form, unaligned.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Rest {
    version: i32,
    cversion: i32,
    aversion: i32,
    czxid: u64,
    mzxid: u64,
    pzxid: u64,
    mtime: i64,
    owner: i64,
}

/// Data of its own: bytes follow. `refs` is the writer's.
#[repr(C)]
struct Blob {
    refs: Cell<u32>,
    len: u32,
}

const COMPACT_LEN: usize = 36;
const FULL_LEN: usize = 40 + size_of::<Rest>();
const _: () = assert!(size_of::<Version>() == 40 && FULL_LEN == 92);

fn layout(len_bytes: usize) -> Layout {
    Layout::from_size_align(len_bytes, 16).expect("far below isize::MAX")
}

/// Allocates at least what `T` itself needs.
fn allocate<T>(len_bytes: usize) -> NonNull<T> {
    let layout = layout(len_bytes.max(size_of::<T>()));
    // SAFETY: the size is not zero, since no `T` here is empty.
    let memory = unsafe { alloc(layout) };
    NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
/// `pointer` came from [`allocate`] with the same type and length, and nobody uses it any more.
unsafe fn release<T>(pointer: NonNull<T>, len_bytes: usize) {
    // SAFETY: the same layout as in `allocate`, by the caller's promise.
    unsafe { dealloc(pointer.as_ptr().cast(), layout(len_bytes.max(size_of::<T>()))) }
}

impl Blob {
    /// # Safety
    /// As [`release`], but only when this was the last reference, which it counts.
    unsafe fn unref(blob: NonNull<Self>) {
        // SAFETY: alive, since this reference counts; the writer alone touches `refs`.
        let this = unsafe { blob.as_ref() };
        this.refs.set(this.refs.get() - 1);
        if this.refs.get() == 0 {
            // SAFETY: allocated with this length in `Version::build`.
            unsafe { release(blob, size_of::<Self>() + this.len as usize) }
        }
    }
}

/// Memory of freed versions, for those that come. The writer's alone, until the last owner goes.
///
/// Each create makes a version of its parent and frees the one before. malloc cuts such a piece up
/// for something shorter and is left with what fits nothing: 17 MB after a million creates. It
/// also has a short way for seven pieces of a size only, and a batch of writes frees hundreds.
#[derive(Default)]
pub(super) struct Spares {
    classes: RefCell<[Vec<NonNull<Version>>; Spares::CLASSES]>,
}

impl Spares {
    /// Pieces are 8 more than a multiple of 16 long, as malloc makes them anyway.
    const CLASSES: usize = 17;
    /// BOUND: of one length, so that a burst does not keep what it needed.
    const KEPT_BYTES: usize = 128 << 10;

    /// The class of a length, and what is allocated for it; longer ones are not kept.
    fn class(len_bytes: usize) -> Option<(usize, usize)> {
        let class = (len_bytes + 7) / 16;
        (class < Self::CLASSES).then_some((class, class * 16 + 8))
    }

    fn allocate(&self, len_bytes: usize) -> NonNull<Version> {
        let Some((class, len_bytes)) = Self::class(len_bytes) else {
            return allocate(len_bytes);
        };
        self.classes.borrow_mut()[class].pop().unwrap_or_else(|| allocate(len_bytes))
    }

    /// # Safety
    /// `version` came from `allocate` with the same length, and nobody uses it any more.
    unsafe fn release(&self, version: NonNull<Version>, len_bytes: usize) {
        let Some((class, len_bytes)) = Self::class(len_bytes) else {
            // SAFETY: by the caller's promise.
            return unsafe { release(version, len_bytes) };
        };
        let kept = &mut self.classes.borrow_mut()[class];
        if kept.len() * len_bytes < Self::KEPT_BYTES {
            kept.push(version);
        } else {
            // SAFETY: by the caller's promise; `allocate` rounded the length as here.
            unsafe { release(version, len_bytes) };
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        for (class, kept) in self.classes.get_mut().iter_mut().enumerate() {
            for version in kept.drain(..) {
                // SAFETY: it was given to `release`, with a length of this class.
                unsafe { release(version, class * 16 + 8) };
            }
        }
    }
}

impl Version {
    pub(super) fn is_tombstone(&self) -> bool {
        self.kind_acl & TOMBSTONE != 0
    }

    fn has(&self, kind: u32) -> bool {
        self.kind_acl & kind != 0
    }

    fn base(&self) -> *const u8 {
        // All references here are made from the allocation's own pointer, and a pointer made from
        // such a reference may reach the rest of the allocation (Tree Borrows).
        std::ptr::from_ref(self).cast()
    }

    fn tail_offset(&self) -> usize {
        if self.has(FULL) {
            FULL_LEN
        } else if self.has(OWNED) {
            COMPACT_LEN + 8
        } else {
            COMPACT_LEN
        }
    }

    fn rest(&self) -> Rest {
        debug_assert!(self.has(FULL));
        // SAFETY: the full form has a `Rest` at offset 40, written before the version was shared.
        unsafe { self.base().add(40).cast::<Rest>().read_unaligned() }
    }

    fn len_bytes(&self) -> usize {
        let tail = if self.has(SHARED) {
            size_of::<*const Blob>()
        } else if self.data_len == NULL_LEN {
            0
        } else {
            self.data_len as usize
        };
        self.tail_offset() + tail
    }

    fn blob(&self) -> NonNull<Blob> {
        debug_assert!(self.has(SHARED));
        // SAFETY: a shared form has the pointer there, written before the version was shared.
        unsafe { self.base().add(self.tail_offset()).cast::<NonNull<Blob>>().read_unaligned() }
    }

    /// The bytes of the data. They live as long as the version.
    pub(super) fn data<'t>(&self) -> Option<&'t [u8]> {
        if self.data_len == NULL_LEN {
            return None;
        }
        let len = self.data_len as usize;
        // SAFETY: `len` bytes follow the tail's offset, or the blob's header; they were written
        // before the version was shared and do not change. The caller's `'t` is a pin or a borrow
        // of the writer, for as long as which no version is freed.
        unsafe {
            let start = if self.has(SHARED) {
                self.blob().as_ptr().cast::<u8>().add(size_of::<Blob>())
            } else {
                self.base().add(self.tail_offset())
            };
            Some(std::slice::from_raw_parts(start, len))
        }
    }

    pub(super) fn data_len(&self) -> u32 {
        if self.data_len == NULL_LEN { 0 } else { self.data_len }
    }

    pub(super) fn acl(&self) -> u32 {
        self.kind_acl & ACL_MASK
    }

    pub(super) fn digest(&self) -> u32 {
        self.digest
    }

    fn owner(&self) -> i64 {
        if !self.has(OWNED) {
            return 0;
        }
        // SAFETY: the owned form has the owner behind the header.
        unsafe { self.base().add(COMPACT_LEN).cast::<i64>().read_unaligned() }
    }

    pub(super) fn fields(&self) -> Fields {
        let (acl, digest, ctime) = (self.acl(), self.digest, self.ctime);
        if !self.has(FULL) {
            let zxid = Zxid(self.stamp);
            let owner = self.owner();
            return Fields {
                czxid: zxid,
                mzxid: zxid,
                pzxid: zxid,
                ctime,
                mtime: ctime,
                owner,
                acl,
                digest,
                ..Fields::default()
            };
        }
        let rest = self.rest();
        Fields {
            czxid: Zxid(rest.czxid),
            mzxid: Zxid(rest.mzxid),
            pzxid: Zxid(rest.pzxid),
            ctime,
            mtime: rest.mtime,
            owner: rest.owner,
            version: rest.version,
            cversion: rest.cversion,
            aversion: rest.aversion,
            children: self.children.load(Ordering::Relaxed).cast_signed(),
            acl,
            digest,
        }
    }

    /// While loading: one child more, in place. False when the form has no room for the count.
    pub(super) fn count_child(&self) -> bool {
        if self.has(FULL) {
            self.children.fetch_add(1, Ordering::Relaxed);
        }
        self.has(FULL)
    }

    pub(super) fn tombstone(spares: &Spares, stamp: u64, prev: *mut Self) -> NonNull<Self> {
        let version = spares.allocate(size_of::<Self>());
        // SAFETY: freshly allocated, at least the size of the header.
        unsafe { version.write(Self::header(stamp, prev, 0, NULL_LEN, 0, TOMBSTONE)) };
        version
    }

    fn header(
        stamp: u64,
        prev: *mut Self,
        ctime: i64,
        data_len: u32,
        digest: u32,
        kind_acl: u32,
    ) -> Self {
        let prev = AtomicPtr::new(prev);
        Self { stamp, prev, ctime, data_len, digest, kind_acl, children: AtomicU32::new(0) }
    }

    /// A version with `fields`, not yet linked. `compact` permits the short forms.
    pub(super) fn build(
        spares: &Spares,
        stamp: u64,
        prev: *mut Self,
        fields: &Fields,
        content: Content<'_>,
        compact: bool,
    ) -> NonNull<Self> {
        let leaf = Fields {
            czxid: Zxid(stamp),
            mzxid: Zxid(stamp),
            pzxid: Zxid(stamp),
            ctime: fields.ctime,
            mtime: fields.ctime,
            owner: fields.owner,
            acl: fields.acl,
            digest: fields.digest,
            ..Fields::default()
        };
        let kind = match (compact && leaf == *fields, fields.owner) {
            (true, 0) => 0,
            (true, _) => OWNED,
            (false, _) => FULL,
        };
        // SAFETY: `prev` is null or a linked version, alive while the writer builds on it.
        let below = unsafe { prev.as_ref() };
        let (data, share) = match (content, below) {
            (Content::Set(data), _) => (data, None),
            (Content::Keep, Some(below)) => (below.data(), below.has(SHARED).then(|| below.blob())),
            (Content::Keep, None) => (None, None),
        };
        let data_len = data.map_or(NULL_LEN, |bytes| {
            u32::try_from(bytes.len()).ok().filter(|len| *len < NULL_LEN).expect("frames are short")
        });
        let bytes = data.unwrap_or_default();
        let shared = bytes.len() > INLINE_MAX;
        let kind = if shared { kind | SHARED } else { kind };
        let header =
            Self::header(stamp, prev, fields.ctime, data_len, fields.digest, kind | fields.acl);
        let version = spares.allocate(header.len_bytes().max(size_of::<Self>()));
        let tail_offset = header.tail_offset();
        let base = version.as_ptr().cast::<u8>();
        // SAFETY: the allocation has `len_bytes` of the header just built, which covers all that
        // is written: header, then owner or rest, then data or pointer. Writes go in that order
        // because the compact forms begin inside the header's last word.
        unsafe {
            version.write(header);
            if kind & FULL != 0 {
                (*version.as_ptr()).children = AtomicU32::new(fields.children.cast_unsigned());
                base.add(40).cast::<Rest>().write_unaligned(Rest {
                    version: fields.version,
                    cversion: fields.cversion,
                    aversion: fields.aversion,
                    czxid: fields.czxid.0,
                    mzxid: fields.mzxid.0,
                    pzxid: fields.pzxid.0,
                    mtime: fields.mtime,
                    owner: fields.owner,
                });
            } else if kind & OWNED != 0 {
                base.add(COMPACT_LEN).cast::<i64>().write_unaligned(fields.owner);
            }
            let tail = base.add(tail_offset);
            if shared {
                tail.cast::<NonNull<Blob>>().write_unaligned(share_or_copy(share, bytes));
            } else {
                tail.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
        }
        version
    }

    /// # Safety
    /// The version is unlinked and out of every reader's reach; nobody uses it any more.
    pub(super) unsafe fn free(version: NonNull<Self>, spares: &Spares) {
        // SAFETY: alive until the last line, by the caller's promise.
        unsafe {
            let this = version.as_ref();
            let len_bytes = this.len_bytes();
            if this.has(SHARED) {
                Blob::unref(this.blob());
            }
            spares.release(version, len_bytes.max(size_of::<Self>()));
        }
    }
}

/// One more reference to `share`, or a new blob of `bytes`.
fn share_or_copy(share: Option<NonNull<Blob>>, bytes: &[u8]) -> NonNull<Blob> {
    if let Some(blob) = share {
        // SAFETY: the version below holds a reference, so it is alive; `refs` is the writer's.
        let refs = unsafe { &blob.as_ref().refs };
        refs.set(refs.get() + 1);
        return blob;
    }
    let blob = allocate::<Blob>(size_of::<Blob>() + bytes.len());
    let len = u32::try_from(bytes.len()).expect("checked by the caller");
    // SAFETY: freshly allocated with room for the header and all bytes.
    unsafe {
        blob.write(Blob { refs: Cell::new(1), len });
        let start = blob.as_ptr().cast::<u8>().add(size_of::<Blob>());
        start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
    blob
}

/// A znode: its path never changes. The `Cell`s are the writer's alone.
#[repr(C)]
pub(super) struct RawZnode {
    /// Newest version, never null.
    pub(super) head: AtomicPtr<Version>,
    /// Newest chunk of the child list, null before the first child.
    pub(super) children: AtomicPtr<Chunk>,
    /// Where it stands in its parent's list; null for the root.
    pub(super) chunk: Cell<*mut Chunk>,
    /// 31 bits of its path's hash, and the flag [`RawZnode::HELD`].
    bits: Cell<u32>,
    path_len: u32,
}

impl RawZnode {
    /// It is in the list of znodes to look at again.
    const HELD: u32 = 1 << 31;

    pub(super) fn new(path: &[u8], hash: u32, head: NonNull<Version>) -> NonNull<Self> {
        let path_len = u32::try_from(path.len()).expect("a frame bounds paths");
        let znode = allocate::<Self>(size_of::<Self>() + path.len());
        // SAFETY: freshly allocated with room for the header and the path.
        unsafe {
            znode.write(Self {
                head: AtomicPtr::new(head.as_ptr()),
                children: AtomicPtr::new(null_mut()),
                chunk: Cell::new(null_mut()),
                bits: Cell::new(hash & !Self::HELD),
                path_len,
            });
            let start = znode.as_ptr().cast::<u8>().add(size_of::<Self>());
            start.copy_from_nonoverlapping(path.as_ptr(), path.len());
        }
        znode
    }

    /// It lives as long as the znode.
    pub(super) fn path<'t>(&self) -> &'t [u8] {
        // SAFETY: `path_len` bytes follow the header and never change. `'t` is a pin or a borrow
        // of the writer, as long as which no reachable znode is freed.
        unsafe {
            let start = std::ptr::from_ref(self).cast::<u8>().add(size_of::<Self>());
            std::slice::from_raw_parts(start, self.path_len as usize)
        }
    }

    pub(super) fn hash(&self) -> u32 {
        self.bits.get() & !Self::HELD
    }

    pub(super) fn is_held(&self) -> bool {
        self.bits.get() & Self::HELD != 0
    }

    pub(super) fn set_held(&self, held: bool) {
        self.bits.set(self.hash() | if held { Self::HELD } else { 0 });
    }

    /// Newest version not above `at`; `None` when the znode is not there at that zxid.
    pub(super) fn visible(&self, at: u64) -> Option<NonNull<Version>> {
        // Acquire pairs with the release that linked the version: its bytes are there.
        let mut version = NonNull::new(self.head.load(Ordering::Acquire));
        while let Some(candidate) = version {
            // SAFETY: linked when loaded, and the caller is pinned or the writer.
            let this = unsafe { candidate.as_ref() };
            if this.stamp <= at {
                return (!this.is_tombstone()).then_some(candidate);
            }
            version = NonNull::new(this.prev.load(Ordering::Acquire));
        }
        None
    }

    /// Adds `child` to the list, in O(1).
    pub(super) fn link(this: NonNull<Self>, child: NonNull<Self>) {
        // SAFETY: both are linked or about to be, the writer is the only one here.
        let (parent, raw) = unsafe { (this.as_ref(), child.as_ref()) };
        let newest = NonNull::new(parent.children.load(Ordering::Relaxed));
        let room = newest.and_then(|newest| {
            // SAFETY: a chunk lives as long as its znode.
            let chunk = unsafe { newest.as_ref() };
            if chunk.live.get() < u16::from(chunk.capacity) {
                Some(newest)
            } else {
                NonNull::new(chunk.holes.get())
            }
        });
        let chunk = room.unwrap_or_else(|| Chunk::push(this, newest));
        // SAFETY: as above; `head` is the newest chunk, whatever was done.
        let (place, head) = unsafe { (chunk.as_ref(), &*parent.children.load(Ordering::Relaxed)) };
        let slot = place.slots().iter().find(|slot| slot.load(Ordering::Relaxed).is_null());
        raw.chunk.set(chunk.as_ptr());
        place.live.set(place.live.get() + 1);
        head.total.set(head.total.get() + 1);
        if place.listed.get() && place.live.get() == u16::from(place.capacity) {
            place.listed.set(false);
            head.holes.set(place.holes.replace(null_mut()));
        }
        // Release: who sees the child sees its path and version.
        slot.expect("`live` counts the taken slots").store(child.as_ptr(), Ordering::Release);
    }

    /// Takes `child` out of the list, in O(1).
    pub(super) fn unlink(child: NonNull<Self>) {
        // SAFETY: the child is linked, so its chunk and its parent are alive.
        unsafe {
            let Some(chunk) = child.as_ref().chunk.get().as_ref() else { return };
            let parent = &*chunk.owner;
            let slot = chunk.slots().iter().find(|s| s.load(Ordering::Relaxed) == child.as_ptr());
            slot.expect("a child knows its chunk").store(null_mut(), Ordering::Release);
            chunk.live.set(chunk.live.get() - 1);
            let head = &*parent.children.load(Ordering::Relaxed);
            head.total.set(head.total.get() - 1);
            if !std::ptr::eq(head, chunk) && !chunk.listed.get() {
                chunk.listed.set(true);
                chunk.holes.set(head.holes.get());
                head.holes.set(child.as_ref().chunk.get());
            }
        }
    }

    /// The znode whose list it is in.
    pub(super) fn parent(&self) -> Option<NonNull<Self>> {
        // SAFETY: a linked child's chunk is alive; only the writer asks.
        unsafe { self.chunk.get().as_ref() }.and_then(|chunk| NonNull::new(chunk.owner))
    }

    /// Children in the list, tombstones and pending ones included. The writer's.
    pub(super) fn linked_children(&self) -> u32 {
        // SAFETY: a chunk lives as long as its znode.
        unsafe { self.children.load(Ordering::Relaxed).as_ref() }.map_or(0, |c| c.total.get())
    }

    /// Frees the znode and its chunks, not its versions.
    ///
    /// # Safety
    /// It is unlinked, has no children, and is out of every reader's reach.
    pub(super) unsafe fn free(znode: NonNull<Self>) {
        // SAFETY: by the caller's promise everything here is exclusively ours.
        unsafe {
            let this = znode.as_ref();
            let mut chunk = NonNull::new(this.children.load(Ordering::Relaxed));
            while let Some(old) = chunk {
                let (next, capacity) = (old.as_ref().next, old.as_ref().capacity);
                release(old, Chunk::len_bytes(capacity));
                chunk = NonNull::new(next);
            }
            release(znode, size_of::<Self>() + this.path_len as usize);
        }
    }
}

/// A piece of a child list: header, then `capacity` pointers. A taken slot stays where it is; an
/// empty one is taken again. Chunks grow with the list and live as long as its znode.
#[repr(C)]
pub(super) struct Chunk {
    /// The older ones.
    pub(super) next: *mut Chunk,
    owner: *mut RawZnode,
    /// In the newest chunk: the first of those that are listed; in a listed one: the next.
    holes: Cell<*mut Chunk>,
    capacity: u8,
    /// Not the newest, has room, and is in the newest one's list.
    listed: Cell<bool>,
    live: Cell<u16>,
    /// In the newest chunk: children in the whole list.
    total: Cell<u32>,
}

impl Chunk {
    /// With the header of 32 and malloc's 8, odd capacities fill multiples of 16.
    const CAPACITY_MAX: u8 = 63;

    fn len_bytes(capacity: u8) -> usize {
        size_of::<Self>() + usize::from(capacity) * size_of::<AtomicPtr<RawZnode>>()
    }

    pub(super) fn slots(&self) -> &[AtomicPtr<RawZnode>] {
        // SAFETY: `capacity` pointers follow the header, all written in `push` before the chunk
        // was linked.
        unsafe {
            let start = std::ptr::from_ref(self).cast::<u8>().add(size_of::<Self>());
            std::slice::from_raw_parts(start.cast(), usize::from(self.capacity))
        }
    }

    fn push(owner: NonNull<RawZnode>, newest: Option<NonNull<Self>>) -> NonNull<Self> {
        // SAFETY: chunks live as long as their znode.
        let old = newest.as_ref().map(|chunk| unsafe { chunk.as_ref() });
        let capacity = old.map_or(1, |old| (old.capacity * 2 + 1).min(Self::CAPACITY_MAX));
        let chunk = allocate::<Self>(Self::len_bytes(capacity));
        // SAFETY: freshly allocated with room for the header and `capacity` pointers.
        unsafe {
            chunk.write(Self {
                next: newest.map_or(null_mut(), NonNull::as_ptr),
                owner: owner.as_ptr(),
                holes: Cell::new(old.map_or(null_mut(), |old| old.holes.replace(null_mut()))),
                capacity,
                listed: Cell::new(false),
                live: Cell::new(0),
                total: Cell::new(old.map_or(0, |old| old.total.get())),
            });
            let start = chunk.as_ptr().cast::<u8>().add(size_of::<Self>());
            start.cast::<*mut RawZnode>().write_bytes(0, usize::from(capacity));
            // Release: who sees the chunk sees its empty slots.
            owner.as_ref().children.store(chunk.as_ptr(), Ordering::Release);
        }
        chunk
    }
}

/// Asks the cache for the line at `pointer`, which may be anything.
pub(super) fn prefetch<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches no memory that the program can observe, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}
