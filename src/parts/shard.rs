//! A shard: client connections, their FIFO order, their watches, and all reading.
//!
//! Thread: its own; nothing in it is shared or locked. Invariants: replies of a connection leave
//! in the order of its requests; a watch event is queued before any reply that shows the change;
//! `visible` never goes back, and everything up to it was fired and delivered.
//!
//! A turn is: the driver has taken what the kernel had; [`Shard::catch_up`] loads the published
//! zxid and delivers changes and replies up to it; then [`Turn`] serves what the driver took; then
//! [`Shard::flush`]. In this order a read sees whatever was acknowledged to anyone before it was
//! sent (DESIGN.md section 2, step 6).
//!
//! Not here: sockets (`net/`), writes (`pipeline.rs`), the reads themselves (`reads.rs`).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::connection::{Conn, Pending, Phase};
use super::figures::ShardFigures;
use super::mesh::Mesh;
use super::reads::Reads;
use super::{
    Attached, Connect, ConnectionFacts, Delivery, Facts, Gather, Request, ShardShare, ToShard,
    Write,
};
use crate::auth::{Auth, AuthFailed, Schemes};
use crate::limits;
use crate::prep::{begin_frame, connect_response, finish_frame};
use crate::session::{Admission, ConnectRules, Declined};
use crate::sys::broadcast;
use crate::tree::acl::permits;
use crate::tree::{AclId, Change, Pin, TreeReader};
use crate::types::{ConnId, ConnRef, Millis, Now, SessionId, Zxid};
use crate::watch::{AclOf, ConnKey, Event, Sink, WatchTable};
use crate::wire::client::{
    AuthPacket, ConnectRequest, Field, PathOnly, RequestHeader, SaslToken, WatcherEvent, decode,
};
use crate::wire::codes::{ErrorCode, OpCode, perms, xids};
use crate::wire::four_letter::Word;
use crate::wire::frame::{FrameError, FrameReader};
use crate::wire::jute::Reader;

/// How long a closing connection may take to accept one more buffer.
const LINGER_MS: Millis = 5_000;

/// Buffers kept for reuse, and the largest kept.
const POOL_BUFFERS_MAX: usize = 1024;
const POOL_BUFFER_BYTES_MAX: usize = 64 << 10;

/// Room kept for changes taken early.
const EARLY_KEPT: usize = 1024;

/// A name in a list of children, by and large.
const CHILD_BYTES: usize = 32;

/// Settings of the client side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest frame accepted (`jute.maxbuffer`).
    pub frame_bytes_max: usize,
    /// Bounds of the negotiated session timeout.
    pub min_timeout_ms: i32,
    /// See above.
    pub max_timeout_ms: i32,
    /// No permission is checked (`skipACL`).
    pub skip_acl: bool,
    /// Which schemes there are.
    pub schemes: Schemes,
    /// A connection without a ConnectRequest is closed at the next multiple of this.
    pub sessionless_ms: Millis,
    /// Writes of this shard in flight above which a connection that has one is not read on
    /// (`globalOutstandingLimit`).
    pub outstanding_max: usize,
}

