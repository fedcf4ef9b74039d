//! What stands before and after a run: sessions, preloaded nodes, and their removal.
//!
//! Thread: main, blocking; none of it is measured.

use std::io::{self, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::mix::{create, created_path, key_path, listed_path, set_data};
use crate::client::clock;
use crate::client::raw::{self, Connection, Handshake};
use crate::types::Map;
use crate::wire::client::{PathVersion, PathWatch, Stat, decode};
use crate::wire::codes::{ErrorCode, OpCode, xids};

const PATIENCE: Duration = Duration::from_secs(30);
/// Session timeout that is asked for: the longest that a default server grants.
const TIMEOUT_MS: i32 = 40_000;

/// One session on server number `turn` of the list, modulo its length.
pub(super) fn connect(servers: &[&str], turn: usize) -> io::Result<Connection> {
    let server = servers[turn % servers.len()];
    let handshake = Handshake { timeout_ms: TIMEOUT_MS, ..Handshake::default() };
    let named = |error: io::Error| {
        let hint = if error.kind() == io::ErrorKind::UnexpectedEof {
            " (a full server? see maxClientCnxns)"
        } else {
            ""
        };
        io::Error::new(error.kind(), format!("session {turn} on {server}: {error}{hint}"))
    };
    let connection = Connection::open(server, &handshake, PATIENCE).map_err(named)?;
    if !connection.granted().is_accepted() {
        return Err(io::Error::other(format!("{server} refused a new session")));
    }
    Ok(connection)
}

/// Opens `count` sessions that stay idle; those that are open are kept alive meanwhile.
pub(super) fn connect_idle(servers: &[&str], count: usize) -> io::Result<Vec<TcpStream>> {
    let mut ping = Vec::new();
    raw::bare(&mut ping, xids::PING, OpCode::Ping);
    let mut streams: Vec<TcpStream> = Vec::with_capacity(count);
    let mut pinged = clock::elapsed();
    while streams.len() < count {
        streams.push(connect(servers, streams.len())?.into_stream());
        if clock::elapsed() - pinged > Duration::from_secs(10) {
            pinged = clock::elapsed();
            for mut stream in &streams {
                stream.write_all(&ping)?; // Its reply is read when the session is closed.
            }
        }
    }
    Ok(streams)
}

/// Sends `count` requests with as many in flight as a mebibyte holds, 512 at most. Returns the
/// errors by code.
pub(super) fn pipeline(
    connection: &mut Connection,
    count: u64,
    mut make: impl FnMut(u64, i32, &mut Vec<u8>),
) -> io::Result<Map<i32, u64>> {
    let mut errors = Map::<i32, u64>::default();
    let (mut sent, mut received) = (0, 0);
    let mut out = Vec::new();
    while received < count {
        while sent < count && sent - received < 512 && out.len() < 1 << 20 {
            make(sent, i32::try_from(sent % 1_000_000_000).expect("below 2^31"), &mut out);
            sent += 1;
        }
        connection.send_bytes(&out)?;
        out.clear();
        // Half of them, so that the server always has work.
        let upto = if sent == count { count } else { received + (sent - received).div_ceil(2) };
        while received < upto {
            let (header, _) = connection.read_reply()?;
            received += 1;
            if header.err != 0 {
                *errors.entry(header.err).or_default() += 1;
            }
        }
    }
    Ok(errors)
}

fn must(errors: Map<i32, u64>, allowed: ErrorCode, what: &str) -> io::Result<u64> {
    match errors.iter().find(|(code, _)| **code != allowed.to_wire()) {
        Some((code, count)) => {
            Err(io::Error::other(format!("{what}: {count} requests failed with error {code}")))
        }
        None => Ok(errors.values().sum()),
    }
}

/// Makes the parents of `prefix`, `keys` nodes of `size_bytes` below it, and the listed node.
/// Nodes that an earlier run left are used again.
pub(super) fn preload(
    connection: &mut Connection,
    prefix: &str,
    keys: u64,
    size_bytes: usize,
) -> io::Result<()> {
    let data = vec![b'x'; size_bytes];
    let mut parents: Vec<String> =
        prefix.match_indices('/').skip(1).map(|(at, _)| prefix[..at].to_owned()).collect();
    parents.push(prefix.to_owned());
    parents.push(listed_path(prefix));
    parents.extend((0..10).map(|i| format!("{}/child{i}", listed_path(prefix))));
    let errors = pipeline(connection, parents.len() as u64, |i, xid, out| {
        let path = &parents[usize::try_from(i).expect("an index")];
        raw::request(out, xid, OpCode::Create, &create(path, b""));
    })?;
    must(errors, ErrorCode::NodeExists, "making the parents")?;
    if keys == 0 {
        return Ok(());
    }
    let last = key_path(prefix, keys - 1);
    let asked = PathWatch { path: Some(last.as_bytes()), watch: false };
    let (header, body) = connection.call(1, OpCode::Exists, &asked)?;
    if header.err == 0
        && decode::<Stat>(&body)
            .is_ok_and(|stat| usize::try_from(stat.data_length) == Ok(size_bytes))
    {
        return Ok(()); // The preload goes in order, so the last one is there after all others.
    }
    let errors = pipeline(connection, keys, |i, xid, out| {
        raw::request(out, xid, OpCode::Create, &create(&key_path(prefix, i), &data));
    })?;
    if must(errors, ErrorCode::NodeExists, "making the nodes")? > 0 {
        let errors = pipeline(connection, keys, |i, xid, out| {
            raw::request(out, xid, OpCode::SetData, &set_data(&key_path(prefix, i), &data));
        })?;
        must(errors, ErrorCode::NodeExists, "setting the nodes")?;
    }
    Ok(())
}

/// Deletes nodes `from..to` of those made under load.
pub(super) fn delete_created(
    connection: &mut Connection,
    prefix: &str,
    (from, to): (u64, u64),
) -> io::Result<()> {
    let errors = pipeline(connection, to - from, |i, xid, out| {
        let path = created_path(prefix, from + i);
        let body = PathVersion { path: Some(path.as_bytes()), version: -1 };
        raw::request(out, xid, OpCode::Delete, &body);
    })?;
    must(errors, ErrorCode::NoNode, "deleting").map(|_| ())
}

/// Deletes the preloaded nodes and `prefix` itself, not its parents.
pub(super) fn delete_preloaded(
    connection: &mut Connection,
    prefix: &str,
    keys: u64,
) -> io::Result<()> {
    let listed = listed_path(prefix);
    let mut rest: Vec<String> = (0..10).map(|i| format!("{listed}/child{i}")).collect();
    rest.push(listed);
    rest.push(prefix.to_owned());
    let errors = pipeline(connection, keys + rest.len() as u64, |i, xid, out| {
        let path = match i.checked_sub(keys) {
            Some(i) => rest[usize::try_from(i).expect("an index")].clone(),
            None => key_path(prefix, i),
        };
        let body = PathVersion { path: Some(path.as_bytes()), version: -1 };
        raw::request(out, xid, OpCode::Delete, &body);
    })?;
    must(errors, ErrorCode::NoNode, "deleting").map(|_| ())
}

/// Closes all sessions: first every request, then every wait, so that the server can batch.
pub(super) fn close(streams: Vec<TcpStream>) -> io::Result<()> {
    let mut frame = Vec::new();
    raw::bare(&mut frame, i32::MAX, OpCode::CloseSession);
    for mut stream in &streams {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&frame)?;
    }
    let mut sink = [0; 4096];
    for mut stream in &streams {
        while stream.read(&mut sink)? > 0 {}
    }
    Ok(())
}

/// Room for as many sockets as the hard limit allows: the soft one is often 1024.
pub(super) fn raise_descriptor_limit() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}
