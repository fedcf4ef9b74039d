//! The watches of a session, kept while its connections come and go.
//!
//! Thread: the client's I/O thread. Invariants: paths are the server's (chroot included); a watcher
//! hears each event once, however many of its watches fire; one-shot watches leave the table as
//! they fire, persistent ones stay. Not here: when they are registered (`session.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::channel::Sender;

use crate::types::Map;
use crate::wire::client::{SetWatches, SetWatches2};
use crate::wire::codes::{AddWatchMode, EventType, OpCode, WatcherType, xids};

use super::raw;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The connection or the session changed: see [`WatchedEvent::state`].
    State,
    /// A node: created, deleted, data or children changed.
    Node(EventType),
    /// The watch was taken away by [`remove_watches`](super::Client::remove_watches).
    WatchRemoved,
}

/// How the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Looking for a server; the session may live on.
    Disconnected,
    /// Requests are served.
    Connected,
    /// Reads are served, by a server that lost its quorum.
    ConnectedReadOnly,
    /// Final: the servers ended the session.
    Expired,
    /// Final: the credentials were refused.
    AuthFailed,
    /// Final: the client closed it.
    Closed,
}

impl State {
    /// Whether requests are sent.
    pub fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::ConnectedReadOnly)
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Expired | Self::AuthFailed | Self::Closed)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedEvent {
    /// What happened.
    pub kind: EventKind,
    /// How the session stood.
    pub state: State,
    /// The node, without the chroot; none for changes of state.
    pub path: Option<String>,
    /// Of the txn; -1 when the server does not tell.
    pub zxid: i64,
}

/// Where events go. Clones are the same watcher.
#[derive(Clone, Debug)]
pub struct Watcher {
    id: u64,
    sender: Sender<WatchedEvent>,
}

static WATCHERS: AtomicU64 = AtomicU64::new(0);

impl Watcher {
    /// BOUND: the channel should not be bounded by the caller: a full one would stop the I/O thread
    /// and with it the pings. A watch fires once, so what waits is bounded by the watches set,
    /// except for persistent ones, whose owner has to keep up, as with ZooKeeper's client.
    pub fn new(sender: Sender<WatchedEvent>) -> Self {
        Self { id: WATCHERS.fetch_add(1, Ordering::Relaxed), sender }
    }

    /// Whether both are the same one.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Hands over an event; a receiver that is gone does not care.
    pub(super) fn tell(&self, event: &WatchedEvent) {
        let _ = self.sender.try_send(event.clone());
    }
}

type Table = Map<String, Vec<Watcher>>;

fn add(table: &mut Table, path: &str, watcher: &Watcher) {
    if !table.contains_key(path) {
        table.insert(path.to_owned(), Vec::new());
    }
    let list = table.get_mut(path).expect("just made sure");
    if list.iter().all(|other| other.id != watcher.id) {
        list.push(watcher.clone());
    }
}

/// Kinds of watches, one table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of getData, and of exists where the node is.
    Data,
    /// Of exists where the node is not.
    Exist,
    /// Of getChildren.
    Child,
    /// Of addWatch.
    Persistent,
    /// Of addWatch, for the subtree.
    Recursive,
}

impl From<AddWatchMode> for Kind {
    fn from(mode: AddWatchMode) -> Self {
        match mode {
            AddWatchMode::Persistent => Self::Persistent,
            AddWatchMode::PersistentRecursive => Self::Recursive,
        }
    }
}

/// All watches of one session.
#[derive(Debug, Default)]
pub(super) struct Watches {
    tables: [Table; 5],
}

const ALL: [Kind; 5] = [Kind::Data, Kind::Exist, Kind::Child, Kind::Persistent, Kind::Recursive];

impl Watches {
    /// Registers one, as the server did when it answered.
    pub(super) fn add(&mut self, kind: Kind, path: &str, watcher: &Watcher) {
        add(&mut self.tables[kind as usize], path, watcher);
    }

    /// Who hears of `event` on `path`; its one-shot watches are used up.
    pub(super) fn fire(&mut self, event: EventType, path: &str) -> Vec<Watcher> {
        let used: &[Kind] = match event {
            EventType::NodeCreated | EventType::NodeDataChanged => &[Kind::Data, Kind::Exist],
            EventType::NodeDeleted => &[Kind::Data, Kind::Exist, Kind::Child],
            EventType::NodeChildrenChanged => &[Kind::Child],
        };
        let mut heard = Heard::default();
        for kind in used {
            heard.extend(self.tables[*kind as usize].remove(path).into_iter().flatten());
        }
        heard.extend(
            self.tables[Kind::Persistent as usize].get(path).into_iter().flatten().cloned(),
        );
        // A recursive watch speaks of the children themselves, never of the list.
        let recursive = &self.tables[Kind::Recursive as usize];
        if event != EventType::NodeChildrenChanged && !recursive.is_empty() {
            let mut upto = path.len();
            loop {
                let ancestor = if upto == 0 { "/" } else { &path[..upto] };
                heard.extend(recursive.get(ancestor).into_iter().flatten().cloned());
                match path[..upto].rfind('/') {
                    Some(at) if ancestor != "/" => upto = at,
                    _ => break,
                }
            }
        }
        heard.0
    }

