//! The client against a server whose every frame the test writes itself.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::client::raw::FrameBuffer;
use crate::wire::client::{
    AuthPacket, ConnectRequest, ConnectResponse, Field, PathWatch, ReplyHeader, SetWatches,
    SetWatches2, WatcherEvent, decode,
};
use crate::wire::codes::{EventType, OpCode, xids};
use crate::wire::jute::Write;

const PATIENCE: Duration = Duration::from_secs(20);

/// One connection, seen from the server.
struct Peer {
    stream: TcpStream,
    input: FrameBuffer,
}

/// A ConnectRequest, owned.
#[derive(Debug, PartialEq)]
struct Asked {
    last_zxid: i64,
    session_id: i64,
    passwd: Vec<u8>,
}

struct Frame {
    xid: i32,
    op: OpCode,
    body: Vec<u8>,
}

impl Peer {
    fn accept(listener: &TcpListener) -> Self {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, input: FrameBuffer::default() }
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.input.take() {
                return Some(frame.to_vec());
            }
            if self.input.fill(&mut self.stream).unwrap() == 0 {
                return None;
            }
        }
    }

    fn request(&mut self) -> Frame {
        let frame = self.frame().expect("the client sends a request");
        let int = |at: usize| i32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        let op = OpCode::from_wire(int(4)).unwrap();
        Frame { xid: int(0), op, body: frame[8..].to_vec() }
    }

    fn greeting(&mut self) -> Asked {
        let frame = self.frame().expect("the client greets");
        let request: ConnectRequest<'_> = decode(&frame).unwrap();
        let passwd = request.passwd.unwrap().to_vec();
        Asked { last_zxid: request.last_zxid_seen, session_id: request.session_id, passwd }
    }

    fn grant(&mut self, session_id: i64, timeout_ms: i32) {
        let passwd = [if session_id == 0 { 0 } else { 7 }; 16];
        self.send(|out| {
            ConnectResponse { protocol_version: 0, timeout_ms, session_id, passwd: &passwd }
                .encode(out);
            out.put_bool(false);
        });
    }

    fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        raw::frame(&mut out, fill);
        self.stream.write_all(&out).unwrap();
    }

    fn reply(&mut self, xid: i32, zxid: i64, err: i32, fill: impl FnOnce(&mut Vec<u8>)) {
        self.send(|out| {
            ReplyHeader { xid, zxid, err }.encode(out);
            fill(out);
        });
    }

    fn data(&mut self, xid: i32, zxid: i64, data: &[u8]) {
        self.reply(xid, zxid, 0, |out| {
            out.put_some(data);
            Stat::default().encode(out);
        });
    }

    fn event(&mut self, kind: EventType, path: &[u8]) {
        self.reply(xids::NOTIFICATION, -1, 0, |out| {
            WatcherEvent { kind: kind.to_wire(), state: 3, path }.encode(out);
        });
    }
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn options() -> Options {
    let backoff = Backoff { first: Duration::from_millis(2), max: Duration::from_millis(10) };
    Options { shuffle: false, patience: PATIENCE, backoff, ..Options::default() }
}

fn get(path: &str, watcher: Option<&Watcher>) -> Request {
    Request::GetData { path: path.to_owned(), watcher: watcher.cloned() }
}

/// A client on `servers` and the server's end of its first connection, session 0x42.
fn connected(servers: &str, listener: &TcpListener, options: Options) -> (Client, Peer) {
    let client = Client::start(servers, options).unwrap();
    let mut peer = Peer::accept(listener);
    assert_eq!(peer.greeting(), Asked { last_zxid: 0, session_id: 0, passwd: vec![0; 16] });
    peer.grant(0x42, 30_000);
    assert_eq!(next_state(client.events()), State::Connected);
    (client, peer)
}

fn next(events: &Receiver<WatchedEvent>) -> WatchedEvent {
    events.recv_timeout(PATIENCE).unwrap()
}

fn next_state(events: &Receiver<WatchedEvent>) -> State {
    let event = next(events);
    assert_eq!((event.kind, event.path), (EventKind::State, None));
    event.state
}

#[test]
fn pipelined_requests_are_answered_in_order_below_the_chroot() {
    let (listener, address) = listen();
    let (client, mut peer) = connected(&format!("{address}/app"), &listener, options());
    let pending = [client.submit(get("/a", None)), client.submit(get("/", None))];
    for path in ["/app/a", "/app"] {
        let request = peer.request();
        let body: PathWatch<'_> = decode(&request.body).unwrap();
        assert_eq!((request.op, body.path), (OpCode::GetData, Some(path.as_bytes())));
        peer.data(request.xid, 5, path.as_bytes());
    }
    let replies = pending.map(|pending| pending.wait().unwrap());
    let data = |path: &str| Reply::Data(Some(path.into()), Stat::default());
    assert_eq!(replies, [data("/app/a"), data("/app")]);
    assert_eq!((client.last_zxid(), client.session()), (5, (0x42, vec![7; 16])));
    client.abandon();
    assert!(peer.frame().is_none());
}