/// What a turn wants done. The order of actions for one connection counts.
#[derive(Debug)]
pub enum Action {
    /// Send; the driver gives the buffer back.
    Send {
        /// To whom.
        conn: ConnId,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// Close when what was sent before is out. The id is dead from now on.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Close now.
    Abort {
        /// Which; may be gone.
        conn: ConnId,
    },
    /// Stop receiving.
    Pause {
        /// Which.
        conn: ConnId,
    },
    /// Receive again.
    Resume {
        /// Which.
        conn: ConnId,
    },
    /// Answer a four-letter word, through [`Shard::answer`] or [`Shard::ask`].
    FourLetter {
        /// Who asks.
        conn: ConnId,
        /// From where.
        peer: SocketAddr,
        /// What.
        word: Word,
        /// The eight bytes behind `stmk`.
        argument: Option<i64>,
    },
    /// What [`Shard::ask`] asked for.
    Facts {
        /// Who asked.
        conn: ConnId,
        /// The word it sent.
        facts: Box<Facts>,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Shard {
    reader: TreeReader,
    inner: Inner,
}

#[derive(Debug)]
pub(super) struct Inner {
    index: u16,
    pub(super) settings: Settings,
    mesh: Arc<Mesh>,
    changes: broadcast::Reader<Change>,
    /// Taken from the ring before they are published, because one txn has more changes than the
    /// ring has room for. BOUND: the changes of one txn.
    early: VecDeque<Change>,
    /// Taken from the queue but not due yet.
    next_delivery: Option<ToShard>,
    conns: Vec<Option<Box<Conn>>>,
    pub(super) watches: WatchTable,
    pub(super) visible: Zxid,
    pub(super) now: Now,
    /// Requests that found the queue full, oldest first.
    backlog: VecDeque<Request>,
    /// Connections with output or a close to flush.
    dirty: Vec<ConnId>,
    /// Stopped for the shard's own sake; looked at again when something was delivered.
    stalled: Vec<ConnId>,
    /// Opened and without a session yet.
    fresh: Vec<ConnId>,
    /// Closing connections, and when to look whether they still accept bytes; in order of time.
    lingering: VecDeque<(ConnId, Millis)>,
    pool: Vec<Vec<u8>>,
    in_flight: usize,
    wake_pipeline: bool,
    actions: Vec<Action>,
    /// The event being fired, encoded.
    frame: Vec<u8>,
    pub(super) figures: Arc<ShardFigures>,
}

/// The part of a turn that may read the tree.
#[derive(Debug)]
pub struct Turn<'a> {
    pin: Pin<'a>,
    inner: &'a mut Inner,
}

impl Shard {
    /// Shard `index` of the server that `mesh` belongs to.
    pub fn new(
        index: u16,
        settings: Settings,
        mesh: Arc<Mesh>,
        reader: TreeReader,
        changes: broadcast::Reader<Change>,
        figures: Arc<ShardFigures>,
    ) -> Self {
        let visible = reader.published();
        let inner = Inner {
            index,
            settings,
            mesh,
            changes,
            early: VecDeque::new(),
            next_delivery: None,
            conns: Vec::new(),
            watches: WatchTable::default(),
            visible,
            now: Now::default(),
            backlog: VecDeque::new(),
            dirty: Vec::new(),
            stalled: Vec::new(),
            fresh: Vec::new(),
            lingering: VecDeque::new(),
            pool: Vec::new(),
            in_flight: 0,
            wake_pipeline: false,
            actions: Vec::new(),
            frame: Vec::new(),
            figures,
        };
        Self { reader, inner }
    }

    /// Delivers changes and pipeline records up to the published zxid. Returns whether anything
    /// was delivered.
    pub fn catch_up(&mut self, now: Now) -> bool {
        self.reader.resume();
        let published = self.reader.published();
        let inner = &mut self.inner;
        inner.now = now;
        let pin = self.reader.pin();
        let delivered = inner.deliver(&pin, published);
        drop(pin);
        self.reader.set_visible(inner.visible);
        delivered
    }

    /// Opens the part of the turn that serves what the driver took.
    pub fn turn(&mut self) -> Turn<'_> {
        Turn { pin: self.reader.pin(), inner: &mut self.inner }
    }

    /// Ends the turn: output is handed out, timers run. Returns whether the pipeline must wake.
    pub fn flush(&mut self, actions: &mut Vec<Action>) -> bool {
        let inner = &mut self.inner;
        inner.push_backlog();
        inner.check_timers();
        inner.flush();
        // The pipeline wakes a sleeping shard for a change only if it has watches; see `publish`.
        inner.figures.watches.set(inner.watches.watch_count() as u64);
        inner.figures.outstanding.set(inner.in_flight as u64);
        actions.append(&mut inner.actions);
        // The pipeline reads the first to know whom a change must wake.
        inner.figures.watches.set(inner.watches.watch_count() as u64);
        inner.figures.outstanding.set(inner.in_flight as u64);
        inner.mesh.finish_turn(usize::from(inner.index), inner.now.mono_ms);
        std::mem::take(&mut inner.wake_pipeline)
    }

    /// Before the thread sleeps: this shard reads nothing until its next [`catch_up`](Self::catch_up),
    /// so nothing must be kept for it.
    /// Not with a request in flight: a read behind it is served at the reply's zxid, which may be
    /// older than what is published then.
    pub fn park(&self) {
        if self.inner.in_flight == 0 {
            self.reader.park();
        }
    }

    /// Whether there is something to do without waiting for the kernel.
    pub fn has_work(&self) -> bool {
        let inner = &self.inner;
        let requests = &inner.mesh.requests[usize::from(inner.index)];
        !inner.dirty.is_empty()
            || !inner.backlog.is_empty() && !requests.is_full()
            || inner.visible < self.reader.published()
            || inner.next_delivery.as_ref().is_some_and(|next| next.zxid <= inner.visible)
            || inner.next_delivery.is_none()
                && !inner.mesh.deliveries[usize::from(inner.index)].is_empty()
    }

    /// Answers a four-letter word; the connection closes behind it.
    pub fn answer(&mut self, conn: ConnId, text: &[u8]) {
        self.inner.with(conn, |inner, conn| {
            conn.out.extend_from_slice(text);
            conn.figures.sent += 1;
            inner.figures.sent.add(1);
            inner.close(conn);
        });
    }

    /// The connection's name in the whole server.
    pub fn reference(&self, conn: ConnId) -> ConnRef {
        self.inner.reference(conn)
    }

    /// Asks the other parts for the facts of a four-letter word.
    pub fn ask(&mut self, conn: ConnId, what: Gather) {
        let from = self.inner.reference(conn);
        self.inner.request(Request::Ask { from, what });
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.inner.conns.iter().flatten().count()
    }
}

impl Turn<'_> {
    /// A client connected.
    pub fn opened(&mut self, id: ConnId, peer: SocketAddr) {
        let conn = Conn::new(id, peer, self.inner.now);
        let slot = id.slot as usize;
        if self.inner.conns.len() <= slot {
            self.inner.conns.resize_with(slot + 1, || None);
        }
        assert!(self.inner.conns[slot].is_none(), "the driver gave slot {slot} away twice");
        self.inner.conns[slot] = Some(Box::new(conn));
        self.inner.fresh.push(id);
        self.inner.figures.connections.add(1);
    }

