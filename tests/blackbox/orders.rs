//! What clients may rely on, on both backends, with one shard and with two: order within a
//! session, visibility across sessions, watches before data, sessions that move.

use std::thread;
use std::time::Duration;

use ringkeeper::client::clock;
use ringkeeper::client::raw::{Connection, Handshake};
use ringkeeper::net::probe::IoMode;
use ringkeeper::wire::codes::{CreateMode, ErrorCode, EventType, OpCode};

use crate::clients::{
    Came, Raw, SHORT, create, data_of, delete, read, set, two_shard_sockets, two_shards,
};
use crate::world::{PATIENCE, World, await_that, combination};

macro_rules! on_all {
    ($($claim:ident)*) => {
        on_all!(@ uring_one_shard, IoMode::Uring, 1, $($claim)*);
        on_all!(@ uring_two_shards, IoMode::Uring, 2, $($claim)*);
        on_all!(@ epoll_one_shard, IoMode::Epoll, 1, $($claim)*);
        on_all!(@ epoll_two_shards, IoMode::Epoll, 2, $($claim)*);
    };
    (@ $module:ident, $io:expr, $shards:expr, $($claim:ident)*) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $claim() {
                    if let Some(options) = combination($io, $shards) {
                        super::$claim(&World::new(options));
                    }
                }
            )*
        }
    };
}

on_all! {
    pipelined_requests_are_answered_in_order_and_see_what_was_before_them
    what_was_acknowledged_is_seen_by_every_later_read
    an_event_comes_before_the_data_it_announces
    a_session_moves_with_its_password_only
    of_clients_that_race_for_a_session_one_has_it
    every_watcher_hears_once
    the_end_of_a_session_is_seen_by_all
    a_sleeping_shard_hears_of_a_change_at_once
    ephemerals_of_a_silent_session_go
}

fn pipelined_requests_are_answered_in_order_and_see_what_was_before_them(world: &World) {
    let mut raw = Raw::connect(world.addr());
    raw.create("/n", b"-1", CreateMode::Persistent);
    let mut expected = Vec::new();
    for i in 0..200_usize {
        let (text, child) = (i.to_string(), format!("/n/{i}"));
        let before = if i < 5 { "-1".to_owned() } else { (i - i % 5 - 5).to_string() };
        expected.push(match i % 5 {
            0 => (raw.send(OpCode::SetData, &set("/n", text.as_bytes())), 0, None),
            1 => {
                let last = (i - 1).to_string();
                (raw.send(OpCode::GetData, &read("/n", false)), 0, Some(last))
            }
            2 => {
                let absent = ErrorCode::NoNode.to_wire();
                let next = format!("/n/{}", i + 1);
                (raw.send(OpCode::Exists, &read(&next, false)), absent, None)
            }
            3 => (
                raw.send(OpCode::Create, &create(&child, before.as_bytes(), CreateMode::Ephemeral)),
                0,
                None,
            ),
            _ => {
                let made = format!("/n/{}", i - 1);
                (raw.send(OpCode::GetData, &read(&made, false)), 0, Some(before))
            }
        });
    }
    let mut newest = 0;
    for (xid, err, data) in expected {
        let (header, body) = raw.reply();
        assert_eq!((header.xid, header.err), (xid, err));
        assert!(header.zxid >= newest, "zxid {} behind {newest}", header.zxid);
        newest = header.zxid;
        if let Some(data) = data {
            assert_eq!(String::from_utf8(data_of(&body).0).unwrap(), data, "xid {xid}");
        }
    }
}

fn what_was_acknowledged_is_seen_by_every_later_read(world: &World) {
    let (mut one, mut other) = two_shards(world.addr());
    one.create("/v", b"", CreateMode::Persistent);
    for i in 0..300_u32 {
        let (writer, reader) =
            if i % 2 == 0 { (&mut one, &mut other) } else { (&mut other, &mut one) };
        let zxid = writer.set("/v", &i.to_be_bytes());
        let (data, stat) = reader.get("/v");
        assert_eq!((data, stat.mzxid), (i.to_be_bytes().to_vec(), zxid));
    }
}