    /// Forgets the watches that the server has taken away, and says whose they were.
    pub(super) fn remove(&mut self, kind: WatcherType, path: &str) -> Vec<Watcher> {
        let gone: &[Kind] = match kind {
            WatcherType::Children => &[Kind::Child],
            WatcherType::Data => &[Kind::Data, Kind::Exist],
            WatcherType::Any => &ALL,
            WatcherType::Persistent => &[Kind::Persistent],
            WatcherType::PersistentRecursive => &[Kind::Recursive],
        };
        let mut heard = Heard::default();
        for kind in gone {
            heard.extend(self.tables[*kind as usize].remove(path).into_iter().flatten());
        }
        heard.0
    }

    /// Every watcher, for changes of state.
    pub(super) fn everyone(&self) -> Vec<Watcher> {
        let mut heard = Heard::default();
        heard.extend(self.tables.iter().flat_map(Map::values).flatten().cloned());
        heard.0
    }

    /// Appends the requests that restore them on a new connection, cut so that none exceeds a
    /// server's frame limit: `PIECE_BYTES` of paths each. Returns how many there are.
    pub(super) fn restore(&self, relative_zxid: i64, out: &mut Vec<u8>) -> usize {
        let mut requests = 0;
        let mut piece: [Vec<&[u8]>; 5] = Default::default();
        let mut bytes = 0;
        for kind in ALL {
            for path in self.tables[kind as usize].keys() {
                if bytes > 0 && bytes + path.len() + 4 > PIECE_BYTES {
                    put(std::mem::take(&mut piece), relative_zxid, out);
                    requests += 1;
                    bytes = 0;
                }
                piece[kind as usize].push(path.as_bytes());
                bytes += path.len() + 4;
            }
        }
        if bytes > 0 {
            put(piece, relative_zxid, out);
            requests += 1;
        }
        requests
    }
}

/// Bytes of paths in one setWatches request.
const PIECE_BYTES: usize = 128 << 10;

fn put(piece: [Vec<&[u8]>; 5], relative_zxid: i64, out: &mut Vec<u8>) {
    let [data, exist, child, persistent, persistent_recursive] = piece;
    let base = SetWatches { relative_zxid, data, exist, child };
    // Servers before 3.6 know the short form only.
    if persistent.is_empty() && persistent_recursive.is_empty() {
        raw::request(out, xids::SET_WATCHES, OpCode::SetWatches, &base);
    } else {
        let all = SetWatches2 { base, persistent, persistent_recursive };
        raw::request(out, xids::SET_WATCHES, OpCode::SetWatches2, &all);
    }
}

/// Watchers without repetition.
#[derive(Default)]
struct Heard(Vec<Watcher>);

impl Heard {
    fn extend(&mut self, watchers: impl Iterator<Item = Watcher>) {
        for watcher in watchers {
            if self.0.iter().all(|other| other.id != watcher.id) {
                self.0.push(watcher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::unbounded;

    fn watcher() -> Watcher {
        Watcher::new(unbounded().0)
    }

    #[test]
    fn a_watcher_hears_a_deletion_once_and_its_watches_are_used_up() {
        let mut watches = Watches::default();
        let one = watcher();
        for kind in [Kind::Data, Kind::Child, Kind::Persistent] {
            watches.add(kind, "/a", &one);
        }
        assert_eq!(watches.fire(EventType::NodeDeleted, "/a").len(), 1);
        assert_eq!(watches.fire(EventType::NodeChildrenChanged, "/a").len(), 1);
        watches.remove(WatcherType::Persistent, "/a");
        assert_eq!(watches.fire(EventType::NodeDeleted, "/a").len(), 0);
    }

    #[test]
    fn a_recursive_watch_hears_of_the_subtree_but_not_of_lists() {
        let mut watches = Watches::default();
        watches.add(Kind::Recursive, "/a", &watcher());
        watches.add(Kind::Recursive, "/", &watcher());
        let count = |watches: &mut Watches, event, path| watches.fire(event, path).len();
        assert_eq!(count(&mut watches, EventType::NodeCreated, "/a/b/c"), 2);
        assert_eq!(count(&mut watches, EventType::NodeCreated, "/ab"), 1);
        assert_eq!(count(&mut watches, EventType::NodeDataChanged, "/"), 1);
        assert_eq!(count(&mut watches, EventType::NodeChildrenChanged, "/a"), 0);
    }

    #[test]
    fn restoring_many_watches_takes_several_small_requests() {
        let mut watches = Watches::default();
        let one = watcher();
        for i in 0..20_000 {
            watches.add(Kind::Data, &format!("/data/{i:010}"), &one);
        }
        let mut out = Vec::new();
        let requests = watches.restore(7, &mut out);
        let mut reader = out.as_slice();
        let (mut seen, mut paths) = (0, 0);
        let mut buffer = raw::FrameBuffer::default();
        while !reader.is_empty() {
            buffer.fill(&mut reader).unwrap();
            while let Some(frame) = buffer.take() {
                assert!(frame.len() < PIECE_BYTES + 100);
                let body: SetWatches<'_> = crate::wire::client::decode(&frame[8..]).unwrap();
                paths += body.data.len();
                seen += 1;
            }
        }
        assert_eq!((seen, paths, requests), (4, 20_000, 4));
    }
}