    /// Bytes of a client.
    pub fn received(&mut self, id: ConnId, bytes: &[u8]) {
        let pin = &self.pin;
        self.inner.with(id, |inner, conn| inner.decode(pin, conn, bytes));
    }

    /// A buffer is with the kernel, whole.
    pub fn sent(&mut self, id: ConnId, buffer: Vec<u8>) {
        let pin = &self.pin;
        self.inner.recycle(buffer);
        self.inner.with(id, |inner, conn| {
            conn.sending = false;
            conn.progressed = true;
            inner.mark_dirty(conn);
            inner.drain_pending(pin, conn, limits::OUT_PAUSE_BYTES);
            if conn.paused && conn.out.len() < limits::OUT_PAUSE_BYTES {
                inner.resume(pin, conn);
            }
        });
    }

    /// The client is gone.
    pub fn closed(&mut self, id: ConnId, error: Option<&std::io::Error>) {
        self.inner.with(id, |inner, conn| {
            if conn.phase == Phase::Word && error.is_none() {
                return; // `echo stat | nc -N`: it sends no more, but waits for the answer.
            }
            if conn.phase != Phase::Closing {
                let why = error.map_or_else(String::new, |error| format!(" ({error})"));
                tracing::debug!(
                    "Unable to read additional data from client, it probably closed the socket: \
                     address = {}, session = {}{why}",
                    conn.peer,
                    conn.session,
                );
            }
            conn.out.clear();
            inner.close(conn);
        });
    }
}

impl Inner {
    fn reference(&self, conn: ConnId) -> ConnRef {
        ConnRef { shard: self.index, conn }
    }

    /// Takes a connection out of the table for as long as `work` runs; nothing happens when it is
    /// gone.
    fn with(&mut self, id: ConnId, work: impl FnOnce(&mut Self, &mut Conn)) {
        let slot = id.slot as usize;
        let Some(place) = self.conns.get_mut(slot) else { return };
        let Some(mut conn) = place.take_if(|conn| conn.id == id) else { return };
        work(self, &mut conn);
        self.conns[slot] = Some(conn);
    }

    fn mark_dirty(&mut self, conn: &mut Conn) {
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(conn.id);
        }
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.pool.len() < POOL_BUFFERS_MAX && buffer.capacity() <= POOL_BUFFER_BYTES_MAX {
            buffer.clear();
            self.pool.push(buffer);
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_default()
    }

    /// Hands a request to the pipeline, or keeps it while the queue is full.
    fn request(&mut self, request: Request) {
        self.wake_pipeline = true;
        if !self.backlog.is_empty() {
            self.backlog.push_back(request);
        } else if let Err(request) = self.mesh.requests[usize::from(self.index)].push(request) {
            self.backlog.push_back(request);
        }
    }

    fn push_backlog(&mut self) {
        while let Some(request) = self.backlog.pop_front() {
            if let Err(request) = self.mesh.requests[usize::from(self.index)].push(request) {
                self.backlog.push_front(request);
                return;
            }
            self.wake_pipeline = true;
        }
    }

    // ---- what the pipeline says -------------------------------------------------------------

    /// Merges changes and records in zxid order: events of a txn before its reply.
    fn deliver(&mut self, pin: &Pin<'_>, published: Zxid) -> bool {
        let mut delivered = false;
        // The pipeline may be waiting for this very shard.
        self.wake_pipeline |= self.changes.is_full();
        loop {
            if self.next_delivery.is_none() {
                self.next_delivery = self.mesh.deliveries[usize::from(self.index)].pop();
            }
            let upto = match &self.next_delivery {
                Some(next) if next.zxid <= published => next.zxid,
                _ => published,
            };
            self.before_own_write(pin, published);
            self.fire_up_to(pin, upto);
            self.visible = self.visible.max(upto);
            match self.next_delivery.take() {
                Some(next) if next.zxid <= published => {
                    delivered = true;
                    self.on_delivery(pin, next);
                }
                later => {
                    self.next_delivery = later;
                    break;
                }
            }
        }
        if delivered {
            for id in std::mem::take(&mut self.stalled) {
                self.with(id, |inner, conn| inner.resume(pin, conn));
            }
        }
        delivered
    }

    /// Reads that wait for room must not see a later write of their own session: they are served
    /// while it is still invisible, room or not. BOUND: `held_bytes` of that connection.
    fn before_own_write(&mut self, pin: &Pin<'_>, published: Zxid) {
        if let Some(next) = &self.next_delivery
            && next.zxid <= published
            && matches!(next.what, Delivery::Reply { .. })
        {
            self.with(next.conn, |inner, conn| inner.drain_pending(pin, conn, usize::MAX));
        }
    }

    fn fire_up_to(&mut self, pin: &Pin<'_>, upto: Zxid) {
        while let Some(change) = self.early.front().or_else(|| self.changes.peek()) {
            // Changes above `upto` are pushed before their zxid is published, and a watch that is
            // set at `visible` must hear of them: they stay, even if nobody watches now.
            if change.zxid > upto {
                break;
            }
            // PERF: a shard without watches looks at no change.
            if !self.watches.is_empty() {
                let mut sink = Firing {
                    pin,
                    conns: &mut self.conns,
                    dirty: &mut self.dirty,
                    figures: &self.figures,
                    skip_acl: self.settings.skip_acl,
                    change,
                    acl: change.acl,
                    frame: &mut self.frame,
                };
                self.watches.fire(change.kind, &change.path, &mut sink);
            }
            if self.early.pop_front().is_none() {
                self.changes.advance();
            }
        }
        if self.early.is_empty() && self.early.capacity() > EARLY_KEPT {
            self.early = VecDeque::new();
        }
        self.make_room();
    }

