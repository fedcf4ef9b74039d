//! A tour of the client library: `cargo run --example client -- HOST:PORT`.
//!
//! It makes an ephemeral node, watches it, pipelines a hundred reads, changes two nodes at once and
//! moves the session to a second client, as after a restart of the program.

use std::process::ExitCode;
use std::time::Duration;

use ringkeeper::client::{Client, Error, EventKind, Options, Request, acl, create};
use ringkeeper::wire::codes::CreateMode;

fn main() -> ExitCode {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2181".to_owned());
    match tour(&servers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn tour(servers: &str) -> Result<(), Error> {
    let options = Options { timeout: Duration::from_secs(10), ..Options::default() };
    let client = Client::connect(servers, options.clone())?;
    println!("session {:#x} on {}", client.session().0, client.server());

    let path = client.create("/tour-", b"one", acl::OPEN, CreateMode::EphemeralSequential)?;
    let (watcher, events) = client.watcher();
    let (data, stat) = client.get_data(&path, Some(&watcher))?;
    println!("{path} holds {:?}, version {}", String::from_utf8_lossy(&data), stat.version);

    // All are on their way before the first reply is awaited.
    let read = || Request::GetData { path: path.clone(), watcher: None };
    let pending: Vec<_> = (0..100).map(|_| client.submit(read())).collect();
    for reply in pending {
        reply.wait()?;
    }

    // Both or none.
    let note = format!("{path}-note");
    client.multi(vec![
        create(&note, b"", acl::OPEN, CreateMode::Ephemeral),
        Request::SetData { path: path.clone(), data: Some(b"two".to_vec()), version: stat.version },
    ])?;
    let event = events.recv().expect("the client lives");
    assert!(matches!(event.kind, EventKind::Node(_)), "{event:?}");
    println!("{:?} of {}", event.kind, event.path.unwrap_or_default());

    // Another client goes on with the session; its ephemerals are still there.
    let session = Some(client.session());
    client.abandon();
    let successor = Client::connect(servers, Options { session, ..options })?;
    println!("taken over: {:?}", successor.get_ephemerals("/tour-")?);
    successor.close()
}
