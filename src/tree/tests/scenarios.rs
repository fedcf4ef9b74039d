//! Text in, text out: one zxid a command, time is 1000 + zxid, data is text.

use super::*;
use crate::wire::txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn, SetAclTxn, SetDataTxn};
use expect_test::{Expect, expect};
use std::fmt::Write as _;

/// Session of every txn but closes.
const SESSION: i64 = 7;

/// A word `key=value` of a command as a number.
fn number(words: &[&str], key: &str) -> Option<i64> {
    let value = words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.parse().expect("a number"))
}

/// A txn without its zxid; `None` for other commands.
fn txn<'a>(tree: &DataTree, words: &[&'a str]) -> Option<Txn<'a>> {
    let path = words.get(1).unwrap_or(&"").as_bytes();
    let data = match words.get(2) {
        Some(&"null") | None => None,
        Some(word) => Some(word.trim_matches('"').as_bytes()),
    };
    let parent = path::parent(path).unwrap_or_default();
    let creates = tree.get(parent).map_or(0, |node| node.creates());
    let pcv = number(words, "pcv")
        .map_or(creates.wrapping_add(1), |pcv| i32::try_from(pcv).expect("32 bits"));
    let acl = AclList::OPEN;
    Some(match words[0] {
        "create" => {
            Txn::Create(CreateTxn { path, data, acl, ephemeral: false, parent_cversion: pcv })
        }
        "create2" => {
            Txn::Create2(CreateTxn { path, data, acl, ephemeral: false, parent_cversion: pcv })
        }
        "ephemeral" => {
            Txn::Create(CreateTxn { path, data, acl, ephemeral: true, parent_cversion: pcv })
        }
        "container" => {
            Txn::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion: pcv })
        }
        "ttl" => Txn::CreateTtl(CreateTtlTxn {
            path,
            data,
            acl,
            parent_cversion: pcv,
            ttl_ms: number(words, "ms").expect("a ttl"),
        }),
        "delete" => Txn::Delete(path),
        "set" => {
            let version = tree.get(path).map_or(0, |node| node.version()).wrapping_add(1);
            Txn::SetData(SetDataTxn { path, data, version })
        }
        "acl" => Txn::SetAcl(SetAclTxn { path, acl: AclList::READ_ONLY, version: 1 }),
        "error" => Txn::Error(-103),
        _ => return None,
    })
}

fn show(node: Option<NodeRef<'_>>) -> String {
    let Some(node) = node else { return "none".into() };
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let data = node.data().map_or("null".into(), |data| format!("{:?}", text(data)));
    let s = node.stat();
    let mut names: Vec<_> = node.children().map(text).collect();
    names.sort();
    format!(
        "{data} c{} m{} p{} t{}/{} v{} C{} cv{} a{} owner {:x} [{}]",
        s.czxid,
        s.mzxid,
        s.pzxid,
        s.ctime,
        s.mtime,
        s.version,
        node.creates(),
        s.cversion,
        s.aversion,
        node.owner_raw(),
        names.join(" "),
    )
}

fn outcome(changes: &[Change], results: &[Applied]) -> String {
    let mut out = String::new();
    for change in changes {
        let path = change.path.escape_ascii();
        write!(out, " {:?} {path};", change.kind).expect("a string takes all");
    }
    for result in results {
        match result {
            Applied::Stat(stat) => write!(out, " stat v{} len{}", stat.version, stat.data_length),
            Applied::Done => write!(out, " done"),
            Applied::Error(code) => write!(out, " {code:?}"),
        }
        .expect("a string takes all");
    }
    out
}

