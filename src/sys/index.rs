//! Path to znode: extendible hashing, one writer, lock-free readers.
//!
//! A directory of segments of 63 slots; a split moves the entries of one segment and nothing else.
//! A slot is a pointer with 16 bits of hash above it, so that a lookup touches one cache line of
//! the segment and, but for one in thousands, no znode but the right one. A path's line is its
//! *home*; when a line has no empty slot the search goes on in the next.
//!
//! Segments come from blocks of their own: malloc needs a quarter more for one that is aligned,
//! and breaks up those that were freed.
//!
//! Readers never wait: a segment is copied, the copies are linked, the old one is freed when no
//! reader can hold it. What is inserted into a copy meanwhile has a stamp above what such a reader
//! looks at.
#![expect(unsafe_code, reason = "tagged pointers, and segments that readers hold while they go")]

use super::atomic::{AtomicPtr, Ordering};
use super::raw::{RawZnode, prefetch};
use super::versions::Garbage;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ptr::{NonNull, null_mut};

const LINE: usize = 8;
const LINES: usize = 8;
/// The last line gives one to the counts.
const SLOTS: usize = LINE * LINES - 1;
/// Slots in use, dead ones counted, at which a segment is split or rebuilt: some stay empty, which
/// ends searches.
const FILL_MAX: u8 = 60;
/// Live entries from which a full segment is split, below which it is rebuilt without its dead.
const SPLIT_MIN: u8 = 40;

const TAG_SHIFT: u32 = 48;
const ADDRESS: usize = (1 << TAG_SHIFT) - 1;
/// An entry that was removed from a line without an empty slot.
const DEAD: usize = 1;

/// A path's hash, cut up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash {
    /// Top 31 bits: the place in the directory.
    pub(super) bits: u32,
    /// Low 16 bits, never 0; the lowest three are the home line.
    tag: usize,
}

impl Hash {
    pub(super) fn new(hash: u64) -> Self {
        Self { bits: (hash >> 33) as u32, tag: ((hash & 0xffff) as usize).max(1) }
    }

    fn home(self) -> usize {
        self.tag & (LINES - 1)
    }
}

type Entry = AtomicPtr<RawZnode>;

#[repr(C, align(64))]
pub(super) struct Segment {
    slots: [Entry; SLOTS],
    /// Bits of the hash that all entries share. This and the following are the writer's.
    depth: Cell<u8>,
    filled: Cell<u8>,
    live: Cell<u8>,
}

const _: () = assert!(size_of::<Segment>() == LINE * LINES * size_of::<Entry>());

/// Segments not in use, and the memory of all. The writer's alone, until the index goes.
struct Pool {
    spare: RefCell<Vec<NonNull<Segment>>>,
    blocks: RefCell<Vec<NonNull<Segment>>>,
}

impl Pool {
    const BLOCK: usize = 32;
    const LAYOUT: Layout =
        match Layout::from_size_align(size_of::<Segment>() * Self::BLOCK, align_of::<Segment>()) {
            Ok(layout) => layout,
            Err(_) => panic!("64 is a power of two"),
        };

    fn new() -> Self {
        Self { spare: RefCell::default(), blocks: RefCell::default() }
    }

    /// An empty segment.
    fn take(&self, depth: u8) -> NonNull<Segment> {
        let mut spare = self.spare.borrow_mut();
        let segment = spare.pop().unwrap_or_else(|| {
            // SAFETY: the layout is not empty, and all zeros are valid segments: null pointers
            // and zero counts.
            let memory = unsafe { alloc_zeroed(Self::LAYOUT) }.cast::<Segment>();
            let first = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(Self::LAYOUT));
            self.blocks.borrow_mut().push(first);
            // SAFETY: the block holds `BLOCK` segments.
            spare.extend((1..Self::BLOCK).rev().map(|n| unsafe { first.add(n) }));
            first
        });
        // SAFETY: in a block, and nobody else has it.
        unsafe { segment.as_ref() }.depth.set(depth);
        segment
    }

    /// # Safety
    /// The segment came from `take` of this pool, is unlinked and out of every reader's reach.
    unsafe fn give_back(&self, segment: NonNull<Segment>) {
        // SAFETY: nobody else has it; all zeros are a valid segment.
        unsafe { segment.write_bytes(0, 1) };
        self.spare.borrow_mut().push(segment);
    }

    /// # Safety
    /// No segment is in use any more.
    unsafe fn free(&mut self) {
        self.spare.get_mut().clear();
        for block in self.blocks.get_mut().drain(..) {
            // SAFETY: allocated in `take` with this layout.
            unsafe { dealloc(block.as_ptr().cast(), Self::LAYOUT) }
        }
    }
}

impl Segment {
    fn line(&self, line: usize) -> &[Entry] {
        &self.slots[line * LINE..SLOTS.min(line * LINE + LINE)]
    }