    /// A ring full of changes that are not published holds a part of one txn, whose other part the
    /// pipeline cannot push and which it therefore cannot publish: the shard takes them.
    fn make_room(&mut self) {
        if !self.changes.is_full() {
            return;
        }
        self.wake_pipeline = true;
        while let Some(change) = self.changes.peek() {
            self.early.push_back(change.clone());
            self.changes.advance();
        }
    }

    fn on_delivery(&mut self, pin: &Pin<'_>, delivery: ToShard) {
        let ToShard { zxid, conn: id, what } = delivery;
        match what {
            Delivery::Reply { bytes, close } => {
                self.in_flight -= 1;
                let mut returned = bytes;
                self.with(id, |inner, conn| {
                    inner.on_reply(pin, conn, zxid, &mut returned, close);
                });
                self.recycle(returned);
            }
            Delivery::Attached(attached) => {
                self.in_flight -= 1;
                self.on_attached(pin, id, &attached);
            }
            Delivery::Refused => {
                self.in_flight -= 1;
                self.with(id, |inner, conn| inner.refuse(conn));
            }
            Delivery::Declined => {
                self.in_flight -= 1;
                self.with(id, |inner, conn| inner.close(conn));
            }
            Delivery::Drop => self.with(id, |inner, conn| {
                // The session is somebody else's, or nobody's: do not detach it.
                conn.session = SessionId(0);
                inner.close(conn);
            }),
            Delivery::Gather { id: gathering, what, asks } => {
                let share = Box::new(self.share(what, asks));
                self.request(Request::Gathered { id: gathering, share });
            }
            Delivery::Facts(facts) => self.actions.push(Action::Facts { conn: id, facts }),
        }
    }

    fn on_reply(
        &mut self,
        pin: &Pin<'_>,
        conn: &mut Conn,
        zxid: Zxid,
        bytes: &mut Vec<u8>,
        close: bool,
    ) {
        conn.in_flight -= 1;
        if conn.phase == Phase::Closing {
            return; // Its FIFO is gone.
        }
        if conn.in_flight == 0 {
            conn.write_bytes_max = 0;
        }
        let Some(Pending::InFlight { since_ns, operation, xid }) = conn.pending.pop_front() else {
            unreachable!("a reply finds its request at the head of the FIFO");
        };
        let frame_bytes = bytes.len();
        // PERF: the reply's buffer becomes the output when there is nothing before it.
        if conn.out.is_empty() {
            std::mem::swap(&mut conn.out, bytes);
        } else {
            conn.out.extend_from_slice(bytes);
        }
        let took_ns = self.now.mono_ns.saturating_sub(since_ns);
        conn.count_reply(operation, xid, zxid.to_wire(), self.now, since_ns);
        self.figures.write_done(took_ns, frame_bytes);
        self.mark_dirty(conn);
        if close {
            conn.session = SessionId(0);
            self.close(conn);
            return;
        }
        self.drain_pending(pin, conn, limits::OUT_PAUSE_BYTES);
    }

    /// Serves what waited behind a write, up to the next write, or until so many bytes wait for the
    /// client: a client that does not read must not be answered into memory.
    fn drain_pending(&mut self, pin: &Pin<'_>, conn: &mut Conn, out_bytes_max: usize) {
        while matches!(conn.phase, Phase::Live | Phase::Ending) && conn.out.len() < out_bytes_max {
            match conn.pending.front() {
                None | Some(Pending::InFlight { .. }) => return,
                Some(Pending::Read { .. } | Pending::Ready { .. }) => {}
            }
            match conn.pending.pop_front() {
                Some(Pending::Read { frame, auth, since_ns, held_bytes }) => {
                    conn.held_bytes -= held_bytes;
                    self.read(pin, conn, &frame, &auth, since_ns);
                    self.recycle(frame);
                }
                Some(Pending::Ready { bytes, close }) => {
                    conn.out.extend_from_slice(&bytes);
                    self.recycle(bytes);
                    self.mark_dirty(conn);
                    if close {
                        self.close(conn);
                    }
                }
                None | Some(Pending::InFlight { .. }) => unreachable!("looked at above"),
            }
        }
    }

    fn on_attached(&mut self, pin: &Pin<'_>, id: ConnId, attached: &Attached) {
        let mut alive = false;
        self.with(id, |inner, conn| {
            if conn.phase != Phase::Connecting {
                return;
            }
            alive = true;
            conn.phase = Phase::Live;
            conn.session = attached.session;
            conn.timeout_ms = attached.timeout_ms;
            conn.heard = Some(attached.heard.clone());
            conn.touch(inner.now);
            connect_response(
                &mut conn.out,
                attached.session,
                attached.timeout_ms,
                &attached.passwd,
                conn.with_read_only,
            );
            conn.figures.sent += 1;
            inner.figures.sent.add(1);
            inner.mark_dirty(conn);
            inner.resume(pin, conn);
        });
        if !alive {
            // The client left before its session was up; the session must not look attached.
            let from = self.reference(id);
            self.request(Request::Detached { from, session: attached.session });
        }
    }

