//! Shards, pipeline and mesh together, without threads: see [`world`] for what is checked.

mod world;

use crate::parts::pipeline::Done;
use crate::wire::client::{
    AclList, AuthPacket, CreateRequest, Field, MultiHeader, PathVersion, PathWatch,
};
use crate::wire::codes::OpCode;
use world::{ROOMY, Sizes, World, create_body};

const EPHEMERAL: i32 = 1;
const PATHS: [&str; 4] = ["/a", "/b", "/c", "/d"];

/// A client that does something random.
fn act(world: &mut World, client: usize) {
    let path = PATHS[usize::try_from(world.random(4)).unwrap()];
    match world.random(12) {
        0..=1 => world.create(client, path, 0),
        2 => world.create(client, path, EPHEMERAL),
        3..=4 => world.set(client, path),
        5 => world.delete(client, path),
        6 => world.send(client, OpCode::Multi, "", &multi(&PATHS[..2])),
        7 => world.ephemerals(client),
        _ => {
            let watch = world.random(2) == 0;
            world.exists(client, path, watch)
        }
    };
}

/// A multi that creates and deletes all of `paths`.
fn multi(paths: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    for path in paths {
        MultiHeader { kind: OpCode::Create.to_wire(), done: false, err: -1 }.encode(&mut body);
        body.extend_from_slice(&create_body(path, 0));
    }
    for path in paths {
        MultiHeader { kind: OpCode::Delete.to_wire(), done: false, err: -1 }.encode(&mut body);
        PathVersion { path: Some(path.as_bytes()), version: -1 }.encode(&mut body);
    }
    MultiHeader { kind: -1, done: true, err: -1 }.encode(&mut body);
    body
}

/// Clients that write, read, watch, leave and come back, on queues so short that all fill up.
fn run(seed: u64) {
    let mut world = World::new(ROOMY, seed);
    let shards = 1 + usize::try_from(world.random(3)).unwrap();
    let mut size = |most: u64| 1 + usize::try_from(world.random(most)).unwrap();
    let sizes = Sizes { shards, requests: size(6), deliveries: size(6), changes: 4 * size(4) };
    let mut world = World::new(sizes, seed);
    let clients = 2 + usize::try_from(world.random(5)).unwrap();
    for client in 0..clients {
        world.connect(client % shards);
    }
    world.settle();
    for _ in 0..60 {
        let client = usize::try_from(world.random(clients as u64)).unwrap();
        let at = usize::try_from(world.random(shards as u64)).unwrap();
        match world.random(40) {
            0 => world.hang_up(client),
            // The old connection is still there, with requests on their way.
            1 => world.reconnect(client, at),
            2 => {
                world.close(client);
            }
            _ if world.clients[client].conn.is_none() => {
                if world.clients[client].refused {
                    world.clients[client] = world::Client::default();
                }
                world.reconnect(client, at);
                world.settle();
            }
            _ if !world.clients[client].connected => {}
            _ => {
                for _ in 0..=world.random(6) {
                    act(&mut world, client);
                }
            }
        }
        for _ in 0..world.random(30) {
            world.step();
        }
    }
    world.settle();
    world.check_history();
    world.check_connections();
}

#[test]
fn random_clients_see_one_history() {
    for seed in 0..200 {
        println!("seed {seed}");
        run(seed);
    }
}

#[test]
fn a_txn_with_more_changes_than_the_ring_is_published() {
    let sizes = Sizes { shards: 2, changes: 4, ..ROOMY };
    let mut world = World::new(sizes, 1);
    let (writer, watcher) = (world.connect(0), world.connect(1));
    world.settle();
    world.exists(watcher, "/a", true);
    world.settle();
    let multi = world.send(writer, OpCode::Multi, "", &multi(&PATHS));
    world.settle();
    let after = world.create(writer, "/a", 0);
    world.exists(watcher, "/a", false);
    world.settle();
    assert_eq!(world.clients[writer].reply(multi), Some(0));
    assert_eq!(world.clients[writer].reply(after), Some(0));
    assert_eq!(world.clients[watcher].events, 1);
    world.check_history();
}

#[test]
fn a_session_with_more_ephemerals_than_the_ring_ends() {
    let mut world = World::new(Sizes { changes: 4, ..ROOMY }, 1);
    let (owner, other) = (world.connect(0), world.connect(0));
    world.settle();
    for n in 0..20 {
        world.create(owner, &format!("/e{n}"), EPHEMERAL);
        world.settle();
    }
    let end = world.close(owner);
    world.settle();
    assert_eq!(world.clients[owner].reply(end), Some(0));
    assert_eq!(world.clients[owner].conn, None);
    let read = world.exists(other, "/e0", false);
    world.settle();
    assert_eq!(world.clients[other].reply(read), Some(-101));
    world.check_history();
}

