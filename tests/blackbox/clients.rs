//! Clients of the tests: sessions of the library, and raw connections that show every frame.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringkeeper::client::raw::{Connection, Handshake};
use ringkeeper::client::{Client, Options, acl};
use ringkeeper::wire::client::{
    CreateRequest, Field, PathVersion, PathWatch, ReplyHeader, SetDataRequest, Stat, WatcherEvent,
    decode,
};
use ringkeeper::wire::codes::{CreateMode, EventType, OpCode, xids};
use ringkeeper::wire::jute::Reader;

use crate::world::PATIENCE;

/// A session of the library.
pub(crate) fn client(addr: SocketAddr) -> Client {
    client_with(addr, Options::default())
}

pub(crate) fn client_with(addr: SocketAddr, options: Options) -> Client {
    Client::connect(&addr.to_string(), Options { patience: PATIENCE, ..options }).unwrap()
}

/// A raw connection with its session.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) wire: Connection,
    xid: i32,
    /// Notifications that came before a reply.
    pub(crate) heard: Vec<(EventType, String)>,
}

/// What came: a notification or a reply.
#[derive(Debug)]
pub(crate) enum Came {
    Event(EventType, String),
    Reply(ReplyHeader, Vec<u8>),
}

pub(crate) fn handshake(timeout_ms: i32) -> Handshake {
    Handshake { timeout_ms, ..Handshake::default() }
}

impl Raw {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::shake(addr, &handshake(30_000))
    }

    pub(crate) fn shake(addr: SocketAddr, handshake: &Handshake) -> Self {
        let wire = Connection::open_address(addr, handshake, PATIENCE).unwrap();
        Self { wire, xid: 0, heard: Vec::new() }
    }

    /// The handshake that goes on with this session elsewhere.
    pub(crate) fn again(&self) -> Handshake {
        let granted = self.wire.granted();
        Handshake {
            session_id: granted.session_id,
            passwd: granted.passwd.clone(),
            timeout_ms: granted.timeout_ms,
            ..Handshake::default()
        }
    }

    pub(crate) fn send<'a>(&mut self, op: OpCode, body: &impl Field<'a>) -> i32 {
        self.xid += 1;
        self.wire.send(self.xid, op, body).unwrap();
        self.xid
    }

    pub(crate) fn next(&mut self) -> Came {
        let (header, body) = self.wire.read_reply().unwrap();
        came(header, body)
    }

    /// The next reply; events before it go to `heard`.
    pub(crate) fn reply(&mut self) -> (ReplyHeader, Vec<u8>) {
        loop {
            match self.next() {
                Came::Event(kind, path) => self.heard.push((kind, path)),
                Came::Reply(header, body) => return (header, body),
            }
        }
    }

    pub(crate) fn call<'a>(&mut self, op: OpCode, body: &impl Field<'a>) -> (ReplyHeader, Vec<u8>) {
        let xid = self.send(op, body);
        let (header, body) = self.reply();
        assert_eq!(header.xid, xid);
        (header, body)
    }

    pub(crate) fn create(&mut self, path: &str, data: &[u8], mode: CreateMode) {
        let (header, _) = self.call(OpCode::Create2, &create(path, data, mode));
        assert_eq!(header.err, 0, "create {path}");
    }

    pub(crate) fn set(&mut self, path: &str, data: &[u8]) -> i64 {
        let (header, _) = self.call(OpCode::SetData, &set(path, data));
        assert_eq!(header.err, 0, "set {path}");
        header.zxid
    }

    pub(crate) fn get(&mut self, path: &str) -> (Vec<u8>, Stat) {
        let (header, body) = self.call(OpCode::GetData, &read(path, false));
        assert_eq!(header.err, 0, "get {path}");
        data_of(&body)
    }

    /// The error of exists, 0 for none.
    pub(crate) fn exists(&mut self, path: &str, watch: bool) -> i32 {
        self.call(OpCode::Exists, &read(path, watch)).0.err
    }

    pub(crate) fn ping(&mut self) {
        self.wire.send_bare(xids::PING, OpCode::Ping).unwrap();
        assert_eq!(self.reply().0.xid, xids::PING);
    }

    /// Waits until the server has closed the connection; what came before is returned.
    pub(crate) fn until_closed(mut self) -> Vec<Came> {
        let mut all = Vec::new();
        // A reset is an end too: it comes when the server closes with bytes of ours unread.
        while let Ok(Some(frame)) = self.wire.read_frame() {
            let mut reader = Reader::new(&frame);
            let header = ReplyHeader::decode(&mut reader).unwrap();
            all.push(came(header, reader.rest().to_vec()));
        }
        all
    }
}

fn came(header: ReplyHeader, body: Vec<u8>) -> Came {
    if header.xid != xids::NOTIFICATION {
        return Came::Reply(header, body);
    }
    let event: WatcherEvent<'_> = decode(&body).unwrap();
    let kind = EventType::from_wire(event.kind).unwrap();
    Came::Event(kind, String::from_utf8(event.path.to_vec()).unwrap())
}

pub(crate) fn create<'a>(path: &'a str, data: &'a [u8], mode: CreateMode) -> CreateRequest<'a> {
    CreateRequest {
        path: Some(path.as_bytes()),
        data: Some(data),
        acl: acl::OPEN,
        flags: mode.to_wire(),
    }
}

pub(crate) fn set<'a>(path: &'a str, data: &'a [u8]) -> SetDataRequest<'a> {
    SetDataRequest { path: Some(path.as_bytes()), data: Some(data), version: -1 }
}

pub(crate) fn read(path: &str, watch: bool) -> PathWatch<'_> {
    PathWatch { path: Some(path.as_bytes()), watch }
}

pub(crate) fn delete(path: &str) -> PathVersion<'_> {
    PathVersion { path: Some(path.as_bytes()), version: -1 }
}

/// Body of a getData reply.
pub(crate) fn data_of(body: &[u8]) -> (Vec<u8>, Stat) {
    let mut reader = Reader::new(body);
    let data = reader.buffer().unwrap().unwrap_or_default().to_vec();
    (data, Stat::decode(&mut reader).unwrap())
}

/// How many connections a server packs on a shard before it opens the next.
const PACKED: usize = 64;

/// A connection on the first shard and one on the second, if there is a second.
pub(crate) fn two_shards(addr: SocketAddr) -> (Raw, Raw) {
    let (first, second) = two_shard_sockets(addr, || Raw::connect(addr), || Raw::connect(addr));
    (first, second)
}

/// What `first` connects is on the first shard, what `second` does on the next one.
pub(crate) fn two_shard_sockets<A, B>(
    addr: SocketAddr,
    first: impl FnOnce() -> A,
    second: impl FnOnce() -> B,
) -> (A, B) {
    let first = first();
    // Sockets are accepted in the order in which they connected, and these go away behind it.
    let fillers: Vec<TcpStream> = (0..PACKED).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let second = second();
    drop(fillers);
    (first, second)
}

pub(crate) const SHORT: Duration = Duration::from_millis(100);