    fn share(&mut self, what: Gather, asks: ConnRef) -> ShardShare {
        let mut share = ShardShare::default();
        match what {
            Gather::Connections | Gather::Dump => {
                for conn in self.conns.iter().flatten() {
                    share.connections.push(ConnectionFacts {
                        peer: conn.peer.to_string(),
                        queued: conn.pending.len(),
                        received: conn.figures.received,
                        sent: conn.figures.sent,
                        asks: asks == self.reference(conn.id),
                        session: conn.session_facts(),
                        expires_wall_ms: self.now.wall_ms
                            + conn
                                .heard
                                .as_ref()
                                .map_or(0, |heard| heard.last() - self.now.mono_ms)
                            + Millis::from(conn.timeout_ms),
                    });
                }
            }
            Gather::Watches => {
                let conns = &self.conns;
                let session = |key: ConnKey| {
                    let conn = conns.get(key.0 as usize).and_then(Option::as_ref);
                    conn.map_or(SessionId(0), |conn| conn.session)
                };
                for (_, path, watchers) in self.watches.watched(0) {
                    for (key, modes) in watchers {
                        for _ in 0..modes.count() {
                            share.watches.push((path.to_vec(), session(key)));
                        }
                    }
                }
                share.watching_connections = self.watches.connection_count();
            }
            Gather::ResetConnections => {
                for conn in self.conns.iter_mut().flatten() {
                    conn.figures = super::connection::Figures::default();
                }
            }
            Gather::ResetServer => self.figures.reset(),
            Gather::Digests => {}
        }
        share
    }

    // ---- what clients say -------------------------------------------------------------------

    fn blocked(&self, conn: &Conn) -> bool {
        conn.phase == Phase::Connecting
            || conn.out.len() >= limits::OUT_PAUSE_BYTES
            || conn.held_bytes >= limits::OUT_PAUSE_BYTES
            || conn.pending.len() >= limits::CONN_PENDING_MAX
            || conn.in_flight > 0
                && (self.in_flight >= self.settings.outstanding_max || !self.backlog.is_empty())
    }

    fn decode(&mut self, pin: &Pin<'_>, conn: &mut Conn, mut bytes: &[u8]) {
        if matches!(conn.phase, Phase::Ending | Phase::Closing | Phase::Word) {
            return;
        }
        let mut frames = std::mem::take(&mut conn.frames);
        self.decode_frames(pin, conn, &mut frames, &mut bytes);
        conn.frames = frames;
    }

    fn decode_frames(
        &mut self,
        pin: &Pin<'_>,
        conn: &mut Conn,
        frames: &mut FrameReader,
        bytes: &mut &[u8],
    ) {
        if conn.phase == Phase::Fresh
            && let Some(word) = frames.first_word(bytes).as_ref().and_then(Word::from_bytes)
        {
            return self.on_word(conn, frames, bytes, word);
        }
        loop {
            if matches!(conn.phase, Phase::Ending | Phase::Closing | Phase::Word) {
                return;
            }
            if self.blocked(conn) {
                frames.stash(bytes);
                if !conn.paused {
                    conn.paused = true;
                    self.actions.push(Action::Pause { conn: conn.id });
                }
                if conn.phase == Phase::Live {
                    self.stalled.push(conn.id);
                }
                return;
            }
            match frames.next(bytes, self.settings.frame_bytes_max) {
                Ok(Some(frame)) => self.on_frame(pin, conn, frame),
                Ok(None) => return,
                Err(FrameError::Length(len)) => {
                    tracing::warn!(
                        "Len error. A message from {} with advertised length of {} is either a \
                         malformed message or too large to process (length is greater than \
                         jute.maxbuffer={})",
                        conn.peer,
                        len,
                        self.settings.frame_bytes_max,
                    );
                    return self.close(conn);
                }
            }
        }
    }

    /// Goes on with what was stashed.
    fn resume(&mut self, pin: &Pin<'_>, conn: &mut Conn) {
        if conn.phase == Phase::Closing {
            return;
        }
        self.decode(pin, conn, &[]);
        if conn.paused && conn.phase != Phase::Closing && !self.blocked(conn) {
            conn.paused = false;
            self.actions.push(Action::Resume { conn: conn.id });
        }
    }

    fn on_word(
        &mut self,
        conn: &mut Conn,
        frames: &mut FrameReader,
        bytes: &mut &[u8],
        word: Word,
    ) {
        let mut argument = None;
        if word == Word::Stmk {
            let Some(start) = frames.first_bytes::<12>(bytes) else {
                frames.stash(bytes);
                *bytes = &[];
                return;
            };
            argument = Reader::new(&start[4..]).long().ok();
        }
        self.figures.word_heard();
        conn.figures.received += 1;
        conn.phase = Phase::Word;
        let (id, peer) = (conn.id, conn.peer);
        self.actions.push(Action::FourLetter { conn: id, peer, word, argument });
    }

