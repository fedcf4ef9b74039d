//! Watch table of one shard: who is told when a path changes.
//!
//! Thread: the shard's; nothing here is shared. Invariants: a connection is told once of each
//! event of a table, whatever modes it holds; a standard watch is used up by the first event of
//! its table at its path, even one that the connection may not see; without watches a change costs
//! one comparison, without recursive watches no ancestor is looked up; dropping a connection
//! costs its own watches.
//! Not here: who may see an event and what its frame looks like (`parts/shard.rs`, as [`Sink`]);
//! what fires what (`rules.rs`).
//!
//! BOUND: a path whose watch was used up may linger in its connection's list; the list is swept
//! when more than half of it does.

mod paths;
mod rules;

use paths::{PathId, Paths};
use rules::{Step, parent, steps};

pub use rules::{AclOf, CatchUp, Event, MissedList, Modes, catch_up};

use crate::wire::codes::{AddWatchMode, EventType, WatcherType};

/// A connection slot of the shard. Slots are used again; the shard drops the watches of a
/// connection before its slot takes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnKey(pub u32);

impl ConnKey {
    /// Slots lie below this, because a watcher and its modes share a word.
    pub const LIMIT: u32 = 1 << 28;
}

/// Receives what fires. It decides about READ and sends; the table only tells.
pub trait Sink {
    /// The next event, if anyone hears it: the following [`Sink::notify`] calls are for it, so
    /// that its frame is encoded once.
    fn event(&mut self, event: &Event<'_>);
    /// One watcher of the event last begun; each connection at most once an event.
    fn notify(&mut self, conn: ConnKey);
}

/// What the table knows of a connection.
#[derive(Debug, Default)]
struct Conn {
    /// Every path it watches, and some it no longer does, in the order they were set.
    paths: Vec<PathId>,
    /// Paths it watches.
    live: usize,
    /// The event it was last told.
    told: u64,
}

/// The watches of all connections of one shard.
#[derive(Debug)]
pub struct WatchTable {
    paths: Paths,
    /// By slot.
    conns: Vec<Conn>,
    counts: Counts,
    /// Number of the event being fired.
    event: u64,
}

#[derive(Debug, Default)]
struct Counts {
    watches: usize,
    recursive: usize,
    connections: usize,
}

impl Counts {
    fn changed(&mut self, before: Modes, after: Modes) {
        self.watches = self.watches + after.count() - before.count();
        let recursive = |modes: Modes| usize::from(modes.intersects(Modes::RECURSIVE));
        self.recursive = self.recursive + recursive(after) - recursive(before);
    }
}

impl Default for WatchTable {
    fn default() -> Self {
        Self::new()
    }
}

impl WatchTable {
    /// Without watches.
    pub fn new() -> Self {
        Self { paths: Paths::new(), conns: Vec::new(), counts: Counts::default(), event: 0 }
    }

    /// Whether no change can fire anything.
    pub fn is_empty(&self) -> bool {
        self.paths.len() == 0
    }

    /// Adds `modes` to what `conn` watches at `path`, which is not looked at: it may be missing,
    /// malformed, even empty.
    ///
    /// # Panics
    /// When the slot is not below [`ConnKey::LIMIT`].
    pub fn set(&mut self, path: &[u8], conn: ConnKey, modes: Modes) {
        assert!(conn.0 < ConnKey::LIMIT, "slot {} has no room beside its modes", conn.0);
        if modes.is_empty() {
            return;
        }
        let id = self.paths.intern(path);
        let watchers = self.paths.watchers_mut(id);
        let before = watchers.modes(conn);
        let after = before.with(modes);
        if before == after {
            return;
        }
        watchers.set(conn, after);
        self.counts.changed(before, after);
        if before.is_empty() {
            self.list(id, conn);
        }
    }

    /// addWatch: both tables for persistent, the data table for recursive.
    pub fn add_watch(&mut self, path: &[u8], conn: ConnKey, mode: AddWatchMode) {
        let modes = match mode {
            AddWatchMode::Persistent => Modes::PERSISTENT,
            AddWatchMode::PersistentRecursive => Modes::RECURSIVE,
        };
        self.set(path, conn, modes);
    }

    /// checkWatches: whether `conn` has such a watch at exactly this path.
    pub fn check(&self, path: &[u8], conn: ConnKey, kind: WatcherType) -> bool {
        let modes = self.paths.find(path).map(|id| self.paths.watchers(id).modes(conn));
        modes.is_some_and(|modes| modes.intersects(Modes::of(kind)))
    }

    /// removeWatches: takes such watches of `conn` away; false when there was none.
    pub fn remove(&mut self, path: &[u8], conn: ConnKey, kind: WatcherType) -> bool {
        let Some(id) = self.paths.find(path) else { return false };
        self.take(id, conn, Modes::of(kind))
    }

    /// Forgets a connection that is gone, moved or about to re-attach.
    pub fn drop_conn(&mut self, conn: ConnKey) {
        let Some(slot) = self.conns.get_mut(conn.0 as usize) else { return };
        for id in std::mem::take(&mut slot.paths) {
            self.take(id, conn, Modes::ALL);
        }
        debug_assert_eq!(self.conns[conn.0 as usize].live, 0, "a watch was not listed");
    }

    /// Fires what a change of `path` fires, in ZooKeeper's order: the path with the recursive
    /// watchers of it and its ancestors, then the parent's ChildrenChanged.
    pub fn fire(&mut self, change: EventType, path: &[u8], sink: &mut impl Sink) {
        if self.is_empty() {
            return;
        }
        let (at_node, at_parent) = steps(change);
        self.fire_step(&at_node, path, sink);
        if let Some((step, parent)) = at_parent.zip(parent(path)) {
            self.fire_step(&step, parent, sink);
        }
    }

