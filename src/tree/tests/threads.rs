//! One writer, readers and views on other threads: each visible zxid shows whole multis.

use super::*;
use crate::wire::txn::{CreateTxn, SetDataTxn};
use std::sync::atomic::{AtomicBool, Ordering};

const PAIRS: usize = 4;

fn create<'a>(path: &'a [u8], data: &'a [u8], pcv: i32) -> Txn<'a> {
    Txn::Create(CreateTxn {
        path,
        data: Some(data),
        acl: AclList::OPEN,
        ephemeral: false,
        parent_cversion: pcv,
    })
}

fn set<'a>(path: &'a [u8], data: &'a [u8]) -> Txn<'a> {
    Txn::SetData(SetDataTxn { path, data: Some(data), version: -1 })
}

/// Both nodes of a pair hold the zxid of the txn that wrote them last.
fn pair_is_whole(pin: &Pin<'_>, pair: usize, at: Zxid) {
    let left = pin.get(format!("/left{pair}").as_bytes(), at).expect("published long ago");
    let right = pin.get(format!("/right{pair}").as_bytes(), at).expect("published long ago");
    assert_eq!(left.data(), right.data(), "at {at}");
    assert_eq!(left.mzxid(), right.mzxid());
    assert!(left.mzxid() <= at);
    let text = std::str::from_utf8(left.data().expect("has data")).expect("digits");
    assert_eq!(text.parse::<u64>(), Ok(left.mzxid().0));
}

/// The node that comes and goes is there at odd zxids, and so are its children.
fn comings_and_goings(pin: &Pin<'_>, at: Zxid) {
    let node = pin.get(b"/moving", at);
    let root = pin.get(b"", at).expect("the root is always there");
    let names = root.children().filter(|name| *name == b"moving").count();
    assert_eq!(names, usize::from(node.is_some()), "at {at}");
    assert_eq!(root.children().count(), root.num_children() as usize, "at {at}");
    let child = pin.get(b"/moving/child", at);
    assert_eq!(child.is_some(), node.is_some(), "at {at}");
    if let Some(node) = node {
        assert_eq!(node.children().collect::<Vec<_>>(), [b"child"]);
    }
}

fn read_until(reader: &TreeReader, stop: &AtomicBool) -> u64 {
    let mut turns = 0;
    while !stop.load(Ordering::Relaxed) || turns < 10 {
        let at = reader.published();
        reader.set_visible(at);
        let pin = reader.pin();
        for pair in 0..PAIRS {
            pair_is_whole(&pin, pair, at);
        }
        comings_and_goings(&pin, at);
        drop(pin);
        turns += 1;
        if turns % 16 == 0 {
            let walk = reader.view().walk();
            let at = walk.zxid();
            whole_at(walk, at);
        }
    }
    turns
}

/// A view shows exactly its zxid however far the writer has gone since.
fn whole_at(mut walk: Walk, at: Zxid) {
    let mut newest = Zxid::ZERO;
    let mut nodes = 0;
    let mut children = 0;
    while walk.step(3, |node| {
        newest = newest.max(node.mzxid()).max(node.pzxid());
        nodes += 1;
        children += node.num_children();
        true
    }) {}
    assert_eq!(nodes, children + 1);
    assert_eq!(newest, at, "the newest txn shows and no later one does");
}