    fn on_frame(&mut self, pin: &Pin<'_>, conn: &mut Conn, frame: &[u8]) {
        conn.figures.received += 1;
        self.figures.received.add(1);
        self.figures.received_bytes.add(frame.len() as u64 + 4);
        if conn.phase == Phase::Fresh {
            return self.on_connect(pin, conn, frame);
        }
        let Ok(header) = decode::<RequestHeader>(frame) else { return self.close(conn) };
        let Some(kind) = OpCode::from_wire(header.kind) else {
            return self.on_unknown(conn, header);
        };
        match kind {
            OpCode::Auth => return self.on_auth(conn, header.xid, &frame[8..]),
            OpCode::Sasl => return self.on_sasl(conn, header.xid, &frame[8..]),
            OpCode::Create
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Multi
            | OpCode::Create2
            | OpCode::Reconfig
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::CloseSession => self.on_write(conn, header.xid, kind, frame),
            OpCode::GetEphemerals => self.on_ephemerals(conn, header.xid, frame),
            OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::Sync
            | OpCode::Ping
            | OpCode::GetChildren2
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::MultiRead
            | OpCode::SetWatches
            | OpCode::GetAllChildrenNumber
            | OpCode::SetWatches2
            | OpCode::AddWatch
            | OpCode::WhoAmI => {
                if conn.pending.is_empty() {
                    let auth = conn.auth.clone();
                    self.read(pin, conn, frame, &auth, self.now.mono_ns);
                } else {
                    let mut copy = self.buffer();
                    copy.extend_from_slice(frame);
                    let held_bytes = frame.len() + self.reply_bytes(pin, conn, kind, &frame[8..]);
                    conn.held_bytes += held_bytes;
                    let (auth, since_ns) = (conn.auth.clone(), self.now.mono_ns);
                    let read = Pending::Read { frame: copy, auth, since_ns, held_bytes };
                    conn.pending.push_back(read);
                }
            }
            // A check outside a multi and the internal ones (client-protocol.md J-6, J-7, J-8).
            OpCode::Notification
            | OpCode::Check
            | OpCode::DeleteContainer
            | OpCode::CreateSession
            | OpCode::Error => return self.on_unknown(conn, header),
        }
        conn.touch(self.now);
    }

    /// What the reply to a read would take now, or behind the writes it waits for.
    fn reply_bytes(&self, pin: &Pin<'_>, conn: &Conn, kind: OpCode, body: &[u8]) -> usize {
        let is_list = matches!(kind, OpCode::GetChildren | OpCode::GetChildren2);
        if !is_list && kind != OpCode::GetData {
            return 0;
        }
        let path = decode::<PathOnly<'_>>(body).ok().and_then(|request| request.path);
        let node = path.and_then(|path| pin.get(path, self.visible));
        if is_list {
            let children = node.map_or(0, |node| node.stat().num_children);
            CHILD_BYTES * usize::try_from(children).unwrap_or(0)
        } else {
            node.and_then(|node| node.data()).map_or(0, <[u8]>::len).max(conn.write_bytes_max)
        }
    }

    fn on_connect(&mut self, pin: &Pin<'_>, conn: &mut Conn, frame: &[u8]) {
        let mut reader = Reader::new(frame);
        let Ok(request) = ConnectRequest::decode(&mut reader) else { return self.close(conn) };
        conn.with_read_only = !reader.rest().is_empty();
        let asks_read_only = reader.bool().unwrap_or(false);
        let rules = ConnectRules {
            read_only: false,
            // "Client ahead of us" compares with what the server has applied, not with this shard.
            last_applied: pin.published(),
            min_timeout_ms: self.settings.min_timeout_ms,
            max_timeout_ms: self.settings.max_timeout_ms,
        };
        let (session, timeout_ms) = match rules.admit(&request, asks_read_only) {
            Admission::Create { timeout_ms } => (None, timeout_ms),
            Admission::Attach { session, timeout_ms } => (Some(session), timeout_ms),
            Admission::Refuse => {
                let session = SessionId(request.session_id);
                tracing::warn!("Incorrect password from {} for session {session}", conn.peer);
                return self.refuse(conn);
            }
            Admission::Decline(Declined::ClientAhead(seen)) => {
                tracing::info!(
                    "Refusing session({:#x}) request for client {} as it has seen zxid {seen} our \
                     last zxid is {} client must try another server",
                    request.session_id,
                    conn.peer,
                    rules.last_applied,
                );
                return self.close(conn);
            }
            Admission::Decline(Declined::NotReadOnly) => {
                tracing::info!("Refusing session request for not-read-only client {}", conn.peer);
                return self.close(conn);
            }
        };
        conn.phase = Phase::Connecting;
        self.figures.connect_requests.add(1);
        self.fresh.retain(|id| *id != conn.id);
        self.in_flight += 1;
        let from = self.reference(conn.id);
        self.request(Request::Connect(Connect { from, session, timeout_ms }));
    }

    /// Tells the client that its session is over.
    fn refuse(&mut self, conn: &mut Conn) {
        connect_response(&mut conn.out, SessionId(0), 0, &[0; 16], conn.with_read_only);
        self.close(conn);
    }

