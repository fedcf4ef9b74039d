//! The pipeline: the one writer of the log, of the tree, and (next) to the peers.
//!
//! Thread: its own, or shared with shard 0. A write's way: taken from a shard's queue, executed by
//! prep as a pending version, encoded once into the batch, synced by the flusher, published in zxid
//! order, replied. What arrives while a sync runs is the next batch, so batches grow with load and
//! a lone write waits for nobody.
//!
//! Invariants: one sync in flight, never two; nothing is published that is not durable (and, later,
//! that no quorum has); every [`Request::Write`] and [`Request::Ephemerals`] gets exactly one
//! [`Delivery::Reply`]. BOUND: `in_flight` holds what fits one running and one waiting batch.
//!
//! Standalone is the quorum of one: durable here means committed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::cohort::Cohort;
use super::figures::{Figure, ShardFigures, Summary, Timings};
use super::mesh::Mesh;
use super::{Attached, Connect, Delivery, Facts, Gather, Request, ShardShare, ToShard, Write};
use crate::limits;
use crate::prep::{Output, Prep, Prepared, begin_frame, finish_frame};
use crate::session::{
    ConnectionThrottle, SessionIds, SessionTable, Standing, ThrottleRules, password,
};
use crate::storage::log::{RecordMark, begin_record, drop_record, end_record};
use crate::sys::broadcast;
use crate::tree::{Change, DataTree, View};
use crate::types::{ConnRef, Millis, Now, SessionId, Set, Zxid};
use crate::wire::client::{Field, PathOnly, decode};
use crate::wire::codes::{ErrorCode, OpCode};
use crate::wire::jute::Write as _;

/// Settings of the writing side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Txns after which a snapshot is due (`snapCount`).
    pub snap_count: u64,
    /// Log bytes after which one is due (`snapSizeLimitInKb`); `None` for never.
    pub snap_size_bytes: Option<u64>,
    /// Of new connections.
    pub throttle: ThrottleRules,
    /// Length of a log segment (`preAllocSize`).
    pub segment_bytes: u64,
    /// How often containers and TTL nodes are looked at.
    pub container_check_ms: Millis,
    /// At most so many removals a minute.
    pub container_per_minute: u64,
    /// Containers that never had a child go after this; 0 for never.
    pub container_never_used_ms: Millis,
}

/// What the pipeline asks of the threads that may block.
#[derive(Debug)]
pub enum Job {
    /// For the flusher: append, sync, and give the buffer back in a [`Done::Appended`].
    Append {
        /// Whole records.
        bytes: Vec<u8>,
        /// zxid of the first.
        first: Zxid,
        /// zxid of the last.
        last: Zxid,
    },
    /// For the disk thread: write the view to a snapshot file.
    Snapshot(Box<SnapshotJob>),
}

/// A snapshot to be written.
#[derive(Debug)]
pub struct SnapshotJob {
    /// The tree at one zxid.
    pub view: View,
    /// Sessions at that zxid, with their timeouts in ms.
    pub sessions: Vec<(SessionId, i32)>,
    /// Tree digest at that zxid.
    pub digest: u64,
}

/// What those threads say.
#[derive(Debug)]
pub enum Done {
    /// The batch is durable.
    Appended {
        /// The job's buffer.
        bytes: Vec<u8>,
        /// zxid of the last record.
        last: Zxid,
        /// What the sync took.
        took_ns: u64,
    },
    /// The snapshot is durable.
    Snapshotted {
        /// Size of the file.
        len_bytes: u64,
        /// What it took.
        took_ms: u64,
    },
    /// The disk has no room for the next segment: no write is taken any more.
    Full(String),
    /// It has room again.
    Room,
}

/// Figures of the pipeline, for whoever prints them.
#[derive(Debug, Default)]
pub struct PipelineFigures {
    /// Newest published zxid.
    pub published: Figure,
    /// Znodes.
    pub znodes: Figure,
    /// Bytes of paths and data.
    pub data_bytes: Figure,
    /// Nodes owned by sessions.
    pub ephemerals: Figure,
    /// Sessions.
    pub sessions: Figure,
    /// Syncs of the log.
    pub fsync_ns: Timings,
    /// Snapshots, in ms.
    pub snapshot_ms: Summary,
    /// Txns.
    pub proposals: Figure,
    /// Records a batch.
    pub batch_records: Summary,
    /// Sessions that expired.
    pub expired: Figure,
    /// Re-attachments.
    pub revalidations: Figure,
    /// ConnectRequests that the throttle turned away.
    pub rejected: Figure,
    /// zxids left in this epoch.
    pub zxids_left: Figure,
}