#[test]
fn a_client_that_reads_nothing_loses_its_connection_with_its_session() {
    let mut world = World::new(ROOMY, 1);
    let (deaf, other) = (world.connect(0), world.connect(0));
    world.settle();
    world.clients[deaf].deaf = true;
    // The first reply is with the kernel, the next waits behind it.
    for _ in 0..3 {
        world.exists(deaf, "/a", false);
        world.settle();
    }
    for _ in 0..12 {
        world.exists(other, "/a", false);
        world.pass_ms(2_000);
    }
    assert_eq!(world.ends(deaf), 1);
    assert_eq!(world.ends(other), 0);
    assert_eq!(world.open_connections(), 1);
}

#[test]
fn replies_find_a_connection_that_closes_slowly() {
    let mut world = World::new(ROOMY, 1);
    let client = world.connect(0);
    world.settle();
    world.clients[client].deaf = true;
    for _ in 0..2 {
        world.exists(client, "/a", false);
        world.settle();
    }
    world.disk_works = false;
    world.create(client, "/a", 0);
    world.exists(client, "/a", false);
    world.create(client, "/b", 0);
    world.settle();
    // Too short to be a request: the connection closes behind what it has not read yet.
    world.send_raw(client, &[0, 0, 0, 1, 0]);
    world.settle();
    assert_eq!(world.open_connections(), 1);
    world.disk_works = true;
    world.settle();
    world.clients[client].deaf = false;
    world.settle();
    assert_eq!(world.open_connections(), 0);
}

#[test]
fn one_frame_cannot_read_gigabytes() {
    let mut world = World::new(ROOMY, 1);
    let client = world.connect(0);
    world.settle();
    let mut body = Vec::new();
    let (path, data) = (Some(&b"/big"[..]), vec![7; 900 << 10]);
    CreateRequest { path, data: Some(&data), acl: AclList::OPEN, flags: 0 }.encode(&mut body);
    world.send(client, OpCode::Create, "/big", &body);
    let reads = |rows: usize| {
        let mut body = Vec::new();
        for _ in 0..rows {
            MultiHeader { kind: OpCode::GetData.to_wire(), done: false, err: -1 }.encode(&mut body);
            PathWatch { path, watch: false }.encode(&mut body);
        }
        MultiHeader { kind: -1, done: true, err: -1 }.encode(&mut body);
        body
    };
    let few = world.send(client, OpCode::MultiRead, "", &reads(20));
    let many = world.send(client, OpCode::MultiRead, "", &reads(40_000));
    let after = world.exists(client, "/big", false);
    world.settle();
    assert_eq!(world.clients[client].reply(few), Some(0));
    assert_eq!(world.clients[client].reply(many), Some(-5));
    assert_eq!(world.clients[client].reply(after), Some(0));
}

#[test]
fn one_frame_cannot_log_gigabytes() {
    let mut world = World::new(ROOMY, 1);
    let client = world.connect(0);
    world.settle();
    let proof = [b"u".repeat(200 << 10), b":p".to_vec()].concat();
    let mut body = Vec::new();
    AuthPacket { kind: 0, scheme: Some(b"digest"), auth: Some(&proof) }.encode(&mut body);
    world.send(client, OpCode::Auth, "", &body);
    let list = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x04auth\0\0\0\0";
    let creates = |rows: usize| {
        let mut body = Vec::new();
        for row in 0..rows {
            MultiHeader { kind: OpCode::Create.to_wire(), done: false, err: -1 }.encode(&mut body);
            let path = format!("/n{row}");
            let (path, acl) = (Some(path.as_bytes()), AclList { bytes: list });
            CreateRequest { path, data: None, acl, flags: 0 }.encode(&mut body);
        }
        MultiHeader { kind: -1, done: true, err: -1 }.encode(&mut body);
        body
    };
    world.send(client, OpCode::Multi, "", &creates(4));
    let (many, few) = (creates(10_000), world.exists(client, "/n3", false));
    world.send(client, OpCode::Multi, "", &many);
    let none = world.exists(client, "/n9", false);
    world.settle();
    assert_eq!(world.clients[client].reply(few), Some(0));
    assert_eq!(world.clients[client].reply(none), Some(-101));
    assert!(world.log.len() < 2 << 20);
    world.check_history();
}

#[test]
fn a_full_disk_refuses_writes_lets_nobody_expire_and_keeps_no_thread_awake() {
    let mut world = World::new(ROOMY, 1);
    let (writer, silent) = (world.connect(0), world.connect(0));
    world.settle();
    world.disk_says(Done::Full("for a test".into()));
    world.settle();
    let read = world.exists(writer, "/a", false);
    world.settle();
    assert_eq!(world.clients[writer].reply(read), Some(-101), "reads go on");
    world.create(writer, "/a", 0);
    world.settle();
    assert_eq!(world.clients[writer].conn, None);
    world.pass_ms(100_000);
    assert_eq!(world.ends(silent), 0);
    assert!(world.next_ns().is_none_or(|due_ns| due_ns > world.now.mono_ns));
    world.disk_says(Done::Room);
    world.pass_ms(3_000);
    assert_eq!(world.ends(silent), 1);
}
