//! What a server does by itself, and whom it lets do what.

use std::time::Duration;

use ringkeeper::client::acl::{self, Acl};
use ringkeeper::client::{Error, Options};
use ringkeeper::server;
use ringkeeper::wire::client::AclList;
use ringkeeper::wire::codes::{CreateMode, ErrorCode, EventType, perms};

use crate::clients::{client, client_with};
use crate::world::{World, await_that};

fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, code: ErrorCode) {
    assert_eq!(outcome.unwrap_err(), Error::Code(code));
}

#[test]
fn containers_go_behind_their_last_child_and_ttl_nodes_when_their_time_is_over() {
    let world = World::with(server::Options::default(), |config| {
        config.containers.check_interval_ms = 50;
        config.containers.max_per_minute = 60_000;
    });
    let session = client(world.addr());
    let (watcher, heard) = session.watcher();
    session.create("/box", b"", acl::OPEN, CreateMode::Container).unwrap();
    session.create("/unused", b"", acl::OPEN, CreateMode::Container).unwrap();
    session.create("/box/one", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    let ttl = |path: &str, ms| {
        let mode = CreateMode::PersistentTtl;
        session.create_ttl(path, b"", acl::OPEN, mode, Duration::from_millis(ms)).unwrap();
    };
    ttl("/short", 100);
    ttl("/long", 3_600_000);
    ttl("/parent", 100);
    session.create("/parent/child", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    assert!(session.exists("/short", Some(&watcher)).unwrap().is_some());
    await_that("the end of /short", || session.exists("/short", None).unwrap().is_none());
    let event = heard.recv().unwrap();
    assert_eq!(event.kind, ringkeeper::client::EventKind::Node(EventType::NodeDeleted));
    session.delete("/box/one", -1).unwrap();
    await_that("the end of /box", || session.exists("/box", None).unwrap().is_none());
    session.delete("/parent/child", -1).unwrap();
    await_that("the end of /parent", || session.exists("/parent", None).unwrap().is_none());
    // A container that never had a child stays, as does a node whose time is not over.
    assert!(session.exists("/unused", None).unwrap().is_some());
    assert!(session.exists("/long", None).unwrap().is_some());
}

#[test]
fn hard_quotas_refuse_when_they_are_enforced() {
    let world = World::with(server::Options::default(), |config| config.enforce_quota = true);
    let session = client(world.addr());
    let make =
        |path: &str, data: &[u8]| session.create(path, data, acl::OPEN, CreateMode::Persistent);
    make("/q", b"").unwrap();
    make("/zookeeper/quota/q", b"").unwrap();
    make("/zookeeper/quota/q/zookeeper_stats", b"count=1,bytes=0").unwrap();
    make(
        "/zookeeper/quota/q/zookeeper_limits",
        b"count=-1,bytes=-1;byteHardLimit=20;countHardLimit=3",
    )
    .unwrap();
    make("/q/1", b"0123456789").unwrap();
    make("/q/2", b"").unwrap();
    refused(make("/q/3", b""), ErrorCode::QuotaExceeded);
    refused(session.set_data("/q/2", b"0123456789012", -1), ErrorCode::QuotaExceeded);
    session.set_data("/q/2", b"0123456789", -1).unwrap();
    let (stats, _) = session.get_data("/zookeeper/quota/q/zookeeper_stats", None).unwrap();
    assert_eq!(String::from_utf8(stats).unwrap(), "count=3,bytes=20");
    session.delete("/q/1", -1).unwrap();
    make("/q/3", b"").unwrap();
}

#[test]
fn acls_say_who_may_and_the_super_user_always_may() {
    let world = World::with(server::Options::default(), |config| {
        // super:secret
        config.digest_auth.super_digest = Some("super:lK75jTNcA+U9vtVEw5vB51mj/w4=".to_owned());
    });
    let addr = world.addr();
    let own = client(addr);
    own.add_auth("digest", b"me:mine").unwrap();
    own.create("/own", b"secret", acl::CREATOR_ALL, CreateMode::Persistent).unwrap();
    let entry =
        |perms, scheme: &str, id: &str| Acl { perms, scheme: scheme.to_owned(), id: id.to_owned() };
    let create = |path: &str, entries: &[Acl]| {
        let bytes = acl::encode(entries);
        own.create(path, b"", AclList { bytes: &bytes }, CreateMode::Persistent)
    };
    create("/here", &[entry(perms::ALL, "ip", "127.0.0.0/8")]).unwrap();
    create("/there", &[entry(perms::ALL, "ip", "10.0.0.0/8")]).unwrap();
    create("/shown", &[entry(perms::READ, "world", "anyone")]).unwrap();
    refused(create("/none", &[]), ErrorCode::InvalidAcl);
    refused(create("/no", &[entry(1, "nosuch", "x")]), ErrorCode::InvalidAcl);

    let other = client(addr);
    refused(other.get_data("/own", None), ErrorCode::NoAuth);
    refused(other.get_data("/there", None), ErrorCode::NoAuth);
    refused(other.set_data("/shown", b"", -1), ErrorCode::NoAuth);
    refused(other.create("/own/x", b"", acl::OPEN, CreateMode::Persistent), ErrorCode::NoAuth);
    refused(
        other.create("/x", b"", acl::CREATOR_ALL, CreateMode::Persistent),
        ErrorCode::InvalidAcl,
    );
    other.set_data("/here", b"x", -1).unwrap();
    other.get_data("/shown", None).unwrap();
    // The right one among several credentials is enough.
    other.add_auth("digest", b"me:wrong").unwrap();
    refused(other.get_data("/own", None), ErrorCode::NoAuth);
    other.add_auth("digest", b"me:mine").unwrap();
    assert_eq!(other.get_data("/own", None).unwrap().0, b"secret");

    let auth = vec![("digest".to_owned(), b"super:secret".to_vec())];
    let superuser = client_with(addr, Options { auth, ..Options::default() });
    superuser.get_data("/there", None).unwrap();
    superuser.set_acl("/there", acl::OPEN, -1).unwrap();
    other.set_data("/there", b"open now", -1).unwrap();
    // A scheme that nobody knows ends the session's connection.
    assert_eq!(client(addr).add_auth("nosuch", b"x").unwrap_err(), Error::AuthFailed);
}

#[test]
fn who_may_not_read_a_node_hears_nothing_of_it() {
    let world = World::new(server::Options::default());
    let own = client(world.addr());
    own.add_auth("digest", b"me:mine").unwrap();
    own.create("/own", b"", acl::CREATOR_ALL, CreateMode::Persistent).unwrap();
    let other = client(world.addr());
    let (watcher, heard) = other.watcher();
    let mode = ringkeeper::wire::codes::AddWatchMode::PersistentRecursive;
    other.add_watch("/", mode, &watcher).unwrap();
    own.set_data("/own", b"x", -1).unwrap();
    own.create("/open", b"", acl::OPEN, CreateMode::Persistent).unwrap();
    let event = heard.recv().unwrap();
    assert_eq!(event.path.as_deref(), Some("/open"));
}