fn check(script: &str, expected: Expect) {
    let mut tree = DataTree::new(TreeOptions::default());
    let reader = tree.reader();
    let (mut zxid, mut savepoint, mut out) = (0, tree.savepoint(), String::new());
    let mut views = Vec::new();
    for command in script.split(';').map(str::trim) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let path = words.get(1).unwrap_or(&"").as_bytes();
        let result = match words[0] {
            "show" => format!(" {}", show(tree.get(path))),
            "read" => {
                reader.set_visible(reader.published());
                let pin = reader.pin();
                format!(" {}", show(pin.get(path, reader.visible())))
            }
            "savepoint" => {
                savepoint = tree.savepoint();
                String::new()
            }
            "rollback" => {
                tree.rollback(savepoint);
                String::new()
            }
            "publish" => {
                tree.publish(Zxid(zxid));
                reader.set_visible(tree.published());
                tree.collect(tree.min_visible(), 100);
                tree.collect(tree.min_visible(), 100);
                let (garbage, waiting) = tree.backlog();
                format!(" {} nodes, {waiting} waiting, {garbage} garbage", tree.store.linked())
            }
            "view" => {
                views.push(tree.view());
                String::new()
            }
            "viewed" => {
                let view = views.last_mut().expect("a view");
                format!(" {}", view.get(path, |node| show(Some(node))).unwrap_or("none".into()))
            }
            "unview" => {
                views.clear();
                String::new()
            }
            "expired" => {
                let now = number(&words, "now").expect("a time");
                let paths = tree.expired_containers(now, number(&words, "unused").unwrap_or(0));
                paths.map(|path| format!(" {}", path.escape_ascii())).collect()
            }
            "owned" => {
                let paths = tree.ephemerals(SessionId(SESSION));
                paths.map(|path| format!(" {}", path.escape_ascii())).collect()
            }
            "quota" => {
                let (count, bytes) = (number(&words, "count"), number(&words, "bytes"));
                let over = tree.quota_exceeded(
                    path,
                    count.unwrap_or(0),
                    bytes.unwrap_or(0),
                    tree.last_zxid().next(),
                );
                over.map_or(" fits".into(), |over| {
                    format!(
                        " {:?} {} > {}, hard {}",
                        over.what, over.current, over.limit, over.hard
                    )
                })
            }
            "close" => {
                zxid += 1;
                let (changes, results) =
                    apply(&mut tree, SESSION, zxid, &Txn::CloseSession(Some(vec![])));
                outcome(&changes, &results)
            }
            "multi" => {
                zxid += 1;
                let parts = command["multi".len()..].split('+');
                let txns = parts.map(|part| {
                    let words: Vec<&str> = part.split_whitespace().collect();
                    txn(&tree, &words).expect("a txn")
                });
                let txn = Txn::Multi(txns.collect());
                let (changes, results) = apply(&mut tree, SESSION, zxid, &txn);
                outcome(&changes, &results)
            }
            _ => {
                zxid += 1;
                let txn = txn(&tree, &words).expect("a command");
                let (changes, results) = apply(&mut tree, SESSION, zxid, &txn);
                outcome(&changes, &results)
            }
        };
        writeln!(out, "{command}:{result}").expect("a string takes all");
        check_sums(&tree);
    }
    expected.assert_eq(&out);
}

