//! Scenarios in words, the slow twin, and the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// Writes down what fires, in order.
#[derive(Debug, Default)]
struct Told {
    event: Option<(EventType, Vec<u8>, AclOf)>,
    told: Vec<(ConnKey, EventType, Vec<u8>, AclOf)>,
}

impl Sink for Told {
    fn event(&mut self, event: &Event<'_>) {
        self.event = Some((event.kind, event.path.to_vec(), event.acl));
    }
    fn notify(&mut self, conn: ConnKey) {
        let (kind, path, acl) = self.event.clone().expect("an event comes before its watchers");
        self.told.push((conn, kind, path, acl));
    }
}

fn fire(table: &mut WatchTable, change: EventType, path: &[u8]) -> Told {
    let mut told = Told::default();
    table.fire(change, path, &mut told);
    told
}

/// Runs one command a line: `set|check|remove CONN WHAT PATH`, `drop CONN`,
/// `create|delete|set-data PATH`, `counts`, `wchc`, `wchp`.
fn check(script: &str, expected: Expect) {
    let mut table = WatchTable::new();
    let mut text = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let conn = || ConnKey(words[1].parse().unwrap());
        let kind = || match words[2] {
            "data" => WatcherType::Data,
            "child" => WatcherType::Children,
            "any" => WatcherType::Any,
            "persistent" => WatcherType::Persistent,
            "recursive" => WatcherType::PersistentRecursive,
            other => panic!("{other}"),
        };
        let outcome = match words[0] {
            "set" => {
                match kind() {
                    WatcherType::Persistent => {
                        table.add_watch(words[3].as_bytes(), conn(), AddWatchMode::Persistent);
                    }
                    WatcherType::PersistentRecursive => {
                        let mode = AddWatchMode::PersistentRecursive;
                        table.add_watch(words[3].as_bytes(), conn(), mode);
                    }
                    kind @ (WatcherType::Data | WatcherType::Children | WatcherType::Any) => {
                        table.set(words[3].as_bytes(), conn(), Modes::of(kind));
                    }
                }
                String::new()
            }
            "check" => table.check(words[3].as_bytes(), conn(), kind()).to_string(),
            "remove" => table.remove(words[3].as_bytes(), conn(), kind()).to_string(),
            "drop" => {
                table.drop_conn(conn());
                String::new()
            }
            "counts" => format!(
                "{} connections, {} paths, {} watches",
                table.connection_count(),
                table.path_count(),
                table.watch_count()
            ),
            "wchc" => {
                let conns: Vec<ConnKey> = table.connections().collect();
                let mut text = String::new();
                for conn in conns {
                    let paths = table.paths_of(conn).map(|(path, _)| String::from_utf8_lossy(path));
                    let paths: Vec<_> = paths.collect();
                    write!(text, "{}: {}; ", conn.0, paths.join(" ")).unwrap();
                }
                text
            }
            "wchp" => {
                let mut text = String::new();
                for (_, path, watchers) in table.watched(0) {
                    let watchers: BTreeSet<_> = watchers.map(|(conn, _)| conn.0).collect();
                    write!(text, "{}: {watchers:?}; ", String::from_utf8_lossy(path)).unwrap();
                }
                text
            }
            change => {
                let change = match change {
                    "create" => EventType::NodeCreated,
                    "delete" => EventType::NodeDeleted,
                    "set-data" => EventType::NodeDataChanged,
                    other => panic!("{other}"),
                };
                let mut told = fire(&mut table, change, words[1].as_bytes()).told;
                // Connections have no order among them, events have.
                for of_event in told.chunk_by_mut(|a, b| (a.1, &a.2) == (b.1, &b.2)) {
                    of_event.sort_unstable_by_key(|(conn, ..)| *conn);
                }
                let told: Vec<String> = told
                    .iter()
                    .map(|(conn, kind, path, acl)| {
                        let path = String::from_utf8_lossy(path);
                        format!("{} {kind:?} {path} ({acl:?})", conn.0)
                    })
                    .collect();
                told.join(", ")
            }
        };
        writeln!(text, "{}", format!("{line:<26} {outcome}").trim_end()).unwrap();
    }
    expected.assert_eq(&text);
}

/// Connections: 1 data, 2 child, 3 child of the parent, 4 persistent, 5 persistent on the parent,
/// 6 recursive on the node, 7 on the parent, 8 on the root, 9 data watch of the parent.
const EVERYONE: &str = "
    set 1 data /q/p
    set 2 child /q/p
    set 3 child /q
    set 4 persistent /q/p
    set 5 persistent /q
    set 6 recursive /q/p
    set 7 recursive /q
    set 8 recursive /
    set 9 data /q