/// A request that waits to be durable, with what it will bring.
#[derive(Debug)]
struct InFlight {
    zxid: Zxid,
    /// Its changes at the front of `changes`.
    changes: usize,
    digest: u64,
    effects: Effects,
}

/// What publication brings.
#[derive(Debug)]
enum Effects {
    None,
    Deliver(ConnRef, Delivery),
    /// A session is up.
    Opened(SessionId, ConnRef, Delivery),
    /// A session is gone: the reply, if it asked for it, and the end of its connection.
    Closed(SessionId, Option<(ConnRef, Delivery)>, Option<ConnRef>),
}

#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    first: Zxid,
    last: Zxid,
    records: u64,
}

/// A sync that runs.
#[derive(Clone, Copy, Debug)]
struct Syncing {
    records: u64,
}

/// Shares of a gathering that has not heard of all shards.
#[derive(Debug)]
struct Gathering {
    id: u64,
    from: ConnRef,
    missing: usize,
    facts: Box<Facts>,
}

/// See the module.
#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    tree: DataTree,
    sessions: SessionTable,
    prep: Prep,
    mesh: Arc<Mesh>,
    ring: broadcast::Writer<Change>,
    shards: Vec<Arc<ShardFigures>>,
    figures: Arc<PipelineFigures>,
    in_flight: VecDeque<InFlight>,
    changes: VecDeque<Change>,
    /// Filled by prep for one request.
    fresh_changes: Vec<Change>,
    batch: Batch,
    /// The buffer of the batch after this one.
    spare: Vec<u8>,
    /// For prep.
    reply: Vec<u8>,
    syncing: Option<Syncing>,
    durable: Zxid,
    cohort: Cohort,
    /// Records of the pipeline that found a shard's queue full, oldest first.
    kept: VecDeque<(u16, ToShard)>,
    /// The change ring had no room for the next change.
    ring_full: bool,
    gatherings: Vec<Gathering>,
    next_gathering: u64,
    /// zxids and digests of every 128th txn.
    digests: VecDeque<(Zxid, u64)>,
    published_digest: u64,
    snapshot: SnapshotState,
    container_due_ms: Millis,
    containers: VecDeque<Vec<u8>>,
    container_next_ms: Millis,
    ids: SessionIds,
    throttle: ConnectionThrottle,
    /// Kept for its capacity.
    expired: Vec<SessionId>,
    refusing: Option<String>,
    now: Now,
}

#[derive(Debug, Default)]
struct SnapshotState {
    running: bool,
    /// Since the last one.
    txns: u64,
    log_bytes: u64,
    /// Txns at which the next is due: random in the upper half of snapCount, as ZooKeeper's, so
    /// that the members of an ensemble do not all snapshot at once.
    due_txns: u64,
    last_len_bytes: u64,
    /// When the last one started, monotonic.
    started_ms: Millis,
}

/// Least pause between snapshots of a log that grows by less than a segment.
const SNAPSHOT_PAUSE_MS: Millis = 10_000;

/// Largest buffer that is kept for a later batch.
const BATCH_KEPT_BYTES: usize = 1 << 20;

/// What a turn wants done by the thread.
#[derive(Debug, Default)]
pub struct Outbox {
    /// For the flusher and the disk thread.
    pub jobs: Vec<Job>,
    /// Shards to wake, by index.
    pub wake: Vec<u16>,
    /// Monotonic ns at which the next turn is due even if nothing comes.
    pub next_ns: Option<u64>,
}

/// What recovery hands to a new pipeline.
#[derive(Debug)]
pub struct Start {
    /// The recovered tree.
    pub tree: DataTree,
    /// The recovered sessions, their timers started.
    pub sessions: SessionTable,
    /// Gives ids that no earlier session had.
    pub ids: SessionIds,
    /// Txns logged since the newest snapshot.
    pub txns_since_snapshot: u64,
    /// Bytes of their records.
    pub log_bytes_since_snapshot: u64,
    /// Size of the newest snapshot file.
    pub snapshot_len_bytes: u64,
}

