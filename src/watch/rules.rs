//! What a change fires and what setWatches makes up for: tables and pure functions.
//!
//! A watcher of a path is a set of [`Modes`]. ZooKeeper keeps two tables (data, child) with three
//! modes each; only four of the six pairs can be set by a request, so four bits say it all:
//! `addWatch` persistent always enters both tables, recursive only the data table.
//! Not here: who watches what (`watch/mod.rs`), who may see an event (`parts/shard.rs`).

use crate::types::Zxid;
use crate::wire::codes::{EventType, WatcherType};

/// How one connection watches one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Modes(u8);

impl Modes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Standard, data table: set by getData and exists.
    pub const DATA: Self = Self(1);
    /// Standard, child table: set by getChildren.
    pub const CHILD: Self = Self(2);
    /// Persistent, in both tables.
    pub const PERSISTENT: Self = Self(4);
    /// Persistent-recursive, data table.
    pub const RECURSIVE: Self = Self(8);
    /// Those that see events of the data table.
    pub const DATA_TABLE: Self = Self(1 | 4 | 8);
    /// Those that see events of the child table.
    pub const CHILD_TABLE: Self = Self(2 | 4);
    /// All of them.
    pub const ALL: Self = Self(15);

    /// The four bits.
    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// From the low four bits.
    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is left without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the sets share a mode.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it is the empty set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Watches as ZooKeeper counts them: one for each table that holds the connection.
    pub fn count(self) -> usize {
        usize::from(self.intersects(Self::DATA_TABLE))
            + usize::from(self.intersects(Self::CHILD_TABLE))
    }

    /// The modes that checkWatches finds and removeWatches takes away (3.9: an exact type leaves
    /// the other modes of the path alone).
    pub const fn of(kind: WatcherType) -> Self {
        match kind {
            WatcherType::Children => Self::CHILD,
            WatcherType::Data => Self::DATA,
            WatcherType::Any => Self::ALL,
            WatcherType::Persistent => Self::PERSISTENT,
            WatcherType::PersistentRecursive => Self::RECURSIVE,
        }
    }
}

/// Whose ACL decides whether a connection may see an event (READ, at the moment it fires).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AclOf {
    /// The changed node's: the new node's for Created, the late node's for Deleted.
    Node,
    /// That of the changed node's parent, which is the node that ChildrenChanged names.
    Parent,
}

/// An event as its watchers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What happened.
    pub kind: EventType,
    /// Where: the changed path, or its parent for ChildrenChanged.
    pub path: &'a [u8],
    /// Which ACL must grant READ.
    pub acl: AclOf,
}

/// One step of firing: at one path, who hears it and what that uses up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) kind: EventType,
    pub(super) acl: AclOf,
    pub(super) hears: Modes,
    pub(super) consumes: Modes,
}

const CHILDREN_CHANGED: Step = Step {
    kind: EventType::NodeChildrenChanged,
    acl: AclOf::Parent,
    hears: Modes::CHILD_TABLE,
    consumes: Modes::CHILD,
};

/// What a change does at the changed path, where recursive watchers of its ancestors join in, and
/// then at its parent.
///
/// A deletion fires the data table, then the child table without those just notified. Event, path
/// and ACL are the same both times and connections have no order among them, so it is one step in
/// which each connection is told once.
pub(super) fn steps(change: EventType) -> (Step, Option<Step>) {
    let node = |kind, hears, consumes| Step { kind, acl: AclOf::Node, hears, consumes };
    match change {
        EventType::NodeCreated => {
            (node(change, Modes::DATA_TABLE, Modes::DATA), Some(CHILDREN_CHANGED))
        }
        EventType::NodeDeleted => {
            (node(change, Modes::ALL, Modes::DATA.with(Modes::CHILD)), Some(CHILDREN_CHANGED))
        }
        EventType::NodeDataChanged => (node(change, Modes::DATA_TABLE, Modes::DATA), None),
        // The tree reports creates and deletes, not this consequence of theirs; told of it alone,
        // fire it alone.
        EventType::NodeChildrenChanged => (CHILDREN_CHANGED, None),
    }
}