    fn on_write(&mut self, conn: &mut Conn, xid: i32, kind: OpCode, frame: &[u8]) {
        let mut copy = self.buffer();
        copy.extend_from_slice(frame);
        let since_ns = self.now.mono_ns;
        conn.pending.push_back(Pending::InFlight { since_ns, operation: kind, xid });
        conn.in_flight += 1;
        conn.write_bytes_max = conn.write_bytes_max.max(frame.len());
        self.in_flight += 1;
        if kind == OpCode::CloseSession {
            // Nothing of a session executes behind its end.
            conn.phase = Phase::Ending;
        }
        let from = self.reference(conn.id);
        let (session, ids) = (conn.session, Arc::clone(conn.auth.shared_ids()));
        let write = Write { from, session, xid, kind, frame: copy, ids };
        self.request(Request::Write(write));
    }

    fn on_ephemerals(&mut self, conn: &mut Conn, xid: i32, frame: &[u8]) {
        let mut copy = self.buffer();
        copy.extend_from_slice(frame);
        let since_ns = self.now.mono_ns;
        let operation = OpCode::GetEphemerals;
        conn.pending.push_back(Pending::InFlight { since_ns, operation, xid });
        conn.in_flight += 1;
        self.in_flight += 1;
        let from = self.reference(conn.id);
        self.request(Request::Ephemerals { from, session: conn.session, xid, frame: copy });
    }

    /// Ids apply to requests read from now on; the reply takes its place in the FIFO, because
    /// kazoo expects it there.
    fn on_auth(&mut self, conn: &mut Conn, xid: i32, body: &[u8]) {
        let Ok(packet) = decode::<AuthPacket<'_>>(body) else { return self.close(conn) };
        let scheme = packet.scheme.unwrap_or_default();
        let schemes = &self.settings.schemes;
        let code = match conn.auth.handle_auth(schemes, packet.scheme, packet.auth) {
            Ok(auth) => {
                tracing::debug!("auth success for {} with scheme {}", conn.peer, text(scheme));
                conn.auth = auth;
                0
            }
            Err(AuthFailed) => {
                tracing::warn!("Authentication failed for scheme: {}", text(scheme));
                self.figures.auth_failures.add(1);
                ErrorCode::AuthFailed.to_wire()
            }
        };
        let mut bytes = self.buffer();
        let start = begin_frame(&mut bytes, xid, 0, code);
        finish_frame(&mut bytes, start);
        self.ready(conn, bytes, code != 0);
    }