impl Pipeline {
    /// A pipeline that goes on where `start` ended.
    pub fn new(
        settings: Settings,
        start: Start,
        prep: Prep,
        mesh: Arc<Mesh>,
        ring: broadcast::Writer<Change>,
        shards: Vec<Arc<ShardFigures>>,
        figures: Arc<PipelineFigures>,
    ) -> Self {
        let durable = start.tree.last_zxid();
        let published_digest = start.tree.digest();
        let throttle = ConnectionThrottle::new(settings.throttle, published_digest);
        let mut pipeline = Self {
            settings,
            sessions: start.sessions,
            prep,
            mesh,
            ring,
            shards,
            figures,
            in_flight: VecDeque::new(),
            changes: VecDeque::new(),
            fresh_changes: Vec::new(),
            batch: Batch::default(),
            spare: Vec::new(),
            reply: Vec::new(),
            syncing: None,
            durable,
            cohort: Cohort::default(),
            kept: VecDeque::new(),
            ring_full: false,
            gatherings: Vec::new(),
            next_gathering: 0,
            digests: VecDeque::new(),
            published_digest,
            snapshot: SnapshotState {
                txns: start.txns_since_snapshot,
                log_bytes: start.log_bytes_since_snapshot,
                last_len_bytes: start.snapshot_len_bytes,
                started_ms: -SNAPSHOT_PAUSE_MS,
                ..SnapshotState::default()
            },
            container_due_ms: 0,
            containers: VecDeque::new(),
            container_next_ms: 0,
            ids: start.ids,
            throttle,
            expired: Vec::new(),
            refusing: None,
            now: Now::default(),
            tree: start.tree,
        };
        pipeline.snapshot.due_txns = pipeline.next_snapshot_due();
        pipeline.container_due_ms = pipeline.settings.container_check_ms;
        pipeline.update_figures();
        pipeline
    }

    /// One turn. `done` is emptied.
    pub fn turn(&mut self, now: Now, done: &mut Vec<Done>, out: &mut Outbox) {
        self.now = now;
        for done in done.drain(..) {
            self.on_done(done);
        }
        self.push_kept(out);
        self.take_requests(out);
        self.expire(out);
        self.delete_containers();
        self.sync(out);
        self.publish(out);
        self.start_snapshot(out);
        self.tree.collect(self.tree.min_visible(), limits::COLLECT_VERSIONS_MAX);
        out.next_ns = self.next_ns();
    }

