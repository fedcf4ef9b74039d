//! What outlives a server: the tree, and sessions for as long as their timeouts.

use std::time::Duration;

use ringkeeper::client::raw::Connection;
use ringkeeper::client::{Error, Options, acl};
use ringkeeper::server::{self, Server};
use ringkeeper::wire::codes::CreateMode;

use crate::clients::{Raw, client, client_with, handshake};
use crate::world::{PATIENCE, World, await_that, four_letter};

#[test]
fn an_embedded_server_serves_and_ends() {
    let server = Server::embedded().unwrap();
    let addr = server.addr();
    let session = client(addr);
    session.create("/a", b"1", acl::OPEN, CreateMode::Persistent).unwrap();
    assert_eq!(session.get_data("/a", None).unwrap().0, b"1");
    server.stop();
    assert!(matches!(session.get_data("/a", None), Err(Error::ConnectionLoss)));
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn two_embedded_servers_know_nothing_of_each_other() {
    let (one, other) = (Server::embedded().unwrap(), Server::embedded().unwrap());
    client(one.addr()).create("/a", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    assert_eq!(client(other.addr()).exists("/a", None).unwrap(), None);
    one.stop();
    assert_eq!(client(other.addr()).exists("/a", None).unwrap(), None);
    other.stop();
}

#[test]
fn a_restart_keeps_the_tree_and_sessions_that_come_back() {
    let mut world = World::new(server::Options::default());
    let mut back = Raw::connect(world.addr());
    back.create("/tree", b"root", CreateMode::Persistent);
    for i in 0..50 {
        back.create(&format!("/tree/{i}"), i.to_string().as_bytes(), CreateMode::Persistent);
    }
    back.create("/tree/back", b"", CreateMode::Ephemeral);
    let (_, before) = back.get("/tree");
    let mut never = Raw::shake(world.addr(), &handshake(1_000));
    never.create("/tree/never", b"", CreateMode::Ephemeral);
    let (again, of_never) = (back.again(), never.again());
    for round in 0..3 {
        world.stop();
        world.start(|_| ());
        let mut back = Raw::shake(world.addr(), &again);
        assert_eq!(back.wire.granted().session_id, again.session_id, "round {round}");
        // The node of the session that never comes back came, and went.
        let changes = if round == 0 { 1 } else { 2 };
        let (data, after) = back.get("/tree");
        assert_eq!(
            (data.as_slice(), after.czxid, after.cversion),
            (&b"root"[..], before.czxid, before.cversion + changes)
        );
        assert_eq!(back.get("/tree/back").1.ephemeral_owner, again.session_id);
        assert_eq!(back.get("/tree/49").0, b"49");
        if round == 0 {
            // Its timeout began anew with the server.
            assert_eq!(back.exists("/tree/never", false), 0);
            await_that("the session that never comes back", || {
                back.exists("/tree/never", false) != 0
            });
            let gone = Connection::open_address(world.addr(), &of_never, PATIENCE).unwrap();
            assert!(!gone.granted().is_accepted());
            let fresh = Raw::connect(world.addr());
            assert_ne!(fresh.wire.granted().session_id, again.session_id);
            assert_ne!(fresh.wire.granted().session_id, of_never.session_id);
            fresh.wire.close().unwrap();
        }
        back.wire.abandon();
    }
}

#[test]
fn a_client_of_the_library_goes_on_behind_a_restart() {
    let mut world = World::new(server::Options::default());
    let addr = world.addr();
    let options = Options { timeout: Duration::from_secs(20), ..Options::default() };
    let session = client_with(addr, options);
    session.create("/own", b"", acl::OPEN, CreateMode::Ephemeral).unwrap();
    session.create("/seen", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    let (watcher, heard) = session.watcher();
    session.get_data("/seen", Some(&watcher)).unwrap();
    let id = session.session().0;
    world.stop();
    world.start(|config| config.client_addr = Some(addr));
    let other = client(addr);
    await_that("the session's return", || session.get_data("/own", None).is_ok());
    assert_eq!(session.session().0, id);
    other.set_data("/seen", b"x", -1).unwrap();
    await_that("the restored watch", || {
        heard.try_iter().any(|event| event.path.as_deref() == Some("/seen"))
    });
}

#[test]
fn a_client_ahead_of_the_server_is_sent_away() {
    let world = World::new(server::Options::default());
    let raw = Raw::connect(world.addr());
    let ahead = ringkeeper::client::raw::Handshake { last_zxid_seen: i64::MAX, ..raw.again() };
    let refused = Connection::open_address(world.addr(), &ahead, PATIENCE);
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(four_letter(world.addr(), "ruok"), "imok");
}

#[test]
fn snapshots_and_rolled_segments_are_loaded_again() {
    let mut world = World::with(server::Options::default(), |config| {
        config.snap_count = 100;
        config.snap_size_limit_bytes = 200 << 10;
        config.pre_alloc_bytes = 64 << 10;
    });
    let session = client(world.addr());
    session.create("/big", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    let data = vec![b'd'; 4 << 10];
    for i in 0..400 {
        let path = format!("/big/{}", i % 40);
        if i < 40 {
            session.create(&path, &data, acl::OPEN, CreateMode::Persistent).unwrap();
        } else {
            session.set_data(&path, &data, -1).unwrap();
        }
    }
    session.close().unwrap();
    let count = |world: &World, prefix: &str| {
        world.files().iter().filter(|name| name.starts_with(prefix)).count()
    };
    await_that("several snapshots", || count(&world, "snapshot.") >= 3);
    assert!(count(&world, "log.") > 10, "{:?}", world.files());
    world.stop();
    world.start(|_| ());
    let session = client(world.addr());
    for i in 0..40 {
        let (seen, stat) = session.get_data(&format!("/big/{i}"), None).unwrap();
        assert_eq!((seen == data, stat.version), (true, 9));
    }
}