    fn fire_step(&mut self, step: &Step, path: &[u8], sink: &mut impl Sink) {
        self.event += 1;
        let event = Event { kind: step.kind, path, acl: step.acl };
        let recursive = self.counts.recursive > 0 && step.hears.intersects(Modes::RECURSIVE);
        let mut begun = self.fire_at(path, step, recursive, &event, false, sink);
        if recursive {
            let step = Step { hears: Modes::RECURSIVE, consumes: Modes::NONE, ..*step };
            let mut at = path;
            while let Some(ancestor) = parent(at) {
                begun = self.fire_at(ancestor, &step, true, &event, begun, sink);
                at = ancestor;
            }
        }
    }

    /// Tells the watchers of one path. `told_once` is set when a connection may be met again at
    /// another path; returns whether `sink` has begun the event.
    fn fire_at(
        &mut self,
        at: &[u8],
        step: &Step,
        told_once: bool,
        event: &Event<'_>,
        mut begun: bool,
        sink: &mut impl Sink,
    ) -> bool {
        let Some(id) = self.paths.find(at) else { return begun };
        let (conns, counts, number) = (&mut self.conns, &mut self.counts, self.event);
        self.paths.watchers_mut(id).retain(|key, modes| {
            if !modes.intersects(step.hears) {
                return modes;
            }
            let conn = &mut conns[key.0 as usize];
            if !told_once || conn.told != number {
                conn.told = number;
                if !begun {
                    sink.event(event);
                    begun = true;
                }
                sink.notify(key);
            }
            let left = modes.without(step.consumes);
            counts.changed(modes, left);
            if left.is_empty() {
                conn.unlist_one(counts);
            }
            left
        });
        self.paths.release_if_unwatched(id);
        begun
    }

    /// Watches, each counted in each table that holds it, as `watch_count` of mntr has it.
    pub fn watch_count(&self) -> usize {
        self.counts.watches
    }

    /// Paths with a watch.
    pub fn path_count(&self) -> usize {
        self.paths.len()
    }

    /// Connections with a watch.
    pub fn connection_count(&self) -> usize {
        self.counts.connections
    }

    /// Connections with a watch, by slot (wchc).
    pub fn connections(&self) -> impl Iterator<Item = ConnKey> {
        let watching = (0_u32..).zip(&self.conns).filter(|(_, conn)| conn.live > 0);
        watching.map(|(slot, _)| ConnKey(slot))
    }

    /// What one connection watches. Sweeps its list first, so that each path comes once.
    pub fn paths_of(&mut self, conn: ConnKey) -> impl Iterator<Item = (&[u8], Modes)> {
        self.sweep(conn);
        let listed = self.conns.get(conn.0 as usize).map_or(&[][..], |conn| &conn.paths);
        let paths = &self.paths;
        listed.iter().map(move |id| (paths.path(*id), paths.watchers(*id).modes(conn)))
    }

    /// Watched paths with their watchers, from the place `from` on (wchp). The place beside each
    /// lets a long listing go on in a later turn; what changes between the turns may be missed or
    /// told newly, what stays is told once.
    pub fn watched(
        &self,
        from: usize,
    ) -> impl Iterator<Item = (usize, &[u8], impl Iterator<Item = (ConnKey, Modes)>)> {
        (from..self.paths.slots()).filter_map(|place| {
            let (path, watchers) = self.paths.at(place)?;
            Some((place, path, watchers.iter()))
        })
    }

    /// Takes modes away; false when there were none of them.
    fn take(&mut self, id: PathId, conn: ConnKey, modes: Modes) -> bool {
        let watchers = self.paths.watchers_mut(id);
        let before = watchers.modes(conn);
        if !before.intersects(modes) {
            return false;
        }
        let after = before.without(modes);
        watchers.set(conn, after);
        self.counts.changed(before, after);
        if after.is_empty() {
            self.conns[conn.0 as usize].unlist_one(&mut self.counts);
            self.paths.release_if_unwatched(id);
        }
        true
    }

    /// Notes that `conn` watches a path it did not watch.
    fn list(&mut self, id: PathId, conn: ConnKey) {
        let slot = conn.0 as usize;
        if slot >= self.conns.len() {
            self.conns.resize_with(slot + 1, Conn::default);
        }
        let listed = &mut self.conns[slot];
        self.counts.connections += usize::from(listed.live == 0);
        listed.live += 1;
        listed.paths.push(id);
        if listed.paths.len() > 2 * listed.live + 64 {
            self.sweep(conn);
        }
    }

    /// Drops from a connection's list what it no longer watches. An id may be there twice, when
    /// its watch was used up and set again.
    fn sweep(&mut self, conn: ConnKey) {
        let Some(listed) = self.conns.get_mut(conn.0 as usize) else { return };
        if listed.paths.len() > listed.live {
            listed.paths.sort_unstable();
            listed.paths.dedup();
            listed.paths.retain(|id| !self.paths.watchers(*id).modes(conn).is_empty());
        }
        assert_eq!(listed.paths.len(), listed.live, "the list of a connection has lost a path");
    }
}

impl Conn {
    fn unlist_one(&mut self, counts: &mut Counts) {
        self.live -= 1;
        if self.live == 0 {
            // Whatever lingers in the list is stale now; a client that sets its one watch again
            // after each event should not pay for an allocation each time.
            self.paths.clear();
            self.paths.shrink_to(64);
            counts.connections -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