    /// The refusal of a server without SASL: a null token, and the client goes on.
    fn on_sasl(&mut self, conn: &mut Conn, xid: i32, body: &[u8]) {
        let Ok(SaslToken { token: Some(_) }) = decode::<SaslToken<'_>>(body) else {
            return self.close(conn);
        };
        let mut bytes = self.buffer();
        let start = begin_frame(&mut bytes, xid, 0, 0);
        SaslToken { token: None }.encode(&mut bytes);
        finish_frame(&mut bytes, start);
        self.ready(conn, bytes, false);
    }

    fn on_unknown(&mut self, conn: &mut Conn, header: RequestHeader) {
        tracing::warn!("Received packet at server of unknown type {}", header.kind);
        let mut bytes = self.buffer();
        let start = begin_frame(&mut bytes, header.xid, -1, ErrorCode::Unimplemented.to_wire());
        finish_frame(&mut bytes, start);
        self.ready(conn, bytes, true);
    }

    /// A reply takes its FIFO place; with `close`, nothing behind it is answered.
    fn ready(&mut self, conn: &mut Conn, bytes: Vec<u8>, close: bool) {
        conn.figures.sent += 1;
        self.figures.sent.add(1);
        if conn.pending.is_empty() {
            conn.out.extend_from_slice(&bytes);
            self.recycle(bytes);
            self.mark_dirty(conn);
            if close {
                self.close(conn);
            }
        } else {
            conn.pending.push_back(Pending::Ready { bytes, close });
            if close {
                conn.phase = Phase::Ending;
            }
        }
    }

    fn read(&mut self, pin: &Pin<'_>, conn: &mut Conn, frame: &[u8], auth: &Auth, since_ns: u64) {
        let mut reads = Reads {
            pin,
            watches: &mut self.watches,
            visible: self.visible,
            skip_acl: self.settings.skip_acl,
            auth,
            schemes: &self.settings.schemes,
            key: ConnKey(conn.id.slot),
        };
        let start = conn.out.len();
        let (operation, xid) = reads.serve(frame, &mut conn.out);
        let zxid = self.visible.to_wire();
        conn.count_reply(operation, xid, zxid, self.now, since_ns);
        let took_ns = self.now.mono_ns.saturating_sub(since_ns);
        self.figures.read_done(took_ns, conn.out.len() - start);
        self.mark_dirty(conn);
    }

    // ---- closing and time -------------------------------------------------------------------

    /// Nothing more is read; what is queued is sent at the end of the turn.
    fn close(&mut self, conn: &mut Conn) {
        if conn.phase != Phase::Closing {
            conn.progressed = false;
            self.lingering.push_back((conn.id, self.now.mono_ms + LINGER_MS));
        }
        conn.phase = Phase::Closing;
        conn.frames = FrameReader::default();
        // A slow client may keep the connection here for a while.
        conn.pending = VecDeque::new();
        self.mark_dirty(conn);
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(place) = self.conns.get_mut(id.slot as usize) else { continue };
            let Some(mut conn) = place.take_if(|conn| conn.id == id) else { continue };
            conn.dirty = false;
            if !conn.sending && !conn.out.is_empty() {
                let buffer = self.pool.pop().unwrap_or_default();
                let bytes = std::mem::replace(&mut conn.out, buffer);
                self.figures.sent_bytes.add(bytes.len() as u64);
                conn.event_bytes = 0;
                conn.sending = true;
                self.actions.push(Action::Send { conn: id, bytes });
            }
            if conn.event_bytes > limits::EVENTS_BYTES_MAX {
                tracing::warn!("Closing {}: it does not read its watch events", conn.peer);
                conn.out.clear();
                conn.phase = Phase::Closing;
                self.actions.push(Action::Abort { conn: id });
            }
            if conn.phase == Phase::Closing && conn.out.is_empty() {
                self.gone(&mut conn);
                self.actions.push(Action::Close { conn: id });
            } else {
                self.conns[id.slot as usize] = Some(conn);
            }
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    /// The connection leaves the table; the driver may still be sending its last bytes.
    fn gone(&mut self, conn: &mut Conn) {
        self.watches.drop_conn(ConnKey(conn.id.slot));
        self.fresh.retain(|id| *id != conn.id);
        self.stalled.retain(|id| *id != conn.id);
        self.lingering.push_back((conn.id, self.now.mono_ms + LINGER_MS));
        self.figures.connections.sub(1);
        if conn.session != SessionId(0) {
            let from = self.reference(conn.id);
            self.request(Request::Detached { from, session: conn.session });
        }
    }

    fn check_timers(&mut self) {
        let now_ms = self.now.mono_ms;
        while let Some((id, deadline_ms)) = self.lingering.front().copied() {
            if deadline_ms > now_ms {
                break;
            }
            self.lingering.pop_front();
            self.end_lingering(id);
        }
        let period_ms = self.settings.sessionless_ms;
        if period_ms <= 0 {
            return;
        }
        while let Some(id) = self.fresh.first().copied() {
            let opened_ms = match self.conns.get(id.slot as usize).and_then(Option::as_ref) {
                Some(conn) if conn.id == id => conn.opened.mono_ms,
                _ => {
                    self.fresh.remove(0);
                    continue;
                }
            };
            // Buckets as ZooKeeper's: the next multiple of the period after it has passed.
            if ((opened_ms + period_ms) / period_ms + 1) * period_ms > now_ms {
                break;
            }
            self.fresh.remove(0);
            self.figures.sessionless_expired.add(1);
            self.with(id, |inner, conn| inner.close(conn));
        }
    }

    /// A connection that closes slowly is looked at: whoever does not read loses it.
    fn end_lingering(&mut self, id: ConnId) {
        let place = self.conns.get_mut(id.slot as usize);
        if let Some(mut conn) = place.and_then(|place| place.take_if(|conn| conn.id == id)) {
            if std::mem::take(&mut conn.progressed) {
                self.lingering.push_back((id, self.now.mono_ms + LINGER_MS));
                self.conns[id.slot as usize] = Some(conn);
                return;
            }
            self.gone(&mut conn);
            self.actions.push(Action::Abort { conn: id });
            self.actions.push(Action::Close { conn: id });
            return;
        }
        // The driver may still have its last buffer.
        self.actions.push(Action::Abort { conn: id });
    }
}

/// Sends what a change fires: each event is encoded once, each watcher gets a copy.
struct Firing<'a> {
    pin: &'a Pin<'a>,
    conns: &'a mut [Option<Box<Conn>>],
    dirty: &'a mut Vec<ConnId>,
    figures: &'a ShardFigures,
    skip_acl: bool,
    change: &'a Change,
    /// Who may hear the event at hand.
    acl: AclId,
    frame: &'a mut Vec<u8>,
}

impl Sink for Firing<'_> {
    fn event(&mut self, event: &Event<'_>) {
        self.acl = match event.acl {
            AclOf::Node => self.change.acl,
            AclOf::Parent => self.change.parent_acl,
        };
        self.frame.clear();
        let zxid = self.change.zxid.to_wire();
        let start = begin_frame(self.frame, xids::NOTIFICATION, zxid, 0);
        let kind = event.kind.to_wire();
        WatcherEvent { kind, state: 3, path: event.path }.encode(self.frame);
        finish_frame(self.frame, start);
    }

    fn notify(&mut self, key: ConnKey) {
        let Some(Some(conn)) = self.conns.get_mut(key.0 as usize) else { return };
        if conn.phase == Phase::Closing {
            return; // Nobody reads it, and it must not keep the connection here.
        }
        // CVE-2024-23944: only who may read the node hears of it; a filtered event still consumes
        // its watch.
        let acl = self.acl;
        if !self.skip_acl
            && acl != AclId::OPEN
            && !permits(self.pin.acl(acl), perms::READ, conn.auth.ids())
        {
            return;
        }
        conn.out.extend_from_slice(self.frame);
        conn.event_bytes += self.frame.len();
        conn.figures.sent += 1;
        self.figures.sent.add(1);
        self.figures.notifications.add(1);
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(conn.id);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