/// A list of setWatches whose paths may have changed while the client was away. The two persistent
/// lists of setWatches2 are only set again, with `WatchTable::add_watch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissedList {
    /// Data watches on nodes that were there.
    Data,
    /// Exists watches on nodes that were not.
    Exist,
    /// Child watches.
    Child,
}

/// What setWatches does with one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// The client missed this event: send it, with zxid -1 and whatever the ACL says.
    Fire(EventType),
    /// Nothing missed: set the watch.
    Set(Modes),
}

/// What the client of a setWatches missed at one path. `node` has its mzxid and pzxid, none when
/// the node is missing; `relative_zxid` is the newest zxid whose events the client has seen and
/// comes from the client: it is compared signed, as ZooKeeper does.
pub fn catch_up(list: MissedList, node: Option<(Zxid, Zxid)>, relative_zxid: i64) -> CatchUp {
    let newer = |zxid: Zxid| zxid.to_wire() > relative_zxid;
    match (list, node) {
        (MissedList::Exist, None) => CatchUp::Set(Modes::DATA),
        (MissedList::Exist, Some(_)) => CatchUp::Fire(EventType::NodeCreated),
        (MissedList::Data | MissedList::Child, None) => CatchUp::Fire(EventType::NodeDeleted),
        (MissedList::Data, Some((mzxid, _))) if newer(mzxid) => {
            CatchUp::Fire(EventType::NodeDataChanged)
        }
        (MissedList::Data, Some(_)) => CatchUp::Set(Modes::DATA),
        (MissedList::Child, Some((_, pzxid))) if newer(pzxid) => {
            CatchUp::Fire(EventType::NodeChildrenChanged)
        }
        (MissedList::Child, Some(_)) => CatchUp::Set(Modes::CHILD),
    }
}

/// The path whose child `path` is, none for the root.
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|byte| *byte == b'/')? {
        0 if path.len() == 1 => None,
        0 => Some(b"/"),
        slash => Some(&path[..slash]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn parents_of_children_of_the_root_are_the_root() {
        assert_eq!(parent(b"/a/b"), Some(&b"/a"[..]));
        assert_eq!(parent(b"/a"), Some(&b"/"[..]));
        assert_eq!(parent(b"/"), None);
        assert_eq!(parent(b""), None);
    }

    #[test]
    fn persistent_watches_count_in_both_tables() {
        assert_eq!(Modes::PERSISTENT.count(), 2);
        assert_eq!(Modes::RECURSIVE.count(), 1);
        assert_eq!(Modes::DATA.with(Modes::RECURSIVE).count(), 1);
        assert_eq!(Modes::DATA.with(Modes::CHILD).count(), 2);
        assert_eq!(Modes::NONE.count(), 0);
    }

    #[test]
    fn set_watches_makes_up_for_what_was_missed() {
        let mut text = String::new();
        let nodes = [
            ("missing", None),
            ("unchanged", Some((Zxid(5), Zxid(5)))),
            ("set", Some((Zxid(6), Zxid(5)))),
            ("children", Some((Zxid(5), Zxid(6)))),
        ];
        for list in [MissedList::Data, MissedList::Exist, MissedList::Child] {
            for (name, node) in nodes {
                text += &format!("{list:?} {name}: {:?}\n", catch_up(list, node, 5));
            }
        }
        text += &format!("never seen any: {:?}\n", catch_up(MissedList::Data, nodes[1].1, -1));
        expect![[r#"
            Data missing: Fire(NodeDeleted)
            Data unchanged: Set(Modes(1))
            Data set: Fire(NodeDataChanged)
            Data children: Set(Modes(1))
            Exist missing: Set(Modes(1))
            Exist unchanged: Fire(NodeCreated)
            Exist set: Fire(NodeCreated)
            Exist children: Fire(NodeCreated)
            Child missing: Fire(NodeDeleted)
            Child unchanged: Set(Modes(2))
            Child set: Set(Modes(2))
            Child children: Fire(NodeChildrenChanged)
            never seen any: Fire(NodeDataChanged)
        "#]]
        .assert_eq(&text);
    }
}
