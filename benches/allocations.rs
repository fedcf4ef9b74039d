//! Heap allocations of a whole server for one operation: a read takes none, a set the versions it
//! makes.
//!
//! The server runs in this process, on a heap that counts; the client here sends and receives
//! bytes that it prepared before, so that nothing but the server allocates. `perf/allocations`
//! runs it.

use std::io::{Read, Write};
use std::net::TcpStream;

use ringkeeper::client::raw::{Connection, Handshake, request};
use ringkeeper::server::Server;
use ringkeeper::sys::counted::CountedHeap;
use ringkeeper::wire::client::{AclList, CreateRequest, Field, PathWatch, SetDataRequest, Stat};
use ringkeeper::wire::codes::OpCode;
use std::time::Duration;

#[global_allocator]
static HEAP: CountedHeap = CountedHeap;

const PATH: &[u8] = b"/allocations";
const DATA: &[u8] = &[b'x'; 100];
const ROUNDS: usize = 5_000;

/// Sends `depth` requests at once, `rounds` times, and reads as many replies of `reply` bytes.
fn load(stream: &mut TcpStream, frames: &[u8], reply_bytes: usize, rounds: usize) {
    let mut sink = [0; 8192];
    for _ in 0..rounds {
        stream.write_all(frames).expect("the server reads");
        stream.read_exact(&mut sink[..reply_bytes]).expect("the server answers");
        let err = i32::from_be_bytes(sink[16..20].try_into().expect("4 bytes"));
        assert_eq!(err, 0, "the first reply's error code");
    }
}

fn measure<'a>(stream: &mut TcpStream, op: OpCode, body: &impl Field<'a>, reply_len: usize) {
    for depth in [1, 16] {
        let mut frames = Vec::new();
        for _ in 0..depth {
            request(&mut frames, 1, op, body);
        }
        let reply_bytes = depth * (4 + 16 + reply_len);
        load(stream, &frames, reply_bytes, ROUNDS / 5);
        let before = CountedHeap::counts();
        load(stream, &frames, reply_bytes, ROUNDS);
        let after = CountedHeap::counts();
        let ops = (ROUNDS * depth) as f64;
        let each = (after.allocations - before.allocations) as f64 / ops;
        let bytes = (after.bytes - before.bytes) as f64 / ops;
        println!("{op:?}, depth {depth}: {each:.3} allocations, {bytes:.1} bytes each");
        // Claims. What is not per operation (a timer, a log line) may add a little.
        let claim = if op == OpCode::SetData { 1.05 } else { 0.01 };
        assert!(each <= claim, "at most {claim}");
    }
}

fn main() {
    let server = Server::embedded().expect("a free port and a directory");
    let addr = server.addr().to_string();
    let mut connection =
        Connection::open(&addr, &Handshake::default(), Duration::from_secs(10)).expect("it serves");
    let (path, acl) = (Some(PATH), AclList::OPEN);
    let create = CreateRequest { path, data: Some(DATA), acl, flags: 0 };
    let (header, _) = connection.call(1, OpCode::Create, &create).expect("it answers");
    assert_eq!(header.err, 0, "created");
    let mut stream = connection.into_stream();
    let get = PathWatch { path, watch: false };
    measure(&mut stream, OpCode::Exists, &get, Stat::LEN_BYTES);
    measure(&mut stream, OpCode::GetData, &get, 4 + DATA.len() + Stat::LEN_BYTES);
    let set = SetDataRequest { path, data: Some(DATA), version: -1 };
    measure(&mut stream, OpCode::SetData, &set, Stat::LEN_BYTES);
    server.stop();
}
