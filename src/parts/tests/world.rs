//! A server without threads, sockets and files: shards, pipeline and mesh in one loop, which a seed
//! drives. A part sleeps until somebody wakes it, as its thread would, so a lost wake-up shows
//! itself as a stall; queues may be as short as one; the disk answers when its turn comes.
//!
//! What every run is checked for, on each byte that a client gets (semantics.md, section 11):
//! replies in the order of the requests; header zxids that never decrease and are never below what
//! anyone was shown before the request was sent; nothing shown that is not durable; an event before
//! any reply that shows its change. [`World::check_history`] replays the log and compares all reads
//! and all fired watches with it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::auth::Schemes;
use crate::parts::figures::ShardFigures;
use crate::parts::mesh::Mesh;
use crate::parts::pipeline::{self, Done, Job, Outbox, Pipeline, PipelineFigures, Start};
use crate::parts::shard::{self, Action, Shard};
use crate::prep::{self, Prep};
use crate::session::ThrottleRules;
use crate::session::{SessionIds, SessionTable};
use crate::sys::broadcast::broadcast;
use crate::tree::{DataTree, TreeOptions};
use crate::types::{ConnId, Map, Millis, Now, SessionId, Zxid};
use crate::wire::client::{
    AclList, ConnectRequest, ConnectResponse, CreateRequest, Field, PathOnly, PathVersion,
    PathWatch, ReplyHeader, RequestHeader, SetDataRequest, Stat, WatcherEvent,
};
use crate::wire::codes::OpCode;
use crate::wire::jute::{Reader, Write as _};
use crate::wire::txn::TxnEntry;

/// Session timeout of every client; one tick is 2000 ms.
pub(super) const TIMEOUT_MS: i32 = 10_000;

/// How many shards, and how long the queues are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) shards: usize,
    pub(super) requests: usize,
    pub(super) deliveries: usize,
    pub(super) changes: usize,
}

pub(super) const ROOMY: Sizes = Sizes { shards: 1, requests: 64, deliveries: 64, changes: 64 };

/// One connection of the fake driver.
#[derive(Debug)]
struct Socket {
    client: usize,
    /// From the client, not taken yet.
    inbound: Vec<u8>,
    sending: Option<Vec<u8>>,
    paused: bool,
    new: bool,
    /// The client is gone, and the shard was not told yet.
    hung_up: bool,
    /// As the drivers have it: no send of a broken connection comes back.
    broken: bool,
}

#[derive(Debug)]
struct Seat {
    shard: Shard,
    awake: bool,
    sockets: Vec<(u32, Option<Socket>)>,
}

/// A request whose reply is due.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) xid: i32,
    pub(super) kind: OpCode,
    path: Vec<u8>,
    watch: bool,
    /// What anybody had been shown when it was sent.
    floor: i64,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    /// Seat and connection, while there is one.
    pub(super) conn: Option<(usize, ConnId)>,
    pub(super) session: i64,
    passwd: Vec<u8>,
    pub(super) connected: bool,
    /// Got a ConnectResponse that says the session is over.
    pub(super) refused: bool,
    /// It takes no bytes from its socket.
    pub(super) deaf: bool,
    pub(super) owed: VecDeque<Owed>,
    /// Error of each reply, by xid.
    pub(super) replies: Vec<(i32, i32)>,
    received: Vec<u8>,
    last_zxid: i64,
    next_xid: i32,
    /// Path and the zxid at which its watch was set.
    watches: Map<Vec<u8>, i64>,
    pub(super) events: usize,
}

/// What a client was shown: at this zxid the node had this mzxid, or was not there.
#[derive(Debug)]
struct Shown {
    zxid: i64,
    path: Vec<u8>,
    mzxid: Option<i64>,
}

#[derive(Debug)]
struct Fired {
    path: Vec<u8>,
    set_at: i64,
    zxid: i64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Now,
    seed: u64,
    pipeline: Pipeline,
    pipeline_awake: bool,
    next_ns: Option<u64>,
    seats: Vec<Seat>,
    pub(super) clients: Vec<Client>,
    /// An append that runs.
    disk: Option<(Vec<u8>, Zxid)>,
    /// While false no append ends.
    pub(super) disk_works: bool,
    durable: Zxid,
    pub(super) log: Vec<u8>,
    done: Vec<Done>,
    /// Newest zxid that any client saw.
    seen: i64,
    shown: Vec<Shown>,
    fired: Vec<Fired>,
}

