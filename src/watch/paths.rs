//! Watched paths: each interned once, with its watchers beside it.
//!
//! Thread: the shard's. Invariants: a path has a slot exactly while it has a watcher; ids of freed
//! slots are used again; no call moves more than the entries of one bucket (linear hashing), so
//! that the millionth watch costs what the first did.

use std::hash::BuildHasher;

use super::ConnKey;
use super::rules::Modes;
use crate::types::{Map, Seeded};

/// A slot of [`Paths`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PathId(pub(super) u32);

const NIL: u32 = u32::MAX;

/// Entries of one allocation of the slot table: it neither doubles nor moves.
const CHUNK: usize = 1024;

#[derive(Debug)]
struct Slot {
    path: Box<[u8]>,
    watchers: Watchers,
    hash: u32,
    /// Next slot of the same bucket, or of the free list.
    next: u32,
}

/// The interned paths.
#[derive(Debug)]
pub(super) struct Paths {
    hasher: Seeded,
    buckets: Vec<u32>,
    chunks: Vec<Vec<Slot>>,
    free: u32,
    len: usize,
}

impl Paths {
    pub(super) fn new() -> Self {
        Self {
            hasher: Seeded::default(),
            buckets: vec![NIL; 16],
            chunks: Vec::new(),
            free: NIL,
            len: 0,
        }
    }

    /// Paths with a watcher.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Slots ever used: the bound of [`Self::at`].
    pub(super) fn slots(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Path and watchers of a slot, none when it is free.
    pub(super) fn at(&self, slot: usize) -> Option<(&[u8], &Watchers)> {
        let slot = self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)?;
        (!slot.watchers.is_empty()).then_some((&slot.path, &slot.watchers))
    }

    pub(super) fn find(&self, path: &[u8]) -> Option<PathId> {
        self.find_hashed(path, self.hash(path))
    }

    fn find_hashed(&self, path: &[u8], hash: u32) -> Option<PathId> {
        let mut id = self.buckets[bucket(hash, self.buckets.len())];
        while id != NIL {
            let slot = self.slot(id);
            if slot.hash == hash && *slot.path == *path {
                return Some(PathId(id));
            }
            id = slot.next;
        }
        None
    }

    /// The slot of `path`, made if need be; the caller adds a watcher at once.
    pub(super) fn intern(&mut self, path: &[u8]) -> PathId {
        let hash = self.hash(path);
        if let Some(id) = self.find_hashed(path, hash) {
            return id;
        }
        if self.len >= self.buckets.len() {
            self.split_bucket();
        }
        let bucket = bucket(hash, self.buckets.len());
        let next = self.buckets[bucket];
        let slot = Slot { path: path.into(), watchers: Watchers::default(), hash, next };
        let id = self.place(slot);
        self.buckets[bucket] = id;
        self.len += 1;
        PathId(id)
    }

    pub(super) fn watchers(&self, id: PathId) -> &Watchers {
        &self.slot(id.0).watchers
    }

    pub(super) fn watchers_mut(&mut self, id: PathId) -> &mut Watchers {
        &mut self.slot_mut(id.0).watchers
    }

    /// Path of a slot in use; empty for a free one.
    pub(super) fn path(&self, id: PathId) -> &[u8] {
        &self.slot(id.0).path
    }

    /// Gives the slot back when its last watcher has gone.
    pub(super) fn release_if_unwatched(&mut self, id: PathId) {
        let slot = self.slot(id.0);
        if !slot.watchers.is_empty() {
            return;
        }
        let (next, bucket) = (slot.next, bucket(slot.hash, self.buckets.len()));
        if self.buckets[bucket] == id.0 {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket];
            while self.slot(before).next != id.0 {
                before = self.slot(before).next;
            }
            self.slot_mut(before).next = next;
        }
        let free = self.free;
        let slot = self.slot_mut(id.0);
        slot.path = Box::default();
        slot.next = free;
        self.free = id.0;
        self.len -= 1;
    }

    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of a hash will do")]
    fn hash(&self, path: &[u8]) -> u32 {
        self.hasher.hash_one(path) as u32
    }

    fn slot(&self, id: u32) -> &Slot {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    fn slot_mut(&mut self, id: u32) -> &mut Slot {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    fn place(&mut self, slot: Slot) -> u32 {
        if self.free != NIL {
            let id = self.free;
            self.free = self.slot(id).next;
            *self.slot_mut(id) = slot;
            return id;
        }
        let id = u32::try_from(self.slots()).ok().filter(|id| *id != NIL);
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(slot),
            Some(_) | None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(slot);
                self.chunks.push(chunk);
            }
        }
        id.expect("four billion watched paths do not fit in memory")
    }

    /// Adds one bucket, filled from the one bucket whose entries may belong there now.
    fn split_bucket(&mut self) {
        let new = self.buckets.len();
        let old = new - (1 << new.ilog2());
        self.buckets.push(NIL);
        let mut id = std::mem::replace(&mut self.buckets[old], NIL);
        while id != NIL {
            let (hash, next) = (self.slot(id).hash, self.slot(id).next);
            let bucket = bucket(hash, new + 1);
            self.slot_mut(id).next = self.buckets[bucket];
            self.buckets[bucket] = id;
            id = next;
        }
    }
}

