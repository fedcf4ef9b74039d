//! Bounds: frames, connections, silence, clients that do not read, lists that are long.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use ringkeeper::client::clock;
use ringkeeper::client::raw::{self, Connection, Handshake};
use ringkeeper::client::{Request, acl};
use ringkeeper::server::Options;
use ringkeeper::wire::client::{Field as _, PathOnly};
use ringkeeper::wire::codes::{CreateMode, ErrorCode, OpCode};
use ringkeeper::wire::jute::Reader;

use crate::clients::{Raw, client, create, data_of, read, set};
use crate::world::{PATIENCE, Process, World, await_that, four_letter, free_port, write_config};

#[test]
fn a_frame_above_jute_maxbuffer_costs_the_connection_and_not_the_session() {
    let world = World::with(Options::default(), |config| config.jute_maxbuffer_bytes = 10_000);
    let mut raw = Raw::connect(world.addr());
    raw.create("/fits", &vec![1; 9_900], CreateMode::Ephemeral);
    let again = raw.again();
    raw.send(OpCode::Create, &create("/above", &vec![1; 10_000], CreateMode::Persistent));
    assert!(raw.until_closed().is_empty());
    let mut raw = Raw::shake(world.addr(), &again);
    assert_eq!(raw.get("/fits").0.len(), 9_900);
    assert_eq!(raw.exists("/above", false), ErrorCode::NoNode.to_wire());
    // A length below zero is no frame either.
    raw.wire.send_bytes(&[255; 8]).unwrap();
    assert!(raw.until_closed().is_empty());
}

#[test]
fn max_client_cnxns_counts_what_is_open_now() {
    let world = World::with(Options::default(), |config| config.max_client_cnxns = 3);
    let addr = world.addr();
    let mut open: Vec<Raw> = (0..3).map(|_| Raw::connect(addr)).collect();
    let refused = Connection::open_address(addr, &Handshake::default(), PATIENCE).unwrap_err();
    assert!(
        matches!(
            refused.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{refused}"
    );
    for raw in &mut open {
        raw.ping();
    }
    open.pop().unwrap().wire.close().unwrap();
    await_that("a free place", || {
        Connection::open_address(addr, &Handshake::default(), PATIENCE).is_ok()
    });
}

#[test]
fn max_cnxns_counts_all() {
    let world = World::with(Options::default(), |config| config.max_cnxns = 2);
    let addr = world.addr();
    let open: Vec<Raw> = (0..2).map(|_| Raw::connect(addr)).collect();
    assert!(Connection::open_address(addr, &Handshake::default(), PATIENCE).is_err());
    drop(open);
    await_that("a free place", || {
        Connection::open_address(addr, &Handshake::default(), PATIENCE).is_ok()
    });
}

#[test]
fn a_connection_that_never_asks_for_a_session_is_closed() {
    let world = World::with(Options::default(), |config| config.sessionless_timeout_ms = 200);
    let mut silent = TcpStream::connect(world.addr()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut raw = Raw::connect(world.addr());
    let began = clock::elapsed();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0);
    assert!(clock::elapsed() - began < PATIENCE / 2);
    raw.ping();
}

/// Resident bytes of a process.
fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn clients_that_do_not_read_hurt_nobody() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), &format!("clientPort={}\nmaxSessionTimeout=60000", free_port()));
    let process = Process::serve(dir.path(), &[]);
    let addr = process.addr();
    let mut other = Raw::connect(addr);
    other.create("/big", &vec![7; 1_000_000], CreateMode::Persistent);
    other.create("/small", b"", CreateMode::Persistent);
    let before = resident_bytes(process.pid());
    // Each asks for some 900 MB, half of it behind a write of its own, and takes none.
    let mut deaf: Vec<Raw> = (0..4).map(|_| Raw::connect(addr)).collect();
    for raw in &mut deaf {
        let mut out = Vec::new();
        for xid in 0..900 {
            if xid == 0 || xid == 400 {
                raw::request(&mut out, xid, OpCode::SetData, &set("/small", b"x"));
            } else {
                raw::request(&mut out, xid, OpCode::GetData, &read("/big", false));
            }
        }
        raw.wire.send_bytes(&out).unwrap();
    }
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    for _ in 0..200 {
        let began = clock::elapsed();
        other.set("/small", b"y");
        other.get("/small");
        slowest = slowest.max(clock::elapsed() - began);
        most = most.max(resident_bytes(process.pid()));
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 64, "the server grew by {grown} MiB");
    // One that reads after all gets everything, in order.
    let mut raw = deaf.pop().unwrap();
    for xid in 0..900 {
        let (header, body) = raw.reply();
        assert_eq!((header.xid, header.err), (xid, 0));
        assert!(xid == 0 || xid == 400 || data_of(&body).0.len() == 1_000_000);
    }
}