impl World {
    pub(super) fn new(sizes: Sizes, seed: u64) -> Self {
        let mesh = Arc::new(Mesh::new(sizes.shards, sizes.requests, sizes.deliveries));
        let (ring, readers) = broadcast(sizes.changes, sizes.shards);
        let figures: Vec<_> =
            (0..sizes.shards).map(|_| Arc::new(ShardFigures::default())).collect();
        let tree = DataTree::new(TreeOptions::default());
        let seats = (0_u16..)
            .zip(readers)
            .map(|(index, changes)| Seat {
                shard: Shard::new(
                    index,
                    shard_settings(),
                    Arc::clone(&mesh),
                    tree.reader(),
                    changes,
                    Arc::clone(&figures[usize::from(index)]),
                ),
                awake: true,
                sockets: Vec::new(),
            })
            .collect();
        let start = Start {
            tree,
            sessions: SessionTable::new(2000),
            ids: SessionIds::new(1, 1),
            txns_since_snapshot: 0,
            log_bytes_since_snapshot: 0,
            snapshot_len_bytes: 0,
        };
        let prep = Prep::new(prep::Options {
            extended_types: true,
            enforce_quota: false,
            skip_acl: false,
            reconfig_enabled: false,
            digest_enabled: true,
            schemes: Schemes::default(),
        });
        let told = Arc::new(PipelineFigures::default());
        let pipeline = Pipeline::new(pipeline_settings(), start, prep, mesh, ring, figures, told);
        Self {
            now: Now { mono_ms: 1, mono_ns: 1_000_000, wall_ms: 1_000_000 },
            seed,
            pipeline,
            pipeline_awake: true,
            next_ns: None,
            seats,
            clients: Vec::new(),
            disk: None,
            disk_works: true,
            durable: Zxid::ZERO,
            log: Vec::new(),
            done: Vec::new(),
            seen: 0,
            shown: Vec::new(),
            fired: Vec::new(),
        }
    }

    /// A number below `below`, of the seed (splitmix64).
    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn pick(&mut self, len: usize) -> usize {
        usize::try_from(self.random(len as u64)).expect("below a usize")
    }

    // ---- the loop ---------------------------------------------------------------------------

    /// Runs one part, or the disk; false when all sleep.
    pub(super) fn step(&mut self) -> bool {
        self.advance_ns(20_000);
        let disk = self.disk.is_some() && self.disk_works;
        let pipeline = self.pipeline_awake
            || !self.done.is_empty()
            || self.next_ns.is_some_and(|due_ns| due_ns <= self.now.mono_ns);
        let mut runnable: Vec<usize> = Vec::new();
        for at in 0..self.seats.len() {
            if self.seats[at].awake || self.has_input(at) {
                runnable.push(at);
            }
        }
        let shards = self.seats.len();
        if pipeline {
            runnable.push(shards);
        }
        if disk {
            runnable.push(shards + 1);
        }
        if runnable.is_empty() {
            return false;
        }
        let chosen = runnable[self.pick(runnable.len())];
        if chosen == shards {
            self.pipeline_turn();
        } else if chosen == shards + 1 {
            let (bytes, last) = self.disk.take().expect("looked at above");
            self.log.extend_from_slice(&bytes);
            self.durable = last;
            self.done.push(Done::Appended { bytes: Vec::new(), last, took_ns: 100_000 });
        } else {
            self.shard_turn(chosen);
        }
        true
    }

    /// Until nobody has anything to do. Sleeping parts are left to their timers for a few ms only:
    /// who needs longer while a reply is due was not woken.
    pub(super) fn settle(&mut self) {
        let mut pauses = 0;
        for _ in 0..200_000 {
            if self.step() {
                continue;
            }
            let waits = self.clients.iter().find(|client| {
                let owed = !client.owed.is_empty() || !client.connected && !client.refused;
                client.conn.is_some() && !client.deaf && owed
            });
            let Some(waits) = waits.filter(|_| self.disk_works) else { return };
            pauses += 1;
            assert!(pauses < 20_000, "nobody moves, but there waits {waits:#?}");
            let due_ns = self.next_ns.unwrap_or(u64::MAX);
            let pause_ns = due_ns.saturating_sub(self.now.mono_ns);
            assert!(pause_ns < 10_000_000, "all sleep, but there waits {waits:#?}");
        }
        panic!("the parts go round and round");
    }