fn an_event_comes_before_the_data_it_announces(world: &World) {
    const SETS: i32 = 150;
    let (mut writer, mut reader) = two_shards(world.addr());
    writer.create("/w", b"", CreateMode::Persistent);
    reader.call(OpCode::GetData, &read("/w", true));
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..SETS {
                writer.set("/w", b"x");
            }
        });
        let mut version = 0;
        while version < SETS {
            reader.heard.clear();
            let (_, body) = reader.call(OpCode::GetData, &read("/w", true));
            let seen = data_of(&body).1.version;
            let event = (EventType::NodeDataChanged, "/w".to_owned());
            let expected = if seen > version { vec![event] } else { Vec::new() };
            assert_eq!(reader.heard, expected, "from version {version} to {seen}");
            assert!(seen >= version);
            version = seen;
        }
    });
}

fn a_session_moves_with_its_password_only(world: &World) {
    let addr = world.addr();
    let mut here = Raw::connect(addr);
    here.create("/mine", b"", CreateMode::Ephemeral);
    let right = here.again();
    let wrong = Handshake { passwd: vec![7; 16], ..right.clone() };
    let (mut here, there) = two_shard_sockets(
        addr,
        || here,
        || {
            let refused = Connection::open_address(addr, &wrong, PATIENCE).unwrap();
            assert!(!refused.granted().is_accepted());
            Raw::shake(addr, &right)
        },
    );
    // The wrong password left the session alone, the right one took it along.
    assert_eq!(there.wire.granted().session_id, right.session_id);
    assert_eq!(there.wire.granted().passwd, right.passwd);
    let mut there = there;
    let before_the_end = {
        // Whatever the old connection still asks for, it gets no answer of the moved session.
        let _ = here.wire.send(1_000, OpCode::SetData, &set("/mine", b"old"));
        here.until_closed()
    };
    assert!(before_the_end.is_empty(), "{before_the_end:?}");
    assert_eq!(there.get("/mine").1.ephemeral_owner, right.session_id);
    assert_eq!(there.get("/mine").0, b"");
    there.set("/mine", b"new");
}

fn of_clients_that_race_for_a_session_one_has_it(world: &World) {
    let addr = world.addr();
    let mut raw = Raw::connect(addr);
    raw.create("/race", b"", CreateMode::Ephemeral);
    for _ in 0..10 {
        let again = raw.again();
        let attach = || Raw::shake(addr, &again);
        let (one, other) = thread::scope(|scope| {
            let one = scope.spawn(attach);
            let other = attach();
            (one.join().unwrap(), other)
        });
        raw.until_closed();
        // Both were let in, one after the other; the first of them is out again.
        let mut alive: Vec<Raw> = [one, other]
            .into_iter()
            .filter_map(|mut raw| {
                assert!(raw.wire.granted().is_accepted());
                let sent = raw.wire.send(1, OpCode::SetData, &set("/race", b"x"));
                sent.and_then(|()| raw.wire.read_reply()).is_ok().then_some(raw)
            })
            .collect();
        assert_eq!(alive.len(), 1);
        raw = alive.remove(0);
    }
    assert_eq!(raw.get("/race").1.ephemeral_owner, raw.wire.granted().session_id);
}

fn every_watcher_hears_once(world: &World) {
    let addr = world.addr();
    let mut writer = Raw::connect(addr);
    writer.create("/many", b"", CreateMode::Persistent);
    // More than one shard takes, so that both have some.
    let mut watchers: Vec<Raw> = (0..90).map(|_| Raw::connect(addr)).collect();
    for watcher in &mut watchers {
        watcher.call(OpCode::GetData, &read("/many", true));
        watcher.call(OpCode::GetChildren, &read("/many", true));
    }
    writer.set("/many", b"1");
    writer.set("/many", b"2");
    writer.create("/many/child", b"", CreateMode::Persistent);
    for watcher in &mut watchers {
        let mut heard = Vec::new();
        for _ in 0..2 {
            match watcher.next() {
                Came::Event(kind, path) => heard.push((kind, path)),
                Came::Reply(header, _) => panic!("{header:?}"),
            }
        }
        let many = "/many".to_owned();
        assert_eq!(
            heard,
            [(EventType::NodeDataChanged, many.clone()), (EventType::NodeChildrenChanged, many)]
        );
        watcher.ping();
        assert!(watcher.heard.is_empty());
    }
}

