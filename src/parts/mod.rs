//! The parts of a server: shards, which own connections, and the pipeline, which owns all writing.
//!
//! A part is a decider: its turn takes what came and says what shall be done; it never blocks,
//! makes no system call and reads no clock. `server/` runs parts on threads, `sim/` will run them
//! under a seed. What passes between parts is here; the queues are in [`mesh`].

mod cohort;
mod connection;
pub mod figures;
pub mod mesh;
pub mod pipeline;
mod reads;
pub mod shard;

use std::sync::Arc;

use crate::session::Heard;
use crate::tree::acl::Id;
use crate::types::{ConnId, ConnRef, Millis, SessionId, Zxid};
use crate::wire::codes::OpCode;

/// A request of a shard to the pipeline.
#[derive(Debug)]
pub enum Request {
    /// An ordered write of a live session.
    Write(Write),
    /// A first frame: a new session or the re-attachment of one.
    Connect(Connect),
    /// getEphemerals: the list is the pipeline's.
    Ephemerals {
        /// Who asks.
        from: ConnRef,
        /// Whose nodes.
        session: SessionId,
        /// To be echoed.
        xid: i32,
        /// The request's frame; comes back as the reply's.
        frame: Vec<u8>,
    },
    /// A connection with a session is gone; the session lives on without an owner.
    Detached {
        /// The connection that was.
        from: ConnRef,
        /// Its session.
        session: SessionId,
    },
    /// A four-letter word that needs facts of all parts.
    Ask {
        /// Who asks.
        from: ConnRef,
        /// What is to be gathered.
        what: Gather,
    },
    /// A shard's share of such an answer.
    Gathered {
        /// Which gathering.
        id: u64,
        /// The share.
        share: Box<ShardShare>,
    },
}

/// An ordered write.
#[derive(Debug)]
pub struct Write {
    /// The connection that waits for the reply.
    pub from: ConnRef,
    /// Its session.
    pub session: SessionId,
    /// To be echoed.
    pub xid: i32,
    /// What is asked.
    pub kind: OpCode,
    /// The request's frame without its length, header included; comes back as the reply's bytes.
    pub frame: Vec<u8>,
    /// The ids the connection had when the request was read.
    pub ids: Arc<[Id]>,
}

/// A ConnectRequest that passed the shard's own checks, the password among them.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// The connection that waits.
    pub from: ConnRef,
    /// `None` for a new session.
    pub session: Option<SessionId>,
    /// Negotiated, in ms.
    pub timeout_ms: i32,
}

/// What a four-letter word wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// Connections (stat, cons, dump).
    Connections,
    /// Sessions, ephemerals and connections (dump).
    Dump,
    /// Watches by session or path (wchs, wchc, wchp).
    Watches,
    /// Forget the connections' figures (crst).
    ResetConnections,
    /// Forget the server's figures (srst).
    ResetServer,
    /// The digests kept (hash).
    Digests,
}

/// One shard's share of a gathering.
#[derive(Clone, Debug, Default)]
pub struct ShardShare {
    /// Its connections.
    pub connections: Vec<ConnectionFacts>,
    /// Watched path and the session that watches, one pair a watch.
    pub watches: Vec<(Vec<u8>, SessionId)>,
    /// Connections with a watch.
    pub watching_connections: usize,
}

/// What `cons` and `stat` tell of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    /// Peer address and port, as printed.
    pub peer: String,
    /// Requests not yet answered.
    pub queued: usize,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Whether this is the connection that asks.
    pub asks: bool,
    /// Facts of a connection with a session.
    pub session: Option<SessionFacts>,
    /// When it would be closed for silence, wall clock ms.
    pub expires_wall_ms: Millis,
}

/// The session's part of [`ConnectionFacts`].
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts {
    /// Its id.
    pub id: SessionId,
    /// Last operation, as `cons` abbreviates it.
    pub last_operation: &'static str,
    /// Wall clock ms of the connect.
    pub established_wall_ms: Millis,
    /// Negotiated timeout.
    pub timeout_ms: i32,
    /// Last xid >= 0.
    pub last_cxid: Option<i32>,
    /// zxid of the last answer.
    pub last_zxid: i64,
    /// Monotonic ms of the last answer.
    pub last_response_ms: Millis,
    /// Latencies in ms.
    pub latency: Latency,
}

/// Latency of answered requests in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Of the last request.
    pub last_ms: u64,
    /// Smallest; meaningless without a count.
    pub min_ms: u64,
    /// Largest.
    pub max_ms: u64,
    /// Sum of all.
    pub sum_ms: u64,
    /// How many.
    pub count: u64,
}

impl Latency {
    /// Counts one more request.
    pub fn add(&mut self, ms: u64) {
        self.last_ms = ms;
        self.min_ms = if self.count == 0 { ms } else { self.min_ms.min(ms) };
        self.max_ms = self.max_ms.max(ms);
        self.sum_ms += ms;
        self.count += 1;
    }
}

/// The pipeline's share, and all shards' together.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// One a shard.
    pub shares: Vec<ShardShare>,
    /// Expiry time (wall clock ms) and the sessions of each bucket, in order.
    pub expiry: Vec<(Millis, Vec<SessionId>)>,
    /// Sessions that own ephemerals, with the paths.
    pub ephemerals: Vec<(SessionId, Vec<Vec<u8>>)>,
    /// Kept digests: every 128th zxid.
    pub digests: Vec<(Zxid, u64)>,
}

/// A record of the pipeline to one shard. It takes effect when the shard's visible zxid has reached
/// `zxid`, after the events of that txn.
#[derive(Debug)]
pub struct ToShard {
    /// When.
    pub zxid: Zxid,
    /// Whom.
    pub conn: ConnId,
    /// What.
    pub what: Delivery,
}

/// What a [`ToShard`] brings.
#[derive(Debug)]
pub enum Delivery {
    /// The reply of the connection's oldest request in flight, ready for the wire.
    Reply {
        /// Length, header and body.
        bytes: Vec<u8>,
        /// Close once it is sent (closeSession).
        close: bool,
    },
    /// The session is up or attached.
    Attached(Box<Attached>),
    /// No such session: the client is told that it is over.
    Refused,
    /// No session now: close without a word, so that the client tries another server.
    Declined,
    /// The session ended, or lives on another connection now: close without a word.
    Drop,
    /// Tell your share.
    Gather {
        /// To be echoed.
        id: u64,
        /// What.
        what: Gather,
        /// The connection that asks.
        asks: ConnRef,
    },
    /// The answer to an [`Request::Ask`].
    Facts(Box<Facts>),
}

/// A session that a connection serves from now on.
#[derive(Debug)]
pub struct Attached {
    /// Its id.
    pub session: SessionId,
    /// Negotiated.
    pub timeout_ms: i32,
    /// For the client.
    pub passwd: [u8; 16],
    /// The shard notes here when it heard of the session.
    pub heard: Heard,
}

#[cfg(test)]
mod tests;