    /// Whether everything taken is durable and published, so that the server may stop.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.batch.records == 0 && self.syncing.is_none()
    }

    fn take_requests(&mut self, out: &mut Outbox) {
        let mut budget = limits::BATCH_INPUTS_MAX;
        let mut idle = 0;
        let shards = self.mesh.shards();
        let mut shard = 0;
        // Round robin, so that one busy shard does not starve the others.
        while idle < shards && budget > 0 && self.has_room() {
            let was_full = self.mesh.requests[shard].is_full();
            match self.mesh.requests[shard].pop() {
                Some(request) => {
                    if was_full {
                        // The shard may have kept a request back and gone to sleep.
                        out.wake.extend(u16::try_from(shard));
                    }
                    idle = 0;
                    budget -= 1;
                    self.on_request(request, out);
                }
                None => idle += 1,
            }
            shard = (shard + 1) % shards;
        }
    }

    /// Whether another request may be taken: it may need up to a frame in the batch, and its
    /// changes and reply must find room some day.
    fn has_room(&self) -> bool {
        self.batch.bytes.len() < limits::BATCH_BYTES_MAX / 2
            && self.in_flight.len() < limits::IN_FLIGHT_MAX
            && self.kept.len() < limits::IN_FLIGHT_MAX
    }

    /// Whether requests wait that the next turn would take.
    pub fn has_work(&self) -> bool {
        self.has_room() && self.mesh.requests.iter().any(|queue| !queue.is_empty())
    }

    fn on_request(&mut self, request: Request, out: &mut Outbox) {
        match request {
            Request::Write(write) => self.on_write(write),
            Request::Connect(connect) => self.on_connect(connect),
            Request::Ephemerals { from, session, xid, frame } => {
                self.on_ephemerals(from, session, xid, frame);
            }
            Request::Detached { from, session } => self.sessions.detach(session, from),
            Request::Ask { from, what } => self.on_ask(from, what, out),
            Request::Gathered { id, share } => self.on_gathered(id, *share, out),
        }
    }

    // ---- requests ---------------------------------------------------------------------------

    fn on_write(&mut self, write: Write) {
        let Write { from, session, xid, kind, mut frame, ids } = write;
        if self.refusing.is_some() {
            // There is no code for it: the client tries again, or another server.
            return self.close_unanswered(from, frame);
        }
        let standing = self.sessions.standing(session, from);
        if kind == OpCode::CloseSession && matches!(standing, Standing::Live | Standing::Moved) {
            // No check: any connection of the session may end it, also one it has moved away from.
            return self.close_session(session, xid, Some((from, frame)));
        }
        let closing = match standing {
            Standing::Live => false,
            Standing::Closing if kind != OpCode::CloseSession => true,
            // ZooKeeper closes the connection without a word.
            Standing::Unknown | Standing::Moved | Standing::Closing => {
                return self.close_unanswered(from, frame);
            }
        };
        let request = crate::prep::Request {
            session,
            cxid: xid,
            kind,
            body: &frame[8..],
            ids: &ids,
            closing,
        };
        self.reply.clear();
        let start = begin_record(&mut self.batch.bytes);
        let mut output = Output {
            log: &mut self.batch.bytes,
            reply: &mut self.reply,
            changes: &mut self.fresh_changes,
        };
        let prepared = self.prep.request(&mut self.tree, &request, self.now.wall_ms, &mut output);
        frame.clear();
        let err = prepared.error.map_or(0, ErrorCode::to_wire);
        let at = begin_frame(&mut frame, xid, prepared.zxid.to_wire(), err);
        frame.put_raw(&self.reply);
        finish_frame(&mut frame, at);
        let reply = Delivery::Reply { bytes: frame, close: false };
        self.seal(start, &prepared, Effects::Deliver(from, reply));
    }

    /// Ends the record that began at `start` and queues what its publication brings.
    fn seal(&mut self, start: RecordMark, prepared: &Prepared, effects: Effects) {
        if prepared.is_txn {
            end_record(&mut self.batch.bytes, start);
            if self.batch.records == 0 {
                self.batch.first = prepared.zxid;
            }
            self.batch.last = prepared.zxid;
            self.batch.records += 1;
            self.snapshot.txns += 1;
            self.cohort.arrived(self.now.mono_ns);
            self.figures.proposals.add(1);
        } else {
            drop_record(&mut self.batch.bytes, start);
        }
        let changes = self.fresh_changes.len();
        self.changes.extend(self.fresh_changes.drain(..));
        let digest = self.tree.digest();
        self.in_flight.push_back(InFlight { zxid: prepared.zxid, changes, digest, effects });
    }

    /// A place in the order without a txn: what is asked was computed with all pending writes in
    /// view, so it is true once they are published.
    fn queue(&mut self, effects: Effects) {
        let (zxid, digest) = (self.tree.last_zxid(), self.tree.digest());
        self.in_flight.push_back(InFlight { zxid, changes: 0, digest, effects });
    }

    fn close_unanswered(&mut self, from: ConnRef, mut frame: Vec<u8>) {
        frame.clear();
        self.queue(Effects::Deliver(from, Delivery::Reply { bytes: frame, close: true }));
    }

    fn on_connect(&mut self, connect: Connect) {
        let Connect { from, session, timeout_ms } = connect;
        if !self.throttle.admit(session.is_some(), self.now.mono_ms) {
            self.figures.rejected.add(1);
            return self.queue(Effects::Deliver(from, Delivery::Declined));
        }
        let Some(session) = session else {
            if self.refusing.is_some() {
                return self.queue(Effects::Deliver(from, Delivery::Declined));
            }
            let session = self.ids.next_id();
            let heard = self.sessions.add(session, timeout_ms, Some(from), self.now.mono_ms);
            let start = begin_record(&mut self.batch.bytes);
            let mut output = Output {
                log: &mut self.batch.bytes,
                reply: &mut Vec::new(),
                changes: &mut self.fresh_changes,
            };
            let wall_ms = self.now.wall_ms;
            let zxid =
                self.prep.create_session(&mut self.tree, session, timeout_ms, wall_ms, &mut output);
            let attached = Attached { session, timeout_ms, passwd: password(session), heard };
            let prepared = Prepared { zxid, is_txn: true, error: None };
            let effects = Effects::Opened(session, from, Delivery::Attached(Box::new(attached)));
            return self.seal(start, &prepared, effects);
        };
        let attached = self.sessions.attach(session, timeout_ms, from, self.now.mono_ms);
        let Some(attached) = attached else {
            tracing::info!("Invalid session {session} for client, probably expired");
            return self.queue(Effects::Deliver(from, Delivery::Refused));
        };
        self.figures.revalidations.add(1);
        if let Some(old) = attached.displaced {
            self.queue(Effects::Deliver(old, Delivery::Drop));
        }
        let passwd = password(session);
        let attached = Attached { session, timeout_ms, passwd, heard: attached.heard };
        self.queue(Effects::Deliver(from, Delivery::Attached(Box::new(attached))));
    }

    fn close_session(&mut self, session: SessionId, xid: i32, from: Option<(ConnRef, Vec<u8>)>) {
        let owner = self.sessions.get(session).and_then(|state| state.owner);
        self.sessions.set_closing(session);
        let start = begin_record(&mut self.batch.bytes);
        let mut output = Output {
            log: &mut self.batch.bytes,
            reply: &mut Vec::new(),
            changes: &mut self.fresh_changes,
        };
        let wall_ms = self.now.wall_ms;
        let zxid = self.prep.close_session(&mut self.tree, session, xid, wall_ms, &mut output);
        let asked_by = from.as_ref().map(|(from, _)| *from);
        let reply = from.map(|(from, mut frame)| {
            frame.clear();
            let at = begin_frame(&mut frame, xid, zxid.to_wire(), 0);
            finish_frame(&mut frame, at);
            (from, Delivery::Reply { bytes: frame, close: true })
        });
        let drop = owner.filter(|owner| Some(*owner) != asked_by);
        let prepared = Prepared { zxid, is_txn: true, error: None };
        self.seal(start, &prepared, Effects::Closed(session, reply, drop));
    }

    fn on_ephemerals(&mut self, from: ConnRef, session: SessionId, xid: i32, mut frame: Vec<u8>) {
        let prefix = match decode::<PathOnly<'_>>(&frame[8..]) {
            Ok(request) => Ok(String::from_utf8_lossy(request.path.unwrap_or_default())
                .trim()
                .as_bytes()
                .to_vec()),
            Err(_) => Err(ErrorCode::MarshallingError),
        };
        frame.clear();
        let zxid = self.tree.last_zxid().to_wire();
        let err = prefix.as_ref().err().map_or(0, |code| code.to_wire());
        let at = begin_frame(&mut frame, xid, zxid, err);
        if let Ok(prefix) = prefix {
            let all = prefix.is_empty() || prefix == b"/";
            let paths: Vec<&[u8]> = self
                .tree
                .ephemerals(session)
                .filter(|path| all || path.starts_with(&prefix))
                .collect();
            paths.encode(&mut frame);
        }
        finish_frame(&mut frame, at);
        self.queue(Effects::Deliver(from, Delivery::Reply { bytes: frame, close: false }));
    }

    // ---- time -------------------------------------------------------------------------------

    /// Sessions whose bucket is due end, once their shard has finished a turn that began after the
    /// due time: their bytes may be waiting in the socket.
    fn expire(&mut self, out: &mut Outbox) {
        if self.refusing.is_some() {
            return;
        }
        let mut expired = std::mem::take(&mut self.expired);
        let mesh = &self.mesh;
        let heard_until = |shard: u16| {
            // Should it be asleep, it must look at its sockets first.
            out.wake.push(shard);
            mesh.turn_began_ms(usize::from(shard))
        };
        self.sessions.expire(self.now.mono_ms, heard_until, &mut expired);
        for session in expired.drain(..) {
            let timeout_ms = self.sessions.get(session).map_or(0, |state| state.timeout_ms);
            tracing::info!("Expiring session {session}, timeout of {timeout_ms}ms exceeded");
            self.figures.expired.add(1);
            self.close_session(session, 0, None);
        }
        self.expired = expired;
    }

    /// Containers that lost their last child and TTL nodes whose time is over, at a bounded rate.
    fn delete_containers(&mut self) {
        let now_ms = self.now.mono_ms;
        if self.refusing.is_some() {
            return;
        }
        if now_ms >= self.container_due_ms {
            self.container_due_ms = now_ms + self.settings.container_check_ms.max(1);
            let never_used_ms = self.settings.container_never_used_ms;
            self.containers = self
                .tree
                .expired_containers(self.now.wall_ms, never_used_ms)
                .map(<[u8]>::to_vec)
                .collect();
        }
        let pause_ms = 60_000 / self.settings.container_per_minute.clamp(1, 60_000).cast_signed();
        while now_ms >= self.container_next_ms
            && self.has_room()
            && let Some(path) = self.containers.pop_front()
        {
            self.container_next_ms = self.container_next_ms.max(now_ms - 1_000) + pause_ms;
            tracing::info!(
                "Attempting to delete candidate container: {}",
                String::from_utf8_lossy(&path)
            );
            let mut body = Vec::new();
            PathOnly { path: Some(&path) }.encode(&mut body);
            let request = crate::prep::Request {
                session: SessionId(0),
                cxid: 0,
                kind: OpCode::DeleteContainer,
                body: &body,
                ids: &[],
                closing: false,
            };
            let start = begin_record(&mut self.batch.bytes);
            let mut output = Output {
                log: &mut self.batch.bytes,
                reply: &mut Vec::new(),
                changes: &mut self.fresh_changes,
            };
            let wall_ms = self.now.wall_ms;
            let prepared = self.prep.request(&mut self.tree, &request, wall_ms, &mut output);
            self.seal(start, &prepared, Effects::None);
        }
    }

    fn next_ns(&self) -> Option<u64> {
        let mut next_ms = self.container_due_ms;
        if let Some(due_ms) = self.sessions.next_due() {
            next_ms = next_ms.min(due_ms);
        }
        if !self.containers.is_empty() && self.has_room() {
            next_ms = next_ms.min(self.container_next_ms);
        }
        let timer_ns = u64::try_from(next_ms).unwrap_or(0).saturating_mul(1_000_000);
        // While no write is taken nothing expires: what is due must not keep the thread awake.
        let timer_ns = self.refusing.is_none().then_some(timer_ns);
        let sync_ns = self.sync_due_ns();
        // Shards wake nobody when they have made room in a queue.
        let blocked = !self.kept.is_empty() || self.ring_full;
        let kept_ns = blocked.then_some(self.now.mono_ns + 1_000_000);
        [timer_ns, sync_ns, kept_ns].into_iter().flatten().min()
    }

    // ---- durable ----------------------------------------------------------------------------

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Appended { bytes, last, took_ns } => {
                let syncing = self.syncing.take().expect("a sync was in flight");
                self.durable = last;
                self.cohort.synced(self.now.mono_ns, took_ns, syncing.records, self.batch.records);
                self.figures.fsync_ns.record(took_ns);
                // Empty, as the flusher gives it back.
                if bytes.capacity() <= BATCH_KEPT_BYTES {
                    self.spare = bytes;
                }
            }
            Done::Snapshotted { len_bytes, took_ms } => {
                self.snapshot.running = false;
                self.snapshot.last_len_bytes = len_bytes;
                self.figures.snapshot_ms.record(took_ms);
            }
            Done::Full(why) => {
                if self.refusing.is_none() {
                    tracing::error!("No more writes are taken: {why}");
                    self.refusing = Some(why);
                }
            }
            Done::Room => {
                tracing::info!("There is room for the log again: writes are taken");
                self.refusing = None;
            }
        }
    }

    /// When the waiting batch goes to the disk at the latest.
    fn sync_due_ns(&self) -> Option<u64> {
        if self.batch.records == 0 || self.syncing.is_some() {
            return None;
        }
        Some(self.cohort.due_ns(self.batch.records))
    }

    fn sync(&mut self, out: &mut Outbox) {
        if self.sync_due_ns().is_none_or(|due_ns| due_ns > self.now.mono_ns) {
            return;
        }
        let next = Batch { bytes: std::mem::take(&mut self.spare), ..Batch::default() };
        let Batch { bytes, first, last, records } = std::mem::replace(&mut self.batch, next);
        self.snapshot.log_bytes += bytes.len() as u64;
        self.figures.batch_records.record(records);
        self.syncing = Some(Syncing { records });
        out.jobs.push(Job::Append { bytes, first, last });
    }

    // ---- visible ----------------------------------------------------------------------------

    /// Hands on, in zxid order, what is durable; then makes it visible with one store.
    fn publish(&mut self, out: &mut Outbox) {
        let mut newest = None;
        let mut changed = false;
        self.ring_full = false;
        'entries: while self.kept.is_empty()
            && let Some(entry) = self.in_flight.front_mut()
            && entry.zxid <= self.durable
        {
            while entry.changes > 0 {
                let change = self.changes.pop_front().expect("counted when it was queued");
                if let Err(change) = self.ring.push(change) {
                    self.changes.push_front(change);
                    self.ring_full = true;
                    // The slowest shard decides; it must run.
                    out.wake.extend((0..self.mesh.shards()).filter_map(|s| u16::try_from(s).ok()));
                    break 'entries;
                }
                entry.changes -= 1;
                changed = true;
            }
            let entry = self.in_flight.pop_front().expect("looked at above");
            if entry.zxid > self.tree.published() && entry.zxid.0.is_multiple_of(128) {
                if self.digests.len() == 1024 {
                    self.digests.pop_front();
                }
                self.digests.push_back((entry.zxid, entry.digest));
            }
            self.published_digest = entry.digest;
            newest = Some(entry.zxid);
            self.take_effect(entry.zxid, entry.effects, out);
        }
        let Some(newest) = newest else { return };
        if newest > self.tree.published() {
            self.tree.publish(newest);
        }
        if changed {
            // Pairs with the fence before a shard parks: it sees the zxid, or we see its watches.
            fence(Ordering::SeqCst);
            for (shard, figures) in (0_u16..).zip(&self.shards) {
                if figures.watches.get() > 0 {
                    out.wake.push(shard);
                }
            }
        }
        self.update_figures();
    }

    fn take_effect(&mut self, zxid: Zxid, effects: Effects, out: &mut Outbox) {
        match effects {
            Effects::None => {}
            Effects::Deliver(to, what) => self.deliver(zxid, to, what, out),
            Effects::Opened(_, to, what) => {
                self.deliver(zxid, to, what, out);
            }
            Effects::Closed(session, reply, drop) => {
                self.sessions.remove(session);
                if let Some((to, what)) = reply {
                    self.deliver(zxid, to, what, out);
                }
                if let Some(to) = drop {
                    self.deliver(zxid, to, Delivery::Drop, out);
                }
            }
        }
    }

    fn deliver(&mut self, zxid: Zxid, to: ConnRef, what: Delivery, out: &mut Outbox) {
        let record = ToShard { zxid, conn: to.conn, what };
        if !out.wake.contains(&to.shard) {
            out.wake.push(to.shard);
        }
        if !self.kept.is_empty() {
            self.kept.push_back((to.shard, record));
        } else if let Err(record) = self.mesh.deliveries[usize::from(to.shard)].push(record) {
            self.kept.push_back((to.shard, record));
        }
    }

    fn push_kept(&mut self, out: &mut Outbox) {
        while let Some((shard, record)) = self.kept.pop_front() {
            out.wake.push(shard);
            if let Err(record) = self.mesh.deliveries[usize::from(shard)].push(record) {
                self.kept.push_front((shard, record));
                return;
            }
        }
    }

    fn update_figures(&mut self) {
        let figures = &self.figures;
        figures.published.set(self.tree.published().0);
        figures.znodes.set(self.tree.node_count() as u64);
        figures.data_bytes.set(self.tree.approximate_data_size());
        figures.ephemerals.set(self.tree.ephemerals_count() as u64);
        figures.sessions.set(self.sessions.len() as u64);
        figures.zxids_left.set(u64::from(u32::MAX - self.tree.last_zxid().counter()));
    }

    // ---- snapshots --------------------------------------------------------------------------

    /// Uniform in the upper half of snapCount; the digest is as good a die as any and replays.
    fn next_snapshot_due(&self) -> u64 {
        let half = (self.settings.snap_count / 2).max(1);
        half + self.tree.digest() % half
    }

    /// A snapshot starts at `snapCount` txns, not before the log grew by half the last snapshot's
    /// size, and, while less than a segment was written, not more often than every
    /// [`SNAPSHOT_PAUSE_MS`]: at 100 000 sets a second `snapCount` alone would start two a second.
    ///
    /// It does not end the log's segment, as ZooKeeper does: a snapshot of ours is exact, so
    /// recovery knows where in a segment to begin, and our segments are zeros that were written.
    fn start_snapshot(&mut self, out: &mut Outbox) {
        let state = &self.snapshot;
        let rested = state.log_bytes >= self.settings.segment_bytes
            || self.now.mono_ms - state.started_ms >= SNAPSHOT_PAUSE_MS;
        let by_count =
            state.txns > state.due_txns && state.log_bytes >= state.last_len_bytes / 2 && rested;
        let by_size = self.settings.snap_size_bytes.is_some_and(|limit| state.log_bytes > limit);
        if state.running || !(by_count || by_size) || self.tree.published() == Zxid::ZERO {
            return;
        }
        self.snapshot.running = true;
        self.snapshot.started_ms = self.now.mono_ms;
        self.snapshot.txns = 0;
        self.snapshot.log_bytes = 0;
        self.snapshot.due_txns = self.next_snapshot_due();
        let job = SnapshotJob {
            sessions: self.published_sessions(),
            digest: self.published_digest,
            view: self.tree.view(),
        };
        out.jobs.push(Job::Snapshot(Box::new(job)));
    }

    /// Sessions as of the published zxid: those whose creation is still in flight do not count;
    /// those whose end is still in flight are in the table yet.
    fn published_sessions(&self) -> Vec<(SessionId, i32)> {
        let pending: Set<SessionId> = self
            .in_flight
            .iter()
            .filter_map(|entry| match &entry.effects {
                Effects::Opened(session, ..) => Some(*session),
                Effects::None | Effects::Deliver(..) | Effects::Closed(..) => None,
            })
            .collect();
        let published = self.sessions.iter().filter(|(session, _)| !pending.contains(session));
        published.map(|(session, state)| (session, state.timeout_ms)).collect()
    }

    // ---- four-letter words ------------------------------------------------------------------

    fn on_ask(&mut self, from: ConnRef, what: Gather, out: &mut Outbox) {
        let mut facts = Box::<Facts>::default();
        if what == Gather::Dump {
            let to_wall_ms = self.now.wall_ms - self.now.mono_ms;
            facts.expiry = self
                .sessions
                .ends()
                .into_iter()
                .map(|(due_ms, sessions)| (due_ms + to_wall_ms, sessions))
                .collect();
            facts.ephemerals = self
                .tree
                .sessions_with_ephemerals()
                .map(|session| {
                    (session, self.tree.ephemerals(session).map(<[u8]>::to_vec).collect())
                })
                .collect();
        }
        if what == Gather::Digests {
            facts.digests = self.digests.iter().copied().collect();
        }
        if what == Gather::ResetServer {
            self.figures.fsync_ns.reset();
            self.figures.snapshot_ms.reset();
            self.figures.batch_records.reset();
            self.figures.proposals.set(0);
            self.figures.expired.set(0);
            self.figures.revalidations.set(0);
        }
        let id = self.next_gathering;
        self.next_gathering += 1;
        let shards = self.mesh.shards();
        self.gatherings.push(Gathering { id, from, missing: shards, facts });
        let zxid = self.tree.published();
        for shard in (0..shards).filter_map(|shard| u16::try_from(shard).ok()) {
            let to = ConnRef { shard, conn: from.conn };
            self.deliver(zxid, to, Delivery::Gather { id, what, asks: from }, out);
        }
    }

    fn on_gathered(&mut self, id: u64, share: ShardShare, out: &mut Outbox) {
        let Some(at) = self.gatherings.iter().position(|gathering| gathering.id == id) else {
            return;
        };
        let gathering = &mut self.gatherings[at];
        gathering.facts.shares.push(share);
        gathering.missing -= 1;
        if gathering.missing == 0 {
            let Gathering { from, facts, .. } = self.gatherings.swap_remove(at);
            self.deliver(self.tree.published(), from, Delivery::Facts(facts), out);
        }
    }
}