    /// Lets time pass in small steps, all parts doing what their timers say.
    pub(super) fn pass_ms(&mut self, ms: Millis) {
        let end_ms = self.now.mono_ms + ms;
        while self.now.mono_ms < end_ms {
            self.rest();
            // A thread sleeps for half a second at most.
            for seat in &mut self.seats {
                seat.awake = true;
            }
            self.pipeline_awake = true;
            self.advance_ns(100_000_000);
        }
        self.rest();
    }

    /// Until all sleep.
    fn rest(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("a part is kept awake by nothing");
    }

    /// The disk is full, or has room again.
    pub(super) fn disk_says(&mut self, done: Done) {
        self.done.push(done);
    }

    /// When the pipeline wants to run again even if nothing comes.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    fn advance_ns(&mut self, ns: u64) {
        self.now.mono_ns += ns;
        let mono_ms = i64::try_from(self.now.mono_ns / 1_000_000).expect("a short run");
        self.now.wall_ms += mono_ms - self.now.mono_ms;
        self.now.mono_ms = mono_ms;
    }

    fn pipeline_turn(&mut self) {
        let mut out = Outbox::default();
        self.pipeline.turn(self.now, &mut self.done, &mut out);
        for job in out.jobs {
            match job {
                Job::Append { bytes, last, .. } => {
                    assert!(self.disk.replace((bytes, last)).is_none(), "two syncs at once");
                }
                Job::Snapshot(_) => unreachable!("the settings ask for none"),
            }
        }
        for shard in out.wake {
            self.seats[usize::from(shard)].awake = true;
        }
        self.next_ns = out.next_ns;
        self.pipeline_awake = self.pipeline.has_work();
    }

    fn has_input(&self, at: usize) -> bool {
        self.seats[at].sockets.iter().filter_map(|(_, socket)| socket.as_ref()).any(|socket| {
            socket.new
                || socket.hung_up
                || !socket.inbound.is_empty() && !socket.paused
                || socket.sending.is_some() && !self.clients[socket.client].deaf
        })
    }

    fn shard_turn(&mut self, at: usize) {
        let now = self.now;
        self.seats[at].awake = false;
        self.seats[at].shard.catch_up(now);
        for slot in 0..self.seats[at].sockets.len() {
            let cut = self.random(4) == 0;
            let cut_at = self.random(1 << 20);
            let seat = &mut self.seats[at];
            let (generation, Some(socket)) = &mut seat.sockets[slot] else { continue };
            let id = ConnId { slot: u32::try_from(slot).expect("a few"), generation: *generation };
            let mut turn = seat.shard.turn();
            if std::mem::take(&mut socket.new) {
                turn.opened(id, ([127, 0, 0, 1], 4000).into());
            }
            if !self.clients[socket.client].deaf
                && let Some(bytes) = socket.sending.take()
            {
                self.clients[socket.client].take(at, id, &bytes);
                turn.sent(id, Vec::new());
            }
            if !socket.paused && !socket.inbound.is_empty() {
                let all = socket.inbound.len();
                let len = if cut { 1 + usize::try_from(cut_at).unwrap_or(0) % all } else { all };
                let bytes: Vec<u8> = socket.inbound.drain(..len).collect();
                turn.received(id, &bytes);
            }
            if std::mem::take(&mut socket.hung_up) {
                turn.closed(id, Some(&std::io::ErrorKind::ConnectionReset.into()));
                socket.broken = true;
                socket.sending = None;
                socket.inbound.clear();
            }
        }
        if self.random(2) == 0 {
            self.seats[at].shard.catch_up(now);
        }
        let mut actions = Vec::new();
        if self.seats[at].shard.flush(&mut actions) {
            self.pipeline_awake = true;
        }
        for action in actions {
            self.act(at, action);
        }
        let seat = &mut self.seats[at];
        if seat.shard.has_work() {
            seat.awake = true;
        } else {
            seat.shard.park();
        }
        self.read_all();
    }

    fn socket(&mut self, at: usize, id: ConnId) -> Option<&mut Socket> {
        let (generation, socket) = self.seats[at].sockets.get_mut(id.slot as usize)?;
        if *generation == id.generation { socket.as_mut() } else { None }
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Send { conn, bytes } => {
                let Some(socket) = self.socket(at, conn) else { return };
                assert!(socket.sending.is_none(), "one send at a time");
                if !socket.broken {
                    socket.sending = Some(bytes);
                }
            }
            Action::Close { conn } => {
                let Some(socket) = self.socket(at, conn) else { return };
                let (client, sending) = (socket.client, socket.sending.take());
                if !self.clients[client].deaf {
                    self.clients[client].take(at, conn, &sending.unwrap_or_default());
                }
                self.free(at, conn);
            }
            Action::Abort { conn } => self.free(at, conn),
            Action::Pause { conn } => {
                if let Some(socket) = self.socket(at, conn) {
                    socket.paused = true;
                }
            }
            Action::Resume { conn } => {
                if let Some(socket) = self.socket(at, conn) {
                    socket.paused = false;
                }
            }
            Action::FourLetter { .. } | Action::Facts { .. } => {}
        }
    }

    fn free(&mut self, at: usize, id: ConnId) {
        let Some(client) = self.socket(at, id).map(|socket| socket.client) else { return };
        self.read_all();
        let client = &mut self.clients[client];
        if client.conn == Some((at, id)) {
            client.conn = None;
            client.gone();
        }
        let (generation, socket) = &mut self.seats[at].sockets[id.slot as usize];
        *generation += 1;
        *socket = None;
    }

    /// Connections that the shards still have.
    pub(super) fn open_connections(&self) -> usize {
        self.seats.iter().map(|seat| seat.shard.connections()).sum()
    }

    // ---- clients ----------------------------------------------------------------------------

    /// A client with a connection to shard `at`, its ConnectRequest sent.
    pub(super) fn connect(&mut self, at: usize) -> usize {
        self.clients.push(Client::default());
        let client = self.clients.len() - 1;
        self.reconnect(client, at);
        client
    }

    /// The client of a session, or of none yet, connects anew; its old connection, if any, is left
    /// open and forgotten.
    pub(super) fn reconnect(&mut self, client: usize, at: usize) {
        let free = self.seats[at].sockets.iter().position(|(_, socket)| socket.is_none());
        let slot = free.unwrap_or_else(|| {
            self.seats[at].sockets.push((0, None));
            self.seats[at].sockets.len() - 1
        });
        let known = &mut self.clients[client];
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: known.last_zxid,
            timeout_ms: TIMEOUT_MS,
            session_id: known.session,
            passwd: Some(&known.passwd),
        };
        let mut body = Vec::new();
        request.encode(&mut body);
        known.gone();
        let (generation, socket) = &mut self.seats[at].sockets[slot];
        let id = ConnId { slot: u32::try_from(slot).expect("a few"), generation: *generation };
        *socket = Some(Socket {
            client,
            inbound: framed(&body),
            sending: None,
            paused: false,
            new: true,
            hung_up: false,
            broken: false,
        });
        known.conn = Some((at, id));
    }

    /// The client's side of the connection breaks.
    pub(super) fn hang_up(&mut self, client: usize) {
        let Some((at, id)) = self.clients[client].conn.take() else { return };
        self.clients[client].gone();
        if let Some(socket) = self.socket(at, id) {
            socket.hung_up = true;
        }
    }

    /// Sends a request; its reply is due from now on.
    pub(super) fn send(&mut self, client: usize, kind: OpCode, path: &str, body: &[u8]) -> i32 {
        self.send_watching(client, kind, path, body, false)
    }

    fn send_watching(
        &mut self,
        client: usize,
        kind: OpCode,
        path: &str,
        body: &[u8],
        watch: bool,
    ) -> i32 {
        let floor = self.seen;
        let known = &mut self.clients[client];
        known.next_xid += 1;
        let xid = known.next_xid;
        let Some((at, id)) = known.conn else { return xid };
        known.owed.push_back(Owed { xid, kind, path: path.into(), watch, floor });
        let mut frame = Vec::new();
        RequestHeader { xid, kind: kind.to_wire() }.encode(&mut frame);
        frame.extend_from_slice(body);
        if let Some(socket) = self.socket(at, id) {
            socket.inbound.extend_from_slice(&framed(&frame));
        }
        xid
    }

    /// Sends bytes that may be no request.
    pub(super) fn send_raw(&mut self, client: usize, bytes: &[u8]) {
        let Some((at, id)) = self.clients[client].conn else { return };
        if let Some(socket) = self.socket(at, id) {
            socket.inbound.extend_from_slice(bytes);
        }
    }

    pub(super) fn create(&mut self, client: usize, path: &str, flags: i32) -> i32 {
        let body = create_body(path, flags);
        self.send(client, OpCode::Create, path, &body)
    }

    pub(super) fn set(&mut self, client: usize, path: &str) -> i32 {
        let mut body = Vec::new();
        let data = Some(&b"data"[..]);
        SetDataRequest { path: Some(path.as_bytes()), data, version: -1 }.encode(&mut body);
        self.send(client, OpCode::SetData, path, &body)
    }

    pub(super) fn delete(&mut self, client: usize, path: &str) -> i32 {
        let mut body = Vec::new();
        PathVersion { path: Some(path.as_bytes()), version: -1 }.encode(&mut body);
        self.send(client, OpCode::Delete, path, &body)
    }

    pub(super) fn exists(&mut self, client: usize, path: &str, watch: bool) -> i32 {
        let mut body = Vec::new();
        PathWatch { path: Some(path.as_bytes()), watch }.encode(&mut body);
        self.send_watching(client, OpCode::Exists, path, &body, watch)
    }

    pub(super) fn ephemerals(&mut self, client: usize) -> i32 {
        let mut body = Vec::new();
        PathOnly { path: Some(b"/") }.encode(&mut body);
        self.send(client, OpCode::GetEphemerals, "", &body)
    }

    pub(super) fn close(&mut self, client: usize) -> i32 {
        self.send(client, OpCode::CloseSession, "", &[])
    }

    fn read_all(&mut self) {
        for at in 0..self.clients.len() {
            while let Some(frame) = next_frame(&mut self.clients[at].received) {
                self.on_frame(at, &frame);
            }
        }
    }

    fn on_frame(&mut self, at: usize, frame: &[u8]) {
        let client = &mut self.clients[at];
        let mut reader = Reader::new(frame);
        if !client.connected {
            let response = ConnectResponse::decode(&mut reader).expect("a ConnectResponse");
            if response.timeout_ms == 0 {
                client.refused = true;
                return;
            }
            assert!(client.session == 0 || client.session == response.session_id, "whose session?");
            client.session = response.session_id;
            client.passwd = response.passwd.to_vec();
            client.connected = true;
            return;
        }
        let header = ReplyHeader::decode(&mut reader).expect("a reply");
        assert!(header.zxid <= self.durable.to_wire(), "{header:?} shows what is not durable");
        if header.xid == -1 {
            let event = WatcherEvent::decode(&mut reader).expect("an event");
            assert!(header.zxid > client.last_zxid, "{header:?} after {}", client.last_zxid);
            client.events += 1;
            let path = event.path.to_vec();
            let set_at = client.watches.remove(&path);
            let set_at = set_at.unwrap_or_else(|| panic!("an event of {path:?} without a watch"));
            self.fired.push(Fired { path, set_at, zxid: header.zxid });
            return;
        }
        let owed = client.owed.pop_front().expect("a reply that nobody waits for");
        assert_eq!(header.xid, owed.xid, "replies come in the order of their requests");
        assert!(header.zxid >= client.last_zxid, "{header:?} after {}", client.last_zxid);
        assert!(header.zxid >= owed.floor, "{header:?}, but {} was shown before", owed.floor);
        client.last_zxid = header.zxid;
        client.replies.push((header.xid, header.err));
        self.seen = self.seen.max(header.zxid);
        if owed.kind == OpCode::Exists {
            let stat = Stat::decode(&mut reader).ok();
            assert_eq!(stat.is_some(), header.err == 0);
            let mzxid = stat.map(|stat| stat.mzxid);
            if owed.watch {
                client.watches.entry(owed.path.clone()).or_insert(header.zxid);
            }
            self.shown.push(Shown { zxid: header.zxid, path: owed.path, mzxid });
        }
    }

    // ---- the verdict ------------------------------------------------------------------------

    /// Of each path that anybody asked for: which txns changed it, and what each left there.
    fn history(&self) -> Map<Vec<u8>, Vec<(i64, Option<i64>)>> {
        let mut history: Map<Vec<u8>, Vec<(i64, Option<i64>)>> = Map::default();
        for shown in &self.shown {
            history.entry(shown.path.clone()).or_insert_with(|| vec![(0, None)]);
        }
        let mut tree = DataTree::new(TreeOptions::default());
        for payload in payloads(&self.log) {
            let entry = TxnEntry::decode(payload).expect("a txn");
            assert_eq!(entry.header.zxid, tree.last_zxid().next(), "no zxid is left out");
            let mut changes = Vec::new();
            tree.apply(&entry.header, &entry.txn, &mut changes, &mut smallvec::SmallVec::new());
            // A node may come and go within one multi: then it is as it was, but watches hear.
            for change in changes {
                if let Some(states) = history.get_mut(&change.path[..]) {
                    let mzxid = tree.get(&change.path).map(|node| node.stat().mzxid);
                    states.push((entry.header.zxid.to_wire(), mzxid));
                }
            }
        }
        history
    }

    /// Compares what clients were shown with the log.
    pub(super) fn check_history(&self) {
        let history = self.history();
        for Shown { zxid, path, mzxid } in &self.shown {
            let (_, was) = history[path].iter().rev().find(|(at, _)| at <= zxid).expect("zxid 0");
            assert_eq!(was, mzxid, "{} at {zxid:#x}", path.escape_ascii());
        }
        let next_change = |path: &[u8], after: i64| {
            history[path].iter().map(|(at, _)| *at).find(|at| *at > after)
        };
        for Fired { path, set_at, zxid } in &self.fired {
            let next = next_change(path, *set_at);
            assert_eq!(next, Some(*zxid), "a watch on {} of {set_at}", path.escape_ascii());
        }
        for client in self.clients.iter().filter(|client| client.conn.is_some() && !client.deaf) {
            for (path, set_at) in &client.watches {
                let next = next_change(path, *set_at);
                assert_eq!(next, None, "an event of {} did not come", path.escape_ascii());
            }
        }
    }

    /// No part keeps a connection whose client is gone.
    pub(super) fn check_connections(&self) {
        let sockets = self.seats.iter().flat_map(|seat| &seat.sockets);
        let open: Vec<&Socket> = sockets.filter_map(|(_, socket)| socket.as_ref()).collect();
        assert!(open.iter().all(|socket| !socket.broken), "a dead connection is kept: {open:?}");
        assert_eq!(open.len(), self.open_connections());
    }

    /// How often the log ends the session of `client`.
    pub(super) fn ends(&self, client: usize) -> usize {
        let session = SessionId(self.clients[client].session);
        payloads(&self.log)
            .map(|payload| TxnEntry::decode(payload).expect("a txn"))
            .filter(|entry| entry.txn.kind() == OpCode::CloseSession)
            .filter(|entry| entry.header.session == session)
            .count()
    }
}