#[test]
fn a_client_that_does_not_read_its_events_is_closed() {
    let world = World::new(Options::default());
    let addr = world.addr();
    let writer = client(addr);
    writer.create("/e", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    let mut raw = Raw::connect(addr);
    raw.ping();
    assert_eq!(four_letter(addr, "ruok"), "imok");
    // A persistent watch on a long path, and as many events as it takes.
    let name = format!("/e/{}", "n".repeat(60_000));
    let watch = ringkeeper::wire::client::PathKind { path: Some(b"/e"), kind: 1 };
    assert_eq!(raw.call(OpCode::AddWatch, &watch).0.err, 0);
    let again = raw.again();
    let mut pending = Vec::new();
    for _ in 0..1_000 {
        pending.push(writer.submit(Request::Create {
            path: name.clone(),
            data: None,
            acl: acl::OPEN.bytes.to_vec(),
            mode: CreateMode::Persistent,
            ttl_ms: 0,
        }));
        pending.push(writer.submit(Request::Delete { path: name.clone(), version: -1 }));
        if pending.len() >= 100 {
            for pending in pending.drain(..) {
                pending.wait().unwrap();
            }
        }
    }
    // 120 MB of events: more than is kept for a client, less than a machine notices. The session
    // is as it was.
    raw.until_closed();
    let mut back = Raw::shake(addr, &again);
    back.ping();
}

#[test]
fn a_list_of_many_children_works_and_stalls_nobody() {
    const CHILDREN: usize = 100_000;
    let world = World::new(Options { shards: Some(1), ..Options::default() });
    let addr = world.addr();
    let maker = client(addr);
    maker.create("/list", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    let row = |i: usize| Request::Create {
        path: format!("/list/member-{i:010}"),
        data: None,
        acl: acl::OPEN.bytes.to_vec(),
        mode: CreateMode::Persistent,
        ttl_ms: 0,
    };
    let pending: Vec<_> = (0..CHILDREN / 500)
        .map(|n| maker.submit(Request::Multi((n * 500..(n + 1) * 500).map(row).collect())))
        .collect();
    for pending in pending {
        pending.wait().unwrap();
    }
    let mut lister = Raw::connect(addr);
    let mut other = Raw::connect(addr);
    // Pipelined: lists, what comes behind them in the FIFO, and a write of another session that
    // must show in none of the lists that were begun before it.
    thread::scope(|scope| {
        let listing = scope.spawn(move || {
            let mut pieces = Vec::new();
            let began = clock::elapsed();
            for _ in 0..5 {
                lister.send(OpCode::GetChildren2, &read("/list", false));
                lister.send(OpCode::Exists, &read("/list", false));
            }
            for _ in 0..5 {
                let (header, body) = lister.reply();
                assert_eq!(header.err, 0);
                let mut reader = Reader::new(&body);
                let names: Vec<&[u8]> =
                    ringkeeper::wire::client::Field::decode(&mut reader).unwrap();
                let stat = ringkeeper::wire::client::Stat::decode(&mut reader).unwrap();
                assert_eq!(names.len(), usize::try_from(stat.num_children).unwrap());
                assert!(names.len() >= CHILDREN);
                assert!(names.iter().all(|name| name.starts_with(b"member-")));
                assert!(reader.rest().is_empty());
                let (behind, _) = lister.reply();
                assert_eq!((behind.xid, behind.err), (header.xid + 1, 0));
                assert!(behind.zxid >= header.zxid);
                pieces.push(clock::elapsed() - began);
            }
            pieces
        });
        let mut took = Vec::new();
        let mut next = CHILDREN;
        while !listing.is_finished() {
            let began = clock::elapsed();
            other.ping();
            took.push(clock::elapsed() - began);
            other.create(&format!("/list/member-{next:010}"), b"", CreateMode::Persistent);
            next += 1;
        }
        took.sort();
        let pieces = listing.join().unwrap();
        println!(
            "lists at {pieces:?}; pings: median {:?}, longest {:?}",
            took[took.len() / 2],
            took[took.len() - 1]
        );
        assert!(took[took.len() - 1] < Duration::from_secs(1), "{took:?}");
    });
    let mut raw = Raw::connect(addr);
    raw.call(OpCode::GetAllChildrenNumber, &PathOnly { path: Some(b"/list") });
}