/// Bucket of a hash among `buckets`, of which those above the last power of two were split off.
fn bucket(hash: u32, buckets: usize) -> usize {
    let low = (1_usize << buckets.ilog2()) - 1;
    let wide = hash as usize & (low << 1 | 1);
    if wide < buckets { wide } else { wide & low }
}

/// Who watches a path: connection and modes in one word, three of them in place.
#[derive(Debug)]
pub(super) enum Watchers {
    Few { len: u8, items: [Packed; FEW] },
    Many(Box<Map<ConnKey, Modes>>),
}

const FEW: usize = 3;

/// The connection in the high 28 bits, the modes in the low 4.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packed(u32);

impl Packed {
    fn new(conn: ConnKey, modes: Modes) -> Self {
        Self(conn.0 << 4 | u32::from(modes.bits()))
    }
    fn conn(self) -> ConnKey {
        ConnKey(self.0 >> 4)
    }
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    fn modes(self) -> Modes {
        Modes::from_bits(self.0 as u8)
    }
}

impl Default for Watchers {
    fn default() -> Self {
        Self::Few { len: 0, items: [Packed::default(); FEW] }
    }
}

impl Watchers {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few { len, .. } => *len == 0,
            Self::Many(map) => map.is_empty(),
        }
    }

    pub(super) fn modes(&self, conn: ConnKey) -> Modes {
        match self {
            Self::Few { .. } => self
                .few()
                .iter()
                .find(|packed| packed.conn() == conn)
                .map_or(Modes::NONE, |packed| packed.modes()),
            Self::Many(map) => map.get(&conn).copied().unwrap_or_default(),
        }
    }

    /// Sets what `conn` has here; no modes removes it.
    pub(super) fn set(&mut self, conn: ConnKey, modes: Modes) {
        match self {
            Self::Few { len, items } => {
                let count = usize::from(*len);
                match items[..count].iter().position(|packed| packed.conn() == conn) {
                    Some(at) if modes.is_empty() => {
                        items[at] = items[count - 1];
                        *len -= 1;
                    }
                    Some(at) => items[at] = Packed::new(conn, modes),
                    None if modes.is_empty() => {}
                    None if count < FEW => {
                        items[count] = Packed::new(conn, modes);
                        *len += 1;
                    }
                    None => {
                        let mut map = Map::default();
                        map.extend(items.iter().map(|packed| (packed.conn(), packed.modes())));
                        map.insert(conn, modes);
                        *self = Self::Many(Box::new(map));
                    }
                }
            }
            Self::Many(map) if modes.is_empty() => {
                map.remove(&conn);
                self.settle();
            }
            Self::Many(map) => {
                map.insert(conn, modes);
            }
        }
    }

    /// Replaces the modes of every watcher by what `keep` says; none removes it.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(ConnKey, Modes) -> Modes) {
        match self {
            Self::Few { len, items } => {
                let count = usize::from(*len);
                *len = 0;
                for at in 0..count {
                    let (conn, modes) = (items[at].conn(), items[at].modes());
                    let left = keep(conn, modes);
                    if !left.is_empty() {
                        items[usize::from(*len)] = Packed::new(conn, left);
                        *len += 1;
                    }
                }
            }
            Self::Many(map) => {
                map.retain(|conn, modes| {
                    *modes = keep(*conn, *modes);
                    !modes.is_empty()
                });
                self.settle();
            }
        }
    }

    /// Gives back the room that removed watchers leave, at a cost paid by their number.
    fn settle(&mut self) {
        let Self::Many(map) = self else { return };
        if map.len() < FEW {
            let mut few = Self::default();
            map.iter().for_each(|(conn, modes)| few.set(*conn, *modes));
            *self = few;
        } else if map.capacity() > 64 && map.len() < map.capacity() / 8 {
            map.shrink_to(map.len() * 2);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnKey, Modes)> {
        let map = match self {
            Self::Few { .. } => None,
            Self::Many(map) => Some(map.iter().map(|(conn, modes)| (*conn, *modes))),
        };
        let few = self.few().iter().map(|packed| (packed.conn(), packed.modes()));
        few.chain(map.into_iter().flatten())
    }

    fn few(&self) -> &[Packed] {
        match self {
            Self::Few { len, items } => &items[..usize::from(*len)],
            Self::Many(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_stays_small() {
        assert_eq!(size_of::<Watchers>(), 16);
        assert_eq!(size_of::<Slot>(), 40);
    }

    #[test]
    fn paths_are_found_while_buckets_split_and_slots_are_used_again() {
        let mut paths = Paths::new();
        let name = |i: u32| format!("/node/{i}").into_bytes();
        for i in 0..5000 {
            let id = paths.intern(&name(i));
            paths.watchers_mut(id).set(ConnKey(i), Modes::DATA);
        }
        for i in (0..5000).step_by(2) {
            let id = paths.find(&name(i)).unwrap();
            paths.watchers_mut(id).set(ConnKey(i), Modes::NONE);
            paths.release_if_unwatched(id);
        }
        assert_eq!(paths.len(), 2500);
        for i in 0..5000 {
            let found = paths.find(&name(i));
            assert_eq!(found.is_some(), i % 2 == 1, "{i}");
            assert!(found.is_none_or(|id| paths.path(id) == name(i)));
        }
        for i in 5000..7500 {
            let id = paths.intern(&name(i));
            paths.watchers_mut(id).set(ConnKey(i), Modes::DATA);
        }
        assert_eq!(paths.slots(), 5000);
    }
}