";

fn check_everyone(script: &str, expected: Expect) {
    check(&format!("{EVERYONE}{script}"), expected);
}

#[test]
fn create_tells_the_node_and_the_parents_children_watchers() {
    check_everyone(
        "create /q/p
         create /q/p",
        expect![[r#"
            set 1 data /q/p
            set 2 child /q/p
            set 3 child /q
            set 4 persistent /q/p
            set 5 persistent /q
            set 6 recursive /q/p
            set 7 recursive /q
            set 8 recursive /
            set 9 data /q
            create /q/p                1 NodeCreated /q/p (Node), 4 NodeCreated /q/p (Node), 6 NodeCreated /q/p (Node), 7 NodeCreated /q/p (Node), 8 NodeCreated /q/p (Node), 3 NodeChildrenChanged /q (Parent), 5 NodeChildrenChanged /q (Parent)
            create /q/p                4 NodeCreated /q/p (Node), 6 NodeCreated /q/p (Node), 7 NodeCreated /q/p (Node), 8 NodeCreated /q/p (Node), 5 NodeChildrenChanged /q (Parent)
        "#]],
    );
}

#[test]
fn set_data_tells_the_data_table_of_the_node_alone() {
    check_everyone(
        "set-data /q/p
         set-data /q/p",
        expect![[r#"
            set 1 data /q/p
            set 2 child /q/p
            set 3 child /q
            set 4 persistent /q/p
            set 5 persistent /q
            set 6 recursive /q/p
            set 7 recursive /q
            set 8 recursive /
            set 9 data /q
            set-data /q/p              1 NodeDataChanged /q/p (Node), 4 NodeDataChanged /q/p (Node), 6 NodeDataChanged /q/p (Node), 7 NodeDataChanged /q/p (Node), 8 NodeDataChanged /q/p (Node)
            set-data /q/p              4 NodeDataChanged /q/p (Node), 6 NodeDataChanged /q/p (Node), 7 NodeDataChanged /q/p (Node), 8 NodeDataChanged /q/p (Node)
        "#]],
    );
}

#[test]
fn delete_tells_both_tables_of_the_node_and_the_parents_children_watchers() {
    check_everyone(
        "delete /q/p
         delete /q/p
         counts",
        expect![[r#"
            set 1 data /q/p
            set 2 child /q/p
            set 3 child /q
            set 4 persistent /q/p
            set 5 persistent /q
            set 6 recursive /q/p
            set 7 recursive /q
            set 8 recursive /
            set 9 data /q
            delete /q/p                1 NodeDeleted /q/p (Node), 2 NodeDeleted /q/p (Node), 4 NodeDeleted /q/p (Node), 6 NodeDeleted /q/p (Node), 7 NodeDeleted /q/p (Node), 8 NodeDeleted /q/p (Node), 3 NodeChildrenChanged /q (Parent), 5 NodeChildrenChanged /q (Parent)
            delete /q/p                4 NodeDeleted /q/p (Node), 6 NodeDeleted /q/p (Node), 7 NodeDeleted /q/p (Node), 8 NodeDeleted /q/p (Node), 5 NodeChildrenChanged /q (Parent)
            counts                     6 connections, 3 paths, 8 watches
        "#]],
    );
}

#[test]
fn a_connection_hears_each_event_once_whatever_it_set() {
    check(
        "set 1 data /q/p
         set 1 child /q/p
         set 1 persistent /q/p
         set 1 recursive /q/p
         set 1 recursive /
         set 1 persistent /q
         set 1 child /q
         counts
         set-data /q/p
         create /q/p
         delete /q/p
         counts",
        expect![[r#"
            set 1 data /q/p
            set 1 child /q/p
            set 1 persistent /q/p
            set 1 recursive /q/p
            set 1 recursive /
            set 1 persistent /q
            set 1 child /q
            counts                     1 connections, 3 paths, 5 watches
            set-data /q/p              1 NodeDataChanged /q/p (Node)
            create /q/p                1 NodeCreated /q/p (Node), 1 NodeChildrenChanged /q (Parent)
            delete /q/p                1 NodeDeleted /q/p (Node), 1 NodeChildrenChanged /q (Parent)
            counts                     1 connections, 3 paths, 5 watches
        "#]],
    );
}

#[test]
fn a_child_watch_outlives_what_only_the_data_table_sees() {
    check(
        "set 1 child /p
         set 1 data /p
         create /p
         set-data /p
         create /p/c
         create /p/d
         delete /p",
        expect![[r#"
            set 1 child /p
            set 1 data /p
            create /p                  1 NodeCreated /p (Node)
            set-data /p
            create /p/c                1 NodeChildrenChanged /p (Parent)
            create /p/d
            delete /p
        "#]],
    );
}

#[test]
fn recursive_watchers_hear_of_the_whole_subtree_and_never_of_children() {
    check(
        "set 1 recursive /a
         create /a
         create /a/b
         create /a/b/c
         set-data /a/b/c
         delete /a/b/c
         create /ab
         create /
         set-data /",
        expect![[r#"
            set 1 recursive /a
            create /a                  1 NodeCreated /a (Node)
            create /a/b                1 NodeCreated /a/b (Node)
            create /a/b/c              1 NodeCreated /a/b/c (Node)
            set-data /a/b/c            1 NodeDataChanged /a/b/c (Node)
            delete /a/b/c              1 NodeDeleted /a/b/c (Node)
            create /ab
            create /
            set-data /
        "#]],
    );
}

#[test]
fn the_root_is_the_parent_of_its_children() {
    check(
        "set 1 child /
         set 2 persistent /
         set 3 recursive /
         set 4 data /
         create /x
         set-data /
         delete /x",
        expect![[r#"
            set 1 child /
            set 2 persistent /
            set 3 recursive /
            set 4 data /
            create /x                  3 NodeCreated /x (Node), 1 NodeChildrenChanged / (Parent), 2 NodeChildrenChanged / (Parent)
            set-data /                 2 NodeDataChanged / (Node), 3 NodeDataChanged / (Node), 4 NodeDataChanged / (Node)
            delete /x                  3 NodeDeleted /x (Node), 2 NodeChildrenChanged / (Parent)
        "#]],
    );
}

#[test]
fn remove_and_check_look_at_one_path_and_the_asked_modes() {
    check(
        "set 1 recursive /a
         check 1 recursive /a/b
         check 1 recursive /a
         check 1 any /a
         check 1 data /a
         check 2 any /a
         set 1 data /a
         set 1 persistent /a
         check 1 child /a
         remove 1 child /a
         remove 1 data /a
         remove 1 data /a
         check 1 persistent /a
         counts
         remove 1 any /a
         counts
         remove 1 any /a
         check 1 any /never",
        expect![[r#"
            set 1 recursive /a
            check 1 recursive /a/b     false
            check 1 recursive /a       true
            check 1 any /a             true
            check 1 data /a            false
            check 2 any /a             false
            set 1 data /a
            set 1 persistent /a
            check 1 child /a           false
            remove 1 child /a          false
            remove 1 data /a           true
            remove 1 data /a           false
            check 1 persistent /a      true
            counts                     1 connections, 1 paths, 2 watches
            remove 1 any /a            true
            counts                     0 connections, 0 paths, 0 watches
            remove 1 any /a            false
            check 1 any /never         false
        "#]],
    );
}

#[test]
fn a_dropped_connection_leaves_the_others() {
    check(
        "set 1 data /a
         set 2 data /a
         set 1 persistent /b
         set 2 child /c
         set 3 data /a
         set 4 data /a
         set 1 recursive /d
         wchc
         wchp
         counts
         drop 1
         drop 1
         drop 77
         wchc
         wchp
         counts
         set-data /a
         counts",
        expect![[r#"
            set 1 data /a
            set 2 data /a
            set 1 persistent /b
            set 2 child /c
            set 3 data /a
            set 4 data /a
            set 1 recursive /d
            wchc                       1: /a /b /d; 2: /a /c; 3: /a; 4: /a;
            wchp                       /a: {1, 2, 3, 4}; /b: {1}; /c: {2}; /d: {1};
            counts                     4 connections, 4 paths, 8 watches
            drop 1
            drop 1
            drop 77
            wchc                       2: /a /c; 3: /a; 4: /a;
            wchp                       /a: {2, 3, 4}; /c: {2};
            counts                     3 connections, 2 paths, 4 watches
            set-data /a                2 NodeDataChanged /a (Node), 3 NodeDataChanged /a (Node), 4 NodeDataChanged /a (Node)
            counts                     1 connections, 1 paths, 1 watches
        "#]],
    );
}

#[test]
fn a_watch_set_again_after_each_event_does_not_pile_up() {
    let mut table = WatchTable::new();
    let conn = ConnKey(3);
    for path in 0..100 {
        table.set(format!("/{path}").as_bytes(), conn, Modes::DATA);
    }
    for round in 0..10_000 {
        let path = format!("/{}", round % 100);
        assert_eq!(fire(&mut table, EventType::NodeDataChanged, path.as_bytes()).told.len(), 1);
        table.set(path.as_bytes(), conn, Modes::DATA);
        assert!(table.conns[3].paths.len() <= 2 * 100 + 64 + 1);
    }
    assert_eq!(table.paths_of(conn).count(), 100);
    assert_eq!(table.paths.slots(), 100);
}

/// ZooKeeper's two tables, said as plainly as possible.
#[derive(Debug, Default)]
struct Twin {
    data: BTreeSet<(Vec<u8>, ConnKey, &'static str)>,
    child: BTreeSet<(Vec<u8>, ConnKey, &'static str)>,
}

impl Twin {
    fn set(&mut self, path: &[u8], conn: ConnKey, kind: WatcherType) {
        let path = path.to_vec();
        match kind {
            WatcherType::Data => drop(self.data.insert((path, conn, "standard"))),
            WatcherType::Children => drop(self.child.insert((path, conn, "standard"))),
            WatcherType::Persistent => {
                self.data.insert((path.clone(), conn, "persistent"));
                self.child.insert((path, conn, "persistent"));
            }
            WatcherType::PersistentRecursive => drop(self.data.insert((path, conn, "recursive"))),
            WatcherType::Any => unreachable!(),
        }
    }

    fn remove(&mut self, path: &[u8], conn: ConnKey, kind: WatcherType) -> bool {
        let before = self.data.len() + self.child.len();
        let hit = |at: &[u8], of: ConnKey, mode: &str, wanted: Option<&str>| {
            at == path && of == conn && wanted.is_none_or(|wanted| mode == wanted)
        };
        let (data, child) = match kind {
            WatcherType::Data => (Some(Some("standard")), None),
            WatcherType::Children => (None, Some(Some("standard"))),
            WatcherType::Persistent => (Some(Some("persistent")), Some(Some("persistent"))),
            WatcherType::PersistentRecursive => (Some(Some("recursive")), None),
            WatcherType::Any => (Some(None), Some(None)),
        };
        if let Some(wanted) = data {
            self.data.retain(|(at, of, mode)| !hit(at, *of, mode, wanted));
        }
        if let Some(wanted) = child {
            self.child.retain(|(at, of, mode)| !hit(at, *of, mode, wanted));
        }
        before > self.data.len() + self.child.len()
    }

    fn fire(&mut self, change: EventType, path: &[u8]) -> Vec<(ConnKey, EventType, Vec<u8>)> {
        let mut told = Vec::new();
        let mut tell = |conns: BTreeSet<ConnKey>, kind, path: &[u8]| {
            told.extend(conns.into_iter().map(|conn| (conn, kind, path.to_vec())));
        };
        let text = String::from_utf8(path.to_vec()).unwrap();
        let below = |root: &[u8]| {
            let root = String::from_utf8(root.to_vec()).unwrap();
            root == text || root == "/" || text.starts_with(&format!("{root}/"))
        };
        let data: BTreeSet<ConnKey> = self
            .data
            .iter()
            .filter(|(at, _, mode)| at == path || (*mode == "recursive" && below(at)))
            .map(|(_, conn, _)| *conn)
            .collect();
        self.data.retain(|(at, _, mode)| at != path || *mode != "standard");
        tell(data.clone(), change, path);
        let mut child = |at: &[u8]| {
            let conns: BTreeSet<_> = self
                .child
                .iter()
                .filter(|(path, ..)| path == at)
                .map(|(_, conn, _)| *conn)
                .collect();
            self.child.retain(|(path, _, mode)| path != at || *mode != "standard");
            conns
        };
        if change == EventType::NodeDeleted {
            tell(child(path).difference(&data).copied().collect(), change, path);
        }
        if change != EventType::NodeDataChanged && path != b"/" {
            let slash = text.rfind('/').unwrap();
            let parent = if slash == 0 { "/" } else { &text[..slash] };
            tell(child(parent.as_bytes()), EventType::NodeChildrenChanged, parent.as_bytes());
        }
        told
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set(usize, u32, WatcherType),
    Check(usize, u32, WatcherType),
    Remove(usize, u32, WatcherType),
    Drop(u32),
    Fire(EventType, usize),
}

const PATHS: [&str; 9] = ["/", "/a", "/a/b", "/a/b/c", "/a/bb", "/ab", "/a/b/d", "/x", "/x/y"];

fn op() -> impl Strategy<Value = Op> {
    use WatcherType::{Any, Children, Data, Persistent, PersistentRecursive};
    let settable = prop::sample::select(vec![Data, Children, Persistent, PersistentRecursive]);
    let any = prop::sample::select(vec![Data, Children, Any, Persistent, PersistentRecursive]);
    let change = prop::sample::select(vec![
        EventType::NodeCreated,
        EventType::NodeDeleted,
        EventType::NodeDataChanged,
    ]);
    let (path, conn) = (0..PATHS.len(), 0..7_u32);
    prop_oneof![
        8 => (path.clone(), conn.clone(), settable).prop_map(|(p, c, k)| Op::Set(p, c, k)),
        2 => (path.clone(), conn.clone(), any.clone()).prop_map(|(p, c, k)| Op::Check(p, c, k)),
        2 => (path.clone(), conn.clone(), any).prop_map(|(p, c, k)| Op::Remove(p, c, k)),
        1 => conn.prop_map(Op::Drop),
        4 => (change, path).prop_map(|(k, p)| Op::Fire(k, p)),
    ]
}

proptest! {
    #[test]
    fn agrees_with_the_slow_twin(ops in prop::collection::vec(op(), 1..200)) {
        let (mut table, mut twin) = (WatchTable::new(), Twin::default());
        for op in ops {
            match op {
                Op::Set(path, conn, kind) => {
                    table.set(PATHS[path].as_bytes(), ConnKey(conn), Modes::of(kind));
                    twin.set(PATHS[path].as_bytes(), ConnKey(conn), kind);
                }
                Op::Check(path, conn, kind) => {
                    let (path, conn) = (PATHS[path].as_bytes(), ConnKey(conn));
                    let mut copy = Twin { data: twin.data.clone(), child: twin.child.clone() };
                    prop_assert_eq!(table.check(path, conn, kind), copy.remove(path, conn, kind));
                }
                Op::Remove(path, conn, kind) => {
                    let (path, conn) = (PATHS[path].as_bytes(), ConnKey(conn));
                    prop_assert_eq!(table.remove(path, conn, kind), twin.remove(path, conn, kind));
                }
                Op::Drop(conn) => {
                    table.drop_conn(ConnKey(conn));
                    twin.data.retain(|(_, of, _)| of.0 != conn);
                    twin.child.retain(|(_, of, _)| of.0 != conn);
                }
                Op::Fire(change, path) => {
                    let told = fire(&mut table, change, PATHS[path].as_bytes()).told;
                    // One connection's events in order; connections among each other have none.
                    let mut fast = BTreeMap::<_, Vec<_>>::new();
                    for (conn, kind, path, acl) in told {
                        let parents = kind == EventType::NodeChildrenChanged;
                        prop_assert_eq!(acl, if parents { AclOf::Parent } else { AclOf::Node });
                        fast.entry(conn).or_default().push((kind, path));
                    }
                    let mut slow = BTreeMap::<_, Vec<_>>::new();
                    for (conn, kind, path) in twin.fire(change, PATHS[path].as_bytes()) {
                        slow.entry(conn).or_default().push((kind, path));
                    }
                    prop_assert_eq!(fast, slow);
                }
            }
            let in_table = |set: &BTreeSet<(Vec<u8>, ConnKey, &str)>| {
                set.iter().map(|(path, conn, _)| (path.clone(), *conn)).collect::<BTreeSet<_>>()
            };
            let (data, child) = (in_table(&twin.data), in_table(&twin.child));
            let pairs: BTreeSet<_> = data.union(&child).cloned().collect();
            prop_assert_eq!(table.watch_count(), data.len() + child.len());
            prop_assert_eq!(table.is_empty(), pairs.is_empty());
            let conns: BTreeSet<_> = pairs.iter().map(|(_, conn)| *conn).collect();
            prop_assert_eq!(table.connection_count(), conns.len());
            prop_assert_eq!(table.connections().collect::<BTreeSet<_>>(), conns.clone());
            let paths: BTreeSet<_> = pairs.iter().map(|(path, _)| path).collect();
            prop_assert_eq!(table.path_count(), paths.len());
            let mut by_path = BTreeSet::new();
            for (_, path, watchers) in table.watched(0) {
                by_path.extend(watchers.map(|(conn, _)| (path.to_vec(), conn)));
            }
            prop_assert_eq!(&by_path, &pairs);
            let mut by_conn = Vec::new();
            for conn in conns {
                by_conn.extend(table.paths_of(conn).map(|(path, _)| (path.to_vec(), conn)));
            }
            prop_assert_eq!(by_conn.len(), pairs.len());
            prop_assert_eq!(by_conn.into_iter().collect::<BTreeSet<_>>(), pairs);
        }
    }
}