    /// Lines in search order.
    fn lines(&self, hash: Hash) -> impl Iterator<Item = &[Entry]> {
        (0..LINES).map(move |step| self.line((hash.home() + step) % LINES))
    }

    /// False when the segment is too full.
    fn insert(&self, znode: NonNull<RawZnode>, tag: usize) -> bool {
        let hash = Hash { bits: 0, tag };
        for slot in self.lines(hash).flatten() {
            let old = slot.load(Ordering::Relaxed);
            let empty = old.is_null();
            if !empty && old.addr() != DEAD {
                continue;
            }
            if empty && self.filled.get() >= FILL_MAX {
                return false;
            }
            self.filled.set(self.filled.get() + u8::from(empty));
            self.live.set(self.live.get() + 1);
            let entry = znode.as_ptr().map_addr(|address| address | (tag << TAG_SHIFT));
            // Release: who sees the entry sees the znode's path and version.
            slot.store(entry, Ordering::Release);
            return true;
        }
        false
    }

    /// Znodes with the tag, in search order.
    fn candidates(&self, hash: Hash) -> impl Iterator<Item = (&Entry, NonNull<RawZnode>)> {
        let mut ended = false;
        self.lines(hash)
            .take_while(move |line| {
                let go_on = !ended;
                // Acquire, also for the check: an entry placed behind this line was placed when
                // the line was full.
                ended = line.iter().any(|slot| slot.load(Ordering::Acquire).is_null());
                go_on
            })
            .flatten()
            .filter_map(move |slot| {
                let entry = slot.load(Ordering::Acquire);
                let matches = entry.addr() >> TAG_SHIFT == hash.tag;
                let znode = NonNull::new(entry.map_addr(|address| address & ADDRESS))?;
                matches.then_some((slot, znode))
            })
    }
}

/// The directory: `2^depth` segments by the top bits of the hash; a segment of less depth stands
/// several times.
pub(super) struct Directory {
    depth: u8,
    segments: Box<[AtomicPtr<Segment>]>,
}

impl Directory {
    fn place(&self, bits: u32) -> usize {
        (bits >> (31 - self.depth)) as usize
    }

    fn new(depth: u8, segments: Box<[AtomicPtr<Segment>]>) -> *mut Self {
        Box::into_raw(Box::new(Self { depth, segments }))
    }

    /// # Safety
    /// Unlinked and out of every reader's reach.
    pub(super) unsafe fn free(directory: NonNull<Self>) {
        // SAFETY: made by `Box::into_raw` in `new`.
        drop(unsafe { Box::from_raw(directory.as_ptr()) });
    }
}

/// The index. Shared; the writer alone calls what changes it.
pub(super) struct Index {
    directory: AtomicPtr<Directory>,
    pool: Pool,
}

impl Index {
    pub(super) fn new() -> Self {
        let pool = Pool::new();
        let first = AtomicPtr::new(pool.take(0).as_ptr());
        Self { directory: AtomicPtr::new(Directory::new(0, Box::new([first]))), pool }
    }

    fn directory(&self) -> &Directory {
        // SAFETY: never null; the caller is pinned or the writer, so it is alive.
        unsafe { &*self.directory.load(Ordering::Acquire) }
    }

    fn segment(&self, hash: Hash) -> &Segment {
        let directory = self.directory();
        // SAFETY: as `directory`.
        unsafe { &*directory.segments[directory.place(hash.bits)].load(Ordering::Acquire) }
    }

    /// The znode at `path`, dead or alive. The caller is pinned or the writer.
    pub(super) fn find(&self, path: &[u8], hash: Hash) -> Option<NonNull<RawZnode>> {
        self.segment(hash).candidates(hash).map(|(_, znode)| znode).find(|znode| {
            // SAFETY: linked when loaded, and the caller is pinned or the writer.
            unsafe { znode.as_ref() }.path() == path
        })
    }

    /// Starts to load the line that a `find` will look at.
    pub(super) fn prefetch(&self, hash: Hash) {
        prefetch(self.segment(hash).line(hash.home()).as_ptr());
    }

    /// Starts to load the znode that a `find` will most likely compare.
    pub(super) fn prefetch_znode(&self, hash: Hash) -> Option<NonNull<RawZnode>> {
        let (_, znode) = self.segment(hash).candidates(hash).next()?;
        // Header and path mostly lie in two lines.
        prefetch(znode.as_ptr());
        prefetch(znode.as_ptr().cast::<u8>().wrapping_add(48));
        Some(znode)
    }

    /// Starts to load the place in the directory, before all else. The writer's.
    pub(super) fn prefetch_place(&self, hash: Hash) {
        let directory = self.directory();
        prefetch(&raw const directory.segments[directory.place(hash.bits)]);
    }