impl Client {
    /// Its connection is no more; nothing is due on it.
    fn gone(&mut self) {
        self.connected = false;
        self.owed.clear();
        self.watches.clear();
        self.received.clear();
    }

    /// Bytes of a connection; what comes on an older one is lost.
    fn take(&mut self, at: usize, id: ConnId, bytes: &[u8]) {
        if self.conn == Some((at, id)) {
            self.received.extend_from_slice(bytes);
        }
    }

    /// Error of the reply to `xid`, when it came.
    pub(super) fn reply(&self, xid: i32) -> Option<i32> {
        self.replies.iter().find(|(of, _)| *of == xid).map(|(_, err)| *err)
    }
}

pub(super) fn create_body(path: &str, flags: i32) -> Vec<u8> {
    let mut body = Vec::new();
    let path = Some(path.as_bytes());
    CreateRequest { path, data: Some(b"data"), acl: AclList::OPEN, flags }.encode(&mut body);
    body
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_len(body.len());
    frame.extend_from_slice(body);
    frame
}

fn next_frame(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let len = i32::from_be_bytes(*received.first_chunk::<4>()?);
    let end = 4 + usize::try_from(len).expect("a length");
    if received.len() < end {
        return None;
    }
    let frame = received[4..end].to_vec();
    received.drain(..end);
    Some(frame)
}

fn payloads(mut log: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = i32::from_be_bytes(*log.get(8..)?.first_chunk::<4>()?);
        let len = usize::try_from(len).expect("a length");
        let payload = &log[12..12 + len];
        log = &log[12 + len + 1..];
        Some(payload)
    })
}

fn shard_settings() -> shard::Settings {
    shard::Settings {
        frame_bytes_max: 1 << 20,
        min_timeout_ms: 4000,
        max_timeout_ms: 40_000,
        skip_acl: false,
        schemes: Schemes::default(),
        sessionless_ms: 10_000,
        outstanding_max: 1000,
    }
}

fn pipeline_settings() -> pipeline::Settings {
    pipeline::Settings {
        throttle: ThrottleRules::OFF,
        snap_count: 1 << 40,
        snap_size_bytes: None,
        segment_bytes: 64 << 20,
        container_check_ms: 60_000,
        container_per_minute: 10_000,
        container_never_used_ms: 0,
    }
}