#[test]
fn at_birth_there_are_four_nodes_with_javas_digest() {
    let tree = DataTree::new(TreeOptions::default());
    assert_eq!(tree.digest(), 1_371_985_504);
    assert_eq!((tree.node_count(), tree.approximate_data_size()), (5, 44));
    check(
        "show /; show /zookeeper; show /zookeeper/quota; show /zookeeper/config; read /",
        expect![[r#"
            show /: "" c0 m0 p0 t0/0 v0 C0 cv-1 a0 owner 0 [zookeeper]
            show /zookeeper: "" c0 m0 p0 t0/0 v0 C0 cv-2 a0 owner 0 [config quota]
            show /zookeeper/quota: "" c0 m0 p0 t0/0 v0 C0 cv0 a0 owner 0 []
            show /zookeeper/config: "" c0 m0 p0 t0/0 v0 C0 cv0 a-1 owner 0 []
            read /: "" c0 m0 p0 t0/0 v0 C0 cv-1 a0 owner 0 [zookeeper]
        "#]],
    );
}

#[test]
fn creates_and_deletes_move_the_parents_counters() {
    check(
        "create /a x; create /a/b null; create /a/c \"\"; show /a; show /a/b; show /a/c; \
         delete /a/b; show /a; delete /a/b; delete /b/c; create /b/c x; create /a y; delete /",
        expect![[r#"
            create /a x: NodeCreated /a; stat v0 len1
            create /a/b null: NodeCreated /a/b; stat v0 len0
            create /a/c "": NodeCreated /a/c; stat v0 len0
            show /a: "x" c1 m1 p3 t1001/1001 v0 C2 cv2 a0 owner 0 [b c]
            show /a/b: null c2 m2 p2 t1002/1002 v0 C0 cv0 a0 owner 0 []
            show /a/c: "" c3 m3 p3 t1003/1003 v0 C0 cv0 a0 owner 0 []
            delete /a/b: NodeDeleted /a/b; done
            show /a: "x" c1 m1 p4 t1001/1001 v0 C2 cv3 a0 owner 0 [c]
            delete /a/b: NoNode
            delete /b/c: NoNode
            create /b/c x: NoNode
            create /a y: NodeExists
            delete /: BadArguments
        "#]],
    );
}

#[test]
fn sets_move_version_and_times_and_leave_the_parent_alone() {
    check(
        "create /a x; set /a yy; show /a; acl /a; show /a; set /a null; show /a; set /b x; \
         show /; set / r; show /",
        expect![[r#"
            create /a x: NodeCreated /a; stat v0 len1
            set /a yy: NodeDataChanged /a; stat v1 len2
            show /a: "yy" c1 m2 p1 t1001/1002 v1 C0 cv0 a0 owner 0 []
            acl /a: stat v1 len2
            show /a: "yy" c1 m2 p1 t1001/1002 v1 C0 cv0 a1 owner 0 []
            set /a null: NodeDataChanged /a; stat v2 len0
            show /a: null c1 m4 p1 t1001/1004 v2 C0 cv0 a1 owner 0 []
            set /b x: NoNode
            show /: "" c0 m0 p1 t0/0 v0 C1 cv0 a0 owner 0 [a zookeeper]
            set / r: NodeDataChanged /; stat v1 len1
            show /: "r" c0 m6 p1 t0/1006 v1 C1 cv0 a0 owner 0 [a zookeeper]
        "#]],
    );
}

#[test]
fn a_failed_multi_changes_nothing_and_one_that_works_is_one_zxid() {
    check(
        "multi create /a x + create /a/b y pcv=1 + set /a z; show /a; show /a/b; \
         multi delete /a/b + error; show /a; multi delete /a/b + create /a/b w pcv=2; show /a; \
         show /a/b",
        expect![[r#"
            multi create /a x + create /a/b y pcv=1 + set /a z: NodeCreated /a; NodeCreated /a/b; NodeDataChanged /a; stat v0 len1 stat v0 len1 stat v1 len1
            show /a: "z" c1 m1 p1 t1001/1001 v1 C1 cv1 a0 owner 0 [b]
            show /a/b: "y" c1 m1 p1 t1001/1001 v0 C0 cv0 a0 owner 0 []
            multi delete /a/b + error: done BadVersion
            show /a: "z" c1 m1 p1 t1001/1001 v1 C1 cv1 a0 owner 0 [b]
            multi delete /a/b + create /a/b w pcv=2: NodeDeleted /a/b; NodeCreated /a/b; done stat v0 len1
            show /a: "z" c1 m1 p3 t1001/1001 v1 C2 cv3 a0 owner 0 [b]
            show /a/b: "w" c3 m3 p3 t1003/1003 v0 C0 cv0 a0 owner 0 []
        "#]],
    );
}

#[test]
fn a_rollback_leaves_no_trace() {
    check(
        "create /a x; publish; savepoint; ephemeral /a/e 1; set /a y; container /c null; \
         delete /a/e; ttl /t x ms=5; owned; expired now=99999 unused=1; rollback; show /a; \
         show /; owned; expired now=99999 unused=1; publish; read /a",
        expect![[r#"
            create /a x: NodeCreated /a; stat v0 len1
            publish: 5 nodes, 0 waiting, 0 garbage
            savepoint:
            ephemeral /a/e 1: NodeCreated /a/e; stat v0 len1
            set /a y: NodeDataChanged /a; stat v1 len1
            container /c null: NodeCreated /c; stat v0 len0
            delete /a/e: NodeDeleted /a/e; done
            ttl /t x ms=5: NodeCreated /t; stat v0 len1
            owned:
            expired now=99999 unused=1: /c /t
            rollback:
            show /a: "x" c1 m1 p1 t1001/1001 v0 C0 cv0 a0 owner 0 []
            show /: "" c0 m0 p1 t0/0 v0 C1 cv0 a0 owner 0 [a zookeeper]
            owned:
            expired now=99999 unused=1:
            publish: 5 nodes, 0 waiting, 0 garbage
            read /a: "x" c1 m1 p1 t1001/1001 v0 C0 cv0 a0 owner 0 []
        "#]],
    );
}

#[test]
fn readers_see_what_is_published_and_no_more() {
    check(
        "create /a x; read /a; publish; set /a y; read /a; show /a; publish; read /a; delete /a; \
         read /a; publish; read /a",
        expect![[r#"
            create /a x: NodeCreated /a; stat v0 len1
            read /a: none
            publish: 5 nodes, 0 waiting, 0 garbage
            set /a y: NodeDataChanged /a; stat v1 len1
            read /a: "x" c1 m1 p1 t1001/1001 v0 C0 cv0 a0 owner 0 []
            show /a: "y" c1 m2 p1 t1001/1002 v1 C0 cv0 a0 owner 0 []
            publish: 5 nodes, 0 waiting, 0 garbage
            read /a: "y" c1 m2 p1 t1001/1002 v1 C0 cv0 a0 owner 0 []
            delete /a: NodeDeleted /a; done
            read /a: "y" c1 m2 p1 t1001/1002 v1 C0 cv0 a0 owner 0 []
            publish: 4 nodes, 0 waiting, 0 garbage
            read /a: none
        "#]],
    );
}

#[test]
fn a_view_keeps_one_version_and_deleted_nodes_go_when_it_does() {
    check(
        "create /a 1; create /a/b 2; publish; view; set /a 3; set /a 4; set /a 5; publish; \
         viewed /a; delete /a/b; delete /a; publish; viewed /a; viewed /a/b; create /a 6; publish; \
         viewed /a; delete /a; publish; unview; publish",
        expect![[r#"
            create /a 1: NodeCreated /a; stat v0 len1
            create /a/b 2: NodeCreated /a/b; stat v0 len1
            publish: 6 nodes, 0 waiting, 0 garbage
            view:
            set /a 3: NodeDataChanged /a; stat v1 len1
            set /a 4: NodeDataChanged /a; stat v2 len1
            set /a 5: NodeDataChanged /a; stat v3 len1
            publish: 6 nodes, 1 waiting, 0 garbage
            viewed /a: "1" c1 m1 p2 t1001/1001 v0 C1 cv1 a0 owner 0 [b]
            delete /a/b: NodeDeleted /a/b; done
            delete /a: NodeDeleted /a; done
            publish: 6 nodes, 3 waiting, 0 garbage
            viewed /a: "1" c1 m1 p2 t1001/1001 v0 C1 cv1 a0 owner 0 [b]
            viewed /a/b: "2" c2 m2 p2 t1002/1002 v0 C0 cv0 a0 owner 0 []
            create /a 6: NodeCreated /a; stat v0 len1
            publish: 6 nodes, 3 waiting, 0 garbage
            viewed /a: "1" c1 m1 p2 t1001/1001 v0 C1 cv1 a0 owner 0 [b]
            delete /a: NodeDeleted /a; done
            publish: 6 nodes, 3 waiting, 0 garbage
            unview:
            publish: 4 nodes, 0 waiting, 0 garbage
        "#]],
    );
}

#[test]
fn a_node_that_comes_again_within_one_stretch_is_a_new_one() {
    check(
        "create /a x; publish; delete /a; create /a y; show /a; publish; read /a; savepoint; \
         delete /a; savepoint; create /a z; rollback; show /a; publish; read /a",
        expect![[r#"
            create /a x: NodeCreated /a; stat v0 len1
            publish: 5 nodes, 0 waiting, 0 garbage
            delete /a: NodeDeleted /a; done
            create /a y: NodeCreated /a; stat v0 len1
            show /a: "y" c3 m3 p3 t1003/1003 v0 C0 cv0 a0 owner 0 []
            publish: 5 nodes, 0 waiting, 0 garbage
            read /a: "y" c3 m3 p3 t1003/1003 v0 C0 cv0 a0 owner 0 []
            savepoint:
            delete /a: NodeDeleted /a; done
            savepoint:
            create /a z: NodeCreated /a; stat v0 len1
            rollback:
            show /a: none
            publish: 4 nodes, 0 waiting, 0 garbage
            read /a: none
        "#]],
    );
}

#[test]
fn a_session_takes_its_ephemerals_along() {
    check(
        "create /a x; ephemeral /a/e 1; ephemeral /f 2; owned; close; owned; show /a; show /f; \
         close",
        expect![[r#"
            create /a x: NodeCreated /a; stat v0 len1
            ephemeral /a/e 1: NodeCreated /a/e; stat v0 len1
            ephemeral /f 2: NodeCreated /f; stat v0 len1
            owned: /a/e /f
            close: NodeDeleted /a/e; NodeDeleted /f; done
            owned:
            show /a: "x" c1 m1 p4 t1001/1001 v0 C1 cv2 a0 owner 0 []
            show /f: none
            close: done
        "#]],
    );
}

#[test]
fn containers_and_ttl_nodes_expire_by_their_own_rules() {
    check(
        "container /c x; ttl /t x ms=100; expired now=1102; expired now=1103; create /c/x x; \
         create /t/x x; expired now=99999; delete /c/x; expired now=1050; delete /t/x; \
         expired now=99999; set /t y; expired now=1107; show /t; ttl /bad x ms=-1; show /bad",
        expect![[r#"
            container /c x: NodeCreated /c; stat v0 len1
            ttl /t x ms=100: NodeCreated /t; stat v0 len1
            expired now=1102:
            expired now=1103: /t
            create /c/x x: NodeCreated /c/x; stat v0 len1
            create /t/x x: NodeCreated /t/x; stat v0 len1
            expired now=99999:
            delete /c/x: NodeDeleted /c/x; done
            expired now=1050: /c
            delete /t/x: NodeDeleted /t/x; done
            expired now=99999: /c /t
            set /t y: NodeDataChanged /t; stat v1 len1
            expired now=1107: /c
            show /t: "y" c2 m7 p6 t1002/1007 v1 C1 cv2 a0 owner ff00000000000064 []
            ttl /bad x ms=-1: NodeCreated /bad; stat v0 len1
            show /bad: "x" c8 m8 p8 t1008/1008 v0 C0 cv0 a0 owner 0 []
        "#]],
    );
}

#[test]
fn stats_of_the_deepest_quota_follow_without_a_trace_in_their_stat() {
    check(
        "create /q 12345; create /q/r 123; create /zookeeper/quota/q null; \
         create /zookeeper/quota/q/zookeeper_limits count=3,bytes=-1,byteHardLimit=20; \
         create /zookeeper/quota/q/zookeeper_stats ignored; show /zookeeper/quota/q/zookeeper_stats; \
         create /q/s 1; set /q/s 22; show /zookeeper/quota/q/zookeeper_stats; \
         quota /q/t count=1; quota /q/s bytes=10; quota /q/s bytes=11; quota /elsewhere count=9; \
         savepoint; delete /q/r; show /zookeeper/quota/q/zookeeper_stats; rollback; \
         show /zookeeper/quota/q/zookeeper_stats; set /zookeeper/quota/q/zookeeper_stats junk; \
         delete /q/s; show /zookeeper/quota/q/zookeeper_stats; \
         delete /zookeeper/quota/q/zookeeper_limits; quota /q/t count=9; \
         create /zookeeper/quota/zookeeper_limits x; create /zookeeper/zookeeper_limits x; \
         delete /zookeeper/zookeeper_limits",
        expect![[r#"
            create /q 12345: NodeCreated /q; stat v0 len5
            create /q/r 123: NodeCreated /q/r; stat v0 len3
            create /zookeeper/quota/q null: NodeCreated /zookeeper/quota/q; stat v0 len0
            create /zookeeper/quota/q/zookeeper_limits count=3,bytes=-1,byteHardLimit=20: NodeCreated /zookeeper/quota/q/zookeeper_limits; stat v0 len33
            create /zookeeper/quota/q/zookeeper_stats ignored: NodeCreated /zookeeper/quota/q/zookeeper_stats; stat v0 len7
            show /zookeeper/quota/q/zookeeper_stats: "count=2,bytes=8" c5 m5 p5 t1005/1005 v0 C0 cv0 a0 owner 0 []
            create /q/s 1: NodeCreated /q/s; stat v0 len1
            set /q/s 22: NodeDataChanged /q/s; stat v1 len2
            show /zookeeper/quota/q/zookeeper_stats: "count=3,bytes=10" c5 m5 p5 t1005/1005 v0 C0 cv0 a0 owner 0 []
            quota /q/t count=1: Count 4 > 3, hard false
            quota /q/s bytes=10: fits
            quota /q/s bytes=11: Bytes 21 > 20, hard true
            quota /elsewhere count=9: fits
            savepoint:
            delete /q/r: NodeDeleted /q/r; done
            show /zookeeper/quota/q/zookeeper_stats: "count=2,bytes=7" c5 m5 p5 t1005/1005 v0 C0 cv0 a0 owner 0 []
            rollback:
            show /zookeeper/quota/q/zookeeper_stats: "count=3,bytes=10" c5 m5 p5 t1005/1005 v0 C0 cv0 a0 owner 0 []
            set /zookeeper/quota/q/zookeeper_stats junk: NodeDataChanged /zookeeper/quota/q/zookeeper_stats; stat v1 len4
            delete /q/s: NodeDeleted /q/s; done
            show /zookeeper/quota/q/zookeeper_stats: "count=-2,bytes=-3" c5 m9 p5 t1005/1009 v1 C0 cv0 a0 owner 0 []
            delete /zookeeper/quota/q/zookeeper_limits: NodeDeleted /zookeeper/quota/q/zookeeper_limits; done
            quota /q/t count=9: fits
            create /zookeeper/quota/zookeeper_limits x: NodeCreated /zookeeper/quota/zookeeper_limits; stat v0 len1
            create /zookeeper/zookeeper_limits x: NodeCreated /zookeeper/zookeeper_limits; stat v0 len1
            delete /zookeeper/zookeeper_limits: NodeDeleted /zookeeper/zookeeper_limits; done
        "#]],
    );
}

#[test]
fn replay_over_a_snapshot_that_was_ahead_ends_where_life_did() {
    check(
        "create /a x; create /a/b y; create /a again pcv=5; show /; create2 /a again pcv=9; show /; \
         delete /a; show /; create /a x pcv=6; create /a/b y; show /a; create /m x pcv=3; show /",
        expect![[r#"
            create /a x: NodeCreated /a; stat v0 len1
            create /a/b y: NodeCreated /a/b; stat v0 len1
            create /a again pcv=5: NodeExists
            show /: "" c0 m0 p3 t0/0 v0 C5 cv8 a0 owner 0 [a zookeeper]
            create2 /a again pcv=9: NodeExists
            show /: "" c0 m0 p3 t0/0 v0 C5 cv8 a0 owner 0 [a zookeeper]
            delete /a: NodeDeleted /a/b; NodeDeleted /a; done
            show /: "" c0 m0 p5 t0/0 v0 C5 cv9 a0 owner 0 [zookeeper]
            create /a x pcv=6: NodeCreated /a; stat v0 len1
            create /a/b y: NodeCreated /a/b; stat v0 len1
            show /a: "x" c6 m6 p7 t1006/1006 v0 C1 cv1 a0 owner 0 [b]
            create /m x pcv=3: NodeCreated /m; stat v0 len1
            show /: "" c0 m0 p6 t0/0 v0 C6 cv9 a0 owner 0 [a m zookeeper]
        "#]],
    );
}

#[test]
fn the_counter_of_creates_stops_at_its_end() {
    check(
        "create /a x pcv=2147483647; show /; create /b x pcv=2147483647; show /; create /c x; \
         show /",
        expect![[r#"
            create /a x pcv=2147483647: NodeCreated /a; stat v0 len1
            show /: "" c0 m0 p1 t0/0 v0 C2147483647 cv-4 a0 owner 0 [a zookeeper]
            create /b x pcv=2147483647: NodeCreated /b; stat v0 len1
            show /: "" c0 m0 p1 t0/0 v0 C2147483647 cv-5 a0 owner 0 [a b zookeeper]
            create /c x: NodeCreated /c; stat v0 len1
            show /: "" c0 m0 p1 t0/0 v0 C2147483647 cv-6 a0 owner 0 [a b c zookeeper]
        "#]],
    );
}

#[test]
fn odd_paths_are_errors_or_nodes_but_never_the_end() {
    check(
        "create a x; create / x; delete a; delete /zookeeper/config; create //x y; create /a/ x; \
           create /a x; create /a/ x; show /a/; delete /a; show /a/; delete /zookeeper; error",
        expect![[r#"
            create a x: BadArguments
            create / x: NodeExists
            delete a: NoNode
            delete /zookeeper/config: BadArguments
            create //x y: NoNode
            create /a/ x: NoNode
            create /a x: NodeCreated /a; stat v0 len1
            create /a/ x: NodeCreated /a/; stat v0 len1
            show /a/: "x" c8 m8 p8 t1008/1008 v0 C0 cv0 a0 owner 0 []
            delete /a: NodeDeleted /a/; NodeDeleted /a; done
            show /a/: none
            delete /zookeeper: BadArguments
            error: BadVersion
        "#]],
    );
}

#[test]
fn a_loaded_tree_has_the_saved_trees_digest_and_recounted_quotas() {
    let mut saved = DataTree::new(TreeOptions::default());
    let script = "create /a 12345;create /a/b null;ephemeral /e x;set /a 123;container /c x;\
         create /zookeeper/quota/a x;create /zookeeper/quota/a/zookeeper_limits count=1,bytes=-1;\
         create /zookeeper/quota/a/zookeeper_stats x;acl /a/b;ttl /t y ms=9";
    for (zxid, command) in (1..).zip(script.split(';')) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let txn = txn(&saved, &words).expect("a txn");
        apply(&mut saved, SESSION, zxid, &txn);
    }
    saved.publish(saved.last_zxid());
    let mut loaded = DataTree::new(TreeOptions::default());
    let mut walk = saved.view().walk();
    let acls = walk.acls().clone();
    for (id, list) in acls.iter() {
        loaded.load_acl(id.to_disk(), list);
    }
    while walk.step(2, |node| {
        // What the disk has in stats nodes is old.
        let stats = node.path().ends_with(b"stats");
        let data = if stats { Some(&b"count=9,bytes=9"[..]) } else { node.data() };
        let loading = loaded.load_node(node.path(), data, node.acl().to_disk(), node.disk_stat());
        assert_eq!(loading, Ok(()));
        true
    }) {}
    loaded.finish_load(saved.last_zxid());
    check_sums(&loaded);
    assert_eq!(loaded.digest(), saved.digest());
    let whole = |tree: &DataTree| -> Vec<String> {
        let mut lines: Vec<_> = tree
            .get(b"")
            .expect("the root")
            .subtree()
            .map(|node| {
                let acl = tree.acls().get(node.acl());
                format!("{} {} {acl:?}", node.path().escape_ascii(), show(Some(node)))
            })
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(whole(&loaded), whole(&saved));
    assert_eq!(loaded.ephemerals_count(), 1);
    let reader = loaded.reader();
    assert_eq!(reader.pin().all_children_number(b"/", reader.visible()), Some(11));

    let stat = DiskStat::default();
    assert_eq!(
        DataTree::new(TreeOptions::default()).load_node(b"/x/y", None, -1, stat),
        Err(LoadError::NoParent(b"/x/y".to_vec()))
    );
    assert_eq!(
        DataTree::new(TreeOptions::default()).load_node(b"/x", None, 5, stat),
        Err(LoadError::UnknownAcl(b"/x".to_vec(), 5))
    );
    assert_eq!(
        DataTree::new(TreeOptions::default()).load_node(b"x", None, -1, stat),
        Err(LoadError::BadPath(b"x".to_vec()))
    );
}