    /// Starts to load what an `insert` will touch: the counts beside the line. The writer's.
    pub(super) fn prefetch_insert(&self, hash: Hash) {
        let segment = self.segment(hash);
        prefetch(segment.line(hash.home()).as_ptr());
        prefetch(&raw const segment.filled);
    }

    /// Takes back a segment that [`Index::insert`] told as garbage. The writer's.
    ///
    /// # Safety
    /// It is out of every reader's reach.
    pub(super) unsafe fn give_back(&self, segment: NonNull<Segment>) {
        // SAFETY: by the caller's promise.
        unsafe { self.pool.give_back(segment) }
    }

    /// Adds a znode whose path is not there. The writer's.
    pub(super) fn insert(
        &self,
        znode: NonNull<RawZnode>,
        hash: Hash,
        garbage: &mut impl FnMut(Garbage),
    ) {
        while !self.segment(hash).insert(znode, hash.tag) {
            self.reorganize(hash, garbage);
        }
    }

    /// Takes a znode out. The writer's.
    pub(super) fn remove(&self, znode: NonNull<RawZnode>, hash: Hash) {
        let segment = self.segment(hash);
        let found = segment.candidates(hash).find(|(_, candidate)| *candidate == znode);
        let (slot, _) = found.expect("a linked znode is in the index");
        segment.live.set(segment.live.get() - 1);
        let place = segment.slots.iter().position(|s| std::ptr::eq(s, slot)).unwrap_or(0);
        let line = segment.line(place / LINE);
        if line.iter().any(|slot| slot.load(Ordering::Relaxed).is_null()) {
            // Searches end in this line anyway.
            segment.filled.set(segment.filled.get() - 1);
            slot.store(null_mut(), Ordering::Release);
        } else {
            slot.store(std::ptr::without_provenance_mut(DEAD), Ordering::Release);
        }
    }

    /// Replaces the full segment of `hash` by two, or by one without dead entries.
    fn reorganize(&self, hash: Hash, garbage: &mut impl FnMut(Garbage)) {
        let mut directory = self.directory();
        let old = NonNull::from(self.segment(hash));
        // SAFETY: linked, and we are the writer.
        let segment = unsafe { old.as_ref() };
        let depth = segment.depth.get();
        let split = segment.live.get() >= SPLIT_MIN;
        if split && depth == directory.depth {
            assert!(depth < 31, "the seeded hash does not collide in 31 bits for 40 paths");
            let doubled = directory
                .segments
                .iter()
                .map(|segment| segment.load(Ordering::Relaxed))
                .flat_map(|segment| [AtomicPtr::new(segment), AtomicPtr::new(segment)])
                .collect();
            let bigger = Directory::new(depth + 1, doubled);
            let smaller = self.directory.swap(bigger, Ordering::AcqRel);
            garbage(Garbage::Directory(NonNull::new(smaller).expect("never null")));
            directory = self.directory();
        }
        let new_depth = depth + u8::from(split);
        let first = self.pool.take(new_depth);
        let halves = [first, if split { self.pool.take(new_depth) } else { first }];
        let halves = &halves[..1 + usize::from(split)];
        // Each entry's znode has the hash, and most are in no cache: load them all at once.
        for slot in &segment.slots {
            prefetch(slot.load(Ordering::Relaxed).map_addr(|address| address & ADDRESS));
        }
        for slot in &segment.slots {
            let entry = slot.load(Ordering::Relaxed);
            if entry.is_null() || entry.addr() == DEAD {
                continue;
            }
            let znode = NonNull::new(entry.map_addr(|address| address & ADDRESS));
            let znode = znode.expect("entries point somewhere");
            // SAFETY: a linked znode is alive for the writer.
            let bits = unsafe { znode.as_ref() }.hash();
            let half = if split { (bits >> (30 - depth) & 1) as usize } else { 0 };
            // SAFETY: just made.
            let done = unsafe { halves[half].as_ref() }.insert(znode, entry.addr() >> TAG_SHIFT);
            assert!(done, "at most as many entries as before");
        }
        // The segment's places are neighbours: all that share its `depth` top bits.
        let span = 1 << (directory.depth - depth);
        let first = directory.place(hash.bits) / span * span;
        for (n, place) in directory.segments[first..][..span].iter().enumerate() {
            let half = n * halves.len() / span;
            // Release: who sees the segment sees its entries.
            place.store(halves[half].as_ptr(), Ordering::Release);
        }
        garbage(Garbage::Segment(old));
    }

    /// Frees directory and segments, not the znodes.
    pub(super) fn free(&mut self) {
        let directory = NonNull::new(*self.directory.get_mut()).expect("never null");
        // SAFETY: exclusive access: no reader is left, and nobody looks at a segment again.
        unsafe {
            Directory::free(directory);
            self.pool.free();
        }
    }
}