#[test]
fn readers_and_views_see_whole_multis_while_the_writer_goes_on() {
    let mut tree = DataTree::new(TreeOptions::default());
    let mut zxid = 0;
    let mut pcv = 0;
    for pair in 0..PAIRS {
        for side in ["left", "right"] {
            zxid += 1;
            pcv += 1;
            let (path, data) = (format!("/{side}{pair}"), zxid.to_string());
            apply(&mut tree, 1, zxid, &create(path.as_bytes(), data.as_bytes(), pcv));
        }
        zxid += 1;
        let (left, right) = (format!("/left{pair}"), format!("/right{pair}"));
        let data = zxid.to_string();
        let both =
            vec![set(left.as_bytes(), data.as_bytes()), set(right.as_bytes(), data.as_bytes())];
        apply(&mut tree, 1, zxid, &Txn::Multi(both));
    }
    tree.publish(Zxid(zxid));
    let readers: Vec<_> = (0..3).map(|_| tree.reader()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = readers
            .into_iter()
            .map(|reader| {
                scope.spawn(|| {
                    let reader = reader;
                    read_until(&reader, &stop)
                })
            })
            .collect();
        let mut there = false;
        for round in 0..6000_u64 {
            zxid += 1;
            let data = zxid.to_string();
            let pair = usize::try_from(round).expect("small") % PAIRS;
            let (left, right) = (format!("/left{pair}"), format!("/right{pair}"));
            let mut txns =
                vec![set(left.as_bytes(), data.as_bytes()), set(right.as_bytes(), data.as_bytes())];
            if round % 3 == 0 {
                if there {
                    txns.push(Txn::Delete(b"/moving/child"));
                    txns.push(Txn::Delete(b"/moving"));
                } else {
                    pcv += 1;
                    txns.push(create(b"/moving", b"x", pcv));
                    txns.push(create(b"/moving/child", b"y", 1));
                }
                there = !there;
            }
            // Every seventh is undone and done again, as when a lead is lost.
            let savepoint = tree.savepoint();
            apply(&mut tree, 1, zxid, &Txn::Multi(txns.clone()));
            if round % 7 == 0 {
                tree.rollback(savepoint);
                apply(&mut tree, 1, zxid, &Txn::Multi(txns));
            }
            if round % 4 == 0 {
                tree.publish(Zxid(zxid));
                let min_visible = tree.min_visible();
                tree.collect(min_visible, 64);
            }
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            assert!(thread.join().expect("no reader saw anything wrong") >= 10);
        }
    });
    check_sums(&tree);
    tree.publish(Zxid(zxid));
    for _ in 0..300 {
        tree.collect(Zxid(zxid), 1000);
    }
    assert_eq!(tree.backlog(), (0, 0), "all readers are gone, so all garbage is");
    assert_eq!(tree.store.linked(), tree.nodes);
}

#[test]
fn a_view_of_any_length_does_not_stop_the_reclamation_of_other_garbage() {
    let mut tree = DataTree::new(TreeOptions::default());
    apply(&mut tree, 1, 1, &create(b"/n", b"first", 1));
    tree.publish(Zxid(1));
    let mut view = tree.view();
    let (mut most_garbage, mut most_waiting) = (0, 0);
    for zxid in 2..5000 {
        apply(&mut tree, 1, zxid, &set(b"/n", b"later"));
        tree.publish(Zxid(zxid));
        tree.collect(Zxid(zxid), 4);
        let (garbage, waiting) = tree.backlog();
        (most_garbage, most_waiting) = (most_garbage.max(garbage), most_waiting.max(waiting));
    }
    assert!(most_garbage <= 1 && most_waiting <= 2, "{most_garbage} {most_waiting}");
    assert_eq!(view.get(b"/n", |node| node.data() == Some(b"first")), Some(true));
    drop(view);
    tree.collect(Zxid(5000), 4);
    assert_eq!(tree.backlog(), (0, 0));
}

#[test]
fn what_readers_outlive_is_freed_with_the_last_of_them() {
    let mut tree = DataTree::new(TreeOptions::default());
    apply(&mut tree, 1, 1, &create(b"/n", b"x", 1));
    tree.publish(Zxid(1));
    let (reader, mut view) = (tree.reader(), tree.view());
    drop(tree);
    assert!(reader.pin().get(b"/n", Zxid(1)).is_some());
    drop(reader);
    assert_eq!(view.get(b"/n", |node| node.data().map(<[u8]>::to_vec)), Some(Some(b"x".to_vec())));
}