fn the_end_of_a_session_is_seen_by_all(world: &World) {
    let (mut one, mut other) = two_shards(world.addr());
    one.create("/e", b"", CreateMode::Ephemeral);
    assert_eq!(other.exists("/e", true), 0);
    // What is pipelined behind the end of a session is not executed.
    one.send(OpCode::SetData, &set("/e", b"last"));
    one.wire.send_bare(77, OpCode::CloseSession).unwrap();
    let _ = one.wire.send(78, OpCode::Create, &create("/never", b"", CreateMode::Persistent));
    let came = one.until_closed();
    let xids: Vec<i32> = came
        .iter()
        .map(|came| match came {
            Came::Reply(header, _) => header.xid,
            Came::Event(..) => panic!("{came:?}"),
        })
        .collect();
    assert_eq!(xids, [2, 77]);
    let absent = ErrorCode::NoNode.to_wire();
    assert_eq!((other.exists("/e", true), other.exists("/never", false)), (absent, absent));
    assert_eq!(other.heard, [(EventType::NodeDataChanged, "/e".to_owned())]);
    let mut third = Raw::connect(world.addr());
    third.create("/e", b"", CreateMode::Persistent);
    third.call(OpCode::Delete, &delete("/e"));
    other.ping();
    assert_eq!(other.heard[1], (EventType::NodeCreated, "/e".to_owned()));
    assert_eq!(other.heard.len(), 2);
}

fn a_sleeping_shard_hears_of_a_change_at_once(world: &World) {
    let (mut writer, mut watcher) = two_shards(world.addr());
    writer.create("/wake", b"", CreateMode::Persistent);
    let mut took: Vec<Duration> = (0..9)
        .map(|_| {
            watcher.call(OpCode::GetData, &read("/wake", true));
            // Not for a condition: the shard must have gone to sleep.
            thread::sleep(Duration::from_millis(20));
            let began = clock::elapsed();
            writer.send(OpCode::SetData, &set("/wake", b"x"));
            assert!(matches!(watcher.next(), Came::Event(EventType::NodeDataChanged, _)));
            let took = clock::elapsed() - began;
            writer.reply();
            took
        })
        .collect();
    took.sort();
    // A shard that is not woken looks around twice a second.
    assert!(took[4] < SHORT, "{took:?}");
}

fn ephemerals_of_a_silent_session_go(world: &World) {
    let addr = world.addr();
    let mut silent = Raw::shake(addr, &crate::clients::handshake(300));
    assert_eq!(silent.wire.granted().timeout_ms, 300);
    silent.create("/silent", b"", CreateMode::Ephemeral);
    let again = silent.again();
    let mut other = Raw::connect(addr);
    assert_eq!(other.exists("/silent", true), 0);
    // A session without a connection lives on for its timeout.
    silent.wire.abandon();
    assert!(matches!(other.next(), Came::Event(EventType::NodeDeleted, _)));
    let gone = Connection::open_address(addr, &again, PATIENCE).unwrap();
    assert!(!gone.granted().is_accepted());
    // One that pings stays.
    let mut pings = Raw::shake(addr, &crate::clients::handshake(300));
    pings.create("/pings", b"", CreateMode::Ephemeral);
    let until = clock::elapsed() + Duration::from_millis(900);
    await_that("three timeouts", || {
        pings.ping();
        clock::elapsed() > until
    });
    assert_eq!(other.exists("/pings", false), 0);
}
