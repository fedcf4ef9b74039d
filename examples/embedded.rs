//! A server inside this process, on a free port with a temporary directory, and a client of it.
//!
//! `cargo run --example embedded`

use ringkeeper::client::{Client, Options, acl};
use ringkeeper::server::Server;
use ringkeeper::wire::codes::CreateMode;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::embedded()?;
    println!("serving on {}", server.addr());

    let client = Client::connect(&server.addr().to_string(), Options::default())?;
    let path =
        client.create("/greeting-", b"hello", acl::OPEN, CreateMode::PersistentSequential)?;
    let (data, stat) = client.get_data(&path, None)?;
    println!("{path} = {} (czxid {:#x})", String::from_utf8_lossy(&data), stat.czxid);
    client.close()?;

    // Whatever was acknowledged is on the disk; here the directory goes with the server.
    server.stop();
    Ok(())
}