#[test]
fn after_a_loss_credentials_then_watches_then_requests_go_to_the_next_server() {
    let (first, first_address) = listen();
    let (second, second_address) = listen();
    let servers = format!("{first_address},{second_address}");
    let auth = vec![("digest".to_owned(), b"u:p".to_vec())];
    let (client, mut peer) = connected(&servers, &first, Options { auth, ..options() });
    assert_eq!(peer.request().op, OpCode::Auth);
    peer.reply(xids::AUTH, 0, 0, |_| {});

    let (watcher, watched) = client.watcher();
    let data = client.submit(get("/data", Some(&watcher)));
    let exists =
        client.submit(Request::Exists { path: "/gone".to_owned(), watcher: Some(watcher.clone()) });
    let refused = client.submit(get("/refused", Some(&watcher)));
    let lost = client.submit(get("/lost", Some(&watcher)));
    let xids: Vec<i32> = (0..4).map(|_| peer.request().xid).collect();
    peer.data(xids[0], 9, b"x");
    peer.reply(xids[1], 9, ErrorCode::NoNode.to_wire(), |_| {});
    peer.reply(xids[2], 9, ErrorCode::NoAuth.to_wire(), |_| {});
    assert!(data.wait().is_ok());
    assert_eq!(exists.wait(), Err(Error::Code(ErrorCode::NoNode)));
    assert_eq!(refused.wait(), Err(Error::Code(ErrorCode::NoAuth)));
    drop(peer);
    assert_eq!(lost.wait(), Err(Error::ConnectionLoss));
    assert_eq!(next_state(client.events()), State::Disconnected);
    assert_eq!(next_state(&watched), State::Disconnected);

    let mut peer = Peer::accept(&second);
    assert_eq!(peer.greeting(), Asked { last_zxid: 9, session_id: 0x42, passwd: vec![7; 16] });
    let queued = client.submit(get("/queued", None));
    peer.grant(0x42, 30_000);
    let request = peer.request();
    let auth: AuthPacket<'_> = decode(&request.body).unwrap();
    assert_eq!((request.op, request.xid), (OpCode::Auth, xids::AUTH));
    assert_eq!((auth.scheme, auth.auth), (Some(&b"digest"[..]), Some(&b"u:p"[..])));
    let request = peer.request();
    assert_eq!((request.op, request.xid), (OpCode::SetWatches, xids::SET_WATCHES));
    let expected =
        SetWatches { relative_zxid: 9, data: vec![b"/data"], exist: vec![b"/gone"], child: vec![] };
    assert_eq!(decode::<SetWatches<'_>>(&request.body), Ok(expected));
    let request = peer.request();
    let body: PathWatch<'_> = decode(&request.body).unwrap();
    assert_eq!(body.path, Some(&b"/queued"[..]));

    peer.reply(xids::AUTH, 0, 0, |_| {});
    peer.event(EventType::NodeDataChanged, b"/data");
    peer.reply(xids::SET_WATCHES, 10, 0, |_| {});
    peer.data(request.xid, 10, b"");
    assert!(queued.wait().is_ok());
    assert_eq!(next_state(&watched), State::Connected);
    let event = next(&watched);
    assert_eq!(event.kind, EventKind::Node(EventType::NodeDataChanged));
    assert_eq!(event.path.as_deref(), Some("/data"));
    assert_eq!(client.server(), second_address);
    client.abandon();
}

#[test]
fn persistent_watches_stay_and_are_restored_by_the_long_form() {
    let (listener, address) = listen();
    let (client, mut peer) = connected(&address, &listener, options());
    let (watcher, watched) = client.watcher();
    let path = "/p".to_owned();
    let mode = AddWatchMode::PersistentRecursive;
    let added = client.submit(Request::AddWatch { path, mode, watcher });
    let xid = peer.request().xid;
    peer.reply(xid, 1, 0, |out| out.put_int(0));
    assert_eq!(added.wait(), Ok(Reply::Done));
    for path in [&b"/p/x"[..], b"/p/x", b"/q"] {
        peer.event(EventType::NodeDataChanged, path);
    }
    drop(peer);
    for _ in 0..2 {
        assert_eq!(next(&watched).path.as_deref(), Some("/p/x"));
    }
    assert_eq!(next_state(&watched), State::Disconnected);
    let mut peer = Peer::accept(&listener);
    peer.greeting();
    peer.grant(0x42, 30_000);
    let request = peer.request();
    let body: SetWatches2<'_> = decode(&request.body).unwrap();
    assert_eq!(request.op, OpCode::SetWatches2);
    assert_eq!((body.persistent, body.persistent_recursive), (vec![], vec![&b"/p"[..]]));
    client.abandon();
}

#[test]
fn a_refused_session_is_expired_for_good_and_a_silent_close_is_not() {
    let (listener, address) = listen();
    let (client, peer) = connected(&address, &listener, options());
    drop(peer);
    assert_eq!(next_state(client.events()), State::Disconnected);
    let mut silent = Peer::accept(&listener);
    silent.greeting();
    drop(silent);
    let mut peer = Peer::accept(&listener);
    assert_eq!(peer.greeting().session_id, 0x42);
    peer.grant(0, 0);
    assert_eq!(next_state(client.events()), State::Expired);
    assert_eq!(client.sync("/"), Err(Error::SessionExpired));
    assert_eq!(client.state(), State::Expired);
    assert_eq!(client.close(), Err(Error::SessionExpired));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

#[test]
fn a_session_of_another_client_is_taken_over() {
    let (listener, address) = listen();
    let session = Some((0x77, vec![3; 16]));
    let client = Client::start(&address, Options { session, ..options() }).unwrap();
    let mut peer = Peer::accept(&listener);
    assert_eq!(peer.greeting(), Asked { last_zxid: 0, session_id: 0x77, passwd: vec![3; 16] });
    peer.grant(0x77, 4_000);
    assert_eq!(next_state(client.events()), State::Connected);
    assert_eq!((client.session().0, client.timeout()), (0x77, Duration::from_secs(4)));
    client.abandon();
}

#[test]
fn requests_fail_while_no_server_answers_and_close_does_not_wait_for_one() {
    let (listener, address) = listen();
    drop(listener);
    let backoff = Backoff { first: Duration::from_secs(600), max: Duration::from_secs(600) };
    let client = Client::start(&address, Options { backoff, ..options() }).unwrap();
    // The first attempt fails at once; what came before its end is told, what comes later waits.
    let begun = clock::elapsed();
    let pending = client.submit(get("/", None));
    assert_eq!(client.close(), Ok(()));
    assert!(matches!(pending.wait(), Err(Error::ConnectionLoss | Error::Closed)));
    assert!(clock::elapsed() - begun < Duration::from_secs(60));
}

#[test]
fn pings_go_out_at_a_third_and_a_mute_server_is_left_at_two_thirds() {
    let (listener, address) = listen();
    let client = Client::start(&address, options()).unwrap();
    let mut peer = Peer::accept(&listener);
    peer.greeting();
    let begun = clock::elapsed();
    peer.grant(0x42, 900);
    let ping = peer.request();
    assert_eq!((ping.op, ping.xid), (OpCode::Ping, xids::PING));
    let first = clock::elapsed() - begun;
    assert!(first >= Duration::from_millis(290), "{first:?}");
    // Answered once, then never again.
    let answered = clock::elapsed();
    peer.reply(xids::PING, 1, 0, |_| {});
    while let Some(frame) = peer.frame() {
        assert_eq!(frame[4..8], OpCode::Ping.to_wire().to_be_bytes());
    }
    let left = clock::elapsed() - answered;
    assert!(left >= Duration::from_millis(590), "{left:?}");
    assert_eq!(Peer::accept(&listener).greeting().session_id, 0x42);
    client.abandon();
}

#[test]
fn refused_credentials_end_the_client() {
    let (listener, address) = listen();
    let (client, mut peer) = connected(&address, &listener, options());
    let behind = client.submit(Request::AddAuth { scheme: "no".to_owned(), auth: vec![1] });
    let after = client.submit(get("/", None));
    assert_eq!(peer.request().op, OpCode::Auth);
    peer.reply(xids::AUTH, 0, ErrorCode::AuthFailed.to_wire(), |_| {});
    assert_eq!(behind.wait(), Err(Error::AuthFailed));
    assert_eq!(after.wait(), Err(Error::AuthFailed));
    assert_eq!(next_state(client.events()), State::AuthFailed);
    assert_eq!(client.close(), Err(Error::AuthFailed));
}

#[test]
fn close_comes_after_what_was_submitted_before() {
    let (listener, address) = listen();
    let (client, mut peer) = connected(&address, &listener, options());
    let before = client.submit(get("/", None));
    let closing = std::thread::scope(|scope| {
        let closing = scope.spawn(move || client.close());
        let request = peer.request();
        peer.data(request.xid, 1, b"last");
        let request = peer.request();
        assert_eq!((request.op, request.body.len()), (OpCode::CloseSession, 0));
        peer.reply(request.xid, 2, 0, |_| {});
        assert!(peer.frame().is_none());
        closing.join().unwrap()
    });
    assert_eq!(closing, Ok(()));
    assert!(before.wait().is_ok());
}

#[test]
fn a_reply_that_was_not_asked_for_costs_the_server_its_client() {
    let (listener, address) = listen();
    let (client, mut peer) = connected(&address, &listener, options());
    let pending = client.submit(get("/", None));
    let xid = peer.request().xid;
    peer.data(xid + 1, 1, b"");
    assert_eq!(pending.wait(), Err(Error::ConnectionLoss));
    assert_eq!(next_state(client.events()), State::Disconnected);
    assert_eq!(Peer::accept(&listener).greeting().session_id, 0x42);
    client.abandon();
}
